/* SPDX-License-Identifier: Apache-2.0
 *
 * Exact content, for plain streams: a client of 2022 takes a snapshot as the state at its index, and whatever
 * follows as the next thing to apply. So the fuzzy copy is made into a file of our own, the WAL is put on it,
 * and that file is sent.
 *
 * Happy path: a worker copies the database into a file without a name in the metadata directory; a step that
 * began after that has captured everything, through C; a worker puts the WAL from where the copy began through
 * C on it, and splices the segments of the index of C into one. What is sent is SNAPSHOT at that index, offset
 * 0, the file, SEGMENT at offset 0, that one segment. Those who come within some seconds share it. Without the
 * copy it joins the segments of a transaction that was captured in several: such a client applies each segment
 * by itself, and loses what has no commit behind it.
 *
 * Failure modes: no room; a segment that is not there any more, or does not continue (all who wait are let go
 * and come again); cancelled. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "live/parts.h"

enum { SHARED_US = 10000000, READ_BYTES = 256 << 10 };

/* One segment that is put on the copy. */
struct source {
	struct position at;
	uint64_t end;
};

struct exact {
	unsigned refs;
	struct live_db *d;
	enum exact_state state;
	char path[PATH_BYTES], meta_dir[PATH_BYTES], spool_dir[PATH_BYTES]; /* the jobs' own */
	struct generation generation;
	struct position from, at;
	int fd, segment_fd; /* -1: none */
	uint64_t bytes, segment_bytes;
	struct source *sources;
	size_t sources_n;
	uint64_t end_step;
	int64_t ready_us;
	struct snapshot s;
	struct task task;
	struct err e;
	bool out, only_segment; /* the latter: what is before it is there */
};

static void exact_free(struct exact *x)
{
	if (x->fd >= 0)
		close(x->fd);
	if (x->segment_fd >= 0)
		close(x->segment_fd);
	free(x->sources);
	free(x);
}

void exact_put(struct exact *x)
{
	if (!x)
		return;
	if (--x->refs > 0) {
		if (x->refs == 1 && x->out) /* only its own job is left */
			atomic_store(&x->s.cancel, true);
		return;
	}
	if (x->d->exact == x)
		x->d->exact = NULL;
	if (x->d->joined == x)
		x->d->joined = NULL;
	exact_free(x);
}

/* ---- the copy ---- */

/* Without a name: nothing of it is left behind, whatever happens. */
static int nameless(const struct exact *x, struct err *e)
{
	struct owner owner = owner_of(x->path);
	char path[PATH_BYTES + 32];
	snprintf(path, sizeof path, "%s/walbrook", x->meta_dir);
	int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, owner.file_mode & 0600);
	if (fd >= 0)
		return fd;
	snprintf(path, sizeof path, "%s/walbrook/content-XXXXXX", x->meta_dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be made", path);
	sys_unlink(path);
	return fd;
}

static int copy_file(struct exact *x, uint8_t *buf, struct err *e)
{
	for (;;) {
		if (atomic_load(&x->s.cancel))
			return err_set(e, ERR_FAIL, "cancelled");
		long n = conn_read_db(&x->s.conn, buf, LIVE_PIECE_BYTES, x->bytes, e);
		if (n < 0 ||
		    file_pwrite_all(x->fd, "a copy for followers", buf, (size_t)n, (off_t)x->bytes, e) < 0)
			return -1;
		x->bytes += (uint64_t)n;
		if (n < LIVE_PIECE_BYTES)
			return 0;
	}
}

static int copy_run(struct task *t)
{
	struct exact *x = LIVE_OWNER(t, struct exact, task);
	uint8_t *buf = malloc(LIVE_PIECE_BYTES);
	int rc = buf ? 0 : err_set(&x->e, ERR_FAIL, "no memory");
	if (rc == 0 && (x->fd = nameless(x, &x->e)) < 0)
		rc = -1;
	if (rc == 0)
		rc = snapshot_open_fuzzy(&x->s, x->path, &x->e);
	if (rc == 0)
		rc = copy_file(x, buf, &x->e);
	snapshot_close(&x->s);
	free(buf);
	return rc;
}

/* ---- the WAL on it ---- */

struct apply {
	struct exact *x;
	struct wal_chain chain;
	struct dyn rest; /* of a frame, or of the header, that has not come whole */
	uint64_t at;	 /* of the next byte, in the WAL of its index */
	uint32_t pages;	 /* after the last commit; 0: there was none */
};

static int apply_header(struct apply *a, struct err *e)
{
	struct wal_header h;
	if (wal_header_parse((struct span){ a->rest.p, a->rest.len }, &h) != WAL_OK)
		return err_set(e, ERR_DAMAGED, "a segment does not begin with the header of a WAL");
	a->chain = wal_chain_start(&h);
	a->rest.len = 0;
	return 0;
}

