/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook verify: is the backup sound, and what can be restored from it?
 *
 *   1. the argument: a database of the configuration with all its replicas, or one replica (target.c)
 *   2. each replica is read completely (restore/verify.h)
 *   3. what was found, and the stretches of time that can be restored, with the command for each
 *
 * The exit code is that of the worst: damage (5) before a replica that cannot be read (its own code, 7 mostly)
 * before one that holds nothing (4). Loss of exactness and remarks are printed and are 0.
 *
 * Failure modes: a replica that cannot be read is told on standard error and the others are read all the same.
 * SIGINT and SIGTERM end the run; what has been found until then has been printed. */
#include "cmd/cmd.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/target.h"
#include "restore/verify.h"
#include "store/crypt.h"

enum { PARALLELISM = 8, PARALLELISM_MAX = 256, WORDS_BYTES = 5120 };

struct verify_flags {
	const char *replica, *generation, *config, *identity;
	bool no_expand_env, json;
	int parallelism;
};

#define AT(member) offsetof(struct verify_flags, member)

static const struct args_flag flags[] = {
	{ "replica", ARGS_TEXT, AT(replica), "NAME", "only this replica of a configured database", 0, 0 },
	{ "generation", ARGS_TEXT, AT(generation), "NAME", "only this generation", 0, 0 },
	{ "identity", ARGS_TEXT, AT(identity), "FILE", "age identity that decrypts the replica (age-keygen)", 0,
	  0 },
	{ "json", ARGS_BOOL, AT(json), NULL, "print JSON; docs/json.md tells the fields", 0, 0 },
	{ "parallelism", ARGS_INT, AT(parallelism), "N", "objects fetched at the same time; default 8", 0,
	  PARALLELISM_MAX },
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration that names the database", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ 0 },
};

/* Everything one run needs. */
struct job {
	struct verify_flags f;
	struct target target;
	char words[WORDS_BYTES]; /* the target, for the next command */
	struct json json;
	const struct conf_replica *replica; /* that is being read */
	struct age_keys keys;		    /* of it */
	struct verify_window *windows;	    /* of it, printed when all has been read */
	size_t windows_n, windows_cap;
	struct err no_memory; /* for windows */
	bool damage;
	struct err failed; /* the worst of the replicas that could not be read; NONE: all could */
};

/* ---- findings ---- */

