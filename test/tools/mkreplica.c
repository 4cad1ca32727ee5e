/* SPDX-License-Identifier: Apache-2.0
 *
 * mkreplica DIR [-snapshot-mb N] [-wal-mb N] [-segments N] [-page BYTES] [-index-mb N]: makes a replica to
 * restore.
 *
 *   1. A snapshot of index 0: page 1 of a real database, then pages of rows.
 *   2. WAL in as many indexes as -index-mb (default 40) makes of it: transactions of 4 to 20 frames on pages of
 * the snapshot, a valid chain, cut into -segments objects at commit frames.
 *
 * The pages behind page 1 belong to no table: SQLite opens the file, integrity_check would call them unused.
 * Prints wal_bytes=, segments=, db_bytes=, stored_bytes=. Nothing is synced; an existing object is overwritten.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/layout.h"
#include "core/segment.h"
#include "core/wal.h"
#include "pages.h"

struct maker {
	const char *dir;
	uint64_t snapshot_bytes, wal_bytes, segments, index_bytes;
	uint32_t page_bytes, pages;
	uint64_t rng;
	struct generation generation;
	FILE *out;
	struct segment_writer *writer;
	uint64_t stored_bytes, segments_made, wal_made;
	uint8_t *frame;
	struct wal_header header;
	struct wal_sum sum;
};

static int to_file(void *arg, struct span out, struct err *e)
{
	struct maker *m = arg;
	m->stored_bytes += out.n;
	return fwrite(out.p, 1, out.n, m->out) == out.n ? 0 : err_sys(e, errno, "write");
}

static int begin_object(struct maker *m, enum object_kind kind, struct position at, struct err *e)
{
	char key[OBJECT_KEY_BYTES], path[4096];
	struct object o = { .kind = kind, .generation = m->generation, .at = at };
	snprintf(path, sizeof path, "%s/%s", m->dir, object_key(key, &o));
	m->out = fopen(path, "we");
	return m->out ? 0 : err_sys(e, errno, "cannot make %s", path);
}

static int end_object(struct maker *m, struct err *e)
{
	int rc = segment_finish(m->writer, e);
	if (fclose(m->out) != 0 && rc == 0)
		rc = err_sys(e, errno, "close");
	m->out = NULL;
	return rc;
}

static int make_snapshot(struct maker *m, struct err *e)
{
	uint8_t *page = m->frame;
	if (begin_object(m, OBJECT_SNAPSHOT, (struct position){ 0, 0 }, e) < 0)
		return -1;
	int rc = 0;
	for (uint32_t i = 1; rc == 0 && i <= m->pages; i++) {
		if (i == 1)
			pages_first(page, m->page_bytes, m->pages);
		else
			pages_fill(page, m->page_bytes, &m->rng);
		rc = segment_write(m->writer, (struct span){ page, m->page_bytes }, e);
	}
	return end_object(m, e) < 0 ? -1 : rc;
}

static int write_header(struct maker *m, uint64_t index, struct err *e)
{
	uint8_t out[WAL_HEADER_BYTES];
	uint64_t salt = pages_random(&m->rng);
	m->header = (struct wal_header){ .page_bytes = m->page_bytes, .checkpoint_seq = (uint32_t)index };
	memcpy(m->header.salt, &salt, sizeof salt);
	wal_header_write(out, &m->header);
	m->sum = (struct wal_sum){ get_be32(out + 24), get_be32(out + 28) };
	return segment_write(m->writer, (struct span){ out, sizeof out }, e);
}

static int write_frame(struct maker *m, uint32_t commit_pages, struct err *e)
{
	uint8_t *f = m->frame;
	put_be32(f, 2 + (uint32_t)(pages_random(&m->rng) % (m->pages - 1)));
	put_be32(f + 4, commit_pages);
	memcpy(f + 8, m->header.salt, sizeof m->header.salt);
	pages_fill(f + WAL_FRAME_HEADER_BYTES, m->page_bytes, &m->rng);
	m->sum = wal_checksum(m->sum, m->header.big_endian, f, 8);
	m->sum = wal_checksum(m->sum, m->header.big_endian, f + WAL_FRAME_HEADER_BYTES, m->page_bytes);
	put_be32(f + 16, m->sum.s0);
	put_be32(f + 20, m->sum.s1);
	return segment_write(m->writer, (struct span){ f, wal_frame_bytes(m->page_bytes) }, e);
}

static int write_transaction(struct maker *m, uint64_t *offset, struct err *e)
{
	uint64_t n = 4 + pages_random(&m->rng) % 17;
	for (uint64_t i = 1; i <= n; i++)
		if (write_frame(m, i == n ? m->pages : 0, e) < 0)
			return -1;
	*offset += n * wal_frame_bytes(m->page_bytes);
	return 0;
}

/* One index: from its header until it is full or all is made. */
static int make_index(struct maker *m, uint64_t index, struct err *e)
{
	uint64_t offset = WAL_HEADER_BYTES, begin = 0;
	while (m->wal_made + offset < m->wal_bytes && offset < m->index_bytes) {
		uint64_t end = (m->segments_made + 1) * m->wal_bytes / m->segments;
		if (begin_object(m, OBJECT_SEGMENT, (struct position){ index, begin }, e) < 0)
			return -1;
		if (begin == 0 && write_header(m, index, e) < 0)
			return -1;
		do {
			if (write_transaction(m, &offset, e) < 0)
				return -1;
		} while (m->wal_made + offset < end && offset < m->index_bytes);
		if (end_object(m, e) < 0)
			return -1;
		m->segments_made++;
		begin = offset;
	}
	m->wal_made += offset;
	return 0;
}

