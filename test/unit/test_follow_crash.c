/* SPDX-License-Identifier: Apache-2.0
 *
 * db/follow killed, or refused by the disk, at every point: each call that changes a file or the shared index,
 * also between the two copies of the index header. Whatever the point, readers see one of the committed states,
 * a start knows which one or compares pages, and going on leads to the end.
 *
 * A child process, forked from this one, does the job. SQLite's VFS and the calls of the C library are led
 * through point(). Nothing is synced: what is killed here is a process, not the machine. */
#include "followrig.h"

#include <sys/syscall.h>

/* ---- points ---- */

enum what { KILL, REFUSE };
static struct {
	bool armed;
	enum what what;
	long at, n; /* counted from 1 */
	int (*open)(sqlite3_vfs *, sqlite3_filename, sqlite3_file *, int, int *);
	struct {
		const sqlite3_io_methods *real;
		sqlite3_io_methods ours;
	} kinds[8];
	int kinds_n;
} points;

/* true: this call must fail. */
static bool point(void)
{
	if (!points.armed || ++points.n != points.at)
		return false;
	if (points.what == KILL)
		kill(getpid(), SIGKILL);
	return true;
}

static bool no_room(void)
{
	bool refused = point();
	if (refused)
		errno = ENOSPC;
	return refused;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t off);
ssize_t pwrite64(int fd, const void *p, size_t n, off_t off)
{
	return no_room() ? -1 : syscall(SYS_pwrite64, fd, p, n, off);
}

int fsync(int fd)
{
	(void)fd;
	return no_room() ? -1 : 0;
}

int fdatasync(int fd)
{
	return fsync(fd);
}

int rename(const char *from, const char *to)
{
	return no_room() ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
	return no_room() ? -1 : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static const sqlite3_io_methods *real_methods(sqlite3_file *f)
{
	for (int i = 0; i < points.kinds_n; i++)
		if (f->pMethods == &points.kinds[i].ours)
			return points.kinds[i].real;
	abort();
}

static int p_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
	return point() ? SQLITE_FULL : real_methods(f)->xWrite(f, p, n, off);
}

static int p_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	return point() ? SQLITE_IOERR_TRUNCATE : real_methods(f)->xTruncate(f, size);
}

static int p_sync(sqlite3_file *f, int flags)
{
	(void)f;
	(void)flags;
	return point() ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}

static int p_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **pp)
{
	return point() ? SQLITE_IOERR_SHMSIZE : real_methods(f)->xShmMap(f, region, size, extend, pp);
}

/* Between the two copies of the header, for one. It cannot fail. */
static void p_shm_barrier(sqlite3_file *f)
{
	if (points.what == KILL)
		point();
	real_methods(f)->xShmBarrier(f);
}

static int p_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	int i = 0, rc = points.open(vfs, name, f, flags, out);
	if (rc != SQLITE_OK || !f->pMethods)
		return rc;
	while (i < points.kinds_n && points.kinds[i].real != f->pMethods)
		i++;
	if (i == points.kinds_n) {
		if (i == sizeof points.kinds / sizeof *points.kinds)
			abort();
		points.kinds[i].real = f->pMethods;
		sqlite3_io_methods *ours = &points.kinds[i].ours;
		*ours = *f->pMethods;
		ours->xWrite = p_write;
		ours->xTruncate = p_truncate;
		ours->xSync = p_sync;
		if (ours->xShmMap) {
			ours->xShmMap = p_shm_map;
			ours->xShmBarrier = p_shm_barrier;
		}
		points.kinds_n++;
	}
	f->pMethods = &points.kinds[i].ours;
	return rc;
}

static void lead_through_points(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
	points.open = vfs->xOpen;
	vfs->xOpen = p_open;
}

static void arm(enum what what, long at)
{
	points.what = what;
	points.at = at;
	points.armed = true;
}

/* ---- the job ---- */

enum { ITEMS_MAX = 16 };

enum item_kind { SEGMENT, CONTENT, RESTART };

struct item {
	enum item_kind kind;
	struct position from, end; /* the follower is at `end` when the item is done */
	struct dyn bytes;
	char image[64]; /* what readers see then */
};

struct job {
	struct source s;
	struct item items[ITEMS_MAX];
	int n;
};

