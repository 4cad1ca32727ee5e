/* SPDX-License-Identifier: Apache-2.0
 *
 * base/crypto.c where there is no libcrypto: it says what to install, each time it is asked. (What it does
 * where there is one, test_age tells.) */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define CRYPTO_LIBRARY "libcrypto-that-is-not-there.so.3"
#include "base/crypto.c"

static void test_missing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct err e = ERR_INIT;
		assert_int_equal(crypto_load(&e), -1);
		assert_int_equal(e.kind, ERR_FAIL);
		assert_non_null(strstr(e.text, CRYPTO_LIBRARY));
		assert_non_null(strstr(e.text, "libssl3"));
	}
}

static void test_random(void **state)
{
	uint8_t a[300] = { 0 }, b[300] = { 0 };
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(crypto_random(a, sizeof a, &e), 0);
	assert_int_equal(crypto_random(b, sizeof b, &e), 0);
	assert_memory_not_equal(a, b, sizeof a);
	crypto_wipe(a, sizeof a);
	crypto_wipe(b, sizeof b);
	assert_memory_equal(a, b, sizeof a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_random),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
