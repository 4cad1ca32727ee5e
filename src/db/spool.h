/* SPDX-License-Identifier: Apache-2.0
 *
 * The spool: a directory of ready segments, exactly the bytes that replicas will hold.
 *
 *   <meta>/walbrook/spool/<generation>/<index>_<offset>.wal.lz4
 *
 * A segment is written under a temp name, synced and renamed. It leaves when every replica has it. */
#ifndef WB_DB_SPOOL_H
#define WB_DB_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/index.h"
#include "core/layout.h"
#include "core/segment.h"
#include "core/wal.h"
#include "db/times.h"

/* A ready segment: plain bytes [at.offset, end) of WAL index at.index. Owned by whoever holds the list. */
struct spool_segment {
	struct spool_segment *next;
	struct generation generation;
	struct position at;
	uint64_t end;
	uint64_t prev_end; /* with offset 0: where the WAL index before ended; 0: not known */
	uint64_t stored_bytes;
	struct index_commit *commits; /* ends and times of the commits in it */
	size_t commits_n;
	uint32_t page_bytes;
	uint8_t salt[8];
};
void spool_segment_free(struct spool_segment *s);
void spool_segments_free(struct spool_segment *list);

enum { SPOOL_UNSYNCED_MAX = 32 };

struct spool {
	char *dir; /* <meta>/walbrook/spool */
	struct owner owner;
	uint64_t bytes; /* stored in all generations */
	struct generation dir_made;
	bool names_unsynced;
	bool lost;			  /* a sync failed: what was written since the last one may be gone */
	bool dropped;			  /* spool_load met something unusable */
	int unsynced[SPOOL_UNSYNCED_MAX]; /* descriptors of segments whose bytes are not durable yet */
	int unsynced_n;
	bool has_spare; /* an empty file for the next segment, <generation>/spare.tmp, */
	int spare_fd;	/* is open */
	struct times times;
};

int spool_init(struct spool *s, const char *meta_dir, const struct owner *owner, struct err *e);
void spool_fini(struct spool *s);

/* The path of a segment. Writes PATH_BYTES. */
void spool_path(const struct spool *s, const struct generation *g, struct position at, char *buf);

/* A segment being written. */
struct spool_file {
	struct spool *spool;
	struct generation generation;
	struct position at;
	char path[PATH_BYTES], temp[PATH_BYTES];
	int fd;
	uint64_t stored_bytes;
};
int spool_begin(struct spool *s, const struct generation *g, struct position at, struct spool_file *f,
		struct err *e);
int spool_add(struct spool_file *f, struct span stored, struct err *e);
/* The commits in it and when they were seen, before spool_commit: a start after a kill finds them again. */
void spool_note_times(const struct spool_file *f, const struct spool_segment *s);
/* Nothing will come for a while: closes what is open for that. */
void spool_rest(struct spool *s);
/* Ends under its name. With sync its bytes are durable now; else spool_sync makes them so. */
int spool_commit(struct spool_file *f, bool sync, struct err *e);
void spool_abort(struct spool_file *f);

/* Everything committed so far is durable, bytes and names. */
int spool_sync(struct spool *s, struct err *e);
/* Asks the system to begin with that now, so that the sync has less to wait for. */
void spool_send_ahead(const struct spool *s);
/* Makes the file of the next segment now, for when there is less time. Nothing relies on it. Not while a
 * segment is being written: it may be in that file. */
void spool_prepare(struct spool *s);
/* Nobody needs that: it is left to the system. */
void spool_forget_unsynced(struct spool *s);
int spool_remove(struct spool *s, const struct generation *g, struct position at, uint64_t stored_bytes,
		 struct err *e);

/* What a run before left: segments of one generation in order, up to the first hole or damaged one (what lies
 * behind it is removed and said in the log). *tail: the chain behind the last frame of the last one. */
int spool_load(struct spool *s, const struct generation *g, struct spool_segment **ret, struct wal_chain *tail,
	       struct err *e);
/* The generations that have files in the spool; fn returns non-zero to stop. */
int spool_generations(struct spool *s, int (*fn)(void *arg, const struct generation *g), void *arg,
		      struct err *e);
int spool_remove_generation(struct spool *s, const struct generation *g, struct err *e);

#endif
