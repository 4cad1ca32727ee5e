/* SPDX-License-Identifier: Apache-2.0
 *
 * The write-ahead log as bytes.
 *
 * The file: one header, then frames without gaps. All numbers are big-endian.
 *
 *   header, 32 bytes                         frame, 24 bytes and one page
 *    0  magic 0x377f0682 or 0x377f0683        0  page number, never 0
 *    4  version 3007000                       4  pages in the database after this commit, else 0
 *    8  page size                             8  salt, 8 bytes, equal to that of the header
 *   12  checkpoint sequence                  16  checksum, two words
 *   16  salt, 8 bytes                        24  the page
 *   24  checksum, two words
 *
 * The checksum is a running pair (s0, s1) that begins as (0, 0). Each 8 bytes, taken as two words (a, b), do
 *
 *   s0 += a + s1;   s1 += b + s0;             (modulo 2^32, the second line with the new s0)
 *
 * The lowest bit of the magic tells how the words (a, b) are read: 0 little-endian, 1 big-endian. The stored
 * checksums are always big-endian. The header's covers its bytes 0 to 23; a frame's continues from the one
 * before it (the first: from the header's) over its bytes 0 to 7 and its page. So a frame proves all frames
 * before it.
 *
 * A frame is valid if its salt is that of the header, its page number is not 0 and its checksum continues the
 * chain. SQLite restarts the log by a new salt and begins again at offset 32, so behind the last valid frame
 * there may lie whole frames of earlier cycles: the salt stops the reader, and for frames of the same cycle
 * that were rolled back and partly overwritten the chain does. A valid frame is not a committed one: the WAL
 * index (below) decides that.
 *
 * The header of the WAL index, first thing in the -shm file, twice 48 bytes in host byte order:
 *
 *    0  version 3007000     12  initialised (1 byte)         16  mxFrame             32  salt, as in the WAL
 *    4  unused              13  big-endian checksums (1)     20  pages in database   40  checksum of 0 to 39
 *    8  change counter      14  page size, 1 means 65536     24  checksum of frame mxFrame
 *
 * A page size of 0 stands in an index that was made from an empty WAL, and only with mxFrame 0.
 *
 * Its own checksum is the recurrence above from (0, 0) with words in host byte order. Who reads it from living
 * shared memory must copy it twice and compare (db/); here is only what one copy says.
 *
 * Failure: a check that fails is told by name and moves nothing; what follows the first bad frame is never
 * looked at. */
#include "core/wal.h"

#include <assert.h>
#include <string.h>

#define WAL_MAGIC 0x377f0682u /* | 1: checksum words are big-endian */
#define WAL_VERSION 3007000u

static_assert(WAL_HEADER_BYTES == 4 * 4 + 8 + 8, "header: four words, salt, checksum");
static_assert(WAL_FRAME_HEADER_BYTES == 2 * 4 + 8 + 8, "frame header: two words, salt, checksum");
static_assert(PAGE_BYTES_MIN % 8 == 0, "the checksum takes whole units of 8 bytes");

#define HOST_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

const char *wal_check_text(enum wal_check c)
{
	switch (c) {
	case WAL_OK:
		return "valid";
	case WAL_SHORT:
		return "cut off";
	case WAL_BAD_MAGIC:
		return "not a WAL header of a known version";
	case WAL_BAD_PAGE_SIZE:
		return "impossible page size";
	case WAL_BAD_SALT:
		return "salt differs from the WAL header";
	case WAL_BAD_SUM:
		return "checksum does not fit";
	case WAL_BAD_PGNO:
		return "page number 0";
	}
	return "unknown";
}

bool page_bytes_valid(uint32_t n)
{
	return n >= PAGE_BYTES_MIN && n <= PAGE_BYTES_MAX && (n & (n - 1)) == 0;
}

/* The chain of dependent additions is the limit: s0 waits for s1 and s1 for s0, two cycles for each 8 bytes,
 * when everything else (load, byte order) stays off it. So a word is first added to what is known early, then
 * to the late one. One load of 8 bytes serves two words. */
#define SUM_UNIT(unit)                                                                                         \
	do {                                                                                                   \
		uint64_t u_ = (unit);                                                                          \
		s0 += (uint32_t)(HOST_BIG_ENDIAN ? u_ >> 32 : u_);                                             \
		s0 += s1;                                                                                      \
		s1 += (uint32_t)(HOST_BIG_ENDIAN ? u_ : u_ >> 32);                                             \
		s1 += s0;                                                                                      \
	} while (0)

static inline uint64_t load_u64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

