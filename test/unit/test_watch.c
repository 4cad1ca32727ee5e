/* SPDX-License-Identifier: Apache-2.0
 *
 * File watches: one-shot and again, directories, several watches of one inode, files that are replaced or go,
 * lost events, callbacks that change the table, and many watches. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt/watch.h"

static char root[64];
static struct loop *l;
static struct watcher *w;
static int everything_n;

struct seen {
	struct watch x;
	int n;
	uint32_t mask;
	char name[256];
	struct seen *cancels; /* what the callback does */
	const char *arms;
};

static void on_everything(void *arg)
{
	assert_ptr_equal(arg, root);
	everything_n++;
}

static void on_change(struct watch *x, uint32_t mask, const char *name)
{
	struct seen *s = (struct seen *)(void *)x;
	struct err e;
	s->n++;
	s->mask |= mask;
	snprintf(s->name, sizeof s->name, "%s", name);
	if (s->cancels)
		watch_cancel(w, &s->cancels->x);
	if (s->arms)
		assert_int_equal(watch_arm(w, x, s->arms, WATCH_WRITES, &e), 0);
}

static int start(void **state)
{
	struct err e;
	(void)state;
	snprintf(root, sizeof root, "/tmp/wb-watch-XXXXXX");
	if (!mkdtemp(root) || loop_new(&l, &e) < 0)
		return -1;
	everything_n = 0;
	return watcher_new(l, on_everything, root, &w, &e);
}

static int end(void **state)
{
	char cmd[128];
	(void)state;
	watcher_free(w);
	loop_free(l);
	snprintf(cmd, sizeof cmd, "rm -rf '%.60s'", root);
	return system(cmd);
}

static const char *under(const char *name)
{
	static char bufs[4][128];
	static unsigned next;
	char *buf = bufs[next++ % 4];
	snprintf(buf, sizeof bufs[0], "%.60s/%.60s", root, name);
	return buf;
}

static void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void turns(void)
{
	struct err e;
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_turn(l, 0, &e), 0);
}

