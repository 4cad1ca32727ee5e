/* SPDX-License-Identifier: Apache-2.0
 *
 * What is answered: see show.h.
 *
 * Happy path: the status of all is a table with a line for each replica, then a few lines for each database
 * that needs somebody, then the end; of one that is named, everything that is known. JSON is the same values,
 * one database a line.
 *
 * Failure modes: no memory for the piece (whoever sends it ends the connection); a database that came or went
 * while a long answer is under way may be missing or come twice. */
#include "daemon/show.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/words.h"

/* ---- lines of text ---- */

/* One line, whatever paths and errors are in it. */
static void line(struct dyn *to, char kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void line(struct dyn *to, char kind, const char *fmt, ...)
{
	char text[2 * PATH_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if (((unsigned char)*p < ' ' && (kind != '=' || *p != '\t')) || *p == 0x7f)
			*p = '?';
	if (dyn_add(to, &kind, 1) < 0 || dyn_add(to, text, strlen(text)) < 0 || dyn_add(to, "\n", 1) < 0)
		to->max = to->len; /* nothing that follows gets in either, and so the end is not there */
}

/* A path in a cell: a tab in it would begin another one. Returns buf. */
static const char *cell(char buf[PATH_BYTES], const char *text)
{
	snprintf(buf, PATH_BYTES, "%s", text);
	for (char *p = buf; *p; p++)
		if (*p == '\t')
			*p = '?';
	return buf;
}

static void table_rows(struct show *s, const struct managed *m, const struct status_db *db, bool *trouble)
{
	char a[WORDS_BYTES], b[WORDS_BYTES], c[WORDS_BYTES], f[WORDS_BYTES], w[WORDS_BYTES];
	char path[PATH_BYTES], name[PATH_BYTES];
	bool any = !generation_none(&db->generation);
	const char *at = any ? words_position(a, db->captured) : "-";
	cell(path, db->path);
	struct status_upstream up;
	bool followed = status_of_upstream(m, s->now, &up);
	if (followed) {
		*trouble = *trouble || words_upstream_needs(&up);
		line(s->to, '=', "%s\t%s\t%s\tfrom %s\t%s\t%s\t%s\t%s", path, db->state_name, at,
		     cell(name, up.url), up.seen.known ? words_position(b, up.seen.applied) : "-",
		     words_upstream_lag(c, &up), words_bytes(f, up.behind_bytes), words_upstream(&up));
		path[0] = 0;
	}
	for (size_t i = 0; i < db->replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], s->now, &r);
		*trouble = *trouble || words_replica_needs(&r);
		bool known = !generation_none(&r.generation);
		bool other = known && !generation_equal(&r.generation, &db->generation);
		line(s->to, '=', "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", i == 0 ? path : "",
		     i == 0 && !followed ? db->state_name : "", i == 0 && !followed ? at : "",
		     cell(name, r.name),
		     other   ? "older generation"
		     : known ? words_position(b, r.at)
			     : "-",
		     words_lag(c, db, &r), words_bytes(f, r.behind_bytes), words_replica(w, db, &r));
	}
	struct status_followers fs;
	status_of_followers(m, s->now, &fs);
	bool first = db->replicas_n == 0 && !followed;
	if (fs.n > 0)
		line(s->to, '=', "%s\t%s\t%s\tto %zu %s\t-\t%s\t%s\t%s", first ? path : "",
		     first ? db->state_name : "", first ? at : "", (size_t)fs.n,
		     fs.n == 1 ? "follower" : "followers", words_age(c, fs.lag_us),
		     words_bytes(f, fs.behind_bytes),
		     fs.copying	 ? "a copy is sent"
		     : fs.lag_us ? "behind"
				 : "ok");
	else if (first)
		line(s->to, '=', "%s\t%s\t%s\t-\t-\t-\t-\tno replica", path, db->state_name, at);
}

/* ---- what to do ---- */

