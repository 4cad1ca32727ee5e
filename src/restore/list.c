/* SPDX-License-Identifier: Apache-2.0
 *
 * Listing a replica.
 *
 *   1. generations/ for the names of generations.
 *   2. For each: snapshots/, wal/ and index/. Names that do not parse are somebody else's: a warning, never
 * touched.
 *   3. Index documents only as far as the wish needs them: for each snapshot (it may be a fuzzy one), and for a
 * time those two between whose first commits it lies, found by bisection.
 *
 * A listing of a replica that is being written may show an object and not the one written before it. What was
 * written before an object that a first listing shows is certain to be in a second one; so the plan is made
 * from the second, cut back to the newest object of the first (listing_keep).
 *
 * Failure: what cannot be listed is an error, for "cannot tell" is not "nothing there". A document that is
 * damaged or too large is a warning; restore works without it. */
#include "restore/list.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "restore/stop.h"

enum { DOC_STORED_MAX = 2 << 20 /* half a million commits */, WARNINGS_MAX = 20 };

int list_room(void **v, size_t n, size_t *cap, size_t element_bytes, struct err *e)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 64;
	void *p = realloc(*v, more * element_bytes);
	if (!p)
		return err_set(e, ERR_FAIL, "no memory for a listing of %zu objects", n);
	*v = p;
	*cap = more;
	return 0;
}

/* The listing of one folder. */
struct folder {
	struct store *store;
	const char *prefix;
	bool warn;
	size_t strangers;
	struct listing *listing;
	struct generations *generations;
	enum object_kind kind;
};

static void stranger(struct folder *f, const struct store_entry *entry)
{
	char key[OBJECT_KEY_BYTES + 256];
	if (!f->warn || ++f->strangers > WARNINGS_MAX)
		return;
	size_t n = strlen(f->prefix), m = strlen(entry->name);
	if (m > 250)
		m = 250;
	memcpy(key, f->prefix, n);
	memcpy(key + n, entry->name, m);
	key[n + m] = 0;
	log_warn("this name in the replica is not one of ours and is ignored", L_S("key", key),
		 L_S("replica", f->store->label));
}

static int folder_list(struct folder *f, store_list_fn *fn, struct err *e)
{
	if (stop_check(e) < 0 || f->store->ops->list(f->store, f->prefix, fn, f, e) < 0)
		return -1;
	if (f->strangers > WARNINGS_MAX)
		log_warn("further names that are not ours are ignored", L_S("folder", f->prefix),
			 L_I("names", f->strangers - WARNINGS_MAX));
	return 0;
}

static int generation_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	struct generations *g = f->generations;
	if (!entry->is_dir || !generation_valid(entry->name)) {
		stranger(f, entry);
		return 0;
	}
	void *v = g->v;
	int rc = list_room(&v, g->n, &g->cap, sizeof *g->v, e);
	g->v = v;
	if (rc == 0)
		memcpy(g->v[g->n++].name, entry->name, sizeof g->v->name);
	return rc;
}

static int generation_compare(const void *a, const void *b)
{
	return strcmp(((const struct generation *)a)->name, ((const struct generation *)b)->name);
}

int list_generations(struct store *s, struct generations *ret, bool warn, struct err *e)
{
	struct folder f = { .store = s, .prefix = "generations/", .warn = warn, .generations = ret };
	if (folder_list(&f, generation_entry, e) < 0)
		return -1;
	if (ret->n > 0)
		qsort(ret->v, ret->n, sizeof *ret->v, generation_compare);
	return 0;
}

void generations_free(struct generations *g)
{
	free(g->v);
	*g = (struct generations){ 0 };
}

/* ---- objects ---- */

int list_object_add(struct plan_object **v, size_t *n, size_t *cap, const struct plan_object *o, struct err *e)
{
	void *p = *v;
	int rc = list_room(&p, *n, cap, sizeof **v, e);
	*v = p;
	if (rc == 0)
		(*v)[(*n)++] = *o;
	return rc;
}

static int object_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	struct listing *l = f->listing;
	struct plan_object o = { .stored_bytes = entry->bytes, .created_us = entry->created_us };
	if (entry->is_dir || !object_parse(entry->name, f->kind, &o.at)) {
		stranger(f, entry);
		return 0;
	}
	switch (f->kind) {
	case OBJECT_SNAPSHOT:
		return list_object_add(&l->plan.snapshots, &l->plan.snapshots_n, &l->snapshots_cap, &o, e);
	case OBJECT_SEGMENT:
		return list_object_add(&l->plan.segments, &l->plan.segments_n, &l->segments_cap, &o, e);
	case OBJECT_INDEX:
		break;
	}
	if (list_object_add(&l->doc_objects, &l->doc_objects_n, &l->doc_objects_cap, &o, e) < 0)
		return -1;
	void *v = l->doc_indexes;
	int rc = list_room(&v, l->doc_indexes_n, &l->doc_indexes_cap, sizeof *l->doc_indexes, e);
	l->doc_indexes = v;
	if (rc == 0)
		l->doc_indexes[l->doc_indexes_n++] = o.at.index;
	return rc;
}

static int index_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

