/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: see daemon.h.
 *
 * Happy path: signals blocked, loop, workers and watches made, every database marked for its first step; from
 * then on events mark and run_due picks. A signal sets `stopping`: each database takes a last step, ships what
 * it has, lets go; when all have, the loop ends.
 *
 * Failure modes: every database broken at the start (its reason is ours); the deadline after a signal passes,
 * or a second signal comes (we end at once and say what was not shipped); inotify is not to be had or overflows
 * (all are looked at). */
#include "daemon/daemon.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/managed.h"
#include "rt/child.h"
#include "rt/signals.h"

enum { SWEEP_US = 60000000, STOP_DEADLINE_US = 30000000, LOOK_US = 1000000, SAME_WISH_US = 100000 };

struct daemon {
	const struct conf *conf;
	struct engine en;
	struct managed *dbs;
	size_t n;
	struct signals signals;
	struct loop_timer look, deadline;
	int64_t swept_us, look_us;
	size_t sweep_at;
	struct child child;
	bool broken; /* all are, from the start */
	struct err *why;
	bool child_started, child_ended;
	int64_t told_us; /* when the first signal came */
	int status;
	struct dir_watch {
		struct watch w;
		struct daemon *d;
		char *dir;
	} * dirs;
	size_t dirs_n;
};

/* Looks at the mapped index of every database; memory only. Once a minute each is swept: a step that asks the
 * file system. The sweep is spread, so that many databases do not come at once. */
static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, look);
	int64_t now_us = mono_us();
	size_t share = (size_t)((double)d->n * (double)(now_us - d->swept_us) / (double)SWEEP_US);
	for (size_t i = 0; i < share && i < d->n; i++) {
		d->dbs[d->sweep_at].sweep = true;
		managed_mark(&d->dbs[d->sweep_at]);
		d->sweep_at = (d->sweep_at + 1) % d->n;
	}
	if (share > 0)
		d->swept_us = now_us;
	for (size_t i = 0; i < d->n; i++) {
		uint64_t frames;
		if (d->dbs[i].out)
			continue;
		enum db_look look = db_look(&d->dbs[i].db, &frames);
		if (look != DB_LOOK_SAME && look != DB_LOOK_NONE)
			managed_mark(&d->dbs[i]);
	}
	loop_timer_set(d->en.loop, &d->look, now_us + d->look_us);
}

static void everything_changed(void *arg)
{
	struct daemon *d = arg;
	for (size_t i = 0; i < d->n; i++) {
		d->dbs[i].sweep = true;
		d->dbs[i].watching = false; /* what was armed may be gone */
		managed_mark(&d->dbs[i]);
	}
}

/* A name came or went in a directory of ours: its database, or a file of it. */
static void dir_changed(struct watch *w, uint32_t mask, const char *name)
{
	struct dir_watch *dw = OWNER_OF(w, struct dir_watch, w);
	struct daemon *d = dw->d;
	(void)mask;
	for (size_t i = 0; i < d->n; i++) {
		const char *path = d->dbs[i].conf->path, *base = path_base(path);
		size_t dir_len = (size_t)(base - path);
		if (strncmp(name, base, strlen(base)) != 0 ||
		    strncmp(path, dw->dir, dir_len ? dir_len - 1 : 0) != 0)
			continue;
		/* The first commits of an application create -wal and -shm; what matters is what vanishes or
		 * comes. */
		d->dbs[i].sweep = true;
		managed_mark(&d->dbs[i]);
	}
}

