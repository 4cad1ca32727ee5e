/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a follower has what is here at its position: see parts.h.
 *
 * Happy path: a worker reads the segment in which the frame before the position lies, and compares the checksum
 * in the header of that frame with the one that the follower sent.
 *
 * Failure modes: it is another one, or the segment cannot be read, or the position is not the end of a frame:
 * then the follower gets content. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "live/parts.h"

struct proof {
	struct live_db *d;
	struct follower *f; /* NULL: it has left */
	char path[PATH_BYTES];
	uint64_t head_at; /* byte of the segment at which the header of the frame begins */
	uint64_t seen;	  /* bytes of it so far */
	uint8_t head[WAL_FRAME_HEADER_BYTES];
	uint64_t sum;
	struct task task;
	struct err e;
};

static int look(void *arg, struct span out, struct err *e)
{
	struct proof *p = arg;
	(void)e;
	for (size_t i = 0; i < sizeof p->head; i++) {
		uint64_t at = p->head_at + i;
		if (at >= p->seen && at < p->seen + out.n)
			p->head[i] = out.p[at - p->seen];
	}
	p->seen += out.n;
	return 0;
}

static int run(struct task *t)
{
	struct proof *p = LIVE_OWNER(t, struct proof, task);
	struct dyn file = DYN_INIT((size_t)1 << 31);
	struct segment_reader *r = segment_reader_new(look, p);
	int rc = r ? file_read_all(p->path, &file, &p->e) : err_set(&p->e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = segment_read(r, (struct span){ file.p, file.len }, &p->e);
	if (rc == 0)
		rc = segment_read_end(r, &p->e);
	segment_reader_free(r);
	dyn_free(&file);
	return rc;
}

static void done(struct task *t)
{
	struct proof *p = LIVE_OWNER(t, struct proof, task);
	struct live_db *d = p->d;
	struct follower *f = p->f;
	d->jobs--;
	if (t->rc < 0)
		log_warn("a segment cannot be read for a follower", L_S("db", d->path),
			 L_S("error", p->e.text));
	if (f) {
		f->proof = NULL;
		f->has_sum = false;
		f->proven = t->rc == 0 && p->seen >= p->head_at + sizeof p->head &&
			    get_be64(p->head + 16) == p->sum;
		proof_done(f);
	}
	free(p);
	d->ops.mark(d->arg);
}

int proof_begin(struct follower *f, const struct spool_segment *s)
{
	struct live_db *d = f->db;
	struct spool spool = { .dir = d->spool_dir };
	uint64_t frame_bytes = wal_frame_bytes(s->page_bytes), end = f->want.offset;
	if (s->page_bytes == 0 || end < WAL_HEADER_BYTES + frame_bytes ||
	    (end - WAL_HEADER_BYTES) % frame_bytes != 0 || end - frame_bytes < s->at.offset)
		return -1;
	struct proof *p = calloc(1, sizeof *p);
	if (!p)
		return -1;
	p->d = d;
	p->f = f;
	p->head_at = end - frame_bytes - s->at.offset;
	p->sum = f->want_sum;
	spool_path(&spool, &s->generation, s->at, p->path);
	p->task = (struct task){ .run = run, .done = done, .class = TASK_QUICK };
	f->proof = p;
	live_submit(d, &p->task);
	return 0;
}

void proof_leave(struct follower *f)
{
	if (f->proof)
		f->proof->f = NULL;
	f->proof = NULL;
}
