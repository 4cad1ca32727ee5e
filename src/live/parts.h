/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the live stream's server share. */
#ifndef WB_LIVE_PARTS_H
#define WB_LIVE_PARTS_H

#include "core/pagehash.h"
#include "db/snapshot.h"
#include "live/bytes.h"
#include "live/live.h"

#define LIVE_OWNER(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

enum {
	LIVE_COPIES_MAX = 4,	/* at once, for all databases */
	LIVE_WAITING_MAX = 256, /* for their turn */
	LIVE_PIECE_BYTES = 1 << 20,
	LIVE_BEAT_US = 1000000,
};

struct follower;
struct copy;
struct exact;
struct piece;
struct segment_file;
struct hashing;
struct proof;

struct live_server {
	struct loop *loop;
	struct pool *pool;
	unsigned copies_out, waiting;
	struct copy *first, **end; /* who waits for a place, in order */
	struct loop_timer beat;	   /* once a second while somebody is there who wants to know */
	struct live_db *dbs;
};

/* Lines of the log since then. */
struct live_said {
	int64_t from_us;
	unsigned lines;
};

struct live_db {
	struct live_db *next, **at; /* of the server */
	struct live_server *server;
	struct live_ops ops;
	void *arg;
	char *path, *meta_dir, *spool_dir;
	struct live_now now;
	struct follower *followers;
	size_t n, hurried;
	struct hashing *hashings;
	struct exact *exact, *joined; /* the newest of each kind */
	struct piece *pieces;
	size_t pieces_n;
	struct segment_file *files; /* open, of segments that somebody is in the middle of */
	struct position fresh_at;   /* segments from here on were made just now */
	struct {
		struct generation generation;
		uint64_t index, bytes; /* of the segments of the current index that are in the list */
	} current;
	size_t jobs, copies; /* jobs that are out; contents that are being made or wait for it */
	int64_t ended_us;
	int64_t left_us;	       /* monotonic: when the last one left; 0: nobody was here */
	bool preparing, ended, orphan; /* orphan: goes with the last who has left */
	char end_why[200];
	/* The LINEAGE record. */
	struct bytes *lineage;
	bool lineage_out, lineage_again;
	char lineage_error[300];
	struct task lineage_task;
	struct live_totals totals;
	struct live_said said, said_ends; /* who comes and goes all the time is not said all the time */
	struct bytes *heartbeat;	  /* the last one, which most are sent as well */
	struct generation heartbeat_of;
	struct position heartbeat_at;
	int64_t heartbeat_us;
};

enum phase { PHASE_LINEAGE, PHASE_HEAD, PHASE_PROOF, PHASE_CONTENT, PHASE_FOLLOW, PHASE_ENDS };

struct follower {
	struct httpd_body body;
	struct live_db *db;
	struct follower *next, **link;
	struct httpd_conn *conn;
	char peer[HTTPD_PEER_BYTES];
	enum phase phase;
	bool extended, lz4, over;
	bool resumes;	    /* of a plain one: only WAL, from `from` on */
	bool waits_for_end; /* of a plain one: the transaction in `seg` has not come to its end */
	bool has_position, only_differing, has_sum,
		proven;	   /* what it asked for, with `want` and its generation */
	unsigned prepared; /* so often was the head made ready for it */
	struct generation want_generation;
	struct position want;
	uint64_t want_sum;
	struct proof *proof; /* the job that looks for it */
	struct generation generation;
	struct position at;		 /* everything before is sent, or was there */
	const struct spool_segment *seg; /* the next, or the one that is being sent; NULL: waits */
	unsigned block;			 /* of it: what comes next */
	struct bytes *now;		 /* being sent from now_at on */
	size_t now_at;
	struct bytes *queued; /* before anything else */
	const struct piece *waits;
	struct segment_file *file; /* of the segment that is being sent; NULL: not open, or only once */
	struct copy *copy;	   /* of PHASE_CONTENT */
	struct position from;	   /* where its WAL begins: of PHASE_CONTENT */
	uint8_t *bitmap;	   /* owned; NULL: all pages */
	size_t bitmap_bytes;
	uint64_t bytes, segments;
	int64_t since_wall_us;
	int64_t moved_us; /* monotonic: when it last took something, or its end was decided */
};

