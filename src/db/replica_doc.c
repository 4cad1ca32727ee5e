/* SPDX-License-Identifier: Apache-2.0
 *
 * The index objects of a replica: when each commit was seen, and how far each WAL index reached.
 *
 * Happy path: what is shipped is noted in the document of its WAL index (r->doc), which is written now and
 * then, and when the WAL index has ended. An attach reads it back. What a run that was killed had not written
 * yet is still beside the spool (times.h), and completes it: that of the newest WAL index, and that of the one
 * before, whose end may not have been written either.
 *
 * Failure modes: the store fails (nothing is lost: it is tried again with the attach, or with the next write);
 * what was kept is gone or damaged, or nobody can tell how far the replica reaches (blind, or its last object
 * is damaged): the times of those objects must do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/replica.h"
#include "db/shipped.h"

/* It is there, and cannot be read now. */
static bool passing(const struct err *e)
{
	return e->kind != ERR_NOTHING && e->kind != ERR_DAMAGED && e->kind != ERR_CONFIG;
}

int replica_doc_read(struct replica *r, uint64_t index, struct wal_index_doc *ret, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { OBJECT_INDEX, r->generation, { index, 0 } };
	struct dyn bytes = DYN_INIT(INDEX_DOC_MAX_BYTES);
	struct err why = ERR_INIT;
	int rc;
	index_doc_free(ret);
	if (r->blind) {
		rc = r->shipped_dir ? shipped_doc_read(r->shipped_dir, &r->generation, index, ret, &why) : 0;
	} else {
		rc = store_get_bytes(r->store, object_key(key, &o), &bytes, &why);
		if (rc == 0)
			rc = index_doc_parse((struct span){ bytes.p, bytes.len }, ret, &why);
	}
	dyn_free(&bytes);
	if (rc == 0)
		return 0;
	*ret = (struct wal_index_doc){ 0 };
	if (!passing(&why))
		return 0;
	*e = why;
	return err_wrap(e, "%s", object_key(key, &o));
}

static int put(struct replica *r, const struct wal_index_doc *doc, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { OBJECT_INDEX, doc->generation, { doc->index, 0 } };
	struct dyn bytes = DYN_INIT(INDEX_DOC_MAX_BYTES);
	int rc = index_doc_write(doc, &bytes) < 0
			 ? err_set(e, ERR_FAIL, "the index of the replica is too large")
			 : store_put_bytes(r->store, object_key(key, &o), (struct span){ bytes.p, bytes.len },
					   e);
	struct err why = ERR_INIT;
	if (rc == 0 && r->blind && r->shipped_dir &&
	    shipped_doc_write(r->shipped_dir, &r->owner, doc->index, (struct span){ bytes.p, bytes.len },
			      &why) < 0)
		log_warn("cannot keep a copy of the index of the replica; a restart loses times of commits in "
			 "it",
			 L_S("db", r->db_path), L_S("replica", r->name), L_S("error", why.text));
	dyn_free(&bytes);
	return rc;
}

int replica_doc_write(struct replica *r, struct err *e)
{
	if (put(r, &r->doc, e) < 0)
		return -1;
	r->doc_dirty = false;
	r->doc_written_us = mono_us();
	return 0;
}

int replica_doc_note(struct replica *r, const struct spool_segment *s, struct err *e)
{
	if (s->page_bytes == 0)
		return 0; /* the end of an older generation, of which we know too little to add to its index */
	bool same = generation_equal(&r->doc.generation, &s->generation) && r->doc.index == s->at.index;
	if (!same) {
		bool next = generation_equal(&r->doc.generation, &s->generation) &&
			    r->doc.index + 1 == s->at.index && s->at.offset == 0;
		if (next) {
			r->doc.ended = true;
			if (replica_doc_write(r, e) < 0)
				return -1;
		}
		index_doc_free(&r->doc);
		r->doc = (struct wal_index_doc){ .generation = s->generation, .index = s->at.index };
	}
	r->doc.page_bytes = s->page_bytes;
	memcpy(r->doc.salt, s->salt, sizeof r->doc.salt);
	r->doc.end_offset = s->end;
	for (size_t i = 0; i < s->commits_n; i++) {
		bool later = r->doc.commits_n == 0 ||
			     r->doc.commits[r->doc.commits_n - 1].offset < s->commits[i].offset;
		if (later && index_doc_add(&r->doc, s->commits[i]) < 0)
			return err_set(e, ERR_FAIL, "no memory");
	}
	r->doc_dirty = true;
	return 0;
}

/* ---- what a run that was killed had not written ---- */

/* *doc is empty, or that of this generation and WAL index. As times_complete. */
static int complete(const struct replica *r, uint64_t index, const struct times_kept *kept, uint64_t until,
		    struct wal_index_doc *doc, struct err *e)
{
	struct wal_index_doc was = *doc;
	doc->generation = r->generation;
	doc->index = index;
	int rc = times_complete(kept, until, doc);
	if (rc == 0 && generation_none(&was.generation))
		index_doc_free(doc);
	return rc < 0 ? err_set(e, ERR_FAIL, "no memory") : rc;
}

/* The WAL index before the newest: how far it went in all is told by the first segment of the newest. */
static int complete_before(struct replica *r, const char *dir, uint64_t ended_at, struct err *e)
{
	struct times_kept kept;
	struct wal_index_doc doc = { 0 };
	uint64_t index = r->at.index - 1, until = 0;
	times_read(dir, index, &kept);
	int rc = kept.n == 0 ? 0 : replica_end_before(r, &until, e);
	if (rc == 0 && until > 0 && replica_doc_read(r, index, &doc, e) < 0)
		rc = -1;
	if (rc == 0 && until > 0)
		rc = complete(r, index, &kept, until, &doc, e);
	if (rc >= 0 && doc.end_offset > 0 && doc.end_offset == ended_at && !doc.ended)
		rc = doc.ended = true;
	if (rc > 0)
		rc = put(r, &doc, e);
	index_doc_free(&doc);
	times_kept_free(&kept);
	return rc;
}

int replica_recall(struct replica *r, const struct spool *spool, struct err *e)
{
	char dir[PATH_BYTES];
	struct times_kept kept;
	int n = snprintf(dir, sizeof dir, "%s/%s", spool->dir, r->generation.name);
	if (n < 0 || (size_t)n >= sizeof dir || generation_none(&r->generation) || r->foreign ||
	    r->at.offset == 0)
		return 0;
	times_read(dir, r->at.index, &kept);
	int rc = 0;
	if (r->has_before)
		rc = complete_before(r, dir, times_before(&kept), e);
	if (rc == 0 && kept.n > 0)
		rc = complete(r, r->at.index, &kept, r->at.offset, &r->doc, e);
	r->doc_dirty = r->doc_dirty || rc > 0;
	times_kept_free(&kept);
	return rc < 0 ? -1 : 0;
}

int replica_recall_old(struct replica *r, const struct spool *spool, const struct generation *g, struct err *e)
{
	bool any = false;
	struct replica old = { .db_path = r->db_path,
			       .name = r->name,
			       .url = r->url,
			       .owner = r->owner,
			       .store = r->store,
			       .keys = r->keys,
			       .shipped_dir = r->shipped_dir,
			       .blind = r->blind };
	int rc = replica_attach(&old, g, &any, e);
	if (rc == 0 && any)
		rc = replica_recall(&old, spool, e);
	if (rc == 0 && old.doc_dirty)
		rc = replica_doc_write(&old, e);
	free(old.snapshots);
	index_doc_free(&old.doc);
	return rc;
}
