/* SPDX-License-Identifier: Apache-2.0
 *
 * Capture: reads the new frames of the WAL once, verifies salts and the checksum chain up to the committed end
 * that the index publishes, and writes them as segments into the spool. */
#ifndef WB_DB_CAPTURE_H
#define WB_DB_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/layout.h"
#include "core/wal.h"
#include "db/conn.h"
#include "db/place.h"
#include "db/spool.h"

enum {
	CAPTURE_PIECE_BYTES = 256 << 10,
	CAPTURE_BUDGET_BYTES = 48 << 20,  /* at once, so that a step is never long */
	CAPTURE_SEGMENT_BYTES = 32 << 20, /* a segment is ended at the first commit past this much plain data */
};

struct capture {
	struct place at; /* generation, index and chain; chain.offset 0: nothing of this index yet */
	struct spool spool;
	bool blind;			  /* nothing is captured (state gap): the WAL is only let go */
	uint64_t prev_end;		  /* of the WAL index before this one; 0: not known */
	uint64_t restarts, frames, bytes; /* counted since the start */
	uint64_t commits;
	struct spool_segment *fresh, **fresh_end; /* new segments, for the loop to take */
};

enum capture_result {
	CAPTURE_FAIL = -1, /* *e says why; nothing has moved; try again */
	CAPTURE_OK = 0,
	CAPTURE_GAP = 1, /* the WAL does not continue what we have; *e says how */
};

void capture_init(struct capture *c);
void capture_fini(struct capture *c);

/* Captures through h->mx_frame. sync: each segment's bytes are durable when this returns (its name with
 * spool_sync). A change of salts is a restart of a WAL that was captured whole: the caller holds without
 * interruption. */
enum capture_result capture_to(struct capture *c, struct conn *conn, const struct wal_index *h, bool sync,
			       struct err *e);
/* The same, but stops when about budget_bytes are captured; capture_reached tells whether that was all. */
enum capture_result capture_some(struct capture *c, struct conn *conn, const struct wal_index *h, bool sync,
				 uint64_t budget_bytes, struct err *e);

/* Everything up to h->mx_frame is captured. */
bool capture_reached(const struct capture *c, const struct wal_index *h);

/* After an interruption: does the WAL prove that it continues what we have? */
bool capture_proven(const struct capture *c, struct conn *conn, const struct wal_index *h, struct err *why);

/* A new generation: position zero. The caller captures from the beginning of the WAL next. */
void capture_restart(struct capture *c, const struct generation *g);

#endif