static void watch_dirs(struct daemon *d)
{
	d->dirs = calloc(d->n ? d->n : 1, sizeof *d->dirs);
	for (size_t i = 0; d->dirs && i < d->n; i++) {
		char dir[PATH_BYTES];
		struct err ignore;
		bool known = false;
		if (path_dir(dir, d->dbs[i].conf->path) < 0)
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

static void begin_stop(struct daemon *d, const char *why)
{
	if (d->en.stopping)
		return;
	log_info("stopping: capturing and shipping what is left", L_S("reason", why));
	d->en.stopping = true;
	loop_timer_set(d->en.loop, &d->deadline, mono_us() + STOP_DEADLINE_US);
	for (size_t i = 0; i < d->n; i++)
		managed_mark(&d->dbs[i]);
}

static void say_unshipped(struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (!d->dbs[i].finished && !d->dbs[i].stepped_to_stop && !d->dbs[i].out)
			log_error("not everything was captured; the next start goes on or begins a new "
				  "generation",
				  L_S("db", d->dbs[i].conf->path), L_S("error", d->dbs[i].db.why.text));
		for (size_t k = 0; !d->dbs[i].finished && k < d->dbs[i].ships_n; k++)
			if (!ship_done(&d->dbs[i].ships[k]))
				log_error("not everything was shipped; what is missing waits in the spool",
					  L_S("db", d->dbs[i].conf->path),
					  L_S("replica", d->dbs[i].ships[k].r.name),
					  L_S("error", d->dbs[i].ships[k].e.text));
	}
}

static void deadline_passed(struct loop_timer *t)
{
	struct daemon *d = OWNER_OF(t, struct daemon, deadline);
	say_unshipped(d);
	d->status = err_exit_code(ERR_DEADLINE);
	loop_stop(d->en.loop);
}

static void reap(struct daemon *d)
{
	if (!d->child_started || d->child_ended || !child_ended(&d->child))
		return;
	d->child_ended = true;
	d->status = d->child.exit_code;
	log_info("the command has ended", L_I("status", d->status));
	begin_stop(d, "the command has ended");
	managed_mark(&d->dbs[0]);
}

static void signal_arrived(void *arg, int signo)
{
	struct daemon *d = arg;
	if (signo == SIGCHLD) {
		reap(d);
		return;
	}
	if (signo != SIGTERM && signo != SIGINT)
		return;
	/* Some senders (timeout, a terminal and a wrapper) deliver one wish twice. */
	if (d->told_us && mono_us() - d->told_us < SAME_WISH_US)
		return;
	if (d->told_us) {
		log_warn("second signal: ending at once");
		say_unshipped(d);
		d->status = err_exit_code(ERR_DEADLINE);
		loop_stop(d->en.loop);
		return;
	}
	d->told_us = mono_us();
	if (d->child_started && !d->child_ended) {
		log_info("signal received, forwarding it to the command", L_I("signal", signo));
		child_signal(&d->child, signo);
		loop_timer_set(d->en.loop, &d->deadline, mono_us() + STOP_DEADLINE_US);
		return;
	}
	begin_stop(d, signo == SIGTERM ? "SIGTERM" : "SIGINT");
}

static bool all_ready(const struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->dbs[i].ready)
			return false;
	return true;
}

static bool all_finished(const struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!d->dbs[i].finished)
			return false;
	return !d->child_started || d->child_ended || !d->child.pid;
}

static void start_child(struct daemon *d)
{
	struct err e;
	char **argv = NULL;
	if (!d->conf->exec || d->child_started || d->en.stopping || !all_ready(d))
		return;
	d->child_started = true;
	if (child_split(d->conf->exec, &argv, &e) < 0 || child_start(&d->child, argv, &e) < 0) {
		log_error("the command cannot be started", L_S("error", e.text));
		d->child_ended = true;
		d->status = err_exit_code(e.kind);
		begin_stop(d, "the command cannot be started");
	}
	child_argv_free(argv);
}

/* Nothing was ever served and nothing can be: the reason is ours. */
static bool all_broken(struct daemon *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->dbs[i].opened || d->dbs[i].out || !d->dbs[i].ready || d->dbs[i].state != DB_BROKEN)
			return false;
	}
	*d->why = d->dbs[0].db.why;
	return true;
}

static void run_due(void *arg)
{
	struct daemon *d = arg;
	struct managed *list = d->en.marked;
	d->en.marked = NULL;
	while (list) {
		struct managed *m = list;
		list = m->mark_next;
		m->marked = false;
		managed_turn(m);
	}
	bool broken = !d->en.stopping && all_broken(d);
	if (broken && pool_out(d->en.pool) == 0) { /* what is under way ends first, and nothing follows it */
		d->broken = true;
		loop_stop(d->en.loop);
		return;
	}
	if (!broken)
		start_child(d);
	if (d->en.marked)
		loop_wake(d->en.loop);
	if (d->en.stopping && all_finished(d) && pool_out(d->en.pool) == 0)
		loop_stop(d->en.loop);
}

static void raise_limits(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	/* Threads share the heap, and a busy database finds its buffers there again instead of faulting in
	 * new ones; when it rests they go back to the system (db.c). */
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	mallopt(M_ARENA_MAX, 1);
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
}

