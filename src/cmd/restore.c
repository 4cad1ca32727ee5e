/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook restore: makes a database from its backup.
 *
 *   1. flags, and what they say about each other
 *   2. with -o: is the place of the output free? Nothing else has been touched by then
 *   3. the argument: a URL; else a database of the configuration; else a directory that holds a replica
 *   4. the sources: that one place, or every replica of the database (or the one named by -replica)
 *   5. restore_run(), and one line in the log
 *
 * -if-db-not-exists: an output that exists is the end of the work, with status 0. -if-replica-exists: no backup
 * is the end of the work, with status 0, but only when every place answered and none of them holds one: a place
 * that cannot be reached, a backup that has not what was wished for, or a path that is neither a database nor a
 * directory (its configuration may be missing) stays an error, because the application would begin with an
 * empty database beside its backup.
 *
 * Failure modes: each says what was looked for, where, and what to write instead. SIGINT and SIGTERM end the
 * run with nothing left behind. */
#include "cmd/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "cmd/target.h"
#include "conf/conf.h"
#include "conf/url.h"
#include "restore/restore.h"
#include "store/crypt.h"

struct restore_flags {
	const char *output, *replica, *generation, *config, *identity;
	struct args_hex index;
	struct args_time timestamp;
	bool if_db_not_exists, if_replica_exists, no_expand_env, json;
	int parallelism;
};

#define AT(member) offsetof(struct restore_flags, member)

enum { PARALLELISM = 8, PARALLELISM_MAX = 256, WORDS_BYTES = 3 * PATH_BYTES };

static const struct args_flag flags[] = {
	{ "o", ARGS_TEXT, AT(output), "PATH", "file to make; without it the path of the configured database", 0,
	  0 },
	{ "replica", ARGS_TEXT, AT(replica), "NAME", "use only this replica of a configured database", 0, 0 },
	{ "generation", ARGS_TEXT, AT(generation), "NAME",
	  "use this generation instead of the newest that fits", 0, 0 },
	{ "index", ARGS_HEX, AT(index), "HEX", "restore to the end of this WAL index (hexadecimal)", 0, 0 },
	{ "timestamp", ARGS_TIME, AT(timestamp), "TIME",
	  "restore the state at this time, e.g. 2000-01-02T15:04:05Z", 0, 0 },
	{ "if-db-not-exists", ARGS_BOOL, AT(if_db_not_exists), NULL,
	  "do nothing if the output exists; exit code 0", 0, 0 },
	{ "if-replica-exists", ARGS_BOOL, AT(if_replica_exists), NULL,
	  "do nothing if there is no backup; exit code 0", 0, 0 },
	{ "parallelism", ARGS_INT, AT(parallelism), "N", "objects fetched at the same time; default 8", 0,
	  PARALLELISM_MAX },
	{ "json", ARGS_BOOL, AT(json), NULL, "tell the result as JSON; docs/json.md tells the fields", 0, 0 },
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration that names the database", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ "identity", ARGS_TEXT, AT(identity), "FILE", "age identity that decrypts the replica (age-keygen)", 0,
	  0 },
	{ 0 },
};

/* Everything one run needs; freed as a whole. */
struct job {
	struct restore_flags f;
	const char *argument;
	struct target target; /* with `found` */
	bool found;
	struct restore_source *sources;
	struct opener *openers; /* one for each of sources */
	size_t sources_n;
	struct err not_opened; /* of the first replica that could not be opened; NONE: all could */
};

static int check_flags(struct restore_flags *f, struct err *e)
{
	if (f->output && !*f->output)
		return err_set(e, ERR_USAGE, "-o is empty; give it the path of the file to make");
	if (f->config && !*f->config)
		f->config = NULL;
	if (f->replica && !*f->replica)
		f->replica = NULL;
	if (f->generation && !*f->generation)
		f->generation = NULL;
	if (f->identity && !*f->identity)
		return err_set(e, ERR_USAGE, "-identity is empty; give it a file as age-keygen writes it");
	if (f->generation && !generation_valid(f->generation))
		return err_set(e, ERR_USAGE,
			       "-generation: \"%.80s\" is not the name of a generation; it has 16 lower case "
			       "hexadecimal "
			       "digits, e.g. 0123456789abcdef",
			       f->generation);
	if (f->index.given && f->timestamp.given)
		return err_set(e, ERR_USAGE, "-index and -timestamp both say where to stop; give one of them");
	return 0;
}

