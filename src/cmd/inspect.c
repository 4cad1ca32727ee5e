/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of a listing command:
 *
 *   1. flags, and one argument (target.c)
 *   2. each replica that is wanted: its generations, by name; of each generation its objects, then its rows.
 * One generation is in memory at a time
 *   3. the table, or the end of the JSON, on standard output: also when there is no row, and when a replica
 * failed
 *   4. what an empty result means on standard error; the next command only if that is a terminal, so that
 * scripts read nothing that is not a finding
 *
 * Failure modes: a replica that cannot be listed is an error of the command; when there are several it is told
 * in the log and the others are listed all the same, and the exit code is that of the failure ("not reachable"
 * goes before "nothing there"). */
#include "cmd/inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/store.h"

void inspect_json_index(struct json *j, const char *key, uint64_t index)
{
	char text[32];
	snprintf(text, sizeof text, "%08" PRIx64, index);
	json_string(j, key, text);
}

void inspect_row(struct inspect *in, const struct conf_replica *r, const struct listing *l)
{
	in->rows++;
	in->newest = l->plan.generation;
	if (in->f.json) {
		json_object(&in->json, NULL);
		json_string(&in->json, "replica", r->name);
		json_string(&in->json, "generation", l->plan.generation.name);
		return;
	}
	table_cell(&in->table, "%s", r->name);
	table_cell(&in->table, "%s", l->plan.generation.name);
}

void inspect_row_end(struct inspect *in)
{
	if (in->f.json)
		json_end(&in->json);
}

/* ---- objects ---- */

static int object_compare(const void *a, const void *b)
{
	const struct plan_object *x = a, *y = b;
	return position_compare(x->at, y->at);
}

static void object_json(struct json *j, const struct plan_object *o, bool with_offset)
{
	inspect_json_index(j, "index", o->at.index);
	if (with_offset)
		json_uint(j, "offset", o->at.offset);
	json_uint(j, "size", o->stored_bytes);
	json_time(j, "created", o->created_us);
}

static void object_cells(struct table *t, const struct plan_object *o, bool with_offset)
{
	char time[TIME_TEXT_BYTES];
	table_cell(t, "%08" PRIx64, o->at.index);
	if (with_offset)
		table_cell(t, "%" PRIu64, o->at.offset);
	table_cell(t, "%" PRIu64, o->stored_bytes);
	table_cell(t, "%s", time_format(time, o->created_us, 0));
}

int inspect_objects(struct inspect *in, const struct conf_replica *r, const struct listing *l,
		    struct plan_object *v, size_t n, bool with_offset)
{
	if (n > 0)
		qsort(v, n, sizeof *v, object_compare);
	for (size_t i = 0; i < n; i++) {
		inspect_row(in, r, l);
		if (in->f.json)
			object_json(&in->json, &v[i], with_offset);
		else
			object_cells(&in->table, &v[i], with_offset);
		inspect_row_end(in);
		in->newest_index = v[i].at.index;
	}
	return 0;
}

/* ---- replicas ---- */

static int one_generation(struct inspect *in, const struct conf_replica *r, struct restore_source *source,
			  const struct generation *g, struct err *e)
{
	struct listing l;
	unsigned kinds = in->f.json ? in->kind->kinds_json : in->kind->kinds;
	if (in->f.generation && strcmp(g->name, in->f.generation) != 0)
		return 0;
	in->generations++;
	if (listing_read_kinds(&l, source, g, kinds, true, e) < 0)
		return -1;
	int rc = in->kind->rows(in, r, &l, e);
	listing_free(&l);
	return rc;
}

static int one_replica(struct inspect *in, const struct conf_replica *r, struct err *e)
{
	struct restore_source source = { .name = r->name };
	struct generations g = { 0 };
	if (store_open(conf_replica_target(r), true, NULL, &source.store, e) < 0)
		return -1;
	int rc = list_generations(source.store, &g, true, e);
	for (size_t i = 0; rc == 0 && i < g.n; i++)
		rc = one_generation(in, r, &source, &g.v[i], e);
	generations_free(&g);
	store_close(source.store);
	return rc;
}

/* The worst failure is kept: what cannot be told goes before what is not there. */
static void failed(struct inspect *in, const struct conf_replica *r, const struct err *one)
{
	if (in->wanted > 1)
		log_error("a replica cannot be listed", L_S("replica", r->name), L_S("error", one->text));
	if (in->failed.kind == ERR_NONE || (in->failed.kind == ERR_NOTHING && one->kind != ERR_NOTHING))
		in->failed = *one;
}

