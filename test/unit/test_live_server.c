/* SPDX-License-Identifier: Apache-2.0
 *
 * live/server.c and live/follower.c with a transport that takes bytes as the test wills: all at once, one by
 * one, none, or until it is closed in the middle. The functions of net/httpd.h are the ones below, the clock is
 * moved by the test, and segments are of random pages. What a follower got is told as a row of record types. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "world.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <time.h>

#include "core/record.h"
#include "live/live.h"

/* ---- the clock ---- */

static int64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	long rc = syscall(SYS_clock_gettime, id, t);
	t->tv_sec += id == CLOCK_MONOTONIC ? ahead_s : 0;
	return (int)rc;
}

/* ---- the transport ---- */

enum { PARAMS_MAX = 8 };

struct httpd_conn {
	char query[500];
	const char *names[PARAMS_MAX], *values[PARAMS_MAX];
	unsigned params_n;
	struct httpd_body *body; /* NULL: there is no stream, or it has ended */
	unsigned status;
	struct httpd_later *later;
	char text[300], headers[300];
	struct dyn got;
	bool cut, woken;
};

const char *httpd_query(const struct httpd_request *q, const char *name)
{
	for (unsigned i = 0; i < q->conn->params_n; i++)
		if (strcmp(q->conn->names[i], name) == 0)
			return q->conn->values[i];
	return NULL;
}

const char *httpd_header(const struct httpd_request *q, const char *name)
{
	(void)q;
	(void)name;
	return NULL;
}

const char *httpd_peer(const struct httpd_conn *c, char buf[HTTPD_PEER_BYTES])
{
	(void)c;
	snprintf(buf, HTTPD_PEER_BYTES, "192.0.2.7:5000");
	return buf;
}

void httpd_add_header(struct httpd_answer *a, const char *name, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(a->headers[a->headers_n].value, HTTPD_HEADER_BYTES, fmt, args);
	va_end(args);
	a->headers[a->headers_n++].name = name;
}

void httpd_wake(struct httpd_conn *c)
{
	c->woken = true;
}

void httpd_cut(struct httpd_conn *c)
{
	c->cut = true;
}

/* ---- a database that is served ---- */

static const struct generation ours = { "0123456789abcdef" }, other = { "fedcba9876543210" };
enum { PAGE_BYTES = 4096, FRAME_BYTES = 24 + PAGE_BYTES };

static struct {
	struct loop *loop;
	struct pool *pool;
	struct live_server *server;
	struct live_db *d;
	struct spool spool;
	struct spool_segment *last;
	sqlite3 *holder; /* somebody has the database open always, as db/relay.c has */
	bool prepare, step;
	bool inside; /* what is captured ends inside a transaction */
} w;

static void on_prepare(void *arg)
{
	(void)arg;
	w.prepare = true;
}

static void on_step(void *arg)
{
	(void)arg;
	w.step = true;
}

static void on_mark(void *arg)
{
	(void)arg;
}

static struct live_now *now(void)
{
	return live_now(w.d);
}

static int set_up(void **state)
{
	static const struct live_ops ops = { on_prepare, on_step, on_mark };
	struct err e = ERR_INIT;
	memset(&w, 0, sizeof w);
	if (world_make(state) < 0)
		return -1;
	sh("mkdir -p meta/walbrook");
	struct owner owner = owner_of(at("meta"));
	if (loop_new(&w.loop, &e) < 0 || pool_new(w.loop, 2, &w.pool, &e) < 0 ||
	    spool_init(&w.spool, at("meta"), &owner, &e) < 0)
		return -1;
	if (sqlite3_open(at("db"), &w.holder) != SQLITE_OK ||
	    sqlite3_exec(w.holder,
			 "PRAGMA journal_mode=wal; CREATE TABLE t(a);"
			 "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<50)"
			 "INSERT INTO t SELECT randomblob(3000) FROM c; PRAGMA wal_checkpoint(TRUNCATE)",
			 NULL, NULL, NULL) != SQLITE_OK)
		return -1;
	w.server = live_server_new(w.loop, w.pool);
	w.d = live_db_new(w.server, &ops, NULL, at("db"), at("meta"), at("meta/walbrook/spool"));
	*now() = (struct live_now){ .ready = true,
				    .filed = true,
				    .generation = ours,
				    .captured = { 3, 0 },
				    .page_bytes = PAGE_BYTES,
				    .file_bytes = 60 * PAGE_BYTES,
				    .quota_bytes = 1 << 30 };
	return 0;
}

