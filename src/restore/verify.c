/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: what there is, and what is said about it.
 *
 *   1. List the root and generations/. Names that are not ours are remarks.
 *   2. Of each generation: list its folders; read the index objects of its newest WAL indexes; list again. What
 * is judged is the second listing up to the newest object of the first, or up to where those index objects say
 * that all is there. So a replica that is written meanwhile looks whole, and what retention deletes between the
 * two is not missed.
 *   3. Read it (verify_walk.c).
 *
 * Failure: a store that does not answer ends the run, for what has not been read is not known to be good. What
 * is damaged never does. */
#include "restore/verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "restore/list.h"
#include "restore/stop.h"
#include "restore/verify_walk.h"

enum { DOC_STORED_MAX = 2 << 20, FRESH_US = 60 * 1000000, STRANGERS_MAX = 100 };

const char *verify_severity_text(enum verify_severity s)
{
	static const char *const texts[] = { "remark", "exactness", "damage" };
	return texts[s];
}

void verify_find(struct verify *v, enum verify_severity s, const char *kind, const struct generation *g,
		 const char *key, const char *cost, const char *todo, const char *fmt, ...)
{
	char what[ERR_TEXT_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	struct verify_finding f = {
		.severity = s, .kind = kind, .key = key, .what = what, .cost = cost, .todo = todo
	};
	if (g)
		f.generation = *g;
	uint64_t *counts[] = { &v->result.remarks, &v->result.exactness, &v->result.damage };
	(*counts[s])++;
	v->wish->finding(v->wish->arg, &f);
}

int verify_doc(struct verify *v, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
	       struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_INDEX, .generation = *g, .at = { index, 0 } };
	struct dyn bytes = DYN_INIT(DOC_STORED_MAX);
	if (stop_check(e) < 0)
		return -1;
	int rc = store_get_bytes(v->source->store, object_key(key, &o), &bytes, e);
	if (rc < 0 && e->kind == ERR_FAIL && bytes.len + 4096 >= DOC_STORED_MAX)
		err_set(e, ERR_DAMAGED, "it is larger than an index object gets");
	if (rc == 0)
		rc = index_doc_parse((struct span){ bytes.p, bytes.len }, ret, e);
	v->result.stored_bytes += bytes.len;
	progress_add(&v->progress, bytes.len);
	dyn_free(&bytes);
	if (rc < 0)
		return e->kind == ERR_NOTHING ? 0 : -1;
	if (generation_equal(&ret->generation, g) && ret->index == index)
		return 1;
	err_set(e, ERR_DAMAGED, "it belongs to index %08" PRIx64 " of generation %s", ret->index,
		ret->generation.name);
	index_doc_free(ret);
	return -1;
}

/* ---- names ---- */

/* The listing of one folder. */
struct folder {
	struct verify *v;
	const char *prefix;
	const struct generation *generation; /* NULL: above */
	enum object_kind kind;
	struct holding *holding;
	struct generation **generations; /* at the top */
	size_t *generations_n;
	bool quiet;
	size_t strangers;
};

static void stranger(struct folder *f, const struct store_entry *entry, const char *what)
{
	char key[OBJECT_KEY_BYTES + 512];
	if (f->quiet || ++f->strangers > STRANGERS_MAX)
		return;
	snprintf(key, sizeof key, "%s%.400s%s", f->prefix, entry->name, entry->is_dir ? "/" : "");
	verify_find(f->v, VERIFY_REMARK, "foreign-name", f->generation, key, "nothing: it is ignored",
		    "delete it if nobody needs it; if it is a renamed object of this replica, give it back its "
		    "name",
		    "%s", what);
}

static int folder_list(struct folder *f, store_list_fn *fn, struct err *e)
{
	struct store *s = f->v->source->store;
	if (stop_check(e) < 0 || s->ops->list(s, f->prefix, fn, f, e) < 0)
		return -1;
	if (f->strangers > STRANGERS_MAX)
		verify_find(f->v, VERIFY_REMARK, "foreign-name", f->generation, f->prefix,
			    "nothing: they are ignored", "look at the folder", "%zu further names are not ours",
			    f->strangers - STRANGERS_MAX);
	return 0;
}

static int leftover(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	char key[OBJECT_KEY_BYTES + 512];
	(void)e;
	snprintf(key, sizeof key, "%s%.400s", f->prefix, entry->name);
	verify_find(f->v, VERIFY_REMARK, "leftover", f->generation, key, "nothing but its space",
		    "delete it when nothing is writing to the replica",
		    "left by an upload that did not end (%" PRIu64 " bytes)", entry->bytes);
	return 0;
}

