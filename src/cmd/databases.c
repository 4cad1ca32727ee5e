/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook databases: what the configuration replicates, and to which replicas. An entry for many databases is
 * followed by those that it has now.
 *
 * Failure modes: those of the configuration. One without databases gives a table without rows, and says so. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cmd/table.h"
#include "cmd/target.h"
#include "conf/conf.h"
#include "daemon/found.h"

struct databases_flags {
	const char *config;
	bool no_expand_env, json;
};

#define AT(member) offsetof(struct databases_flags, member)

static const struct args_flag flags[] = {
	{ "json", ARGS_BOOL, AT(json), NULL, "print JSON instead of a table; docs/json.md tells the fields", 0,
	  0 },
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration to read", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ 0 },
};

/* The names of the replicas, joined by commas. */
static void replicas_cell(struct table *t, const struct conf_db *db)
{
	char names[4096] = "";
	size_t n = 0;
	for (size_t i = 0; i < db->replicas_n && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? "," : "", db->replicas[i].name);
	table_cell(t, "%s", names);
}

static void table_row(struct table *t, const struct conf_db *db)
{
	table_cell(t, "%s", db->path);
	replicas_cell(t, db);
}

/* Where found ones go: a table, or JSON. */
struct rows {
	struct table *t;
	struct json *j;
	const char *entry;
};

static void json_row(struct json *j, const struct conf_db *db, const char *entry);

static void found_row(void *arg, const char *path, const struct conf_db *one, const struct err *e)
{
	const struct rows *r = arg;
	if (!one)
		log_warn("this file is left out", L_S("path", path), L_S("error", e->text));
	else if (r->t)
		table_row(r->t, one);
	else
		json_row(r->j, one, r->entry);
}

static void unreadable(void *arg, const char *dir, int sys)
{
	(void)arg;
	log_warn("a directory cannot be read", L_S("path", dir), L_S("error", strerror(sys)));
}

static void found_rows(const struct conf *c, const struct conf_db *entry, struct rows *to)
{
	to->entry = entry->path;
	if (entry->is_template)
		found_look(c, entry, &(struct found){ found_row, unreadable, to });
}

static int print_table(const struct conf *c, struct err *e)
{
	static const char *const titles[] = { "path", "replicas", NULL };
	struct table t;
	struct rows to = { .t = &t };
	table_init(&t, titles);
	for (size_t i = 0; i < c->dbs_n; i++) {
		table_row(&t, &c->dbs[i]);
		found_rows(c, &c->dbs[i], &to);
	}
	int rc = table_print(&t, stdout, e);
	table_free(&t);
	return rc;
}

static void print_replica(struct json *j, const struct conf_replica *r)
{
	char shown[PATH_BYTES];
	json_object(j, NULL);
	json_string(j, "name", r->name);
	json_string(j, "type", r->type);
	json_string(j, r->url ? "url" : "path", conf_replica_shown(r, shown));
	json_end(j);
}

static void json_row(struct json *j, const struct conf_db *db, const char *entry)
{
	json_object(j, NULL);
	json_string(j, "path", db->path);
	json_bool(j, "pattern", db->is_template);
	json_string(j, "entry", entry);
	json_array(j, "replicas");
	for (size_t k = 0; k < db->replicas_n; k++)
		print_replica(j, &db->replicas[k]);
	json_end(j);
	json_end(j);
}

static void print_json(const struct conf *c)
{
	struct json j = JSON_TO_FILE(stdout, 1);
	struct rows to = { .j = &j };
	json_array(&j, NULL);
	for (size_t i = 0; i < c->dbs_n; i++) {
		json_row(&j, &c->dbs[i], NULL);
		found_rows(c, &c->dbs[i], &to);
	}
	json_end(&j);
	json_finish(&j);
}

static void tell(const struct databases_flags *f, const struct conf *c)
{
	if (f->json)
		return;
	if (c->dbs_n == 0) {
		fprintf(stderr, "%s configures no databases; add dbs: with a path: and replicas:\n", c->file);
	} else if (isatty(STDERR_FILENO) == 1) {
		fflush(stdout);
		fprintf(stderr, "Next: walbrook generations %s%s%s%s\n", f->config ? "-config " : "",
			f->config ? f->config : "", f->config ? " " : "", c->dbs[0].path);
	}
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct databases_flags f = { 0 };
	struct conf *c;
	int first;
	(void)ret_exit;
	int rc = command_args(&command_databases, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (first < argc)
		return err_set(e, ERR_USAGE,
			       "too many arguments: databases takes none, but \"%.200s\" is given. walbrook "
			       "generations lists what replicas hold",
			       argv[first]);
	if (f.config && !*f.config)
		f.config = NULL;
	if (target_conf(f.config, f.no_expand_env, &c, e) < 0)
		return command_needs_conf(e);
	if (f.json)
		print_json(c);
	else
		rc = print_table(c, e);
	tell(&f, c);
	conf_free(c);
	return rc;
}

const struct command command_databases = {
	.name = "databases",
	.arguments = "",
	.sentence = "List the databases of the configuration and their replicas",
	.text = "The configuration is -config FILE, else the file named by WALBROOK_CONFIG or "
		"LITESTREAM_CONFIG,\n"
		"else /etc/walbrook.yml, else /etc/litestream.yml.\n"
		"\n"
		"  walbrook databases\n"
		"  walbrook databases -json -config ./walbrook.yml\n",
	.flags = flags,
	.run = run,
};
