/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: a history that SQLite made is put into a replica in memory, in two generations, with exact and fuzzy
 * snapshots and index objects. Then, ten thousand times (fewer under a sanitizer), one thing in it is damaged:
 * verify must find it, or restoring everything that could be restored must give the same bytes as before. What
 * verify says can be restored is restored and compared with what SQLite had at that commit.
 *
 * WALBROOK_VERIFY_CASES, WALBROOK_VERIFY_SEED: how many, and which. WALBROOK_VERIFY_LOUD: what each case was.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "core/index.h"
#include "core/segment.h"
#include "core/wal.h"
#include "restore/history.h"
#include "restore/restore.h"
#include "restore/verify.h"

#include "memstore.h"

enum { PAGE = 512, START_S = 1700000000, MOMENTS = 512 };
#if defined(__SANITIZE_THREAD__)
enum { CASES = 300 };
#elif defined(__SANITIZE_ADDRESS__)
enum { CASES = 2000 };
#else
enum { CASES = 10000 };
#endif
static const char *const generation_names[] = { "00000000000000aa", "00000000000000bb" };

static char dir[64];
static uint64_t rng_state, seed;

static uint64_t rng(uint64_t below)
{
	uint64_t z = (rng_state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return below ? z % below : z;
}

static const char *under(const char *name)
{
	static char bufs[4][PATH_BYTES];
	static unsigned next;
	char *buf = bufs[next++ % 4];
	snprintf(buf, PATH_BYTES, "%s/%s", dir, name);
	return buf;
}

static struct dyn slurp(const char *path)
{
	struct dyn d = DYN_INIT((size_t)64 << 20);
	struct err e;
	if (file_read_all(path, &d, &e) < 0)
		fail_msg("%s", e.text);
	return d;
}

/* ---- the history ---- */

struct moment {
	struct generation g;
	struct position at;
	int64_t wall_us;
	uint64_t hash; /* of the database, WAL copied into it */
};

static struct moment moments[MOMENTS];
static size_t moments_n;
static struct mem good;

/* What is being made. */
struct maker {
	sqlite3 *db, *reader;
	struct generation g;
	uint64_t index, shipped; /* bytes of this index that are in segments */
	int64_t wall_us;
	struct wal_index_doc doc;
	bool any;
};

static void sql(sqlite3 *db, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void sql(sqlite3 *db, const char *fmt, ...)
{
	char text[512], *why = NULL;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (sqlite3_exec(db, text, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", text, why);
}

static int to_dyn(void *arg, struct span out, struct err *e)
{
	return dyn_add(arg, out.p, out.n) < 0 ? err_set(e, ERR_FAIL, "no memory") : 0;
}

static void object_put(struct maker *m, enum object_kind kind, struct position at, struct dyn *d)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = kind, .generation = m->g, .at = at };
	mem_put(&good, object_key(key, &o), d->p, d->len, m->wall_us + 300);
}

static void packed_put(struct maker *m, enum object_kind kind, struct position at, struct span plain)
{
	struct dyn d = DYN_INIT((size_t)64 << 20);
	struct err e;
	struct segment_writer *w = segment_writer_new(to_dyn, &d);
	assert_non_null(w);
	assert_int_equal(segment_write(w, plain, &e), 0);
	assert_int_equal(segment_finish(w, &e), 0);
	segment_writer_free(w);
	object_put(m, kind, at, &d);
}

/* The database as SQLite makes it of file and WAL. */
static uint64_t state_hash(void)
{
	sqlite3 *db;
	struct dyn file = slurp(under("db")), wal = slurp(under("db-wal"));
	struct err e;
	struct owner o = OWNER_PRIVATE;
	assert_int_equal(file_publish(under("probe"), file.p, file.len, &o, &e), 0);
	assert_int_equal(file_publish(under("probe-wal"), wal.p, wal.len, &o, &e), 0);
	dyn_free(&file);
	dyn_free(&wal);
	assert_int_equal(sqlite3_open(under("probe"), &db), SQLITE_OK);
	sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
	sqlite3_close(db);
	struct dyn d = slurp(under("probe"));
	uint64_t h = XXH64(d.p, d.len, 0);
	dyn_free(&d);
	unlink(under("probe"));
	unlink(under("probe-wal"));
	unlink(under("probe-shm"));
	return h;
}

/* Bytes of the WAL that are of this incarnation and committed. */
static uint64_t wal_end(const struct dyn *wal, struct wal_header *h)
{
	uint64_t end = 0;
	struct wal_frame f;
	assert_int_equal(wal_header_parse((struct span){ wal->p, wal->len }, h), WAL_OK);
	struct wal_chain c = wal_chain_start(h);
	while (wal_chain_step(&c, (struct span){ wal->p + c.offset, wal->len - (size_t)c.offset }, &f) ==
	       WAL_OK)
		if (f.commit_pages)
			end = c.offset;
	return end;
}

static void doc_put(struct maker *m, bool ended)
{
	struct dyn d = DYN_INIT(1 << 20);
	m->doc.ended = ended;
	assert_int_equal(index_doc_write(&m->doc, &d), 0);
	object_put(m, OBJECT_INDEX, (struct position){ m->index, 0 }, &d);
}

/* One commit has been made: note what the database is now. A WAL that began anew is a new index. */
static void committed(struct maker *m)
{
	struct wal_header h;
	struct dyn wal = slurp(under("db-wal"));
	m->wall_us += 1000 + (int64_t)rng(2000);
	uint64_t end = wal_end(&wal, &h);
	bool same = m->any && memcmp(h.salt, m->doc.salt, sizeof h.salt) == 0;
	if (same && m->doc.commits_n > 0 && m->doc.commits[m->doc.commits_n - 1].offset == end) {
		dyn_free(&wal); /* nothing was changed */
		return;
	}
	if (!same) {
		if (m->any) {
			doc_put(m, true);
			m->index++;
		}
		index_doc_free(&m->doc);
		m->doc = (struct wal_index_doc){ .generation = m->g, .index = m->index, .page_bytes = PAGE };
		memcpy(m->doc.salt, h.salt, sizeof h.salt);
		m->shipped = 0;
		m->any = true;
	}
	assert_int_equal(index_doc_add(&m->doc, (struct index_commit){ end, m->wall_us }), 0);
	assert_true(moments_n < MOMENTS);
	moments[moments_n++] = (struct moment){ m->g, { m->index, end }, m->wall_us, state_hash() };
	dyn_free(&wal);
}

/* What has been committed leaves as a segment. */
static void ship(struct maker *m)
{
	struct wal_header h;
	struct dyn wal = slurp(under("db-wal"));
	uint64_t end = wal_end(&wal, &h);
	if (end > m->shipped)
		packed_put(m, OBJECT_SEGMENT, (struct position){ m->index, m->shipped },
			   (struct span){ wal.p + m->shipped, (size_t)(end - m->shipped) });
	m->shipped = m->doc.end_offset = end;
	dyn_free(&wal);
}

static void write_some(struct maker *m)
{
	switch (rng(6)) {
	case 0:
		sql(m->db, "UPDATE t SET v=randomblob(%d) WHERE id%%20=%d", 1 + (int)rng(200), (int)rng(20));
		break;
	case 1:
		sql(m->db, "DELETE FROM t WHERE id=%d", (int)rng(60));
		break;
	default:
		sql(m->db, "INSERT INTO t(v) VALUES(randomblob(%d)),(randomblob(%d))", (int)rng(150),
		    (int)rng(500));
	}
	committed(m);
}

static void snapshot_put(struct maker *m, uint64_t index, struct dyn *file)
{
	packed_put(m, OBJECT_SNAPSHOT, (struct position){ index, 0 }, (struct span){ file->p, file->len });
	dyn_free(file);
}

static struct dyn database_copied(struct maker *m)
{
	sql(m->db, "PRAGMA wal_checkpoint(PASSIVE)");
	return slurp(under("db"));
}

/* A reader keeps SQLite from beginning the WAL anew although all of it has been copied. */
static void hold(struct maker *m)
{
	sql(m->reader, "BEGIN");
	sql(m->reader, "SELECT count(*) FROM t");
}

/* An exact copy inside an index: usable from where it was made. */
static void snapshot_inside(struct maker *m)
{
	hold(m);
	struct dyn file = database_copied(m);
	ship(m);
	m->doc.snapshot_fuzzy = true;
	m->doc.usable_from = (struct position){ m->index, m->shipped };
	snapshot_put(m, m->index, &file);
	write_some(m);
	ship(m);
	sql(m->reader, "COMMIT");
}

/* A copy of which one half is of later commits. */
static void snapshot_fuzzy(struct maker *m)
{
	hold(m);
	struct dyn before = database_copied(m);
	sql(m->reader, "COMMIT");
	hold(m);
	for (int i = 0; i < 4; i++)
		write_some(m);
	sql(m->reader, "COMMIT");
	hold(m);
	struct dyn after = database_copied(m);
	size_t half = before.len / 2 / PAGE * PAGE;
	memcpy(after.p, before.p, half);
	dyn_free(&before);
	ship(m);
	m->doc.snapshot_fuzzy = true;
	m->doc.usable_from = (struct position){ m->index, m->shipped };
	snapshot_put(m, m->index, &after);
	write_some(m);
	ship(m);
	sql(m->reader, "COMMIT");
}

/* The next write begins a new index. `snapshot`: with one of its beginning. */
static void index_next(struct maker *m, bool snapshot)
{
	ship(m);
	struct dyn file = database_copied(m);
	if (snapshot)
		snapshot_put(m, m->index + 1, &file);
	else
		dyn_free(&file);
}

static void index_fill(struct maker *m)
{
	uint64_t n = 2 + rng(3);
	for (uint64_t i = 0; i < n; i++) {
		write_some(m);
		if (rng(3) > 0)
			ship(m);
	}
	ship(m);
}

static void generation_make(struct maker *m, const char *name)
{
	memcpy(m->g.name, name, sizeof m->g.name);
	m->index = 0;
	m->any = false;
	struct dyn file = database_copied(m);
	snapshot_put(m, 0, &file);
	index_fill(m);
}

static int group_setup(void **state)
{
	struct maker m = { .wall_us = (int64_t)START_S * 1000000 };
	const char *given = getenv("WALBROOK_VERIFY_SEED");
	(void)state;
	log_setup(LOG_ERROR + 1, false, 2);
	rng_state = seed = given ? strtoull(given, NULL, 10) : 4;
	snprintf(dir, sizeof dir, "%s/wb-verify-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir) || sqlite3_open(under("db"), &m.db) != SQLITE_OK ||
	    sqlite3_open(under("db"), &m.reader) != SQLITE_OK)
		return -1;
	/* Salts and random values come from the seed too. */
	sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)seed, NULL);
	sql(m.db, "PRAGMA page_size=%d", PAGE);
	sql(m.db, "PRAGMA journal_mode=WAL");
	sql(m.db, "PRAGMA synchronous=OFF");
	sql(m.db, "PRAGMA wal_autocheckpoint=0");
	sql(m.db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
	sql(m.db, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<60) "
		  "INSERT INTO t(v) SELECT randomblob(200) FROM c");
	generation_make(&m, generation_names[0]);
	for (int i = 0; i < 2; i++) {
		index_next(&m, false);
		index_fill(&m);
	}
	doc_put(&m, false);
	index_next(&m, false);
	generation_make(&m, generation_names[1]);
	for (int i = 1; i < 8; i++) {
		index_next(&m, i == 4);
		index_fill(&m);
		if (i == 2)
			snapshot_inside(&m);
		if (i == 6)
			snapshot_fuzzy(&m);
		index_fill(&m);
	}
	doc_put(&m, false);
	index_doc_free(&m.doc);
	sqlite3_close(m.reader);
	sqlite3_close(m.db);
	return 0;
}

