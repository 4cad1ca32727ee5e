/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: index objects.
 *
 * Each must be readable, belong where it lies, tell of commits that the WAL has (verify_walk.c goes through
 * them with the frames) and of no more WAL than there is. How far it reached is judged by what was read between
 * the two listings, if it is one of the newest.
 *
 * Failure: one that cannot be used costs exactness. One that tells of WAL which is not there shows a loss. */
#include "restore/verify_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct wal_index_doc *early_of(const struct walk *w, uint64_t index)
{
	for (size_t i = 0; i < w->h->early_n; i++)
		if (w->h->early[i].index == index)
			return &w->h->early[i];
	return NULL;
}

/* 1: read into w->doc; 0: none, or it cannot be used, which has been told; -1. */
static int doc_read(struct walk *w, uint64_t index, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	index_doc_free(&w->doc);
	w->v->result.documents++;
	int rc = verify_doc(w->v, &w->h->generation, index, &w->doc, e);
	if (rc < 0 && e->kind != ERR_DAMAGED)
		return -1;
	if (rc < 0)
		verify_find(
			w->v, VERIFY_EXACTNESS, "index", &w->h->generation,
			walk_key(w, OBJECT_INDEX, (struct position){ index, 0 }, key),
			"restore to a time inside this WAL index is as exact as the times of its objects, and "
			"a missing end of it would not be noticed",
			"put back a good copy if there is one", "%s", e->text);
	return rc > 0;
}

/* Tells of the WAL indexes without index object that were met. */
void walk_bare_tell(struct walk *w)
{
	char prefix[OBJECT_KEY_BYTES];
	if (w->bare_n > 0)
		verify_find(w->v, VERIFY_EXACTNESS, "index-missing", &w->h->generation,
			    object_prefix(prefix, OBJECT_INDEX, &w->h->generation),
			    "restore to a time inside them is as exact as the times of their objects, and a "
			    "missing end of one would not be noticed",
			    "put them back if they are somewhere; Litestream writes none",
			    "%" PRIu64 " WAL indexes have no index object: %08" PRIx64 " to %08" PRIx64,
			    w->bare_n, w->bare_first, w->bare_last);
	w->bare_n = 0;
}

static void bare_add(struct walk *w, uint64_t index)
{
	if (w->h->docs_n == 0 || (w->h->fresh && index >= w->h->newest_index))
		return;
	if (w->bare_n++ == 0)
		w->bare_first = index;
	w->bare_last = index;
}

/* Those of WAL indexes of which there is nothing else, before `until`. */
int walk_docs_alone(struct walk *w, uint64_t until, struct err *e)
{
	for (; w->doc_next < w->h->docs_n && w->h->docs[w->doc_next].at.index < until; w->doc_next++) {
		uint64_t index = w->h->docs[w->doc_next].at.index;
		if (index < w->h->snapshots[0].at.index)
			continue;
		int rc = doc_read(w, index, e);
		if (rc < 0)
			return -1;
		const struct wal_index_doc *d = early_of(w, index);
		if (rc == 0 || !d || d->end_offset == 0 || index <= w->h->newest_index)
			continue;
		char key[OBJECT_KEY_BYTES], what[TEXT_BYTES];
		snprintf(what, sizeof what,
			 "WAL index %08" PRIx64 " was there up to offset %" PRIu64 " and is missing", index,
			 d->end_offset);
		walk_damage(w, "end-missing", walk_key(w, OBJECT_SEGMENT, (struct position){ index, 0 }, key),
			    index, what);
	}
	return 0;
}

int walk_doc(struct walk *w, uint64_t index, struct err *e)
{
	index_doc_free(&w->doc);
	w->doc_there = w->doc_wrong = false;
	w->doc_commit = 0;
	if (walk_docs_alone(w, index, e) < 0)
		return -1;
	if (w->doc_next == w->h->docs_n || w->h->docs[w->doc_next].at.index != index) {
		index_doc_free(&w->doc);
		bare_add(w, index);
		return 0;
	}
	int rc = doc_read(w, index, e);
	if (rc < 0)
		return -1;
	w->doc_there = rc > 0;
	w->doc.stored_us = w->h->docs[w->doc_next++].created_us;
	const struct wal_index_doc *early = early_of(w, index);
	w->doc_judged = w->doc_there && (index < w->h->early_from || early);
	if (w->doc_there && early) {
		w->doc.end_offset = early->end_offset;
		w->doc.ended = early->ended;
	}
	return 0;
}

void walk_doc_skip(struct walk *w, uint64_t offset)
{
	while (w->doc_there && w->doc_commit < w->doc.commits_n &&
	       w->doc.commits[w->doc_commit].offset <= offset)
		w->doc_commit++;
}

static void doc_finding(struct walk *w, const char *what)
{
	char key[OBJECT_KEY_BYTES];
	verify_find(w->v, VERIFY_EXACTNESS, "index-wrong", &w->h->generation,
		    walk_key(w, OBJECT_INDEX, (struct position){ w->index, 0 }, key),
		    "restore to a time inside this WAL index is as exact as the times of its objects",
		    TODO_NONE, "%s", what);
}

/* The index has been read to w->offset. Has all come that its object tells of? */
void walk_doc_end(struct walk *w, bool last)
{
	char what[TEXT_BYTES], key[OBJECT_KEY_BYTES];
	const struct wal_index_doc *d = &w->doc;
	if (!w->doc_there || !w->offset_known || !w->header_seen)
		return;
	if (w->doc_wrong)
		doc_finding(w, "it tells of commits where the WAL has none");
	if (!w->doc_judged)
		return;
	struct position at = { w->index, w->offset };
	if (d->end_offset > w->offset) {
		snprintf(what, sizeof what,
			 "the end of WAL index %08" PRIx64 " is missing: it was there up to offset %" PRIu64
			 ", found up to %" PRIu64,
			 w->index, d->end_offset, w->offset);
		walk_damage(w, "end-missing", walk_key(w, OBJECT_SEGMENT, at, key), w->index, what);
		if (!last)
			walk_break(w, (struct position){ w->index + 1, 0 });
	} else if (d->ended && d->end_offset < w->offset) {
		doc_finding(w, "it says that the WAL index ends before its last segment");
	} else if (d->end_offset < w->offset && !(w->h->fresh && w->index + 1 >= w->h->newest_index)) {
		snprintf(what, sizeof what,
			 "it ends at offset %" PRIu64 ", but the WAL index goes on to %" PRIu64, d->end_offset,
			 w->offset);
		doc_finding(w, what);
	}
	const struct wal_index_doc *next = early_of(w, w->index + 1);
	bool told = next && next->end_offset > 0; /* of the next one, when its turn comes */
	if (last && d->ended && w->h->newest_index == w->index && !told) {
		snprintf(what, sizeof what,
			 "WAL index %08" PRIx64
			 " has ended, so a next one has begun, but nothing of it is there",
			 w->index);
		object_prefix(key, OBJECT_SEGMENT, &w->h->generation);
		walk_damage(w, "end-missing", key, w->index, what);
	}
}
