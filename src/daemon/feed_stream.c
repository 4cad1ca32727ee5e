/* SPDX-License-Identifier: Apache-2.0
 *
 * One stream of a primary, from the request to its end: see feed.h.
 *
 * Happy path: the request names the position that readers see. The lineage is compared; then come segments,
 * whose transactions are published one by one as soon as their bytes are here (merged while we are far behind),
 * and kept for the spool. When the primary cannot go on from there it sends content, and if most of that may be
 * here already we end the stream and ask for hashes: those that differ make a bitmap, and the next request gets
 * just these pages.
 *
 * A plain server (Litestream of 2022) copies its file while it is written, and says neither through where that
 * copy needs the WAL nor when it has sent everything: its content is published when the WAL that it had has
 * come (look_at_plain).
 *
 * Failure modes: every error of transport, stream or disk ends the stream with its reason; what is published
 * stays. A heartbeat that tells of bytes that never came is a gap. Another history is refused before anything
 * of it is taken. */
#include "daemon/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	SILENCE_US = 15000000,
	TURN_US = 1000000,
	PLAIN_TURN_US = 250000,
	PLAIN_LEAST_US = 2000000, /* it captures once a second */
	PLAIN_MOST_US = 5000000,  /* in which a first segment comes if there is one */
	RECORD_US = 15000000,
	RECORD_BYTES_A_S = 4096,
	FAR_BEHIND_US = 2000000,
	WHOLE_PAGES = 64, /* content of fewer pages is taken as it comes */
	TARGET_BYTES = 3 * PATH_BYTES + 256,
	TELL_COPY_US = 200000,
};

static const char *path_of(const struct feed *d)
{
	return d->up->m->conf->path;
}

/* ---- lineage ---- */

static const char *why_refused(enum lineage_match m)
{
	switch (m) {
	case LINEAGE_BEHIND:
		return "is an older primary: what is here was promoted, or follows one that was promoted after "
		       "it";
	case LINEAGE_BRANCH:
		return "was promoted, and so was what is here: their histories are not the same any more";
	case LINEAGE_OTHER:
		return "has another database there, or one that was made anew";
	case LINEAGE_SAME:
	case LINEAGE_AHEAD:
		break;
	}
	return NULL;
}

/* The one that was promoted went on from before what we have. */
static void say_what_is_lost(const struct feed *d, const struct lineage_promotion *p)
{
	struct follow_source at;
	char here[POSITION_TEXT_BYTES], there[POSITION_TEXT_BYTES];
	if (!follow_position(&d->f, &at) || !generation_equal(&at.generation, &p->generation))
		return;
	const struct position now = { at.index, at.chain.offset };
	if (position_compare(now, p->at) <= 0)
		return;
	log_warn("another follower was promoted, and what this one received behind that position is not part "
		 "of the "
		 "new history",
		 L_S("db", path_of(d)), L_S("here", position_format(here, &at.generation, now)),
		 L_S("promoted_from", position_format(there, &p->generation, p->at)));
}

static int take_lineage(struct feed *d, struct lineage *theirs, struct err *e)
{
	const struct managed *m = d->up->m;
	bool gives_way = d->ours.line[0] && lineage_gives_way(&d->ours, theirs);
	bool none = !d->ours.line[0] || gives_way;
	enum lineage_match match = none ? LINEAGE_AHEAD : lineage_compare(&d->ours, theirs);
	if (match == LINEAGE_SAME)
		return 0;
	if (match == LINEAGE_AHEAD && !none)
		say_what_is_lost(d, &theirs->promotions[d->ours.n]);
	if (why_refused(match) && !d->any_lineage) {
		d->refused = true;
		err_set(e, ERR_EXISTS, "%s: the primary %s %s", m->conf->path, m->conf->upstream_url,
			why_refused(match));
		return err_hint(e, "To follow it all the same, and lose what only this copy has: "
				   "`lineage: any` in upstream, or walbrook follow -lineage any");
	}
	if (why_refused(match))
		log_warn("another history is followed, as the configuration wants it", L_S("db", m->conf->path),
			 L_S("upstream", m->conf->upstream_url), L_S("why", why_refused(match)));
	if (gives_way)
		log_info("the primary, or whom it follows, has a lineage now: it is taken over",
			 L_S("db", m->conf->path), L_S("upstream", m->conf->upstream_url));
	if (lineage_write(m->meta_dir, &d->f.o.owner, theirs, e) < 0)
		return -1;
	pthread_mutex_lock(&d->up->lock);
	d->up->news.lineage = true;
	pthread_mutex_unlock(&d->up->lock);
	feed_tell(d, true);
	lineage_free(&d->ours);
	d->ours = *theirs;
	*theirs = (struct lineage){ .n = 0 };
	return 0;
}

