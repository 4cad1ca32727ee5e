/* SPDX-License-Identifier: Apache-2.0
 *
 * Content: what a follower is sent before segments, when what it has cannot be continued.
 *
 * Happy path, extended: a worker reads the database file in pieces of 1 MiB through a connection of SQLite's
 * (we never open or close the file ourselves: that would drop the locks of this process), two pieces ahead of
 * what is sent. At its end a step is asked for; when one that began after that has captured everything,
 * COMPLETE says through which position the WAL is needed, and segments follow. Plain: the same with the records
 * that exact.c has made. Only a few contents are sent at once, for all databases; the others wait in line.
 *
 * Failure modes: the follower leaves (its job ends at its next look); the file cannot be read, or was let go
 * (told, closed); a receiver so slow that others wait for its place in vain (let go). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/clock.h"
#include "base/log.h"
#include "live/parts.h"

#include <xxhash.h>

enum {
	READY_MAX = 2,
	SLOW_US = 30000000,
	SLOW_BYTES = 2 << 20, /* less than this in that time, while others wait */
	DB_HEADER_BYTES = 100,
};

enum copy_phase { COPY_EXACT, COPY_LINE, COPY_READ, COPY_ENDED, COPY_STEP, COPY_OVER };

struct copy {
	struct live_db *d;
	struct follower *f; /* NULL: it has gone */
	enum copy_phase phase;
	struct copy *next, **at; /* in line */
	bool has_place, out, lz4, extended;
	struct exact *exact; /* of a plain stream */
	struct snapshot s;
	struct generation generation;
	struct position from;
	uint64_t off; /* of the next piece; bits: of the bitmap */
	uint32_t page_bytes;
	uint8_t *bitmap; /* of the follower, taken over */
	size_t bitmap_bits;
	bool only_differing;
	struct bytes *ready[READY_MAX]; /* made, not sent yet */
	unsigned ready_n;
	struct bytes *made[2]; /* by the job that is out: CONTENT, and a piece */
	bool at_end, begun;    /* the job's as well */
	uint64_t end_step;
	struct position through; /* the WAL is needed */
	XXH64_state_t *sum;	 /* of what is sent, as docs/live.md says */
	struct task task;
	struct err e;
	uint64_t slow_from; /* bytes sent when the look at its pace began */
	int64_t slow_us;
	_Atomic bool cancel;
};

/* ---- places ---- */

bool copy_full(const struct live_server *s)
{
	return s->waiting >= LIVE_WAITING_MAX;
}

static void read_on(struct copy *c);

static void leave_line(struct copy *c)
{
	struct live_server *s = c->d->server;
	if (!c->at)
		return;
	if ((*c->at = c->next))
		c->next->at = c->at;
	else
		s->end = c->at;
	c->at = NULL;
	s->waiting--;
}

static void call_next(struct live_server *s)
{
	while (s->first && s->copies_out < LIVE_COPIES_MAX) {
		struct copy *c = s->first;
		leave_line(c);
		c->has_place = true;
		s->copies_out++;
		c->phase = COPY_READ;
		c->slow_us = mono_us();
		read_on(c);
	}
}

static void line_up(struct copy *c)
{
	struct live_server *s = c->d->server;
	c->phase = COPY_LINE;
	c->next = NULL;
	c->at = s->end;
	*s->end = c;
	s->end = &c->next;
	s->waiting++;
	call_next(s);
}

static void give_place(struct copy *c)
{
	struct live_server *s = c->d->server;
	if (!c->has_place)
		return;
	c->has_place = false;
	s->copies_out--;
	call_next(s);
}

/* ---- the worker's part ---- */

enum { PLACE_AT = 8, PLACE_BYTES = 24 }; /* generation, index and offset in the header of a record */

static void add_to_sum(struct copy *c, const struct record *r, struct span payload)
{
	uint8_t head[RECORD_HEADER_BYTES];
	record_write(head, r);
	XXH64_update(c->sum, head + PLACE_AT, PLACE_BYTES);
	if (payload.n > 0)
		XXH64_update(c->sum, payload.p, payload.n);
}

static struct bytes *content_record(struct copy *c, uint64_t file_bytes)
{
	struct record r = {
		.type = RECORD_CONTENT, .generation = c->generation, .at = c->from, .size_bytes = 12
	};
	struct bytes *b = bytes_record(&r);
	if (!b)
		return NULL;
	uint8_t *p = b->p + RECORD_HEADER_BYTES;
	put_be32(p, c->page_bytes);
	put_be32(p + 4, (uint32_t)(file_bytes / c->page_bytes));
	put_be32(p + 8, c->only_differing);
	add_to_sum(c, &r, (struct span){ p, 12 });
	return b;
}

