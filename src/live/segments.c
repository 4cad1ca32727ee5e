/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments on their way to followers: each is read from the spool once, in pieces that all followers share, and
 * goes out as it lies there.
 *
 * Happy path: a follower wants piece N of a segment. If somebody was sent it just now it is still here; else it
 * is read: what was written a moment ago is in memory, and is taken from there at once; what is not is read by
 * a worker, and whoever waits for it is woken. The first piece begins with the records' headers. The file of a
 * segment that has more than one is open as long as somebody is in the middle of it.
 *
 * Failure modes: the file cannot be read (whoever needs it is let go with the reason; the next one may have
 * more luck); no memory. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* preadv2 */
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "live/parts.h"

enum {
	BLOCK_BYTES = 32 << 10,
	KEPT_PIECES = 8, /* that nobody is being sent at this moment */
	COMMIT_BYTES = 16,
	FILES_MAX = 32, /* open at once, for each database; others are opened for each piece */
};

struct segment_file {
	struct segment_file *next;
	const struct spool_segment *seg; /* NULL: it has left the list */
	_Atomic int fd;			 /* -1: nobody has read yet */
	unsigned refs;			 /* followers, and pieces that are being read */
};

struct piece {
	struct piece *next;
	struct live_db *db;
	const struct spool_segment *seg; /* NULL: it has left the list */
	unsigned block;
	struct bytes *b;
	uint8_t *into; /* where the bytes of the file go, and which: */
	size_t n;
	uint64_t from;
	char path[PATH_BYTES];
	struct segment_file *file; /* while it is read; NULL: opened for this piece alone */
	struct task task;
	struct err e;
	bool out, bad;
};

