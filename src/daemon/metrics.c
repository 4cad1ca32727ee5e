/* SPDX-License-Identifier: Apache-2.0
 *
 * Metrics and health: see metrics.h.
 *
 * Happy path: a request takes the status of all databases and replicas once (daemon/status), and writes family
 * by family, as the format wants it. Nothing is kept between requests, and nobody who does not ask pays.
 *
 * Failure modes: no memory (500). */
#include "daemon/metrics.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/http.h"
#include "daemon/status.h"

enum { BODY_BYTES_MAX = 256 << 20 };

/* All that is shown, taken at once. */
struct picture {
	struct status_now now;
	struct status_daemon daemon;
	struct status_db *dbs;
	size_t dbs_n;
	struct status_replica *replicas; /* of all databases in order */
	size_t *owner;			 /* of each: its database */
	size_t replicas_n;
	struct status_upstream *ups; /* of those that are followed */
	size_t *followed;	     /* of each: its database */
	size_t ups_n;
};

static void picture_free(struct picture *p)
{
	free(p->dbs);
	free(p->replicas);
	free(p->owner);
	free(p->ups);
	free(p->followed);
}

static int picture_take(const struct daemon *d, struct picture *p)
{
	size_t n = 0, ups_n = 0;
	*p = (struct picture){ .now = status_now() };
	for (size_t i = 0; i < d->n; i++) {
		n += d->dbs[i]->ships_n;
		ups_n += d->dbs[i]->up != NULL;
	}
	p->dbs = calloc(d->n + 1, sizeof *p->dbs);
	p->replicas = calloc(n + 1, sizeof *p->replicas);
	p->owner = calloc(n + 1, sizeof *p->owner);
	p->ups = calloc(ups_n + 1, sizeof *p->ups);
	p->followed = calloc(ups_n + 1, sizeof *p->followed);
	if (!p->dbs || !p->replicas || !p->owner || !p->ups || !p->followed) {
		picture_free(p);
		return -1;
	}
	status_of_daemon(d, &p->daemon);
	for (size_t i = 0; i < d->n; i++) {
		status_of_db(d->dbs[i], p->now, &p->dbs[p->dbs_n++]);
		if (status_of_upstream(d->dbs[i], p->now, &p->ups[p->ups_n]))
			p->followed[p->ups_n++] = i;
		for (size_t k = 0; k < d->dbs[i]->ships_n; k++) {
			p->owner[p->replicas_n] = i;
			status_of_replica(&d->dbs[i]->ships[k], p->now, &p->replicas[p->replicas_n++]);
		}
	}
	return 0;
}

/* ---- the format ---- */

enum kind { U64, FLAG, SECONDS, WALL_SECONDS }; /* the last two: from microseconds */

struct family {
	const char *name, *type, *help;
	enum kind kind;
	size_t at;
	const char *label; /* one more, with its value, as it is written; NULL: none. Rows of one name follow
			      each other */
};

#define DB(name_, type_, kind_, member, help_)                                                                 \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = (kind_), .at = offsetof(struct status_db, member),   \
		.help = (help_)                                                                                \
	}
#define DB_LABEL(name_, type_, kind_, member, label_, help_)                                                   \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = (kind_), .at = offsetof(struct status_db, member),   \
		.help = (help_), .label = (label_)                                                             \
	}
#define REPLICA(name_, type_, kind_, member, help_)                                                            \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = (kind_),                                             \
		.at = offsetof(struct status_replica, member), .help = (help_)                                 \
	}
#define REPLICA_LABEL(name_, type_, kind_, member, label_, help_)                                              \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = (kind_),                                             \
		.at = offsetof(struct status_replica, member), .help = (help_), .label = (label_)              \
	}
#define UPSTREAM(name_, type_, kind_, member, help_)                                                           \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = (kind_),                                             \
		.at = offsetof(struct status_upstream, member), .help = (help_)                                \
	}
#define PASSIVE "mode=\"PASSIVE\""
#define RESTART "mode=\"RESTART\""

