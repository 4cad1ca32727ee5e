/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the thread that follows a primary: see feed.h.
 *
 * Happy path: the metadata is locked, the database opened (db/follow.h); then stream after stream
 * (feed_stream.c). What is here and is not a known state of the primary is compared with it by hashes, so that
 * only what differs is sent. Between records, and at least once a second, the orders of the loop are done and
 * one look at memory tells whether somebody else wrote here.
 *
 * Failure modes: a stream ends (again at once if it was a good one, then after 250 ms, twice as long each time,
 * up to 30 s, with jitter; said at the 1st, 2nd, 4th … time); the primary has another history, or what lies
 * here is not ours (refused: said once, tried again every 30 s); a local writer (noticed, said, and repaired by
 * comparing pages); a reader that does not end (applying waits, and the state names it). A stop ends all of
 * these waits.
 */
#include "daemon/feed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/promote.h"
#include "db/vfs.h"

enum {
	RETRY_FIRST_US = 250000,
	RETRY_MOST_US = 30000000,
	LOOK_US = 1000000,
	REST_US = 2000000,
	READERS_US = 100000,
	CONNECT_US = 10000000,
	ANSWER_US = 60000000, /* hashes of a large database take their time */
	GAPS_MOST = 2,
	AGAIN_MOST = 2,	   /* streams in a row that were ended to ask for something else */
	GOOD_US = 1000000, /* a stream that was worth to be asked for again at once */
};

/* ---- what others see ---- */

static void look_at_follow(struct feed *d)
{
	struct upstream_seen *s = &d->seen;
	struct follow_source at;
	s->known = d->opened && follow_position(&d->f, &at);
	if (s->known) {
		s->generation = at.generation;
		s->applied = (struct position){ at.index, at.chain.offset };
	}
	if (!d->opened)
		return;
	s->page_bytes = d->f.page_bytes;
	s->pages = d->f.pages;
	s->transactions = d->f.n.transactions;
	s->published = d->f.n.published;
	s->pages_written = d->f.n.pages_written;
	s->pages_compared = d->f.n.pages_compared;
	s->wal_bytes = d->f.known ? follow_log_bytes(&d->f) : 0;
}

void feed_tell(struct feed *d, bool now)
{
	struct upstream *up = d->up;
	look_at_follow(d);
	pthread_mutex_lock(&up->lock);
	up->seen = d->seen;
	pthread_mutex_unlock(&up->lock);
	if (!now)
		return;
	atomic_store(&up->told, true);
	loop_wake(up->m->en->loop);
}

void feed_state(struct feed *d, enum upstream_state s, const char *reason)
{
	bool same = d->seen.state == s && strcmp(d->seen.reason, reason) == 0;
	if (d->seen.state != s || !d->seen.since_wall_us)
		d->seen.since_wall_us = wall_us();
	d->seen.state = s;
	if (!same)
		snprintf(d->seen.reason, sizeof d->seen.reason, "%.500s", reason);
	feed_tell(d, !same);
}

/* ---- waiting ---- */

bool feed_wanted_elsewhere(const struct feed *d)
{
	return atomic_load(&d->up->stop) || atomic_load(&d->up->promote);
}

void feed_nap(struct feed *d, int64_t us)
{
	struct upstream *up = d->up;
	int64_t until_us = mono_us() + us;
	struct timespec at = { .tv_sec = (time_t)(until_us / 1000000), .tv_nsec = until_us % 1000000 * 1000 };
	pthread_mutex_lock(&up->lock);
	if (!feed_wanted_elsewhere(d))
		pthread_cond_timedwait(&up->woken, &up->lock, &at);
	pthread_mutex_unlock(&up->lock);
}

enum follow_result feed_wait_for_readers(struct feed *d, enum follow_result rc, struct err *e)
{
	enum upstream_state was = d->seen.state;
	while ((rc == FOLLOW_AGAIN || rc == FOLLOW_FULL) && d->f.content.ready && !feed_wanted_elsewhere(d)) {
		if (d->seen.state != UPSTREAM_WAITING)
			log_warn("applying waits", L_S("db", d->up->m->conf->path), L_S("reason", e->text));
		feed_state(d, UPSTREAM_WAITING, e->text);
		feed_nap(d, READERS_US);
		rc = follow_content_end(&d->f, e);
	}
	if (rc == FOLLOW_OK && d->seen.state == UPSTREAM_WAITING)
		feed_state(d, was, "");
	return rc;
}