static struct item *next_item(struct job *j, enum item_kind kind)
{
	struct item *i = &j->items[j->n++];
	assert_true(j->n <= ITEMS_MAX);
	i->kind = kind;
	snprintf(i->image, sizeof i->image, "%s", peer_do(&j->s.p, "SELECT wb_image()"));
	return i;
}

static void add_segment(struct job *j, int bytes)
{
	source_commit(&j->s, bytes);
	struct item *i = next_item(j, SEGMENT);
	assert_true(source_segment(&j->s, &i->from, &i->bytes));
	i->end = (struct position){ j->s.index, j->s.chain.offset };
}

static void add_content(struct job *j)
{
	source_restart(&j->s, "TRUNCATE");
	j->s.index += 5;
	j->s.chain = (struct wal_chain){ .offset = 0 };
	struct item *i = next_item(j, CONTENT);
	i->bytes = slurp(j->s.path);
	i->from = i->end = (struct position){ j->s.index, 0 };
}

static void add_restart(struct job *j)
{
	struct item *i = next_item(j, RESTART);
	i->end = j->items[j->n - 2].end;
}

static bool is_at(const struct followed *d, struct position p)
{
	struct follow_source at;
	return follow_position(&d->f, &at) && at.index == p.index && at.chain.offset == p.offset;
}

static enum follow_result do_item(struct followed *d, const struct job *j, const struct item *i)
{
	struct span in = { i->bytes.p, i->bytes.len };
	enum follow_result rc;
	switch (i->kind) {
	case SEGMENT:
		return follow_segment(&d->f, &j->s.generation, i->from, in, false, &d->e);
	case CONTENT:
		rc = follow_content_begin(&d->f, &j->s.generation, i->from.index, &d->e);
		if (rc == FOLLOW_OK)
			rc = follow_content_bytes(&d->f, in, &d->e);
		return rc == FOLLOW_OK ? follow_content_end(&d->f, &d->e) : rc;
	case RESTART:
	default:
		rc = follow_restart_log(&d->f, &d->e);
		return rc == FOLLOW_AGAIN ? FOLLOW_OK : rc;
	}
}

/* From where the follower is to the end, as a session would: after a failure the position is asked again. */
static const char *do_rest(struct followed *d, const struct job *j)
{
	int i = -1;
	for (int k = 0; k < j->n; k++)
		if (is_at(d, j->items[k].end))
			i = k;
	if (d->f.known && i < 0)
		return "a position that no item has";
	i++;
	for (int failed = 0; i < j->n;) {
		enum follow_result rc = do_item(d, j, &j->items[i]);
		if (rc == FOLLOW_OK || (j->items[i].kind == SEGMENT && is_at(d, j->items[i].end))) {
			i++;
			continue;
		}
		if (++failed > 5)
			return d->e.text;
		if (rc == FOLLOW_CONTENT || (!d->f.known && j->items[i].kind != CONTENT)) {
			while (j->items[i].kind != CONTENT)
				i--;
			rc = follow_reopen(&d->f, &d->e);
			if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
				return d->e.text;
		}
	}
	return NULL;
}

/* In the child. Status 0: done; 1: not. */
static void child(struct followed *d, const struct job *j, enum what what, long at, int report)
{
	struct follow_options o = followed_options(d);
	arm(what, at);
	enum follow_result rc = follow_open(&d->f, &o, &d->e);
	for (int i = 0; i < 3 && rc != FOLLOW_OK && rc != FOLLOW_CONTENT; i++)
		rc = follow_open(&d->f, &o, &d->e);
	const char *bad = rc != FOLLOW_OK && rc != FOLLOW_CONTENT ? d->e.text : do_rest(d, j);
	points.armed = false;
	if (bad)
		fprintf(stderr, "# at point %ld: %s\n", at, bad);
	if (write(report, &points.n, sizeof points.n) != sizeof points.n)
		_exit(2);
	_exit(bad ? 1 : 0);
}

/* Runs the job in a child. How many points it came by. */
static long run(struct followed *d, const struct job *j, enum what what, long at, int *status)
{
	int p[2];
	long n = 0;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(d, j, what, at, p[1]);
	close(p[1]);
	if (read(p[0], &n, sizeof n) != sizeof n)
		n = 0;
	close(p[0]);
	assert_int_equal(waitpid(pid, status, 0), pid);
	return n;
}

