/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook config: the effective configuration, with the origin of each value.
 *
 *   1. the file is found and read as every command does it, but each value keeps where it came from
 *   2. the option table is walked: top level, sections, databases, replicas
 *   3. as YAML, which is itself a configuration that means the same (but for secrets, which are replaced): the
 * origin stands behind each value as a comment, what follows from other values is a comment as a whole; or as
 * JSON
 *
 * A `$` in a value is written as \x24, because a variable would be put in when the output is read again.
 *
 * Failure modes: no file is exit code 4, whoever named it; a file that is not valid is 3, with file, line and
 * column on standard error (with -json also as a value on standard output). */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "conf/conf.h"
#include "conf/options.h"
#include "conf/url.h"
#include "daemon/check.h"
#include "store/store.h"

struct config_flags {
	const char *config;
	bool no_expand_env, json;
};

#define AT(member) offsetof(struct config_flags, member)

static const struct args_flag flags[] = {
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration; see above", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ "json", ARGS_BOOL, AT(json), NULL, "print JSON", 0, 0 },
	{ 0 },
};

enum source { SOURCE_FILE, SOURCE_TOP, SOURCE_URL, SOURCE_DEFAULT, SOURCE_DERIVED };
static const char *const source_names[] = { "file", "top-level", "url", "default", "derived" };

static const char hidden[] = "hidden";
enum { COMMENT_COLUMN = 48 };

struct out {
	FILE *to;
	struct json *json; /* NULL: YAML */
	unsigned indent;
	bool dash; /* the next line begins an item of a list */
};

/* ---- one value ---- */

static bool plain(const char *text)
{
	static const char *const words[] = { "null", "Null", "NULL" };
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(text, words[i]) == 0)
			return false;
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+-");
	return n > 0 && !text[n] && (text[0] == '/' || (text[0] >= '0' && text[0] <= '9') || text[0] >= 'A') &&
	       text[n - 1] != ':';
}

/* Returns the number of columns. */
static int yaml_text(FILE *to, const char *text)
{
	int n = 2;
	if (plain(text))
		return fprintf(to, "%s", text);
	fputc('"', to);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '\n')
			n += fprintf(to, "\\n");
		else if (c < ' ' || c == 0x7f || c == '$')
			n += fprintf(to, "\\x%02x", c);
		else
			n += fprintf(to, "%s%c", c == '"' || c == '\\' ? "\\" : "", c);
	}
	fputc('"', to);
	return n;
}

static int begin_line(struct out *o)
{
	int n = fprintf(o->to, "%*s", (int)o->indent - 2 * o->dash, "");
	if (o->dash)
		n += fprintf(o->to, "- ");
	o->dash = false;
	return n;
}

static void yaml_comment(struct out *o, int column, enum source source, const struct conf_origin *origin)
{
	int gap = column < COMMENT_COLUMN ? COMMENT_COLUMN - column : 2;
	fprintf(o->to, "%*s# ", gap, "");
	switch (source) {
	case SOURCE_FILE:
	case SOURCE_TOP:
		fprintf(o->to, "%sline %u", source == SOURCE_TOP ? "from the top level, " : "", origin->line);
		if (origin->variable)
			fprintf(o->to, ", environment variable %s", origin->variable);
		break;
	case SOURCE_URL:
		fputs("from the url", o->to);
		if (origin)
			fprintf(o->to, ", line %u", origin->line);
		break;
	case SOURCE_DEFAULT:
		fputs("default", o->to);
		break;
	case SOURCE_DERIVED:
		fputs("follows from the other values", o->to);
		break;
	}
	fputc('\n', o->to);
}

static void json_value(struct out *o, const struct option *opt, const char *text, enum source source,
		       const struct conf_origin *origin)
{
	json_object(o->json, opt->name);
	if (opt->type == OPTION_BOOL || opt->type == OPTION_NOT_BOOL || opt->type == OPTION_TRISTATE)
		json_bool(o->json, "value", strcmp(text, "true") == 0);
	else if (opt->type == OPTION_COUNT)
		json_int(o->json, "value", strtoll(text, NULL, 10));
	else
		json_string(o->json, "value", text);
	json_string(o->json, "source", source_names[source]);
	if (origin) {
		json_uint(o->json, "line", origin->line);
		json_uint(o->json, "column", origin->column);
		if (origin->variable)
			json_string(o->json, "variable", origin->variable);
	}
	json_end(o->json);
}

