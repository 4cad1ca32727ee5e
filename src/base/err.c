/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors: see err.h. A text that does not fit is cut at the end; it never overflows and never fails. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	int exit_code;
	const char *text;
	bool retry;
} kinds[] = {
#define X(id, code, text, retry) [ERR_##id] = { code, text, retry },
	ERR_KINDS(X)
#undef X
};

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	e->kind = kind;
	e->sys = 0;
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return -1;
}

static enum err_kind kind_of_errno(int sys)
{
	switch (sys) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_SPACE;
	case ENOENT:
		return ERR_NOTHING;
	case EEXIST:
		return ERR_EXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
	case EIO:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ESTALE:
	case ENOTCONN:
	case ETIMEDOUT:
		return ERR_UNREACHABLE;
	case EAGAIN:
	case EBUSY:
		return ERR_BUSY;
	default:
		return ERR_FAIL;
	}
}

/* What people meet who move a service to a hardened unit: the disk is fine, systemd shows it read-only. */
static const char *hint_for(int sys)
{
	return sys == EROFS && getenv("INVOCATION_ID")
		       ? " (for a service of systemd: name the directory in ReadWritePaths= of the unit)"
		       : "";
}

int err_sys(struct err *e, int sys, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	e->kind = kind_of_errno(sys);
	e->sys = sys;
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof e->text)
		snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s%s", strerror(sys), hint_for(sys));
	return -1;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
	char inner[sizeof e->text];
	memcpy(inner, e->text, sizeof inner);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n + 3 < sizeof e->text) {
		size_t room = sizeof e->text - (size_t)n - 3, len = strlen(inner);
		char *at = e->text + n;
		memcpy(at, ": ", 2);
		memcpy(at + 2, inner, len < room ? len : room);
		at[2 + (len < room ? len : room)] = 0;
	}
	return -1;
}

int err_hint(struct err *e, const char *fmt, ...)
{
	size_t at = strlen(e->text);
	if (at + 3 >= sizeof e->text)
		return -1;
	e->text[at++] = '.';
	e->text[at++] = ' ';
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text + at, sizeof e->text - at, fmt, ap);
	va_end(ap);
	return -1;
}

int err_exit_code(enum err_kind kind)
{
	return kinds[kind].exit_code;
}

const char *err_kind_text(enum err_kind kind)
{
	return kinds[kind].text;
}

bool err_worth_retry(enum err_kind kind)
{
	return kinds[kind].retry;
}
