/* SPDX-License-Identifier: Apache-2.0
 *
 * Words for people: see words.h. */
#include "daemon/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

char *words_bytes(char buf[WORDS_BYTES], uint64_t n)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	if (n < 1000) {
		snprintf(buf, WORDS_BYTES, "%" PRIu64 " B", n);
		return buf;
	}
	double v = (double)n / 1000;
	size_t i = 0;
	while (v >= 999.95 && i + 1 < sizeof units / sizeof *units) {
		v /= 1000;
		i++;
	}
	snprintf(buf, WORDS_BYTES, "%.1f %s", v, units[i]);
	return buf;
}

char *words_age(char buf[WORDS_BYTES], int64_t us)
{
	int64_t s = us / 1000000;
	if (us <= 0)
		snprintf(buf, WORDS_BYTES, "0s");
	else if (s < 10)
		snprintf(buf, WORDS_BYTES, "%.1fs", us < 100000 ? 0.1 : (double)(us / 100000) / 10);
	else if (s < 60)
		snprintf(buf, WORDS_BYTES, "%" PRId64 "s", s);
	else if (s < 3600)
		snprintf(buf, WORDS_BYTES, "%" PRId64 "m%02ds", s / 60, (int)(s % 60));
	else if (s < 86400)
		snprintf(buf, WORDS_BYTES, "%" PRId64 "h%02dm", s / 3600, (int)(s / 60 % 60));
	else
		snprintf(buf, WORDS_BYTES, "%" PRId64 "d%02dh", s / 86400, (int)(s / 3600 % 24));
	return buf;
}

char *words_position(char buf[WORDS_BYTES], struct position p)
{
	snprintf(buf, WORDS_BYTES, "%08" PRIx64 ":%" PRIu64, p.index, p.offset);
	return buf;
}

char *words_when(char buf[TIME_TEXT_BYTES], int64_t wall_us)
{
	if (wall_us == 0)
		return strcpy(buf, "never");
	return time_format(buf, wall_us, 0);
}

const char *words_reason(const struct status_db *db)
{
	size_t n = strlen(db->path);
	bool again = strncmp(db->reason, db->path, n) == 0 && db->reason[n] == ':' && db->reason[n + 1] == ' ';
	return db->reason + (again ? n + 2 : 0);
}

bool words_replica_needs(const struct status_replica *r)
{
	return r->failing || r->validation.result == VALIDATION_ERROR;
}

bool words_db_needs(const struct status_db *db)
{
	return db->state == DB_GAP || db->state == DB_BROKEN ||
	       (*db->reason && db->state != DB_WAITING && db->step_errors > 0);
}

const char *words_lag(char buf[WORDS_BYTES], const struct status_db *db, const struct status_replica *r)
{
	if (generation_none(&db->generation))
		return "-";
	return words_age(buf, r->lag_us);
}

const char *words_replica(char buf[WORDS_BYTES], const struct status_db *db, const struct status_replica *r)
{
	if (r->failing) {
		snprintf(buf, WORDS_BYTES, "fails (%u %s)", r->tries, r->tries == 1 ? "try" : "tries");
		return buf;
	}
	if (r->validation.result == VALIDATION_ERROR)
		return "does not validate";
	if (generation_none(&db->generation))
		return "-";
	if (!r->attached)
		return "not reached yet";
	if (!r->restorable)
		return "snapshot is due";
	return r->lag_us ? "behind" : "ok";
}

bool words_upstream_needs(const struct status_upstream *u)
{
	const struct upstream_seen *s = &u->seen;
	return s->state == UPSTREAM_REFUSED || s->state == UPSTREAM_WAITING ||
	       (s->state == UPSTREAM_CONNECTING && *s->reason);
}

const char *words_upstream(const struct status_upstream *u)
{
	if (u->seen.state == UPSTREAM_REFUSED)
		return "refused";
	if (words_upstream_needs(u))
		return u->seen.state == UPSTREAM_WAITING ? "a reader is in the way" : "not reached";
	if (u->seen.state == UPSTREAM_COPYING)
		return u->seen.known ? "content changes" : "first copy";
	if (!u->seen.known)
		return "not reached yet";
	return u->lag_us ? "behind" : "ok";
}

const char *words_upstream_lag(char buf[WORDS_BYTES], const struct status_upstream *u)
{
	return u->lag_us < 0 ? "-" : words_age(buf, u->lag_us);
}

const char *words_follower(const struct live_follower *f)
{
	if (f->phase == LIVE_COPIES)
		return "gets a copy";
	if (f->phase != LIVE_FOLLOWS)
		return status_follower_phase(f->phase);
	return f->lag_us ? "behind" : "ok";
}

static bool further_behind(const struct live_follower *a, const struct live_follower *b)
{
	return a->lag_us != b->lag_us ? a->lag_us > b->lag_us : a->behind_bytes > b->behind_bytes;
}

static void take_follower(void *arg, const struct live_follower *f)
{
	struct words_followers *w = arg;
	w->all++;
	size_t at = w->n < WORDS_FOLLOWERS_MOST ? w->n++ : WORDS_FOLLOWERS_MOST;
	for (; at > 0 && further_behind(f, &w->worst[at - 1]); at--)
		if (at < WORDS_FOLLOWERS_MOST)
			w->worst[at] = w->worst[at - 1];
	if (at < WORDS_FOLLOWERS_MOST)
		w->worst[at] = *f;
}

void words_worst_followers(const struct managed *m, struct status_now now, struct words_followers *ret)
{
	ret->n = ret->all = 0;
	if (m->live)
		live_each(m->live, now.wall_us, take_follower, ret);
}
