/* SPDX-License-Identifier: Apache-2.0
 *
 * What the loop thread knows of one database and its replicas, and the decisions: which job is due. Everything
 * here is the loop's; jobs get what they need and nobody touches it until they are done. */
#ifndef WB_DAEMON_MANAGED_H
#define WB_DAEMON_MANAGED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "daemon/lag.h"
#include "daemon/names.h"
#include "db/db.h"
#include "db/replica.h"
#include "rt/loop.h"
#include "rt/pool.h"
#include "rt/watch.h"

/* The struct that the loop's or the pool's part is embedded in. */
#define OWNER_OF(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct managed;
struct reach;
struct sync_wait;
struct upstream;
struct upstream_news;
struct upstream_seen;
struct live_server;
struct live_db;

/* What all databases share. */
struct engine {
	struct loop *loop;
	struct pool *pool;
	struct watcher *watcher; /* NULL: polling only */
	struct managed *marked;	 /* to be looked at this turn */
	struct managed *gone;	 /* have left, to be freed */
	unsigned snapshots_out, snapshots_max, snapshots_called;
	struct managed *snap_first, **snap_end; /* who waits for one of the few snapshots at a time, in order */
	bool drill_out;				/* one at a time: they need memory */
	struct live_server *live;		/* NULL: nobody has followed yet */
	int64_t follow_window_bytes;
	bool stopping;
};

enum ship_job { SHIP_NONE, SHIP_ATTACH, SHIP_OBJECT, SHIP_SETTLE, SHIP_LOOK, SHIP_RETAIN, SHIP_LEFT };
enum { SHIP_BATCH = 64, SHIP_BATCH_BYTES = 64 << 20 };

/* What is shown of a replica while a job has it in hand: as it was before. */
struct replica_seen {
	struct generation generation;
	struct position at, snapshot_at; /* snapshot_at: of the newest of the generation; UINT64_MAX: none */
	int64_t snapshot_wall_us;
	uint64_t objects, stored_bytes, wal_bytes, deleted;
	bool wants_snapshot, doc_dirty;
};

/* The last validation of a replica; whoever validates fills it, on the loop. */
struct ship_validation {
	enum { VALIDATION_NONE, VALIDATION_OK, VALIDATION_ERROR } result;
	int64_t wall_us;
	uint64_t ok, failed; /* since the start */
};

/* Counted on the loop since the start, for status and metrics. */
struct ship_counts {
	uint64_t errors, snapshots, snapshots_failed;
	int64_t success_wall_us, error_wall_us; /* last; 0: none yet */
	char *error;				/* text of the last one, owned; NULL: none yet */
};

/* One replica as the loop sees it. */
struct shipper {
	struct managed *m;
	const struct conf_replica *conf;
	struct replica r;
	struct task task;
	enum ship_job job;  /* that is out; NONE: nothing is */
	bool held;	    /* a snapshot is being published with it */
	bool attached;	    /* what it holds of r.generation is known */
	bool left_last;	    /* with SHIP_LEFT: all have it, what was kept goes */
	bool left_done;	    /* m->left is nothing that concerns it any more */
	bool lagged;	    /* it starts again with the next WAL index and a snapshot */
	uint64_t lag_index; /* the first one that it may start again with */
	bool rewound;	    /* of a followed database: it has asked for the index `rewound_at` from its start */
	uint64_t rewound_at;
	int rc; /* these three are the job's while it is out */
	struct err e;
	bool any;			    /* of SHIP_ATTACH: there was something */
	struct generation target;	    /* of SHIP_ATTACH */
	struct spool_segment *cursor;	    /* first segment that it has not passed; NULL: none */
	const struct spool_segment **batch; /* of SHIP_OBJECT, while it is out */
	size_t batch_n;
	const struct spool_segment
		*paid; /* through this one the last token has paid; NULL: nothing is paid ahead */
	double tokens;
	int64_t tokens_us, retry_us, retain_us, shipped_us;
	unsigned misses;
	int64_t adrift_wall_us; /* since when it lacks something that is not in the list; 0: it does not */
	struct generation settled_in;
	int64_t look_us,
		looked_us; /* monotonic: a look at what is there began; and the last that found a snapshot */
	struct position settled; /* what is durable there, with its index: everything of settled_in before it */
	struct replica_seen seen;
	struct ship_counts n;
	struct ship_validation validation;
	int64_t validate_us;   /* monotonic: the next one is due; 0: not known yet */
	bool validate_refused; /* said that it cannot be done */
	struct {
		uint64_t objects, stored_bytes, errors;
	} told; /* in the last summary */
};

enum snap_phase { SNAP_NONE, SNAP_WANTED, SNAP_COPY, SNAP_COPIED, SNAP_SHIP, SNAP_PUBLISH };