static unsigned blocks_of(const struct spool_segment *s)
{
	return s->stored_bytes ? (unsigned)((s->stored_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES) : 1;
}

/* ---- files ---- */

/* NULL: too many are open, or no memory. */
static struct segment_file *file_get(struct live_db *d, const struct spool_segment *s)
{
	struct segment_file *f = d->files;
	size_t n = 0;
	for (; f && f->seg != s; f = f->next)
		n++;
	if (!f && n < FILES_MAX && (f = malloc(sizeof *f))) {
		*f = (struct segment_file){ .next = d->files, .seg = s, .fd = -1 };
		d->files = f;
	}
	if (f)
		f->refs++;
	return f;
}

static void file_put(struct live_db *d, struct segment_file *f)
{
	struct segment_file **at = &d->files;
	if (!f || --f->refs > 0)
		return;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	if (f->fd >= 0)
		close(f->fd);
	free(f);
}

/* Worker or loop. */
static int piece_open(struct piece *p)
{
	int fd = p->file ? atomic_load(&p->file->fd) : -1, none = -1;
	if (fd >= 0 || (fd = open(p->path, O_RDONLY | O_CLOEXEC)) < 0 || !p->file)
		return fd;
	if (atomic_compare_exchange_strong(&p->file->fd, &none, fd))
		return fd;
	close(fd); /* another worker was faster */
	return none;
}

static void piece_close(const struct piece *p, int fd)
{
	if (!p->file)
		close(fd);
}

/* ---- making a piece ---- */

static size_t commits_bytes(const struct spool_segment *s)
{
	return s->commits_n ? RECORD_HEADER_BYTES + s->commits_n * COMMIT_BYTES + RECORD_SEAL_BYTES : 0;
}

static size_t write_commits(uint8_t *to, const struct spool_segment *s)
{
	size_t n = commits_bytes(s);
	if (n == 0)
		return 0;
	struct record r = { .type = RECORD_COMMITS,
			    .generation = s->generation,
			    .at = s->at,
			    .size_bytes = n - RECORD_HEADER_BYTES };
	uint8_t *at = to + RECORD_HEADER_BYTES;
	record_write(to, &r);
	for (size_t i = 0; i < s->commits_n; i++, at += COMMIT_BYTES) {
		put_be64(at, s->commits[i].offset);
		put_be64(at + 8, (uint64_t)s->commits[i].wall_us);
	}
	record_seal(to, n);
	return n;
}

/* Everything but the bytes of the file. */
static struct piece *piece_new(struct live_db *d, const struct spool_segment *s, unsigned block)
{
	struct spool spool = { .dir = d->spool_dir };
	struct piece *p = calloc(1, sizeof *p);
	uint64_t from = (uint64_t)block * BLOCK_BYTES;
	size_t n = s->stored_bytes - from < BLOCK_BYTES ? (size_t)(s->stored_bytes - from) : BLOCK_BYTES;
	size_t head = block == 0 ? commits_bytes(s) + RECORD_HEADER_BYTES : 0;
	if (!p || !(p->b = bytes_new(head + n))) {
		free(p);
		return NULL;
	}
	p->db = d;
	p->seg = s;
	p->block = block;
	p->from = from;
	p->n = n;
	p->into = p->b->p + head;
	spool_path(&spool, &s->generation, s->at, p->path);
	if (block > 0)
		return p;
	struct record r = {
		.type = RECORD_SEGMENT, .generation = s->generation, .at = s->at, .size_bytes = s->stored_bytes
	};
	p->b->plain_at = write_commits(p->b->p, s);
	record_write(p->b->p + p->b->plain_at, &r);
	return p;
}

static void piece_free(struct piece *p)
{
	bytes_put(p->b);
	free(p);
}

/* Those that nobody is being sent go, but for a few: one who comes a moment later wants the same. */
static void trim_pieces(struct live_db *d)
{
	struct piece **at = &d->pieces;
	size_t kept = 0;
	while (*at) {
		struct piece *p = *at;
		bool idle = !p->out && p->b->refs == 1;
		if (!idle || (p->seg && !p->bad && kept++ < KEPT_PIECES)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		d->pieces_n--;
		piece_free(p);
	}
}

/* Without waiting for the disk. */
static bool read_at_once(struct piece *p)
{
	struct iovec to = { p->into, p->n };
	int fd = piece_open(p);
	if (fd < 0)
		return false;
	ssize_t n = preadv2(fd, &to, 1, (off_t)p->from, RWF_NOWAIT);
	piece_close(p, fd);
	return n == (ssize_t)p->n;
}

static int read_run(struct task *t)
{
	struct piece *p = LIVE_OWNER(t, struct piece, task);
	int fd = piece_open(p);
	if (fd < 0)
		return err_sys(&p->e, errno, "%s: cannot be opened", p->path);
	ssize_t n = file_pread_full(fd, p->path, p->into, p->n, (off_t)p->from, &p->e);
	piece_close(p, fd);
	if (n >= 0 && n < (ssize_t)p->n)
		return err_set(&p->e, ERR_DAMAGED, "%s: is shorter than it was", p->path);
	return n < 0 ? -1 : 0;
}

static void read_done(struct task *t)
{
	struct piece *p = LIVE_OWNER(t, struct piece, task);
	struct live_db *d = p->db;
	d->jobs--;
	p->out = false;
	file_put(d, p->file);
	p->file = NULL;
	p->bad = t->rc < 0;
	p->seg = d->n > 0 ? p->seg : NULL;
	if (p->bad && p->seg)
		log_error("a segment cannot be read for followers", L_S("db", d->path),
			  L_S("error", p->e.text));
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->waits != p)
			continue;
		f->waits = NULL;
		if (p->bad)
			follower_end(f, "a segment cannot be read");
		else
			follower_wake(f);
	}
	trim_pieces(d);
	d->ops.mark(d->arg);
}

/* What was captured just now lies in memory. */
static bool is_fresh(const struct live_db *d, const struct spool_segment *s)
{
	return generation_equal(&s->generation, &d->now.generation) &&
	       position_compare(s->at, d->fresh_at) >= 0;
}

/* NULL: not there yet (f->waits), or the follower is let go. */
static struct bytes *piece_get(struct follower *f, const struct spool_segment *s, unsigned block)
{
	struct live_db *d = f->db;
	struct piece *p = d->pieces;
	while (p && (p->seg != s || p->block != block || p->bad))
		p = p->next;
	if (!p) {
		if (!(p = piece_new(d, s, block))) {
			follower_end(f, "no memory");
			return NULL;
		}
		p->next = d->pieces;
		d->pieces = p;
		if (++d->pieces_n > 2 * KEPT_PIECES)
			trim_pieces(d);
		if ((p->file = f->file))
			p->file->refs++;
		if (is_fresh(d, s) && read_at_once(p)) {
			file_put(d, p->file);
			p->file = NULL;
		} else {
			p->out = true;
			p->task = (struct task){
				.run = read_run, .done = read_done, .class = TASK_QUICK, .urgent = true
			};
			live_submit(d, &p->task);
		}
	}
	if (!p->out)
		return bytes_get(p->b);
	f->waits = p;
	return NULL;
}

