/* SPDX-License-Identifier: Apache-2.0
 *
 * The manual pages, in the man macros: walbrook(1) from the table of commands, walbrook.yml(5) from that of the
 * options. The text of a help is taken over line by line: a line that begins with spaces is an example and
 * keeps its form, an empty one ends a paragraph. What is between backquotes becomes bold. */
#include "gendoc.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "conf/options.h"

/* Characters that roff would read otherwise. A dash is one that can be copied into a shell. */
static void put_char(FILE *to, char c)
{
	if (c == '\\')
		fputs("\\e", to);
	else if (c == '-')
		fputs("\\-", to);
	else if (c == '\'')
		fputs("\\(aq", to);
	else if (c == '~')
		fputs("\\(ti", to);
	else if (c == '^')
		fputs("\\(ha", to);
	else
		fputc(c, to);
}

static void put(FILE *to, const char *text)
{
	bool bold = false;
	if (*text == '.')
		fputs("\\&", to);
	for (; *text && *text != '\n'; text++) {
		if (*text == '`') {
			bold = !bold;
			fputs(bold ? "\\fB" : "\\fR", to);
		} else {
			put_char(to, *text);
		}
	}
	if (bold)
		fputs("\\fR", to);
}

static void line(FILE *to, const char *text)
{
	put(to, text);
	fputc('\n', to);
}

static const char *next_line(const char *text)
{
	const char *end = strchr(text, '\n');
	return end ? end + 1 : text + strlen(text);
}

/* The text of a command. */
static void paragraphs(FILE *to, const char *text)
{
	bool example = false, gap = true;
	for (; *text; text = next_line(text)) {
		bool indented = *text == ' ';
		if (*text == '\n') {
			gap = true;
			continue;
		}
		if (example && !indented)
			fputs(".EE\n.RE\n", to);
		if (gap && !(example && indented))
			fputs(".PP\n", to);
		if (indented && !example)
			fputs(".RS\n.EX\n", to);
		example = indented;
		gap = false;
		line(to, text + (indented ? strspn(text, " ") : 0));
	}
	if (example)
		fputs(".EE\n.RE\n", to);
}

/* The date of a release is that of its build, where whoever builds says so: a page must not differ from build
 * to build by itself. */
static void begin(FILE *to, const char *name, int section)
{
	const char *epoch = getenv("SOURCE_DATE_EPOCH");
	long long seconds = epoch ? atoll(epoch) : 0;
	char date[32] = "2026-11-21"; /* of this version */
	if (seconds > 0) {
		time_t t = (time_t)seconds;
		struct tm tm;
		strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&t, &tm));
	}
	fprintf(to, ".\\\" Made by tools/gendoc from the tables of the program; do not edit.\n");
	fprintf(to, ".TH %s %d \"%s\" \"walbrook %s\"\n", name, section, date, WALBROOK_VERSION);
}

static void one_command(FILE *to, const struct command *c)
{
	fprintf(to, ".SS walbrook %s\n.B walbrook %s\n", c->name, c->name);
	if (c->flags->name)
		fputs("[\\fIflags\\fR]\n", to);
	if (*c->arguments)
		line(to, c->arguments);
	fputs(".PP\n", to);
	put(to, c->sentence);
	fputs(".\n", to);
	if (c->text)
		paragraphs(to, c->text);
	for (const struct args_flag *f = c->flags; f->name; f++) {
		fputs(".TP\n\\fB\\-", to);
		put(to, f->name);
		fputs("\\fR", to);
		if (f->value)
			fprintf(to, " \\fI%s\\fR", f->value);
		fputs("\n", to);
		line(to, f->help);
	}
}

static void exit_codes(FILE *to)
{
	static const struct {
		int code;
		const char *text;
		bool retry;
	} kinds[] = {
#define X(id, code, text, retry) { code, text, retry },
		ERR_KINDS(X)
#undef X
	};
	fputs(".SH EXIT STATUS\n", to);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		fprintf(to, ".TP\n.B %d\n%s%s\n", kinds[i].code, kinds[i].text,
			kinds[i].retry ? "; worth retrying" : "");
	fputs(".PP\nWith \\fB\\-exec\\fR, \\fBwalbrook replicate\\fR ends with the exit status of the "
	      "command.\n",
	      to);
}

static void search_order(FILE *to)
{
	fputs(".TP\n.BR WALBROOK_CONFIG \", \" LITESTREAM_CONFIG\n"
	      "The configuration, in this order, when \\fB\\-config\\fR is not given.\n",
	      to);
}

void manual_commands(FILE *to)
{
	begin(to, "WALBROOK", 1);
	fputs(".SH NAME\nwalbrook \\- replicate SQLite databases as they change, and restore them\n"
	      ".SH SYNOPSIS\n.B walbrook\n\\fIcommand\\fR [\\fIflags\\fR] [\\fIarguments\\fR]\n"
	      ".SH DESCRIPTION\nRuns beside unmodified applications, copies every committed transaction of "
	      "their SQLite\n"
	      "databases in WAL mode to other places, and restores any moment of them. The layout of the\n"
	      "copies, the commands and the configuration are those of Litestream 0.3.\n"
	      ".PP\nFlags come before arguments; one or two dashes mean the same; a value is the next word or\n"
	      "stands behind an equals sign.\n"
	      ".SH COMMANDS\n",
	      to);
	for (size_t i = 0; commands[i]; i++)
		one_command(to, commands[i]);
	exit_codes(to);
	fputs(".SH ENVIRONMENT\n", to);
	search_order(to);
	fputs(".TP\n.B XDG_RUNTIME_DIR\nWhere the control socket is looked for when \\fI/run/walbrook\\fR has "
	      "none.\n"
	      ".SH FILES\n"
	      ".TP\n.I /etc/walbrook.yml\nThe configuration; see\n.BR walbrook.yml (5).\n"
	      ".TP\n.I /etc/litestream.yml\nRead when the former is not there.\n"
	      ".TP\n.I .NAME\\-litestream\nThe metadata directory beside each database.\n"
	      ".SH SEE ALSO\n.BR walbrook.yml (5),\n.BR sqlite3 (1)\n",
	      to);
}

