/* SPDX-License-Identifier: Apache-2.0
 *
 * One replica: from what was written to what is meant.
 *
 *   1. the type: the scheme of `url`, else `type`, else file
 *   2. keys that mean nothing for this type are refused
 *   3. what the URL tells goes into the fields that are still empty; to say the same thing twice is refused. A
 * file replica ends up with its path alone
 *   4. what the type needs must be there; the directory of a file replica becomes absolute
 *   5. keys of age are checked down to their checksum (conf/age.c)
 *
 * Failure modes: every refusal names the key at fault, so that the reader of the file can point at its line.
 * Secrets (passwords in URLs, age identities) never appear in a text. */
#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "conf/nearest.h"
#include "conf/options.h"
#include "conf/url.h"

static int keep(char **to, const char *text, struct err *e)
{
	char *copy = strdup(text);
	if (!copy)
		return err_sys(e, ENOMEM, "cannot keep the settings of a replica");
	free(*to);
	*to = copy;
	return 0;
}

static int keep_if_empty(char **to, const char *text, struct err *e)
{
	return *to || !*text ? 0 : keep(to, text, e);
}

static const char *known_types(char *buf, size_t size)
{
	size_t n = 0;
	for (size_t i = 0; i < REPLICA_TYPES_N && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s%s",
				      i == 0			? ""
				      : i + 1 < REPLICA_TYPES_N ? ", "
								: " and ",
				      replica_types[i].name);
	return buf;
}

static int type_of(const char *name, const char *what, enum replica_type *ret, struct err *e)
{
	char known[128];
	struct nearest near = NEAREST_OF(name);
	if (replica_type_find(name, ret) == 0)
		return 0;
	for (size_t i = 0; i < REPLICA_TYPES_N; i++)
		nearest_offer(&near, replica_types[i].name);
	err_set(e, ERR_CONFIG, "%s \"%.40s\" is not known; there are %s", what, name,
		known_types(known, sizeof known));
	return near.best ? err_hint(e, "Did you mean %s?", near.best) : -1;
}

/* Step 1. */
static int find_type(struct conf_replica *r, const struct url *u, enum replica_type *ret, const char **ret_key,
		     struct err *e)
{
	enum replica_type by_key;
	*ret_key = "type";
	if (r->type && type_of(r->type, "the replica type", &by_key, e) < 0)
		return -1;
	if (!r->url) {
		*ret = r->type ? by_key : REPLICA_FILE;
	} else {
		*ret_key = "url";
		if (type_of(u->scheme, "the scheme of the replica URL", ret, e) < 0)
			return -1;
		*ret_key = "type";
		if (r->type && by_key != *ret)
			return err_set(e, ERR_CONFIG,
				       "type says %s, but the URL is one of %s; leave out one of them", r->type,
				       replica_types[*ret].name);
	}
	return keep(&r->type, replica_types[*ret].name, e);
}

/* Step 2. */
static int check_keys(const struct conf_replica *r, enum replica_type type, const char **ret_key, struct err *e)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		char known[128] = "";
		if (o->scope != SCOPE_REPLICA || !o->types || o->types & 1u << type || !option_given(o, r))
			continue;
		for (unsigned t = 0; t < REPLICA_TYPES_N; t++)
			if (o->types & 1u << t)
				snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s",
					 *known ? ", " : "", replica_types[t].name);
		*ret_key = o->name;
		return err_set(e, ERR_CONFIG, "%s has no meaning for a replica of type %s; it is for %s",
			       o->name, replica_types[type].name, known);
	}
	return 0;
}

static int not_both(const struct conf_replica *r, const char *key, const char *value, const char **ret_key,
		    struct err *e)
{
	if (!r->url || !value)
		return 0;
	*ret_key = key;
	return err_set(e, ERR_CONFIG,
		       "a replica of type %s takes either url or %s, not both; leave out one of them", r->type,
		       key);
}

static int needed(const struct conf_replica *r, const char *key, const char *value, const char **ret_key,
		  struct err *e)
{
	if (value)
		return 0;
	*ret_key = r->url ? "url" : NULL;
	if (r->url)
		return err_set(e, ERR_CONFIG,
			       "the URL of the replica does not tell its %s; give it there or as %s: …", key,
			       key);
	return err_set(e, ERR_CONFIG, "a replica of type %s needs %s, or a url that contains it", r->type, key);
}

static int resolve_file(struct conf_replica *r, const struct url *u, const char **ret_key, struct err *e)
{
	char path[PATH_BYTES];
	if (not_both(r, "path", r->path, ret_key, e) < 0)
		return -1;
	if (!r->url && !r->path) {
		*ret_key = NULL;
		return err_set(
			e, ERR_CONFIG,
			"a replica needs the place to copy to: path: DIRECTORY, or url: file:///DIRECTORY, "
			"s3://BUCKET/PATH or the like");
	}
	*ret_key = r->url ? "url" : "path";
	if (path_absolute(path, r->url ? u->path : r->path, e) < 0)
		return err_wrap(e, "path");
	if (strcmp(path, "/") == 0)
		return err_set(e, ERR_CONFIG,
			       "the root directory cannot be a replica; give it a directory of its own");
	free(r->url); /* the path says all, without a second way of reading it */
	r->url = NULL;
	return keep(&r->path, path, e);
}

