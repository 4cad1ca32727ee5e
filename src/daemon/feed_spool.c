/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments of a primary are kept in the spool of its follower, as they came, for replicas and followers of its
 * own: see feed.h.
 *
 * Happy path: the compressed bytes of a segment are written as they come, and when its frames were verified and
 * applied it gets its name and goes to the loop. Generation, index and offset pass through unchanged.
 *
 * What the spool holds is one piece: it begins with the first segment after the start or after content (that
 * one at offset 0 of its index), and each segment continues the one before. While content waits for its WAL, so
 * do the segments.
 *
 * Failure modes: a segment that begins before the end of the spool (only what is new of it is kept, compressed
 * again); one that begins behind it, since a connection was lost while readers were further than the spool: the
 * list is forgotten and the index comes again from its start; after a stop, a spool that does not end where
 * readers are begins anew. Then a replica that lacks what is gone asks for the index from its start (ship.c).
 * No room: said, and the spool begins anew with the next index. */
#include "daemon/feed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

static struct spool *spool_of(struct feed *d)
{
	return &d->up->m->db.cap.spool;
}

static void forget_pending(struct feed *d)
{
	struct spool_segment *list = d->pending;
	d->pending = NULL;
	d->pending_end = &d->pending;
	feed_spool_remove(d, list);
}

void feed_spool_remove(struct feed *d, struct spool_segment *list)
{
	struct err e;
	for (struct spool_segment *s = list, *next; s; s = next) {
		next = s->next;
		if (spool_remove(spool_of(d), &s->generation, s->at, s->stored_bytes, &e) < 0)
			log_warn("segment stays in the spool for now", L_S("db", d->up->m->conf->path),
				 L_S("error", e.text));
		spool_segment_free(s);
	}
}

/* ---- what an earlier run left ---- */

struct loading {
	struct feed *d;
	const struct follow_source *at; /* NULL: not known */
	struct spool_segment *first, **end;
};

static int load_generation(void *arg, const struct generation *g)
{
	struct loading *l = arg;
	struct spool *s = spool_of(l->d);
	struct wal_chain tail = { 0 };
	struct spool_segment *list = NULL, *last;
	struct err e = ERR_INIT;
	bool current = l->at && generation_equal(g, &l->at->generation);
	if (current)
		tail = l->at->chain;
	if (spool_load(s, g, &list, &tail, &e) < 0)
		log_warn("spool cannot be read", L_S("db", l->d->up->m->conf->path), L_S("error", e.text));
	for (last = list; last && last->next;)
		last = last->next;
	if (!last || !l->at ||
	    (current && (last->at.index != l->at->index || last->end != l->at->chain.offset))) {
		for (struct spool_segment *x = list; x; x = x->next)
			s->bytes -= x->stored_bytes;
		spool_segments_free(list);
		spool_remove_generation(s, g, &e);
		return 0;
	}
	if (current) {
		l->d->top_of = *g;
		l->d->top = last->at.index;
	}
	*l->end = list;
	l->end = &last->next;
	return 0;
}

void feed_spool_open(struct feed *d)
{
	struct follow_source at;
	struct err e = ERR_INIT;
	bool known = follow_position(&d->f, &at);
	struct loading l = { .d = d, .at = known ? &at : NULL, .end = &l.first };
	struct upstream *up = d->up;
	if (spool_generations(spool_of(d), load_generation, &l, &e) < 0)
		log_warn("spool cannot be read", L_S("db", up->m->conf->path), L_S("error", e.text));
	d->spooled_of = (struct generation){ "" };
	if (known) {
		d->spooled_of = at.generation;
		d->spooled = (struct position){ at.index, at.chain.offset };
	}
	pthread_mutex_lock(&up->lock);
	spool_segments_free(up->news.loaded);
	up->news.loaded = l.first;
	if (known) {
		up->news.of = at.generation;
		up->news.at = d->spooled;
	}
	pthread_mutex_unlock(&up->lock);
}

void feed_spool_content(struct feed *d)
{
	feed_spool_abort(d);
	d->spooled_of = (struct generation){ "" };
}

static void stop_writing(struct feed *d)
{
	if (d->spooling)
		spool_abort(&d->file);
	d->spooling = false;
	segment_writer_free(d->trimming);
	d->trimming = NULL;
}