struct snap {
	struct managed *m;
	enum snap_phase phase;
	struct snapshot s;
	struct snapshot_out *outs;
	struct shipper **to; /* one for each of outs */
	size_t n;
	struct position usable_from;
	uint64_t end_step; /* of COPIED: the first step that can capture through the end of the copy */
	struct generation generation; /* that it was wanted for */
	struct task task;
	int64_t since_us;
	uint64_t tick, epoch; /* of a followed database: see snap_followed */
	bool out, was_exact;
	struct drill *drill; /* not NULL: nothing is published, the one replica in `to` is validated */
};

/* What is shown of a database: as of its last step. */
struct db_seen {
	struct relay_counts relay;
	uint64_t frames, wal_bytes, commits, restarts; /* captured since the start */
	uint64_t steps, errors, generations, gaps;     /* since the start */
	int64_t steps_us;			       /* time in steps since the start */
	int64_t commit_wall_us;			       /* newest captured commit; 0: none is known */
	int64_t state_wall_us;			       /* in this state since */
	int64_t generation_wall_us;		       /* the generation began, or was taken up */
	uint64_t file_bytes, wal_file_bytes, spool_bytes;
	uint32_t page_bytes, wal_frames, wal_frames_copied;
	uint64_t done_step, reached_step; /* numbers of the last one, and of the last that captured all */
	const char *followed;		  /* name of the state of a followed database; NULL: it is none */
	enum err_kind why_kind;
	char *why; /* reason of the state or trouble, owned; NULL: none */
};

struct managed {
	struct engine *en;
	const struct conf_db *conf; /* is `own` once it is in the set */
	char *meta_dir;
	struct db db;
	struct task task;
	struct db_order order;
	struct db_report report;
	bool out;   /* a step is */
	bool ready; /* the first step is over: it is open, waits, or is broken */
	bool walk, sweep, may_let_go, stepped_to_stop; /* the last two: on the way to the end */
	bool busy;				       /* the last step was for a writer at full speed */
	const char *begin; /* reason for a new generation that the next step is to begin */

	bool opened;	     /* at least once */
	enum db_state state; /* as of the last step, as are these */
	struct generation generation;
	struct position captured;
	struct wal_sum captured_sum; /* of the frame that ends there; not of a followed one */
	struct generation born; /* the newest generation that began in this run: replicas have nothing of it */
	struct db_seen seen;
	int64_t took_us;	       /* the last step; the job's while it is out */
	int64_t behind_wall_us;	       /* since when frames wait to be captured; 0: they do not */
	struct lag lag, followers_lag; /* of the last minutes, for the page */
	uint64_t steps_begun;
	struct {
		uint64_t commits, wal_bytes, errors;
	} told;			 /* in the last summary */
	struct sync_wait *syncs; /* those who wait until all is shipped */
	struct reach *reaches;	 /* those who wait for a position, or ask for it */

	struct loop_timer timer;
	struct watch watch;
	bool watching, in_flight; /* in_flight: a writer was at work when the watch was armed */
	int64_t due_us, step_us, poll_us, poll_until_us, probe_us, torn_us;

	struct spool_segment *segs, *segs_last; /* ready, oldest first */
	struct spool_segment *drop_last;
	struct spool_segment *drop; /* everybody has them: the next step removes them */
	size_t drop_n;
	uint64_t segs_bytes, segs_n;
	struct live_db *live; /* NULL: nobody has followed yet */
	bool head_wanted;     /* by a follower */
	unsigned head_tries;  /* of a followed one, as is the next */
	int64_t head_again_us;
	struct generation
		reset_of; /* of it, everything before `reset` is in the file, and no longer in the WAL */
	struct position reset;

	struct shipper *ships;
	size_t ships_n;
	struct generation left; /* an earlier run left times of its commits; none: or all replicas have them */
	struct snap *snap;	/* while one is wanted or made */
	enum { SNAP_NOT_QUEUED, SNAP_QUEUED, SNAP_CALLED } snap_queue; /* called: a place is kept for it */
	struct managed *snap_next, **snap_at; /* snap_at: where the queue points to it */
	struct managed *mark_next;
	bool marked, finished; /* finished: stopped, all shipped and let go */

	struct upstream *up;	     /* it follows another machine's (followed.c); NULL: it does not */
	bool wants_rewind, promoted; /* promoted: it has followed, and is a primary now */
	struct generation filed_of;  /* of it, everything before `filed` is in the database file */
	struct position filed;
	bool filing;		  /* that is being seen to */
	uint64_t tick, tick_step; /* a step of it: when tick is over, step tick_step is; 0: none is out */
	uint64_t epoch;		  /* of its content */

	/* set.c: it is one of many, and may leave while the others stay. */
	struct conf_db own;
	struct named by_path, *places; /* places: where its replicas and its own state are, one for each */
	size_t places_n, set_at;
	bool from_directory; /* no entry names it */
	bool missing;	     /* there was no file at the last step */
	bool leaving;	     /* it is on its way out of the set */
	bool gone;	     /* is on the list of those that can be freed */
	int64_t leave_by_us;
	bool handover; /* leaving, and another one waits to go on with the database and what is in the spool */
	struct managed *gone_next; /* also of those that wait to enter the set */
};

