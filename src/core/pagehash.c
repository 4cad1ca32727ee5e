/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashes of pages: see pagehash.h.
 *
 * Happy path: the first bytes tell the page size (bytes 16 and 17 of a database, big-endian, 1 means 65536);
 * whole pages are hashed where they lie, and only one that is cut between two pieces is put together in
 * `carry`.
 *
 * Failure modes: no database header; no memory. */
#include "core/pagehash.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/wal.h"

enum { HEAD_BYTES = 100 };

void page_hashes_free(struct page_hashes *h)
{
	free(h->v);
	free(h->carry);
	*h = (struct page_hashes){ .limit = h->limit };
}

uint64_t page_hash(const uint8_t *page, uint32_t page_bytes)
{
	return XXH64(page, page_bytes, 0);
}

static int reserve(struct page_hashes *h, size_t pages, struct err *e)
{
	if (pages <= h->cap)
		return 0;
	size_t cap = h->cap ? h->cap : 256;
	while (cap < pages)
		cap *= 2;
	uint64_t *more = realloc(h->v, cap * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory for the hashes of %zu pages", pages);
	h->v = more;
	h->cap = cap;
	return 0;
}

size_t page_hashes_pages(const struct page_hashes *h)
{
	return h->n + h->beyond;
}

static bool past_limit(const struct page_hashes *h, size_t pages)
{
	return h->limit > 0 && pages > h->limit;
}

int page_hashes_resize(struct page_hashes *h, size_t pages, struct err *e)
{
	h->beyond = past_limit(h, pages) ? pages - h->limit : 0;
	pages -= h->beyond;
	static uint8_t zeros[PAGE_BYTES_MAX]; /* not const, which would be 64 KiB in the program file */
	if (reserve(h, pages, e) < 0)
		return -1;
	uint64_t zero = pages > h->n ? page_hash(zeros, h->page_bytes) : 0;
	for (size_t i = h->n; i < pages; i++)
		h->v[i] = zero;
	h->n = pages;
	return 0;
}

int page_hashes_put(struct page_hashes *h, uint32_t pgno, const uint8_t *page, struct err *e)
{
	if (pgno > page_hashes_pages(h) && page_hashes_resize(h, pgno, e) < 0)
		return -1;
	if (past_limit(h, pgno))
		return 0;
	h->v[pgno - 1] = page_hash(page, h->page_bytes);
	return 0;
}

/* Takes bytes into the carry until it holds `want`. */
static bool carry_to(struct page_hashes *h, struct span *in, size_t want)
{
	size_t some = want - h->carry_n < in->n ? want - h->carry_n : in->n;
	if (some > 0)
		memcpy(h->carry + h->carry_n, in->p, some);
	h->carry_n += some;
	in->p += some;
	in->n -= some;
	return h->carry_n == want;
}

static int learn_page_size(struct page_hashes *h, struct err *e)
{
	uint32_t size = (uint32_t)h->carry[16] << 8 | h->carry[17];
	if (size == 1)
		size = PAGE_BYTES_MAX;
	if (memcmp(h->carry, "SQLite format 3", 16) != 0 || !page_bytes_valid(size))
		return err_set(e, ERR_DAMAGED, "what was read is not an SQLite database");
	h->page_bytes = size;
	return 0;
}

static int append(struct page_hashes *h, const uint8_t *page, struct err *e)
{
	if (past_limit(h, h->n + 1)) {
		h->beyond++;
		return 0;
	}
	if (reserve(h, h->n + 1, e) < 0)
		return -1;
	h->v[h->n++] = page_hash(page, h->page_bytes);
	return 0;
}

int page_hashes_add(struct page_hashes *h, struct span in, struct err *e)
{
	if (!h->carry && !(h->carry = malloc(PAGE_BYTES_MAX)))
		return err_set(e, ERR_FAIL, "no memory to hash pages");
	if (!h->page_bytes && (!carry_to(h, &in, HEAD_BYTES) || learn_page_size(h, e) < 0))
		return h->carry_n < HEAD_BYTES ? 0 : -1;
	if (h->carry_n > 0) {
		if (!carry_to(h, &in, h->page_bytes))
			return 0;
		h->carry_n = 0;
		if (append(h, h->carry, e) < 0)
			return -1;
	}
	for (; in.n >= h->page_bytes; in.p += h->page_bytes, in.n -= h->page_bytes)
		if (append(h, in.p, e) < 0)
			return -1;
	carry_to(h, &in, h->page_bytes);
	return 0;
}

int page_hashes_end(struct page_hashes *h, struct err *e)
{
	h->carry_n = 0;
	free(h->carry);
	h->carry = NULL;
	return h->page_bytes ? 0 : err_set(e, ERR_DAMAGED, "what was read is not an SQLite database");
}

size_t page_hashes_differ(const struct page_hashes *a, const struct page_hashes *b, uint32_t *ret_first)
{
	size_t a_n = page_hashes_pages(a), b_n = page_hashes_pages(b), most = a_n > b_n ? a_n : b_n, n = 0;
	size_t both = a->n < b->n ? a->n : b->n;
	*ret_first = 0;
	for (size_t i = 0; i < most; i++) {
		if (i < both && a->page_bytes == b->page_bytes && a->v[i] == b->v[i])
			continue;
		if (n++ == 0)
			*ret_first = (uint32_t)(i + 1);
	}
	return n;
}