static int begin_reading(struct copy *c, struct err *e)
{
	uint8_t h[DB_HEADER_BYTES];
	sqlite3_int64 size = 0;
	if (snapshot_open_fuzzy(&c->s, c->d->path, e) < 0)
		return -1;
	long n = conn_read_db(&c->s.conn, h, sizeof h, 0, e);
	if (n < 0)
		return -1;
	sqlite3_file *file = c->s.conn.file;
	if (n < (long)sizeof h || file->pMethods->xFileSize(file, &size) != SQLITE_OK)
		return err_set(e, ERR_BUSY, "%s: has no content yet", c->d->path);
	c->page_bytes = (uint32_t)h[16] << 8 | h[17];
	if (c->page_bytes == 1)
		c->page_bytes = PAGE_BYTES_MAX;
	if (!page_bytes_valid(c->page_bytes))
		return err_set(e, ERR_DAMAGED, "%s: has no page size", c->d->path);
	c->made[0] = content_record(c, (uint64_t)size);
	c->begun = true;
	return c->made[0] ? 0 : err_set(e, ERR_FAIL, "no memory");
}

/* All bytes in order. */
static int read_whole(struct copy *c, struct bytes *b, size_t *ret_n, struct err *e)
{
	long n = conn_read_db(&c->s.conn, b->p + RECORD_HEADER_BYTES, LIVE_PIECE_BYTES, c->off, e);
	if (n < 0)
		return -1;
	c->off += (uint64_t)n;
	c->at_end = n < LIVE_PIECE_BYTES;
	*ret_n = (size_t)n;
	return 0;
}

/* Those whose bit is set, each with its number. Here `off` counts bits. */
static int read_differing(struct copy *c, struct bytes *b, size_t *ret_n, struct err *e)
{
	uint8_t *p = b->p + RECORD_HEADER_BYTES;
	size_t n = 0;
	for (; c->off < c->bitmap_bits && n + 4 + c->page_bytes <= LIVE_PIECE_BYTES; c->off++) {
		if (!(c->bitmap[c->off / 8] >> (c->off % 8) & 1))
			continue;
		long got = conn_read_db(&c->s.conn, p + n + 4, c->page_bytes, c->off * c->page_bytes, e);
		if (got < 0)
			return -1;
		if (got < (long)c->page_bytes) { /* the file ends before it */
			c->off = c->bitmap_bits;
			break;
		}
		put_be32(p + n, (uint32_t)c->off + 1);
		n += 4 + c->page_bytes;
	}
	c->at_end = c->off >= c->bitmap_bits;
	*ret_n = n;
	return 0;
}

static int collect(void *arg, struct span out, struct err *e)
{
	return dyn_add(arg, out.p, out.n) < 0 ? err_set(e, ERR_FAIL, "no memory") : 0;
}

/* The payload as one LZ4 frame, if that is shorter. */
static struct bytes *compress(struct bytes *b, struct record *r, struct err *e)
{
	struct dyn out = DYN_INIT(4 << 20);
	struct segment_writer *w = segment_writer_new(collect, &out);
	bool good = w && segment_write(w, (struct span){ b->p + RECORD_HEADER_BYTES, r->size_bytes }, e) == 0 &&
		    segment_finish(w, e) == 0 && out.len < r->size_bytes;
	segment_writer_free(w);
	if (good) {
		r->size_bytes = out.len;
		r->flags = RECORD_LZ4;
		memcpy(b->p + RECORD_HEADER_BYTES, out.p, out.len);
		b->n = RECORD_HEADER_BYTES + out.len;
	}
	dyn_free(&out);
	return b;
}

static int read_pages(struct copy *c, struct err *e)
{
	struct bytes *b = bytes_new(RECORD_HEADER_BYTES + LIVE_PIECE_BYTES);
	struct record r = { .type = RECORD_PAGES,
			    .generation = c->generation,
			    .at = { c->from.index, c->only_differing ? 0 : c->off } };
	size_t n = 0;
	if (!b)
		return err_set(e, ERR_FAIL, "no memory");
	int rc = c->only_differing ? read_differing(c, b, &n, e) : read_whole(c, b, &n, e);
	r.size_bytes = n;
	b->n = RECORD_HEADER_BYTES + n;
	if (rc == 0 && n > 0)
		add_to_sum(c, &r, (struct span){ b->p + RECORD_HEADER_BYTES, n });
	if (rc == 0 && n > 0 && c->lz4)
		b = compress(b, &r, e);
	record_write(b->p, &r);
	if (rc == 0 && n > 0)
		c->made[1] = b;
	else
		bytes_put(b);
	return rc;
}

