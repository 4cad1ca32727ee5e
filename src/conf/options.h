/* SPDX-License-Identifier: Apache-2.0
 *
 * The option table: every key of the configuration file once, with its scope, type, default, bounds, the types
 * of replica it is for, and a sentence. The reader, the error messages, `walbrook help replicate` and the check
 * of docs/configuration.md all come from it. Nothing else in the program knows the name of a key. */
#ifndef WB_CONF_OPTIONS_H
#define WB_CONF_OPTIONS_H

#include <stdint.h>

#include "conf/conf.h"

/* The types of replica: enumerator, name (also the scheme of its URL), what a URL of it looks like. */
#define REPLICA_TYPES(X)                                                                                       \
	X(FILE, "file", "file:///path")                                                                        \
	X(S3, "s3", "s3://bucket/path")                                                                        \
	X(GCS, "gcs", "gcs://bucket/path")                                                                     \
	X(ABS, "abs", "abs://account@container/path")                                                          \
	X(SFTP, "sftp", "sftp://user@host:port/path")

enum replica_type {
#define X(id, name, example) REPLICA_##id,
	REPLICA_TYPES(X)
#undef X
		REPLICA_TYPES_N
};

struct replica_type_info {
	const char *name, *example;
};
extern const struct replica_type_info replica_types[REPLICA_TYPES_N];
int replica_type_find(const char *name, enum replica_type *ret); /* -1: unknown */

enum option_scope { SCOPE_TOP, SCOPE_LOGGING, SCOPE_DB, SCOPE_REPLICA, SCOPE_AGE, SCOPE_UPSTREAM, SCOPES_N };

enum option_type {
	OPTION_TEXT,	 /* char *: one line; empty: not given, unless min is 1 */
	OPTION_PATH,	 /* char *: made absolute; never empty */
	OPTION_COMMAND,	 /* char *: more than blanks, may have several lines */
	OPTION_BOOL,	 /* bool */
	OPTION_NOT_BOOL, /* bool that holds the opposite */
	OPTION_TRISTATE, /* int: 0, 1, or -1 when not given */
	OPTION_COUNT,	 /* int64_t */
	OPTION_DURATION, /* int64_t, microseconds */
	OPTION_SIZE,	 /* int64_t, bytes */
	OPTION_LEVEL,	 /* enum log_level */
	OPTION_FORMAT,	 /* bool: is JSON */
	OPTION_TEXTS,	 /* char ** at `at`, size_t at `count_at` */
	OPTION_SECTION,	 /* a mapping with the keys of scope `sub`, kept in the same struct */
	OPTION_SECTIONS, /* a list of mappings with the keys of scope `sub` */
};

struct option {
	enum option_scope scope;
	const char *name;
	enum option_type type;
	size_t at, count_at;	/* offsets in struct conf, conf_db or conf_replica */
	enum option_scope sub;	/* of OPTION_SECTION and OPTION_SECTIONS */
	const char *by_default; /* as a person would write it; NULL: none */
	int64_t min, max; /* OPTION_COUNT, OPTION_SIZE, OPTION_DURATION (max 0: no bound); OPTION_TEXT: min 1
			     means not empty */
	unsigned types;	  /* bit 1 << enum replica_type: for which replicas; 0: all */
	bool secret;	  /* the value is never printed */
	int (*check)(const char *text, struct err *e); /* of a text that is not empty; NULL: any will do */
	const char *sentence;
};

extern const struct option options[];
extern const size_t options_n;

enum { OPTIONS_MAX = 96 }; /* room for one mark each; options.c asserts it */

const char *option_scope_text(enum option_scope s); /* "in a replica", "at the top level" … */
const char *option_type_text(enum option_type t);   /* "a duration" … */
const struct option *option_find(enum option_scope scope, const char *name);
/* Sets the field of *o in the struct at base from text. ERR_CONFIG (or ERR_FAIL: no memory); the text of the
 * error begins with the name of the option. Values of secrets are never quoted. */
int option_set(const struct option *o, void *base, const char *text, struct err *e);
/* Fills in the defaults of a scope and of the sections in it. */
int option_defaults(enum option_scope scope, void *base, struct err *e);
/* Whether the field holds something that did not come from the default. */
bool option_given(const struct option *o, const void *base);
/* The value as a person would write it: the text itself, or made in buf. NULL: there is none; not for lists and
 * sections. Does not hide secrets. */
enum { OPTION_TEXT_BYTES = 64 };
const char *option_text(const struct option *o, const void *base, char buf[OPTION_TEXT_BYTES]);
/* The struct at `to` is a plain copy of another one: gives it texts of its own. On failure it has those that
 * were copied and no others, so that options_free() is right. ERR_FAIL: no memory. */
int options_own(enum option_scope scope, void *to, struct err *e);
/* Frees the texts of a scope and of the sections in it. */
void options_free(enum option_scope scope, void *base);

/* Go's syntax: decimal numbers with units (1h30m, 1.5s, 300ms). `0` needs none. Negative values are parsed.
 * Less than a microsecond, but not nothing, becomes one. ERR_CONFIG: says what is wrong, without a name before
 * it. */
int duration_parse(const char *text, int64_t *ret_us, struct err *e);
enum { DURATION_TEXT_BYTES = 48 };
char *duration_format(char buf[DURATION_TEXT_BYTES], int64_t us); /* shortest: 1h30m, 10s, 1.5s */

/* A number with B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024): 512MiB, 1.5GB. `0` needs no
 * unit. ERR_CONFIG: says what is wrong, without a name before it. */
int size_parse(const char *text, int64_t *ret_bytes, struct err *e);
enum { SIZE_TEXT_BYTES = 32 };
char *size_format(char buf[SIZE_TEXT_BYTES], int64_t bytes); /* exact: 1GiB, 1536MiB, 1000000B */

#endif
