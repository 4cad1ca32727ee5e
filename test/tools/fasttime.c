/* SPDX-License-Identifier: Apache-2.0
 *
 * LD_PRELOAD=libfasttime.so FASTTIME=n PROGRAM: time runs n times as fast for it, so that what happens once an
 * hour can be seen in half a minute.
 *
 *   1. Both clocks go on from where they were when the program began, n times as fast.
 *   2. Waiting takes an n-th of the time: epoll_wait, epoll_pwait2 (which goes by syscall()), clock_nanosleep.
 *   3. The times of files are moved the same way, or all that was just written would be old.
 *
 * Failure modes: none; without FASTTIME nothing changes. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define OUTSIDE __attribute__((visibility("default")))

enum { NS_PER_S = 1000000000 };

static int64_t factor = 1, began_real_ns, began_mono_ns;

static int64_t ns_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * NS_PER_S + t->tv_nsec;
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };
}

/* Past the one below. */
static long raw(long number, long a, const void *b, const void *c, long d, const void *e)
{
	static long (*next)(long, ...);
	if (!next)
		*(void **)(void *)&next = dlsym(RTLD_NEXT, "syscall");
	return next(number, a, b, c, d, e, 0L);
}

static int64_t true_ns(clockid_t id)
{
	struct timespec t = { 0 };
	raw(SYS_clock_gettime, id, &t, NULL, 0, NULL);
	return ns_of(&t);
}

__attribute__((constructor)) static void begin(void)
{
	const char *n = getenv("FASTTIME");
	began_real_ns = true_ns(CLOCK_REALTIME);
	began_mono_ns = true_ns(CLOCK_MONOTONIC);
	if (n && atoll(n) > 1)
		factor = atoll(n);
}

static int64_t faster(int64_t ns, int64_t began_ns)
{
	return ns < began_ns ? ns : began_ns + (ns - began_ns) * factor;
}

OUTSIDE int clock_gettime(clockid_t id, struct timespec *t)
{
	int64_t ns = true_ns(id);
	if (id == CLOCK_REALTIME)
		ns = faster(ns, began_real_ns);
	else if (id == CLOCK_MONOTONIC)
		ns = faster(ns, began_mono_ns);
	*t = timespec_of(ns);
	return 0;
}

OUTSIDE int clock_nanosleep(clockid_t id, int flags, const struct timespec *want, struct timespec *left)
{
	struct timespec less = timespec_of(ns_of(want) / factor);
	(void)flags; /* relative, as all of ours */
	(void)left;
	return raw(SYS_clock_nanosleep, id, NULL, &less, 0, NULL) == 0 ? 0 : EINVAL;
}

static int wait_less(int fd, struct epoll_event *v, int n, const struct timespec *t)
{
	struct timespec less = timespec_of(t ? (ns_of(t) + factor - 1) / factor : 0);
	return (int)raw(SYS_epoll_pwait2, fd, v, (void *)(intptr_t)n, (long)(t ? &less : NULL), NULL);
}

OUTSIDE int epoll_wait(int fd, struct epoll_event *v, int n, int ms)
{
	struct timespec t = timespec_of((int64_t)ms * 1000000);
	return wait_less(fd, v, n, ms < 0 ? NULL : &t);
}

OUTSIDE long syscall(long number, ...)
{
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_epoll_pwait2)
		return wait_less((int)a[0], (struct epoll_event *)a[1], (int)a[2], (struct timespec *)a[3]);
	return raw(number, a[0], (void *)a[1], (void *)a[2], a[3], (void *)a[4]);
}

/* ---- files ---- */

static int look(int dir, const char *path, struct stat *st, int flags)
{
	long rc = raw(SYS_newfstatat, dir, path, st, flags, NULL);
	struct timespec *v[] = { &st->st_atim, &st->st_mtim, &st->st_ctim };
	for (int i = 0; rc == 0 && i < 3; i++)
		*v[i] = timespec_of(faster(ns_of(v[i]), began_real_ns));
	return (int)rc;
}

OUTSIDE int fstatat(int dir, const char *path, struct stat *st, int flags)
{
	return look(dir, path, st, flags);
}

OUTSIDE int stat(const char *path, struct stat *st)
{
	return look(AT_FDCWD, path, st, 0);
}

OUTSIDE int lstat(const char *path, struct stat *st)
{
	return look(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

OUTSIDE int fstat(int fd, struct stat *st)
{
	return look(fd, "", st, AT_EMPTY_PATH);
}
