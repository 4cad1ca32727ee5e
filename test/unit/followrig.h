/* SPDX-License-Identifier: Apache-2.0
 *
 * A source database, written by real SQLite in another process, and a follower of it in this one. The source's
 * WAL is read as capture would read it: what its checksum chain proves, through the last commit. What readers
 * see on either side is compared in other processes: wb_image() hashes every page that a connection sees. */
#ifndef WB_TEST_FOLLOWRIG_H
#define WB_TEST_FOLLOWRIG_H

#include "world.h"

#include <xxhash.h>

#include "db/follow.h"

/* ---- SQL functions of peers ---- */

static void sql_image(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	char text[64];
	sqlite3_int64 size = 0;
	(void)n;
	(void)v;
	uint8_t *p = sqlite3_serialize(sqlite3_context_db_handle(ctx), "main", &size, 0);
	snprintf(text, sizeof text, "%lld:%016llx", (long long)size,
		 p ? (unsigned long long)XXH64(p, (size_t)size, 0) : 0ull);
	sqlite3_free(p);
	sqlite3_result_text(ctx, text, -1, SQLITE_TRANSIENT);
}

/* The next link of the chain in the data. */
static void sql_link(sqlite3_context *ctx, int n, sqlite3_value **v)
{
	sqlite3_int64 in[2] = { sqlite3_value_int64(v[0]), sqlite3_value_int64(v[1]) };
	(void)n;
	sqlite3_result_int64(ctx, (sqlite3_int64)XXH64(in, sizeof in, 1));
}

static int add_functions(sqlite3 *db, char **why, const struct sqlite3_api_routines *api)
{
	(void)why;
	(void)api;
	sqlite3_create_function(db, "wb_image", 0, SQLITE_UTF8, NULL, sql_image, NULL, NULL);
	return sqlite3_create_function(db, "wb_link", 2, SQLITE_UTF8, NULL, sql_link, NULL, NULL);
}

HELPER void followrig_functions(void)
{
	sqlite3_auto_extension((void (*)(void))add_functions);
}

/* ---- readers ---- */

/* `PROGRAM reader PATH rw|ro MMAP_BYTES HOLD_US REOPEN`: reads until its standard input ends, then says how
 * often, or what was wrong. Every transaction must see one state (source_begin tells which those are), the same
 * at its end as at its start, and never an older one than the transaction before in the same connection. */
struct reading {
	sqlite3 *db;
	sqlite3_int64 seq;
	long n, busy;
};

static int reader_int(sqlite3 *db, const char *sql, sqlite3_int64 *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(st);
	if (rc == SQLITE_ROW)
		*ret = sqlite3_column_int64(st, 0);
	int done = sqlite3_finalize(st);
	return rc == SQLITE_ROW ? SQLITE_OK : rc == SQLITE_DONE ? SQLITE_ERROR : done;
}

static const char *reader_look(struct reading *r, int hold_us, int *rc)
{
	sqlite3_int64 seq, again, v;
	if ((*rc = sqlite3_exec(r->db, "BEGIN", NULL, NULL, NULL)) != SQLITE_OK ||
	    (*rc = reader_int(r->db, "SELECT seq FROM state", &seq)) != SQLITE_OK)
		return "begin";
	if (seq < r->seq)
		return "older than before";
	if ((*rc = reader_int(r->db, "SELECT count(*)=max(seq) AND max(seq)=(SELECT seq FROM state) FROM link",
			      &v)) != SQLITE_OK ||
	    !v)
		return "rows of link";
	if ((*rc = reader_int(
		     r->db,
		     "SELECT count(*) FROM link a JOIN link b ON b.seq=a.seq+1 WHERE b.h<>wb_link(b.seq,a.h) "
		     "AND a.seq>(SELECT seq-20 FROM state)",
		     &v)) != SQLITE_OK ||
	    v)
		return "chain of link";
	if ((*rc = reader_int(r->db, "SELECT sum(v) FROM account", &v)) != SQLITE_OK || v)
		return "sum of account";
	if (hold_us)
		usleep((unsigned)hold_us);
	if (r->n % 16 == 0 &&
	    ((*rc = reader_int(r->db, "SELECT integrity_check='ok' FROM pragma_integrity_check", &v)) !=
		     SQLITE_OK ||
	     !v))
		return "integrity_check";
	if ((*rc = reader_int(r->db, "SELECT seq FROM state", &again)) != SQLITE_OK || again != seq)
		return "another state inside one transaction";
	r->seq = seq;
	*rc = sqlite3_exec(r->db, "COMMIT", NULL, NULL, NULL);
	return *rc == SQLITE_OK ? NULL : "commit";
}