/* The path of a URL becomes the beginning of object names: without its leading slash. */
static int resolve_bucket(struct conf_replica *r, const struct url *u, enum replica_type type,
			  const char **ret_key, struct err *e)
{
	struct s3_host h = { 0 };
	bool own_endpoint = r->endpoint != NULL;
	if (not_both(r, "path", r->path, ret_key, e) < 0 || not_both(r, "bucket", r->bucket, ret_key, e) < 0)
		return -1;
	if (type == REPLICA_S3)
		s3_host_parse(u->host, &h);
	else
		snprintf(h.bucket, sizeof h.bucket, "%s", u->host);
	if (keep_if_empty(&r->bucket, h.bucket, e) < 0 || keep_if_empty(&r->region, h.region, e) < 0 ||
	    keep_if_empty(&r->endpoint, h.endpoint, e) < 0 ||
	    keep_if_empty(&r->path, u->path[0] ? u->path + 1 : "", e) < 0)
		return -1;
	if (type == REPLICA_ABS && keep_if_empty(&r->account_name, u->user, e) < 0)
		return -1;
	if (type == REPLICA_S3 && r->force_path_style < 0)
		r->force_path_style = own_endpoint || h.path_style;
	return needed(r, "bucket", r->bucket, ret_key, e);
}

static int resolve_sftp(struct conf_replica *r, const struct url *u, const char **ret_key, struct err *e)
{
	if (not_both(r, "path", r->path, ret_key, e) < 0 || not_both(r, "host", r->host, ret_key, e) < 0)
		return -1;
	if (keep_if_empty(&r->host, u->host, e) < 0 || keep_if_empty(&r->user, u->user, e) < 0 ||
	    keep_if_empty(&r->password, u->password, e) < 0 || keep_if_empty(&r->path, u->path, e) < 0)
		return -1;
	return needed(r, "host", r->host, ret_key, e) < 0 ? -1 : needed(r, "user", r->user, ret_key, e);
}

static int make_url(struct conf_replica *r, enum replica_type type, struct err *e)
{
	char url[URL_BYTES];
	const char *path = r->path ? r->path : "";
	const char *slash = *path && !(type == REPLICA_SFTP && *path == '/') ? "/" : "";
	if (r->url || type == REPLICA_FILE)
		return 0;
	if (type == REPLICA_SFTP)
		snprintf(url, sizeof url, "sftp://%s@%s%s%s", r->user, r->host, slash, path);
	else if (type == REPLICA_ABS && r->account_name)
		snprintf(url, sizeof url, "abs://%s@%s%s%s", r->account_name, r->bucket, slash, path);
	else
		snprintf(url, sizeof url, "%s://%s%s%s", r->type, r->bucket, slash, path);
	return keep(&r->url, url, e);
}

static int check_rest(struct conf_replica *r, const char **ret_key, struct err *e)
{
	*ret_key = "retention-check-interval";
	if (r->retention_us > 0 && r->retention_check_interval_us == 0)
		return err_set(
			e, ERR_CONFIG,
			"retention-check-interval is 0, so retention would never delete anything; give it a "
			"time such as 1h, or switch retention off with retention: 0");
	*ret_key = "age";
	if (conf_replica_check_keys(r, e) < 0)
		return -1;
	*ret_key = NULL;
	return r->name ? 0 : keep(&r->name, r->type, e);
}

int conf_replica_resolve(struct conf_replica *r, const char **ret_key, struct err *e)
{
	struct url u = { 0 };
	enum replica_type type;
	*ret_key = "path";
	if (r->path && url_like(r->path))
		return err_set(e, ERR_CONFIG, "path is a URL; write it as url: instead of path:");
	*ret_key = "url";
	if (r->url && r->url[0] == '/' && !url_like(r->url))
		return err_set(e, ERR_CONFIG,
			       "url is a path without a scheme; write path: %.200s or url: file://%.200s",
			       r->url, r->url);
	if (r->url && url_parse(r->url, &u, e) < 0)
		return -1;
	if (find_type(r, &u, &type, ret_key, e) < 0 || check_keys(r, type, ret_key, e) < 0)
		return -1;
	int rc = type == REPLICA_FILE	? resolve_file(r, &u, ret_key, e)
		 : type == REPLICA_SFTP ? resolve_sftp(r, &u, ret_key, e)
					: resolve_bucket(r, &u, type, ret_key, e);
	return rc < 0 || make_url(r, type, e) < 0 ? -1 : check_rest(r, ret_key, e);
}

int conf_replica_from_text(const char *text, struct conf_replica *ret, struct err *e)
{
	struct conf_replica r = { 0 };
	const char *key;
	int rc = option_defaults(SCOPE_REPLICA, &r, e);
	if (rc == 0 && !url_like(text) && !strchr(text, '/'))
		rc = err_set(e, ERR_CONFIG,
			     "\"%.200s\" is not the place of a replica: write a URL such as file:///%s or "
			     "s3://bucket/path, or a "
			     "directory with a slash in it such as ./%s",
			     text, *text ? "backup" : "path", *text ? text : "backup");
	if (rc == 0)
		rc = url_like(text) ? keep(&r.url, text, e) : keep(&r.path, text, e);
	if (rc == 0)
		rc = conf_replica_resolve(&r, &key, e);
	if (rc < 0)
		conf_replica_free(&r);
	else
		*ret = r;
	return rc;
}

const char *conf_replica_target(const struct conf_replica *r)
{
	return strcmp(r->type, replica_types[REPLICA_FILE].name) == 0 ? r->path : r->url;
}

char *conf_replica_shown(const struct conf_replica *r, char *buf)
{
	_Static_assert(URL_BYTES <= PATH_BYTES, "a URL fits where a path does");
	if (r->url)
		return url_shown(buf, r->url);
	snprintf(buf, PATH_BYTES, "%s", r->path);
	return buf;
}

void conf_replica_free(struct conf_replica *r)
{
	options_free(SCOPE_REPLICA, r);
	conf_origins_free(r->origins);
	*r = (struct conf_replica){ 0 };
}
