/* SPDX-License-Identifier: Apache-2.0
 *
 * The server's side of the live stream (docs/live.md): who follows which database, and what each is sent. All
 * of it is the loop thread's, but for jobs that read content.
 *
 * The daemon tells a live_db what it knows (`now`, live_offer, live_step_done …); what it needs in return it
 * asks with the functions of live_ops. So a database that is itself followed can be served as well: whoever
 * fills its list of segments fills in `now`, and does what live_ops asks. */
#ifndef WB_LIVE_LIVE_H
#define WB_LIVE_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "db/spool.h"
#include "net/httpd.h"
#include "rt/loop.h"
#include "rt/pool.h"

struct live_server; /* one for all databases */
struct live_db;

/* What the loop knows of a database at this moment. */
struct live_now {
	bool ready;   /* it has a generation, and is being captured */
	bool stalled; /* commits are not captured until something is over, and then another generation begins */
	bool filed; /* everything of the indexes before the current one is in the database file (else: prepare)
		     */
	struct generation generation;
	/* What comes next begins here: the end of what is captured; or the beginning of the next index, when
	 * the WAL was begun anew, everything before is in the database file, and nothing of the new one is
	 * there. */
	struct position captured;
	struct position last;	     /* the end of what is captured */
	struct wal_sum captured_sum; /* of the frame that ends at `last` */
	bool followed;		     /* it is itself a copy of another machine's: its lineage is only read */
	uint32_t page_bytes;
	uint64_t file_bytes;
	struct spool_segment *segs; /* of the spool, oldest first; borrowed */
	uint64_t segs_bytes, segs_n, quota_bytes;
	uint64_t steps_begun, reached_step; /* numbers: see live_ops.step */
};

struct live_ops {
	/* The current index is to be in the list from its offset 0 on, and `filed` to be true; then
	 * live_prepared is called. */
	void (*prepare)(void *arg);
	/* A step is wanted that begins from now on. When one with a number above now.steps_begun of this moment
	 * is now.reached_step, everything that was in the database file at this moment came before
	 * now.captured. */
	void (*step)(void *arg);
	/* Something is due that live_turn does. */
	void (*mark)(void *arg);
};

struct live_server *live_server_new(struct loop *l, struct pool *p); /* NULL: no memory */
void live_server_free(struct live_server *s);			     /* after all its databases */

/* path: of the database file; spool_dir: where its segments lie. All are copied. NULL: no memory. */
struct live_db *live_db_new(struct live_server *s, const struct live_ops *ops, void *arg, const char *path,
			    const char *meta_dir, const char *spool_dir);
/* No job is out (live_busy). Who is still connected is cut. */
void live_db_free(struct live_db *d);

/* ---- what the daemon tells ---- */

struct live_now *live_now(struct live_db *d); /* to be filled in before anything below */
void live_offer(struct live_db *d, const struct spool_segment *first); /* new ones, at the end of the list */
void live_step_done(struct live_db *d); /* `now` is another: generation, reached_step … */
/* What `prepare` asked for is done; false: it cannot be had (why: a sentence). */
void live_prepared(struct live_db *d, bool good, const char *why);
/* A segment is about to leave the list: whoever needs it has fallen out. */
void live_leaves(struct live_db *d, const struct spool_segment *s);
/* Looks after copies and who waits. Returns the monotonic time of the next look, 0: none needed. */
int64_t live_turn(struct live_db *d, int64_t now_us);
/* Sends what is in the list, then says why, and closes. Nobody is let in from then on. */
void live_end(struct live_db *d, const char *why);
/* After live_end: monotonic, until when somebody may still be sent what there is; 0: nobody is. */
int64_t live_lingers(const struct live_db *d);
/* All streams end, and their clients come again: content has changed by other means than by segments. */
void live_restart(struct live_db *d, const char *why);
/* The text in the metadata directory is another one. */
void live_lineage_changed(struct live_db *d);

/* ---- what the daemon asks ---- */

bool live_followed(const struct live_db *d); /* somebody follows, or did less than ten minutes ago */
bool live_hurries(const struct live_db *d);  /* somebody waits for each commit */
bool live_busy(const struct live_db *d);     /* a connection to the database file is open, or a job is out */
void live_cancel_copies(struct live_db *d, const char *why);
/* The oldest segment of the list, which all replicas have, stays for followers. */
bool live_keeps(const struct live_db *d, const struct spool_segment *oldest, uint64_t window_bytes);

/* ---- requests ---- */

void live_stream(struct live_db *d, const struct httpd_request *q, struct httpd_answer *ret);
void live_hashes(struct live_db *d, const struct httpd_request *q, struct httpd_answer *ret);
/* The answers of docs/live.md when there is no such database, or no name was given. */
void live_not_here(const struct httpd_request *q, struct httpd_answer *ret);

/* ---- who follows, for people ---- */

enum live_phase { LIVE_WAITS, LIVE_COPIES, LIVE_FOLLOWS, LIVE_ENDS };

struct live_follower {
	const char *peer;
	bool extended;
	enum live_phase phase;
	struct generation generation;
	struct position at; /* everything before is sent; of LIVE_FOLLOWS */
	uint64_t bytes, segments;
	uint64_t behind_bytes; /* of WAL */
	int64_t since_wall_us;
	int64_t lag_us; /* age of the oldest commit that is not sent; 0: none */
};
typedef void live_fn(void *arg, const struct live_follower *f);
void live_each(const struct live_db *d, int64_t wall_us, live_fn *fn, void *arg);
size_t live_count(const struct live_db *d);
struct live_totals {
	uint64_t bytes, streams, contents, fallen_out; /* since the start */
};
struct live_totals live_totals(const struct live_db *d);

#endif
