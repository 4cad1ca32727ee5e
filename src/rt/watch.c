/* SPDX-License-Identifier: Apache-2.0
 *
 * File watches: see watch.h. The kernel names a watch by a number (wd), one for each inode; a hash table finds
 * our structs by it. Arming asks the kernel first and moves the struct to the number that it answers. When an
 * event comes: those of the number are called one after the other; one-shot watches leave the table before.
 *
 * Failure modes:
 *   - The queue overflows (16384 events by default): one event without a watch tells it. One-shot watches may
 * then be gone in the kernel while they stand in our table; arming again heals that, which is why `everything`
 * must lead to arming again.
 *   - The watched inode vanishes: IN_IGNORED comes for its number. It is passed on for watches that are still
 * in the table under it, and means nothing for those that have left it (cancelled, one-shot, moved to another
 * inode).
 *   - A number is not given twice within two thousand million, so an old event never meets a new watch. */
#include "rt/watch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BUCKETS_FIRST = 64, READ_BYTES = 16 * 1024, READS_A_TURN = 8 };

struct watcher {
	struct loop *loop;
	struct loop_fd fd;
	void (*everything)(void *arg);
	void *arg;
	uint64_t events; /* counts them, to call each watch once for each */
	struct watch **buckets;
	size_t buckets_n, count;
};

static struct watch **bucket(const struct watcher *w, int wd)
{
	return &w->buckets[(unsigned)wd & (w->buckets_n - 1)];
}

/* A table that cannot grow has longer chains. */
static void grow(struct watcher *w)
{
	struct watch **old = w->buckets;
	size_t old_n = w->buckets_n;
	struct watch **more = calloc(2 * old_n, sizeof(struct watch *));
	if (!more)
		return;
	w->buckets = more;
	w->buckets_n = 2 * old_n;
	for (size_t i = 0; i < old_n; i++) {
		for (struct watch *x = old[i], *next; x; x = next) {
			struct watch **at = bucket(w, x->wd);
			next = x->next;
			x->next = *at;
			*at = x;
		}
	}
	free(old);
}

static void attach(struct watcher *w, struct watch *x, int wd)
{
	if (w->count >= w->buckets_n)
		grow(w);
	struct watch **at = bucket(w, wd);
	x->wd = wd;
	x->armed = true;
	x->seen = w->events; /* what is being told at this moment is not for it */
	x->next = *at;
	*at = x;
	w->count++;
}

static void detach(struct watcher *w, struct watch *x)
{
	for (struct watch **at = bucket(w, x->wd); *at; at = &(*at)->next) {
		if (*at == x) {
			*at = x->next;
			x->armed = false;
			w->count--;
			return;
		}
	}
}

static bool watched(const struct watcher *w, int wd)
{
	for (const struct watch *x = *bucket(w, wd); x; x = x->next)
		if (x->wd == wd)
			return true;
	return false;
}

void watch_cancel(struct watcher *w, struct watch *x)
{
	if (!x->armed)
		return;
	detach(w, x);
	if (!watched(w, x->wd))
		inotify_rm_watch(w->fd.fd, x->wd); /* fails when the kernel has dropped it already */
}

int watch_arm(struct watcher *w, struct watch *x, const char *path, uint32_t events, struct err *e)
{
	int wd = inotify_add_watch(w->fd.fd, path, events);
	if (wd < 0) {
		int sys = errno;
		watch_cancel(w, x);
		err_sys(e, sys, "%s: cannot watch", path);
		return sys == ENOSPC ? err_hint(e, "fs.inotify.max_user_watches is used up") : -1;
	}
	if (x->armed && x->wd != wd)
		watch_cancel(w, x);
	x->oneshot = events & IN_ONESHOT;
	if (!x->armed)
		attach(w, x, wd);
	return 0;
}

size_t watch_count(const struct watcher *w)
{
	return w->count;
}

/* The first of this number that has not been told yet. Asked for anew each time: `changed` may change the
 * table. */
static struct watch *next_to_tell(const struct watcher *w, int wd)
{
	for (struct watch *x = *bucket(w, wd); x; x = x->next)
		if (x->wd == wd && x->seen != w->events)
			return x;
	return NULL;
}

static void on_event(struct watcher *w, const struct inotify_event *ev)
{
	if (ev->mask & IN_Q_OVERFLOW) {
		w->everything(w->arg);
		return;
	}
	w->events++;
	for (struct watch *x; (x = next_to_tell(w, ev->wd));) {
		x->seen = w->events;
		if (x->oneshot || (ev->mask & IN_IGNORED))
			detach(w, x);
		x->changed(x, ev->mask, ev->len ? ev->name : "");
	}
}

static void on_ready(struct loop_fd *f, uint32_t epoll_events)
{
	struct watcher *w = (struct watcher *)(void *)((char *)f - offsetof(struct watcher, fd));
	_Alignas(struct inotify_event) char buf[READ_BYTES];
	(void)epoll_events;
	for (int i = 0; i < READS_A_TURN; i++) {
		ssize_t n = read(f->fd, buf, sizeof buf);
		if (n <= 0)
			return; /* emptied, or interrupted: epoll will say so again */
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *ev = (const struct inotify_event *)(const void *)p;
			p += sizeof *ev + ev->len;
			on_event(w, ev);
		}
	}
}

int watcher_new(struct loop *l, void (*everything)(void *arg), void *arg, struct watcher **ret, struct err *e)
{
	struct watcher *w = calloc(1, sizeof *w);
	struct watch **buckets = calloc(BUCKETS_FIRST, sizeof(struct watch *));
	if (!w || !buckets) {
		free(w);
		free(buckets);
		return err_set(e, ERR_FAIL, "no memory");
	}
	*w = (struct watcher){
		.loop = l, .everything = everything, .arg = arg, .buckets = buckets, .buckets_n = BUCKETS_FIRST
	};
	w->fd = (struct loop_fd){ .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .ready = on_ready };
	if (w->fd.fd < 0) {
		err_sys(e, errno, "cannot watch files (see fs.inotify.max_user_instances)");
	} else if (loop_fd_add(l, &w->fd, EPOLLIN, e) == 0) {
		*ret = w;
		return 0;
	} else {
		close(w->fd.fd);
	}
	free(w->buckets);
	free(w);
	return -1;
}

void watcher_free(struct watcher *w)
{
	if (!w)
		return;
	loop_fd_remove(w->loop, &w->fd);
	close(w->fd.fd);
	free(w->buckets);
	free(w);
}