static int leftovers(struct folder *f, struct err *e)
{
	struct store *s = f->v->source->store;
	return s->ops->list_temp && !f->quiet ? s->ops->list_temp(s, f->prefix, leftover, f, e) : 0;
}

static int root_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	(void)e;
	if (!entry->is_dir || strcmp(entry->name, "generations") != 0)
		stranger(f, entry, "this name does not belong into a replica");
	return 0;
}

static int generation_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	if (!entry->is_dir || !generation_valid(entry->name)) {
		stranger(f, entry, "this is not the name of a generation (16 lower case hexadecimal digits)");
		return 0;
	}
	struct generation *v = realloc(*f->generations, (*f->generations_n + 1) * sizeof *v);
	if (!v)
		return err_set(e, ERR_FAIL, "no memory for a listing");
	*f->generations = v;
	memcpy(v[(*f->generations_n)++].name, entry->name, sizeof v->name);
	return 0;
}

static int inside_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	static const char *const ours[] = { "snapshots", "wal", "index" };
	(void)e;
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (entry->is_dir && strcmp(entry->name, ours[i]) == 0)
			return 0;
	stranger(f, entry, "this name does not belong into a generation");
	return 0;
}

/* ---- objects ---- */

/* Room for one more element. */
static int object_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct folder *f = arg;
	struct holding *h = f->holding;
	struct plan_object o = { .stored_bytes = entry->bytes, .created_us = entry->created_us };
	if (entry->is_dir || !object_parse(entry->name, f->kind, &o.at)) {
		stranger(f, entry, "this is not the name of an object");
		return 0;
	}
	if (o.created_us > h->newest_us && f->kind != OBJECT_INDEX)
		h->newest_us = o.created_us;
	if (f->kind == OBJECT_SNAPSHOT)
		return list_object_add(&h->snapshots, &h->snapshots_n, &h->snapshots_cap, &o, e);
	if (f->kind == OBJECT_SEGMENT)
		return list_object_add(&h->segments, &h->segments_n, &h->segments_cap, &o, e);
	return list_object_add(&h->docs, &h->docs_n, &h->docs_cap, &o, e);
}

/* Sorts; a store that lists a name twice means one object. */
static size_t objects_tidy(struct plan_object *v, size_t n)
{
	size_t kept = n > 0;
	if (n > 0)
		qsort(v, n, sizeof *v, list_object_compare);
	for (size_t i = 1; i < n; i++)
		if (position_compare(v[i].at, v[kept - 1].at) != 0)
			v[kept++] = v[i];
	return kept;
}

static void holding_free(struct holding *h)
{
	free(h->snapshots);
	free(h->segments);
	free(h->docs);
	free(h->early);
	*h = (struct holding){ 0 };
}

/* One listing. Names that are not ours are told unless quiet. */
static int holding_list(struct verify *v, const struct generation *g, bool quiet, struct holding *h,
			struct err *e)
{
	static const enum object_kind kinds[] = { OBJECT_SNAPSHOT, OBJECT_SEGMENT, OBJECT_INDEX };
	char prefix[OBJECT_KEY_BYTES];
	*h = (struct holding){ .generation = *g, .newest_us = INT64_MIN };
	struct folder f = { .v = v, .generation = g, .holding = h, .quiet = quiet, .prefix = prefix };
	snprintf(prefix, sizeof prefix, "generations/%s/", g->name);
	if (!quiet && folder_list(&f, inside_entry, e) < 0)
		return -1;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		f.kind = kinds[i];
		f.strangers = 0;
		object_prefix(prefix, kinds[i], g);
		if (folder_list(&f, object_entry, e) < 0 || leftovers(&f, e) < 0)
			return -1;
	}
	h->snapshots_n = objects_tidy(h->snapshots, h->snapshots_n);
	h->segments_n = objects_tidy(h->segments, h->segments_n);
	h->docs_n = objects_tidy(h->docs, h->docs_n);
	if (h->segments_n > 0)
		h->newest_index = h->segments[h->segments_n - 1].at.index;
	return 0;
}

/* The index objects of the newest WAL index of this listing, and of what lies beyond it. */
static int early_read(struct verify *v, const struct holding *from, struct holding *to, struct err *e)
{
	for (size_t i = from->docs_n; i-- > 0 && from->docs[i].at.index >= from->newest_index;) {
		struct wal_index_doc d;
		int rc = verify_doc(v, &from->generation, from->docs[i].at.index, &d, e);
		if (rc < 0 && e->kind != ERR_DAMAGED)
			return -1;
		if (rc <= 0)
			continue; /* told when its turn comes */
		free(d.commits);
		d.commits = NULL;
		d.commits_n = d.commits_cap = 0;
		void *p = to->early;
		rc = list_room(&p, to->early_n, &to->early_cap, sizeof *to->early, e);
		to->early = p;
		if (rc < 0)
			return -1;
		to->early[to->early_n++] = d;
	}
	return 0;
}

