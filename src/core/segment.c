/* SPDX-License-Identifier: Apache-2.0
 *
 * A segment or snapshot object: one LZ4 frame (LZ4 Frame Format 1.6.x). Numbers are little-endian.
 *
 *   04 22 4d 18                 magic
 *   64                          version 1, independent blocks, no block checksums, no size, content checksum
 *   70                          largest block: id 7, 4 MiB
 *   b9                          header checksum: second byte of XXH32 of the two bytes before
 *   blocks                      word: stored size, top bit set if the bytes are plain; then the bytes
 *   00 00 00 00                 end mark
 *   XXH32, seed 0               of all plain bytes
 *
 * Written: exactly the header above, blocks cut at 4 MiB of plain data (the last one where the data ends),
 * plain bytes where compression would not make them fewer.
 *
 * Read, beyond that: skippable frames in front, block ids 4 to 7, linked blocks (matches may reach 64 KiB back
 * into the blocks before), blocks of length zero (0.3.13 writes one when a file is a multiple of 4 MiB), a
 * content size, which must then be true, block checksums if they are right (0.3.13's library makes them of the
 * wrong bytes, so its users never have them), no content checksum. What lies behind the frame is ignored, as
 * the original does. Refused: dictionaries, other versions, reserved bits, the old LZ4 format.
 *
 * The frame is made and walked here, only the blocks are liblz4's work. Its frame calls would do, but as
 * distributions build it the XXH32 inside is several times slower than libxxhash's: 0.8 GB/s of plain bytes
 * written and 1.3 read, where this gets 1.2 and 2.9 (Debian 12, one core). And LZ4F_compressFrame chooses a
 * smaller block size id for small input.
 *
 * Writer: whole 4 MiB pieces of the caller's bytes are compressed where they are; what is left over is gathered
 * in a buffer that grows with it, so a small segment costs a small buffer. Large buffers go at segment_finish.
 *
 * Walk (reader and splicer): head, then block by block. A piece that lies whole in the caller's bytes is used
 * there, else gathered. Each block comes out stored and plain: the reader hands on the plain bytes, the splicer
 * makes its new checksum of them and copies the stored ones. Only linked blocks, which nobody but strangers
 * writes, are compressed again.
 *
 * Failure: every deviation has its own sentence (kind ERR_DAMAGED); the caller adds the name of the object.
 * What failed stays failed until it is reset or finished; what it has given to the sink is then worthless. */
#include "core/segment.h"

#include <assert.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
	BUFFER_KEEP_BYTES = 32 << 10, /* buffers up to this stay when a segment is finished */
	HISTORY_BYTES = 64 << 10,     /* how far a match may reach back */
	FRAME_HEADER_MIN = 7,
	FRAME_HEADER_MAX = 19,
	SKIPPABLE_HEADER = 8,
	HEAD_BYTES = 32,		       /* enough to tell an age file from other strangers */
	ROOM_BYTES = SEGMENT_BLOCK_BYTES + 64, /* a block with what stands before and behind it */
};

#define FRAME_MAGIC 0x184d2204u
#define LEGACY_MAGIC 0x184c2102u
#define SKIPPABLE_MAGIC 0x184d2a50u /* to ...5f */
#define BLOCK_PLAIN 0x80000000u

const uint8_t segment_header[SEGMENT_HEADER_BYTES] = { 0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9 };
static const char age_begin[] = "age-encryption.org/v1";
static_assert(sizeof age_begin <= HEAD_BYTES, "the head buffer takes what tells an age file");
static_assert(FRAME_HEADER_MAX <= HEAD_BYTES, "the head buffer takes any frame header");

/* A buffer whose pages are touched only as far as they are used. */
struct room {
	uint8_t *p;
	size_t cap;
};

/* Room for n bytes; the first `keep` bytes stay. What is gathered grows by doubling: it stays linear. */
static int room_grow(struct room *r, size_t n, size_t keep, struct err *e)
{
	if (n <= r->cap)
		return 0;
	size_t cap = r->cap * 2 < ROOM_BYTES ? r->cap * 2 : ROOM_BYTES;
	if (keep == 0 || cap < n)
		cap = n;
	uint8_t *p = malloc(cap);
	if (!p)
		return err_set(e, ERR_FAIL, "no memory for a buffer of %zu bytes", cap);
	if (keep > 0)
		memcpy(p, r->p, keep);
	free(r->p);
	*r = (struct room){ p, cap };
	return 0;
}

