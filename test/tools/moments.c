/* SPDX-License-Identifier: Apache-2.0
 *
 * moments write DB LOG SECS SEED: a real application with a random history.
 *
 *   1. Opens DB (the first time it makes the tables, in one transaction), and commits random transactions until
 * the time is over: inserts, updates, deletes, now and then a large one that spills, a VACUUM, a pause, a burst
 *      without any.
 *   2. Behind each commit a line in LOG: `HASH BEFORE_US AFTER_US`, the content of the whole database as this
 *      connection reads it, and the wall time around the commit. VACUUM is a commit too.
 *
 * moments check REPLICA LOG SECS SEED: restore by time is exact.
 *
 *   1. Reads the WAL of all generations of REPLICA and its index documents: all commits in order, and their
 * times. Which line of LOG the first of a generation belongs to is found by restoring it; the others follow one
 * by one. Times must not decrease, the last commit must be the last line, and none may be known before it was
 * begun, and each must be in a document. Counted, but no moments, are those before the position from which the
 * first snapshot of their generation is whole (what was in the WAL when the daemon came). Each generation has a
 * snapshot; that nothing comes after it is allowed.
 *   2. For each commit, in random order until the time is over: -timestamp of it restores exactly the content
 * of the last line with that time; so does a moment between it and the next one.
 *   3. After the last commit (1 us, an hour): the last content. Before the first: an error with the windows.
 *   4. Without the documents (a copy of the replica): each time restores some content of LOG that was there by
 * then (0.3.13's exactness: that of objects).
 *
 * Prints commits=, generations=, indexes=, snapshots=, checked=. Exit 0: all of it holds; 1: it does not, and
 * the first line on standard error says what. The output of a restore is compared by its content, table by
 * table, and goes through integrity_check. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "core/segment.h"
#include "core/wal.h"
#include "restore/list.h"
#include "restore/restore.h"

/* The times of files go by a clock that ticks every 4 ms or so. Segments that a killed daemon left in its spool
 * have the time of their file. */
enum { TICK_US = 20000 };

static uint64_t rng_state;

static unsigned rng(unsigned n)
{
	rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((rng_state >> 33) % n);
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;
	fputs("moments: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* ---- content ---- */

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)p)[i]) * 1099511628211u;
	return (h ^ n) * 1099511628211u;
}

static uint64_t query_hash(sqlite3 *db, const char *sql, uint64_t h)
{
	sqlite3_stmt *s;
	int rc;
	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
		die("%s: %s", sql, sqlite3_errmsg(db));
	while ((rc = sqlite3_step(s)) == SQLITE_ROW)
		for (int i = 0; i < sqlite3_column_count(s); i++) {
			const void *p = sqlite3_column_blob(s, i);
			h = mix(h, p, (size_t)sqlite3_column_bytes(s, i));
		}
	if (rc != SQLITE_DONE)
		die("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_finalize(s);
	return h;
}

static uint64_t content_hash(sqlite3 *db)
{
	/* VACUUM changes schema_version: no two commits leave the same. */
	uint64_t h = query_hash(db, "PRAGMA schema_version", 1469598103934665603u);
	h = query_hash(db, "SELECT name, sql FROM sqlite_master ORDER BY name", h);
	h = query_hash(db, "SELECT n FROM counter", h);
	return query_hash(db, "SELECT id, k, body FROM t ORDER BY id", h);
}

static sqlite3 *db_open(const char *path, int flags)
{
	sqlite3 *db;
	if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK)
		die("%s: %s", path, sqlite3_errmsg(db));
	sqlite3_busy_timeout(db, 20000);
	return db;
}

static void db_exec(sqlite3 *db, const char *sql)
{
	char *why = NULL;
	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		die("%s: %s", sql, why);
}

/* ---- write ---- */

