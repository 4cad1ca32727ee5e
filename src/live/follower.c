/* SPDX-License-Identifier: Apache-2.0
 *
 * One follower, from its request to its end: see live.h and parts.h.
 *
 * Happy path: a request becomes a follower. If what comes behind its position is still in the list of segments
 * it goes on there; else it gets content first (copy.c). Then it is sent segment after segment (segments.c),
 * and a heartbeat a second when there is none. The connection asks for bytes when it can take some; when there
 * are none it sleeps until live_offer, a copy or a heartbeat wakes it. A follower is a few hundred bytes and a
 * place in the list: nobody waits for it.
 *
 * Failure modes: it does not take what it is told at its end (cut); the generation changes (told, closed: it
 * comes again and gets the difference); the head of the WAL cannot be had; no memory (closed). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "live/parts.h"
#include "live/query.h"

enum {
	END_FOR_US = 10000000,
	SAY_US = 10000000,
	SAY_MAX = 100,
	RETRY_S = 2,
	PREPARED_MAX = 5,
	BITMAP_BYTES_MAX = 512 << 20,
};

/* ---- what is in the list ---- */

/* The first one of the index behind, if `at` is where its own ends. */
static const struct spool_segment *behind_end(const struct live_db *d, const struct generation *g,
					      struct position at)
{
	for (const struct spool_segment *s = d->now.segs; s; s = s->next)
		if (s->at.index == at.index + 1 && s->at.offset == 0 && s->prev_end == at.offset &&
		    generation_equal(&s->generation, g))
			return s;
	return NULL;
}

/* The current index is in the list from its beginning. */
static bool has_head(const struct live_db *d)
{
	struct position zero = { d->now.captured.index, 0 };
	return d->now.captured.offset == 0 || live_find(d, &d->now.generation, zero);
}

/* ---- what is said ---- */

/* Who comes and leaves many times a second fills no log, and hides nobody who is let go. */
static bool may_say(const struct live_db *d, struct live_said *n)
{
	int64_t now_us = mono_us();
	if (now_us - n->from_us > SAY_US) {
		if (n->lines > SAY_MAX)
			log_info("followers came and left more often than was said", L_S("db", d->path),
				 L_I("unsaid", n->lines - SAY_MAX));
		*n = (struct live_said){ .from_us = now_us };
	}
	return ++n->lines <= SAY_MAX;
}

/* ---- what is sent ---- */

void follower_goes_on(struct follower *f, struct position at)
{
	const struct live_db *d = f->db;
	f->seg = live_find(d, &f->generation, at);
	if (!f->seg)
		f->seg = behind_end(d, &f->generation, at);
	f->at = f->seg && f->seg->at.index == at.index ? f->seg->at : at;
	f->block = 0;
	f->phase = PHASE_FOLLOW;
	follower_wake(f);
}

void follower_end(struct follower *f, const char *why)
{
	if (f->phase == PHASE_ENDS)
		return;
	if (may_say(f->db, &f->db->said_ends))
		log_info("follower is let go", L_S("db", f->db->path), L_S("peer", f->peer),
			 L_S("reason", why));
	copy_leave(f);
	proof_leave(f);
	segments_leave(f);
	bool inside = f->phase == PHASE_FOLLOW && f->block > 0;
	f->phase = PHASE_ENDS;
	f->seg = NULL;
	f->waits = NULL;
	f->moved_us = mono_us();
	f->over = true;
	if (f->extended && !inside) {
		struct span text = { (const uint8_t *)why, strlen(why) };
		bytes_put(f->queued);
		f->queued = bytes_text_record(RECORD_END, &f->db->now.generation, f->at, text);
	} else if (inside) { /* what comes next of the record is not there any more */
		bytes_put(f->now);
		f->now = NULL;
	}
	follower_wake(f);
}

static struct bytes *next_bytes(struct follower *f)
{
	struct bytes *b = f->queued;
	f->queued = NULL;
	if (b)
		return b;
	switch (f->phase) {
	case PHASE_CONTENT:
		return copy_next(f);
	case PHASE_FOLLOW:
		return segments_next(f);
	case PHASE_LINEAGE:
	case PHASE_HEAD:
	case PHASE_PROOF:
	case PHASE_ENDS:
	default:
		return NULL;
	}
}