/* as_comment: it follows from other values and must not be said twice. */
static void value(struct out *o, const struct option *opt, const char *text, enum source source,
		  const struct conf_origin *origin, bool as_comment)
{
	char shown[URL_BYTES];
	if (opt->secret)
		text = hidden;
	else if (url_like(text) && strlen(text) < sizeof shown)
		text = url_shown(shown, text);
	if (o->json) {
		json_value(o, opt, text, source, origin);
		return;
	}
	int column = as_comment ? fprintf(o->to, "%*s# ", (int)o->indent, "") : begin_line(o);
	column += fprintf(o->to, "%s: ", opt->name);
	column += yaml_text(o->to, text);
	yaml_comment(o, column, source, origin);
}

/* ---- lists of texts: the keys of age, and files that hold them ---- */

static void texts(struct out *o, const struct option *opt, const void *base, const struct conf_origin *origin)
{
	char *const *v = *(char *const *const *)(const void *)((const char *)base + opt->at);
	size_t n = *(const size_t *)(const void *)((const char *)base + opt->count_at);
	if (o->json) {
		json_object(o->json, opt->name);
		json_array(o->json, "value");
		for (size_t i = 0; i < n; i++)
			json_string(o->json, NULL, opt->secret ? hidden : v[i]);
		json_end(o->json);
		json_string(o->json, "source", source_names[SOURCE_FILE]);
		json_uint(o->json, "line", origin->line);
		json_uint(o->json, "column", origin->column);
		if (origin->variable)
			json_string(o->json, "variable", origin->variable);
		json_end(o->json);
		return;
	}
	if (opt->secret) {
		int column = fprintf(o->to, "%*s# %s: %zu of them, hidden", (int)o->indent, "", opt->name, n);
		yaml_comment(o, column, SOURCE_FILE, origin);
		return;
	}
	int column = begin_line(o) + fprintf(o->to, "%s:", opt->name);
	yaml_comment(o, column, SOURCE_FILE, origin);
	for (size_t i = 0; i < n; i++) {
		fprintf(o->to, "%*s- ", (int)o->indent + 2, "");
		yaml_text(o->to, v[i]);
		fputc('\n', o->to);
	}
}

/* ---- scopes ---- */

static bool is_list(const struct option *opt)
{
	return opt->type == OPTION_TEXTS;
}

static size_t list_length(const struct option *opt, const void *base)
{
	return *(const size_t *)(const void *)((const char *)base + opt->count_at);
}

/* Whether a section has anything to print; visible: that is no secret. */
static bool section_given(enum option_scope scope, const void *base, bool visible)
{
	char buf[OPTION_TEXT_BYTES];
	for (size_t i = 0; i < options_n; i++) {
		const struct option *opt = &options[i];
		if (opt->scope != scope || (visible && opt->secret))
			continue;
		if (is_list(opt) ? list_length(opt, base) > 0 : option_text(opt, base, buf) != NULL)
			return true;
	}
	return false;
}

/* An option that was given, or has a default; those that follow from others are left to the caller. */
static void given_or_default(struct out *o, const struct option *opt, const void *base,
			     const struct conf_origin *origins)
{
	const struct conf_origin *at = &origins[opt - options];
	char buf[OPTION_TEXT_BYTES];
	if (is_list(opt)) {
		if (list_length(opt, base) > 0)
			texts(o, opt, base, at);
		return;
	}
	const char *text = option_text(opt, base, buf);
	if (text)
		value(o, opt, text,
		      !at->line		? SOURCE_DEFAULT
		      : at->handed_down ? SOURCE_TOP
					: SOURCE_FILE,
		      at->line ? at : NULL, false);
}