static void random_change(sqlite3 *db)
{
	char sql[256];
	unsigned what = rng(10), rows = rng(40) == 0 ? 300 : 1 + rng(6);
	if (what < 5)
		snprintf(sql, sizeof sql,
			 "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %u) "
			 "INSERT INTO t(k, body) SELECT %u + i, hex(zeroblob(%u)) || i FROM c",
			 rows, rng(1000), rng(300));
	else if (what < 8)
		snprintf(sql, sizeof sql, "UPDATE t SET k = k + 1, body = body || '%u' WHERE k %% 7 = %u",
			 rng(100), rng(7));
	else
		snprintf(sql, sizeof sql, "DELETE FROM t WHERE k %% 11 = %u", rng(11));
	db_exec(db, sql);
}

static void commit_one(sqlite3 *db, FILE *log)
{
	int64_t before_us = wall_us();
	if (rng(150) == 0) {
		db_exec(db, "VACUUM");
	} else {
		db_exec(db, "BEGIN IMMEDIATE; UPDATE counter SET n = n + 1");
		for (unsigned i = 1 + rng(3); i > 0; i--)
			random_change(db);
		before_us = wall_us();
		db_exec(db, "COMMIT");
	}
	int64_t after_us = wall_us();
	fprintf(log, "%016" PRIx64 " %" PRId64 " %" PRId64 "\n", content_hash(db), before_us, after_us);
}

static void pause_some(void)
{
	unsigned what = rng(20);
	if (what == 0)
		sleep_us(150000);
	else if (what < 8)
		sleep_us((int64_t)rng(25000));
}

static int write_history(const char *path, const char *log_path, double secs)
{
	int64_t end_us = mono_us() + (int64_t)(secs * 1e6);
	sqlite3 *db = db_open(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
	FILE *log = fopen(log_path, "ae");
	if (!log)
		die("%s: %s", log_path, strerror(errno));
	db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0; "
		    "PRAGMA cache_size = 20");
	bool fresh = query_hash(db, "SELECT name FROM sqlite_master", 0) == 0;
	if (fresh) {
		db_exec(db, "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, k INTEGER, body TEXT);"
			    "CREATE TABLE counter(n INTEGER); INSERT INTO counter VALUES(0); COMMIT");
		fprintf(log, "%016" PRIx64 " 0 %" PRId64 "\n", content_hash(db), wall_us());
	}
	while (mono_us() < end_us && !fresh) {
		commit_one(db, log);
		pause_some();
	}
	sqlite3_close(db);
	return fclose(log) == 0 ? 0 : 1;
}

/* ---- check: what is known ---- */

struct state {
	uint64_t hash;
	int64_t before_us, after_us; /* by the application's clock, around the commit */
};

/* A commit in the WAL of the replica. */
struct moment {
	int64_t wall_us; /* by the document */
	struct position end;
	bool documented;
	size_t state; /* that it made */
};

struct check {
	char replica[4096], scratch[4096];
	struct state *states; /* of LOG */
	size_t states_n;
	struct moment *v; /* in order; in the end only documented ones */
	size_t n, generations, indexes, snapshots;
	size_t unreached; /* commits of the first milliseconds of a generation */
	unsigned checked, early;
};

static void read_log(struct check *c, const char *path)
{
	FILE *f = fopen(path, "re");
	struct state s;
	if (!f)
		die("%s: %s", path, strerror(errno));
	while (fscanf(f, "%" SCNx64 " %" SCNd64 " %" SCNd64, &s.hash, &s.before_us, &s.after_us) == 3) {
		c->states = realloc(c->states, (c->states_n + 1) * sizeof *c->states);
		c->states[c->states_n++] = s;
	}
	fclose(f);
}

static int open_more(void *arg, struct store **ret, struct err *e)
{
	return store_open(arg, true, NULL, ret, e);
}

/* ---- check: restores ---- */

