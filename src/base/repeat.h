/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of the messages that repeat are said: the first one at once, then one a minute, after two minutes more
 * one, after four, … at last one an hour, each with the number of those that were not said in between; and when
 * it has been quiet for a while, that it is over. No clock: the caller tells the time. One thread at a time. */
#ifndef WB_BASE_REPEAT_H
#define WB_BASE_REPEAT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	REPEAT_KEYS = 64,
	REPEAT_TEXT_BYTES = 400,
	REPEAT_WAIT_S = 60,
	REPEAT_WAIT_MOST_S = 3600,
	REPEAT_OVER_S = 600,
};

struct repeat {
	uint64_t key; /* 0: free */
	int64_t said_us, seen_us;
	uint32_t wait_s;
	uint64_t unsaid; /* since it was last said */
	char text[REPEAT_TEXT_BYTES];
};

struct repeats {
	struct repeat v[REPEAT_KEYS];
	int64_t look_us; /* nothing is over before; 0: nothing is waited for */
};

/* A key of several texts; begin with 0. Never 0. */
uint64_t repeat_key(uint64_t key, const char *text);

/* A message has come. true: say it, with *ret_unsaid (those like it that were not said before it). The slot,
 * never NULL, is the caller's to keep its text in. When more keys come than there are slots, the one that was
 * quiet for longest goes; if some of its messages were not said, it is copied to *ret_lost (key 0: none). */
bool repeat_comes(struct repeats *r, uint64_t key, int64_t now_us, struct repeat **ret_slot,
		  uint64_t *ret_unsaid, struct repeat *ret_lost);
/* One that is over, or with `all` any, and was not said to its end; copied to *ret and forgotten. false: none.
 */
bool repeat_over(struct repeats *r, int64_t now_us, bool all, struct repeat *ret);

#endif
