/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: every task runs once and is done once on the loop's thread; urgent ones first; long ones never take
 * all workers; freeing waits for all and refuses new ones. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "rt/pool.h"

static struct loop *l;
static struct pool *p;
static pthread_t loop_thread;

static void start(unsigned workers)
{
	struct err e;
	loop_thread = pthread_self();
	assert_int_equal(loop_new(&l, &e), 0);
	assert_int_equal(pool_new(l, workers, &p, &e), 0);
	assert_int_equal(pool_count(p).threads, 0);
}

static void end(void)
{
	pool_free(p);
	loop_free(l);
}

static void wait_until_out_is(size_t n)
{
	struct err e;
	while (pool_out(p) > n)
		assert_int_equal(loop_turn(l, -1, &e), 0);
}

static void submit(struct task *t)
{
	struct err e = ERR_INIT;
	if (pool_submit(p, t, &e) < 0)
		fail_msg("%s", e.text);
}

/* ---- many tasks, each again a few times from its own done ---- */

struct job {
	struct task t;
	atomic_int ran;
	int done, again;
};

static int run_job(struct task *t)
{
	struct job *j = (struct job *)(void *)t;
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	if (pthread_equal(pthread_self(), loop_thread) || !sigismember(&mask, SIGTERM))
		return -1;
	return atomic_fetch_add(&j->ran, 1) + 1;
}

static void done_job(struct task *t)
{
	struct job *j = (struct job *)(void *)t;
	assert_true(pthread_equal(pthread_self(), loop_thread));
	j->done++;
	assert_int_equal(t->rc, j->done);
	if (j->again-- > 0)
		submit(t);
}

static void test_all_run_once(void **state)
{
	enum { JOBS = 2000, AGAIN = 3 };
	static struct job jobs[JOBS];
	(void)state;
	start(4);
	for (int i = 0; i < JOBS; i++) {
		jobs[i].t = (struct task){ .run = run_job,
					   .done = done_job,
					   .class = i % 3 ? TASK_QUICK : TASK_LONG };
		jobs[i].t.urgent = i % 5 == 0;
		jobs[i].again = AGAIN;
		submit(&jobs[i].t);
	}
	assert_true(pool_out(p) == JOBS);
	wait_until_out_is(0);
	struct pool_counts c = pool_count(p);
	assert_int_equal(c.queued + c.running + c.finished, 0);
	assert_true(c.threads >= 1 && c.threads <= 4);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].ran, AGAIN + 1);
		assert_int_equal(jobs[i].done, AGAIN + 1);
	}
	end();
}

/* ---- tasks that wait for the test ---- */

struct gate {
	struct task t;
	sem_t may_go;
	int id;
	bool done;
};
static int sequence[16];
static atomic_int sequence_n, inside_long, inside_long_max;

static int run_gate(struct task *t)
{
	struct gate *g = (struct gate *)(void *)t;
	sequence[atomic_fetch_add(&sequence_n, 1)] = g->id;
	if (t->class == TASK_LONG) {
		int now = atomic_fetch_add(&inside_long, 1) + 1;
		if (now > inside_long_max)
			inside_long_max = now;
	}
	while (sem_wait(&g->may_go) < 0)
		;
	if (t->class == TASK_LONG)
		atomic_fetch_sub(&inside_long, 1);
	return 0;
}

static void done_gate(struct task *t)
{
	((struct gate *)(void *)t)->done = true;
}

static void gate_init(struct gate *g, int id, enum task_class class, bool urgent)
{
	*g = (struct gate){ .t = { .run = run_gate, .done = done_gate, .class = class, .urgent = urgent },
			    .id = id };
	sem_init(&g->may_go, 0, 0);
}

static void wait_for_running(size_t n)
{
	while (pool_count(p).running != n)
		sleep_us(200);
}

