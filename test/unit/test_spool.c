/* SPDX-License-Identifier: Apache-2.0
 *
 * db/spool: begin, commit and abort, the deferred sync, and what is loaded after a crash: whole segments in
 * order up to the first that is damaged or missing, and the chain behind them. */
#include "world.h"

#include <dirent.h>

static const struct generation gen = { "00112233445566aa" };

static struct spool make_spool(const char *meta)
{
	struct spool s;
	struct err e;
	if (spool_init(&s, meta, &OWNER_PRIVATE, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static void put_bytes(struct spool *s, const struct generation *g, struct position p, struct span stored,
		      bool sync)
{
	struct spool_file f;
	struct err e;
	assert_int_equal(spool_begin(s, g, p, &f, &e), 0);
	/* In two pieces. */
	assert_int_equal(spool_add(&f, (struct span){ stored.p, stored.n / 2 }, &e), 0);
	assert_int_equal(spool_add(&f, (struct span){ stored.p + stored.n / 2, stored.n - stored.n / 2 }, &e),
			 0);
	assert_true(exists(f.temp));
	assert_false(exists(f.path));
	assert_int_equal(spool_commit(&f, sync, &e), 0);
	assert_false(exists(f.temp));
	assert_true(exists(f.path));
}

/* The bytes [from, to) of a WAL as a segment. */
static void put_part(struct spool *s, const struct generation *g, uint64_t index, const struct fake_wal *w,
		     uint64_t from, uint64_t to)
{
	struct dyn d = packed((struct span){ w->bytes.p + from, (size_t)(to - from) });
	put_bytes(s, g, (struct position){ index, from }, (struct span){ d.p, d.len }, true);
	dyn_free(&d);
}

static int count_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int count_names(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	if (!d)
		return -1;
	for (const struct dirent *de; (de = readdir(d));)
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_commit_abort(void **state)
{
	(void)state;
	struct spool s = make_spool(at("commit"));
	struct spool_file f;
	struct err e;
	char path[PATH_BYTES];
	struct position p = { 3, 0x1058 };
	put_bytes(&s, &gen, p, (struct span){ (const uint8_t *)"stored bytes", 12 }, true);
	assert_int_equal(s.bytes, 12);
	spool_path(&s, &gen, p, path);
	assert_string_equal(path, at("commit/walbrook/spool/00112233445566aa/00000003_00001058.wal.lz4"));
	struct dyn d = slurp(path);
	assert_int_equal(d.len, 12);
	assert_memory_equal(d.p, "stored bytes", 12);
	dyn_free(&d);
	assert_int_equal(spool_begin(&s, &gen, (struct position){ 4, 0 }, &f, &e), 0);
	assert_int_equal(spool_add(&f, (struct span){ (const uint8_t *)"x", 1 }, &e), 0);
	spool_abort(&f);
	spool_abort(&f); /* twice does no harm */
	assert_int_equal(count_names(at("commit/walbrook/spool/00112233445566aa")), 1);
	assert_int_equal(s.bytes, 12);
	assert_int_equal(spool_remove(&s, &gen, p, 12, &e), 0);
	assert_int_equal(spool_remove(&s, &gen, p, 12, &e),
			 0); /* gone already: fine, and the count stays sane */
	assert_int_equal(s.bytes, 0);
	assert_int_equal(count_names(at("commit/walbrook/spool/00112233445566aa")), 0);
	spool_fini(&s);
}

/* An offset past 32 bits has its own name. */
static void test_far_offset(void **state)
{
	(void)state;
	struct spool s = make_spool(at("far"));
	char path[PATH_BYTES];
	spool_path(&s, &gen, (struct position){ 1, 0x100000000ull + 4120 }, path);
	assert_string_equal(path_base(path), "00000001_100001018.wal.lz4");
	spool_fini(&s);
}

static void test_deferred_sync(void **state)
{
	(void)state;
	struct spool s = make_spool(at("deferred"));
	struct err e;
	int before = count_fds();
	for (unsigned i = 0; i < SPOOL_UNSYNCED_MAX + 5; i++) {
		put_bytes(&s, &gen, (struct position){ i, 0 }, (struct span){ (const uint8_t *)"abcd", 4 },
			  false);
		assert_true(s.unsynced_n <= SPOOL_UNSYNCED_MAX);
		assert_int_equal(count_fds(), before + s.unsynced_n);
	}
	assert_int_equal(s.unsynced_n, SPOOL_UNSYNCED_MAX);
	assert_true(s.names_unsynced);
	assert_int_equal(spool_sync(&s, &e), 0);
	assert_int_equal(s.unsynced_n, 0);
	assert_false(s.names_unsynced);
	assert_int_equal(count_fds(), before);
	assert_int_equal(spool_sync(&s, &e), 0); /* nothing to do */
	assert_int_equal(s.bytes, 4 * (SPOOL_UNSYNCED_MAX + 5));
	put_bytes(&s, &gen, (struct position){ 99, 0 }, (struct span){ (const uint8_t *)"abcd", 4 }, false);
	spool_fini(&s); /* lets go of what is not synced */
	assert_int_equal(count_fds(), before);
}

/* The file that is made ahead of time: for the next segment of its generation, whichever that is; gone with the
 * generation, with the spool, and at rest; in nobody's way after a kill. */
static void test_prepared(void **state)
{
	(void)state;
	static const struct generation other = { "ffffffffffffffff" };
	struct spool s = make_spool(at("prepared"));
	struct span bytes = { (const uint8_t *)"abcd", 4 };
	struct spool_file f;
	struct err e;
	struct spool_segment *list;
	struct wal_chain tail;
	int before = count_fds();
	spool_prepare(&s);
	assert_false(s.has_spare); /* no generation yet */
	put_bytes(&s, &gen, (struct position){ 0, 0 }, bytes, true);
	spool_prepare(&s);
	spool_prepare(&s);
	assert_int_equal(count_fds(), before + 1);
	assert_true(exists(at("prepared/walbrook/spool/%s/spare.tmp", gen.name)));
	assert_int_equal(spool_begin(&s, &gen, (struct position){ 1, 0 }, &f, &e), 0);
	assert_string_equal(path_base(f.temp), "spare.tmp");
	assert_false(s.has_spare);
	assert_int_equal(spool_add(&f, bytes, &e), 0);
	assert_int_equal(spool_commit(&f, true, &e), 0);
	struct dyn d = slurp(f.path);
	assert_int_equal(d.len, 4);
	dyn_free(&d);
	spool_prepare(&s);
	put_bytes(&s, &other, (struct position){ 0, 0 }, bytes, true);
	assert_false(exists(at("prepared/walbrook/spool/%s/spare.tmp", gen.name)));
	spool_prepare(&s);
	spool_rest(&s);
	assert_int_equal(count_names(at("prepared/walbrook/spool/%s", other.name)), 1);
	spool_prepare(&s);
	assert_int_equal(spool_remove_generation(&s, &other, &e), 0);
	assert_int_equal(count_names(at("prepared/walbrook/spool/%s", other.name)), -1);
	put_bytes(&s, &gen, (struct position){ 2, 0 }, bytes, true);
	spool_prepare(&s);
	spool_fini(&s);
	assert_int_equal(count_fds(), before);
	assert_int_equal(count_names(at("prepared/walbrook/spool/%s", gen.name)), 3);
	spew(at("prepared/walbrook/spool/%s/spare.tmp", gen.name), "", 0); /* as a kill leaves it */
	s = make_spool(at("prepared"));
	assert_int_equal(spool_load(&s, &gen, &list, &tail, &e), 0);
	spool_segments_free(list);
	assert_false(exists(at("prepared/walbrook/spool/%s/spare.tmp", gen.name)));
	spool_fini(&s);
}

/* Two WAL indexes: [0, a), [a, b) of index 5 and all of index 6. */
struct two {
	struct spool s;
	struct fake_wal w5, w6;
	uint64_t a, b;
};

static struct two make_two(const char *name)
{
	struct two t = { .s = make_spool(at("%s", name)) };
	fake_begin(&t.w5, 512, 77);
	fake_frame(&t.w5, 1, 0);
	fake_frame(&t.w5, 2, 2);
	t.a = t.w5.chain.offset;
	fake_frame(&t.w5, 3, 3);
	t.b = t.w5.chain.offset;
	fake_begin(&t.w6, 512, 9);
	fake_frame(&t.w6, 1, 3);
	put_part(&t.s, &gen, 5, &t.w5, 0, t.a);
	put_part(&t.s, &gen, 5, &t.w5, t.a, t.b);
	put_part(&t.s, &gen, 6, &t.w6, 0, t.w6.chain.offset);
	spool_fini(&t.s);
	t.s = make_spool(at("%s", name)); /* as after a start */
	return t;
}

static void free_two(struct two *t)
{
	dyn_free(&t->w5.bytes);
	dyn_free(&t->w6.bytes);
	spool_fini(&t->s);
}

static void expect_chain(const struct wal_chain *got, const struct wal_chain *want)
{
	assert_int_equal(got->page_bytes, want->page_bytes);
	assert_int_equal(got->offset, want->offset);
	assert_int_equal(got->big_endian, want->big_endian);
	assert_memory_equal(got->salt, want->salt, 8);
	assert_true(wal_sum_equal(got->sum, want->sum));
}

static struct spool_segment *load(struct spool *s, struct wal_chain *tail)
{
	struct spool_segment *list = NULL;
	struct err e;
	if (spool_load(s, &gen, &list, tail, &e) < 0)
		fail_msg("%s", e.text);
	return list;
}

static const char *seg_path(const struct two *t, uint64_t index, uint64_t offset)
{
	static char path[PATH_BYTES];
	spool_path(&t->s, &gen, (struct position){ index, offset }, path);
	return path;
}

static void test_load(void **state)
{
	(void)state;
	struct two t = make_two("load");
	struct wal_chain tail = { 0 };
	sh("touch load/walbrook/spool/%s/00000006_00000230.wal.lz4.tmp load/walbrook/spool/%s/note.txt",
	   gen.name, gen.name);
	struct spool_segment *list = load(&t.s, &tail), *s = list;
	assert_non_null(s);
	assert_int_equal(s->at.index, 5);
	assert_int_equal(s->at.offset, 0);
	assert_int_equal(s->end, t.a);
	assert_int_equal(s->page_bytes, 512);
	assert_memory_equal(s->salt, t.w5.chain.salt, 8);
	assert_int_equal(s->commits_n, 1);
	assert_int_equal(s->commits[0].offset, t.a);
	s = s->next;
	assert_int_equal(s->at.offset, t.a);
	assert_int_equal(s->end, t.b);
	s = s->next;
	assert_int_equal(s->at.index, 6);
	assert_int_equal(s->end, t.w6.chain.offset);
	assert_memory_equal(s->salt, t.w6.chain.salt, 8);
	assert_null(s->next);
	expect_chain(&tail, &t.w6.chain);
	uint64_t bytes = 0;
	for (s = list; s; s = s->next)
		bytes += s->stored_bytes;
	assert_int_equal(t.s.bytes, bytes);
	/* The temp file is gone; what is not ours is not touched. */
	assert_int_equal(count_names(at("load/walbrook/spool/%s", gen.name)), 4);
	assert_true(exists(at("load/walbrook/spool/%s/note.txt", gen.name)));
	free_list(list);
	free_two(&t);
}

enum { BEFORE_ENDED = 32 + 5 * (1024 + 24) };

static void put_timed(struct spool *s, uint64_t index, const struct fake_wal *w, uint64_t from, uint64_t to,
		      const struct index_commit *commits, size_t n)
{
	struct spool_file f;
	struct err e;
	struct dyn d = packed((struct span){ w->bytes.p + from, (size_t)(to - from) });
	assert_int_equal(spool_begin(s, &gen, (struct position){ index, from }, &f, &e), 0);
	assert_int_equal(spool_add(&f, (struct span){ d.p, d.len }, &e), 0);
	struct spool_segment g = { .generation = gen,
				   .at = { index, from },
				   .end = to,
				   .prev_end = from ? 0 : BEFORE_ENDED,
				   .page_bytes = 1024,
				   .commits_n = n };
	struct index_commit copy[4];
	for (size_t i = 0; i < n; i++)
		copy[i] = commits[i];
	g.commits = copy;
	memcpy(g.salt, w->chain.salt, sizeof g.salt);
	spool_note_times(&f, &g);
	assert_int_equal(spool_commit(&f, true, &e), 0);
	dyn_free(&d);
}

/* A start after a kill knows when each commit was seen, and where the WAL index before ended; what is damaged
 * of that is not known. */
static void test_times(void **state)
{
	(void)state;
	struct fake_wal w;
	fake_begin(&w, 1024, 7);
	for (uint32_t i = 1; i <= 8; i++)
		fake_frame(&w, i, i == 3 || i == 6 || i == 7 ? 8 : 0);
	uint64_t a = wal_offset_of(1024, 3), b = wal_offset_of(1024, 5), end = wal_offset_of(1024, 8);
	const struct index_commit first[] = { { wal_offset_of(1024, 1), 1000 }, { a, 2000 } };
	const struct index_commit last[] = { { wal_offset_of(1024, 6), 3000 },
					     { wal_offset_of(1024, 7), 3000 } };
	struct err e;
	for (int damage = 0; damage < 3; damage++) {
		struct spool s = make_spool(at("times%d", damage));
		put_timed(&s, 4, &w, 0, a, first, 2);
		put_timed(&s, 4, &w, a, b, NULL, 0); /* cut inside a transaction */
		put_timed(&s, 4, &w, b, end, last, 2);
		spool_fini(&s);
		if (damage == 1)
			sh("truncate -s -1 times1/walbrook/spool/*/00000004.times");
		if (damage == 2)
			sh("printf x | dd of=$(echo times2/walbrook/spool/*/00000004.times) bs=1 seek=48 "
			   "conv=notrunc 2>/dev/null");
		s = make_spool(at("times%d", damage));
		struct spool_segment *list = NULL;
		struct wal_chain tail = { 0 };
		assert_int_equal(spool_load(&s, &gen, &list, &tail, &e), 0);
		assert_non_null(list->next->next);
		const struct spool_segment *one = list, *two = list->next, *three = list->next->next;
		assert_int_equal(one->commits_n, damage == 2 ? 1 : 2);
		assert_int_equal(one->prev_end, damage == 2 ? 0 : BEFORE_ENDED);
		assert_int_equal(two->prev_end, 0);
		if (damage < 2)
			assert_memory_equal(one->commits, first, sizeof first);
		assert_int_equal(two->commits_n, damage == 2 ? 1 : 0);
		assert_int_equal(three->commits_n, damage == 0 ? 2 : 1);
		if (damage == 0)
			assert_memory_equal(three->commits, last, sizeof last);
		assert_int_equal(three->commits[three->commits_n - 1].offset,
				 damage == 0 ? wal_offset_of(1024, 7) : end);
		/* They go with the segments: when the next index begins to leave, those before it are gone. */
		put_timed(&s, 5, &w, 0, a, first, 2);
		for (const struct spool_segment *g = list; g; g = g->next)
			assert_int_equal(spool_remove(&s, &gen, g->at, g->stored_bytes, &e), 0);
		assert_int_equal(spool_remove(&s, &gen, (struct position){ 5, 0 }, 0, &e), 0);
		assert_false(exists(at("times%d/walbrook/spool/%s/00000004.times", damage, gen.name)));
		assert_true(exists(at("times%d/walbrook/spool/%s/00000005.times", damage, gen.name)));
		assert_int_equal(spool_remove_generation(&s, &gen, &e), 0);
		assert_false(exists(at("times%d/walbrook/spool/%s", damage, gen.name)));
		free_list(list);
		spool_fini(&s);
	}
	dyn_free(&w.bytes);
}

/* A position inside index 5 and only what follows it: the chain goes on from what the position knows. */
static void test_load_continues(void **state)
{
	(void)state;
	struct two t = make_two("continues");
	assert_int_equal(unlink(seg_path(&t, 5, 0)), 0);
	assert_int_equal(unlink(seg_path(&t, 6, 0)), 0);
	struct wal_chain tail = { .page_bytes = 512, .offset = t.a };
	memcpy(tail.salt, t.w5.chain.salt, 8);
	struct spool_segment *list = load(&t.s, &tail);
	assert_non_null(list);
	assert_null(list->next);
	assert_int_equal(list->at.offset, t.a);
	expect_chain(&tail, &t.w5.chain);
	free_list(list);
	free_two(&t);
}

/* Of the middle segment: cut at every length, or every byte changed. What follows it is dropped with it. */
static void expect_only_first(struct two *t)
{
	struct wal_chain tail = { 0 };
	struct spool_segment *list = load(&t->s, &tail);
	assert_non_null(list);
	assert_int_equal(list->end, t->a);
	assert_null(list->next);
	assert_int_equal(tail.offset, t->a);
	assert_int_equal(count_names(at("damage/walbrook/spool/%s", gen.name)), 1);
	free_list(list);
}

static void test_load_damaged(void **state)
{
	(void)state;
	struct two t = make_two("damage");
	struct dyn middle = slurp(seg_path(&t, 5, t.a)), last = slurp(seg_path(&t, 6, 0));
	for (size_t n = 0; n < middle.len; n += n < 40 ? 1 : 17) {
		spew(seg_path(&t, 5, t.a), middle.p, n);
		spew(seg_path(&t, 6, 0), last.p, last.len);
		expect_only_first(&t);
	}
	for (size_t i = 0; i < middle.len; i += i < 40 ? 1 : 13) {
		middle.p[i] ^= 0x10;
		spew(seg_path(&t, 5, t.a), middle.p, middle.len);
		spew(seg_path(&t, 6, 0), last.p, last.len);
		middle.p[i] ^= 0x10;
		expect_only_first(&t);
	}
	dyn_free(&middle);
	dyn_free(&last);
	free_two(&t);
}

static void test_load_hole(void **state)
{
	(void)state;
	struct two t = make_two("hole");
	struct wal_chain tail = { 0 };
	fake_frame(&t.w5, 4, 4);
	put_part(&t.s, &gen, 5, &t.w5, t.b, t.w5.chain.offset);
	assert_int_equal(unlink(seg_path(&t, 5, t.a)), 0);
	struct spool_segment *list = load(&t.s, &tail);
	assert_non_null(list);
	assert_int_equal(list->end, t.a);
	assert_null(list->next);
	assert_false(exists(seg_path(&t, 5, t.b)));
	assert_false(exists(seg_path(&t, 6, 0)));
	free_list(list);
	free_two(&t);

	t = make_two("hole2");
	tail = (struct wal_chain){ 0 };
	assert_int_equal(rename(seg_path(&t, 6, 0), at("away")), 0);
	assert_int_equal(rename(at("away"), seg_path(&t, 7, 0)), 0); /* an index is missing */
	list = load(&t.s, &tail);
	assert_int_equal(list->next->end, t.b);
	assert_null(list->next->next);
	expect_chain(&tail, &t.w5.chain);
	assert_false(exists(seg_path(&t, 7, 0)));
	free_list(list);
	free_two(&t);
}

/* Not a WAL at all, although its frame is sound; and one without a byte in it. */
static void test_load_nonsense(void **state)
{
	(void)state;
	struct spool s = make_spool(at("nonsense"));
	struct wal_chain tail = { 0 };
	struct dyn d = packed((struct span){ (const uint8_t *)"this is certainly no header of a WAL", 36 });
	put_bytes(&s, &gen, (struct position){ 0, 0 }, (struct span){ d.p, d.len }, true);
	assert_null(load(&s, &tail));
	dyn_free(&d);
	d = packed((struct span){ (const uint8_t *)"", 0 });
	put_bytes(&s, &gen, (struct position){ 0, 0 }, (struct span){ d.p, d.len }, true);
	assert_null(load(&s, &tail));
	assert_int_equal(count_names(at("nonsense/walbrook/spool/%s", gen.name)), 0);
	dyn_free(&d);
	spool_fini(&s);
}

/* Of an older generation nothing is known but what lies there: it is shipped all the same, so the page size
 * must be right although the header of the WAL is not in the spool any more. */
static void test_load_older(void **state)
{
	(void)state;
	struct two t = make_two("older");
	struct wal_chain tail = { 0 };
	assert_int_equal(unlink(seg_path(&t, 5, 0)), 0);
	struct spool_segment *list = load(&t.s, &tail);
	assert_non_null(list);
	assert_int_equal(list->at.offset, t.a);
	assert_int_equal(list->end, t.b);
	assert_int_equal(list->page_bytes, 512);
	assert_memory_equal(list->salt, t.w5.chain.salt, 8);
	assert_int_equal(list->next->at.index, 6);
	assert_int_equal(list->next->end, t.w6.chain.offset);
	assert_int_equal(list->next->page_bytes, 512);
	free_list(list);
	free_two(&t);
}

static int count_generation(void *arg, const struct generation *g)
{
	(void)g;
	(*(int *)arg)++;
	return 0;
}

static void test_generations(void **state)
{
	(void)state;
	struct spool s = make_spool(at("gens"));
	struct err e;
	int n = 0;
	struct generation other = { "ffffffffffffffff" };
	put_bytes(&s, &gen, (struct position){ 0, 0 }, (struct span){ (const uint8_t *)"a", 1 }, true);
	put_bytes(&s, &other, (struct position){ 0, 0 }, (struct span){ (const uint8_t *)"a", 1 }, true);
	sh("mkdir gens/walbrook/spool/lost+found gens/walbrook/spool/ABCDEF0123456789");
	assert_int_equal(spool_generations(&s, count_generation, &n, &e), 0);
	assert_int_equal(n, 2);
	assert_int_equal(spool_remove_generation(&s, &other, &e), 0);
	assert_false(exists(at("gens/walbrook/spool/%s", other.name)));
	n = 0;
	assert_int_equal(spool_generations(&s, count_generation, &n, &e), 0);
	assert_int_equal(n, 1);
	/* Its directory is made again when it is needed. */
	put_bytes(&s, &other, (struct position){ 1, 0 }, (struct span){ (const uint8_t *)"a", 1 }, true);
	spool_fini(&s);
}

static void test_cannot_write(void **state)
{
	(void)state;
	struct spool s;
	struct spool_file f;
	struct err e;
	spew(at("plain"), "x", 1);
	assert_int_equal(spool_init(&s, at("plain"), &OWNER_PRIVATE, &e), -1);
	assert_non_null(strstr(e.text, "plain"));
	s = make_spool(at("vanish"));
	put_bytes(&s, &gen, (struct position){ 0, 0 }, (struct span){ (const uint8_t *)"a", 1 }, true);
	sh("rm -r vanish/walbrook/spool/%s", gen.name);
	int before = count_fds();
	assert_int_equal(spool_begin(&s, &gen, (struct position){ 1, 0 }, &f, &e), -1);
	assert_non_null(strstr(e.text, "00000001_00000000"));
	assert_int_equal(count_fds(), before);
	spool_fini(&s);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commit_abort),   cmocka_unit_test(test_far_offset),
		cmocka_unit_test(test_deferred_sync),  cmocka_unit_test(test_prepared),
		cmocka_unit_test(test_load),	       cmocka_unit_test(test_times),
		cmocka_unit_test(test_load_continues), cmocka_unit_test(test_load_damaged),
		cmocka_unit_test(test_load_hole),      cmocka_unit_test(test_load_nonsense),
		cmocka_unit_test(test_load_older),     cmocka_unit_test(test_generations),
		cmocka_unit_test(test_cannot_write),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("spool", tests, world_make, world_drop);
}
