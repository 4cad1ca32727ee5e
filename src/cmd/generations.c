/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook generations: the unbroken histories that replicas hold, one line each (inspect.c goes through them).
 *
 * start and end are the times of the oldest and the newest object; lag is how far the end lies behind the last
 * write to the database or its WAL (for a URL or directory: behind now). A value that there is none of is `-`:
 * the times of a generation without objects, the lag of a database that is not there (just then one wants to
 * know what can be restored).
 *
 * JSON also tells from when to when the generation can be restored, exactly where the index documents can be
 * read.
 *
 * Failure modes: a generation without a snapshot cannot be restored: listed, with a warning. Index documents
 * that cannot be read: the times of the objects stand for them. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cmd/inspect.h"
#include "store/crypt.h"

enum { US_PER_MS = 1000, US_PER_S = 1000000 };

/* What one row tells. */
struct facts {
	bool any; /* objects */
	int64_t start_us, end_us;
	bool has_lag;
	int64_t lag_us;
	uint64_t bytes;
	bool restorable, exact;
	int64_t first_us, last_us;
};

static void span_add(struct facts *f, const struct plan_object *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!f->any || v[i].created_us < f->start_us)
			f->start_us = v[i].created_us;
		if (!f->any || v[i].created_us > f->end_us)
			f->end_us = v[i].created_us;
		f->any = true;
		f->bytes += v[i].stored_bytes;
	}
}

static bool file_time(const char *path, int64_t *ret_us)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return false;
	*ret_us = (int64_t)st.st_mtim.tv_sec * US_PER_S + st.st_mtim.tv_nsec / 1000;
	return true;
}

/* When the source was last written to. false: there is none. */
static bool source_time(const struct conf_db *db, int64_t *ret_us)
{
	char wal[PATH_BYTES + 8];
	int64_t us;
	if (!db) {
		*ret_us = wall_us();
		return true;
	}
	if (!file_time(db->path, ret_us))
		return false;
	snprintf(wal, sizeof wal, "%s-wal", db->path);
	if (file_time(wal, &us) && us > *ret_us)
		*ret_us = us;
	return true;
}

/* Does a document tell the last commit? */
static bool end_is_exact(const struct listing *l)
{
	struct position newest;
	if (!listing_newest(l, &newest))
		return false;
	for (size_t i = 0; i < l->docs_n; i++)
		if (l->docs[i].index == newest.index && l->docs[i].commits_n > 0 &&
		    l->docs[i].end_offset > newest.offset)
			return true;
	return false;
}

static bool encrypted(const struct conf_replica *r)
{
	return r->age_identities_n + r->age_recipients_n + r->age_identity_files_n + r->age_recipient_files_n >
	       0;
}

/* The documents of an encrypted replica, read with the keys of the configuration. A listing needs no keys: when
 * they cannot be had the documents are as good as absent. */
static int read_sealed(const struct conf_replica *r, struct listing *l, struct err *e)
{
	struct age_keys keys;
	struct restore_source *plain = l->source, sealed = *plain;
	struct err none = ERR_INIT;
	if (conf_replica_keys(r, &keys, NULL, &none) < 0)
		return 0;
	int rc = 0;
	if (keys.identities_n > 0 &&
	    store_open_keyed(conf_replica_target(r), true, NULL, &keys, &sealed.store, &none) == 0) {
		l->source = &sealed;
		rc = listing_docs_window(l, e);
		l->source = plain;
		store_close(sealed.store);
	}
	age_keys_free(&keys);
	return rc;
}

static void window(const struct conf_replica *r, struct listing *l, struct facts *f)
{
	struct err e = ERR_INIT;
	if ((encrypted(r) ? read_sealed(r, l, &e) : listing_docs_window(l, &e)) < 0)
		log_warn("index documents cannot be read; times are those of the objects",
			 L_S("replica", r->name), L_S("generation", l->plan.generation.name),
			 L_S("error", e.text));
	f->restorable = plan_window(&l->plan, &f->first_us, &f->last_us);
	f->exact = f->restorable && end_is_exact(l);
}

/* ---- output ---- */