/* follower.c */
/* Closes it, with a sentence if it understands one and is at the end of a record. */
void follower_end(struct follower *f, const char *why);
/* Everything before `at` is there: segments come next. */
void follower_goes_on(struct follower *f, struct position at);
static inline void follower_wake(struct follower *f)
{
	if (f->conn)
		httpd_wake(f->conn);
}
void follower_settle(struct follower *f);		/* finds where it begins, or what it has to wait for */
void follower_beat(struct follower *f, int64_t now_us); /* once a second */

/* server.c */
extern const char live_stalled[];	 /* why there are no streams while live_now.stalled */
void live_let_go(struct live_db *d);	 /* frees an orphan that nobody needs; the last thing to be called */
void live_count_anew(struct live_db *d); /* d->current, from the list */
void live_lineage_wanted(struct live_db *d); /* d->lineage or d->lineage_error will be there */
void live_submit(struct live_db *d, struct task *t);
const struct spool_segment *live_find(const struct live_db *d, const struct generation *g, struct position at);

/* segments.c: the next bytes of a follower that has all content; NULL: none now. */
struct bytes *segments_next(struct follower *f);
void segments_leave(struct follower *f); /* it is not in the middle of a segment any longer */
void segments_forget(struct live_db *d, const struct spool_segment *s); /* it leaves the list */
void segments_drop(struct live_db *d); /* nobody is there to be sent anything */
/* The last segment of the index of `from`, from there on, that ends with a commit; NULL: none does. */
const struct spool_segment *segments_whole(const struct spool_segment *from);

/* proof.c: does the frame that ends at f->want, in this segment, have the checksum that the follower says? Then
 * f->proven, and in any case f->has_sum is false, when proof_done is called. */
int proof_begin(struct follower *f, const struct spool_segment *s); /* -1: no memory */
void proof_leave(struct follower *f);
void proof_done(struct follower *f); /* follower.c */

/* copy.c */
int copy_begin(struct follower *f); /* -1: no memory */
struct bytes *copy_next(struct follower *f);
void copy_leave(struct follower *f); /* the follower has gone */
void copy_step_done(struct live_db *d);
void copy_beat(struct live_server *s, int64_t now_us);
bool copy_full(const struct live_server *s);
/* Where the WAL begins that copies under way need. false: there are none. */
bool copy_oldest(const struct live_db *d, struct generation *g, struct position *ret);
void copy_place_free(struct live_server *s); /* a place is free: whoever is next begins */
bool copy_place_take(struct live_server *s, struct copy *c);

/* exact.c: the content for plain streams, made once for those who come at the same time. */
enum exact_state { EXACT_COPIES, EXACT_COPIED, EXACT_APPLIES, EXACT_READY, EXACT_FAILED };
struct exact *exact_get(struct live_db *d); /* NULL: no memory */
/* Only the segments of an index from there through segments_whole(), as one, for who has what is before. NULL:
 * no memory, or there are none. */
struct exact *exact_of(struct live_db *d, const struct generation *g, struct position from);
void exact_put(struct exact *x);
void exact_step_done(struct live_db *d);
enum exact_state exact_state(const struct exact *x);
const char *exact_why(const struct exact *x);
struct position exact_from(const struct exact *x);
struct position exact_at(const struct exact *x);
const struct generation *exact_generation(const struct exact *x);
void exact_cancel(struct exact *x);
/* Worker: bytes of the stream of records that it makes. Fewer only at its end; -1 and *e. */
long exact_read(const struct exact *x, uint8_t *p, size_t n, uint64_t at, struct err *e);

/* hashes.c */
void hashes_prepared(struct live_db *d, bool good, const char *why);
void hashes_cancel(struct live_db *d);

#endif