/* 0: restored, *ret is the content; else the kind of error. */
static enum err_kind restore_at(struct check *c, char *dir, int64_t t_us, uint64_t *ret, bool *ret_exact,
				struct err *e)
{
	struct restore_source source = { .name = "file", .open_more = open_more, .arg = dir };
	struct restore_wish w = {
		.output = c->scratch, .by_time = true, .wall_us = t_us, .parallelism = 1, .owner = OWNER_PRIVATE
	};
	struct restore_result r;
	*e = ERR_INIT;
	unlink(c->scratch);
	if (store_open(dir, true, NULL, &source.store, e) < 0)
		die("%s", e->text);
	int rc = restore_run(&source, 1, &w, &r, e);
	store_close(source.store);
	if (rc < 0)
		return e->kind;
	*ret_exact = r.exact_time;
	sqlite3 *db = db_open(c->scratch, SQLITE_OPEN_READWRITE);
	uint64_t sound = query_hash(db, "SELECT 'ok'", 0);
	if (query_hash(db, "PRAGMA integrity_check", 0) != sound)
		die("restored at %" PRId64 ": not sound", t_us);
	*ret = content_hash(db);
	sqlite3_close(db);
	return ERR_NONE;
}

static size_t commits_until(const struct check *c, int64_t t_us)
{
	size_t n = 0;
	while (n < c->n && c->v[n].wall_us <= t_us)
		n++;
	return n;
}

static size_t state_find(const struct check *c, uint64_t hash)
{
	size_t i = 0;
	while (i < c->states_n && c->states[i].hash != hash)
		i++;
	return i;
}

/* ---- check: the documents ---- */

/* All commits of one WAL index: its frames tell the commits, the document their times. */
static void moments_add(struct check *c, uint64_t index, const struct wal_index_doc *d, struct span wal)
{
	size_t k = 0, frame_bytes = wal.n < WAL_HEADER_BYTES ? 0 : WAL_FRAME_HEADER_BYTES + get_be32(wal.p + 8);
	for (size_t at = WAL_HEADER_BYTES; frame_bytes && at + frame_bytes <= wal.n; at += frame_bytes) {
		struct moment m = { .end = { index, at + frame_bytes } };
		if (get_be32(wal.p + at + 4) == 0)
			continue;
		m.documented = k < d->commits_n && d->commits[k].offset == m.end.offset;
		if (m.documented)
			m.wall_us = d->commits[k++].wall_us;
		c->v = realloc(c->v, (c->n + 1) * sizeof *c->v);
		c->v[c->n++] = m;
	}
	if (k < d->commits_n)
		die("the document of index %" PRIx64 " knows a commit at %" PRIu64 " that is not there", index,
		    d->commits[k].offset);
}

static int wal_sink(void *arg, struct span out, struct err *e)
{
	return dyn_add(arg, out.p, out.n) < 0 ? err_set(e, ERR_FAIL, "no memory") : 0;
}

/* Adds the content of one segment to the WAL of its index. */
static void wal_add(struct store *s, const struct generation *g, struct position at, struct dyn *wal)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_SEGMENT, .generation = *g, .at = at };
	struct dyn stored = DYN_INIT(1 << 30);
	struct segment_reader *r = segment_reader_new(wal_sink, wal);
	struct err e;
	if (at.offset != wal->len)
		die("%s does not begin at %zu", object_key(key, &o), wal->len);
	if (!r || store_get_bytes(s, object_key(key, &o), &stored, &e) < 0 ||
	    segment_read(r, (struct span){ stored.p, stored.len }, &e) < 0 || segment_read_end(r, &e) < 0)
		die("%s: %s", object_key(key, &o), e.text);
	segment_reader_free(r);
	dyn_free(&stored);
}

static int by_position(const void *a, const void *b)
{
	return position_compare(((const struct plan_object *)a)->at, ((const struct plan_object *)b)->at);
}

static void read_wal(struct check *c, struct store *s, struct listing *l)
{
	const struct generation *g = &l->plan.generation;
	struct plan_object *v = l->plan.segments;
	size_t n = l->plan.segments_n;
	if (n > 0)
		qsort(v, n, sizeof *v, by_position);
	for (size_t i = 0; i < n;) {
		struct wal_index_doc d = { 0 };
		struct dyn wal = DYN_INIT(1 << 30);
		struct err e;
		uint64_t index = v[i].at.index;
		for (; i < n && v[i].at.index == index; i++)
			wal_add(s, g, v[i].at, &wal);
		if (list_doc_read(s, g, index, &d, &e) < 0)
			die("document %" PRIx64 ": %s", index, e.text);
		moments_add(c, index, &d, (struct span){ wal.p, wal.len });
		index_doc_free(&d);
		dyn_free(&wal);
		c->indexes++;
	}
}

