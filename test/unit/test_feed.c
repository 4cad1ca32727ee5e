/* SPDX-License-Identifier: Apache-2.0
 *
 * daemon/feed_spool: what of a stream is kept for replicas and followers of a follower. Segments come as a
 * stream brings them, in two pieces; what the spool then holds is unpacked and compared with the WAL. And the
 * lag that is told (upstream_lag_us). */
#include "world.h"

#include "daemon/feed.h"

enum { PAGE = 512 };
static const struct generation one = { "0123456789abcdef" }, two = { "fedcba9876543210" };

static struct {
	struct engine en;
	struct conf_db conf;
	struct managed m;
	struct feed d;
	struct fake_wal wal[3]; /* of three indexes */
	struct spool_segment *list, **end;
} w;

static void feed_new(void)
{
	struct err e;
	w.d = (struct feed){ .pending_end = NULL };
	w.d.pending_end = &w.d.pending;
	w.d.reader.page_bytes = PAGE;
	assert_int_equal(upstream_new(&w.m, true, &w.d.up, &e), 0);
}

static int set_up(void **state)
{
	struct err e;
	memset(&w, 0, sizeof w);
	if (world_make(state) < 0 || loop_new(&w.en.loop, &e) < 0)
		return -1;
	sh("mkdir -p meta/walbrook");
	static char path[] = "/there/app.db";
	w.conf.path = path;
	w.m.en = &w.en;
	w.m.conf = &w.conf;
	w.end = &w.list;
	if (spool_init(&w.m.db.cap.spool, at("meta"), &OWNER_PRIVATE, &e) < 0)
		return -1;
	for (uint32_t i = 0; i < 3; i++) {
		fake_begin(&w.wal[i], PAGE, 77 + i);
		for (uint32_t n = 1; n <= 20; n++)
			fake_frame(&w.wal[i], n, n % 2 == 0 ? 20 : 0); /* each second one is a commit */
	}
	feed_new();
	return 0;
}

static void feed_free(void)
{
	feed_spool_abort(&w.d);
	upstream_free(w.d.up);
	free(w.d.commits);
}

static int tear_down(void **state)
{
	feed_free();
	free_list(w.list);
	spool_fini(&w.m.db.cap.spool);
	loop_free(w.en.loop);
	for (int i = 0; i < 3; i++)
		dyn_free(&w.wal[i].bytes);
	return world_drop(state);
}

/* Where frame n of an index ends. */
static uint64_t end_of(unsigned n)
{
	return n ? WAL_HEADER_BYTES + n * (uint64_t)wal_frame_bytes(PAGE) : 0;
}

/* A segment from behind frame `from` through frame `to`; whole: it comes to its end. */
static void comes(const struct generation *g, uint64_t index, unsigned from, unsigned to, bool whole)
{
	const struct span plain = { w.wal[index].bytes.p + end_of(from), (size_t)(end_of(to) - end_of(from)) };
	struct dyn stored = packed(plain);
	w.d.segment = (struct record){ .type = RECORD_SEGMENT,
				       .generation = *g,
				       .at = { index, end_of(from) },
				       .size_bytes = stored.len };
	if (!w.d.commits_given)
		w.d.commits_n = 0;
	memcpy(w.d.f.next.chain.salt, w.wal[index].chain.salt, 8);
	feed_spool_begin(&w.d, &w.d.segment);
	size_t half = whole ? stored.len : stored.len / 2;
	feed_spool_stored(&w.d, (struct span){ stored.p, half / 2 });
	feed_spool_stored(&w.d, (struct span){ stored.p + half / 2, half - half / 2 });
	if (whole) {
		feed_spool_plain(&w.d, w.d.segment.at, plain);
		feed_spool_end(&w.d, (struct position){ index, end_of(to) });
	}
	w.d.commits_given = false;
	dyn_free(&stored);
}