void segments_leave(struct follower *f)
{
	file_put(f->db, f->file);
	f->file = NULL;
}

void segments_forget(struct live_db *d, const struct spool_segment *s)
{
	for (struct segment_file *f = d->files; f; f = f->next)
		if (f->seg == s)
			f->seg = NULL;
	for (struct piece *p = d->pieces; p; p = p->next)
		if (p->seg == s)
			p->seg = NULL;
	trim_pieces(d);
}

void segments_drop(struct live_db *d)
{
	for (struct piece *p = d->pieces; p; p = p->next)
		if (!p->out)
			p->seg = NULL;
	trim_pieces(d);
}

/* ---- what a follower is sent ---- */

static bool continues(const struct follower *f, const struct spool_segment *s)
{
	if (!generation_equal(&s->generation, &f->generation))
		return false;
	if (position_compare(s->at, f->at) == 0)
		return true;
	return s->at.index == f->at.index + 1 && s->at.offset == 0 && s->prev_end == f->at.offset;
}

static void no_more(struct follower *f)
{
	const struct live_db *d = f->db;
	if (!generation_equal(&f->generation, &d->now.generation))
		follower_end(f, "a new generation has begun");
	else if (d->ended)
		follower_end(f, d->end_why);
	else if (position_compare(f->at, d->now.captured) != 0 && position_compare(f->at, d->now.last) != 0)
		follower_end(f, "what comes next is not there any more");
}

static bool same_index(const struct spool_segment *a, const struct spool_segment *b)
{
	return a->at.index == b->at.index && generation_equal(&a->generation, &b->generation);
}

static bool ends_with_commit(const struct spool_segment *s)
{
	return s->end <= WAL_HEADER_BYTES ||
	       (s->commits_n > 0 && s->commits[s->commits_n - 1].offset == s->end);
}

const struct spool_segment *segments_whole(const struct spool_segment *from)
{
	const struct spool_segment *last = NULL;
	for (const struct spool_segment *s = from; s && same_index(s, from); s = s->next)
		if (ends_with_commit(s))
			last = s;
	return last;
}

/* A plain client gets whole transactions: segments that are none by themselves as one, as soon as the end has
 * come. */
static struct bytes *next_joined(struct follower *f)
{
	const struct live_db *d = f->db;
	const struct spool_segment *s = f->seg;
	f->waits_for_end = false;
	if (segments_whole(s)) {
		f->from = s->at;
		f->phase = PHASE_CONTENT;
		f->resumes = true;
		if (copy_begin(f) < 0)
			follower_end(f, "no memory");
		return NULL;
	}
	for (; s && same_index(s, f->seg); s = s->next)
		f->at = (struct position){ s->at.index, s->end };
	if (s) { /* that end never comes: its writer died, and the next index has begun */
		f->seg = s;
		return segments_next(f);
	}
	f->at = f->seg->at;
	f->waits_for_end = true;
	if (!generation_equal(&f->generation, &d->now.generation))
		follower_end(f, "a new generation has begun");
	else if (d->ended)
		follower_end(f, d->end_why);
	return NULL;
}

struct bytes *segments_next(struct follower *f)
{
	const struct spool_segment *s = f->seg;
	if (!s) {
		no_more(f);
		return NULL;
	}
	if (f->block == 0 && !continues(f, s)) {
		bool other = !generation_equal(&s->generation, &f->generation);
		follower_end(f, other ? "a new generation has begun" : "what comes next is not there any more");
		return NULL;
	}
	if (f->block == 0 && !f->extended && !ends_with_commit(s))
		return next_joined(f);
	if (!f->file && blocks_of(s) > 1)
		f->file = file_get(f->db, s);
	struct bytes *b = piece_get(f, s, f->block);
	if (!b)
		return NULL;
	if (++f->block < blocks_of(s))
		return b;
	segments_leave(f);
	f->block = 0;
	f->at = (struct position){ s->at.index, s->end };
	f->seg = s->next;
	f->segments++;
	return b;
}
