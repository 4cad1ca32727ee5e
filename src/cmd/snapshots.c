/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook snapshots: the copies of the whole database that replicas hold, by generation and position
 * (inspect.c goes through them).
 *
 * The index is hexadecimal, as the names of the objects and `restore -index` have it; the original printed it
 * in decimal here. Sizes are those of the stored objects, times those that the store tells. */
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "cmd/inspect.h"

static int rows(struct inspect *in, const struct conf_replica *r, struct listing *l, struct err *e)
{
	(void)e;
	return inspect_objects(in, r, l, l->plan.snapshots, l->plan.snapshots_n, false);
}

static void next(const struct inspect *in, char *buf, size_t n)
{
	char words[PATH_BYTES + 512];
	snprintf(buf, n, "restore -o FILE -generation %s -index %08" PRIx64 " %s", in->newest.name,
		 in->newest_index, target_words(&in->target, words, sizeof words));
}

static const struct args_flag flags[] = { INSPECT_FLAGS, { 0 } };
static const char *const titles[] = { "replica", "generation", "index", "size", "created", NULL };

static const struct inspect_kind kind = {
	.command = &command_snapshots,
	.argument_missing = "database path required, or replica URL",
	.titles = titles,
	.kinds = LIST_KIND(OBJECT_SNAPSHOT),
	.kinds_json = LIST_KIND(OBJECT_SNAPSHOT),
	.nothing = "snapshots",
	.rows = rows,
	.next = next,
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	return inspect_run(&kind, argc, argv, e, ret_exit);
}

const struct command command_snapshots = {
	.name = "snapshots",
	.arguments = "DATABASE | URL | DIRECTORY",
	.sentence = "List the snapshots of replicas: the copies of the whole database",
	.text = "The index is hexadecimal, as restore -index reads it. size is in bytes as stored.\n"
		"\n" INSPECT_TEXT "\n"
		"  walbrook snapshots /var/lib/app/app.db\n"
		"  walbrook snapshots -json file:///var/backups/app\n",
	.flags = flags,
	.run = run,
};
