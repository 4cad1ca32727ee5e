/* SPDX-License-Identifier: Apache-2.0
 *
 * Every byte of what a primary answered changed, and every answer cut at every byte; what does a follower make
 * of it?
 *
 *     liveflip [-step N] [-from N] [-bits] [-say] DIR        DIR: of test/live/session.py
 *     liveflip -fuzzy N [-seed S] DIR                        of a plain stream
 *
 * The thread of a followed database (daemon/feed.c) runs here in one process, again and again, each time with a
 * database of its own. Below it is no network: the functions of net/client.h are here, and give it the recorded
 * answers, one of them damaged. When something is asked for that is not in the record, a good server answers,
 * which has the last state. Time is made: who waits has waited.
 *
 * After each piece in which something was published, another process reads the database through an ordinary
 * connection, kept open as long as the follower runs: it must be one of the states that the primary had, never
 * an older one than before. In the end it must be the last one, and the damage must have been said (but LZ4
 * data can say the same with another byte).
 *
 * A plain stream: its snapshot has no checksum. A change in there, but in what is fixed in the head of a
 * database, need not be said; it must be seen exactly as that byte or not at all; in the first page it may be
 * an error of SQLite. Everything else as above.
 *
 * -fuzzy: nothing is damaged, but the snapshot is what a copy of the file is that was made while its
 * application went on: each page of any of the states. Nobody may see a state that never was, however the
 * stream stalls (for less than 0.7 s) and wherever it is cut. N runs.
 *
 * -step: every Nth byte, -from: the first one; -bits: all eight bits in the heads of records; -say: what was
 * said. Nothing is synced to the disk. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/file.h"
#include "base/log.h"
#include "core/segment.h"
#include "core/wal.h"
#include "daemon/feed.h"

#define VISIBLE __attribute__((visibility("default")))

enum { STATES_MAX = 64, PLAN_MAX = 16, RECORDS_MAX = 256, ASKED_MAX = 60, WAL_MAX_BYTES = 1 << 20 };
enum { LOOK_ERROR = -2, LOOK_WRONG = -1 };
enum { QUIET_LONG_US = 20000000 }; /* by then everything has been noticed that is noticed by waiting */

