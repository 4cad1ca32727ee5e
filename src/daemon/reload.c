/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration is read again while the daemon runs (SIGHUP, `walbrook reload`).
 *
 * Happy path: the file is read and checked; for every database that is new, or whose settings have changed, a
 * struct is made (its replicas are set up, nothing is touched); then all is done that cannot fail: what is not
 * named any more leaves, what has changed is let go and taken on again where it ended, what has not changed
 * goes on untouched, and the directories are looked at anew.
 *
 * Failure modes: the file is not valid, or one of its databases cannot be served (the log says where; nothing
 * was changed, the old configuration stays in force); there is no file. What is set up once, at the start,
 * stays as it is, and the log says that it needs another start. What `addr` serves begins anew if its own keys
 * or files have changed, else nobody who is connected notices. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/http.h"
#include "daemon/parts.h"

struct plan {
	struct daemon *d;
	struct conf *c;
	bool *kept, *from_directory; /* one for each of d->dbs */
	struct managed *fresh;	     /* list by gone_next */
	struct names fresh_by_path;
	size_t kept_n, changed_n, added_n, removed_n;
};

static int usable(const struct conf *c, struct err *e)
{
	if (c->dbs_n == 0)
		return err_set(e, ERR_CONFIG, "%s: no databases are configured (key dbs)", c->file);
	for (size_t i = 0; i < c->dbs_n; i++)
		for (size_t k = 0; k < c->dbs[i].replicas_n; k++)
			if (conf_replica_check_keys(&c->dbs[i].replicas[k], e) < 0)
				return -1;
	return 0;
}

/* Settings of one database: it is kept if they are the same, else another one will take its place. */
static int plan_one(struct plan *p, const struct conf_db *db, bool from_directory, struct err *e)
{
	struct managed *m = set_find(p->d, db->path), *fresh;
	if (m && !m->leaving && conf_db_equal(&m->own, db)) {
		p->kept[m->set_at] = true;
		p->from_directory[m->set_at] = from_directory;
		p->kept_n++;
		return 0;
	}
	if (set_make(p->d, db, from_directory, &fresh, e) < 0)
		return -1;
	fresh->gone_next = p->fresh;
	p->fresh = fresh;
	if (m && !m->leaving)
		p->changed_n++;
	else
		p->added_n++;
	return names_add(&p->fresh_by_path, &fresh->by_path, fresh->own.path) < 0
		       ? err_set(e, ERR_FAIL, "no memory")
		       : 0;
}

/* One that no entry names: the first pattern that it fits gives its settings. */
static int plan_from_directory(struct plan *p, const struct managed *m, struct err *e)
{
	for (size_t i = 0; i < p->c->dbs_n; i++) {
		struct conf_db own;
		if (!p->c->dbs[i].is_template || !conf_db_matches(&p->c->dbs[i], m->own.path))
			continue;
		if (conf_db_instance(&p->c->dbs[i], m->own.path, &own, e) < 0)
			return -1;
		int rc = plan_one(p, &own, true, e);
		conf_db_free(&own);
		return rc;
	}
	return 0;
}

static int plan_all(struct plan *p, struct err *e)
{
	struct daemon *d = p->d;
	p->kept = calloc(d->n + 1, sizeof *p->kept);
	p->from_directory = calloc(d->n + 1, sizeof *p->from_directory);
	if (!p->kept || !p->from_directory)
		return err_set(e, ERR_FAIL, "no memory");
	for (size_t i = 0; i < p->c->dbs_n; i++)
		if (!p->c->dbs[i].is_template && plan_one(p, &p->c->dbs[i], false, e) < 0)
			return -1;
	for (size_t i = 0; i < d->n; i++) {
		const struct managed *m = d->dbs[i];
		if (p->kept[i] || m->leaving || names_find(&p->fresh_by_path, m->own.path))
			continue;
		if (plan_from_directory(p, m, e) < 0)
			return -1;
		p->removed_n += !p->kept[i] && !names_find(&p->fresh_by_path, m->own.path);
	}
	return 0;
}

static bool differ(const char *a, const char *b)
{
	return a != b && (!a || !b || strcmp(a, b) != 0);
}

