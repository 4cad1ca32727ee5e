/* SPDX-License-Identifier: Apache-2.0
 *
 * The last minutes: see lag.h.
 *
 * Happy path: a note fills the slots since the one before with what must have been there, and then that of now.
 *
 * Failure modes: a clock that jumps (ages are cut to what fits; nothing else is touched). */
#include "daemon/lag.h"

static int64_t slot_of(int64_t us)
{
	return us / LAG_SLOT_US;
}

static uint32_t age_ms(int64_t at_us, int64_t since_us)
{
	if (since_us == 0 || at_us <= since_us)
		return 0;
	int64_t ms = (at_us - since_us + 999) / 1000;
	return ms < LAG_UNKNOWN - 1 ? (uint32_t)ms : LAG_UNKNOWN - 1;
}

static void raise(uint32_t *most_ms, uint32_t ms)
{
	if (*most_ms == LAG_UNKNOWN || *most_ms < ms)
		*most_ms = ms;
}

/* The slots of (from, to], behind since `since_us` all the time. */
static void fill(uint32_t most_ms[LAG_SLOTS], int64_t from_us, int64_t to_us, int64_t since_us)
{
	int64_t first = slot_of(from_us), last = slot_of(to_us);
	if (first < last - LAG_SLOTS)
		first = last - LAG_SLOTS;
	for (int64_t slot = first; slot <= last; slot++) {
		int64_t end_us = (slot + 1) * LAG_SLOT_US;
		uint32_t ms = age_ms(end_us < to_us ? end_us : to_us, since_us);
		if (slot > slot_of(from_us))
			most_ms[slot % LAG_SLOTS] = ms;
		else
			raise(&most_ms[slot % LAG_SLOTS], ms);
	}
}

/* false: the clock has gone back. */
static bool begin(struct lag *l, int64_t now_us)
{
	if (!l->noted_us) {
		for (int i = 0; i < LAG_SLOTS; i++)
			l->most_ms[i] = LAG_UNKNOWN;
		l->noted_us = now_us;
	}
	return now_us >= l->noted_us;
}

void lag_sample(struct lag *l, int64_t now_us, int64_t behind_us)
{
	if (!begin(l, now_us))
		return;
	int64_t last = slot_of(now_us), first = slot_of(l->noted_us) + 1;
	for (int64_t slot = first > last - LAG_SLOTS ? first : last - LAG_SLOTS; slot <= last; slot++)
		l->most_ms[slot % LAG_SLOTS] = LAG_UNKNOWN;
	raise(&l->most_ms[last % LAG_SLOTS], age_ms(now_us, now_us - behind_us));
	l->noted_us = now_us;
	l->sampled = true;
}

void lag_note(struct lag *l, int64_t now_us, int64_t since_us)
{
	if (!begin(l, now_us))
		return;
	/* What has ended by now lasted until now; what is seen only now began when it says. */
	fill(l->most_ms, l->noted_us, now_us, l->since_us ? l->since_us : since_us);
	raise(&l->most_ms[slot_of(now_us) % LAG_SLOTS], age_ms(now_us, since_us));
	l->noted_us = now_us;
	l->since_us = since_us;
}

void lag_read(const struct lag *l, int64_t now_us, uint32_t ret_ms[LAG_SLOTS])
{
	struct lag copy = *l;
	int64_t last = slot_of(now_us);
	if (!l->sampled)
		lag_note(&copy, now_us, l->since_us);
	for (int64_t i = 0, slot = last - LAG_SLOTS + 1; i < LAG_SLOTS; i++, slot++) {
		bool unknown = slot < 0 || !copy.noted_us || slot > slot_of(copy.noted_us);
		ret_ms[i] = unknown ? LAG_UNKNOWN : copy.most_ms[slot % LAG_SLOTS];
	}
}
