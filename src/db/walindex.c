/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared WAL index, written. Source of the format: SQLite's documentation ("WAL-index File Format").
 *
 *   block 0: 136 bytes of headers, 4062 page numbers, 8192 hash slots      (32768 bytes)
 *   block k: 4096 page numbers, 8192 hash slots
 *
 * Page numbers are 32 bits, slots 16 bits, both in host byte order. Entry i of a block (from 1) is the page of
 * the i-th frame that the block covers; a slot holds such an i, or 0. A page is looked for from slot
 * page * 383 mod 8192 upward to the first empty one; the largest i <= the reader's mxFrame counts. So entries
 * behind mxFrame do not exist for readers, and may be written while they read.
 *
 * Happy path of a transaction: map the blocks; for each frame the page number, then its slot; then the header:
 * second copy, barrier, first copy. A reader takes a header only if both copies are equal and its checksum
 * fits.
 *
 * A block is zeroed at its first entry: its old content is of an earlier cycle of the log, whose readers are
 * gone (a log begins anew only when nobody reads from it).
 *
 * Failure modes: no room for a new block (walindex_need). A process that dies in between leaves entries behind
 * mxFrame; who writes next finds a page number where there should be none, and drops them: the slots first,
 * then the page numbers from the end downward, so that the one that tells goes last. A process that dies
 * between the two copies of the header leaves copies that differ: the next reader recovers the index from the
 * log. */
#include "db/walindex.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCK_BYTES = 32768,
	HEADERS_BYTES = 136,
	ENTRIES = 4096,
	ENTRIES_FIRST = ENTRIES - HEADERS_BYTES / 4,
	SLOTS = 8192,
	SLOTS_AT = ENTRIES * 4,
	HASH_FACTOR = 383,
};

/* One block: entries are counted from 1, frame = before + entry. */
struct block {
	volatile uint32_t *pages;
	volatile uint16_t *slots;
	uint32_t before;
};

static uint32_t block_of(uint32_t frame)
{
	return (frame + ENTRIES - ENTRIES_FIRST - 1) / ENTRIES;
}

static struct block block_at(struct walindex *x, uint32_t k)
{
	assert(k < x->n);
	volatile uint8_t *p = x->blocks[k];
	struct block b = { .pages = (volatile uint32_t *)(volatile void *)(p + (k ? 0 : HEADERS_BYTES)),
			   .slots = (volatile uint16_t *)(volatile void *)(p + SLOTS_AT),
			   .before = k ? ENTRIES_FIRST + (k - 1) * ENTRIES : 0 };
	return b;
}

void walindex_init(struct walindex *x, sqlite3_file *file)
{
	*x = (struct walindex){ .file = file };
}

void walindex_fini(struct walindex *x)
{
	free((void *)x->blocks);
	*x = (struct walindex){ 0 };
}

static int reserve(struct walindex *x, uint32_t blocks, struct err *e)
{
	if (blocks <= x->cap)
		return 0;
	uint32_t cap = x->cap ? x->cap : 4;
	while (cap < blocks)
		cap *= 2;
	volatile uint8_t **more = realloc((void *)x->blocks, cap * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory for the map of the WAL index");
	x->blocks = more;
	x->cap = cap;
	return 0;
}

int walindex_need(struct walindex *x, uint32_t frame, struct err *e)
{
	uint32_t blocks = block_of(frame) + 1;
	if (reserve(x, blocks, e) < 0)
		return -1;
	for (; x->n < blocks; x->n++) {
		void volatile *p = NULL;
		int rc = x->file->pMethods->xShmMap(x->file, (int)x->n, BLOCK_BYTES, 1, &p);
		if (rc != SQLITE_OK || !p)
			return err_set(e, (rc & 0xff) == SQLITE_READONLY ? ERR_UNREACHABLE : ERR_SPACE,
				       "the WAL index cannot grow: %s", sqlite3_errstr(rc));
		x->blocks[x->n] = p;
	}
	return 0;
}

static void drop_stale(struct block *b, uint32_t keep)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (b->slots[i] > keep)
			__atomic_store_n(&b->slots[i], 0, __ATOMIC_RELAXED);
	uint32_t n = b->before ? ENTRIES : ENTRIES_FIRST;
	for (uint32_t i = n; i > keep; i--)
		__atomic_store_n(&b->pages[i - 1], 0, __ATOMIC_RELEASE);
}

static void zero(struct block *b)
{
	volatile uint32_t *slots = (volatile uint32_t *)(volatile void *)b->slots;
	uint32_t n = b->before ? ENTRIES : ENTRIES_FIRST;
	for (uint32_t i = 0; i < n; i++)
		__atomic_store_n(&b->pages[i], 0, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < SLOTS / 2; i++)
		__atomic_store_n(&slots[i], 0, __ATOMIC_RELAXED);
}

void walindex_add(struct walindex *x, uint32_t frame, uint32_t pgno)
{
	struct block b = block_at(x, block_of(frame));
	uint32_t entry = frame - b.before;
	if (entry == 1)
		zero(&b);
	else if (b.pages[entry - 1] != 0)
		/* Entries of this transaction stay: they are before this one. */
		drop_stale(&b, entry - 1);
	uint32_t slot = pgno * HASH_FACTOR & (SLOTS - 1);
	while (b.slots[slot])
		slot = (slot + 1) & (SLOTS - 1);
	__atomic_store_n(&b.pages[entry - 1], pgno, __ATOMIC_RELEASE);
	__atomic_store_n(&b.slots[slot], (uint16_t)entry, __ATOMIC_RELEASE);
}

uint32_t walindex_find(struct walindex *x, uint32_t limit, uint32_t pgno)
{
	for (uint32_t k = limit ? block_of(limit) + 1 : 0; k > 0; k--) {
		struct block b = block_at(x, k - 1);
		uint32_t found = 0, slot = pgno * HASH_FACTOR & (SLOTS - 1);
		for (uint32_t tries = 0; b.slots[slot] && tries < SLOTS; tries++) {
			uint32_t entry = b.slots[slot];
			if (entry <= ENTRIES && b.before + entry <= limit && b.pages[entry - 1] == pgno &&
			    entry > found)
				found = entry;
			slot = (slot + 1) & (SLOTS - 1);
		}
		if (found)
			return b.before + found;
	}
	return 0;
}

static void store_copy(volatile uint8_t *to, const uint8_t from[WAL_INDEX_HEADER_BYTES])
{
	volatile uint32_t *w = (volatile uint32_t *)(volatile void *)to;
	for (size_t i = 0; i < WAL_INDEX_HEADER_BYTES / 4; i++) {
		uint32_t v;
		memcpy(&v, from + 4 * i, 4);
		__atomic_store_n(&w[i], v, __ATOMIC_RELAXED);
	}
}

void walindex_publish(struct walindex *x, const struct wal_index *h, uint8_t raw[WAL_INDEX_HEADER_BYTES])
{
	assert(x->n > 0);
	wal_index_write(raw, h);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	store_copy(x->blocks[0] + WAL_INDEX_HEADER_BYTES, raw);
	x->file->pMethods->xShmBarrier(x->file);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	store_copy(x->blocks[0], raw);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}