static void test_urgent_first(void **state)
{
	struct gate g[5];
	(void)state;
	start(1);
	sequence_n = 0;
	gate_init(&g[0], 0, TASK_QUICK, false);
	submit(&g[0].t);
	wait_for_running(1);
	gate_init(&g[1], 1, TASK_QUICK, false);
	gate_init(&g[2], 2, TASK_LONG, false);
	gate_init(&g[3], 3, TASK_QUICK, true);
	gate_init(&g[4], 4, TASK_QUICK, true);
	for (int i = 1; i < 5; i++)
		submit(&g[i].t);
	assert_int_equal(pool_count(p).queued, 4);
	for (int i = 0; i < 5; i++)
		sem_post(&g[i].may_go);
	wait_until_out_is(0);
	static const int want[] = { 0, 3, 4, 1, 2 };
	for (int i = 0; i < 5; i++)
		assert_int_equal(sequence[i], want[i]);
	end();
}

static void test_long_leave_room(void **state)
{
	struct gate longs[5], quick[2];
	(void)state;
	start(4);
	sequence_n = 0;
	inside_long_max = 0;
	for (int i = 0; i < 5; i++) {
		gate_init(&longs[i], 10 + i, TASK_LONG, true);
		submit(&longs[i].t);
	}
	wait_for_running(2); /* of 4 workers 2 are kept free */
	sleep_us(20000);
	assert_int_equal(pool_count(p).running, 2);
	for (int i = 0; i < 2; i++) {
		gate_init(&quick[i], i, TASK_QUICK, false);
		submit(&quick[i].t);
	}
	wait_for_running(4);
	assert_int_equal(pool_count(p).threads, 4);
	for (int i = 0; i < 2; i++)
		sem_post(&quick[i].may_go);
	wait_until_out_is(5);
	assert_true(quick[0].done && quick[1].done);
	for (int i = 0; i < 5; i++)
		sem_post(&longs[i].may_go);
	wait_until_out_is(0);
	assert_int_equal(inside_long_max, 2);
	end();
}

static struct gate late;

static void done_submits(struct task *t)
{
	struct err e = ERR_INIT;
	done_gate(t);
	assert_int_equal(pool_submit(p, &late.t, &e), -1);
	assert_int_equal(e.kind, ERR_BUSY);
}

/* Some run, more wait (long ones beyond their limit too): all are carried out, nothing new is taken. */
static void test_free_waits(void **state)
{
	struct gate g[8];
	(void)state;
	start(3);
	sequence_n = 0;
	gate_init(&late, 99, TASK_QUICK, false);
	for (int i = 0; i < 8; i++) {
		gate_init(&g[i], i, i % 2 ? TASK_LONG : TASK_QUICK, false);
		g[i].t.done = done_submits;
		sem_post(&g[i].may_go);
		submit(&g[i].t);
	}
	pool_free(p);
	for (int i = 0; i < 8; i++)
		assert_true(g[i].done);
	assert_int_equal(sequence_n, 8);
	loop_free(l);
}

static void *post_later(void *arg)
{
	struct gate *g = arg;
	sleep_us(20000);
	sem_post(&g[0].may_go);
	sem_post(&g[1].may_go);
	return NULL;
}

/* While it waits, idle workers cannot take the long task that is queued behind another; they end all the same.
 */
static void test_free_with_idle(void **state)
{
	struct gate g[2], quick[3];
	pthread_t helper;
	(void)state;
	start(3);
	sequence_n = 0;
	for (int i = 0; i < 3; i++) {
		gate_init(&quick[i], i, TASK_QUICK, false);
		submit(&quick[i].t);
	}
	wait_for_running(3);
	for (int i = 0; i < 3; i++)
		sem_post(&quick[i].may_go);
	wait_until_out_is(0);
	for (int i = 0; i < 2; i++) {
		gate_init(&g[i], 10 + i, TASK_LONG, false);
		submit(&g[i].t);
	}
	wait_for_running(1);
	assert_int_equal(pthread_create(&helper, NULL, post_later, g), 0);
	pool_free(p);
	assert_true(g[0].done && g[1].done);
	pthread_join(helper, NULL);
	loop_free(l);
}

static void test_never_used(void **state)
{
	(void)state;
	start(8);
	end();
	pool_free(NULL);
	loop_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_run_once),	cmocka_unit_test(test_urgent_first),
		cmocka_unit_test(test_long_leave_room), cmocka_unit_test(test_free_waits),
		cmocka_unit_test(test_free_with_idle),	cmocka_unit_test(test_never_used),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
