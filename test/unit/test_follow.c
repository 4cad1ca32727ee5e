/* SPDX-License-Identifier: Apache-2.0
 *
 * db/follow: real sources, real readers in other processes. Every test compares all pages that a reader sees
 * with all pages that a reader of the source sees. */
#include "followrig.h"

#include "core/record.h"

static const int page_sizes[] = { 512, 1024, 4096, 65536 };

static const char *numbered(const char *name, size_t k)
{
	static char bufs[4][32];
	static unsigned next;
	char *buf = bufs[next++ % 4];
	snprintf(buf, sizeof bufs[0], "%s%zu", name, k);
	return buf;
}

static void test_each_transaction(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof page_sizes / sizeof *page_sizes; k++) {
		struct source s;
		struct followed followed, *d = &followed;
		source_begin(&s, numbered("src", k), page_sizes[k], "PRAGMA auto_vacuum=0");
		assert_int_equal(followed_open(d, numbered("dst", k)), FOLLOW_CONTENT);
		assert_false(exists(d->path));
		followed_content(d, &s);
		assert_same(d, &s);
		struct peer r = peer_open(d->path);
		for (int i = 0; i < 12; i++) {
			if (i == 5 || i == 8)
				source_restart(&s, i == 5 ? "TRUNCATE" : "RESTART");
			source_commit(&s, i * i * 300);
			follow_ok(followed_ship(d, &s, false));
			assert_position(d, &s);
			char want[64];
			snprintf(want, sizeof want, "%s", peer_do(&s.p, "SELECT seq FROM state"));
			assert_string_equal(peer_do(&r, "SELECT seq FROM state"), want);
		}
		assert_same(d, &s);
		assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
		/* The index is, but for its headers, what SQLite makes of the same WAL. */
		char copy[PATH_BYTES];
		snprintf(copy, sizeof copy, "%.4000s-copy", d->path);
		sh("cp '%s' '%s'; cp '%s-wal' '%s-wal'", d->path, copy, d->path, copy);
		struct peer recovered = peer_open(copy);
		peer_do(&recovered, "SELECT seq FROM state");
		sh("cmp -i 136 '%s-shm' '%s-shm'", d->path, copy);
		peer_close(&recovered);
		follow_ok(follow_restart_log(&d->f, &d->e));
		assert_same(d, &s);
		peer_close(&r);
		follow_close(&d->f);
		peer_close(&s.p);
	}
}

/* ---- the index by itself ---- */

enum { BLOCKS = 4, BLOCK = 32768, FRAMES = 4062 + 2 * 4096 + 700 };
static uint8_t fake_shm[BLOCKS * BLOCK];

static int fake_map(sqlite3_file *f, int region, int size, int extend, void volatile **pp)
{
	(void)f;
	assert_true(region < BLOCKS && size == BLOCK && extend);
	*pp = fake_shm + (size_t)region * BLOCK;
	return SQLITE_OK;
}

static void assert_slots(uint32_t frames)
{
	for (int k = 0; k < BLOCKS; k++) {
		uint32_t before = k ? 4062 + (uint32_t)(k - 1) * 4096 : 0, full = k ? 4096 : 4062, used = 0;
		for (int i = 0; i < 8192; i++) {
			uint16_t slot;
			memcpy(&slot, fake_shm + (size_t)k * BLOCK + 16384 + (size_t)i * 2, 2);
			used += slot != 0;
		}
		uint32_t want = frames <= before ? 0 : frames - before < full ? frames - before : full;
		if (want > 0)
			assert_int_equal(used, want);
	}
}

/* Beside a plain list: frames of transactions that end, and many more of such that do not, which leave their
 * entries to those that come after. */
static void test_index(void **state)
{
	(void)state;
	static uint32_t page_of[FRAMES + 1];
	const sqlite3_io_methods methods = { .iVersion = 2, .xShmMap = fake_map };
	sqlite3_file file = { .pMethods = &methods };
	struct walindex x;
	struct err e;
	walindex_init(&x, &file);
	srand(99);
	for (uint32_t mx = 0; mx < FRAMES - 4000;) {
		bool ends = rand() % 2;
		uint32_t n = ends ? 1 + (uint32_t)rand() % 300 : (uint32_t)rand() % 4000;
		assert_int_equal(walindex_need(&x, mx + n, &e), 0);
		for (uint32_t i = 1; i <= n; i++) {
			uint32_t pgno = 1 + (uint32_t)rand() % 3000 + (ends ? 0 : 2000);
			walindex_add(&x, mx + i, pgno);
			page_of[mx + i] = pgno;
		}
		mx += ends ? n : 0;
		if (ends)
			assert_slots(mx);
		for (int look = 0; look < 40 && mx > 0; look++) {
			uint32_t limit = (uint32_t)rand() % (mx + 1), pgno = 1 + (uint32_t)rand() % 5000,
				 want = limit;
			while (want > 0 && page_of[want] != pgno)
				want--;
			assert_int_equal(walindex_find(&x, limit, pgno), want);
		}
	}
	walindex_fini(&x);
}

/* ---- the streams of the original ---- */

