/* SPDX-License-Identifier: Apache-2.0
 *
 * A followed database in the daemon: a thread of its own takes the stream of its primary and publishes what
 * comes; the loop sees it through this. What is shared lies behind one mutex, and nobody holds that while it
 * waits for anything. followed.c has the loop's decisions, feed.c the thread's. */
#ifndef WB_DAEMON_UPSTREAM_H
#define WB_DAEMON_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/layout.h"
#include "db/spool.h"

struct managed;
struct upstream;

/* Names for people; the status prints them. */
#define UPSTREAM_STATES(X)                                                                                     \
	X(CONNECTING, "connecting") /* no stream: not yet, or not any more; it is tried again */               \
	X(COPYING, "copying")	    /* content comes */                                                        \
	X(FOLLOWING, "following")                                                                              \
	X(WAITING, "waiting")	/* for a reader here, which the reason names */                                \
	X(REFUSED, "refused")	/* another history, or what lies here must not be replaced: needs a person */  \
	X(PROMOTED, "promoted") /* follows no more */                                                          \
	X(STOPPED, "stopped")

enum upstream_state {
#define X(id, name) UPSTREAM_##id,
	UPSTREAM_STATES(X)
#undef X
};
const char *upstream_state_name(enum upstream_state s);

/* What is known of it at one moment. Wall times are microseconds since 1970 of our clock, 0: never; counts are
 * since the start. */
struct upstream_seen {
	enum upstream_state state;
	char reason[512]; /* why it is not following; "" for none */
	int64_t since_wall_us;
	bool connected, extended;     /* extended: the primary is a walbrook */
	bool known;		      /* what readers see is the state `applied` of the primary */
	struct generation generation; /* of applied and primary */
	struct position applied;
	struct position primary;	       /* everything before it was sent, as far as we were told */
	uint64_t copy_bytes, copy_total_bytes; /* while copying; total 0: not known */
	uint32_t page_bytes, pages;
	int64_t commit_wall_us;	 /* the primary saw the newest applied commit, by its clock */
	int64_t applied_wall_us; /* and it was published here */
	int64_t apply_delay_us;	 /* time between these two, clocks compared */
	int64_t heard_wall_us;	 /* the last byte */
	int64_t clock_ahead_us;	 /* of the primary's clock, as of the last heartbeat */
	uint64_t received_bytes; /* of streams */
	uint64_t transactions;	 /* applied */
	uint64_t published;	 /* steps that readers saw */
	uint64_t connects, contents,
		differing; /* streams begun; content taken; of it, only pages that differ */
	uint64_t pages_written, pages_compared; /* by content */
	uint64_t errors, local_writers;		/* streams that broke; times that somebody wrote here */
	uint64_t wal_bytes;			/* of our own WAL */
	uint64_t content_epoch;			/* changes with each change of content */
};

/* Age of what readers see, as far as that can be told: 0 while everything that was sent is applied and the
 * primary is heard; otherwise the time since it was last so. -1: nothing is here yet. */
int64_t upstream_lag_us(const struct upstream_seen *s, int64_t now_wall_us);

/* keep: segments go to the spool, for replicas and followers of this one. */
int upstream_new(struct managed *m, bool keep, struct upstream **ret, struct err *e);
void upstream_free(struct upstream *up); /* stops the thread and waits for it; NULL is fine */
void upstream_look(struct upstream *up, struct upstream_seen *ret); /* from any thread */

/* ---- for the loop ---- */

void upstream_start(struct upstream *up);
bool upstream_started(const struct upstream *up);
/* What the thread has for the loop. */
struct upstream_news {
	struct spool_segment *loaded; /* what an earlier run left in the spool; once */
	struct spool_segment *fresh;  /* new ones, in order */
	struct generation of; /* with `at`: the spool holds everything before, or that is what readers see */
	struct position at;
	uint64_t ticks; /* everything that was applied before upstream_tick() gave a lesser number is in */
	bool lineage;	/* it has changed */
	bool ended;	/* the thread does nothing any more */
	bool copied;	/* upstream_want_copy(): `copied_at` */
	struct generation copied_of;
	uint64_t copied_epoch; /* content_epoch and local_writers at that moment */
	bool hole; /* segments could not be kept: the list is to be forgotten, and upstream_rewind */
	struct position copied_at; /* everything before its index is in the database file */
};
void upstream_take(struct upstream *up, struct upstream_news *ret);
void upstream_drop(struct upstream *up,
		   struct spool_segment *list); /* to be removed from the spool; takes the list */
void upstream_stop(struct upstream *up);
void upstream_want_copy(struct upstream *up);
uint64_t upstream_tick(struct upstream *up);
/* The current WAL index is asked for once more from its start, because a replica needs it. */
void upstream_rewind(struct upstream *up);
/* While it is watched, every step of what readers see marks the database. */
void upstream_watch(struct upstream *up, bool watched);

/* Promotion: asked for, then done or failed (the thread has ended, or goes on). */
enum upstream_promotion { PROMOTION_NONE, PROMOTION_ASKED, PROMOTION_DONE, PROMOTION_FAILED };
void upstream_promote(struct upstream *up);
enum upstream_promotion upstream_promotion(struct upstream *up, struct err *ret);

/* ---- followed.c: the loop's decisions for a database with m->up ---- */
int64_t followed_turn(struct managed *m, int64_t now_us);
bool followed_is_filed(const struct managed *m); /* everything of older indexes is in the file */
int64_t followed_turn_stopping(struct managed *m, int64_t now_us);

#endif
