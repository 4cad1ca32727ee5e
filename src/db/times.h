/* SPDX-License-Identifier: Apache-2.0
 *
 * When the commits of spooled segments were first seen: kept beside the segments, so that a run that is killed
 * does not lose the exactness of restore by time. And where the WAL index before the one of a segment ended,
 * which nothing in the segment tells: a replica that lacks the end of that must not go on behind the hole. Not
 * synced: after a loss of power the times of the files must do, and a replica that cannot be shown to be
 * complete gets a new generation.
 *
 *   <spool>/<generation>/<%08x index>.times    records, appended; times.c tells the bytes */
#ifndef WB_DB_TIMES_H
#define WB_DB_TIMES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "core/index.h"
#include "core/layout.h"

struct spool_segment;

struct times {
	int fd; /* of the WAL index that is captured; -1: none */
	struct generation generation;
	uint64_t index;
	uint64_t oldest; /* files from this index on may be there, of `generation` */
	bool failed;	 /* said, and given up for this index */
};

#define TIMES_INIT ((struct times){ .fd = -1 })
void times_fini(struct times *t);

/* Before the segment gets its name. dir: that of the generation. Failing costs exactness, or a generation: it
 * is said in the log, once for each index. */
void times_note(struct times *t, const char *dir, const struct owner *o, const struct spool_segment *s);
/* Nothing will come for a while: no descriptor is kept. */
void times_rest(struct times *t);
/* A segment of this index has left the spool: what is kept of older ones goes. */
void times_passed(struct times *t, const char *dir, const struct generation *g, uint64_t index);

void times_remove_all(const char *dir);

/* What was kept of one index. */
struct times_kept {
	uint8_t *p;
	size_t n;
};
void times_read(const char *dir, uint64_t index, struct times_kept *ret); /* nothing there is fine */
void times_kept_free(struct times_kept *k);
/* The commits of a segment: 1 and *ret (owned by the caller, NULL with *ret_n 0: it has none); 0: not known;
 * -1: no memory. */
int times_find(const struct times_kept *k, uint64_t offset, uint64_t end, struct index_commit **ret,
	       size_t *ret_n);
/* Of the segment [0, end): where the WAL index before it ended; 0: not known. */
uint64_t times_prev_end(const struct times_kept *k, uint64_t end);
/* Adds to a document of that WAL index (of any generation and index of the caller's) what it lacks of the
 * commits up to `until`; it then says that the WAL index reaches so far, or to the end of what was kept with
 * UINT64_MAX. 1: it was changed; 0: it lacks nothing that is known; -1: no memory. */
int times_complete(const struct times_kept *k, uint64_t until, struct wal_index_doc *doc);
/* Where the WAL index before this one ended, as its first segment tells; 0: not known. */
uint64_t times_before(const struct times_kept *k);
/* The WAL indexes in dir of which something is kept: the first of them from `from` on. false: none. */
bool times_first(const char *dir, uint64_t from, uint64_t *ret);

#endif
