/* SPDX-License-Identifier: Apache-2.0
 *
 * net/client against a peer that says what the test wants, on the same thread: good answers, redirects, headers
 * without an end, bodies that are cut, nothing at all; and against net/httpd with certificates made here. Time
 * goes by when the test says so. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/client.h"
#include "net/httpd.h"

/* ---- the clock ---- */

static int64_t ahead_s, leap_s; /* leap: each look at the clock is so much later */

int clock_gettime(clockid_t id, struct timespec *t)
{
	long rc = syscall(SYS_clock_gettime, id, t);
	if (id == CLOCK_MONOTONIC)
		t->tv_sec += ahead_s += leap_s;
	return (int)rc;
}

/* ---- the peer ---- */

static struct {
	int listener, fd;
	unsigned port, connections;
	struct dyn asked;
	struct span says; /* when a whole head has come */
	bool said, closes;
} peer;

static int peer_open(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	(void)state;
	peer.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (bind(peer.listener, (struct sockaddr *)(void *)&at, n) < 0 || listen(peer.listener, 8) < 0 ||
	    getsockname(peer.listener, (struct sockaddr *)(void *)&at, &n) < 0)
		return -1;
	peer.port = ntohs(at.sin_port);
	peer.fd = -1;
	return 0;
}

static void peer_drop(void)
{
	if (peer.fd >= 0)
		close(peer.fd);
	peer.fd = -1;
	peer.said = false;
	dyn_free(&peer.asked);
	peer.asked = DYN_INIT(1 << 20);
}

static int peer_close(void **state)
{
	(void)state;
	peer_drop();
	close(peer.listener);
	return 0;
}

static void peer_expect(struct span says, bool closes)
{
	peer_drop();
	peer.says = says;
	peer.closes = closes;
	peer.connections = 0;
}