void feed_spool_abort(struct feed *d)
{
	stop_writing(d);
	if (d->pending)
		d->spooled_of = (struct generation){ "" };
	forget_pending(d);
}

/* ---- a segment ---- */

static void failed(struct feed *d, const struct err *e)
{
	log_warn("a segment cannot be kept for replicas and followers; they begin anew behind it",
		 L_S("db", d->up->m->conf->path), L_S("error", e->text));
	stop_writing(d);
	d->spooled_of = (struct generation){ "" };
}

static int add_trimmed(void *arg, struct span out, struct err *e)
{
	struct feed *d = arg;
	return spool_add(&d->file, out, e);
}

/* Something between the end of the spool and what comes now is not there: what is listed is to be forgotten,
 * and the index comes again from its start. */
static bool lose(struct feed *d)
{
	d->spooled_of = (struct generation){ "" };
	d->hole = true;
	return false;
}

/* Where the spool goes on with this segment. false: it does not. */
static bool goes_on(struct feed *d, const struct record *r, struct position *ret)
{
	bool same = generation_equal(&r->generation, &d->spooled_of);
	*ret = r->at;
	if (r->at.offset == 0 && !(same && r->at.index <= d->spooled.index)) {
		bool listed = generation_equal(&r->generation, &d->top_of) && r->at.index <= d->top;
		if (same ? r->at.index == d->spooled.index + 1 : !listed)
			return true;
		return lose(d);
	}
	if (!same)
		return false;
	if (position_compare(r->at, d->spooled) > 0)
		return lose(d);
	*ret = d->spooled;
	return r->at.index == d->spooled.index;
}

void feed_spool_look(struct feed *d)
{
	struct follow_source at;
	if (!d->up->keep || d->spooling || d->pending || generation_none(&d->spooled_of) ||
	    follow_content_waits(&d->f, NULL) || !follow_position(&d->f, &at))
		return;
	const struct position here = { at.index, at.chain.offset };
	if (generation_equal(&at.generation, &d->spooled_of) && position_compare(d->spooled, here) < 0)
		lose(d);
}

void feed_spool_begin(struct feed *d, const struct record *r)
{
	struct err e = ERR_INIT;
	struct position at;
	stop_writing(d);
	if (!d->up->keep || !goes_on(d, r, &at))
		return;
	if (at.offset != r->at.offset && !(d->trimming = segment_writer_new(add_trimmed, d)))
		return;
	if (spool_begin(spool_of(d), &r->generation, at, &d->file, &e) < 0)
		failed(d, &e);
	else
		d->spooling = true;
}

void feed_spool_stored(struct feed *d, struct span bytes)
{
	struct err e = ERR_INIT;
	if (d->spooling && !d->trimming && spool_add(&d->file, bytes, &e) < 0)
		failed(d, &e);
}

/* Without times from the primary: when we saw it. */
static void note_commit(struct feed *d, uint64_t end)
{
	if (d->commits_n == d->commits_cap) {
		size_t cap = d->commits_cap ? 2 * d->commits_cap : 16;
		struct index_commit *more = realloc(d->commits, cap * sizeof *more);
		if (!more)
			return;
		d->commits = more;
		d->commits_cap = cap;
	}
	d->commits[d->commits_n++] = (struct index_commit){ end, wall_us() };
}

static void see_commits(struct feed *d, struct position from, struct span plain)
{
	size_t head = from.offset == 0 ? WAL_HEADER_BYTES : 0;
	size_t each = (size_t)wal_frame_bytes(d->reader.page_bytes);
	for (size_t at = head; at + each <= plain.n; at += each)
		if (get_be32(plain.p + at + 4) != 0)
			note_commit(d, from.offset + at + each);
}

void feed_spool_plain(struct feed *d, struct position from, struct span plain)
{
	struct err e = ERR_INIT;
	if (!d->spooling)
		return;
	if (!d->commits_given)
		see_commits(d, from, plain);
	if (!d->trimming)
		return;
	uint64_t skip = from.offset < d->spooled.offset ? d->spooled.offset - from.offset : 0;
	if (skip < plain.n &&
	    segment_write(d->trimming, (struct span){ plain.p + skip, plain.n - (size_t)skip }, &e) < 0)
		failed(d, &e);
}