static int on_lineage(void *arg, struct span text, struct err *e)
{
	struct feed *d = arg;
	struct lineage theirs;
	if (lineage_parse(text, &theirs, e) < 0)
		return err_wrap(e, "from %s", d->up->m->conf->upstream_url);
	int rc = take_lineage(d, &theirs, e);
	lineage_free(&theirs);
	struct follow_source at;
	if (rc == 0 && follow_position(&d->f, &at))
		feed_state(d, UPSTREAM_FOLLOWING, "");
	return rc;
}

/* ---- results of the follower ---- */

static int took(struct feed *d, enum follow_result rc, struct err *e)
{
	switch (rc) {
	case FOLLOW_OK:
	case FOLLOW_AGAIN:
		return rc == FOLLOW_OK ? 0 : -1;
	case FOLLOW_FULL:
		d->full = true;
		return -1;
	case FOLLOW_CONTENT:
		d->lost = d->f.lost || !d->f.known;
		d->want_hashes = true;
		return -1;
	case FOLLOW_GAP:
		d->gap = true;
		return -1;
	case FOLLOW_FAIL:
		break;
	}
	d->gap = e->kind == ERR_DAMAGED; /* if it comes again and again, it is the position that is wrong */
	return -1;
}

static struct position next_of(const struct feed *d)
{
	return (struct position){ d->f.next.index, d->f.next.chain.offset };
}

/* Who follows a plain server has no lineage of it: this copy and those that follow it have one of their own. */
static void make_lineage(struct feed *d)
{
	const struct managed *m = d->up->m;
	struct err e = ERR_INIT;
	if (d->reader.extended || d->ours.line[0])
		return;
	int rc = lineage_make(&d->ours, &e);
	d->ours.plain = true;
	if (rc == 0)
		rc = lineage_write(m->meta_dir, &d->f.o.owner, &d->ours, &e);
	if (rc == 0)
		return;
	lineage_free(&d->ours);
	log_warn("no lineage can be made", L_S("db", path_of(d)), L_S("error", e.text));
}

static void published(struct feed *d)
{
	d->progress = true;
	d->seen.applied_wall_us = wall_us();
	if (!follow_content_waits(&d->f, NULL) && d->seen.state == UPSTREAM_COPYING) {
		d->seen.contents++;
		d->seen.content_epoch++;
		make_lineage(d);
		d->seen.primary = next_of(d);
		log_info("the copy is complete", L_S("db", path_of(d)), L_I("pages", d->f.pages),
			 L_I("received", d->seen.copy_bytes));
		feed_state(d, UPSTREAM_FOLLOWING, "");
	}
}

/* ---- content ---- */

/* Most of it may be here already. */
static bool better_by_hashes(const struct feed *d, uint32_t page_bytes, uint32_t pages)
{
	return d->reader.extended && !d->differing && pages >= WHOLE_PAGES && d->f.pages > 0 &&
	       d->f.page_bytes == page_bytes;
}