/* The originals where they are (WALBROOK_FIXTURES, ../shared/fixtures), else the copies of some of them. */
static const char *fixture(const char *name)
{
	static char path[PATH_BYTES];
	const char *root = getenv("WALBROOK_FIXTURES"), *golden = getenv("WALBROOK_GOLDEN");
	snprintf(path, sizeof path, "%s/live/%s", root ? root : "../shared/fixtures", name);
	if (!exists(path))
		snprintf(path, sizeof path, "%s/live/%s", golden ? golden : "test/golden", name);
	return path;
}

static void stream_record(struct followed *d, const struct record *r, struct span payload)
{
	struct err e;
	if (r->type == RECORD_SNAPSHOT) {
		follow_ok(follow_content_begin(&d->f, &r->generation, r->at.index, &d->e));
		follow_ok(follow_content_bytes(&d->f, payload, &d->e));
		follow_ok(follow_content_end(&d->f, &d->e));
		return;
	}
	struct dyn plain = DYN_INIT((size_t)1 << 30);
	struct segment_reader *sr = segment_reader_new(to_dyn, &plain);
	assert_int_equal(segment_read(sr, payload, &e), 0);
	assert_int_equal(segment_read_end(sr, &e), 0);
	segment_reader_free(sr);
	follow_ok(follow_segment(&d->f, &r->generation, r->at, (struct span){ plain.p, plain.len }, false,
				 &d->e));
	dyn_free(&plain);
}

static void follow_stream(struct followed *d, const char *name)
{
	struct err e;
	struct dyn all = slurp(fixture(name));
	for (size_t at = 0; at < all.len;) {
		struct record r;
		assert_int_equal(record_parse((struct span){ all.p + at, all.len - at }, &r, &e), 0);
		at += RECORD_HEADER_BYTES;
		assert_true(all.len - at >= r.size_bytes);
		stream_record(d, &r, (struct span){ all.p + at, (size_t)r.size_bytes });
		at += (size_t)r.size_bytes;
	}
	dyn_free(&all);
}

/* After a checkpoint the file is what the restore of the same program gave. */
static void assert_file(struct followed *d, const char *expected)
{
	follow_ok(follow_restart_log(&d->f, &d->e));
	follow_close(&d->f);
	/* The anchor is page 1 once more. */
	assert_int_equal(sql_once(d->path, "PRAGMA wal_checkpoint(TRUNCATE)")[0], '0');
	struct dyn want = slurp(fixture(expected)), got = slurp(d->path);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.p, want.p, want.len);
	dyn_free(&want);
	dyn_free(&got);
}

static void test_streams_of_the_original(void **state)
{
	(void)state;
	static const char *const sizes[] = { "page1024", "page4096" };
	for (int i = 0; i < 2; i++) {
		struct followed followed, *d = &followed;
		char name[64], want[64];
		snprintf(name, sizeof name, "%s/stream-scratch.bin", sizes[i]);
		snprintf(want, sizeof want, "%s/stream-scratch.expected.db", sizes[i]);
		if (!exists(fixture(want)) && i > 0)
			continue;
		assert_int_equal(followed_open(d, sizes[i]), FOLLOW_CONTENT);
		follow_stream(d, name);
		assert_file(d, want);
		/* On to a second stream, with readers that keep their connection. */
		snprintf(name, sizeof name, "%s/stream-other-generation.bin", sizes[i]);
		struct follow_options o = followed_options(d);
		assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
		struct peer r = peer_open(d->path);
		peer_do(&r, "SELECT count(*) FROM t");
		follow_stream(d, name);
		assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
		peer_close(&r);
		follow_close(&d->f);
		assert_int_equal(sql_once(d->path, "PRAGMA wal_checkpoint(TRUNCATE)")[0], '0');
		char cwd[PATH_BYTES];
		assert_non_null(getcwd(cwd, sizeof cwd));
		snprintf(want, sizeof want, "%s/stream-other-generation.expected.sha256", sizes[i]);
		const char *sum = fixture(want);
		sh("test \"$(sha256sum < '%s' | cut -c1-64)\" = \"$(cd '%s' && cut -c1-64 '%s')\"", d->path,
		   cwd, sum);
	}
}

/* ---- readers while everything happens ---- */

static void step(struct source *s, int i)
{
	if (i % 40 == 17)
		peer_do(&s->p,
			"CREATE TABLE extra%d(x, y DEFAULT %d); INSERT INTO extra%d(x) SELECT randomblob(900) "
			"FROM account",
			i, i, i);
	else if (i % 40 == 31)
		peer_do(&s->p, "DROP TABLE extra%d", i - 14);
	else if (i % 40 == 23)
		peer_do(&s->p, "ALTER TABLE extra%d ADD COLUMN z", i - 6);
	else if (i % 50 == 49)
		peer_do(&s->p, "UPDATE link SET pad=NULL; VACUUM");
	else
		source_commit(s, i % 10 == 3 ? 20000 : 30);
}