/* ---- the result as JSON (docs/json.md) ---- */

static void print_skipped(const struct restore_flags *f, const char *reason, const char *output)
{
	if (!f->json)
		return;
	struct json j = JSON_TO_FILE(stdout, 1);
	json_object(&j, NULL);
	json_string(&j, "status", "skipped");
	json_string(&j, "reason", reason);
	json_string(&j, "path", output);
	json_end(&j);
	json_finish(&j);
}

static void print_failed(const struct err *e)
{
	struct json j = JSON_TO_FILE(stdout, 1);
	json_object(&j, NULL);
	json_string(&j, "status", "failed");
	json_int(&j, "exit_code", err_exit_code(e->kind));
	json_string(&j, "kind", err_kind_text(e->kind));
	json_bool(&j, "retry", err_worth_retry(e->kind));
	json_string(&j, "error", e->text);
	json_end(&j);
	json_finish(&j);
}

static void print_restored(const char *output, const struct restore_wish *w, const struct restore_result *r)
{
	char index[32];
	struct json j = JSON_TO_FILE(stdout, 1);
	snprintf(index, sizeof index, "%08" PRIx64, r->reached.index);
	json_object(&j, NULL);
	json_string(&j, "status", "restored");
	json_string(&j, "path", output);
	json_string(&j, "replica", r->source);
	json_string(&j, "generation", r->generation.name);
	json_string(&j, "index", index);
	json_uint(&j, "offset", r->reached.offset);
	if (w->by_time) {
		json_time(&j, "timestamp", w->wall_us);
		json_bool(&j, "exact", r->exact_time);
	}
	if (r->has_commit)
		json_time(&j, "last_commit", r->commit_us);
	json_uint(&j, "size", r->database_bytes);
	json_uint(&j, "fetched_size", r->fetched_bytes);
	json_uint(&j, "wal_size", r->wal_bytes);
	json_uint(&j, "segments", r->segments);
	json_double(&j, "elapsed_seconds", (double)r->elapsed_ms / 1000);
	json_end(&j);
	json_finish(&j);
}

/* 1: the output exists, and that is fine. */
static int check_output(const struct restore_flags *f, const char *output, struct err *e)
{
	struct stat st;
	if (f->if_db_not_exists && lstat(output, &st) == 0) {
		log_info("database already exists, skipping", L_S("path", output));
		print_skipped(f, "database exists", output);
		return 1;
	}
	return restore_check_output(output, e);
}

/* ---- what the argument means ---- */

static int output_missing(const struct job *j, struct err *e)
{
	return err_set(e, ERR_USAGE,
		       "output path required: -o PATH is needed, for \"%.200s\" says where the backup is, not "
		       "where to restore it to",
		       j->argument);
}

static int find_source(struct job *j, struct err *e)
{
	if (url_like(j->argument) && !j->f.output && !j->f.config)
		return output_missing(j, e);
	if (target_find(j->argument, j->f.config, j->f.no_expand_env, j->f.replica, &j->target, e) < 0) {
		char path[PATH_BYTES];
		struct err ignore;
		if (e->kind == ERR_NOTHING && path_absolute(path, j->argument, &ignore) == 0)
			err_hint(e, "If the replica has yet to be made, name it by its URL, file://%s", path);
		return -1;
	}
	j->found = true;
	const struct conf *c = j->target.conf;
	if (c && !j->f.json) /* else standard output is for the result, and the log is not there */
		log_setup(c->log_level, c->log_json, c->log_stdout ? STDOUT_FILENO : STDERR_FILENO);
	return j->target.db || j->f.output ? 0 : output_missing(j, e);
}

/* ---- sources ---- */

/* A replica with its keys, which are read once. */
struct opener {
	const struct conf_replica *conf;
	struct age_keys keys;
	char words[WORDS_BYTES];
};

static int open_more(void *arg, struct store **ret, struct err *e)
{
	const struct opener *o = arg;
	return store_open_keyed(conf_replica_target(o->conf), true, NULL, &o->keys, ret, e);
}

