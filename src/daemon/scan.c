/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories: names that come and go, and the databases in those that entries with a pattern are for.
 *
 * Happy path:
 *   1. the directory of every database, and every directory that an entry is for, is watched; then a job lists
 * it (the first time before anything else begins) and probes the files that fit
 *   2. a database that no entry names is taken on; a directory that may hold more is watched and listed, too
 *   3. a name that comes is probed; a name that goes, or comes again, gives its database a step, which finds
 * out
 *   4. a file that is empty or still being written stays a candidate: a one-shot watch or a timer probes it
 * again
 *
 * Failure modes: notifications are lost (all is listed again); there are no more watches, or somebody writes
 * from another machine (once a minute the directories whose time has changed are listed); a directory is not
 * there yet (the nearest one above it is watched); it cannot be read (said once, tried again with the sweep).
 *
 * A new configuration begins a scan of its own; the old one goes when its last job is back. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/parts.h"
#include "db/probe.h"

enum { LISTS_AT_ONCE = 2, PROBE_AGAIN_US = 1000000, TRUST_TIME_AFTER_US = 2000000 };

struct found {
	char *path;
	bool is_dir;
	enum db_probe is;
};

struct dir {
	struct named by_path;
	struct scan *s;
	char *path;
	struct watch w;
	bool root;  /* the configuration needs it: it stays, also while it is not there */
	bool looks; /* files in it may be databases of an entry */
	bool due, out, dead, said;
	int64_t changed_us; /* its time when it was listed; 0: it must not be trusted */
	struct dir *due_next;
	struct task task;
	struct found *found; /* these are the job's while it is out */
	size_t found_n, found_cap;
	struct err e;
};

/* A file that may become a database. */
struct candidate {
	struct named by_path;
	struct scan *s;
	char *path;
	struct watch w;
	struct loop_timer timer;
	struct task task;
	bool due, out, dead, watched; /* watched: it was probed since the watch was armed */
	enum db_probe is;
};

struct dirs_sweep {
	struct task task;
	struct scan *s;
	size_t n;
	struct {
		char *path;
		int64_t changed_us;
		bool differs;
	} items[];
};

struct scan {
	struct daemon *d;
	const struct conf_db **templates; /* borrowed from the configuration */
	size_t templates_n;
	struct names dirs, candidates;
	struct dir *due, **due_end;
	size_t out, lists_out;
	bool closing, sweeping, watches_said;
	struct conf *keeps; /* the configuration of a closing one; owned, NULL: somebody else's */
};

/* ---- what a name may be ---- */

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);
	return n > m && strcmp(name + n - m, end) == 0;
}

/* Files that somebody will rename or remove soon, also our own. */
static bool temporary(const char *name)
{
	static const char *const ends[] = { "~",	".tmp", ".temp",       ".part",
					    ".partial", ".swp", ".crdownload", ".walbrook-restore" };
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (ends_with(name, ends[i]))
			return true;
	const char *super = strstr(name, "-mj"); /* the journal of a transaction over several databases */
	return strncmp(name, "etilqs_", 7) == 0 ||
	       (super && strlen(super) > 3 && strspn(super + 3, "0123456789ABCDEF") == strlen(super + 3));
}

static const struct conf_db *template_for(const struct scan *s, const char *path)
{
	if (temporary(path_base(path)))
		return NULL;
	for (size_t i = 0; i < s->templates_n; i++)
		if (conf_db_matches(s->templates[i], path))
			return s->templates[i];
	return NULL;
}

/* A replica below the directory of an entry is full of directories that change, and of no databases. */
static bool descends(const struct scan *s, const char *dir)
{
	if (strcmp(path_base(dir), "generations") == 0)
		return false;
	for (size_t i = 0; i < s->templates_n; i++)
		if (conf_db_descends(s->templates[i], dir))
			return true;
	return false;
}

