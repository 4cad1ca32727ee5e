/* SPDX-License-Identifier: Apache-2.0
 *
 * One database: from its path to segments in the spool. A step is everything that is due for it at this moment,
 * in straight-line blocking code, run by one worker at a time; a look is memory only, for the loop between
 * steps. */
#ifndef WB_DB_DB_H
#define WB_DB_DB_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/file.h"
#include "core/layout.h"
#include "core/wal.h"
#include "db/capture.h"
#include "db/opened.h"
#include "db/recapture.h"
#include "db/relay.h"
#include "db/snapshot.h"

/* States of a database: name and legal moves. The log, the status and the metrics print these names. */
#define DB_STATES(X)                                                                                           \
	X(WAITING, "waiting")	  /* the file is not there, or its application has not made it yet */          \
	X(IDLE, "idle")		  /* all is captured */                                                        \
	X(DIRTY, "dirty")	  /* something changed, a step is due */                                       \
	X(CAPTURING, "capturing") /* a step is out */                                                          \
	X(SNAPSHOT, "snapshot")	  /* a copy of the file is being made */                                       \
	X(GAP, "gap")		  /* continuity lost or spool full; a new generation follows by itself */      \
	X(BROKEN, "broken")	  /* needs a person */

enum db_state {
#define X(id, name) DB_##id,
	DB_STATES(X)
#undef X
};
const char *db_state_name(enum db_state s);
/* Moves, or stays when the move is not legal (and says so in the log: that is a bug of ours). */
void db_state_move(enum db_state *at, enum db_state to);

struct db_options {
	const char *path, *meta_dir;			    /* borrowed for the life of the database */
	int64_t min_checkpoint_pages, max_checkpoint_pages; /* max 0: never force */
	int64_t checkpoint_interval_us;			    /* 0: off */
	uint64_t spool_quota_bytes, wal_cap_bytes;
};

struct db_file_id {
	dev_t dev;
	ino_t ino;
	uint64_t bytes; /* as the last step saw it */
};

struct db {
	struct db_options o;
	struct relay relay;
	struct capture cap;
	struct owner owner;
	enum db_state state; /* WAITING, IDLE, GAP or BROKEN after a step; the loop adds the others */
	struct err why;	     /* of WAITING, GAP and BROKEN */
	bool why_said;
	int lock_fd;
	uint64_t place_seq;
	struct place saved; /* what the position file holds */
	char *place_path;
	struct opened file, lock_file;		/* that it has open */
	struct db_file_id is[3];		/* database, -wal, -shm as opened */
	uint32_t page_bytes;			/* 0: not known yet */
	uint8_t seen[WAL_INDEX_HEADER_BYTES];	/* the index header that the last step captured to */
	uint32_t mx_frame, backfill;		/* of it */
	uint8_t index_salt[8];			/* of the WAL index that was seen last, */
	int64_t index_began_us;			/* and when it was seen first */
	uint64_t copies;			/* of ours, up to the last look */
	bool left_alone;			/* nobody else's checkpoints copy the WAL */
	int64_t called_us;			/* the application's last checkpoint that it called by itself */
	int64_t changed_us, copied_us, rest_us; /* monotonic: header changed, copy tried, may rest from */
	int64_t retry_us, gap_us, twice_us;	/* twice: found open under another name since */
	struct recapture head;			/* how far it has come */
	struct spool_segment *stuck;		/* to be removed from the spool */
	unsigned copy_misses, copied_none, open_misses; /* in a row */
	uint8_t broken_salt[8]; /* blind because of this WAL: its frames do not form a chain */
	bool chain_broken;
	bool resting, spool_loaded, frozen; /* frozen: as the last order said */
};

/* What the loop wants of a step. */
struct db_order {
	bool walk;		      /* another process seems to insist on a checkpoint */
	bool stop;		      /* capture everything, save the position, let go */
	bool only_remove;	      /* nothing is open any more: just remove segments */
	bool frozen;		      /* a snapshot is being copied exactly: nothing can be let go */
	bool pin;		      /* a snapshot is wanted: get to where it is exact */
	struct snapshot *snapshot;    /* with pin: to be pinned */
	const char *begin;	      /* not NULL: begin a new generation, for this reason */
	struct spool_segment *remove; /* segments that everybody has; freed by the step */
	uint64_t head_to; /* not 0: the current index up to this offset is to be in the spool once more */
};

/* What it tells the loop. */
struct db_report {
	struct spool_segment *loaded; /* what earlier runs left in the spool, any generation; once */
	struct spool_segment *fresh;  /* new segments, to be taken */
	struct spool_segment *head;   /* of order.head_to, once it is done: all of it */
	enum db_head { DB_HEAD_NONE, DB_HEAD_MORE, DB_HEAD_DONE, DB_HEAD_GONE, DB_HEAD_FAILED } head_is;
	struct generation left; /* with loaded: one that has ended, whose commit times may not be shipped */
	bool generation_began;	/* cap.at.generation is a new one */
	bool opened;		/* first step that holds since the file was (re)opened */
	bool reached;		/* all that was committed when the step began is captured and durable */
	bool pinned;		/* order.snapshot is exact now */
	bool missing;		/* there is no file of this name */
	bool stopped;	/* order.stop: let go (not when a generation began just now: it has no snapshot) */
	int64_t due_us; /* monotonic: next step without an event; 0: none */
};

int db_init(struct db *d, const struct db_options *o, struct err *e);
void db_fini(struct db *d);
/* The metadata directory, its lock and the spool, without a look at the database: for who follows. ERR_BUSY:
 * another process has it. Fine when it is there already. */
int db_take_meta(struct db *d, struct err *e);

/* Worker: does all that is due. Errors end in d->state and d->why, never out of here. */
void db_step(struct db *d, const struct db_order *order, struct db_report *ret);

enum db_look { DB_LOOK_SAME, DB_LOOK_CHANGED, DB_LOOK_TORN, DB_LOOK_NONE };
/* Loop, no step out: compares the mapped index with what was captured. No system call. *ret_new_frames:
 * uncaptured. */
enum db_look db_look(const struct db *d, uint64_t *ret_new_frames);
/* Loop, no step out: as soon as a restart of the WAL is seen, so that an application that checkpoints right
 * after its first commit finds us able to move. Two system calls after a restart, none else. */
void db_prove_early(struct db *d);
/* Frames are in the WAL that are not copied yet: while this is so another process' checkpoint may wait for us.
 */
bool db_has_backlog(const struct db *d);
/* Somebody has copied all of it, and we are not on slot 0 yet: a RESTART or TRUNCATE may be waiting for that.
 */
bool db_may_park(const struct db *d);
/* A checkpoint of another process is copying all that there is: a step now lets the WAL begin anew after it. */
bool db_goes_along(struct db *d);
const char *db_wal_path(struct db *d); /* NULL: not open */

/* Which files are open, to look without a step whether their names still lead to them. */
struct db_files {
	char *path, *wal; /* owned */
	struct db_file_id is[3];
};
bool db_files(struct db *d, struct db_files *ret); /* loop, no step out. false: nothing is open */
bool db_files_same(struct db_files *f);		   /* worker: false as soon as one was removed or replaced */
void db_files_free(struct db_files *f);

#endif