static int on_content(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, bool differing,
		      struct err *e)
{
	struct feed *d = arg;
	if (!differing && better_by_hashes(d, page_bytes, pages)) {
		d->want_hashes = d->reconnect = true;
		return err_set(e, ERR_FAIL, "hashes first");
	}
	if (differing && (!d->differing || !generation_equal(&r->generation, &d->hashes_at.generation) ||
			  r->at.index != d->hashes_at.at.index || page_bytes != d->f.page_bytes))
		return err_set(e, ERR_DAMAGED, "the primary sends pages that were not asked for");
	feed_spool_content(d);
	enum follow_result rc;
	do {
		rc = differing ? follow_pages_begin(&d->f, &r->generation, r->at.index, pages, e)
			       : follow_content_begin(&d->f, &r->generation, r->at.index, e);
		if (rc == FOLLOW_AGAIN)
			feed_nap(d, 20000);
	} while (rc == FOLLOW_AGAIN && !feed_wanted_elsewhere(d));
	if (rc != FOLLOW_OK)
		return took(d, rc, e);
	d->seen.copy_bytes = 0;
	d->seen.copy_total_bytes = differing ? 0 : (uint64_t)pages * page_bytes;
	d->seen.differing += differing;
	feed_state(d, UPSTREAM_COPYING, differing ? "pages that differ" : "");
	log_info("the primary sends content", L_S("db", path_of(d)), L_S("generation", r->generation.name),
		 L_I("pages", pages), L_S("kind", differing ? "pages that differ" : "whole"));
	return 0;
}

static void copied(struct feed *d, size_t bytes)
{
	int64_t now_us = mono_us();
	d->seen.copy_bytes += bytes; /* no progress before it is published */
	if (now_us - d->told_us >= TELL_COPY_US) {
		d->told_us = now_us;
		d->seen.heard_wall_us = wall_us();
		feed_tell(d, false);
	}
}

static int on_bytes(void *arg, struct span bytes, struct err *e)
{
	struct feed *d = arg;
	copied(d, bytes.n);
	return took(d, follow_content_bytes(&d->f, bytes, e), e);
}

static int on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e)
{
	struct feed *d = arg;
	copied(d, d->f.page_bytes);
	return took(d, follow_page(&d->f, pgno, page, e), e);
}

static int on_complete(void *arg, const struct record *r, struct err *e)
{
	struct feed *d = arg;
	const struct position unknown = { INT64_MAX, INT64_MAX };
	bool plain = !d->reader.extended;
	d->merge_first = plain;
	d->segment_came = false;
	follow_content_until(&d->f, plain ? unknown : r->at);
	int rc = took(d, feed_wait_for_readers(d, follow_content_end(&d->f, e), e), e);
	if (rc == 0 && follow_content_waits(&d->f, NULL))
		d->complete_us = plain ? mono_us() : 0;
	else if (rc == 0)
		published(d);
	return rc;
}

static int settle(struct feed *d, struct err *e)
{
	enum follow_result rc = feed_wait_for_readers(d, follow_content_settle(&d->f, e), e);
	if (rc == FOLLOW_AGAIN && follow_content_waits(&d->f, NULL))
		return 0; /* inside a transaction: its end comes */
	if (took(d, rc, e) < 0)
		return -1;
	d->complete_us = 0;
	published(d);
	feed_tell(d, true);
	return 0;
}

/* ---- segments ---- */

static int on_commits(void *arg, const struct record *r, const struct index_commit *v, size_t n, struct err *e)
{
	struct feed *d = arg;
	(void)r;
	if (n > d->commits_cap) {
		struct index_commit *more = realloc(d->commits, n * sizeof *more);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory for the times of commits");
		d->commits = more;
		d->commits_cap = n;
	}
	memcpy(d->commits, v, n * sizeof *v);
	d->commits_n = n;
	d->commits_given = true;
	return 0;
}

static int on_segment(void *arg, const struct record *r, struct err *e)
{
	struct feed *d = arg;
	struct position next = next_of(d);
	bool same = generation_equal(&r->generation, &d->f.next.generation);
	bool verify =
		r->at.offset == 0 && r->at.index == next.index; /* what we have, once more from its start */
	d->skip_until = (struct position){ 0, 0 };
	if (same && !verify && position_compare(r->at, next) < 0)
		d->skip_until = next;
	if (same && r->at.index < next.index) {
		d->gap = true;
		return err_set(e, ERR_DAMAGED,
			       "a segment of index %08" PRIx64 " comes, which is before index %08" PRIx64
			       ", where this copy is",
			       r->at.index, next.index);
	}
	if (!d->commits_given)
		d->commits_n = 0;
	d->segment = *r;
	feed_spool_begin(d, r);
	return 0;
}

