/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore: lists a replica, plans, fetches and decompresses in parallel with bounded memory, verifies
 * (contiguity, header, salts, whole checksum chain) while the frames go straight to the output file, and
 * publishes it by fsync, rename and directory fsync. On any failure the output does not appear and nothing is
 * left behind. */
#ifndef WB_RESTORE_RESTORE_H
#define WB_RESTORE_RESTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/layout.h"
#include "core/pagehash.h"
#include "core/plan.h"
#include "store/store.h"

struct restore_source {
	struct store *store; /* borrowed; used from one thread only (fetching opens its own: see open_more) */
	const char *name;    /* of the replica, for messages */
	/* Opens one more handle on the same destination for a fetching worker; closed with store_close. */
	int (*open_more)(void *arg, struct store **ret, struct err *e);
	void *arg;
	const char *how_to_name; /* how a person names this source on the command line, quoted for a shell (URL,
				    or path of the database and the flags that it takes), for "what can still
				    be restored and by which command" */
	bool damaged; /* set by restore_run: what it holds cannot be restored, another source was tried */
	bool sealed; /* encrypted, and there is no key: chosen only when no other source has anything, to say so
		      */
};

struct restore_wish {
	const char *output;	      /* path of the database to make */
	struct generation generation; /* none: the best */
	bool by_index, by_time;
	uint64_t index;
	int64_t wall_us;
	int parallelism;       /* workers at most; < 1 means 1 */
	uint64_t memory_bytes; /* budget for buffers; 0: the default (48 MiB) */
	struct owner owner;    /* mode and owner of the output */
	/* A drill: all that a restore does, but of the database only the hashes of its pages are kept. output
	 * is the beginning of a name for what does not fit in memory. */
	struct page_hashes *hashes; /* empty; NULL: a real restore */
	bool by_position;	    /* with generation: exactly to this place */
	struct position position;
	bool progress; /* write progress to standard error (it is a terminal) */
};

struct restore_result {
	struct generation generation;
	const char *source; /* name of the replica that was used */
	struct position reached;
	uint64_t database_bytes, fetched_bytes, wal_bytes;
	uint64_t segments;
	int64_t elapsed_ms;
	bool exact_time; /* by_time: the index told where to stop, not the times of the objects; */
	bool has_commit; /* and then the last commit in the database was made at commit_us */
	int64_t commit_us;
};

/* Chooses the best of n sources (the newest moment that fits the wish; a source that cannot be listed is logged
 * and skipped as long as another one works) and restores from it. A damaged newest snapshot falls back to an
 * older one, a damaged source to another one that reaches as far, with a warning. ERR_EXISTS: output exists
 * (checked before anything else) or a stale -wal, -shm or -journal lies beside it. ERR_NOTHING: no backup.
 * ERR_DAMAGED: text names object, reason, and hints the command that still works. */
int restore_run(struct restore_source *sources, size_t n, const struct restore_wish *w,
		struct restore_result *ret, struct err *e);

/* Makes the run that is going on (or the next one, if none is) fail soon with ERR_FAIL, leaving nothing behind.
 * May be called from a signal handler. */
void restore_interrupt(void);

/* What the file system says about the output, before anything else is done. */
int restore_check_output(const char *output, struct err *e);

#endif