/* The WAL is at its cap: until it can be begun anew. */
static void wait_for_room(struct feed *d, const struct err *why)
{
	struct err e = *why;
	log_warn("applying waits", L_S("db", d->up->m->conf->path), L_S("reason", why->text));
	while (!feed_wanted_elsewhere(d)) {
		feed_state(d, UPSTREAM_WAITING, e.text);
		feed_nap(d, READERS_US);
		if (!feed_tend(d) || follow_restart_log(&d->f, &e) != FOLLOW_AGAIN)
			return;
	}
}

/* ---- orders, and a look at the files ---- */

/* What is published is with the loop, or nothing is kept. */
static bool all_is_kept(const struct feed *d)
{
	struct follow_source at;
	if (!d->opened || !follow_position(&d->f, &at) || generation_none(&d->spooled_of))
		return true;
	const struct position here = { at.index, at.chain.offset };
	return !d->pending && generation_equal(&at.generation, &d->spooled_of) &&
	       position_compare(here, d->spooled) <= 0;
}

/* good: what readers see is what we left, and all of it is kept. */
static void do_orders(struct feed *d, bool good)
{
	struct upstream *up = d->up;
	struct err e;
	pthread_mutex_lock(&up->lock);
	struct spool_segment *drop = up->drop;
	uint64_t ticks = good ? up->ticks_wanted : up->news.ticks;
	bool ticked = up->news.ticks != ticks, want_copy = good && up->want_copy;
	d->rewind = d->rewind || up->rewind;
	up->rewind = false;
	up->drop = NULL;
	up->news.ticks = ticks;
	pthread_mutex_unlock(&up->lock);
	if (drop)
		feed_spool_remove(d, drop);
	struct follow_source at;
	bool copied = want_copy && d->opened && follow_position(&d->f, &at) &&
		      follow_backfill(&d->f, &e) == FOLLOW_OK;
	if (copied) {
		pthread_mutex_lock(&up->lock);
		up->want_copy = false;
		up->news.copied = true;
		up->news.copied_of = at.generation;
		up->news.copied_at = (struct position){ at.index, at.chain.offset };
		up->news.copied_epoch = d->seen.content_epoch + d->seen.local_writers;
		pthread_mutex_unlock(&up->lock);
	}
	if (ticked || copied)
		feed_tell(d, true);
}

/* Somebody wrote here, or removed files: what readers see is not known any more. */
static bool is_disturbed(struct feed *d, int64_t now_us)
{
	if (!d->opened || !d->f.known || d->lost)
		return d->lost;
	bool moved = now_us - d->looked_us >= LOOK_US && follow_moved(&d->f);
	if (!moved && !follow_disturbed(&d->f))
		return false;
	log_error("somebody wrote a database that is followed; it is compared with its primary and repaired",
		  L_S("db", d->up->m->conf->path));
	d->seen.local_writers++;
	d->lost = true;
	return true;
}

bool feed_tend(struct feed *d)
{
	int64_t now_us = mono_us();
	bool disturbed = is_disturbed(d, now_us);
	do_orders(d, !disturbed && all_is_kept(d));
	if (now_us - d->looked_us >= LOOK_US)
		d->looked_us = now_us;
	if (d->opened && d->busy_us && now_us - d->busy_us >= REST_US) {
		follow_rest(&d->f);
		live_reader_rest(&d->reader);
		d->busy_us = 0;
	}
	return !disturbed && !feed_wanted_elsewhere(d) && !d->rewind;
}

/* ---- opening ---- */

/* Of a database that is not there yet: as its directory, but not for others. */
static struct owner owner_here(const char *path)
{
	struct owner o = owner_of(path);
	struct stat st;
	char dir[PATH_BYTES];
	if (stat(path, &st) == 0 || path_dir(dir, path) < 0 || stat(dir, &st) < 0)
		return o;
	o.file_mode = 0600 | (st.st_mode & 0060);
	o.dir_mode = st.st_mode & 0770;
	o.uid = o.dir_uid = st.st_uid;
	o.gid = o.dir_gid = st.st_gid;
	return o;
}