static int on_stored(void *arg, struct span bytes, struct err *e)
{
	(void)e;
	feed_spool_stored(arg, bytes);
	return 0;
}

static bool far_behind(const struct feed *d)
{
	if (!d->caught_up)
		return true;
	return d->commits_given && d->commits_n > 0 &&
	       wall_us() + d->seen.clock_ahead_us - d->commits[d->commits_n - 1].wall_us > FAR_BEHIND_US;
}

/* What is before our position is left out. */
static struct span trimmed(const struct feed *d, struct position *from, struct span plain)
{
	struct position skip = d->skip_until;
	if (position_compare(*from, skip) >= 0)
		return plain;
	uint64_t n = from->index < skip.index ? plain.n : skip.offset - from->offset;
	if (n > plain.n)
		n = plain.n;
	from->offset += n;
	return (struct span){ plain.p + n, plain.n - (size_t)n };
}

static int on_plain(void *arg, struct position from, struct span plain, bool proven, struct err *e)
{
	struct feed *d = arg;
	struct position at = from;
	struct span rest = trimmed(d, &at, plain);
	uint64_t before = d->f.n.published;
	if (rest.n > 0) {
		enum follow_publish how = !proven			    ? FOLLOW_HELD
					  : d->merge_first || far_behind(d) ? FOLLOW_MERGED
									    : FOLLOW_EACH;
		enum follow_result rc = follow_segment(&d->f, &d->segment.generation, at, rest, how, e);
		rc = feed_wait_for_readers(d, rc, e);
		if (took(d, rc, e) < 0)
			return -1;
		if (d->f.n.published != before || d->seen.state == UPSTREAM_COPYING)
			published(d);
	}
	feed_spool_plain(d, from, plain);
	d->busy_us = mono_us();
	return 0;
}

static int on_segment_end(void *arg, struct position end, struct err *e)
{
	struct feed *d = arg;
	(void)e;
	d->progress = d->progress || !follow_content_waits(&d->f, NULL);
	d->seen.heard_wall_us = wall_us();
	if (d->commits_given && d->commits_n > 0 && !follow_content_waits(&d->f, NULL)) {
		d->seen.commit_wall_us = d->commits[d->commits_n - 1].wall_us;
		d->seen.apply_delay_us =
			d->seen.applied_wall_us + d->seen.clock_ahead_us - d->seen.commit_wall_us;
	}
	d->seen.primary = end;
	d->merge_first = d->merge_first && end.offset <= WAL_HEADER_BYTES;
	d->segment_came = true;
	feed_spool_end(d, end);
	d->commits_given = false;
	feed_tell(d, atomic_load(&d->up->watched));
	return 0;
}

static int on_heartbeat(void *arg, const struct record *r, int64_t clock_us, struct err *e)
{
	struct feed *d = arg;
	struct position next = next_of(d);
	d->progress = d->progress || (d->f.known && d->f.content.mode == CONTENT_NONE);
	d->seen.heard_wall_us = wall_us();
	d->seen.clock_ahead_us = clock_us - d->seen.heard_wall_us;
	bool ours = generation_equal(&r->generation, &d->f.next.generation);
	bool only_time = r->at.index + r->at.offset == 0 && next.index + next.offset > 0;
	if (!ours || only_time) /* it speaks of what begins next, or we wait for our turn */
		return 0;
	d->seen.primary = r->at;
	bool begins = r->at.index == next.index + 1 && r->at.offset <= WAL_HEADER_BYTES;
	bool known = follow_content_waits(&d->f, NULL) || d->f.known;
	if (!known || begins || position_compare(r->at, next) <= 0) {
		feed_spool_look(d);
		feed_tell(d, false);
		return 0;
	}
	d->gap = true;
	return err_set(e, ERR_DAMAGED,
		       "the primary says that it has sent everything before index %08" PRIx64 " offset %" PRIu64
		       ", but only what is before index %08" PRIx64 " offset %" PRIu64 " has come",
		       r->at.index, r->at.offset, next.index, next.offset);
}

static int on_end(void *arg, const struct record *r, const char *text, struct err *e)
{
	struct feed *d = arg;
	(void)r;
	(void)e;
	snprintf(d->end, sizeof d->end, "%s", text);
	return 0;
}

