/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands: one row each in main.c, one file each in this folder. */
#ifndef WB_CMD_CMD_H
#define WB_CMD_CMD_H

#include "base/err.h"
#include "conf/args.h"

/* The row of a flag that many have; at: as in struct args_flag. */
#define FLAG_NO_EXPAND_ENV(at)                                                                                 \
	{                                                                                                      \
		"no-expand-env", ARGS_BOOL, at, NULL, "leave $NAME in the configuration as it stands", 0, 0    \
	}

struct command {
	const char *name;
	const char *arguments; /* for the usage line, "" for none */
	const char *sentence;  /* one line of `walbrook help` */
	const char *text; /* more of `walbrook help NAME`, lines that end with a line feed; NULL for none */
	const struct args_flag *flags;
	/* argv[0] is the first word behind the name. *ret_exit (0 before the call) is the exit status when it
	 * returns 0; with -1 the error tells. */
	int (*run)(int argc, char *const *argv, struct err *e, int *ret_exit);
};

extern const struct command *const commands[]; /* NULL at the end; main.c */

extern const struct command command_check, command_config;
extern const struct command command_status, command_sync, command_reload;
extern const struct command command_position, command_wait;
extern const struct command command_help, command_replicate, command_restore, command_version;
extern const struct command command_databases, command_generations, command_snapshots, command_wal;
extern const struct command command_verify;
extern const struct command command_follow, command_promote;

/* NULL and ERR_USAGE (with the nearest known one) when there is no such command. */
const struct command *command_find(const char *name, struct err *e);
/* args_parse() for a command; when help is asked for it prints that on standard output and returns 1. */
int command_args(const struct command *c, void *base, int argc, char *const *argv, int *ret_first,
		 struct err *e);
void help_print_all(int fd);

struct conf;
/* Finds the configuration (given: -config, may be NULL), reads it and sets up the log as it says. */
int command_conf(const char *given, bool expand_env, struct conf **ret, struct err *e);
/* After conf_find() or command_conf() where nothing goes without a configuration: that there is none is
 * ERR_CONFIG. Returns -1. */
int command_needs_conf(struct err *e);
/* The command of exec can be split into words. */
int command_exec_valid(const struct conf *c, struct err *e);
struct conf_replica;
/* -identity FILE (NULL: not given): its secret keys are added to those of each of the n replicas. */
int command_identity(const char *file, struct conf_replica *replicas, size_t n, struct err *e);

#endif
