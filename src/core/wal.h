/* SPDX-License-Identifier: Apache-2.0
 *
 * The write-ahead log as bytes: header, frames, checksum chain, and the header of the shared index (-shm).
 * Source of the format: SQLite's file format documentation ("WAL-index format", "WAL File Format"). wal.c tells
 * the layout. Pure: no I/O, no clock. All functions accept hostile bytes. */
#ifndef WB_CORE_WAL_H
#define WB_CORE_WAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	WAL_HEADER_BYTES = 32,
	WAL_FRAME_HEADER_BYTES = 24,
	WAL_INDEX_HEADER_BYTES = 48,
	PAGE_BYTES_MIN = 512,
	PAGE_BYTES_MAX = 65536,
};

/* The running checksum: two 32-bit words. */
struct wal_sum {
	uint32_t s0, s1;
};

static inline bool wal_sum_equal(struct wal_sum a, struct wal_sum b)
{
	return a.s0 == b.s0 && a.s1 == b.s1;
}

struct wal_header {
	uint32_t page_bytes;
	uint32_t checkpoint_seq;
	uint8_t salt[8]; /* as in the file */
	bool big_endian; /* byte order of the checksum words */
	struct wal_sum sum;
};

enum wal_check {
	WAL_OK,
	WAL_SHORT,     /* not enough bytes */
	WAL_BAD_MAGIC, /* not a WAL, or a version that we do not know */
	WAL_BAD_PAGE_SIZE,
	WAL_BAD_SALT, /* a frame of another incarnation */
	WAL_BAD_SUM,
	WAL_BAD_PGNO, /* page number 0 */
};
const char *wal_check_text(enum wal_check c);

bool page_bytes_valid(uint32_t n);

/* Continues the chain over n bytes (a multiple of 8) whose words are read in the given byte order. */
struct wal_sum wal_checksum(struct wal_sum from, bool big_endian, const uint8_t *p, size_t n);

enum wal_check wal_header_parse(struct span in, struct wal_header *ret);
/* Writes the 32 bytes of a header; h->sum is ignored and computed. */
void wal_header_write(uint8_t out[WAL_HEADER_BYTES], const struct wal_header *h);

struct wal_frame {
	uint32_t pgno;
	uint32_t commit_pages; /* size of the database in pages after this commit; 0: not a commit frame */
	const uint8_t *page;   /* page_bytes bytes, borrowed from the input */
};

/* A position inside one incarnation of the WAL, with all that is needed to verify what follows. */
struct wal_chain {
	uint32_t page_bytes;
	bool big_endian;
	uint8_t salt[8];
	struct wal_sum sum;
	uint64_t offset; /* of the next frame in the file, in bytes; 32 is the first */
};

struct wal_chain wal_chain_start(const struct wal_header *h);

/* Verifies one whole frame at in.p and moves *c behind it. On anything but WAL_OK *c is unchanged. */
enum wal_check wal_chain_step(struct wal_chain *c, struct span in, struct wal_frame *ret);

/* Writes the 24 bytes that go before a page and moves *c behind the frame, as SQLite would. */
void wal_frame_write(struct wal_chain *c, uint32_t pgno, uint32_t commit_pages, const uint8_t *page,
		     uint8_t out[WAL_FRAME_HEADER_BYTES]);

/* Verifies as many whole frames as lie in `in`, calling fn (may be NULL) for each; stops at the first that does
 * not fit, at the end of the input, or when fn returns non-zero. Returns why it stopped (WAL_SHORT: input used
 * up; WAL_OK: fn said so) and the bytes of whole, good frames, that of the stop included, in *ret_bytes. *c is
 * behind them. */
typedef int wal_frame_fn(void *arg, const struct wal_frame *f, uint64_t offset);
enum wal_check wal_chain_run(struct wal_chain *c, struct span in, wal_frame_fn *fn, void *arg,
			     size_t *ret_bytes);

static inline uint64_t wal_frame_bytes(uint32_t page_bytes)
{
	return (uint64_t)WAL_FRAME_HEADER_BYTES + page_bytes;
}
/* Offset behind frame number n (n = 0: behind the header). */
static inline uint64_t wal_offset_of(uint32_t page_bytes, uint64_t frames)
{
	return WAL_HEADER_BYTES + frames * wal_frame_bytes(page_bytes);
}
/* Whole frames in a WAL of this many bytes. */
static inline uint64_t wal_frames_in(uint32_t page_bytes, uint64_t offset)
{
	return offset < WAL_HEADER_BYTES ? 0 : (offset - WAL_HEADER_BYTES) / wal_frame_bytes(page_bytes);
}

/* The header of the WAL index in shared memory: host byte order, but the salts are as in the WAL file. */
struct wal_index {
	uint32_t change;	  /* counts transactions */
	bool big_endian;	  /* of checksums in the WAL */
	uint32_t page_bytes;	  /* 0: not known, only with mx_frame 0 */
	uint32_t mx_frame;	  /* last committed frame, 0: the WAL is empty */
	uint32_t pages;		  /* size of the database in pages */
	struct wal_sum frame_sum; /* chain value at mx_frame */
	uint8_t salt[8];
};

/* Parses one 48-byte copy; false unless initialised, of the known version and with the right checksum. */
bool wal_index_parse(const uint8_t copy[WAL_INDEX_HEADER_BYTES], struct wal_index *ret);
/* Writes one copy with its checksum, as SQLite would. */
void wal_index_write(uint8_t out[WAL_INDEX_HEADER_BYTES], const struct wal_index *h);

#endif
