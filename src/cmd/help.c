/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook help [COMMAND]: what there is, from the table of commands and their tables of flags. Help that was
 * asked for goes to standard output with status 0; main.c prints the same to standard error when the command is
 * missing. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "conf/nearest.h"

static const struct args_flag flags[] = { { 0 } };

void help_print_all(int fd)
{
	FILE *to = fd == STDERR_FILENO ? stderr : stdout;
	fputs("walbrook replicates SQLite databases to other places as they change, and restores them.\n\n"
	      "Usage: walbrook COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:\n",
	      to);
	for (size_t i = 0; commands[i]; i++)
		fprintf(to, "  %-12s %s\n", commands[i]->name, commands[i]->sentence);
	fputs("\n`walbrook help COMMAND` tells the flags and arguments of a command.\n", to);
}

static void print_one(const struct command *c)
{
	printf("%s.\n\nUsage: walbrook %s%s%s%s\n", c->sentence, c->name, c->flags->name ? " [FLAGS]" : "",
	       *c->arguments ? " " : "", c->arguments);
	if (c->text)
		printf("\n%s", c->text);
	if (c->flags->name)
		printf("\nFlags (before the arguments):\n");
	for (const struct args_flag *f = c->flags; f->name; f++) {
		char left[64];
		snprintf(left, sizeof left, "-%s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");
		printf("  %-22s %s\n", left, f->help);
	}
}

const struct command *command_find(const char *name, struct err *e)
{
	const char *plain = name + strspn(name, "-");
	struct nearest near = NEAREST_OF(plain);
	for (size_t i = 0; commands[i]; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
		nearest_offer(&near, commands[i]->name);
	}
	if (name[0] == '-')
		err_set(e, ERR_USAGE, "the command comes before the flags, but the first word is %.80s", name);
	else
		err_set(e, ERR_USAGE, "there is no command \"%.80s\"", name);
	if (near.best)
		err_hint(e, "Did you mean walbrook %s?", near.best);
	else
		err_hint(e, "walbrook help lists those that there are");
	return NULL;
}

int command_args(const struct command *c, void *base, int argc, char *const *argv, int *ret_first,
		 struct err *e)
{
	int rc = args_parse(c->flags, base, argc, argv, ret_first, e);
	if (rc == 1)
		print_one(c);
	return rc;
}

int command_conf(const char *given, bool expand_env, struct conf **ret, struct err *e)
{
	char *path;
	if (conf_find(given, &path, e) < 0)
		return -1;
	int rc = conf_read(path, expand_env, ret, e);
	if (rc == 0)
		log_setup((*ret)->log_level, (*ret)->log_json,
			  (*ret)->log_stdout ? STDOUT_FILENO : STDERR_FILENO);
	free(path);
	return rc;
}

int command_needs_conf(struct err *e)
{
	if (e->kind == ERR_NOTHING)
		e->kind = ERR_CONFIG;
	return -1;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	int first;
	(void)ret_exit;
	int rc = command_args(&command_help, NULL, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first > 1)
		return err_set(e, ERR_USAGE, "help takes one command, but \"%.80s\" follows", argv[first + 1]);
	if (argc == first) {
		help_print_all(STDOUT_FILENO);
		return 0;
	}
	const struct command *c = command_find(argv[first], e);
	if (!c)
		return -1;
	print_one(c);
	return 0;
}

const struct command command_help = {
	.name = "help",
	.arguments = "[COMMAND]",
	.sentence = "Tell what a command does, its flags and its arguments",
	.flags = flags,
	.run = run,
};

int command_identity(const char *file, struct conf_replica *replicas, size_t n, struct err *e)
{
	bool open;
	if (!file)
		return 0;
	if (conf_replicas_add_identities(replicas, n, file, &open, e) < 0) {
		if (e->kind == ERR_CONFIG)
			e->kind = ERR_USAGE;
		return err_wrap(e, "-identity");
	}
	if (open)
		log_warn("a file with secret keys can be read by everybody; chmod o-r it", L_S("file", file));
	return 0;
}