static int open_here(struct feed *d, struct err *e)
{
	struct managed *m = d->up->m;
	if (db_take_meta(&m->db, e) < 0)
		return -1;
	struct follow_options o = { .path = m->conf->path,
				    .meta_dir = m->meta_dir,
				    .owner = owner_here(m->conf->path),
				    .adopt = m->conf->upstream_adopt,
				    .log_cap_bytes = (uint64_t)m->conf->upstream_max_wal_bytes };
	enum follow_result rc = follow_open(&d->f, &o, e);
	if (rc == FOLLOW_FAIL && e->kind == ERR_EXISTS)
		err_hint(e, "The key upstream.adopt does that, or walbrook follow -adopt");
	if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
		return -1;
	if (rc == FOLLOW_CONTENT && e->kind != ERR_NOTHING)
		log_warn("what lies here is not what was left here: somebody may have written it",
			 L_S("db", m->conf->path), L_S("reason", e->text));
	if (lineage_read(m->meta_dir, &d->ours, e) < 0 && e->kind != ERR_NOTHING) {
		follow_close(&d->f);
		return -1;
	}
	d->opened = true;
	d->lost = false;
	feed_spool_open(d);
	feed_tell(d, true);
	return 0;
}

static void close_here(struct feed *d)
{
	feed_spool_abort(d);
	if (d->opened)
		follow_close(&d->f);
	d->opened = false;
	lineage_free(&d->ours);
}

/* ---- connecting ---- */

static void drop_client(struct feed *d)
{
	struct upstream *up = d->up;
	pthread_mutex_lock(&up->lock);
	up->client = NULL;
	pthread_mutex_unlock(&up->lock);
	client_free(d->client);
	d->client = NULL;
	d->seen.connected = false;
}

static int make_client(struct feed *d, struct err *e)
{
	const struct conf_db *c = d->up->m->conf;
	char token[CONF_TOKEN_BYTES] = "";
	bool open_to_all = false;
	drop_client(d);
	if (c->upstream_token_file && conf_token_of(c->upstream_token_file, token, &open_to_all, e) < 0)
		return -1;
	struct client_options o = { .url = c->upstream_url,
				    .token = token[0] ? token : NULL,
				    .ca_file = c->upstream_ca_file,
				    .cert_file = c->upstream_cert_file,
				    .key_file = c->upstream_key_file,
				    .connect_us = CONNECT_US,
				    .answer_us = ANSWER_US };
	int rc = client_new(&o, &d->client, e);
	explicit_bzero(token, sizeof token);
	if (rc < 0)
		return -1;
	pthread_mutex_lock(&d->up->lock);
	d->up->client = d->client;
	pthread_mutex_unlock(&d->up->lock);
	return 0;
}

static int reopen_if_lost(struct feed *d, struct err *e)
{
	if (!d->lost)
		return 0;
	enum follow_result rc = follow_reopen(&d->f, e);
	if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
		return -1;
	d->lost = false;
	if (rc == FOLLOW_CONTENT)
		feed_spool_content(d);
	feed_tell(d, true);
	return 0;
}

/* One try. -1: *e tells why it ended; 0: on purpose. */
static int once(struct feed *d, struct err *e)
{
	if (!d->opened && open_here(d, e) < 0)
		return -1;
	if (reopen_if_lost(d, e) < 0 || make_client(d, e) < 0)
		return -1;
	struct follow_source at;
	bool known = follow_position(&d->f, &at);
	if (known && d->gaps >= GAPS_MOST) { /* it does not lead on from here */
		log_warn("the stream does not continue what is here; pages are compared",
			 L_S("db", d->up->m->conf->path));
		d->want_hashes = true;
	}
	d->differing = false;
	if ((d->want_hashes || !known) && d->f.pages > 0 && feed_hashes(d, e) < 0)
		return -1;
	d->want_hashes = false;
	return feed_wanted_elsewhere(d) ? 0 : feed_stream(d, e);
}

static int64_t backoff_us(unsigned tries)
{
	if (tries == 0)
		return 0;
	int64_t us = RETRY_FIRST_US << (tries < 8 ? tries - 1 : 7);
	if (us > RETRY_MOST_US)
		us = RETRY_MOST_US;
	return us / 2 + (int64_t)((double)us / 2 * ((double)(mono_us() % 1000) / 1000));
}

