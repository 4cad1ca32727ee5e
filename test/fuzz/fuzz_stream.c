/* SPDX-License-Identifier: Apache-2.0
 *
 * A live stream from nowhere. First byte of the input: bit 0 makes the stream an extended one, bit 1 seals its
 * records (no fuzzer finds a hash), the rest is the size of the pieces in which it is fed. The reader must tell
 * the same in pieces and at once, and frames only in whole units, each where the one before it ended. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/wal.h"
#include "live/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct told {
	const struct live_reader *r;
	uint64_t hash; /* of everything that does not depend on the pieces */
	uint64_t plain, events;
	bool in_segment, in_content;
	struct position next;
};

static void note(struct told *t, const char *name, const void *p, size_t n)
{
	t->hash = XXH64(name, strlen(name), t->hash);
	t->hash = XXH64(p, n, t->hash);
	t->events++;
}

static int on_lineage(void *arg, struct span text, struct err *e)
{
	(void)e;
	note(arg, "lineage", text.p, text.n);
	return 0;
}

static int on_content(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, bool differing,
		      struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(!t->in_segment && (page_bytes == 0 || page_bytes_valid(page_bytes)));
	assert((page_bytes == 0) == (r->type == RECORD_SNAPSHOT));
	uint32_t v[] = { page_bytes, pages, differing };
	note(t, "content", v, sizeof v);
	t->in_content = true;
	return 0;
}

static int on_bytes(void *arg, struct span bytes, struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(t->in_content && bytes.n > 0);
	for (size_t i = 0; i < bytes.n; i++)
		t->hash = t->hash * 31 + bytes.p[i];
	return 0;
}

static int on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(t->in_content);
	note(t, "page", page, t->r->page_bytes);
	note(t, "number", &pgno, sizeof pgno);
	return 0;
}

static int on_complete(void *arg, const struct record *r, struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(t->in_content);
	t->in_content = false;
	note(t, "complete", &r->at, sizeof r->at);
	return 0;
}

static int on_segment(void *arg, const struct record *r, struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(!t->in_segment);
	t->in_segment = true;
	t->next = r->at;
	note(t, "segment", &r->at, sizeof r->at);
	return 0;
}

static int on_plain(void *arg, struct position from, struct span plain, bool proven, struct err *e)
{
	struct told *t = arg;
	size_t head = from.offset == 0 ? WAL_HEADER_BYTES : 0;
	(void)e;
	(void)proven;
	assert(t->in_segment && position_compare(from, t->next) == 0);
	assert(plain.n >= head && (plain.n - head) % wal_frame_bytes(t->r->page_bytes) == 0);
	t->next.offset += plain.n;
	for (size_t i = 0; i < plain.n; i++)
		t->hash = t->hash * 31 + plain.p[i];
	return 0;
}

static int on_segment_end(void *arg, struct position end, struct err *e)
{
	struct told *t = arg;
	(void)e;
	assert(t->in_segment && position_compare(end, t->next) == 0);
	t->in_segment = false;
	note(t, "end of segment", &end, sizeof end);
	return 0;
}

static int on_commits(void *arg, const struct record *r, const struct index_commit *v, size_t n, struct err *e)
{
	(void)r;
	(void)e;
	assert(n > 0);
	note(arg, "commits", v, n * sizeof *v);
	return 0;
}

static int on_heartbeat(void *arg, const struct record *r, int64_t wall_us, struct err *e)
{
	(void)r;
	(void)e;
	assert(wall_us >= 0);
	note(arg, "heartbeat", &wall_us, sizeof wall_us);
	return 0;
}

static int on_hashes(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, struct err *e)
{
	(void)r;
	(void)e;
	assert(page_bytes_valid(page_bytes) && pages > 0);
	note(arg, "hashes", &pages, sizeof pages);
	return 0;
}

static int on_hash(void *arg, uint32_t pgno, uint64_t hash, struct err *e)
{
	(void)e;
	note(arg, "hash", &hash, sizeof hash);
	note(arg, "number", &pgno, sizeof pgno);
	return 0;
}

static int on_end(void *arg, const struct record *r, const char *text, struct err *e)
{
	(void)r;
	(void)e;
	for (const char *p = text; *p; p++)
		assert((unsigned char)*p >= ' ' && *p != 0x7f);
	note(arg, "end", text, strlen(text));
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

static int read_in(struct span in, size_t piece, bool extended, struct told *t)
{
	struct live_reader r;
	struct err e = ERR_INIT;
	int rc = 0;
	*t = (struct told){ .r = &r };
	live_reader_init(&r, &events, t, extended, 512);
	for (size_t at = 0, n; rc == 0 && at < in.n; at += n) {
		n = in.n - at < piece ? in.n - at : piece;
		rc = live_read(&r, (struct span){ in.p + at, n }, &e);
	}
	assert(rc == 0 || e.kind == ERR_DAMAGED || e.kind == ERR_FAIL);
	live_reader_fini(&r);
	return rc;
}

static void seal_all(uint8_t *p, size_t n)
{
	struct record r;
	struct err e;
	while (n >= RECORD_HEADER_BYTES && record_parse((struct span){ p, n }, &r, &e) == 0 &&
	       r.size_bytes <= n - RECORD_HEADER_BYTES) {
		size_t whole = RECORD_HEADER_BYTES + (size_t)r.size_bytes;
		if (record_is_sealed(r.type) && r.size_bytes >= RECORD_SEAL_BYTES)
			record_seal(p, whole);
		p += whole;
		n -= whole;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct told once, pieces;
	if (size < 1)
		return 0;
	uint8_t *copy = malloc(size);
	assert(copy);
	memcpy(copy, data, size);
	struct span in = { copy + 1, size - 1 };
	bool extended = data[0] & 1;
	if (data[0] & 2)
		seal_all(copy + 1, size - 1);
	int rc = read_in(in, in.n ? in.n : 1, extended, &once);
	int again = read_in(in, (size_t)(data[0] >> 2) + 1, extended, &pieces);
	assert(rc == again);
	if (rc == 0)
		assert(once.hash == pieces.hash && once.events == pieces.events);
	free(copy);
	return 0;
}
