/* SPDX-License-Identifier: Apache-2.0
 *
 * db/follow: real sources, real readers in other processes. Every test compares all pages that a reader sees
 * with all pages that a reader of the source sees. */
#include "followrig.h"

static const int page_sizes[] = { 512, 1024, 4096, 65536 };

static const char *numbered(const char *name, size_t k)
{
	static char bufs[4][32];
	static unsigned next;
	char *buf = bufs[next++ % 4];
	snprintf(buf, sizeof bufs[0], "%s%zu", name, k);
	return buf;
}

static void test_each_transaction(void **state)
{
	(void)state;
	for (size_t k = 0; k < sizeof page_sizes / sizeof *page_sizes; k++) {
		struct source s;
		struct followed followed, *d = &followed;
		source_begin(&s, numbered("src", k), page_sizes[k], "PRAGMA auto_vacuum=0");
		assert_int_equal(followed_open(d, numbered("dst", k)), FOLLOW_CONTENT);
		assert_false(exists(d->path));
		followed_content(d, &s);
		assert_same(d, &s);
		struct peer r = peer_open(d->path);
		for (int i = 0; i < 12; i++) {
			if (i == 5 || i == 8)
				source_restart(&s, i == 5 ? "TRUNCATE" : "RESTART");
			source_commit(&s, i * i * 300);
			follow_ok(followed_ship(d, &s, false));
			assert_position(d, &s);
			char want[64];
			snprintf(want, sizeof want, "%s", peer_do(&s.p, "SELECT seq FROM state"));
			assert_string_equal(peer_do(&r, "SELECT seq FROM state"), want);
		}
		assert_same(d, &s);
		assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
		follow_ok(follow_restart_log(&d->f, &d->e));
		assert_same(d, &s);
		peer_close(&r);
		follow_close(&d->f);
		peer_close(&s.p);
	}
}

int main(int argc, char **argv)
{
	followrig_functions();
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_transaction),
	};
	return cmocka_run_group_tests(tests, world_make, world_drop);
}