static ssize_t give(struct httpd_body *body, void *buf, size_t n)
{
	struct follower *f = LIVE_OWNER(body, struct follower, body);
	size_t done = 0;
	while (done < n) {
		if (!f->now && !(f->now = next_bytes(f)) && !(f->now = f->queued ? next_bytes(f) : NULL))
			break;
		if (f->now_at == 0 && !f->extended)
			f->now_at = f->now->plain_at;
		size_t part = f->now->n - f->now_at < n - done ? f->now->n - f->now_at : n - done;
		memcpy((uint8_t *)buf + done, f->now->p + f->now_at, part);
		done += part;
		f->now_at += part;
		if (f->now_at < f->now->n)
			break;
		bytes_put(f->now);
		f->now = NULL;
		f->now_at = 0;
	}
	f->bytes += done;
	f->db->totals.bytes += done;
	if (done > 0)
		f->moved_us = loop_now_us(f->db->server->loop);
	return done > 0 ? (ssize_t)done : f->over ? HTTPD_END : 0;
}

static void leave(struct httpd_body *body, const char *why)
{
	struct follower *f = LIVE_OWNER(body, struct follower, body);
	struct live_db *d = f->db;
	if (f->phase != PHASE_ENDS && may_say(d, &d->said))
		log_info("follower has left", L_S("db", d->path), L_S("peer", f->peer), L_S("reason", why));
	copy_leave(f);
	proof_leave(f);
	segments_leave(f);
	if ((*f->link = f->next))
		f->next->link = f->link;
	bytes_put(f->now);
	bytes_put(f->queued);
	free(f->bitmap);
	d->n--;
	d->left_us = mono_us();
	if (d->n == 0)
		segments_drop(d);
	free(f);
	d->ops.mark(d->arg);
	live_let_go(d);
}

/* ---- where a follower begins ---- */

static void begin_content(struct follower *f)
{
	const struct live_db *d = f->db;
	f->generation = d->now.generation;
	f->from = (struct position){ f->only_differing ? f->want.index : d->now.captured.index, 0 };
	f->phase = PHASE_CONTENT;
	f->db->totals.contents++;
	if (copy_begin(f) < 0)
		follower_end(f, "no memory");
}

static void wait_for_head(struct follower *f)
{
	struct live_db *d = f->db;
	if (f->prepared++ == PREPARED_MAX) {
		follower_end(f, "the beginning of the WAL cannot be had now");
		return;
	}
	f->phase = PHASE_HEAD;
	if (!d->preparing) {
		d->preparing = true;
		d->ops.prepare(d->arg);
	}
}

/* The segment whose last bytes are before `at`. */
static const struct spool_segment *ends_at(const struct live_db *d, struct position at)
{
	struct position inside = { at.index, at.offset - 1 };
	return at.offset > 0 ? live_find(d, &d->now.generation, inside) : NULL;
}

static bool sum_is(struct wal_sum a, uint64_t sum)
{
	return ((uint64_t)a.s0 << 32 | a.s1) == sum;
}

/* After a loss of power a generation may go on with other commits than those that were sent: what the follower
 * has last must be what is here at that position. In the middle of an index its own chain of checksums tells
 * it, when the next segment comes. */
static bool is_proven(struct follower *f, const struct spool_segment *next)
{
	const struct live_db *d = f->db;
	if (f->proven || (next && next->at.index == f->want.index && next->at.offset == f->want.offset))
		return true;
	if (f->want.offset == 0)
		return !next && f->want.index == d->now.captured.index;
	return f->has_sum && position_compare(f->want, d->now.last) == 0 &&
	       sum_is(d->now.captured_sum, f->want_sum);
}

/* What it wants is of this generation: can it be had without content? true: it is on its way. */
static bool resume(struct follower *f)
{
	const struct live_db *d = f->db;
	if (position_compare(f->want, d->now.captured) > 0) {
		if (d->now.followed) /* content would send its readers back in time */
			follower_end(f, "this copy is not as far as you are; come again");
		return d->now.followed;
	}
	f->generation = d->now.generation;
	const struct spool_segment *next = live_find(d, &f->generation, f->want);
	if (!next)
		next = behind_end(d, &f->generation, f->want);
	bool at_end =
		position_compare(f->want, d->now.captured) == 0 || position_compare(f->want, d->now.last) == 0;
	if ((next || at_end) && is_proven(f, next)) {
		follower_goes_on(f, f->want);
		return true;
	}
	if (f->want.index == d->now.captured.index && !has_head(d)) {
		wait_for_head(f);
		return true;
	}
	const struct spool_segment *last = f->has_sum ? ends_at(d, f->want) : NULL;
	if (!last || proof_begin(f, last) < 0)
		return false;
	f->phase = PHASE_PROOF;
	return true;
}

