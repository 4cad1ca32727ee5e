/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook check: tries a configuration from end to end, once, and says what to fix.
 *
 *   1. the configuration is read; arguments choose databases of it
 *   2. daemon/check.c looks, and each finding is printed when it is there: ok, warning or FAIL, and what to do
 *   3. the exit code is that of the worst: of the FAILs the first that waiting does not cure, else the first
 *
 * Failure modes: no configuration (4), one that is not valid (3), a database that is not in it (3). */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "conf/conf.h"
#include "daemon/check.h"

struct check_flags {
	const char *config;
	bool no_expand_env, json;
};

#define AT(member) offsetof(struct check_flags, member)

static const struct args_flag flags[] = {
	{ "config", ARGS_TEXT, AT(config), "FILE", "configuration; see above", 0, 0 },
	FLAG_NO_EXPAND_ENV(AT(no_expand_env)),
	{ "json", ARGS_BOOL, AT(json), NULL, "print JSON", 0, 0 },
	{ 0 },
};

static const char *const level_names[] = { "ok", "warning", "FAIL" };

struct printer {
	struct json *json; /* NULL: lines */
	size_t count[3];   /* by level */
	enum err_kind worst;
	char database[PATH_BYTES]; /* of the last line */
};

static void print_line(struct printer *p, const struct check_finding *f)
{
	if (strcmp(p->database, f->database ? f->database : "") != 0) {
		snprintf(p->database, sizeof p->database, "%s", f->database ? f->database : "");
		printf("%s\n", f->database ? f->database : "this machine");
	}
	printf("  %-8s", level_names[f->level]);
	if (f->replica)
		printf("replica %s: ", f->replica);
	printf("%s\n", f->text);
	if (f->fix)
		printf("          -> %s\n", f->fix);
	fflush(stdout);
}

static void print_json(struct json *j, const struct check_finding *f)
{
	static const char *const names[] = { "ok", "warning", "fail" };
	json_object(j, NULL);
	json_string(j, "level", names[f->level]);
	json_string(j, "database", f->database);
	json_string(j, "replica", f->replica);
	json_string(j, "text", f->text);
	json_string(j, "fix", f->fix);
	json_int(j, "exit_code", err_exit_code(f->kind));
	json_end(j);
}

static void on_finding(void *arg, const struct check_finding *f)
{
	struct printer *p = arg;
	p->count[f->level]++;
	if (f->level == CHECK_FAIL &&
	    (p->worst == ERR_NONE || (err_worth_retry(p->worst) && !err_worth_retry(f->kind))))
		p->worst = f->kind;
	if (p->json)
		print_json(p->json, f);
	else
		print_line(p, f);
}

static int check(struct conf *c, const char *const *paths, size_t n, bool as_json, int *ret_exit, struct err *e)
{
	struct json j = JSON_TO_FILE(stdout, 2);
	struct printer p = { .json = as_json ? &j : NULL };
	if (!as_json)
		snprintf(p.database, sizeof p.database, "-");
	if (as_json) {
		json_object(&j, NULL);
		json_string(&j, "file", c->file);
		json_array(&j, "findings");
	}
	int rc = check_run(c, paths, n, on_finding, &p, e);
	if (as_json) {
		json_end(&j);
		json_uint(&j, "ok", p.count[CHECK_OK]);
		json_uint(&j, "warnings", p.count[CHECK_WARNING]);
		json_uint(&j, "failures", p.count[CHECK_FAIL]);
		json_end(&j);
		json_finish(&j);
	} else if (rc == 0) {
		printf("%zu ok, %zu warnings, %zu failures\n", p.count[CHECK_OK], p.count[CHECK_WARNING],
		       p.count[CHECK_FAIL]);
		if (p.count[CHECK_FAIL] > 0)
			printf("Fix what failed, then run walbrook check again.\n");
	}
	*ret_exit = err_exit_code(p.worst);
	return rc;
}

static int absolute_paths(char *const *words, size_t n, char **ret, struct err *e)
{
	char path[PATH_BYTES];
	for (size_t i = 0; i < n; i++) {
		if (path_absolute(path, words[i], e) < 0)
			return -1;
		if (!(ret[i] = strdup(path)))
			return err_set(e, ERR_FAIL, "no memory");
	}
	return 0;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct check_flags f = { 0 };
	struct conf *c = NULL;
	char *file = NULL;
	int first;
	int rc = command_args(&command_check, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	size_t n = (size_t)(argc - first);
	char **paths = calloc(n + 1, sizeof *paths);
	if (!paths)
		return err_set(e, ERR_FAIL, "no memory");
	rc = conf_find(f.config, &file, e);
	if (rc < 0)
		command_needs_conf(e);
	if (rc == 0 && (rc = conf_read_origins(file, !f.no_expand_env, &c, e)) == 0 &&
	    (rc = absolute_paths(argv + first, n, paths, e)) == 0)
		rc = check(c, (const char *const *)paths, n, f.json, ret_exit, e);
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(paths);
	free(file);
	conf_free(c);
	return rc;
}

const struct command command_check = {
	.name = "check",
	.arguments = "[DATABASE...]",
	.sentence = "Try whether everything that is configured would work",
	.text = "Looks at each database of the configuration (or only at those that are named), writes, "
		"lists,\n"
		"reads and deletes an object in each replica, and looks at limits of this machine. Databases\n"
		"are not changed, and nothing stays behind. Each line is ok, a warning or a FAIL with what to\n"
		"do; the exit code is 0 when nothing failed, else that of the worst failure.\n"
		"\n"
		"  walbrook check\n"
		"  walbrook check -json -config /etc/walbrook.yml /var/lib/app/app.db\n",
	.flags = flags,
	.run = run,
};
