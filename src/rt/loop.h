/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: one thread that waits for descriptors and for points in time and never blocks otherwise.
 * Descriptors, timers and hooks are structs of the caller, embedded where they belong; nothing is allocated
 * after loop_new.
 *
 * A turn: wait; expired timers; ready descriptors; wake hooks; before_sleep. Events should only mark what is
 * due; before_sleep, called once a turn, is the one place where due work is picked. */
#ifndef WB_RT_LOOP_H
#define WB_RT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct loop;

/* A descriptor. `ready` gets EPOLLIN and so on; it may remove any descriptor, itself included. */
struct loop_fd {
	int fd;
	void (*ready)(struct loop_fd *f, uint32_t events);
};

/* A point in time. Zero it, set `fire`, and loop_timer_set; it fires once, unless set again. */
struct loop_timer {
	void (*fire)(struct loop_timer *t);
	int64_t at_us; /* monotonic; read only */
	/* private: a pairing heap */
	uint64_t order;
	struct loop_timer *child, *sibling, *before;
	bool set;
};

/* Called every turn. For those who call loop_wake from other threads and keep a list of what has come. */
struct loop_hook {
	void (*run)(struct loop_hook *h);
	struct loop_hook *next; /* private */
};

int loop_new(struct loop **ret, struct err *e);
void loop_free(struct loop *l); /* descriptors and timers that are still there are simply forgotten */

int loop_fd_add(struct loop *l, struct loop_fd *f, uint32_t events, struct err *e);
int loop_fd_change(struct loop *l, struct loop_fd *f, uint32_t events, struct err *e);
/* Before the descriptor is closed. No event that was already fetched will reach it. */
void loop_fd_remove(struct loop *l, struct loop_fd *f);

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t at_us); /* adds or moves */
void loop_timer_cancel(struct loop *l, struct loop_timer *t);		  /* fine when it is not set */

void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_remove(struct loop *l, struct loop_hook *h);
void loop_before_sleep(struct loop *l, void (*fn)(void *arg), void *arg);

/* Monotonic time of this turn; cheap. */
int64_t loop_now_us(const struct loop *l);

/* From any thread, and from a signal handler: the loop makes another turn. */
void loop_wake(struct loop *l);
/* The same, and loop_run returns after that turn. */
void loop_stop(struct loop *l);

/* Turns until loop_stop. -1 when waiting itself fails. */
int loop_run(struct loop *l, struct err *e);
/* One turn that waits no longer than this (negative: as long as it takes). */
int loop_turn(struct loop *l, int64_t max_wait_us, struct err *e);

#endif
