/* SPDX-License-Identifier: Apache-2.0
 *
 * live/client: streams of the original (test/golden/live) and of our own making, in pieces of every size, cut
 * at every byte, and with every byte changed. What is told is put into lines of text, which are compared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "base/file.h"
#include "core/segment.h"
#include "core/wal.h"
#include "live/client.h"

struct told {
	struct dyn lines;
	uint64_t bytes_hash, plain_hash; /* of the content and of the segment that are under way */
	struct wal_chain chain;
	bool begun;
	size_t good_frames, bad_frames;
	XXH64_hash_t frames;  /* of all good frames */
	XXH64_hash_t *prefix; /* NULL, or room for it after each of them */
	struct position next;
	bool refuse; /* the next event fails */
};

static void line(struct told *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void line(struct told *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	assert_int_equal(dyn_addf(&t->lines, "%s\n", text), 0);
}

static int on_lineage(void *arg, struct span text, struct err *e)
{
	(void)e;
	line(arg, "lineage %.*s", (int)text.n, (const char *)text.p);
	return 0;
}

static int on_content(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, bool differing,
		      struct err *e)
{
	struct told *t = arg;
	line(t, "content %s %llu %u %u %d", r->generation.name, (unsigned long long)r->at.index, page_bytes,
	     pages, differing);
	t->bytes_hash = 0;
	return t->refuse ? err_set(e, ERR_SPACE, "refused") : 0;
}

static int on_bytes(void *arg, struct span bytes, struct err *e)
{
	struct told *t = arg;
	(void)e;
	for (size_t i = 0; i < bytes.n; i++) /* one by one: the pieces do not matter */
		t->bytes_hash = (t->bytes_hash ^ bytes.p[i]) * 1099511628211ull;
	return 0;
}

static int on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e)
{
	(void)e;
	line(arg, "page %u %02x%02x", pgno, page[0], page[1]);
	return 0;
}

static int on_complete(void *arg, const struct record *r, struct err *e)
{
	struct told *t = arg;
	(void)e;
	line(t, "complete %llu:%llu %016llx", (unsigned long long)r->at.index, (unsigned long long)r->at.offset,
	     (unsigned long long)t->bytes_hash);
	return 0;
}

static int on_segment(void *arg, const struct record *r, struct err *e)
{
	struct told *t = arg;
	(void)e;
	line(t, "segment %llu:%llu", (unsigned long long)r->at.index, (unsigned long long)r->at.offset);
	t->plain_hash = 0;
	return 0;
}

/* As the follower does it: what the chain does not prove is not taken. */
static int on_plain(void *arg, struct position from, struct span plain, bool proven, struct err *e)
{
	struct told *t = arg;
	(void)e;
	if (!proven) /* these streams have no segments of more than a block */
		fail_msg("frames were told before the end of their segment");
	for (size_t i = 0; i < plain.n; i++)
		t->plain_hash = (t->plain_hash ^ plain.p[i]) * 1099511628211ull;
	bool first = t->next.index == 0 && from.offset == 0;
	bool follows = from.offset == 0 && from.index == t->next.index + 1;
	if (t->bad_frames || (!first && !follows && position_compare(from, t->next) != 0)) {
		t->bad_frames++;
		return 0;
	}
	t->next = (struct position){ from.index, from.offset + plain.n };
	if (from.offset == 0) {
		struct wal_header h;
		t->begun = wal_header_parse(plain, &h) == WAL_OK;
		assert_true(t->begun);
		t->chain = wal_chain_start(&h);
		plain.p += WAL_HEADER_BYTES;
		plain.n -= WAL_HEADER_BYTES;
	}
	while (plain.n > 0 && t->begun) {
		struct wal_frame f;
		size_t each = (size_t)wal_frame_bytes(t->chain.page_bytes);
		if (wal_chain_step(&t->chain, plain, &f) != WAL_OK) {
			t->begun = false;
			t->bad_frames++;
			return 0;
		}
		t->frames = XXH64(plain.p, each, t->frames);
		t->good_frames++;
		if (t->prefix)
			t->prefix[t->good_frames] = t->frames;
		plain.p += each;
		plain.n -= each;
	}
	return 0;
}