static void storm(const char *name, int page_bytes, const char *pragma, int steps)
{
	struct source s;
	struct followed followed, *d = &followed;
	struct peer readers[10];
	int readers_n = 6;
	char src[64];
	snprintf(src, sizeof src, "%s-src", name);
	source_begin(&s, src, page_bytes, pragma);
	assert_int_equal(followed_open(d, name), FOLLOW_CONTENT);
	followed_content(d, &s);
	d->f.o.log_limit_bytes = d->f.next_restart_bytes = 64 << 10;
	readers[0] = reader_start(d->path, "ro", 0, 0, false);
	readers[1] = reader_start(d->path, "rw", 1 << 28, 0, false);
	readers[2] = reader_start(d->path, "ro", 1 << 28, 30000, false);
	readers[3] = reader_start(d->path, "rw", 0, 1000, true);
	readers[4] = reader_start(d->path, "ro", 0, 100, true);
	readers[5] = reader_start_python(d->path);
	readers_n += readers_of_other_versions(readers + 6, 4, d->path);
	for (int i = 0; i < steps; i++) {
		step(&s, i);
		if (i % 3 == 0)
			source_commit(&s, 100);
		follow_ok(followed_ship(d, &s, i % 2));
		if (i % 30 == 29)
			source_restart(&s, i % 60 == 29 ? "RESTART" : "TRUNCATE");
		if (i % 45 == 44) /* the source is another one to us: all at once */
			followed_content(d, &s);
	}
	follow_ok(followed_ship(d, &s, false));
	assert_same(d, &s);
	for (int i = 0; i < readers_n; i++)
		assert_true(reader_stop(&readers[i]) > 0);
	assert_true(d->f.n.restarts > 0);
	follow_close(&d->f);
	peer_close(&s.p);
}

static void test_readers_512(void **state)
{
	(void)state;
	storm("storm512", 512, "PRAGMA auto_vacuum=1", 150);
}

static void test_readers_4096(void **state)
{
	(void)state;
	storm("storm4096", 4096, "PRAGMA auto_vacuum=0", 250);
}

static void test_readers_65536(void **state)
{
	(void)state;
	storm("storm65536", 65536, "PRAGMA auto_vacuum=2", 60);
}

/* ---- where we are, after any stop ---- */

static void test_starts_again(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	struct follow_source at_stop;
	source_begin(&s, "again-src", 4096, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "again"), FOLLOW_CONTENT);
	followed_content(d, &s);
	for (int i = 0; i < 6; i++) {
		source_commit(&s, 3000);
		follow_ok(followed_ship(d, &s, false));
		if (i == 3)
			follow_ok(follow_restart_log(&d->f, &d->e));
		/* No reader: the index is made anew, and the WAL is what tells. */
		follow_ok(followed_again(d, i % 2));
		assert_position(d, &s);
		struct peer r = peer_open(d->path);
		peer_do(&r, "SELECT seq FROM state");
		follow_ok(followed_again(d, i % 2));
		assert_position(d, &s);
		peer_leave(&r);
	}
	/* The last reader closes while we are away: SQLite copies the WAL and removes it. Nothing says that
	 * nobody wrote, so pages are compared; nothing differs. */
	assert_true(follow_position(&d->f, &at_stop));
	follow_close(&d->f);
	struct peer r = peer_open(d->path);
	peer_do(&r, "SELECT seq FROM state");
	peer_close(&r);
	struct follow_options o = followed_options(d);
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	assert_false(follow_position(&d->f, &at_stop));
	followed_content(d, &s);
	assert_int_equal(d->f.n.pages_written, 0);
	assert_true(d->f.n.pages_compared > 0);
	assert_same(d, &s);
	/* Somebody else's database is not taken. */
	follow_close(&d->f);
	sh("rm -r '%s'", d->meta);
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_FAIL);
	assert_int_equal(d->e.kind, ERR_EXISTS);
	o.adopt = true;
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	followed_content(d, &s);
	assert_same(d, &s);
	follow_close(&d->f);
	peer_close(&s.p);
}

/* The stream breaks inside a transaction, comes again from the start of the index, comes with a hole, damaged.
 */
static void test_broken_streams(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	struct position from, next;
	struct dyn first, plain;
	source_begin(&s, "broken-src", 1024, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "broken"), FOLLOW_CONTENT);
	followed_content(d, &s);
	source_commit(&s, 30000);
	assert_true(source_segment(&s, &from, &first));
	follow_ok(
		follow_segment(&d->f, &s.generation, from, (struct span){ first.p, first.len }, false, &d->e));
	source_commit(&s, 30000);
	assert_true(source_segment(&s, &next, &plain));
	struct span whole = { plain.p, plain.len }, half = { plain.p, plain.len / 1048 / 2 * 1048 };
	struct position rest = { next.index, next.offset + half.n };
	struct peer r = peer_open(d->path);
	char before[64];
	snprintf(before, sizeof before, "%s", peer_do(&r, "SELECT wb_image()"));

	/* Half of it, the rest of it. */
	follow_ok(follow_segment(&d->f, &s.generation, next, half, false, &d->e));
	assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
	/* Half again from the position; a hole; a flipped byte anywhere. */
	follow_ok(follow_segment(&d->f, &s.generation, next, half, false, &d->e));
	assert_int_equal(follow_segment(&d->f, &s.generation,
					(struct position){ rest.index, rest.offset + 1048 }, half, false,
					&d->e),
			 FOLLOW_GAP);
	struct generation other = generation_from(77);
	assert_int_equal(follow_segment(&d->f, &other, next, whole, false, &d->e), FOLLOW_GAP);
	for (size_t i = 0; i < plain.len; i += 97) {
		plain.p[i] ^= 0x10;
		enum follow_result rc = follow_segment(&d->f, &s.generation, next, whole, false, &d->e);
		assert_true(rc == FOLLOW_FAIL && d->e.kind == ERR_DAMAGED);
		plain.p[i] ^= 0x10;
	}
	assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
	/* The whole index again, in pieces, then what is new. */
	for (size_t i = 0; i < first.len;) {
		size_t n = i == 0 ? 32 + 1048 : 1048;
		follow_ok(follow_segment(&d->f, &s.generation, (struct position){ from.index, i },
					 (struct span){ first.p + i, n }, false, &d->e));
		i += n;
	}
	assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
	follow_ok(follow_segment(&d->f, &s.generation, next, half, false, &d->e));
	follow_ok(follow_segment(&d->f, &s.generation, rest,
				 (struct span){ plain.p + half.n, plain.len - half.n }, false, &d->e));
	assert_position(d, &s);
	assert_same(d, &s);
	assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
	/* Another WAL with our index. */
	first.p[16] ^= 1;
	struct wal_header h;
	wal_header_parse((struct span){ first.p, 32 }, &h);
	struct wal_header false_one = { .page_bytes = 1024, .salt = "abcdefg" };
	wal_header_write(first.p, &false_one);
	assert_int_equal(follow_segment(&d->f, &s.generation, from, (struct span){ first.p, 32 }, false, &d->e),
			 FOLLOW_GAP);
	assert_position(d, &s);
	peer_close(&r);
	dyn_free(&first);
	dyn_free(&plain);
	follow_close(&d->f);
	peer_close(&s.p);
}

