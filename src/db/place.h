/* SPDX-License-Identifier: Apache-2.0
 *
 * Where we are: the position file, which lets a start continue the generation when the WAL proves it.
 *
 *   <meta>/walbrook/position   two records of 256 bytes, written in turn; the newer good one counts
 *
 * A record is one line of text padded with spaces: version, sequence, generation, index, offset, page size,
 * byte order, salts, running checksum, newest commit time, and a checksum (xxh64) of all before it. */
#ifndef WB_DB_PLACE_H
#define WB_DB_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/layout.h"
#include "core/wal.h"

struct place {
	struct generation generation;
	uint64_t index;
	struct wal_chain chain; /* offset 0: nothing of this index is captured yet */
	int64_t wall_us;	/* time of the newest commit, so that times never decrease */
};

enum { PLACE_RECORD_BYTES = 256 };

/* 0 and *ret; ERR_NOTHING: there is none; ERR_DAMAGED: no good record in it. */
int place_read(const char *path, struct place *ret, uint64_t *ret_seq, struct err *e);
/* Writes record number seq (creates the file with seq 0 if it is not there) and makes it durable. */
int place_write(const char *path, const struct owner *o, const struct place *p, uint64_t seq, struct err *e);

#endif
