/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration as a whole: where it is found, how the command line makes one, and the checks that concern
 * more than one replica.
 *
 *   1. conf_find() names the file: -config, the two variables, the two usual places
 *   2. read.c (a file) or conf_from_args() fills struct conf; every replica went through conf_replica_resolve()
 *   3. conf_check() collects every path and destination once, sorts them, and looks at neighbours, so ten
 * thousand databases cost no more than sorting them; entries for many databases (template.c) are few and are
 * compared with each
 *
 * Failure modes: two things that would write to one place are refused, with the lines of both. */
#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "conf/nearest.h"
#include "conf/options.h"
#include "conf/url.h"

enum { TEMPLATES_MAX = 200 };

static int no_configuration(const char *const *variables, const char *const *places, struct err *e)
{
	err_set(e, ERR_NOTHING,
		"no configuration: neither -config FILE nor %s nor %s is set, and neither %s nor %s exists",
		variables[0], variables[1], places[0], places[1]);
	return err_hint(e, "`man walbrook.yml` tells how to write one");
}

int conf_find(const char *given, char **ret_path, struct err *e)
{
	static const char *const variables[] = { "WALBROOK_CONFIG", "LITESTREAM_CONFIG" };
	static const char *const places[] = { "/etc/walbrook.yml", "/etc/litestream.yml" };
	const char *found = given && *given ? given : NULL, *from = "-config";
	char path[PATH_BYTES];
	for (size_t i = 0; i < 2 && !found; i++) {
		const char *v = getenv(variables[i]);
		found = v && *v ? v : NULL;
		from = variables[i];
	}
	if (found) {
		if (path_absolute(path, found, e) < 0)
			return err_wrap(e, "%s", from);
		if (access(path, F_OK) < 0 && errno == ENOENT)
			return err_set(e, ERR_CONFIG, "configuration file %s does not exist (named by %s)",
				       path, from);
	} else {
		for (size_t i = 0; i < 2 && !found; i++)
			found = access(places[i], F_OK) == 0 || errno != ENOENT ? places[i] : NULL;
		if (!found)
			return no_configuration(variables, places, e);
		snprintf(path, sizeof path, "%s", found);
	}
	*ret_path = strdup(path);
	return *ret_path ? 0 : err_sys(e, ENOMEM, "cannot keep the name of the configuration");
}

bool conf_socket(const struct conf *c, unsigned i, char *buf)
{
	static const char name[] = "control.sock";
	const char *own = getenv("XDG_RUNTIME_DIR");
	buf[0] = 0;
	if (c && c->socket)
		return i == 0 && snprintf(buf, PATH_BYTES, "%s", c->socket) < PATH_BYTES;
	if (i == 0)
		return snprintf(buf, PATH_BYTES, "/run/walbrook/%s", name) > 0;
	if (i > 1 || !own || own[0] != '/' ||
	    snprintf(buf, PATH_BYTES, "%s/walbrook/%s", own, name) >= PATH_BYTES)
		buf[0] = 0;
	return buf[0] != 0;
}

int conf_meta_dir(const struct conf_db *db, char *buf, struct err *e)
{
	const char *base = path_base(db->path);
	int n = db->meta_path ? snprintf(buf, PATH_BYTES, "%s", db->meta_path)
			      : snprintf(buf, PATH_BYTES, "%.*s.%s-litestream", (int)(base - db->path),
					 db->path, base);
	if (n < 0 || n >= PATH_BYTES)
		return err_set(e, ERR_CONFIG, "%.200s…: the path of its metadata directory is too long",
			       db->path);
	return 0;
}

/* Something that must not be in the same place as another: its identity and where it was written down. */
struct place {
	char *id;
	const struct conf_db *db;
	const struct conf_replica *replica; /* NULL: the database or its metadata directory */
	enum { PLACE_DB, PLACE_META, PLACE_REPLICA } what;
};

struct places {
	struct place *v;
	size_t n, cap;
	const struct conf *c;
};

static int place_add(struct places *s, struct place p, const char *id, struct err *e)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? 2 * s->cap : 64;
		struct place *v = realloc(s->v, cap * sizeof *v);
		if (!v)
			return err_sys(e, ENOMEM, "cannot compare the paths of the configuration");
		s->v = v;
		s->cap = cap;
	}
	if (!(p.id = strdup(id)))
		return err_sys(e, ENOMEM, "cannot compare the paths of the configuration");
	s->v[s->n++] = p;
	return 0;
}