static int on_segment_end(void *arg, struct position end, struct err *e)
{
	struct told *t = arg;
	(void)e;
	line(t, "end of segment %llu:%llu %016llx", (unsigned long long)end.index,
	     (unsigned long long)end.offset, (unsigned long long)t->plain_hash);
	return 0;
}

static int on_commits(void *arg, const struct record *r, const struct index_commit *v, size_t n, struct err *e)
{
	(void)r;
	(void)e;
	for (size_t i = 0; i < n; i++)
		line(arg, "commit %llu %lld", (unsigned long long)v[i].offset, (long long)v[i].wall_us);
	return 0;
}

static int on_heartbeat(void *arg, const struct record *r, int64_t wall_us, struct err *e)
{
	(void)e;
	line(arg, "heartbeat %llu:%llu %lld", (unsigned long long)r->at.index, (unsigned long long)r->at.offset,
	     (long long)wall_us);
	return 0;
}

static int on_hashes(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, struct err *e)
{
	(void)r;
	(void)e;
	line(arg, "hashes %u %u", page_bytes, pages);
	return 0;
}

static int on_hash(void *arg, uint32_t pgno, uint64_t hash, struct err *e)
{
	(void)e;
	line(arg, "hash %u %016llx", pgno, (unsigned long long)hash);
	return 0;
}

static int on_end(void *arg, const struct record *r, const char *text, struct err *e)
{
	(void)r;
	(void)e;
	line(arg, "end: %s", text);
	return 0;
}

static const struct live_events events = { .lineage = on_lineage,
					   .content = on_content,
					   .bytes = on_bytes,
					   .page = on_page,
					   .complete = on_complete,
					   .segment = on_segment,
					   .plain = on_plain,
					   .segment_end = on_segment_end,
					   .commits = on_commits,
					   .heartbeat = on_heartbeat,
					   .hashes = on_hashes,
					   .hash = on_hash,
					   .end = on_end };

static XXH64_hash_t *keep_prefix;

static int read_all(struct told *t, struct span in, size_t piece, bool extended, struct err *e)
{
	struct live_reader r;
	int rc = 0;
	*t = (struct told){ .lines = DYN_INIT(16 << 20), .prefix = keep_prefix };
	*e = ERR_INIT;
	live_reader_init(&r, &events, t, extended, 0);
	for (size_t at = 0, n; rc == 0 && at < in.n; at += n) {
		n = in.n - at < piece ? in.n - at : piece;
		rc = live_read(&r, (struct span){ in.p + at, n }, e);
	}
	if (rc == 0 && !live_between_records(&r))
		rc = 1;
	live_reader_rest(&r);
	live_reader_fini(&r);
	return rc;
}

static const char *text_of(struct told *t)
{
	assert_int_equal(dyn_add(&t->lines, "", 1), 0);
	return (const char *)t->lines.p;
}

static struct dyn golden(const char *name)
{
	char path[PATH_BYTES];
	struct err e;
	struct dyn d = DYN_INIT(16 << 20);
	const char *dir = getenv("WALBROOK_GOLDEN");
	snprintf(path, sizeof path, "%s/live/page1024/%s", dir ? dir : "test/golden", name);
	if (file_read_all(path, &d, &e) < 0)
		fail_msg("%s", e.text);
	return d;
}

