/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of dbs that stand for many databases: `path` with `*`, `?` or `[`, or `dir`.
 *
 *   1. conf_db_resolve() finds out which kind an entry is. Of a path it splits what is fixed (`dir`) from what
 * is a pattern; a backslash before one of those characters makes it an ordinary one, and so does a file of just
 * that name: for Litestream 0.3 they are ordinary
 *   2. conf_db_matches() compares a path with the pattern, conf_db_descends() a directory
 *   3. conf_db_instance() copies the entry for one database. Its path below `dir` goes behind the path of every
 *      replica and behind meta-path, so that no two databases of an entry share a place
 *
 * Failure modes: both kinds in one entry, keys that belong to the other kind; a path that is not below `dir`,
 * that does not fit, or that would leave the directory by `..` or a control character is refused as a database,
 * so a file name can never choose a place elsewhere. No I/O but that look for a file. */
#include "conf/conf.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "conf/options.h"
#include "conf/url.h"

static bool is_wild(char c)
{
	return c == '*' || c == '?' || c == '[';
}

/* Takes the backslashes before `*`, `?` and `[` away. Returns where the first such character without one stood,
 * NULL: nowhere, the path is an ordinary one. */
static char *unescape(char *path)
{
	char *to = path;
	for (const char *p = path; *p; p++) {
		if (is_wild(*p))
			return to;
		if (*p == '\\' && is_wild(p[1]))
			p++;
		*to++ = *p;
	}
	*to = 0;
	return NULL;
}

static char *first_wild(const char *path)
{
	for (const char *p = path; *p; p++) {
		if (is_wild(*p))
			return (char *)(uintptr_t)p;
		if (*p == '\\' && is_wild(p[1]))
			p++;
	}
	return NULL;
}

static int no_memory(struct err *e)
{
	return err_sys(e, ENOMEM, "cannot keep the settings of a database");
}

/* path: /fixed/part, then a component with a pattern in it. */
static int split_path(struct conf_db *db, struct err *e)
{
	char *wild = first_wild(db->path), fixed[PATH_BYTES];
	if (!wild) {
		unescape(db->path);
		return 0;
	}
	if (access(db->path, F_OK) == 0)
		return 0;
	size_t slash = (size_t)(wild - db->path);
	while (slash > 0 && db->path[slash - 1] != '/')
		slash--;
	if (slash == 0)
		return err_set(e, ERR_CONFIG, "path: a pattern needs a directory before it");
	snprintf(fixed, sizeof fixed, "%.*s", (int)(slash > 1 ? slash - 1 : 1), db->path);
	unescape(fixed);
	free(db->dir);
	free(db->pattern);
	db->dir = strdup(fixed);
	db->pattern = strdup(db->path + slash);
	db->is_template = true;
	return db->dir && db->pattern ? 0 : no_memory(e);
}

/* What the messages call an entry with dir. */
static int name_dir(struct conf_db *db, struct err *e)
{
	char path[2 * PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s%s", strcmp(db->dir, "/") ? db->dir : "", db->recursive ? "**/" : "",
		 db->pattern);
	db->is_template = true;
	db->path = strdup(path);
	return db->path ? 0 : no_memory(e);
}

static int resolve_upstream(const struct conf_db *db, const bool *given, struct err *e)
{
	if (given[option_find(SCOPE_DB, "upstream") - options] && !db->upstream_url)
		return err_set(e, ERR_CONFIG, "upstream needs url: http://HOST:PORT of the primary");
	if (db->upstream_url && db->is_template)
		return err_set(e, ERR_CONFIG,
			       "upstream is for one database; write an entry with path: for each of them");
	if (!db->upstream_cert_file != !db->upstream_key_file)
		return err_set(e, ERR_CONFIG, "upstream: cert-file and key-file go together");
	return 0;
}

static int resolve_kind(struct conf_db *db, const bool *given, const char **ret_key, struct err *e)
{
	const bool has_pattern = given[option_find(SCOPE_DB, "pattern") - options];
	*ret_key = NULL;
	if (!db->path && !db->dir)
		return err_set(e, ERR_CONFIG,
			       "a database needs path: FILE, or dir: DIRECTORY for all that are in one");
	*ret_key = "dir";
	if (db->path && db->dir)
		return err_set(e, ERR_CONFIG,
			       "an entry takes either path or dir, not both; leave out one of them");
	*ret_key = "pattern";
	if (db->path && has_pattern)
		return err_set(e, ERR_CONFIG,
			       "pattern is for dir; with path write the pattern into it, e.g. /data/*.db");
	if (db->dir && strchr(db->pattern, '/'))
		return err_set(e, ERR_CONFIG,
			       "pattern: \"%.80s\" contains a slash, but it is for names of files; for the "
			       "directories above them use recursive: true, or path: /data/*/app.db",
			       db->pattern);
	*ret_key = "recursive";
	if (db->path && db->recursive)
		return err_set(e, ERR_CONFIG,
			       "recursive is for dir; write dir: DIRECTORY and pattern: NAME instead of path");
	*ret_key = db->path ? "path" : "dir";
	if (db->dir)
		return name_dir(db, e);
	free(db->pattern); /* the default of an entry with dir */
	db->pattern = NULL;
	return split_path(db, e);
}

int conf_db_resolve(struct conf_db *db, const bool *given, const char **ret_key, struct err *e)
{
	if (resolve_kind(db, given, ret_key, e) < 0)
		return -1;
	*ret_key = "upstream";
	return resolve_upstream(db, given, e);
}