static void explain_db(struct dyn *to, const struct status_db *db, struct status_now now)
{
	char age[WORDS_BYTES];
	bool plain = !*db->reason || (!words_db_needs(db) && db->state != DB_WAITING && !db->followed);
	if (plain)
		return;
	line(to, ' ', "%s: %s for %s: %s", db->path, db->state_name,
	     words_age(age, db->since_wall_us ? now.wall_us - db->since_wall_us : 0), words_reason(db));
	if (db->followed)
		line(to, ' ', "  %s%s",
		     generation_none(&db->generation) ? "nothing is here yet"
						      : "what is here stays as it is, and readable",
		     strcmp(db->state_name, upstream_state_name(UPSTREAM_REFUSED)) == 0
			     ? ""
			     : "; it is tried again by itself");
	else if (db->state == DB_GAP)
		line(to, ' ', "  nothing is captured now; a new generation begins by itself as soon as it can");
	else if (db->state == DB_BROKEN)
		line(to, ' ', "  nothing is captured until this is repaired; it is looked at again by itself");
	else if (db->state == DB_WAITING)
		line(to, ' ', "  it is replicated as soon as it is there");
	else
		line(to, ' ', "  it is tried again by itself");
}

static void explain_replica(struct dyn *to, const struct status_db *db, const struct status_replica *r)
{
	char at[TIME_TEXT_BYTES], age[WORDS_BYTES], bytes[WORDS_BYTES], next[WORDS_BYTES];
	if (r->failing) {
		line(to, ' ', "%s: replica %s fails (%u %s, last %s): %s", db->path, r->name, r->tries,
		     r->tries == 1 ? "try" : "tries", words_when(at, r->error_wall_us), r->error);
		line(to, ' ', "  it lags by %s and %s, which wait in the spool; next try in %s",
		     words_age(age, r->lag_us), words_bytes(bytes, r->behind_bytes),
		     words_age(next, r->retry_in_us));
	}
	if (r->validation.result == VALIDATION_ERROR)
		line(to, ' ', "%s: replica %s did not validate at %s; walbrook verify -replica %s %s tells why",
		     db->path, r->name, words_when(at, r->validation.wall_us), r->name, db->path);
}

void show_trouble(const struct managed *m, struct status_now now, struct dyn *to)
{
	struct status_db db;
	status_of_db(m, now, &db);
	explain_db(to, &db, now);
	for (size_t i = 0; i < db.replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], now, &r);
		explain_replica(to, &db, &r);
	}
}

/* ---- everything of one ---- */