static int apply_frame(struct apply *a, struct err *e)
{
	struct wal_frame f;
	enum wal_check why = wal_chain_step(&a->chain, (struct span){ a->rest.p, a->rest.len }, &f);
	if (why != WAL_OK)
		return err_set(e, ERR_DAMAGED, "a segment is not a piece of the WAL (%s)", wal_check_text(why));
	if (f.commit_pages)
		a->pages = f.commit_pages;
	a->rest.len = 0;
	return file_pwrite_all(a->x->fd, "a copy for followers", f.page, a->chain.page_bytes,
			       (off_t)(f.pgno - 1) * a->chain.page_bytes, e);
}

static int apply_bytes(void *arg, struct span in, struct err *e)
{
	struct apply *a = arg;
	if (a->x->only_segment) { /* the chain before it is not known here */
		a->at += in.n;
		return 0;
	}
	while (in.n > 0) {
		size_t whole = a->at < WAL_HEADER_BYTES ? WAL_HEADER_BYTES
							: (size_t)wal_frame_bytes(a->chain.page_bytes);
		size_t part = whole - a->rest.len < in.n ? whole - a->rest.len : in.n;
		if (dyn_add(&a->rest, in.p, part) < 0)
			return err_set(e, ERR_FAIL, "no memory");
		in.p += part;
		in.n -= part;
		if (a->rest.len < whole)
			break;
		if ((a->at < WAL_HEADER_BYTES ? apply_header(a, e) : apply_frame(a, e)) < 0)
			return -1;
		a->at += whole;
	}
	return 0;
}

/* Every byte of a segment goes through both. */
struct through {
	struct segment_reader *reader;
	struct segment_splicer *splicer; /* NULL: not of the last index */
};