/* More frames than one and two blocks of the index hold, left unfinished once, beside a reader that keeps its
 * snapshot. */
static void test_big_transactions(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	struct position from;
	struct dyn plain;
	source_begin(&s, "big-src", 512, "PRAGMA auto_vacuum=1");
	assert_int_equal(followed_open(d, "big"), FOLLOW_CONTENT);
	followed_content(d, &s);
	source_commit(&s, 10);
	follow_ok(followed_ship(d, &s, false));
	struct peer r = peer_open(d->path), now = peer_open(d->path);
	peer_do(&r, "BEGIN; SELECT seq FROM state");
	source_commit(&s, 5 << 20);
	assert_true(source_segment(&s, &from, &plain));
	assert_true(plain.len > 10000 * 536);
	size_t part = plain.len / 536 * 9 / 10 * 536;
	follow_ok(follow_segment(&d->f, &s.generation, from, (struct span){ plain.p, part }, false, &d->e));
	assert_string_equal(peer_do(&now, "SELECT seq FROM state"), "2");
	/* Killed inside of it; entries of the index stay behind. */
	follow_ok(followed_again(d, true));
	source_commit(&s, 700);
	follow_ok(
		follow_segment(&d->f, &s.generation, from, (struct span){ plain.p, plain.len }, false, &d->e));
	follow_ok(followed_ship(d, &s, false));
	assert_same(d, &s);
	assert_string_equal(peer_do(&r, "SELECT seq FROM state"), "2");
	assert_int_equal(follow_restart_log(&d->f, &d->e), FOLLOW_AGAIN);
	char pid[32];
	snprintf(pid, sizeof pid, "process %d ", (int)r.pid);
	assert_non_null(strstr(d->f.why, pid));
	/* The cap: applying waits, and the process is named. */
	d->f.o.log_cap_bytes = follow_log_bytes(&d->f);
	source_commit(&s, 700);
	dyn_free(&plain);
	assert_true(source_segment(&s, &from, &plain));
	struct span in = { plain.p, plain.len };
	assert_int_equal(follow_segment(&d->f, &s.generation, from, in, false, &d->e), FOLLOW_FULL);
	assert_non_null(strstr(d->e.text, pid));
	peer_do(&r, "COMMIT");
	follow_ok(follow_segment(&d->f, &s.generation, from, in, false, &d->e));
	assert_true(follow_log_bytes(&d->f) < 100000);
	assert_same(d, &s);
	peer_close(&r);
	peer_close(&now);
	dyn_free(&plain);
	follow_close(&d->f);
	peer_close(&s.p);
}

/* ---- others ---- */

/* A file is copied over the copy, and a checkpoint of ours comes before the next look at it: not taken for what
 * that has written. */
static void test_copied_over(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	source_begin(&s, "over-src", 4096, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "over"), FOLLOW_CONTENT);
	followed_content(d, &s);
	for (int i = 0; i < 2; i++) {
		source_commit(&s, 100);
		follow_ok(followed_ship(d, &s, false));
		assert_false(follow_moved(&d->f));
		sh(i ? "head -c 3000000 /dev/zero >over" : "echo not a database >over");
		follow_restart_log(&d->f, &d->e);
		assert_true(follow_moved(&d->f));
		source_commit(&s, 100);
		assert_int_equal(followed_ship(d, &s, false), FOLLOW_CONTENT);
		followed_content(d, &s);
		assert_same(d, &s);
	}
	follow_close(&d->f);
	peer_close(&s.p);
}