static void room_free(struct room *r)
{
	free(r->p);
	*r = (struct room){ 0 };
}

/* ---- blocks, outward ---- */

struct out {
	segment_sink *sink;
	void *arg;
	struct room packed;
	void *lz4; /* state of the compressor */
	XXH32_state_t *sum;
};

static int out_init(struct out *o, segment_sink *sink, void *arg)
{
	*o = (struct out){
		.sink = sink, .arg = arg, .lz4 = malloc((size_t)LZ4_sizeofState()), .sum = XXH32_createState()
	};
	if (!o->lz4 || !o->sum)
		return -1;
	XXH32_reset(o->sum, 0);
	return 0;
}

static void out_free(struct out *o)
{
	free(o->lz4);
	XXH32_freeState(o->sum);
	room_free(&o->packed);
}

static int out_give(struct out *o, const void *p, size_t n, struct err *e)
{
	return o->sink(o->arg, (struct span){ p, n }, e) == 0 ? 0 : -1;
}

/* A block as it is stored, behind its size word. */
static int out_stored(struct out *o, uint32_t word, struct span bytes, struct err *e)
{
	uint8_t head[4];
	put_le32(head, word);
	return out_give(o, head, sizeof head, e) < 0 ? -1 : out_give(o, bytes.p, bytes.n, e);
}

/* A block of plain bytes, compressed unless that does not make them fewer. */
static int out_plain(struct out *o, struct span plain, struct err *e)
{
	assert(plain.n > 0 && plain.n <= SEGMENT_BLOCK_BYTES);
	if (room_grow(&o->packed, 4 + plain.n, 0, e) < 0)
		return -1;
	int size = (int)plain.n, packed = 0;
	if (size > 1)
		packed = LZ4_compress_fast_extState(o->lz4, (const char *)plain.p, (char *)o->packed.p + 4,
						    size, size - 1, 1);
	if (packed <= 0)
		return out_stored(o, (uint32_t)size | BLOCK_PLAIN, plain, e);
	put_le32(o->packed.p, (uint32_t)packed);
	return out_give(o, o->packed.p, 4 + (size_t)packed, e);
}

static int out_header(struct out *o, struct err *e)
{
	XXH32_reset(o->sum, 0);
	return out_give(o, segment_header, sizeof segment_header, e);
}

static int out_trailer(struct out *o, struct err *e)
{
	uint8_t end[SEGMENT_TRAILER_BYTES] = { 0 };
	put_le32(end + 4, XXH32_digest(o->sum));
	return out_give(o, end, sizeof end, e);
}

/* ---- writer ---- */

struct segment_writer {
	struct out out;
	bool begun, failed;
	struct room in;
	size_t in_n; /* bytes gathered, always less than a block between calls */
};

struct segment_writer *segment_writer_new(segment_sink *sink, void *arg)
{
	struct segment_writer *w = calloc(1, sizeof *w);
	if (w && out_init(&w->out, sink, arg) < 0) {
		segment_writer_free(w);
		return NULL;
	}
	return w;
}

void segment_writer_free(struct segment_writer *w)
{
	if (!w)
		return;
	out_free(&w->out);
	room_free(&w->in);
	free(w);
}

void segment_writer_reset(struct segment_writer *w)
{
	w->begun = w->failed = false;
	w->in_n = 0;
	if (w->in.cap > BUFFER_KEEP_BYTES)
		room_free(&w->in);
	if (w->out.packed.cap > BUFFER_KEEP_BYTES)
		room_free(&w->out.packed);
}

static int writer_begin(struct segment_writer *w, struct err *e)
{
	if (w->begun)
		return 0;
	w->begun = true;
	return out_header(&w->out, e);
}

