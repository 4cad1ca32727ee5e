/* SPDX-License-Identifier: Apache-2.0
 *
 * The probe of a configuration.
 *
 *   1. the configuration: who may read it when there are secrets in it, the token, the command of exec
 *   2. the databases: those of the file, and those that its patterns find now (check_db.c)
 *   3. the replicas of each (check_replica.c)
 *   4. the machine: clock, descriptors, inotify, against the number of databases
 *
 * Failure modes are findings, each with what to do. Only what keeps the probe from being made is an error. */
#include "daemon/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "conf/options.h"
#include "daemon/found.h"
#include "rt/child.h"

enum {
	FDS_EACH = 12, /* two connections with their -wal and -shm, the lock, a segment that is written */
	FDS_BASE = 64,
	WATCHES_EACH = 2,
};

void check_say(const struct check *k, enum check_level level, enum err_kind kind, const char *database,
	       const char *replica, const char *fix, const char *fmt, ...)
{
	char text[ERR_TEXT_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	const struct check_finding f = { .level = level,
					 .kind = level == CHECK_FAIL ? kind : ERR_NONE,
					 .database = database,
					 .replica = replica,
					 .text = text,
					 .fix = fix };
	k->fn(k->arg, &f);
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

int64_t check_free_bytes(const char *path)
{
	char at[PATH_BYTES];
	struct statvfs v;
	snprintf(at, sizeof at, "%s", path);
	while (statvfs(at, &v) < 0) {
		char *slash = strrchr(at, '/');
		if (errno != ENOENT || !slash)
			return -1;
		if (slash == at)
			return statvfs("/", &v) == 0 ? (int64_t)(v.f_bavail * v.f_frsize) : -1;
		*slash = 0;
	}
	return (int64_t)(v.f_bavail * v.f_frsize);
}

/* ---- the configuration ---- */

/* Whether a secret stands in the file itself. What came from the environment does not. */
static bool has_secret(const struct conf_origin *origins, enum option_scope scope)
{
	for (size_t i = 0; origins && i < options_n; i++) {
		const struct option *o = &options[i];
		if (o->scope != scope)
			continue;
		if (o->type == OPTION_SECTION && has_secret(origins, o->sub))
			return true;
		if (o->secret && origins[i].line && !origins[i].handed_down && !origins[i].variable)
			return true;
	}
	return false;
}

static bool conf_has_secret(const struct conf *c)
{
	bool found = has_secret(c->origins, SCOPE_TOP);
	for (size_t i = 0; i < c->dbs_n; i++)
		for (size_t k = 0; k < c->dbs[i].replicas_n; k++)
			found = found || has_secret(c->dbs[i].replicas[k].origins, SCOPE_REPLICA);
	return found;
}

static void check_file(const struct check *k)
{
	const struct conf *c = k->conf;
	struct stat st;
	if (!c->file)
		return;
	if (stat(c->file, &st) == 0 && (st.st_mode & S_IROTH) && conf_has_secret(c))
		check_say(k, CHECK_WARNING, ERR_NONE, NULL, NULL,
			  "take the permission away (chmod o-r), or put the secrets into environment variables",
			  "the configuration %s holds secrets, and everybody may read it", c->file);
	else
		check_say(k, CHECK_OK, ERR_NONE, NULL, NULL, NULL, "the configuration %s is valid", c->file);
	if (c->dbs_n == 0)
		check_say(k, CHECK_FAIL, ERR_CONFIG, NULL, NULL,
			  "add dbs: with a path: and replicas:", "no databases are configured");
}

static void check_token(const struct check *k)
{
	char token[CONF_TOKEN_BYTES];
	bool is_open;
	struct err e = ERR_INIT;
	if (!k->conf->token_file)
		return;
	if (conf_token(k->conf, token, &is_open, &e) < 0)
		check_say(k, CHECK_FAIL, e.kind, NULL, NULL, NULL, "%s", e.text);
	else if (is_open)
		check_say(k, CHECK_WARNING, ERR_NONE, NULL, NULL, "chmod 600 it",
			  "everybody may read the token-file %s", k->conf->token_file);
	else
		check_say(k, CHECK_OK, ERR_NONE, NULL, NULL, NULL, "the token-file %s holds a token",
			  k->conf->token_file);
	explicit_bzero(token, sizeof token);
}

static bool in_path(const char *program)
{
	char at[PATH_BYTES];
	const char *path = getenv("PATH");
	if (strchr(program, '/'))
		return access(program, X_OK) == 0;
	for (const char *p = path ? path : "/bin:/usr/bin"; *p;) {
		size_t n = strcspn(p, ":");
		if (snprintf(at, sizeof at, "%.*s/%s", (int)n, p, program) < (int)sizeof at &&
		    access(at, X_OK) == 0)
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

static void check_exec(const struct check *k)
{
	char **words;
	struct err e = ERR_INIT;
	if (!k->conf->exec)
		return;
	if (child_split(k->conf->exec, &words, &e) < 0) {
		check_say(k, CHECK_FAIL, ERR_CONFIG, NULL, NULL, NULL, "exec: %s", e.text);
		return;
	}
	if (in_path(words[0]))
		check_say(k, CHECK_OK, ERR_NONE, NULL, NULL, NULL, "the command of exec, %s, is there",
			  words[0]);
	else
		check_say(k, CHECK_FAIL, ERR_CONFIG, NULL, NULL, "write its whole path, or install it",
			  "the command of exec, %s, is not a program in PATH", words[0]);
	child_argv_free(words);
}

/* ---- databases ---- */

static void one_database(const struct check *k, const struct conf_db *d)
{
	uint64_t bytes = 0;
	check_database(k, d, &bytes);
	if (d->replicas_n == 0)
		check_say(k, CHECK_WARNING, ERR_NONE, d->path, NULL,
			  "add replicas: with a path: or url:", "it has no replica, so nothing is copied");
	for (size_t i = 0; i < d->replicas_n; i++)
		check_replica(k, d, &d->replicas[i], bytes);
}

struct entry {
	const struct check *k;
	const char *path; /* as it is written down */
};

static void found_database(void *arg, const char *path, const struct conf_db *one, const struct err *e)
{
	const struct entry *t = arg;
	if (one)
		one_database(t->k, one);
	else
		check_say(t->k, CHECK_FAIL, e->kind, path, NULL, NULL, "%s", e->text);
}

static void unreadable(void *arg, const char *dir, int sys)
{
	const struct entry *t = arg;
	check_say(t->k, CHECK_FAIL, sys == ENOENT ? ERR_NOTHING : ERR_UNREACHABLE, t->path, NULL,
		  sys == ENOENT ? "make the directory, or correct the path"
				: "give this user the permission to read it",
		  "the directory %s cannot be read: %s", dir, strerror(sys));
}

static size_t all_databases(const struct check *k)
{
	size_t total = 0;
	for (size_t i = 0; i < k->conf->dbs_n; i++) {
		const struct conf_db *d = &k->conf->dbs[i];
		if (!d->is_template) {
			one_database(k, d);
			total++;
			continue;
		}
		struct entry t = { k, d->path };
		long n = found_look(k->conf, d, &(struct found){ found_database, unreadable, &t });
		size_t found = n > 0 ? (size_t)n : 0;
		if (n == 0)
			check_say(k, CHECK_WARNING, ERR_NONE, d->path, NULL,
				  "nothing needs to be done if they will come later",
				  "no database fits at this moment");
		else if (found > 0)
			check_say(k, CHECK_OK, ERR_NONE, d->path, NULL, NULL, "%zu database%s fit%s", found,
				  plural(found), found == 1 ? "s" : "");
		total += found;
	}
	return total;
}

/* ---- the machine ---- */

static long long number_in(const char *file)
{
	char text[32] = "";
	FILE *f = fopen(file, "re");
	if (f && !fgets(text, sizeof text, f))
		text[0] = 0;
	if (f)
		fclose(f);
	return *text ? atoll(text) : -1;
}

static void check_machine(const struct check *k, size_t databases)
{
	const time_t first_of_2024 = 1704067200;
	struct rlimit l;
	long long watches = number_in("/proc/sys/fs/inotify/max_user_watches");
	size_t fds = FDS_BASE + FDS_EACH * databases, wanted = WATCHES_EACH * databases;
	if (time(NULL) < first_of_2024)
		check_say(k, CHECK_FAIL, ERR_FAIL, NULL, NULL,
			  "set the clock: restore by time and retention depend on it",
			  "the clock of this machine says that it is before 2024");
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_max != RLIM_INFINITY && l.rlim_max < fds)
		check_say(k, CHECK_FAIL, ERR_FAIL, NULL, NULL,
			  "raise it (LimitNOFILE= of the unit, or ulimit -n)",
			  "%zu databases need up to %zu open files, and the limit is %llu", databases, fds,
			  (unsigned long long)l.rlim_max);
	else
		check_say(k, CHECK_OK, ERR_NONE, NULL, NULL, NULL,
			  "the limit of open files is enough for %zu database%s", databases, plural(databases));
	if (watches >= 0 && (size_t)watches < wanted)
		check_say(
			k, CHECK_WARNING, ERR_NONE, NULL, NULL, "raise it: sysctl fs.inotify.max_user_watches",
			"%zu databases need %zu inotify watches, and the limit is %lld; those without one are "
			"looked at once a monitor-interval only",
			databases, wanted, watches);
	else
		check_say(k, CHECK_OK, ERR_NONE, NULL, NULL, NULL, "inotify has watches for %zu database%s",
			  databases, plural(databases));
}

int check_run(struct conf *c, const char *const *paths, size_t n, check_fn *fn, void *arg, struct err *e)
{
	const struct check k = { .conf = c, .fn = fn, .arg = arg };
	size_t databases = n;
	for (size_t i = 0; i < n; i++)
		if (!conf_db_get(c, paths[i], e))
			return -1;
	check_file(&k);
	check_token(&k);
	check_exec(&k);
	for (size_t i = 0; i < n; i++)
		one_database(&k, conf_db_get(c, paths[i], e));
	if (n == 0)
		databases = all_databases(&k);
	check_machine(&k, databases);
	return 0;
}