static int place_order(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int d = strcmp(x->id, y->id);
	if (d)
		return d;
	if (x->db != y->db)
		return x->db < y->db ? -1 : 1;
	return x->replica < y->replica ? -1 : x->replica > y->replica;
}

/* "FILE:LINE:COLUMN: " of what is wrong, or nothing for the command line. */
static const char *where(const struct places *s, const struct place *p, char *buf, size_t size)
{
	unsigned line = p->replica ? p->replica->line : p->db->line;
	unsigned column = p->replica ? p->replica->column : p->db->column;
	if (s->c->file && line)
		snprintf(buf, size, "%s:%u:%u: ", s->c->file, line, column);
	else
		buf[0] = 0;
	return buf;
}

/* " (the other one stands in line N)" */
static const char *other(const struct place *p, char *buf, size_t size)
{
	unsigned line = p->replica ? p->replica->line : p->db->line;
	if (line)
		snprintf(buf, size, " (the other one is in line %u)", line);
	else
		buf[0] = 0;
	return buf;
}

static int same_place(const struct places *s, const struct place *a, const struct place *b, struct err *e)
{
	char at[PATH_BYTES], first[64], shown[PATH_BYTES];
	where(s, b, at, sizeof at);
	other(a, first, sizeof first);
	switch (b->what) {
	case PLACE_DB:
		return err_set(e, ERR_CONFIG, "%sthe database %s is configured twice%s; leave out one of them",
			       at, b->db->path, first);
	case PLACE_META:
		return err_set(e, ERR_CONFIG,
			       "%stwo databases use the metadata directory %s%s; give each its own meta-path",
			       at, strchr(b->id, ':') + 1, first);
	case PLACE_REPLICA:
		break;
	}
	return err_set(e, ERR_CONFIG,
		       "%stwo replicas are on %s%s; they would overwrite each other. Give each its own path",
		       at, conf_replica_shown(b->replica, shown), first);
}

int conf_replica_place(const struct conf_replica *r, char *buf, size_t size)
{
	const char *path = r->path ? r->path : "";
	size_t path_n = strlen(path);
	int n;
	while (path_n > 1 && path[path_n - 1] == '/')
		path_n--;
	if (r->bucket)
		n = snprintf(buf, size, "%s:%s|%s|%s|%.*s", r->type, r->endpoint ? r->endpoint : "",
			     r->account_name ? r->account_name : "", r->bucket, (int)path_n, path);
	else if (r->host)
		n = snprintf(buf, size, "%s:%s|%s|%.*s", r->type, r->host, path[0] == '/' ? "" : r->user,
			     (int)path_n, path);
	else
		n = snprintf(buf, size, "%s:%s", r->type, path);
	return n < 0 || (size_t)n >= size ? -1 : 0;
}

static int places_collect(struct places *s, struct err *e)
{
	char id[2 * PATH_BYTES], dir[PATH_BYTES], at[PATH_BYTES];
	for (size_t i = 0; i < s->c->dbs_n; i++) {
		const struct conf_db *d = &s->c->dbs[i];
		struct place p = { .db = d, .what = PLACE_DB };
		snprintf(id, sizeof id, "db:%s", d->path);
		if (place_add(s, p, id, e) < 0 || conf_meta_dir(d, dir, e) < 0)
			return -1;
		p.what = PLACE_META;
		snprintf(id, sizeof id, "meta:%s", dir);
		if ((!d->is_template || d->meta_path) && place_add(s, p, id, e) < 0)
			return -1;
		p.what = PLACE_REPLICA;
		for (size_t k = 0; k < d->replicas_n; k++) {
			p.replica = &d->replicas[k];
			if (conf_replica_place(p.replica, id, sizeof id) < 0)
				return err_set(e, ERR_CONFIG, "%sthe place of the replica is too long",
					       where(s, &p, at, sizeof at));
			if (place_add(s, p, id, e) < 0)
				return -1;
		}
	}
	return 0;
}

