/* SPDX-License-Identifier: Apache-2.0
 *
 * Does a snapshot follow from the WAL before it? A short hash of each page tells, without the pages: one table
 * follows the WAL (the history), the other holds a snapshot. Both are bounded: of a database with more pages
 * than they hold every second, fourth, … page is looked at. */
#ifndef WB_RESTORE_HISTORY_H
#define WB_RESTORE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { HISTORY_PAGES = 1 << 20 }; /* looked at, at most: 9 MiB of memory */

struct history_frame {
	uint32_t pgno, hash;
};

struct history {
	uint32_t step;	 /* one page in so many is looked at */
	uint32_t *state; /* hash of the last committed version; 0: not known, fits anything */
	uint32_t *snapshot;
	uint8_t *flags; /* of each slot: written since the mark; doubted and not written since */
	size_t flags_n; /* slots that may have one */
	uint64_t snapshot_pages;
	uint32_t pages;		    /* size of the database after the last commit; 0: none seen */
	struct history_frame *open; /* of the transaction whose commit has not come */
	size_t open_n, open_cap;
	bool known; /* the state is that of the WAL so far */
	/* of the snapshot that is being read */
	uint32_t page_bytes;
	uint8_t *page;
	size_t page_n;
};

int history_init(struct history *h, struct err *e);
void history_free(struct history *h);

/* The snapshot, in pieces of any size. */
int history_snapshot_begin(struct history *h, uint32_t page_bytes, struct err *e);
void history_snapshot_bytes(struct history *h, struct span in);
/* From now on the history is that of this snapshot and the WAL behind it. */
void history_adopt(struct history *h);
void history_forget(struct history *h); /* the WAL has a hole */

/* Verified frames. -1: no memory. */
int history_frame(struct history *h, uint32_t pgno, const uint8_t *page, uint32_t page_bytes);
void history_commit(struct history *h, uint32_t pages);
void history_drop(struct history *h); /* the transaction has no end */
/* A WAL index begins of which there is a snapshot: from here on it is noted what is written. */
void history_mark(struct history *h);
/* Pages of the snapshot that are not what the WAL made of them, and that it has not written since the mark.
 * (What was written since does not matter: a restore writes it again.) */
uint64_t history_differs(const struct history *h);
/* The pages that differ: it is not known whether the snapshot is wrong or what the history began with. */
void history_doubt(struct history *h);
/* After another snapshot that fits: does it have one of those pages as the history does? */
bool history_cleared(const struct history *h);
/* From now on the history is what a restore from that snapshot gives. */
void history_rebase(struct history *h);

#endif
