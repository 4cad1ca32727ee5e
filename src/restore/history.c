/* SPDX-License-Identifier: Apache-2.0
 *
 * The hashes of pages: see history.h.
 *
 * A restore begins with a snapshot of WAL index N and replays N from its first frame. So the snapshot is right
 * if each page that the WAL has not written since then is as it was when N began. Pages that were written may
 * hold anything, as in a copy that was made while SQLite wrote into the file: they are written again. That
 * holds at every position from which the snapshot may be used.
 *
 * What happens to pages behind the end of a database that shrinks and grows again depends on when SQLite
 * truncates the file; they are forgotten (0) and fit anything.
 *
 * A hash has 32 bits: a page that differs goes unseen once in 4 * 10^9. The slot of a page is (number - 1) /
 * step; when the tables are too small the step doubles and every second slot goes.
 *
 * Failure: only want of memory. A transaction with more frames than its list may have (OPEN_MAX) makes the
 * history unknown. */
#include "restore/history.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/wal.h"
#include "restore/memory.h"

enum { OPEN_MAX = 1 << 20, WRITTEN = 1, DOUBTED = 2 };
#define TABLE_BYTES ((size_t)HISTORY_PAGES * sizeof(uint32_t))

int history_init(struct history *h, struct err *e)
{
	*h = (struct history){ .step = 1 };
	h->state = (uint32_t *)(void *)memory_map(TABLE_BYTES);
	h->snapshot = (uint32_t *)(void *)memory_map(TABLE_BYTES);
	h->flags = memory_map(HISTORY_PAGES);
	h->page = malloc(PAGE_BYTES_MAX);
	if (h->state && h->snapshot && h->flags && h->page)
		return 0;
	history_free(h);
	return err_set(e, ERR_FAIL, "no memory to compare snapshots with the WAL");
}

void history_free(struct history *h)
{
	memory_unmap((uint8_t *)h->state, TABLE_BYTES);
	memory_unmap((uint8_t *)h->snapshot, TABLE_BYTES);
	memory_unmap(h->flags, HISTORY_PAGES);
	free(h->page);
	free(h->open);
	*h = (struct history){ 0 };
}

static void step_double(struct history *h)
{
	size_t half = HISTORY_PAGES / 2;
	for (size_t i = 0; i < half; i++) {
		h->state[i] = h->state[2 * i];
		h->snapshot[i] = h->snapshot[2 * i];
		h->flags[i] = h->flags[2 * i];
	}
	memset(h->state + half, 0, half * sizeof *h->state);
	memset(h->snapshot + half, 0, half * sizeof *h->snapshot);
	memset(h->flags + half, 0, half);
	h->flags_n = (h->flags_n + 1) / 2;
	h->step *= 2;
}

/* The slot of a page, or -1 if it is not looked at. */
static long slot_of(struct history *h, uint32_t pgno)
{
	while ((pgno - 1) / h->step >= HISTORY_PAGES)
		step_double(h);
	return (pgno - 1) % h->step == 0 ? (long)((pgno - 1) / h->step) : -1;
}

/* Slots that pages 1 to n take. */
static size_t slots_for(const struct history *h, uint64_t n)
{
	uint64_t slots = (n + h->step - 1) / h->step;
	return slots < HISTORY_PAGES ? (size_t)slots : HISTORY_PAGES;
}

static uint32_t hash_of(const uint8_t *page, size_t n)
{
	uint32_t v = (uint32_t)XXH64(page, n, 0);
	return v ? v : 1;
}

/* ---- the snapshot ---- */

int history_snapshot_begin(struct history *h, uint32_t page_bytes, struct err *e)
{
	memset(h->snapshot, 0, slots_for(h, h->snapshot_pages) * sizeof *h->snapshot);
	h->snapshot_pages = 0;
	h->page_n = 0;
	h->page_bytes = page_bytes;
	return page_bytes_valid(page_bytes) ? 0 : err_set(e, ERR_FAIL, "impossible page size");
}

static void snapshot_page(struct history *h, const uint8_t *page)
{
	if (h->snapshot_pages >= UINT32_MAX)
		return;
	long slot = slot_of(h, (uint32_t)++h->snapshot_pages);
	if (slot >= 0)
		h->snapshot[slot] = hash_of(page, h->page_bytes);
}