/* What of an absolute path is below dir, NULL if it is not. */
static const char *below(const char *dir, const char *path)
{
	size_t n = strcmp(dir, "/") ? strlen(dir) : 0;
	return strncmp(path, dir, n) == 0 && path[n] == '/' && path[n + 1] ? path + n + 1 : NULL;
}

/* Only what a file can really be called: no empty, hidden, `.` or `..` component, no control character. */
static bool components_plain(const char *relative)
{
	for (const char *p = relative;; p++) {
		if (*p == '.' || *p == '/' || *p == 0)
			return false;
		for (; *p && *p != '/'; p++)
			if ((unsigned char)*p < ' ' || *p == 0x7f)
				return false;
		if (!*p)
			return true;
	}
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcmp(text + n - m, end) == 0;
}

bool conf_db_fits(const struct conf_db *t, const char *relative)
{
	static const char *const beside[] = { "-wal", "-shm", "-journal" };
	if (!components_plain(relative))
		return false;
	for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
		if (ends_with(relative, beside[i]))
			return false;
	const char *last = strrchr(relative, '/');
	if (t->recursive && last)
		relative = last + 1;
	return fnmatch(t->pattern, relative, FNM_PATHNAME | FNM_PERIOD) == 0;
}

bool conf_db_matches(const struct conf_db *t, const char *path)
{
	const char *relative = t->is_template ? below(t->dir, path) : NULL;
	return relative && conf_db_fits(t, relative);
}

/* The first n components of a pattern, where n is the number of those of the directory. */
bool conf_db_descends(const struct conf_db *t, const char *dir)
{
	char head[PATH_BYTES];
	if (!t->is_template)
		return false;
	if (strcmp(t->dir, dir) == 0)
		return true;
	const char *relative = below(t->dir, dir), *p = t->pattern;
	if (!relative || !components_plain(relative))
		return false;
	if (t->recursive)
		return true;
	size_t slashes = 1;
	for (const char *r = relative; *r; r++)
		slashes += *r == '/';
	while (slashes > 0 && (p = strchr(p, '/'))) {
		slashes--;
		p++;
	}
	if (slashes > 0 || (size_t)(p - t->pattern) > sizeof head)
		return false; /* the pattern has no component below this directory */
	snprintf(head, sizeof head, "%.*s", (int)(p - t->pattern - 1), t->pattern);
	return fnmatch(head, relative, FNM_PATHNAME | FNM_PERIOD) == 0;
}

static int put_behind(char **path, const char *relative, struct err *e)
{
	char *joined = NULL;
	size_t n = *path ? strlen(*path) : 0;
	while (n > 0 && (*path)[n - 1] == '/')
		n--;
	if (asprintf(&joined, "%.*s%s%s", (int)n, *path ? *path : "", *path && **path ? "/" : "", relative) < 0)
		return no_memory(e);
	free(*path);
	*path = joined;
	return 0;
}

static int instance_replica(const struct conf_replica *from, const char *relative, struct conf_replica *to,
			    struct err *e)
{
	char url[URL_BYTES];
	*to = *from;
	to->origins = NULL;
	if (options_own(SCOPE_REPLICA, to, e) < 0 || put_behind(&to->path, relative, e) < 0)
		return -1;
	if (!to->url)
		return strlen(to->path) < PATH_BYTES
			       ? 0
			       : err_set(e, ERR_CONFIG, "the path of its replica %s is too long", to->name);
	if (url_append(url, to->url, relative) < 0)
		return err_set(e, ERR_CONFIG, "the URL of its replica %s is too long", to->name);
	free(to->url);
	to->url = strdup(url);
	return to->url ? 0 : no_memory(e);
}

static int instance(const struct conf_db *t, const char *db_path, const char *relative, struct conf_db *to,
		    struct err *e)
{
	if (options_own(SCOPE_DB, to, e) < 0)
		return -1;
	free(to->path);
	free(to->dir);
	free(to->pattern);
	to->dir = to->pattern = NULL;
	if (!(to->path = strdup(db_path)))
		return no_memory(e);
	if (to->meta_path && put_behind(&to->meta_path, relative, e) < 0)
		return -1;
	if (to->meta_path && strlen(to->meta_path) >= PATH_BYTES)
		return err_set(e, ERR_CONFIG, "the path of its metadata directory is too long");
	to->replicas = t->replicas_n ? calloc(t->replicas_n, sizeof *to->replicas) : NULL;
	if (t->replicas_n && !to->replicas)
		return no_memory(e);
	for (size_t i = 0; i < t->replicas_n; i++) {
		to->replicas_n = i + 1;
		if (instance_replica(&t->replicas[i], relative, &to->replicas[i], e) < 0)
			return -1;
	}
	return 0;
}

int conf_db_instance(const struct conf_db *t, const char *db_path, struct conf_db *ret, struct err *e)
{
	struct conf_db db = *t;
	const char *relative = t->is_template ? below(t->dir, db_path) : NULL;
	if (!relative)
		return err_set(e, ERR_CONFIG, "%.200s is not in the directory of %s", db_path, t->path);
	if (!conf_db_fits(t, relative))
		return err_set(e, ERR_CONFIG, "%.200s does not fit %s", db_path, t->path);
	db.replicas = NULL;
	db.origins = NULL;
	db.replicas_n = 0;
	db.is_template = db.recursive = false;
	if (instance(t, db_path, relative, &db, e) < 0) {
		conf_db_free(&db);
		return err_wrap(e, "%.200s", db_path);
	}
	*ret = db;
	return 0;
}
