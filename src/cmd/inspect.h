/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands that list replicas have in common: their flags, going through replicas and generations, and
 * the table or JSON that comes out. */
#ifndef WB_CMD_INSPECT_H
#define WB_CMD_INSPECT_H

#include "base/json.h"
#include "cmd/cmd.h"
#include "cmd/table.h"
#include "cmd/target.h"
#include "restore/list.h"

struct inspect_flags {
	const char *replica, *generation, *config;
	bool no_expand_env, json;
};

/* The rows of struct args_flag that all of them have. */
#define INSPECT_FLAGS                                                                                          \
	{ "replica",                                                                                           \
	  ARGS_TEXT,                                                                                           \
	  offsetof(struct inspect_flags, replica),                                                             \
	  "NAME",                                                                                              \
	  "only this replica of a configured database",                                                        \
	  0,                                                                                                   \
	  0 },                                                                                                 \
		{ "generation",                                                                                \
		  ARGS_TEXT,                                                                                   \
		  offsetof(struct inspect_flags, generation),                                                  \
		  "NAME",                                                                                      \
		  "only this generation",                                                                      \
		  0,                                                                                           \
		  0 },                                                                                         \
		{ "json",                                                                                      \
		  ARGS_BOOL,                                                                                   \
		  offsetof(struct inspect_flags, json),                                                        \
		  NULL,                                                                                        \
		  "print JSON instead of a table; docs/json.md tells the fields",                              \
		  0,                                                                                           \
		  0 },                                                                                         \
		{ "config",                                                                                    \
		  ARGS_TEXT,                                                                                   \
		  offsetof(struct inspect_flags, config),                                                      \
		  "FILE",                                                                                      \
		  "configuration that names the database",                                                     \
		  0,                                                                                           \
		  0 },                                                                                         \
		FLAG_NO_EXPAND_ENV(offsetof(struct inspect_flags, no_expand_env))

#define INSPECT_TEXT                                                                                           \
	"DATABASE is the path of a database in the configuration (-config FILE, else the file named\n"         \
	"by WALBROOK_CONFIG or LITESTREAM_CONFIG, else /etc/walbrook.yml, else /etc/litestream.yml).\n"        \
	"URL or DIRECTORY is the place of a replica. A replica that cannot be listed is told on\n"             \
	"standard error, the others are listed all the same, and the exit code tells of it.\n"

struct inspect;

/* What makes one command of it. */
struct inspect_kind {
	const struct command *command;
	const char *argument_missing; /* the sentence of the original */
	const char *const *titles;
	unsigned kinds;	     /* LIST_KIND(…) that a row needs, */
	unsigned kinds_json; /* and with -json */
	const char *nothing; /* that there are none of: "snapshots" */
	/* Writes the rows of one generation: cells of in->table, or objects of in->json. */
	int (*rows)(struct inspect *in, const struct conf_replica *r, struct listing *l, struct err *e);
	/* The words of the next command behind `walbrook `, into buf; after rows were printed. */
	void (*next)(const struct inspect *in, char *buf, size_t n);
};

struct inspect {
	const struct inspect_kind *kind;
	struct inspect_flags f;
	struct target target;
	struct table table;
	struct json json;
	size_t wanted;		  /* replicas */
	size_t rows, generations; /* counted by inspect_row; listed at all */
	struct generation newest; /* of the last row, for `next` */
	uint64_t newest_index;
	struct err failed; /* of the replica that could not be listed; NONE: all could */
};

int inspect_run(const struct inspect_kind *kind, int argc, char *const *argv, struct err *e, int *ret_exit);

/* Begins a row: its first cells or members, which are the same everywhere. */
void inspect_row(struct inspect *in, const struct conf_replica *r, const struct listing *l);
void inspect_row_end(struct inspect *in);
/* Sorts by position and writes a row for each object: index, with_offset its offset, size, created. */
int inspect_objects(struct inspect *in, const struct conf_replica *r, const struct listing *l,
		    struct plan_object *v, size_t n, bool with_offset);
/* A hexadecimal index, as `restore -index` reads it. */
void inspect_json_index(struct json *j, const char *key, uint64_t index);

#endif