static bool has_snapshot(const struct holding *h, uint64_t index)
{
	for (size_t i = 0; i < h->snapshots_n; i++)
		if (h->snapshots[i].at.index == index)
			return true;
	return false;
}

/* Drops from h what was not there when `first` was listed, but for what index objects vouch for. */
static void holding_keep(struct holding *h, const struct holding *first)
{
	struct position end = { 0, 0 };
	bool any = first->segments_n > 0;
	for (size_t i = 0; i < h->early_n; i++) {
		struct position p = { h->early[i].index, h->early[i].end_offset };
		if (position_compare(p, end) > 0)
			end = p;
	}
	size_t n = 0;
	for (size_t i = 0; i < h->segments_n; i++) {
		struct position at = h->segments[i].at;
		if ((any && position_compare(at, first->segments[first->segments_n - 1].at) <= 0) ||
		    position_compare(at, end) < 0)
			h->segments[n++] = h->segments[i];
	}
	h->segments_n = n;
	n = 0;
	for (size_t i = 0; i < h->snapshots_n; i++)
		if (has_snapshot(first, h->snapshots[i].at.index))
			h->snapshots[n++] = h->snapshots[i];
	h->snapshots_n = n;
}

/* Lists a generation twice. */
static int holding_make(struct verify *v, const struct generation *g, struct holding *ret, struct err *e)
{
	struct holding first, early = { 0 };
	int rc = holding_list(v, g, false, &first, e);
	if (rc == 0)
		rc = early_read(v, &first, &early, e);
	*ret = (struct holding){ 0 };
	if (rc == 0)
		rc = holding_list(v, g, true, ret, e);
	if (rc == 0) {
		ret->early = early.early;
		ret->early_n = early.early_n;
		ret->early_cap = early.early_cap;
		ret->early_from = first.newest_index;
		early.early = NULL;
		ret->fresh = ret->newest_us > v->now_us - FRESH_US;
		holding_keep(ret, &first);
	} else {
		holding_free(ret);
	}
	holding_free(&early);
	holding_free(&first);
	return rc;
}

/* ---- generations ---- */

/* What lies before the first snapshot cannot be restored, and nothing is lost by that if retention left it. */
static void before_first(struct verify *v, const struct holding *h)
{
	size_t segments = 0, docs = 0;
	uint64_t first = h->snapshots[0].at.index;
	while (segments < h->segments_n && h->segments[segments].at.index < first)
		segments++;
	while (docs < h->docs_n && h->docs[docs].at.index < first)
		docs++;
	char prefix[OBJECT_KEY_BYTES];
	object_prefix(prefix, segments ? OBJECT_SEGMENT : OBJECT_INDEX, &h->generation);
	if (segments || docs)
		verify_find(v, VERIFY_REMARK, "before-first-snapshot", &h->generation, prefix,
			    "none of the moments in them can be restored",
			    "nothing, if retention is on: its next run deletes them",
			    "%zu segments and %zu index objects lie before the first snapshot (%08" PRIx64
			    "): left by a retention that was interrupted or is going on, or the snapshot "
			    "before them is missing. They were not read",
			    segments, docs, first);
}

/* A generation without snapshots: the end of a retention, the beginning of a generation, or a loss. */
static void no_snapshot(struct verify *v, const struct holding *h, bool newest)
{
	char prefix[OBJECT_KEY_BYTES];
	object_prefix(prefix, OBJECT_SNAPSHOT, &h->generation);
	if (h->segments_n == 0 && h->docs_n == 0) {
		verify_find(v, VERIFY_REMARK, "empty-generation", &h->generation, prefix, "nothing",
			    "delete the folder if nobody writes to it", "the generation holds nothing");
		return;
	}
	bool damage = newest && !h->fresh;
	verify_find(v, damage ? VERIFY_DAMAGE : VERIFY_REMARK, "no-snapshot", &h->generation, prefix,
		    "nothing can be restored from this generation",
		    damage     ? "begin a new generation: stop walbrook, delete the metadata directory of the "
				 "database, start it again"
		    : h->fresh ? "run this again when the first snapshot has been written"
			       : "nothing, if retention is on: it deletes the generation in time",
		    "there is no snapshot, only %zu segments%s", h->segments_n,
		    damage     ? ""
		    : h->fresh ? "; the generation is being written"
			       : "; a newer generation is there");
}

/* One generation without snapshot waits for the end, when it is known which is the newest. */
struct orphan {
	struct holding h;
	struct orphan *next;
};