static int writer_block(struct segment_writer *w, const uint8_t *p, size_t n, struct err *e)
{
	XXH32_update(w->out.sum, p, n);
	return out_plain(&w->out, (struct span){ p, n }, e);
}

/* Adds bytes to the block that is being gathered; a full one is written. */
static int writer_gather(struct segment_writer *w, const uint8_t *p, size_t n, struct err *e)
{
	if (room_grow(&w->in, w->in_n + n, w->in_n, e) < 0)
		return -1;
	memcpy(w->in.p + w->in_n, p, n);
	w->in_n += n;
	if (w->in_n < SEGMENT_BLOCK_BYTES)
		return 0;
	w->in_n = 0;
	return writer_block(w, w->in.p, SEGMENT_BLOCK_BYTES, e);
}

static int writer_take(struct segment_writer *w, struct span plain, struct err *e)
{
	if (writer_begin(w, e) < 0)
		return -1;
	while (plain.n > 0) {
		size_t n = SEGMENT_BLOCK_BYTES - w->in_n;
		bool direct = w->in_n == 0 && plain.n >= n;
		if (n > plain.n)
			n = plain.n;
		int rc = direct ? writer_block(w, plain.p, n, e) : writer_gather(w, plain.p, n, e);
		if (rc < 0)
			return -1;
		plain.p += n;
		plain.n -= n;
	}
	return 0;
}

int segment_write(struct segment_writer *w, struct span plain, struct err *e)
{
	if (w->failed)
		return err_set(e, ERR_FAIL, "the segment failed before");
	if (writer_take(w, plain, e) < 0) {
		w->failed = true;
		return -1;
	}
	return 0;
}

static int writer_end(struct segment_writer *w, struct err *e)
{
	if (w->failed)
		return err_set(e, ERR_FAIL, "the segment failed before");
	if (writer_begin(w, e) < 0)
		return -1;
	if (w->in_n > 0 && writer_block(w, w->in.p, w->in_n, e) < 0)
		return -1;
	return out_trailer(&w->out, e);
}

int segment_finish(struct segment_writer *w, struct err *e)
{
	int rc = writer_end(w, e);
	segment_writer_reset(w);
	return rc;
}

/* ---- frame header ---- */

static int not_a_frame(struct span in, struct err *e)
{
	size_t n = in.n < sizeof age_begin - 1 ? in.n : sizeof age_begin - 1;
	if (memcmp(in.p, age_begin, n) == 0) {
		if (n < sizeof age_begin - 1)
			return 0;
		return err_set(e, ERR_DAMAGED,
			       "the object is encrypted (age); it cannot be read without its key");
	}
	if (get_le32(in.p) == LEGACY_MAGIC)
		return err_set(e, ERR_DAMAGED, "the object is in the old LZ4 format, which is not supported");
	return err_set(e, ERR_DAMAGED, "not an LZ4 frame: the object begins with %02x %02x %02x %02x", in.p[0],
		       in.p[1], in.p[2], in.p[3]);
}

/* What the two descriptor bytes demand. */
static int descriptor_check(uint8_t flg, uint8_t bd, struct err *e)
{
	if (flg >> 6 != 1)
		return err_set(e, ERR_DAMAGED, "LZ4 frame of version %d, only version 1 is known", flg >> 6);
	if ((flg & 0x02) || (bd & 0x8f))
		return err_set(e, ERR_DAMAGED, "LZ4 frame header with reserved bits set (%02x %02x)", flg, bd);
	if (flg & 0x01)
		return err_set(e, ERR_DAMAGED, "LZ4 frame that needs a dictionary, which is not supported");
	if (bd >> 4 < 4)
		return err_set(e, ERR_DAMAGED, "LZ4 frame with the unknown block size id %d", bd >> 4);
	return 0;
}

/* One frame header at in.p. 1: parsed; 2: a skippable frame of *ret_skip bytes, its header included; 0: needs
 * more. */