/* The state that the commits of one time made is looked up; that tells those of all others of its generation,
 * from `first` on. */
static void align(struct check *c, size_t first, size_t known, size_t before, const struct generation *g)
{
	struct err e;
	uint64_t hash;
	bool exact;
	size_t last = known;
	for (size_t i = known; i < c->n; i++)
		if (c->v[i].documented && c->v[i].wall_us == c->v[known].wall_us)
			last = i;
	if (restore_at(c, c->replica, c->v[known].wall_us, &hash, &exact, &e) != ERR_NONE)
		die("the first commit of generation %s: %s", g->name, e.text);
	size_t state = state_find(c, hash);
	if (state == c->states_n || state < before + last - first || (first == 0 && state != before + last))
		die("the first commit of generation %s cannot have made state %zu", g->name, state);
	if (state + c->n - last > c->states_n)
		die("generation %s holds more commits than there were", g->name);
	for (size_t i = first; i < c->n; i++) {
		size_t at = state + i - last;
		int64_t early_us = c->v[i].documented ? c->states[at].before_us - c->v[i].wall_us : 0;
		if (early_us > TICK_US)
			die("commit %zu was known %" PRId64 " us before it was begun", at, early_us);
		c->early += early_us > 0;
		c->v[i].state = at;
	}
}

/* Only what can be reached stays. */
static void keep_known(struct check *c, size_t first, size_t known)
{
	size_t n = first;
	for (size_t i = known; i < c->n; i++) {
		if (!c->v[i].documented)
			die("commit %zu, WAL index %" PRIx64 " offset %" PRIu64 ", is in no document",
			    c->v[i].state, c->v[i].end.index, c->v[i].end.offset);
		if (n > 0 && c->v[i].wall_us < c->v[n - 1].wall_us)
			die("the time of state %zu is before that of the one before it", c->v[i].state);
		c->v[n++] = c->v[i];
	}
	c->unreached += known - first;
	c->n = n;
}

/* The first position of a generation that a snapshot reaches, by its index document. */
static struct position reach_of(struct restore_source *source, const struct listing *l)
{
	struct position reach = { UINT64_MAX, 0 };
	for (size_t i = 0; i < l->plan.snapshots_n; i++) {
		struct position p = l->plan.snapshots[i].at;
		struct wal_index_doc d;
		struct err e;
		if (list_doc_read(source->store, &l->plan.generation, p.index, &d, &e) != 1)
			die("no document for snapshot %" PRIx64, p.index);
		if (d.snapshot_fuzzy)
			p = d.usable_from;
		if (position_compare(p, reach) < 0)
			reach = p;
		index_doc_free(&d);
	}
	return reach;
}

static void read_generation(struct check *c, struct restore_source *source, const struct generation *g)
{
	struct listing l;
	struct err e = ERR_INIT;
	size_t first = c->n;
	if (listing_read(&l, source, g, true, &e) < 0)
		die("%s", e.text);
	read_wal(c, source->store, &l);
	c->generations++;
	c->snapshots += l.plan.snapshots_n;
	struct position reach = reach_of(source, &l);
	size_t known = first, before = first > 0 ? c->v[first - 1].state + 1 : 1;
	listing_free(&l);
	while (known < c->n && (!c->v[known].documented || position_compare(c->v[known].end, reach) < 0))
		known++;
	/* The application, or the daemon, came to its end right behind the first snapshot. */
	if (known == c->n) {
		if (known > first && position_compare(c->v[known - 1].end, reach) >= 0)
			die("no commit of generation %s can be reached", g->name);
		c->unreached += known - first;
		c->n = first;
		return;
	}
	align(c, first, known, before, g);
	keep_known(c, first, known);
}