/* What restore takes when no generation is named. */
struct newest {
	struct generation g;
	int64_t us;
	bool bare; /* a snapshot and no WAL, and not just begun */
};

static void newest_bare(struct verify *v, const struct newest *n)
{
	char prefix[OBJECT_KEY_BYTES];
	verify_find(v, VERIFY_REMARK, "snapshot-only", &n->g, object_prefix(prefix, OBJECT_SNAPSHOT, &n->g),
		    "nothing, if the database has not been written since",
		    "restore with -generation if an older generation is meant",
		    "the newest of the generations, which a restore takes, is a snapshot without any WAL");
}

static int generation_verify(struct verify *v, const struct generation *g, struct orphan **orphans,
			     struct newest *newest, struct err *e)
{
	struct holding h;
	uint64_t total = 0;
	if (holding_make(v, g, &h, e) < 0)
		return -1;
	v->result.generations++;
	if (h.newest_us > newest->us)
		*newest =
			(struct newest){ *g, h.newest_us, h.snapshots_n > 0 && h.segments_n == 0 && !h.fresh };
	if (h.snapshots_n == 0) {
		struct orphan *o = calloc(1, sizeof *o);
		if (!o) {
			holding_free(&h);
			return err_set(e, ERR_FAIL, "no memory for a generation");
		}
		o->h = h;
		o->next = *orphans;
		*orphans = o;
		return 0;
	}
	before_first(v, &h);
	for (size_t i = 0; i < h.snapshots_n; i++)
		total += h.snapshots[i].stored_bytes;
	for (size_t i = 0; i < h.segments_n; i++)
		if (h.segments[i].at.index >= h.snapshots[0].at.index)
			total += h.segments[i].stored_bytes;
	progress_begin(&v->progress, total);
	int rc = verify_walk(v, &h, e);
	holding_free(&h);
	return rc;
}

static int generation_order(const void *a, const void *b)
{
	return strcmp(((const struct generation *)a)->name, ((const struct generation *)b)->name);
}

static int generations_list(struct verify *v, struct generation **ret, size_t *ret_n, struct err *e)
{
	struct folder f = { .v = v, .prefix = "", .generations = ret, .generations_n = ret_n };
	if (folder_list(&f, root_entry, e) < 0)
		return -1;
	f.prefix = "generations/";
	f.strangers = 0;
	if (folder_list(&f, generation_entry, e) < 0)
		return -1;
	if (*ret_n > 0)
		qsort(*ret, *ret_n, sizeof **ret, generation_order);
	return 0;
}

static int verify_all(struct verify *v, const struct generation *g, size_t n, struct err *e)
{
	struct orphan *orphans = NULL;
	struct newest newest = { .us = INT64_MIN };
	size_t done = 0;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!generation_none(&v->wish->generation) && !generation_equal(&g[i], &v->wish->generation))
			continue;
		rc = generation_verify(v, &g[i], &orphans, &newest, e);
		done++;
	}
	while (orphans) {
		struct orphan *o = orphans;
		orphans = o->next;
		if (rc == 0)
			no_snapshot(v, &o->h, o->h.newest_us == newest.us);
		holding_free(&o->h);
		free(o);
	}
	if (rc == 0 && done > 1 && newest.bare)
		newest_bare(v, &newest);
	if (rc < 0 || done > 0)
		return rc;
	if (n == 0)
		return err_set(e, ERR_NOTHING, "%s: there is no generation, so there is no backup",
			       v->source->store->label);
	return err_set(e, ERR_NOTHING, "%s: there is no generation %s", v->source->store->label,
		       v->wish->generation.name);
}

int verify_run(struct restore_source *source, const struct verify_wish *w, struct verify_result *ret,
	       struct err *e)
{
	struct verify v = { .source = source, .wish = w, .now_us = wall_us() };
	struct generation *g = NULL;
	size_t n = 0;
	int64_t start_ms = mono_ms();
	struct err why = ERR_INIT; /* findings pass through it too */
	progress_init(&v.progress, w->progress, STDERR_FILENO);
	v.progress.verb = "reading";
	progress_begin(&v.progress, 0);
	int rc = generations_list(&v, &g, &n, &why);
	if (rc == 0)
		rc = verify_all(&v, g, n, &why);
	free(g);
	progress_end(&v.progress);
	if (rc < 0 && stop_asked())
		err_set(&why, ERR_FAIL, "interrupted; what has not been read is not known to be good");
	if (stop_asked())
		stop_clear();
	if (rc < 0)
		*e = why;
	v.result.elapsed_ms = mono_ms() - start_ms;
	*ret = v.result;
	return rc;
}