void engine_submit(struct engine *en, struct task *t);
/* keep: segments of a followed database go to the spool even if it has no replicas. */
int managed_init(struct managed *m, struct engine *en, const struct conf_db *conf, bool keep, struct err *e);
void managed_fini(struct managed *m);
/* It captures and ships what is left, within a bounded time, lets go and comes onto en->gone. Others go on. */
void managed_leave(struct managed *m);
static inline bool managed_stopping(const struct managed *m)
{
	return m->en->stopping || m->leaving;
}
void managed_mark(struct managed *m); /* something happened: look at it this turn */
void managed_turn(struct managed *m); /* picks what is due; called for the marked ones */

/* For followed.c: takes report.loaded and report.fresh; the replicas, and what all have leaves the list. */
void managed_take_segments(struct managed *m);
int64_t managed_turn_replicas(struct managed *m, int64_t now_us);

/* status.c: what is shown, kept up to date where the loop has the structs in hand. */
void managed_saw(struct managed *m); /* a step is over */
void managed_saw_followed(struct managed *m, const struct upstream_seen *seen, bool opened);
void managed_saw_lag(struct managed *m); /* at the end of each turn */
void ship_saw(struct shipper *s);	 /* a job is about to take it */
void ship_saw_error(struct shipper *s, const char *text);
bool ship_restorable(const struct shipper *s); /* it has a snapshot of the current generation */

/* sync.c: whether somebody waits for a replica. No job has it in hand. */
enum sync_wish { SYNC_NONE, SYNC_SHIP, SYNC_SETTLE, SYNC_LOOK };
enum sync_wish sync_wish(const struct shipper *s);

/* ship.c */
/* ERR_CONFIG: its keys cannot be had. */
int ship_init(struct shipper *s, struct managed *m, const struct conf_replica *conf, struct err *e);
/* Submits what is due for the replica. Returns the monotonic time of the next look, 0: none needed. */
int64_t ship_turn(struct shipper *s, int64_t now_us);
bool ship_has_token(struct shipper *s, int64_t now_us);
bool ship_done(const struct shipper *s); /* it has everything, and nothing is out */
/* New segments are at the end of the list from `first` on. */
void ship_offer(struct shipper *s, struct spool_segment *first);

/* validate.c: a restore drill, compared with the database at the same position. */
/* The replica that is due, NULL: none is; *ret_next_us: monotonic, when the next one will be, 0: never. */
struct shipper *validate_wanted(struct managed *m, int64_t now_us, int64_t *ret_next_us);
struct drill *validate_new(struct shipper *to); /* NULL: no memory */
void validate_free(struct drill *d);
/* Jobs: the pages of the database, and then those that a restore of the replica to the same position gives. */
void validate_database(struct drill *d, struct snapshot *s);
void validate_replica(struct drill *d, const struct snapshot *s);
/* Both are done, or one of them was given up. */
void validate_done(struct drill *d, const struct snapshot *s, int64_t now_us);
bool validate_goes_on(const struct drill *d); /* the first job went well */
void validate_interrupt(void);		      /* the one that is under way fails soon */

/* serve.c: what followers want of a database, and what they are told. Fine without any. */
void serve_saw(struct managed *m, struct spool_segment *first); /* a step is over; first: of the fresh ones */
/* Of a followed database: what m->head_wanted stands for is done, or cannot be; the head is in the list. */
void serve_head_over(struct managed *m, bool good, const char *why);
void serve_lineage_changed(struct managed *m);
uint64_t serve_head(struct managed *m); /* of the order of the next step */
bool serve_wants_step(const struct managed *m);
bool serve_hurries(const struct managed *m); /* a change is captured at once */
bool serve_keeps(struct managed *m);	     /* m->segs, which all replicas have */
void serve_leaves(struct managed *m);	     /* m->segs is about to go */
bool serve_holds(const struct managed *m);   /* a connection to the file is open, or a job is out */
void serve_cancel(struct managed *m);	     /* such connections are to be closed soon */
int64_t serve_turn(struct managed *m, int64_t now_us);
void serve_end(struct managed *m, const char *why);
int64_t serve_lingers(const struct managed *m); /* after that: until when somebody is still sent something */
void serve_fini(struct managed *m);

/* snap.c */
int64_t snap_turn(struct managed *m, int64_t now_us);
void snap_step_done(struct managed *m, bool pinned);
void snap_followed(struct managed *m,
		   const struct upstream_news *news); /* of a followed database, every turn */
void snap_cancel(struct managed *m);
void snap_unqueue(struct managed *m);	    /* it does not want one now: whoever is next may */
bool snap_freezes(const struct managed *m); /* an exact copy is being made and was not asked to let go */
void snap_bound_wal(struct managed *m, uint64_t wal_bytes); /* past the cap of the WAL it lets go */

#endif
