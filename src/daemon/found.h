/* SPDX-License-Identifier: Apache-2.0
 *
 * The databases that an entry for many (dir, or a pattern in path) has at this moment, for commands that look
 * once. The daemon itself watches (scan.h). */
#ifndef WB_DAEMON_FOUND_H
#define WB_DAEMON_FOUND_H

#include "conf/conf.h"

struct found {
	/* One database, `one` as conf_db_instance() makes it, borrowed; NULL with *e: it cannot be one. */
	void (*database)(void *arg, const char *path, const struct conf_db *one, const struct err *e);
	/* A directory that cannot be read, and errno. May be NULL. */
	void (*unreadable)(void *arg, const char *dir, int sys);
	void *arg;
};

/* Calls back for each, in the order of their names, those with entries of their own left out. Returns how many;
 * -1: the directory of the entry cannot be read. */
long found_look(const struct conf *c, const struct conf_db *entry, const struct found *f);

#endif
