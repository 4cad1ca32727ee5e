/* SPDX-License-Identifier: Apache-2.0
 *
 * Which databases there are: they enter and leave while the others go on.
 *
 * Happy path: one is made (nothing is touched), enters the set, and is marked for its first step. One that
 * leaves captures and ships what is left (managed.c) and is freed when no job of it is out any more. When its
 * settings have changed another one waits meanwhile to go on where it ended.
 *
 * Failure modes: two that would write to one place (the second is refused, unless the first is on its way out);
 * a replica that is not reached when one leaves (after 30 s it is let go, what is missing waits in the spool).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/parts.h"

struct managed *set_find(const struct daemon *d, const char *path)
{
	struct named *x = names_find(&d->by_path, path);
	return x ? OWNER_OF(x, struct managed, by_path) : NULL;
}

void set_unmake(struct managed *m)
{
	managed_fini(m);
	conf_db_free(&m->own);
	for (size_t i = 0; i < m->places_n; i++)
		free((char *)(uintptr_t)m->places[i].name);
	free(m->places);
	free(m);
}

/* The names of its places are its own, and in no table yet. */
static int name_places(struct managed *m, struct err *e)
{
	char text[2 * PATH_BYTES];
	m->places = calloc(m->own.replicas_n + 1, sizeof *m->places);
	for (size_t i = 0; m->places && i <= m->own.replicas_n; i++) {
		if (i == m->own.replicas_n)
			snprintf(text, sizeof text, "meta:%s", m->meta_dir);
		else if (conf_replica_place(&m->own.replicas[i], text, sizeof text) < 0)
			return err_set(e, ERR_CONFIG, "%s: the path of a replica is too long", m->own.path);
		if (!(m->places[i].name = strdup(text)))
			break;
		m->places_n++;
	}
	return m->places_n == m->own.replicas_n + 1 ? 0 : err_set(e, ERR_FAIL, "no memory");
}

int set_make(struct daemon *d, const struct conf_db *c, bool from_directory, struct managed **ret,
	     struct err *e)
{
	struct managed *m = calloc(1, sizeof *m);
	struct conf_db own;
	if (!m || conf_db_copy(c, &own, e) < 0) {
		free(m);
		return m ? -1 : err_set(e, ERR_FAIL, "no memory");
	}
	int rc = managed_init(m, &d->en, &own, d->conf->addr != NULL, e);
	m->own = own;
	m->conf = &m->own;
	m->from_directory = from_directory;
	if (rc < 0 || name_places(m, e) < 0) {
		set_unmake(m);
		return -1;
	}
	*ret = m;
	return 0;
}

/* The one in the set that has its path or one of its places. */
static struct managed *in_the_way(const struct daemon *d, const struct managed *m)
{
	struct managed *other = set_find(d, m->own.path);
	for (size_t i = 0; !other && i < m->places_n; i++) {
		const struct named *x = names_find(&d->places, m->places[i].name);
		other = x ? x->owner : NULL;
	}
	return other;
}

static void forget_places(struct daemon *d, struct managed *m)
{
	for (size_t i = 0; i < m->places_n; i++)
		names_remove(&d->places, &m->places[i]);
}

static bool register_one(struct daemon *d, struct managed *m)
{
	bool ok = names_add(&d->by_path, &m->by_path, m->own.path) == 0;
	for (size_t i = 0; ok && i < m->places_n; i++) {
		m->places[i].owner = m;
		ok = names_add(&d->places, &m->places[i], m->places[i].name) == 0;
	}
	if (ok && d->n == d->dbs_cap) {
		size_t cap = d->dbs_cap ? 2 * d->dbs_cap : 16;
		struct managed **more = realloc(d->dbs, cap * sizeof *more);
		ok = more != NULL;
		d->dbs = more ? more : d->dbs;
		d->dbs_cap = more ? cap : d->dbs_cap;
	}
	if (!ok) {
		names_remove(&d->by_path, &m->by_path);
		forget_places(d, m);
		return false;
	}
	m->set_at = d->n;
	d->dbs[d->n++] = m;
	return true;
}

