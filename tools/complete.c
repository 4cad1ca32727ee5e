/* SPDX-License-Identifier: Apache-2.0
 *
 * Completions for three shells, from the table of commands: the commands, the flags of each, and for the value
 * of a flag or an argument files where files are meant. */
#include "gendoc.h"

#include <string.h>

#include "conf/args.h"

/* Whether the value of a flag names something in the file system. */
static bool is_file(const struct args_flag *f)
{
	return f->value && (strcmp(f->value, "FILE") == 0 || strcmp(f->value, "PATH") == 0 ||
			    strcmp(f->value, "DIR") == 0 || strcmp(f->value, "DIRECTORY") == 0);
}

/* Text between single quotes, with a backslash before what the shell's own syntax means something else by. */
static void quoted(FILE *to, const char *text, const char *special, const char *quote)
{
	for (; *text; text++) {
		if (*text == '\'')
			fputs(quote, to);
		else if (*text != '`')
			fprintf(to, "%s%c", strchr(special, *text) ? "\\" : "", *text);
	}
}

static void names(FILE *to, const char *between)
{
	for (size_t i = 0; commands[i]; i++)
		fprintf(to, "%s%s", i ? between : "", commands[i]->name);
}

void complete_bash(FILE *to)
{
	fputs("# bash completion for walbrook; made from its table of commands\n\n"
	      "_walbrook() {\n"
	      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} "
	      "command=${COMP_WORDS[1]}\n"
	      "  local flags='' files='' values=''\n"
	      "  COMPREPLY=()\n"
	      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '",
	      to);
	names(to, " ");
	fputs("' -- \"$cur\"))\n    return\n  fi\n  case $command in\n", to);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(to, "    %s)\n      flags='-h", commands[i]->name);
		for (const struct args_flag *f = commands[i]->flags; f->name; f++)
			fprintf(to, " -%s", f->name);
		fputs("'\n      files='", to);
		for (const struct args_flag *f = commands[i]->flags; f->name; f++)
			if (is_file(f))
				fprintf(to, " -%s", f->name);
		fputs("'\n      values='", to);
		for (const struct args_flag *f = commands[i]->flags; f->name; f++)
			if (f->value && !is_file(f))
				fprintf(to, " -%s", f->name);
		fputs("'\n      ;;\n", to);
	}
	fputs("  esac\n"
	      "  if [ \"$command\" = help ]; then\n    COMPREPLY=($(compgen -W '",
	      to);
	names(to, " ");
	fputs("' -- \"$cur\"))\n    return\n  fi\n"
	      "  case \" $values \" in *\" ${prev/#--/-} \"*) return ;; esac\n"
	      "  case \" $files \" in *\" ${prev/#--/-} \"*)\n"
	      "    compopt -o filenames 2>/dev/null\n"
	      "    COMPREPLY=($(compgen -f -- \"$cur\"))\n    return ;;\n  esac\n"
	      "  case $cur in\n"
	      "    --*) COMPREPLY=($(compgen -W \"${flags// -/ --}\" -- \"$cur\")) ;;\n"
	      "    -*) COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\")) ;;\n"
	      "    *)\n      compopt -o filenames 2>/dev/null\n"
	      "      COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
	      "  esac\n"
	      "}\n"
	      "complete -F _walbrook walbrook\n",
	      to);
}

static void zsh_flag(FILE *to, const struct args_flag *f)
{
	fprintf(to, "        '%s-%s[", f->value ? "(-h)" : "", f->name);
	quoted(to, f->help, "[]:\\", "'\\''");
	fputc(']', to);
	if (f->value) {
		fprintf(to, ":%s:", f->value);
		fputs(is_file(f) ? "_files" : " ", to);
	}
	fputs("' \\\n", to);
}

void complete_zsh(FILE *to)
{
	fputs("#compdef walbrook\n# made from the table of commands of walbrook\n\n"
	      "_walbrook_commands() {\n  local -a commands=(\n",
	      to);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(to, "    '%s:", commands[i]->name);
		quoted(to, commands[i]->sentence, ":\\", "'\\''");
		fputs("'\n", to);
	}
	fputs("  )\n  _describe -t commands 'command' commands\n}\n\n"
	      "_walbrook() {\n"
	      "  if (( CURRENT == 2 )); then\n    _walbrook_commands\n    return\n  fi\n"
	      "  local command=$words[2]\n"
	      "  shift words\n  (( CURRENT-- ))\n"
	      "  case $command in\n",
	      to);
	for (size_t i = 0; commands[i]; i++) {
		const bool help = strcmp(commands[i]->name, "help") == 0;
		fprintf(to, "    %s)\n      _arguments \\\n", commands[i]->name);
		for (const struct args_flag *f = commands[i]->flags; f->name; f++)
			zsh_flag(to, f);
		fprintf(to, "        '-h[tell about the command]'%s\n      ;;\n",
			help			  ? " \\\n        '1:command:_walbrook_commands'"
			: *commands[i]->arguments ? " \\\n        '*:file:_files'"
						  : "");
	}
	fputs("  esac\n}\n\n"
	      "if [ \"$funcstack[1]\" = _walbrook ]; then\n  _walbrook \"$@\"\nelse\n  compdef _walbrook "
	      "walbrook\nfi\n",
	      to);
}

void complete_fish(FILE *to)
{
	fputs("# fish completion for walbrook; made from its table of commands\n\n"
	      "complete -c walbrook -n __fish_use_subcommand -f\n",
	      to);
	for (size_t i = 0; commands[i]; i++) {
		fprintf(to, "complete -c walbrook -n __fish_use_subcommand -f -a %s -d '", commands[i]->name);
		quoted(to, commands[i]->sentence, "\\", "\\'");
		fputs("'\n", to);
	}
	for (size_t i = 0; commands[i]; i++)
		for (const struct args_flag *f = commands[i]->flags; f->name; f++) {
			fprintf(to, "complete -c walbrook -n '__fish_seen_subcommand_from %s' -o %s%s -d '",
				commands[i]->name, f->name,
				!f->value    ? ""
				: is_file(f) ? " -r -F"
					     : " -x");
			quoted(to, f->help, "\\", "\\'");
			fputs("'\n", to);
		}
	fputs("complete -c walbrook -n '__fish_seen_subcommand_from help' -f -a '", to);
	names(to, " ");
	fputs("'\n", to);
}
