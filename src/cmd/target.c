/* SPDX-License-Identifier: Apache-2.0
 *
 * The argument of a command, see target.h:
 *
 *   1. WORD://… is the URL of a replica; no configuration is read
 *   2. else it is a path: a database of the configuration if there is one
 *   3. else a directory, which then is a replica
 *
 * A directory needs no configuration; if one is there and cannot be read that matters only when it was named,
 * or when the path is no directory.
 *
 * Failure modes: each says what was looked for and where, with the nearest database there is. The sentences of
 * the original stand in them, for scripts that look for those. */
#include "cmd/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/cmd.h"
#include "conf/nearest.h"
#include "conf/url.h"

static const char *given(const char *flag)
{
	return flag && *flag ? flag : NULL;
}

int target_conf(const char *config, bool no_expand_env, struct conf **ret, struct err *e)
{
	if (command_conf(given(config), !no_expand_env, ret, e) < 0)
		return -1;
	log_setup((*ret)->log_level, (*ret)->log_json, STDERR_FILENO);
	return 0;
}

static int single(struct target *t, const char *text, struct err *e)
{
	if (t->only)
		log_warn("-replica has no meaning without a configured database", L_S("replica", t->only));
	t->only = NULL;
	if (conf_replica_from_text(text, &t->single, e) < 0) {
		e->kind = ERR_USAGE;
		return -1;
	}
	t->replicas = &t->single;
	t->replicas_n = 1;
	return 0;
}

static int neither(const struct target *t, const char *path, bool there, const struct err *no_conf,
		   struct err *e)
{
	if (!t->conf)
		return err_set(e, ERR_NOTHING, "%s %s nor a configured database, for there is %s", path,
			       there ? "is neither a directory with a replica"
				     : "does not exist: it is neither the directory of a replica",
			       no_conf->text);
	err_set(e, ERR_CONFIG,
		"database not found in config: %s. It is none of the databases of %s, and no directory with a "
		"replica either",
		path, t->conf->file);
	if (t->conf->dbs_n == 1)
		return err_hint(e, "The database there is %s", t->conf->dbs[0].path);
	struct nearest near = NEAREST_OF(path);
	for (size_t i = 0; i < t->conf->dbs_n; i++)
		nearest_offer(&near, t->conf->dbs[i].path);
	return near.best ? err_hint(e, "Did you mean %s?", near.best)
			 : err_hint(e, "walbrook databases shows the %zu that are configured there",
				    t->conf->dbs_n);
}

static int configured(struct target *t, const struct conf_db *db, struct err *e)
{
	char names[512] = "";
	size_t n = 0;
	t->db = db;
	t->replicas = db->replicas;
	t->replicas_n = db->replicas_n;
	if (db->replicas_n == 0)
		return err_set(e, ERR_CONFIG, "%s: the database %s has no replicas", t->conf->file, db->path);
	for (size_t i = 0; i < db->replicas_n; i++) {
		if (target_wants(t, &db->replicas[i]))
			return 0;
		if (n < sizeof names)
			n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
					      db->replicas[i].name);
	}
	return err_set(e, ERR_USAGE, "replica \"%.80s\" not found for database \"%s\". -replica can be %s",
		       t->only, db->path, names);
}

static int find_path(struct target *t, const char *argument, bool no_expand_env, struct err *e)
{
	char path[PATH_BYTES];
	struct stat st;
	struct err no_conf = ERR_INIT;
	if (path_absolute(path, argument, e) < 0) {
		e->kind = ERR_USAGE;
		return -1;
	}
	bool there = stat(path, &st) == 0, is_dir = there && S_ISDIR(st.st_mode);
	int sys = there ? ENOENT : errno;
	if (target_conf(t->config, no_expand_env, &t->conf, &no_conf) < 0 &&
	    (t->config || (!is_dir && no_conf.kind != ERR_NOTHING))) {
		*e = no_conf;
		return -1;
	}
	const struct conf_db *db = t->conf ? conf_db_get(t->conf, path, e) : NULL;
	if (db)
		return configured(t, db, e);
	if (sys != ENOENT && sys != ENOTDIR)
		return err_sys(e, sys, "%s: cannot look at it", path);
	return is_dir ? single(t, path, e) : neither(t, path, there, &no_conf, e);
}

int target_find(const char *argument, const char *config, bool no_expand_env, const char *replica,
		struct target *ret, struct err *e)
{
	*ret = (struct target){ .config = given(config), .only = given(replica) };
	int rc;
	if (!url_like(argument))
		rc = find_path(ret, argument, no_expand_env, e);
	else if (ret->config)
		rc = err_set(e, ERR_USAGE,
			     "cannot specify a replica URL and the -config flag: give the URL of a replica, or "
			     "-config with the path of a database in it");
	else
		rc = single(ret, argument, e);
	if (rc < 0)
		target_free(ret);
	return rc;
}

bool target_wants(const struct target *t, const struct conf_replica *r)
{
	return !t->only || strcmp(r->name, t->only) == 0;
}

char *target_words(const struct target *t, char *buf, size_t n)
{
	char shown[PATH_BYTES], config[2 * PATH_BYTES] = "", place[2 * PATH_BYTES];
	bool named = t->db && t->config;
	if (named)
		shell_word(config, sizeof config, t->config);
	shell_word(place, sizeof place, t->db ? t->db->path : conf_replica_shown(&t->single, shown));
	snprintf(buf, n, "%s%s%s%s", named ? "-config " : "", config, named ? " " : "", place);
	return buf;
}

void target_free(struct target *t)
{
	conf_replica_free(&t->single);
	conf_free(t->conf);
	*t = (struct target){ 0 };
}