static int reader_open(struct reading *r, char **argv)
{
	char sql[64];
	int ro = strcmp(argv[3], "ro") == 0;
	r->seq = 0;
	int rc = sqlite3_open_v2(argv[2], &r->db, ro ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, NULL);
	snprintf(sql, sizeof sql, "PRAGMA mmap_size=%s", argv[4]);
	return rc == SQLITE_OK ? sqlite3_exec(r->db, sql, NULL, NULL, NULL) : rc;
}

HELPER int reader_main(char **argv)
{
	struct reading r = { .n = 0 };
	int rc = reader_open(&r, argv);
	const char *bad = rc == SQLITE_OK ? NULL : "open";
	while (!bad && (r.n == r.busy || !peer_told())) {
		bad = reader_look(&r, atoi(argv[5]), &rc);
		if (bad && (rc & 0xff) == SQLITE_BUSY) {
			bad = NULL;
			r.busy++;
			sqlite3_exec(r.db, "ROLLBACK", NULL, NULL, NULL);
		}
		r.n++;
		if (!bad && atoi(argv[6])) {
			sqlite3_close(r.db);
			rc = reader_open(&r, argv);
			bad = rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY ? NULL : "open";
		}
	}
	if (bad)
		peer_say("err %s: %s (%d), after %ld reads, seq %lld", bad, sqlite3_errmsg(r.db), rc, r.n,
			 (long long)r.seq);
	else
		peer_say("ok %ld %ld", r.n, r.busy);
	sqlite3_close(r.db);
	return 0;
}

HELPER struct peer reader_start(const char *path, const char *how, long mmap_bytes, int hold_us, bool reopen)
{
	char mmap[32], hold[32];
	snprintf(mmap, sizeof mmap, "%ld", mmap_bytes);
	snprintf(hold, sizeof hold, "%d", hold_us);
	const char *args[] = { "reader", path, how, mmap, hold, reopen ? "1" : "0", NULL };
	return peer_start_as(args);
}

/* The same with Python's SQLite, which may be another version. */
static const char python_reader[] =
	"import sqlite3,sys,select\n"
	"c=sqlite3.connect(sys.argv[1],isolation_level=None,timeout=0);n=busy=last=0;bad=None\n"
	"def one(q): return c.execute(q).fetchone()[0]\n"
	"while not bad and (n==busy or not select.select([sys.stdin],[],[],0)[0]):\n"
	"  n+=1\n"
	"  try:\n"
	"    c.execute('BEGIN'); s=one('SELECT seq FROM state')\n"
	"    if s<last: bad='older'\n"
	"    if one('SELECT count(*) FROM link')!=s or one('SELECT max(seq) FROM link')!=s: bad='link'\n"
	"    if one('SELECT sum(v) FROM account')!=0: bad='sum'\n"
	"    if n%16==0 and one('PRAGMA integrity_check')!='ok': bad='integrity'\n"
	"    last=s; c.execute('COMMIT')\n"
	"  except sqlite3.OperationalError as e:\n"
	"    if 'locked' not in str(e): bad=str(e)\n"
	"    busy+=1\n"
	"    if c.in_transaction: c.execute('ROLLBACK')\n"
	"  except Exception as e: bad=repr(e)\n"
	"print('err '+bad if bad else 'ok %d %d'%(n,busy),flush=True)\n";

HELPER struct peer reader_start_python(const char *path)
{
	const char *args[] = { "python", path, NULL };
	return peer_start_as(args);
}

/* Programs like test/tools/oldreader.c, with other versions of SQLite: WALBROOK_TEST_READERS, paths with colons
 * in between. How many were started, at most `max`. */
HELPER int readers_of_other_versions(struct peer *to, int max, const char *path)
{
	const char *env = getenv("WALBROOK_TEST_READERS");
	char list[LINE_BYTES], *save = NULL;
	int n = 0;
	snprintf(list, sizeof list, "%s", env ? env : "");
	for (char *one = strtok_r(list, ":", &save); one && n < max; one = strtok_r(NULL, ":", &save)) {
		const char *args[] = { "program", one, path, NULL };
		to[n++] = peer_start_as(args);
	}
	return n;
}