/* In the order in which they began. */
static void generation_order(struct restore_source *source, struct generation *g, size_t n)
{
	int64_t *begin = calloc(n, sizeof *begin);
	if (!begin)
		die("no memory");
	for (size_t i = 0; i < n; i++) {
		struct listing l;
		struct err e = ERR_INIT;
		int64_t last_us;
		if (listing_read(&l, source, &g[i], true, &e) < 0)
			die("generation %s: %s", g[i].name, e.text);
		if (!plan_window(&l.plan, &begin[i], &last_us))
			die("generation %s has no snapshot", g[i].name);
		listing_free(&l);
	}
	for (size_t i = 1; i < n; i++)
		for (size_t k = i; k > 0 && begin[k] < begin[k - 1]; k--) {
			int64_t us = begin[k];
			struct generation x = g[k];
			begin[k] = begin[k - 1], begin[k - 1] = us;
			g[k] = g[k - 1], g[k - 1] = x;
		}
	free(begin);
}

static void read_docs(struct check *c)
{
	struct restore_source source = { .name = "file" };
	struct generations g = { 0 };
	struct err e = ERR_INIT;
	if (store_open(c->replica, true, NULL, &source.store, &e) < 0 ||
	    list_generations(source.store, &g, true, &e) < 0)
		die("%s", e.text);
	generation_order(&source, g.v, g.n);
	for (size_t i = 0; i < g.n; i++)
		read_generation(c, &source, &g.v[i]);
	if (c->early > c->n / 20)
		die("%u of %zu commits were known before they were begun", c->early, c->n);
	if (c->n == 0 || c->v[c->n - 1].state + 1 != c->states_n)
		die("the last of %zu commits is not the last one", c->n);
	generations_free(&g);
	store_close(source.store);
}

/* ---- check: what was promised ---- */

static void expect_state(struct check *c, int64_t t_us, const char *what)
{
	struct err e;
	uint64_t got = 0;
	bool exact = false;
	size_t n = commits_until(c, t_us);
	char text[TIME_TEXT_BYTES];
	if (restore_at(c, c->replica, t_us, &got, &exact, &e) != ERR_NONE)
		die("%s: restore -timestamp %s: %s", what, time_format(text, t_us, 6), e.text);
	size_t want = c->v[n - 1].state, is = state_find(c, got);
	if (is != want)
		die("%s: restore -timestamp %s gives state %zu, not %zu, of %zu", what,
		    time_format(text, t_us, 6), is, want, c->states_n);
	if (!exact)
		die("%s: restore -timestamp %s was not exact", what, time_format(text, t_us, 6));
	c->checked++;
}

static void shuffle(size_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		v[i] = i;
	for (size_t i = n; i > 1; i--) {
		size_t k = rng((unsigned)i), x = v[i - 1];
		v[i - 1] = v[k];
		v[k] = x;
	}
}

static void check_commits(struct check *c, int64_t end_us)
{
	size_t *order = calloc(c->n, sizeof *order);
	if (!order)
		die("no memory");
	shuffle(order, c->n);
	for (size_t i = 0; i < c->n && mono_us() < end_us; i++) {
		int64_t t_us = c->v[order[i]].wall_us, gap_us = 1;
		size_t next = commits_until(c, t_us);
		if (next < c->n)
			gap_us = c->v[next].wall_us - t_us;
		expect_state(c, t_us, "at a commit");
		if (gap_us > 1)
			expect_state(c, t_us + 1 + rng((unsigned)gap_us - 1), "between two");
		if (gap_us > 1)
			expect_state(c, t_us + gap_us - 1, "right before the next");
	}
	free(order);
}

