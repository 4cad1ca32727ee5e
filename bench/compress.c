/* SPDX-License-Identifier: Apache-2.0
 *
 * compress -rounds N -segment-kb K: capture and compression on one core, against liblz4 alone on the same
 * bytes.
 *
 *   1. 128 MiB of WAL in memory: realistic pages, a valid chain.
 *   2. Ours: verify every frame (wal_chain_run) and compress (segment_write), in segments of K KiB.
 *      Theirs: LZ4F_compressBegin/Update/End with the same preferences (4 MiB independent blocks, content
 * checksum).
 *   3. Both in turn, N rounds, each to a buffer that is thrown away. One line a round: ours_mb_s=, lz4_mb_s=.
 */
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test/tools/pages.h"
#include "base/clock.h"
#include "core/segment.h"
#include "core/wal.h"

enum { WAL_BYTES = 128 << 20, PAGE_BYTES = 4096 };

struct bench {
	uint8_t *wal, *out;
	size_t wal_n, out_cap, out_n;
	size_t segment_bytes;
	struct segment_writer *writer;
	LZ4F_cctx *lz4;
};

static void make_wal(struct bench *b)
{
	struct wal_header h = { .page_bytes = PAGE_BYTES };
	uint64_t rng = 7;
	wal_header_write(b->wal, &h);
	struct wal_sum sum = { get_be32(b->wal + 24), get_be32(b->wal + 28) };
	size_t frame = wal_frame_bytes(PAGE_BYTES);
	for (b->wal_n = WAL_HEADER_BYTES; b->wal_n + frame <= WAL_BYTES; b->wal_n += frame) {
		uint8_t *f = b->wal + b->wal_n;
		put_be32(f, 1 + (uint32_t)(pages_random(&rng) % 10000));
		put_be32(f + 4, 10000);
		pages_fill(f + WAL_FRAME_HEADER_BYTES, PAGE_BYTES, &rng);
		sum = wal_checksum(sum, false, f, 8);
		sum = wal_checksum(sum, false, f + WAL_FRAME_HEADER_BYTES, PAGE_BYTES);
		put_be32(f + 16, sum.s0);
		put_be32(f + 20, sum.s1);
	}
}

static int keep(void *arg, struct span out, struct err *e)
{
	struct bench *b = arg;
	(void)e;
	if (out.n > b->out_cap - b->out_n)
		b->out_n = 0;
	memcpy(b->out + b->out_n, out.p, out.n);
	b->out_n += out.n;
	return 0;
}

static double ours(struct bench *b)
{
	struct err e = ERR_INIT;
	struct wal_header h;
	int64_t begin_us = mono_us();
	if (wal_header_parse((struct span){ b->wal, b->wal_n }, &h) != WAL_OK)
		exit(1);
	struct wal_chain chain = wal_chain_start(&h);
	for (size_t at = WAL_HEADER_BYTES, n; at < b->wal_n; at += n) {
		size_t good = 0;
		n = b->wal_n - at < b->segment_bytes ? b->wal_n - at : b->segment_bytes;
		struct span in = { b->wal + at, n };
		wal_chain_run(&chain, in, NULL, NULL, &good);
		b->out_n = 0;
		if (good != n || segment_write(b->writer, in, &e) < 0 || segment_finish(b->writer, &e) < 0) {
			fprintf(stderr, "compress: %s\n", good != n ? "the chain is broken" : e.text);
			exit(1);
		}
	}
	return (double)b->wal_n / (double)(mono_us() - begin_us);
}

static double theirs(struct bench *b)
{
	LZ4F_preferences_t prefs = { .frameInfo = { .blockSizeID = LZ4F_max4MB,
						    .blockMode = LZ4F_blockIndependent,
						    .contentChecksumFlag = LZ4F_contentChecksumEnabled } };
	int64_t begin_us = mono_us();
	for (size_t at = WAL_HEADER_BYTES, n; at < b->wal_n; at += n) {
		n = b->wal_n - at < b->segment_bytes ? b->wal_n - at : b->segment_bytes;
		size_t out = LZ4F_compressBegin(b->lz4, b->out, b->out_cap, &prefs);
		for (size_t done = 0, piece, rc; done < n && !LZ4F_isError(out); done += piece, out += rc) {
			piece = n - done < SEGMENT_BLOCK_BYTES ? n - done : SEGMENT_BLOCK_BYTES;
			rc = LZ4F_compressUpdate(b->lz4, b->out + out, b->out_cap - out, b->wal + at + done,
						 piece, NULL);
			if (LZ4F_isError(rc))
				exit(1);
		}
		if (LZ4F_isError(out) ||
		    LZ4F_isError(LZ4F_compressEnd(b->lz4, b->out + out, b->out_cap - out, NULL)))
			exit(1);
	}
	return (double)b->wal_n / (double)(mono_us() - begin_us);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	size_t kb = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	if (!rounds || !kb) {
		fprintf(stderr, "usage: compress -rounds N -segment-kb K\n");
		return 2;
	}
	size_t frame = wal_frame_bytes(PAGE_BYTES);
	struct bench b = { .wal = malloc(WAL_BYTES), .segment_bytes = (kb * 1024 + frame - 1) / frame * frame };
	b.out_cap = b.segment_bytes * 2 + (16 << 20);
	b.out = malloc(b.out_cap);
	b.writer = segment_writer_new(keep, &b);
	if (!b.wal || !b.out || !b.writer || LZ4F_isError(LZ4F_createCompressionContext(&b.lz4, LZ4F_VERSION)))
		return 1;
	make_wal(&b);
	for (unsigned i = 0; i < rounds; i++) {
		double first = i % 2 ? theirs(&b) : ours(&b), second = i % 2 ? ours(&b) : theirs(&b);
		printf("ours_mb_s=%.1f lz4_mb_s=%.1f\n", i % 2 ? second : first, i % 2 ? first : second);
	}
	segment_writer_free(b.writer);
	LZ4F_freeCompressionContext(b.lz4);
	free(b.wal);
	free(b.out);
	return 0;
}