HELPER int program_main(char **argv)
{
	execl(argv[2], argv[2], argv[3], (char *)NULL);
	return 127;
}

HELPER int python_main(char **argv)
{
	execlp("python3", "python3", "-c", python_reader, argv[2], (char *)NULL);
	return 127;
}

/* How many transactions it read; anything wrong fails the test. */
HELPER long reader_stop(struct peer *p)
{
	long n = 0, busy = 0;
	close(p->to);
	p->to = -1;
	const char *answer = peer_hear(p);
	if (sscanf(answer, "ok %ld %ld", &n, &busy) != 2)
		fail_msg("a reader: %s", answer);
	if (getenv("WALBROOK_TEST_LOG"))
		fprintf(stderr, "# %ld reads, %ld busy\n", n, busy);
	peer_reap(p);
	return n - busy;
}

/* ---- the source ---- */

struct source {
	char path[PATH_BYTES];
	struct peer p;
	struct generation generation;
	uint64_t index;
	struct wal_chain chain; /* what was shipped */
};

/* The state of the source at any commit: rows 1…seq of `link`, each following from the one before; what is in
 * `account` sums up to nothing; `state` names the last seq. */
HELPER void source_begin(struct source *s, const char *name, int page_bytes, const char *pragma)
{
	*s = (struct source){ .generation = generation_from(0x1234567800000000ull + (unsigned)page_bytes) };
	snprintf(s->path, sizeof s->path, "%s", at("%s", name));
	s->p = peer_open(s->path);
	peer_do(&s->p, "PRAGMA page_size=%d", page_bytes);
	peer_do(&s->p, "%s", pragma);
	peer_do(&s->p, "PRAGMA journal_mode=wal");
	peer_do(&s->p, "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF");
	peer_do(&s->p, "BEGIN; CREATE TABLE link(seq INTEGER PRIMARY KEY, h INTEGER, pad BLOB);"
		       "CREATE TABLE account(id INTEGER PRIMARY KEY, v INTEGER, pad BLOB);"
		       "CREATE INDEX account_v ON account(v); CREATE TABLE state(seq INTEGER);"
		       "INSERT INTO state VALUES(1); INSERT INTO link VALUES(1, 7, NULL);"
		       "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<50)"
		       "INSERT INTO account SELECT i, 0, randomblob(40) FROM c; COMMIT");
	peer_do(&s->p, "PRAGMA wal_checkpoint(TRUNCATE)");
}

/* One transaction, some `bytes` large. */
HELPER void source_commit(struct source *s, int bytes)
{
	peer_do(&s->p,
		"BEGIN IMMEDIATE; UPDATE state SET seq=seq+1;"
		"INSERT INTO link SELECT s.seq, wb_link(s.seq, l.h), randomblob(%d) FROM state s, link l WHERE "
		"l.seq=s.seq-1;"
		"UPDATE account SET v=v+(SELECT seq FROM state)*(1-2*(id&1)), pad=randomblob(40) WHERE id IN "
		"(SELECT 1+2*(seq%%25) FROM state UNION ALL SELECT 2+2*(seq%%25) FROM state);"
		"COMMIT",
		bytes);
}

HELPER void source_restart(struct source *s, const char *mode)
{
	assert_int_equal(peer_do(&s->p, "PRAGMA wal_checkpoint(%s)", mode)[0], '0');
}

struct until_commit {
	size_t bytes, committed;
	uint32_t page_bytes;
};

static int note_commit(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct until_commit *u = arg;
	(void)offset;
	u->bytes += wal_frame_bytes(u->page_bytes);
	if (f->commit_pages)
		u->committed = u->bytes;
	return 0;
}

