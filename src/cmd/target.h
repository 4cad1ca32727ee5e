/* SPDX-License-Identifier: Apache-2.0
 *
 * What the argument of a command means: a database of the configuration with all its replicas, or the one
 * replica that a URL or a directory is. */
#ifndef WB_CMD_TARGET_H
#define WB_CMD_TARGET_H

#include "conf/conf.h"

struct target {
	struct conf *conf;	  /* NULL: none was read */
	const struct conf_db *db; /* in conf; NULL: `single` */
	struct conf_replica single;
	struct conf_replica *replicas; /* those of the database, or `single` */
	size_t replicas_n;
	const char *config; /* borrowed; -config, NULL: not given */
	const char *only;   /* borrowed; -replica, NULL: all of them */
};

/* Empty flags count as not given. On success free it with target_free; ret must not be moved. ERR_USAGE,
 * ERR_CONFIG, ERR_NOTHING (neither a database nor a directory); a database without replicas is ERR_CONFIG. */
int target_find(const char *argument, const char *config, bool no_expand_env, const char *replica,
		struct target *ret, struct err *e);
bool target_wants(const struct target *t, const struct conf_replica *r);
/* How a person names it in the next command, quoted for a shell, with -config if that was given: writes n bytes
 * at most. */
char *target_words(const struct target *t, char *buf, size_t n);
void target_free(struct target *t);

/* Reads the configuration for a command whose standard output is its result: the log goes to standard error. */
int target_conf(const char *config, bool no_expand_env, struct conf **ret, struct err *e);

#endif
