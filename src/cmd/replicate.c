/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook replicate: the daemon.
 *
 *   1. flags; then either DB and at least one place to copy to, or nothing and a configuration
 *   2. -exec goes before the `exec` of the configuration
 *   3. daemon_run() until a signal, or until the command of -exec ends; its status is ours
 *
 * Failure modes: a command line that is half of both forms, a configuration without databases, a replica that
 * this version cannot serve: said before anything is touched. */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/options.h"
#include "daemon/daemon.h"
#include "rt/child.h"

struct replicate_flags {
	const char *exec, *config, *socket, *addr;
	bool no_expand_env, json;
};

#define AT(member) offsetof(struct replicate_flags, member)

static const struct args_flag flags[] = {
	{ "exec", ARGS_TEXT, AT(exec), "COMMAND",
	  "run COMMAND beside replication and end with it, with its exit status", 0, 0 },
	{ "json", ARGS_BOOL, AT(json), NULL, "write the log as JSON, as `logging: { type: json }` does", 0, 0 },
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration; see above", 0, 0 },
	{ "socket", ARGS_TEXT, AT(socket), "PATH", "where status, sync and reload ask it; else the key socket",
	  0, 0 },
	{ "addr", ARGS_TEXT, AT(addr), "ADDRESS",
	  "serve followers, the page, status and metrics there, e.g. :9090; else the key addr", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ 0 },
};

static int from_arguments(const struct replicate_flags *f, int n, char *const *words, struct conf **ret,
			  struct err *e)
{
	if (f->config && *f->config)
		return err_set(e, ERR_USAGE,
			       "either -config or a database with the places to copy it to, not both");
	if (n == 1)
		return err_set(e, ERR_USAGE,
			       "at least one replica URL must follow the database %.200s, e.g. "
			       "file:///var/backups/app or "
			       "s3://bucket/app",
			       words[0]);
	return conf_from_args(words[0], (const char *const *)words + 1, (size_t)n - 1, ret, e);
}

static int from_file(const struct replicate_flags *f, struct conf **ret, struct err *e)
{
	if (command_conf(f->config, !f->no_expand_env, ret, e) < 0)
		return command_needs_conf(e);
	if ((*ret)->dbs_n > 0)
		return 0;
	err_set(e, ERR_CONFIG,
		"%s: no databases are configured; add dbs: with a path: and replicas:", (*ret)->file);
	conf_free(*ret);
	return -1;
}

/* A command that cannot be split is said before anything is touched. */
int command_exec_valid(const struct conf *c, struct err *e)
{
	char **words;
	if (!c->exec)
		return 0;
	if (child_split(c->exec, &words, e) < 0)
		return err_wrap(e, "%s: exec", c->file ? c->file : "configuration");
	child_argv_free(words);
	return 0;
}

static int take_exec(const char *exec, struct conf *c, struct err *e)
{
	char *copy;
	if (!exec)
		return command_exec_valid(c, e);
	if (exec[strspn(exec, " \t\r\n")] == 0)
		return err_set(e, ERR_USAGE,
			       "-exec is empty; give it a command such as -exec \"myapp -listen :8080\"");
	char **words;
	if (child_split(exec, &words, e) < 0) {
		e->kind = ERR_USAGE;
		return err_wrap(e, "-exec");
	}
	child_argv_free(words);
	if (!(copy = strdup(exec)))
		return err_sys(e, ENOMEM, "cannot keep the command of -exec");
	free(c->exec);
	c->exec = copy;
	c->exec_given = true;
	return 0;
}

static int take_socket(const char *given, struct conf *c, struct err *e)
{
	char path[PATH_BYTES];
	if (!given)
		return 0;
	if (!*given)
		return err_set(e, ERR_USAGE, "-socket is empty");
	if (path_absolute(path, given, e) < 0)
		return err_wrap(e, "-socket");
	char *copy = strdup(path);
	if (!copy)
		return err_sys(e, ENOMEM, "cannot keep the path of -socket");
	free(c->socket);
	c->socket = copy;
	return 0;
}

