/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of the transaction whose commit has not been seen yet. They must not reach the database before it has:
 * at the end of the WAL they may be all that there is of it. Beyond a bound they lie in a nameless file. */
#ifndef WB_RESTORE_PENDING_H
#define WB_RESTORE_PENDING_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "restore/pages.h"

struct pending {
	char path[4096 + 32]; /* of the file, while it has a name */
	int fd;		      /* -1: not needed so far */
	uint32_t page_bytes;
	uint8_t *mem; /* records of page number (4 bytes, native) and page */
	size_t n, cap;
	uint64_t spilled_bytes; /* in the file, before those in memory */
};

int pending_init(struct pending *q, const char *spill_path, uint32_t page_bytes, size_t memory_bytes,
		 struct err *e);
void pending_free(struct pending *q);
int pending_add(struct pending *q, uint32_t pgno, const uint8_t *page, struct err *e);
int pending_commit(struct pending *q, struct pages *to, struct err *e); /* in the order in which they came */
void pending_drop(struct pending *q);

#endif