/* Swaps the bytes inside both words of a unit, each word staying where it is. */
static inline uint64_t swap_words(uint64_t u)
{
	u = __builtin_bswap64(u);
	return u << 32 | u >> 32;
}

static struct wal_sum sum_host_order(struct wal_sum from, const uint8_t *p, size_t n)
{
	uint32_t s0 = from.s0, s1 = from.s1;
	for (; n >= 32; p += 32, n -= 32) {
		SUM_UNIT(load_u64(p));
		SUM_UNIT(load_u64(p + 8));
		SUM_UNIT(load_u64(p + 16));
		SUM_UNIT(load_u64(p + 24));
	}
	for (; n >= 8; p += 8, n -= 8)
		SUM_UNIT(load_u64(p));
	return (struct wal_sum){ s0, s1 };
}

static struct wal_sum sum_other_order(struct wal_sum from, const uint8_t *p, size_t n)
{
	uint32_t s0 = from.s0, s1 = from.s1;
	for (; n >= 32; p += 32, n -= 32) {
		SUM_UNIT(swap_words(load_u64(p)));
		SUM_UNIT(swap_words(load_u64(p + 8)));
		SUM_UNIT(swap_words(load_u64(p + 16)));
		SUM_UNIT(swap_words(load_u64(p + 24)));
	}
	for (; n >= 8; p += 8, n -= 8)
		SUM_UNIT(swap_words(load_u64(p)));
	return (struct wal_sum){ s0, s1 };
}

struct wal_sum wal_checksum(struct wal_sum from, bool big_endian, const uint8_t *p, size_t n)
{
	assert(n % 8 == 0);
	return big_endian == HOST_BIG_ENDIAN ? sum_host_order(from, p, n) : sum_other_order(from, p, n);
}

static struct wal_sum get_sum(const uint8_t *p)
{
	return (struct wal_sum){ get_be32(p), get_be32(p + 4) };
}

enum wal_check wal_header_parse(struct span in, struct wal_header *ret)
{
	if (in.n < WAL_HEADER_BYTES)
		return WAL_SHORT;
	uint32_t magic = get_be32(in.p);
	if ((magic & ~1u) != WAL_MAGIC || get_be32(in.p + 4) != WAL_VERSION)
		return WAL_BAD_MAGIC;
	struct wal_header h = {
		.page_bytes = get_be32(in.p + 8),
		.checkpoint_seq = get_be32(in.p + 12),
		.big_endian = (magic & 1) != 0,
		.sum = get_sum(in.p + 24),
	};
	memcpy(h.salt, in.p + 16, sizeof h.salt);
	if (!page_bytes_valid(h.page_bytes))
		return WAL_BAD_PAGE_SIZE;
	if (!wal_sum_equal(h.sum, wal_checksum((struct wal_sum){ 0, 0 }, h.big_endian, in.p, 24)))
		return WAL_BAD_SUM;
	*ret = h;
	return WAL_OK;
}

void wal_header_write(uint8_t out[WAL_HEADER_BYTES], const struct wal_header *h)
{
	put_be32(out, WAL_MAGIC | (h->big_endian ? 1u : 0u));
	put_be32(out + 4, WAL_VERSION);
	put_be32(out + 8, h->page_bytes);
	put_be32(out + 12, h->checkpoint_seq);
	memcpy(out + 16, h->salt, sizeof h->salt);
	struct wal_sum sum = wal_checksum((struct wal_sum){ 0, 0 }, h->big_endian, out, 24);
	put_be32(out + 24, sum.s0);
	put_be32(out + 28, sum.s1);
}

struct wal_chain wal_chain_start(const struct wal_header *h)
{
	struct wal_chain c = {
		.page_bytes = h->page_bytes,
		.big_endian = h->big_endian,
		.sum = h->sum,
		.offset = WAL_HEADER_BYTES,
	};
	memcpy(c.salt, h->salt, sizeof c.salt);
	return c;
}

/* The checks in SQLite's order: salt, page number, checksum. p holds a whole frame. */
static inline enum wal_check frame_check(struct wal_chain *c, const uint8_t *p, struct wal_frame *ret)
{
	if (memcmp(p + 8, c->salt, sizeof c->salt) != 0)
		return WAL_BAD_SALT;
	uint32_t pgno = get_be32(p);
	if (pgno == 0)
		return WAL_BAD_PGNO;
	struct wal_sum sum = wal_checksum(c->sum, c->big_endian, p, 8);
	sum = wal_checksum(sum, c->big_endian, p + WAL_FRAME_HEADER_BYTES, c->page_bytes);
	if (!wal_sum_equal(sum, get_sum(p + 16)))
		return WAL_BAD_SUM;
	*ret = (struct wal_frame){
		.pgno = pgno,
		.commit_pages = get_be32(p + 4),
		.page = p + WAL_FRAME_HEADER_BYTES,
	};
	c->sum = sum;
	c->offset += wal_frame_bytes(c->page_bytes);
	return WAL_OK;
}