static struct spool_segment *make_segment(struct feed *d, struct position end)
{
	struct spool_segment *s = calloc(1, sizeof *s);
	bool next_index =
		generation_equal(&d->segment.generation, &d->spooled_of) && d->spooled.index + 1 == end.index;
	if (!s || (d->commits_n > 0 && !(s->commits = malloc(d->commits_n * sizeof *s->commits)))) {
		free(s);
		return NULL;
	}
	s->generation = d->segment.generation;
	s->at = d->file.at;
	s->end = end.offset;
	s->prev_end = s->at.offset == 0 && next_index ? d->spooled.offset : 0;
	s->stored_bytes = d->file.stored_bytes;
	for (size_t i = 0; i < d->commits_n; i++)
		if (d->commits[i].offset > s->at.offset)
			s->commits[s->commits_n++] = d->commits[i];
	s->page_bytes = d->reader.page_bytes;
	memcpy(s->salt, d->f.next.chain.salt, sizeof s->salt);
	return s;
}

/* Nothing is spooled, or nothing is spooled of this generation yet: where readers are. */
static void tell_hole(struct feed *d)
{
	pthread_mutex_lock(&d->up->lock);
	d->up->news.hole = true;
	pthread_mutex_unlock(&d->up->lock);
	d->hole = false;
	feed_tell(d, true);
}

static void tell_position(struct feed *d)
{
	struct upstream *up = d->up;
	struct follow_source at;
	if (!follow_position(&d->f, &at) || (up->keep && !generation_none(&d->spooled_of)))
		return;
	struct position now = { at.index, at.chain.offset };
	pthread_mutex_lock(&up->lock);
	bool same = generation_equal(&up->news.of, &at.generation) && position_compare(up->news.at, now) == 0;
	bool first = !generation_equal(&up->news.of, &at.generation);
	up->news.of = at.generation;
	up->news.at = now;
	pthread_mutex_unlock(&up->lock);
	if (!same)
		feed_tell(d, up->m->ships_n > 0 || first);
}

void feed_spool_flush(struct feed *d)
{
	struct upstream *up = d->up;
	struct err e = ERR_INIT;
	struct spool_segment *last = d->pending;
	if (follow_content_waits(&d->f, NULL))
		return;
	if (d->hole)
		tell_hole(d);
	if (!last) {
		tell_position(d);
		return;
	}
	if (up->m->ships_n == 0) { /* followers can ask for it again */
		spool_forget_unsynced(spool_of(d));
	} else if (spool_sync(spool_of(d), &e) < 0) {
		failed(d, &e);
		forget_pending(d);
		return;
	}
	while (last->next)
		last = last->next;
	d->top_of = last->generation;
	d->top = last->at.index;
	pthread_mutex_lock(&up->lock);
	if (up->rewind || d->rewind) { /* the list was forgotten, and these will come again */
		pthread_mutex_unlock(&up->lock);
		forget_pending(d);
		return;
	}
	if (up->fresh_last)
		up->fresh_last->next = d->pending;
	else
		up->news.fresh = d->pending;
	up->fresh_last = last;
	up->news.of = d->spooled_of;
	up->news.at = d->spooled;
	pthread_mutex_unlock(&up->lock);
	d->pending = NULL;
	d->pending_end = &d->pending;
	feed_tell(d, true);
}

void feed_spool_end(struct feed *d, struct position end)
{
	struct err e = ERR_INIT;
	if (!d->spooling)
		return;
	bool nothing = d->trimming && position_compare(end, d->spooled) <= 0;
	if (nothing || (d->trimming && segment_finish(d->trimming, &e) < 0)) {
		if (nothing)
			stop_writing(d);
		else
			failed(d, &e);
		return;
	}
	struct spool_segment *s = make_segment(d, end);
	if (!s) {
		err_set(&e, ERR_FAIL, "no memory");
		failed(d, &e);
		return;
	}
	spool_note_times(&d->file, s);
	d->spooling = false;
	stop_writing(d);
	if (spool_commit(&d->file, false, &e) < 0) {
		spool_segment_free(s);
		failed(d, &e);
		return;
	}
	*d->pending_end = s;
	d->pending_end = &s->next;
	d->spooled_of = s->generation;
	d->spooled = end;
}