static unsigned workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	long n = cpus > 0 ? cpus * 2 : 4;
	return n < 4 ? 4 : n > 64 ? 64 : (unsigned)n;
}

static int open_engine(struct daemon *d, struct err *e)
{
	struct err why;
	if (loop_new(&d->en.loop, e) < 0 || signals_open(&d->signals, d->en.loop, signal_arrived, d, e) < 0)
		return -1;
	if (pool_new(d->en.loop, workers(), &d->en.pool, e) < 0)
		return -1;
	if (watcher_new(d->en.loop, everything_changed, d, &d->en.watcher, &why) < 0)
		log_warn("no file watches; looking once in a while instead", L_S("error", why.text));
	d->en.snapshots_max = 2;
	return 0;
}

static int open_dbs(struct daemon *d, struct err *e)
{
	int64_t look_us = LOOK_US;
	d->dbs = calloc(d->conf->dbs_n, sizeof *d->dbs);
	if (!d->dbs)
		return err_set(e, ERR_FAIL, "no memory");
	for (size_t i = 0; i < d->conf->dbs_n; i++) {
		const struct conf_db *c = &d->conf->dbs[i];
		d->n++;
		if (managed_init(&d->dbs[i], &d->en, c, e) < 0)
			return -1;
		managed_mark(&d->dbs[i]);
		if (c->monitor_interval_us > 0 && c->monitor_interval_us < look_us)
			look_us = c->monitor_interval_us;
		log_info("database", L_S("path", c->path), L_I("replicas", c->replicas_n));
		for (size_t k = 0; k < c->replicas_n; k++)
			log_info("replicating to", L_S("db", c->path), L_S("name", c->replicas[k].name),
				 L_S("to", d->dbs[i].ships[k].r.store->label),
				 L_MS("sync_interval", c->replicas[k].sync_interval_us / 1000));
	}
	if (d->en.watcher)
		watch_dirs(d);
	d->swept_us = mono_us();
	d->look = (struct loop_timer){ .fire = look_at_all };
	d->deadline = (struct loop_timer){ .fire = deadline_passed };
	d->look_us = look_us;
	loop_timer_set(d->en.loop, &d->look, mono_us() + look_us);
	return 0;
}

static void close_all(struct daemon *d)
{
	/* After a deadline or a second signal jobs may still be out, in a call that does not return: end
	 * without them. */
	if (d->en.pool && pool_out(d->en.pool) > 0) {
		log_warn("ending with work under way", L_I("jobs", pool_out(d->en.pool)));
		_exit(d->status);
	}
	for (size_t i = 0; i < d->dirs_n; i++) {
		watch_cancel(d->en.watcher, &d->dirs[i].w);
		free(d->dirs[i].dir);
	}
	free(d->dirs);
	for (size_t i = 0; i < d->n; i++)
		managed_fini(&d->dbs[i]);
	free(d->dbs);
	if (d->en.pool)
		pool_free(d->en.pool);
	if (d->en.watcher)
		watcher_free(d->en.watcher);
	if (d->en.loop) {
		loop_timer_cancel(d->en.loop, &d->look);
		loop_timer_cancel(d->en.loop, &d->deadline);
		signals_close(&d->signals);
		loop_free(d->en.loop);
	}
}

int daemon_run(const struct conf *c, struct err *e, int *ret_exit)
{
	struct daemon d = { .conf = c, .why = e };
	int rc = -1;
	*ret_exit = 0;
	if (c->dbs_n == 0)
		return err_set(e, ERR_CONFIG, "%s: no databases are configured (key dbs)",
			       c->file ? c->file : "command line");
	raise_limits();
	signals_block();
	srand48((long)mono_us() ^ getpid());
	log_info("walbrook", L_S("version", WALBROOK_VERSION), L_I("databases", c->dbs_n));
	if (open_engine(&d, e) == 0 && open_dbs(&d, e) == 0) {
		loop_before_sleep(d.en.loop, run_due, &d);
		loop_wake(d.en.loop);
		rc = loop_run(d.en.loop, e);
		if (d.broken)
			rc = -1;
		log_info("stopped", L_I("status", rc < 0 ? err_exit_code(e->kind) : d.status));
	}
	*ret_exit = d.status;
	close_all(&d);
	return rc;
}