static void settle(void)
{
	struct err e;
	do {
		assert_int_equal(loop_turn(w.loop, 1000, &e), 0);
	} while (pool_out(w.pool) > 0);
}

static int tear_down(void **state)
{
	live_db_free(w.d);
	settle();
	live_server_free(w.server);
	pool_free(w.pool);
	loop_free(w.loop);
	spool_fini(&w.spool);
	sqlite3_close(w.holder);
	ahead_s = 0;
	return world_drop(state);
}

static int add_out(void *arg, struct span out, struct err *e)
{
	return spool_add(arg, out, e);
}

static int add_plain(void *arg, struct span in, struct err *e)
{
	(void)e;
	return dyn_add(arg, in.p, in.n);
}

/* The checksum words in the header of frame n of an index. */
static uint64_t sum_of(uint64_t index, unsigned n)
{
	return (index + 1) << 32 | n;
}

static void tell(struct spool_segment *first)
{
	live_offer(w.d, first);
	live_step_done(w.d);
}

/* A segment of so many frames behind what is captured; begins: as the start of the next index. */
static struct spool_segment *capture(unsigned frames, bool begins)
{
	static uint8_t plain[WAL_HEADER_BYTES + 200 * FRAME_BYTES];
	struct live_now *n = now();
	struct spool_segment *s = calloc(1, sizeof *s);
	struct spool_file file;
	struct err e = ERR_INIT;
	if (begins && n->captured.offset > 0)
		n->captured = (struct position){ n->captured.index + 1, 0 };
	*s = (struct spool_segment){ .generation = n->generation, .at = n->captured, .page_bytes = PAGE_BYTES };
	s->prev_end = s->at.offset == 0 && n->last.index + 1 == s->at.index ? n->last.offset : 0;
	size_t head = s->at.offset == 0 ? WAL_HEADER_BYTES : 0, bytes = head + frames * (size_t)FRAME_BYTES;
	unsigned number = (unsigned)((s->at.offset + head - WAL_HEADER_BYTES) / FRAME_BYTES);
	for (size_t i = 0; i < bytes; i++)
		plain[i] = (uint8_t)random();
	for (unsigned i = 0; i < frames; i++)
		put_be64(plain + head + i * (size_t)FRAME_BYTES + 16, sum_of(s->at.index, number + i));
	struct segment_writer *out = segment_writer_new(add_out, &file);
	assert_int_equal(spool_begin(&w.spool, &s->generation, s->at, &file, &e), 0);
	assert_int_equal(segment_write(out, (struct span){ plain, bytes }, &e), 0);
	assert_int_equal(segment_finish(out, &e), 0);
	segment_writer_free(out);
	assert_int_equal(spool_commit(&file, false, &e), 0);
	spool_forget_unsynced(&w.spool); /* or it would keep it open */
	s->end = s->at.offset + bytes;
	s->stored_bytes = file.stored_bytes;
	s->commits = calloc(1, sizeof *s->commits);
	if (!w.inside)
		s->commits[s->commits_n++] = (struct index_commit){ s->end, wall_us() };
	*(n->segs ? &w.last->next : &n->segs) = s;
	w.last = s;
	n->segs_bytes += s->stored_bytes;
	n->segs_n++;
	n->captured = n->last = (struct position){ s->at.index, s->end };
	uint64_t sum = sum_of(s->at.index, number + frames - 1);
	n->captured_sum = (struct wal_sum){ (uint32_t)(sum >> 32), (uint32_t)sum };
	tell(s);
	return s;
}

/* The oldest one leaves the list, as daemon/managed.c does it. */
static void drop_oldest(void)
{
	struct live_now *n = now();
	struct spool_segment *s = n->segs;
	struct err e;
	live_leaves(w.d, s);
	if (!(n->segs = s->next))
		w.last = NULL;
	n->segs_bytes -= s->stored_bytes;
	n->segs_n--;
	assert_int_equal(spool_remove(&w.spool, &s->generation, s->at, s->stored_bytes, &e), 0);
	spool_segment_free(s);
}

static void drop_all(void)
{
	while (now()->segs)
		drop_oldest();
}

/* ---- clients ---- */

static void take_answer(struct httpd_conn *c, struct httpd_answer *a)
{
	c->status = a->status ? a->status : 200;
	c->body = a->stream;
	c->later = a->later;
	snprintf(c->text, sizeof c->text, "%.*s", (int)a->body.len, (const char *)a->body.p);
	for (size_t i = 0, n = 0; i < a->headers_n; i++)
		n += (size_t)snprintf(c->headers + n, sizeof c->headers - n, "%s: %s\n", a->headers[i].name,
				      a->headers[i].value);
	if (a->body.len > 0 && c->status == 200)
		assert_int_equal(dyn_add(&c->got, a->body.p, a->body.len), 0);
	dyn_free(&a->body);
}