static int group_teardown(void **state)
{
	char cmd[128];
	(void)state;
	for (size_t i = 0; i < good.n; i++)
		free(good.v[i].p);
	free(good.v);
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
	return system(cmd);
}

/* ---- verify ---- */

struct seen {
	uint64_t findings, damage;
	struct verify_window windows[32];
	size_t windows_n;
	char first[2048]; /* the texts of the findings */
	bool kinds_only;
};

static void on_finding(void *arg, const struct verify_finding *f)
{
	struct seen *s = arg;
	size_t n = strlen(s->first);
	s->findings++;
	s->damage += f->severity == VERIFY_DAMAGE;
	assert_true(*f->what && *f->cost && *f->todo && *f->kind);
	snprintf(s->first + n, sizeof s->first - n, "[%s %s %s: %s | %s] ", verify_severity_text(f->severity),
		 f->kind, f->key, f->what, f->cost);
}

static void on_window(void *arg, const struct verify_window *w)
{
	struct seen *s = arg;
	assert_true(s->windows_n < 32);
	s->windows[s->windows_n++] = *w;
}

static int verify_mem(struct mem *m, struct seen *s, struct verify_result *r, struct err *e)
{
	struct store *store;
	struct verify_wish w = { .parallelism = 1, .finding = on_finding, .window = on_window, .arg = s };
	*s = (struct seen){ 0 };
	mem_open(m, &store, e);
	struct restore_source source = { .store = store, .name = "mem", .open_more = mem_open, .arg = m };
	int rc = verify_run(&source, &w, r, e);
	store_close(store);
	return rc;
}

