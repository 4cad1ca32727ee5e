/* SPDX-License-Identifier: Apache-2.0
 *
 * What a follower remembers: which state of its own WAL is which position of the source.
 *
 *   <meta>/walbrook/follow   two records of 512 bytes, written in turn; the newer good one counts
 *
 * A record is written before each publication and holds the state before it and the one after it. It is never
 * synced for a transaction: a state of the WAL (salts, number of frames, checksum of the last one) is proof of
 * its content, so a record that fits the WAL is right, however old it is, and one that does not fit means:
 * compare. */
#ifndef WB_DB_FOLLOW_PLACE_H
#define WB_DB_FOLLOW_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/layout.h"
#include "core/wal.h"

/* A state of the follower's own WAL. */
struct follow_local {
	uint8_t salt[8];
	uint32_t mx_frame;  /* 0: an empty log, known only by `change` */
	struct wal_sum sum; /* of frame mx_frame */
	uint32_t change;    /* of the header of the shared index; lost when the index is made anew */
};

/* A position of the source, with all that is needed to verify what follows. */
struct follow_source {
	struct generation generation; /* "": none yet */
	uint64_t index;
	struct wal_chain chain; /* offset 0: the WAL of this index has not begun */
};

struct follow_state {
	struct follow_local local;
	struct follow_source source;
};

struct follow_place {
	struct follow_state before, after;
	uint64_t inode; /* of the database file that these states are of */
};

/* The open file. */
struct follow_place_file {
	int fd; /* -1: closed */
	uint64_t seq;
	char path[PATH_BYTES];
};

enum { FOLLOW_RECORD_BYTES = 512 };

/* 0 and *ret; ERR_NOTHING: there is none; ERR_DAMAGED: no good record in it. */
int follow_place_read(const char *path, struct follow_place *ret, uint64_t *ret_seq, struct err *e);
/* Opens for writing, making the file (with a record that fits nothing, durable) if it is not there. */
int follow_place_open(struct follow_place_file *f, const char *path, const struct owner *o, uint64_t seq,
		      struct err *e);
int follow_place_write(struct follow_place_file *f, const struct follow_place *p, struct err *e);
int follow_place_sync(struct follow_place_file *f, struct err *e);
void follow_place_close(struct follow_place_file *f);

#endif