void history_snapshot_bytes(struct history *h, struct span in)
{
	while (in.n > 0) {
		size_t some = h->page_bytes - h->page_n;
		if (some > in.n)
			some = in.n;
		if (some == h->page_bytes) {
			snapshot_page(h, in.p);
		} else {
			memcpy(h->page + h->page_n, in.p, some);
			h->page_n += some;
			if (h->page_n == h->page_bytes) {
				snapshot_page(h, h->page);
				h->page_n = 0;
			}
		}
		in.p += some;
		in.n -= some;
	}
}

void history_adopt(struct history *h)
{
	size_t was = slots_for(h, h->pages), now = slots_for(h, h->snapshot_pages);
	memcpy(h->state, h->snapshot, now * sizeof *h->state);
	if (was > now)
		memset(h->state + now, 0, (was - now) * sizeof *h->state);
	h->pages = (uint32_t)h->snapshot_pages;
	h->open_n = 0;
	h->known = true;
}

void history_forget(struct history *h)
{
	h->open_n = 0;
	h->known = false;
}

/* ---- the WAL ---- */

int history_frame(struct history *h, uint32_t pgno, const uint8_t *page, uint32_t page_bytes)
{
	if (!h->known || slot_of(h, pgno) < 0)
		return 0;
	if (h->open_n == h->open_cap) {
		size_t cap = h->open_cap ? h->open_cap * 2 : 256;
		struct history_frame *v = cap <= OPEN_MAX ? realloc(h->open, cap * sizeof *v) : NULL;
		if (!v && cap <= OPEN_MAX)
			return -1;
		if (!v) {
			history_forget(h);
			return 0;
		}
		h->open = v;
		h->open_cap = cap;
	}
	h->open[h->open_n++] = (struct history_frame){ pgno, hash_of(page, page_bytes) };
	return 0;
}

void history_commit(struct history *h, uint32_t pages)
{
	if (!h->known)
		return;
	for (size_t i = 0; i < h->open_n; i++) {
		long slot = h->open[i].pgno <= pages ? slot_of(h, h->open[i].pgno) : -1;
		if (slot < 0)
			continue;
		h->state[slot] = h->open[i].hash;
		h->flags[slot] = WRITTEN;
		if ((size_t)slot >= h->flags_n)
			h->flags_n = (size_t)slot + 1;
	}
	h->open_n = 0;
	size_t was = slots_for(h, h->pages), now = slots_for(h, pages);
	if (was > now)
		memset(h->state + now, 0, (was - now) * sizeof *h->state);
	h->pages = pages;
}

void history_drop(struct history *h)
{
	h->open_n = 0;
}

void history_mark(struct history *h)
{
	for (size_t i = 0; i < h->flags_n; i++)
		h->flags[i] &= DOUBTED;
}

static bool differs(const struct history *h, size_t slot)
{
	return h->state[slot] != 0 && h->state[slot] != h->snapshot[slot] && !(h->flags[slot] & WRITTEN);
}

uint64_t history_differs(const struct history *h)
{
	uint64_t n = 0;
	size_t slots = slots_for(h, h->pages);
	for (size_t i = 0; h->known && i < slots; i++)
		n += differs(h, i);
	return n;
}

void history_doubt(struct history *h)
{
	size_t slots = slots_for(h, h->pages);
	if (slots > h->flags_n)
		h->flags_n = slots;
	for (size_t i = 0; i < h->flags_n; i++)
		h->flags[i] = (uint8_t)((h->flags[i] & WRITTEN) | (i < slots && differs(h, i) ? DOUBTED : 0));
}

bool history_cleared(const struct history *h)
{
	size_t slots = slots_for(h, h->pages);
	for (size_t i = 0; i < slots; i++)
		if (h->flags[i] & DOUBTED && h->state[i] != 0)
			return true;
	return false;
}

void history_rebase(struct history *h)
{
	size_t slots = slots_for(h, h->pages);
	for (size_t i = 0; i < slots; i++)
		if (!(h->flags[i] & WRITTEN))
			h->state[i] = h->snapshot[i];
}