static void arm(struct seen *s, const char *path, uint32_t events)
{
	struct err e = ERR_INIT;
	s->x.changed = on_change;
	if (watch_arm(w, &s->x, path, events, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(s->x.armed);
}

static void test_oneshot(void **state)
{
	struct seen s = { 0 };
	struct err e;
	(void)state;
	assert_int_equal(watch_arm(w, &s.x, under("wal"), WATCH_WRITES, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, under("wal")));
	append(under("wal"));
	for (int i = 1; i <= 3; i++) {
		arm(&s, under("wal"), WATCH_WRITES);
		arm(&s, under("wal"), WATCH_WRITES); /* again: no harm */
		assert_int_equal(watch_count(w), 1);
		turns();
		assert_int_equal(s.n, i - 1);
		append(under("wal"));
		append(under("wal"));
		turns();
		assert_int_equal(s.n, i);
		assert_true(s.mask & IN_MODIFY);
		assert_false(s.x.armed);
		assert_int_equal(watch_count(w), 0);
	}
	append(under("wal"));
	turns();
	assert_int_equal(s.n, 3);
	assert_int_equal(truncate(under("wal"), 0), 0);
	arm(&s, under("wal"), WATCH_WRITES);
	append(under("wal"));
	watch_cancel(w, &s.x); /* the event is in the queue: not told any more */
	watch_cancel(w, &s.x);
	turns();
	assert_int_equal(s.n, 3);
}

/* Armed in the callback itself, while the kernel's word that the old one is gone is still to come. */
static void test_armed_in_callback(void **state)
{
	struct seen s = { 0 };
	(void)state;
	append(under("f"));
	s.arms = under("f");
	arm(&s, under("f"), WATCH_WRITES);
	for (int i = 1; i <= 20; i++) {
		append(under("f"));
		turns();
		assert_int_equal(s.n, i);
		assert_true(s.x.armed);
	}
	watch_cancel(w, &s.x);
}

static void test_replaced_and_gone(void **state)
{
	struct seen s = { 0 };
	(void)state;
	append(under("f"));
	arm(&s, under("f"), WATCH_WRITES);
	/* Another file takes the name; the old one lives on under another. Arming moves the watch. */
	assert_int_equal(link(under("f"), under("old")), 0);
	append(under("g"));
	assert_int_equal(rename(under("g"), under("f")), 0);
	arm(&s, under("f"), WATCH_WRITES);
	assert_int_equal(watch_count(w), 1);
	turns();
	s.n = 0;
	append(under("old"));
	turns();
	assert_int_equal(s.n, 0);
	append(under("f"));
	turns();
	assert_int_equal(s.n, 1);
	/* The file is removed: told as IN_IGNORED, and not armed any more. */
	arm(&s, under("f"), WATCH_WRITES);
	s.mask = 0;
	assert_int_equal(unlink(under("f")), 0);
	turns();
	assert_int_equal(s.n, 2);
	assert_true(s.mask & IN_IGNORED);
	assert_false(s.x.armed);
	/* Armed, renamed away: told. */
	arm(&s, under("old"), WATCH_WRITES);
	assert_int_equal(rename(under("old"), under("elsewhere")), 0);
	turns();
	assert_int_equal(s.n, 3);
	assert_true(s.mask & IN_MOVE_SELF);
}

static void test_directory(void **state)
{
	struct seen s = { 0 }, again = { 0 };
	struct err e;
	(void)state;
	append(under("file"));
	assert_int_equal(watch_arm(w, &s.x, under("file"), WATCH_NAMES, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE); /* not a directory */
	arm(&s, root, WATCH_NAMES);
	arm(&again, root, WATCH_NAMES); /* two databases in one directory */
	assert_int_equal(watch_count(w), 2);
	append(under("new"));
	turns();
	assert_int_equal(s.n, 1);
	assert_int_equal(again.n, 1);
	assert_string_equal(s.name, "new");
	assert_true(s.mask & IN_CREATE);
	assert_int_equal(rename(under("new"), under("newer")), 0);
	turns();
	assert_int_equal(s.n, 3);
	assert_string_equal(s.name, "newer");
	watch_cancel(w, &s.x); /* the other one keeps working */
	assert_int_equal(unlink(under("newer")), 0);
	turns();
	assert_int_equal(s.n, 3);
	assert_int_equal(again.n, 4);
	assert_true(again.mask & IN_DELETE);
	assert_int_equal(mkdir(under("d"), 0700), 0);
	arm(&s, under("d"), WATCH_NAMES);
	s.mask = 0;
	assert_int_equal(rmdir(under("d")), 0);
	turns();
	assert_true(s.mask & IN_IGNORED);
	assert_false(s.x.armed);
	assert_true(again.x.armed);
}

static void test_callback_cancels(void **state)
{
	struct seen s[3] = { 0 };
	(void)state;
	append(under("f"));
	for (int i = 0; i < 3; i++)
		arm(&s[i], under("f"), WATCH_WRITES);
	/* Whichever is called first takes the other two away. */
	for (int i = 0; i < 3; i++)
		s[i].cancels = &s[(i + 1) % 3];
	append(under("f"));
	turns();
	int told = s[0].n + s[1].n + s[2].n;
	assert_true(told >= 1 && told <= 2);
	assert_int_equal(watch_count(w), 0);
}

static struct seen newcomer;

static void on_change_arms_newcomer(struct watch *x, uint32_t mask, const char *name)
{
	struct seen *s = (struct seen *)(void *)x;
	(void)mask, (void)name;
	s->n++;
	if (!newcomer.x.armed)
		arm(&newcomer, root, WATCH_NAMES);
}

/* What is being told when a watch joins is not for it. */
static void test_callback_arms_another(void **state)
{
	struct seen s = { .x = { .changed = on_change_arms_newcomer } };
	struct err e;
	(void)state;
	newcomer = (struct seen){ 0 };
	assert_int_equal(watch_arm(w, &s.x, root, WATCH_NAMES, &e), 0);
	append(under("one"));
	turns();
	assert_int_equal(s.n, 1);
	assert_true(newcomer.x.armed);
	assert_int_equal(newcomer.n, 0);
	append(under("two"));
	turns();
	assert_int_equal(s.n, 2);
	assert_int_equal(newcomer.n, 1);
}

/* More events than the queue holds, to a directory watch; a one-shot watch is lost with them and armed again.
 */
static void test_overflow(void **state)
{
	struct seen dir = { 0 }, file = { 0 };
	int max = 0;
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
	(void)state;
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &max), 1);
	fclose(f);
	assert_true(max > 0 && max < 10000000);
	append(under("f"));
	arm(&dir, root, WATCH_NAMES);
	arm(&file, under("f"), WATCH_WRITES);
	for (int i = 0; i <= max / 2 + 1; i++) { /* two events each, never equal to the one before */
		append(under("t"));
		unlink(under("t"));
	}
	append(under("f")); /* lost */
	struct err e;
	for (int i = 0; i < max / 100 + 10 && everything_n == 0; i++)
		assert_int_equal(loop_turn(l, 0, &e), 0);
	turns();
	assert_int_equal(everything_n, 1);
	assert_int_equal(file.n, 0);
	assert_true(file.x.armed); /* as far as we know */
	arm(&file, under("f"), WATCH_WRITES);
	turns();
	append(under("f"));
	turns();
	assert_int_equal(file.n, 1);
}

static void test_many(void **state)
{
	enum { MANY = 1000 };
	static struct seen s[MANY];
	char name[32];
	(void)state;
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "m%d", i);
		append(under(name));
		arm(&s[i], under(name), WATCH_WRITES);
	}
	assert_int_equal(watch_count(w), MANY);
	for (int i = 0; i < MANY; i += 3) {
		snprintf(name, sizeof name, "m%d", i);
		append(under(name));
	}
	turns();
	turns();
	for (int i = 0; i < MANY; i++)
		assert_int_equal(s[i].n, i % 3 == 0);
	for (int i = 0; i < MANY; i += 2)
		watch_cancel(w, &s[i].x);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(s[i].x.armed, i % 3 != 0 && i % 2 != 0);
	int left = 0;
	for (int i = 0; i < MANY; i++)
		left += s[i].x.armed;
	assert_int_equal(watch_count(w), left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_oneshot, start, end),
		cmocka_unit_test_setup_teardown(test_armed_in_callback, start, end),
		cmocka_unit_test_setup_teardown(test_replaced_and_gone, start, end),
		cmocka_unit_test_setup_teardown(test_directory, start, end),
		cmocka_unit_test_setup_teardown(test_callback_cancels, start, end),
		cmocka_unit_test_setup_teardown(test_callback_arms_another, start, end),
		cmocka_unit_test_setup_teardown(test_overflow, start, end),
		cmocka_unit_test_setup_teardown(test_many, start, end),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
