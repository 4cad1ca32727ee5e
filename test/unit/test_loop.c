/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: order of timers under random additions, moves and cancellations; descriptors that go while their
 * event is fetched; wakes from threads and from a signal handler; hooks; stopping; and signals as events. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "rt/loop.h"
#include "rt/signals.h"

static struct loop *l;

static int start(void **state)
{
	struct err e;
	(void)state;
	return loop_new(&l, &e);
}

static int end(void **state)
{
	(void)state;
	loop_free(l);
	return 0;
}

static void turn(int64_t max_us)
{
	struct err e = ERR_INIT;
	if (loop_turn(l, max_us, &e) < 0)
		fail_msg("%s", e.text);
}

/* ---- timers ---- */

enum { TIMERS = 2000 };
static struct row {
	struct loop_timer t;
	int fired;
} rows[TIMERS];
static int64_t last_at;
static uint64_t last_order;
static int fired_n;

static void on_row(struct loop_timer *t)
{
	struct row *r = (struct row *)(void *)t;
	assert_false(t->set);
	assert_true(t->at_us > last_at || (t->at_us == last_at && t->order > last_order));
	last_at = t->at_us;
	last_order = t->order;
	r->fired++;
	fired_n++;
}

static uint64_t random_next(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15u);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void test_timer_order(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t s = seed;
		int set = 0;
		memset(rows, 0, sizeof rows);
		for (int i = 0; i < 3 * TIMERS; i++) {
			struct row *r = &rows[random_next(&s) % TIMERS];
			r->t.fire = on_row;
			if (random_next(&s) % 4 == 0)
				loop_timer_cancel(l, &r->t);
			else
				loop_timer_set(l, &r->t, (int64_t)(random_next(&s) % 500) + 1);
		}
		for (int i = 0; i < TIMERS; i++)
			set += rows[i].t.set;
		last_at = 0;
		last_order = 0;
		fired_n = 0;
		turn(0);
		assert_true(set > 100);
		assert_int_equal(fired_n, set);
		for (int i = 0; i < TIMERS; i++)
			assert_true(rows[i].fired <= 1 && !rows[i].t.set);
	}
}

static struct loop_timer a, b;
static int a_fired, b_fired;

static void on_a(struct loop_timer *t)
{
	(void)t;
	a_fired++;
	loop_timer_cancel(l, &b);
}

static void on_b(struct loop_timer *t)
{
	b_fired++;
	loop_timer_set(l, t, 0); /* always due */
}

static void test_timer_callbacks(void **state)
{
	(void)state;
	a = (struct loop_timer){ .fire = on_a };
	b = (struct loop_timer){ .fire = on_b };
	loop_timer_set(l, &a, 1);
	loop_timer_set(l, &b, 2);
	turn(0);
	assert_int_equal(a_fired, 1);
	assert_int_equal(b_fired, 0); /* cancelled by a, in the same turn */
	loop_timer_cancel(l, &b);
	loop_timer_set(l, &b, 2);
	turn(-1);
	assert_int_equal(b_fired, 1); /* not for ever */
	turn(-1);
	assert_int_equal(b_fired, 2);
	loop_timer_cancel(l, &b);
}

static void on_nothing(struct loop_timer *t)
{
	(void)t;
}

static void test_timer_waits(void **state)
{
	struct loop_timer t = { .fire = on_nothing };
	(void)state;
	for (int i = 0; i < 20; i++) {
		int64_t at = mono_us() + 700;
		loop_timer_set(l, &t, at);
		while (t.set)
			turn(-1);
		assert_true(mono_us() >= at);
		assert_true(loop_now_us(l) >= at);
	}
	int64_t before = mono_us();
	turn(2000);
	assert_true(mono_us() - before >= 1900);
}

/* ---- descriptors ---- */

static struct loop_fd readers[2];
static int got[2];

static void on_reader(struct loop_fd *f, uint32_t events)
{
	assert_true(events & EPOLLIN);
	got[f - readers]++;
	/* The other one's event is in the same batch, and its struct may be gone now. */
	struct loop_fd *other = &readers[f == readers];
	if (other->fd >= 0) {
		loop_fd_remove(l, other);
		close(other->fd);
		other->fd = -1;
	}
}

static void test_remove_in_batch(void **state)
{
	int p[2][2];
	struct err e;
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(p[i]), 0);
		readers[i] = (struct loop_fd){ .fd = p[i][0], .ready = on_reader };
		assert_int_equal(loop_fd_add(l, &readers[i], EPOLLIN, &e), 0);
		assert_int_equal(write(p[i][1], "x", 1), 1);
	}
	turn(-1);
	assert_int_equal(got[0] + got[1], 1);
	int left = readers[0].fd >= 0 ? 0 : 1;
	assert_int_equal(loop_fd_change(l, &readers[left], 0, &e), 0);
	turn(0);
	assert_int_equal(got[0] + got[1], 1); /* not asked for */
	loop_fd_remove(l, &readers[left]);
	close(readers[left].fd);
	close(p[0][1]);
	close(p[1][1]);
	assert_int_equal(loop_fd_add(l, &(struct loop_fd){ .fd = -1 }, EPOLLIN, &e), -1);
	assert_true(strstr(e.text, "descriptor") != NULL);
}