static void peer_turn(void)
{
	char buf[4096];
	int fd = accept4(peer.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		peer_drop();
		peer.fd = fd;
		peer.connections++;
	}
	if (peer.fd < 0)
		return;
	ssize_t n = recv(peer.fd, buf, sizeof buf, 0);
	if (n > 0)
		assert_int_equal(dyn_add(&peer.asked, buf, (size_t)n), 0);
	if (!peer.said && memmem(peer.asked.p, peer.asked.len, "\r\n\r\n", 4)) {
		peer.said = true;
		for (size_t at = 0; at < peer.says.n;) {
			n = send(peer.fd, peer.says.p + at, peer.says.n - at, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (n <= 0)
				break; /* the client has closed, or does not read on */
			at += (size_t)n;
		}
		if (peer.closes)
			shutdown(peer.fd, SHUT_WR);
	}
}

/* ---- a client ---- */

static struct {
	struct dyn body;
	enum err_kind refuse; /* the sink fails */
	int64_t takes_s;      /* the sink needs this */
} taken;

static int take(void *arg, struct span piece, struct err *e)
{
	(void)arg;
	ahead_s += taken.takes_s;
	if (taken.refuse)
		return err_set(e, taken.refuse, "it cannot be used");
	return dyn_add(&taken.body, piece.p, piece.n);
}

static struct client *client_for(const char *scheme, struct client_options o)
{
	char url[100];
	struct client *c;
	struct err e = ERR_INIT;
	snprintf(url, sizeof url, "%s://127.0.0.1:%u/ignored?x", scheme, peer.port);
	o.url = url;
	if (client_new(&o, &c, &e) < 0) {
		print_message("%s\n", e.text);
		skip(); /* not installed */
	}
	return c;
}

static void begin(struct client *c, struct client_request q)
{
	struct err e = ERR_INIT;
	dyn_free(&taken.body);
	taken.body = DYN_INIT(1 << 20);
	if (!q.target)
		q.target = "/stream?path=/x";
	if (client_begin(c, &q, take, NULL, &e) < 0)
		fail_msg("%s", e.text);
}

/* Until it ends, in a bounded number of turns. */
static enum client_result end_of(struct client *c, struct err *e)
{
	enum client_result got = CLIENT_MORE;
	*e = ERR_INIT;
	for (int i = 0; i < 5000 && got == CLIENT_MORE; i++) {
		peer_turn();
		got = client_turn(c, 1000, e);
	}
	return got;
}

static struct span text(const char *s)
{
	return (struct span){ (const uint8_t *)s, strlen(s) };
}

static const char *body(void)
{
	assert_int_equal(dyn_add(&taken.body, "", 1), 0);
	return (const char *)taken.body.p;
}

static bool asked(const char *line)
{
	return memmem(peer.asked.p, peer.asked.len, line, strlen(line)) != NULL;
}

/* ---- answers ---- */

static void answers_that_are_good(void **state)
{
	struct err e;
	(void)state;
	setenv("http_proxy", "http://127.0.0.1:1", 1); /* is not asked */
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	struct client *c = client_for("http", (struct client_options){ .token = "secret-token" });
	peer_expect(text("HTTP/1.1 103 Early Hints\r\nLitestream-page-size: 512\r\n\r\n"
			 "HTTP/1.1 200 OK\r\nlitestream-page-size: 4096\r\nWalbrook-Stream: 1\r\n"
			 "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"),
		    false);
	begin(c, (struct client_request){ .lz4 = true });
	assert_int_equal(end_of(c, &e), CLIENT_END);
	assert_int_equal(client_answer(c)->status, 200);
	assert_int_equal(client_answer(c)->page_bytes, 4096);
	assert_true(client_answer(c)->extended);
	assert_string_equal(body(), "abcdefg");
	assert_int_equal(client_bytes(c), 7);
	assert_true(asked("GET /stream?path=/x HTTP/1.1\r\n"));
	assert_true(asked("\r\nAuthorization: Bearer secret-token\r\n"));
	assert_true(asked("\r\nAccept-Encoding: lz4\r\n"));
	assert_int_equal(client_turn(c, 0, &e), CLIENT_FAIL); /* nothing is under way */

	static const uint8_t bitmap[3] = { 1, 0, 255 };
	peer_expect(text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"), true);
	begin(c, (struct client_request){ .target = "/other", .body = bitmap, .body_bytes = 3 });
	begin(c, (struct client_request){ .body = bitmap, .body_bytes = 3 }); /* instead of that */
	assert_int_equal(end_of(c, &e), CLIENT_END);
	assert_string_equal(body(), "ok");
	assert_false(client_answer(c)->extended);
	assert_int_equal(client_answer(c)->page_bytes, 0);
	assert_true(asked("POST /stream?path=/x HTTP/1.1\r\n") && asked("\r\nContent-Length: 3\r\n"));
	assert_false(asked("Accept-Encoding: lz4") || asked("Expect:"));
	client_free(c);
	unsetenv("http_proxy");
	unsetenv("ALL_PROXY");
}

static void statuses_are_answers(void **state)
{
	static const struct {
		const char *says, *text;
		unsigned status;
	} cases[] = {
		{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 5\r\n\r\nthere",
		  "there", 302 },
		{ "HTTP/1.1 307 T\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", "", 307 },
		{ "HTTP/1.1 503 No\r\nContent-Length: 20\r\n\r\nnot \033[2Jready\r\nsecond", "not ?[2Jready",
		  503 },
		{ "HTTP/1.1 404 Not Found\r\n\r\nno such", "no such", 404 },
		{ "HTTP/1.1 204 None\r\n\r\n", "", 204 },
	};
	struct err e;
	(void)state;
	struct client *c = client_for("http", (struct client_options){ .token = "secret-token" });
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		peer_expect(text(cases[i].says), true);
		begin(c, (struct client_request){ .lz4 = false });
		if (end_of(c, &e) != CLIENT_END)
			fail_msg("case %zu: %s", i, e.text);
		assert_int_equal(client_answer(c)->status, cases[i].status);
		assert_string_equal(client_answer(c)->text, cases[i].text);
		assert_int_equal(taken.body.len, 0);
		assert_int_equal(peer.connections, 1); /* the token goes to nobody else */
	}
	client_free(c);
}

static void a_long_line_is_cut(void **state)
{
	static char says[2000] = "HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\n";
	struct err e;
	(void)state;
	memset(says + strlen(says), 'x', 1000);
	struct client *c = client_for("http", (struct client_options){ .token = NULL });
	peer_expect(text(says), true);
	begin(c, (struct client_request){ .lz4 = false });
	assert_int_equal(end_of(c, &e), CLIENT_END);
	assert_int_equal(strlen(client_answer(c)->text), sizeof client_answer(c)->text - 1);
	client_free(c);
}

/* A status that was damaged on its way, say: what comes with it has no end. */
static void a_refusal_without_an_end(void **state)
{
	static char stream[600000] = "HTTP/1.1 208 OK\r\nTransfer-Encoding: chunked\r\n\r\n80000\r\n";
	struct err e;
	(void)state;
	memset(stream + strlen(stream), 1, 500000);
	const char *const says[] = { stream, "HTTP/1.1 503 No\r\n\r\nnot ready\n",
				     "HTTP/1.1 404 No\r\n\r\nno" };
	struct client *c = client_for("http", (struct client_options){ .answer_us = 60000000 });
	leap_s = 1;
	for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
		peer_expect(text(says[i]), false);
		begin(c, (struct client_request){ .lz4 = false });
		if (end_of(c, &e) != CLIENT_END)
			fail_msg("case %zu: %s", i, e.text);
		assert_int_equal(taken.body.len, 0);
	}
	assert_string_equal(client_answer(c)->text, "no");
	leap_s = 0;
	client_free(c);
}

