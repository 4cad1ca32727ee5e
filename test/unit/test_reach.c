/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions and who waits for them: a database put together by hand moves, breaks, begins a new generation or
 * leaves, and a real loop keeps the deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/feed.h"
#include "daemon/reach.h"

enum { LONG_US = 600000000 };

static const struct generation one = { "0000000000000001" }, two = { "0000000000000002" };

/* A database at index 1 offset 4152, whose step number 7 is the last. */
static struct {
	struct conf_db conf;
	char path[16], why[32];
	struct managed m, *dbs[1];
	struct daemon d;
	struct err e;
} w;

/* One who waits, and what became of it. */
struct one {
	struct reach r;
	unsigned calls;
	enum reach_result result;
	struct err e;
	struct one *cancels; /* when it is over */
};

static void over(struct reach *r, enum reach_result result, const struct err *e)
{
	struct one *o = OWNER_OF(r, struct one, r);
	o->calls++;
	o->result = result;
	if (result != REACH_DONE)
		o->e = *e;
	assert_null(r->m); /* it may be freed now */
	if (o->cancels)
		reach_cancel(&o->cancels->r);
}

static int world(void **state)
{
	(void)state;
	memset(&w, 0, sizeof w);
	strcpy(w.path, "/a.db");
	w.conf.path = w.path;
	w.m = (struct managed){ .en = &w.d.en, .conf = &w.conf, .ready = true, .state = DB_IDLE };
	w.m.generation = one;
	w.m.captured = (struct position){ 1, 4152 };
	w.m.steps_begun = w.m.seen.done_step = w.m.seen.reached_step = 7;
	w.dbs[0] = &w.m;
	w.d.dbs = w.dbs;
	w.d.n = 1;
	return loop_new(&w.d.en.loop, &w.e) < 0 || names_add(&w.d.by_path, &w.m.by_path, w.path) < 0 ? -1 : 0;
}

static int world_end(void **state)
{
	(void)state;
	names_remove(&w.d.by_path, &w.m.by_path);
	names_free(&w.d.by_path);
	loop_free(w.d.en.loop);
	return 0;
}

static enum reach_result ask(struct one *o)
{
	*o = (struct one){ .calls = 0 };
	return reach_position(&o->r, &w.d, "/a.db", LONG_US, over, &o->e);
}

static enum reach_result wait_until(struct one *o, struct generation g, uint64_t index, uint64_t offset,
				    int64_t timeout_us)
{
	*o = (struct one){ .r = { .generation = g, .at = { index, offset } } };
	return reach_wait(&o->r, &w.d, "/a.db", timeout_us, over, &o->e);
}

static void step_over(struct position at, bool reached)
{
	w.m.seen.done_step = ++w.m.steps_begun;
	if (reached)
		w.m.seen.reached_step = w.m.steps_begun;
	w.m.captured = at;
	reach_turn(&w.m);
}

static void test_position(void **state)
{
	struct one a, b;
	(void)state;
	w.m.steps_begun = 8; /* one is out, and may have begun before the commit */
	assert_int_equal(ask(&a), REACH_NOT_YET);
	assert_true(w.m.sweep && w.m.marked);
	w.m.seen.done_step = w.m.seen.reached_step = 8;
	w.m.captured.offset = 8272;
	reach_turn(&w.m);
	assert_int_equal(a.calls, 0); /* that step does not count */
	assert_int_equal(ask(&b), REACH_NOT_YET);
	step_over((struct position){ 1, 8272 }, false);
	assert_int_equal(a.calls, 0); /* it could not capture all */
	step_over((struct position){ 2, 4152 }, true);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, REACH_DONE);
	assert_true(generation_equal(&a.r.generation, &one));
	assert_int_equal(a.r.at.index, 2);
	assert_int_equal(a.r.at.offset, 4152);
	assert_int_equal(b.calls, 1);
	assert_null(w.m.reaches);
}