static void field(struct dyn *to, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void field(struct dyn *to, const char *name, const char *fmt, ...)
{
	char text[2 * PATH_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	line(to, ' ', "  %-16s %s", name, text);
}

static void whole_replica(struct dyn *to, const struct status_db *db, const struct status_replica *r)
{
	char a[WORDS_BYTES], w[WORDS_BYTES], at[TIME_TEXT_BYTES], pos[POSITION_TEXT_BYTES];
	line(to, ' ', "replica %s (%s)", r->name, r->url);
	field(to, "state", "%s", words_replica(w, db, r));
	field(to, "position", "%s",
	      generation_none(&r->generation) ? "-" : position_format(pos, &r->generation, r->at));
	field(to, "lag", "%s", words_lag(w, db, r));
	field(to, "behind", "%s in %" PRIu64 " segments", words_bytes(a, r->behind_bytes), r->behind_segments);
	field(to, "shipped", "%s in %" PRIu64 " objects", words_bytes(a, r->stored_bytes), r->objects);
	if (r->snapshot_at.index == UINT64_MAX)
		field(to, "snapshot", "none of this generation");
	else
		field(to, "snapshot", "%s at index %08" PRIx64, words_when(at, r->snapshot_wall_us),
		      r->snapshot_at.index);
	field(to, "last success", "%s", words_when(at, r->success_wall_us));
	if (r->errors)
		field(to, "errors", "%" PRIu64 ", last %s: %s", r->errors, words_when(at, r->error_wall_us),
		      r->error);
	else
		field(to, "errors", "none");
	if (r->validation.result != VALIDATION_NONE)
		field(to, "validation", "%s at %s (%" PRIu64 " good, %" PRIu64 " bad)",
		      r->validation.result == VALIDATION_OK ? "ok" : "FAILED",
		      words_when(at, r->validation.wall_us), r->validation.ok, r->validation.failed);
}

static void whole_upstream(struct dyn *to, const struct status_upstream *u)
{
	const struct upstream_seen *s = &u->seen;
	char a[WORDS_BYTES], b[WORDS_BYTES], at[TIME_TEXT_BYTES], pos[POSITION_TEXT_BYTES];
	line(to, ' ', "upstream %s, %s there", u->url, u->path);
	field(to, "state", "%s since %s%s%s", u->state, words_when(at, s->since_wall_us),
	      *s->reason ? ": " : "", s->reason);
	field(to, "readers see", "%s", s->known ? position_format(pos, &s->generation, s->applied) : "-");
	field(to, "lag", "%s, %s of WAL", words_upstream_lag(a, u), words_bytes(b, u->behind_bytes));
	field(to, "last heard", "%s%s", words_when(at, s->heard_wall_us),
	      s->connected && !s->extended ? " (a plain server: it tells no times)" : "");
	field(to, "received", "%s in %" PRIu64 " streams, %" PRIu64 " broke", words_bytes(a, s->received_bytes),
	      s->connects, s->errors);
	field(to, "applied", "%" PRIu64 " transactions", s->transactions);
	field(to, "content", "%" PRIu64 " times, %" PRIu64 " of them what differs; %" PRIu64 " pages written",
	      s->contents, s->differing, s->pages_written);
	if (s->local_writers)
		field(to, "local writers", "%" PRIu64 " times somebody wrote here, and it was repaired",
		      s->local_writers);
}

static void whole_followers(struct show *s, const struct managed *m)
{
	struct words_followers f;
	char a[WORDS_BYTES], b[WORDS_BYTES], c[WORDS_BYTES], at[TIME_TEXT_BYTES], pos[POSITION_TEXT_BYTES];
	words_worst_followers(m, s->now, &f);
	for (size_t i = 0; i < f.n; i++) {
		const struct live_follower *one = &f.worst[i];
		line(s->to, ' ', "follower %s%s", one->peer, one->extended ? "" : " (a plain client)");
		field(s->to, "state", "%s since %s", words_follower(one), words_when(at, one->since_wall_us));
		field(s->to, "sent", "%s, %s in %" PRIu64 " segments",
		      generation_none(&one->generation) ? "-" : position_format(pos, &one->generation, one->at),
		      words_bytes(c, one->bytes), one->segments);
		field(s->to, "lag", "%s, %s of WAL", words_age(a, one->lag_us),
		      words_bytes(b, one->behind_bytes));
	}
	if (f.all > f.n)
		line(s->to, ' ', "and %zu more followers, which are not further behind", f.all - f.n);
}

static void whole_db(struct show *s, const struct managed *m, const struct status_db *db, bool *trouble)
{
	struct dyn *to = s->to;
	char a[WORDS_BYTES], b[WORDS_BYTES], at[TIME_TEXT_BYTES], pos[POSITION_TEXT_BYTES];
	line(to, ' ', "%s", db->path);
	field(to, "state", "%s since %s%s%s", db->state_name, words_when(at, db->since_wall_us),
	      *db->reason ? ": " : "", words_reason(db));
	field(to, "position", "%s",
	      generation_none(&db->generation) ? "-" : position_format(pos, &db->generation, db->captured));
	field(to, "newest commit", "%s", words_when(at, db->commit_wall_us));
	field(to, "not shipped for", "%s", words_age(a, db->oldest_unshipped_age_us));
	field(to, "database", "%s in pages of %" PRIu32 " bytes", words_bytes(a, db->file_bytes),
	      db->page_bytes);
	field(to, "WAL", "%s of %s are in use", words_bytes(a, db->wal_bytes),
	      words_bytes(b, db->wal_file_bytes));
	field(to, "captured", "%" PRIu64 " commits, %s of WAL", db->captured_commits,
	      words_bytes(a, db->captured_wal_bytes));
	field(to, "spool", "%s in %" PRIu64 " segments", words_bytes(a, db->spool_bytes), db->spool_segments);
	field(to, "checkpoints", "%" PRIu64 ", longest hold of the write lock %.1f ms", db->checkpoints.copies,
	      (double)db->checkpoints.longest_hold_us / 1000);
	field(to, "generations", "%" PRIu64 " begun, %" PRIu64 " gaps", db->generations_begun, db->gaps);
	*trouble = words_db_needs(db);
	struct status_upstream up;
	if (status_of_upstream(m, s->now, &up)) {
		*trouble = *trouble || words_upstream_needs(&up);
		whole_upstream(to, &up);
	}
	for (size_t i = 0; i < db->replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], s->now, &r);
		*trouble = *trouble || words_replica_needs(&r);
		whole_replica(to, db, &r);
	}
	whole_followers(s, m);
}