static void test_local_writers(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	source_begin(&s, "writers-src", 4096, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "writers"), FOLLOW_CONTENT);
	followed_content(d, &s);
	struct peer w = peer_open(d->path);
	peer_do(&w, "PRAGMA busy_timeout=0");
	for (int i = 0; i < 3; i++) {
		source_commit(&s, 100);
		follow_ok(followed_ship(d, &s, false));
		peer_tell(&w, "INSERT INTO state VALUES(5)");
		assert_non_null(strstr(peer_hear(&w), "err 5 ")); /* SQLITE_BUSY */
		if (i == 1)
			follow_ok(follow_restart_log(&d->f, &d->e));
		assert_false(follow_disturbed(&d->f) || follow_moved(&d->f));
	}
	/* It gets in while we are away. */
	follow_close(&d->f);
	peer_do(&w, "UPDATE account SET v=7");
	struct follow_options o = followed_options(d);
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	source_commit(&s, 100);
	assert_int_equal(followed_ship(d, &s, false), FOLLOW_CONTENT);
	followed_content(d, &s);
	assert_same(d, &s);
	assert_string_equal(peer_do(&w, "SELECT sum(v) FROM account"), "0");
	/* It writes right now. */
	follow_close(&d->f);
	peer_do(&w, "BEGIN IMMEDIATE");
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_AGAIN);
	peer_do(&w, "ROLLBACK");
	follow_ok(follow_open(&d->f, &o, &d->e));
	/* The files go away under us. */
	peer_close(&w);
	static const char *const gone[] = { "-wal", "-shm", "-wal -shm", "" };
	for (int i = 0; i < 4; i++) {
		char names[512] = "", list[64];
		snprintf(list, sizeof list, "%s", gone[i]);
		for (char *save, *one = strtok_r(list, " ", &save); one; one = strtok_r(NULL, " ", &save))
			snprintf(names + strlen(names), sizeof names - strlen(names), " writers%s", one);
		sh("rm%s", gone[i][0] ? names : " writers");
		assert_true(follow_moved(&d->f));
		source_commit(&s, 100);
		assert_int_equal(followed_ship(d, &s, false), FOLLOW_CONTENT);
		followed_content(d, &s);
		assert_same(d, &s);
	}
	/* Somebody stores into the index itself. */
	((volatile uint8_t *)(uintptr_t)d->f.conn.shm)[8] ^= 1;
	assert_true(follow_disturbed(&d->f));
	source_commit(&s, 100);
	assert_int_equal(followed_ship(d, &s, false), FOLLOW_CONTENT);
	followed_content(d, &s);
	assert_same(d, &s);
	/* No database any more. */
	follow_close(&d->f);
	sh("rm -f writers-wal writers-shm; echo no database at all > writers");
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	followed_content(d, &s);
	assert_same(d, &s);
	/* Promoted: a writer is welcome, and it is no follower's any more. */
	follow_ok(follow_promote(&d->f, &d->e));
	w = peer_open(d->path);
	peer_do(&w, "INSERT INTO state VALUES(5)");
	assert_string_equal(peer_do(&w, "PRAGMA integrity_check"), "ok");
	peer_close(&w);
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_FAIL);
	assert_int_equal(d->e.kind, ERR_EXISTS);
	peer_close(&s.p);
}

/* ---- other content ---- */

static void test_other_content(void **state)
{
	(void)state;
	struct source a, b, c;
	struct followed followed, *d = &followed;
	source_begin(&a, "content-a", 1024, "PRAGMA auto_vacuum=0");
	source_begin(&b, "content-b", 1024, "PRAGMA auto_vacuum=0");
	source_begin(&c, "content-c", 8192, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "content"), FOLLOW_CONTENT);
	followed_content(d, &a);
	struct peer r = peer_open(d->path), old = peer_open(d->path);
	peer_do(&r, "SELECT count(*) FROM state");
	/* Larger, smaller, and a schema that differs, with another cookie: the same connections go on. */
	for (int i = 0; i < 4; i++) {
		struct source *s = i % 2 ? &a : &b;
		peer_do(&s->p, "CREATE TABLE more%d(x)", i);
		if (i == 0)
			peer_do(&s->p, "CREATE TABLE even_more(x)");
		source_commit(s, i % 2 ? 100 : 200000);
		followed_content(d, s);
		assert_same(d, s);
		char sql[64];
		snprintf(sql, sizeof sql, "SELECT count(*) FROM more%d", i);
		assert_string_equal(peer_do(&r, "%s", sql), "0");
		assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
		assert_int_equal(d->f.n.files, 1);
		source_commit(s, 100);
		follow_ok(followed_ship(d, s, false));
		assert_same(d, s);
	}
	/* The same cookie, another schema: a new file. */
	peer_do(&a.p, "DROP TABLE more1");
	peer_do(&a.p, "PRAGMA schema_version=900");
	followed_content(d, &a);
	peer_do(&r, "SELECT count(*) FROM more3");
	peer_do(&b.p, "PRAGMA schema_version=900");
	followed_content(d, &b);
	assert_int_equal(d->f.n.files, 2);
	assert_same(d, &b);
	assert_string_equal(peer_do(&r, "SELECT count(*) FROM more3"), "0"); /* still the old file */
	peer_close(&r);
	/* Another page size: a new file as well, but not while somebody reads an older snapshot. */
	r = peer_open(d->path);
	peer_do(&r, "BEGIN; SELECT count(*) FROM state");
	source_commit(&b, 100);
	follow_ok(followed_ship(d, &b, false));
	source_restart(&c, "TRUNCATE");
	follow_ok(follow_content_begin(&d->f, &c.generation, c.index, &d->e));
	assert_int_equal(followed_snapshot_bytes(d, c.path, 4096), FOLLOW_AGAIN);
	assert_int_equal(follow_content_end(&d->f, &d->e), FOLLOW_AGAIN);
	peer_do(&r, "COMMIT");
	follow_ok(follow_content_end(&d->f, &d->e));
	assert_int_equal(d->f.n.files, 3);
	assert_same(d, &c);
	assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
	source_commit(&c, 100);
	follow_ok(followed_ship(d, &c, false));
	assert_same(d, &c);
	assert_string_equal(peer_do(&old, "PRAGMA page_size"), "1024");
	assert_string_equal(peer_do(&old, "PRAGMA integrity_check"), "ok");
	peer_close(&r);
	peer_close(&old);
	follow_close(&d->f);
	peer_close(&a.p);
	peer_close(&b.p);
	peer_close(&c.p);
}

