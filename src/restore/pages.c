/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of pages to be written: see pages.h.
 *
 *   put    look the page up (open addressing, half full at most); replace it, or take the next slot
 *   flush  when no slot is left, and at the end: sort by page number, write neighbours with one call (straight
 * from the slots if they lie in a row there too, which pages of one bulk load do), let the system begin to
 * write what is new at the end of the file to disk, and begin again with an empty table cut    pages behind the
 * end are dropped from the table and the file is truncated
 *
 * A dropped page leaves its slot and its place in the hash behind, marked by page number 0, until the next
 * flush; it is never found again because no page has that number.
 *
 * Failure: a write that fails is the caller's error; the file is thrown away then. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SYNC_FILE_RANGE_WRITE */
#endif
#include "restore/pages.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "core/wal.h"
#include "restore/memory.h"
#include "restore/output.h"

enum { STAGE_BYTES = 256 << 10, SLOTS_MIN = 16 };

static size_t slots_bytes(const struct pages *p)
{
	return (size_t)p->cap * p->page_bytes;
}

int pages_init(struct pages *p, int fd, const char *path, struct page_hashes *hashes, uint32_t page_bytes,
	       uint64_t file_bytes, size_t table_bytes, struct err *e)
{
	assert(page_bytes_valid(page_bytes));
	*p = (struct pages){
		.fd = fd, .hashes = hashes, .path = path, .page_bytes = page_bytes, .file_bytes = file_bytes
	};
	if (hashes)
		hashes->page_bytes = page_bytes;
	size_t cap = table_bytes / page_bytes;
	if (cap < SLOTS_MIN)
		cap = SLOTS_MIN;
	if (cap > UINT32_MAX / 4)
		cap = UINT32_MAX / 4;
	p->cap = (uint32_t)cap;
	for (p->hash_n = 2; p->hash_n < 2 * p->cap;)
		p->hash_n *= 2;
	p->slots = memory_map(slots_bytes(p));
	p->stage = memory_map(STAGE_BYTES);
	p->pgno = calloc(p->cap, sizeof *p->pgno);
	p->order = calloc(p->cap, sizeof *p->order);
	p->hash = calloc(p->hash_n, sizeof *p->hash);
	if (p->slots && p->stage && p->pgno && p->order && p->hash)
		return 0;
	pages_free(p);
	return err_set(e, ERR_FAIL, "no memory for a table of %zu pages", cap);
}

void pages_free(struct pages *p)
{
	memory_unmap(p->slots, slots_bytes(p));
	memory_unmap(p->stage, STAGE_BYTES);
	free(p->pgno);
	free(p->order);
	free(p->hash);
	*p = (struct pages){ .fd = -1 };
}

static uint8_t *slot_at(const struct pages *p, uint32_t slot)
{
	return p->slots + (size_t)slot * p->page_bytes;
}

int pages_put(struct pages *p, uint32_t pgno, const uint8_t *page, struct err *e)
{
	assert(pgno > 0);
	if (p->n == p->cap && pages_flush(p, e) < 0)
		return -1;
	uint32_t mask = p->hash_n - 1, h = (pgno * UINT32_C(2654435761) >> 8) & mask;
	for (; p->hash[h] != 0; h = (h + 1) & mask) {
		uint32_t slot = p->hash[h] - 1;
		if (p->pgno[slot] == pgno) {
			memcpy(slot_at(p, slot), page, p->page_bytes);
			return 0;
		}
	}
	uint32_t slot = p->n++;
	p->hash[h] = slot + 1;
	p->pgno[slot] = pgno;
	memcpy(slot_at(p, slot), page, p->page_bytes);
	return 0;
}

static int order_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static uint32_t order_pgno(uint64_t o)
{
	return (uint32_t)(o >> 32);
}

static uint32_t order_slot(uint64_t o)
{
	return (uint32_t)o;
}

