/* SPDX-License-Identifier: Apache-2.0
 *
 * What status, metrics and health checks show of the daemon: plain values, taken on the loop thread between two
 * turns. Nothing is allocated and no file is touched; what a job has in hand is shown as it was before it.
 * Strings are borrowed and good until the caller returns to the loop. Nothing in here is a secret.
 *
 *   struct status_now now = status_now();
 *   for (size_t i = 0; i < d->n; i++) {
 *           status_of_db(d->dbs[i], now, &db);
 *           for (size_t k = 0; k < db.replicas_n; k++)
 *                   status_of_replica(&d->dbs[i]->ships[k], now, &replica);
 *   }
 *
 * Units are in the names. Wall times are microseconds since 1970, 0 when it has not happened. What is counted
 * is counted since the daemon started. */
#ifndef WB_DAEMON_STATUS_H
#define WB_DAEMON_STATUS_H

#include "conf/url.h"
#include "daemon/parts.h"
#include "daemon/upstream.h"
#include "live/live.h"

struct status_now {
	int64_t mono_us, wall_us;
};
struct status_now status_now(void);

struct status_daemon {
	const char *version, *config; /* config: path, NULL when the command line is the configuration */
	int pid;
	int64_t started_wall_us;
	size_t databases;
	bool stopping;
};
void status_of_daemon(const struct daemon *d, struct status_daemon *ret);

struct status_db {
	const char *path;
	enum db_state state;	/* as people see it: also dirty, capturing, snapshot */
	const char *state_name; /* of it, as in DB_STATES */
	bool followed;		/* a copy of another machine's: then state_name is one of upstream.h */
	const char *reason;	/* of waiting, gap, broken, or of a step that failed; "" for none */
	int64_t since_wall_us;	/* it has been in that state */
	struct generation generation;
	struct position captured;
	int64_t commit_wall_us; /* when capture saw the newest commit */
	uint32_t page_bytes;	/* 0: not known yet */
	uint64_t file_bytes;	/* of the database file */
	uint64_t
		wal_bytes; /* of the WAL, through its last committed frame; what follows is free to be reused */
	uint64_t wal_file_bytes;      /* of the -wal file, which never shrinks by itself */
	uint64_t wal_uncopied_frames; /* not checkpointed into the database file yet */
	uint64_t captured_wal_bytes, captured_frames, captured_commits;
	uint64_t wal_restarts;		      /* seen by capture: WAL indexes that began */
	uint64_t spool_bytes, spool_segments; /* waiting for at least one replica, or to be removed */
	uint64_t steps, step_errors;	      /* a step: one look by a worker, with all that is due then */
	int64_t steps_us;		      /* time in them, all together */
	struct relay_counts checkpoints;      /* db/relay.h: copies, forced, walks, refused, copy_us … */
	uint64_t generations_begun, gaps;
	/* The oldest commit that some replica lacks; 0: each has everything that is captured. Also counted:
	 * frames that wait for capture, and a gap from its beginning on. */
	int64_t oldest_unshipped_wall_us, oldest_unshipped_age_us;
	size_t replicas_n;
};
void status_of_db(const struct managed *m, struct status_now now, struct status_db *ret);

struct status_replica {
	const char *name, *type, *url; /* url: without passwords and keys */
	bool attached;		       /* what it holds is known: it was reached since the start */
	bool restorable;	       /* it holds a snapshot of the current generation */
	bool failing;		       /* its last job failed; it is tried again in retry_in_us */
	struct generation generation;  /* "" : none yet */
	struct position at;	       /* it holds everything of `generation` before */
	/* Age of the oldest commit that is not there; 0: all that is captured is. */
	int64_t oldest_unshipped_wall_us, lag_us;
	uint64_t behind_bytes, behind_segments; /* of WAL: captured and not shipped */
	int64_t success_wall_us;		/* its last job that went well */
	uint64_t errors;			/* jobs and snapshots that failed */
	int64_t error_wall_us;
	const char *error; /* text of the last one, also when it is over; "" for none */
	unsigned tries;	   /* failures in a row, 0: none */
	int64_t retry_in_us;
	uint64_t objects, stored_bytes; /* WAL shipped; compressed */
	uint64_t wal_bytes;		/* the same, uncompressed */
	uint64_t snapshots, snapshots_failed;
	int64_t snapshot_wall_us;    /* the newest of the generation, also one of an earlier run */
	struct position snapshot_at; /* index UINT64_MAX: none. Offset 0 when an earlier run made it */
	uint64_t deleted;	     /* objects, by retention */
	struct ship_validation validation;
};
void status_of_replica(const struct shipper *s, struct status_now now, struct status_replica *ret);

/* What a followed database follows. */
struct status_upstream {
	char url[URL_BYTES]; /* without passwords */
	const char *path;    /* of the database there */
	const char *state;   /* name of seen.state */
	struct upstream_seen seen;
	int64_t lag_us;	       /* age of what readers see (upstream_lag_us); -1: nothing is here yet */
	uint64_t behind_bytes; /* of WAL that the primary has sent, in this index, and readers do not see */
};
/* false: it follows nobody. */
bool status_of_upstream(const struct managed *m, struct status_now now, struct status_upstream *ret);

/* Those who follow a database here, all together; live_each() gives each. */
struct status_followers {
	uint64_t n, copying;   /* copying: still get content */
	int64_t lag_us;	       /* the most of one */
	uint64_t behind_bytes; /* the most of one */
	struct live_totals totals;
};
void status_of_followers(const struct managed *m, struct status_now now, struct status_followers *ret);
/* For the graph: at captures and when somebody looks. */
void status_sample_followers(struct managed *m, struct status_now now);
const char *status_follower_phase(enum live_phase p); /* "waits", "copies", "follows", "ends" */

#endif
