/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of the WAL once more: see recapture.h.
 *
 * Happy path: the header of the WAL has the salts of what was captured, so every frame behind it whose checksum
 * continues the chain is the very frame that was captured. They are read in pieces and written to the spool as
 * segments that end with a commit, some megabytes each. They get their names when all are there, from the last
 * to the first, so that the spool has no hole at any moment.
 *
 * Failure modes: the WAL was begun anew meanwhile, or while it is read (the salts differ, or the chain breaks);
 * the spool cannot be written. When each commit was first seen is not known any more: none of them is newer
 * than the newest that was captured, and that time they get. */
#include "db/recapture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"

enum { PIECE_BYTES = 256 << 10, SEGMENT_BYTES = 8 << 20 };

struct head {
	struct capture *c;
	struct conn *conn;
	struct spool_file file;
	struct segment_writer *writer;
	struct wal_chain chain;
	struct spool_segment *made; /* newest first */
	struct index_commit *commits;
	size_t commits_n, commits_cap;
	uint64_t to, enough_at; /* the end; from here on the next end of a segment is enough for now */
	bool open, enough;
};

static int to_file(void *arg, struct span out, struct err *e)
{
	struct head *h = arg;
	return spool_add(&h->file, out, e);
}

static int add_commit(struct head *h, struct err *e)
{
	if (h->commits_n == h->commits_cap) {
		size_t cap = h->commits_cap ? h->commits_cap * 2 : 8;
		struct index_commit *more = realloc(h->commits, cap * sizeof *more);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory");
		h->commits = more;
		h->commits_cap = cap;
	}
	h->commits[h->commits_n++] = (struct index_commit){ h->chain.offset, h->c->at.wall_us };
	return 0;
}

static int begin_segment(struct head *h, uint64_t offset, struct err *e)
{
	struct position at = { h->c->at.index, offset };
	if (spool_begin(&h->c->spool, &h->c->at.generation, at, &h->file, e) < 0)
		return -1;
	h->open = true;
	return 0;
}