static const struct family of_db[] = {
	DB("litestream_db_size", "gauge", U64, file_bytes, "Bytes of the database file"),
	DB("litestream_wal_size", "gauge", U64, wal_file_bytes, "Bytes of the WAL file"),
	DB("litestream_total_wal_bytes", "counter", U64, captured_wal_bytes, "Bytes captured from the WAL"),
	DB("litestream_shadow_wal_index", "gauge", U64, captured.index, "Current WAL index of the generation"),
	DB("litestream_shadow_wal_size", "gauge", U64, spool_bytes,
	   "Bytes in the spool that wait to be shipped"),
	DB("litestream_sync_count", "counter", U64, steps, "Looks at the database with all that was due"),
	DB("litestream_sync_error_count", "counter", U64, step_errors, "Those that failed"),
	DB("litestream_sync_seconds", "counter", SECONDS, steps_us, "Time in them"),
	DB_LABEL("litestream_checkpoint_count", "counter", U64, checkpoints.copies, PASSIVE,
		 "Checkpoints by us; RESTART: those for which writers waited a moment"),
	DB_LABEL("litestream_checkpoint_count", "counter", U64, checkpoints.forced, RESTART, NULL),
	DB_LABEL("litestream_checkpoint_error_count", "counter", U64, checkpoints.refused, PASSIVE,
		 "Checkpoints that could not be made because somebody was in the way"),
	DB_LABEL("litestream_checkpoint_seconds", "counter", SECONDS, checkpoints.copy_us, PASSIVE,
		 "Time in checkpoints"),
	DB("walbrook_db_generations_begun", "counter", U64, generations_begun, "Generations begun"),
	DB("walbrook_db_gaps", "counter", U64, gaps, "Times that continuity was lost"),
	DB("walbrook_db_captured_commits", "counter", U64, captured_commits, "Commits captured"),
	DB("walbrook_db_captured_frames", "counter", U64, captured_frames, "Frames captured"),
	DB("walbrook_db_wal_restarts", "counter", U64, wal_restarts, "WAL indexes that began"),
	DB("walbrook_db_wal_bytes", "gauge", U64, wal_bytes, "Bytes of the WAL through its last commit"),
	DB("walbrook_db_walks", "counter", U64, checkpoints.walks,
	   "Times that an application's own checkpoint was let through"),
	DB("walbrook_db_longest_write_lock_seconds", "gauge", SECONDS, checkpoints.longest_hold_us,
	   "Longest time that the write lock was held by us"),
	DB("walbrook_db_spool_segments", "gauge", U64, spool_segments, "Segments in the spool"),
	DB("walbrook_db_last_commit_timestamp_seconds", "gauge", WALL_SECONDS, commit_wall_us,
	   "When the newest commit was seen"),
	DB("walbrook_db_oldest_unshipped_seconds", "gauge", SECONDS, oldest_unshipped_age_us,
	   "Age of the oldest commit that some replica lacks; 0: none"),
};

static const struct family of_replica[] = {
	REPLICA("litestream_replica_wal_bytes", "counter", U64, wal_bytes,
		"Bytes of WAL shipped, uncompressed"),
	REPLICA("litestream_replica_wal_index", "gauge", U64, at.index, "WAL index of its position"),
	REPLICA("litestream_replica_wal_offset", "gauge", U64, at.offset, "Offset of its position"),
	REPLICA_LABEL("litestream_replica_validation_total", "counter", U64, validation.ok, "status=\"ok\"",
		      "Restore drills"),
	REPLICA_LABEL("litestream_replica_validation_total", "counter", U64, validation.failed,
		      "status=\"error\"", NULL),
	REPLICA("walbrook_replica_lag_seconds", "gauge", SECONDS, lag_us,
		"Age of the oldest commit that is not there; 0: none"),
	REPLICA("walbrook_replica_behind_bytes", "gauge", U64, behind_bytes,
		"Bytes of WAL captured and not there"),
	REPLICA("walbrook_replica_last_success_timestamp_seconds", "gauge", WALL_SECONDS, success_wall_us,
		"When it last took something"),
	REPLICA("walbrook_replica_errors", "counter", U64, errors, "Attempts that failed"),
	REPLICA("walbrook_replica_last_error_timestamp_seconds", "gauge", WALL_SECONDS, error_wall_us,
		"When one last failed"),
	REPLICA("walbrook_replica_failing", "gauge", FLAG, failing, "Whether the last attempt failed"),
	REPLICA("walbrook_replica_restorable", "gauge", FLAG, restorable,
		"Whether it holds a snapshot of the current generation"),
	REPLICA("walbrook_replica_objects", "counter", U64, objects, "Objects with WAL shipped"),
	REPLICA("walbrook_replica_stored_bytes", "counter", U64, stored_bytes, "Their bytes, compressed"),
	REPLICA("walbrook_replica_deleted", "counter", U64, deleted, "Objects deleted by retention"),
	REPLICA("walbrook_replica_snapshots", "counter", U64, snapshots, "Snapshots written"),
	REPLICA("walbrook_replica_snapshots_failed", "counter", U64, snapshots_failed, "Snapshots that failed"),
	REPLICA("walbrook_replica_snapshot_timestamp_seconds", "gauge", WALL_SECONDS, snapshot_wall_us,
		"When the newest snapshot was made"),
	REPLICA("walbrook_replica_validation_timestamp_seconds", "gauge", WALL_SECONDS, validation.wall_us,
		"When the last restore drill was"),
};