static void say_broke(struct feed *d, const struct err *e, unsigned tries)
{
	const char *path = d->up->m->conf->path, *url = d->up->m->conf->upstream_url;
	d->seen.errors++;
	if (d->refused && d->seen.state != UPSTREAM_REFUSED)
		log_error("database is not followed", L_S("db", path), L_S("upstream", url),
			  L_S("error", e->text));
	else if (!d->refused && (tries & (tries - 1)) == 0)
		log_warn("following was interrupted; trying again", L_S("db", path), L_S("upstream", url),
			 L_S("error", e->text), L_I("tries", tries));
	feed_state(d, d->refused ? UPSTREAM_REFUSED : UPSTREAM_CONNECTING, e->text);
}

static void pause_for(struct feed *d, int64_t us)
{
	int64_t until_us = mono_us() + us;
	for (int64_t left_us; (left_us = until_us - mono_us()) > 0 && feed_tend(d);)
		feed_nap(d, left_us < LOOK_US ? left_us : LOOK_US);
}

/* ---- the end ---- */

static void promote(struct feed *d)
{
	struct upstream *up = d->up;
	struct err e = ERR_INIT;
	follow_drop(&d->f);
	feed_spool_abort(d);
	int rc = !d->opened ? err_set(&e, ERR_NOTHING, "%s: nothing has been followed yet", up->m->conf->path)
			    : promote_here(&d->f, up->m->meta_dir, &e);
	if (rc == 0) {
		d->opened = false;
		d->seen.known = false;
		lineage_free(&d->ours);
		feed_state(d, UPSTREAM_PROMOTED, "");
	} else {
		log_error("database is not promoted", L_S("db", up->m->conf->path), L_S("error", e.text));
	}
	pthread_mutex_lock(&up->lock);
	up->promotion = rc == 0 ? PROMOTION_DONE : PROMOTION_FAILED;
	up->promotion_e = e;
	atomic_store(&up->promote, false);
	pthread_mutex_unlock(&up->lock);
	feed_tell(d, true);
}

static void follow_until_told(struct feed *d)
{
	unsigned tries = 0, again = 0;
	while (!atomic_load(&d->up->stop) && d->seen.state != UPSTREAM_PROMOTED) {
		struct err e = ERR_INIT;
		uint64_t published = d->f.n.published;
		int64_t from_us = mono_us();
		d->reconnect = d->refused = d->progress = d->full = d->gap = false;
		int rc = once(d, &e);
		bool moved = d->f.n.published != published, lasted = mono_us() - from_us >= GOOD_US;
		d->seen.connected = false;
		if (d->rewind)
			d->reconnect = true;
		d->gaps = moved ? 0 : d->gaps + d->gap;
		tries = d->progress && lasted ? 0 : tries;
		again = moved ? 0 : again + d->reconnect;
		if (atomic_load(&d->up->promote))
			promote(d);
		else if (rc == 0 || (d->reconnect && again <= AGAIN_MOST) || atomic_load(&d->up->stop))
			continue;
		else if (d->full)
			wait_for_room(d, &e);
		else {
			tries++;
			drop_client(d);
			d->refused = d->refused || e.kind == ERR_EXISTS;
			say_broke(d, &e, tries);
			pause_for(d, d->refused ? RETRY_MOST_US : backoff_us(tries - 1));
		}
	}
}

void *feed_run(void *arg)
{
	struct upstream *up = arg;
	struct feed *d = calloc(1, sizeof *d);
	if (d) {
		d->up = up;
		d->pending_end = &d->pending;
		d->f.shm_fd = d->f.place.fd = d->f.content.fd = -1;
		d->any_lineage = strcmp(up->m->conf->upstream_lineage, "any") == 0;
		feed_state(d, UPSTREAM_CONNECTING, "");
		follow_until_told(d);
		drop_client(d);
		close_here(d);
		do_orders(d, false);
		live_reader_fini(&d->reader);
		page_hashes_free(&d->here);
		free(d->bitmap);
		free(d->commits);
		if (d->seen.state != UPSTREAM_PROMOTED)
			feed_state(d, UPSTREAM_STOPPED, "");
	}
	pthread_mutex_lock(&up->lock);
	up->news.ended = true;
	up->news.ticks = up->ticks_wanted;
	pthread_mutex_unlock(&up->lock);
	atomic_store(&up->told, true);
	loop_wake(up->m->en->loop);
	free(d);
	return NULL;
}
