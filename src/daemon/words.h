/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of the status in words for people: the same ones on the terminal and on the page. Functions with a buf
 * return it, or a text that stays. */
#ifndef WB_DAEMON_WORDS_H
#define WB_DAEMON_WORDS_H

#include "base/clock.h"
#include "daemon/status.h"

enum { WORDS_BYTES = 48 };

char *words_bytes(char buf[WORDS_BYTES], uint64_t n);		/* "12.3 MB" */
char *words_age(char buf[WORDS_BYTES], int64_t us);		/* "0s", "1.2s", "3m05s", "2d04h" */
char *words_position(char buf[WORDS_BYTES], struct position p); /* "0000000a:4152" */
char *words_when(char buf[TIME_TEXT_BYTES], int64_t wall_us);	/* "never", or the time in UTC */

/* The reason of its state, without the path before it. */
const char *words_reason(const struct status_db *db);
const char *words_lag(char buf[WORDS_BYTES], const struct status_db *db, const struct status_replica *r);
/* How a replica is: "ok", or what keeps it from being fine, in a word or two. */
const char *words_replica(char buf[WORDS_BYTES], const struct status_db *db, const struct status_replica *r);

const char *words_upstream(const struct status_upstream *u);
const char *words_upstream_lag(char buf[WORDS_BYTES], const struct status_upstream *u);

const char *words_follower(const struct live_follower *f);

/* The followers that are furthest behind, most first. */
enum { WORDS_FOLLOWERS_MOST = 12 };
struct words_followers {
	struct live_follower worst[WORDS_FOLLOWERS_MOST];
	size_t n; /* of worst */
	size_t all;
};
void words_worst_followers(const struct managed *m, struct status_now now, struct words_followers *ret);

/* Somebody is needed. */
bool words_db_needs(const struct status_db *db);
bool words_replica_needs(const struct status_replica *r);
bool words_upstream_needs(const struct status_upstream *u);

#endif
