/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay decides when the WAL may be restarted: only once every frame of it is captured. docs/relay.md tells
 * the protocol and why it is safe; model/relay.pml proves it; relay.c is it. */
#ifndef WB_DB_RELAY_H
#define WB_DB_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/wal.h"
#include "db/capture.h"
#include "db/conn.h"

enum relay_result {
	RELAY_FAIL = -1, /* *e; try again later */
	RELAY_OK = 0,
	RELAY_AGAIN, /* somebody was in the way; look again soon */
	RELAY_GAP,   /* continuity is lost; *e says how */
};

struct relay_counts {
	uint64_t rounds, copies, forced, walks, met, proofs, refused;
	int64_t copy_us;	 /* spent in copies, all together */
	int64_t longest_hold_us; /* of the write lock */
};

struct relay {
	const char *path; /* borrowed: of the database */
	struct conn c[2]; /* they take turns; at every moment at least one holds a read */
	struct conn writer;
	int holder; /* place in c, -1: nobody holds */
	uint8_t proven[8];
	bool is_proven;	    /* no checkpoint is under way that read its header before the restart to `proven` */
	bool proven_empty;  /* the WAL was empty then */
	bool walked_lately; /* the application checkpoints by itself */
	int left[2];	    /* read slots >= 1 that we left last */
	int insists_pid;    /* the process that was seen with both locks last, over this index, */
	uint8_t insists_raw[WAL_INDEX_HEADER_BYTES];
	int64_t insists_us;	/* since when, */
	int insists_seen;	/* and how often */
	bool force_refused;	/* the last forced round met a checkpoint of another process */
	bool is_slow;		/* the end of a checkpoint was waited for in vain, */
	uint8_t slow_salt[8];	/* over this WAL, */
	uint32_t slow_backfill; /* when so much was copied */
	uint32_t met_frames;	/* length of the WAL when a checkpoint was met last */
	int shm_fd;		/* for locks only; opened after SQLite did, closed after it closed */
	/* Only a test sets this: the guard is left out, to show that without it SQLite's WAL-reset bug hides
	 * rows. */
	bool test_without_guard;
	struct relay_counts n;
};

void relay_init(struct relay *r, const char *path);
/* Opens, begins to hold and reads the index until both agree. *ret is what the hold found. */
enum relay_result relay_hold(struct relay *r, struct wal_index *ret, uint8_t raw[WAL_INDEX_HEADER_BYTES],
			     struct err *e);
void relay_release(struct relay *r); /* lets everything go and closes; the WAL stays as it is */
static inline bool relay_holds(const struct relay *r)
{
	return r->holder >= 0;
}
struct conn *relay_conn(struct relay *r); /* the one that holds */
/* While it holds: the -shm, for locks. The relay closes it. -1: it cannot be opened. */
int relay_shm_fd(struct relay *r);

/* Proves that no stale checkpoint is under way, retrying for up to wait_us. false: the lock is busy. */
bool relay_prove(struct relay *r, const struct wal_index *h, int64_t wait_us);

/* Captures through *h on conn, and knows what a restart means for the proof. */
enum relay_result relay_capture(struct relay *r, struct conn *conn, struct capture *c,
				const struct wal_index *h, bool durable, uint64_t budget_bytes, struct err *e);

/* A round: the other one begins, capture reaches its snapshot, the holder lets go, copies if asked, and parks.
 * durable: what was captured is synced before the holder lets go; else only before nothing but slot 0 is held,
 * where a writer may begin the WAL anew. */
enum relay_result relay_round(struct relay *r, struct capture *c, bool copy, bool durable, struct err *e);

/* All is copied: from a slot of our own to slot 0, once what came last is captured and durable. Stays if it is
 * not, or if a checkpoint is at work. */
enum relay_result relay_park(struct relay *r, struct capture *c, struct err *e);

/* How relay_along goes beside a writer. */
struct relay_pace {
	uint32_t step_frames; /* length of the WAL at which slot 0 is left, so that checkpoints can copy */
	uint32_t most_frames; /* length at which it is no longer enough to go along */
	int64_t stay_us;      /* 0: one look. Else it captures and waits for the checkpoint, at most so long */
};

/* Captures beside a writer and goes along with the checkpoints of the application: when one has copied all, we
 * are on slot 0 the same moment, so that the next commit begins the WAL anew. Takes no lock that a checkpoint
 * needs. */
enum relay_result relay_along(struct relay *r, struct capture *c, const struct relay_pace *p, struct err *e);
bool relay_goes_along(struct relay *r); /* a checkpoint is under way that copies all */

/* A round under a short write lock, so that the WAL ends although its writer never pauses. brake: the writer
 * runs ahead of us; let it wait for the sync as well. */
enum relay_result relay_forced(struct relay *r, struct capture *c, bool brake, struct err *e);

/* An application insists on FULL, RESTART or TRUNCATE: lets it through, hand over hand. */
enum relay_result relay_walk(struct relay *r, struct capture *c, struct err *e);

/* Another process holds the checkpoint lock and the write lock: most likely it waits for us. *ret_pid: who. */
bool relay_foreign_insists(struct relay *r, int *ret_pid);
/* Another process holds the write lock: it may be between the last write of a commit and its publication. */
bool relay_foreign_writer(struct relay *r);
/* A process that keeps a read slot, 0: none is seen. */
int relay_foreign_reader(struct relay *r);

/* Closes what is needed only while there is work, and gives memory back. */
void relay_rest(struct relay *r);

#endif