static int make_all(struct maker *m, struct err *e)
{
	static const char *const dirs[] = { "", "/generations", "/generations/%s", "/generations/%s/snapshots",
					    "/generations/%s/wal" };
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		char path[4096];
		int n = snprintf(path, sizeof path, "%s", m->dir);
		const char *mark = strstr(dirs[i], "%s");
		snprintf(path + n, sizeof path - (size_t)n, "%.*s%s%s", mark ? (int)(mark - dirs[i]) : 99,
			 dirs[i], mark ? m->generation.name : "", mark ? mark + 2 : "");
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return err_sys(e, errno, "cannot make %s", path);
	}
	if (make_snapshot(m, e) < 0)
		return -1;
	for (uint64_t index = 0; m->wal_made < m->wal_bytes; index++)
		if (make_index(m, index, e) < 0)
			return -1;
	return 0;
}

static int parse(int argc, char **argv, struct maker *m)
{
	for (int i = 2; i + 1 < argc; i += 2) {
		uint64_t n = strtoull(argv[i + 1], NULL, 10);
		if (strcmp(argv[i], "-snapshot-mb") == 0)
			m->snapshot_bytes = n << 20;
		else if (strcmp(argv[i], "-wal-mb") == 0)
			m->wal_bytes = n << 20;
		else if (strcmp(argv[i], "-index-mb") == 0)
			m->index_bytes = n << 20;
		else if (strcmp(argv[i], "-segments") == 0)
			m->segments = n;
		else if (strcmp(argv[i], "-page") == 0)
			m->page_bytes = (uint32_t)n;
		else
			return -1;
	}
	m->pages = (uint32_t)(m->snapshot_bytes / (m->page_bytes ? m->page_bytes : 1));
	bool good = argc >= 2 && argc % 2 == 0 && m->segments > 0 && page_bytes_valid(m->page_bytes) &&
		    m->pages >= 2;
	return good ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct maker m = { .dir = argv[1],
			   .snapshot_bytes = 64 << 20,
			   .segments = 100,
			   .index_bytes = 40 << 20,
			   .page_bytes = 4096,
			   .rng = 1,
			   .generation = generation_from(0x0123456789abcdef) };
	struct err e = ERR_INIT;
	if (parse(argc, argv, &m) < 0) {
		fprintf(stderr, "usage: mkreplica DIR [-snapshot-mb N] [-wal-mb N] [-segments N] [-page BYTES] "
				"[-index-mb N]\n");
		return 2;
	}
	m.frame = malloc(wal_frame_bytes(m.page_bytes));
	m.writer = segment_writer_new(to_file, &m);
	int rc = m.frame && m.writer ? make_all(&m, &e) : err_set(&e, ERR_FAIL, "no memory");
	if (rc < 0)
		fprintf(stderr, "mkreplica: %s\n", e.text);
	else
		printf("wal_bytes=%llu segments=%llu db_bytes=%llu stored_bytes=%llu\n",
		       (unsigned long long)m.wal_made, (unsigned long long)m.segments_made,
		       (unsigned long long)m.pages * m.page_bytes, (unsigned long long)m.stored_bytes);
	segment_writer_free(m.writer);
	free(m.frame);
	return rc < 0 ? 1 : 0;
}
