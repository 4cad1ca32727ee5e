/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages on their way into the database file: a bounded table in which later versions replace earlier ones, so
 * that a page that is rewritten a thousand times is written a few times, in order and in large pieces. */
#ifndef WB_RESTORE_PAGES_H
#define WB_RESTORE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/pagehash.h"

struct pages {
	int fd;			    /* -1: only hashes are kept */
	struct page_hashes *hashes; /* borrowed */
	const char *path;	    /* borrowed, for messages */
	uint32_t page_bytes;
	uint64_t file_bytes; /* what the file has */
	uint32_t cap, n;     /* slots, slots used */
	uint8_t *slots;	     /* cap pages */
	uint32_t *pgno;	     /* of each slot; 0: dropped */
	uint32_t *hash;	     /* slot + 1, 0: empty */
	uint32_t hash_n;     /* a power of two */
	uint64_t *order;     /* used in a flush */
	uint8_t *stage;	     /* pieces that do not lie in a row */
	uint64_t written_bytes;
};

/* With hashes (then fd does not matter) the hash of each page goes there, and no file is touched. */
int pages_init(struct pages *p, int fd, const char *path, struct page_hashes *hashes, uint32_t page_bytes,
	       uint64_t file_bytes, size_t table_bytes, struct err *e);
void pages_free(struct pages *p);
int pages_put(struct pages *p, uint32_t pgno, const uint8_t *page, struct err *e);
int pages_flush(struct pages *p, struct err *e);
/* Forgets and cuts off what lies at or behind this length. Never makes the file longer. */
int pages_cut(struct pages *p, uint64_t bytes, struct err *e);
/* After the last flush: the file gets this length, which may be more than it has. */
int pages_set_length(struct pages *p, uint64_t bytes, struct err *e);

static inline uint64_t page_end(uint32_t page_bytes, uint32_t pgno)
{
	return (uint64_t)pgno * page_bytes;
}

#endif
