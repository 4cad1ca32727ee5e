/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread of a followed database: from the connection to what readers see. Shared by feed.c (the life of the
 * thread), feed_stream.c (one stream) and feed_spool.c (segments that are kept); upstream.c is the other side.
 */
#ifndef WB_DAEMON_FEED_H
#define WB_DAEMON_FEED_H

#include <pthread.h>
#include <stdatomic.h>

#include "core/segment.h"
#include "daemon/managed.h"
#include "daemon/upstream.h"
#include "db/follow.h"
#include "live/client.h"
#include "live/lineage.h"
#include "net/client.h"

struct upstream {
	struct managed *m;
	bool keep, started;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t woken;
	struct loop_hook hook;
	_Atomic bool told;	    /* there is news for the loop */
	_Atomic bool watched;	    /* the loop wants to know of each step */
	_Atomic bool stop, promote; /* wishes of the loop, also looked at without the lock */
	/* Behind the lock: */
	struct upstream_seen seen;
	struct upstream_news news;
	struct spool_segment *fresh_last, *drop;
	bool want_copy, rewind;
	uint64_t ticks_wanted;
	enum upstream_promotion promotion;
	struct err promotion_e;
	struct client *client; /* to be woken; NULL: none */
};

/* What the thread owns. */
struct feed {
	struct upstream *up;
	struct follow f;
	bool opened; /* f is */
	struct client *client;
	struct live_reader reader;
	struct lineage ours;
	bool any_lineage;
	struct upstream_seen seen;
	/* One stream. */
	bool reconnect;		     /* ended on purpose: at once again */
	bool want_hashes, differing; /* differing: this stream was asked for pages that differ */
	bool refused, lost, full, gap, progress;
	unsigned gaps;		    /* in a row, without progress */
	bool merge_first;	    /* plain content came: its first segment is taken as a whole */
	uint64_t record_of;	    /* number of the record that is being read */
	uint64_t record_from;	    /* bytes of streams when the record that is being read began */
	int64_t record_us;	    /* and when that was; 0: between records */
	bool segment_came;	    /* since plain content */
	bool caught_up;		    /* nothing was waiting to be read */
	int64_t complete_us;	    /* plain content is here since; 0: none */
	int64_t quiet_us;	    /* for so long nothing has come */
	struct position skip_until; /* of the segment: what is before it is applied */
	uint32_t hash_pages;	    /* of the primary, while hashes come */
	struct page_hashes here;
	struct record hashes_at;
	uint8_t *bitmap;
	size_t bitmap_bytes, bitmap_cap;
	char end[256]; /* what the primary said when it ended the stream */
	int64_t told_us, looked_us, busy_us;
	/* The spool. */
	bool spooling;			 /* a segment is being written */
	struct segment_writer *trimming; /* only its end, from `spooled` on; NULL: as it came */
	bool rewind;			 /* the current index comes again from its start, for the spool */
	/* Files of this generation through this index are, or were, in the loop's list: their names are not
	 * used again before the loop has forgotten them (upstream_rewind). */
	struct generation top_of;
	uint64_t top;
	bool hole; /* and so a segment was left out */
	struct spool_file file;
	struct generation spooled_of;
	struct position spooled; /* the spool holds everything of `spooled_of` up to here, without a hole since
				    it began */
	struct record segment;
	struct index_commit *commits;
	size_t commits_n, commits_cap;
	bool commits_given;
	struct spool_segment *pending, **pending_end; /* wait until the content before them is published */
};

void *feed_run(void *upstream);

/* feed.c */
bool feed_wanted_elsewhere(const struct feed *d); /* the loop wants something that ends the stream */
void feed_tell(struct feed *d, bool now);	  /* the loop and the status see what is in d->seen */
void feed_state(struct feed *d, enum upstream_state s, const char *reason);
void feed_nap(struct feed *d, int64_t us); /* ends early when the loop wants something */
/* Between records: what the loop ordered, a look at the files. false: the stream must be left. */
bool feed_tend(struct feed *d);
/* Waits until readers let it go. What f->content holds is published then. */
enum follow_result feed_wait_for_readers(struct feed *d, enum follow_result rc, struct err *e);

/* feed_stream.c: one stream, from the request to its end. -1: *e tells why it ended; 0: on purpose. */
int feed_stream(struct feed *d, struct err *e);
int feed_hashes(struct feed *d, struct err *e); /* asks for hashes and notes what differs */

/* feed_spool.c. Failing costs the replicas a beginning, never the copy here: it is said in the log. */
void feed_spool_open(struct feed *d);
void feed_spool_begin(struct feed *d, const struct record *r);
void feed_spool_stored(struct feed *d, struct span bytes);
void feed_spool_plain(struct feed *d, struct position from, struct span plain);
void feed_spool_end(struct feed *d, struct position end);
/* All has come: is what readers see in the spool as well? */
void feed_spool_look(struct feed *d);
void feed_spool_flush(struct feed *d);	 /* nothing waits to be read: what there is goes to the loop */
void feed_spool_abort(struct feed *d);	 /* the segment that is being written, and what waits for content */
void feed_spool_content(struct feed *d); /* content begins: nothing before it counts */
void feed_spool_remove(struct feed *d, struct spool_segment *list);

#endif