static void section(struct out *o, const struct option *opt, const void *base,
		    const struct conf_origin *origins)
{
	if (!section_given(opt->sub, base, false))
		return;
	bool visible = section_given(opt->sub, base, true);
	if (o->json) {
		json_object(o->json, opt->name);
	} else {
		if (visible) /* nothing but comments below would be an empty section */
			begin_line(o);
		fprintf(o->to, "%s%s:\n", visible ? "" : "# ", opt->name);
		o->indent += 2;
	}
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == opt->sub)
			given_or_default(o, &options[i], base, origins);
	if (o->json)
		json_end(o->json);
	else
		o->indent -= 2;
}

/* Whether this version can use it, said where it stands. */
static void usable(struct out *o, const struct conf *c, const struct conf_replica *r)
{
	struct err e = ERR_INIT;
	struct store *s = NULL;
	bool good = check_open_replica(c, r, NULL, &s, &e) == 0;
	store_close(s);
	if (o->json)
		json_bool(o->json, "usable", good);
	if (o->json && !good)
		json_string(o->json, "reason", e.text);
	if (!o->json && !good)
		fprintf(o->to, "%*s# cannot be used: %s\n", (int)o->indent, "", e.text);
}

static void replica_option(struct out *o, const struct option *opt, const struct conf_replica *r)
{
	const struct conf_origin *at = &r->origins[opt - options];
	const struct conf_origin *url = &r->origins[option_find(SCOPE_REPLICA, "url") - options];
	char buf[OPTION_TEXT_BYTES];
	if (opt->type == OPTION_SECTION) {
		section(o, opt, r, r->origins);
		return;
	}
	if (is_list(opt) || at->line || opt->by_default) {
		enum replica_type type = REPLICA_FILE;
		replica_type_find(r->type, &type);
		if (at->line || !opt->types || opt->types & 1u << type)
			given_or_default(o, opt, r, r->origins);
		return;
	}
	const char *text = option_text(opt, r, buf);
	if (!text || strcmp(opt->name, "url") == 0)
		return; /* made from the other values */
	bool named = strcmp(opt->name, "name") == 0 || strcmp(opt->name, "type") == 0;
	bool in_place = named || strcmp(r->type, replica_types[REPLICA_FILE].name) == 0;
	if (url->line && strcmp(opt->name, "name") != 0)
		value(o, opt, text, SOURCE_URL, url, !in_place);
	else
		value(o, opt, text, named ? SOURCE_DEFAULT : SOURCE_DERIVED, NULL, !in_place);
}

static void replica(struct out *o, const struct conf *c, const struct conf_replica *r)
{
	o->dash = true;
	if (o->json)
		json_object(o->json, NULL);
	/* The name goes first: it is always there, so the item never begins with a comment. */
	replica_option(o, option_find(SCOPE_REPLICA, "name"), r);
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == SCOPE_REPLICA && strcmp(options[i].name, "name") != 0)
			replica_option(o, &options[i], r);
	usable(o, c, r);
	if (o->json)
		json_end(o->json);
}

static void replicas(struct out *o, const struct conf *c, const struct conf_db *d)
{
	if (o->json)
		json_array(o->json, "replicas");
	else
		fprintf(o->to, "%*sreplicas:%s\n", (int)o->indent, "", d->replicas_n ? "" : " []");
	o->indent += 4;
	for (size_t i = 0; i < d->replicas_n; i++)
		replica(o, c, &d->replicas[i]);
	o->indent -= 4;
	if (o->json)
		json_end(o->json);
}

static void meta_dir(struct out *o, const struct option *opt, const struct conf_db *d)
{
	char dir[PATH_BYTES];
	struct err e;
	if (!d->is_template && conf_meta_dir(d, dir, &e) == 0)
		value(o, opt, dir, SOURCE_DEFAULT, NULL, true);
}

static void db_option(struct out *o, const struct option *opt, const struct conf_db *d)
{
	bool given = d->origins[opt - options].line > 0;
	bool of_dir = strcmp(opt->name, "dir") == 0 || strcmp(opt->name, "pattern") == 0 ||
		      strcmp(opt->name, "recursive") == 0;
	bool has_dir = d->origins[option_find(SCOPE_DB, "dir") - options].line > 0;
	if (strcmp(opt->name, "meta-path") == 0 && !given)
		meta_dir(o, opt, d);
	else if (given || (of_dir ? has_dir : strcmp(opt->name, "path") != 0))
		given_or_default(o, opt, d, d->origins);
}