/* How this replica is named in a further command: the flags that this one was given, and the argument. */
static char *source_words(const struct job *j, const struct conf_replica *r, char buf[WORDS_BYTES])
{
	size_t n = 0;
	char word[2 * PATH_BYTES];
	*buf = 0;
	if (j->f.no_expand_env && j->target.db)
		n += (size_t)snprintf(buf, WORDS_BYTES, "-no-expand-env ");
	if (j->target.replicas_n > 1)
		n += (size_t)snprintf(buf + n, WORDS_BYTES - n, "-replica %s ",
				      shell_word(word, PATH_BYTES, r->name));
	if (j->f.identity)
		n += (size_t)snprintf(buf + n, WORDS_BYTES - n, "-identity %s ",
				      shell_word(word, sizeof word, j->f.identity));
	if (n < WORDS_BYTES)
		target_words(&j->target, buf + n, WORDS_BYTES - n);
	return buf;
}

static int source_add(struct job *j, struct conf_replica *r, struct err *e)
{
	struct opener *o = &j->openers[j->sources_n];
	struct restore_source s = { .name = r->name, .open_more = open_more, .arg = o };
	s.how_to_name = source_words(j, r, o->words);
	o->conf = r;
	if (conf_replica_keys(r, &o->keys, NULL, e) < 0)
		return -1;
	if (open_more(o, &s.store, e) < 0) {
		age_keys_free(&o->keys);
		return -1;
	}
	s.sealed = o->keys.recipients_n > 0 && o->keys.identities_n == 0;
	j->sources[j->sources_n++] = s;
	return 0;
}

/* A replica that cannot be opened is left out as long as another one can. */
static int open_sources(struct job *j, struct err *e)
{
	struct conf_replica *all = j->target.replicas;
	size_t n = j->target.replicas_n;
	if (command_identity(j->f.identity, all, n, e) < 0)
		return -1;
	if (!(j->sources = calloc(n, sizeof *j->sources)) || !(j->openers = calloc(n, sizeof *j->openers)))
		return err_sys(e, ENOMEM, "cannot open the replicas");
	for (size_t i = 0; i < n; i++) {
		struct err one = ERR_INIT;
		if (!target_wants(&j->target, &all[i]))
			continue;
		if (source_add(j, &all[i], &one) == 0)
			continue;
		if (n > 1 && !j->f.replica)
			log_warn("restore: a replica cannot be used", L_S("replica", all[i].name),
				 L_S("error", one.text));
		if (j->not_opened.kind == ERR_NONE)
			j->not_opened = one;
	}
	if (j->sources_n == 0) {
		*e = j->not_opened;
		return -1;
	}
	return 0;
}

static void job_free(struct job *j)
{
	for (size_t i = 0; i < j->sources_n; i++)
		store_close(j->sources[i].store);
	for (size_t i = 0; i < j->sources_n; i++)
		age_keys_free(&j->openers[i].keys);
	free(j->openers);
	free(j->sources);
	if (j->found)
		target_free(&j->target);
}

/* ---- is there provably no backup? ---- */

struct found {
	struct store *store;
	bool any;
};

static int found_object(void *arg, const struct store_entry *entry, struct err *e)
{
	struct found *f = arg;
	(void)entry;
	(void)e;
	f->any = true;
	return 0;
}

/* Anything at all below a generation counts: what is there is not nothing, and may be what is left of a backup.
 */
static int found_generation(void *arg, const struct store_entry *entry, struct err *e)
{
	struct found *f = arg;
	struct generation g;
	struct object o = { .kind = OBJECT_SNAPSHOT };
	char prefix[OBJECT_KEY_BYTES];
	static const enum object_kind kinds[] = { OBJECT_SNAPSHOT, OBJECT_SEGMENT };
	if (f->any || !generation_valid(entry->name))
		return 0;
	memcpy(g.name, entry->name, sizeof g.name);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		o.kind = kinds[i];
		if (f->store->ops->list(f->store, object_prefix(prefix, o.kind, &g), found_object, f, e) < 0)
			return -1;
	}
	return 0;
}

/* 1: every replica answered and holds nothing. 0: one holds something. -1: one could not tell. */
static int provably_empty(struct job *j, struct err *e)
{
	if (j->not_opened.kind != ERR_NONE) {
		*e = j->not_opened;
		return -1;
	}
	for (size_t i = 0; i < j->sources_n; i++) {
		struct found f = { .store = j->sources[i].store };
		struct err one = ERR_INIT;
		if (f.store->ops->list(f.store, "generations/", found_generation, &f, &one) < 0 &&
		    one.kind != ERR_NOTHING) {
			*e = one;
			return -1;
		}
		if (f.any)
			return 0;
	}
	return 1;
}