/* n neighbours, beginning with order[i]: with one write if they lie in a row, else through the stage. */
static int run_write(struct pages *p, uint32_t i, uint32_t n, bool in_a_row, struct err *e)
{
	const uint8_t *from = slot_at(p, order_slot(p->order[i]));
	size_t bytes = (size_t)n * p->page_bytes;
	uint64_t at = page_end(p->page_bytes, order_pgno(p->order[i])) - p->page_bytes;
	if (!in_a_row) {
		for (uint32_t k = 0; k < n; k++)
			memcpy(p->stage + (size_t)k * p->page_bytes, slot_at(p, order_slot(p->order[i + k])),
			       p->page_bytes);
		from = p->stage;
	}
	if (output_write(p->fd, p->path, (struct span){ from, bytes }, at, e) < 0)
		return -1;
	p->written_bytes += bytes;
	if (at + bytes > p->file_bytes)
		p->file_bytes = at + bytes;
	return 0;
}

/* How many entries from order[i] on are neighbours in the file; in_slots: in the slots too. */
static uint32_t run_length(const struct pages *p, uint32_t i, uint32_t n, uint32_t most, bool in_slots)
{
	uint32_t k = 1;
	for (; k < most && i + k < n; k++) {
		if (order_pgno(p->order[i + k]) != order_pgno(p->order[i]) + k)
			break;
		if (in_slots && order_slot(p->order[i + k]) != order_slot(p->order[i]) + k)
			break;
	}
	return k;
}

/* Writes what order[] holds, n entries, ascending. A long row goes by itself, what is scattered through the
 * stage. */
static int order_write(struct pages *p, uint32_t n, struct err *e)
{
	uint32_t stage_pages = STAGE_BYTES / p->page_bytes;
	for (uint32_t i = 0; i < n;) {
		uint32_t row = run_length(p, i, n, UINT32_MAX, true), take = row;
		if (row < stage_pages)
			take = run_length(p, i, n, stage_pages, false);
		if (run_write(p, i, take, take == row, e) < 0)
			return -1;
		i += take;
	}
	return 0;
}

static int hashes_flush(struct pages *p, struct err *e)
{
	for (uint32_t slot = 0; slot < p->n; slot++)
		if (p->pgno[slot] != 0 && page_hashes_put(p->hashes, p->pgno[slot], slot_at(p, slot), e) < 0)
			return -1;
	p->file_bytes = page_end(p->page_bytes, (uint32_t)page_hashes_pages(p->hashes));
	p->n = 0;
	memset(p->hash, 0, p->hash_n * sizeof *p->hash);
	return 0;
}

int pages_flush(struct pages *p, struct err *e)
{
	if (p->hashes)
		return hashes_flush(p, e);
	uint32_t n = 0;
	uint64_t had = p->file_bytes;
	for (uint32_t slot = 0; slot < p->n; slot++)
		if (p->pgno[slot] != 0)
			p->order[n++] = (uint64_t)p->pgno[slot] << 32 | slot;
	qsort(p->order, n, sizeof *p->order, order_compare);
	if (order_write(p, n, e) < 0)
		return -1;
	/* Only of a growing file: pages that come again would have to wait until the disk is done with them. */
	if (p->file_bytes > had)
		sys_sync_file_range(p->fd, (off_t)had, (off_t)(p->file_bytes - had), SYNC_FILE_RANGE_WRITE);
	p->n = 0;
	memset(p->hash, 0, p->hash_n * sizeof *p->hash);
	return 0;
}

int pages_cut(struct pages *p, uint64_t bytes, struct err *e)
{
	for (uint32_t slot = 0; slot < p->n; slot++)
		if (p->pgno[slot] != 0 && page_end(p->page_bytes, p->pgno[slot]) > bytes)
			p->pgno[slot] = 0;
	return p->file_bytes <= bytes ? 0 : pages_set_length(p, bytes, e);
}

int pages_set_length(struct pages *p, uint64_t bytes, struct err *e)
{
	if (p->hashes) {
		if (page_hashes_resize(p->hashes, (size_t)(bytes / p->page_bytes), e) < 0)
			return -1;
	} else if (sys_ftruncate(p->fd, (off_t)bytes) < 0) {
		return err_sys(e, errno, "%s: cannot set the size to %" PRIu64 " bytes", p->path, bytes);
	}
	p->file_bytes = bytes;
	return 0;
}