static void die(const char *what)
{
	printf("liveflip: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- time ---- */

static int64_t skew_us;

static void wait_us(int64_t us)
{
	skew_us += us;
}

VISIBLE int clock_gettime(clockid_t id, struct timespec *t)
{
	if (syscall(SYS_clock_gettime, id, t) != 0)
		return -1;
	if (id != CLOCK_MONOTONIC)
		return 0;
	int64_t ns = t->tv_nsec + skew_us % 1000000 * 1000;
	t->tv_sec += skew_us / 1000000 + ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

VISIBLE int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	struct timespec now;
	(void)c;
	(void)m;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int64_t us = (until->tv_sec - now.tv_sec) * 1000000 + (until->tv_nsec - now.tv_nsec) / 1000;
	wait_us(us > 0 ? us + 1 : 0);
	return ETIMEDOUT;
}

VISIBLE int fsync(int fd)
{
	(void)fd;
	return 0;
}

VISIBLE int fdatasync(int fd)
{
	(void)fd;
	return 0;
}

/* ---- what was recorded ---- */

enum kind { KIND_STREAM, KIND_HASHES, KIND_POST };

struct answer {
	enum kind kind;
	struct dyn body;
	bool ends; /* else it stays open */
	size_t ends_of[RECORDS_MAX], records;
};

static struct {
	const char *dir;
	bool plain;
	uint32_t page_bytes;
	struct answer plan[PLAN_MAX], fresh, hashes, post;
	size_t plan_n;
	struct dyn states[STATES_MAX];
	int states_n;
	struct generation last; /* of `fresh` */
	struct dyn wal[16];	/* of that generation, by index */
	struct span beat;	/* the last heartbeat */
} rec;

static struct dyn load(const char *name)
{
	char path[PATH_BYTES];
	struct dyn d = DYN_INIT(16 << 20);
	struct err e = ERR_INIT;
	snprintf(path, sizeof path, "%s/%s", rec.dir, name);
	if (file_read_all(path, &d, &e) < 0)
		d.len = 0;
	return d;
}

static bool next_record(const struct answer *a, size_t *at, struct record *r, size_t *begin)
{
	struct err e;
	*begin = *at;
	if (a->body.len - *at < RECORD_HEADER_BYTES ||
	    record_parse((struct span){ a->body.p + *at, a->body.len - *at }, r, &e) < 0)
		return false;
	*at += RECORD_HEADER_BYTES + (size_t)r->size_bytes;
	return *at <= a->body.len;
}

static void load_answer(struct answer *a, enum kind kind, const char *name)
{
	struct record r;
	size_t begin;
	*a = (struct answer){ .kind = kind, .body = load(name) };
	for (size_t at = 0; a->records < RECORDS_MAX && next_record(a, &at, &r, &begin);) {
		a->ends_of[a->records++] = at;
		a->ends = r.type == RECORD_END || r.type == RECORD_HASHES;
	}
}

static int to_dyn(void *arg, struct span out, struct err *e)
{
	(void)e;
	return dyn_add(arg, out.p, out.n);
}

/* The WAL of the last generation, as far as the good server has it. */
static void load_wal(void)
{
	struct record r;
	struct err e;
	size_t begin;
	for (size_t at = 0; next_record(&rec.fresh, &at, &r, &begin);) {
		rec.last = r.generation;
		if (r.type == RECORD_HEARTBEAT)
			rec.beat = (struct span){ rec.fresh.body.p + begin, at - begin };
		if (r.type != RECORD_SEGMENT || r.at.index >= 16)
			continue;
		struct dyn *w = &rec.wal[r.at.index];
		if (!w->p)
			*w = DYN_INIT(WAL_MAX_BYTES);
		struct segment_reader *s = segment_reader_new(to_dyn, w);
		if (segment_read(s,
				 (struct span){ rec.fresh.body.p + begin + RECORD_HEADER_BYTES,
						(size_t)r.size_bytes },
				 &e) < 0 ||
		    segment_read_end(s, &e) < 0)
			die("the record has a segment that is none");
		segment_reader_free(s);
	}
}

static void load_all(const char *dir)
{
	char line[128], kind[16], name[64];
	rec.dir = dir;
	snprintf(line, sizeof line, "%.100s/session", dir);
	FILE *f = fopen(line, "re");
	if (!f)
		die(line);
	while (fgets(line, sizeof line, f) && rec.plan_n < PLAN_MAX) {
		if (sscanf(line, "%15s %63s", kind, name) != 2)
			continue;
		if (strcmp(kind, "plain") == 0) {
			rec.plain = true;
			rec.page_bytes = (uint32_t)atoi(name);
			continue;
		}
		load_answer(&rec.plan[rec.plan_n++],
			    kind[0] == 'h'   ? KIND_HASHES
			    : kind[0] == 'p' ? KIND_POST
					     : KIND_STREAM,
			    name);
	}
	fclose(f);
	load_answer(&rec.fresh, KIND_STREAM, "fresh.bin");
	load_answer(&rec.hashes, KIND_HASHES, "hashes.bin");
	load_answer(&rec.post, KIND_POST, "post.bin");
	for (; rec.states_n < STATES_MAX; rec.states_n++) {
		snprintf(name, sizeof name, "states/%d", rec.states_n);
		rec.states[rec.states_n] = load(name);
		if (rec.states[rec.states_n].len == 0)
			break;
	}
	load_wal();
	for (size_t i = 0; i < sizeof rec.wal / sizeof *rec.wal; i++)
		if (rec.wal[i].len >= WAL_HEADER_BYTES)
			rec.page_bytes = get_be32(rec.wal[i].p + 8);
	if (rec.plan_n == 0 || rec.states_n < 2 || rec.fresh.body.len == 0)
		die("the record is not whole");
}

/* ---- the reader, another process ---- */

static char db_path[256], base[128];
static FILE *ask_reader, *hear_reader;

/* Which state this image is. at: a byte of the file that may be XORed with the mask; SIZE_MAX: none. */
static int state_of(const uint8_t *p, size_t n, size_t at, unsigned mask, int least)
{
	for (int i = least; i < rec.states_n; i++) {
		const struct dyn *s = &rec.states[i];
		if (n == s->len && memcmp(p, s->p, n) == 0)
			return i;
		if (n == s->len && at < n && (p[at] ^ s->p[at]) == (uint8_t)mask && memcmp(p, s->p, at) == 0 &&
		    memcmp(p + at + 1, s->p + at + 1, n - at - 1) == 0)
			return i;
	}
	return LOOK_WRONG;
}

static int look_in_reader(sqlite3 **db, ino_t *of, size_t at, unsigned mask, int least)
{
	struct stat st;
	sqlite3_int64 n = 0;
	if (stat(db_path, &st) < 0)
		return LOOK_ERROR;
	if (*db && st.st_ino != *of) {
		sqlite3_close(*db);
		*db = NULL;
	}
	*of = st.st_ino;
	if (!*db && sqlite3_open_v2(db_path, db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return LOOK_ERROR;
	sqlite3_busy_timeout(*db, 5000);
	uint8_t *p = sqlite3_serialize(*db, "main", &n, 0);
	if (!p)
		return LOOK_ERROR;
	int is = state_of(p, (size_t)n, at, mask, least);
	sqlite3_free(p);
	return is;
}

static void be_reader(int in, int out)
{
	sqlite3 *db = NULL;
	ino_t of = 0;
	char line[128];
	FILE *f = fdopen(in, "r"), *to = fdopen(out, "w");
	while (f && to && fgets(line, sizeof line, f)) {
		size_t at;
		unsigned mask;
		int least, is = 0;
		if (sscanf(line, "look %zu %u %d", &at, &mask, &least) == 3)
			is = look_in_reader(&db, &of, at, mask, least);
		else
			sqlite3_close(db), db = NULL;
		fprintf(to, "%d\n", is);
		fflush(to);
	}
	_exit(0);
}

static void start_reader(void)
{
	int down[2], up[2];
	if (pipe(down) < 0 || pipe(up) < 0)
		die("pipe");
	fflush(stdout);
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		close(down[1]);
		close(up[0]);
		be_reader(down[0], up[1]);
	}
	close(down[0]);
	close(up[1]);
	ask_reader = fdopen(down[1], "w");
	hear_reader = fdopen(up[0], "r");
}

static int tell_reader(const char *line)
{
	char answer[32];
	fprintf(ask_reader, "%s\n", line);
	fflush(ask_reader);
	if (!fgets(answer, sizeof answer, hear_reader))
		die("the reader has died");
	return atoi(answer);
}

/* ---- one run ---- */

struct damage {
	size_t answer, at; /* answer: of the plan; SIZE_MAX: none */
	unsigned mask;	   /* 0: cut before it */
	size_t file_at;	   /* of the database, when it is a byte of a plain snapshot; else SIZE_MAX */
	bool silent;	   /* compressed: it may say the same */
};

static struct {
	struct damage d;
	struct upstream *up;
	size_t next; /* of the plan */
	bool derailed, met, wrong;
	unsigned asked;
	int state; /* that readers see; -1: none yet */
	uint64_t published;
	int64_t quiet_us;
	char said[600], why[600];
} run;

static bool say, verbose, learning, fuzzy;

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random_state >> 33) % n;
}
static char normal[8][600]; /* what is said of streams that are not damaged */
static int normal_n;

/* Why the stream before ended, if that was not as it should be. */
static bool has_said(void)
{
	const char *reason = run.up->seen.reason;
	bool known = !reason[0] || run.up->seen.errors == 0;
	for (int i = 0; i < normal_n && !known; i++)
		known = strcmp(reason, normal[i]) == 0;
	if (!known && learning && normal_n < 8)
		snprintf(normal[normal_n++], sizeof normal[0], "%s", reason);
	else if (!known && !run.said[0])
		snprintf(run.said, sizeof run.said, "%s", reason);
	return run.said[0] != 0;
}

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *fmt, ...)
{
	va_list ap;
	if (!run.wrong) {
		va_start(ap, fmt);
		vsnprintf(run.why, sizeof run.why, fmt, ap);
		va_end(ap);
	}
	run.wrong = true;
	atomic_store(&run.up->stop, true);
}

