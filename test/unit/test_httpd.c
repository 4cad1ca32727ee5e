/* SPDX-License-Identifier: Apache-2.0
 *
 * net/httpd: addresses as people write them, and ports that are taken. What it answers is
 * test/e2e/38-metrics.t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/httpd.h"

static void test_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *host; /* NULL: refused */
		unsigned port;
	} cases[] = {
		{ ":9090", "", 9090 },
		{ "127.0.0.1:80", "127.0.0.1", 80 },
		{ "[::1]:9090", "::1", 9090 },
		{ "[::]:0", "::", 0 },
		{ "example.org:65535", "example.org", 65535 },
		{ "9090", NULL, 0 },
		{ "localhost", NULL, 0 },
		{ "localhost:", NULL, 0 },
		{ "localhost:http", NULL, 0 },
		{ "localhost:65536", NULL, 0 },
		{ "localhost:-1", NULL, 0 },
		{ "::1:9090", NULL, 0 },
		{ "[::1]", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "", NULL, 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char host[HTTPD_HOST_BYTES];
		unsigned port;
		struct err e = ERR_INIT;
		int rc = httpd_address(cases[i].text, host, &port, &e);
		if (!cases[i].host) {
			assert_int_equal(rc, -1);
			assert_int_equal(e.kind, ERR_CONFIG);
			continue;
		}
		assert_int_equal(rc, 0);
		assert_string_equal(host, cases[i].host);
		assert_int_equal(port, cases[i].port);
	}
}

static void nobody(void *arg, const struct httpd_request *q, struct httpd_answer *ret)
{
	(void)arg;
	(void)q;
	(void)ret;
}

static int open_at(struct loop *l, const char *address, struct httpd **ret, struct err *e)
{
	return httpd_open(l, &(struct httpd_options){ .address = address }, nobody, NULL, ret, e);
}

static void test_taken(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct loop *l;
	struct httpd *one, *two = NULL;
	char address[32];
	assert_int_equal(loop_new(&l, &e), 0);
	if (open_at(l, "127.0.0.1:0", &one, &e) < 0) {
		assert_non_null(strstr(e.text, "apt install")); /* not installed, and it says what to do */
		loop_free(l);
		skip();
	}
	assert_false(httpd_is_public(one));
	snprintf(address, sizeof address, "127.0.0.1:%u", httpd_port(one));
	assert_int_equal(open_at(l, address, &two, &e), -1);
	assert_int_equal(e.kind, ERR_BUSY);
	assert_int_equal(open_at(l, "192.0.2.1:0", &two, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(open_at(l, ":0", &two, &e), 0);
	assert_true(httpd_is_public(two));
	httpd_close(two);
	httpd_close(one);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_taken),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("httpd", tests, NULL, NULL);
}