static int end_segment(struct head *h, struct err *e)
{
	struct spool_segment *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(e, ERR_FAIL, "no memory");
	int rc = segment_finish(h->writer, e);
	if (rc == 0 && sys_fdatasync(h->file.fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", h->file.temp);
	if (rc < 0) {
		free(s);
		return -1;
	}
	close(h->file.fd);
	h->file.fd = -1;
	h->open = false;
	*s = (struct spool_segment){ .next = h->made,
				     .generation = h->c->at.generation,
				     .at = h->file.at,
				     .end = h->chain.offset,
				     .prev_end = h->file.at.offset == 0 ? h->c->prev_end : 0,
				     .stored_bytes = h->file.stored_bytes,
				     .page_bytes = h->chain.page_bytes,
				     .commits = h->commits,
				     .commits_n = h->commits_n };
	memcpy(s->salt, h->chain.salt, sizeof s->salt);
	h->commits = NULL;
	h->commits_n = h->commits_cap = 0;
	h->made = s;
	h->enough = h->chain.offset >= h->enough_at;
	return 0;
}

/* 1: the header of the WAL is the one of what was captured. It goes first into a segment that begins there. */
static int look_at_header(struct head *h, bool write, struct err *e)
{
	uint8_t raw[WAL_HEADER_BYTES];
	struct wal_header wh;
	long n = conn_read_wal(h->conn, raw, sizeof raw, 0, e);
	if (n < 0)
		return -1;
	if (wal_header_parse((struct span){ raw, (size_t)n }, &wh) != WAL_OK ||
	    memcmp(wh.salt, h->c->at.chain.salt, sizeof wh.salt) != 0)
		return 0;
	if (!write)
		return 1;
	h->chain = wal_chain_start(&wh);
	if (begin_segment(h, 0, e) < 0)
		return -1;
	return segment_write(h->writer, (struct span){ raw, sizeof raw }, e) < 0 ? -1 : 1;
}

/* The whole frames in a piece. 1: good; 0: they are not those that were captured. */
static int add_frames(struct head *h, struct span in, struct err *e)
{
	size_t frame_bytes = (size_t)wal_frame_bytes(h->chain.page_bytes), from = 0, at = 0;
	for (; at < in.n && !h->enough; at += frame_bytes) {
		struct wal_frame f;
		if (!h->open && begin_segment(h, h->chain.offset, e) < 0)
			return -1;
		if (wal_chain_step(&h->chain, (struct span){ in.p + at, frame_bytes }, &f) != WAL_OK)
			return 0;
		if (!f.commit_pages)
			continue;
		if (add_commit(h, e) < 0)
			return -1;
		if (h->chain.offset - h->file.at.offset < SEGMENT_BYTES && h->chain.offset != h->to)
			continue;
		struct span out = { in.p + from, at + frame_bytes - from };
		if (segment_write(h->writer, out, e) < 0 || end_segment(h, e) < 0)
			return -1;
		from = at + frame_bytes;
	}
	if (from == at)
		return 1;
	return segment_write(h->writer, (struct span){ in.p + from, at - from }, e) < 0 ? -1 : 1;
}

/* Through the first end of a segment past the budget. 1: good; 0: the WAL was begun anew. */
static int go_on(struct head *h, uint8_t *buf, struct err *e)
{
	uint64_t frame_bytes = wal_frame_bytes(h->chain.page_bytes);
	uint64_t most = PIECE_BYTES / frame_bytes * frame_bytes;
	int rc = 1;
	h->enough_at = h->chain.offset + RECAPTURE_BUDGET_BYTES;
	while (rc > 0 && h->chain.offset < h->to && !h->enough) {
		size_t want = (size_t)(h->to - h->chain.offset < most ? h->to - h->chain.offset : most);
		long n = conn_read_wal(h->conn, buf, want, h->chain.offset, e);
		if (n < 0)
			return -1;
		if ((size_t)n < want || want % frame_bytes)
			return 0;
		rc = add_frames(h, (struct span){ buf, want }, e);
	}
	return rc > 0 && h->open ? 0 : rc; /* `to` is the end of a commit */
}

static void temp_path(const struct capture *c, const struct spool_segment *s, char buf[PATH_BYTES + 8])
{
	spool_path(&c->spool, &s->generation, s->at, buf);
	strcat(buf, ".tmp");
}

void recapture_forget(struct capture *c, struct recapture *r)
{
	char temp[PATH_BYTES + 8];
	for (struct spool_segment *s = r->made; s; s = s->next) {
		temp_path(c, s, temp);
		sys_unlink(temp);
	}
	spool_segments_free(r->made);
	*r = (struct recapture){ .index = 0 };
}

/* Names for all. When one cannot be had those that have theirs lose them again, the first one first. */
static int give_names(struct capture *c, struct recapture *r, struct err *e)
{
	char temp[PATH_BYTES + 8], path[PATH_BYTES];
	struct spool_segment *done = NULL; /* oldest first */
	while (r->made) {
		struct spool_segment *s = r->made;
		temp_path(c, s, temp);
		spool_path(&c->spool, &s->generation, s->at, path);
		if (sys_rename(temp, path) < 0) {
			err_sys(e, errno, "%s: cannot rename", temp);
			break;
		}
		c->spool.bytes += s->stored_bytes;
		r->made = s->next;
		s->next = done;
		done = s;
	}
	c->spool.names_unsynced = true;
	if (!r->made) {
		r->made = done;
		return 0;
	}
	struct err ignore;
	for (const struct spool_segment *s = done; s; s = s->next)
		spool_remove(&c->spool, &s->generation, s->at, s->stored_bytes, &ignore);
	spool_segments_free(done);
	return -1;
}

enum capture_result recapture(struct capture *c, struct conn *conn, struct recapture *r, uint64_t to,
			      struct err *e)
{
	struct head h = { .c = c, .conn = conn, .chain = r->chain, .made = r->made, .to = to, .file.fd = -1 };
	bool first = r->chain.offset == 0;
	bool same = generation_equal(&r->generation, &c->at.generation) && r->index == c->at.index &&
		    memcmp(r->chain.salt, c->at.chain.salt, 8) == 0;
	if (c->at.chain.offset < to || (!first && !same)) {
		recapture_forget(c, r);
		return CAPTURE_GAP;
	}
	uint8_t *buf = malloc(PIECE_BYTES);
	h.writer = segment_writer_new(to_file, &h);
	int rc = buf && h.writer ? look_at_header(&h, first, e) : err_set(e, ERR_FAIL, "no memory");
	if (rc > 0)
		rc = go_on(&h, buf, e);
	*r = (struct recapture){ c->at.generation, c->at.index, h.chain, h.made };
	if (rc > 0 && h.chain.offset == to && give_names(c, r, e) < 0)
		rc = -1;
	if (h.open)
		spool_abort(&h.file);
	segment_writer_free(h.writer);
	free(h.commits);
	free(buf);
	if (rc <= 0)
		recapture_forget(c, r);
	return rc < 0 ? CAPTURE_FAIL : rc == 0 ? CAPTURE_GAP : CAPTURE_OK;
}