static void streams_of_the_original_come_in_pieces(void **state)
{
	static const size_t pieces[] = { 1, 7, 39, 40, 41, 1000, 1 << 20 };
	struct dyn all = golden("stream-scratch.bin");
	struct told want, got;
	struct err e;
	(void)state;
	assert_int_equal(read_all(&want, (struct span){ all.p, all.len }, all.len, false, &e), 0);
	const char *text = text_of(&want);
	assert_non_null(strstr(text, "content "));
	assert_non_null(strstr(text, "complete "));
	assert_non_null(strstr(text, "segment 3:0\n"));
	assert_true(want.good_frames > 20);
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		assert_int_equal(read_all(&got, (struct span){ all.p, all.len }, pieces[i], false, &e), 0);
		assert_string_equal(text_of(&got), text);
		assert_true(got.frames == want.frames);
		dyn_free(&got.lines);
	}
	dyn_free(&want.lines);
	dyn_free(&all);
}

/* Whether the byte is of the header of a record. */
static bool in_header(const struct dyn *all, size_t i)
{
	struct err e;
	for (size_t at = 0; at < all->len;) {
		struct record r;
		assert_int_equal(record_parse((struct span){ all->p + at, all->len - at }, &r, &e), 0);
		if (i < at + RECORD_HEADER_BYTES)
			return true;
		at += RECORD_HEADER_BYTES + (size_t)r.size_bytes;
		if (i < at)
			return false;
	}
	return false;
}

/* Frames that the chain proves, in the order of the stream: a beginning of those of the whole stream. */
static void a_changed_byte_proves_nothing_wrong(void **state)
{
	struct dyn all = golden("stream-scratch.bin");
	struct told want, got;
	struct record first;
	struct err e;
	size_t told = 0, kept = 0;
	(void)state;
	assert_int_equal(read_all(&want, (struct span){ all.p, all.len }, all.len, false, &e), 0);
	assert_int_equal(record_parse((struct span){ all.p, all.len }, &first, &e), 0);
	size_t from = RECORD_HEADER_BYTES + (size_t)first.size_bytes; /* a plain snapshot has no checksum */
	XXH64_hash_t *prefix = calloc(want.good_frames + 1, sizeof *prefix);
	dyn_free(&want.lines);
	keep_prefix = prefix;
	assert_int_equal(read_all(&want, (struct span){ all.p, all.len }, all.len, false, &e), 0);
	keep_prefix = NULL;
	for (size_t n = from; n <= all.len; n += 7) { /* cut: what has come is right */
		read_all(&got, (struct span){ all.p, n }, n, false, &e);
		assert_true(prefix[got.good_frames] == got.frames);
		assert_int_equal(got.bad_frames, 0);
		dyn_free(&got.lines);
	}
	size_t tried = 0;
	for (size_t i = from; i < all.len; i += in_header(&all, i) ? 1 : 3, tried++) {
		uint8_t was = all.p[i];
		all.p[i] ^= (uint8_t)(1u << i % 8);
		int rc = read_all(&got, (struct span){ all.p, all.len }, all.len, false, &e);
		all.p[i] = was;
		if (rc < 0) {
			assert_int_equal(e.kind, ERR_DAMAGED);
			assert_non_null(strstr(e.text, "record"));
			told++;
		}
		kept += got.good_frames == want.good_frames;
		assert_true(got.good_frames <= want.good_frames);
		if (got.frames != prefix[got.good_frames])
			fail_msg("byte %zu changed: %zu frames that are not those of the stream", i,
				 got.good_frames);
		dyn_free(&got.lines);
	}
	assert_true(told > tried / 2);
	assert_true(kept < tried);
	free(prefix);
	dyn_free(&want.lines);
	dyn_free(&all);
}

/* ---- streams of our own ---- */

static struct dyn made;
static XXH64_state_t *check; /* of the content that is being made */

static void check_record(const uint8_t head[RECORD_HEADER_BYTES], const void *p, size_t n)
{
	if (!check)
		check = XXH64_createState();
	if (get_be32(head) == RECORD_CONTENT)
		XXH64_reset(check, 0);
	XXH64_update(check, head + 8, 24);
	if (n > 0)
		XXH64_update(check, p, n);
}

