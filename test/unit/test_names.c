/* SPDX-License-Identifier: Apache-2.0
 *
 * daemon/names: what is added is found, what is removed is not, however many there are. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/names.h"

enum { MANY = 5000 };

static struct entry {
	struct named x;
	char name[32];
} all[MANY];

static void many(void **state)
{
	struct names t = { 0 };
	(void)state;
	assert_null(names_find(&t, "nobody"));
	for (int i = 0; i < MANY; i++) {
		snprintf(all[i].name, sizeof all[i].name, "/data/%d.db", i);
		all[i].x.owner = &all[i];
		assert_int_equal(names_add(&t, &all[i].x, all[i].name), 0);
	}
	assert_int_equal(t.n, MANY);
	for (int i = 0; i < MANY; i += 2)
		names_remove(&t, &all[i].x);
	names_remove(&t, &all[0].x); /* fine: it is in none */
	assert_int_equal(t.n, MANY / 2);
	for (int i = 0; i < MANY; i++) {
		struct named *x = names_find(&t, all[i].name);
		if (i % 2 == 0)
			assert_null(x);
		else
			assert_ptr_equal(x->owner, &all[i]);
	}
	assert_null(names_find(&t, "/data/1.d"));
	names_free(&t);
	assert_null(names_find(&t, all[1].name));
}

static void walks_that_change(void **state)
{
	struct names t = { 0 };
	struct named **list = names_all(&t);
	(void)state;
	assert_non_null(list);
	free(list);
	memset(all, 0, sizeof all);
	for (int i = 0; i < 100; i++) {
		snprintf(all[i].name, sizeof all[i].name, "%d", i);
		assert_int_equal(names_add(&t, &all[i].x, all[i].name), 0);
	}
	list = names_all(&t);
	for (int i = 0; i < 100; i++)
		names_remove(&t, list[i]);
	assert_int_equal(t.n, 0);
	free(list);
	names_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many),
		cmocka_unit_test(walks_that_change),
	};
	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
