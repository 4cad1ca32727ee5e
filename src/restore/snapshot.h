/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot object to a file, its blocks decompressed on several threads. */
#ifndef WB_RESTORE_SNAPSHOT_H
#define WB_RESTORE_SNAPSHOT_H

#include <stdint.h>

#include "base/err.h"
#include "core/pagehash.h"
#include "restore/progress.h"
#include "store/store.h"

struct snapshot_result {
	uint64_t plain_bytes;
	uint32_t page_bytes; /* as the header of the database says; 0 if the snapshot is empty */
};

/* Fills the empty file fd. store is used by one thread at a time. Errors as those of frame_open; ERR_DAMAGED
 * also when what comes out is not an SQLite database. */
int snapshot_fetch(struct store *s, const char *key, int fd, const char *path, int threads,
		   struct progress *progress, struct snapshot_result *ret, struct err *e);
/* The same, but only the hashes of its pages are kept. One thread. */
int snapshot_hash(struct store *s, const char *key, struct page_hashes *hashes, struct progress *progress,
		  struct snapshot_result *ret, struct err *e);

enum { SNAPSHOT_THREAD_BYTES = 2 * (4 << 20) }; /* buffers of each thread */

#endif
