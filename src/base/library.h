/* SPDX-License-Identifier: Apache-2.0
 *
 * A shared library that only some users need: loaded at its first use, so that nobody else pays for it or has
 * to have it installed. */
#ifndef WB_BASE_LIBRARY_H
#define WB_BASE_LIBRARY_H

#include <stddef.h>

#include "base/err.h"

/* Where the address of a function goes in the caller's table. */
struct library_function {
	const char *name;
	size_t at;
};

struct library {
	const char *file;    /* "libcrypto.so.3" */
	const char *title;   /* the same as a person knows it */
	const char *user;    /* who needs it: the first word of the error */
	const char *package; /* of Debian and Ubuntu, to be installed */
};

/* Fills n places of the table. Once loaded it stays. ERR_FAIL: it is not there, or lacks a function. Not for
 * two threads at once with the same table. */
int library_load(const struct library *l, const struct library_function *functions, size_t n, void *table,
		 struct err *e);

#endif
