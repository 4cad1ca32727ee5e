/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading an object: see frame.h.
 *
 *   1. Open it and read ahead; the frame header is at the front of what came.
 *   2. For each block: its size word from the bytes read ahead, then its bytes, the larger part straight into
 * the buffer of the caller. A small object costs one read.
 *   3. At the end mark: the content checksum. Verifying it is up to the caller, who has the plain bytes. What
 * lies behind it is ignored, as the original does.
 *
 * Failure: an object that ends before its end mark is cut off (ERR_DAMAGED) wherever that happens. Errors about
 * the bytes carry the key; those of the store are passed on as they are. */
#include "restore/frame.h"

#include <assert.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "restore/stop.h"

enum { AHEAD_BYTES = 64 << 10 };
#define BLOCK_PLAIN 0x80000000u
static const char age_begin[] = "age-encryption.org/";

int frame_init(struct frame_reader *r, struct store *s, struct progress *progress, struct err *e)
{
	*r = (struct frame_reader){ .store = s, .progress = progress };
	r->ahead = malloc(AHEAD_BYTES);
	return r->ahead ? 0 : err_set(e, ERR_FAIL, "no memory to read objects");
}

void frame_free(struct frame_reader *r)
{
	frame_close(r);
	free(r->ahead);
	r->ahead = NULL;
}

void frame_close(struct frame_reader *r)
{
	if (r->get)
		r->store->ops->get_end(r->get);
	r->get = NULL;
}

/* One read of the store. The count, 0 at the end of the object, or -1. */
static long take_some(struct frame_reader *r, uint8_t *to, size_t n, struct err *e)
{
	if (r->at_end)
		return 0;
	if (stop_check(e) < 0)
		return -1;
	long got = r->store->ops->get_read(r->get, to, n, e);
	if (got < 0)
		return -1;
	r->at_end = got == 0;
	r->stored_bytes += (uint64_t)got;
	progress_add(r->progress, (uint64_t)got);
	return got;
}

/* More bytes behind those that are read ahead. The count, 0: none are left, -1. */
static long look_further(struct frame_reader *r, struct err *e)
{
	if (r->at > 0) {
		memmove(r->ahead, r->ahead + r->at, r->n - r->at);
		r->n -= r->at;
		r->at = 0;
	}
	assert(r->n < AHEAD_BYTES);
	long got = take_some(r, r->ahead + r->n, AHEAD_BYTES - r->n, e);
	if (got > 0)
		r->n += (size_t)got;
	return got;
}

static int cut_off(const struct frame_reader *r, struct err *e)
{
	if (r->stored_bytes == 0)
		return err_set(e, ERR_DAMAGED, "%s: the object is empty (0 bytes)", r->key);
	return err_set(e, ERR_DAMAGED,
		       "%s: the object is cut off: it ends after %" PRIu64
		       " bytes, before the end mark of its LZ4 frame",
		       r->key, r->stored_bytes);
}

static int begin(struct frame_reader *r, const char *key, struct err *e)
{
	frame_close(r);
	r->key = key;
	r->at = r->n = 0;
	r->at_end = false;
	r->stored_bytes = 0;
	if (stop_check(e) < 0)
		return -1;
	return r->store->ops->get_begin(r->store, key, 0, &r->get, e);
}

/* The bytes are not a frame that we read, or (kind ERR_DAMAGED or not) say why in our own words. */
static int header_error(struct frame_reader *r, struct err *e)
{
	size_t n = sizeof age_begin - 1;
	if (r->n >= n && memcmp(r->ahead, age_begin, n) == 0)
		return err_set(e, ERR_CONFIG,
			       "%s: the object is encrypted (age) and cannot be read without its key. Name the "
			       "file of "
			       "the key with -identity FILE, or configure it as age.identities of the replica",
			       r->key);
	return err_wrap(e, "%s", r->key);
}