static const struct place *place_find(const struct places *s, const char *kind, const char *path, size_t n)
{
	char id[2 * PATH_BYTES];
	size_t low = 0, high = s->n;
	snprintf(id, sizeof id, "%s:%.*s", kind, (int)n, path);
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(s->v[middle].id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->n && strcmp(s->v[low].id, id) == 0 ? &s->v[low] : NULL;
}

/* A file replica must not lie where a database or our own state does. */
static int replica_apart(const struct places *s, const struct place *p, struct err *e)
{
	static const char *const beside[] = { "", "-wal", "-shm", "-journal" };
	char at[PATH_BYTES];
	const char *path = p->replica->path;
	size_t n = strlen(path);
	where(s, p, at, sizeof at);
	for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
		size_t end = strlen(beside[i]);
		if (n <= end || strcmp(path + n - end, beside[i]) != 0)
			continue;
		const struct place *db = place_find(s, "db", path, n - end);
		if (db)
			return err_set(
				e, ERR_CONFIG,
				"%sthe replica %s is %s the database %s itself; give it a directory elsewhere",
				at, path, i == 0 ? "on" : "on a file of", db->db->path);
	}
	for (size_t i = 1; i <= n; i++) {
		const struct place *meta = path[i] == '/' || i == n ? place_find(s, "meta", path, i) : NULL;
		if (meta)
			return err_set(e, ERR_CONFIG,
				       "%sthe replica %s is inside %s, the metadata directory of the database "
				       "%s, which is "
				       "emptied as needed; give it a directory elsewhere",
				       at, path, strchr(meta->id, ':') + 1, meta->db->path);
	}
	return 0;
}

static int check_names(const struct places *s, const struct conf_db *d, struct err *e)
{
	char at[PATH_BYTES], first[64];
	for (size_t i = 0; i < d->replicas_n; i++)
		for (size_t k = 0; k < i; k++) {
			const struct place p = { .db = d, .replica = &d->replicas[i] },
					   q = { .db = d, .replica = &d->replicas[k] };
			if (strcmp(p.replica->name, q.replica->name) == 0)
				return err_set(
					e, ERR_CONFIG,
					"%stwo replicas of %s are named \"%s\"%s; give each its own name: …",
					where(s, &p, at, sizeof at), d->path, p.replica->name,
					other(&q, first, sizeof first));
		}
	return 0;
}

