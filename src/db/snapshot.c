/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots: see snapshot.h.
 *
 * Happy path: pin (index header, begin, index header again, equal, everything copied before), copy in pieces of
 * 1 MiB through SQLite's own descriptor, close. Constant memory, no lock but the read.
 *
 * Failure modes: cancelled (the daemon stops, the database was replaced); the file ends early (an error for an
 * exact one: its length is known); let go (the WAL passes its cap: it goes on as fuzzy). */
#include "db/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "db/vfs.h"

enum { PIECE_BYTES = 1 << 20, DB_HEADER_BYTES = 100 };

/* The length that the database file says of itself (page 1), for when the WAL is empty. */
static int bytes_by_page_1(struct conn *c, uint64_t *ret, struct err *e)
{
	uint8_t h[DB_HEADER_BYTES];
	sqlite3_int64 size = 0;
	long n = conn_read_db(c, h, sizeof h, 0, e);
	if (n < 0)
		return -1;
	if (n < (long)sizeof h || c->file->pMethods->xFileSize(c->file, &size) != SQLITE_OK)
		return err_set(e, ERR_DAMAGED, "the database is shorter than its header");
	uint32_t page_bytes = (uint32_t)h[16] << 8 | h[17];
	if (page_bytes == 1)
		page_bytes = 65536;
	uint64_t pages = get_be32(h + 28);
	bool valid = pages != 0 && memcmp(h + 24, h + 92, 4) == 0;
	*ret = valid ? pages * page_bytes : (uint64_t)size;
	return 0;
}

int snapshot_pin(struct snapshot *s, const char *path, struct conn *holder, struct err *e)
{
	uint8_t before[WAL_INDEX_HEADER_BYTES], after[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (!conn_is_open(&s->conn) && conn_open(&s->conn, path, e) < 0)
		return -1;
	if (!conn_index(holder, before, &h) || shm_backfill(holder->shm) != h.mx_frame)
		return 0;
	if (conn_begin(&s->conn, e) < 0)
		return e->kind == ERR_BUSY ? 0 : -1;
	/* Slot 0, or others may still copy into the file. */
	if (conn_slot(&s->conn) != 0 || !conn_index(holder, after, &h) ||
	    memcmp(before, after, sizeof before) != 0) {
		conn_end(&s->conn);
		return 0;
	}
	s->exact = true;
	s->bytes = (uint64_t)h.pages * h.page_bytes;
	if (h.mx_frame == 0 && bytes_by_page_1(&s->conn, &s->bytes, e) < 0) {
		conn_end(&s->conn);
		return -1;
	}
	return 1;
}

int snapshot_open_fuzzy(struct snapshot *s, const char *path, struct err *e)
{
	s->exact = false;
	s->bytes = 0;
	return conn_is_open(&s->conn) ? 0 : conn_open(&s->conn, path, e);
}

static void go_fuzzy_if_asked(struct snapshot *s)
{
	if (!s->exact || !atomic_load(&s->let_go))
		return;
	conn_end(&s->conn);
	s->exact = false;
}

static int copy_pieces(struct snapshot *s, segment_sink *sink, void *arg, uint8_t *buf, struct err *e)
{
	for (uint64_t off = 0;;) {
		go_fuzzy_if_asked(s);
		if (atomic_load(&s->cancel))
			return err_set(e, ERR_FAIL, "cancelled");
		size_t want = PIECE_BYTES;
		if (s->exact && s->bytes - off < want)
			want = (size_t)(s->bytes - off);
		if (want == 0)
			return 0;
		long n = conn_read_db(&s->conn, buf, want, off, e);
		if (n < 0 || sink(arg, (struct span){ buf, (size_t)n }, e) < 0)
			return -1;
		off += (uint64_t)n;
		if ((size_t)n == want)
			continue;
		if (s->exact)
			return err_set(e, ERR_DAMAGED, "the database file ends at byte %llu of %llu",
				       (unsigned long long)off, (unsigned long long)s->bytes);
		return 0;
	}
}

static int compress(void *arg, struct span out, struct err *e)
{
	return segment_write(arg, out, e);
}

int snapshot_copy(struct snapshot *s, segment_sink *sink, void *arg, struct err *e)
{
	struct segment_writer *w = segment_writer_new(sink, arg);
	uint8_t *buf = malloc(PIECE_BYTES);
	int rc = -1;
	if (!w || !buf)
		err_set(e, ERR_FAIL, "no memory");
	else if (copy_pieces(s, compress, w, buf, e) == 0)
		rc = segment_finish(w, e);
	segment_writer_free(w);
	free(buf);
	return rc;
}

static int add_hashes(void *arg, struct span out, struct err *e)
{
	return page_hashes_add(arg, out, e);
}

int snapshot_hash_pages(struct snapshot *s, struct page_hashes *h, struct err *e)
{
	uint8_t *buf = malloc(PIECE_BYTES);
	int rc = buf ? copy_pieces(s, add_hashes, h, buf, e) : err_set(e, ERR_FAIL, "no memory");
	free(buf);
	if (rc == 0 && !s->exact)
		return err_set(e, ERR_BUSY, "the database was needed by somebody else meanwhile");
	return rc < 0 ? -1 : page_hashes_end(h, e);
}

void snapshot_close(struct snapshot *s)
{
	conn_close(&s->conn);
}
