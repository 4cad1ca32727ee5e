/* SPDX-License-Identifier: Apache-2.0
 *
 * A database as one hash (XXH64, seed 0) for each page: 8 bytes instead of a page, enough to tell whether two
 * databases are the same and which pages differ. Against accidents, not against somebody who makes collisions.
 * Pure.
 */
#ifndef WB_CORE_PAGEHASH_H
#define WB_CORE_PAGEHASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct page_hashes {
	uint32_t page_bytes; /* 0: not known yet, then n is 0 */
	uint64_t *v;	     /* of page 1 at v[0]; owned */
	size_t n, cap;	     /* pages */
	size_t limit; /* of n, before anything is added; 0: none. Page numbers come from the WAL of a replica */
	size_t beyond; /* so many pages follow, whose hashes are not kept: there is nothing to compare them with
			*/
	uint8_t *carry; /* of page_hashes_add: the part of a page that has not come whole */
	size_t carry_n;
};

void page_hashes_free(struct page_hashes *h); /* ends as an empty one; the limit stays */
uint64_t page_hash(const uint8_t *page, uint32_t page_bytes);

/* The bytes of a database file in order, in pieces of any size. The page size is taken from its header, unless
 * it is set. ERR_DAMAGED: no such header; ERR_FAIL: no memory. */
int page_hashes_add(struct page_hashes *h, struct span bytes, struct err *e);
/* That was all: what is left of a last page that is not whole is forgotten. ERR_DAMAGED: not even a header
 * came. */
int page_hashes_end(struct page_hashes *h, struct err *e);

/* One page, by number from 1; pages that are skipped count as zeros. page_bytes must be set. */
int page_hashes_put(struct page_hashes *h, uint32_t pgno, const uint8_t *page, struct err *e);
/* Those that are kept, and those beyond the limit. */
size_t page_hashes_pages(const struct page_hashes *h);
/* The database has this many pages: the rest is cut off, or counts as zeros. */
int page_hashes_resize(struct page_hashes *h, size_t pages, struct err *e);

/* How many pages differ (those that only one has included), and the number of the first in *ret_first. A
 * different page size is all of them. */
size_t page_hashes_differ(const struct page_hashes *a, const struct page_hashes *b, uint32_t *ret_first);

#endif