/* A plain client says only the index. What it has of that is not known, so it gets the index as one segment,
 * which is right whatever it has. */
static bool resume_plain(struct follower *f)
{
	struct live_db *d = f->db;
	struct position zero = { f->want.index, 0 };
	f->generation = d->now.generation;
	if (zero.index == d->now.captured.index && !has_head(d)) {
		wait_for_head(f);
		return true;
	}
	if (zero.index == d->now.captured.index && d->now.captured.offset == 0) {
		follower_goes_on(f, zero);
		return true;
	}
	const struct spool_segment *first = live_find(d, &f->generation, zero);
	if (!first)
		return false;
	if (!segments_whole(first)) { /* its first transaction has not come to its end */
		follower_goes_on(f, zero);
		return true;
	}
	f->from = zero;
	f->phase = PHASE_CONTENT;
	f->resumes = true;
	if (copy_begin(f) < 0)
		follower_end(f, "no memory");
	return true;
}

/* The WAL of the current generation is there from the beginning of this index on. */
static bool has_from(const struct live_db *d, uint64_t index)
{
	struct position zero = { index, 0 };
	return live_find(d, &d->now.generation, zero) || position_compare(zero, d->now.captured) == 0;
}

void follower_settle(struct follower *f)
{
	const struct live_db *d = f->db;
	if (!d->now.ready) {
		follower_end(f, d->ended ? d->end_why : "the database is not ready");
		return;
	}
	if (f->extended && f->phase == PHASE_LINEAGE) {
		if (!d->lineage) {
			if (*d->lineage_error)
				follower_end(f, d->lineage_error);
			return;
		}
		f->queued = bytes_get(d->lineage);
		follower_wake(f);
	}
	f->phase = PHASE_HEAD;
	bool same = f->has_position && generation_equal(&f->want_generation, &d->now.generation);
	if (same && !f->only_differing && (f->extended ? resume(f) : resume_plain(f)))
		return;
	if (f->only_differing && !(same && has_from(d, f->want.index)))
		follower_end(f, "what came behind the hashes is not kept any longer");
	else if (!has_head(d) || !d->now.filed)
		wait_for_head(f);
	else
		begin_content(f);
}

void proof_done(struct follower *f)
{
	if (f->phase == PHASE_PROOF)
		follower_settle(f);
}

/* ---- once a second ---- */

static struct bytes *heartbeat(struct follower *f, int64_t now_us)
{
	struct live_db *d = f->db;
	struct position none = { 0, 0 }, at = f->phase == PHASE_FOLLOW ? f->at : none;
	const struct generation *g = f->phase == PHASE_FOLLOW ? &f->generation : &d->now.generation;
	if (!d->heartbeat || d->heartbeat_us != now_us || position_compare(d->heartbeat_at, at) != 0 ||
	    !generation_equal(&d->heartbeat_of, g)) {
		struct record r = { .type = RECORD_HEARTBEAT,
				    .generation = *g,
				    .at = at,
				    .size_bytes = 8 + RECORD_SEAL_BYTES };
		bytes_put(d->heartbeat);
		d->heartbeat = bytes_record(&r);
		if (!d->heartbeat)
			return NULL;
		put_be64(d->heartbeat->p + RECORD_HEADER_BYTES, (uint64_t)wall_us());
		record_seal(d->heartbeat->p, d->heartbeat->n);
		d->heartbeat_us = now_us;
		d->heartbeat_at = at;
		d->heartbeat_of = *g;
	}
	return bytes_get(d->heartbeat);
}

void follower_beat(struct follower *f, int64_t now_us)
{
	if (f->phase == PHASE_ENDS && now_us - f->moved_us > END_FOR_US) {
		httpd_cut(f->conn); /* it does not even take that */
		return;
	}
	bool idle = f->phase == PHASE_FOLLOW ? !f->seg : f->phase != PHASE_ENDS && f->phase != PHASE_LINEAGE;
	if (!f->extended || !idle || f->now || f->queued || now_us - f->moved_us < LIVE_BEAT_US / 2 ||
	    generation_none(&f->db->now.generation))
		return;
	if ((f->queued = heartbeat(f, now_us)))
		follower_wake(f);
}

/* ---- requests ---- */

static const char *param(void *arg, const char *name)
{
	return httpd_query(arg, name);
}

static void say(struct httpd_answer *ret, unsigned status, const char *text)
{
	ret->status = status;
	dyn_addf(&ret->body, "%s\n", text);
}

static void not_ready(struct httpd_answer *ret, const char *text)
{
	say(ret, 503, text);
	httpd_add_header(ret, "Retry-After", "%d", RETRY_S);
	httpd_add_header(ret, "Litestream-page-size", "0");
}