static int header_parse(struct span in, struct segment_frame *ret, uint64_t *ret_skip, struct err *e)
{
	if (in.n < 4)
		return 0;
	uint32_t word = get_le32(in.p);
	if ((word & ~0xfu) == SKIPPABLE_MAGIC) {
		if (in.n < SKIPPABLE_HEADER)
			return 0;
		*ret_skip = SKIPPABLE_HEADER + (uint64_t)get_le32(in.p + 4);
		return 2;
	}
	if (word != FRAME_MAGIC)
		return not_a_frame(in, e);
	if (in.n < FRAME_HEADER_MIN)
		return 0;
	uint8_t flg = in.p[4], bd = in.p[5];
	size_t n = FRAME_HEADER_MIN + (flg & 0x08 ? 8u : 0u) + (flg & 0x01 ? 4u : 0u);
	if (in.n < n)
		return 0;
	if ((XXH32(in.p + 4, n - 5, 0) >> 8 & 0xff) != in.p[n - 1])
		return err_set(e, ERR_DAMAGED, "LZ4 frame header is damaged: its checksum does not fit");
	if (descriptor_check(flg, bd, e) < 0)
		return -1;
	*ret = (struct segment_frame){
		.block_max_bytes = 1u << (8 + 2 * (bd >> 4)),
		.independent = (flg & 0x20) != 0,
		.block_sums = (flg & 0x10) != 0,
		.content_size = (flg & 0x08) != 0,
		.content_sum = (flg & 0x04) != 0,
		.header_bytes = n,
	};
	if (ret->content_size)
		ret->content_bytes = get_le32(in.p + 6) | (uint64_t)get_le32(in.p + 10) << 32;
	return 1;
}

int segment_frame_parse(struct span in, struct segment_frame *ret, struct err *e)
{
	size_t skipped = 0;
	for (;;) {
		uint64_t skip = 0;
		struct segment_frame f;
		int rc = header_parse((struct span){ in.p + skipped, in.n - skipped }, &f, &skip, e);
		if (rc == 1) {
			f.header_bytes += skipped;
			*ret = f;
		}
		if (rc != 2)
			return rc;
		if (skip > in.n - skipped)
			return 0;
		skipped += (size_t)skip;
	}
}

/* The beginning of an object that comes in pieces: skippable frames and the frame header, which is small. */
struct head {
	uint8_t buf[HEAD_BYTES];
	size_t n;
	uint64_t skip; /* bytes of a skippable frame still to come */
};

/* Takes from *in what belongs to the head. 1: the frame header is complete, its bytes are in h->buf, *in is
 * behind it; 0: *in is used up; -1. */
static int head_feed(struct head *h, struct span *in, struct segment_frame *ret, struct err *e)
{
	while (in->n > 0) {
		if (h->skip > 0) {
			size_t n = h->skip < in->n ? (size_t)h->skip : in->n;
			h->skip -= n;
			in->p += n;
			in->n -= n;
			continue;
		}
		assert(h->n < HEAD_BYTES);
		h->buf[h->n++] = *in->p++;
		in->n--;
		uint64_t skip = 0;
		int rc = header_parse((struct span){ h->buf, h->n }, ret, &skip, e);
		if (rc == 1 || rc == -1)
			return rc;
		if (rc == 2) {
			h->skip = skip - SKIPPABLE_HEADER;
			h->n = 0;
		}
	}
	return 0;
}

/* What is wrong with an object that ended at this stage. */
static int cut_off(bool in_body, uint64_t stored, uint64_t plain, struct err *e)
{
	if (stored == 0)
		return err_set(e, ERR_DAMAGED, "the object is empty (0 bytes)");
	if (!in_body)
		return err_set(e, ERR_DAMAGED,
			       "the object is cut off: it ends after %" PRIu64
			       " bytes, inside the LZ4 frame header",
			       stored);
	return err_set(e, ERR_DAMAGED,
		       "the object is cut off: the end mark is missing after %" PRIu64 " bytes (%" PRIu64
		       " bytes of data)",
		       stored, plain);
}

static int content_size_check(const struct segment_frame *f, uint64_t plain, struct err *e)
{
	if (!f->content_size || f->content_bytes == plain)
		return 0;
	return err_set(e, ERR_DAMAGED,
		       "content size of the LZ4 frame is wrong: its header says %" PRIu64
		       " bytes, it holds %" PRIu64,
		       f->content_bytes, plain);
}