/* Only what differs, found by hashes; and content that needs some WAL to be whole. */
static void test_differing_pages(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	struct page_hashes here;
	struct position from;
	struct dyn plain;
	source_begin(&s, "diff-src", 4096, "PRAGMA auto_vacuum=0");
	for (int i = 0; i < 10; i++)
		source_commit(&s, 40000);
	for (int fresh = 0; fresh < 2; fresh++) {
		assert_int_equal(followed_open(d, numbered("diff", (size_t)fresh)), FOLLOW_CONTENT);
		followed_content(d, &s);
		source_commit(&s, 90000);
		if (fresh) {
			follow_close(&d->f);
			assert_int_equal(followed_open(d, "diff-none"), FOLLOW_CONTENT);
		}
		source_restart(&s, "TRUNCATE");
		struct dyn db = slurp(s.path);
		source_commit(&s, 5000);
		s.chain = (struct wal_chain){ .offset = 0 };
		assert_true(source_segment(&s, &from, &plain));
		uint64_t until = fresh ? plain.len : 0;
		follow_ok(follow_hashes(&d->f, &here, &d->e));
		if (!fresh) {
			uint32_t n = (uint32_t)(db.len / 4096);
			follow_ok(follow_pages_begin(&d->f, &s.generation, from.index, n, &d->e));
			for (uint32_t p = 1; p <= n; p++)
				if (p > here.n || page_hash(db.p + (p - 1) * 4096, 4096) != here.v[p - 1])
					follow_ok(follow_page(&d->f, p, db.p + (p - 1) * 4096, &d->e));
			assert_true(d->f.n.pages_written < n / 2);
		} else {
			follow_ok(follow_content_begin(&d->f, &s.generation, from.index, &d->e));
			follow_ok(follow_content_bytes(&d->f, (struct span){ db.p, db.len }, &d->e));
		}
		page_hashes_free(&here);
		follow_content_until(&d->f, (struct position){ from.index, until });
		follow_ok(follow_content_end(&d->f, &d->e));
		assert_int_equal(exists(d->path), !fresh);
		follow_ok(follow_segment(&d->f, &s.generation, from, (struct span){ plain.p, plain.len }, false,
					 &d->e));
		assert_same(d, &s);
		assert_position(d, &s);
		dyn_free(&plain);
		/* Pages and WAL in one step. */
		source_restart(&s, "TRUNCATE");
		dyn_free(&db);
		db = slurp(s.path);
		source_commit(&s, 5000);
		source_commit(&s, 5000);
		assert_true(source_segment(&s, &from, &plain));
		struct peer r = peer_open(d->path);
		char before[64];
		snprintf(before, sizeof before, "%s", peer_do(&r, "SELECT wb_image()"));
		follow_ok(follow_content_begin(&d->f, &s.generation, from.index, &d->e));
		follow_ok(follow_content_bytes(&d->f, (struct span){ db.p, db.len }, &d->e));
		follow_content_until(&d->f, (struct position){ from.index, plain.len });
		follow_ok(follow_content_end(&d->f, &d->e));
		size_t part = 32 + 4120;
		follow_ok(follow_segment(&d->f, &s.generation, from, (struct span){ plain.p, part }, false,
					 &d->e));
		assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
		from.offset = part;
		follow_ok(follow_segment(&d->f, &s.generation, from,
					 (struct span){ plain.p + part, plain.len - part }, false, &d->e));
		assert_same(d, &s);
		assert_position(d, &s);
		/* Content that ends early, that is none, that lacks a page: nothing changes. */
		follow_ok(follow_content_begin(&d->f, &s.generation, 9, &d->e));
		follow_ok(follow_content_bytes(&d->f, (struct span){ db.p, db.len - 1 }, &d->e));
		assert_int_equal(follow_content_end(&d->f, &d->e), FOLLOW_FAIL);
		follow_ok(follow_content_begin(&d->f, &s.generation, 9, &d->e));
		assert_int_equal(follow_content_bytes(&d->f, (struct span){ db.p + 100, 4096 }, &d->e),
				 FOLLOW_FAIL);
		uint32_t pages = d->f.pages + 2;
		follow_ok(follow_pages_begin(&d->f, &s.generation, 9, pages, &d->e));
		follow_ok(follow_page(&d->f, pages, db.p, &d->e));
		assert_int_equal(follow_content_end(&d->f, &d->e), FOLLOW_FAIL);
		assert_same(d, &s);
		assert_position(d, &s);
		peer_close(&r);
		dyn_free(&plain);
		dyn_free(&db);
		follow_close(&d->f);
	}
	peer_close(&s.p);
}