static const void *checked; /* of PAGES that are compressed: the plain bytes */
static size_t checked_n;

static void add(uint32_t type, uint32_t flags, uint64_t index, uint64_t offset, const void *p, size_t n)
{
	uint8_t head[RECORD_HEADER_BYTES];
	const uint8_t seal[RECORD_SEAL_BYTES] = { 0 };
	size_t seal_n = record_is_sealed(type) ? sizeof seal : 0;
	struct record r = { .type = type,
			    .flags = flags,
			    .generation = generation_from(0x1122334455667788),
			    .at = { index, offset },
			    .size_bytes = n + seal_n };
	record_write(head, &r);
	if (type == RECORD_CONTENT || type == RECORD_PAGES || type == RECORD_COMPLETE)
		check_record(head, checked ? checked : p,
			     checked		       ? checked_n
			     : type == RECORD_COMPLETE ? 0
						       : n);
	assert_int_equal(dyn_add(&made, head, sizeof head), 0);
	assert_int_equal(dyn_add(&made, p, n), 0);
	assert_int_equal(dyn_add(&made, seal, seal_n), 0);
	if (seal_n)
		record_seal(made.p + made.len - sizeof head - n - seal_n, sizeof head + n + seal_n);
}

static void add_complete(uint64_t index, uint64_t offset)
{
	uint8_t sum[8] = { 0 };
	add(RECORD_COMPLETE, 0, index, offset, sum, sizeof sum);
	put_be64(made.p + made.len - 8, XXH64_digest(check));
}

static int to_dyn(void *arg, struct span out, struct err *e)
{
	(void)e;
	return dyn_add(arg, out.p, out.n);
}

static struct dyn lz4(const void *p, size_t n)
{
	struct dyn d = DYN_INIT(1 << 20);
	struct err e;
	struct segment_writer *w = segment_writer_new(to_dyn, &d);
	assert_int_equal(segment_write(w, (struct span){ p, n }, &e), 0);
	assert_int_equal(segment_finish(w, &e), 0);
	segment_writer_free(w);
	return d;
}

static struct dyn wal(unsigned frames, uint8_t fill)
{
	struct dyn d = DYN_INIT(1 << 20);
	uint8_t head[WAL_HEADER_BYTES], page[512];
	struct wal_header h = { .page_bytes = 512 };
	wal_header_write(head, &h);
	h.sum = (struct wal_sum){ get_be32(head + 24), get_be32(head + 28) };
	struct wal_chain c = wal_chain_start(&h);
	assert_int_equal(dyn_add(&d, head, sizeof head), 0);
	for (unsigned i = 0; i < frames; i++) {
		uint8_t fh[WAL_FRAME_HEADER_BYTES];
		memset(page, fill + (int)i, sizeof page);
		wal_frame_write(&c, i + 1, frames, page, fh);
		assert_int_equal(dyn_add(&d, fh, sizeof fh), 0);
		assert_int_equal(dyn_add(&d, page, sizeof page), 0);
	}
	return d;
}

static void add_content_head(uint32_t how)
{
	uint8_t c[12];
	put_be32(c, 512);
	put_be32(c + 4, 3);
	put_be32(c + 8, how);
	add(RECORD_CONTENT, 0, 7, 0, c, sizeof c);
}

