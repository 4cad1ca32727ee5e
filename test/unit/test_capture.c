/* SPDX-License-Identifier: Apache-2.0
 *
 * db/capture: what is captured is what SQLite has committed, byte for byte, and nothing else: WALs of the
 * fixtures, commits that died before they were published, spilled transactions, restarts of every kind, and
 * gaps. */
#include "world.h"

#include <dirent.h>

#include "db/capture.h"
#include "db/recapture.h"
#include "db/conn.h"

static const struct generation gen = { "00112233445566aa" };

/* A database that is captured by hand. */
struct rig {
	const char *path;
	struct conn conn;
	struct capture cap;
	struct replay re;
	unsigned segments;
	struct err e;
};

static void rig_open(struct rig *r, const char *path)
{
	*r = (struct rig){ .path = path, .re = { .image = DYN_INIT((size_t)1 << 30) } };
	capture_init(&r->cap);
	capture_restart(&r->cap, &gen);
	if (spool_init(&r->cap.spool, at("%s-meta", path_base(path)), &OWNER_PRIVATE, &r->e) < 0 ||
	    conn_open(&r->conn, path, &r->e) < 0)
		fail_msg("%s", r->e.text);
}

static void rig_close(struct rig *r)
{
	conn_close(&r->conn);
	capture_fini(&r->cap);
	dyn_free(&r->re.image);
}

static struct wal_index index_of(struct rig *r)
{
	struct wal_index h;
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	assert_true(conn_index(&r->conn, raw, &h));
	return h;
}

/* Captures what the index publishes now, replays the new segments, and takes them. */
static enum capture_result rig_capture(struct rig *r)
{
	struct wal_index h = index_of(r);
	enum capture_result rc = capture_to(&r->cap, &r->conn, &h, true, &r->e);
	replay_segments(&r->re, &r->cap.spool, r->cap.fresh);
	for (struct spool_segment *s = r->cap.fresh; s; s = s->next)
		r->segments++;
	free_list(r->cap.fresh);
	r->cap.fresh = NULL;
	r->cap.fresh_end = &r->cap.fresh;
	if (rc == CAPTURE_OK)
		assert_true(capture_reached(&r->cap, &h));
	return rc;
}

static void rig_expect(struct rig *r)
{
	if (rig_capture(r) != CAPTURE_OK)
		fail_msg("%s", r->e.text);
}

/* The image begins as the database file is now: call with the WAL empty. */
static void rig_base(struct rig *r)
{
	sh("cp '%s' base", r->path);
	r->re.image = slurp(at("base"));
}