/* ---- walk ---- */

enum stage { STAGE_HEAD, STAGE_WORD, STAGE_BLOCK, STAGE_SUM, STAGE_DONE };

struct walk {
	enum stage stage;
	struct head head;
	struct segment_frame frame;
	uint64_t stored, plain; /* bytes so far */
	uint64_t behind;	/* of the stored ones: behind the end of the frame */
	uint32_t word;		/* of the current block */
	struct room carry;	/* gathers a piece that does not come whole */
	size_t carry_n;
	struct room room; /* the block decompressed; with linked blocks behind the end of those before */
	size_t history_n;
	XXH32_state_t *sum;
};

/* Receives each block that holds something: word and stored bytes, and the plain bytes. */
typedef int walk_fn(void *arg, struct walk *w, struct span stored, struct span plain, struct err *e);

static int walk_init(struct walk *w)
{
	w->sum = XXH32_createState();
	return w->sum ? 0 : -1;
}

static void walk_free(struct walk *w)
{
	XXH32_freeState(w->sum);
	room_free(&w->carry);
	room_free(&w->room);
}

static void walk_reset(struct walk *w)
{
	w->stage = STAGE_HEAD;
	w->head = (struct head){ 0 };
	w->stored = w->plain = w->behind = 0;
	w->carry_n = w->history_n = 0;
}

static int damaged_block(const struct walk *w, struct err *e)
{
	return err_set(e, ERR_DAMAGED, "damaged LZ4 block after %" PRIu64 " bytes of data", w->plain);
}

/* The next n bytes as one piece: borrowed from *in if they lie there whole, else gathered. 1: *ret; 0: *in is
 * used up. */
static int piece_take(struct walk *w, struct span *in, size_t n, struct span *ret, struct err *e)
{
	if (w->carry_n == 0 && in->n >= n) {
		*ret = (struct span){ in->p, n };
		in->p += n;
		in->n -= n;
		return 1;
	}
	size_t more = n - w->carry_n < in->n ? n - w->carry_n : in->n;
	if (more == 0)
		return 0;
	if (room_grow(&w->carry, w->carry_n + more, w->carry_n, e) < 0)
		return -1;
	memcpy(w->carry.p + w->carry_n, in->p, more);
	w->carry_n += more;
	in->p += more;
	in->n -= more;
	if (w->carry_n < n)
		return 0;
	w->carry_n = 0;
	*ret = (struct span){ w->carry.p, n };
	return 1;
}

/* The plain bytes of a linked block: what came before lies in front of them, 64 KiB of it at most. */
static int block_unpack_linked(struct walk *w, struct span stored, struct span *ret, struct err *e)
{
	if (room_grow(&w->room, HISTORY_BYTES + SEGMENT_BLOCK_BYTES, w->history_n, e) < 0)
		return -1;
	uint8_t *to = w->room.p + w->history_n;
	int n = (int)stored.n;
	if (w->word & BLOCK_PLAIN)
		memcpy(to, stored.p, stored.n);
	else
		n = LZ4_decompress_safe_usingDict((const char *)stored.p, (char *)to, n,
						  (int)w->frame.block_max_bytes, (const char *)w->room.p,
						  (int)w->history_n);
	if (n < 0)
		return damaged_block(w, e);
	*ret = (struct span){ to, (size_t)n };
	return 0;
}

/* Keeps the end of what was unpacked for the next linked block. */
static void history_keep(struct walk *w, size_t n)
{
	size_t all = w->history_n + n, keep = all < HISTORY_BYTES ? all : HISTORY_BYTES;
	memmove(w->room.p, w->room.p + all - keep, keep);
	w->history_n = keep;
}

static int block_unpack(struct walk *w, struct span stored, struct span *ret, struct err *e)
{
	if (!w->frame.independent)
		return block_unpack_linked(w, stored, ret, e);
	if (w->word & BLOCK_PLAIN) {
		*ret = stored;
		return 0;
	}
	if (room_grow(&w->room, w->frame.block_max_bytes, 0, e) < 0)
		return -1;
	int n = LZ4_decompress_safe((const char *)stored.p, (char *)w->room.p, (int)stored.n,
				    (int)w->frame.block_max_bytes);
	if (n < 0)
		return damaged_block(w, e);
	*ret = (struct span){ w->room.p, (size_t)n };
	return 0;
}

