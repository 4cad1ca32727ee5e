/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook promote: a copy becomes a primary.
 *
 *   1. the running daemon is asked: it finishes what it has received, ends following, and goes on with the
 * database as with any other
 *   2. without a daemon the files are promoted here
 *
 * Failure modes: nothing known is in the copy yet, it is a primary already, a daemon follows it that cannot be
 * asked.
 */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "cmd/running.h"
#include "daemon/promote.h"

enum { ANSWER_US = 90000000 };

struct promote_flags {
	struct running_flags where;
};

#define AT(member) offsetof(struct promote_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

/* Where its metadata is: the configuration may say so. */
static int meta_of(const struct promote_flags *f, const char *path, char meta[PATH_BYTES], struct err *e)
{
	struct conf *c = NULL;
	struct err ignored;
	const struct conf_db *found = NULL;
	if (f->where.config && *f->where.config) {
		if (command_conf(f->where.config, !f->where.no_expand_env, &c, e) < 0)
			return -1;
	} else if (command_conf(NULL, !f->where.no_expand_env, &c, &ignored) < 0) {
		c = NULL;
	}
	found = c ? conf_db_find(c, path) : NULL;
	struct conf_db plain = { .path = (char *)(uintptr_t)path };
	int rc = conf_meta_dir(found ? found : &plain, meta, e);
	conf_free(c);
	return rc;
}

static int promote(const struct promote_flags *f, const char *path, struct err *e)
{
	char meta[PATH_BYTES];
	const char *dbs[] = { path };
	struct request r = { .verb = REQUEST_PROMOTE, .json = f->where.json, .dbs = dbs, .dbs_n = 1 };
	if (running_ask(&f->where, &r, ANSWER_US, e) == 0)
		return 0;
	if (e->kind != ERR_NOTHING)
		return -1;
	*e = ERR_INIT; /* nobody answers, or not for this database */
	if (meta_of(f, path, meta, e) < 0)
		return -1;
	return promote_offline(path, meta, e);
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct promote_flags f = { { 0 } };
	char path[PATH_BYTES];
	int first;
	(void)ret_exit;
	int rc = command_args(&command_promote, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first != 1)
		return err_set(e, ERR_USAGE, "promote takes one database");
	if (path_absolute(path, argv[first], e) < 0)
		return -1;
	return promote(&f, path, e);
}

const struct command command_promote = {
	.name = "promote",
	.arguments = "DATABASE",
	.sentence = "End following: the copy becomes a primary",
	.text = "What was received is finished, writers are admitted, and from then on the database is "
		"replicated\n"
		"and served like any other, also if its configuration still says upstream. Its lineage gets a\n"
		"line, so that whoever follows it refuses the old primary when that comes back.\n"
		"\n" RUNNING_TEXT "\n"
		"Without a running daemon the files are promoted at once.\n"
		"\n"
		"Exit status 0: it is a primary; 4: nothing was followed with it; 6: it is one already; 9: a "
		"daemon\n"
		"has it that could not be asked.\n"
		"\n"
		"  walbrook promote /var/lib/app/app.db\n",
	.flags = flags,
	.run = run,
};