static uint64_t wal_size(const char *path)
{
	struct stat st;
	char wal[PATH_BYTES];
	snprintf(wal, sizeof wal, "%s-wal", path);
	return stat(wal, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* Bytes of whole frames in the WAL that continue the chain behind what was captured, whoever wrote them. */
static size_t valid_behind(struct rig *r, bool *ret_commit)
{
	char wal[PATH_BYTES];
	snprintf(wal, sizeof wal, "%s-wal", r->path);
	struct dyn d = slurp(wal);
	struct wal_chain c = r->cap.at.chain;
	struct wal_frame f;
	size_t n = 0;
	*ret_commit = false;
	while (wal_chain_step(&c, (struct span){ d.p + c.offset, d.len - (size_t)c.offset }, &f) == WAL_OK) {
		*ret_commit = *ret_commit || f.commit_pages;
		n += (size_t)wal_frame_bytes(c.page_bytes);
	}
	dyn_free(&d);
	return n;
}

static struct peer make_db(const char *path, const char *pragmas)
{
	struct peer p = peer_open(path);
	peer_do(&p, "%s", pragmas);
	peer_do(&p, "PRAGMA journal_mode=wal");
	peer_do(&p, "PRAGMA wal_autocheckpoint=0");
	peer_do(&p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	return p;
}

/* ---- fixtures ---- */

static const char *golden(void)
{
	const char *dir = getenv("WALBROOK_GOLDEN");
	return dir ? dir : "test/golden";
}

static unsigned committed_frames(const char *tsv)
{
	unsigned n = 0;
	char line[256];
	FILE *f = fopen(tsv, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f))
		n += line[0] >= '0' && line[0] <= '9';
	fclose(f);
	return n;
}

static void one_fixture(const char *dir, const char *name)
{
	char *tsv = NULL, *packed_db = NULL, *packed_wal = NULL;
	struct rig r;
	struct dyn db = DYN_INIT((size_t)1 << 30), wal = DYN_INIT((size_t)1 << 30);
	assert_true(asprintf(&tsv, "%s/%s/expected.tsv", dir, name) > 0 &&
		    asprintf(&packed_db, "%s/%s/db.lz4", dir, name) > 0 &&
		    asprintf(&packed_wal, "%s/%s/db-wal.lz4", dir, name) > 0);
	unsigned want = committed_frames(tsv);
	unpack_to(&db, packed_db);
	unpack_to(&wal, packed_wal);
	spew(at("fix"), db.p, db.len);
	spew(at("fix-wal"), wal.p, wal.len);
	free(tsv);
	free(packed_db);
	free(packed_wal);
	rig_open(&r, at("fix"));
	r.re.image = db;
	/* Recovery is over: the WAL as SQLite takes it, also for its checksums' byte order. */
	rig_expect(&r);
	if (want > 0) {
		uint64_t end = wal_offset_of(r.cap.at.chain.page_bytes, want);
		struct dyn plain = DYN_INIT((size_t)1 << 30);
		unpack_to(&plain, at("fix-meta/walbrook/spool/%s/00000000_00000000.wal.lz4", gen.name));
		assert_int_equal(r.cap.at.chain.offset, end);
		assert_int_equal(plain.len, end);
		assert_memory_equal(plain.p, wal.p, end);
		dyn_free(&plain);
	}
	assert_int_equal(r.segments, want > 0);
	conn_close(&r.conn);
	if (want > 0)
		replay_equals(&r.re, at("fix"));
	dyn_free(&wal);
	rig_close(&r);
	sh("rm -r fix*");
}

static void test_fixtures(void **state)
{
	(void)state;
	char dir[PATH_BYTES];
	int n = 0;
	snprintf(dir, sizeof dir, "%s/wal", golden());
	DIR *d = opendir(dir);
	if (!d)
		fail_msg("%s is not there; run from the root of the source", dir);
	for (const struct dirent *de; (de = readdir(d));) {
		char db[PATH_BYTES];
		if (de->d_name[0] == '.' ||
		    (size_t)snprintf(db, sizeof db, "%s/%s/db.lz4", dir, de->d_name) >= sizeof db ||
		    !exists(db))
			continue;
		print_message("# %s\n", de->d_name);
		one_fixture(dir, de->d_name);
		n++;
	}
	closedir(d);
	assert_true(n >= 10);
}

/* ---- what is not committed ---- */

/* A writer dies inside the sync of a synchronous=FULL commit: its commit frame is in the file, whole and with a
 * good checksum, and never happened. The next writer overwrites it with the same salts. */
static void test_unpublished_commit(void **state)
{
	(void)state;
	const char *path = at("unpublished");
	struct rig r;
	bool commit;
	struct peer a = make_db(path, "PRAGMA synchronous=FULL"), b = peer_open(path);
	peer_do(&a, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	peer_do(&a, "INSERT INTO t(v) VALUES('first')");
	rig_expect(&r);
	peer_do(&a, "die-in-sync 1");
	peer_tell(&a, "INSERT INTO t(v) VALUES('never'),(hex(zeroblob(9000)))");
	assert_string_equal(peer_hear(&a), "gone");
	peer_reap(&a);
	uint64_t before = r.cap.at.chain.offset;
	assert_true(valid_behind(&r, &commit) > 0);
	assert_true(commit); /* the trap is set */
	uint8_t salt[8];
	memcpy(salt, r.cap.at.chain.salt, 8);
	rig_expect(&r);
	assert_int_equal(r.cap.at.chain.offset, before);
	assert_string_equal(peer_do(&b, "SELECT group_concat(v) FROM t"), "first");
	peer_do(&b, "INSERT INTO t(v) VALUES('second')");
	rig_expect(&r);
	assert_memory_equal(salt, r.cap.at.chain.salt, 8);
	assert_true(r.cap.at.chain.offset > before);
	peer_do(&b, "INSERT INTO t(v) VALUES('third')");
	rig_expect(&r);
	assert_string_equal(peer_do(&b, "SELECT group_concat(v) FROM t"), "first,second,third");
	peer_leave(&b);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* A transaction larger than the page cache writes its frames long before it commits; and one that is rolled
 * back leaves frames with the salts of the present WAL behind. */
static void test_spilled(void **state)
{
	(void)state;
	const char *path = at("spilled"), *many = "INSERT INTO t(v) SELECT randomblob(3000) FROM c";
	const char *with = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300)";
	struct rig r;
	struct peer p = make_db(path, "PRAGMA page_size=1024");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	peer_do(&p, "PRAGMA cache_size=8");
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_expect(&r);
	uint64_t before = r.cap.at.chain.offset;
	peer_do(&p, "BEGIN");
	peer_do(&p, "%s %s", with, many);
	assert_true(wal_size(path) > before + 100 * 1048);
	rig_expect(&r);
	assert_int_equal(r.cap.at.chain.offset, before);
	peer_do(&p, "ROLLBACK");
	rig_expect(&r);
	assert_int_equal(r.cap.at.chain.offset, before);
	peer_do(&p, "UPDATE t SET v=2");
	rig_expect(&r);
	assert_true(r.cap.at.chain.offset < before + 10 * 1048);
	peer_do(&p, "BEGIN");
	peer_do(&p, "%s %s", with, many);
	before = r.cap.at.chain.offset;
	rig_expect(&r);
	assert_int_equal(r.cap.at.chain.offset, before);
	peer_do(&p, "COMMIT");
	rig_expect(&r);
	assert_true(r.cap.at.chain.offset > before + 100 * 1048);
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* ---- restarts ---- */

static uint32_t salt_1(struct rig *r)
{
	return get_be32(r->cap.at.chain.salt);
}

/* Nobody holds here, so every restart is one of a WAL that was captured whole just before. */
static void test_restarts(void **state)
{
	(void)state;
	const char *path = at("restarts");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1"), q;
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES('a')");
	rig_expect(&r);
	assert_int_equal(r.cap.at.index, 0);

	/* PASSIVE to the end, then a write. */
	peer_do(&p, "PRAGMA wal_checkpoint(PASSIVE)");
	rig_expect(&r);
	assert_int_equal(r.cap.at.index, 0);
	uint32_t salt = salt_1(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES('b')");
	rig_expect(&r);
	assert_int_equal(r.cap.at.index, 1);
	assert_int_equal(salt_1(&r), salt + 1);

	/* TRUNCATE, and again on the empty WAL: the next index begins with its first frame, and it is one,
	 * although salt-1 has moved on by more. */
	salt = salt_1(&r);
	for (int i = 0; i < 3; i++) {
		peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
		rig_expect(&r);
		assert_int_equal(r.cap.at.index, 1);
		assert_int_equal(r.segments, 2);
	}
	assert_int_equal(get_be32(index_of(&r).salt), salt + 3);
	peer_do(&p, "INSERT INTO t(v) VALUES('c')");
	rig_expect(&r);
	assert_int_equal(r.cap.at.index, 2);
	assert_int_equal(salt_1(&r), salt + 3);

	/* A connection that has never restarted the log makes both salts anew. */
	salt = salt_1(&r);
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	q = peer_open(path);
	peer_do(&q, "INSERT INTO t(v) VALUES('d')");
	rig_expect(&r);
	assert_int_equal(r.cap.at.index, 3);
	assert_int_not_equal(salt_1(&r), salt + 1);
	assert_int_equal(r.cap.restarts, 3);
	assert_int_equal(r.segments, 4);
	peer_leave(&q);
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* RESTART announces new salts in the shared index only. When everybody dies before a frame is written, recovery
 * brings the old chain back, and that goes on. */
static void test_restart_undone(void **state)
{
	(void)state;
	const char *path = at("undone");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES('a')");
	rig_expect(&r);
	struct place before = r.cap.at;
	peer_do(&p, "PRAGMA wal_checkpoint(PASSIVE)");
	peer_do(&p, "die-in-write 1");
	peer_tell(&p, "INSERT INTO t(v) VALUES('never')");
	assert_string_equal(peer_hear(&p), "gone");
	peer_reap(&p);
	assert_int_equal(index_of(&r).mx_frame, 0);
	assert_memory_not_equal(index_of(&r).salt, before.chain.salt, 8);
	rig_expect(&r);
	conn_close(&r.conn); /* the last one: the next must recover */
	assert_int_equal(conn_open(&r.conn, path, &r.e), 0);
	struct wal_index h = index_of(&r);
	assert_true(h.mx_frame > 0);
	assert_memory_equal(h.salt, before.chain.salt, 8);
	assert_true(capture_proven(&r.cap, &r.conn, &h, &r.e));
	rig_expect(&r);
	assert_int_equal(r.segments, 1);
	p = peer_open(path);
	peer_do(&p, "INSERT INTO t(v) VALUES('b')");
	rig_expect(&r);
	assert_int_equal(r.segments, 2);
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* ---- commits, times, pieces, segments ---- */

static void test_commit_list(void **state)
{
	(void)state;
	const char *path = at("commits");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	int64_t from_us = wall_us();
	uint64_t ends[3];
	for (int i = 0; i < 3; i++) {
		peer_do(&p, "INSERT INTO t(v) VALUES(hex(randomblob(%d)))", 3000 * i);
		struct wal_index h = index_of(&r);
		ends[i] = wal_offset_of(h.page_bytes, h.mx_frame);
	}
	struct wal_index h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_OK);
	struct spool_segment *s = r.cap.fresh;
	assert_non_null(s);
	assert_null(s->next);
	assert_int_equal(s->commits_n, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(s->commits[i].offset, ends[i]);
		assert_true(s->commits[i].wall_us >= from_us && s->commits[i].wall_us <= wall_us());
	}
	assert_int_equal(s->end, ends[2]);
	/* The clock is set back: times stand still instead of going back. */
	int64_t late_us = wall_us() + 3600000000LL;
	r.cap.at.wall_us = late_us;
	peer_do(&p, "INSERT INTO t(v) VALUES(4)");
	h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_OK);
	assert_non_null(s->next);
	assert_int_equal(s->next->commits_n, 1);
	assert_int_equal(s->next->commits[0].wall_us, late_us);
	assert_int_equal(s->next->at.offset, ends[2]);
	peer_leave(&p);
	rig_close(&r);
}

static void one_large(uint32_t page_bytes)
{
	const char *path = at("large%u", page_bytes);
	char pragma[64];
	struct rig r;
	snprintf(pragma, sizeof pragma, "PRAGMA page_size=%u", page_bytes);
	struct peer p = make_db(path, pragma);
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	/* Frames do not end where a piece does. */
	assert_int_not_equal(CAPTURE_PIECE_BYTES % wal_frame_bytes(page_bytes), 0);
	peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(2000000))");
	rig_expect(&r);
	assert_int_equal(r.segments, 1);
	assert_true(r.cap.at.chain.offset > 2000000);
	peer_do(&p, "UPDATE t SET v=randomblob(1000000)");
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	rig_expect(&r);
	assert_int_equal(r.segments, 2);
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

static void test_large(void **state)
{
	(void)state;
	one_large(512);
	one_large(4096);
	one_large(65536);
}

/* More than a segment holds, in many commits: each segment ends on one. */
static void test_many_segments(void **state)
{
	(void)state;
	const char *path = at("many");
	struct rig r;
	struct peer p = make_db(path, "PRAGMA page_size=65536");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	peer_do(&p, "PRAGMA synchronous=OFF");
	rig_open(&r, path);
	rig_base(&r);
	for (int i = 0; i < 21; i++)
		peer_do(&p, "INSERT INTO t(v) VALUES(zeroblob(2000000))");
	rig_expect(&r);
	assert_true(r.segments >= 2 && r.segments <= 3);
	assert_true(r.cap.at.chain.offset > CAPTURE_SEGMENT_BYTES);
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* A part at a time: each goes on where the one before ended, the last one reaches the end. */
static void test_budget(void **state)
{
	(void)state;
	const char *path = at("budget");
	struct rig r;
	struct peer p = make_db(path, "PRAGMA page_size=4096");
	unsigned parts = 0;
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	rig_base(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(3000000))");
	peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(3000000))");
	struct wal_index h = index_of(&r);
	while (!capture_reached(&r.cap, &h)) {
		uint64_t before = r.cap.at.chain.offset;
		assert_int_equal(capture_some(&r.cap, &r.conn, &h, true, 1000000, &r.e), CAPTURE_OK);
		assert_true(r.cap.at.chain.offset > before);
		assert_true(r.cap.at.chain.offset - before < 1000000 + CAPTURE_PIECE_BYTES);
		assert_true(++parts < 20);
	}
	assert_true(parts >= 5);
	replay_segments(&r.re, &r.cap.spool, r.cap.fresh);
	assert_int_equal(r.re.commits, 2);
	free_list(r.cap.fresh);
	r.cap.fresh = NULL;
	r.cap.fresh_end = &r.cap.fresh;
	peer_leave(&p);
	conn_close(&r.conn);
	replay_equals(&r.re, path);
	rig_close(&r);
}

/* Not synced at once: the same bytes, and durable after spool_sync. */
static void test_unsynced(void **state)
{
	(void)state;
	const char *path = at("unsynced");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	rig_open(&r, path);
	struct wal_index h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, false, &r.e), CAPTURE_OK);
	assert_int_equal(r.cap.spool.unsynced_n, 1);
	assert_int_equal(spool_sync(&r.cap.spool, &r.e), 0);
	assert_int_equal(r.cap.spool.unsynced_n, 0);
	replay_segments(&r.re, &r.cap.spool, r.cap.fresh);
	assert_true(r.re.commits > 0);
	peer_leave(&p);
	rig_close(&r);
}

/* ---- gaps and failures ---- */

static void test_gaps(void **state)
{
	(void)state;
	const char *path = at("gaps");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	rig_open(&r, path);
	rig_expect(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	struct wal_index h = index_of(&r), bad;
	struct place before = r.cap.at;
	unsigned segments = r.segments;

	bad = h; /* its checksum of the last frame is another one: nothing of it is kept */
	bad.frame_sum.s0 ^= 1;
	assert_int_equal(capture_to(&r.cap, &r.conn, &bad, true, &r.e), CAPTURE_GAP);
	assert_non_null(strstr(r.e.text, "checksum"));
	bad = h; /* it says more than the file holds */
	bad.mx_frame += 100;
	assert_int_equal(capture_to(&r.cap, &r.conn, &bad, true, &r.e), CAPTURE_GAP);
	bad = h; /* it went backwards */
	bad.mx_frame = 1;
	assert_int_equal(capture_to(&r.cap, &r.conn, &bad, true, &r.e), CAPTURE_GAP);
	assert_non_null(strstr(r.e.text, "shorter"));
	r.cap.at.chain.sum.s1 ^= 1; /* what is there does not continue what we have */
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_GAP);
	assert_non_null(strstr(r.e.text, "does not continue"));
	bad = h; /* nothing new, but the last frame is another one */
	bad.mx_frame = (uint32_t)wal_frames_in(h.page_bytes, before.chain.offset);
	assert_int_equal(capture_to(&r.cap, &r.conn, &bad, true, &r.e), CAPTURE_GAP);
	assert_memory_equal(&r.cap.at.generation, &before.generation, sizeof before.generation);
	r.cap.at = before;
	assert_null(r.cap.fresh);
	sh("test $(ls gaps-meta/walbrook/spool/%s/*.lz4 | wc -l) -eq %u", gen.name, segments);
	rig_expect(&r); /* and the truth is still taken */
	assert_int_equal(r.segments, segments + 1);
	peer_leave(&p);
	rig_close(&r);
}

/* The spool cannot be written: the position stays, nothing is left behind, and a later try takes all. */
static void test_spool_fails(void **state)
{
	(void)state;
	const char *path = at("full");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	rig_open(&r, path);
	rig_expect(&r);
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	struct place before = r.cap.at;
	sh("mv full-meta/walbrook/spool/%s away && touch full-meta/walbrook/spool/%s", gen.name, gen.name);
	struct wal_index h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_FAIL);
	assert_non_null(strstr(r.e.text, gen.name));
	assert_memory_equal(&before, &r.cap.at, sizeof before);
	assert_null(r.cap.fresh);
	sh("rm full-meta/walbrook/spool/%s && mv away full-meta/walbrook/spool/%s", gen.name, gen.name);
	rig_expect(&r);
	assert_int_equal(r.segments, 2);
	peer_leave(&p);
	rig_close(&r);
}

/* After an interruption: only the same salts, as many frames and the same last checksum prove anything. */
static void test_proven(void **state)
{
	(void)state;
	const char *path = at("proven");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	rig_open(&r, path);
	rig_expect(&r);
	struct wal_index h = index_of(&r), bad;
	assert_true(capture_proven(&r.cap, &r.conn, &h, &r.e));
	peer_do(&p, "INSERT INTO t(v) VALUES(1)"); /* more frames: continues */
	h = index_of(&r);
	assert_true(capture_proven(&r.cap, &r.conn, &h, &r.e));
	bad = h;
	bad.salt[0] ^= 1;
	assert_false(capture_proven(&r.cap, &r.conn, &bad, &r.e));
	bad = h;
	bad.mx_frame = 1;
	assert_false(capture_proven(&r.cap, &r.conn, &bad, &r.e));
	bad = h;
	bad.page_bytes = 512;
	assert_false(capture_proven(&r.cap, &r.conn, &bad, &r.e));
	struct wal_chain good = r.cap.at.chain;
	r.cap.at.chain.sum.s0 ^= 1;
	assert_false(capture_proven(&r.cap, &r.conn, &h, &r.e));
	r.cap.at.chain = good;
	r.cap.at.chain.offset = WAL_HEADER_BYTES;
	assert_false(capture_proven(&r.cap, &r.conn, &h, &r.e));
	peer_leave(&p);
	rig_close(&r);
}

static void test_blind(void **state)
{
	(void)state;
	const char *path = at("blind");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	rig_open(&r, path);
	r.cap.blind = true;
	struct wal_index h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_OK);
	assert_null(r.cap.fresh);
	assert_int_equal(r.cap.at.chain.offset, 0);
	peer_leave(&p);
	rig_close(&r);
}

/* Segments that have left the spool are made once more from the WAL: the same bytes, with names only when all
 * are there; and not from a WAL that was begun anew. */
static void test_recapture(void **state)
{
	(void)state;
	const char *path = at("recapture");
	struct rig r;
	struct peer p = make_db(path, "SELECT 1");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	rig_open(&r, path);
	for (int i = 0; i < 30; i++)
		peer_do(&p, "INSERT INTO t(v) VALUES(randomblob(1000000))");
	struct wal_index h = index_of(&r);
	assert_int_equal(capture_to(&r.cap, &r.conn, &h, true, &r.e), CAPTURE_OK);
	for (struct spool_segment *s = r.cap.fresh; s; s = s->next)
		assert_int_equal(spool_remove(&r.cap.spool, &s->generation, s->at, s->stored_bytes, &r.e), 0);
	assert_int_equal(r.cap.spool.bytes, 0);
	struct recapture again = { .index = 0 };
	uint64_t to = r.cap.at.chain.offset;
	unsigned steps = 0;
	do {
		assert_int_equal(recapture(&r.cap, &r.conn, &again, to, &r.e), CAPTURE_OK);
		steps++;
	} while (again.chain.offset < to);
	assert_true(steps > 1); /* each does only a part */
	struct dyn plain = DYN_INIT((size_t)1 << 30), wal = slurp(at("recapture-wal"));
	uint64_t next = 0, stored = 0;
	for (struct spool_segment *s = again.made; s; s = s->next) {
		char name[PATH_BYTES];
		assert_int_equal(s->at.offset, next);
		assert_int_equal(s->commits[s->commits_n - 1].offset, s->end);
		spool_path(&r.cap.spool, &s->generation, s->at, name);
		unpack_to(&plain, name);
		next = s->end;
		stored += s->stored_bytes;
	}
	assert_int_equal(next, to);
	assert_int_equal(stored, r.cap.spool.bytes);
	assert_int_equal(plain.len, to);
	assert_memory_equal(plain.p, wal.p, to);
	free_list(again.made);
	again = (struct recapture){ .index = 0 };
	peer_do(&p, "PRAGMA wal_checkpoint(RESTART)");
	peer_do(&p, "INSERT INTO t(v) VALUES(1)");
	assert_int_equal(recapture(&r.cap, &r.conn, &again, to, &r.e), CAPTURE_GAP);
	assert_null(again.made);
	dyn_free(&plain);
	dyn_free(&wal);
	free_list(r.cap.fresh);
	r.cap.fresh = NULL;
	peer_leave(&p);
	rig_close(&r);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixtures),       cmocka_unit_test(test_unpublished_commit),
		cmocka_unit_test(test_spilled),	       cmocka_unit_test(test_restarts),
		cmocka_unit_test(test_restart_undone), cmocka_unit_test(test_commit_list),
		cmocka_unit_test(test_large),	       cmocka_unit_test(test_many_segments),
		cmocka_unit_test(test_budget),	       cmocka_unit_test(test_unsynced),
		cmocka_unit_test(test_gaps),	       cmocka_unit_test(test_spool_fails),
		cmocka_unit_test(test_proven),	       cmocka_unit_test(test_blind),
		cmocka_unit_test(test_recapture),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("capture", tests, world_make, world_drop);
}