static int read_one(const struct exact *x, const struct source *s, const struct through *t, uint8_t *buf,
		    struct err *e)
{
	char path[PATH_BYTES];
	struct spool spool = { .dir = (char *)(uintptr_t)x->spool_dir };
	spool_path(&spool, &x->generation, s->at, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	for (off_t at = 0; rc == 0;) {
		ssize_t n = file_pread_full(fd, path, buf, READ_BYTES, at, e);
		if (n <= 0) {
			rc = (int)n;
			break;
		}
		rc = segment_read(t->reader, (struct span){ buf, (size_t)n }, e);
		if (rc == 0 && t->splicer)
			rc = segment_splice(t->splicer, (struct span){ buf, (size_t)n }, e);
		at += n;
	}
	close(fd);
	if (rc == 0)
		rc = segment_read_end(t->reader, e);
	if (rc == 0 && t->splicer)
		rc = segment_splice_next(t->splicer, e);
	segment_reader_reset(t->reader);
	return rc;
}

static int to_segment(void *arg, struct span out, struct err *e)
{
	struct exact *x = arg;
	if (file_pwrite_all(x->segment_fd, "a segment for followers", out.p, out.n, (off_t)x->segment_bytes,
			    e) < 0)
		return -1;
	x->segment_bytes += out.n;
	return 0;
}

static int apply_all(struct exact *x, struct apply *a, const struct through *t, uint8_t *buf, struct err *e)
{
	for (size_t i = 0; i < x->sources_n; i++) {
		const struct source *s = &x->sources[i];
		bool last_index = s->at.index == x->at.index;
		struct through one = { t->reader, last_index ? t->splicer : NULL };
		if (atomic_load(&x->s.cancel))
			return err_set(e, ERR_FAIL, "cancelled");
		a->at = s->at.offset;
		a->rest.len = 0;
		if (read_one(x, s, &one, buf, e) < 0)
			return -1;
		if (a->at != s->end || a->rest.len > 0)
			return err_set(e, ERR_DAMAGED, "a segment has another length than it had");
	}
	return segment_splice_finish(t->splicer, e);
}

static int apply_run(struct task *task)
{
	struct exact *x = LIVE_OWNER(task, struct exact, task);
	struct apply a = { .x = x, .rest = DYN_INIT(WAL_FRAME_HEADER_BYTES + PAGE_BYTES_MAX) };
	struct through t = { segment_reader_new(apply_bytes, &a), segment_splicer_new(to_segment, x) };
	uint8_t *buf = malloc(READ_BYTES);
	int rc = t.reader && t.splicer && buf ? 0 : err_set(&x->e, ERR_FAIL, "no memory");
	if (rc == 0 && (x->segment_fd = nameless(x, &x->e)) < 0)
		rc = -1;
	if (rc == 0 && x->sources_n > 0)
		rc = apply_all(x, &a, &t, buf, &x->e);
	if (rc == 0 && a.pages > 0 && !x->only_segment) {
		x->bytes = (uint64_t)a.pages * a.chain.page_bytes;
		if (sys_ftruncate(x->fd, (off_t)x->bytes) < 0)
			rc = err_sys(&x->e, errno, "a copy for followers cannot be cut");
	}
	segment_reader_free(t.reader);
	segment_splicer_free(t.splicer);
	dyn_free(&a.rest);
	free(buf);
	return rc;
}

/* ---- the loop's part ---- */

static void tell(struct exact *x)
{
	struct live_db *d = x->d; /* with the last who waits for it, it goes */
	copy_step_done(d);
	d->ops.mark(d->arg);
}

static void fail(struct exact *x)
{
	if (!atomic_load(&x->s.cancel))
		log_error("the content for plain followers cannot be made", L_S("db", x->d->path),
			  L_S("error", x->e.text));
	x->state = EXACT_FAILED;
	tell(x);
}

static void submit(struct exact *x, int (*run)(struct task *), void (*done)(struct task *))
{
	x->refs++;
	x->out = true;
	x->task = (struct task){ .run = run, .done = done, .class = TASK_LONG };
	live_submit(x->d, &x->task);
}

static void apply_done(struct task *t)
{
	struct exact *x = LIVE_OWNER(t, struct exact, task);
	x->d->jobs--;
	x->out = false;
	if (t->rc < 0) {
		fail(x);
	} else {
		x->state = EXACT_READY;
		x->ready_us = mono_us();
		tell(x);
	}
	exact_put(x);
}

/* The segments from where the copy began through what is captured now. */
static int take_sources(struct exact *x)
{
	const struct spool_segment *first = live_find(x->d, &x->generation, x->from);
	size_t n = 0;
	x->at = first ? x->d->now.last : x->d->now.captured;
	for (const struct spool_segment *s = first; s; s = s->next)
		n++;
	struct position next = x->from;
	for (const struct spool_segment *s = first; s; s = s->next) {
		bool fits = position_compare(s->at, next) == 0 ||
			    (s->at.index == next.index + 1 && s->at.offset == 0 && s->prev_end == next.offset);
		next = fits ? (struct position){ s->at.index, s->end } : (struct position){ 0, 0 };
	}
	if (position_compare(next, x->at) != 0)
		return err_set(&x->e, ERR_NOTHING, "the WAL that it needs is not kept any longer");
	if (!(x->sources = calloc(n ? n : 1, sizeof *x->sources)))
		return err_set(&x->e, ERR_FAIL, "no memory");
	for (const struct spool_segment *s = first; s; s = s->next)
		x->sources[x->sources_n++] = (struct source){ s->at, s->end };
	return 0;
}

void exact_step_done(struct live_db *d)
{
	struct exact *x = d->exact;
	if (!x || x->state != EXACT_COPIED)
		return;
	if (!generation_equal(&x->generation, &d->now.generation)) {
		err_set(&x->e, ERR_NOTHING, "a new generation has begun");
		fail(x);
	} else if (d->now.reached_step < x->end_step) {
		d->ops.step(d->arg);
	} else if (take_sources(x) < 0) {
		fail(x);
	} else {
		x->state = EXACT_APPLIES;
		submit(x, apply_run, apply_done);
	}
}

static void copy_done(struct task *t)
{
	struct exact *x = LIVE_OWNER(t, struct exact, task);
	struct live_db *d = x->d;
	d->jobs--;
	x->out = false;
	if (t->rc < 0) {
		fail(x);
	} else {
		x->state = EXACT_COPIED;
		x->end_step = d->now.steps_begun + 1;
		d->ops.step(d->arg);
	}
	exact_put(x);
	d->ops.mark(d->arg);
}

/* The one that is being made, or was made a moment ago. */
static bool is_shared(const struct exact *x)
{
	const struct live_db *d = x->d;
	if (x->state == EXACT_FAILED || atomic_load(&x->s.cancel) ||
	    !generation_equal(&x->generation, &d->now.generation))
		return false;
	if (x->state != EXACT_READY)
		return true;
	return mono_us() - x->ready_us < SHARED_US &&
	       (position_compare(x->at, d->now.captured) == 0 || position_compare(x->at, d->now.last) == 0 ||
		live_find(d, &x->generation, x->at));
}

static void name(struct exact *x)
{
	snprintf(x->path, sizeof x->path, "%s", x->d->path);
	snprintf(x->meta_dir, sizeof x->meta_dir, "%s", x->d->meta_dir);
	snprintf(x->spool_dir, sizeof x->spool_dir, "%s", x->d->spool_dir);
}

struct exact *exact_get(struct live_db *d)
{
	struct exact *x = d->exact;
	if (x && is_shared(x)) {
		x->refs++;
		return x;
	}
	d->exact = NULL; /* those who have the old one keep it */
	if (!(x = calloc(1, sizeof *x)))
		return NULL;
	*x = (struct exact){ .refs = 1,
			     .d = d,
			     .generation = d->now.generation,
			     .from = { d->now.captured.index, 0 },
			     .fd = -1,
			     .segment_fd = -1 };
	name(x);
	d->exact = x;
	submit(x, copy_run, copy_done);
	return x;
}

static bool is_of(const struct exact *x, const struct generation *g, struct position from, struct position end)
{
	return x->state != EXACT_FAILED && !atomic_load(&x->s.cancel) && generation_equal(&x->generation, g) &&
	       position_compare(x->from, from) == 0 && position_compare(x->at, end) == 0;
}

struct exact *exact_of(struct live_db *d, const struct generation *g, struct position from)
{
	const struct spool_segment *first = live_find(d, g, from), *last = first ? segments_whole(first) : NULL;
	if (!last)
		return NULL;
	const struct position end = { last->at.index, last->end };
	if (d->joined && is_of(d->joined, g, from, end)) {
		d->joined->refs++;
		return d->joined;
	}
	struct exact *x = calloc(1, sizeof *x);
	size_t n = 1;
	if (!x)
		return NULL;
	*x = (struct exact){ .refs = 1,
			     .d = d,
			     .state = EXACT_APPLIES,
			     .generation = *g,
			     .from = from,
			     .at = end,
			     .fd = -1,
			     .segment_fd = -1,
			     .only_segment = true };
	name(x);
	for (const struct spool_segment *s = first; s != last; s = s->next)
		n++;
	if (!(x->sources = calloc(n, sizeof *x->sources))) {
		exact_free(x);
		return NULL;
	}
	for (const struct spool_segment *s = first; x->sources_n < n; s = s->next)
		x->sources[x->sources_n++] = (struct source){ s->at, s->end };
	d->joined = x;
	submit(x, apply_run, apply_done);
	return x;
}

void exact_cancel(struct exact *x)
{
	atomic_store(&x->s.cancel, true);
}

enum exact_state exact_state(const struct exact *x)
{
	return x->state;
}

const char *exact_why(const struct exact *x)
{
	return x->e.text;
}

struct position exact_from(const struct exact *x)
{
	return x->from;
}

struct position exact_at(const struct exact *x)
{
	return x->at;
}

const struct generation *exact_generation(const struct exact *x)
{
	return &x->generation;
}

/* ---- what is sent ---- */

/* A part of what is sent: bytes of memory or of a file, [at, at + n) of the whole. Copies what of it lies in
 * the wanted range. */
struct range {
	uint8_t *p;
	size_t n, done;
	uint64_t at;
};

static int part(struct range *r, uint64_t *from, const uint8_t *memory, int fd, uint64_t n, struct err *e)
{
	uint64_t begin = *from, at = r->at + r->done;
	*from += n;
	if (at < begin || at >= begin + n || r->done == r->n)
		return 0;
	size_t want = r->n - r->done;
	if (want > begin + n - at)
		want = (size_t)(begin + n - at);
	if (memory) {
		memcpy(r->p + r->done, memory + (at - begin), want);
	} else {
		ssize_t got = file_pread_full(fd, "a copy for followers", r->p + r->done, want,
					      (off_t)(at - begin), e);
		if (got < (ssize_t)want)
			return got < 0 ? -1 : err_set(e, ERR_DAMAGED, "a copy for followers is short");
	}
	r->done += want;
	return 0;
}

long exact_read(const struct exact *x, uint8_t *p, size_t n, uint64_t at, struct err *e)
{
	uint8_t head[RECORD_HEADER_BYTES];
	struct record r = { .type = RECORD_SNAPSHOT,
			    .generation = x->generation,
			    .at = { x->at.index, 0 },
			    .size_bytes = x->bytes };
	struct range want = { p, n, 0, at };
	uint64_t from = 0;
	record_write(head, &r);
	if (!x->only_segment && (part(&want, &from, head, -1, sizeof head, e) < 0 ||
				 part(&want, &from, NULL, x->fd, x->bytes, e) < 0))
		return -1;
	if (x->segment_bytes > 0) {
		r.type = RECORD_SEGMENT;
		r.at.offset = x->only_segment ? x->from.offset : 0;
		r.size_bytes = x->segment_bytes;
		record_write(head, &r);
		if (part(&want, &from, head, -1, sizeof head, e) < 0 ||
		    part(&want, &from, NULL, x->segment_fd, x->segment_bytes, e) < 0)
			return -1;
	}
	return (long)want.done;
}