/* ---- hashes ---- */

static int on_hashes(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, struct err *e)
{
	struct feed *d = arg;
	(void)e;
	d->hashes_at = *r;
	d->hash_pages = pages;
	d->differing = page_bytes == d->here.page_bytes;
	d->bitmap_bytes = 0;
	return 0;
}

/* The bitmap grows with what comes, not with what was announced. */
static int on_hash(void *arg, uint32_t pgno, uint64_t hash, struct err *e)
{
	struct feed *d = arg;
	size_t at = (pgno - 1) / 8;
	if (at >= d->bitmap_cap) {
		size_t cap = d->bitmap_cap ? 2 * d->bitmap_cap : 4096;
		uint8_t *more = realloc(d->bitmap, cap);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory for the pages that differ");
		d->bitmap = more;
		d->bitmap_cap = cap;
	}
	if (at >= d->bitmap_bytes)
		d->bitmap[d->bitmap_bytes++] = 0;
	if (pgno > d->here.n || d->here.v[pgno - 1] != hash)
		d->bitmap[at] |= (uint8_t)(1u << (pgno - 1) % 8);
	return 0;
}

static const struct live_events events = {
	.lineage = on_lineage,
	.content = on_content,
	.bytes = on_bytes,
	.page = on_page,
	.complete = on_complete,
	.segment = on_segment,
	.stored = on_stored,
	.plain = on_plain,
	.segment_end = on_segment_end,
	.commits = on_commits,
	.heartbeat = on_heartbeat,
	.hashes = on_hashes,
	.hash = on_hash,
	.end = on_end,
};

/* ---- requests ---- */

static int refused_by_server(struct feed *d, const struct client_answer *a, struct err *e)
{
	const char *url = d->up->m->conf->upstream_url, *path = conf_upstream_path(d->up->m->conf);
	const char *colon = a->text[0] ? ": " : "";
	switch (a->status) {
	case 401:
		return err_set(e, ERR_CONFIG,
			       "%s asks for a token (upstream.token-file), or for another one%s%s", url, colon,
			       a->text);
	case 403:
		return err_set(e, ERR_CONFIG, "%s does not serve other machines without a token%s%s", url,
			       colon, a->text);
	case 404:
		return err_set(e, ERR_NOTHING, "%s has no database %s%s%s", url, path, colon, a->text);
	case 409:
		d->want_hashes = true;
		d->reconnect = true;
		return err_set(e, ERR_BUSY, "%s%s%s", url, colon, a->text);
	default:
		if (a->status >= 300 && a->status < 400)
			return err_set(e, ERR_CONFIG, "%s answers with a redirect, which is not followed", url);
		return err_set(e, ERR_UNREACHABLE, "%s answers with status %u%s%s", url, a->status, colon,
			       a->text);
	}
}

static int sink(void *arg, struct span piece, struct err *e)
{
	struct feed *d = arg;
	const struct client_answer *a = client_answer(d->client);
	if (!d->reader.events) {
		if (a->page_bytes == 0 && !a->extended)
			return err_set(e, ERR_DAMAGED, "%s: what answers there is no stream of a database",
				       d->up->m->conf->upstream_url);
		live_reader_init(&d->reader, &events, d, a->extended, a->page_bytes);
		d->seen.extended = a->extended;
		client_silence(d->client, a->extended ? SILENCE_US : 0);
	}
	d->seen.received_bytes += piece.n;
	return live_read(&d->reader, piece, e);
}

static int target(const struct feed *d, const char *what, char *buf, struct err *e)
{
	int n = snprintf(buf, TARGET_BYTES, "/%s?path=", what);
	if (client_encode(conf_upstream_path(d->up->m->conf), buf + n, (size_t)(TARGET_BYTES - n)) < 0)
		return err_set(e, ERR_CONFIG, "the path of the database on the primary is too long");
	return 0;
}