/* ---- waking, hooks, stopping ---- */

enum { THREADS = 4, WAKES = 5000 };
static atomic_int posted;
static int seen, hooks_run, slept;

static void on_hook(struct loop_hook *h)
{
	(void)h;
	hooks_run++;
	seen += atomic_exchange(&posted, 0);
	if (seen == THREADS * WAKES)
		loop_stop(l);
}

static void on_sleep(void *arg)
{
	assert_ptr_equal(arg, &slept);
	slept++;
}

static void *poster(void *arg)
{
	(void)arg;
	for (int i = 0; i < WAKES; i++) {
		atomic_fetch_add(&posted, 1);
		loop_wake(l);
	}
	return NULL;
}

/* Not one post is overlooked: the loop would sleep for ever. */
static void test_wake(void **state)
{
	pthread_t t[THREADS];
	struct loop_hook h = { .run = on_hook };
	struct err e;
	(void)state;
	loop_hook_add(l, &h);
	loop_before_sleep(l, on_sleep, &slept);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, poster, NULL), 0);
	assert_int_equal(loop_run(l, &e), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(seen, THREADS * WAKES);
	assert_int_equal(slept, hooks_run);
	loop_hook_remove(l, &h);
	int before = hooks_run;
	turn(0);
	assert_int_equal(hooks_run, before);
	assert_int_equal(slept, hooks_run + 1);
	loop_before_sleep(l, NULL, NULL);
	loop_stop(l); /* before the run: it returns at once, and the next one is not stopped by it */
	assert_int_equal(loop_run(l, &e), 0);
}

static struct loop_hook h1, h2, h3;
static int order[8], order_n;

static void on_ordered(struct loop_hook *h)
{
	order[order_n++] = h == &h1 ? 1 : h == &h2 ? 2 : 3;
	if (h == &h1) { /* itself and the next one */
		loop_hook_remove(l, &h1);
		loop_hook_remove(l, &h2);
	}
}

static void test_hooks_change(void **state)
{
	(void)state;
	h1.run = h2.run = h3.run = on_ordered;
	loop_hook_add(l, &h1);
	loop_hook_add(l, &h2);
	loop_hook_add(l, &h3);
	turn(0);
	assert_int_equal(order_n, 2);
	assert_int_equal(order[0], 1);
	assert_int_equal(order[1], 3);
	loop_hook_remove(l, &h3);
}

static void on_usr1(int signo)
{
	(void)signo;
	loop_stop(l);
}

static void test_wake_from_signal(void **state)
{
	struct sigaction act = { .sa_handler = on_usr1 }, old;
	struct err e;
	(void)state;
	sigaction(SIGUSR1, &act, &old);
	raise(SIGUSR1);
	assert_int_equal(loop_run(l, &e), 0);
	sigaction(SIGUSR1, &old, NULL);
}

/* ---- signals ---- */

static int signals_seen[65];

static void on_signal(void *arg, int signo)
{
	assert_null(arg);
	signals_seen[signo]++;
}

static void test_signals(void **state)
{
	struct signals s;
	struct err e;
	(void)state;
	signals_block();
	assert_int_equal(signals_open(&s, l, on_signal, NULL, &e), 0);
	kill(getpid(), SIGTERM);
	kill(getpid(), SIGHUP);
	kill(getpid(), SIGPIPE);
	turn(0);
	turn(0);
	turn(0);
	assert_int_equal(signals_seen[SIGTERM], 1);
	assert_int_equal(signals_seen[SIGHUP], 1);
	assert_false(sigismember(signals_mask_before(), SIGTERM));
	signals_close(&s);
	signals_close(&s);
	kill(getpid(), SIGINT); /* blocked, and nobody asks: waits */
	turn(0);
	assert_int_equal(signals_open(&s, l, on_signal, NULL, &e), 0);
	turn(0);
	assert_int_equal(signals_seen[SIGINT], 1);
	signals_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_timer_order, start, end),
		cmocka_unit_test_setup_teardown(test_timer_callbacks, start, end),
		cmocka_unit_test_setup_teardown(test_timer_waits, start, end),
		cmocka_unit_test_setup_teardown(test_remove_in_batch, start, end),
		cmocka_unit_test_setup_teardown(test_wake, start, end),
		cmocka_unit_test_setup_teardown(test_hooks_change, start, end),
		cmocka_unit_test_setup_teardown(test_wake_from_signal, start, end),
		cmocka_unit_test_setup_teardown(test_signals, start, end),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