/* Counts the wanted ones first: of a single one the failure is that of the command. */
static void all_replicas(struct inspect *in)
{
	const struct target *t = &in->target;
	for (size_t i = 0; i < t->replicas_n; i++)
		in->wanted += target_wants(t, &t->replicas[i]);
	for (size_t i = 0; i < t->replicas_n; i++) {
		struct err one = ERR_INIT;
		if (target_wants(t, &t->replicas[i]) && one_replica(in, &t->replicas[i], &one) < 0)
			failed(in, &t->replicas[i], &one);
	}
}

/* ---- what is said beside the result ---- */

/* No rows, although every replica has answered. */
static int tell_empty(const struct inspect *in, struct err *e)
{
	char words[PATH_BYTES + 512];
	target_words(&in->target, words, sizeof words);
	if (in->f.generation && in->generations == 0)
		return err_set(e, ERR_NOTHING,
			       "there is no generation %s. walbrook generations %s shows those that there are",
			       in->f.generation, words);
	if (in->f.json)
		return 0;
	if (in->generations > 0)
		fprintf(stderr,
			"There are no %s in any of its generations (%zu); walbrook generations %s shows what "
			"is in "
			"them.\n",
			in->kind->nothing, in->generations, words);
	else if (in->target.db)
		fprintf(stderr,
			"There are no %s: nothing was replicated there yet. walbrook replicate begins with it, "
			"and "
			"tells in its log what keeps it from doing so.\n",
			in->kind->nothing);
	else
		fprintf(stderr,
			"There are no %s: no backup is in %s. If one should be there, look whether it is the "
			"directory that has `generations` in it.\n",
			in->kind->nothing, words);
	return 0;
}

static void tell_next(const struct inspect *in)
{
	char words[PATH_BYTES + 1024];
	if (in->f.json || isatty(STDERR_FILENO) != 1)
		return;
	fflush(stdout);
	in->kind->next(in, words, sizeof words);
	fprintf(stderr, "Next: walbrook %s\n", words);
}

/* ---- the run ---- */

static int check_words(const struct inspect_kind *k, struct inspect_flags *f, int n, char *const *words,
		       struct err *e)
{
	if (f->generation && !*f->generation)
		f->generation = NULL;
	if (f->generation && !generation_valid(f->generation))
		return err_set(e, ERR_USAGE,
			       "-generation: \"%.80s\" is not the name of a generation; it has 16 lower case "
			       "hexadecimal digits, e.g. 0123456789abcdef",
			       f->generation);
	if (n == 0)
		return err_set(
			e, ERR_USAGE,
			"%s: walbrook %s takes the path of a configured database, or the URL or the directory "
			"of a replica. walbrook databases shows what is configured",
			k->argument_missing, k->command->name);
	if (n > 1)
		return err_set(e, ERR_USAGE,
			       "too many arguments: %s takes one, but \"%.200s\" follows \"%.200s\"",
			       k->command->name, words[1], words[0]);
	return 0;
}

static int print(struct inspect *in, struct err *e)
{
	if (!in->f.json)
		return table_print(&in->table, stdout, e);
	json_end(&in->json);
	json_finish(&in->json); /* main looks whether standard output took it */
	return 0;
}

static int inspect(struct inspect *in, struct err *e, int *ret_exit)
{
	if (in->f.json) {
		in->json = JSON_TO_FILE(stdout, 1);
		json_array(&in->json, NULL);
	}
	table_init(&in->table, in->kind->titles);
	all_replicas(in);
	int rc = print(in, e);
	table_free(&in->table);
	if (rc < 0)
		return -1;
	if (in->failed.kind == ERR_NONE) {
		if (in->rows == 0)
			return tell_empty(in, e);
		tell_next(in);
		return 0;
	}
	if (in->rows > 0)
		tell_next(in);
	*e = in->failed;
	if (in->wanted == 1)
		return -1;
	*ret_exit = err_exit_code(e->kind); /* the log has told of it */
	return 0;
}

int inspect_run(const struct inspect_kind *kind, int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct inspect in = { .kind = kind };
	int first;
	int rc = command_args(kind->command, &in.f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (check_words(kind, &in.f, argc - first, argv + first, e) < 0 ||
	    target_find(argv[first], in.f.config, in.f.no_expand_env, in.f.replica, &in.target, e) < 0)
		return -1;
	rc = inspect(&in, e, ret_exit);
	target_free(&in.target);
	return rc;
}
