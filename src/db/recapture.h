/* SPDX-License-Identifier: Apache-2.0
 *
 * The WAL of the current index from its header on once more: segments that every replica had, and that have
 * left the spool, are made anew for somebody who begins only now (docs/live.md, "What is kept"). */
#ifndef WB_DB_RECAPTURE_H
#define WB_DB_RECAPTURE_H

#include "db/capture.h"

enum { RECAPTURE_BUDGET_BYTES = 16 << 20 }; /* at once, so that a step is never long */

/* How far it has come; zero is the beginning. */
struct recapture {
	struct generation generation;
	uint64_t index;
	struct wal_chain chain;
	struct spool_segment *made; /* newest first; their files have no name yet that counts */
};

/* Goes on through `to`, which must be the end of a commit that was captured of the current index. CAPTURE_OK:
 * some progress was made; when r->chain.offset is `to`, all is in the spool, and r->made (oldest first now)
 * belongs to the caller, who sets it to NULL. CAPTURE_GAP: the WAL was begun anew, so what was wanted is not
 * there any more, and is not needed either. CAPTURE_FAIL: *e, and it may be tried again from the beginning.
 * Both leave nothing behind. */
enum capture_result recapture(struct capture *c, struct conn *conn, struct recapture *r, uint64_t to,
			      struct err *e);
void recapture_forget(struct capture *c, struct recapture *r); /* ends as zero */

#endif
