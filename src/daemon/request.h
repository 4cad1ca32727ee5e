/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes over the control socket: one request, one answer, both text (docs/control.md tells it). request.c
 * reads and writes the line of the request; the answer is lines of JSON or text, and ends with the line of its
 * status. */
#ifndef WB_DAEMON_REQUEST_H
#define WB_DAEMON_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define REQUEST_VERSION "walbrook/1"

enum {
	REQUEST_MAX_BYTES = 64 << 10,
	REQUEST_TIMEOUT_S = 60,	       /* of sync, unless the request says otherwise */
	REQUEST_WAIT_S = 10,	       /* the same of position and wait */
	REQUEST_TIMEOUT_MAX_S = 86400, /* the most that it may say */
};

enum request_verb {
	REQUEST_STATUS,
	REQUEST_SYNC,
	REQUEST_RELOAD,
	REQUEST_POSITION,
	REQUEST_WAIT,
	REQUEST_PROMOTE
};

struct request {
	enum request_verb verb;
	bool json; /* else text: lines of a table begin with `=`, others with a space, hints with `!` */
	const char *replica;  /* sync: only this one; NULL: all */
	const char *position; /* wait: GENERATION/INDEX:OFFSET, and it is one */
	int64_t timeout_us;   /* sync, position, wait */
	const char **dbs;     /* absolute paths; none: all; position and wait: exactly one */
	size_t dbs_n;
	char *text; /* what request_parse decoded the strings into */
};

/* One line without its line feed. ERR_USAGE: not a request of this version, and why. What it fills is freed
 * with request_free, also after an error. */
int request_parse(struct span line, struct request *ret, struct err *e);
void request_free(struct request *r);
/* Appends the line with its line feed. -1: no memory, or longer than REQUEST_MAX_BYTES. */
int request_write(const struct request *r, struct dyn *to);

/* The last line of an answer: status (an exit code) and a sentence in one line. */
int answer_end(struct dyn *to, int code, const char *sentence);
/* true: `line` is one; the sentence is borrowed from it (not terminated). */
bool answer_end_parse(struct span line, int *ret_code, struct span *ret_sentence);

#endif
