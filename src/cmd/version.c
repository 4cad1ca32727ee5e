/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook version: prints the version and a line feed. Its single source is the file VERSION. */
#include "cmd/cmd.h"

#include <stdio.h>

static const struct args_flag flags[] = { { 0 } };

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	int first;
	(void)ret_exit;
	int rc = command_args(&command_version, NULL, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (first < argc)
		return err_set(e, ERR_USAGE, "version takes no argument, but \"%.80s\" is given", argv[first]);
	puts(WALBROOK_VERSION);
	return 0;
}

const struct command command_version = {
	.name = "version",
	.arguments = "",
	.sentence = "Print the version",
	.flags = flags,
	.run = run,
};
