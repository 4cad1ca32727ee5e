/* SPDX-License-Identifier: Apache-2.0
 *
 * The lag of the last minutes, with a clock of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/lag.h"

enum { S = 1000000 };
#define T0 (1000LL * LAG_SLOT_US) /* the beginning of a slot */

static uint32_t got[LAG_SLOTS];

/* The slot that was `ago` slots before that of now. */
static uint32_t at(int ago)
{
	return got[LAG_SLOTS - 1 - ago];
}

static void test_nothing_noted(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_read(&l, T0, got);
	assert_int_equal(at(0), 0); /* nothing is known to be behind */
	for (int i = 1; i < LAG_SLOTS; i++)
		assert_int_equal(at(i), LAG_UNKNOWN);
	lag_read(&l, 1, got); /* a machine that has just started: no slot is before the first */
	assert_int_equal(at(0), 0);
}

static void test_peak(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_note(&l, T0 + 1 * S, 0);
	lag_note(&l, T0 + 2 * S, T0 + 2 * S - 3000); /* a commit that is 3 ms old */
	lag_note(&l, T0 + 2 * S + 40000, 0);	     /* has arrived */
	lag_note(&l, T0 + 3 * S, T0 + 3 * S - 1000);
	lag_note(&l, T0 + 3 * S + 5000, 0);
	lag_read(&l, T0 + 4 * S, got);
	assert_int_equal(at(0), 43); /* the larger one of both */
	lag_read(&l, T0 + 6 * S, got);
	assert_int_equal(at(0), 0);
	assert_int_equal(at(1), 43);
	assert_int_equal(at(2), LAG_UNKNOWN);
}

static void test_quiet_times(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_note(&l, T0, 0);
	lag_note(&l, T0 + 60 * S, 0); /* nothing happened for twelve slots */
	lag_read(&l, T0 + 60 * S, got);
	for (int i = 0; i <= 12; i++)
		assert_int_equal(at(i), 0);
	assert_int_equal(at(13), LAG_UNKNOWN);
}

static void test_grows_by_itself(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_note(&l, T0, T0); /* behind from now on, and then nothing happens */
	lag_read(&l, T0 + 22 * S, got);
	assert_int_equal(at(0), 22000);
	assert_int_equal(at(1), 20000);
	assert_int_equal(at(2), 15000);
	assert_int_equal(at(4), 5000);
	assert_int_equal(at(5), LAG_UNKNOWN);
	lag_note(&l, T0 + 22 * S, 0); /* reading has changed nothing: it ends, and the same is there */
	lag_read(&l, T0 + 31 * S, got);
	assert_int_equal(at(0), 0);
	assert_int_equal(at(1), 0);
	assert_int_equal(at(2), 22000);
	assert_int_equal(at(3), 20000);
}

static void test_seen_late(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_note(&l, T0, 0);
	lag_note(&l, T0 + 21 * S, T0 + 8 * S); /* silence that is noticed only now */
	lag_read(&l, T0 + 21 * S, got);
	assert_int_equal(at(0), 13000);
	assert_int_equal(at(1), 12000);
	assert_int_equal(at(3), 2000);
	assert_int_equal(at(4), 0);
}

static void test_long_ago(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_note(&l, T0, T0 - 5 * S);
	lag_note(&l, T0 + 100000LL * S, 0);
	lag_read(&l, T0 + 100000LL * S, got);
	assert_int_equal(at(0), 100005000);
	assert_int_equal(at(1), 100000000 + 5000);
	assert_int_equal(at(LAG_SLOTS - 1), 100005000 - (LAG_SLOTS - 2) * 5000);
	lag_note(&l, T0 + 100001LL * S, 1); /* older than a number can say */
	lag_read(&l, T0 + 100001LL * S + 5000000LL * S, got);
	assert_int_equal(at(0), LAG_UNKNOWN - 1);
	lag_note(&l, T0, 0); /* the clock does not go back; if it does, nothing breaks */
}

static void test_samples(void **state)
{
	struct lag l = { .noted_us = 0 };
	(void)state;
	lag_read(&l, T0, got);
	lag_sample(&l, T0, 0);
	lag_sample(&l, T0 + 1 * S, 250000);
	lag_sample(&l, T0 + 2 * S, 0);
	lag_read(&l, T0 + 2 * S, got);
	assert_int_equal(at(0), 250);
	assert_int_equal(at(1), LAG_UNKNOWN);
	lag_sample(&l, T0 + 21 * S, 3000); /* nobody looked for three slots */
	lag_read(&l, T0 + 31 * S, got);
	assert_int_equal(at(0), LAG_UNKNOWN);
	assert_int_equal(at(1), LAG_UNKNOWN);
	assert_int_equal(at(2), 3);
	assert_int_equal(at(3), LAG_UNKNOWN);
	assert_int_equal(at(5), LAG_UNKNOWN);
	assert_int_equal(at(6), 250);
	lag_sample(&l, T0 + 10000LL * S, 1000); /* longer than all that is kept */
	lag_read(&l, T0 + 10000LL * S, got);
	assert_int_equal(at(0), 1);
	for (int i = 1; i < LAG_SLOTS; i++)
		assert_int_equal(at(i), LAG_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_noted), cmocka_unit_test(test_peak),
		cmocka_unit_test(test_quiet_times),   cmocka_unit_test(test_grows_by_itself),
		cmocka_unit_test(test_seen_late),     cmocka_unit_test(test_long_ago),
		cmocka_unit_test(test_samples),
	};
	return cmocka_run_group_tests_name("lag", tests, NULL, NULL);
}