/* *why: what restore_run() said. 1: fine, skip. */
static int skip_if_empty(struct job *j, struct err *why)
{
	struct err e = ERR_INIT;
	if (!j->f.if_replica_exists || why->kind != ERR_NOTHING)
		return 0;
	int empty = provably_empty(j, &e);
	if (empty < 0)
		*why = e;
	if (empty == 1)
		log_info("no backup found, skipping", L_S("where", why->text));
	return empty == 1;
}

/* ---- the run ---- */

static void on_signal(int signal)
{
	(void)signal;
	restore_interrupt();
}

static void catch_signals(void)
{
	struct sigaction a = { .sa_handler = on_signal };
	sigemptyset(&a.sa_mask);
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
}

/* A database that comes back to its configured path belongs to whom its directory belongs. */
static struct owner owner_for(const struct job *j, const char *output)
{
	struct owner o = OWNER_PRIVATE;
	char dir[PATH_BYTES];
	struct stat st;
	if (j->target.db && strcmp(j->target.db->path, output) == 0 && path_dir(dir, output) == 0 &&
	    stat(dir, &st) == 0) {
		o.uid = o.dir_uid = st.st_uid;
		o.gid = o.dir_gid = st.st_gid;
	}
	return o;
}

static int restore(struct job *j, const char *output, struct err *e)
{
	struct restore_wish w = {
		.output = output,
		.by_index = j->f.index.given,
		.index = j->f.index.value,
		.by_time = j->f.timestamp.given,
		.wall_us = j->f.timestamp.wall_us,
		.parallelism = j->f.parallelism,
		.owner = owner_for(j, output),
		.progress = isatty(STDERR_FILENO) == 1,
	};
	struct restore_result r;
	char at[POSITION_TEXT_BYTES];
	if (j->f.generation)
		memcpy(w.generation.name, j->f.generation, sizeof w.generation.name);
	catch_signals();
	if (restore_run(j->sources, j->sources_n, &w, &r, e) < 0) {
		if (!skip_if_empty(j, e))
			return -1;
		print_skipped(&j->f, "no backup", output);
		return 0;
	}
	log_info("database restored", L_S("path", output), L_S("replica", r.source),
		 L_S("generation", r.generation.name),
		 L_S("position", position_format(at, &r.generation, r.reached)), L_I("bytes", r.database_bytes),
		 L_MS("elapsed", r.elapsed_ms));
	if (j->f.json)
		print_restored(output, &w, &r);
	return 0;
}

static int run_job(struct job *j, struct err *e)
{
	int rc = j->f.output ? check_output(&j->f, j->f.output, e) : 0;
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (find_source(j, e) < 0)
		return -1;
	const char *output = j->f.output ? j->f.output : j->target.db->path;
	if (!j->f.output && (rc = check_output(&j->f, output, e)) != 0)
		return rc < 0 ? -1 : 0;
	return open_sources(j, e) < 0 ? -1 : restore(j, output, e);
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct job j = { .f.parallelism = PARALLELISM };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_restore, &j.f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (check_flags(&j.f, e) < 0)
		return -1;
	if (first == argc)
		return err_set(
			e, ERR_USAGE,
			"database path or replica URL required: what to restore is missing; give the path of a "
			"configured database, the URL of a replica, or the directory of one");
	if (argc - first > 1)
		return err_set(e, ERR_USAGE,
			       "too many arguments: restore takes one, but \"%.200s\" follows \"%.200s\"",
			       argv[first + 1], argv[first]);
	j.argument = argv[first];
	rc = run_job(&j, e);
	if (rc < 0 && j.f.json)
		print_failed(e);
	job_free(&j);
	return rc;
}

const struct command command_restore = {
	.name = "restore",
	.arguments = "DATABASE | URL | DIRECTORY",
	.sentence = "Make a database from its backup, as it is now or was at some time",
	.text = "DATABASE is the path of a database in the configuration (-config FILE, else the file named\n"
		"by WALBROOK_CONFIG or LITESTREAM_CONFIG, else /etc/walbrook.yml, else /etc/litestream.yml);\n"
		"of its replicas the one that reaches furthest is used. URL or DIRECTORY is the place of a\n"
		"replica; it needs -o. Nothing is ever overwritten.\n"
		"\n"
		"  walbrook restore -o /tmp/app.db file:///var/backups/app\n"
		"  walbrook restore -if-db-not-exists -if-replica-exists /var/lib/app/app.db\n"
		"  walbrook restore -o then.db -timestamp 2000-01-02T15:04:05Z /var/backups/app\n",
	.flags = flags,
	.run = run,
};