/* What is new in the WAL, as a plain segment. false: nothing. */
HELPER bool source_segment(struct source *s, struct position *from, struct dyn *plain)
{
	char path[PATH_BYTES + 8];
	struct wal_header h;
	size_t done;
	snprintf(path, sizeof path, "%s-wal", s->path);
	struct dyn wal = slurp(path);
	bool some = wal_header_parse((struct span){ wal.p, wal.len }, &h) == WAL_OK;
	bool fresh = some && (s->chain.offset == 0 || memcmp(h.salt, s->chain.salt, 8) != 0);
	if (fresh) {
		s->index += s->chain.offset != 0;
		s->chain = wal_chain_start(&h);
	}
	*from = (struct position){ s->index, fresh ? 0 : s->chain.offset };
	*plain = DYN_INIT((size_t)1 << 30);
	if (some) {
		struct wal_chain c = s->chain;
		struct until_commit u = { .page_bytes = h.page_bytes };
		struct span in = { wal.p + c.offset, wal.len - (size_t)c.offset };
		wal_chain_run(&c, in, note_commit, &u, &done);
		in.n = u.committed;
		wal_chain_run(&s->chain, in, NULL, NULL, &done);
		size_t head = fresh ? WAL_HEADER_BYTES : 0;
		assert_int_equal(dyn_add(plain, in.p - head, in.n + head), 0);
	}
	dyn_free(&wal);
	return plain->len > 0;
}

/* ---- the follower ---- */

struct followed {
	char path[PATH_BYTES], meta[PATH_BYTES];
	struct follow f;
	struct err e;
};

HELPER struct follow_options followed_options(struct followed *d)
{
	return (struct follow_options){ .path = d->path, .meta_dir = d->meta, .owner = OWNER_PRIVATE };
}

HELPER enum follow_result followed_open(struct followed *d, const char *name)
{
	*d = (struct followed){ .e = ERR_INIT };
	snprintf(d->path, sizeof d->path, "%s", at("%s", name));
	snprintf(d->meta, sizeof d->meta, "%.4000s-meta", d->path);
	struct follow_options o = followed_options(d);
	return follow_open(&d->f, &o, &d->e);
}

/* A new process on the same files, the old one killed or ended. */
HELPER enum follow_result followed_again(struct followed *d, bool killed)
{
	struct follow_options o = followed_options(d);
	if (killed)
		d->f.known = false; /* nothing is synced */
	follow_close(&d->f);
	return follow_open(&d->f, &o, &d->e);
}

#define follow_ok(call)                                                                                        \
	do {                                                                                                   \
		enum follow_result rc_ = (call);                                                               \
		if (rc_ != FOLLOW_OK)                                                                          \
			fail_msg("%s: %d: %s", #call, rc_, d->e.text);                                         \
	} while (0)

/* The database file of the source: its state at the start of the WAL, which begins anew here. */
HELPER enum follow_result followed_snapshot_bytes(struct followed *d, const char *path, size_t piece)
{
	struct dyn db = slurp(path);
	enum follow_result rc = FOLLOW_OK;
	for (size_t i = 0; rc == FOLLOW_OK && i < db.len; i += piece) {
		size_t n = db.len - i < piece ? db.len - i : piece;
		rc = follow_content_bytes(&d->f, (struct span){ db.p + i, n }, &d->e);
	}
	dyn_free(&db);
	return rc == FOLLOW_OK ? follow_content_end(&d->f, &d->e) : rc;
}

HELPER void followed_content(struct followed *d, struct source *s)
{
	source_restart(s, "TRUNCATE");
	s->index += s->chain.offset != 0;
	s->chain = (struct wal_chain){ .offset = 0 };
	follow_ok(follow_content_begin(&d->f, &s->generation, s->index, &d->e));
	follow_ok(followed_snapshot_bytes(d, s->path, 10007));
}

HELPER enum follow_result followed_ship(struct followed *d, struct source *s, bool merge)
{
	struct position from;
	struct dyn plain;
	enum follow_result rc = FOLLOW_OK;
	if (source_segment(s, &from, &plain))
		rc = follow_segment(&d->f, &s->generation, from, (struct span){ plain.p, plain.len }, merge,
				    &d->e);
	dyn_free(&plain);
	return rc;
}

HELPER void assert_same(struct followed *d, struct source *s)
{
	char want[LINE_BYTES];
	snprintf(want, sizeof want, "%s", peer_do(&s->p, "SELECT wb_image()"));
	struct peer r = peer_open(d->path);
	assert_string_equal(peer_do(&r, "SELECT wb_image()"), want);
	peer_close(&r);
}

HELPER void assert_position(struct followed *d, const struct source *s)
{
	struct follow_source now;
	assert_true(follow_position(&d->f, &now));
	assert_true(generation_equal(&now.generation, &s->generation));
	assert_int_equal(now.index, s->index);
	assert_int_equal(now.chain.offset, s->chain.offset);
}

#endif
