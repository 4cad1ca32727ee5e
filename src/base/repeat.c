/* SPDX-License-Identifier: Apache-2.0
 *
 * Repeated messages: see repeat.h. Failure modes: more different messages at a time than there are slots: they
 * are all said. Two with the same 64-bit key are taken for one. */
#include "base/repeat.h"

#include <stddef.h>

enum { US_PER_S = 1000000 };

/* FNV-1a, with a mark between the texts. */
uint64_t repeat_key(uint64_t key, const char *text)
{
	const uint64_t prime = UINT64_C(0x100000001b3);
	if (!key)
		key = UINT64_C(0xcbf29ce484222325);
	for (; *text; text++)
		key = (key ^ (unsigned char)*text) * prime;
	key = (key ^ 0xff) * prime;
	return key ? key : 1;
}

static struct repeat *find(struct repeats *r, uint64_t key)
{
	struct repeat *oldest = &r->v[0];
	for (size_t i = 0; i < REPEAT_KEYS; i++) {
		struct repeat *p = &r->v[i];
		if (p->key == key)
			return p;
		if (oldest->key && (!p->key || p->seen_us < oldest->seen_us))
			oldest = p;
	}
	return oldest;
}

bool repeat_comes(struct repeats *r, uint64_t key, int64_t now_us, struct repeat **ret_slot,
		  uint64_t *ret_unsaid, struct repeat *ret_lost)
{
	struct repeat *p = *ret_slot = find(r, key);
	bool same = p->key == key;
	*ret_unsaid = same ? p->unsaid : 0;
	ret_lost->key = 0;
	if (!same && p->key && p->unsaid)
		*ret_lost = *p;
	if (!same || now_us - p->seen_us > (int64_t)REPEAT_WAIT_MOST_S * US_PER_S) {
		*p = (struct repeat){ .key = key, .said_us = now_us, .seen_us = now_us };
		p->wait_s = REPEAT_WAIT_S;
		return true;
	}
	p->seen_us = now_us;
	if (!r->look_us)
		r->look_us = now_us + (int64_t)REPEAT_OVER_S * US_PER_S;
	if (now_us - p->said_us < (int64_t)p->wait_s * US_PER_S) {
		p->unsaid++;
		return false;
	}
	p->unsaid = 0;
	p->said_us = now_us;
	p->wait_s = p->wait_s * 2 < REPEAT_WAIT_MOST_S ? p->wait_s * 2 : REPEAT_WAIT_MOST_S;
	return true;
}

bool repeat_over(struct repeats *r, int64_t now_us, bool all, struct repeat *ret)
{
	if (!all && (!r->look_us || now_us < r->look_us))
		return false;
	int64_t next_us = 0, over_us = (int64_t)REPEAT_OVER_S * US_PER_S;
	for (size_t i = 0; i < REPEAT_KEYS; i++) {
		struct repeat *p = &r->v[i];
		if (!p->key || !p->unsaid)
			continue;
		if (all || now_us - p->seen_us >= over_us) {
			*ret = *p;
			p->key = 0;
			return true; /* look_us stays: there may be more */
		}
		if (!next_us || p->seen_us + over_us < next_us)
			next_us = p->seen_us + over_us;
	}
	r->look_us = next_us;
	return false;
}
