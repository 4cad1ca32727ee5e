/* SPDX-License-Identifier: Apache-2.0
 *
 * The service manager's socket: by path and in the abstract name space, what is sent, names that cannot be
 * used, and the watchdog's variables. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "rt/notify.h"

static char received[256];

/* A manager that listens at `name`, as NOTIFY_SOCKET gives it. */
static int listen_at(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0 && len < sizeof a.sun_path);
	memcpy(a.sun_path, name, len);
	if (*name == '@')
		a.sun_path[0] = 0;
	assert_int_equal(bind(fd, (struct sockaddr *)(void *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static const char *receive(int fd)
{
	ssize_t n = recv(fd, received, sizeof received - 1, 0);
	received[n < 0 ? 0 : n] = 0;
	return received;
}

static int clean(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

static void test_nobody(void **state)
{
	struct notify n;
	struct err e;
	(void)state;
	setenv("WATCHDOG_USEC", "1000000", 1);
	assert_int_equal(notify_open(&n, &e), 0);
	assert_false(notify_listens(&n));
	assert_int_equal(n.watchdog_us, 0);
	assert_true(notify_send(&n, "READY=1"));
	notify_close(&n);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_open(&n, &e), 0);
	assert_false(notify_listens(&n));
}

static void talk(const char *name)
{
	struct notify n;
	struct err e;
	int fd = listen_at(name);
	if (notify_open(&n, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(notify_listens(&n));
	assert_true(fcntl(n.fd, F_GETFD) & FD_CLOEXEC);
	assert_true(notify_send(&n, "READY=1\nSTATUS=gr\xc3\xbcn\n"));
	assert_string_equal(receive(fd), "READY=1\nSTATUS=gr\xc3\xbcn\n");
	int64_t before_us = mono_us(), told_us;
	assert_true(notify_reloading(&n));
	assert_int_equal(sscanf(receive(fd), "RELOADING=1\nMONOTONIC_USEC=%" SCNd64, &told_us), 1);
	assert_true(told_us >= before_us && told_us <= mono_us());
	assert_string_equal(receive(fd), "");
	close(fd);
	assert_false(notify_send(&n, "READY=1")); /* it has gone: nobody's error */
	notify_close(&n);
	assert_false(notify_listens(&n));
}

static void test_path(void **state)
{
	char dir[] = "/tmp/walbrook-notify.XXXXXX", path[64];
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/socket", dir);
	talk(path);
	unlink(path);
	rmdir(dir);
}

static void test_abstract(void **state)
{
	char name[64];
	(void)state;
	snprintf(name, sizeof name, "@walbrook-test-%d", getpid());
	talk(name);
}

static void test_bad_names(void **state)
{
	static char too_long[200];
	memset(too_long, 'x', sizeof too_long - 1);
	too_long[0] = '/';
	const char *const names[] = { "relative", "vsock:2:1234", "@", "/", too_long };
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct notify n;
		struct err e = ERR_INIT;
		setenv("NOTIFY_SOCKET", names[i], 1);
		assert_int_equal(notify_open(&n, &e), -1);
		assert_int_equal(e.kind, ERR_CONFIG);
		assert_non_null(strstr(e.text, names[i]));
		assert_false(notify_listens(&n));
		assert_true(notify_send(&n, "READY=1"));
	}
}

static void test_watchdog(void **state)
{
	static const struct {
		const char *usec, *pid; /* pid NULL: not set; "" : ours */
		int64_t want_us;
	} rows[] = { { "30000000", NULL, 30000000 },
		     { "30000000", "", 30000000 },
		     { "30000000", "1", 0 },
		     { "", NULL, 0 },
		     { "0", NULL, 0 },
		     { "-5", NULL, 0 },
		     { "5s", NULL, 0 },
		     { NULL, NULL, 0 },
		     { "99999999999999999999", NULL, 0 } };
	char ours[32], name[64];
	(void)state;
	snprintf(name, sizeof name, "@walbrook-test-%d", getpid());
	int fd = listen_at(name);
	snprintf(ours, sizeof ours, "%d", getpid());
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct notify n;
		struct err e;
		unsetenv("WATCHDOG_USEC");
		unsetenv("WATCHDOG_PID");
		if (rows[i].usec)
			setenv("WATCHDOG_USEC", rows[i].usec, 1);
		if (rows[i].pid)
			setenv("WATCHDOG_PID", *rows[i].pid ? rows[i].pid : ours, 1);
		assert_int_equal(notify_open(&n, &e), 0);
		assert_int_equal(n.watchdog_us, rows[i].want_us);
		notify_close(&n);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_nobody, clean),
		cmocka_unit_test_teardown(test_path, clean),
		cmocka_unit_test_teardown(test_abstract, clean),
		cmocka_unit_test_teardown(test_bad_names, clean),
		cmocka_unit_test_teardown(test_watchdog, clean),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
