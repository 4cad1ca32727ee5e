/* SPDX-License-Identifier: Apache-2.0
 *
 * latency DB REPLICA SCRATCH -n N -every-us T: from a commit to its object in a file replica.
 *
 *   1. inotify on the replica's wal directory (walbrook runs already and has shipped something).
 *   2. N times, one every T: commit one row; wait for the next object to appear there under its name; the time
 * between the return of COMMIT and that is one sample.
 *   3. Half a period later the reference: the bytes of that very object are written to SCRATCH/x.tmp, synced
 * and renamed. Both thus begin after the same kind of quiet.
 *   4. One line a sample: commit_us=, reference_us=, bytes=.
 *
 * latency -start DIR... -- COMMAND...: from exec to the first *.lz4 below one of the directories; first_us=.
 * The command is ended with SIGTERM. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum { WAIT_MS = 10000, OBJECT_MAX_BYTES = 16 << 20 };

struct latency {
	sqlite3 *db;
	const char *scratch;
	char wal_dir[4096];
	int watch;
	char name[256]; /* of the newest object */
};

static int fail(const char *what, const char *path)
{
	fprintf(stderr, "latency: %s %s: %s\n", what, path, strerror(errno));
	return -1;
}

/* The directory of the newest generation: the one that was changed last. */
static int find_wal_dir(struct latency *l, const char *replica)
{
	char top[2048], path[4096];
	struct timespec newest = { 0 };
	snprintf(top, sizeof top, "%s/generations", replica);
	DIR *d = opendir(top);
	if (!d)
		return fail("cannot open", top);
	for (struct dirent *x; (x = readdir(d));) {
		struct stat st;
		snprintf(path, sizeof path, "%s/%s/wal", top, x->d_name);
		if (x->d_name[0] == '.' || stat(path, &st) < 0)
			continue;
		if (st.st_mtim.tv_sec > newest.tv_sec ||
		    (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec >= newest.tv_nsec)) {
			newest = st.st_mtim;
			memcpy(l->wal_dir, path, sizeof path);
		}
	}
	closedir(d);
	return l->wal_dir[0] ? 0 : fail("no generation in", top);
}

static bool is_object(const char *name)
{
	size_t n = strlen(name);
	return n > 8 && strcmp(name + n - 8, ".wal.lz4") == 0;
}

/* Reads what is there; true if an object appeared. */
static bool take_events(struct latency *l)
{
	char b[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool seen = false;
	for (ssize_t n; (n = read(l->watch, b, sizeof b)) > 0;)
		for (char *p = b; p < b + n;) {
			struct inotify_event ev;
			memcpy(&ev, p, sizeof ev);
			if (ev.len && is_object(p + sizeof ev)) {
				snprintf(l->name, sizeof l->name, "%s", p + sizeof ev);
				seen = true;
			}
			p += sizeof ev + ev.len;
		}
	return seen;
}

static int64_t one_commit(struct latency *l)
{
	struct pollfd pfd = { .fd = l->watch, .events = POLLIN };
	take_events(l);
	if (sqlite3_exec(l->db, "INSERT INTO t(a, b) VALUES(1, 'one row of the usual length, written now')",
			 NULL, NULL, NULL) != SQLITE_OK) {
		fprintf(stderr, "latency: %s\n", sqlite3_errmsg(l->db));
		return -1;
	}
	int64_t from_us = mono_us();
	for (int64_t left_ms; (left_ms = WAIT_MS - (mono_us() - from_us) / 1000) > 0;)
		if (poll(&pfd, 1, (int)left_ms) > 0 && take_events(l))
			return mono_us() - from_us;
	fprintf(stderr, "latency: no object within %d ms\n", WAIT_MS);
	return -1;
}

static int64_t one_reference(struct latency *l, uint8_t *bytes, size_t *ret_n)
{
	char path[8192], tmp[4096], to[4096];
	snprintf(path, sizeof path, "%s/%s", l->wal_dir, l->name);
	snprintf(tmp, sizeof tmp, "%s/x.tmp", l->scratch);
	snprintf(to, sizeof to, "%s/x-%s", l->scratch, l->name);
	int in = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = in < 0 ? -1 : read(in, bytes, OBJECT_MAX_BYTES);
	if (in >= 0)
		close(in);
	if (n <= 0)
		return fail("cannot read", path);
	int64_t from_us = mono_us();
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, (size_t)n) != n || fsync(fd) < 0 || close(fd) < 0 || rename(tmp, to) < 0)
		return fail("cannot write", tmp);
	int64_t us = mono_us() - from_us;
	*ret_n = (size_t)n;
	unlink(to);
	return us;
}