/* What is new for the loop goes to the list, as it is told: "INDEX:FROM-TO" in frames. */
static const char *fresh(void)
{
	static char text[500];
	struct upstream_news news;
	size_t n = 0;
	feed_spool_flush(&w.d);
	upstream_take(w.d.up, &news);
	text[0] = 0;
	for (struct spool_segment *s = news.fresh; s; s = s->next) {
		unsigned from = s->at.offset
					? (unsigned)((s->at.offset - WAL_HEADER_BYTES) / wal_frame_bytes(PAGE))
					: 0;
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%u:%u-%u%s", n ? " " : "",
				      (unsigned)s->at.index, from,
				      (unsigned)((s->end - WAL_HEADER_BYTES) / wal_frame_bytes(PAGE)),
				      s->prev_end ? " behind" : "");
		char path[PATH_BYTES];
		struct dyn plain = DYN_INIT(1 << 20);
		spool_path(&w.m.db.cap.spool, &s->generation, s->at, path);
		unpack_to(&plain, path);
		assert_int_equal(plain.len, s->end - s->at.offset);
		assert_memory_equal(plain.p, w.wal[s->at.index].bytes.p + s->at.offset, plain.len);
		dyn_free(&plain);
		for (size_t i = 0; i < s->commits_n; i++) /* only those in it */
			assert_true(s->commits[i].offset > s->at.offset && s->commits[i].offset <= s->end);
		assert_memory_equal(s->salt, w.wal[s->at.index].chain.salt, 8);
	}
	if (news.hole)
		snprintf(text + n, sizeof text - n, "%shole", n ? " " : "");
	*w.end = news.fresh;
	while (*w.end)
		w.end = &(*w.end)->next;
	return text;
}

static unsigned files(void)
{
	char out[PATH_BYTES];
	unsigned n = 0;
	sh("find meta/walbrook/spool -type f -name '*lz4*' | wc -l >count");
	struct dyn d = slurp(at("count"));
	snprintf(out, sizeof out, "%.*s", (int)d.len, (const char *)d.p);
	sscanf(out, "%u", &n);
	dyn_free(&d);
	return n;
}

static void segments_are_kept_as_they_come(void **state)
{
	(void)state;
	comes(&one, 0, 0, 4, true);
	assert_string_equal(fresh(), "0:0-4");
	assert_int_equal(w.list->commits_n, 2); /* found in the frames: a plain server tells no times */
	comes(&one, 0, 4, 6, true);
	comes(&one, 0, 6, 8, true);
	assert_string_equal(fresh(), "0:4-6 0:6-8");
	comes(&one, 1, 0, 2, true);
	assert_string_equal(fresh(), "1:0-2 behind");
	comes(&one, 1, 2, 8, true);
	assert_string_equal(fresh(), "1:2-8");
	comes(&two, 0, 2, 4, true); /* does not begin at its start */
	assert_string_equal(fresh(), "");
	comes(&two, 0, 0, 4, true);
	assert_string_equal(fresh(), "0:0-4");
	assert_int_equal(files(), 6);
}

static void what_is_there_is_left_out(void **state)
{
	struct index_commit times[] = {
		{ end_of(4), 1 }, { end_of(6), 2 }, { end_of(8), 3 }, { end_of(10), 4 }
	};
	(void)state;
	comes(&one, 0, 0, 6, true);
	fresh();
	free(w.d.commits);
	w.d.commits = malloc(sizeof times);
	memcpy(w.d.commits, times, sizeof times);
	w.d.commits_n = w.d.commits_cap = 4;
	w.d.commits_given = true;
	comes(&one, 0, 2, 10, true); /* a segment is sent from its start */
	assert_string_equal(fresh(), "0:6-10");
	assert_int_equal(w.list->next->commits_n, 2);
	assert_int_equal(w.list->next->commits[0].wall_us, 3);
	comes(&one, 0, 2, 10, true);
	comes(&one, 0, 0, 4, true);
	assert_string_equal(fresh(), "");
	assert_int_equal(files(), 2);
}

