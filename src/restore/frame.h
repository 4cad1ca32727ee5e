/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading an object block by block, so that its blocks can be decompressed on several cores and straight to
 * where they are needed. Frames that do not allow it (linked blocks, block checksums) are read as a stream
 * instead. */
#ifndef WB_RESTORE_FRAME_H
#define WB_RESTORE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/segment.h"
#include "restore/progress.h"
#include "store/store.h"

struct frame_reader {
	struct store *store;
	struct store_get *get;
	struct progress *progress; /* counts stored bytes */
	const char *key;	   /* borrowed, for messages */
	uint8_t *ahead;		   /* bytes read but not yet taken: [at, n) */
	size_t at, n;
	bool at_end; /* of the object */
	struct segment_frame head;
	uint64_t stored_bytes; /* read so far */
};

/* Once per reader. -1: no memory. The reader can then open one object after the other. */
int frame_init(struct frame_reader *r, struct store *s, struct progress *progress, struct err *e);
void frame_free(struct frame_reader *r);

/* Opens the object and reads its frame header. 1: read it with frame_next; 0: use frame_stream; -1: ERR_NOTHING
 * if there is no such object, ERR_CONFIG if it is encrypted, ERR_DAMAGED (with the key) if it is not an LZ4
 * frame. */
int frame_open(struct frame_reader *r, const char *key, struct err *e);
void frame_close(struct frame_reader *r);

struct frame_block {
	const uint8_t *p; /* in the caller's buffer */
	uint32_t n;
	bool plain; /* stored as it is */
};

/* The next block, into a buffer of SEGMENT_BLOCK_BYTES. 1: a block; 0: the end mark (and *ret_sum is the
 * content checksum, if the frame has one); -1: *e. */
int frame_next(struct frame_reader *r, uint8_t *into, struct frame_block *ret, uint32_t *ret_sum,
	       struct err *e);

/* Decompresses. The count, or -1: damaged, or more than fits. */
int frame_decode(const struct frame_block *b, uint8_t *to, size_t cap);

/* Errors that block readers find themselves, in the words of core/segment. */
int frame_bad_block(const char *key, uint64_t plain_bytes, struct err *e);
int frame_bad_sum(const char *key, uint64_t plain_bytes, struct err *e);
int frame_bad_size(const char *key, const struct segment_frame *f, uint64_t plain_bytes, struct err *e);

/* Reads a whole object of any kind in order. */
int frame_stream(struct frame_reader *r, const char *key, segment_sink *sink, void *arg, struct err *e);

#endif
