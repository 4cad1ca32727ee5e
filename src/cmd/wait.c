/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook wait: until a position is reached here.
 *
 *   1. flags, a database, and a position as walbrook position printed it
 *   2. running_ask(): the daemon answers as soon as it is so
 *
 * Failure modes: not in time (ERR_DEADLINE), a position of another generation (ERR_FAIL), no such database, no
 * daemon. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "cmd/running.h"
#include "core/layout.h"

enum { MARGIN_US = 10000000 }; /* the daemon keeps the deadline; this is for one that does not answer at all */

struct wait_flags {
	struct running_flags where;
	int64_t timeout_us;
};

#define AT(member) offsetof(struct wait_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "timeout", ARGS_DURATION, AT(timeout_us), "DURATION", "how long to wait; default 10s", 0, 0 },
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct wait_flags f = { .timeout_us = REQUEST_WAIT_S * 1000000LL };
	struct generation g;
	struct position p;
	char path[PATH_BYTES];
	const char *dbs[1] = { path };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_wait, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first != 2)
		return err_set(e, ERR_USAGE, "wait takes a database and a position");
	if (running_timeout(f.timeout_us, e) < 0 || path_absolute(path, argv[first], e) < 0)
		return -1;
	if (!position_parse(argv[first + 1], &g, &p))
		return err_set(e, ERR_USAGE,
			       "\"%.100s\" is not a position: GENERATION/INDEX:OFFSET, as walbrook position "
			       "prints it",
			       argv[first + 1]);
	struct request r = { .verb = REQUEST_WAIT,
			     .json = f.where.json,
			     .position = argv[first + 1],
			     .timeout_us = f.timeout_us,
			     .dbs = dbs,
			     .dbs_n = 1 };
	return running_ask(&f.where, &r, f.timeout_us + MARGIN_US, e);
}

const struct command command_wait = {
	.name = "wait",
	.arguments = "DATABASE POSITION",
	.sentence = "Wait until a position is reached here",
	.text = "POSITION is what `walbrook position` printed on the primary. On a follower it is reached "
		"when\n"
		"readers see everything that was committed before it; on a primary when it is captured.\n"
		"\n" RUNNING_TEXT "\n"
		"Exit status 0: reached; 10: not in time; 1: the history here is another one, ask for a new\n"
		"position; 4: no daemon, or no such database; 7: not permitted.\n"
		"\n"
		"  walbrook wait -timeout 2s /var/lib/app/app.db 37ba5b6d12c0a1f5/0000000a:4152\n",
	.flags = flags,
	.run = run,
};