int list_object_compare(const void *a, const void *b)
{
	return position_compare(((const struct plan_object *)a)->at, ((const struct plan_object *)b)->at);
}

int listing_read(struct listing *l, struct restore_source *source, const struct generation *g, bool warn,
		 struct err *e)
{
	return listing_read_kinds(l, source, g, ~0u, warn, e);
}

int listing_read_kinds(struct listing *l, struct restore_source *source, const struct generation *g,
		       unsigned kinds, bool warn, struct err *e)
{
	static const enum object_kind all[] = { OBJECT_SNAPSHOT, OBJECT_SEGMENT, OBJECT_INDEX };
	*l = (struct listing){ .source = source, .plan = { .generation = *g } };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		char prefix[OBJECT_KEY_BYTES];
		struct folder f = { .store = source->store, .warn = warn, .listing = l, .kind = all[i] };
		f.prefix = object_prefix(prefix, all[i], g);
		if (kinds & LIST_KIND(all[i]) && folder_list(&f, object_entry, e) < 0) {
			listing_free(l);
			return -1;
		}
	}
	if (l->doc_indexes_n > 0)
		qsort(l->doc_indexes, l->doc_indexes_n, sizeof *l->doc_indexes, index_compare);
	if (l->doc_objects_n > 0)
		qsort(l->doc_objects, l->doc_objects_n, sizeof *l->doc_objects, list_object_compare);
	return 0;
}

static void docs_free(struct listing *l)
{
	for (size_t i = 0; i < l->docs_n; i++)
		index_doc_free(&l->docs[i]);
	free(l->docs);
	free((void *)(uintptr_t)l->plan.docs);
	l->docs = NULL;
	l->plan.docs = NULL;
	l->docs_n = l->docs_cap = l->plan.docs_n = 0;
}

void listing_free(struct listing *l)
{
	docs_free(l);
	free(l->plan.snapshots);
	free(l->plan.segments);
	free(l->doc_indexes);
	free(l->doc_objects);
	*l = (struct listing){ 0 };
}

bool listing_newest(const struct listing *l, struct position *ret)
{
	bool any = false;
	for (size_t i = 0; i < l->plan.segments_n; i++) {
		if (!any || position_compare(l->plan.segments[i].at, *ret) > 0)
			*ret = l->plan.segments[i].at;
		any = true;
	}
	return any;
}

static bool has_snapshot(const struct listing *l, uint64_t index)
{
	for (size_t i = 0; i < l->plan.snapshots_n; i++)
		if (l->plan.snapshots[i].at.index == index)
			return true;
	return false;
}

void listing_keep(struct listing *l, const struct listing *before, struct position end)
{
	struct position newest = { 0, 0 };
	bool any = listing_newest(before, &newest);
	size_t n = 0;
	for (size_t i = 0; i < l->plan.segments_n; i++) {
		struct plan_object *o = &l->plan.segments[i];
		if ((any && position_compare(o->at, newest) <= 0) || position_compare(o->at, end) < 0)
			l->plan.segments[n++] = *o;
	}
	l->plan.segments_n = n;
	n = 0;
	for (size_t i = 0; i < l->plan.snapshots_n; i++)
		if (has_snapshot(before, l->plan.snapshots[i].at.index))
			l->plan.snapshots[n++] = l->plan.snapshots[i];
	l->plan.snapshots_n = n;
}

/* ---- index documents ---- */

int list_doc_read(struct store *s, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
		  struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_INDEX, .generation = *g, .at = { index, 0 } };
	struct dyn bytes = DYN_INIT(DOC_STORED_MAX);
	object_key(key, &o);
	*ret = (struct wal_index_doc){ 0 };
	int rc = store_get_bytes(s, key, &bytes, e);
	if (rc == 0)
		rc = index_doc_parse((struct span){ bytes.p, bytes.len }, ret, e);
	dyn_free(&bytes);
	if (rc == 0 && (!generation_equal(&ret->generation, g) || ret->index != index)) {
		index_doc_free(ret);
		rc = err_set(e, ERR_DAMAGED, "it belongs to another WAL index");
	}
	if (rc == 0)
		return 1;
	if (e->kind == ERR_NOTHING)
		return 0;
	/* ERR_CONFIG: no key opens it, which damage to its header looks like as well. */
	if (e->kind != ERR_DAMAGED && e->kind != ERR_FAIL && e->kind != ERR_CONFIG)
		return -1;
	log_warn("an index document cannot be used; without it times are those of the objects", L_S("key", key),
		 L_S("reason", e->text));
	return 0;
}

/* A document that was read moves into the listing. */
static int doc_keep(struct listing *l, struct wal_index_doc *d, struct err *e)
{
	void *v = l->docs;
	int rc = list_room(&v, l->docs_n, &l->docs_cap, sizeof *l->docs, e);
	l->docs = v;
	if (rc < 0) {
		index_doc_free(d);
		return -1;
	}
	const struct plan_object wanted = { .at = { d->index, 0 } }, *o = NULL;
	if (l->doc_objects_n > 0)
		o = bsearch(&wanted, l->doc_objects, l->doc_objects_n, sizeof wanted, list_object_compare);
	d->stored_us = o ? o->created_us : 0;
	l->docs[l->docs_n++] = *d;
	*d = (struct wal_index_doc){ 0 };
	return 0;
}