static void look(const struct feed *d)
{
	char line[80];
	struct follow_source at;
	if (d->f.n.published + d->f.n.files == run.published || !follow_position(&d->f, &at))
		return;
	run.published = d->f.n.published + d->f.n.files;
	snprintf(line, sizeof line, "look %zu %u %d", run.d.file_at, run.d.mask, run.state < 0 ? 0 : run.state);
	int is = tell_reader(line);
	if (verbose)
		fprintf(stderr, "published: state %d\n", is);
	if (is >= 0)
		run.state = is;
	else if (is == LOOK_ERROR && run.d.file_at < rec.page_bytes)
		run.state = rec.states_n - 1;
	else
		fail("a reader sees %s",
		     is == LOOK_ERROR ? "an error" : "what was never committed, or an older state");
}

/* ---- net/client.h ---- */

struct client {
	struct client_answer is;
	struct dyn made; /* an answer that was put together */
	const struct answer *from;
	struct span body;
	size_t at;
	size_t damage_at;  /* SIZE_MAX: none */
	int64_t stalls_us; /* before the next record */
	bool ends, begun;
	client_sink *sink;
	void *arg;
};

int client_new(const struct client_options *o, struct client **ret, struct err *e)
{
	(void)o;
	run.derailed = has_said() || run.derailed;
	*ret = calloc(1, sizeof **ret);
	return *ret ? 0 : err_set(e, ERR_FAIL, "no memory");
}

