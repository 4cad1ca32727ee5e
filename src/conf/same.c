/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies and comparisons of the settings of one database, by the table of options: a running daemon keeps its
 * databases when it reads its configuration again, and what has not changed goes on.
 *
 * Failure modes: no memory for a copy; then nothing is left of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/options.h"

static const void *at(const void *base, size_t offset)
{
	return (const char *)base + offset;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_texts(const struct option *o, const void *a, const void *b)
{
	size_t n = *(const size_t *)at(a, o->count_at);
	char *const *x = *(char *const *const *)at(a, o->at), *const *y = *(char *const *const *)at(b, o->at);
	if (n != *(const size_t *)at(b, o->count_at))
		return false;
	for (size_t i = 0; i < n; i++)
		if (!same_text(x[i], y[i]))
			return false;
	return true;
}

static bool same_scope(enum option_scope scope, const void *a, const void *b);

static bool same_option(const struct option *o, const void *a, const void *b)
{
	const void *x = at(a, o->at), *y = at(b, o->at);
	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_COMMAND:
		return same_text(*(char *const *)x, *(char *const *)y);
	case OPTION_BOOL:
	case OPTION_NOT_BOOL:
	case OPTION_FORMAT:
		return *(const bool *)x == *(const bool *)y;
	case OPTION_TRISTATE:
		return *(const int *)x == *(const int *)y;
	case OPTION_COUNT:
	case OPTION_DURATION:
	case OPTION_SIZE:
		return *(const int64_t *)x == *(const int64_t *)y;
	case OPTION_LEVEL:
		return *(const enum log_level *)x == *(const enum log_level *)y;
	case OPTION_TEXTS:
		return same_texts(o, a, b);
	case OPTION_SECTION:
		return same_scope(o->sub, a, b);
	case OPTION_SECTIONS:
		break; /* conf_db_equal() compares the replicas */
	}
	return true;
}

static bool same_scope(enum option_scope scope, const void *a, const void *b)
{
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == scope && !same_option(&options[i], a, b))
			return false;
	return true;
}

bool conf_db_equal(const struct conf_db *a, const struct conf_db *b)
{
	if (a->replicas_n != b->replicas_n || !same_scope(SCOPE_DB, a, b))
		return false;
	for (size_t i = 0; i < a->replicas_n; i++)
		if (!same_scope(SCOPE_REPLICA, &a->replicas[i], &b->replicas[i]))
			return false;
	return true;
}

int conf_db_copy(const struct conf_db *from, struct conf_db *ret, struct err *e)
{
	struct conf_db to = *from;
	int rc = options_own(SCOPE_DB, &to, e);
	to.replicas_n = 0;
	to.replicas = calloc(from->replicas_n ? from->replicas_n : 1, sizeof *to.replicas);
	if (!to.replicas)
		rc = err_sys(e, ENOMEM, "cannot copy a part of the configuration");
	for (size_t i = 0; i < from->replicas_n && rc == 0; i++) {
		to.replicas[i] = from->replicas[i];
		to.replicas_n++;
		rc = options_own(SCOPE_REPLICA, &to.replicas[i], e);
	}
	if (rc < 0)
		conf_db_free(&to);
	else
		*ret = to;
	return rc;
}