void wal_frame_write(struct wal_chain *c, uint32_t pgno, uint32_t commit_pages, const uint8_t *page,
		     uint8_t out[WAL_FRAME_HEADER_BYTES])
{
	put_be32(out, pgno);
	put_be32(out + 4, commit_pages);
	memcpy(out + 8, c->salt, sizeof c->salt);
	c->sum = wal_checksum(c->sum, c->big_endian, out, 8);
	c->sum = wal_checksum(c->sum, c->big_endian, page, c->page_bytes);
	put_be32(out + 16, c->sum.s0);
	put_be32(out + 20, c->sum.s1);
	c->offset += wal_frame_bytes(c->page_bytes);
}

enum wal_check wal_chain_step(struct wal_chain *c, struct span in, struct wal_frame *ret)
{
	assert(page_bytes_valid(c->page_bytes));
	if (in.n < wal_frame_bytes(c->page_bytes))
		return WAL_SHORT;
	return frame_check(c, in.p, ret);
}

enum wal_check wal_chain_run(struct wal_chain *c, struct span in, wal_frame_fn *fn, void *arg,
			     size_t *ret_bytes)
{
	assert(page_bytes_valid(c->page_bytes));
	size_t frame_bytes = (size_t)wal_frame_bytes(c->page_bytes), done = 0;
	enum wal_check check = WAL_SHORT;
	while (in.n - done >= frame_bytes) {
		struct wal_frame f;
		uint64_t offset = c->offset;
		enum wal_check now = frame_check(c, in.p + done, &f);
		if (now != WAL_OK) {
			check = now;
			break;
		}
		done += frame_bytes;
		if (fn && fn(arg, &f, offset) != 0) {
			check = WAL_OK;
			break;
		}
	}
	*ret_bytes = done;
	return check;
}

static uint32_t get_host32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

bool wal_index_parse(const uint8_t copy[WAL_INDEX_HEADER_BYTES], struct wal_index *ret)
{
	if (get_host32(copy) != WAL_VERSION || copy[12] == 0)
		return false;
	struct wal_sum sum = wal_checksum((struct wal_sum){ 0, 0 }, HOST_BIG_ENDIAN, copy, 40);
	if (sum.s0 != get_host32(copy + 40) || sum.s1 != get_host32(copy + 44))
		return false;
	uint16_t size;
	memcpy(&size, copy + 14, sizeof size);
	struct wal_index x = {
		.change = get_host32(copy + 8),
		.big_endian = copy[13] != 0,
		.page_bytes = size == 1 ? PAGE_BYTES_MAX : size,
		.mx_frame = get_host32(copy + 16),
		.pages = get_host32(copy + 20),
		.frame_sum = { get_host32(copy + 24), get_host32(copy + 28) },
	};
	memcpy(x.salt, copy + 32, sizeof x.salt);
	/* Recovery from an empty WAL leaves the page size 0: there is no frame that has one. */
	if (!page_bytes_valid(x.page_bytes) && !(x.page_bytes == 0 && x.mx_frame == 0))
		return false;
	*ret = x;
	return true;
}

static void put_host32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

void wal_index_write(uint8_t out[WAL_INDEX_HEADER_BYTES], const struct wal_index *h)
{
	uint16_t size = h->page_bytes == PAGE_BYTES_MAX ? 1 : (uint16_t)h->page_bytes;
	put_host32(out, WAL_VERSION);
	put_host32(out + 4, 0);
	put_host32(out + 8, h->change);
	out[12] = 1;
	out[13] = h->big_endian;
	memcpy(out + 14, &size, sizeof size);
	put_host32(out + 16, h->mx_frame);
	put_host32(out + 20, h->pages);
	put_host32(out + 24, h->frame_sum.s0);
	put_host32(out + 28, h->frame_sum.s1);
	memcpy(out + 32, h->salt, sizeof h->salt);
	struct wal_sum sum = wal_checksum((struct wal_sum){ 0, 0 }, HOST_BIG_ENDIAN, out, 40);
	put_host32(out + 40, sum.s0);
	put_host32(out + 44, sum.s1);
}
