/* SPDX-License-Identifier: Apache-2.0
 *
 * The other end of the control socket: a command that asks the running daemon. Blocking. */
#ifndef WB_DAEMON_ASK_H
#define WB_DAEMON_ASK_H

#include "base/err.h"
#include "base/file.h"
#include "conf/conf.h"
#include "daemon/request.h"

struct ask {
	int fd;
	char path[PATH_BYTES]; /* of the socket that answers */
};

/* Connects to `socket` (NULL: that of the configuration, else the usual places; c may be NULL). The error says
 * what was tried, whom it belongs to, and whether somebody replicates a database of c (or db_path, absolute,
 * may be NULL) all the same: ERR_NOTHING: no daemon answers; ERR_UNREACHABLE: not permitted. */
int ask_open(struct ask *a, const char *socket, const struct conf *c, const char *db_path, struct err *e);
void ask_close(struct ask *a);

/* Gets each line of the answer without its line feed. Non-zero stops (it has set *e). */
typedef int ask_line_fn(void *arg, struct span line, struct err *e);
/* Sends the request and gives the lines of its answer to fn. An answer that takes longer than wait_us is
 * ERR_DEADLINE. 0: it ended with status 0; -1: with another (*e has the kind and the sentence, *ret_answered is
 * true), or it did not come. */
int ask(struct ask *a, const struct request *r, int64_t wait_us, ask_line_fn *fn, void *arg, bool *ret_answered,
	struct err *e);

#endif