static bool among(const struct job *j, const char *image)
{
	for (int i = 0; i < j->n; i++)
		if (strcmp(j->items[i].image, image) == 0)
			return true;
	return false;
}

/* The directory of the follower as it is before the job: at item `done`. */
static void prepare(struct followed *d, const struct job *j, int done)
{
	struct follow_options o = followed_options(d);
	sh("rm -rf '%s' '%s'-*", d->path, d->path);
	if (done < 0)
		return;
	assert_int_equal(follow_open(&d->f, &o, &d->e), FOLLOW_CONTENT);
	for (int i = 0; i <= done; i++)
		follow_ok(do_item(d, j, &j->items[i]));
	follow_close(&d->f);
}

/* Whether the position was known. */
static bool after(struct followed *d, const struct job *j, long at, struct peer *reader)
{
	struct follow_options o = followed_options(d);
	char seen[64];
	bool there = exists(d->path);
	struct peer one = { .pid = 0 };
	if (!reader && there)
		one = peer_open(d->path);
	if (there) {
		snprintf(seen, sizeof seen, "%s", peer_do(reader ? reader : &one, "SELECT wb_image()"));
		if (!among(j, seen))
			fail_msg("after point %ld a reader sees %s, which never was", at, seen);
	}
	enum follow_result rc = follow_open(&d->f, &o, &d->e);
	if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
		fail_msg("after point %ld: %s", at, d->e.text);
	for (int i = 0; rc == FOLLOW_OK && i < j->n; i++)
		if (is_at(d, j->items[i].end) && strcmp(j->items[i].image, seen) != 0)
			fail_msg("after point %ld the position is item %d, a reader sees %s, not %s", at, i,
				 seen, j->items[i].image);
	const char *bad = do_rest(d, j);
	if (bad)
		fail_msg("after point %ld it does not go on: %s", at, bad);
	struct peer r = peer_open(d->path);
	assert_string_equal(peer_do(&r, "SELECT wb_image()"), j->items[j->n - 1].image);
	assert_string_equal(peer_do(&r, "PRAGMA integrity_check"), "ok");
	peer_close(&r);
	if (one.pid)
		peer_leave(&one);
	follow_close(&d->f);
	return rc == FOLLOW_OK;
}

static void make_job(struct job *j, const char *name, int page_bytes)
{
	*j = (struct job){ .n = 0 };
	source_begin(&j->s, name, page_bytes, "PRAGMA auto_vacuum=0");
	add_content(j);
	add_segment(j, 3000);
	add_segment(j, 100);
	add_restart(j);
	add_segment(j, 3000);
	add_content(j); /* nothing differs but the position */
	source_commit(&j->s, 9000);
	peer_do(&j->s.p, "UPDATE link SET pad=NULL; VACUUM");
	add_content(j);
	add_segment(j, 100);
	add_segment(j, 100);
}

static void free_job(struct job *j)
{
	for (int i = 0; i < j->n; i++)
		dyn_free(&j->items[i].bytes);
	peer_close(&j->s.p);
}