static void add_stream(bool differing, bool compressed)
{
	uint8_t bytes[2 * 516], commits[32], clock[8];
	made = DYN_INIT(1 << 20);
	struct dyn w = wal(3, 1), z = lz4(w.p, w.len);
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(differing);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7);
	put_be32(bytes, 2);
	put_be32(bytes + 516, 3);
	struct dyn c = lz4(bytes, sizeof bytes);
	checked = compressed ? bytes : NULL;
	checked_n = sizeof bytes;
	add(RECORD_PAGES, compressed, 7, 0, compressed ? c.p : bytes, compressed ? c.len : sizeof bytes);
	checked = NULL;
	if (!differing)
		add(RECORD_PAGES, 0, 7, sizeof bytes, bytes, 504);
	add(77, 0, 1, 2, bytes, 100); /* nobody knows it */
	add_complete(7, 568);
	put_be64(commits, 568);
	put_be64(commits + 8, 1000);
	put_be64(commits + 16, 32 + 3 * 536);
	put_be64(commits + 24, 2000);
	add(RECORD_COMMITS, 0, 7, 0, commits, sizeof commits);
	add(RECORD_SEGMENT, 0, 7, 0, z.p, z.len);
	put_be64(clock, 12345);
	add(RECORD_HEARTBEAT, 0, 7, 32 + 3 * 536, clock, 8);
	add(RECORD_END, 0, 7, 0, "good\nbye", 8);
	dyn_free(&w);
	dyn_free(&z);
	dyn_free(&c);
}

/* What is compressed may still be the same; and who takes a segment compares its generation with his own. */
static bool is_silent(size_t i)
{
	struct record r;
	struct err e;
	for (size_t at = 0; at < made.len; at += RECORD_HEADER_BYTES + (size_t)r.size_bytes) {
		assert_int_equal(record_parse((struct span){ made.p + at, made.len - at }, &r, &e), 0);
		bool compressed = r.type == RECORD_SEGMENT || r.flags & RECORD_LZ4;
		if ((r.type == RECORD_SEGMENT && i >= at + 8 && i < at + 16) ||
		    (compressed && i >= at + RECORD_HEADER_BYTES &&
		     i < at + RECORD_HEADER_BYTES + (size_t)r.size_bytes))
			return true;
	}
	return false;
}

static const char *complete_line(const char *text)
{
	static char line_[128];
	snprintf(line_, sizeof line_, "%.*s", (int)strcspn(text, "\n"), text);
	return line_;
}

static void extended_streams_are_told(void **state)
{
	static const size_t pieces[] = { 1, 3, 100, 1 << 20 };
	struct told t;
	struct err e;
	(void)state;
	for (unsigned k = 0; k < 4; k++) {
		add_stream(k & 1, k & 2);
		for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
			assert_int_equal(read_all(&t, (struct span){ made.p, made.len }, pieces[i], true, &e),
					 0);
			const char *text = text_of(&t);
			assert_true(strncmp(text, "lineage L\ncontent 1122334455667788 7 512 3 ", 43) == 0);
			if (k & 1)
				assert_non_null(strstr(text, "page 2 1c23\npage 3 383f\ncomplete 7:568 "));
			assert_non_null(strstr(text, "commit 568 1000\ncommit 1640 2000\nsegment 7:0\n"));
			assert_non_null(strstr(text, "heartbeat 7:1640 12345\nend: good bye\n"));
			assert_int_equal(t.good_frames, 3);
			dyn_free(&t.lines);
		}
		/* A plain stream has none of this. */
		assert_int_equal(read_all(&t, (struct span){ made.p, made.len }, 50, false, &e), -1);
		assert_non_null(strstr(e.text, "plain"));
		dyn_free(&t.lines);
		struct told whole;
		assert_int_equal(read_all(&whole, (struct span){ made.p, made.len }, 4096, true, &e), 0);
		const char *want = text_of(&whole);
		/* Cut anywhere, it is not over; changed anywhere, it does not come to its end. */
		for (size_t n = 0; n < made.len; n++) {
			int rc = read_all(&t, (struct span){ made.p, n }, 4096, true, &e);
			assert_true(rc >= 0);
			dyn_free(&t.lines);
		}
		for (size_t i = 0; i < made.len; i++) {
			made.p[i] ^= (uint8_t)(1u << i % 8);
			int rc = read_all(&t, (struct span){ made.p, made.len }, 4096, true, &e);
			made.p[i] ^= (uint8_t)(1u << i % 8);
			/* LZ4 can say the same in two ways. */
			if (rc == 0 && !is_silent(i))
				fail_msg("kind %u, byte %zu changed: not noticed", k, i);
			if (rc == 0 && strcmp(text_of(&t), want) != 0)
				fail_msg("kind %u, byte %zu changed: something else is told", k, i);
			if (rc == 0 && t.good_frames != 3)
				fail_msg("byte %zu changed: the segment is missing", i);
			assert_true(rc >= 0 || e.kind == ERR_DAMAGED);
			const char *was = text_of(&t), *content = strstr(was, "content "),
				   *complete = strstr(was, "complete ");
			if (complete && !strstr(want, complete_line(complete)))
				fail_msg("byte %zu changed: other content is complete: %s", i, was);
			if (complete && !(k & 1) && strncmp(content, strstr(want, "content "), 40) != 0)
				fail_msg("byte %zu changed: other content: %s", i, was);
			dyn_free(&t.lines);
		}
		dyn_free(&whole.lines);
		dyn_free(&made);
	}
}