static bool below(const char *path, const char *dir)
{
	size_t n = strcmp(dir, "/") ? strlen(dir) : 0;
	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* ---- lists, on a worker ---- */

static int64_t time_of(const struct stat *st)
{
	return st->st_mtim.tv_sec * 1000000LL + st->st_mtim.tv_nsec / 1000;
}

static void add_found(struct dir *x, const char *path, bool is_dir, enum db_probe is)
{
	if (x->found_n == x->found_cap) {
		size_t cap = x->found_cap ? 2 * x->found_cap : 16;
		struct found *more = realloc(x->found, cap * sizeof *more);
		if (!more)
			return;
		x->found = more;
		x->found_cap = cap;
	}
	struct found f = { strdup(path), is_dir, is };
	if (f.path)
		x->found[x->found_n++] = f;
}

static void look_at_name(struct dir *x, int fd, const struct dirent *at)
{
	char path[PATH_BYTES];
	struct stat st;
	unsigned char type = at->d_type;
	if (at->d_name[0] == '.' || path_join(path, x->path, at->d_name) < 0)
		return;
	if (type == DT_UNKNOWN && fstatat(fd, at->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		type = S_ISDIR(st.st_mode)   ? DT_DIR
		       : S_ISREG(st.st_mode) ? DT_REG
		       : S_ISLNK(st.st_mode) ? DT_LNK
					     : 0;
	if (type == DT_DIR && descends(x->s, path)) {
		add_found(x, path, true, DB_PROBE_NONE);
	} else if ((type == DT_REG || type == DT_LNK) && template_for(x->s, path)) {
		enum db_probe is = db_probe(path);
		if (is != DB_PROBE_NONE)
			add_found(x, path, false, is);
	}
}

static int list_run(struct task *t)
{
	struct dir *x = OWNER_OF(t, struct dir, task);
	struct stat st;
	int fd = open(x->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	x->changed_us = 0;
	if (!d || fstat(fd, &st) < 0) {
		int sys = errno;
		if (d)
			closedir(d);
		else if (fd >= 0)
			close(fd);
		return err_sys(&x->e, sys, "%s: cannot be looked into", x->path);
	}
	/* A change within the resolution of the clock would not be seen by the time alone. */
	if (wall_us() - time_of(&st) > TRUST_TIME_AFTER_US)
		x->changed_us = time_of(&st);
	for (const struct dirent *at; (at = readdir(d));)
		look_at_name(x, fd, at);
	closedir(d);
	return 0;
}

/* ---- candidates ---- */

static void scan_free(struct scan *s);

static void job_back(struct scan *s)
{
	s->out--;
	if (s->closing && s->out == 0)
		scan_free(s);
}

static void candidate_drop(struct candidate *c)
{
	struct scan *s = c->s;
	names_remove(&s->candidates, &c->by_path);
	loop_timer_cancel(s->d->en.loop, &c->timer);
	if (s->d->en.watcher)
		watch_cancel(s->d->en.watcher, &c->w);
	c->dead = true;
	if (c->out)
		return; /* freed when the job is back */
	free(c->path);
	free(c);
}

static void probed(struct scan *s, const char *path, enum db_probe is);

static int probe_run(struct task *t)
{
	struct candidate *c = OWNER_OF(t, struct candidate, task);
	c->is = db_probe(c->path);
	return 0;
}

static void candidate_probe(struct candidate *c);

static void probe_done(struct task *t)
{
	struct candidate *c = OWNER_OF(t, struct candidate, task);
	struct scan *s = c->s;
	c->out = false;
	if (c->dead) {
		free(c->path);
		free(c);
	} else if (c->due) {
		candidate_probe(c);
	} else {
		probed(s, c->path, c->is);
	}
	job_back(s);
}

static void candidate_probe(struct candidate *c)
{
	if (c->s->d->en.stopping)
		return;
	c->due = c->out;
	if (c->out)
		return;
	c->out = true;
	c->s->out++;
	c->task = (struct task){ .run = probe_run, .done = probe_done, .class = TASK_QUICK };
	engine_submit(&c->s->d->en, &c->task);
}

static void candidate_timer(struct loop_timer *t)
{
	candidate_probe(OWNER_OF(t, struct candidate, timer));
}

static void candidate_written(struct watch *w, uint32_t mask, const char *name)
{
	(void)mask;
	(void)name;
	candidate_probe(OWNER_OF(w, struct candidate, w));
}

static struct candidate *candidate_for(struct scan *s, const char *path)
{
	struct named *x = names_find(&s->candidates, path);
	if (x)
		return x->owner;
	struct candidate *c = calloc(1, sizeof *c);
	if (!c || !(c->path = strdup(path)) || names_add(&s->candidates, &c->by_path, c->path) < 0) {
		free(c ? c->path : NULL);
		free(c);
		return NULL;
	}
	c->s = s;
	c->by_path.owner = c;
	c->w.changed = candidate_written;
	c->timer.fire = candidate_timer;
	return c;
}

static void take(struct scan *s, const char *path)
{
	struct daemon *d = s->d;
	struct managed *m = set_find(d, path), *fresh;
	const struct conf_db *t = template_for(s, path);
	struct conf_db own;
	struct err e;
	if ((m && !m->leaving) || set_awaits(d, path) || !t || d->en.stopping)
		return;
	if (conf_db_instance(t, path, &own, &e) < 0) {
		log_error("database is not replicated", L_S("db", path), L_S("error", e.text));
		return;
	}
	if (set_make(d, &own, true, &fresh, &e) < 0) {
		log_error("database is not replicated", L_S("db", path), L_S("error", e.text));
	} else {
		if (m)
			set_leave(d, m, true);
		set_enter(d, fresh);
	}
	conf_db_free(&own);
}

/* Empty: told by the watch from now on; probed once more, since it may have been written to before that. */
static void wait_for_content(struct candidate *c)
{
	struct err ignore;
	struct engine *en = &c->s->d->en;
	bool was = c->w.armed;
	bool armed = en->watcher && watch_arm(en->watcher, &c->w, c->path, WATCH_WRITES, &ignore) == 0;
	if (!armed || !was)
		loop_timer_set(en->loop, &c->timer, mono_us() + PROBE_AGAIN_US);
}

/* What a file is by now. */
static void probed(struct scan *s, const char *path, enum db_probe is)
{
	const struct managed *m = set_find(s->d, path);
	struct named *x = names_find(&s->candidates, path);
	bool known = m && !m->leaving;
	if (is == DB_PROBE_DATABASE && !known)
		take(s, path);
	if (known || is == DB_PROBE_DATABASE || is == DB_PROBE_NONE) {
		if (x)
			candidate_drop(x->owner);
		return;
	}
	struct candidate *c = candidate_for(s, path);
	if (c && is == DB_PROBE_EMPTY)
		wait_for_content(c);
	else if (c)
		loop_timer_set(s->d->en.loop, &c->timer, mono_us() + PROBE_AGAIN_US);
}

/* ---- directories ---- */

static void dir_due(struct dir *x)
{
	struct scan *s = x->s;
	if (x->due || !x->looks)
		return;
	x->due = true;
	if (x->out)
		return; /* again when the job is back */
	x->due_next = NULL;
	*s->due_end = x;
	s->due_end = &x->due_next;
}

static void dir_free(struct dir *x)
{
	for (size_t i = 0; i < x->found_n; i++)
		free(x->found[i].path);
	free(x->found);
	free(x->path);
	free(x);
}

static void dir_drop(struct dir *x)
{
	struct scan *s = x->s;
	names_remove(&s->dirs, &x->by_path);
	if (s->d->en.watcher)
		watch_cancel(s->d->en.watcher, &x->w);
	x->dead = true;
	if (!x->out && !x->due)
		dir_free(x);
}

static void names_changed(struct watch *w, uint32_t mask, const char *name);

static struct dir *dir_for(struct scan *s, const char *path)
{
	struct named *known = names_find(&s->dirs, path);
	if (known)
		return known->owner;
	struct dir *x = calloc(1, sizeof *x);
	if (!x || !(x->path = strdup(path)) || names_add(&s->dirs, &x->by_path, x->path) < 0) {
		free(x ? x->path : NULL);
		free(x);
		return NULL;
	}
	x->s = s;
	x->by_path.owner = x;
	x->w.changed = names_changed;
	return x;
}

/* Once for all: without a watch the sweep finds out. */
static void say_unwatched(struct scan *s, const struct err *e)
{
	if (s->watches_said || e->kind == ERR_NOTHING)
		return;
	s->watches_said = true;
	log_warn("a directory cannot be watched; what changes in it is found within a minute",
		 L_S("error", e->text));
}

/* Watches first, then lists, so that nothing comes in between. true: it is there. */
static bool dir_begin(struct dir *x)
{
	struct err e = ERR_INIT;
	struct watcher *w = x->s->d->en.watcher;
	bool there = true;
	if (w && watch_arm(w, &x->w, x->path, WATCH_NAMES, &e) < 0) {
		there = e.kind != ERR_NOTHING;
		say_unwatched(x->s, &e);
	}
	dir_due(x);
	return there;
}

/* One that the configuration needs, and while it is not there the nearest one above it. */
static void dir_need(struct scan *s, const char *path, bool looks)
{
	char at[PATH_BYTES], up[PATH_BYTES];
	snprintf(at, sizeof at, "%s", path);
	for (;;) {
		struct dir *x = dir_for(s, at);
		if (!x)
			return;
		x->root = true;
		x->looks = x->looks || (looks && strcmp(at, path) == 0);
		if (dir_begin(x) || path_dir(up, at) < 0 || strcmp(up, at) == 0)
			return;
		memcpy(at, up, sizeof at);
	}
}

/* A directory, and all in it, is not there any more, or under another name. */
static void tree_went(struct scan *s, const char *path)
{
	struct named **dirs = names_all(&s->dirs), **files = names_all(&s->candidates);
	struct daemon *d = s->d;
	for (size_t i = 0, n = s->dirs.n; dirs && i < n; i++) {
		struct dir *x = dirs[i]->owner;
		if (strcmp(x->path, path) != 0 && !below(x->path, path))
			continue;
		if (d->en.watcher)
			watch_cancel(d->en.watcher, &x->w);
		if (!x->root)
			dir_drop(x);
		else
			dir_need(s, x->path, x->looks);
	}
	for (size_t i = 0, n = s->candidates.n; files && i < n; i++) {
		struct candidate *c = files[i]->owner;
		if (below(c->path, path))
			candidate_drop(c);
	}
	for (size_t i = 0; i < d->n; i++) {
		if (!below(d->dbs[i]->own.path, path))
			continue;
		d->dbs[i]->sweep = true;
		managed_mark(d->dbs[i]);
	}
	free(dirs);
	free(files);
}

static void dir_came(struct scan *s, const char *path)
{
	struct named **dirs = names_find(&s->dirs, path) ? names_all(&s->dirs) : NULL;
	for (size_t i = 0, n = s->dirs.n; dirs && i < n; i++) {
		struct dir *x = dirs[i]->owner;
		if (!x->w.armed && (strcmp(x->path, path) == 0 || below(x->path, path)))
			dir_need(s, x->path, x->looks);
	}
	free(dirs);
	struct dir *x = descends(s, path) ? dir_for(s, path) : NULL;
	if (x) {
		x->looks = true;
		dir_begin(x);
	}
}

/* A file of a database: the database itself, its WAL, its index. */
static struct managed *owner_of_file(const struct daemon *d, const char *path)
{
	static const char *const ends[] = { "-wal", "-shm" };
	char base[PATH_BYTES];
	struct managed *m = set_find(d, path);
	for (size_t i = 0; !m && i < sizeof ends / sizeof *ends; i++) {
		if (!ends_with(path, ends[i]))
			continue;
		snprintf(base, sizeof base, "%.*s", (int)(strlen(path) - strlen(ends[i])), path);
		m = set_find(d, base);
	}
	return m;
}

static void file_changed(struct dir *x, const char *path, bool came)
{
	struct scan *s = x->s;
	struct managed *m = owner_of_file(s->d, path);
	struct named *known = names_find(&s->candidates, path);
	if (m && !m->leaving) {
		m->sweep = true;
		managed_mark(m);
		return;
	}
	if (known && !came) {
		candidate_drop(known->owner);
	} else if (came && x->looks && template_for(s, path)) {
		struct candidate *c = candidate_for(s, path);
		if (c)
			candidate_probe(c);
	}
}

static void names_changed(struct watch *w, uint32_t mask, const char *name)
{
	struct dir *x = OWNER_OF(w, struct dir, w);
	bool came = mask & (IN_CREATE | IN_MOVED_TO);
	char path[PATH_BYTES];
	if (mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED)) {
		snprintf(path, sizeof path, "%s", x->path);
		tree_went(x->s, path);
		return;
	}
	if (!*name || path_join(path, x->path, name) < 0)
		return;
	if (!(mask & IN_ISDIR))
		file_changed(x, path, came);
	else if (came)
		dir_came(x->s, path);
	else
		tree_went(x->s, path);
}

static void say_failed(struct dir *x)
{
	if (x->e.sys == ENOENT || x->e.sys == ENOTDIR) {
		if (x->root && !x->said)
			log_warn("directory is not there yet; waiting for it", L_S("dir", x->path));
	} else if (!x->said) {
		log_error("directory cannot be looked into", L_S("dir", x->path), L_S("error", x->e.text));
	}
	x->said = true;
}

static bool looked_into(const struct scan *s, const char *path)
{
	const struct named *x = names_find(&s->dirs, path);
	return x && ((const struct dir *)x->owner)->looks;
}

static void list_done(struct task *t)
{
	struct dir *x = OWNER_OF(t, struct dir, task);
	struct scan *s = x->s;
	x->out = false;
	s->lists_out--;
	if (!x->dead && !s->closing) {
		if (t->rc < 0)
			say_failed(x);
		else
			x->said = false;
		for (size_t i = 0; i < x->found_n; i++) {
			const struct found *f = &x->found[i];
			if (!f->is_dir)
				probed(s, f->path, f->is);
			else if (!looked_into(s, f->path))
				dir_came(s, f->path);
		}
	}
	for (size_t i = 0; i < x->found_n; i++)
		free(x->found[i].path);
	free(x->found);
	x->found = NULL;
	x->found_n = x->found_cap = 0;
	if (x->dead) {
		dir_free(x);
	} else if (x->due) {
		x->due = false;
		dir_due(x);
	}
	job_back(s);
}

/* The next directory that is due, taken off the list. */
static struct dir *next_due(struct scan *s)
{
	struct dir *x = s->due;
	if (x && !(s->due = x->due_next))
		s->due_end = &s->due;
	if (x)
		x->due = false;
	return x;
}

static void list_begin(struct scan *s, struct dir *x)
{
	x->out = true;
	s->out++;
	s->lists_out++;
	x->task = (struct task){ .run = list_run, .done = list_done, .class = TASK_QUICK };
}

void scan_turn(struct daemon *d)
{
	struct scan *s = d->scan;
	while (s && s->due && s->lists_out < LISTS_AT_ONCE && !d->en.stopping) {
		struct dir *x = next_due(s);
		if (x->dead) {
			dir_free(x);
			continue;
		}
		list_begin(s, x);
		engine_submit(&d->en, &x->task);
	}
}

bool scan_pending(const struct daemon *d)
{
	return d->scan && (d->scan->out > 0 || d->scan->due);
}

/* ---- the sweep ---- */

static int times_run(struct task *t)
{
	struct dirs_sweep *w = OWNER_OF(t, struct dirs_sweep, task);
	for (size_t i = 0; i < w->n; i++) {
		struct stat st;
		bool there = stat(w->items[i].path, &st) == 0;
		w->items[i].differs =
			there && (!w->items[i].changed_us || w->items[i].changed_us != time_of(&st));
	}
	return 0;
}

static void times_done(struct task *t)
{
	struct dirs_sweep *w = OWNER_OF(t, struct dirs_sweep, task);
	struct scan *s = w->s;
	s->sweeping = false;
	for (size_t i = 0; i < w->n; i++) {
		struct named *x = w->items[i].differs ? names_find(&s->dirs, w->items[i].path) : NULL;
		if (x && !s->closing)
			dir_begin(x->owner);
		free(w->items[i].path);
	}
	free(w);
	job_back(s);
}

void scan_sweep(struct daemon *d)
{
	struct scan *s = d->scan;
	if (!s || s->sweeping || s->templates_n == 0)
		return;
	struct named **dirs = names_all(&s->dirs), **files = names_all(&s->candidates);
	struct dirs_sweep *w = calloc(1, sizeof *w + s->dirs.n * sizeof *w->items);
	for (size_t i = 0; dirs && w && i < s->dirs.n; i++) {
		const struct dir *x = dirs[i]->owner;
		if (x->looks && !x->out && (w->items[w->n].path = strdup(x->path)))
			w->items[w->n++].changed_us = x->changed_us;
	}
	for (size_t i = 0, n = s->candidates.n; files && i < n; i++)
		candidate_probe(files[i]->owner);
	free(dirs);
	free(files);
	if (!w || w->n == 0) {
		free(w);
		return;
	}
	w->s = s;
	s->sweeping = true;
	s->out++;
	w->task = (struct task){ .run = times_run, .done = times_done, .class = TASK_QUICK };
	engine_submit(&d->en, &w->task);
}

void scan_everything(struct daemon *d)
{
	struct named **dirs = d->scan ? names_all(&d->scan->dirs) : NULL;
	for (size_t i = 0; dirs && i < d->scan->dirs.n; i++)
		dir_begin(dirs[i]->owner);
	free(dirs);
}

/* ---- beginning and end ---- */

void scan_watch(struct daemon *d, const char *db_path)
{
	char dir[PATH_BYTES];
	if (!d->scan || path_dir(dir, db_path) < 0)
		return;
	const struct named *x = names_find(&d->scan->dirs, dir);
	const struct dir *known = x ? x->owner : NULL;
	if (!known || (!known->w.armed && !known->looks))
		dir_need(d->scan, dir, false);
}

static int scan_new(struct daemon *d, struct err *e)
{
	struct scan *s = calloc(1, sizeof *s);
	if (!s || !(s->templates = calloc(d->conf->dbs_n + 1, sizeof *s->templates))) {
		free(s);
		return err_set(e, ERR_FAIL, "no memory");
	}
	s->d = d;
	s->due_end = &s->due;
	d->scan = s;
	for (size_t i = 0; i < d->conf->dbs_n; i++)
		if (d->conf->dbs[i].is_template)
			s->templates[s->templates_n++] = &d->conf->dbs[i];
	for (size_t i = 0; i < s->templates_n; i++) {
		log_info("databases in a directory", L_S("path", s->templates[i]->path),
			 L_I("replicas", s->templates[i]->replicas_n));
		dir_need(s, s->templates[i]->dir, true);
	}
	for (size_t i = 0; i < d->n; i++)
		scan_watch(d, d->dbs[i]->own.path);
	return 0;
}

int scan_open(struct daemon *d, struct err *e)
{
	if (scan_new(d, e) < 0)
		return -1;
	for (struct dir *x; (x = next_due(d->scan));) {
		list_begin(d->scan, x);
		x->task.rc = list_run(&x->task);
		list_done(&x->task);
	}
	return 0;
}

/* All that is watched or waited for goes at once, the rest with the last job. */
static void scan_end(struct scan *s)
{
	struct named **dirs = names_all(&s->dirs), **files = names_all(&s->candidates);
	for (size_t i = 0, n = s->candidates.n; files && i < n; i++)
		candidate_drop(files[i]->owner);
	for (struct dir *x; (x = next_due(s));)
		if (x->dead)
			dir_free(x);
	for (size_t i = 0, n = s->dirs.n; dirs && i < n; i++) {
		struct dir *x = dirs[i]->owner;
		x->due = false;
		dir_drop(x);
	}
	free(dirs);
	free(files);
	s->closing = true;
	s->out++;
	job_back(s);
}

static void scan_free(struct scan *s)
{
	names_free(&s->dirs);
	names_free(&s->candidates);
	conf_free(s->keeps);
	free(s->templates);
	free(s);
}

void scan_again(struct daemon *d, struct conf *old)
{
	struct err e;
	struct scan *s = d->scan;
	d->scan = NULL;
	s->keeps = old;
	scan_end(s);
	if (scan_new(d, &e) < 0)
		log_error("directories are not looked at any more", L_S("error", e.text));
}

void scan_close(struct daemon *d)
{
	if (d->scan)
		scan_end(d->scan);
	d->scan = NULL;
}
