/* SPDX-License-Identifier: Apache-2.0
 *
 * One transaction in the follower's own WAL, published so that readers see all of it or nothing.
 *
 * Happy path:
 *   1. The log is empty: a header with new salts is written and synced. Salts found are never used again:
 * behind them there may be frames of a transaction that was not published.
 *   2. Frames are put together in memory with our salts and our chain; when there are many, they are written
 * out. Nobody sees them, since they are behind mxFrame.
 *   3. The blocks of the index that they need are mapped (a full disk ends it here), the frames written, the
 *      entries of the index made.
 *   4. The position record is written: the state before, the state after.
 *   5. The header of the index is written: now readers see it.
 *
 * The write lock is ours for as long as the follower is open (vfs_keep_write), and no transaction of SQLite's
 * is open on our connection: so there is no snapshot of ours that could be stale or in the way of a checkpoint,
 * nothing to commit or to roll back after step 5, and no moment in which somebody else could write.
 *
 * What is synced, and why the rest need not be:
 *   - the WAL header before the first frame: otherwise, after a loss of power, the old header could make old
 *     frames valid again, over pages of the database file that are newer;
 *   - WAL and database file by SQLite's own checkpoint, in its order;
 *   - nothing for a single transaction. A frame counts only if the checksum chain from the header to it is
 *     whole, so what a loss of power leaves is a prefix of what was published: a committed state of the source.
 *     The position record names a state of the WAL by its salts, its length and its last checksum; that it
 *     fits is proof of the content, and when it does not fit, pages are compared.
 *
 * Failure modes: no room, an error of the disk: nothing is visible, the transaction is dropped, what it left
 * behind mxFrame is overwritten by the next one. After step 5 nothing can fail. */
#include "db/follow_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "db/vfs.h"

enum {
	BUF_FIRST_BYTES = 32768,
	BUF_MAX_BYTES = 512 << 10,
	WRITE_MAX_BYTES = 65536 /* SQLite's xWrite takes less than 128 KiB */
};

void txn_reset(struct follow *f)
{
	f->chain = (struct wal_chain){ .page_bytes = f->page_bytes,
				       .big_endian = f->live.big_endian,
				       .sum = f->live.frame_sum,
				       .offset = wal_offset_of(f->page_bytes, f->live.mx_frame) };
	memcpy(f->chain.salt, f->live.salt, sizeof f->chain.salt);
	f->frames = f->live.mx_frame;
	f->log_begun = false;
	f->buf_n = 0;
}

static int sqlite_error(int rc, const char *what, struct err *e)
{
	enum err_kind kind = (rc & 0xff) == SQLITE_FULL ? ERR_SPACE : ERR_UNREACHABLE;
	return err_set(e, kind, "%s: %s", what, sqlite3_errstr(rc));
}

/* The second salt tells cycles apart; the first one counts, as SQLite's does. */
static void new_salt(const uint8_t old[8], uint8_t salt[8])
{
	uint32_t random[2];
	sqlite3_randomness(sizeof random, random);
	uint32_t count = get_be32(old);
	put_be32(salt, count ? count + 1 : random[0]);
	put_be32(salt + 4, random[1]);
}

static int begin_log(struct follow *f, struct err *e)
{
	uint8_t raw[WAL_HEADER_BYTES];
	struct wal_header h = { .page_bytes = f->page_bytes, .checkpoint_seq = f->checkpoint_seq++ };
	new_salt(f->live.salt, h.salt);
	wal_header_write(raw, &h);
	int rc = f->conn.wal_file->pMethods->xWrite(f->conn.wal_file, raw, sizeof raw, 0);
	if (rc != SQLITE_OK)
		return sqlite_error(rc, "the header of the WAL cannot be written", e);
	if (conn_sync_wal(&f->conn, e) < 0)
		return -1;
	h.sum = (struct wal_sum){ get_be32(raw + 24), get_be32(raw + 28) };
	f->chain = wal_chain_start(&h);
	f->log_begun = true;
	return 0;
}

static int write_frames(struct follow *f, struct err *e)
{
	sqlite3_file *wal = f->conn.wal_file;
	uint64_t at = f->chain.offset - f->buf_n;
	for (size_t done = 0, n; done < f->buf_n; done += n) {
		n = f->buf_n - done < WRITE_MAX_BYTES ? f->buf_n - done : WRITE_MAX_BYTES;
		int rc = wal->pMethods->xWrite(wal, f->buf + done, (int)n, (sqlite3_int64)(at + done));
		if (rc != SQLITE_OK)
			return sqlite_error(rc, "the WAL cannot be written", e);
	}
	return 0;
}

int txn_flush(struct follow *f, struct err *e)
{
	size_t each = (size_t)wal_frame_bytes(f->page_bytes);
	uint32_t n = (uint32_t)(f->buf_n / each), first = f->frames - n + 1;
	if (n == 0)
		return 0;
	if (walindex_need(&f->index, f->frames, e) < 0)
		goto fail;
	if (write_frames(f, e) < 0)
		goto fail;
	for (uint32_t i = 0; i < n; i++)
		walindex_add(&f->index, first + i, get_be32(f->buf + i * each));
	f->n.frames += n;
	f->buf_n = 0;
	return 0;
fail:
	err_wrap(e, "%s", f->o.path);
	txn_reset(f);
	return -1;
}