/* What a source did while its file was copied: three WAL indexes, in the middle one the database shrinks. */
struct long_copy {
	struct dyn db, wal[3];
	struct position from[3], end;
};

static void long_copy_make(struct long_copy *c, struct source *s, bool grows)
{
	for (int i = 0; i < 6; i++)
		source_commit(s, 30000);
	source_restart(s, "TRUNCATE");
	s->index += s->chain.offset != 0;
	s->chain = (struct wal_chain){ .offset = 0 };
	c->db = slurp(s->path);
	for (int i = 0; i < 3; i++) {
		source_commit(s, 2000);
		if (i == 1 && !grows) {
			peer_do(&s->p, "UPDATE link SET pad=NULL");
			peer_do(&s->p, "VACUUM");
		} else if (i == 1) {
			source_commit(s, 100000);
		}
		assert_true(source_segment(s, &c->from[i], &c->wal[i]));
		if (i < 2)
			source_restart(s, "TRUNCATE");
	}
	c->end = (struct position){ s->index, s->chain.offset };
}

static void long_copy_free(struct long_copy *c)
{
	dyn_free(&c->db);
	for (int i = 0; i < 3; i++)
		dyn_free(&c->wal[i]);
}

static enum follow_result long_copy_wal(struct followed *d, const struct source *s, const struct long_copy *c,
					int i)
{
	return follow_segment(&d->f, &s->generation, c->from[i], (struct span){ c->wal[i].p, c->wal[i].len },
			      false, &d->e);
}

/* until: the end of the last index, its beginning, or not known. */
static void long_copy_apply(struct followed *d, struct source *s, const struct long_copy *c, int how)
{
	const struct position untils[] = { c->end, { c->end.index, 0 }, { INT64_MAX, 0 } };
	char before[64] = "";
	bool there = exists(d->path);
	struct peer r = there ? peer_open(d->path) : (struct peer){ .to = -1 };
	if (there)
		snprintf(before, sizeof before, "%s", peer_do(&r, "SELECT wb_image()"));
	follow_ok(follow_content_begin(&d->f, &s->generation, c->from[0].index, &d->e));
	follow_ok(follow_content_bytes(&d->f, (struct span){ c->db.p, c->db.len }, &d->e));
	follow_content_until(&d->f, untils[how]);
	follow_ok(follow_content_end(&d->f, &d->e));
	for (int i = 0; i < 3; i++) {
		assert_true(follow_content_waits(&d->f, NULL));
		assert_int_equal(exists(d->path), there);
		if (there)
			assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
		if (how == 1 && i == 2) { /* the header is where it was to be, and nothing comes behind it */
			struct position at = c->from[2];
			follow_ok(follow_segment(&d->f, &s->generation, at,
						 (struct span){ c->wal[2].p, WAL_HEADER_BYTES }, false, &d->e));
			assert_false(follow_content_waits(&d->f, NULL));
			at.offset = WAL_HEADER_BYTES;
			follow_ok(follow_segment(&d->f, &s->generation, at,
						 (struct span){ c->wal[2].p + WAL_HEADER_BYTES,
								c->wal[2].len - WAL_HEADER_BYTES },
						 false, &d->e));
		} else {
			follow_ok(long_copy_wal(d, s, c, i));
		}
	}
	if (how == 2) {
		assert_true(follow_content_waits(&d->f, NULL));
		follow_ok(follow_content_settle(&d->f, &d->e));
	}
	assert_false(follow_content_waits(&d->f, NULL));
	assert_same(d, s);
	assert_position(d, s);
	if (there)
		peer_close(&r);
}

static void test_content_over_indexes(void **state)
{
	(void)state;
	for (int k = 0; k < 12; k++) {
		struct source s;
		struct followed *d = malloc(sizeof *d);
		struct long_copy c;
		int how = k % 3;
		bool grows = k % 2, fresh = k < 6;
		source_begin(&s, numbered("over", (size_t)k), k % 4 == 1 ? 512 : 4096, "PRAGMA auto_vacuum=0");
		assert_int_equal(followed_open(d, numbered("over-copy", (size_t)k)), FOLLOW_CONTENT);
		if (!fresh)
			followed_content(d, &s);
		long_copy_make(&c, &s, grows);
		/* Broken off inside a transaction: the content is of no use any more. */
		follow_ok(follow_content_begin(&d->f, &s.generation, c.from[0].index, &d->e));
		follow_ok(follow_content_bytes(&d->f, (struct span){ c.db.p, c.db.len }, &d->e));
		follow_content_until(&d->f, c.end);
		follow_ok(follow_content_end(&d->f, &d->e));
		size_t each = (size_t)wal_frame_bytes(s.chain.page_bytes);
		follow_ok(follow_segment(&d->f, &s.generation, c.from[0],
					 (struct span){ c.wal[0].p, WAL_HEADER_BYTES + each }, false, &d->e));
		assert_int_equal(follow_content_settle(&d->f, &d->e), FOLLOW_AGAIN);
		assert_int_equal(long_copy_wal(d, &s, &c, 1), FOLLOW_CONTENT);
		assert_int_equal(exists(d->path), !fresh);
		long_copy_apply(d, &s, &c, how);
		source_commit(&s, 300);
		follow_ok(followed_ship(d, &s, false));
		assert_same(d, &s);
		int rc = followed_again(d, k % 2);
		assert_int_equal(rc, FOLLOW_OK);
		assert_position(d, &s);
		follow_close(&d->f);
		long_copy_free(&c);
		peer_close(&s.p);
		free(d);
	}
}