void client_free(struct client *c)
{
	if (c)
		dyn_free(&c->made);
	free(c);
}

static bool parameter(const char *target, const char *name, char *buf, size_t size)
{
	char want[32];
	snprintf(want, sizeof want, "&%s=", name);
	const char *p = strstr(target, want);
	buf[0] = 0;
	if (p)
		snprintf(buf, size, "%.*s", (int)strcspn(p + strlen(want), "&"), p + strlen(want));
	return p != NULL;
}

/* Whether who asks has what the last generation has there. */
static bool proves(const char *target, struct position at)
{
	char sum[32];
	const struct dyn *w = at.index < 16 ? &rec.wal[at.index] : NULL;
	if (at.offset <= WAL_HEADER_BYTES)
		return true;
	if (!w || at.offset > w->len || !parameter(target, "sum", sum, sizeof sum))
		return false;
	uint32_t page_bytes = get_be32(w->p + 8);
	return strtoull(sum, NULL, 16) == get_be64(w->p + at.offset - wal_frame_bytes(page_bytes) + 16);
}

/* A stream of the last state from the segment on in which the position lies; all of it if there is none. */
static void good_stream(struct client *c, const char *target)
{
	char generation[32], index[32], offset[32];
	struct position at = { 0, 0 };
	struct record r;
	size_t begin, first = 0, from = SIZE_MAX, commits = SIZE_MAX;
	c->body = (struct span){ rec.fresh.body.p, rec.fresh.body.len };
	if (!parameter(target, "generation", generation, sizeof generation) ||
	    strcmp(generation, rec.last.name) != 0 || !parameter(target, "index", index, sizeof index))
		return;
	at.index = strtoull(index, NULL, 16);
	if (!rec.plain && parameter(target, "offset", offset, sizeof offset))
		at.offset = strtoull(offset, NULL, 16);
	if (!rec.plain && !proves(target, at))
		return;
	for (size_t i = 0; next_record(&rec.fresh, &i, &r, &begin);) {
		first = first ? first : i;
		if (r.type == RECORD_COMMITS)
			commits = begin;
		bool next_is_beyond = r.type == RECORD_SEGMENT && position_compare(r.at, at) > 0;
		if (r.type == RECORD_SEGMENT && !next_is_beyond)
			from = commits != SIZE_MAX ? commits : begin;
		if (r.type == RECORD_SEGMENT)
			commits = SIZE_MAX;
	}
	if (from == SIZE_MAX)
		return;
	if (!rec.plain)
		dyn_add(&c->made, rec.fresh.body.p, first);
	dyn_add(&c->made, rec.fresh.body.p + from, rec.fresh.body.len - from);
	c->body = (struct span){ c->made.p, c->made.len };
}

