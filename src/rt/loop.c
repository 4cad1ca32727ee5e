/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: see loop.h. One epoll descriptor; one eventfd to be woken by; timers in a pairing heap whose links
 * are in the timers, so that setting one cannot fail. Waiting has a resolution of nanoseconds where the kernel
 * has epoll_pwait2 (5.11), else of milliseconds, rounded up.
 *
 * Waking: a flag says that the eventfd has been written, so a thousand wakes cost one write. The loop clears
 * the flag with an exchange after it has emptied the eventfd and before the hooks look at their lists: a waker
 * that finds the flag set has put its work on the list before that exchange, so this turn sees it.
 *
 * Failure modes: a descriptor that is removed while its event is already fetched is taken out of the fetched
 * batch. A timer that sets itself to the past cannot starve the descriptors: a turn fires no more timers than
 * were set when it began. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rt/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { BATCH = 64 };

struct loop {
	int epoll_fd;
	struct loop_fd wake;
	atomic_bool woken, stopped;
	bool milliseconds_only;
	int64_t now_us;
	struct loop_timer *timers; /* root of the heap */
	size_t timers_n;
	uint64_t order;
	struct loop_hook *hooks, *next_hook;
	void (*before_sleep)(void *arg);
	void *before_sleep_arg;
	struct epoll_event batch[BATCH];
	int batch_n, batch_at;
};

/* ---- timers ---- */

static bool earlier(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

/* Either may be NULL. `before` of a first child is its parent, of a later child the child before it. */
static struct loop_timer *meld(struct loop_timer *a, struct loop_timer *b)
{
	if (!a || !b)
		return a ? a : b;
	if (earlier(b, a)) {
		struct loop_timer *t = a;
		a = b;
		b = t;
	}
	b->before = a;
	b->sibling = a->child;
	if (a->child)
		a->child->before = b;
	a->child = b;
	return a;
}

/* The children of a node that goes, melded in pairs from the left, then all from the right. */
static struct loop_timer *meld_children(struct loop_timer *first)
{
	struct loop_timer *pairs = NULL, *root = NULL;
	while (first) {
		struct loop_timer *a = first, *b = a->sibling;
		first = b ? b->sibling : NULL;
		a->sibling = a->before = NULL;
		if (b)
			b->sibling = b->before = NULL;
		a = meld(a, b);
		a->sibling = pairs;
		pairs = a;
	}
	while (pairs) {
		struct loop_timer *next = pairs->sibling;
		pairs->sibling = NULL;
		root = meld(root, pairs);
		pairs = next;
	}
	return root;
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
	if (!t->set)
		return;
	struct loop_timer *below = meld_children(t->child);
	if (t == l->timers) {
		l->timers = below;
	} else {
		if (t->before->child == t)
			t->before->child = t->sibling;
		else
			t->before->sibling = t->sibling;
		if (t->sibling)
			t->sibling->before = t->before;
		l->timers = meld(l->timers, below);
	}
	t->child = t->sibling = t->before = NULL;
	t->set = false;
	l->timers_n--;
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_us)
{
	loop_timer_cancel(l, t);
	t->at_us = at_us;
	t->order = l->order++;
	t->set = true;
	l->timers_n++;
	l->timers = meld(l->timers, t);
}

static void fire_timers(struct loop *l)
{
	for (size_t left = l->timers_n; left > 0 && l->timers && l->timers->at_us <= l->now_us; left--) {
		struct loop_timer *t = l->timers;
		loop_timer_cancel(l, t);
		t->fire(t);
	}
}

/* ---- descriptors ---- */

static int control(struct loop *l, int op, struct loop_fd *f, uint32_t events, struct err *e)
{
	struct epoll_event ev = { .events = events, .data.ptr = f };
	if (epoll_ctl(l->epoll_fd, op, f->fd, &ev) < 0)
		return err_sys(e, errno, "cannot watch descriptor %d", f->fd);
	return 0;
}

int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events, struct err *e)
{
	return control(l, EPOLL_CTL_ADD, f, events, e);
}

int loop_fd_change(struct loop *l, struct loop_fd *f, uint32_t events, struct err *e)
{
	return control(l, EPOLL_CTL_MOD, f, events, e);
}

void loop_fd_remove(struct loop *l, struct loop_fd *f)
{
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	for (int i = l->batch_at; i < l->batch_n; i++)
		if (l->batch[i].data.ptr == f)
			l->batch[i].data.ptr = NULL;
}

