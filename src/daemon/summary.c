/* SPDX-License-Identifier: Apache-2.0
 *
 * One line an hour: that all is well, or how much is not. Memory only.
 *
 * Happy path: a timer fires once an hour; what was counted since the last time is added up over all databases
 * and replicas and written. What is 0 and would be bad otherwise is left out.
 *
 * Failure modes: none; what a job has in hand is counted as it was before it, so it comes with the next line.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"
#include "daemon/status.h"

enum { MOST_ATTRS = 16 };
static const int64_t HOUR_US = INT64_C(3600000000);

struct sums {
	uint64_t commits, wal_bytes, objects, stored_bytes, errors, spool_bytes;
	int64_t longest_hold_us, oldest_us;
	size_t failing, by_state[DB_BROKEN + 1];
};

static int64_t larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static uint64_t since(uint64_t *told, uint64_t now)
{
	uint64_t more = now - *told;
	*told = now;
	return more;
}

static void add_replica(struct sums *sum, struct shipper *s, struct status_now now)
{
	struct status_replica r;
	status_of_replica(s, now, &r);
	sum->objects += since(&s->told.objects, r.objects);
	sum->stored_bytes += since(&s->told.stored_bytes, r.stored_bytes);
	sum->errors += since(&s->told.errors, r.errors);
	sum->failing += r.failing;
}

static void add_db(struct sums *sum, struct managed *m, struct status_now now)
{
	struct status_db db;
	status_of_db(m, now, &db);
	sum->commits += since(&m->told.commits, db.captured_commits);
	sum->wal_bytes += since(&m->told.wal_bytes, db.captured_wal_bytes);
	sum->errors += since(&m->told.errors, db.step_errors);
	sum->spool_bytes += db.spool_bytes;
	sum->longest_hold_us = larger(sum->longest_hold_us, db.checkpoints.longest_hold_us);
	sum->oldest_us = larger(sum->oldest_us, db.oldest_unshipped_age_us);
	sum->by_state[db.state]++;
	for (size_t k = 0; k < m->ships_n; k++)
		add_replica(sum, &m->ships[k], now);
}

struct attrs {
	struct log_attr v[MOST_ATTRS];
	unsigned long n;
};

static void put(struct attrs *a, const char *key, uint64_t v)
{
	a->v[a->n++] = (struct log_attr)L_I(key, v);
}

static void put_if(struct attrs *a, const char *key, uint64_t v)
{
	if (v)
		put(a, key, v);
}

void summary_say(struct daemon *d)
{
	struct sums sum = { 0 };
	struct attrs a = { .n = 0 };
	struct status_now now = status_now();
	for (size_t i = 0; i < d->n; i++)
		add_db(&sum, d->dbs[i], now);
	put(&a, "databases", d->n);
	put_if(&a, "waiting", sum.by_state[DB_WAITING]);
	put_if(&a, "gap", sum.by_state[DB_GAP]);
	put_if(&a, "broken", sum.by_state[DB_BROKEN]);
	put_if(&a, "replicas_failing", sum.failing);
	put(&a, "commits", sum.commits);
	put(&a, "wal_bytes", sum.wal_bytes);
	put(&a, "objects", sum.objects);
	put(&a, "stored_bytes", sum.stored_bytes);
	put(&a, "errors", sum.errors);
	put(&a, "spool_bytes", sum.spool_bytes);
	put(&a, "longest_hold_us", (uint64_t)sum.longest_hold_us);
	if (sum.oldest_us)
		a.v[a.n++] = (struct log_attr)L_MS("oldest_unshipped", sum.oldest_us / 1000);
	if (log_enabled(LOG_INFO))
		log_write(LOG_INFO, "summary of the last hour", a.v, a.n);
}

static void hour_over(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, summary);
	log_flush();
	summary_say(d);
	loop_timer_set(d->en.loop, t, mono_us() + HOUR_US);
}

void summary_start(struct daemon *d)
{
	log_collapse(true);
	d->summary.fire = hour_over;
	loop_timer_set(d->en.loop, &d->summary, mono_us() + HOUR_US);
}