static void damage(struct client *c, const struct answer *a)
{
	dyn_add(&c->made, a->body.p, run.d.mask ? a->body.len : run.d.at);
	if (run.d.mask)
		c->made.p[run.d.at] ^= (uint8_t)run.d.mask;
	c->body = (struct span){ c->made.p, c->made.len };
	c->damage_at = run.d.at;
}

/* The snapshot becomes what a copy would be that took a long time. */
static void make_fuzzy(struct client *c)
{
	struct record r;
	struct err e;
	if (c->body.n < RECORD_HEADER_BYTES || record_parse(c->body, &r, &e) < 0 || r.type != RECORD_SNAPSHOT)
		return;
	struct dyn all = DYN_INIT(16 << 20);
	dyn_add(&all, c->body.p, c->body.n);
	for (size_t at = 0; at < r.size_bytes; at += rec.page_bytes) {
		const struct dyn *s = &rec.states[random_below((uint32_t)rec.states_n)];
		if (random_below(2) && at + rec.page_bytes <= s->len)
			memcpy(all.p + RECORD_HEADER_BYTES + at, s->p + at, rec.page_bytes);
	}
	dyn_free(&c->made);
	c->made = all;
	c->body = (struct span){ all.p, all.len };
}

/* Some connections are cut after the snapshot, in the middle of anything. */
static void make_unreliable(struct client *c)
{
	static const struct answer whole = { .kind = KIND_STREAM };
	make_fuzzy(c);
	c->from = c->body.n == rec.fresh.body.len ? &rec.fresh : &whole;
	if (run.asked < 4 && random_below(3) == 0 && c->body.n > 1) {
		c->body.n = 1 + random_below((uint32_t)c->body.n - 1);
		c->damage_at = c->body.n;
	}
}

int client_begin(struct client *c, const struct client_request *q, client_sink *sink, void *arg, struct err *e)
{
	enum kind kind = strncmp(q->target, "/hashes", 7) == 0 ? KIND_HASHES
			 : q->body_bytes		       ? KIND_POST
							       : KIND_STREAM;
	const struct answer *a = &rec.plan[run.next];
	(void)e;
	dyn_free(&c->made);
	*c = (struct client){ .is = { .status = 200, .page_bytes = rec.page_bytes, .extended = !rec.plain },
			      .made = DYN_INIT(16 << 20),
			      .damage_at = SIZE_MAX,
			      .sink = sink,
			      .arg = arg,
			      .begun = true };
	if (++run.asked > ASKED_MAX)
		fail("it asks again and again");
	run.derailed = run.derailed || run.next >= rec.plan_n || a->kind != kind;
	if (!run.derailed) {
		c->body = (struct span){ a->body.p, a->body.len };
		c->ends = a->ends;
		if (run.next == run.d.answer)
			damage(c, a);
		c->from = a;
		run.next++;
		return 0;
	}
	if (kind != KIND_STREAM && rec.plain) {
		c->is.status = 404;
		c->ends = true;
		return 0;
	}
	c->ends = kind == KIND_HASHES;
	if (kind == KIND_STREAM)
		good_stream(c, q->target);
	if (fuzzy)
		make_unreliable(c);
	if (kind != KIND_STREAM)
		c->body = kind == KIND_HASHES ? (struct span){ rec.hashes.body.p, rec.hashes.body.len }
					      : (struct span){ rec.post.body.p, rec.post.body.len };
	return 0;
}