/* ---- JSON ---- */

static void json_when(struct json *j, const char *key, int64_t wall_us)
{
	if (wall_us)
		json_time(j, key, wall_us);
	else
		json_null(j, key);
}

static void json_seconds(struct json *j, const char *key, int64_t us)
{
	json_double(j, key, (double)us / 1e6);
}

static void json_text(struct json *j, const char *key, const char *text)
{
	json_string(j, key, *text ? text : NULL);
}

static void json_position(struct json *j, const char *key, const struct generation *g, struct position p)
{
	char text[POSITION_TEXT_BYTES];
	json_string(j, key, generation_none(g) ? NULL : position_format(text, g, p));
}

static void json_validation(struct json *j, const struct ship_validation *v)
{
	static const char *const names[] = {
		[VALIDATION_NONE] = NULL, [VALIDATION_OK] = "ok", [VALIDATION_ERROR] = "error"
	};
	json_object(j, "validation");
	json_string(j, "result", names[v->result]);
	json_when(j, "at", v->wall_us);
	json_uint(j, "ok", v->ok);
	json_uint(j, "failed", v->failed);
	json_end(j);
}

static void json_replica(struct json *j, const struct status_replica *r)
{
	struct generation newest =
		r->snapshot_at.index == UINT64_MAX ? (struct generation){ "" } : r->generation;
	json_object(j, NULL);
	json_string(j, "name", r->name);
	json_string(j, "type", r->type);
	json_string(j, "url", r->url);
	json_bool(j, "attached", r->attached);
	json_bool(j, "restorable", r->restorable);
	json_bool(j, "failing", r->failing);
	json_position(j, "position", &r->generation, r->at);
	json_seconds(j, "lag_seconds", r->lag_us);
	json_when(j, "oldest_unshipped_at", r->oldest_unshipped_wall_us);
	json_uint(j, "behind_bytes", r->behind_bytes);
	json_uint(j, "behind_segments", r->behind_segments);
	json_when(j, "last_success_at", r->success_wall_us);
	json_uint(j, "errors", r->errors);
	json_text(j, "last_error", r->error);
	json_when(j, "last_error_at", r->error_wall_us);
	json_uint(j, "tries", r->tries);
	json_seconds(j, "retry_in_seconds", r->retry_in_us);
	json_uint(j, "shipped_objects", r->objects);
	json_uint(j, "shipped_bytes", r->stored_bytes);
	json_uint(j, "snapshots", r->snapshots);
	json_uint(j, "snapshots_failed", r->snapshots_failed);
	json_when(j, "last_snapshot_at", r->snapshot_wall_us);
	json_position(j, "last_snapshot_position", &newest, r->snapshot_at);
	json_uint(j, "retention_deleted", r->deleted);
	json_validation(j, &r->validation);
	json_end(j);
}

