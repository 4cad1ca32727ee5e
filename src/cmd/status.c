/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook status: what the running daemon does, of all databases or everything of one.
 *
 *   1. flags, and at most one database
 *   2. running_ask() finds the daemon, asks and prints
 *
 * The exit status is 0 when every database is fine or waits for its application, and 1 when one needs somebody:
 * it is in the state gap or broken, a step of it fails, or one of its replicas fails or does not validate.
 *
 * Failure modes: no daemon answers, not permitted, a database that it does not know: each says what was tried
 * and what to do. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "cmd/running.h"

enum { ANSWER_US = 10000000 };

struct status_flags {
	struct running_flags where;
};

#define AT(member) offsetof(struct status_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct status_flags f = { { 0 } };
	char path[PATH_BYTES];
	const char *dbs[1] = { path };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_status, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first > 1)
		return err_set(e, ERR_USAGE, "status takes one database, but \"%.200s\" follows",
			       argv[first + 1]);
	struct request r = { .verb = REQUEST_STATUS, .json = f.where.json };
	if (first < argc) {
		if (path_absolute(path, argv[first], e) < 0)
			return -1;
		r.dbs = dbs;
		r.dbs_n = 1;
	}
	return running_ask(&f.where, &r, ANSWER_US, e);
}

const struct command command_status = {
	.name = "status",
	.arguments = "[DATABASE]",
	.sentence = "Show what the running daemon does, and what it waits for",
	.text = RUNNING_TEXT
	"\n"
	"Without DATABASE: one line for each replica. With it: everything that is known of that one.\n"
	"\n"
	"  position  what is captured: WAL index and offset; shipped: what the replica holds\n"
	"  lag       age of the oldest commit that the replica lacks; behind: how much WAL that is\n"
	"\n"
	"Exit status 0: all is well; 1: a database needs somebody; 4: no daemon, or it does not know\n"
	"DATABASE; 7: not permitted.\n"
	"\n"
	"  walbrook status\n"
	"  walbrook status -json /var/lib/app/app.db\n",
	.flags = flags,
	.run = run,
};