static void refused(const char *want)
{
	struct told t;
	struct err e;
	assert_int_equal(read_all(&t, (struct span){ made.p, made.len }, 1 << 20, true, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	if (!strstr(e.text, want))
		fail_msg("\"%s\" is not in: %s", want, e.text);
	dyn_free(&t.lines);
	dyn_free(&made);
	made = DYN_INIT(1 << 20);
}

static void what_cannot_be_is_refused(void **state)
{
	uint8_t zeros[2048] = { 0 };
	(void)state;
	struct dyn w = wal(2, 9), z = lz4(w.p, w.len), odd = lz4(w.p, w.len - 1), none = lz4(zeros, 40);
	made = DYN_INIT(1 << 20);
	add(RECORD_SEGMENT, 0, 1, 0, z.p, z.len);
	refused("lineage");
	const struct {
		uint32_t type, flags;
		uint64_t offset;
		const void *p;
		size_t n;
		const char *want;
	} cases[] = {
		{ RECORD_SNAPSHOT, 0, 0, zeros, 100, "an extended stream has none" },
		{ RECORD_PAGES, 0, 0, zeros, 512, "no content was begun" },
		{ RECORD_COMPLETE, 0, 0, zeros, 8, "no content was begun" },
		{ RECORD_COMPLETE, 0, 0, zeros, 9, "too long" },
		{ RECORD_CONTENT, 0, 0, zeros, 12, "cannot be" },
		{ RECORD_CONTENT, 0, 0, zeros, 11, "too short" },
		{ RECORD_CONTENT, 0, 0, zeros, 13, "too long" },
		{ RECORD_HASHES, 0, 0, zeros, 16, "do not fit" },
		{ RECORD_HASHES, 0, 0, zeros, 4, "too early" },
		{ RECORD_COMMITS, 0, 50, zeros, 32, "not in order" },
		{ RECORD_SEGMENT, 0, 536, z.p, z.len, "page size is not known" },
		{ RECORD_SEGMENT, 0, 0, odd.p, odd.len, "inside a frame" },
		{ RECORD_SEGMENT, 0, 0, none.p, none.len, "damaged" },
		{ RECORD_SEGMENT, 0, 0, zeros, 100, "damaged" },
		{ RECORD_SEGMENT, 0, 0, z.p, z.len - 1, "damaged" },
		{ RECORD_HASHES, 1, 0, zeros, 16, "flags are not known" },
		{ RECORD_SEGMENT, 2, 0, z.p, z.len, "flags are not known" },
		{ RECORD_LINEAGE, 0, 0, NULL, 0, "" },
	};
	for (size_t i = 0; i + 1 < sizeof cases / sizeof *cases; i++) {
		add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
		add(cases[i].type, cases[i].flags, 1, cases[i].offset, cases[i].p, cases[i].n);
		refused(cases[i].want);
	}
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(0);
	add(RECORD_PAGES, 0, 7, 512, zeros, 512);
	refused("is missing");
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(0);
	add(RECORD_SEGMENT, 0, 7, 0, z.p, z.len);
	refused("not complete");
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(1);
	add(RECORD_PAGES, 0, 7, 0, zeros, 515);
	refused("inside a page");
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(0);
	add(RECORD_PAGES, RECORD_LZ4, 7, 0, zeros, 515);
	refused("damaged");
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add_content_head(0);
	add(RECORD_PAGES, 0, 7, 0, zeros, 1536);
	add_complete(7, 32);
	made.p[made.len - 60]++;
	refused("not what was sent");
	struct dyn more = lz4(w.p, w.len);
	assert_int_equal(dyn_add(&more, zeros, 100), 0);
	add(RECORD_LINEAGE, 0, 0, 0, "L", 1);
	add(RECORD_SEGMENT, 0, 7, 0, more.p, more.len);
	refused("behind the end");
	dyn_free(&more);
	dyn_free(&w);
	dyn_free(&z);
	dyn_free(&odd);
	dyn_free(&none);
	dyn_free(&made);
}

static void an_error_of_the_taker_is_its_own(void **state)
{
	struct live_reader r;
	struct told t = { .lines = DYN_INIT(1 << 20), .refuse = true };
	struct err e = ERR_INIT;
	(void)state;
	add_stream(false, false);
	live_reader_init(&r, &events, &t, true, 0);
	assert_int_equal(live_read(&r, (struct span){ made.p, made.len }, &e), -1);
	assert_int_equal(e.kind, ERR_SPACE);
	assert_int_equal(live_read(&r, (struct span){ made.p, 1 }, &e), -1);
	live_reader_fini(&r);
	dyn_free(&t.lines);
	dyn_free(&made);
}

static void hashes_are_told(void **state)
{
	uint8_t h[8 + 3 * 8 + 8], head[RECORD_HEADER_BYTES];
	XXH64_state_t *x = XXH64_createState();
	struct record r = { .type = RECORD_HASHES,
			    .generation = generation_from(0x1122334455667788),
			    .at = { 7, 0 },
			    .size_bytes = sizeof h };
	struct told t;
	struct err e;
	(void)state;
	put_be32(h, 4096);
	put_be32(h + 4, 3);
	for (unsigned i = 0; i < 3; i++)
		put_be64(h + 8 + 8 * (size_t)i, 0x100 + i);
	record_write(head, &r);
	XXH64_reset(x, 0);
	XXH64_update(x, head + 8, 24);
	XXH64_update(x, h, sizeof h - 8);
	put_be64(h + sizeof h - 8, XXH64_digest(x));
	XXH64_freeState(x);
	made = DYN_INIT(1 << 20);
	add(RECORD_HASHES, 0, 7, 0, h, sizeof h);
	for (size_t piece = 1; piece < 80; piece += 13) {
		assert_int_equal(read_all(&t, (struct span){ made.p, made.len }, piece, true, &e), 0);
		assert_string_equal(text_of(&t), "hashes 4096 3\nhash 1 0000000000000100\n"
						 "hash 2 0000000000000101\nhash 3 0000000000000102\n");
		dyn_free(&t.lines);
	}
	for (size_t i = 0; i < made.len; i++) { /* nothing of it can be another one */
		made.p[i] ^= 4;
		int rc = read_all(&t, (struct span){ made.p, made.len }, 4096, true, &e);
		made.p[i] ^= 4;
		if (rc == 0)
			fail_msg("byte %zu changed: taken", i);
		dyn_free(&t.lines);
	}
	dyn_free(&made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_of_the_original_come_in_pieces),
		cmocka_unit_test(a_changed_byte_proves_nothing_wrong),
		cmocka_unit_test(extended_streams_are_told),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(an_error_of_the_taker_is_its_own),
		cmocka_unit_test(hashes_are_told),
	};
	return cmocka_run_group_tests_name("live client", tests, NULL, NULL);
}