/* Go's way to print a duration, cut to a precision that goes with its length, as the original does. */
static void lag_text(char *buf, size_t size, int64_t us)
{
	uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
	const char *sign = us < 0 ? "-" : "";
	uint64_t unit = v > 10 * US_PER_S ? US_PER_S
			: v > US_PER_S	  ? US_PER_S / 10
			: v > US_PER_MS	  ? US_PER_MS
					  : 1;
	v -= v % unit;
	unsigned long long s = v / US_PER_S, tenths = v % US_PER_S / (US_PER_S / 10);
	if (v == 0)
		snprintf(buf, size, "0s");
	else if (v < US_PER_MS)
		snprintf(buf, size, "%s%lluµs", sign, (unsigned long long)v);
	else if (v < US_PER_S)
		snprintf(buf, size, "%s%llums", sign, (unsigned long long)(v / US_PER_MS));
	else if (s < 60 && tenths)
		snprintf(buf, size, "%s%llu.%llus", sign, s, tenths);
	else if (s < 60)
		snprintf(buf, size, "%s%llus", sign, s);
	else if (s < 3600)
		snprintf(buf, size, "%s%llum%llus", sign, s / 60, s % 60);
	else
		snprintf(buf, size, "%s%lluh%llum%llus", sign, s / 3600, s / 60 % 60, s % 60);
}

static void time_cell(struct table *t, bool there, int64_t us)
{
	char text[TIME_TEXT_BYTES];
	table_cell(t, "%s", there ? time_format(text, us, 0) : "-");
}

static void cells(struct table *t, const struct facts *f)
{
	char lag[64] = "-";
	if (f->has_lag)
		lag_text(lag, sizeof lag, f->lag_us);
	table_cell(t, "%s", lag);
	time_cell(t, f->any, f->start_us);
	time_cell(t, f->any, f->end_us);
}

static void time_member(struct json *j, const char *key, bool there, int64_t us)
{
	if (there)
		json_time(j, key, us);
	else
		json_null(j, key);
}

static void members(struct json *j, const struct listing *l, const struct facts *f)
{
	if (f->has_lag)
		json_double(j, "lag_seconds", (double)f->lag_us / US_PER_S);
	else
		json_null(j, "lag_seconds");
	time_member(j, "start", f->any, f->start_us);
	time_member(j, "end", f->any, f->end_us);
	json_uint(j, "snapshots", l->plan.snapshots_n);
	json_uint(j, "segments", l->plan.segments_n);
	json_uint(j, "size", f->bytes);
	json_bool(j, "restorable", f->restorable);
	time_member(j, "first_restorable", f->restorable, f->first_us);
	time_member(j, "last_restorable", f->restorable, f->last_us);
	json_bool(j, "exact", f->exact);
}

static int rows(struct inspect *in, const struct conf_replica *r, struct listing *l, struct err *e)
{
	struct facts f = { 0 };
	int64_t source_us;
	(void)e;
	span_add(&f, l->plan.snapshots, l->plan.snapshots_n);
	span_add(&f, l->plan.segments, l->plan.segments_n);
	f.has_lag = f.any && source_time(in->target.db, &source_us);
	if (f.has_lag)
		f.lag_us = source_us - f.end_us;
	if (in->f.json)
		window(r, l, &f);
	else if (l->plan.snapshots_n == 0)
		log_warn("a generation has no snapshot, so nothing can be restored from it",
			 L_S("replica", r->name), L_S("generation", l->plan.generation.name),
			 L_I("segments", l->plan.segments_n));
	inspect_row(in, r, l);
	if (in->f.json)
		members(&in->json, l, &f);
	else
		cells(&in->table, &f);
	inspect_row_end(in);
	return 0;
}

static void next(const struct inspect *in, char *buf, size_t n)
{
	char words[PATH_BYTES + 512];
	snprintf(buf, n, "restore -o FILE -generation %s %s", in->newest.name,
		 target_words(&in->target, words, sizeof words));
}

static const struct args_flag flags[] = { INSPECT_FLAGS, { 0 } };
static const char *const titles[] = { "name", "generation", "lag", "start", "end", NULL };

static const struct inspect_kind kind = {
	.command = &command_generations,
	.argument_missing = "database path or replica URL required",
	.titles = titles,
	.kinds = LIST_KIND(OBJECT_SNAPSHOT) | LIST_KIND(OBJECT_SEGMENT),
	.kinds_json = LIST_KIND(OBJECT_SNAPSHOT) | LIST_KIND(OBJECT_SEGMENT) | LIST_KIND(OBJECT_INDEX),
	.nothing = "generations",
	.rows = rows,
	.next = next,
};

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	return inspect_run(&kind, argc, argv, e, ret_exit);
}

const struct command command_generations = {
	.name = "generations",
	.arguments = "DATABASE | URL | DIRECTORY",
	.sentence = "List the unbroken histories that replicas hold",
	.text = "lag is how far the newest object lies behind the last write to the database (behind now for "
		"a\n"
		"URL or directory), start and end are the times of the oldest and the newest object.\n"
		"\n" INSPECT_TEXT "\n"
		"  walbrook generations /var/lib/app/app.db\n"
		"  walbrook generations -json file:///var/backups/app\n",
	.flags = flags,
	.run = run,
};