void client_silence(struct client *c, int64_t silence_us)
{
	(void)c;
	(void)silence_us; /* a heartbeat comes each turn */
}

/* To the end of the record as it was recorded. */
static size_t piece_end(const struct client *c)
{
	for (size_t i = 0; c->from && i < c->from->records; i++)
		if (c->from->ends_of[i] > c->at && c->from->ends_of[i] < c->body.n)
			return c->from->ends_of[i];
	return c->body.n;
}

/* Everything has come. It ends when nothing is left to wait for. */
static enum client_result quiet(struct client *c, int64_t max_wait_us, struct err *e)
{
	const struct feed *d = c->arg;
	bool cut = c->damage_at != SIZE_MAX && run.d.mask == 0;
	look(d);
	run.met = run.met || cut;
	if (cut)
		return err_set(e, ERR_UNREACHABLE, "the connection was cut");
	if (c->ends)
		return CLIENT_END;
	wait_us(max_wait_us);
	run.quiet_us += max_wait_us;
	bool there = run.state == rec.states_n - 1 && !follow_content_waits(&d->f, NULL);
	bool noticed = run.d.answer == SIZE_MAX || run.said[0];
	if ((there && noticed) || run.quiet_us > 3 * QUIET_LONG_US || (there && run.quiet_us > QUIET_LONG_US))
		atomic_store(&run.up->stop, true);
	if (rec.plain || c->sink(c->arg, rec.beat, e) == 0)
		return CLIENT_MORE;
	return CLIENT_FAIL;
}

enum client_result client_turn(struct client *c, int64_t max_wait_us, struct err *e)
{
	size_t to = piece_end(c);
	if (c->stalls_us > 0) {
		int64_t us = c->stalls_us < max_wait_us ? c->stalls_us : max_wait_us;
		c->stalls_us -= us;
		wait_us(us);
		look(c->arg);
		return CLIENT_MORE;
	}
	if (c->at == c->body.n)
		return quiet(c, max_wait_us, e);
	struct span piece = { c->body.p + c->at, to - c->at };
	if (c->damage_at < to || (c->damage_at == to && run.d.mask == 0))
		run.met = true;
	c->at = to;
	run.quiet_us = 0;
	if (fuzzy && random_below(2))
		c->stalls_us = random_below(700) * 1000;
	int rc = c->sink(c->arg, piece, e);
	look(c->arg);
	return rc == 0 ? CLIENT_MORE : CLIENT_FAIL;
}

const struct client_answer *client_answer(const struct client *c)
{
	return &c->is;
}

uint64_t client_bytes(const struct client *c)
{
	return c->at;
}

void client_stop(struct client *c)
{
	c->begun = false;
}

void client_wake(struct client *c)
{
	(void)c;
}

int client_encode(const char *text, char *buf, size_t size)
{
	return snprintf(buf, size, "%s", text) < (int)size ? 0 : -1;
}

bool client_is_loopback(const char *url)
{
	(void)url;
	return true;
}

/* ---- runs ---- */

static struct engine engine;

static void remove_all(void)
{
	static const char *const names[] = { "db",
					     "db-wal",
					     "db-shm",
					     "db.walbrook-new",
					     "m/walbrook/lineage",
					     "m/walbrook/follow",
					     "m/walbrook/lock" };
	char path[256];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", base, names[i]);
		unlink(path);
	}
}

