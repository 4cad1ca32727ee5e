/* SPDX-License-Identifier: Apache-2.0
 *
 * Flags of a command, from a table: -f v, -f=v, --f v, --f=v, -b, -b=true. Flags come before arguments, as in
 * the original; there are no abbreviations; `--` ends the flags. */
#ifndef WB_CONF_ARGS_H
#define WB_CONF_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum args_type {
	ARGS_TEXT,     /* const char *, borrowed from the command line */
	ARGS_BOOL,     /* bool */
	ARGS_INT,      /* int */
	ARGS_DURATION, /* int64_t, microseconds */
	ARGS_TIME,     /* struct args_time */
	ARGS_HEX,      /* struct args_hex */
};

struct args_time {
	bool given;
	int64_t wall_us;
};

struct args_hex {
	bool given;
	uint64_t value;
};

/* One row; a table ends with a row without a name. */
struct args_flag {
	const char *name;
	enum args_type type;
	size_t at;	   /* offset of the field in the struct that args_parse fills */
	const char *value; /* what to call the value in the help, NULL for ARGS_BOOL */
	const char *help;
	int min, max; /* ARGS_INT */
};

/* argv[0] is the first word behind the command. Fields of flags that are not given stay as they are. Returns 0
 * and in *ret_first the place of the first argument; 1 when help is asked for (-h, -help); -1: ERR_USAGE. */
int args_parse(const struct args_flag *flags, void *base, int argc, char *const *argv, int *ret_first,
	       struct err *e);

#endif