/* ---- what goes wrong ---- */

static void answers_that_are_none(void **state)
{
	static char headers[400000] = "HTTP/1.1 200 OK\r\nX-Long: ";
	memset(headers + strlen(headers), 'a', 390000);
	static const struct {
		const char *says;
		const char *body; /* what has come of it */
	} cases[] = {
		{ "", "" },
		{ "this is not HTTP\n", "" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", "0123456789" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfg", "abcdefg" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", "abcde" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n", "abcde" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", "" },
		{ headers, "" },
	};
	struct err e;
	(void)state;
	struct client *c = client_for("http", (struct client_options){ .token = "secret-token" });
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		peer_expect(text(cases[i].says), true);
		begin(c, (struct client_request){ .lz4 = false });
		if (end_of(c, &e) != CLIENT_FAIL)
			fail_msg("case %zu: it is taken", i);
		assert_int_equal(e.kind, ERR_UNREACHABLE);
		assert_non_null(strstr(e.text, "http://127.0.0.1:"));
		assert_null(strstr(e.text, "secret-token"));
		assert_string_equal(body(), cases[i].body);
	}
	/* A head that is cut is one for libcurl; nothing that was said in the rest of it counts. */
	peer_expect(text("HTTP/1.1 200 OK\r\nWalbrook-Stream: 1\r\nLitestream-page-si"), true);
	begin(c, (struct client_request){ .lz4 = false });
	assert_int_equal(end_of(c, &e), CLIENT_END);
	assert_int_equal(client_answer(c)->page_bytes, 0);
	assert_string_equal(body(), "");
	client_free(c);
}

static void nobody_there(void **state)
{
	struct err e;
	(void)state;
	struct client *c = client_for("http", (struct client_options){ .token = NULL });
	peer_close(NULL);
	begin(c, (struct client_request){ .lz4 = false });
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(client_answer(c)->status, 0);
	client_free(c);
	peer_open(NULL);
}

static void what_the_sink_says(void **state)
{
	struct err e;
	(void)state;
	struct client *c = client_for("http", (struct client_options){ .token = NULL });
	peer_expect(text("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"), false);
	taken.refuse = ERR_SPACE;
	begin(c, (struct client_request){ .lz4 = false });
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_SPACE);
	assert_string_equal(e.text, "it cannot be used");
	taken.refuse = ERR_NONE;
	client_free(c);
}

static void silence(void **state)
{
	struct err e;
	(void)state;
	struct client *c = client_for("http", (struct client_options){ .answer_us = 60000000 });
	peer_expect(text(""), false); /* is connected, and says nothing */
	begin(c, (struct client_request){ .lz4 = false });
	leap_s = 1;
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_DEADLINE);
	assert_non_null(strstr(e.text, "no answer for 60 s"));

	peer_expect(text("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789"), false);
	begin(c, (struct client_request){ .lz4 = false });
	client_silence(c, 15000000);
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_DEADLINE);
	assert_non_null(strstr(e.text, "nothing has come for 15 s"));
	assert_string_equal(body(), "0123456789");
	leap_s = 0;

	/* What the sink needs is no silence of the peer. */
	taken.takes_s = 100;
	peer_expect(text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"), false);
	begin(c, (struct client_request){ .lz4 = false });
	client_silence(c, 15000000);
	assert_int_equal(end_of(c, &e), CLIENT_END);
	taken.takes_s = 0;
	client_free(c);
}

/* ---- TLS ---- */

static void a_handshake_that_never_comes(void **state)
{
	struct err e;
	(void)state;
	struct client *c = client_for("https", (struct client_options){ .connect_us = 100000 });
	peer_expect(text(""), false);
	begin(c, (struct client_request){ .lz4 = false });
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_DEADLINE);
	client_free(c);
	c = client_for("https", (struct client_options){ .connect_us = 10000000 });
	peer_expect(text("HTTP/1.1 400 Bad Request\r\n\r\n"), true); /* speaks HTTP, not TLS */
	begin(c, (struct client_request){ .lz4 = false });
	for (int i = 0; i < 1000 && peer.asked.len == 0; i++) {
		peer_turn();
		client_turn(c, 1000, &e);
	}
	send(peer.fd, peer.says.p, peer.says.n, MSG_NOSIGNAL);
	assert_int_equal(end_of(c, &e), CLIENT_FAIL);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	client_free(c);
}

static void answer_hello(void *arg, const struct httpd_request *q, struct httpd_answer *ret)
{
	unsigned *calls = arg;
	(void)q;
	++*calls;
	dyn_addf(&ret->body, "hello");
}

