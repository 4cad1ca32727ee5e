/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of system calls: see sys.h. In the release build each is the call itself, with EINTR retried where
 * Linux can give it for files.
 *
 * The test build (WALBROOK_FAULTS) counts calls and looks at three variables of the environment, once:
 *
 *   WALBROOK_FAULT=NAME:N:ACTION[,…]  at the Nth call (from 1) of that name, or of any name with `*`:
 *       die        SIGKILL to ourselves before the call      die-after  … after it
 *       short      write and pwrite transfer half (at least a byte); other calls: nothing happens
 *       eintr      the first try is interrupted (calls that are not retried: fail with EINTR)
 *       enospc     fails with ENOSPC, not made               eio        fails with EIO, not made
 *   WALBROOK_FAULT_TRACE=PATH  each counted call adds a line: NAME and its path, or NAME, descriptor and its
 * path WALBROOK_FAULT_ARM=PATH    counting (and tracing) begins when this file exists
 *
 * sys_open is counted when it may change a file: opened for writing, or O_CREAT or O_TRUNC.
 * Failure modes: a variable that cannot be understood ends the process with status 2 at the first call, so that
 * no test can pass because of a typing mistake. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* renameat2, fallocate, sync_file_range */
#endif
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef WALBROOK_FAULTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CALLS(X)                                                                                               \
	X(open)                                                                                                \
	X(mkdir)                                                                                               \
	X(unlink)                                                                                              \
	X(unlinkat)                                                                                            \
	X(rmdir)                                                                                               \
	X(rename)                                                                                              \
	X(rename_noreplace)                                                                                    \
	X(link)                                                                                                \
	X(ftruncate)                                                                                           \
	X(fallocate)                                                                                           \
	X(fsync)                                                                                               \
	X(fdatasync)                                                                                           \
	X(sync_file_range)                                                                                     \
	X(fchmod)                                                                                              \
	X(fchown)                                                                                              \
	X(futimens)                                                                                            \
	X(chown)                                                                                               \
	X(write)                                                                                               \
	X(pwrite)                                                                                              \
	X(sqlite_sync)

enum call {
#define X(name) CALL_##name,
	CALLS(X)
#undef X
		CALL_COUNT
};

const char *const sys_names[] = {
#define X(name) #name,
	CALLS(X)
#undef X
		NULL
};

enum action { ACT_NONE, ACT_DIE, ACT_DIE_AFTER, ACT_SHORT, ACT_EINTR, ACT_ENOSPC, ACT_EIO };
static const char *const action_names[] = { "", "die", "die-after", "short", "eintr", "enospc", "eio" };

enum { FAULTS_MAX = 64 };
struct fault {
	int call; /* enum call, or CALL_COUNT for any */
	unsigned long nth;
	enum action action;
};

static struct {
	pthread_once_t once;
	struct fault faults[FAULTS_MAX];
	size_t faults_n;
	int trace_fd;
	const char *arm_path;
	atomic_bool armed;
	atomic_ulong counts[CALL_COUNT + 1]; /* the last: all of them */
} state = { .once = PTHREAD_ONCE_INIT, .trace_fd = -1 };

static _Noreturn void refuse(const char *what, const char *value)
{
	fprintf(stderr, "%s cannot be understood: %s\n", what, value);
	_exit(2);
}

static struct fault parse_fault(char *text)
{
	struct fault f = { .call = 0, .action = ACT_NONE };
	char *save = NULL, *name = strtok_r(text, ":", &save), *nth = strtok_r(NULL, ":", &save), *end = NULL;
	char *action = strtok_r(NULL, ":", &save);
	if (!name || !nth || !action || strtok_r(NULL, ":", &save))
		refuse("WALBROOK_FAULT", "each fault is NAME:N:ACTION");
	while (f.call < CALL_COUNT && strcmp(sys_names[f.call], name) != 0)
		f.call++;
	if (f.call == CALL_COUNT && strcmp(name, "*") != 0)
		refuse("WALBROOK_FAULT: call", name);
	f.nth = strtoul(nth, &end, 10);
	if (*end || f.nth == 0)
		refuse("WALBROOK_FAULT: N", nth);
	for (size_t i = 1; i < sizeof action_names / sizeof *action_names; i++)
		if (strcmp(action_names[i], action) == 0)
			f.action = (enum action)i;
	if (f.action == ACT_NONE)
		refuse("WALBROOK_FAULT: action", action);
	return f;
}

