/* SPDX-License-Identifier: Apache-2.0
 *
 * A segment or snapshot object: one LZ4 frame, written so that the original reads it (segment.c tells the
 * bytes): block size id 7 (4 MiB), independent blocks, no block checksum, no content size, content checksum at
 * the end. Every object begins 04 22 4d 18 64 70 b9.
 *
 * Three tools: a writer (streaming, constant memory), a reader (streaming, needs the end mark and the checksum,
 * names what is wrong), and a splicer that puts the blocks of several objects under one header without
 * compressing again. Pure but for memory: input and output are spans; nothing here touches a file. */
#ifndef WB_CORE_SEGMENT_H
#define WB_CORE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	SEGMENT_BLOCK_BYTES = 4 << 20,
	SEGMENT_HEADER_BYTES = 7,
	SEGMENT_TRAILER_BYTES = 8, /* end mark and content checksum */
};
extern const uint8_t segment_header[SEGMENT_HEADER_BYTES];

/* Receives output in order; non-zero return stops and is passed on as failure (fn has set *e). */
typedef int segment_sink(void *arg, struct span out, struct err *e);

/* Writer. Input may come in pieces of any size; a block is cut at exactly 4 MiB of plain data. Memory: what the
 * input needs, at most about 8.1 MiB; nothing is kept after segment_writer_free. */
struct segment_writer;
struct segment_writer *segment_writer_new(segment_sink *sink, void *arg); /* NULL: no memory */
int segment_write(struct segment_writer *w, struct span plain, struct err *e);
int segment_finish(struct segment_writer *w, struct err *e); /* end mark and checksum; then reusable */
void segment_writer_reset(struct segment_writer *w); /* forgets a segment that was begun; then reusable */
void segment_writer_free(struct segment_writer *w);

/* Reader by steps: give stored bytes, take plain bytes. The pieces handed to the sink are at most 4 MiB and are
 * valid during the call only. Errors are ERR_DAMAGED and say what is wrong with the frame (not an LZ4 frame,
 * header checksum, block, content checksum); age-encrypted input is recognised and said so. */
struct segment_reader;
struct segment_reader *segment_reader_new(segment_sink *sink, void *arg);
int segment_read(struct segment_reader *r, struct span stored, struct err *e);
/* To be called at the end of input: fails (ERR_DAMAGED) when nothing came, or the frame has no end. */
int segment_read_end(struct segment_reader *r, struct err *e);
uint64_t segment_plain_bytes(const struct segment_reader *r); /* so far */
/* That came behind the end of the frame, and were not looked at. */
uint64_t segment_behind_bytes(const struct segment_reader *r);
void segment_reader_reset(struct segment_reader *r); /* for the next object */
void segment_reader_free(struct segment_reader *r);

/* For readers that decompress blocks on several cores: walks the blocks of an object held in memory or fed in
 * order. Frame header fields that matter, parsed and verified (header checksum included). */
struct segment_frame {
	uint32_t block_max_bytes;
	bool independent, block_sums, content_sum, content_size;
	uint64_t content_bytes; /* with content_size */
	size_t header_bytes;	/* skippable frames before it included */
};
/* 1: parsed; 0: needs more input; -1: not a frame that we read (*e says why). */
int segment_frame_parse(struct span in, struct segment_frame *ret, struct err *e);

/* Splicer: objects in order, each complete in memory or as a stream of pieces. Output: one object whose plain
 * data is the concatenation. Blocks are copied as they are; they are decompressed only to make the new content
 * checksum and to verify the old ones. (Linked blocks, which we never write, are compressed again.) */
struct segment_splicer;
struct segment_splicer *segment_splicer_new(segment_sink *sink, void *arg);
/* A piece of the current object; the current object is complete; the last one was. After segment_splice_finish
 * the splicer can be used again, also if it failed. */
int segment_splice(struct segment_splicer *s, struct span stored, struct err *e);
int segment_splice_next(struct segment_splicer *s, struct err *e);
int segment_splice_finish(struct segment_splicer *s, struct err *e);
uint64_t segment_splice_plain_bytes(const struct segment_splicer *s);
void segment_splicer_free(struct segment_splicer *s);

#endif
