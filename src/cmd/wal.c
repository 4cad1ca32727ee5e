/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook wal: the pieces of the write-ahead log that replicas hold, by generation and position (inspect.c
 * goes through them).
 *
 * The index is hexadecimal, as the names of the objects and `restore -index` have it; the original printed it
 * in decimal here. The offset is in bytes, decimal, as in the original. Sizes are those of the stored objects,
 * times those that the store tells. */
#include <inttypes.h>
#include <stdio.h>

#include "base/file.h"
#include "cmd/inspect.h"

static int rows(struct inspect *in, const struct conf_replica *r, struct listing *l, struct err *e)
{
	(void)e;
	return inspect_objects(in, r, l, l->plan.segments, l->plan.segments_n, true);
}

static void next(const struct inspect *in, char *buf, size_t n)
{
	char words[PATH_BYTES + 512];
	snprintf(buf, n, "restore -o FILE -generation %s -index %08" PRIx64 " %s", in->newest.name,
		 in->newest_index, target_words(&in->target, words, sizeof words));
}

static const struct args_flag flags[] = { INSPECT_FLAGS, { 0 } };
static const char *const titles[] = { "replica", "generation", "index", "offset", "size", "created", NULL };

static const struct inspect_kind kind = {
	.command = &command_wal,
	.argument_missing = "database path required, or replica URL",
	.titles = titles,
	.kinds = LIST_KIND(OBJECT_SEGMENT),
	.kinds_json = LIST_KIND(OBJECT_SEGMENT),
	.nothing = "WAL segments",
	.rows = rows,
	.next = next,
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	return inspect_run(&kind, argc, argv, e, ret_exit);
}

const struct command command_wal = {
	.name = "wal",
	.arguments = "DATABASE | URL | DIRECTORY",
	.sentence = "List the pieces of the write-ahead log that replicas hold",
	.text = "The index is hexadecimal, as restore -index reads it. size is in bytes as stored.\n"
		"\n" INSPECT_TEXT "\n"
		"  walbrook wal /var/lib/app/app.db\n"
		"  walbrook wal -json file:///var/backups/app\n",
	.flags = flags,
	.run = run,
};