static const struct family of_upstream[] = {
	UPSTREAM("walbrook_upstream_connected", "gauge", FLAG, seen.connected, "Whether a stream is open"),
	UPSTREAM("walbrook_upstream_lag_seconds", "gauge", SECONDS, lag_us,
		 "Age of what readers of the copy see; 0: all that was sent. Not there before the first copy"),
	UPSTREAM("walbrook_upstream_behind_bytes", "gauge", U64, behind_bytes,
		 "Bytes of WAL that the primary has sent and readers do not see"),
	UPSTREAM("walbrook_upstream_received_bytes", "counter", U64, seen.received_bytes, "Bytes of streams"),
	UPSTREAM("walbrook_upstream_transactions", "counter", U64, seen.transactions, "Transactions applied"),
	UPSTREAM("walbrook_upstream_streams", "counter", U64, seen.connects, "Streams begun"),
	UPSTREAM("walbrook_upstream_errors", "counter", U64, seen.errors, "Streams that broke"),
	UPSTREAM("walbrook_upstream_contents", "counter", U64, seen.contents, "Times that content was taken"),
	UPSTREAM("walbrook_upstream_pages_written", "counter", U64, seen.pages_written,
		 "Pages written by content"),
	UPSTREAM("walbrook_upstream_wal_bytes", "gauge", U64, seen.wal_bytes, "Bytes of the copy's own WAL"),
	UPSTREAM("walbrook_upstream_local_writers", "counter", U64, seen.local_writers,
		 "Times that somebody wrote the copy"),
	UPSTREAM("walbrook_upstream_last_heard_timestamp_seconds", "gauge", WALL_SECONDS, seen.heard_wall_us,
		 "When the last byte came"),
};

