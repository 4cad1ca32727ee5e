/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: see pool.h. Submit puts the task on one of four queues (urgent or not, quick or long) and wakes or
 * makes a worker. A worker takes the first task that may run, runs it without the lock, puts it on the list of
 * finished ones and wakes the loop. The pool's hook, called in every turn of the loop, takes that list and
 * calls done for each.
 *
 * The only shared state is what lies under the lock; `out` belongs to the loop's thread alone.
 *
 * Failure modes: no thread to be had with none there: submit fails; with some there: the task waits for one of
 * those. All signals are blocked in workers, so the loop gets every signal of the process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np */
#endif
#include "rt/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { WORKERS_MAX = 64, STACK_BYTES = 512 * 1024, QUEUES = 4 };

struct queue {
	struct task *first, **end;
};

struct pool {
	struct loop *loop;
	struct loop_hook hook;
	size_t out;
	unsigned workers, long_max;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct queue queues[QUEUES], finished;
	size_t queued, running, finished_n, long_running, idle, threads_n;
	bool stopping;
	pthread_t threads[WORKERS_MAX];
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->end = &q->first;
}

static void queue_add(struct queue *q, struct task *t)
{
	t->next = NULL;
	*q->end = t;
	q->end = &t->next;
}

static struct task *queue_take(struct queue *q)
{
	struct task *t = q->first;
	if (t && !(q->first = t->next))
		q->end = &q->first;
	return t;
}

/* Urgent quick, urgent long, quick, long. */
static size_t queue_of(const struct task *t)
{
	return (t->urgent ? 0u : 2u) + (t->class == TASK_LONG ? 1u : 0u);
}

/* With the lock: the next task that may run now, or NULL. */
static struct task *next_task(struct pool *p)
{
	for (size_t i = 0; i < QUEUES; i++) {
		bool is_long = i % 2;
		if (!p->queues[i].first || (is_long && p->long_running >= p->long_max))
			continue;
		p->queued--;
		p->running++;
		p->long_running += is_long;
		return queue_take(&p->queues[i]);
	}
	return NULL;
}

static void *worker(void *arg)
{
	struct pool *p = arg;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct task *t = next_task(p);
		if (!t) {
			/* A long task that may not start yet is left to the worker whose long task ends. */
			if (p->stopping && p->queued == 0)
				break;
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		t->rc = t->run(t);
		pthread_mutex_lock(&p->lock);
		p->running--;
		p->long_running -= t->class == TASK_LONG;
		p->finished_n++;
		queue_add(&p->finished, t);
		if (p->stopping)
			pthread_cond_broadcast(&p->work);
		loop_wake(p->loop);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* With the lock. Returns an error number. */
static int add_thread(struct pool *p)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc = pthread_attr_init(&attr);
	if (rc)
		return rc;
	rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc == 0)
		rc = pthread_create(&p->threads[p->threads_n], &attr, worker, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		pthread_setname_np(p->threads[p->threads_n++], "walbrook-worker");
	return rc;
}

int pool_submit(struct pool *p, struct task *t, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&p->lock);
	if (p->stopping) {
		pthread_mutex_unlock(&p->lock);
		return err_set(e, ERR_BUSY, "shutting down: no new work is taken");
	}
	/* Idle ones that an earlier submit has signalled may not have woken yet: what is queued counts as
	 * theirs. */
	if (p->idle <= p->queued && p->threads_n < p->workers)
		rc = add_thread(p);
	if (rc && p->threads_n == 0) {
		pthread_mutex_unlock(&p->lock);
		return err_sys(e, rc, "cannot start a worker thread");
	}
	queue_add(&p->queues[queue_of(t)], t);
	p->queued++;
	p->out++;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

static void call_done(struct loop_hook *h)
{
	struct pool *p = (struct pool *)(void *)((char *)h - offsetof(struct pool, hook));
	pthread_mutex_lock(&p->lock);
	struct task *t = p->finished.first;
	queue_init(&p->finished);
	p->finished_n = 0;
	pthread_mutex_unlock(&p->lock);
	while (t) {
		struct task *next = t->next;
		p->out--;
		t->done(t);
		t = next;
	}
}

size_t pool_out(const struct pool *p)
{
	return p->out;
}

struct pool_counts pool_count(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	struct pool_counts c = {
		.queued = p->queued, .running = p->running, .finished = p->finished_n, .threads = p->threads_n
	};
	pthread_mutex_unlock(&p->lock);
	return c;
}

int pool_new(struct loop *l, unsigned workers, struct pool **ret, struct err *e)
{
	struct pool *p = calloc(1, sizeof *p);
	if (!p)
		return err_set(e, ERR_FAIL, "no memory");
	p->loop = l;
	p->workers = workers < 1 ? 1 : workers > WORKERS_MAX ? WORKERS_MAX : workers;
	p->long_max = p->workers > 3 ? p->workers - 2 : 1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	for (size_t i = 0; i < QUEUES; i++)
		queue_init(&p->queues[i]);
	queue_init(&p->finished);
	p->hook.run = call_done;
	loop_hook_add(l, &p->hook);
	*ret = p;
	return 0;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->threads_n; i++)
		pthread_join(p->threads[i], NULL);
	call_done(&p->hook);
	loop_hook_remove(p->loop, &p->hook);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->work);
	free(p);
}