/* ---- waking ---- */

static void on_wake(struct loop_fd *f, uint32_t events)
{
	struct loop *l = (struct loop *)(void *)((char *)f - offsetof(struct loop, wake));
	uint64_t count;
	(void)events;
	while (read(f->fd, &count, sizeof count) < 0 && errno == EINTR)
		;
	atomic_exchange(&l->woken, false);
}

void loop_wake(struct loop *l)
{
	static const uint64_t one = 1;
	int saved = errno;
	if (!atomic_exchange(&l->woken, true))
		while (write(l->wake.fd, &one, sizeof one) < 0 && errno == EINTR)
			;
	errno = saved;
}

void loop_stop(struct loop *l)
{
	atomic_store(&l->stopped, true);
	loop_wake(l);
}

/* ---- hooks ---- */

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
	struct loop_hook **end = &l->hooks;
	while (*end)
		end = &(*end)->next;
	h->next = NULL;
	*end = h;
}

void loop_hook_remove(struct loop *l, struct loop_hook *h)
{
	for (struct loop_hook **at = &l->hooks; *at; at = &(*at)->next) {
		if (*at == h) {
			*at = h->next;
			break;
		}
	}
	if (l->next_hook == h) /* it is being walked over */
		l->next_hook = h->next;
}

void loop_before_sleep(struct loop *l, void (*fn)(void *arg), void *arg)
{
	l->before_sleep = fn;
	l->before_sleep_arg = arg;
}

/* ---- turns ---- */

int64_t loop_now_us(const struct loop *l)
{
	return l->now_us;
}

/* Negative: for ever. */
static int64_t wait_us(const struct loop *l, int64_t max_us)
{
	if (!l->timers)
		return max_us;
	int64_t left = l->timers->at_us - mono_us();
	if (left < 0)
		left = 0;
	return max_us < 0 || left < max_us ? left : max_us;
}

static int wait_for_events(struct loop *l, int64_t us)
{
#ifdef SYS_epoll_pwait2
	if (!l->milliseconds_only) {
		struct {
			int64_t s, ns;
		} t = { us / 1000000, us % 1000000 * 1000 };
		long n = syscall(SYS_epoll_pwait2, l->epoll_fd, l->batch, BATCH, us < 0 ? NULL : &t, NULL, 0);
		if (n >= 0 ||
		    (errno != ENOSYS && errno != EPERM)) /* EPERM: refused by an old seccomp profile */
			return (int)n;
		l->milliseconds_only = true;
	}
#endif
	int64_t ms = us / 1000 + (us % 1000 > 0);
	return epoll_wait(l->epoll_fd, l->batch, BATCH, us < 0 ? -1 : ms > 1000000 ? 1000000 : (int)ms);
}

int loop_turn(struct loop *l, int64_t max_wait_us, struct err *e)
{
	int n = wait_for_events(l, wait_us(l, max_wait_us));
	if (n < 0 && errno != EINTR)
		return err_sys(e, errno, "cannot wait for events");
	l->batch_n = n < 0 ? 0 : n;
	l->batch_at = 0;
	l->now_us = mono_us();
	fire_timers(l);
	while (l->batch_at < l->batch_n) {
		struct epoll_event ev = l->batch[l->batch_at++];
		struct loop_fd *f = ev.data.ptr;
		if (f)
			f->ready(f, ev.events);
	}
	for (struct loop_hook *h = l->hooks; h; h = l->next_hook) {
		l->next_hook = h->next;
		h->run(h);
	}
	if (l->before_sleep)
		l->before_sleep(l->before_sleep_arg);
	return 0;
}

int loop_run(struct loop *l, struct err *e)
{
	while (!atomic_load(&l->stopped))
		if (loop_turn(l, -1, e) < 0)
			return -1;
	atomic_store(&l->stopped, false);
	return 0;
}

int loop_new(struct loop **ret, struct err *e)
{
	struct loop *l = calloc(1, sizeof *l);
	if (!l)
		return err_set(e, ERR_FAIL, "no memory");
	l->now_us = mono_us();
	l->wake = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_wake };
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->wake.fd < 0 || l->epoll_fd < 0) {
		err_sys(e, errno, "cannot make an event loop");
		loop_free(l);
		return -1;
	}
	if (loop_fd_add(l, &l->wake, EPOLLIN, e) < 0) {
		loop_free(l);
		return -1;
	}
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->wake.fd >= 0)
		close(l->wake.fd);
	free(l);
}
