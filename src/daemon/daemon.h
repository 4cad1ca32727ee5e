/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: replicates the databases of a configuration until it is told to stop. */
#ifndef WB_DAEMON_DAEMON_H
#define WB_DAEMON_DAEMON_H

#include "base/err.h"
#include "conf/conf.h"

/* Runs until SIGTERM or SIGINT (or, with c->exec, until the child has ended), then captures and ships what is
 * left, within a deadline. Returns 0 with the exit status in *ret_exit (0; the child's own; ERR_DEADLINE's code
 * when not everything was shipped), or -1 and *e when nothing could be started (every database is broken: its
 * reason). */
int daemon_run(const struct conf *c, struct err *e, int *ret_exit);

#endif