/* A whole block, with its checksum behind it if the frame has them. */
static int block_take(struct walk *w, struct span piece, walk_fn *fn, void *arg, struct err *e)
{
	struct span stored = { piece.p, w->word & ~BLOCK_PLAIN }, plain;
	w->stage = STAGE_WORD;
	if (w->frame.block_sums && XXH32(stored.p, stored.n, 0) != get_le32(stored.p + stored.n))
		return err_set(e, ERR_DAMAGED, "block checksum does not fit after %" PRIu64 " bytes of data",
			       w->plain);
	if (stored.n == 0)
		return 0;
	if (block_unpack(w, stored, &plain, e) < 0)
		return -1;
	if (plain.n == 0)
		return 0;
	if (w->frame.content_sum)
		XXH32_update(w->sum, plain.p, plain.n);
	w->plain += plain.n;
	if (w->frame.content_size && w->plain > w->frame.content_bytes)
		return content_size_check(&w->frame, w->plain, e);
	if (fn(arg, w, stored, plain, e) < 0)
		return -1;
	if (!w->frame.independent)
		history_keep(w, plain.n);
	return 0;
}

/* The size word of a block, or the end mark. */
static int word_take(struct walk *w, uint32_t word, struct err *e)
{
	w->word = word;
	if (word == 0) {
		w->stage = w->frame.content_sum ? STAGE_SUM : STAGE_DONE;
		return content_size_check(&w->frame, w->plain, e);
	}
	if ((word & ~BLOCK_PLAIN) > w->frame.block_max_bytes)
		return err_set(e, ERR_DAMAGED,
			       "damaged LZ4 block after %" PRIu64
			       " bytes of data: a size of %u bytes is impossible",
			       w->plain, word & ~BLOCK_PLAIN);
	w->stage = STAGE_BLOCK;
	return 0;
}

static int sum_take(struct walk *w, uint32_t sum, struct err *e)
{
	w->stage = STAGE_DONE;
	if (sum == XXH32_digest(w->sum))
		return 0;
	return err_set(e, ERR_DAMAGED,
		       "content checksum does not fit: the %" PRIu64 " bytes of data are damaged", w->plain);
}

static int walk_feed(struct walk *w, struct span in, walk_fn *fn, void *arg, struct err *e)
{
	w->stored += in.n;
	if (w->stage == STAGE_HEAD) {
		int rc = head_feed(&w->head, &in, &w->frame, e);
		if (rc < 0)
			return -1;
		if (rc == 1) {
			XXH32_reset(w->sum, 0);
			w->stage = STAGE_WORD;
		}
	}
	while (w->stage == STAGE_WORD || w->stage == STAGE_BLOCK || w->stage == STAGE_SUM) {
		size_t n = 4;
		if (w->stage == STAGE_BLOCK)
			n = (w->word & ~BLOCK_PLAIN) + (w->frame.block_sums ? 4u : 0u);
		struct span piece;
		int rc = piece_take(w, &in, n, &piece, e);
		if (rc == 1 && w->stage == STAGE_WORD)
			rc = word_take(w, get_le32(piece.p), e) < 0 ? -1 : 1;
		else if (rc == 1 && w->stage == STAGE_BLOCK)
			rc = block_take(w, piece, fn, arg, e) < 0 ? -1 : 1;
		else if (rc == 1)
			rc = sum_take(w, get_le32(piece.p), e) < 0 ? -1 : 1;
		if (rc != 1)
			return rc;
	}
	if (w->stage == STAGE_DONE)
		w->behind += in.n;
	return 0;
}

static int walk_end(const struct walk *w, struct err *e)
{
	return w->stage == STAGE_DONE ? 0 : cut_off(w->stage != STAGE_HEAD, w->stored, w->plain, e);
}

/* ---- reader ---- */

struct segment_reader {
	segment_sink *sink;
	void *arg;
	bool failed;
	struct walk walk;
};