/* ---- restore ---- */

struct outcome {
	enum err_kind kind;
	uint64_t hash;
};

static struct outcome restore_mem(struct mem *m, struct restore_wish *w)
{
	struct store *store;
	struct err e = ERR_INIT;
	struct restore_result r;
	struct outcome o = { .kind = ERR_NONE };
	mem_open(m, &store, &e);
	struct restore_source source = { .store = store, .name = "mem", .open_more = mem_open, .arg = m };
	w->output = under("out");
	w->parallelism = 1;
	w->owner = OWNER_PRIVATE;
	if (restore_run(&source, 1, w, &r, &e) < 0) {
		o.kind = e.kind;
	} else {
		struct dyn d = slurp(w->output);
		o.hash = XXH64(d.p, d.len, 0);
		dyn_free(&d);
	}
	unlink(w->output);
	store_close(store);
	return o;
}

static struct generation name_of(size_t i)
{
	struct generation g;
	memcpy(g.name, generation_names[i], sizeof g.name);
	return g;
}

/* Everything that anybody may wish for; the n-th. false: no more. */
static bool wish_at(size_t n, struct restore_wish *w)
{
	*w = (struct restore_wish){ 0 };
	if (n < 3) {
		if (n > 0)
			w->generation = name_of(n - 1);
		return true;
	}
	n -= 3;
	if (n < 2 * 9) {
		w->generation = name_of(n / 9);
		w->by_index = true;
		w->index = n % 9;
		return true;
	}
	n -= 2 * 9;
	if (n >= moments_n)
		return false;
	w->generation = moments[n].g;
	w->by_time = true;
	w->wall_us = moments[n].wall_us;
	return true;
}