typedef void request_fn(struct live_db *d, const struct httpd_request *q, struct httpd_answer *ret);

static void ask_for(struct httpd_conn *c, request_fn *fn, const char *method, struct span body,
		    const char *query)
{
	*c = (struct httpd_conn){ .got = DYN_INIT(64 << 20) };
	snprintf(c->query, sizeof c->query, "%s", query);
	for (char *at = c->query, *next; at && *at && c->params_n < PARAMS_MAX; at = next) {
		if ((next = strchr(at, '&')))
			*next++ = 0;
		c->names[c->params_n] = at;
		*strchr(at, '=') = 0;
		c->values[c->params_n++] = at + strlen(at) + 1;
	}
	struct httpd_request q = { .method = method, .path = "/stream", .body = body, .conn = c };
	struct httpd_answer a = { .body = DYN_INIT(1000) };
	fn(w.d, &q, &a);
	take_answer(c, &a);
}

/* An answer that comes when a worker has been at it. */
static void answer_later(struct httpd_conn *c)
{
	struct httpd_answer a = { .body = DYN_INIT(1000) };
	struct httpd_later *l = c->later;
	assert_non_null(l);
	settle();
	assert_true(c->woken);
	l->answer(l, &a);
	take_answer(c, &a);
}

static void ask(struct httpd_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void ask(struct httpd_conn *c, const char *fmt, ...)
{
	char query[500] = "path=/db";
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(query + strlen(query), sizeof query - strlen(query), fmt, ap);
	va_end(ap);
	ask_for(c, live_stream, "GET", (struct span){ NULL, 0 }, query);
}

/* Extended, from a position; sum 0: none is told. */
static void ask_from(struct httpd_conn *c, const struct generation *g, struct position at, uint64_t sum)
{
	char tail[40] = "";
	if (sum)
		snprintf(tail, sizeof tail, "&sum=%016llx", (unsigned long long)sum);
	ask(c, "&txn=1&generation=%s&index=%llx&offset=%llx%s", g->name, (unsigned long long)at.index,
	    (unsigned long long)at.offset, tail);
}

static void hang_up(struct httpd_conn *c)
{
	struct httpd_body *b = c->body;
	c->body = NULL;
	if (b)
		b->closed(b, "the connection was closed");
	if (c->later)
		c->later->gone(c->later);
	dyn_free(&c->got);
}

/* The transport takes up to n bytes once. */
static ssize_t take(struct httpd_conn *c, size_t n)
{
	static uint8_t buf[1 << 16];
	if (!c->body)
		return HTTPD_END;
	ssize_t got = c->body->read(c->body, buf, n < sizeof buf ? n : sizeof buf);
	if (got > 0)
		assert_int_equal(dyn_add(&c->got, buf, (size_t)got), 0);
	if (got == HTTPD_END) {
		struct httpd_body *b = c->body;
		c->body = NULL;
		b->closed(b, "all was sent");
	}
	return got;
}

static void do_step(void)
{
	w.step = false;
	now()->reached_step = ++now()->steps_begun;
	live_step_done(w.d);
}

/* Until nothing comes, in pieces of n bytes. */
static void drain(struct httpd_conn *c, size_t n)
{
	for (ssize_t got = 1, before = 1; got >= 0; before = got) {
		got = take(c, n);
		if (got == 0 && w.step)
			do_step();
		else if (got == 0 && before == 0 && pool_out(w.pool) == 0)
			return;
		if (got == 0)
			settle();
	}
}

/* Types of the records: "20 16 2 23:why"; a row that is cut ends with "…". */
static const char *told(const struct httpd_conn *c)
{
	static char text[2000];
	size_t at = 0, n = 0;
	text[0] = 0;
	while (at < c->got.len) {
		struct record r;
		struct err e;
		if (c->got.len - at < RECORD_HEADER_BYTES ||
		    record_parse((struct span){ c->got.p + at, c->got.len - at }, &r, &e) < 0 ||
		    r.size_bytes > c->got.len - at - RECORD_HEADER_BYTES) {
			n += (size_t)snprintf(text + n, sizeof text - n, " …");
			break;
		}
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%u", n ? " " : "", r.type);
		const struct span payload = { c->got.p + at + RECORD_HEADER_BYTES, (size_t)r.size_bytes };
		if (record_is_sealed(r.type) && !record_seal_good(c->got.p + at, payload))
			fail_msg("the seal of a record of type %u is not good", r.type);
		at += RECORD_HEADER_BYTES;
		if (r.type == RECORD_END)
			n += (size_t)snprintf(text + n, sizeof text - n, ":%.*s",
					      (int)(r.size_bytes - RECORD_SEAL_BYTES),
					      (const char *)c->got.p + at);
		at += (size_t)r.size_bytes;
	}
	return text;
}

/* How many files of the spool this process has open. */
static unsigned open_files(void)
{
	unsigned n = 0;
	char to[PATH_BYTES], from[300];
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d));) {
		snprintf(from, sizeof from, "/proc/self/fd/%s", e->d_name);
		ssize_t k = readlink(from, to, sizeof to - 1);
		to[k > 0 ? k : 0] = 0;
		n += strstr(to, "wal.lz4") && !strstr(to, ".tmp") ? 1 : 0;
	}
	closedir(d);
	return n;
}