static void a_stream_ends_anywhere(void **state)
{
	(void)state;
	comes(&one, 0, 0, 4, true);
	comes(&one, 0, 4, 8, false);
	feed_spool_flush(&w.d); /* as feed_stream does at its end */
	feed_spool_abort(&w.d);
	assert_int_equal(files(), 1);
	assert_string_equal(fresh(), "0:0-4");
	comes(&one, 0, 4, 8, true); /* the next stream */
	assert_string_equal(fresh(), "0:4-8");
}

static void content_comes_first(void **state)
{
	(void)state;
	comes(&one, 0, 0, 4, true);
	fresh();
	feed_spool_content(&w.d);
	w.d.f.content.mode = CONTENT_FILE; /* all bytes are there; the WAL behind them is missing */
	w.d.f.content.ended = true;
	comes(&one, 1, 0, 4, true);
	comes(&one, 1, 4, 6, true);
	assert_string_equal(fresh(), ""); /* nobody is given what is not shown here */
	assert_int_equal(files(), 3);
	w.d.f.content.mode = CONTENT_NONE;
	assert_string_equal(fresh(), "1:0-4 1:4-6");

	feed_spool_content(&w.d);
	w.d.f.content.mode = CONTENT_FILE;
	comes(&one, 2, 0, 4, true);
	feed_spool_abort(&w.d); /* the stream broke before it was complete */
	w.d.f.content.mode = CONTENT_NONE;
	assert_string_equal(fresh(), "");
	assert_int_equal(files(), 3);
	comes(&one, 2, 4, 6, true); /* what is before it is gone */
	assert_string_equal(fresh(), "");
	comes(&one, 2, 0, 6, true);
	assert_string_equal(fresh(), "2:0-6");

	feed_spool_content(
		&w.d); /* the index comes again: its names are in use, and the loop is to forget them */
	comes(&one, 2, 0, 8, true);
	assert_string_equal(fresh(), "hole");
	w.d.top_of = (struct generation){ "" }; /* as when it has */
	comes(&one, 2, 0, 8, true);
	assert_string_equal(fresh(), "2:0-8");
}

static void without_replicas_nothing_is_kept(void **state)
{
	(void)state;
	w.d.up->keep = false;
	comes(&one, 0, 0, 4, true);
	assert_string_equal(fresh(), "");
	sh("test -z \"$(find meta -name '*lz4*')\"");
}

static void no_room(void **state)
{
	(void)state;
	comes(&one, 0, 0, 2, true);
	fresh();
	sh("mv meta/walbrook/spool meta/walbrook/away; touch meta/walbrook/spool");
	comes(&one, 0, 2, 4, true);
	sh("rm meta/walbrook/spool; mv meta/walbrook/away meta/walbrook/spool");
	comes(&one, 0, 4, 6, true); /* a hole is before it */
	assert_string_equal(fresh(), "");
	comes(&one, 1, 0, 2, true); /* the spool begins anew */
	assert_string_equal(fresh(), "1:0-2");
}

/* What an earlier run left, when readers are where frame n ends. */
static struct spool_segment *start_at(unsigned n)
{
	struct upstream_news news;
	struct err e;
	comes(&one, 0, 0, 4, true);
	comes(&one, 0, 4, 6, true);
	assert_string_equal(fresh(), "0:0-4 0:4-6");
	feed_free();
	spool_fini(&w.m.db.cap.spool);
	assert_int_equal(spool_init(&w.m.db.cap.spool, at("meta"), &OWNER_PRIVATE, &e), 0);
	feed_new();
	w.d.f.known = true;
	w.d.f.at = (struct follow_source){ .generation = one, .index = 0, .chain = w.wal[0].chain };
	w.d.f.at.chain.offset = end_of(n);
	feed_spool_open(&w.d);
	upstream_take(w.d.up, &news);
	assert_int_equal(news.at.offset, end_of(n));
	return news.loaded;
}

/* Readers were further than the spool when a connection was lost, and what is between them does not come again.
 */