static int take_addr(const char *given, struct conf *c, struct err *e)
{
	if (!given)
		return 0;
	if (!*given)
		return err_set(e, ERR_USAGE, "-addr is empty");
	if (option_set(option_find(SCOPE_TOP, "addr"), c, given, e) < 0) {
		e->kind = ERR_USAGE;
		return -1;
	}
	c->addr_given = true;
	return 0;
}

/* The keys of one replica: are they there, and what can be done with them? */
static int check_keys(const struct conf_db *db, const struct conf_replica *r, const char **warned,
		      struct err *e)
{
	struct age_keys k;
	const char *open;
	if (conf_replica_keys(r, &k, &open, e) < 0)
		return err_wrap(e, "%s: replica %s", db->path, r->name);
	int match = 1;
	if (k.recipients_n > 0 && (match = crypto_load(e)) == 0)
		match = age_keys_match(&k, e);
	if (match == 0)
		log_warn("the replica is encrypted for keys that are not here (age.identities): it cannot be "
			 "restored, verified or validated with this configuration; and when the metadata "
			 "directory is lost, a new generation begins",
			 L_S("db", db->path), L_S("replica", r->name));
	else if (k.recipients_n == 0 && k.identities_n > 0)
		log_info("no age.recipients: the replica is encrypted for the public keys of its identities",
			 L_S("db", db->path), L_S("replica", r->name));
	if (open && (!*warned || strcmp(open, *warned) != 0)) {
		log_warn("a file with secret keys can be read by everybody; chmod o-r it", L_S("file", open));
		*warned = open;
	}
	age_keys_free(&k);
	return match < 0 ? -1 : 0;
}

static int check_all_keys(const struct conf *c, struct err *e)
{
	const char *warned = NULL;
	for (size_t i = 0; i < c->dbs_n; i++)
		for (size_t k = 0; k < c->dbs[i].replicas_n; k++)
			if (check_keys(&c->dbs[i], &c->dbs[i].replicas[k], &warned, e) < 0)
				return -1;
	return 0;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct replicate_flags f = { 0 };
	struct conf *c;
	int first;
	int rc = command_args(&command_replicate, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	rc = first < argc ? from_arguments(&f, argc - first, argv + first, &c, e) : from_file(&f, &c, e);
	if (rc < 0)
		return -1;
	if (f.json) {
		c->log_json = true;
		log_setup(c->log_level, true, c->log_stdout ? STDOUT_FILENO : STDERR_FILENO);
	}
	rc = take_exec(f.exec, c, e);
	if (rc == 0)
		rc = take_socket(f.socket, c, e);
	if (rc == 0)
		rc = take_addr(f.addr, c, e);
	if (rc == 0)
		rc = check_all_keys(c, e);
	if (rc == 0)
		rc = daemon_run(c, e, ret_exit);
	conf_free(c);
	return rc;
}

const struct command command_replicate = {
	.name = "replicate",
	.arguments = "[DATABASE REPLICA...]",
	.sentence = "Copy databases to their replicas, now and whenever they change",
	.text = "With arguments: one DATABASE, and each REPLICA a URL (file:///path, s3://bucket/path,\n"
		"gcs://bucket/path, abs://account@container/path, sftp://user@host/path) or a directory with\n"
		"a slash in its name. Without: what the configuration says, which is -config FILE, else the\n"
		"file named by WALBROOK_CONFIG or LITESTREAM_CONFIG, else /etc/walbrook.yml, else\n"
		"/etc/litestream.yml.\n"
		"\n"
		"Runs until SIGINT or SIGTERM, then copies what is left and ends.\n"
		"\n"
		"  walbrook replicate /var/lib/app/app.db file:///var/backups/app\n"
		"  walbrook replicate -exec \"myapp -listen :8080\" -config /etc/walbrook.yml\n",
	.flags = flags,
	.run = run,
};