static struct outcome expected[MOMENTS + 32];
static size_t expected_n;

/* A damage that repeats (the same object deleted) has been tried before. */
static struct {
	uint64_t hash;
	bool harmless;
} tried[4096];
static size_t tried_n;

static uint64_t mem_hash(const struct mem *m)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < m->n; i++)
		sum += XXH64(m->v[i].key, strlen(m->v[i].key),
			     XXH64(m->v[i].p, m->v[i].n, (uint64_t)m->v[i].created_us));
	return sum;
}

static bool harmless(struct mem *m, char why[256])
{
	uint64_t hash = mem_hash(m);
	struct restore_wish w;
	bool same = true;
	for (size_t i = 0; i < tried_n; i++)
		if (tried[i].hash == hash)
			return tried[i].harmless;
	for (size_t i = 0; same && wish_at(i, &w); i++) {
		struct outcome o = restore_mem(m, &w);
		same = o.kind == expected[i].kind && o.hash == expected[i].hash;
		if (!same)
			snprintf(why, 256,
				 "wish %zu (index %d %" PRIx64 ", time %d %" PRId64 ") of %s: kind %d for %d",
				 i, w.by_index, w.index, w.by_time, w.wall_us, w.generation.name, (int)o.kind,
				 (int)expected[i].kind);
	}
	if (tried_n < sizeof tried / sizeof *tried) {
		tried[tried_n].hash = hash;
		tried[tried_n++].harmless = same;
	}
	return same;
}

/* What verify says can be restored can be, and is what SQLite had. */
static void windows_hold(struct mem *m, const struct seen *s, const char *what)
{
	for (size_t i = 0; i < s->windows_n; i++) {
		const struct verify_window *x = &s->windows[i];
		struct restore_wish w = { .generation = x->generation };
		if (x->doubtful)
			continue;
		w.by_index = x->by == VERIFY_BY_INDEX;
		w.index = x->to.index;
		w.by_time = x->by == VERIFY_BY_TIME;
		w.wall_us = x->to_us;
		struct outcome o = restore_mem(m, &w);
		if (o.kind != ERR_NONE)
			fail_msg("%s: window %zu of %s to %08" PRIx64 ":%" PRIu64
				 " cannot be restored (kind %d, by %d); %s",
				 what, i, x->generation.name, x->to.index, x->to.offset, (int)o.kind,
				 (int)x->by, s->first);
		for (size_t k = 0; k < moments_n; k++)
			if (generation_equal(&moments[k].g, &x->generation) &&
			    position_compare(moments[k].at, x->to) == 0 && moments[k].hash != o.hash)
				fail_msg("%s: window %zu of %s to %08" PRIx64 ":%" PRIu64
					 " (by %d) restores something else; %s",
					 what, i, x->generation.name, x->to.index, x->to.offset, (int)x->by,
					 s->first);
	}
}

