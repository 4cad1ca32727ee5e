/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: reads a replica completely without restoring it, and tells everything that is wrong with it, what
 * that costs, and what can be restored all the same.
 *
 * Findings and windows are handed over as they turn up, from the thread that calls verify_run. */
#ifndef WB_RESTORE_VERIFY_H
#define WB_RESTORE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/layout.h"
#include "restore/restore.h"

enum verify_severity {
	VERIFY_REMARK,	  /* costs nothing that a backup promises */
	VERIFY_EXACTNESS, /* everything can be restored, but times are not exact to the commit */
	VERIFY_DAMAGE,	  /* something cannot be restored */
};
const char *verify_severity_text(enum verify_severity s); /* "remark", "exactness", "damage" */

/* Texts are valid during the call. */
struct verify_finding {
	enum verify_severity severity;
	const char *kind;	      /* a word for scripts, docs/json.md lists them */
	struct generation generation; /* none: it is about the whole replica */
	const char *key;	      /* of the object or folder; "" for none */
	const char *what, *cost, *todo;
};

/* A stretch of history that can be restored without a gap. */
struct verify_window {
	struct generation generation;
	struct position from, to; /* from: of the snapshot it begins with */
	int64_t from_us, to_us;
	bool exact;    /* to_us is that of the last commit, not of an object */
	bool doubtful; /* its snapshot may be of another place (a finding tells of that) */
	/* How to get its end: the newest state of the generation, the end of index `to.index`, or to_us. */
	enum { VERIFY_BY_NEWEST, VERIFY_BY_INDEX, VERIFY_BY_TIME } by;
};

struct verify_wish {
	struct generation generation; /* none: all */
	int parallelism;	      /* segments fetched at the same time, at most; < 1 means 1 */
	bool progress;		      /* write progress to standard error (it is a terminal) */
	void (*finding)(void *arg, const struct verify_finding *f);
	void (*window)(void *arg, const struct verify_window *w);
	void *arg;
};

struct verify_result {
	uint64_t damage, exactness, remarks; /* findings */
	uint64_t generations, snapshots, segments, documents, commits;
	uint64_t stored_bytes, wal_bytes; /* read; and what segments held */
	int64_t elapsed_ms;
};

/* 0: all has been read, whatever was found. -1: it could not be: ERR_NOTHING (no replica, or not the wished
 * generation), ERR_UNREACHABLE, ERR_CONFIG (encrypted), ERR_FAIL (interrupted by restore_interrupt, no memory);
 * what was handed over until then holds. Memory: at most 64 MiB, and 40 bytes an object. */
int verify_run(struct restore_source *source, const struct verify_wish *w, struct verify_result *ret,
	       struct err *e);

#endif