/* The first document at place `at` or behind it, before `end`, that can be read and has commits: *ret_at is its
 * place, `end` if there is none. */
static int doc_with_commits(struct listing *l, size_t at, size_t end, struct wal_index_doc *ret, size_t *ret_at,
			    struct err *e)
{
	for (; at < end; at++) {
		if (stop_check(e) < 0)
			return -1;
		int rc = list_doc_read(l->source->store, &l->plan.generation, l->doc_indexes[at], ret, e);
		if (rc < 0)
			return -1;
		if (rc > 0 && ret->commits_n > 0)
			break;
		if (rc > 0)
			index_doc_free(ret);
	}
	*ret_at = at;
	return 0;
}

/* The last document that begins at the time or before, and the first that begins after it. */
static int docs_around(struct listing *l, int64_t wall_us, struct err *e)
{
	struct wal_index_doc below = { 0 }, above = { 0 }, d;
	size_t lo = 0, hi = l->doc_indexes_n, at; /* [lo, hi) is not decided yet */
	int rc = 0;
	while (rc == 0 && lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		rc = doc_with_commits(l, mid, hi, &d, &at, e);
		if (rc < 0)
			break;
		if (at == hi) {
			hi = mid;
		} else if (d.commits[0].wall_us <= wall_us) {
			index_doc_free(&below);
			below = d;
			lo = at + 1;
		} else {
			index_doc_free(&above);
			above = d;
			hi = mid;
		}
	}
	if (rc == 0 && below.commits_n > 0)
		rc = doc_keep(l, &below, e);
	if (rc == 0 && above.commits_n > 0)
		rc = doc_keep(l, &above, e);
	index_doc_free(&below);
	index_doc_free(&above);
	return rc;
}

static bool has_doc(const struct listing *l, uint64_t index)
{
	for (size_t i = 0; i < l->docs_n; i++)
		if (l->docs[i].index == index)
			return true;
	return false;
}

/* Is a snapshot a fuzzy copy, and from where on is it whole? The commits are not needed for that. */
static int docs_of_snapshots(struct listing *l, struct err *e)
{
	for (size_t i = 0; i < l->plan.snapshots_n; i++) {
		uint64_t index = l->plan.snapshots[i].at.index;
		struct wal_index_doc d;
		if (has_doc(l, index) ||
		    !bsearch(&index, l->doc_indexes, l->doc_indexes_n, sizeof index, index_compare))
			continue;
		int rc = list_doc_read(l->source->store, &l->plan.generation, index, &d, e);
		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		free(d.commits);
		d.commits = NULL;
		d.commits_n = d.commits_cap = 0;
		if (doc_keep(l, &d, e) < 0)
			return -1;
	}
	return 0;
}

/* What was read is what the plan may look at. */
static int docs_offer(struct listing *l, struct err *e)
{
	if (l->docs_n == 0)
		return 0;
	const struct wal_index_doc **docs = calloc(l->docs_n, sizeof *docs);
	if (!docs)
		return err_set(e, ERR_FAIL, "no memory for %zu index documents", l->docs_n);
	for (size_t i = 0; i < l->docs_n; i++)
		docs[i] = &l->docs[i];
	l->plan.docs = docs;
	l->plan.docs_n = l->docs_n;
	return 0;
}

int listing_docs(struct listing *l, const struct plan_wish *w, struct err *e)
{
	docs_free(l);
	if (l->doc_indexes_n == 0)
		return 0;
	if ((w->by_time && docs_around(l, w->wall_us, e) < 0) || docs_of_snapshots(l, e) < 0)
		return -1;
	return docs_offer(l, e);
}

/* The document of exactly this index, if there is one. */
static int doc_at(struct listing *l, uint64_t index, struct err *e)
{
	struct wal_index_doc d;
	if (has_doc(l, index) ||
	    !bsearch(&index, l->doc_indexes, l->doc_indexes_n, sizeof index, index_compare))
		return 0;
	int rc = list_doc_read(l->source->store, &l->plan.generation, index, &d, e);
	return rc > 0 ? doc_keep(l, &d, e) : rc;
}

/* The window begins with the lowest snapshot or, should that be a late one, the first commit behind its index;
 * it ends with the commits of the last index. */
int listing_docs_window(struct listing *l, struct err *e)
{
	struct position newest = { 0, 0 };
	uint64_t lowest = UINT64_MAX;
	docs_free(l);
	for (size_t i = 0; i < l->plan.snapshots_n; i++)
		if (l->plan.snapshots[i].at.index < lowest)
			lowest = l->plan.snapshots[i].at.index;
	if (l->doc_indexes_n == 0 || l->plan.snapshots_n == 0)
		return 0;
	if (doc_at(l, lowest, e) < 0 || doc_at(l, lowest + 1, e) < 0)
		return -1;
	if (listing_newest(l, &newest) && doc_at(l, newest.index, e) < 0)
		return -1;
	return docs_offer(l, e);
}
