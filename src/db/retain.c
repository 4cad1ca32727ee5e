/* SPDX-License-Identifier: Apache-2.0
 *
 * Retention: every moment inside the window stays restorable, so the newest snapshot that is older than the
 * window stays too, with all that follows it.
 *
 * Happy path: nothing is due by what we remember, and no store is asked. Else: list, decide, delete: old
 * snapshots first (oldest first), then the segments below the oldest kept snapshot, for each WAL index from the
 * highest offset down, so that whatever an interruption leaves is a beginning, which every reader tolerates. An
 * older generation goes as a whole when it serves no moment of the window any more. The current one never goes,
 * nor does anything with a foreign name.
 *
 * Failure modes: a listing fails, is empty, or lacks the snapshot that we know is there: nothing is deleted, it
 * is said, and what was lost is made anew (look.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "db/replica.h"

struct item {
	struct position at;
	int64_t created_us;
};

struct items {
	struct item *v;
	size_t n, cap;
	enum object_kind kind;
	size_t foreign;
};

struct history {
	struct generation generation;
	struct items snapshots, segments, docs;
	int64_t updated_us;
};

struct histories {
	struct history *v;
	size_t n;
};

static void histories_free(struct histories *all)
{
	for (size_t i = 0; i < all->n; i++) {
		free(all->v[i].snapshots.v);
		free(all->v[i].segments.v);
		free(all->v[i].docs.v);
	}
	free(all->v);
}

static int see_generation(void *arg, const struct store_entry *entry, struct err *e)
{
	struct histories *all = arg;
	if (!entry->is_dir || !generation_valid(entry->name))
		return 0;
	struct history *more = realloc(all->v, (all->n + 1) * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory");
	all->v = more;
	more[all->n] = (struct history){ .updated_us = 0 };
	memcpy(more[all->n].generation.name, entry->name, GENERATION_CHARS + 1);
	all->n++;
	return 0;
}

static int see_item(void *arg, const struct store_entry *entry, struct err *e)
{
	struct items *it = arg;
	struct position at;
	if (entry->is_dir || !object_parse(entry->name, it->kind, &at)) {
		it->foreign++;
		return 0;
	}
	if (it->n == it->cap) {
		size_t cap = it->cap ? it->cap * 2 : 32;
		struct item *more = realloc(it->v, cap * sizeof *more);
		if (!more)
			return err_set(e, ERR_FAIL, "no memory");
		it->v = more;
		it->cap = cap;
	}
	it->v[it->n++] = (struct item){ at, entry->created_us };
	return 0;
}

/* Ascending index; within one, descending offset: the order in which they may go. */
static int going_order(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	if (x->at.index != y->at.index)
		return x->at.index < y->at.index ? -1 : 1;
	return x->at.offset == y->at.offset ? 0 : x->at.offset > y->at.offset ? -1 : 1;
}

static int list_items(struct replica *r, const struct generation *g, enum object_kind kind, struct items *it,
		      struct err *e)
{
	char prefix[OBJECT_KEY_BYTES];
	it->kind = kind;
	if (r->store->ops->list(r->store, object_prefix(prefix, kind, g), see_item, it, e) < 0)
		return err_wrap(e, "%s", prefix);
	if (it->n)
		qsort(it->v, it->n, sizeof *it->v, going_order);
	return 0;
}

static int list_history(struct replica *r, struct history *h, bool segments, struct err *e)
{
	if (list_items(r, &h->generation, OBJECT_SNAPSHOT, &h->snapshots, e) < 0 ||
	    (segments && list_items(r, &h->generation, OBJECT_SEGMENT, &h->segments, e) < 0) ||
	    (segments && list_items(r, &h->generation, OBJECT_INDEX, &h->docs, e) < 0))
		return -1;
	for (size_t i = 0; i < h->snapshots.n; i++)
		if (h->snapshots.v[i].created_us > h->updated_us)
			h->updated_us = h->snapshots.v[i].created_us;
	for (size_t i = 0; i < h->segments.n; i++)
		if (h->segments.v[i].created_us > h->updated_us)
			h->updated_us = h->segments.v[i].created_us;
	return 0;
}

/* Removes the items below index `below`, in their order. */
static int remove_below(struct replica *r, const struct history *h, const struct items *it, uint64_t below,
			size_t *ret_n, struct err *e)
{
	for (size_t i = 0; i < it->n && it->v[i].at.index < below; i++) {
		char key[OBJECT_KEY_BYTES];
		struct object o = { it->kind, h->generation, it->v[i].at };
		const char *keys[1] = { object_key(key, &o) };
		if (r->store->ops->remove(r->store, keys, 1, e) < 0)
			return err_wrap(e, "%s", key);
		(*ret_n)++;
		r->deleted++;
	}
	return 0;
}

