/* SPDX-License-Identifier: Apache-2.0
 *
 * One probe of a configuration from end to end: the machine, each database, each replica. Writes to no
 * database; in a replica one small object of its own comes and goes. */
#ifndef WB_DAEMON_CHECK_H
#define WB_DAEMON_CHECK_H

#include "base/err.h"
#include "base/file.h"
#include "conf/conf.h"
#include "store/store.h"

enum check_level { CHECK_OK, CHECK_WARNING, CHECK_FAIL };

/* One thing that was looked at. Everything is valid during the call only. */
struct check_finding {
	enum check_level level;
	enum err_kind kind;   /* of CHECK_FAIL; else NONE */
	const char *database; /* path; NULL: it concerns the machine or the whole configuration */
	const char *replica;  /* name; NULL: it concerns the database itself */
	const char *text;     /* what was found, a sentence without its dot */
	const char *fix;      /* what to do; NULL: nothing */
};
typedef void check_fn(void *arg, const struct check_finding *f);

/* Looks at everything (of a configuration read by conf_read_origins(), also at who can read its secrets), or
 * only at the databases with these paths (absolute; n 0: all) and at the machine. Returns 0 when the probe
 * itself was made, whatever it found. ERR_CONFIG: a path that the configuration does not have. */
int check_run(struct conf *c, const char *const *paths, size_t n, check_fn *fn, void *arg, struct err *e);

/* ---- the parts, in files of their own ---- */

struct check {
	struct conf *conf;
	check_fn *fn;
	void *arg;
};

/* Reports one finding. */
void check_say(const struct check *k, enum check_level level, enum err_kind kind, const char *database,
	       const char *replica, const char *fix, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));
/* Returns whether the file is worth looking at its replicas, and in *ret_bytes its size (0: not there). */
void check_database(const struct check *k, const struct conf_db *d, uint64_t *ret_bytes);
void check_replica(const struct check *k, const struct conf_db *d, const struct conf_replica *r,
		   uint64_t database_bytes);
/* Opens a replica as the daemon would, which does not touch it. ERR_CONFIG: this version cannot use it. */
int check_open_replica(const struct conf *c, const struct conf_replica *r, const struct owner *o,
		       struct store **ret, struct err *e);
/* Free bytes on the file system of a path, or of the nearest directory above it that exists. -1: cannot be
 * told. */
int64_t check_free_bytes(const char *path);

#endif