static int read_exact(struct copy *c, struct err *e)
{
	struct bytes *b = bytes_new(LIVE_PIECE_BYTES);
	long n =
		b ? exact_read(c->exact, b->p, LIVE_PIECE_BYTES, c->off, e) : err_set(e, ERR_FAIL, "no memory");
	c->at_end = n < LIVE_PIECE_BYTES;
	if (n <= 0) {
		bytes_put(b);
		return (int)n;
	}
	b->n = (size_t)n;
	c->off += (uint64_t)n;
	c->made[1] = b;
	return 0;
}

static int read_run(struct task *t)
{
	struct copy *c = LIVE_OWNER(t, struct copy, task);
	int rc = 0;
	if (!atomic_load(&c->cancel)) {
		if (c->exact)
			rc = read_exact(c, &c->e);
		else if (c->begun || (rc = begin_reading(c, &c->e)) == 0)
			rc = read_pages(c, &c->e);
	}
	if (rc < 0 || c->at_end || atomic_load(&c->cancel))
		snapshot_close(&c->s);
	return rc;
}

/* ---- the loop's part ---- */

static void copy_free(struct copy *c)
{
	struct live_db *d = c->d;
	leave_line(c);
	for (unsigned i = 0; i < c->ready_n; i++)
		bytes_put(c->ready[i]);
	bytes_put(c->made[0]);
	bytes_put(c->made[1]);
	exact_put(c->exact);
	XXH64_freeState(c->sum);
	free(c->bitmap);
	d->copies--;
	give_place(c);
	free(c);
	d->ops.mark(d->arg);
}

static int close_run(struct task *t)
{
	snapshot_close(&LIVE_OWNER(t, struct copy, task)->s);
	return 0;
}

static void close_done(struct task *t)
{
	struct copy *c = LIVE_OWNER(t, struct copy, task);
	c->d->jobs--;
	copy_free(c);
}

/* Nobody wants it any more. Closing a connection is nothing for the loop. */
static void copy_end(struct copy *c)
{
	c->f = NULL;
	atomic_store(&c->cancel, true);
	leave_line(c);
	if (c->out)
		return; /* when it is back */
	if (!conn_is_open(&c->s.conn)) {
		copy_free(c);
		return;
	}
	c->out = true;
	c->task = (struct task){ .run = close_run, .done = close_done, .class = TASK_QUICK };
	live_submit(c->d, &c->task);
}

void copy_leave(struct follower *f)
{
	struct copy *c = f->copy;
	f->copy = NULL;
	if (c)
		copy_end(c);
}

/* All is read. */
static void ended(struct copy *c)
{
	give_place(c);
	if (c->exact) {
		c->phase = COPY_OVER;
		return;
	}
	c->phase = COPY_STEP;
	c->end_step = c->d->now.steps_begun + 1;
	c->d->ops.step(c->d->arg);
}

static void read_done(struct task *t)
{
	struct copy *c = LIVE_OWNER(t, struct copy, task);
	struct live_db *d = c->d;
	d->jobs--;
	c->out = false;
	if (!c->f) {
		copy_end(c);
		d->ops.mark(d->arg);
		return;
	}
	for (int i = 0; i < 2; i++) {
		if (c->made[i])
			c->ready[c->ready_n++] = c->made[i];
		c->made[i] = NULL;
	}
	if (t->rc < 0) {
		log_error("content cannot be read for a follower", L_S("db", d->path), L_S("error", c->e.text));
		follower_end(c->f, "the content cannot be read");
		return;
	}
	if (c->at_end)
		ended(c);
	else
		read_on(c);
	follower_wake(c->f);
	d->ops.mark(d->arg);
}

static void read_on(struct copy *c)
{
	/* The first job may bring two. */
	if (c->phase != COPY_READ || c->out || c->at_end ||
	    c->ready_n + (c->begun || c->exact ? 1 : 2) > READY_MAX)
		return;
	c->out = true;
	c->task = (struct task){ .run = read_run, .done = read_done, .class = TASK_QUICK };
	live_submit(c->d, &c->task);
}