/* The window that the error for a time before everything tells is true at both ends. */
static void check_window(struct check *c)
{
	static const char words[] = "What can be restored: ";
	struct err e;
	uint64_t got;
	bool exact;
	char first[TIME_TEXT_BYTES] = "", last[TIME_TEXT_BYTES];
	int64_t first_us;
	if (restore_at(c, c->replica, 0, &got, &exact, &e) != ERR_NOTHING)
		die("before everything: not refused as it should be: %s", e.text);
	const char *at = strstr(e.text, words);
	if (at)
		snprintf(first, sizeof first, "%.27s", at + sizeof words - 1);
	if (time_parse(first, &first_us) < 0 || first_us > c->v[0].wall_us)
		die("no window that begins with the first commit in: %s", e.text);
	if (!strstr(e.text, time_format(last, c->v[c->n - 1].wall_us, 6)))
		die("no window that ends with the last commit, %s, in: %s", last, e.text);
	if (restore_at(c, c->replica, first_us, &got, &exact, &e) != ERR_NONE)
		die("the first moment cannot be restored: %s", e.text);
	if (state_find(c, got) > c->v[0].state)
		die("the first moment gives state %zu", state_find(c, got));
	if (restore_at(c, c->replica, first_us - 1, &got, &exact, &e) != ERR_NOTHING)
		die("something was restored that is older than the first moment: %s", first);
}

static void check_edges(struct check *c)
{
	int64_t last_us = c->v[c->n - 1].wall_us;
	expect_state(c, c->v[0].wall_us, "at the first commit");
	expect_state(c, last_us, "at the last commit");
	expect_state(c, last_us + 1, "after the last commit");
	expect_state(c, last_us + 3600 * (int64_t)1000000, "an hour after the last commit");
	check_window(c);
}

/* Without documents: the content of some commit that was there by then, never of a later one. */
static void check_objects_only(struct check *c, int64_t end_us)
{
	char copy[sizeof c->replica + 8], command[sizeof c->replica + 128];
	snprintf(copy, sizeof copy, "%s.bare", c->replica);
	snprintf(command, sizeof command,
		 "d='%s'; cp -a \"$d\" \"$d.bare\" && rm -r \"$d.bare\"/generations/*/index", c->replica);
	if (system(command) != 0)
		die("failed: %s", command);
	for (unsigned i = 0, none = 0; i < 60 && mono_us() < end_us; i++) {
		struct err e;
		uint64_t got;
		bool exact;
		size_t at = rng((unsigned)c->n);
		int64_t t_us = c->v[at].wall_us;
		if (restore_at(c, copy, t_us, &got, &exact, &e) != ERR_NONE) {
			if (e.kind != ERR_NOTHING || ++none > 59)
				die("without documents: %s", e.text);
			continue;
		}
		size_t newest = c->v[commits_until(c, t_us + TICK_US) - 1].state, is = state_find(c, got);
		if (is > newest)
			die("without documents: at the time of state %zu comes state %zu of %zu", newest, is,
			    c->states_n);
		if (exact)
			die("without documents nothing is exact");
		c->checked++;
	}
}

static int check(const char *replica, const char *log_path, double secs)
{
	struct check c = { .n = 0 };
	int64_t end_us = mono_us() + (int64_t)(secs * 1e6);
	log_setup(LOG_ERROR, false, STDERR_FILENO);
	snprintf(c.replica, sizeof c.replica, "%s", replica);
	snprintf(c.scratch, sizeof c.scratch, "%s.restored", replica);
	read_log(&c, log_path);
	read_docs(&c);
	printf("commits=%zu unreached=%zu generations=%zu indexes=%zu snapshots=%zu\n", c.n, c.unreached,
	       c.generations, c.indexes, c.snapshots);
	check_edges(&c);
	check_commits(&c, end_us - (int64_t)(secs * 2e5));
	check_objects_only(&c, end_us);
	printf("checked=%u\n", c.checked);
	free(c.states);
	free(c.v);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fputs("usage: moments write DB LOG SECS SEED | check REPLICA LOG SECS SEED\n", stderr);
		return 2;
	}
	rng_state = strtoull(argv[5], NULL, 10) * 2654435761u + 1;
	double secs = strtod(argv[4], NULL);
	return strcmp(argv[1], "write") == 0 ? write_history(argv[2], argv[3], secs)
					     : check(argv[2], argv[3], secs);
}