static void json_checkpoints(struct json *j, const struct relay_counts *c)
{
	json_object(j, "checkpoints");
	json_uint(j, "rounds", c->rounds);
	json_uint(j, "copies", c->copies);
	json_uint(j, "forced", c->forced);
	json_uint(j, "walks", c->walks);
	json_uint(j, "refused", c->refused);
	json_seconds(j, "seconds", c->copy_us);
	json_seconds(j, "longest_write_lock_seconds", c->longest_hold_us);
	json_end(j);
}

static void json_upstream(struct json *j, const struct status_upstream *u)
{
	const struct upstream_seen *s = &u->seen;
	json_object(j, "upstream");
	json_string(j, "url", u->url);
	json_string(j, "path", u->path);
	json_string(j, "state", u->state);
	json_when(j, "state_since", s->since_wall_us);
	json_text(j, "reason", s->reason);
	json_bool(j, "connected", s->connected);
	json_bool(j, "extended", s->extended);
	if (s->known)
		json_position(j, "position", &s->generation, s->applied);
	else
		json_null(j, "position");
	if (u->lag_us < 0)
		json_null(j, "lag_seconds");
	else
		json_seconds(j, "lag_seconds", u->lag_us);
	json_uint(j, "behind_bytes", u->behind_bytes);
	json_when(j, "last_heard_at", s->heard_wall_us);
	json_when(j, "last_applied_at", s->applied_wall_us);
	json_uint(j, "received_bytes", s->received_bytes);
	json_uint(j, "transactions", s->transactions);
	json_uint(j, "streams", s->connects);
	json_uint(j, "errors", s->errors);
	json_uint(j, "contents", s->contents);
	json_uint(j, "contents_differing", s->differing);
	json_uint(j, "content_pages_written", s->pages_written);
	json_uint(j, "copy_bytes", s->copy_bytes);
	json_uint(j, "copy_total_bytes", s->copy_total_bytes);
	json_uint(j, "wal_bytes", s->wal_bytes);
	json_uint(j, "local_writers", s->local_writers);
	json_end(j);
}

static void json_follower(void *arg, const struct live_follower *f)
{
	struct json *j = arg;
	json_object(j, NULL);
	json_string(j, "peer", f->peer);
	json_string(j, "state", status_follower_phase(f->phase));
	json_bool(j, "extended", f->extended);
	json_when(j, "since", f->since_wall_us);
	json_position(j, "position", &f->generation, f->at);
	json_seconds(j, "lag_seconds", f->lag_us);
	json_uint(j, "behind_bytes", f->behind_bytes);
	json_uint(j, "sent_bytes", f->bytes);
	json_uint(j, "sent_segments", f->segments);
	json_end(j);
}

static void json_followers(struct show *s, const struct managed *m)
{
	struct json *j = &s->j;
	struct status_followers sum;
	status_of_followers(m, s->now, &sum);
	json_array(j, "followers");
	if (m->live)
		live_each(m->live, s->now.wall_us, json_follower, j);
	json_end(j);
	json_uint(j, "followers_sent_bytes", sum.totals.bytes);
	json_uint(j, "followers_streams", sum.totals.streams);
	json_uint(j, "followers_contents", sum.totals.contents);
	json_uint(j, "followers_fallen_out", sum.totals.fallen_out);
}