static int measure(struct latency *l, unsigned n, int64_t every_us)
{
	uint8_t *bytes = malloc(OBJECT_MAX_BYTES);
	int64_t next_us = mono_us();
	int rc = bytes ? 0 : -1;
	for (unsigned i = 0; rc == 0 && i < n; i++) {
		size_t size = 0;
		next_us += every_us / 2;
		sleep_us(next_us - mono_us());
		int64_t commit_us = one_commit(l);
		next_us += every_us / 2;
		sleep_us(next_us - mono_us());
		int64_t reference_us = commit_us < 0 ? -1 : one_reference(l, bytes, &size);
		if (reference_us < 0)
			rc = -1;
		else
			printf("commit_us=%lld reference_us=%lld bytes=%zu\n", (long long)commit_us,
			       (long long)reference_us, size);
		if (mono_us() > next_us)
			next_us = mono_us();
	}
	free(bytes);
	return rc;
}

static bool holds_object(const char *dir, int depth)
{
	bool found = false;
	DIR *d = opendir(dir);
	for (struct dirent *x; d && !found && (x = readdir(d));) {
		char path[4096];
		size_t n = strlen(x->d_name);
		if (x->d_name[0] == '.' && (n == 1 || (n == 2 && x->d_name[1] == '.')))
			continue;
		if (n > 4 && strcmp(x->d_name + n - 4, ".lz4") == 0)
			found = true;
		else if (x->d_type == DT_DIR && depth > 0 &&
			 snprintf(path, sizeof path, "%s/%s", dir, x->d_name) < (int)sizeof path)
			found = holds_object(path, depth - 1);
	}
	if (d)
		closedir(d);
	return found;
}

static int measure_start(int argc, char **argv)
{
	int split = 2;
	while (split < argc && strcmp(argv[split], "--") != 0)
		split++;
	if (split + 1 >= argc)
		return 2;
	int64_t from_us = mono_us(), us = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		dup2(null, 2);
		execv(argv[split + 1], argv + split + 1);
		_exit(127);
	}
	while (pid > 0 && us < 0 && mono_us() - from_us < WAIT_MS * 1000LL) {
		for (int i = 2; i < split && us < 0; i++)
			if (holds_object(argv[i], 4))
				us = mono_us() - from_us;
		if (us < 0)
			sleep_us(100);
	}
	if (pid > 0) {
		kill(pid, SIGTERM);
		waitpid(pid, NULL, 0);
	}
	printf("first_us=%lld\n", (long long)us);
	return us < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
	if (argc > 4 && strcmp(argv[1], "-start") == 0)
		return measure_start(argc, argv);
	if (argc != 8 || strcmp(argv[4], "-n") != 0 || strcmp(argv[6], "-every-us") != 0) {
		fprintf(stderr, "usage: latency DB REPLICA SCRATCH -n N -every-us T\n"
				"       latency -start DIR... -- COMMAND...\n");
		return 2;
	}
	struct latency l = { .scratch = argv[3], .watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC) };
	int rc = -1;
	if (sqlite3_open(argv[1], &l.db) == SQLITE_OK &&
	    sqlite3_exec(l.db, "PRAGMA busy_timeout=5000; PRAGMA synchronous=NORMAL; SELECT 1 FROM t LIMIT 1",
			 NULL, NULL, NULL) == SQLITE_OK &&
	    find_wal_dir(&l, argv[2]) == 0) {
		if (l.watch < 0 || inotify_add_watch(l.watch, l.wal_dir, IN_MOVED_TO | IN_CREATE) < 0)
			fail("cannot watch", l.wal_dir);
		else
			rc = measure(&l, (unsigned)strtoul(argv[5], NULL, 10), strtoll(argv[7], NULL, 10));
	} else {
		fprintf(stderr, "latency: %s: %s\n", argv[1], sqlite3_errmsg(l.db));
	}
	sqlite3_close(l.db);
	if (l.watch >= 0)
		close(l.watch);
	return rc < 0 ? 1 : 0;
}
