/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the shared WAL index (-shm), which tells SQLite's readers which frames there are: blocks of page
 * numbers with a hash table each, and the header that publishes them. For the follower, which holds the write
 * lock; ordinary SQLite readers of other processes look at it all the time. walindex.c tells the layout. */
#ifndef WB_DB_WALINDEX_H
#define WB_DB_WALINDEX_H

#include <sqlite3.h>
#include <stdint.h>

#include "base/err.h"
#include "core/wal.h"

struct walindex {
	sqlite3_file *file;	   /* borrowed: the database file of an open connection */
	volatile uint8_t **blocks; /* mapped by SQLite, valid while the connection is open */
	uint32_t n, cap;
};

void walindex_init(struct walindex *x, sqlite3_file *file);
void walindex_fini(struct walindex *x);

/* Maps (and makes) the blocks for frames 1 to `frame`. Fails when the disk is full: nothing is visible yet. */
int walindex_need(struct walindex *x, uint32_t frame, struct err *e);
/* Notes that frame holds page pgno. Frames come in order; walindex_need() was asked. Readers see it only after
 * walindex_publish. What an unfinished transaction left here and behind is dropped first. */
void walindex_add(struct walindex *x, uint32_t frame, uint32_t pgno);
/* The newest frame <= limit that holds the page; 0: none. */
uint32_t walindex_find(struct walindex *x, uint32_t limit, uint32_t pgno);
/* From here on readers see h; raw is filled with the 48 bytes that were written. Cannot fail. */
void walindex_publish(struct walindex *x, const struct wal_index *h, uint8_t raw[WAL_INDEX_HEADER_BYTES]);

#endif
