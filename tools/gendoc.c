/* SPDX-License-Identifier: Apache-2.0
 *
 * gendoc KIND FILE: writes a manual page or a completion from the tables of the commands and of the options, so
 * that none of them can say what the program does not do. Built and run by the build; it is not installed.
 *
 *   1. `man1`, `man5`, `bash`, `zsh`, `fish`: FILE is written anew
 *   2. `tables`: the tables of FILE (docs/configuration.md) are replaced where they stand, in the order of the
 * scopes; the text around them is for people to write
 *
 * Failure modes: a file that cannot be read or written, a document with another number of tables. */
#include "gendoc.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "conf/options.h"

/* The table of commands stands in main.c; its own main() is not wanted here. */
int walbrook_main(int argc, char **argv);
#define main walbrook_main
#include "../src/main.c"
#undef main

static const char head[] = "| key | value | default | |\n|---|---|---|---|\n";

static void option_row(FILE *to, const struct option *o)
{
	const char *tick = o->by_default ? "`" : "", *before = "(";
	fprintf(to, "| `%s` | %s | %s%s%s | ", o->name, option_type_text(o->type), tick,
		o->by_default ? o->by_default : "", tick);
	for (unsigned t = 0; o->types && t < REPLICA_TYPES_N; t++)
		if (o->types & 1u << t) {
			fprintf(to, "%s%s", before, replica_types[t].name);
			before = ", ";
		}
	fprintf(to, "%s%s |\n", o->types ? ") " : "", o->sentence);
}

static void table_of(FILE *to, enum option_scope scope)
{
	fputs(head, to);
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == scope)
			option_row(to, &options[i]);
}

/* text with its tables replaced. false: it has not as many as there are scopes. */
static bool replace_tables(FILE *to, const char *text)
{
	unsigned scope = 0;
	while (*text) {
		const char *line_end = strchr(text, '\n');
		size_t n = line_end ? (size_t)(line_end - text) + 1 : strlen(text);
		if (strncmp(text, head, strlen("| key | value |")) != 0) {
			fwrite(text, 1, n, to);
			text += n;
			continue;
		}
		if (scope == SCOPES_N)
			return false;
		table_of(to, (enum option_scope)scope++);
		while (*text == '|') {
			line_end = strchr(text, '\n');
			text = line_end ? line_end + 1 : text + strlen(text);
		}
	}
	return scope == SCOPES_N;
}

static int tables(const char *path)
{
	struct err e = ERR_INIT;
	struct dyn old = DYN_INIT(1 << 20);
	char *now = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&now, &n);
	if (!to || file_read_all(path, &old, &e) < 0 || dyn_add(&old, "", 1) < 0) {
		fprintf(stderr, "gendoc: %s\n", e.text);
		return 1;
	}
	bool good = replace_tables(to, (const char *)old.p) && fclose(to) == 0;
	FILE *file = good ? fopen(path, "w") : NULL;
	good = file && fwrite(now, 1, n, file) == n && fclose(file) == 0;
	if (!good)
		fprintf(stderr, "gendoc: %s: not as many tables as scopes, or it cannot be written\n", path);
	free(now);
	dyn_free(&old);
	return good ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *kind;
		void (*write)(FILE *to);
	} kinds[] = { { "man1", manual_commands },
		      { "man5", manual_file },
		      { "bash", complete_bash },
		      { "zsh", complete_zsh },
		      { "fish", complete_fish } };
	if (argc == 3 && strcmp(argv[1], "tables") == 0)
		return tables(argv[2]);
	for (size_t i = 0; argc == 3 && i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kinds[i].kind, argv[1]) != 0)
			continue;
		FILE *to = fopen(argv[2], "w");
		if (to)
			kinds[i].write(to);
		if (to && !ferror(to) && fclose(to) == 0)
			return 0;
		fprintf(stderr, "gendoc: %s cannot be written\n", argv[2]);
		return 1;
	}
	fprintf(stderr, "usage: gendoc man1|man5|bash|zsh|fish|tables FILE\n");
	return 2;
}
