/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook position: the token of everything that is committed, for walbrook wait on a follower.
 *
 *   1. flags, and one database
 *   2. running_ask(): the daemon captures at once and answers with the position behind it
 *
 * Failure modes: the database is broken or not there (its reason decides the exit code), the time is over, no
 * daemon. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "cmd/running.h"

enum { MARGIN_US = 10000000 }; /* the daemon keeps the deadline; this is for one that does not answer at all */

struct position_flags {
	struct running_flags where;
	int64_t timeout_us;
};

#define AT(member) offsetof(struct position_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "timeout", ARGS_DURATION, AT(timeout_us), "DURATION", "how long it may take; default 10s", 0, 0 },
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct position_flags f = { .timeout_us = REQUEST_WAIT_S * 1000000LL };
	char path[PATH_BYTES];
	const char *dbs[1] = { path };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_position, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first != 1)
		return err_set(e, ERR_USAGE, "position takes one database");
	if (running_timeout(f.timeout_us, e) < 0 || path_absolute(path, argv[first], e) < 0)
		return -1;
	struct request r = { .verb = REQUEST_POSITION,
			     .json = f.where.json,
			     .timeout_us = f.timeout_us,
			     .dbs = dbs,
			     .dbs_n = 1 };
	return running_ask(&f.where, &r, f.timeout_us + MARGIN_US, e);
}

const struct command command_position = {
	.name = "position",
	.arguments = "DATABASE",
	.sentence = "Print the position behind everything committed so far",
	.text = "The position is a token: when `walbrook wait` has seen it reached on a follower, its readers\n"
		"see everything that was committed before. On a follower: what its readers see now.\n"
		"\n" RUNNING_TEXT "\n"
		"Exit status 0: printed; 10: not captured in time; 4: no daemon, or no such database;\n"
		"7: not permitted.\n"
		"\n"
		"  walbrook position /var/lib/app/app.db\n",
	.flags = flags,
	.run = run,
};
