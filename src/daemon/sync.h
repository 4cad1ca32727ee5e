/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting until everything that was committed when somebody asked is on the replicas, durable, with its index
 * and beside a snapshot that it can be restored with. All of it is the loop thread's. */
#ifndef WB_DAEMON_SYNC_H
#define WB_DAEMON_SYNC_H

#include "daemon/parts.h"
#include "daemon/request.h"

/* One database of one who waits. */
struct sync_wait {
	struct sync_wait *next; /* of the same database */
	struct sync *of;
	struct managed *m;   /* NULL: it is not replicated any more */
	uint64_t first_step; /* a step from this number on began after the request */
	bool aimed, over;
	struct generation generation; /* with aimed: all before `at` is to be there; none: there is nothing */
	struct position at;
	enum err_kind kind; /* with over: NONE, or why it cannot be */
};

struct sync {
	char *replica; /* NULL: all */
	struct sync_wait *waits;
	size_t n, left;
	int64_t begun_us; /* monotonic */
	void (*done)(struct sync *y, void *arg);
	void *arg;
};

/* Forces a step of each database and lets its replicas ship without waiting for a token. `done` is called once,
 * from a turn of the loop, when left is 0; it may call sync_free. When left is 0 at once it is not called.
 * ERR_NOTHING: a database or replica that there is not. */
int sync_begin(struct daemon *d, const struct request *r, void (*done)(struct sync *y, void *arg), void *arg,
	       struct sync **ret, struct err *e);
void sync_free(struct sync *y); /* also before it is done */

bool sync_concerns(const struct sync *y, const struct shipper *s);
bool sync_has(const struct sync_wait *w, const struct shipper *s); /* nothing is missing there */

/* After the turn of a database that somebody waits for. */
void sync_turn(struct managed *m);
/* Before a database goes away. */
void sync_forget(struct managed *m);

#endif
