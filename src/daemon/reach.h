/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions for applications (docs/live.md): which one lies behind everything that was committed until now, and
 * waiting until one is reached here, so that who has written on the primary reads it on a follower. All of it
 * is the loop thread's. Who waits costs nothing until the position moves. */
#ifndef WB_DAEMON_REACH_H
#define WB_DAEMON_REACH_H

#include "daemon/parts.h"

enum reach_result {
	REACH_NOT_YET, /* it goes on waiting */
	REACH_DONE,    /* what was asked for is so; generation and at are filled */
	REACH_OTHER,   /* the history here is another one than that of the position; *e says which */
	REACH_LATE,    /* the time is over; *e says how far it is */
	REACH_CANNOT,  /* the database is broken, not there, or leaves; *e says why */
};

struct reach;
/* Once, from a turn of the loop; r is forgotten then. *e is set unless the result is REACH_DONE. */
typedef void reach_over(struct reach *r, enum reach_result result, const struct err *e);

/* One who waits; a part of the caller's struct, which owns it. */
struct reach {
	struct managed *m; /* NULL: nobody waits */
	struct generation generation;
	struct position at; /* given, or found */
	/* private */
	struct reach *next, **link; /* others of the same database; where they point to this one */
	bool asks;		    /* for the position: a step from first_step on has to be over */
	bool met;		    /* the database was in the generation */
	uint64_t first_step;
	struct loop_timer timer;
	reach_over *over;
};

/* The position behind everything that was committed before the call; on a follower, the one that its readers
 * see. REACH_NOT_YET: over will be called; anything else: it will not. ERR_NOTHING: no such database. */
enum reach_result reach_position(struct reach *r, struct daemon *d, const char *path, int64_t timeout_us,
				 reach_over *over, struct err *e);
/* Until everything before r->generation and r->at (which the caller has filled) is captured here; on a
 * follower, until readers see it. */
enum reach_result reach_wait(struct reach *r, struct daemon *d, const char *path, int64_t timeout_us,
			     reach_over *over, struct err *e);
void reach_cancel(struct reach *r); /* fine when nobody waits; over is not called */

/* Where the database is: everything before it is captured, or seen by readers. false: nowhere yet. */
bool reach_here(const struct managed *m, struct generation *ret_generation, struct position *ret);

/* The position of the database may have moved, or its state has. */
void reach_turn(struct managed *m);
/* Before a database goes away. */
void reach_forget(struct managed *m);

#endif