static void test_no_position(void **state)
{
	struct one a;
	(void)state;
	assert_int_equal(ask(&a), REACH_NOT_YET);
	strcpy(w.why, "/a.db: not a database");
	w.m.seen.why = w.why;
	w.m.seen.why_kind = ERR_DAMAGED;
	w.m.state = DB_BROKEN;
	reach_turn(&w.m);
	assert_int_equal(a.calls, 0); /* that is of a step before */
	step_over(w.m.captured, false);
	assert_int_equal(a.result, REACH_CANNOT);
	assert_int_equal(a.e.kind, ERR_DAMAGED);
	assert_string_equal(a.e.text, "/a.db is broken: not a database");
	w.m.generation = (struct generation){ "" };
	w.m.state = DB_WAITING;
	w.m.seen.why = NULL;
	w.m.seen.why_kind = ERR_NOTHING;
	assert_int_equal(ask(&a), REACH_NOT_YET);
	step_over((struct position){ 0, 0 }, true);
	assert_int_equal(a.result, REACH_CANNOT);
	assert_int_equal(a.e.kind, ERR_NOTHING);
	a = (struct one){ .calls = 0 };
	assert_int_equal(reach_position(&a.r, &w.d, "/b.db", LONG_US, over, &a.e), REACH_CANNOT);
	assert_int_equal(a.e.kind, ERR_NOTHING);
}

static void test_wait(void **state)
{
	struct one a, b, c;
	(void)state;
	assert_int_equal(wait_until(&a, one, 1, 4152, LONG_US), REACH_DONE);
	assert_int_equal(wait_until(&a, one, 0, 99999, LONG_US), REACH_DONE);
	assert_null(w.m.reaches);
	assert_int_equal(wait_until(&a, one, 1, 4153, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&b, one, 2, 32, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&c, one, 1, 8272, LONG_US), REACH_NOT_YET);
	assert_false(w.m.sweep || w.m.marked); /* who waits forces nothing */
	step_over((struct position){ 1, 8271 }, true);
	assert_int_equal(a.calls, 1);
	assert_int_equal(a.result, REACH_DONE);
	assert_int_equal(b.calls + c.calls, 0);
	step_over((struct position){ 2, 32 }, true);
	assert_int_equal(b.result, REACH_DONE);
	assert_int_equal(c.result, REACH_DONE);
	assert_int_equal(a.calls + b.calls + c.calls, 3);
}

static void test_other_generation(void **state)
{
	struct one a, b;
	(void)state;
	assert_int_equal(wait_until(&a, two, 0, 0, LONG_US), REACH_OTHER);
	assert_int_equal(a.e.kind, ERR_FAIL);
	assert_non_null(strstr(a.e.text, "0000000000000001/00000001:4152"));
	assert_non_null(strstr(a.e.text, "0000000000000002/00000000:0"));
	assert_int_equal(wait_until(&b, one, 5, 32, LONG_US), REACH_NOT_YET);
	w.m.generation = two;
	step_over((struct position){ 9, 32 }, true);
	assert_int_equal(b.result, REACH_OTHER);
	w.m.generation = (struct generation){ "" }; /* none is known yet */
	assert_int_equal(wait_until(&a, two, 0, 32, LONG_US), REACH_NOT_YET);
	w.m.generation = two;
	step_over((struct position){ 0, 32 }, true);
	assert_int_equal(a.result, REACH_DONE);
}

/* What its readers see counts, not what the database has captured; and a follower may be about to hear of a new
 * generation. */
static void test_follower(void **state)
{
	struct upstream up = { .m = &w.m, .lock = PTHREAD_MUTEX_INITIALIZER };
	struct one a, b, c;
	(void)state;
	w.m.up = &up;
	assert_int_equal(wait_until(&a, one, 1, 0, LONG_US), REACH_NOT_YET); /* nothing is here */
	assert_true(up.watched);
	up.seen = (struct upstream_seen){ .known = true, .generation = one, .applied = { 1, 100 } };
	reach_turn(&w.m);
	assert_int_equal(a.result, REACH_DONE);
	assert_int_equal(wait_until(&a, one, 1, 200, LONG_US), REACH_NOT_YET); /* captured is 4152 */
	assert_int_equal(wait_until(&b, two, 0, 50, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&c, two, 0, 50, 1000), REACH_NOT_YET);
	while (c.calls == 0)
		assert_int_equal(loop_turn(w.d.en.loop, 1000000, &w.e), 0);
	assert_int_equal(c.result, REACH_OTHER);
	assert_int_equal(a.calls + b.calls, 0);
	up.seen.generation = two;
	up.seen.applied = (struct position){ 0, 0 };
	reach_turn(&w.m);
	assert_int_equal(a.result, REACH_OTHER); /* it was in that one, and has left it */
	assert_int_equal(b.calls, 0);
	up.seen.applied.offset = 50;
	reach_turn(&w.m);
	assert_int_equal(b.result, REACH_DONE);
	w.m.up = NULL;
}