static void json_db(struct show *s, const struct managed *m, const struct status_db *db, bool *trouble)
{
	struct json *j = &s->j;
	json_object(j, NULL);
	json_string(j, "path", db->path);
	json_string(j, "state", db->state_name);
	json_when(j, "state_since", db->since_wall_us);
	json_text(j, "reason", db->reason);
	json_position(j, "position", &db->generation, db->captured);
	json_when(j, "last_commit_at", db->commit_wall_us);
	json_seconds(j, "oldest_unshipped_seconds", db->oldest_unshipped_age_us);
	json_when(j, "oldest_unshipped_at", db->oldest_unshipped_wall_us);
	json_uint(j, "page_bytes", db->page_bytes);
	json_uint(j, "database_bytes", db->file_bytes);
	json_uint(j, "wal_bytes", db->wal_bytes);
	json_uint(j, "wal_file_bytes", db->wal_file_bytes);
	json_uint(j, "wal_uncopied_frames", db->wal_uncopied_frames);
	json_uint(j, "captured_wal_bytes", db->captured_wal_bytes);
	json_uint(j, "captured_commits", db->captured_commits);
	json_uint(j, "spool_bytes", db->spool_bytes);
	json_uint(j, "spool_segments", db->spool_segments);
	json_uint(j, "steps", db->steps);
	json_uint(j, "step_errors", db->step_errors);
	json_seconds(j, "step_seconds", db->steps_us);
	json_checkpoints(j, &db->checkpoints);
	json_uint(j, "generations_begun", db->generations_begun);
	json_uint(j, "gaps", db->gaps);
	*trouble = words_db_needs(db);
	struct status_upstream up;
	if (status_of_upstream(m, s->now, &up)) {
		*trouble = *trouble || words_upstream_needs(&up);
		json_upstream(j, &up);
	} else {
		json_null(j, "upstream");
	}
	json_array(j, "replicas");
	for (size_t i = 0; i < db->replicas_n; i++) {
		struct status_replica r;
		status_of_replica(&m->ships[i], s->now, &r);
		*trouble = *trouble || words_replica_needs(&r);
		json_replica(j, &r);
	}
	json_end(j);
	json_followers(s, m);
	json_end(j);
}

static void json_daemon(struct show *s, const struct daemon *d)
{
	struct status_daemon me;
	status_of_daemon(d, &me);
	s->j = JSON_TO_DYN(s->to, 2);
	json_object(&s->j, NULL);
	json_string(&s->j, "version", me.version);
	json_int(&s->j, "pid", me.pid);
	json_when(&s->j, "started_at", me.started_wall_us);
	json_time(&s->j, "now", s->now.wall_us);
	json_string(&s->j, "config", me.config);
	json_bool(&s->j, "stopping", me.stopping);
	json_array(&s->j, "databases");
}

/* ---- the status, in pieces ---- */

static const struct managed *find(const struct daemon *d, const char *path)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->dbs[i]->conf->path, path) == 0)
			return d->dbs[i];
	return NULL;
}

int show_status_begin(struct show *s, const struct daemon *d, const struct request *r, struct dyn *to,
		      struct err *e)
{
	*s = (struct show){ .r = r, .to = to, .now = status_now() };
	for (size_t i = 0; i < r->dbs_n; i++)
		if (!find(d, r->dbs[i])) {
			err_set(e, ERR_NOTHING, "%s is not a database of this daemon (pid %d)", r->dbs[i],
				(int)getpid());
			return err_hint(e, "walbrook status without a path shows those that are");
		}
	return 0;
}

/* The number-th one of those that are wanted; NULL: there are no more, or it went away meanwhile. */
static const struct managed *pick(const struct show *s, const struct daemon *d, size_t number)
{
	if (s->r->dbs_n)
		return number < s->r->dbs_n ? find(d, s->r->dbs[number]) : NULL;
	return number < d->n ? d->dbs[number] : NULL;
}

static void show_one(struct show *s, const struct managed *m)
{
	struct status_db db;
	status_of_db(m, s->now, &db);
	bool trouble = words_db_needs(&db);
	if (s->phase == SHOW_TROUBLE) {
		show_trouble(m, s->now, s->to);
		return;
	}
	if (s->r->json)
		json_db(s, m, &db, &trouble);
	else if (s->r->dbs_n)
		whole_db(s, m, &db, &trouble);
	else
		table_rows(s, m, &db, &trouble);
	s->trouble += trouble;
	s->fine += !trouble;
}

static void begin(struct show *s, const struct daemon *d)
{
	if (s->r->json)
		json_daemon(s, d);
	else if (!s->r->dbs_n)
		line(s->to, '=', "database\tstate\tposition\treplica\tshipped\tlag\tbehind\tsays");
}