static int make_room(struct follow *f, size_t n, struct err *e)
{
	if (f->buf_n + n <= f->buf_cap)
		return 0;
	if (f->buf_cap >= BUF_MAX_BYTES)
		return txn_flush(f, e);
	size_t cap = f->buf_cap ? 2 * f->buf_cap : BUF_FIRST_BYTES;
	while (cap < f->buf_n + n)
		cap *= 2;
	uint8_t *more = realloc(f->buf, cap);
	if (!more) {
		txn_reset(f);
		return err_set(e, ERR_FAIL, "%s: no memory for the frames of a transaction", f->o.path);
	}
	f->buf = more;
	f->buf_cap = cap;
	return 0;
}

int txn_frame(struct follow *f, uint32_t pgno, uint32_t commit_pages, const uint8_t *page, struct err *e)
{
	size_t each = (size_t)wal_frame_bytes(f->page_bytes);
	if (f->frames == 0 && !f->log_begun && begin_log(f, e) < 0) {
		err_wrap(e, "%s", f->o.path);
		txn_reset(f);
		return -1;
	}
	if (make_room(f, each, e) < 0)
		return -1;
	uint8_t *to = f->buf + f->buf_n;
	memcpy(to + WAL_FRAME_HEADER_BYTES, page, f->page_bytes);
	wal_frame_write(&f->chain, pgno, commit_pages, to + WAL_FRAME_HEADER_BYTES, to);
	f->buf_n += each;
	f->frames++;
	return 0;
}

/* A mark of ours: SQLite only compares it, and counts from what it finds, as a local writer would; so it must
 * not be one more than the last. 0 is what a recovery leaves. */
static uint32_t next_change(uint32_t was)
{
	enum { APART = 1 << 20 };
	uint32_t change;
	do
		sqlite3_randomness(sizeof change, &change);
	while (change < APART || change - was < APART || was - change < APART);
	return change;
}

int txn_publish(struct follow *f, uint32_t pages, const struct follow_source *to, struct err *e)
{
	assert(f->frames > f->live.mx_frame || f->log_begun);
	if (txn_flush(f, e) < 0)
		return -1;
	struct wal_index h = { .change = next_change(f->live.change),
			       .big_endian = f->chain.big_endian,
			       .page_bytes = f->page_bytes,
			       .mx_frame = f->frames,
			       .pages = pages,
			       .frame_sum = f->chain.sum };
	memcpy(h.salt, f->chain.salt, sizeof h.salt);
	struct follow_place p = { .before = { .local = follow_local_of(&f->live) },
				  .after = { .local = follow_local_of(&h), .source = *to },
				  .inode = f->inode };
	if (f->known)
		p.before.source = f->at;
	if (follow_place_write(&f->place, &p, e) < 0) {
		txn_reset(f);
		return -1;
	}
	walindex_publish(&f->index, &h, f->raw);
	f->live = h;
	f->pages = pages;
	f->at = *to;
	f->known = true;
	f->n.published++;
	txn_reset(f);
	return 0;
}

int txn_read_page(struct follow *f, uint32_t limit, uint32_t pgno, uint8_t *page, struct err *e)
{
	long got;
	if (limit && walindex_need(&f->index, limit, e) < 0)
		return -1;
	uint32_t frame = walindex_find(&f->index, limit, pgno);
	if (frame)
		got = conn_read_wal(&f->conn, page, f->page_bytes,
				    wal_offset_of(f->page_bytes, frame - 1) + WAL_FRAME_HEADER_BYTES, e);
	else
		got = conn_read_db(&f->conn, page, f->page_bytes, (uint64_t)(pgno - 1) * f->page_bytes, e);
	if (got < 0)
		return err_wrap(e, "%s", f->o.path);
	if (got < (long)f->page_bytes && frame)
		return err_set(e, ERR_DAMAGED, "%s-wal: ends inside frame %u", f->o.path, frame);
	memset(page + got, 0, f->page_bytes - (size_t)got);
	return 0;
}

enum follow_result txn_anchor(struct follow *f, struct err *e)
{
	if (!f->known || f->live.mx_frame != 0)
		return FOLLOW_OK;
	enum follow_result rc = FOLLOW_FAIL;
	struct follow_source at = f->at;
	uint8_t *page = malloc(f->page_bytes);
	if (!page)
		return err_set(e, ERR_FAIL, "%s: no memory for a page", f->o.path);
	if (txn_read_page(f, 0, 1, page, e) == 0 && txn_frame(f, 1, f->pages, page, e) == 0 &&
	    txn_publish(f, f->pages, &at, e) == 0)
		rc = FOLLOW_OK;
	free(page);
	return rc;
}
