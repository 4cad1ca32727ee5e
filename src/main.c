/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook: streaming replication and point-in-time restore for SQLite.
 *
 *   1. the first word chooses a row of the table of commands
 *   2. the command does everything else
 *   3. an error becomes one line on standard error, `walbrook: TEXT`, and the exit code of its kind
 *      (docs/exit-codes.md)
 *
 * Failure modes: no command: the usage on standard error, exit code 2. An unknown command: the nearest known
 * one. Standard output that cannot be written (a full disk behind `>`) is a failure of the command. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"

const struct command *const commands[] = {
	&command_replicate,
	&command_restore,
	&command_databases,
	&command_generations,
	&command_snapshots,
	&command_wal,
	&command_config,
	&command_check,
	&command_verify,
	&command_status,
	&command_sync,
	&command_position,
	&command_wait,
	&command_follow,
	&command_promote,
	&command_reload,
	&command_version,
	&command_help,
	NULL,
};

/* One line, whatever paths and names are in it. */
static int report(const struct err *e)
{
	char line[ERR_TEXT_BYTES];
	size_t n = strnlen(e->text, sizeof line - 1);
	for (size_t i = 0; i < n; i++)
		line[i] = (unsigned char)e->text[i] < ' ' || e->text[i] == 0x7f ? '?' : e->text[i];
	fprintf(stderr, "walbrook: %.*s\n", (int)n, line);
	return err_exit_code(e->kind);
}

/* What people try first with a program that they do not know. */
static const struct command *as_flag(const char *word)
{
	if (strcmp(word, "-h") == 0 || strcmp(word, "-help") == 0 || strcmp(word, "--help") == 0)
		return &command_help;
	if (strcmp(word, "-version") == 0 || strcmp(word, "--version") == 0)
		return &command_version;
	return NULL;
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	int status = 0;
	if (argc < 2) {
		help_print_all(STDERR_FILENO);
		return err_exit_code(ERR_USAGE);
	}
	const struct command *c = as_flag(argv[1]);
	if (!c)
		c = command_find(argv[1], &e);
	if (!c || c->run(argc - 2, argv + 2, &e, &status) < 0)
		return report(&e);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		err_sys(&e, errno, "cannot write to standard output");
		return report(&e);
	}
	return status;
}
