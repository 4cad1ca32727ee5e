/* SPDX-License-Identifier: Apache-2.0
 *
 * Which databases there are, and how changes of their files are seen.
 *
 * Happy path: each database of the configuration is made and marked for its first step; the directories they
 * lie in are watched; once a second the mapped index of each is looked at, and once a minute each is swept.
 *
 * Failure modes: no watch on a directory (attempts come by their timers then); notifications were lost (all
 * databases are looked at). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"

enum { SWEEP_US = 60000000, LOOK_US = 1000000 };

struct dir_watch {
	struct watch w;
	struct daemon *d;
	char *dir;
};

/* Looks at the mapped index of every database; memory only. Once a minute each is swept: a step that asks the
 * file system. The sweep is spread, so that many databases do not come at once. */
static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, look);
	int64_t now_us = mono_us();
	size_t share = (size_t)((double)d->n * (double)(now_us - d->swept_us) / (double)SWEEP_US);
	for (size_t i = 0; i < share && i < d->n; i++) {
		d->dbs[d->sweep_at]->sweep = true;
		managed_mark(d->dbs[d->sweep_at]);
		d->sweep_at = (d->sweep_at + 1) % d->n;
	}
	if (share > 0)
		d->swept_us = now_us;
	for (size_t i = 0; i < d->n; i++) {
		uint64_t frames;
		if (d->dbs[i]->out)
			continue;
		enum db_look look = db_look(&d->dbs[i]->db, &frames);
		if (look != DB_LOOK_SAME && look != DB_LOOK_NONE)
			managed_mark(d->dbs[i]);
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
}

/* A name came or went in a directory of ours: its database, or a file of it. */
static void dir_changed(struct watch *w, uint32_t mask, const char *name)
{
	struct dir_watch *dw = OWNER_OF(w, struct dir_watch, w);
	struct daemon *d = dw->d;
	(void)mask;
	for (size_t i = 0; i < d->n; i++) {
		const char *path = d->dbs[i]->conf->path, *base = path_base(path);
		size_t dir_len = (size_t)(base - path);
		if (strncmp(name, base, strlen(base)) != 0 ||
		    strncmp(path, dw->dir, dir_len ? dir_len - 1 : 0) != 0)
			continue;
		/* The first commits of an application create -wal and -shm; what matters is what vanishes or
		 * comes. */
		d->dbs[i]->sweep = true;
		managed_mark(d->dbs[i]);
	}
}

static void watch_dirs(struct daemon *d)
{
	d->dirs = calloc(d->n ? d->n : 1, sizeof *d->dirs);
	for (size_t i = 0; d->dirs && i < d->n; i++) {
		char dir[PATH_BYTES];
		struct err ignore;
		bool known = false;
		if (path_dir(dir, d->dbs[i]->conf->path) < 0)
			continue;
		for (size_t k = 0; k < d->dirs_n; k++)
			known = known || strcmp(d->dirs[k].dir, dir) == 0;
		struct dir_watch *w = &d->dirs[d->dirs_n];
		if (known || !(w->dir = strdup(dir)))
			continue;
		w->d = d;
		w->w.changed = dir_changed;
		d->dirs_n++;
		/* Without it the next attempt comes by its timer. */
		watch_arm(d->en.watcher, &w->w, dir, WATCH_NAMES, &ignore);
	}
}

int set_open(struct daemon *d, struct err *e)
{
	int64_t look_us = LOOK_US;
	d->dbs = calloc(d->conf->dbs_n, sizeof *d->dbs);
	if (!d->dbs)
		return err_set(e, ERR_FAIL, "no memory");
	for (size_t i = 0; i < d->conf->dbs_n; i++) {
		const struct conf_db *c = &d->conf->dbs[i];
		if (!(d->dbs[i] = calloc(1, sizeof **d->dbs)))
			return err_set(e, ERR_FAIL, "no memory");
		d->n++;
		if (managed_init(d->dbs[i], &d->en, c, e) < 0)
			return -1;
		managed_mark(d->dbs[i]);
		if (c->monitor_interval_us > 0 && c->monitor_interval_us < look_us)
			look_us = c->monitor_interval_us;
		log_info("database", L_S("path", c->path), L_I("replicas", c->replicas_n));
		for (size_t k = 0; k < c->replicas_n; k++)
			log_info("replicating to", L_S("db", c->path), L_S("name", c->replicas[k].name),
				 L_S("to", d->dbs[i]->ships[k].r.store->label),
				 L_MS("sync_interval", c->replicas[k].sync_interval_us / 1000));
	}
	if (d->en.watcher)
		watch_dirs(d);
	d->swept_us = mono_us();
	d->look = (struct loop_timer){ .fire = look_at_all };
	d->look_us = look_us;
	loop_timer_set(d->en.loop, &d->look, mono_us() + look_us);
	return 0;
}

void set_close(struct daemon *d)
{
	for (size_t i = 0; i < d->dirs_n; i++) {
		watch_cancel(d->en.watcher, &d->dirs[i].w);
		free(d->dirs[i].dir);
	}
	free(d->dirs);
	for (size_t i = 0; i < d->n; i++) {
		managed_fini(d->dbs[i]);
		free(d->dbs[i]);
	}
	free(d->dbs);
	loop_timer_cancel(d->en.loop, &d->look);
}