static void say_needs_start(const struct conf *was, const struct conf *c)
{
	const struct {
		const char *key;
		bool differs;
	} keys[] = {
		{ "exec", differ(was->exec, c->exec) },
		{ "socket", differ(was->socket, c->socket) },
	};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (keys[i].differs)
			log_warn("a change takes effect only with the next start", L_S("key", keys[i].key));
}

static int keep_text(bool given, const char *was, char **at, bool *now_given, struct err *e)
{
	if (!given || !was)
		return 0;
	char *text = strdup(was);
	if (!text)
		return err_set(e, ERR_FAIL, "no memory");
	free(*at);
	*at = text;
	*now_given = true;
	return 0;
}

/* -exec and -addr go before what the file says, now as at the start. */
static int keep_given(const struct conf *was, struct conf *c, struct err *e)
{
	if (keep_text(was->exec_given, was->exec, &c->exec, &c->exec_given, e) < 0)
		return -1;
	return keep_text(was->addr_given, was->addr, &c->addr, &c->addr_given, e);
}

static void enter_fresh(struct plan *p)
{
	for (struct managed *m = p->fresh, *next; m; m = next) {
		next = m->gone_next;
		names_remove(&p->fresh_by_path, &m->by_path);
		set_enter(p->d, m);
	}
	p->fresh = NULL;
}

/* From here on nothing can fail. */
static void carry_out(struct plan *p)
{
	struct daemon *d = p->d;
	struct conf *old = d->reread;
	const struct conf *c = p->c;
	say_needs_start(d->conf, c);
	log_setup(c->log_level, c->log_json, c->log_stdout ? 1 : 2);
	set_forget_entering(d); /* they were planned anew */
	d->look_us = 1000000;
	for (size_t i = 0; i < d->n; i++) {
		struct managed *m = d->dbs[i];
		bool again = names_find(&p->fresh_by_path, m->own.path) != NULL;
		if (!p->kept[i]) {
			set_leave(d, m, again);
			continue;
		}
		m->from_directory = p->from_directory[i];
		if (m->own.monitor_interval_us > 0 && m->own.monitor_interval_us < d->look_us)
			d->look_us = m->own.monitor_interval_us;
	}
	d->served = true;
	d->conf = d->reread = p->c;
	p->c = NULL;
	d->en.follow_window_bytes = c->follow_window_bytes;
	http_again(&d->http, d);
	scan_again(d, old);
	enter_fresh(p);
	log_info("configuration read again", L_S("file", d->conf->file), L_I("unchanged", p->kept_n),
		 L_I("added", p->added_n), L_I("changed", p->changed_n), L_I("removed", p->removed_n));
}

static void plan_free(struct plan *p)
{
	for (struct managed *m = p->fresh, *next; m; m = next) {
		next = m->gone_next;
		set_unmake(m);
	}
	names_free(&p->fresh_by_path);
	free(p->kept);
	free(p->from_directory);
	conf_free(p->c);
}

static int refused(const struct daemon *d, const struct err *e)
{
	log_error("configuration cannot be used; the one before stays in force",
		  L_S("file", d->conf->file ? d->conf->file : "command line"), L_S("error", e->text));
	return -1;
}

static int reload(struct daemon *d, struct err *e)
{
	struct plan p = { .d = d };
	if (!d->conf->file) {
		err_set(e, ERR_NOTHING,
			"the database was given on the command line; there is no configuration "
			"to read again");
		log_warn("nothing to read again", L_S("reason", e->text));
		return -1;
	}
	if (d->en.stopping)
		return err_set(e, ERR_BUSY, "the daemon is stopping");
	if (conf_read(d->conf->file, d->conf->expand_env, &p.c, e) < 0)
		return refused(d, e);
	int rc = usable(p.c, e);
	if (rc == 0)
		rc = keep_given(d->conf, p.c, e);
	if (rc == 0)
		rc = plan_all(&p, e);
	if (rc == 0)
		carry_out(&p);
	else
		refused(d, e);
	plan_free(&p);
	return rc;
}

int reload_now(struct daemon *d, struct err *e)
{
	if (d->begun)
		service_reloading(d);
	int rc = reload(d, e);
	if (d->begun && !d->en.stopping)
		service_ready(d);
	return rc;
}