static void read_environment(void)
{
	static char text[8192];
	const char *faults = getenv("WALBROOK_FAULT"), *trace = getenv("WALBROOK_FAULT_TRACE");
	if (faults) {
		if (strlen(faults) >= sizeof text)
			refuse("WALBROOK_FAULT", "too long");
		memcpy(text, faults, strlen(faults) + 1);
		char *save = NULL;
		for (char *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
			if (state.faults_n == FAULTS_MAX)
				refuse("WALBROOK_FAULT", "too many faults");
			state.faults[state.faults_n++] = parse_fault(one);
		}
	}
	if (trace) {
		state.trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (state.trace_fd < 0)
			refuse("WALBROOK_FAULT_TRACE", trace);
	}
	state.arm_path = getenv("WALBROOK_FAULT_ARM");
	state.armed = !state.arm_path;
}

static void trace(enum call call, const char *path, int fd)
{
	char line[8400], link[64], of_fd[4096] = "";
	int n;
	if (path) {
		n = snprintf(line, sizeof line, "%s %s\n", sys_names[call], path);
	} else {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t got = readlink(link, of_fd, sizeof of_fd - 1);
		of_fd[got > 0 ? got : 0] = 0;
		n = snprintf(line, sizeof line, "%s %d %s\n", sys_names[call], fd, of_fd);
	}
	if (n > 0 && write(state.trace_fd, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0)
		refuse("WALBROOK_FAULT_TRACE", "cannot be written");
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* Counts the call and tells what is to happen to it. ACT_ENOSPC and ACT_EIO have set errno. */
static enum action before(enum call call, const char *path, int fd)
{
	int saved = errno;
	enum action act = ACT_NONE;
	pthread_once(&state.once, read_environment);
	if (!state.armed) {
		if (access(state.arm_path, F_OK) < 0) {
			errno = saved;
			return ACT_NONE;
		}
		state.armed = true;
	}
	unsigned long nth = atomic_fetch_add(&state.counts[call], 1) + 1;
	unsigned long nth_of_all = atomic_fetch_add(&state.counts[CALL_COUNT], 1) + 1;
	if (state.trace_fd >= 0)
		trace(call, path, fd);
	for (size_t i = 0; i < state.faults_n && act == ACT_NONE; i++) {
		const struct fault *f = &state.faults[i];
		if (f->call == (int)call ? f->nth == nth : f->call == CALL_COUNT && f->nth == nth_of_all)
			act = f->action;
	}
	if (act == ACT_DIE)
		die();
	errno = act == ACT_ENOSPC ? ENOSPC : act == ACT_EIO ? EIO : saved;
	return act;
}

#define BEFORE(call, path, fd)                                                                                 \
	enum action act = before(CALL_##call, path, fd);                                                       \
	if (act == ACT_ENOSPC || act == ACT_EIO)                                                               \
	return -1
#define AFTER()                                                                                                \
	do {                                                                                                   \
		if (act == ACT_DIE_AFTER)                                                                      \
			die();                                                                                 \
	} while (0)
#define TRY(expr) (act == ACT_EINTR ? (act = ACT_NONE, errno = EINTR, -1) : (expr))
#define SHORTENED(n) (act == ACT_SHORT && (n) > 1 ? (n) / 2 : (n))

int sys_fault_sqlite_sync(void)
{
	BEFORE(sqlite_sync, "-", -1);
	int rc = TRY(0);
	AFTER();
	return rc;
}

#else

#define BEFORE(call, path, fd) ((void)0)
#define AFTER() ((void)0)
#define TRY(expr) (expr)
#define SHORTENED(n) (n)

#endif

#define RETRY(rc, expr)                                                                                        \
	do                                                                                                     \
		(rc) = TRY(expr);                                                                              \
	while ((rc) < 0 && errno == EINTR)

static int do_open(const char *path, int flags, mode_t mode)
{
	int fd;
	do
		fd = open(path, flags | O_CLOEXEC, mode);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int sys_open(const char *path, int flags, mode_t mode)
{
	if ((flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_TRUNC)))
		return do_open(path, flags, mode);
	BEFORE(open, path, -1);
	int fd;
	RETRY(fd, do_open(path, flags, mode));
	AFTER();
	return fd;
}

int sys_mkdir(const char *path, mode_t mode)
{
	BEFORE(mkdir, path, -1);
	int rc = TRY(mkdir(path, mode));
	AFTER();
	return rc;
}

int sys_unlink(const char *path)
{
	BEFORE(unlink, path, -1);
	int rc = TRY(unlink(path));
	AFTER();
	return rc;
}

int sys_unlinkat(int dir_fd, const char *name, int flags)
{
	BEFORE(unlinkat, name, -1);
	int rc = TRY(unlinkat(dir_fd, name, flags));
	AFTER();
	return rc;
}

int sys_rmdir(const char *path)
{
	BEFORE(rmdir, path, -1);
	int rc = TRY(rmdir(path));
	AFTER();
	return rc;
}

int sys_rename(const char *from, const char *to)
{
	BEFORE(rename, to, -1);
	int rc = TRY(rename(from, to));
	AFTER();
	return rc;
}

static int do_rename_noreplace(const char *from, const char *to)
{
	int rc = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
	if (rc == 0 || (errno != EINVAL && errno != ENOSYS))
		return rc;
	if (link(from, to) < 0)
		return -1;
	return unlink(from);
}

int sys_rename_noreplace(const char *from, const char *to)
{
	BEFORE(rename_noreplace, to, -1);
	int rc = TRY(do_rename_noreplace(from, to));
	AFTER();
	return rc;
}

int sys_link(const char *from, const char *to)
{
	BEFORE(link, to, -1);
	int rc = TRY(link(from, to));
	AFTER();
	return rc;
}

int sys_ftruncate(int fd, off_t size)
{
	BEFORE(ftruncate, NULL, fd);
	int rc;
	RETRY(rc, ftruncate(fd, size));
	AFTER();
	return rc;
}

int sys_fallocate(int fd, int mode, off_t off, off_t len)
{
	BEFORE(fallocate, NULL, fd);
	int rc;
	RETRY(rc, fallocate(fd, mode, off, len));
	AFTER();
	return rc;
}

int sys_fsync(int fd)
{
	BEFORE(fsync, NULL, fd);
	int rc;
	RETRY(rc, fsync(fd));
	AFTER();
	return rc;
}

int sys_fdatasync(int fd)
{
	BEFORE(fdatasync, NULL, fd);
	int rc;
	RETRY(rc, fdatasync(fd));
	AFTER();
	return rc;
}

int sys_sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	BEFORE(sync_file_range, NULL, fd);
	int rc = TRY(sync_file_range(fd, off, len, flags));
	AFTER();
	return rc;
}

int sys_fchmod(int fd, mode_t mode)
{
	BEFORE(fchmod, NULL, fd);
	int rc = TRY(fchmod(fd, mode));
	AFTER();
	return rc;
}

int sys_futimens(int fd, const struct timespec times[2])
{
	BEFORE(futimens, NULL, fd);
	int rc = TRY(futimens(fd, times));
	AFTER();
	return rc;
}

int sys_fchown(int fd, uid_t uid, gid_t gid)
{
	BEFORE(fchown, NULL, fd);
	int rc = TRY(fchown(fd, uid, gid));
	AFTER();
	return rc;
}

int sys_chown(const char *path, uid_t uid, gid_t gid)
{
	BEFORE(chown, path, -1);
	int rc = TRY(chown(path, uid, gid));
	AFTER();
	return rc;
}

ssize_t sys_write(int fd, const void *p, size_t n)
{
	BEFORE(write, NULL, fd);
	ssize_t rc;
	RETRY(rc, write(fd, p, SHORTENED(n)));
	AFTER();
	return rc;
}

ssize_t sys_pwrite(int fd, const void *p, size_t n, off_t off)
{
	BEFORE(pwrite, NULL, fd);
	ssize_t rc;
	RETRY(rc, pwrite(fd, p, SHORTENED(n), off));
	AFTER();
	return rc;
}
