/* SPDX-License-Identifier: Apache-2.0
 *
 * The hourly summary: sums over databases and replicas, what was told once is not told again, and what is 0 and
 * would be bad otherwise is left out. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/parts.h"

static const char *said(struct daemon *d)
{
	static char text[4096];
	int fds[2];
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	log_setup(LOG_INFO, false, fds[1]);
	summary_say(d);
	log_setup(LOG_INFO, false, 2);
	ssize_t n = read(fds[0], text, sizeof text - 1);
	text[n < 0 ? 0 : n] = 0;
	close(fds[0]);
	close(fds[1]);
	const char *at = strstr(text, " level=");
	return at ? at : "";
}

static void test_summary(void **state)
{
	static struct conf_db conf_a, conf_b;
	static struct conf_replica conf_r;
	static struct managed a, b;
	static struct shipper ships[2];
	struct managed *dbs[] = { &a, &b };
	struct daemon d = { .dbs = dbs, .n = 2 };
	(void)state;
	conf_a.path = conf_b.path = conf_r.name = conf_r.type = (char[]){ "x" };
	a = (struct managed){
		.conf = &conf_a, .ready = true, .state = DB_IDLE, .ships = &ships[0], .ships_n = 1
	};
	b = (struct managed){
		.conf = &conf_b, .ready = true, .state = DB_IDLE, .ships = &ships[1], .ships_n = 1
	};
	ships[0] = (struct shipper){ .m = &a, .conf = &conf_r };
	ships[1] = (struct shipper){ .m = &b, .conf = &conf_r };
	assert_string_equal(said(&d),
			    " level=INFO msg=\"summary of the last hour\" databases=2 commits=0 wal_bytes=0 "
			    "objects=0 stored_bytes=0 errors=0 spool_bytes=0 longest_hold_us=0\n");
	a.seen.commits = 10;
	b.seen.commits = 5;
	a.seen.wal_bytes = 4152;
	b.seen.spool_bytes = 77;
	a.seen.relay.longest_hold_us = 300;
	b.seen.relay.longest_hold_us = 200;
	ships[0].r.objects = 3;
	ships[0].r.stored_bytes = 1000;
	ships[1].n.errors = 4;
	ships[1].misses = 2;
	b.state = DB_GAP;
	b.seen.state_wall_us = 0;
	assert_string_equal(said(&d),
			    " level=INFO msg=\"summary of the last hour\" databases=2 gap=1 "
			    "replicas_failing=1 commits=15 wal_bytes=4152 objects=3 stored_bytes=1000 "
			    "errors=4 spool_bytes=77 longest_hold_us=300\n");
	b.state = DB_BROKEN;
	ships[1].misses = 0;
	a.seen.commits = 11;
	assert_string_equal(said(&d),
			    " level=INFO msg=\"summary of the last hour\" databases=2 broken=1 commits=1 "
			    "wal_bytes=0 objects=0 stored_bytes=0 errors=0 spool_bytes=77 "
			    "longest_hold_us=300\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_summary),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