static void a_hole_is_told(void **state)
{
	(void)state;
	comes(&one, 0, 0, 4, true);
	assert_string_equal(fresh(), "0:0-4");
	comes(&one, 0, 8, 10, true);
	assert_string_equal(fresh(), "hole");
	comes(&one, 0, 10, 20, true);
	assert_string_equal(fresh(), "");
	comes(&one, 1, 0, 6, true); /* what is before it in the list is not all that was before it */
	assert_string_equal(fresh(), "1:0-6");
	comes(&one, 2, 2, 4, true);
	assert_string_equal(fresh(), "hole");
	comes(&two, 0, 0, 2, true);
	assert_string_equal(fresh(), "0:0-2");
	comes(&two, 2, 0, 2, true); /* an index is missing before it */
	assert_string_equal(fresh(), "hole");
}

/* The list is forgotten: what was on its way to it belongs to what is forgotten, and comes again. */
static void what_comes_late_is_forgotten_too(void **state)
{
	(void)state;
	comes(&one, 0, 0, 4, true);
	feed_spool_flush(&w.d);
	upstream_rewind(w.d.up);
	assert_string_equal(fresh(), "");
	comes(&one, 0, 4, 8, true);
	assert_string_equal(fresh(), "");
	assert_int_equal(files(), 1); /* of the first one; the thread removes it with the rest of the list */
	w.d.rewind = true;	      /* it has taken the order, and has not asked yet */
	w.d.up->rewind = false;
	comes(&one, 0, 8, 10, true);
	assert_string_equal(fresh(), "");
}

static void a_start_finds_it_again(void **state)
{
	struct spool_segment *loaded = start_at(6);
	(void)state;
	assert_non_null(loaded);
	assert_int_equal(loaded->next->end, end_of(6));
	assert_null(loaded->next->next);
	comes(&one, 0, 6, 8, true);
	assert_string_equal(fresh(), "0:6-8");
	spool_segments_free(loaded);
}

static void a_start_finds_something_else(void **state)
{
	(void)state;
	assert_null(start_at(8)); /* what is between would be missing */
	assert_int_equal(files(), 0);
}

static void the_lag_that_is_told(void **state)
{
	enum { S = 1000000 };
	const int64_t now_us = 1000 * (int64_t)S;
	struct upstream_seen s = { .connected = true, .extended = true };
	(void)state;
	assert_int_equal(upstream_lag_us(&s, now_us), -1); /* nothing is here */
	s.known = true;
	s.applied = s.primary = (struct position){ 1, 100 };
	s.heard_wall_us = s.applied_wall_us = now_us - S;
	assert_int_equal(upstream_lag_us(&s, now_us), 0);
	s.heard_wall_us = now_us - 10 * S; /* it is silent */
	assert_int_equal(upstream_lag_us(&s, now_us), 10 * S);
	s.extended = false; /* of whom no heartbeats come */
	assert_int_equal(upstream_lag_us(&s, now_us), 0);
	s.extended = true;
	s.heard_wall_us = now_us;
	s.applied_wall_us = now_us - 7 * S;
	s.primary.offset = 200; /* something was sent and is not applied */
	assert_int_equal(upstream_lag_us(&s, now_us), 7 * S);
	s.connected = false;
	s.heard_wall_us = now_us - 60 * S;
	assert_int_equal(upstream_lag_us(&s, now_us), 60 * S);
	s.heard_wall_us = now_us + S; /* a clock that was moved */
	assert_int_equal(upstream_lag_us(&s, now_us), 0);
}

int main(void)
{
#define FED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		FED(segments_are_kept_as_they_come),
		FED(what_is_there_is_left_out),
		FED(a_stream_ends_anywhere),
		FED(content_comes_first),
		FED(without_replicas_nothing_is_kept),
		FED(no_room),
		FED(a_hole_is_told),
		FED(what_comes_late_is_forgotten_too),
		FED(a_start_finds_it_again),
		FED(a_start_finds_something_else),
		cmocka_unit_test(the_lag_that_is_told),
	};
	return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