static int retain_current(struct replica *r, struct history *h, int64_t cutoff_us, int64_t *due_us,
			  struct err *e)
{
	const struct item *keep = NULL;
	size_t snapshots = 0, segments = 0, docs = 0;
	for (size_t i = 0; i < h->snapshots.n; i++)
		if (h->snapshots.v[i].created_us <= cutoff_us)
			keep = &h->snapshots.v[i];
	/* Not known what is due: a run before may have been interrupted behind the snapshots. */
	if (keep && (keep->at.index > h->snapshots.v[0].at.index || r->retain_due_wall_us == 0)) {
		if (remove_below(r, h, &h->snapshots, keep->at.index, &snapshots, e) < 0)
			return -1;
		if (list_items(r, &h->generation, OBJECT_SEGMENT, &h->segments, e) < 0 ||
		    remove_below(r, h, &h->segments, keep->at.index, &segments, e) < 0 ||
		    list_items(r, &h->generation, OBJECT_INDEX, &h->docs, e) < 0 ||
		    remove_below(r, h, &h->docs, keep->at.index, &docs, e) < 0)
			return -1;
		if (snapshots || segments)
			log_info("retention", L_S("db", r->db_path), L_S("replica", r->name),
				 L_S("generation", h->generation.name), L_I("kept_from_index", keep->at.index),
				 L_I("snapshots_deleted", snapshots), L_I("segments_deleted", segments));
	}
	/* The next one goes when the snapshot after the kept one leaves the window. */
	for (size_t i = 0; i < h->snapshots.n; i++)
		if (h->snapshots.v[i].created_us > cutoff_us && i > 0) {
			int64_t then_us = h->snapshots.v[i].created_us + r->retention_us;
			if (then_us < *due_us)
				*due_us = then_us;
			break;
		}
	return 0;
}

static int remove_history(struct replica *r, struct history *h, struct err *e)
{
	size_t n = 0;
	char prefix[OBJECT_KEY_BYTES];
	if (remove_below(r, h, &h->snapshots, UINT64_MAX, &n, e) < 0 ||
	    remove_below(r, h, &h->segments, UINT64_MAX, &n, e) < 0 ||
	    remove_below(r, h, &h->docs, UINT64_MAX, &n, e) < 0)
		return -1;
	log_info("retention: an older generation is over", L_S("db", r->db_path), L_S("replica", r->name),
		 L_S("generation", h->generation.name), L_I("objects_deleted", n));
	if (h->snapshots.foreign || h->segments.foreign || h->docs.foreign || !r->store->ops->remove_all)
		return 0;
	struct items top = { .kind = OBJECT_SNAPSHOT };
	snprintf(prefix, sizeof prefix, "generations/%s/", h->generation.name);
	int rc = r->store->ops->list(r->store, prefix, see_item, &top, e);
	free(top.v);
	/* Only our three folders are left, and they are empty. */
	if (rc == 0 && top.foreign <= 3)
		rc = r->store->ops->remove_all(r->store, prefix, e);
	return rc;
}

/* The generation that a restore to the beginning of the window would use. */
static const struct history *serving(const struct histories *all, int64_t cutoff_us)
{
	const struct history *best = NULL;
	for (size_t i = 0; i < all->n; i++) {
		const struct history *h = &all->v[i];
		if (h->snapshots.n == 0 || h->snapshots.v[0].created_us > cutoff_us)
			continue;
		if (!best || h->snapshots.v[0].created_us > best->snapshots.v[0].created_us)
			best = h;
	}
	return best;
}

static int retain_others(struct replica *r, struct histories *all, int64_t cutoff_us, int64_t *due_us,
			 struct err *e)
{
	const struct history *need = serving(all, cutoff_us);
	for (size_t i = 0; i < all->n; i++) {
		struct history *h = &all->v[i];
		if (generation_equal(&h->generation, &r->generation))
			continue;
		if (h->updated_us <= cutoff_us && h != need && need) {
			if (remove_history(r, h, e) < 0)
				return -1;
			continue;
		}
		int64_t then_us = h->updated_us + r->retention_us;
		if (then_us <=
		    cutoff_us + r->retention_us) /* waits for a newer one to serve: look again in a while */
			then_us = cutoff_us + r->retention_us + r->retention_us / 8 + 1000000;
		if (then_us < *due_us)
			*due_us = then_us;
	}
	return 0;
}

static bool knows(const struct history *h, const struct replica *r)
{
	if (h->snapshots.n == 0)
		return false;
	return r->snapshots_n == 0 ||
	       h->snapshots.v[h->snapshots.n - 1].at.index >= r->snapshots[r->snapshots_n - 1].index;
}

int replica_retain(struct replica *r, int64_t now_wall_us, struct err *e)
{
	struct histories all = { 0 };
	struct history *current = NULL;
	int64_t due_us = INT64_MAX, cutoff_us = now_wall_us - r->retention_us;
	int rc = -1;
	if (r->retention_us <= 0 || r->wants_snapshot || generation_none(&r->generation) ||
	    now_wall_us < r->retain_due_wall_us)
		return 0;
	if (r->store->ops->list(r->store, "generations/", see_generation, &all, e) < 0)
		goto out;
	for (size_t i = 0; i < all.n; i++) {
		bool is_current = generation_equal(&all.v[i].generation, &r->generation);
		if (list_history(r, &all.v[i], !is_current, e) < 0)
			goto out;
		if (is_current)
			current = &all.v[i];
	}
	if (!current || !knows(current, r)) {
		if (replica_look(r, e) < 0)
			goto out;
		err_set(e, ERR_UNREACHABLE,
			"the listing lacks a snapshot that was written; nothing is deleted (is the replica "
			"complete?)");
		goto out;
	}
	if (retain_current(r, current, cutoff_us, &due_us, e) < 0 ||
	    retain_others(r, &all, cutoff_us, &due_us, e) < 0)
		goto out;
	/* What stays in memory is what stayed there. */
	for (size_t i = 0; i + 1 < r->snapshots_n;) {
		if (r->snapshots[i + 1].created_us > cutoff_us)
			break;
		memmove(r->snapshots, r->snapshots + 1, (--r->snapshots_n) * sizeof *r->snapshots);
	}
	r->retain_due_wall_us = due_us;
	rc = 0;
out:
	histories_free(&all);
	if (rc < 0)
		r->retain_due_wall_us = 0; /* what is left to do is not known any more */
	return rc < 0 ? err_wrap(e, "retention") : 0;
}