static int head(struct dyn *to, const char *name, const char *type, const char *help)
{
	return dyn_addf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label value: the format escapes backslash, quote and line feed. */
static int label_value(struct dyn *to, const char *text)
{
	int rc = dyn_add(to, "\"", 1);
	for (const char *c = text; rc == 0 && *c; c++) {
		if (*c == '\\' || *c == '"')
			rc = dyn_add(to, "\\", 1);
		rc = rc < 0 ? rc : *c == '\n' ? dyn_add(to, "\\n", 2) : dyn_add(to, c, 1);
	}
	return rc < 0 ? rc : dyn_add(to, "\"", 1);
}

static int value(struct dyn *to, const struct family *f, const void *from)
{
	const char *at = (const char *)from + f->at;
	switch (f->kind) {
	case U64:
		return dyn_addf(to, " %" PRIu64 "\n", *(const uint64_t *)(const void *)at);
	case FLAG:
		return dyn_addf(to, " %d\n", *(const bool *)(const void *)at);
	case SECONDS:
	case WALL_SECONDS:
	default:
		return dyn_addf(to, " %.6f\n", (double)*(const int64_t *)(const void *)at / 1e6);
	}
}

static int family_head(struct dyn *to, const struct family *f)
{
	return f->help ? head(to, f->name, f->type, f->help) : 0;
}

static int sample_begin(struct dyn *to, const struct family *f, const char *db)
{
	if (dyn_addf(to, "%s{db=", f->name) < 0)
		return -1;
	return label_value(to, db);
}

static int sample_end(struct dyn *to, const struct family *f, const void *from)
{
	if (f->label && dyn_addf(to, ",%s", f->label) < 0)
		return -1;
	return dyn_add(to, "}", 1) < 0 ? -1 : value(to, f, from);
}

static int write_dbs(const struct picture *p, struct dyn *to)
{
	for (size_t k = 0; k < sizeof of_db / sizeof *of_db; k++) {
		const struct family *f = &of_db[k];
		if (family_head(to, f) < 0)
			return -1;
		for (size_t i = 0; i < p->dbs_n; i++)
			if (sample_begin(to, f, p->dbs[i].path) < 0 || sample_end(to, f, &p->dbs[i]) < 0)
				return -1;
	}
	if (head(to, "walbrook_db_state", "gauge", "1 for the state that the database is in") < 0)
		return -1;
	for (size_t i = 0; i < p->dbs_n; i++)
		if (dyn_addf(to, "walbrook_db_state{db=") < 0 || label_value(to, p->dbs[i].path) < 0 ||
		    dyn_addf(to, ",state=\"%s\"} 1\n", p->dbs[i].state_name) < 0)
			return -1;
	return 0;
}

static int write_replicas(const struct picture *p, struct dyn *to)
{
	for (size_t k = 0; k < sizeof of_replica / sizeof *of_replica; k++) {
		const struct family *f = &of_replica[k];
		if (family_head(to, f) < 0)
			return -1;
		for (size_t i = 0; i < p->replicas_n; i++)
			if (sample_begin(to, f, p->dbs[p->owner[i]].path) < 0 || dyn_addf(to, ",name=") < 0 ||
			    label_value(to, p->replicas[i].name) < 0 || sample_end(to, f, &p->replicas[i]) < 0)
				return -1;
	}
	return 0;
}

/* Only where something is followed: no family without a sample. */
static int write_upstreams(const struct picture *p, struct dyn *to)
{
	for (size_t k = 0; p->ups_n > 0 && k < sizeof of_upstream / sizeof *of_upstream; k++) {
		const struct family *f = &of_upstream[k];
		if (family_head(to, f) < 0)
			return -1;
		for (size_t i = 0; i < p->ups_n; i++) {
			bool unknown =
				f->at == offsetof(struct status_upstream, lag_us) && p->ups[i].lag_us < 0;
			if (!unknown && (sample_begin(to, f, p->dbs[p->followed[i]].path) < 0 ||
					 sample_end(to, f, &p->ups[i]) < 0))
				return -1;
		}
	}
	if (p->ups_n > 0 &&
	    head(to, "walbrook_upstream_state", "gauge", "1 for the state that following is in") < 0)
		return -1;
	for (size_t i = 0; i < p->ups_n; i++)
		if (dyn_addf(to, "walbrook_upstream_state{db=") < 0 ||
		    label_value(to, p->dbs[p->followed[i]].path) < 0 ||
		    dyn_addf(to, ",state=\"%s\"} 1\n", p->ups[i].state) < 0)
			return -1;
	return 0;
}

/* ---- followers: by host, so that a connection that comes anew makes no new series ---- */

enum { HOSTS_MOST = 32 }; /* of one database; those beyond are "other" */

struct host {
	char name[HTTPD_PEER_BYTES];
	uint64_t behind_bytes, bytes, n;
	int64_t lag_us;
};

struct hosts {
	size_t db; /* number of the database */
	struct host all[HOSTS_MOST + 1];
	size_t n;
};

static void add_follower(void *arg, const struct live_follower *f)
{
	struct hosts *h = arg;
	char name[HTTPD_PEER_BYTES];
	const char *port = strrchr(f->peer, ':');
	snprintf(name, sizeof name, "%.*s", (int)(port ? (size_t)(port - f->peer) : strlen(f->peer)), f->peer);
	size_t i = 0;
	while (i < h->n && i < HOSTS_MOST && strcmp(h->all[i].name, name) != 0)
		i++;
	if (i == h->n) {
		snprintf(h->all[i].name, sizeof name, "%s", i == HOSTS_MOST ? "other" : name);
		h->n++;
	}
	struct host *at = &h->all[i];
	at->n++;
	at->bytes += f->bytes;
	at->behind_bytes = f->behind_bytes > at->behind_bytes ? f->behind_bytes : at->behind_bytes;
	at->lag_us = f->lag_us > at->lag_us ? f->lag_us : at->lag_us;
}

#define HOST(name_, kind_, member, help_)                                                                      \
	{                                                                                                      \
		.name = (name_), .type = "gauge", .kind = (kind_), .at = offsetof(struct host, member),        \
		.help = (help_)                                                                                \
	}
static const struct family of_host[] = {
	HOST("walbrook_follower_connections", U64, n, "Streams open to that host"),
	HOST("walbrook_follower_lag_seconds", SECONDS, lag_us,
	     "Age of the oldest commit that is not sent there; the most of its streams"),
	HOST("walbrook_follower_behind_bytes", U64, behind_bytes,
	     "Bytes of WAL that are not sent there; the most of its streams"),
	HOST("walbrook_follower_sent_bytes", U64, bytes, "Bytes sent there by the streams that are open"),
};

#define LIVE(name_, type_, member, help_)                                                                      \
	{                                                                                                      \
		.name = (name_), .type = (type_), .kind = U64,                                                 \
		.at = offsetof(struct status_followers, member), .help = (help_)                               \
	}
static const struct family of_live[] = {
	LIVE("walbrook_db_followers", "gauge", n, "Streams that are open"),
	LIVE("walbrook_db_followers_sent_bytes", "counter", totals.bytes, "Bytes of all streams"),
	LIVE("walbrook_db_followers_streams", "counter", totals.streams, "Streams begun"),
	LIVE("walbrook_db_followers_contents", "counter", totals.contents, "Contents sent"),
	LIVE("walbrook_db_followers_fallen_out", "counter", totals.fallen_out,
	     "Streams ended because what they needed was not kept any more"),
};

static int write_hosts(const struct picture *p, const struct hosts *all, size_t n, struct dyn *to)
{
	for (size_t k = 0; k < sizeof of_host / sizeof *of_host; k++) {
		const struct family *f = &of_host[k];
		if (family_head(to, f) < 0)
			return -1;
		for (size_t i = 0; i < n; i++)
			for (size_t h = 0; h < all[i].n; h++)
				if (sample_begin(to, f, p->dbs[all[i].db].path) < 0 ||
				    dyn_addf(to, ",peer=") < 0 || label_value(to, all[i].all[h].name) < 0 ||
				    sample_end(to, f, &all[i].all[h]) < 0)
					return -1;
	}
	return 0;
}

/* Of databases that somebody has followed since the start. */
static int write_followers(const struct daemon *d, const struct picture *p, struct dyn *to)
{
	size_t n = 0;
	for (size_t i = 0; i < d->n; i++)
		n += d->dbs[i]->live != NULL;
	struct hosts *hosts = calloc(n ? n : 1, sizeof *hosts);
	struct status_followers *sums = calloc(n ? n : 1, sizeof *sums);
	int rc = hosts && sums ? 0 : -1;
	for (size_t i = 0, at = 0; rc == 0 && i < d->n; i++) {
		if (!d->dbs[i]->live)
			continue;
		hosts[at].db = i;
		live_each(d->dbs[i]->live, p->now.wall_us, add_follower, &hosts[at]);
		status_of_followers(d->dbs[i], p->now, &sums[at++]);
	}
	for (size_t k = 0; rc == 0 && n > 0 && k < sizeof of_live / sizeof *of_live; k++) {
		rc = family_head(to, &of_live[k]);
		for (size_t i = 0; rc == 0 && i < n; i++)
			if (sample_begin(to, &of_live[k], p->dbs[hosts[i].db].path) < 0 ||
			    sample_end(to, &of_live[k], &sums[i]) < 0)
				rc = -1;
	}
	if (rc == 0 && n > 0)
		rc = write_hosts(p, hosts, n, to);
	free(hosts);
	free(sums);
	return rc;
}

/* What dashboards know of any process. */
static int write_process(const struct picture *p, struct dyn *to)
{
	struct rusage u;
	struct rlimit l;
	long pages = 0, resident = 0, fds = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f && fscanf(f, "%ld %ld", &pages, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		fds++;
	if (d)
		closedir(d);
	getrusage(RUSAGE_SELF, &u);
	getrlimit(RLIMIT_NOFILE, &l);
	double cpu_s = (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
		       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	if (head(to, "process_cpu_seconds_total", "counter", "Time on processors") < 0 ||
	    dyn_addf(to, "process_cpu_seconds_total %.2f\n", cpu_s) < 0 ||
	    head(to, "process_resident_memory_bytes", "gauge", "Resident memory") < 0 ||
	    dyn_addf(to, "process_resident_memory_bytes %ld\n", resident * sysconf(_SC_PAGESIZE)) < 0 ||
	    head(to, "process_open_fds", "gauge", "Open file descriptors") < 0 ||
	    dyn_addf(to, "process_open_fds %ld\n", fds > 3 ? fds - 3 : 0) < 0 ||
	    head(to, "process_max_fds", "gauge", "Most file descriptors that may be open") < 0 ||
	    dyn_addf(to, "process_max_fds %" PRIu64 "\n", (uint64_t)l.rlim_cur) < 0 ||
	    head(to, "process_start_time_seconds", "gauge", "When the daemon started") < 0)
		return -1;
	return dyn_addf(to, "process_start_time_seconds %.3f\n", (double)p->daemon.started_wall_us / 1e6);
}

static int write_daemon(const struct picture *p, struct dyn *to)
{
	if (head(to, "walbrook_info", "gauge", "Always 1; the version is a label") < 0 ||
	    dyn_addf(to, "walbrook_info{version=\"%s\"} 1\n", p->daemon.version) < 0 ||
	    head(to, "walbrook_databases", "gauge", "Databases that are replicated") < 0)
		return -1;
	return dyn_addf(to, "walbrook_databases %zu\n", p->daemon.databases);
}

int metrics_write(const struct daemon *d, struct dyn *to)
{
	struct picture p;
	if (picture_take(d, &p) < 0)
		return -1;
	int rc = write_daemon(&p, to) < 0 || write_dbs(&p, to) < 0 || write_replicas(&p, to) < 0 ||
				 write_upstreams(&p, to) < 0 || write_followers(d, &p, to) < 0 ||
				 write_process(&p, to) < 0
			 ? -1
			 : 0;
	picture_free(&p);
	return rc;
}

/* ---- health ---- */

bool metrics_health(const struct daemon *d, struct dyn *to)
{
	struct status_now now = status_now();
	int64_t bound_us = d->conf->health_lag_us;
	bool well = true;
	for (size_t i = 0; i < d->n; i++) {
		struct status_db s;
		status_of_db(d->dbs[i], now, &s);
		if (s.state == DB_BROKEN) {
			dyn_addf(to, "%s: broken: %s\n", s.path, s.reason);
			well = false;
		} else if (bound_us > 0 && s.oldest_unshipped_age_us > bound_us) {
			dyn_addf(to,
				 "%s: a commit waits for %" PRId64 " s to be shipped to every replica%s%s\n",
				 s.path, s.oldest_unshipped_age_us / 1000000, *s.reason ? ": " : "", s.reason);
			well = false;
		}
	}
	if (well)
		dyn_addf(to, "ok\n");
	return well;
}

/* ---- serving ---- */

void metrics_answer(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	(void)q;
	ret->body.max = BODY_BYTES_MAX;
	ret->type = "text/plain; version=0.0.4; charset=utf-8";
	if (metrics_write(d, &ret->body) < 0) {
		dyn_free(&ret->body);
		http_say(ret, 500, "no memory for the metrics");
	}
}

void metrics_answer_health(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	(void)q;
	ret->body.max = BODY_BYTES_MAX;
	ret->status = metrics_health(d, &ret->body) ? 200 : 503;
}