static int finish(struct show *s)
{
	char text[128];
	if (s->r->json) {
		json_end(&s->j);
		json_uint(&s->j, "need_attention", s->trouble);
		json_end(&s->j);
		if (json_finish(&s->j) < 0 || dyn_add(s->to, "\n", 1) < 0)
			return -1;
	} else if (s->r->dbs_n) {
		line(s->to, '!', "walbrook sync %s waits until everything is shipped", s->r->dbs[0]);
	} else {
		line(s->to, '!',
		     "walbrook status DATABASE tells more of one; walbrook sync waits until everything "
		     "is shipped");
	}
	if (s->bare)
		return 0;
	if (s->trouble == 0)
		return answer_end(s->to, 0, "done");
	snprintf(text, sizeof text, "%zu of %zu databases %s attention", s->trouble, s->trouble + s->fine,
		 s->trouble == 1 ? "needs" : "need");
	return answer_end(s->to, err_exit_code(ERR_FAIL), text);
}

int show_status_some(struct show *s, const struct daemon *d)
{
	size_t until = s->to->len + SHOW_PIECE_BYTES;
	size_t all = s->r->dbs_n ? s->r->dbs_n : d->n;
	if (s->phase == SHOW_BEGIN) {
		begin(s, d);
		s->phase = SHOW_TABLE;
	}
	while (s->phase != SHOW_END && s->to->len < until) {
		const struct managed *m = pick(s, d, s->next);
		if (m)
			show_one(s, m);
		if (++s->next < all)
			continue;
		bool more = s->phase == SHOW_TABLE && !s->r->json;
		s->phase = more ? SHOW_TROUBLE : SHOW_END;
		s->next = 0;
	}
	if (s->phase != SHOW_END)
		return 0;
	return finish(s) < 0 ? -1 : 1;
}

/* ---- sync ---- */

/* What a replica still lacks, in words. */
static void missing(char *buf, size_t size, const struct status_db *db, const struct status_replica *r)
{
	char bytes[WORDS_BYTES];
	if (r->failing)
		snprintf(buf, size, "fails (%u %s): %s", r->tries, r->tries == 1 ? "try" : "tries", r->error);
	else if (db->state == DB_GAP)
		snprintf(buf, size, "nothing is captured now: %s", words_reason(db));
	else if (!r->attached)
		snprintf(buf, size, "not reached yet");
	else if (r->behind_bytes)
		snprintf(buf, size, "%s are not shipped yet", words_bytes(bytes, r->behind_bytes));
	else if (!r->restorable)
		snprintf(buf, size, "the first snapshot of the generation is not there yet");
	else
		snprintf(buf, size, "not everything is captured or settled yet");
}

struct sync_show {
	struct status_now now;
	bool json;
	struct json j;
	struct dyn *to;
};

static void sync_replica(struct sync_show *o, const struct sync_wait *w, const struct shipper *s,
			 const struct status_db *db, bool first)
{
	char at[WORDS_BYTES], path[PATH_BYTES], name[PATH_BYTES], what[ERR_TEXT_BYTES + 64] = "shipped";
	struct status_replica r;
	bool there = w->kind == ERR_NONE && sync_has(w, s);
	status_of_replica(s, o->now, &r);
	if (w->kind != ERR_NONE)
		snprintf(what, sizeof what, "%s: %s", db->state_name, words_reason(db));
	else if (!there)
		missing(what, sizeof what, db, &r);
	else if (generation_none(&w->generation))
		snprintf(what, sizeof what, "nothing to ship: %s", words_reason(db));
	if (!o->json) {
		line(o->to, '=', "%s\t%s\t%s\t%s", first ? cell(path, db->path) : "", cell(name, r.name),
		     generation_none(&r.generation) ? "-" : words_position(at, r.at), what);
		return;
	}
	json_object(&o->j, NULL);
	json_string(&o->j, "name", r.name);
	json_bool(&o->j, "done", there);
	json_position(&o->j, "position", &r.generation, r.at);
	json_uint(&o->j, "behind_bytes", r.behind_bytes);
	json_string(&o->j, "missing", there ? NULL : what);
	json_end(&o->j);
}

