/* SPDX-License-Identifier: Apache-2.0
 *
 * GET /hashes: one hash for each page, for who has other content and wants only what differs.
 *
 * Happy path: the head of the WAL is made ready (what changes while the pages are read is in it), a worker
 * reads the database file once and keeps the hashes, and they are answered as one record. Only a few at once.
 *
 * Failure modes: too many at once, not ready, the file cannot be read (503, to be asked again); the peer leaves
 * (the job ends soon). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "live/parts.h"

#include <xxhash.h>

enum { AT_ONCE_MAX = 2, PREPARED_MAX = 5 };

struct hashing {
	struct httpd_later later;
	struct live_db *d;
	struct hashing *next, **at;
	struct httpd_conn *conn; /* NULL: it has left */
	unsigned prepared;
	struct generation generation;
	struct position from;
	struct snapshot s;
	struct page_hashes h;
	struct task task;
	struct err e;
	bool out;
};

static void hashing_free(struct hashing *g)
{
	struct live_db *d = g->d;
	if ((*g->at = g->next))
		g->next->at = g->at;
	page_hashes_free(&g->h);
	d->left_us = mono_us();
	free(g);
	d->ops.mark(d->arg);
	live_let_go(d);
}

/* ---- the worker's part ---- */

static int read_all(struct hashing *g, uint8_t *buf)
{
	for (uint64_t at = 0;;) {
		if (atomic_load(&g->s.cancel))
			return err_set(&g->e, ERR_FAIL, "cancelled");
		long n = conn_read_db(&g->s.conn, buf, LIVE_PIECE_BYTES, at, &g->e);
		if (n < 0 || (n > 0 && page_hashes_add(&g->h, (struct span){ buf, (size_t)n }, &g->e) < 0))
			return -1;
		at += (uint64_t)n;
		if (n < LIVE_PIECE_BYTES)
			return page_hashes_end(&g->h, &g->e);
	}
}

static int hash_run(struct task *t)
{
	struct hashing *g = LIVE_OWNER(t, struct hashing, task);
	uint8_t *buf = malloc(LIVE_PIECE_BYTES);
	int rc = buf ? snapshot_open_fuzzy(&g->s, g->d->path, &g->e) : err_set(&g->e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = read_all(g, buf);
	snapshot_close(&g->s);
	free(buf);
	return rc;
}

/* ---- the loop's part ---- */

static void fail(struct hashing *g, const char *why)
{
	err_set(&g->e, ERR_BUSY, "%s", why);
	httpd_wake(g->conn);
}

static void hash_done(struct task *t)
{
	struct hashing *g = LIVE_OWNER(t, struct hashing, task);
	g->d->jobs--;
	g->out = false;
	if (t->rc == 0)
		g->e = ERR_INIT;
	if (g->conn)
		httpd_wake(g->conn);
	else
		hashing_free(g);
}

static void start(struct hashing *g)
{
	struct live_db *d = g->d;
	struct position zero = { d->now.captured.index, 0 };
	if (!d->now.ready) {
		fail(g, "not ready");
		return;
	}
	if (!d->now.filed || (d->now.captured.offset > 0 && !live_find(d, &d->now.generation, zero))) {
		if (g->prepared++ == PREPARED_MAX) {
			fail(g, "the beginning of the WAL cannot be had now");
		} else if (!d->preparing) {
			d->preparing = true;
			d->ops.prepare(d->arg);
		}
		return;
	}
	g->generation = d->now.generation;
	g->from = zero;
	g->out = true;
	g->task = (struct task){ .run = hash_run, .done = hash_done, .class = TASK_LONG };
	live_submit(d, &g->task);
}

void hashes_prepared(struct live_db *d, bool good, const char *why)
{
	for (struct hashing *g = d->hashings, *next; g; g = next) {
		next = g->next;
		if (g->out || !g->conn || !generation_none(&g->generation))
			continue;
		if (good)
			start(g);
		else
			fail(g, why);
	}
}

void hashes_cancel(struct live_db *d)
{
	for (struct hashing *g = d->hashings; g; g = g->next)
		atomic_store(&g->s.cancel, true);
}

static void write_body(struct hashing *g, struct httpd_answer *ret)
{
	uint8_t head[RECORD_HEADER_BYTES + 8];
	struct record r = { .type = RECORD_HASHES,
			    .generation = g->generation,
			    .at = g->from,
			    .size_bytes = 8 + 8 * (uint64_t)g->h.n + 8 };
	ret->body.max = sizeof head + 8 * g->h.n + 8;
	if (dyn_reserve(&ret->body, ret->body.max) < 0) {
		ret->status = 500;
		return;
	}
	record_write(head, &r);
	put_be32(head + RECORD_HEADER_BYTES, g->h.page_bytes);
	put_be32(head + RECORD_HEADER_BYTES + 4, (uint32_t)g->h.n);
	dyn_add(&ret->body, head, sizeof head);
	for (size_t i = 0; i < g->h.n; i++) {
		uint8_t one[8];
		put_be64(one, g->h.v[i]);
		dyn_add(&ret->body, one, sizeof one);
	}
	/* Generation, index and offset of the header, and all of the payload before. */
	uint8_t sum[8];
	XXH64_state_t *x = XXH64_createState();
	if (!x) {
		dyn_free(&ret->body);
		ret->status = 500;
		return;
	}
	XXH64_reset(x, 0);
	XXH64_update(x, ret->body.p + 8, 24);
	XXH64_update(x, ret->body.p + RECORD_HEADER_BYTES, ret->body.len - RECORD_HEADER_BYTES);
	put_be64(sum, XXH64_digest(x));
	XXH64_freeState(x);
	dyn_add(&ret->body, sum, sizeof sum);
	ret->type = "application/octet-stream";
	httpd_add_header(ret, "Litestream-page-size", "%u", g->h.page_bytes);
	httpd_add_header(ret, "Walbrook-Stream", "1");
}

static void answer(struct httpd_later *l, struct httpd_answer *ret)
{
	struct hashing *g = LIVE_OWNER(l, struct hashing, later);
	if (g->e.kind == ERR_NONE) {
		write_body(g, ret);
	} else {
		ret->status = 503;
		httpd_add_header(ret, "Retry-After", "2");
		dyn_addf(&ret->body, "%s\n", g->e.text);
	}
	hashing_free(g);
}

static void gone(struct httpd_later *l)
{
	struct hashing *g = LIVE_OWNER(l, struct hashing, later);
	g->conn = NULL;
	atomic_store(&g->s.cancel, true);
	if (!g->out)
		hashing_free(g);
}

void live_hashes(struct live_db *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	size_t n = 0;
	for (const struct hashing *g = d->hashings; g; g = g->next)
		n++;
	struct hashing *g = d->now.ready && n < AT_ONCE_MAX ? calloc(1, sizeof *g) : NULL;
	if (!g) {
		ret->status = 503;
		httpd_add_header(ret, "Retry-After", "2");
		dyn_addf(&ret->body, "%s\n",
			 d->now.ready ? "too many ask for hashes; try again soon" : "No generation available");
		return;
	}
	*g = (struct hashing){ .later = { .answer = answer, .gone = gone },
			       .d = d,
			       .conn = q->conn,
			       .next = d->hashings,
			       .at = &d->hashings };
	if (g->next)
		g->next->at = &g->next;
	d->hashings = g;
	ret->later = &g->later;
	start(g);
}
