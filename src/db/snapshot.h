/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot: the bytes of the database file, in one pass, for any number of takers.
 *
 * Exact: a connection of its own holds a read that began when everything in the WAL was copied. Nothing can be
 * copied into the file while it holds, so the file is the state at `at`. Fuzzy: nothing holds; pages may change
 * while they are read, and each that does is in the WAL of index `at.index` or later, so that the copy is good
 * once that WAL is there through the position that capture had reached when the copy ended. */
#ifndef WB_DB_SNAPSHOT_H
#define WB_DB_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/layout.h"
#include "core/pagehash.h"
#include "core/segment.h"
#include "db/conn.h"

struct snapshot {
	struct conn conn; /* its own; holds while exact */
	struct generation generation;
	struct position at;
	uint64_t bytes; /* of the database; 0: to the end of the file (fuzzy) */
	bool exact;
	_Atomic bool let_go; /* the loop asks an exact one to let go: it goes on as a fuzzy one */
	_Atomic bool cancel;
};

/* Exact if *h stands still around the begin and everything is copied: 1. 0: not now. -1: *e. */
int snapshot_pin(struct snapshot *s, const char *path, struct conn *holder, struct err *e);
int snapshot_open_fuzzy(struct snapshot *s, const char *path, struct err *e);
/* Reads the file once and gives compressed pieces to the sink. Ends with s->exact telling what it became. */
int snapshot_copy(struct snapshot *s, segment_sink *sink, void *arg, struct err *e);
/* The same pass, but only the hashes of the pages are kept; an exact one only: ERR_BUSY when it had to let go.
 */
int snapshot_hash_pages(struct snapshot *s, struct page_hashes *h, struct err *e);
void snapshot_close(struct snapshot *s);

#endif