static void one_option(FILE *to, const struct option *o)
{
	fputs(".TP\n\\fB", to);
	put(to, o->name);
	fprintf(to, "\\fR: \\fI%s\\fR\n", option_type_text(o->type));
	char first = o->sentence[0];
	put_char(to, first >= 'a' && first <= 'z' ? (char)(first - 'a' + 'A') : first);
	put(to, o->sentence + 1);
	fputs(".\n", to);
	if (o->by_default) {
		fputs("Default: \\fB", to);
		put(to, o->by_default);
		fputs("\\fR.\n", to);
	}
	const char *before = "For replicas of type ";
	for (unsigned t = 0; o->types && t < REPLICA_TYPES_N; t++)
		if (o->types & 1u << t) {
			fprintf(to, "%s%s", before, replica_types[t].name);
			before = ", ";
		}
	fputs(o->types ? ".\n" : "", to);
}

static void scope(FILE *to, enum option_scope s, const char *title)
{
	fprintf(to, ".SH %s\n", title);
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == s)
			one_option(to, &options[i]);
}

static const char values[] =
	".SH VALUES\n"
	".TP\nA duration\nOne or more numbers with a unit: 1h30m, 1.5s, 300ms; units are ns, us, ms, s, m, h.\n"
	"Only 0 may stand without one.\n"
	".TP\nA size\nA number with a unit: 512MiB, 1.5GB; units are B, KB, MB, GB, TB (powers of 1000) and "
	"KiB,\n"
	"MiB, GiB, TiB (of 1024).\n"
	".TP\nTrue or false\nAlso yes and no, on and off, y and n.\n"
	".TP\nA path\nRelative ones begin in the working directory, \\(ti/ in the home directory.\n"
	".PP\nAnchors, aliases and merge keys of YAML work. A key without a value is a key that is not given.\n"
	"Unknown keys, keys that are given twice and values of another kind are errors, which name the file,\n"
	"line and column.\n"
	".SH MANY DATABASES IN ONE ENTRY\n"
	"An entry of dbs with \\fBdir\\fR, or with *, ? or [ in its \\fBpath\\fR, stands for every database "
	"that its\n"
	"pattern fits, also for those that appear later. The path of each database below the directory (in a\n"
	"\\fBpath\\fR: below the part before the pattern) is put behind the places of the entry\\(aqs replicas "
	"and behind\n"
	"\\fBmeta\\-path\\fR. Hidden files, and names that end with \\-wal, \\-shm or \\-journal, never count. "
	"A backslash\n"
	"before such a character makes it an ordinary one.\n"
	".SH ENVIRONMENT VARIABLES\n"
	"$NAME and ${NAME} are replaced in the whole text, except in lines that hold only a comment;\n"
	"\\fB\\-no\\-expand\\-env\\fR switches that off. A variable that is not set becomes nothing. Anything "
	"but a name\n"
	"between the braces is an error, and so is a value with a line break.\n"
	".SH EXAMPLES\n"
	".EX\n"
	"dbs:\n"
	"  \\- path: /var/lib/app/app.db\n"
	"    replicas:\n"
	"      \\- path: /var/backups/app\n"
	"        retention: 72h\n"
	"      \\- url: file:///mnt/nas/app\n"
	"        name: nas\n"
	"  \\- dir: /var/lib/app/tenants\n"
	"    pattern: \"*.db\"\n"
	"    recursive: true\n"
	"    replicas:\n"
	"      \\- path: /var/backups/tenants\n"
	".EE\n";

void manual_file(FILE *to)
{
	begin(to, "WALBROOK.YML", 5);
	fputs(".SH NAME\nwalbrook.yml \\- configuration of walbrook\n"
	      ".SH DESCRIPTION\nA YAML file with the keys of Litestream 0.3.13, and some more. The first of "
	      "these is\n"
	      "read: the file of \\fB\\-config\\fR, the one that WALBROOK_CONFIG names, the one that "
	      "LITESTREAM_CONFIG\n"
	      "names, \\fI/etc/walbrook.yml\\fR, \\fI/etc/litestream.yml\\fR.\n"
	      ".PP\n\\fBwalbrook config\\fR shows the effective configuration with the origin of each value;\n"
	      "\\fBwalbrook check\\fR tries whether it works.\n",
	      to);
	scope(to, SCOPE_TOP, "TOP LEVEL");
	scope(to, SCOPE_LOGGING, "LOGGING");
	scope(to, SCOPE_DB, "DBS: A DATABASE");
	scope(to, SCOPE_REPLICA, "REPLICAS: A PLACE THAT A DATABASE IS COPIED TO");
	scope(to, SCOPE_AGE, "AGE: ENCRYPTION OF A REPLICA");
	scope(to, SCOPE_UPSTREAM, "UPSTREAM: THE PRIMARY THAT A DATABASE FOLLOWS");
	fputs(values, to);
	fputs(".SH SEE ALSO\n.BR walbrook (1)\n", to);
}
