/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook version: prints the version and a line feed. Its single source is the file VERSION. With -json also
 * the version of SQLite that it runs with, for a report of a fault. */
#include "cmd/cmd.h"

#include <sqlite3.h>
#include <stdio.h>

#include "base/json.h"

struct version_flags {
	bool json;
};

static const struct args_flag flags[] = {
	{ "json", ARGS_BOOL, offsetof(struct version_flags, json), NULL,
	  "print JSON; docs/json.md tells the fields", 0, 0 },
	{ 0 },
};

static void print_json(void)
{
	struct json j = JSON_TO_FILE(stdout, 1);
	json_object(&j, NULL);
	json_string(&j, "name", "walbrook");
	json_string(&j, "version", WALBROOK_VERSION);
	json_string(&j, "sqlite", sqlite3_libversion());
	json_end(&j);
	json_finish(&j);
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct version_flags f = { 0 };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_version, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (first < argc)
		return err_set(e, ERR_USAGE, "version takes no argument, but \"%.80s\" is given", argv[first]);
	if (f.json)
		print_json();
	else
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