/* What is held is seen with the next piece, or never. */
static void test_held(void **state)
{
	(void)state;
	struct source s;
	struct followed *d = malloc(sizeof *d);
	struct position from;
	struct dyn plain;
	char before[64];
	source_begin(&s, "held", 4096, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "held-copy"), FOLLOW_CONTENT);
	followed_content(d, &s);
	source_commit(&s, 9000);
	follow_ok(followed_ship(d, &s, false));
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5; i++)
			source_commit(&s, 9000);
		assert_true(source_segment(&s, &from, &plain));
		struct peer r = peer_open(d->path);
		snprintf(before, sizeof before, "%s", peer_do(&r, "SELECT wb_image()"));
		size_t part = plain.len / wal_frame_bytes(4096) / 2 * wal_frame_bytes(4096);
		struct span first = { plain.p, part }, rest = { plain.p + part, plain.len - part };
		follow_ok(follow_segment(&d->f, &s.generation, from, first, FOLLOW_HELD, &d->e));
		assert_string_equal(peer_do(&r, "SELECT wb_image()"), before);
		if (round == 0) { /* it was not what was sent */
			follow_drop(&d->f);
			follow_ok(follow_segment(&d->f, &s.generation, from, first, FOLLOW_HELD, &d->e));
		}
		from.offset += part;
		follow_ok(follow_segment(&d->f, &s.generation, from, rest, round ? FOLLOW_EACH : FOLLOW_MERGED,
					 &d->e));
		assert_same(d, &s);
		assert_position(d, &s);
		peer_close(&r);
		dyn_free(&plain);
	}
	follow_close(&d->f);
	peer_close(&s.p);
	free(d);
}

/* Killed after the record of a publication and before its header; then one local commit gets the number that
 * SQLite would have given to it, and the log begins anew: the record must not take that for its own. */
static void test_number_of_another(void **state)
{
	(void)state;
	struct source s;
	struct followed followed, *d = &followed;
	struct page_hashes here;
	uint8_t header[2 * WAL_INDEX_HEADER_BYTES];
	source_begin(&s, "number-src", 4096, "PRAGMA auto_vacuum=0");
	assert_int_equal(followed_open(d, "number"), FOLLOW_CONTENT);
	followed_content(d, &s);
	struct peer w = peer_open(d->path); /* keeps the index */
	peer_do(&w, "SELECT count(*) FROM state");
	source_commit(&s, 100);
	follow_ok(followed_ship(d, &s, false));
	uint8_t *shm = (uint8_t *)(uintptr_t)d->f.conn.shm;
	memcpy(header, shm, sizeof header);
	source_commit(&s, 100);
	follow_ok(followed_ship(d, &s, false));
	memcpy(shm, header, sizeof header);
	follow_close(&d->f);
	peer_do(&w, "UPDATE account SET v=7");
	peer_do(&w, "PRAGMA wal_checkpoint(TRUNCATE)");
	struct follow_options o = followed_options(d);
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	followed_content(d, &s);
	assert_same(d, &s);
	/* Pages that differ from what was here are of no use when that is another database by then. */
	follow_ok(follow_hashes(&d->f, &here, &d->e));
	page_hashes_free(&here);
	sh("cp number number-2; mv number-2 number");
	assert_int_equal(follow_pages_begin(&d->f, &s.generation, 0, 1, &d->e), FOLLOW_CONTENT);
	follow_ok(follow_hashes(&d->f, &here, &d->e));
	page_hashes_free(&here);
	follow_ok(follow_pages_begin(&d->f, &s.generation, 0, 1, &d->e));
	follow_close(&d->f);
	peer_close(&w);
	peer_close(&s.p);
}

int main(int argc, char **argv)
{
	followrig_functions();
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	if (argc == 7 && strcmp(argv[1], "reader") == 0)
		return reader_main(argv);
	if (argc == 3 && strcmp(argv[1], "python") == 0)
		return python_main(argv);
	if (argc == 4 && strcmp(argv[1], "program") == 0)
		return program_main(argv);
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_each_transaction),
		cmocka_unit_test(test_streams_of_the_original),
		cmocka_unit_test(test_starts_again),
		cmocka_unit_test(test_broken_streams),
		cmocka_unit_test(test_big_transactions),
		cmocka_unit_test(test_copied_over),
		cmocka_unit_test(test_local_writers),
		cmocka_unit_test(test_number_of_another),
		cmocka_unit_test(test_other_content),
		cmocka_unit_test(test_differing_pages),
		cmocka_unit_test(test_content_over_indexes),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_readers_512),
		cmocka_unit_test(test_readers_4096),
		cmocka_unit_test(test_readers_65536),
	};
	return cmocka_run_group_tests(tests, world_make, world_drop);
}