static int begin(struct feed *d, const char *to, bool pages, struct err *e)
{
	const struct conf_db *c = d->up->m->conf;
	bool lz4 = c->upstream_compress < 0 ? !client_is_loopback(c->upstream_url) : c->upstream_compress > 0;
	struct client_request q = { .target = to, .lz4 = lz4 };
	if (pages) {
		q.body = d->bitmap;
		q.body_bytes = d->bitmap_bytes;
	}
	live_reader_fini(&d->reader);
	d->reader = (struct live_reader){ .events = NULL };
	d->end[0] = 0;
	d->complete_us = d->quiet_us = 0;
	d->commits_given = false;
	d->seen.primary = d->seen.applied;
	return client_begin(d->client, &q, sink, d, e);
}

static int stream_ended(struct feed *d, struct err *e)
{
	const char *url = d->up->m->conf->upstream_url;
	if (client_answer(d->client)->status != 200)
		return refused_by_server(d, client_answer(d->client), e);
	if (d->end[0])
		return err_set(e, ERR_UNREACHABLE, "%s has ended the stream: %s", url, d->end);
	return err_set(e, ERR_UNREACHABLE, "%s has ended the stream%s", url,
		       d->reader.events && !live_between_records(&d->reader) ? " inside a record" : "");
}

int feed_hashes(struct feed *d, struct err *e)
{
	char to[TARGET_BYTES];
	enum follow_result rc = follow_hashes(&d->f, &d->here, e);
	if (rc != FOLLOW_OK)
		return -1;
	feed_state(d, UPSTREAM_CONNECTING, "comparing pages with the primary");
	int ended = target(d, "hashes", to, e);
	if (ended == 0)
		ended = begin(d, to, false, e);
	d->differing = false;
	d->hash_pages = 0;
	while (ended == 0 && !feed_wanted_elsewhere(d)) {
		enum client_result got = client_turn(d->client, TURN_US, e);
		ended = got == CLIENT_FAIL ? -1 : got == CLIENT_END;
	}
	client_stop(d->client);
	page_hashes_free(&d->here);
	unsigned status = client_answer(d->client)->status;
	if (ended == 1 && status != 200) { /* a plain server: everything comes, and is compared here */
		log_debug("the primary has no hashes", L_S("db", path_of(d)), L_I("status", status));
		return status == 404 || status == 400 || status == 405
			       ? 0
			       : refused_by_server(d, client_answer(d->client), e);
	}
	if (ended == 1 && (d->hash_pages == 0 || !live_between_records(&d->reader)))
		return err_set(e, ERR_DAMAGED, "%s: the hashes end too early", d->up->m->conf->upstream_url);
	return ended < 0 ? -1 : 0;
}

static int request(struct feed *d, struct err *e)
{
	char to[TARGET_BYTES];
	struct follow_source at;
	if (target(d, "stream", to, e) < 0)
		return -1;
	size_t n = strlen(to), room = TARGET_BYTES - n;
	if (d->differing) {
		snprintf(to + n, room, "&generation=%s&index=%016" PRIx64 "&txn=1",
			 d->hashes_at.generation.name, d->hashes_at.at.index);
	} else if (follow_position(&d->f, &at) && d->gaps < 2) {
		uint64_t offset = d->rewind ? 0 : at.chain.offset;
		int k = snprintf(to + n, room,
				 "&generation=%s&index=%016" PRIx64 "&offset=%016" PRIx64 "&txn=1",
				 at.generation.name, at.index, offset);
		if (offset > WAL_HEADER_BYTES) /* proves that we have what is there */
			snprintf(to + n + k, room - (size_t)k, "&sum=%08" PRIx32 "%08" PRIx32, at.chain.sum.s0,
				 at.chain.sum.s1);
	} else {
		snprintf(to + n, room, "&txn=1");
	}
	if (d->rewind) {
		feed_spool_content(d);
		d->top_of = (struct generation){ "" };
	}
	d->rewind = false;
	return begin(d, to, d->differing, e);
}

/* Content of a plain server is complete with everything that was captured when the copy of its file ended, and
 * one step before that is a mixture of states. What it has captured it sends without a pause; so a pause that
 * is long enough (but shorter than its second), not at once after the copy, is the end of it. A stall looks the
 * same: while a pause may yet come that is longer than a stall would be, a short one is none. */
