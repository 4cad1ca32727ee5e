/* SPDX-License-Identifier: Apache-2.0
 *
 * db/probe and db/opened: what counts as a database, and that a file which is open is not opened a second time.
 */
#include "world.h"

#include "db/opened.h"
#include "db/probe.h"

static const char *in_world(const char *name)
{
	static char path[PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s", world, name);
	return path;
}

static void make(const char *name, const void *bytes, size_t n, int64_t age_s)
{
	struct timespec t[2] = { { .tv_sec = wall_us() / 1000000 - age_s } };
	t[1] = t[0];
	int fd = open(in_world(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	assert_int_equal(futimens(fd, t), 0);
	close(fd);
}

/* The whole file of a real database, in WAL mode and closed. */
static size_t real(uint8_t *bytes, size_t size)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(in_world("made.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				      "PRAGMA journal_mode=wal; CREATE TABLE t(a); INSERT INTO t "
				      "VALUES(zeroblob(20000))",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_close(db);
	int fd = open(in_world("made.db"), O_RDONLY);
	ssize_t n = read(fd, bytes, size);
	close(fd);
	assert_in_range(n, 20000, size - 1);
	return (size_t)n;
}

static void kinds(void **state)
{
	static uint8_t db[65536];
	size_t n = real(db, sizeof db);
	char text[200];
	(void)state;
	memset(text, 'x', sizeof text);
	assert_int_equal(db_probe(in_world("nothing")), DB_PROBE_NONE);
	assert_int_equal(db_probe(world), DB_PROBE_NONE);
	make("text", text, sizeof text, 0);
	assert_int_equal(db_probe(in_world("text")), DB_PROBE_NONE);
	make("empty", "", 0, 60);
	assert_int_equal(db_probe(in_world("empty")), DB_PROBE_EMPTY);
	make("whole", db, n, 0);
	assert_int_equal(db_probe(in_world("whole")), DB_PROBE_DATABASE);
	make("short", db, n - 1, 0);
	assert_int_equal(db_probe(in_world("short")), DB_PROBE_YOUNG);
	make("short", db, n - 1, 60); /* nobody writes to it any more: as a checkpoint left it */
	assert_int_equal(db_probe(in_world("short")), DB_PROBE_DATABASE);
	make("begun", db, 50, 0);
	assert_int_equal(db_probe(in_world("begun")), DB_PROBE_YOUNG);
	make("begun", db, 50, 60);
	assert_int_equal(db_probe(in_world("begun")), DB_PROBE_NONE);
	make("begun", text, 50, 0);
	assert_int_equal(db_probe(in_world("begun")), DB_PROBE_NONE);
}

static void open_files(void **state)
{
	struct opened a = { 0 }, b = { 0 }, many[200] = { 0 };
	struct stat st;
	(void)state;
	make("open", "not one, but nobody looks into it", 20, 0);
	assert_int_equal(stat(in_world("open"), &st), 0);
	assert_true(opened_take(&a, st.st_dev, st.st_ino));
	assert_true(opened_take(&a, st.st_dev, st.st_ino));
	assert_false(opened_take(&b, st.st_dev, st.st_ino));
	assert_int_equal(db_probe(in_world("open")), DB_PROBE_DATABASE);
	for (size_t i = 0; i < 200; i++)
		assert_true(opened_take(&many[i], 1, 1000 + i));
	assert_int_equal(opened_count(), 201);
	assert_true(opened_take(&a, st.st_dev + 1, st.st_ino)); /* it moves on */
	assert_true(opened_take(&b, st.st_dev, st.st_ino));
	for (size_t i = 0; i < 200; i++)
		opened_forget(&many[i]);
	opened_forget(&a);
	opened_forget(&a);
	opened_forget(&b);
	assert_int_equal(opened_count(), 0);
	assert_int_equal(db_probe(in_world("open")), DB_PROBE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),
		cmocka_unit_test(open_files),
	};
	return cmocka_run_group_tests_name("probe", tests, world_make, world_drop);
}
