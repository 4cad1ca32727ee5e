/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook reload: the running daemon reads its configuration again, as on SIGHUP, and what has not changed
 * goes on.
 *
 * Failure modes: the new configuration is not valid (ERR_CONFIG; the daemon goes on with the old one), no
 * daemon. */
#include "cmd/cmd.h"

#include "cmd/running.h"

enum { ANSWER_US = 60000000 };

struct reload_flags {
	struct running_flags where;
};

#define AT(member) offsetof(struct reload_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct reload_flags f = { { 0 } };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_reload, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (first < argc)
		return err_set(e, ERR_USAGE, "reload takes no argument, but \"%.200s\" is given", argv[first]);
	struct request r = { .verb = REQUEST_RELOAD, .json = f.where.json };
	return running_ask(&f.where, &r, ANSWER_US, e);
}

const struct command command_reload = {
	.name = "reload",
	.arguments = "",
	.sentence = "Let the running daemon read its configuration again",
	.text = RUNNING_TEXT
	"\n"
	"The daemon reads the file that it was started with; -config here only tells where its\n"
	"socket is. If the file is not valid the daemon goes on as before, and the exit status is\n"
	"3.\n",
	.flags = flags,
	.run = run,
};
