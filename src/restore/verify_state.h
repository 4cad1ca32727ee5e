/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known while verify reads a generation, and the calls between the files that do it:
 *
 *   verify_walk.c       segments in order: the chain, WAL indexes, the whole
 *   verify_snapshot.c   a snapshot, and whether it fits the WAL before and behind it
 *   verify_doc.c        index objects
 *   verify_window.c     stretches without a fault, what a fault costs, and what retention took */
#ifndef WB_RESTORE_VERIFY_STATE_H
#define WB_RESTORE_VERIFY_STATE_H

#include "core/wal.h"
#include "restore/history.h"
#include "restore/verify_walk.h"

enum { TEXT_BYTES = 512 };

#define TODO_PUT_BACK                                                                                          \
	"put back a good copy if there is one; else begin a new generation (stop walbrook, delete the "        \
	"metadata "                                                                                            \
	"directory of the database, start it again), so that what comes is safe"
#define TODO_NONE "nothing"

/* A snapshot that is being compared with the WAL before it. */
struct comparison {
	bool on;
	bool opened; /* it opened the window */
	bool to_end; /* at the end of its index; else from `at` on */
	bool noted;  /* its index object should have said that it is usable from later on only */
	uint64_t index;
	struct position at;
	struct verify_window before; /* the window without it */
};

/* The snapshot that opened the window has no WAL before it. What its header says must fit the WAL behind it. */
struct base {
	bool on;
	uint64_t index;	       /* of the snapshot */
	struct position until; /* it may hold pages of commits up to here */
	/* the change counter */
	bool any; /* page 1 has come */
	uint32_t counter, last;
	/* the size of the database */
	bool committed, fits;
	bool vacuum; /* it gives back pages by itself */
	uint32_t pages;
	uint8_t *seen; /* a bit for each page of the first transaction */
};

/* The place that has been reached. */
struct walk {
	struct verify *v;
	const struct holding *h;
	struct history pages;
	bool pages_on; /* there are snapshots to compare */

	/* the WAL index that is being read */
	uint64_t next_index; /* the one that should come */
	bool entered;
	uint64_t index, offset;
	bool offset_known;
	enum { AT_HEADER, IN_ORDER, RESYNC, BLIND } mode;
	bool header_seen, newest_header_seen;
	struct wal_header header; /* the newest one seen */
	struct wal_chain chain;
	uint8_t *carry; /* the part of a frame that has not come whole */
	size_t carry_n;
	uint64_t open_frames;
	uint64_t commit; /* end of the last commit in this index, 0: none yet */
	int64_t commit_us;
	bool commit_exact;
	uint32_t page_bytes; /* of the database; 0: not known */

	/* the segment that is being read */
	const struct plan_object *segment;
	uint64_t segment_bytes;
	bool skip;	 /* its place is wrong, which has been told */
	const char *bad; /* kind of what is wrong with it, NULL: nothing */
	struct err bad_err;
	struct err *frame_err;

	/* its index object */
	struct wal_index_doc doc;
	bool doc_there, doc_judged; /* its end may be judged */
	bool doc_wrong;
	size_t doc_commit, doc_next; /* places of the next commit in it, and of the next one in the listing */
	uint64_t bare_first, bare_last, bare_n; /* indexes without one */

	/* the window that is open */
	bool sound;			       /* there is one: no fault since the snapshot it begins with */
	struct verify_window window, at_entry; /* now; when the WAL index began */
	uint64_t base_index;		       /* of that snapshot */
	bool from_known;		       /* window.from_us is final */
	size_t to_commit;		       /* place of window.to in doc.commits, plus 1; 0: not there */
	int64_t newest_us;		       /* of the objects in the window */

	size_t snapshot_next;
	struct comparison cmp;
	unsigned mismatches;
	uint64_t history_base; /* snapshot that the history of pages begins with */
	bool confirmed;	       /* a later snapshot fits it */
	bool holds;	       /* a window that is as good as that snapshot, of which that is not known yet */
	struct verify_window held;
	struct base base;
	uint64_t gone_below; /* retention has been here */
};

/* ---- verify_window.c ---- */

char *walk_key(const struct walk *w, enum object_kind kind, struct position at, char buf[OBJECT_KEY_BYTES]);
/* Errors about an object begin with its key, which a finding has elsewhere. */
const char *walk_without_key(const char *text, const char *key);
/* What a fault in this index costs. Returns buf. */
char *walk_cost(const struct walk *w, uint64_t index, char buf[TEXT_BYTES]);
/* A finding of that severity about what lies in this index. To be told before the window ends. */
void walk_damage(struct walk *w, const char *kind, const char *key, uint64_t index, const char *what);

void walk_window_open(struct walk *w, const struct plan_object *snapshot, struct position from);
/* A fault at this position ends it. */
void walk_window_end(struct walk *w, struct position at);
/* It ends before a snapshot which does not fit: it is told when a later one shows which of the two is wrong, */
void walk_window_hold(struct walk *w, uint64_t index);
/* or now, since none will show it. */
void walk_window_doubt(struct walk *w);
void walk_window_tell(struct walk *w);
/* A fault: what comes cannot be restored from what was before. */
void walk_break(struct walk *w, struct position at);

/* An object of this index has gone since it was listed. *ret: retention took it, which is no finding. */
int walk_retention(struct walk *w, uint64_t index, bool *ret, struct err *e);
/* The same, and the finding if it is one. */
int walk_gone(struct walk *w, const char *key, uint64_t index, struct err *e);

/* ---- verify_snapshot.c ---- */

/* One of which the WAL is missing: is it sound in itself? */
int walk_snapshot_alone(struct walk *w, const struct plan_object *o, struct err *e);
/* The snapshot of the index that begins (or of one behind all segments). */
int walk_snapshot(struct walk *w, const struct plan_object *o, struct err *e);
/* Is its position, or the end of its index, reached: do pages follow from the WAL? */
void walk_compare(struct walk *w);
/* Its position will not be reached. */
void walk_compare_end(struct walk *w);
/* A frame, a commit and the end of an index behind the snapshot that opened the window. */
void walk_base_frame(struct walk *w, const struct wal_frame *f);
void walk_base_commit(struct walk *w, struct position at, uint32_t pages);
void walk_base_end(struct walk *w);
void walk_base_free(struct walk *w);

/* ---- verify_doc.c ---- */

/* Reads the one of the index that begins, if there is one. */
int walk_doc(struct walk *w, uint64_t index, struct err *e);
/* Those of indexes of which there is nothing else, before `until`. */
int walk_docs_alone(struct walk *w, uint64_t until, struct err *e);
/* Its commits up to this offset cannot be looked for. */
void walk_doc_skip(struct walk *w, uint64_t offset);
/* The index has been read to w->offset. Has all come that its object tells of? last: nothing lies behind it. */
void walk_doc_end(struct walk *w, bool last);
/* Tells of the indexes without one that were met. */
void walk_bare_tell(struct walk *w);

#endif
