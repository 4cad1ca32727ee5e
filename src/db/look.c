/* SPDX-License-Identifier: Apache-2.0
 *
 * Is the snapshot that a restore would begin with still there? What others delete from a replica nobody tells
 * us, and asking costs a request: so it is looked at when somebody wants to rely on it (a sync), and when
 * retention lists anyway.
 *
 * Happy path: one listing of the snapshots of the generation; the newest that we remember is among them.
 *
 * Failure modes: the listing fails (nothing changes); some are gone (we remember what is left); all are gone
 * (one is wanted again), and the WAL with them (the replica counts as emptied: a new generation begins). */
#include <stdlib.h>

#include "base/log.h"
#include "db/replica.h"

struct found {
	struct replica_snapshot *v;
	size_t n, cap;
};

static int see_snapshot(void *arg, const struct store_entry *entry, struct err *e)
{
	struct found *f = arg;
	struct position at;
	if (entry->is_dir || !object_parse(entry->name, OBJECT_SNAPSHOT, &at))
		return 0;
	if (f->n == f->cap) {
		size_t cap = f->cap ? f->cap * 2 : 8;
		struct replica_snapshot *more = realloc(f->v, cap * sizeof *more);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory");
		f->v = more;
		f->cap = cap;
	}
	f->v[f->n++] = (struct replica_snapshot){ at.index, entry->created_us };
	return 0;
}

static int see_segment(void *arg, const struct store_entry *entry, struct err *e)
{
	struct position at;
	(void)e;
	if (!entry->is_dir && object_parse(entry->name, OBJECT_SEGMENT, &at))
		*(bool *)arg = true;
	return 0;
}

static int by_index(const void *a, const void *b)
{
	const struct replica_snapshot *x = a, *y = b;
	return x->index < y->index ? -1 : x->index > y->index;
}

static int wal_is_there(struct replica *r, bool *ret, struct err *e)
{
	char prefix[OBJECT_KEY_BYTES];
	*ret = false;
	if (r->store->ops->list(r->store, object_prefix(prefix, OBJECT_SEGMENT, &r->generation), see_segment,
				ret, e) < 0 &&
	    e->kind != ERR_NOTHING)
		return err_wrap(e, "%s", prefix);
	return 0;
}

/* The newest that we remember is not among them: what is there is what we remember from now on. */
static int adopt(struct replica *r, struct found *f, struct err *e)
{
	bool wal = r->has_wal;
	if (f->n == 0 && r->has_wal && wal_is_there(r, &wal, e) < 0)
		return -1;
	log_warn("a snapshot that was written is not in the replica any more", L_S("db", r->db_path),
		 L_S("replica", r->name), L_S("generation", r->generation.name),
		 L_I("index", r->snapshots[r->snapshots_n - 1].index), L_I("snapshots_left", f->n));
	free(r->snapshots);
	r->snapshots = f->v;
	r->snapshots_n = f->n;
	f->v = NULL;
	r->snapshot_at.index = UINT64_MAX;
	r->retain_due_wall_us = 0;
	r->wants_snapshot = f->n == 0;
	r->emptied = r->emptied || (f->n == 0 && r->has_wal && !wal);
	return 0;
}

int replica_look(struct replica *r, struct err *e)
{
	char prefix[OBJECT_KEY_BYTES];
	struct found f = { 0 };
	if (r->wants_snapshot || r->snapshots_n == 0 || generation_none(&r->generation))
		return 0;
	int rc = r->store->ops->list(r->store, object_prefix(prefix, OBJECT_SNAPSHOT, &r->generation),
				     see_snapshot, &f, e);
	if (rc < 0 && e->kind == ERR_NOTHING)
		rc = 0;
	if (rc < 0)
		err_wrap(e, "%s", prefix);
	if (f.n)
		qsort(f.v, f.n, sizeof *f.v, by_index);
	bool there = f.n > 0 && f.v[f.n - 1].index >= r->snapshots[r->snapshots_n - 1].index;
	if (rc == 0 && !there)
		rc = adopt(r, &f, e);
	free(f.v);
	return rc;
}