struct segment_reader *segment_reader_new(segment_sink *sink, void *arg)
{
	struct segment_reader *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	r->sink = sink;
	r->arg = arg;
	if (walk_init(&r->walk) < 0) {
		free(r);
		return NULL;
	}
	return r;
}

void segment_reader_free(struct segment_reader *r)
{
	if (!r)
		return;
	walk_free(&r->walk);
	free(r);
}

void segment_reader_reset(struct segment_reader *r)
{
	walk_reset(&r->walk);
	r->failed = false;
}

uint64_t segment_behind_bytes(const struct segment_reader *r)
{
	return r->walk.behind;
}

uint64_t segment_plain_bytes(const struct segment_reader *r)
{
	return r->walk.plain;
}

static int reader_block(void *arg, struct walk *w, struct span stored, struct span plain, struct err *e)
{
	struct segment_reader *r = arg;
	(void)w;
	(void)stored;
	return r->sink(r->arg, plain, e) == 0 ? 0 : -1;
}

int segment_read(struct segment_reader *r, struct span stored, struct err *e)
{
	if (r->failed)
		return err_set(e, ERR_FAIL, "the object failed before");
	if (walk_feed(&r->walk, stored, reader_block, r, e) < 0) {
		r->failed = true;
		return -1;
	}
	return 0;
}

int segment_read_end(struct segment_reader *r, struct err *e)
{
	if (r->failed)
		return err_set(e, ERR_FAIL, "the object failed before");
	return walk_end(&r->walk, e);
}

/* ---- splicer ---- */

struct segment_splicer {
	struct out out;
	struct walk walk;
	bool begun, failed;
	uint64_t plain; /* of all sources */
};

struct segment_splicer *segment_splicer_new(segment_sink *sink, void *arg)
{
	struct segment_splicer *s = calloc(1, sizeof *s);
	if (s && (out_init(&s->out, sink, arg) < 0 || walk_init(&s->walk) < 0)) {
		segment_splicer_free(s);
		return NULL;
	}
	return s;
}

void segment_splicer_free(struct segment_splicer *s)
{
	if (!s)
		return;
	out_free(&s->out);
	walk_free(&s->walk);
	free(s);
}

uint64_t segment_splice_plain_bytes(const struct segment_splicer *s)
{
	return s->plain;
}

static int splicer_block(void *arg, struct walk *w, struct span stored, struct span plain, struct err *e)
{
	struct segment_splicer *s = arg;
	XXH32_update(s->out.sum, plain.p, plain.n);
	s->plain += plain.n;
	return w->frame.independent ? out_stored(&s->out, w->word, stored, e) : out_plain(&s->out, plain, e);
}

static int splicer_begin(struct segment_splicer *s, struct err *e)
{
	if (s->begun)
		return 0;
	s->begun = true;
	return out_header(&s->out, e);
}

int segment_splice(struct segment_splicer *s, struct span stored, struct err *e)
{
	if (s->failed)
		return err_set(e, ERR_FAIL, "the splice failed before");
	if (splicer_begin(s, e) < 0 || walk_feed(&s->walk, stored, splicer_block, s, e) < 0) {
		s->failed = true;
		return -1;
	}
	return 0;
}

int segment_splice_next(struct segment_splicer *s, struct err *e)
{
	if (s->failed)
		return err_set(e, ERR_FAIL, "the splice failed before");
	int rc = walk_end(&s->walk, e);
	s->failed = rc < 0;
	walk_reset(&s->walk);
	return rc;
}

static int splicer_end(struct segment_splicer *s, struct err *e)
{
	if (s->failed)
		return err_set(e, ERR_FAIL, "the splice failed before");
	if (s->walk.stored > 0)
		return err_set(e, ERR_FAIL, "the last object of the splice is not complete");
	return splicer_begin(s, e) < 0 ? -1 : out_trailer(&s->out, e);
}

int segment_splice_finish(struct segment_splicer *s, struct err *e)
{
	int rc = splicer_end(s, e);
	s->begun = s->failed = false;
	s->plain = 0;
	walk_reset(&s->walk);
	return rc;
}