static void say_entered(const struct managed *m)
{
	const struct conf_db *c = m->conf;
	log_info("database", L_S("path", c->path), L_I("replicas", c->replicas_n));
	for (size_t k = 0; k < c->replicas_n; k++)
		log_info("replicating to", L_S("db", c->path), L_S("name", c->replicas[k].name),
			 L_S("to", m->ships[k].r.store->label),
			 L_MS("sync_interval", c->replicas[k].sync_interval_us / 1000));
}

/* true: it is in, or refused; false: it has to wait. */
static bool try_enter(struct daemon *d, struct managed *m)
{
	struct managed *other = in_the_way(d, m);
	if (other && other->leaving)
		return false;
	if (other || !register_one(d, m)) {
		log_error("database is not replicated", L_S("db", m->own.path),
			  L_S("error",
			      other ? "its replica or metadata would be in the place of another one's; give "
				      "each its own path"
				    : "no memory"),
			  L_S("other", other ? other->own.path : ""));
		set_unmake(m);
		return true;
	}
	if (m->own.monitor_interval_us > 0 && m->own.monitor_interval_us < d->look_us)
		d->look_us = m->own.monitor_interval_us;
	say_entered(m);
	scan_watch(d, m->own.path);
	managed_mark(m);
	return true;
}

void set_enter(struct daemon *d, struct managed *m)
{
	if (try_enter(d, m))
		return;
	if (names_add(&d->entering_by_path, &m->by_path, m->own.path) < 0) {
		log_error("database is not replicated", L_S("db", m->own.path), L_S("error", "no memory"));
		set_unmake(m);
		return;
	}
	m->gone_next = d->entering;
	d->entering = m;
}

bool set_awaits(const struct daemon *d, const char *path)
{
	return names_find(&d->entering_by_path, path) != NULL;
}

/* Takes the list of those that wait. */
static struct managed *take_entering(struct daemon *d)
{
	struct managed *list = d->entering;
	for (struct managed *m = list; m; m = m->gone_next)
		names_remove(&d->entering_by_path, &m->by_path);
	d->entering = NULL;
	return list;
}

void set_forget_entering(struct daemon *d)
{
	for (struct managed *m = take_entering(d), *next; m; m = next) {
		next = m->gone_next;
		set_unmake(m);
	}
	for (size_t i = 0; i < d->n; i++)
		d->dbs[i]->handover = false;
}

void set_leave(struct daemon *d, struct managed *m, bool handover)
{
	(void)d;
	m->handover = m->handover || handover;
	managed_leave(m);
}

static void free_one(struct daemon *d, struct managed *m)
{
	log_info("database is let go", L_S("db", m->own.path));
	names_remove(&d->by_path, &m->by_path);
	forget_places(d, m);
	d->dbs[m->set_at] = d->dbs[--d->n];
	d->dbs[m->set_at]->set_at = m->set_at;
	set_unmake(m);
}

void set_turn(struct daemon *d)
{
	struct managed *list = d->en.gone;
	bool freed = false;
	d->en.gone = NULL;
	for (struct managed *m = list, *next; m; m = next) {
		next = m->gone_next;
		if (!m->marked) {
			free_one(d, m);
			freed = true;
			continue;
		}
		m->gone_next = d->en.gone; /* stands in the list of this moment: the next turn */
		d->en.gone = m;
	}
	if (!freed)
		return;
	for (struct managed *m = take_entering(d), *next; m; m = next) {
		next = m->gone_next;
		set_enter(d, m);
	}
}

int set_open(struct daemon *d, struct err *e)
{
	d->look_us = 1000000;
	for (size_t i = 0; i < d->conf->dbs_n; i++) {
		struct managed *m;
		if (d->conf->dbs[i].is_template)
			d->served = true; /* what is not there may come */
		else if (set_make(d, &d->conf->dbs[i], false, &m, e) < 0)
			return -1;
		else
			set_enter(d, m);
	}
	if (scan_open(d, e) < 0)
		return -1;
	sweep_start(d);
	return 0;
}

void set_close(struct daemon *d)
{
	sweep_stop(d);
	scan_close(d);
	set_forget_entering(d);
	for (size_t i = 0; i < d->n; i++) {
		forget_places(d, d->dbs[i]);
		set_unmake(d->dbs[i]);
	}
	free(d->dbs);
	names_free(&d->by_path);
	names_free(&d->places);
	names_free(&d->entering_by_path);
	conf_free(d->reread);
}