/* ---- where a follower begins ---- */

static void from_nothing_and_from_positions(void **state)
{
	struct httpd_conn c;
	(void)state;
	capture(2, true);
	struct spool_segment *second = capture(3, false);
	capture(1, false);
	const struct position end = now()->captured, inside = { 3, second->end - FRAME_BYTES };
	const struct {
		const struct generation *g;
		struct position at;
		uint64_t sum;
		const char *told;
	} cases[] = {
		{ &ours, end, sum_of(3, 5), "20" },			       /* it has everything */
		{ &ours, end, sum_of(3, 4), "20 21 19 22 16 2 16 2 16 2" },    /* but something else */
		{ &ours, end, 0, "20 21 19 22 16 2 16 2 16 2" },	       /* who knows */
		{ &ours, second->at, 0, "20 16 2 16 2" },		       /* the next segment proves it */
		{ &ours, second->at, sum_of(9, 9), "20 16 2 16 2" },	       /* and not what it says */
		{ &ours, inside, sum_of(3, 3), "20 16 2 16 2" },	       /* that segment from its start */
		{ &ours, inside, sum_of(3, 2), "20 21 19 22 16 2 16 2 16 2" }, /* wrong */
		{ &ours, { 3, inside.offset - 1 }, sum_of(3, 3), "20 21 19 22 16 2 16 2 16 2" }, /* no frame */
		{ &ours,
		  { 3, end.offset + FRAME_BYTES },
		  sum_of(3, 6),
		  "20 21 19 22 16 2 16 2 16 2" },				    /* ahead */
		{ &ours, { 2, 5000 }, sum_of(2, 1), "20 21 19 22 16 2 16 2 16 2" }, /* is gone */
		{ &ours, { 3, 0 }, 0, "20 16 2 16 2 16 2" },
		{ &other, end, sum_of(3, 5), "20 21 19 22 16 2 16 2 16 2" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ask_from(&c, cases[i].g, cases[i].at, cases[i].sum);
		assert_int_equal(c.status, 200);
		drain(&c, 5000);
		if (strcmp(told(&c), cases[i].told) != 0)
			fail_msg("case %zu: %s", i, told(&c));
		hang_up(&c);
	}
	ask(&c, "&txn=1");
	assert_string_equal(c.headers,
			    "Litestream-page-size: 4096\nWalbrook-Stream: 1\nX-Accel-Buffering: no\n");
	drain(&c, 1 << 16);
	assert_string_equal(told(&c), "20 21 19 22 16 2 16 2 16 2");
	hang_up(&c);
	drop_all();
}

static void who_is_not_let_in(void **state)
{
	struct httpd_conn c;
	(void)state;
	capture(2, true);
	now()->page_bytes = 0; /* not known yet: a client without it would not know what comes */
	ask(&c, "&txn=1");
	assert_int_equal(c.status, 503);
	now()->page_bytes = PAGE_BYTES;
	now()->ready = false;
	ask(&c, "&txn=1");
	assert_int_equal(c.status, 503);
	assert_string_equal(c.text, "No generation available\n");
	assert_non_null(strstr(c.headers, "Retry-After: "));
	now()->stalled = true;
	ask(&c, "&txn=1");
	assert_int_equal(c.status, 503);
	assert_string_equal(c.text, "commits are not captured at present\n");
	now()->stalled = false;
	now()->ready = true;
	now()->followed = true; /* a copy must not send anybody back in time */
	ask_from(&c, &ours, (struct position){ 4, 32 }, 0);
	assert_int_equal(c.status, 503);
	assert_string_equal(c.text, "this copy is behind your position\n");
	ask(&c, "&txn=1&generation=%s&index=zz", ours.name);
	assert_int_equal(c.status, 400);
	assert_int_equal(live_count(w.d), 0);
	drop_all();
}

static void the_head_is_asked_for(void **state)
{
	struct httpd_conn a, b;
	(void)state;
	capture(2, true);
	capture(2, false);
	struct spool_segment *head = now()->segs;
	now()->segs = head->next; /* as if it had been shipped before anybody came */
	ask_from(&a, &ours, (struct position){ 3, WAL_HEADER_BYTES + FRAME_BYTES }, sum_of(3, 0));
	drain(&a, 5000);
	assert_string_equal(told(&a), "20");
	assert_true(w.prepare);
	live_prepared(w.d, false, "no head today");
	drain(&a, 5000);
	assert_string_equal(told(&a), "20 23:no head today");
	assert_null(a.body);
	w.prepare = false;
	ask_from(&b, &ours, (struct position){ 3, WAL_HEADER_BYTES + FRAME_BYTES }, sum_of(3, 0));
	drain(&b, 5000);
	assert_true(w.prepare);
	now()->segs = head;
	live_prepared(w.d, true, "");
	drain(&b, 5000);
	assert_string_equal(told(&b), "20 16 2 16 2");
	hang_up(&a);
	hang_up(&b);
	drop_all();
}

/* ---- what it is sent ---- */

static void bytes_come_at_any_pace(void **state)
{
	struct httpd_conn fast, slow, byte;
	(void)state;
	capture(1, true);
	capture(1, false);
	ask(&fast, "&txn=1");
	ask(&slow, "&txn=1");
	drain(&fast, 1 << 16);
	drain(&slow, 1000);
	for (int i = 0; i < 5; i++) {
		if (i == 2)
			capture(50, true); /* of several pieces */
		else
			capture(1, false);
		drain(&fast, 1 << 16);
		settle();
		take(&slow, 7000);
	}
	drain(&slow, 333);
	assert_string_equal(told(&fast), "20 21 19 22 16 2 16 2 16 2 16 2 16 2 16 2 16 2");
	assert_int_equal(fast.got.len, slow.got.len);
	assert_memory_equal(fast.got.p, slow.got.p, slow.got.len);
	ask_from(&byte, &ours, (struct position){ 4, 0 }, 0);
	drain(&byte, 1);
	assert_string_equal(told(&byte), "20 16 2 16 2 16 2");
	size_t first = RECORD_HEADER_BYTES + (size_t)get_be64(byte.got.p + 32), tail = byte.got.len - first;
	assert_memory_equal(byte.got.p + first, fast.got.p + fast.got.len - tail, tail);
	assert_int_equal(open_files(), 0);
	hang_up(&fast);
	hang_up(&slow);
	hang_up(&byte);
	drop_all();
}

static void closed_in_the_middle(void **state)
{
	struct httpd_conn c;
	(void)state;
	capture(100, true);
	for (int when = 0; when < 25; when++) {
		ask(&c, "&txn=1");
		for (int i = 0; i < when; i++) {
			settle();
			if (take(&c, 20000) == 0 && w.step)
				do_step();
		}
		take(&c, 20000); /* what it waits for may be out */
		hang_up(&c);
		assert_int_equal(live_count(w.d), 0);
	}
	settle();
	assert_false(live_busy(w.d));
	assert_int_equal(open_files(), 0);
	drop_all();
}

static void stuck_until_it_falls_out(void **state)
{
	struct httpd_conn inside, between, gets_on;
	(void)state;
	capture(1, true);
	const struct position at = now()->captured;
	ask_from(&inside, &ours, at, sum_of(3, 0));
	ask_from(&between, &ours, at, sum_of(3, 0));
	ask_from(&gets_on, &ours, at, sum_of(3, 0));
	drain(&inside, 5000);
	drain(&between, 5000);
	drain(&gets_on, 5000);
	capture(100, true);
	settle();
	take(&inside, 100000);
	assert_int_equal(open_files(), 1);
	drain(&gets_on, 1 << 16);
	assert_int_equal(open_files(), 1); /* for the one that is in the middle */
	size_t had = inside.got.len;
	drop_oldest();
	drop_oldest();
	assert_int_equal(open_files(), 0);
	drain(&inside, 5000);
	drain(&between, 5000);
	drain(&gets_on, 5000);
	assert_null(inside.body); /* nothing can be said inside a record */
	assert_int_equal(inside.got.len, had);
	assert_string_equal(told(&inside), "20 16 …");
	assert_string_equal(told(&between), "20 23:too slow: what comes next is not kept any longer");
	assert_string_equal(told(&gets_on), "20 16 2");
	assert_non_null(gets_on.body);
	assert_int_equal(live_totals(w.d).fallen_out, 2);
	capture(1, false);
	drain(&gets_on, 5000);
	assert_string_equal(told(&gets_on), "20 16 2 16 2");
	hang_up(&inside);
	hang_up(&between);
	ask_from(&between, &ours, (struct position){ 4, now()->segs->at.offset }, 0);
	drain(&between, 5000);
	capture(10, false);
	now()->quota_bytes = now()->segs_bytes; /* more than half of it */
	drop_oldest();
	drop_oldest();
	drain(&between, 5000);
	assert_string_equal(
		told(&between),
		"20 16 2 23:the spool is at half of its quota: what comes next is not kept any longer");
	hang_up(&between);
	hang_up(&gets_on);
}

static void what_ends_streams(void **state)
{
	struct httpd_conn a, b, c;
	(void)state;
	capture(1, true);
	const struct position at = now()->captured;
	ask_from(&a, &ours, at, sum_of(3, 0));
	drain(&a, 5000);
	now()->ready = false;
	now()->stalled = true;
	live_step_done(w.d);
	drain(&a, 5000);
	assert_string_equal(told(&a), "20 23:commits are not captured at present");
	now()->ready = true;
	now()->stalled = false;
	ask_from(&b, &ours, at, sum_of(3, 0));
	drain(&b, 5000);
	now()->generation = other;
	now()->captured = now()->last = (struct position){ 0, 0 };
	capture(1, true);
	drain(&b, 5000);
	assert_string_equal(told(&b), "20 23:a new generation has begun");
	hang_up(&a);
	hang_up(&b);
	ask_from(&a, &other, (struct position){ 0, 0 }, 0);
	ask_from(&b, &other, now()->captured, sum_of(0, 0));
	drain(&a, 5000);
	drain(&b, 5000);
	capture(1, false);
	drain(&b, 5000);
	live_end(w.d, "the primary stops");
	assert_true(live_lingers(w.d) > 0);
	drain(&a, 5000);
	drain(&b, 5000);
	assert_string_equal(told(&a),
			    "20 16 2 16 2 23:the primary stops"); /* but not before it has everything */
	assert_string_equal(told(&b), "20 16 2 23:the primary stops");
	assert_int_equal(live_lingers(w.d), 0);
	ask(&c, "&txn=1");
	assert_int_equal(c.status, 503);
	hang_up(&a);
	hang_up(&b);
	drop_all();
}

/* ---- time ---- */

static void heartbeats(void **state)
{
	struct httpd_conn c, waits;
	(void)state;
	capture(1, true);
	ask_from(&c, &ours, now()->captured, sum_of(3, 0));
	ahead_s += 2; /* the lineage has not been read yet */
	struct err e;
	loop_turn(w.loop, 0, &e);
	drain(&c, 5000);
	assert_int_equal(c.got.p[3], RECORD_LINEAGE);
	size_t had = c.got.len;
	ahead_s += 2;
	drain(&c, 5000);
	assert_int_equal(c.got.len, had + RECORD_HEADER_BYTES + 8 + RECORD_SEAL_BYTES);
	struct record r;
	assert_int_equal(record_parse((struct span){ c.got.p + had, c.got.len - had }, &r, &e), 0);
	assert_int_equal(r.type, RECORD_HEARTBEAT);
	assert_int_equal(position_compare(r.at, now()->captured), 0);
	capture(50, false);
	settle();
	take(&c, 10000);
	had = c.got.len;
	ahead_s += 2; /* not in the middle of a segment */
	drain(&c, 1 << 16);
	assert_non_null(strstr(told(&c), "16 2"));
	hang_up(&c);
	struct spool_segment *head = now()->segs;
	now()->segs = head->next;
	ask_from(&waits, &ours, (struct position){ 3, WAL_HEADER_BYTES }, 0);
	drain(&waits, 5000);
	had = waits.got.len;
	ahead_s += 2;
	drain(&waits, 5000);
	assert_int_equal(record_parse((struct span){ waits.got.p + had, waits.got.len - had }, &r, &e), 0);
	assert_true(r.type == RECORD_HEARTBEAT && r.at.index == 0 && r.at.offset == 0);
	hang_up(&waits);
	now()->segs = head;
	drop_all();
}

static void ten_minutes_after_the_last_one(void **state)
{
	struct httpd_conn c;
	enum { WINDOW_BYTES = 64 << 20 };
	(void)state;
	capture(5, true);
	assert_false(live_followed(w.d));
	assert_false(live_keeps(w.d, now()->segs, WINDOW_BYTES));
	ask(&c, "&txn=1");
	assert_true(live_hurries(w.d));
	hang_up(&c);
	settle();
	assert_false(live_hurries(w.d));
	ahead_s += 595;
	assert_true(live_followed(w.d));
	assert_true(live_keeps(w.d, now()->segs, WINDOW_BYTES));
	assert_true(live_turn(w.d, mono_us()) > mono_us());
	now()->quota_bytes = now()->segs_bytes;
	assert_false(live_keeps(w.d, now()->segs, WINDOW_BYTES));
	now()->quota_bytes = 1 << 30;
	capture(1, true); /* older indexes only as far as the window goes */
	assert_true(live_keeps(w.d, now()->segs, WINDOW_BYTES));
	assert_false(live_keeps(w.d, now()->segs, 1000));
	assert_true(live_keeps(w.d, w.last, 1000));
	ahead_s += 10;
	assert_false(live_followed(w.d));
	assert_false(live_keeps(w.d, w.last, WINDOW_BYTES));
	assert_int_equal(live_turn(w.d, mono_us()), 0);
	drop_all();
}

/* One that does not even take the sentence is cut after 10 s. */
static void who_takes_nothing_is_cut(void **state)
{
	struct httpd_conn c;
	(void)state;
	capture(1, true);
	ask_from(&c, &ours, now()->captured, sum_of(3, 0));
	drain(&c, 5000);
	live_restart(w.d, "content has changed");
	settle();
	assert_false(c.cut);
	ahead_s += 12;
	settle();
	assert_true(c.cut);
	hang_up(&c);
	drop_all();
}

/* ---- hashes ---- */

static void hashes_and_what_differs(void **state)
{
	struct httpd_conn c;
	const struct span none = { NULL, 0 };
	char query[200];
	(void)state;
	capture(2, true);
	ask_for(&c, live_hashes, "GET", none, "path=/db");
	answer_later(&c);
	assert_int_equal(c.status, 200);
	assert_string_equal(told(&c), "18");
	uint32_t pages = get_be32(c.got.p + RECORD_HEADER_BYTES + 4);
	assert_int_equal(get_be32(c.got.p + RECORD_HEADER_BYTES), PAGE_BYTES);
	hang_up(&c);
	ask_for(&c, live_hashes, "GET", none, "path=/db"); /* closed while they are computed */
	hang_up(&c);
	settle();
	assert_false(live_busy(w.d));

	uint8_t *bits = calloc(1, pages / 8 + 1);
	bits[0] = 5;
	const struct span bitmap = { bits, pages / 8 + 1 };
	snprintf(query, sizeof query, "path=/db&txn=1&generation=%s&index=3", ours.name);
	ask_for(&c, live_stream, "POST", bitmap, query);
	drain(&c, 1000);
	assert_string_equal(told(&c), "20 21 19 22 16 2");
	size_t content = RECORD_HEADER_BYTES + get_be64(c.got.p + 32);
	size_t at = content + RECORD_HEADER_BYTES + 12;
	assert_int_equal(get_be32(c.got.p + content + RECORD_HEADER_BYTES + 8), 1);
	assert_int_equal(get_be64(c.got.p + at + 32), 2 * (4 + PAGE_BYTES));
	assert_int_equal(get_be32(c.got.p + at + RECORD_HEADER_BYTES), 1);
	assert_int_equal(get_be32(c.got.p + at + RECORD_HEADER_BYTES + 4 + PAGE_BYTES), 3);
	hang_up(&c);

	ask_for(&c, live_stream, "POST", bitmap, "path=/db&txn=1");
	assert_int_equal(c.status, 400);
	snprintf(query, sizeof query, "path=/db&generation=%s&index=3", ours.name);
	ask_for(&c, live_stream, "POST", bitmap, query);
	assert_int_equal(c.status, 405);
	snprintf(query, sizeof query, "path=/db&txn=1&generation=%s&index=3", other.name);
	ask_for(&c, live_stream, "POST", bitmap, query);
	assert_int_equal(c.status, 409);
	snprintf(query, sizeof query, "path=/db&txn=1&generation=%s&index=2", ours.name);
	ask_for(&c, live_stream, "POST", bitmap, query);
	assert_int_equal(c.status, 409);
	free(bits);
	drop_all();
}

/* ---- plain clients ---- */

static struct spool_segment *capture_inside(unsigned frames, bool begins)
{
	w.inside = true;
	struct spool_segment *s = capture(frames, begins);
	w.inside = false;
	return s;
}

/* Of the last record, which is a segment: where it begins, and the bytes of WAL in it. */
static struct position last_segment(const struct httpd_conn *c, uint64_t *ret_bytes)
{
	struct record r = { 0 };
	struct err e = ERR_INIT;
	struct dyn plain = DYN_INIT(64 << 20);
	size_t at = 0, payload = 0;
	for (; at < c->got.len; at = payload + (size_t)r.size_bytes) {
		assert_int_equal(record_parse((struct span){ c->got.p + at, c->got.len - at }, &r, &e), 0);
		payload = at + RECORD_HEADER_BYTES;
	}
	assert_int_equal(r.type, RECORD_SEGMENT);
	struct segment_reader *in = segment_reader_new(add_plain, &plain);
	assert_int_equal(segment_read(in, (struct span){ c->got.p + payload, (size_t)r.size_bytes }, &e), 0);
	assert_int_equal(segment_read_end(in, &e), 0);
	segment_reader_free(in);
	*ret_bytes = plain.len;
	dyn_free(&plain);
	return r.at;
}

/* It applies each segment by itself: what has no commit behind it would be lost. */
static void a_plain_client_gets_whole_transactions(void **state)
{
	struct httpd_conn c, second, late;
	uint64_t bytes;
	(void)state;
	struct spool_segment *head = capture(2, true);
	ask(&c, "&generation=%s&index=3", ours.name);
	ask(&second, "&generation=%s&index=3", ours.name);
	drain(&c, 5000);
	drain(&second, 5000);
	assert_string_equal(told(&c), "2");
	struct spool_segment *part = capture_inside(3, false);
	capture_inside(1, false);
	drain(&c, 5000);
	assert_string_equal(told(&c), "2");
	ask(&late, "&generation=%s&index=3", ours.name);
	drain(&late, 5000);
	assert_string_equal(told(&late), "2");
	assert_int_equal(last_segment(&late, &bytes).offset, 0);
	assert_int_equal(bytes, head->end);
	struct spool_segment *rest = capture(2, false);
	drain(&c, 5000);
	drain(&second, 1 << 16);
	drain(&late, 700);
	assert_string_equal(told(&c), "2 2");
	assert_string_equal(told(&second), "2 2");
	assert_string_equal(told(&late), "2 2");
	assert_int_equal(last_segment(&c, &bytes).offset, part->at.offset);
	assert_int_equal(bytes, rest->end - part->at.offset);
	assert_int_equal(last_segment(&late, &bytes).offset, part->at.offset);
	assert_int_equal(bytes, rest->end - part->at.offset);

	capture_inside(2, false); /* its writer dies */
	drain(&c, 5000);
	assert_string_equal(told(&c), "2 2");
	capture(1, true);
	drain(&c, 5000);
	assert_string_equal(told(&c), "2 2 2");
	assert_int_equal(last_segment(&c, &bytes).index, 4);

	capture_inside(2, true); /* nothing but the beginning of a transaction */
	hang_up(&late);
	ask(&late, "&generation=%s&index=5", ours.name);
	drain(&late, 5000);
	drain(&c, 5000);
	assert_string_equal(told(&late), "");
	capture(1, false);
	drain(&late, 5000);
	drain(&c, 5000);
	assert_string_equal(told(&late), "2");
	assert_string_equal(told(&c), "2 2 2 2");
	assert_int_equal(last_segment(&c, &bytes).offset, 0);
	assert_int_equal(bytes, w.last->end);

	capture_inside(2, false);
	drain(&c, 5000);
	assert_non_null(c.body);
	now()->generation = other; /* the end of it never comes */
	now()->captured = now()->last = (struct position){ 0, 0 };
	live_step_done(w.d);
	drain(&c, 5000);
	assert_null(c.body);
	live_end(w.d, "the end");
	drain(&late, 5000);
	assert_null(late.body);
	hang_up(&c);
	hang_up(&second);
	hang_up(&late);
	drop_all();
}

int main(void)
{
#define SERVED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		SERVED(from_nothing_and_from_positions),
		SERVED(who_is_not_let_in),
		SERVED(the_head_is_asked_for),
		SERVED(bytes_come_at_any_pace),
		SERVED(closed_in_the_middle),
		SERVED(stuck_until_it_falls_out),
		SERVED(what_ends_streams),
		SERVED(heartbeats),
		SERVED(ten_minutes_after_the_last_one),
		SERVED(who_takes_nothing_is_cut),
		SERVED(hashes_and_what_differs),
		SERVED(a_plain_client_gets_whole_transactions),
	};
	return cmocka_run_group_tests_name("live server", tests, NULL, NULL);
}
