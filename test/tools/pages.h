/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages that look like those of an application: a leaf of a table with rows of words, numbers and identifiers,
 * which LZ4 makes about half as large. And page 1 of an otherwise empty database, so that SQLite opens the
 * file. */
#ifndef WB_TOOLS_PAGES_H
#define WB_TOOLS_PAGES_H

#include <stdint.h>
#include <string.h>

static inline uint64_t pages_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* One row of `n` bytes: identifier, then words. */
static inline void pages_row(uint8_t *to, uint32_t n, uint64_t *rng)
{
	static const char words[16][12] = { "customer   ", "delivered  ", "pending    ", "2026-01-02 ",
					    "invoice    ", "Amsterdam  ", "express    ", "returned   ",
					    "card       ", "warehouse  ", "priority   ", "wholesale  ",
					    "2026-01-03 ", "paper      ", "cancelled  ", "Lisbon     " };
	uint32_t at = 0;
	for (; at < 24 && at < n; at += 8) {
		uint64_t v = pages_random(rng);
		memcpy(to + at, &v, n - at < 8 ? n - at : 8);
	}
	for (uint64_t bits = pages_random(rng); at < n;
	     at += 11, bits = bits >> 4 ? bits >> 4 : pages_random(rng))
		memcpy(to + at, words[bits & 15], n - at < 11 ? n - at : 11);
}

static inline void pages_fill(uint8_t *page, uint32_t page_bytes, uint64_t *rng)
{
	enum { ROW_BYTES = 90, HEAD_BYTES = 8 };
	uint32_t rows = (page_bytes - HEAD_BYTES) * 9 / 10 / (ROW_BYTES + 2);
	uint32_t at = page_bytes;
	memset(page, 0, page_bytes);
	page[0] = 0x0d; /* leaf of a table */
	page[3] = (uint8_t)(rows >> 8);
	page[4] = (uint8_t)rows;
	for (uint32_t i = 0; i < rows; i++) {
		at -= ROW_BYTES;
		page[HEAD_BYTES + 2 * i] = (uint8_t)(at >> 8);
		page[HEAD_BYTES + 2 * i + 1] = (uint8_t)at;
		pages_row(page + at, ROW_BYTES, rng);
	}
	page[5] = (uint8_t)(at >> 8);
	page[6] = (uint8_t)at;
}

static inline void pages_first(uint8_t *page, uint32_t page_bytes, uint32_t pages)
{
	memset(page, 0, page_bytes);
	memcpy(page, "SQLite format 3", 16);
	page[16] = (uint8_t)(page_bytes >> 8);
	page[17] = (uint8_t)(page_bytes == 65536 ? 1 : page_bytes);
	page[18] = page[19] = 2; /* WAL */
	page[21] = 64;
	page[22] = page[23] = 32;
	page[27] = page[95] = 1; /* change counter, and the one for which the size is valid */
	for (int i = 0; i < 4; i++)
		page[28 + i] = (uint8_t)(pages >> (24 - 8 * i));
	page[47] = 4; /* schema format */
	page[59] = 1; /* UTF-8 */
	page[100] = 0x0d;
	page[105] = (uint8_t)(page_bytes >> 8);
	page[106] = (uint8_t)page_bytes;
}

#endif