static void run_once(const struct damage *d)
{
	char meta[256], url[] = "http://127.0.0.1:1", same[] = "same", from[] = "/p.db";
	struct err e = ERR_INIT;
	struct conf_db conf = { .path = db_path,
				.meta_path = meta,
				.upstream_url = url,
				.upstream_path = from,
				.upstream_lineage = same,
				.spool_quota_bytes = 1 << 20 };
	struct managed m = { .en = &engine, .conf = &conf, .meta_dir = meta };
	snprintf(meta, sizeof meta, "%s/m", base);
	remove_all();
	memset(&run, 0, sizeof run);
	run.d = *d;
	run.state = -1;
	run.derailed = fuzzy; /* the good server answers */
	struct db_options o = { .path = db_path, .meta_dir = meta, .spool_quota_bytes = 1 << 20 };
	if (db_init(&m.db, &o, &e) < 0 || upstream_new(&m, false, &run.up, &e) < 0)
		die(e.text);
	feed_run(run.up);
	if (!run.wrong && run.state != rec.states_n - 1)
		fail("it does not come to the last state (%d of %d): %.400s", run.state, rec.states_n - 1,
		     run.up->seen.reason);
	tell_reader("close");
	upstream_free(run.up);
	db_fini(&m.db);
}

static struct {
	unsigned flips, cuts, said, same, unmet, seen, failures;
} count;

/* Bytes of the head of a database that cannot be anything else. */
static bool is_fixed(size_t file_at)
{
	static const uint8_t from_to[][2] = { { 0, 19 }, { 21, 23 }, { 44, 46 }, { 56, 58 }, { 72, 91 } };
	for (size_t i = 0; i < sizeof from_to / sizeof *from_to; i++)
		if (file_at >= from_to[i][0] && file_at <= from_to[i][1])
			return true;
	return false;
}

static void try_one(const struct damage *d, const char *where)
{
	run_once(d);
	*(d->mask ? &count.flips : &count.cuts) += 1;
	if (!run.wrong && run.met && !run.said[0] && !d->silent &&
	    (d->file_at == SIZE_MAX || is_fixed(d->file_at)))
		fail("nothing was said about it");
	count.unmet += !run.met;
	count.said += run.said[0] != 0;
	count.same += run.met && !run.said[0] && d->file_at == SIZE_MAX;
	count.seen += run.met && !run.said[0] && d->file_at != SIZE_MAX;
	if (say)
		printf("answer %zu byte %zu %s %02x: %s\n", d->answer, d->at, where, d->mask, run.said);
	if (!run.wrong)
		return;
	if (count.failures++ < 10)
		printf("liveflip: FAILURE: answer %zu, byte %zu, %s%02x (%s): %s\n", d->answer, d->at,
		       d->mask ? "flip by " : "cut ", d->mask, where, run.why);
}

/* Where a byte is. */
static const char *place(const struct answer *a, struct damage *d)
{
	static char text[64];
	struct record r;
	size_t begin;
	for (size_t at = 0; next_record(a, &at, &r, &begin);) {
		if (d->at >= at)
			continue;
		size_t in = d->at - begin;
		bool head = in < RECORD_HEADER_BYTES;
		d->silent = d->mask && !head && (r.type == RECORD_SEGMENT || r.flags & RECORD_LZ4);
		if (r.type == RECORD_SNAPSHOT && !head && d->mask)
			d->file_at = in - RECORD_HEADER_BYTES;
		snprintf(text, sizeof text, "%s %zu of a record of type %u", head ? "head" : "payload",
			 head ? in : in - RECORD_HEADER_BYTES, r.type);
		return text;
	}
	return "the end";
}