int frame_open(struct frame_reader *r, const char *key, struct err *e)
{
	if (begin(r, key, e) < 0)
		return -1;
	for (;;) {
		int rc = r->n == 0 ? 0 : segment_frame_parse((struct span){ r->ahead, r->n }, &r->head, e);
		if (rc < 0)
			return header_error(r, e);
		if (rc > 0)
			break;
		if (r->n == AHEAD_BYTES)
			return 0; /* a large skippable frame stands before it */
		long got = look_further(r, e);
		if (got < 0)
			return -1;
		if (got == 0)
			return cut_off(r, e);
	}
	r->at = r->head.header_bytes;
	return r->head.independent && !r->head.block_sums && r->head.block_max_bytes <= SEGMENT_BLOCK_BYTES ? 1
													    : 0;
}

/* Exactly n bytes. */
static int take(struct frame_reader *r, uint8_t *to, size_t n, struct err *e)
{
	while (n > 0) {
		size_t there = r->n - r->at;
		if (there > 0) {
			size_t some = there < n ? there : n;
			memcpy(to, r->ahead + r->at, some);
			r->at += some;
			to += some;
			n -= some;
			continue;
		}
		long got = n >= AHEAD_BYTES ? take_some(r, to, n, e) : look_further(r, e);
		if (got < 0)
			return -1;
		if (got == 0)
			return cut_off(r, e);
		if (n >= AHEAD_BYTES) {
			to += got;
			n -= (size_t)got;
		}
	}
	return 0;
}

int frame_next(struct frame_reader *r, uint8_t *into, struct frame_block *ret, uint32_t *ret_sum, struct err *e)
{
	uint8_t word[4];
	if (take(r, word, sizeof word, e) < 0)
		return -1;
	uint32_t v = get_le32(word), n = v & ~BLOCK_PLAIN;
	if (v == 0) {
		if (r->head.content_sum && take(r, word, sizeof word, e) < 0)
			return -1;
		*ret_sum = get_le32(word);
		return 0;
	}
	if (n > r->head.block_max_bytes)
		return err_set(e, ERR_DAMAGED,
			       "%s: damaged LZ4 block: %" PRIu32 " bytes are more than a block holds", r->key,
			       n);
	if (take(r, into, n, e) < 0)
		return -1;
	*ret = (struct frame_block){ into, n, (v & BLOCK_PLAIN) != 0 };
	return 1;
}

int frame_decode(const struct frame_block *b, uint8_t *to, size_t cap)
{
	if (!b->plain)
		return LZ4_decompress_safe((const char *)b->p, (char *)to, (int)b->n, (int)cap);
	if (b->n > cap)
		return -1;
	if (b->n > 0)
		memcpy(to, b->p, b->n);
	return (int)b->n;
}

int frame_bad_block(const char *key, uint64_t plain_bytes, struct err *e)
{
	return err_set(e, ERR_DAMAGED, "%s: damaged LZ4 block after %" PRIu64 " bytes of data", key,
		       plain_bytes);
}

int frame_bad_sum(const char *key, uint64_t plain_bytes, struct err *e)
{
	return err_set(e, ERR_DAMAGED,
		       "%s: content checksum does not fit: the %" PRIu64 " bytes of data are damaged", key,
		       plain_bytes);
}

int frame_bad_size(const char *key, const struct segment_frame *f, uint64_t plain_bytes, struct err *e)
{
	return err_set(e, ERR_DAMAGED,
		       "%s: content size of the LZ4 frame is wrong: its header says %" PRIu64
		       " bytes, it holds %" PRIu64,
		       key, f->content_bytes, plain_bytes);
}

static int stream_all(struct frame_reader *r, struct segment_reader *lz4, struct err *e)
{
	for (;;) {
		r->at = r->n = 0;
		long got = look_further(r, e);
		if (got < 0)
			return -1;
		int rc = got == 0 ? segment_read_end(lz4, e)
				  : segment_read(lz4, (struct span){ r->ahead, r->n }, e);
		if (rc < 0)
			return e->kind == ERR_DAMAGED ? header_error(r, e) : -1;
		if (got == 0)
			return 0;
	}
}

int frame_stream(struct frame_reader *r, const char *key, segment_sink *sink, void *arg, struct err *e)
{
	if (begin(r, key, e) < 0)
		return -1;
	struct segment_reader *lz4 = segment_reader_new(sink, arg);
	if (!lz4)
		return err_set(e, ERR_FAIL, "no memory to decompress");
	int rc = stream_all(r, lz4, e);
	segment_reader_free(lz4);
	frame_close(r);
	return rc;
}