void live_not_here(const struct httpd_request *q, struct httpd_answer *ret)
{
	struct live_query query;
	struct err e = ERR_INIT;
	if (live_query_parse(param, (void *)(uintptr_t)q, &query, &e) < 0)
		say(ret, 400, e.text);
	else
		say(ret, 404, "Database not found");
}

/* The client has other content and says which pages of it differ. */
static int take_bitmap(struct follower *f, const struct httpd_request *q, const struct live_query *query,
		       struct httpd_answer *ret)
{
	const struct live_db *d = f->db;
	bool there = query->has_position && generation_equal(&query->generation, &d->now.generation) &&
		     has_from(d, query->at.index);
	if (!query->extended) { /* as the server of 2022 */
		say(ret, 405, "Method not allowed");
		httpd_add_header(ret, "Allow", "GET");
		return -1;
	}
	if (!query->has_position || q->body.n > BITMAP_BYTES_MAX) {
		say(ret, 400, "POST needs generation, index, txn=1 and a bitmap");
		return -1;
	}
	if (!there) {
		say(ret, 409, "what came behind these hashes is not kept any longer; ask for /hashes again");
		return -1;
	}
	f->only_differing = true;
	f->bitmap_bytes = q->body.n;
	if (!(f->bitmap = malloc(q->body.n ? q->body.n : 1))) {
		say(ret, 500, "no memory");
		return -1;
	}
	if (q->body.n)
		memcpy(f->bitmap, q->body.p, q->body.n);
	return 0;
}

static void enter(struct follower *f, const struct httpd_request *q)
{
	struct live_db *d = f->db;
	struct live_server *s = d->server;
	f->next = d->followers;
	f->link = &d->followers;
	if (f->next)
		f->next->link = &f->next;
	d->followers = f;
	if (d->n++ == 0)
		live_count_anew(d);
	d->totals.streams++;
	httpd_peer(f->conn, f->peer);
	if (may_say(d, &d->said))
		log_info("follower has come", L_S("db", d->path), L_S("peer", f->peer),
			 L_S("kind", f->extended ? "walbrook" : "plain"), L_S("method", q->method));
	if (!s->beat.set)
		loop_timer_set(s->loop, &s->beat, loop_now_us(s->loop) + LIVE_BEAT_US);
}

void live_stream(struct live_db *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	struct live_query query;
	struct err e = ERR_INIT;
	if (live_query_parse(param, (void *)(uintptr_t)q, &query, &e) < 0) {
		say(ret, 400, e.text);
		return;
	}
	if (!d->now.ready || d->ended || d->now.page_bytes == 0) {
		not_ready(ret, d->now.stalled ? live_stalled : "No generation available");
		return;
	}
	/* One that has more than this copy must not be sent back in time. */
	if (d->now.followed && query.has_position && generation_equal(&query.generation, &d->now.generation) &&
	    position_compare(query.at, d->now.captured) > 0) {
		not_ready(ret, "this copy is behind your position");
		return;
	}
	if (copy_full(d->server)) {
		not_ready(ret, "too many are being sent content; try again soon");
		return;
	}
	struct follower *f = calloc(1, sizeof *f);
	if (!f) {
		say(ret, 500, "no memory");
		return;
	}
	const char *accepts = httpd_header(q, "Accept-Encoding");
	*f = (struct follower){ .body = { .read = give, .closed = leave },
				.db = d,
				.conn = q->conn,
				.phase = PHASE_LINEAGE,
				.extended = query.extended,
				.lz4 = query.extended && accepts && strstr(accepts, "lz4"),
				.has_position = query.has_position,
				.want_generation = query.generation,
				.want = query.at,
				.has_sum = query.has_sum,
				.want_sum = query.sum,
				.since_wall_us = wall_us(),
				.moved_us = mono_us() };
	if (strcmp(q->method, "POST") == 0 && take_bitmap(f, q, &query, ret) < 0) {
		free(f);
		return;
	}
	enter(f, q);
	ret->stream = &f->body;
	ret->type = "application/octet-stream";
	httpd_add_header(ret, "Litestream-page-size", "%" PRIu32, d->now.page_bytes);
	if (f->extended)
		httpd_add_header(ret, "Walbrook-Stream", "1");
	httpd_add_header(ret, "X-Accel-Buffering", "no"); /* nginx would wait until a buffer is full */
	if (f->extended && !d->lineage)
		live_lineage_wanted(d);
	follower_settle(f);
}
