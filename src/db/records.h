/* SPDX-License-Identifier: Apache-2.0
 *
 * A small file of two records that are written in turn, in place: the newer good one counts. It needs no rename
 * and moves no metadata, and a torn write spoils one of the two.
 *
 * A record is one line: text that ends in a blank, XXH64 of it as 16 hex digits, blanks, and a newline. */
#ifndef WB_DB_RECORDS_H
#define WB_DB_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"

enum { RECORDS_MOST_BYTES = 512, RECORDS_SALT_CHARS = 16 };

/* Seals the n characters of text that stand in a record of `bytes`, as snprintf gave them. -1: they do not fit.
 */
int records_seal(char *record, size_t bytes, int n);
/* 0, the text of the newest good record that begins with `name` and its number ("NAME seq 5 ..."), without its
 * sum; ERR_NOTHING: there is no file; ERR_DAMAGED: no good record in it. */
int records_read(const char *path, size_t bytes, const char *name, char text[RECORDS_MOST_BYTES + 1],
		 uint64_t *ret_seq, struct err *e);
/* Makes the file, durable, with this record in both places. */
int records_make(const char *path, const char *record, size_t bytes, const struct owner *o, struct err *e);
/* Writes record number seq to its place; not synced. */
int records_put(int fd, const char *path, const char *record, size_t bytes, uint64_t seq, struct err *e);

/* Eight bytes as hexadecimal digits and back (false: they are none), as salts stand in such a text. */
void records_hex(char out[RECORDS_SALT_CHARS + 1], const uint8_t in[8]);
bool records_unhex(uint8_t out[8], const char *in);

#endif