/* What verify cannot see, as docs/verify.md says: the first snapshot of a generation is another sound one,
 * which happens to have a size from which the WAL can go on. */
static bool blind_spot(const struct mem *m)
{
	for (size_t g = 0; g < 2; g++) {
		const struct mem_object *first = NULL;
		char prefix[OBJECT_KEY_BYTES];
		struct generation name = name_of(g);
		object_prefix(prefix, OBJECT_SNAPSHOT, &name);
		for (size_t i = 0; i < m->n; i++)
			if (strncmp(m->v[i].key, prefix, strlen(prefix)) == 0 &&
			    (!first || strcmp(m->v[i].key, first->key) < 0))
				first = &m->v[i];
		const struct mem_object *was = first ? mem_find(&good, first->key) : NULL;
		for (size_t i = 0; first && (!was || was->p != first->p) && i < good.n; i++)
			if (first->p == good.v[i].p && strstr(good.v[i].key, "/snapshots/"))
				return true;
	}
	return false;
}

/* ---- tests ---- */

static void test_sound(void **state)
{
	struct seen s;
	struct verify_result r;
	struct err e;
	struct restore_wish w;
	(void)state;
	if (verify_mem(&good, &s, &r, &e) < 0)
		fail_msg("%s", e.text);
	if (s.findings > 0)
		fail_msg("%s", s.first);
	assert_int_equal(r.generations, 2);
	assert_int_equal(r.snapshots, 5);
	assert_int_equal(r.commits, moments_n);
	assert_int_equal(s.windows_n, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(s.windows[i].by == VERIFY_BY_NEWEST && s.windows[i].exact);
	windows_hold(&good, &s, "the good one");
	for (expected_n = 0; wish_at(expected_n, &w); expected_n++) {
		expected[expected_n] = restore_mem(&good, &w);
		if (w.by_time && expected[expected_n].kind == ERR_NONE)
			assert_true(expected[expected_n].hash == moments[expected_n - 21].hash);
	}
	/* The newest state, and nearly all moments, or the test tells nothing. */
	assert_int_equal(expected[0].kind, ERR_NONE);
	size_t there = 0;
	for (size_t i = 21; i < expected_n; i++)
		there += expected[i].kind == ERR_NONE;
	assert_true(there + 2 >= moments_n);
}

static struct mem_object *any_object(struct mem *m)
{
	return &m->v[rng(m->n)];
}

static uint8_t *bytes_of(const struct mem_object *o)
{
	uint8_t *p = malloc(o->n ? o->n : 1);
	assert_non_null(p);
	memcpy(p, o->p, o->n);
	return p;
}

/* Another name for an object of this kind: of another place, or of none. */
static void other_name(const char *key, char to[OBJECT_KEY_BYTES])
{
	struct object o = { .kind = OBJECT_SEGMENT };
	const char *name = strrchr(key, '/') + 1;
	if (strstr(key, "/snapshots/"))
		o.kind = OBJECT_SNAPSHOT;
	else if (strstr(key, "/index/"))
		o.kind = OBJECT_INDEX;
	o.generation = name_of(strstr(key, generation_names[0]) ? 0 : 1);
	assert_true(object_parse(name, o.kind, &o.at));
	switch (rng(7)) {
	case 0:
		o.generation = name_of(strstr(key, generation_names[0]) ? 1 : 0);
		break;
	case 1:
		o.at.index += 1 + rng(9);
		break;
	case 2:
		o.at.index -= o.at.index > 0;
		break;
	case 3:
		o.at.offset += o.kind == OBJECT_SEGMENT ? 32 + rng(5) * (24 + PAGE) : 0;
		o.at.index += o.kind != OBJECT_SEGMENT;
		break;
	case 4:
		o.at.offset = 0;
		o.at.index += 1;
		break;
	case 5:
		snprintf(to, OBJECT_KEY_BYTES, "%.100s.bak", key);
		return;
	default:
		o.generation = generation_from(rng(0));
	}
	object_key(to, &o);
}

enum { FLIP, BYTE, TRUNCATE, DELETE, SWAP, DUPLICATE, RENAME, KINDS };
static const char *const kind_names[] = { "flip", "byte", "truncate", "delete", "swap", "duplicate", "rename" };

/* Damages *m, once. `made`: new bytes, to be freed; what: what was done. false: nothing was changed. */
static bool damage(struct mem *m, unsigned kind, uint8_t **made, char what[400])
{
	struct mem_object *o = any_object(m), *p = any_object(m);
	char key[OBJECT_KEY_BYTES];
	uint8_t was;
	*made = NULL;
	snprintf(what, 400, "%s %s", kind_names[kind], o->key);
	switch (kind) {
	case FLIP:
	case BYTE:
		*made = o->p = bytes_of(o);
		was = o->p[rng(o->n)];
		uint8_t *at = &o->p[rng(o->n)];
		was = *at;
		*at = (uint8_t)(kind == FLIP ? *at ^ 1u << rng(8) : rng(256));
		snprintf(what + strlen(what), 60, " at %td of %zu: %02x %02x", at - o->p, o->n, was, *at);
		return *at != was;
	case TRUNCATE:
		o->n = rng(o->n);
		snprintf(what + strlen(what), 60, " to %zu", o->n);
		return true;
	case DELETE:
		mem_remove(m, o->key);
		return true;
	case SWAP: {
		struct mem_object t = *o;
		snprintf(what + strlen(what), 200, " with %s", p->key);
		if (o->n == p->n && memcmp(o->p, p->p, o->n) == 0)
			return false;
		o->p = p->p;
		o->n = p->n;
		p->p = t.p;
		p->n = t.n;
		return true;
	}
	default:
		other_name(o->key, key);
		snprintf(what + strlen(what), 200, " as %s", key);
		if (mem_find(m, key))
			return false;
		if (kind == DUPLICATE)
			mem_put(m, key, o->p, o->n,
				rng(2) ? o->created_us : moments[moments_n - 1].wall_us + 5000);
		else
			snprintf(o->key, sizeof o->key, "%s", key);
		return true;
	}
}

static void test_damages(void **state)
{
	const char *n_text = getenv("WALBROOK_VERIFY_CASES");
	unsigned long n = n_text ? strtoul(n_text, NULL, 10) : CASES, done = 0;
	unsigned long found[KINDS] = { 0 }, unseen[KINDS] = { 0 }, blind = 0;
	(void)state;
	print_message("# %zu objects (%016" PRIx64 "), %zu commits, seed %" PRIu64 "\n", good.n,
		      mem_hash(&good), moments_n, seed);
	while (done < n) {
		struct mem m = mem_copy(&good);
		struct seen s;
		struct verify_result r;
		struct err e = ERR_INIT;
		uint8_t *made;
		char what[400], why[256] = "";
		unsigned kind = (unsigned)rng(KINDS);
		if (damage(&m, kind, &made, what)) {
			done++;
			int rc = verify_mem(&m, &s, &r, &e);
			if (getenv("WALBROOK_VERIFY_LOUD"))
				print_message("# %s: %d %s%s\n", what, rc, rc < 0 ? e.text : "", s.first);
			if (rc < 0 || s.findings > 0)
				found[kind]++;
			else if (harmless(&m, why))
				unseen[kind]++;
			else if (blind_spot(&m))
				blind++;
			else
				fail_msg("not found, and it does harm: %s: %s", what, why);
			if ((done % 10 == 0 || s.findings == 0) && !blind_spot(&m))
				windows_hold(&m, &s, what);
		}
		free(made);
		free(m.v);
	}
	for (unsigned k = 0; k < KINDS; k++)
		print_message("# %s: %lu found, %lu provably harmless\n", kind_names[k], found[k], unseen[k]);
	print_message("# a first snapshot in the place of another, not to be seen: %lu\n", blind);
	assert_true(blind * 1000 <= n);
}

/* Objects with our names and anything in them. */
static void test_garbage(void **state)
{
	(void)state;
	for (int i = 0; i < 600; i++) {
		struct mem m = mem_copy(&good);
		struct seen s;
		struct verify_result r;
		struct err e;
		uint8_t *made[12] = { NULL };
		unsigned changed = 1 + (unsigned)rng(12);
		for (unsigned k = 0; k < changed; k++) {
			struct mem_object *o = any_object(&m);
			size_t n = rng(3000);
			made[k] = malloc(n + 1);
			assert_non_null(made[k]);
			for (size_t b = 0; b < n; b++)
				made[k][b] = (uint8_t)rng(256);
			/* Every other time behind a good beginning, so that it is read further. */
			if (rng(2)) {
				size_t head = rng(o->n < n ? o->n + 1 : n + 1);
				memcpy(made[k], o->p, head);
			}
			o->p = made[k];
			o->n = n;
		}
		int rc = verify_mem(&m, &s, &r, &e);
		assert_true(rc < 0 || s.findings > 0);
		for (unsigned k = 0; k < changed; k++)
			free(made[k]);
		free(m.v);
	}
}

/* ---- a replica that changes while it is read ---- */

/* Retention: takes away the first snapshot of the newer generation, and all that lies below the next, as soon
 * as somebody reads a segment. */
static void retention_runs(struct mem *m, const char *key)
{
	static const char *const parts[] = { "/snapshots/", "/wal/", "/index/" };
	(void)key;
	m->on_get = NULL;
	for (size_t p = 0; p < 3; p++)
		for (size_t i = m->n; i-- > 0;) {
			const char *name = strstr(m->v[i].key, parts[p]);
			if (!name || !strstr(m->v[i].key, generation_names[1]))
				continue;
			name += strlen(parts[p]);
			if (strncmp(name, "00000002", 8) < 0)
				mem_remove(m, m->v[i].key);
		}
}

static void retention_on_get(struct mem *m, const char *key)
{
	if (strstr(key, generation_names[1]) && strstr(key, *(char **)m->arg))
		retention_runs(m, key);
}

static void test_retention_meanwhile(void **state)
{
	/* Before anything of it is read; in its first index; in its second. */
	static const char *const when[] = { "/snapshots/00000000", "/wal/00000000_0", "/wal/00000001_0",
					    "/wal/00000003_0" };
	(void)state;
	for (size_t i = 0; i < sizeof when / sizeof *when; i++) {
		struct mem m = mem_copy(&good);
		struct seen s;
		struct verify_result r;
		struct err e;
		const char *at = when[i];
		m.on_get = retention_on_get;
		m.arg = &at;
		if (verify_mem(&m, &s, &r, &e) < 0)
			fail_msg("%s: %s", when[i], e.text);
		if (s.damage > 0)
			fail_msg("%s: %s", when[i], s.first);
		assert_true(m.n < good.n);
		windows_hold(&m, &s, when[i]);
		free(m.v);
	}
}

/* A whole generation goes. */
static void generation_goes(struct mem *m, const char *key)
{
	if (!strstr(key, "/wal/00000001_0") || !strstr(key, generation_names[0]))
		return;
	m->on_get = NULL;
	for (size_t i = m->n; i-- > 0;)
		if (strstr(m->v[i].key, generation_names[0]))
			mem_remove(m, m->v[i].key);
}

static void test_generation_goes(void **state)
{
	struct mem m = mem_copy(&good);
	struct seen s;
	struct verify_result r;
	struct err e;
	(void)state;
	m.on_get = generation_goes;
	assert_int_equal(verify_mem(&m, &s, &r, &e), 0);
	if (s.damage > 0)
		fail_msg("%s", s.first);
	assert_int_equal(s.windows_n, 1);
	free(m.v);
}

/* The daemon: the replica holds the objects up to `arg`, one more appears with each listing. */
struct growth {
	size_t next;
	struct mem_object *v[256]; /* of the good one, in the order of their times */
	size_t n;
};

static int growth_order(const void *a, const void *b)
{
	const struct mem_object *x = *(struct mem_object *const *)a, *y = *(struct mem_object *const *)b;
	if (x->created_us != y->created_us)
		return x->created_us < y->created_us ? -1 : 1;
	/* An index object follows what it tells of. */
	return (strstr(x->key, "/index/") != NULL) - (strstr(y->key, "/index/") != NULL);
}

static void grow(struct mem *m, const char *prefix)
{
	struct growth *g = m->arg;
	(void)prefix;
	if (g->next < g->n) {
		const struct mem_object *o = g->v[g->next++];
		mem_put(m, o->key, o->p, o->n, wall_us());
	}
}

static void test_being_written(void **state)
{
	struct growth g = { .n = 0 };
	(void)state;
	for (size_t i = 0; i < good.n; i++)
		if (strstr(good.v[i].key, generation_names[1]))
			g.v[g.n++] = &good.v[i];
	qsort(g.v, g.n, sizeof *g.v, growth_order);
	for (size_t begin = 2; begin < g.n; begin++) {
		struct mem m = { .on_list = grow, .arg = &g };
		struct seen s;
		struct verify_result r;
		struct err e;
		for (size_t i = 0; i < begin; i++)
			mem_put(&m, g.v[i]->key, g.v[i]->p, g.v[i]->n, wall_us());
		g.next = begin;
		assert_int_equal(verify_mem(&m, &s, &r, &e), 0);
		if (s.damage > 0)
			fail_msg("after %zu objects: %s", begin, s.first);
		free(m.v);
	}
}

/* Litestream begins a WAL index with a copy of the file, which has later pages already, and nothing tells that;
 * then we go on in that index, and its index object knows the commits from there on only. */
static void test_taken_over(void **state)
{
	struct maker m = { .wall_us = (int64_t)START_S * 1000000 };
	struct mem all = good;
	size_t moments_before = moments_n;
	struct seen s;
	struct verify_result r;
	struct err e;
	(void)state;
	good = (struct mem){ .n = 0 };
	assert_int_equal(sqlite3_open(under("db"), &m.db), SQLITE_OK);
	assert_int_equal(sqlite3_open(under("db"), &m.reader), SQLITE_OK);
	memcpy(m.g.name, "00112233445566ff", sizeof m.g.name);
	for (int i = 0; i < 3; i++) {
		sql(m.db, "INSERT INTO t(v) VALUES(randomblob(3000))");
		committed(&m);
		ship(&m);
	}
	hold(&m);
	struct dyn file = database_copied(&m);
	snapshot_put(&m, 0, &file);
	m.doc.commits_n = 0;
	for (int i = 0; i < 3; i++) {
		write_some(&m);
		ship(&m);
	}
	sql(m.reader, "COMMIT");
	index_next(&m, false);
	index_fill(&m); /* which puts the index object of what ended with it */
	doc_put(&m, false);
	if (verify_mem(&good, &s, &r, &e) < 0)
		fail_msg("%s", e.text);
	if (s.damage > 0)
		fail_msg("%s", s.first);
	assert_int_equal(s.windows_n, 1);
	windows_hold(&good, &s, "one that was taken over");
	index_doc_free(&m.doc);
	sqlite3_close(m.reader);
	sqlite3_close(m.db);
	for (size_t i = 0; i < good.n; i++)
		free(good.v[i].p);
	free(good.v);
	good = all;
	moments_n = moments_before;
}

static void test_nothing_there(void **state)
{
	struct mem m = { .n = 0 };
	struct seen s;
	struct verify_result r;
	struct err e;
	(void)state;
	assert_int_equal(verify_mem(&m, &s, &r, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
}

/* ---- the hashes of pages ---- */

static void test_history_many_pages(void **state)
{
	struct history h;
	struct err e;
	uint8_t page[PAGE] = { 1 };
	uint32_t n = 2 * HISTORY_PAGES + 5;
	(void)state;
	assert_int_equal(history_init(&h, &e), 0);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(history_snapshot_begin(&h, PAGE, &e), 0);
		for (uint32_t i = 0; i < n; i++) {
			put_be32(page + 4, i);
			history_snapshot_bytes(&h, (struct span){ page, 100 });
			history_snapshot_bytes(&h, (struct span){ page + 100, PAGE - 100 });
		}
		if (round == 0)
			history_adopt(&h);
	}
	assert_int_equal(h.step, 4);
	assert_int_equal(history_differs(&h), 0);
	/* Page 4001 is one that is looked at, page 4002 is not. */
	page[9] = 1;
	assert_int_equal(history_frame(&h, 4002, page, PAGE), 0);
	history_commit(&h, n);
	history_mark(&h);
	assert_int_equal(history_differs(&h), 0);
	assert_int_equal(history_frame(&h, 4001, page, PAGE), 0);
	history_commit(&h, n);
	assert_int_equal(history_differs(&h), 0); /* written since the mark */
	history_mark(&h);
	assert_int_equal(history_differs(&h), 1);
	/* What lies behind the end is forgotten. */
	history_commit(&h, 1000);
	history_commit(&h, n);
	assert_int_equal(history_differs(&h), 0);
	history_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),		cmocka_unit_test(test_damages),
		cmocka_unit_test(test_garbage),		cmocka_unit_test(test_retention_meanwhile),
		cmocka_unit_test(test_generation_goes), cmocka_unit_test(test_being_written),
		cmocka_unit_test(test_nothing_there),	cmocka_unit_test(test_history_many_pages),
		cmocka_unit_test(test_taken_over),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