static void test_late(void **state)
{
	struct one a, b;
	(void)state;
	assert_int_equal(wait_until(&a, one, 1, 4153, 1000), REACH_NOT_YET);
	assert_int_equal(wait_until(&b, one, 1, 4153, LONG_US), REACH_NOT_YET);
	while (a.calls == 0)
		assert_int_equal(loop_turn(w.d.en.loop, 1000000, &w.e), 0);
	assert_int_equal(a.result, REACH_LATE);
	assert_int_equal(a.e.kind, ERR_DEADLINE);
	assert_non_null(strstr(a.e.text, "not yet at 0000000000000001/00000001:4153"));
	assert_int_equal(b.calls, 0);
	/* The position moved, and the deadline comes before the look at it. */
	assert_int_equal(wait_until(&a, one, 1, 4154, 1000), REACH_NOT_YET);
	w.m.captured.offset = 4154;
	while (a.calls == 0)
		assert_int_equal(loop_turn(w.d.en.loop, 1000000, &w.e), 0);
	assert_int_equal(a.result, REACH_DONE);
	reach_cancel(&b.r);
	reach_cancel(&b.r);
	assert_null(w.m.reaches);
	assert_int_equal(b.calls, 0);
}

static void test_leaves(void **state)
{
	struct one a, b;
	(void)state;
	assert_int_equal(wait_until(&a, one, 7, 0, LONG_US), REACH_NOT_YET);
	assert_int_equal(ask(&b), REACH_NOT_YET);
	reach_forget(&w.m);
	assert_null(w.m.reaches);
	assert_int_equal(a.result, REACH_CANNOT);
	assert_int_equal(a.e.kind, ERR_NOTHING);
	assert_int_equal(b.result, REACH_CANNOT);
}

/* The end of one takes others with it: whoever walks the list must not lose its way. */
static void test_one_ends_another(void **state)
{
	struct one a, b, c;
	(void)state;
	assert_int_equal(wait_until(&a, one, 2, 0, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&b, one, 2, 0, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&c, one, 2, 0, LONG_US), REACH_NOT_YET);
	a.cancels = &b;
	c.cancels = &b;
	step_over((struct position){ 2, 0 }, true);
	assert_int_equal(c.calls, 1);
	assert_int_equal(b.calls, 0);
	assert_int_equal(a.calls, 1);
	assert_null(w.m.reaches);
	assert_int_equal(wait_until(&a, one, 3, 0, LONG_US), REACH_NOT_YET);
	assert_int_equal(wait_until(&b, one, 4, 0, LONG_US), REACH_NOT_YET);
	a.cancels = &b; /* which goes on waiting */
	step_over((struct position){ 3, 0 }, true);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 0);
	assert_null(w.m.reaches);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_position, world, world_end),
		cmocka_unit_test_setup_teardown(test_no_position, world, world_end),
		cmocka_unit_test_setup_teardown(test_wait, world, world_end),
		cmocka_unit_test_setup_teardown(test_other_generation, world, world_end),
		cmocka_unit_test_setup_teardown(test_follower, world, world_end),
		cmocka_unit_test_setup_teardown(test_late, world, world_end),
		cmocka_unit_test_setup_teardown(test_leaves, world, world_end),
		cmocka_unit_test_setup_teardown(test_one_ends_another, world, world_end),
	};
	return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
