/* SPDX-License-Identifier: Apache-2.0
 *
 * net/httpd: addresses as people write them, ports that are taken, and requests whose sender ends before they
 * are whole. What it answers is test/e2e/38-metrics.t. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"

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
		assert_non_null(strstr(e.text, "Install it")); /* and it says what to do */
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

/* ---- requests ---- */

static void size_of_body(void *arg, const struct httpd_request *q, struct httpd_answer *ret)
{
	unsigned *calls = arg;
	*calls += !q->body_comes;
	if (q->body_comes)
		ret->body_most = 1 << 20;
	else
		dyn_addf(&ret->body, "%s %s %zu", q->method, q->path, q->body.n);
}

static int connect_to(const struct httpd *h)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)httpd_port(h)),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)(void *)&at, sizeof at), 0);
	return fd;
}

/* Everything that comes until the server closes, while the loop turns; -1: it has not closed after so long. */
static ssize_t all_of(struct loop *l, int fd, char *buf, size_t size)
{
	enum { MOST_US = 15000000 }; /* half of what a request may take */
	struct err e;
	size_t n = 0;
	for (int64_t until_us = mono_us() + MOST_US; mono_us() < until_us;) {
		assert_int_equal(loop_turn(l, 10000, &e), 0);
		ssize_t got = recv(fd, buf + n, size - 1 - n, MSG_DONTWAIT);
		n += got > 0 ? (size_t)got : 0;
		buf[n] = 0;
		if (got == 0)
			return (ssize_t)n;
	}
	return -1;
}

static void requests_whose_sender_ends(void **state)
{
	(void)state;
	enum { BODY_BYTES = 200000 };
	static char body[BODY_BYTES + 200];
	static const struct {
		const char *head;
		size_t body_bytes;  /* that are sent */
		bool later;	    /* the end comes in a segment of its own */
		const char *answer; /* NULL: none, only the end */
	} cases[] = {
		{ "GET /a HTTP/1.1\r\nHost: x\r\n", 0, false, NULL },
		{ "GET /a HTTP/1.1\r\nHost: x\r\n", 0, true, NULL },
		{ "GET /a", 0, false, NULL },
		{ "", 0, false, NULL },
		{ "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", BODY_BYTES - 1, false,
		  NULL },
		{ "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", 0, true, NULL },
		{ "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n", BODY_BYTES, false,
		  "POST /a 200000" },
		{ "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", 0, false, "GET /a 0" },
		{ "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n", 0, false,
		  "GET /b 0" },
		{ "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /b", 0, false, "GET /a 0" },
	};
	struct err e = ERR_INIT;
	struct loop *l;
	struct httpd *h;
	unsigned calls = 0;
	assert_int_equal(loop_new(&l, &e), 0);
	const struct httpd_options o = { .address = "127.0.0.1:0" };
	if (httpd_open(l, &o, size_of_body, &calls, &h, &e) < 0) {
		loop_free(l);
		skip();
	}
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char got[4000] = "";
		int fd = connect_to(h);
		size_t n = strlen(cases[i].head);
		memset(body, 'x', sizeof body);
		memcpy(body, cases[i].head, n);
		n += cases[i].body_bytes;
		calls = 0;
		for (size_t at = 0; at < n;) {
			ssize_t sent = send(fd, body + at, n - at, MSG_DONTWAIT);
			at += sent > 0 ? (size_t)sent : 0;
			if (sent < 0)
				assert_int_equal(loop_turn(l, 1000, &e), 0);
		}
		for (int turn = 0; turn < 20 && cases[i].later; turn++)
			assert_int_equal(loop_turn(l, 1000, &e), 0);
		shutdown(fd, SHUT_WR);
		if (all_of(l, fd, got, sizeof got) < 0)
			fail_msg("case %zu: it stays open", i);
		if (cases[i].answer && !strstr(got, cases[i].answer))
			fail_msg("case %zu: \"%s\"", i, got);
		assert_true(cases[i].answer ? calls > 0 : calls == 0);
		close(fd);
	}
	httpd_close(h);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(requests_whose_sender_ends),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("httpd", tests, NULL, NULL);
}