static int64_t least_pause_us(int64_t since_us)
{
	static const struct {
		int64_t until_us, pause_us;
	} least[] = { { 20000000, 750000 }, { 60000000, 250000 }, { 120000000, 50000 }, { 300000000, 5000 } };
	for (size_t i = 0; i < sizeof least / sizeof *least; i++)
		if (since_us < least[i].until_us)
			return least[i].pause_us;
	return 0; /* it never pauses: everything of before has come by now, or will never */
}

static int look_at_plain(struct feed *d, struct err *e)
{
	int64_t since_us = mono_us() - d->complete_us;
	if (!d->complete_us || !follow_content_waits(&d->f, NULL) || !live_between_records(&d->reader))
		return 0;
	bool enough = since_us >= (d->segment_came ? PLAIN_LEAST_US : PLAIN_MOST_US);
	return enough && d->quiet_us >= least_pause_us(since_us) ? settle(d, e) : 0;
}

/* No lineage comes from a plain server: its answer alone tells that it goes on from what is here, or else its
 * snapshot, which is next. */
static void goes_on_plain(struct feed *d)
{
	const struct client_answer *a = client_answer(d->client);
	struct follow_source at;
	if (!a->extended && a->page_bytes && d->seen.state == UPSTREAM_CONNECTING &&
	    follow_position(&d->f, &at))
		feed_state(d, UPSTREAM_FOLLOWING, "");
}

/* Waits for bytes. A turn may end early without any, when the loop has something to say. */
static enum client_result turn(struct feed *d, bool *quiet, struct err *e)
{
	uint64_t before = d->seen.received_bytes;
	int64_t from_us = mono_us(), since_us = from_us - d->complete_us, wait_us = TURN_US;
	int64_t pause_us = least_pause_us(since_us);
	if (d->complete_us)
		wait_us = pause_us > 0 && pause_us < PLAIN_TURN_US ? pause_us : PLAIN_TURN_US;
	enum client_result got = client_turn(d->client, wait_us, e);
	int64_t waited_us = mono_us() - from_us;
	*quiet = d->seen.received_bytes == before;
	d->quiet_us = *quiet ? d->quiet_us + (waited_us < wait_us ? waited_us : wait_us) : 0;
	return got;
}

/* A record whose length was damaged swallows what follows it, heartbeats included: it does not come to its end.
 */
static int look_at_record(struct feed *d, struct err *e)
{
	int64_t now_us = mono_us();
	if (!d->reader.events || live_between_records(&d->reader)) {
		d->record_us = 0;
		return 0;
	}
	if (!d->record_us || d->record_of != d->reader.records) {
		d->record_us = now_us;
		d->record_of = d->reader.records;
		d->record_from = d->seen.received_bytes;
		return 0;
	}
	uint64_t least = (uint64_t)((now_us - d->record_us) / 1000000) * RECORD_BYTES_A_S;
	if (now_us - d->record_us < RECORD_US || d->seen.received_bytes - d->record_from >= least)
		return 0;
	return err_set(e, ERR_DEADLINE, "%s: a record of the stream does not come to its end",
		       d->up->m->conf->upstream_url);
}

int feed_stream(struct feed *d, struct err *e)
{
	int rc = request(d, e);
	d->caught_up = false;
	while (rc == 0) {
		bool connected = d->seen.connected, quiet;
		enum client_result got = turn(d, &quiet, e);
		if (got == CLIENT_FAIL) {
			rc = -1;
			break;
		}
		d->seen.connected = client_answer(d->client)->status == 200;
		if (d->seen.connected && !connected) {
			d->seen.connects++;
			goes_on_plain(d);
			feed_tell(d, true);
		}
		if (got == CLIENT_END) {
			rc = stream_ended(d, e);
			break;
		}
		d->caught_up = d->caught_up || (quiet && d->seen.connected);
		rc = look_at_plain(d, e);
		if (rc == 0)
			rc = look_at_record(d, e);
		feed_spool_flush(d);
		if (rc == 0 && !feed_tend(d))
			break; /* somebody wants something else */
	}
	client_stop(d->client);
	feed_spool_flush(d); /* what is applied is kept, however the stream ended */
	feed_spool_abort(d);
	follow_drop(&d->f);
	return rc;
}