static void all_of(size_t answer, size_t step, size_t from, bool bits)
{
	const struct answer *a = &rec.plan[answer];
	for (size_t at = from; at < a->body.len && count.failures < 10; at += step) {
		struct damage d = { answer, at, 1u << (at / step) % 8, SIZE_MAX, false };
		const char *where = place(a, &d);
		for (unsigned bit = 0; bit < 8; bit++, d.mask = 1u << bit) {
			bool all = bits && where[0] == 'h';
			if (bit == 0 && all)
				d.mask = 1;
			try_one(&d, where);
			if (!all)
				break;
		}
		d = (struct damage){ answer, at, 0, SIZE_MAX, false };
		try_one(&d, place(a, &d));
	}
}

static void storm(unsigned runs)
{
	const struct damage none = { SIZE_MAX, 0, 0, SIZE_MAX, false };
	unsigned n = 0, bad = 0;
	fuzzy = true;
	for (; n < runs && bad < 10; n++) {
		uint64_t seed = random_state;
		run_once(&none);
		if (!run.wrong)
			continue;
		bad++;
		printf("liveflip: FAILURE: fuzzy run %u (of seed %" PRIu64 "): %s\n", n, seed, run.why);
	}
	count.failures += bad;
	printf("liveflip: %u runs of fuzzy snapshots, %u bad\n", n, bad);
}

static void clean_up(void)
{
	char path[256];
	static const char *const dirs[] = { "m/walbrook/spool", "m/walbrook", "m", "" };
	remove_all();
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		snprintf(path, sizeof path, "%s/%s", base, dirs[i]);
		rmdir(path);
	}
}

int main(int argc, char **argv)
{
	size_t step = 1, from = 0;
	unsigned runs = 0;
	bool bits = false;
	int i = 1;
	struct err e = ERR_INIT;
	const char *tmp = getenv("TMPDIR");
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "-step") == 0 && i + 1 < argc)
			step = strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-from") == 0 && i + 1 < argc)
			from = strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-fuzzy") == 0 && i + 1 < argc)
			runs = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-seed") == 0 && i + 1 < argc)
			random_state = strtoull(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "-bits") == 0)
			bits = true;
		else if (strcmp(argv[i], "-say") == 0)
			say = true;
		else if (strcmp(argv[i], "-log") == 0)
			verbose = true;
	}
	if (i + 1 != argc || step == 0) {
		fprintf(stderr, "usage: liveflip [-step N] [-from N] [-bits] [-say] [-log] DIR\n");
		return 2;
	}
	load_all(argv[i]);
	snprintf(base, sizeof base, "%.90s/liveflip-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(base))
		die(base);
	snprintf(db_path, sizeof db_path, "%s/db", base);
	start_reader();
	log_setup(verbose ? LOG_DEBUG : LOG_ERROR + 1, false, 2);
	if (loop_new(&engine.loop, &e) < 0)
		die(e.text);
	const struct damage none = { SIZE_MAX, 0, 0, SIZE_MAX, false };
	learning = true;
	run_once(&none);
	learning = false;
	bool good = !run.wrong && !run.said[0] && run.next == rec.plan_n;
	if (!good)
		printf("liveflip: FAILURE: undamaged, %zu of %zu answers were asked for: %s %s\n", run.next,
		       rec.plan_n, run.why, run.said);
	if (good && runs > 0)
		storm(runs);
	for (size_t k = 0; good && runs == 0 && k < rec.plan_n; k++)
		if (rec.plan[k].body.len != rec.fresh.body.len || rec.plain)
			all_of(k, step, from, bits);
	clean_up();
	loop_free(engine.loop);
	printf("liveflip: %s  %u bytes changed, %u cuts; %u said, %u changed nothing, %u in a plain snapshot "
	       "seen as they "
	       "are, %u never met, %u failures\n",
	       good && !count.failures ? "PASS" : "FAIL", count.flips, count.cuts, count.said, count.same,
	       count.seen, count.unmet, count.failures);
	return good && count.failures == 0 ? 0 : 1;
}
