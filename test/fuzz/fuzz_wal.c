/* SPDX-License-Identifier: Apache-2.0
 *
 * WAL bytes from nowhere. First byte of the input: bit 0 asks for a right header checksum, bit 1 for right
 * salts and frame checksums (else no input would ever get far); bits 2 to 7 are where the rest is split. Then
 * 48 bytes are tried as a WAL index header, and all of it as a WAL. Stepping, running in one go and running in
 * two must agree. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/wal.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int touch(void *arg, const struct wal_frame *f, uint64_t offset)
{
	uint64_t *last = arg;
	assert(offset > *last || *last == 0);
	assert(f->pgno != 0);
	volatile uint8_t sink = f->page[0];
	(void)sink;
	*last = offset;
	return 0;
}

static void make_right(uint8_t *p, size_t n, unsigned what)
{
	struct wal_header h = { .page_bytes = get_be32(p + 8),
				.checkpoint_seq = get_be32(p + 12),
				.big_endian = p[3] & 1 };
	if (!page_bytes_valid(h.page_bytes))
		h.page_bytes = 512;
	memcpy(h.salt, p + 16, 8);
	if (what & 1)
		wal_header_write(p, &h);
	if (!(what & 2) || wal_header_parse((struct span){ p, n }, &h) != WAL_OK)
		return;
	struct wal_sum sum = h.sum;
	size_t step = (size_t)wal_frame_bytes(h.page_bytes);
	for (size_t at = WAL_HEADER_BYTES; n - at >= step; at += step) {
		memcpy(p + at + 8, h.salt, 8);
		sum = wal_checksum(sum, h.big_endian, p + at, 8);
		sum = wal_checksum(sum, h.big_endian, p + at + 24, h.page_bytes);
		put_be32(p + at + 16, sum.s0);
		put_be32(p + at + 20, sum.s1);
	}
}

static void try_index(const uint8_t *p)
{
	struct wal_index x;
	uint8_t copy[WAL_INDEX_HEADER_BYTES];
	memcpy(copy, p, sizeof copy);
	wal_index_parse(copy, &x);
	uint32_t version = WAL_VERSION;
	memcpy(copy, &version, 4);
	copy[12] = 1;
	struct wal_sum sum = wal_checksum((struct wal_sum){ 0, 0 }, HOST_BIG_ENDIAN, copy, 40);
	memcpy(copy + 40, &sum.s0, 4);
	memcpy(copy + 44, &sum.s1, 4);
	if (wal_index_parse(copy, &x))
		assert(page_bytes_valid(x.page_bytes) || (x.page_bytes == 0 && x.mx_frame == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 + WAL_INDEX_HEADER_BYTES)
		return 0;
	unsigned mode = *data;
	size_t n = size - 1, good, first_good, second_good;
	uint8_t *p = malloc(n);
	memcpy(p, data + 1, n);
	try_index(p);
	make_right(p, n, mode);
	struct wal_header h;
	if (wal_header_parse((struct span){ p, n }, &h) == WAL_OK) {
		uint8_t again[WAL_HEADER_BYTES];
		wal_header_write(again, &h);
		assert(memcmp(again, p, sizeof again) == 0);
		struct span body = { p + WAL_HEADER_BYTES, n - WAL_HEADER_BYTES };
		struct wal_chain run = wal_chain_start(&h), step = run, split = run;
		uint64_t last = 0;
		enum wal_check why = wal_chain_run(&run, body, touch, &last, &good);
		struct wal_frame f;
		enum wal_check each;
		while ((each = wal_chain_step(&step, (struct span){ p + step.offset, n - (size_t)step.offset },
					      &f)) == WAL_OK)
			;
		assert(each == why && step.offset == run.offset && run.offset == WAL_HEADER_BYTES + good);
		size_t cut = body.n * (mode >> 2) / 64;
		wal_chain_run(&split, (struct span){ body.p, cut }, NULL, NULL, &first_good);
		body.p += first_good;
		body.n -= first_good;
		wal_chain_run(&split, body, NULL, NULL, &second_good);
		assert(first_good + second_good == good && wal_sum_equal(split.sum, run.sum));
		assert(strlen(wal_check_text(why)) > 0);
	}
	free(p);
	return 0;
}