int copy_begin(struct follower *f)
{
	struct live_db *d = f->db;
	struct copy *c = calloc(1, sizeof *c);
	if (!c)
		return -1;
	*c = (struct copy){ .d = d,
			    .f = f,
			    .extended = f->extended,
			    .lz4 = f->lz4,
			    .generation = f->generation,
			    .from = f->from,
			    .bitmap = f->bitmap,
			    .bitmap_bits = f->bitmap_bytes * 8,
			    .only_differing = f->only_differing };
	f->bitmap = NULL;
	d->copies++;
	f->copy = c;
	if (f->extended) {
		if (!(c->sum = XXH64_createState())) {
			copy_leave(f);
			return -1;
		}
		XXH64_reset(c->sum, 0);
		line_up(c);
		return 0;
	}
	if (!(c->exact = f->resumes ? exact_of(d, &f->generation, f->from) : exact_get(d))) {
		copy_leave(f);
		return -1;
	}
	f->from = exact_from(c->exact);
	c->phase = COPY_EXACT;
	if (exact_state(c->exact) == EXACT_READY)
		line_up(c);
	return 0;
}

static struct bytes *complete(struct copy *c, struct follower *f)
{
	struct record r = {
		.type = RECORD_COMPLETE, .generation = c->generation, .at = c->through, .size_bytes = 8
	};
	struct bytes *b = bytes_record(&r);
	if (!b) {
		follower_end(f, "no memory");
		return NULL;
	}
	add_to_sum(c, &r, (struct span){ NULL, 0 });
	put_be64(b->p + RECORD_HEADER_BYTES, XXH64_digest(c->sum));
	follower_goes_on(f, c->from);
	copy_leave(f);
	return b;
}

struct bytes *copy_next(struct follower *f)
{
	struct copy *c = f->copy;
	if (c->ready_n > 0) {
		struct bytes *b = c->ready[0];
		c->ready[0] = c->ready[1];
		c->ready_n--;
		read_on(c);
		return b;
	}
	if (c->phase == COPY_OVER && c->exact) { /* all of its index was in it */
		f->generation = *exact_generation(c->exact);
		follower_goes_on(f, exact_at(c->exact));
		copy_leave(f);
		return segments_next(f);
	}
	return c->phase == COPY_OVER ? complete(c, f) : NULL;
}

/* The end of what is captured: never the beginning of an index of which there is nothing yet. */
static struct position end_of_segments(const struct live_db *d)
{
	const struct spool_segment *s = d->now.segs;
	if (d->now.last.offset > 0 || !s)
		return d->now.last;
	while (s->next)
		s = s->next;
	return generation_equal(&s->generation, &d->now.generation) ? (struct position){ s->at.index, s->end }
								    : d->now.last;
}

/* A step is over, or an exact content has got on. */
static void look_at(struct follower *f)
{
	struct copy *c = f->copy;
	struct live_db *d = f->db;
	if (c->phase == COPY_STEP) {
		if (d->now.reached_step >= c->end_step) {
			c->through = end_of_segments(d);
			if (position_compare(c->through, c->from) < 0)
				c->through = c->from; /* it is all in the file */
			c->phase = COPY_OVER;
			follower_wake(f);
		} else {
			d->ops.step(d->arg); /* it captured only a part, or had begun before */
		}
	} else if (c->phase == COPY_EXACT && exact_state(c->exact) == EXACT_READY) {
		line_up(c);
	} else if (c->phase == COPY_EXACT && exact_state(c->exact) == EXACT_FAILED) {
		follower_end(f, exact_why(c->exact));
	}
}

void copy_step_done(struct live_db *d)
{
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->copy)
			look_at(f);
	}
}

bool copy_oldest(const struct live_db *d, struct generation *g, struct position *ret)
{
	bool any = false;
	for (const struct follower *f = d->followers; f; f = f->next) {
		if (!f->copy || (any && position_compare(f->from, *ret) >= 0))
			continue;
		*ret = f->from;
		*g = f->generation;
		any = true;
	}
	return any;
}

void copy_beat(struct live_server *s, int64_t now_us)
{
	for (struct live_db *d = s->dbs; d && s->first; d = d->next) {
		for (struct follower *f = d->followers, *next; f; f = next) {
			struct copy *c = f->copy;
			next = f->next;
			if (!c || !c->has_place || now_us - c->slow_us < SLOW_US)
				continue;
			bool slow = f->bytes - c->slow_from < SLOW_BYTES;
			c->slow_from = f->bytes;
			c->slow_us = now_us;
			if (slow)
				follower_end(f, "too slow: others wait for the place");
		}
	}
}