static void database(struct out *o, const struct conf *c, const struct conf_db *d)
{
	o->dash = true;
	if (o->json)
		json_object(o->json, NULL);
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == SCOPE_DB && options[i].type != OPTION_SECTIONS)
			db_option(o, &options[i], d);
	replicas(o, c, d);
	if (o->json)
		json_end(o->json);
}

static void socket_places(struct out *o, const struct option *opt, const struct conf *c)
{
	char path[PATH_BYTES];
	for (unsigned i = 0; conf_socket(c, i, path); i++)
		if (!o->json || i == 0)
			value(o, opt, path, SOURCE_DEFAULT, NULL, true);
}

static void databases(struct out *o, const struct conf *c)
{
	if (o->json)
		json_array(o->json, "dbs");
	else
		fprintf(o->to, "dbs:%s\n", c->dbs_n ? "" : " []");
	o->indent += 4;
	for (size_t i = 0; i < c->dbs_n; i++)
		database(o, c, &c->dbs[i]);
	o->indent -= 4;
	if (o->json)
		json_end(o->json);
}

static void everything(struct out *o, const struct conf *c)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *opt = &options[i];
		if (opt->scope != SCOPE_TOP)
			continue;
		if (opt->type == OPTION_SECTION)
			section(o, opt, c, c->origins);
		else if (strcmp(opt->name, "socket") == 0 && !c->socket)
			socket_places(o, opt, c);
		else if (opt->type != OPTION_SECTIONS)
			given_or_default(o, opt, c, c->origins);
	}
	databases(o, c);
}

/* ---- the command ---- */

static int print(const struct conf *c, bool as_json, struct err *e)
{
	struct json j = JSON_TO_FILE(stdout, 5);
	struct out o = { .to = stdout, .json = as_json ? &j : NULL };
	if (!as_json) {
		printf("# The effective configuration, from %s. Behind each value stands where it comes from;\n"
		       "# secrets are replaced by the word \"%s\".\n",
		       c->file, hidden);
		everything(&o, c);
		return 0;
	}
	json_object(&j, NULL);
	json_string(&j, "file", c->file);
	json_bool(&j, "valid", true);
	everything(&o, c);
	json_end(&j);
	return json_finish(&j) == 0 ? 0 : err_set(e, ERR_FAIL, "cannot write to standard output");
}

static void print_invalid(const char *file, const struct err *e)
{
	struct json j = JSON_TO_FILE(stdout, 2);
	json_object(&j, NULL);
	json_string(&j, "file", file);
	json_bool(&j, "valid", false);
	json_string(&j, "error", e->text);
	json_end(&j);
	json_finish(&j);
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct config_flags f = { 0 };
	struct conf *c;
	char *path;
	int first;
	(void)ret_exit;
	int rc = command_args(&command_config, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (first < argc)
		return err_set(
			e, ERR_USAGE,
			"config takes no argument, but \"%.200s\" is given; the file goes behind -config",
			argv[first]);
	if (conf_find(f.config, &path, e) < 0) {
		command_needs_conf(e);
		if (f.json)
			print_invalid(NULL, e);
		return -1;
	}
	rc = conf_read_origins(path, !f.no_expand_env, &c, e);
	if (rc == 0 && (rc = command_exec_valid(c, e)) < 0)
		conf_free(c);
	if (rc == 0) {
		rc = print(c, f.json, e);
		conf_free(c);
	} else if (f.json) {
		print_invalid(path, e);
	}
	free(path);
	return rc;
}

const struct command command_config = {
	.name = "config",
	.arguments = "",
	.sentence = "Show the effective configuration and where each value comes from",
	.text = "The file is -config FILE, else the one named by WALBROOK_CONFIG or LITESTREAM_CONFIG, else\n"
		"/etc/walbrook.yml, else /etc/litestream.yml. The output is itself a configuration that means\n"
		"the same, except that secrets are replaced. The exit code is 0 when the file is valid, and 3 "
		"when\n"
		"it is not, or when there is none.\n"
		"\n"
		"  walbrook config\n"
		"  walbrook config -json -config litestream.yml\n",
	.flags = flags,
	.run = run,
};
