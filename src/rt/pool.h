/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: blocking, straight-line jobs away from the loop. A task is a struct of the caller, embedded in the
 * job: it belongs to the pool from pool_submit until `done` is called, which happens on the loop's thread. */
#ifndef WB_RT_POOL_H
#define WB_RT_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "rt/loop.h"

/* LONG tasks (snapshots, restores) never hold all workers: at most workers - 2, but at least one, run at once.
 */
enum task_class { TASK_QUICK, TASK_LONG };

struct task {
	int (*run)(struct task *t);   /* on a worker; may block */
	void (*done)(struct task *t); /* on the loop's thread; may free the task or submit it again */
	enum task_class class;
	bool urgent;	   /* before all that are not */
	int rc;		   /* what run returned */
	struct task *next; /* private */
};

struct pool_counts {
	size_t queued, running, finished; /* finished: done not called yet */
	size_t threads;
};

struct pool;

/* No thread is made before the first task; then one whenever a task finds none idle, up to `workers` (1 to 64).
 */
int pool_new(struct loop *l, unsigned workers, struct pool **ret, struct err *e);
/* From the loop's thread. Fails when not a single thread can be made, or the pool is being freed; then done is
 * not called. */
int pool_submit(struct pool *p, struct task *t, struct err *e);
/* Tasks submitted whose done has not been called. Zero is when the loop may end. */
size_t pool_out(const struct pool *p);
struct pool_counts pool_count(struct pool *p);
/* From the loop's thread: refuses new tasks, waits for all that are out, and calls their done. */
void pool_free(struct pool *p);

#endif