static void put_safe(const char *text)
{
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void put_line(const char *before, const char *text)
{
	fputs(before, stdout);
	put_safe(text);
	putchar('\n');
}

static void finding_text(const struct verify_finding *f)
{
	printf("%-10s", verify_severity_text(f->severity));
	put_line("", f->key);
	put_line("  what:  ", f->what);
	put_line("  costs: ", f->cost);
	put_line("  do:    ", f->todo);
}

static void on_finding(void *arg, const struct verify_finding *f)
{
	struct job *j = arg;
	/* The line of the progress is drawn again behind what is printed now. */
	if (isatty(STDERR_FILENO) == 1 && isatty(STDOUT_FILENO) == 1)
		fputs("\r\033[K", stderr);
	if (!j->f.json) {
		finding_text(f);
		return;
	}
	json_object(&j->json, NULL);
	json_string(&j->json, "severity", verify_severity_text(f->severity));
	json_string(&j->json, "kind", f->kind);
	json_string(&j->json, "generation", generation_none(&f->generation) ? NULL : f->generation.name);
	json_string(&j->json, "key", f->key);
	json_string(&j->json, "what", f->what);
	json_string(&j->json, "cost", f->cost);
	json_string(&j->json, "todo", f->todo);
	json_end(&j->json);
}

/* ---- windows ---- */

static void on_window(void *arg, const struct verify_window *w)
{
	struct job *j = arg;
	if (j->windows_n == j->windows_cap) {
		size_t cap = j->windows_cap ? j->windows_cap * 2 : 8;
		struct verify_window *v = realloc(j->windows, cap * sizeof *v);
		if (!v) {
			err_set(&j->no_memory, ERR_FAIL, "no memory for what can be restored");
			return;
		}
		j->windows = v;
		j->windows_cap = cap;
	}
	j->windows[j->windows_n++] = *w;
}

/* The command that restores the end of the window. */
static char *restore_words(const struct job *j, const struct verify_window *w, char buf[WORDS_BYTES + 512])
{
	char stop[TIME_TEXT_BYTES + 32] = "", when[TIME_TEXT_BYTES];
	if (w->by == VERIFY_BY_INDEX)
		snprintf(stop, sizeof stop, "-index %08" PRIx64 " ", w->to.index);
	else if (w->by == VERIFY_BY_TIME)
		snprintf(stop, sizeof stop, "-timestamp %s ", time_format(when, w->to_us, 6));
	snprintf(buf, WORDS_BYTES + 512, "walbrook restore -o PATH %s%s%s-generation %s %s%s",
		 j->target.db ? "-replica " : "", j->target.db ? j->replica->name : "", j->target.db ? " " : "",
		 w->generation.name, stop, j->words);
	return buf;
}

static void window_text(const struct job *j, const struct verify_window *w)
{
	char from[TIME_TEXT_BYTES], to[TIME_TEXT_BYTES], words[WORDS_BYTES + 512];
	char from_at[POSITION_TEXT_BYTES], to_at[POSITION_TEXT_BYTES];
	printf("%s %s to %s%s\n  %s to %s\n", w->doubtful ? "perhaps   " : "restorable",
	       time_format(from, w->from_us, 6), time_format(to, w->to_us, 6),
	       w->exact ? "" : " (times of objects)", position_format(from_at, &w->generation, w->from),
	       position_format(to_at, &w->generation, w->to));
	put_line("  ", restore_words(j, w, words));
}

static void window_json(struct job *j, const struct verify_window *w)
{
	char at[POSITION_TEXT_BYTES], words[WORDS_BYTES + 512];
	struct json *o = &j->json;
	json_object(o, NULL);
	json_string(o, "generation", w->generation.name);
	json_string(o, "from", position_format(at, &w->generation, w->from));
	json_time(o, "from_time", w->from_us);
	json_string(o, "to", position_format(at, &w->generation, w->to));
	json_time(o, "to_time", w->to_us);
	json_bool(o, "exact", w->exact);
	json_bool(o, "doubtful", w->doubtful);
	json_string(o, "command", restore_words(j, w, words));
	json_end(o);
}

/* ---- one replica ---- */

static void counts_json(struct json *o, const struct verify_result *r)
{
	json_object(o, "counts");
	json_uint(o, "damage", r->damage);
	json_uint(o, "exactness", r->exactness);
	json_uint(o, "remark", r->remarks);
	json_uint(o, "generations", r->generations);
	json_uint(o, "snapshots", r->snapshots);
	json_uint(o, "segments", r->segments);
	json_uint(o, "index_objects", r->documents);
	json_uint(o, "commits", r->commits);
	json_uint(o, "stored_bytes", r->stored_bytes);
	json_uint(o, "wal_bytes", r->wal_bytes);
	json_int(o, "elapsed_ms", r->elapsed_ms);
	json_end(o);
}

static const char *result_word(const struct verify_result *r, const struct err *e)
{
	if (r->damage > 0)
		return "damaged";
	return e->kind == ERR_NONE ? "sound" : e->kind == ERR_NOTHING ? "nothing" : "unknown";
}

static void replica_text(struct job *j, const struct verify_result *r, const struct err *e)
{
	for (size_t i = 0; i < j->windows_n; i++)
		window_text(j, &j->windows[i]);
	if ((e->kind == ERR_NONE || e->kind == ERR_NOTHING) && j->windows_n == 0)
		printf("restorable nothing\n");
	printf("%s: %" PRIu64 " damage, %" PRIu64 " exactness, %" PRIu64 " remarks; read %" PRIu64
	       " generations, %" PRIu64 " snapshots, %" PRIu64 " segments, %" PRIu64 " index objects, %" PRIu64
	       " commits\n",
	       result_word(r, e), r->damage, r->exactness, r->remarks, r->generations, r->snapshots,
	       r->segments, r->documents, r->commits);
}

static void replica_json(struct job *j, const struct verify_result *r, const struct err *e)
{
	json_end(&j->json); /* findings */
	json_array(&j->json, "windows");
	for (size_t i = 0; i < j->windows_n; i++)
		window_json(j, &j->windows[i]);
	json_end(&j->json);
	counts_json(&j->json, r);
	json_string(&j->json, "result", result_word(r, e));
	json_string(&j->json, "error", e->kind == ERR_NONE ? NULL : e->text);
	json_end(&j->json);
}

static int open_more(void *arg, struct store **ret, struct err *e)
{
	const struct job *j = arg;
	return store_open_keyed(conf_replica_target(j->replica), true, NULL, &j->keys, ret, e);
}

static int replica_read(struct job *j, struct conf_replica *r, struct verify_result *ret, struct err *e)
{
	struct restore_source s = {
		.name = r->name, .open_more = open_more, .arg = j, .how_to_name = j->words
	};
	struct verify_wish w = {
		.parallelism = j->f.parallelism,
		.progress = isatty(STDERR_FILENO) == 1,
		.finding = on_finding,
		.window = on_window,
		.arg = j,
	};
	if (j->f.generation)
		memcpy(w.generation.name, j->f.generation, sizeof w.generation.name);
	if (command_identity(j->f.identity, r, 1, e) < 0 || conf_replica_keys(r, &j->keys, NULL, e) < 0)
		return -1;
	int rc = open_more(j, &s.store, e);
	if (rc == 0) {
		rc = verify_run(&s, &w, ret, e);
		if (rc == 0 && j->windows_n == 0 && ret->damage == 0)
			rc = err_set(e, ERR_NOTHING, "%s: nothing can be restored from it", s.store->label);
		store_close(s.store);
	}
	age_keys_free(&j->keys);
	return rc;
}

/* Which of two failures tells more: one that may hide a backup before one that says there is none. */
static bool worse(const struct err *a, const struct err *b)
{
	return b->kind == ERR_NONE || (b->kind == ERR_NOTHING && a->kind != ERR_NOTHING);
}

static void replica_verify(struct job *j, struct conf_replica *r)
{
	char shown[PATH_BYTES];
	struct verify_result result = { 0 };
	struct err e = ERR_INIT;
	j->replica = r;
	j->windows_n = 0;
	conf_replica_shown(r, shown);
	if (j->f.json) {
		json_object(&j->json, NULL);
		json_string(&j->json, "replica", r->name);
		json_string(&j->json, "place", shown);
		json_array(&j->json, "findings");
	} else {
		printf("replica %s ", r->name);
		put_line("", shown);
	}
	if (replica_read(j, r, &result, &e) < 0 && j->target.replicas_n > 1)
		err_wrap(&e, "replica %s", r->name);
	if (j->f.json)
		replica_json(j, &result, &e);
	else
		replica_text(j, &result, &e);
	j->damage = j->damage || result.damage > 0;
	if (e.kind == ERR_NONE)
		return;
	if (j->failed.kind != ERR_NONE) /* the other one is told at the end */
		log_error("verify: a replica cannot be read", L_S("replica", r->name),
			  L_S("error", worse(&e, &j->failed) ? j->failed.text : e.text));
	if (worse(&e, &j->failed))
		j->failed = e;
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

static int verify_target(struct job *j, struct err *e, int *ret_exit)
{
	target_words(&j->target, j->words, sizeof j->words);
	catch_signals();
	j->json = (struct json)JSON_TO_FILE(stdout, 4);
	if (j->f.json) {
		json_object(&j->json, NULL);
		json_array(&j->json, "replicas");
	}
	for (size_t i = 0; i < j->target.replicas_n; i++)
		if (target_wants(&j->target, &j->target.replicas[i]) && j->no_memory.kind == ERR_NONE)
			replica_verify(j, &j->target.replicas[i]);
	if (j->f.json) {
		json_end(&j->json);
		json_end(&j->json);
		if (json_finish(&j->json) < 0 && !ferror(stdout))
			return err_set(e, ERR_FAIL, "no memory to print JSON");
	}
	if (j->no_memory.kind != ERR_NONE)
		j->failed = j->no_memory;
	if (j->damage) {
		*ret_exit = err_exit_code(ERR_DAMAGED);
		if (j->failed.kind != ERR_NONE)
			log_error("verify: a replica cannot be read", L_S("error", j->failed.text));
		return 0;
	}
	if (j->failed.kind == ERR_NONE)
		return 0;
	*e = j->failed;
	return -1;
}

static int check_flags(struct verify_flags *f, struct err *e)
{
	if (f->generation && !*f->generation)
		f->generation = NULL;
	if (f->generation && !generation_valid(f->generation))
		return err_set(e, ERR_USAGE,
			       "-generation: \"%.80s\" is not the name of a generation; it has 16 lower case "
			       "hexadecimal digits, e.g. 0123456789abcdef",
			       f->generation);
	return 0;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct job *j = calloc(1, sizeof *j);
	int first;
	if (!j)
		return err_set(e, ERR_FAIL, "no memory");
	j->f.parallelism = PARALLELISM;
	int rc = command_args(&command_verify, &j->f, argc, argv, &first, e);
	bool help = rc == 1;
	if (rc == 0)
		rc = check_flags(&j->f, e);
	if (rc == 0 && first == argc)
		rc = err_set(e, ERR_USAGE,
			     "what to verify is missing: give the path of a configured database, the URL of a "
			     "replica, or the directory of one");
	if (rc == 0 && argc - first > 1)
		rc = err_set(e, ERR_USAGE, "verify takes one argument, but \"%.200s\" follows \"%.200s\"",
			     argv[first + 1], argv[first]);
	if (rc == 0 &&
	    target_find(argv[first], j->f.config, j->f.no_expand_env, j->f.replica, &j->target, e) < 0)
		rc = -1;
	else if (rc == 0) {
		rc = verify_target(j, e, ret_exit);
		target_free(&j->target);
	}
	free(j->windows);
	free(j);
	return help ? 0 : rc;
}

const struct command command_verify = {
	.name = "verify",
	.arguments = "DATABASE | URL | DIRECTORY",
	.sentence = "Read a backup completely and tell what is wrong with it and what can be restored",
	.text = "Nothing is restored and nothing is changed. Each finding is damage (something cannot be\n"
		"restored), a loss of exactness (times are not exact to the commit) or a remark. Then follow\n"
		"the stretches of time that can be restored, with the command that restores the end of each;\n"
		"with -timestamp TIME any moment between. The exit code is 5 when there is damage.\n"
		"\n"
		"  walbrook verify /var/lib/app/app.db\n"
		"  walbrook verify -json file:///var/backups/app\n",
	.flags = flags,
	.run = run,
};
