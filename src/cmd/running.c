/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the running daemon: see running.h.
 *
 * Happy path: the configuration says where the socket is, unless the command line does; the answer is printed
 * as it comes, but for the rows of a table, which wait for its end to be laid out.
 *
 * Failure modes: nobody answers (daemon/ask.c explains); a configuration that was not asked for and cannot be
 * read (said, and the usual places are tried). */
#include "cmd/running.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cmd.h"
#include "cmd/table.h"
#include "daemon/ask.h"

/* A table under way, and whom it is for. */
struct printer {
	bool json, hints, in_table;
	struct table table;
};

/* Cuts the line into cells in place. Returns how many. */
static size_t cells(char *text, const char *ret[TABLE_COLUMNS_MAX + 1])
{
	size_t n = 0;
	for (char *at = text; at && n < TABLE_COLUMNS_MAX;) {
		char *tab = strchr(at, '\t');
		if (tab)
			*tab = 0;
		ret[n++] = at;
		at = tab ? tab + 1 : NULL;
	}
	ret[n] = NULL;
	return n;
}

static int table_over(struct printer *p, struct err *e)
{
	if (!p->in_table)
		return 0;
	int rc = table_print(&p->table, stdout, e);
	table_free(&p->table);
	p->in_table = false;
	return rc;
}

static int row(struct printer *p, char *text, struct err *e)
{
	const char *cell[TABLE_COLUMNS_MAX + 1];
	size_t n = cells(text, cell);
	if (!p->in_table) {
		table_init(&p->table, cell);
		p->in_table = true;
		return 0;
	}
	if (n != p->table.columns)
		return err_set(e, ERR_FAIL, "the daemon's answer is not understood; is it of another version?");
	for (size_t i = 0; i < n; i++)
		table_cell(&p->table, "%s", cell[i]);
	return 0;
}

static int print_line(void *arg, struct span line, struct err *e)
{
	struct printer *p = arg;
	if (p->json) {
		fwrite(line.p, 1, line.n, stdout);
		putchar('\n');
		return 0;
	}
	if (line.n == 0)
		return 0;
	char *text = malloc(line.n);
	if (!text)
		return err_set(e, ERR_FAIL, "no memory");
	memcpy(text, line.p + 1, line.n - 1); /* what follows it is not a string */
	text[line.n - 1] = 0;
	int rc = 0;
	if (line.p[0] == '=') {
		rc = row(p, text, e);
	} else if ((rc = table_over(p, e)) == 0 && line.p[0] == ' ') {
		puts(text);
	} else if (rc == 0 && p->hints) {
		fflush(stdout);
		fprintf(stderr, "%s\n", text);
	}
	free(text);
	return rc;
}

/* Only for the key socket and for a better explanation: without one the usual places will do. */
static int find_conf(const struct running_flags *f, struct conf **ret, struct err *e)
{
	char *path;
	*ret = NULL;
	if (f->config && *f->config)
		return command_conf(f->config, !f->no_expand_env, ret, e);
	if (f->socket)
		return 0;
	if (conf_find(NULL, &path, e) < 0)
		return e->kind == ERR_NOTHING ? 0 : -1;
	if (conf_read(path, !f->no_expand_env, ret, e) < 0) {
		*ret = NULL;
		if (e->kind != ERR_UNREACHABLE) /* else it is somebody else's */
			fprintf(stderr,
				"walbrook: asking at the usual places, because the configuration is "
				"wrong: %s\n",
				e->text);
	}
	free(path);
	return 0;
}

int running_ask(const struct running_flags *f, const struct request *r, int64_t wait_us, struct err *e)
{
	struct printer p = { .json = r->json, .hints = isatty(STDERR_FILENO) == 1 };
	struct conf *c;
	struct ask a = { .fd = -1 };
	bool answered = false;
	if (f->socket && !*f->socket)
		return err_set(e, ERR_USAGE, "-socket is empty");
	if (find_conf(f, &c, e) < 0)
		return -1;
	int rc = ask_open(&a, f->socket, c, r->dbs_n ? r->dbs[0] : NULL, e);
	conf_free(c);
	if (rc < 0)
		return -1;
	rc = ask(&a, r, wait_us, print_line, &p, &answered, e);
	ask_close(&a);
	struct err ignore;
	if (table_over(&p, rc < 0 ? &ignore : e) < 0)
		rc = -1;
	fflush(stdout);
	return rc;
}

int running_timeout(int64_t timeout_us, struct err *e)
{
	if (timeout_us < 1000 || timeout_us > REQUEST_TIMEOUT_MAX_S * 1000000LL)
		return err_set(e, ERR_USAGE, "-timeout must be from 1ms to 24h");
	return 0;
}