/* The rest of a path inside of a directory, NULL if it is not inside. Both are places as they are compared. */
static const char *inside(const char *directory, const char *path)
{
	size_t n = strlen(directory);
	while (n > 0 && directory[n - 1] == '/')
		n--;
	return strncmp(directory, path, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* A file replica must not be among the databases of a template: its directory would be taken for one of theirs,
 * or, when the scan goes down, be searched again and again. */
static int apart_from_template(const struct places *s, const struct place *p, const struct conf_db *t,
			       struct err *e)
{
	char at[PATH_BYTES];
	const char *path = p->replica->path;
	if (strcmp(p->replica->type, replica_types[REPLICA_FILE].name) != 0 || !conf_db_descends(t, path))
		return 0;
	return err_set(e, ERR_CONFIG,
		       "%sthe replica %s is %s the databases of %s; give it a directory elsewhere",
		       where(s, p, at, sizeof at), path,
		       strcmp(path, t->dir) == 0 ? "in one directory with" : "among", t->path);
}

/* Each database of a template has its replica in a directory below the one that is written down. Another
 * replica must not be where one of those comes to be, unless it is of this very database. */
static int apart_from_replica(const struct places *s, const struct place *p, const struct place *t,
			      struct err *e)
{
	char at[PATH_BYTES], first[64], db[2 * PATH_BYTES];
	const char *rest = p->db == t->db ? NULL : inside(t->id, p->id);
	if (!rest)
		return 0;
	snprintf(db, sizeof db, "%s/%s", strcmp(t->db->dir, "/") ? t->db->dir : "", rest);
	if (!p->db->is_template && (strcmp(p->db->path, db) == 0 || !conf_db_fits(t->db, rest)))
		return 0;
	if (p->db->is_template && !t->db->recursive && !strchr(t->db->pattern, '/'))
		return 0;
	return err_set(e, ERR_CONFIG,
		       "%sthis replica lies where %s would have that of its database %s%s; give it a directory "
		       "elsewhere",
		       where(s, p, at, sizeof at), t->db->path, db, other(t, first, sizeof first));
}

static int check_templates(const struct places *s, struct err *e)
{
	size_t templates = 0;
	char at[PATH_BYTES];
	for (size_t i = 0; i < s->n; i++) {
		const struct place *t = &s->v[i];
		if (!t->db->is_template || t->what == PLACE_META)
			continue;
		if (t->what == PLACE_DB && ++templates > TEMPLATES_MAX)
			return err_set(e, ERR_CONFIG, "%smore than %d entries with dir or a pattern",
				       where(s, t, at, sizeof at), TEMPLATES_MAX);
		for (size_t k = 0; k < s->n; k++)
			if (s->v[k].what == PLACE_REPLICA &&
			    (t->what == PLACE_DB ? apart_from_template(s, &s->v[k], t->db, e)
						 : apart_from_replica(s, &s->v[k], t, e)) < 0)
				return -1;
	}
	return 0;
}

static int check_places(struct places *s, struct err *e)
{
	if (places_collect(s, e) < 0)
		return -1;
	if (s->n > 0)
		qsort(s->v, s->n, sizeof *s->v, place_order);
	for (size_t i = 1; i < s->n; i++)
		if (strcmp(s->v[i - 1].id, s->v[i].id) == 0)
			return same_place(s, &s->v[i - 1], &s->v[i], e);
	for (size_t i = 0; i < s->n; i++)
		if (s->v[i].what == PLACE_REPLICA &&
		    strcmp(s->v[i].replica->type, replica_types[REPLICA_FILE].name) == 0 &&
		    replica_apart(s, &s->v[i], e) < 0)
			return -1;
	return check_templates(s, e);
}

/* Keys of `addr` that belong together, or do not. */
static int check_serving(const struct conf *c, struct err *e)
{
	const char *file = c->file ? c->file : "command line";
	if (!c->tls_cert_file != !c->tls_key_file)
		return err_set(e, ERR_CONFIG, "%s: tls-cert-file and tls-key-file go together", file);
	if (c->tls_client_ca_file && !c->tls_cert_file)
		return err_set(e, ERR_CONFIG, "%s: tls-client-ca-file needs tls-cert-file and tls-key-file",
			       file);
	if (c->open_to_all && c->token_file)
		return err_set(e, ERR_CONFIG,
			       "%s: open-to-all asks nobody for a token, and token-file everybody; remove one",
			       file);
	return 0;
}

int conf_check(const struct conf *c, struct err *e)
{
	struct places s = { .c = c };
	int rc = check_serving(c, e);
	for (size_t i = 0; i < c->dbs_n && rc == 0; i++)
		rc = check_names(&s, &c->dbs[i], e);
	if (rc == 0)
		rc = check_places(&s, e);
	for (size_t i = 0; i < s.n; i++)
		free(s.v[i].id);
	free(s.v);
	return rc;
}

/* The second file replica is file-2, and so on; the table of replicas is short. */
static int name_apart(struct conf_db *d, size_t at, struct err *e)
{
	struct conf_replica *r = &d->replicas[at];
	unsigned same = 1;
	for (size_t i = 0; i < at; i++)
		same += strcmp(d->replicas[i].type, r->type) == 0;
	if (same == 1)
		return 0;
	char name[64];
	snprintf(name, sizeof name, "%s-%u", r->type, same);
	char *copy = strdup(name);
	if (!copy)
		return err_sys(e, ENOMEM, "cannot keep the name of a replica");
	free(r->name);
	r->name = copy;
	return 0;
}

static int fill_from_args(struct conf *c, const char *db, const char *const *urls, size_t n, struct err *e)
{
	char path[PATH_BYTES];
	if (option_defaults(SCOPE_TOP, c, e) < 0)
		return -1;
	if (url_like(db))
		return err_set(e, ERR_USAGE,
			       "the database comes first, then the places to copy to, but \"%s\" is a URL",
			       url_shown(path, db));
	if (!(c->dbs = calloc(1, sizeof *c->dbs)))
		return err_sys(e, ENOMEM, "cannot make a configuration");
	c->dbs_n = 1;
	struct conf_db *d = c->dbs;
	if (option_defaults(SCOPE_DB, d, e) < 0 || path_absolute(path, db, e) < 0)
		return err_wrap(e, "database \"%.200s\"", db);
	if (!(d->path = strdup(path)) || !(d->replicas = calloc(n ? n : 1, sizeof *d->replicas)))
		return err_sys(e, ENOMEM, "cannot make a configuration");
	for (size_t i = 0; i < n; i++) {
		if (conf_replica_from_text(urls[i], &d->replicas[i], e) < 0)
			return -1;
		d->replicas_n++;
		if (name_apart(d, i, e) < 0)
			return -1;
	}
	return conf_check(c, e);
}

int conf_from_args(const char *db, const char *const *urls, size_t n, struct conf **ret, struct err *e)
{
	struct conf *c = calloc(1, sizeof *c);
	if (!c)
		return err_sys(e, ENOMEM, "cannot make a configuration");
	if (fill_from_args(c, db, urls, n, e) < 0) {
		if (e->kind == ERR_CONFIG)
			e->kind = ERR_USAGE; /* there is no file: the words of the command are wrong */
		conf_free(c);
		return -1;
	}
	*ret = c;
	return 0;
}

const char *conf_upstream_path(const struct conf_db *db)
{
	return db->upstream_path ? db->upstream_path : db->path;
}

/* The address without what is behind host and port; what is behind it is the path on the primary. */
static int take_upstream(struct conf_db *d, const char *url, const char *path, struct err *e)
{
	struct url u;
	const char *host = strstr(url, "://"), *behind = host ? strchr(host + 3, '/') : NULL;
	const struct option *at = option_find(SCOPE_UPSTREAM, "url");
	char *base = strndup(url, behind ? (size_t)(behind - url) : strlen(url));
	int rc = base ? option_set(at, d, base, e) : err_sys(e, ENOMEM, "cannot make a configuration");
	free(base);
	if (rc == 0 && !d->upstream_url)
		rc = err_set(e, ERR_CONFIG, "the address of the primary is empty");
	if (rc == 0 && !path && behind && behind[1]) {
		rc = url_parse(url, &u, e);
		path = rc == 0 && u.path[0] ? u.path : NULL;
	}
	if (rc == 0 && path)
		rc = option_set(option_find(SCOPE_UPSTREAM, "path"), d, path, e);
	return rc;
}

int conf_follow_from_args(const char *url, const char *db, const char *path, const char *const *urls, size_t n,
			  struct conf **ret, struct err *e)
{
	if (conf_from_args(db, urls, n, ret, e) < 0)
		return -1;
	if (take_upstream((*ret)->dbs, url, path, e) == 0)
		return 0;
	if (e->kind == ERR_CONFIG)
		e->kind = ERR_USAGE;
	conf_free(*ret);
	return -1;
}

const struct conf_db *conf_db_find(const struct conf *c, const char *absolute_path)
{
	for (size_t i = 0; i < c->dbs_n; i++)
		if (!c->dbs[i].is_template && strcmp(c->dbs[i].path, absolute_path) == 0)
			return &c->dbs[i];
	return NULL;
}

static const struct conf_db *not_there(const struct conf *c, const char *path, struct err *e)
{
	struct nearest near = NEAREST_OF(path);
	for (size_t i = 0; i < c->dbs_n; i++)
		if (!c->dbs[i].is_template)
			nearest_offer(&near, c->dbs[i].path);
	err_set(e, ERR_CONFIG, "the database %.300s is not in the configuration %.300s", path,
		c->file ? c->file : "");
	if (near.best)
		err_hint(e, "Did you mean %.300s?", near.best);
	return NULL;
}

const struct conf_db *conf_db_get(struct conf *c, const char *absolute_path, struct err *e)
{
	const struct conf_db *found = conf_db_find(c, absolute_path);
	for (size_t i = 0; i < c->instances_n && !found; i++)
		if (strcmp(c->instances[i]->path, absolute_path) == 0)
			found = c->instances[i];
	for (size_t i = 0; i < c->dbs_n && !found; i++) {
		if (!conf_db_matches(&c->dbs[i], absolute_path))
			continue;
		struct conf_db **v = reallocarray(c->instances, c->instances_n + 1, sizeof *v);
		if (v)
			c->instances = v;
		struct conf_db *made = v ? calloc(1, sizeof *made) : NULL;
		if (!made || conf_db_instance(&c->dbs[i], absolute_path, made, e) < 0) {
			free(made);
			if (!v || !made)
				err_sys(e, ENOMEM, "cannot make the settings of %s", absolute_path);
			return NULL;
		}
		found = c->instances[c->instances_n++] = made;
	}
	return found ? found : not_there(c, absolute_path, e);
}

void conf_origins_free(struct conf_origin *origins)
{
	for (size_t i = 0; origins && i < options_n; i++)
		free(origins[i].variable);
	free(origins);
}

void conf_db_free(struct conf_db *db)
{
	for (size_t k = 0; k < db->replicas_n; k++)
		conf_replica_free(&db->replicas[k]);
	free(db->replicas);
	conf_origins_free(db->origins);
	options_free(SCOPE_DB, db);
	*db = (struct conf_db){ 0 };
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->dbs_n; i++)
		conf_db_free(&c->dbs[i]);
	for (size_t i = 0; i < c->instances_n; i++) {
		conf_db_free(c->instances[i]);
		free(c->instances[i]);
	}
	free(c->dbs);
	free(c->instances);
	free(c->file);
	conf_origins_free(c->origins);
	options_free(SCOPE_TOP, c);
	free(c);
}