static void sync_db(struct sync_show *o, const struct sync_wait *w)
{
	struct status_db db;
	bool first = true;
	status_of_db(w->m, o->now, &db);
	if (o->json) {
		json_object(&o->j, NULL);
		json_string(&o->j, "path", db.path);
		json_bool(&o->j, "done", w->over && w->kind == ERR_NONE);
		json_string(&o->j, "state", db.state_name);
		json_text(&o->j, "reason", db.reason);
		json_position(&o->j, "position", &w->generation, w->at);
		json_array(&o->j, "replicas");
	}
	for (size_t i = 0; i < w->m->ships_n; i++) {
		if (!sync_concerns(w->of, &w->m->ships[i]))
			continue;
		sync_replica(o, w, &w->m->ships[i], &db, first);
		first = false;
	}
	if (o->json) {
		json_end(&o->j);
		json_end(&o->j);
	}
}

/* The reason of the first that cannot be synced. */
static int sync_end_line(const struct sync *y, struct dyn *to)
{
	char text[128];
	size_t late = 0, bad = 0;
	enum err_kind kind = ERR_NONE;
	for (size_t i = 0; i < y->n; i++) {
		late += !y->waits[i].over;
		bad += y->waits[i].kind != ERR_NONE;
		if (kind == ERR_NONE)
			kind = y->waits[i].kind;
	}
	if (late == 0 && bad == 0)
		return answer_end(to, 0, "done");
	if (late == 0) {
		snprintf(text, sizeof text, "%zu of %zu databases cannot be shipped", bad, y->n);
		return answer_end(to, err_exit_code(kind), text);
	}
	snprintf(text, sizeof text,
		 "the deadline has passed, and not everything of %zu of %zu databases is shipped", late + bad,
		 y->n);
	return answer_end(to, err_exit_code(ERR_DEADLINE), text);
}

int show_sync(const struct sync *y, bool json, struct dyn *to)
{
	struct sync_show o = { .now = status_now(), .json = json, .j = JSON_TO_DYN(to, 2), .to = to };
	if (json) {
		json_object(&o.j, NULL);
		json_seconds(&o.j, "seconds", o.now.mono_us - y->begun_us);
		json_array(&o.j, "databases");
	} else {
		line(to, '=', "database\treplica\tposition\tsays");
	}
	for (size_t i = 0; i < y->n; i++)
		if (y->waits[i].m)
			sync_db(&o, &y->waits[i]);
	if (json) {
		json_end(&o.j);
		json_end(&o.j);
		if (json_finish(&o.j) < 0 || dyn_add(to, "\n", 1) < 0)
			return -1;
	}
	return sync_end_line(y, to);
}

/* ---- positions ---- */

int show_reach(const struct request *q, const struct reach *r, enum reach_result result, const struct err *e,
	       struct dyn *to)
{
	char text[POSITION_TEXT_BYTES];
	bool known = q->verb == REQUEST_WAIT || result == REACH_DONE;
	if (q->json) {
		struct json j = JSON_TO_DYN(to, 1);
		json_object(&j, NULL);
		json_string(&j, "path", q->dbs[0]);
		json_string(&j, "position", known ? position_format(text, &r->generation, r->at) : NULL);
		if (q->verb == REQUEST_WAIT)
			json_bool(&j, "reached", result == REACH_DONE);
		json_end(&j);
		if (json_finish(&j) < 0 || dyn_add(to, "\n", 1) < 0)
			return -1;
	} else if (q->verb == REQUEST_POSITION && known) {
		line(to, ' ', "%s", position_format(text, &r->generation, r->at));
	}
	return result == REACH_DONE ? answer_end(to, 0, "done")
				    : answer_end(to, err_exit_code(e->kind), e->text);
}