static void every_point(enum what what, int done, bool with_reader)
{
	struct job j;
	struct followed followed = { .e = ERR_INIT }, *d = &followed;
	int status;
	long unknown = 0;
	char name[64];
	snprintf(name, sizeof name, "crash-%d-%d-%d", what, done, with_reader);
	snprintf(d->path, sizeof d->path, "%s", at("%s", name));
	snprintf(d->meta, sizeof d->meta, "%.4000s-meta", d->path);
	make_job(&j, at("%s-src", name) + strlen(world) + 1, 1024);
	prepare(d, &j, done);
	long n = run(d, &j, what, -1, &status);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(n > 30);
	if (getenv("WALBROOK_TEST_LOG"))
		fprintf(stderr, "# %ld points\n", n);
	for (long k = 1; k <= n; k++) {
		struct peer r = { .pid = 0 };
		prepare(d, &j, done);
		if (with_reader) {
			r = peer_open(d->path);
			peer_do(&r, "SELECT seq FROM state");
		}
		run(d, &j, what, k, &status);
		if (what == KILL)
			assert_true(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
		else
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		unknown += !after(d, &j, k, with_reader ? &r : NULL);
		if (r.pid)
			peer_close(&r);
	}
	/* While the index lives, a process that dies leaves us in doubt nowhere. */
	if (getenv("WALBROOK_TEST_LOG"))
		fprintf(stderr, "# %ld times the position was unknown\n", unknown);
	if (with_reader)
		assert_int_equal(unknown, 0);
	free_job(&j);
}

static void test_killed_at_first(void **state)
{
	(void)state;
	every_point(KILL, -1, false);
}

static void test_killed(void **state)
{
	(void)state;
	every_point(KILL, 0, false);
}

static void test_killed_beside_a_reader(void **state)
{
	(void)state;
	every_point(KILL, 0, true);
}

static void test_refused_at_first(void **state)
{
	(void)state;
	every_point(REFUSE, -1, false);
}

static void test_refused_beside_a_reader(void **state)
{
	(void)state;
	every_point(REFUSE, 0, true);
}

/* Killed at any moment, while readers in other processes go on with their connections: they see one state after
 * another, and recover the index themselves if they must. */
static void test_killed_under_readers(void **state)
{
	(void)state;
	enum { ROUNDS = 40, READERS = 4 };
	struct job j = { .n = 0 };
	struct followed followed, *d = &followed;
	struct peer readers[READERS];
	int known = 0, status;
	source_begin(&j.s, "kills-src", 1024, "PRAGMA auto_vacuum=0");
	add_content(&j);
	assert_int_equal(followed_open(d, "kills"), FOLLOW_CONTENT);
	follow_ok(do_item(d, &j, &j.items[0]));
	for (int i = 0; i < READERS; i++)
		readers[i] = reader_start(d->path, i % 2 ? "rw" : "ro", i > 1 ? 1 << 26 : 0, i == 3 ? 3000 : 0,
					  false);
	srand(4711);
	for (int round = 0; round < ROUNDS; round++) {
		follow_close(&d->f);
		for (int i = 0; i < j.n; i++)
			dyn_free(&j.items[i].bytes);
		/* What the source had at the last position stays valid as the start of what follows. */
		j.items[0] = (struct item){ .kind = RESTART, .end = { j.s.index, j.s.chain.offset } };
		j.n = 1;
		for (int i = 0; i < 6; i++)
			add_segment(&j, i == 3 ? 40000 : 50);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
			child(d, &j, KILL, -1, nowhere);
		}
		usleep((unsigned)(rand() % 12000));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		struct follow_options o = followed_options(d);
		enum follow_result rc = follow_open(&d->f, &o, &d->e);
		for (int i = 0; i < 1000 && rc == FOLLOW_AGAIN;
		     i++) { /* a reader recovers the index just now */
			usleep(1000);
			rc = follow_open(&d->f, &o, &d->e);
		}
		if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
			fail_msg("round %d: %d %s", round, rc, d->e.text);
		known += rc == FOLLOW_OK;
		if (rc == FOLLOW_CONTENT) {
			add_content(&j);
			follow_ok(do_item(d, &j, &j.items[j.n - 1]));
			continue;
		}
		const char *bad = do_rest(d, &j);
		if (bad)
			fail_msg("round %d: %s", round, bad);
	}
	assert_same(d, &j.s);
	for (int i = 0; i < READERS; i++)
		assert_true(reader_stop(&readers[i]) > 0);
	assert_true(known > ROUNDS / 2);
	if (getenv("WALBROOK_TEST_LOG"))
		fprintf(stderr, "# %d of %d times the position was known\n", known, ROUNDS);
	follow_close(&d->f);
	free_job(&j);
}

int main(int argc, char **argv)
{
	followrig_functions();
	if (argc > 1 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	if (argc == 7 && strcmp(argv[1], "reader") == 0)
		return reader_main(argv);
	lead_through_points();
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_at_first),		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_killed_beside_a_reader),	cmocka_unit_test(test_refused_at_first),
		cmocka_unit_test(test_refused_beside_a_reader), cmocka_unit_test(test_killed_under_readers),
	};
	return cmocka_run_group_tests(tests, world_make, world_drop);
}
