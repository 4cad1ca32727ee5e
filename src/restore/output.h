/* SPDX-License-Identifier: Apache-2.0
 *
 * The file that a restore makes: built under a temporary name beside its place, locked so that a second restore
 * to the same place is refused, and put in place only when it is complete and durable. */
#ifndef WB_RESTORE_OUTPUT_H
#define WB_RESTORE_OUTPUT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

struct output {
	char path[PATH_BYTES];
	char temp[PATH_BYTES];
	char dir[PATH_BYTES];  /* of path */
	char made[PATH_BYTES]; /* the topmost directory that did not exist before; "" if all did */
	int fd;		       /* of temp, open for reading and writing; -1: not open */
};

#define OUTPUT_INIT ((struct output){ .fd = -1 })

int output_open(struct output *o, const char *path, const struct owner *owner, struct err *e);
int output_empty(struct output *o, struct err *e); /* begin anew */
/* fsync, rename without replacing, fsync of the directory. Afterwards, also on failure, *o is closed. */
int output_publish(struct output *o, struct err *e);
void output_abort(struct output *o); /* nothing is left behind; fine when not open */

/* Writes at a place of the file. */
int output_write(int fd, const char *path, struct span bytes, uint64_t at, struct err *e);

#endif