static void certificates(void **state)
{
	char dir[] = "/tmp/wb-tls-XXXXXX", cmd[1000], ca[100], cert[100], key[100];
	struct err e = ERR_INIT;
	struct loop *l;
	struct httpd *h;
	unsigned calls = 0;
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(
		cmd, sizeof cmd,
		"cd %s && for n in here elsewhere; do openssl req -x509 -newkey ec -pkeyopt "
		"ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$n -addext subjectAltName=$([ $n = here ] && "
		"echo IP:127.0.0.1 || echo DNS:elsewhere.example) -keyout $n.key -out $n.pem || exit 1; done "
		">out 2>&1",
		dir);
	if (system(cmd) != 0)
		skip();
	/* The server's certificate, whom the client trusts (NULL: the system's), whether that is enough. */
	static const struct {
		const char *server, *trusted;
		bool good;
	} cases[] = {
		{ "here", "here", true },	{ "here", NULL, false },
		{ "here", "elsewhere", false }, { "elsewhere", "elsewhere", false }, /* it is of another host */
		{ "here", "missing", false },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(cert, sizeof cert, "%s/%s.pem", dir, cases[i].server);
		snprintf(key, sizeof key, "%s/%s.key", dir, cases[i].server);
		snprintf(ca, sizeof ca, "%s/%s.pem", dir, cases[i].trusted ? cases[i].trusted : "");
		assert_int_equal(loop_new(&l, &e), 0);
		const struct httpd_options o = { .address = "127.0.0.1:0",
						 .tls_cert_file = cert,
						 .tls_key_file = key };
		if (httpd_open(l, &o, answer_hello, &calls, &h, &e) < 0)
			fail_msg("%s", e.text);
		unsigned port = peer.port;
		peer.port = httpd_port(h);
		struct client *c =
			client_for("https", (struct client_options){ .token = "secret-token",
								     .ca_file = cases[i].trusted ? ca : NULL });
		peer.port = port;
		calls = 0;
		begin(c, (struct client_request){ .lz4 = false });
		enum client_result got = CLIENT_MORE;
		for (int n = 0; n < 5000 && got == CLIENT_MORE; n++) {
			assert_int_equal(loop_turn(l, 0, &e), 0);
			got = client_turn(c, 1000, &e);
		}
		if (got != (cases[i].good ? CLIENT_END : CLIENT_FAIL))
			fail_msg("case %zu: %d %s", i, got, e.text);
		assert_int_equal(calls, cases[i].good);
		if (!cases[i].good)
			assert_int_equal(e.kind, ERR_UNREACHABLE);
		client_free(c);
		httpd_close(h);
		loop_free(l);
	}
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

/* ---- texts ---- */

static void urls(void **state)
{
	static const char *const bad[] = { "",	      "localhost:80", "ftp://x",    "file:///etc/passwd",
					   "http://", "http:///x",    "http://a b", "https://x\n" };
	static const char *const here[] = { "http://localhost", "HTTP://LOCALHOST:80", "https://127.0.0.1:1",
					    "http://[::1]/" };
	static const char *const there[] = { "http://localhost.example", "http://192.0.2.1",
					     "http://[2001:db8::1]:1" };
	struct err e;
	struct client *c;
	char buf[20];
	(void)state;
	client_free(client_for("http", (struct client_options){ .token = NULL }));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(client_new(&(struct client_options){ .url = bad[i] }, &c, &e), -1);
		assert_int_equal(e.kind, ERR_CONFIG);
	}
	for (size_t i = 0; i < sizeof here / sizeof *here; i++)
		assert_true(client_is_loopback(here[i]));
	for (size_t i = 0; i < sizeof there / sizeof *there; i++)
		assert_false(client_is_loopback(there[i]));
	assert_int_equal(client_encode("/a b&c=%\xc3\xa4", buf, sizeof buf), -1);
	assert_int_equal(client_encode("/a b&=", buf, sizeof buf), 0);
	assert_string_equal(buf, "/a%20b%26%3D");
	assert_int_equal(client_encode("1234567890123456789", buf, sizeof buf), 0);
	assert_int_equal(client_encode("12345678901234567890", buf, sizeof buf), -1);
	assert_int_equal(client_encode("12345678901234567%", buf, sizeof buf), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_that_are_good),
		cmocka_unit_test(statuses_are_answers),
		cmocka_unit_test(a_long_line_is_cut),
		cmocka_unit_test(a_refusal_without_an_end),
		cmocka_unit_test(answers_that_are_none),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(what_the_sink_says),
		cmocka_unit_test(silence),
		cmocka_unit_test(a_handshake_that_never_comes),
		cmocka_unit_test(certificates),
		cmocka_unit_test(urls),
	};
	return cmocka_run_group_tests_name("net client", tests, peer_open, peer_close);
}
