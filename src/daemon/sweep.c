/* SPDX-License-Identifier: Apache-2.0
 *
 * How changes are seen that no event told.
 *
 * Happy path: once a second the mapped index of each database is looked at, which is memory only. Within each
 * minute one job after the other asks the file system, for a share of the databases, whether their names still
 * lead to the files that are open; one that does not gets a step. A job does it for many, so that what it costs
 * is the calls for the files and next to nothing else.
 *
 * Failure modes: no memory (the next job does that share); the database leaves or has a step while the job is
 * out (the job has copies of all that it needs, and the database is found again by its path). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { SWEEP_US = 60000000, SHARE_EVERY_US = 5000000 };

struct sweep {
	struct task task;
	struct daemon *d;
	size_t n;
	struct sweep_item {
		struct db_files files;
		bool same;
	} items[];
};

static int share_run(struct task *t)
{
	struct sweep *s = OWNER_OF(t, struct sweep, task);
	for (size_t i = 0; i < s->n; i++)
		s->items[i].same = db_files_same(&s->items[i].files);
	return 0;
}

static void share_done(struct task *t)
{
	struct sweep *s = OWNER_OF(t, struct sweep, task);
	for (size_t i = 0; i < s->n; i++) {
		struct managed *m = s->items[i].same ? NULL : set_find(s->d, s->items[i].files.path);
		if (m) {
			m->sweep = true;
			managed_mark(m);
		}
		db_files_free(&s->items[i].files);
	}
	s->d->sweep = NULL;
	free(s);
}

/* Those that have nothing open look by their own timers. */
static void sweep_share(struct daemon *d, size_t share)
{
	struct sweep *s = calloc(1, sizeof *s + share * sizeof *s->items);
	if (!s)
		return;
	s->d = d;
	for (size_t i = 0; i < share; i++) {
		struct managed *m = d->dbs[(d->sweep_at + i) % d->n];
		if (!m->out && db_files(&m->db, &s->items[s->n].files))
			s->n++;
	}
	d->sweep_at = (d->sweep_at + share) % d->n;
	if (s->n == 0) {
		free(s);
		return;
	}
	d->sweep = s;
	s->task = (struct task){ .run = share_run, .done = share_done, .class = TASK_QUICK };
	engine_submit(&d->en, &s->task);
}

static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, look);
	int64_t now_us = mono_us();
	double part = (double)(now_us - d->swept_us) / (double)SWEEP_US;
	size_t share = part >= 1 ? d->n : (size_t)((double)d->n * part);
	for (size_t i = 0; i < d->n; i++) {
		uint64_t frames;
		if (d->dbs[i]->out)
			continue;
		enum db_look look = db_look(&d->dbs[i]->db, &frames);
		if (look != DB_LOOK_SAME && look != DB_LOOK_NONE)
			managed_mark(d->dbs[i]);
	}
	if (share > 0 && !d->sweep && now_us - d->swept_us >= SHARE_EVERY_US) {
		d->swept_us = now_us;
		sweep_share(d, share);
	}
	if (now_us - d->swept_dirs_us >= SWEEP_US) {
		d->swept_dirs_us = now_us;
		scan_sweep(d);
	}
	loop_timer_set(d->en.loop, &d->look, now_us + d->look_us);
}

void set_everything_changed(void *daemon)
{
	struct daemon *d = daemon;
	for (size_t i = 0; i < d->n; i++) {
		d->dbs[i]->sweep = true;
		d->dbs[i]->watching = false; /* what was armed may be gone */
		managed_mark(d->dbs[i]);
	}
	scan_everything(d);
}

void sweep_start(struct daemon *d)
{
	d->swept_us = d->swept_dirs_us = mono_us();
	d->look = (struct loop_timer){ .fire = look_at_all };
	loop_timer_set(d->en.loop, &d->look, d->swept_us + d->look_us);
}

void sweep_stop(struct daemon *d)
{
	loop_timer_cancel(d->en.loop, &d->look);
}
