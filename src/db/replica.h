/* SPDX-License-Identifier: Apache-2.0
 *
 * One replica of one database: how far it is, and the blocking jobs that bring it further. At most one job is
 * out for a replica at a time; while it is out nobody else touches the struct. */
#ifndef WB_DB_REPLICA_H
#define WB_DB_REPLICA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/age.h"
#include "core/index.h"
#include "core/layout.h"
#include "db/snapshot.h"
#include "db/spool.h"
#include "store/store.h"

struct replica_snapshot {
	uint64_t index;
	int64_t created_us;
};

struct replica {
	const char *db_path, *name, *url; /* borrowed */
	struct owner owner;
	struct store *store;
	int64_t retention_us, snapshot_interval_us;
	struct age_keys keys;	 /* owned; none: it is not encrypted */
	char *shipped_dir;	 /* owned; where to keep what cannot be read back (db/shipped.h) */
	struct generation noted; /* that the record there is of */
	bool blind;		 /* it is encrypted for keys that are not here: written, never read */

	struct generation generation; /* that it is at; none: not attached */
	struct position at;	      /* it holds everything before */
	bool end_damaged;	      /* attach found the newest object damaged: `at` is where that begins */
	const char *foreign; /* attach found objects that do not go with ours (why, static text): where they
				end is not known, and the generation must not be continued; NULL: none */
	bool wants_snapshot; /* the generation has none here */
	bool has_wal;	     /* a segment of the generation is there, as far as we know */
	bool emptied;	     /* and is there no more: its directory had to be made anew */
	struct replica_snapshot *snapshots; /* of this generation, ascending */
	size_t snapshots_n;
	struct position snapshot_at; /* state of the newest snapshot that we made; index UINT64_MAX: none */

	bool has_before;	/* as attached: it has segments of the WAL index before its newest, */
	struct position before; /* and this is the newest of those */

	struct wal_index_doc doc; /* of the WAL index that is being shipped */
	bool doc_dirty;
	int64_t doc_written_us;

	int64_t retain_due_wall_us; /* nothing is to be deleted before; 0: not known, list */
	uint64_t objects, stored_bytes, wal_bytes;
	uint64_t deleted; /* objects, by retention */
};

/* Opens the store and finds out whether it is blind; touches nothing yet. */
int replica_open(struct replica *r, struct err *e);
void replica_fini(struct replica *r);

/* What the destination has of a generation: fills generation, at, end_damaged, foreign, snapshots,
 * wants_snapshot, doc. *ret_any: whether there is any object. */
int replica_attach(struct replica *r, const struct generation *g, bool *ret_any, struct err *e);

/* After the attach: completes the index objects of its newest WAL index and of the one before with what is kept
 * beside the spool of when commits were seen (a run that was killed did not write it there any more). */
int replica_recall(struct replica *r, const struct spool *spool, struct err *e);
/* The same for another generation, which has ended; the replica stays where it is. */
int replica_recall_old(struct replica *r, const struct spool *spool, const struct generation *g, struct err *e);
/* Where the WAL index before the newest ends in it; 0: not to be told. One object is read. */
int replica_end_before(struct replica *r, uint64_t *ret, struct err *e);

/* Its index objects. read: an empty document when there is none or it is of no use. write: that of r->doc.
 * note: the commits of a shipped segment go into r->doc; one that is full (its WAL index has ended) is written
 * at once. */
int replica_doc_read(struct replica *r, uint64_t index, struct wal_index_doc *ret, struct err *e);
int replica_doc_write(struct replica *r, struct err *e);
int replica_doc_note(struct replica *r, const struct spool_segment *s, struct err *e);

/* How many plain bytes of a segment it has already, because it ends inside it: an earlier run, or another tool,
 * has cut the WAL elsewhere. 0: it ends elsewhere. */
uint64_t replica_has_of(const struct replica *r, const struct spool_segment *s);
/* Ships the segments list[0..n), contiguous, of one index and beginning at r->at, as one object. One that the
 * replica has the beginning of goes alone (n is 1), and only the rest of it. */
int replica_ship(struct replica *r, const struct spool *spool, const struct spool_segment *const *list,
		 size_t n, struct err *e);
/* Makes shipped names durable and writes the index object if it is due (or forced). */
int replica_settle(struct replica *r, bool force, struct err *e);
/* Starts at position zero of a new generation (nothing of it is there). */
void replica_rebase(struct replica *r, const struct generation *g, struct position at);

/* A snapshot to several replicas in one pass. */
struct snapshot_out {
	struct replica *replica;
	struct store *store; /* its own handle, so that segments go on being shipped */
	struct store_put *put;
	struct err e; /* kind NONE: good so far */
	uint64_t stored_bytes;
};
void snapshot_outs_copy(struct snapshot *s, struct snapshot_out *outs, size_t n);
/* Publishes what is good, aborts the rest. */
void snapshot_outs_end(const struct snapshot *s, struct snapshot_out *outs, size_t n, bool publish);
/* Before a snapshot is published: the index object tells from where on it is usable (job, with the replica in
 * hand). */
int replica_note_usable(struct replica *r, const struct snapshot *s, struct position usable_from,
			struct err *e);
/* After it was published. */
int replica_note_snapshot(struct replica *r, const struct snapshot *s, struct err *e);

/* Whether the newest snapshot that we know of is there still (one listing). If not, it is said, and
 * wants_snapshot or emptied are set; that is no error. */
int replica_look(struct replica *r, struct err *e);

/* Deletes what no moment inside the retention window needs (spec: history >= retention; old snapshots first,
 * then the segments below the oldest kept one, highest offset first). */
int replica_retain(struct replica *r, int64_t now_wall_us, struct err *e);

#endif
