/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: stretches of history without a fault.
 *
 * A window begins with a good snapshot and ends at the last commit before the first fault; the next good
 * snapshot of a later index opens the next one. The end of a window is named in the way in which a restore can
 * be asked for it: the newest state; the end of a WAL index; or, inside an index, a time, if what comes next
 * was later.
 *
 * Failure: what has gone since it was listed and lies below what is now the first snapshot has been deleted by
 * retention. It is no finding, and the window that began with it is not told. */
#include "restore/verify_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

char *walk_key(const struct walk *w, enum object_kind kind, struct position at, char buf[OBJECT_KEY_BYTES])
{
	struct object o = { .kind = kind, .generation = w->h->generation, .at = at };
	return object_key(buf, &o);
}

/* Errors about an object begin with its key, which a finding has elsewhere. */
const char *walk_without_key(const char *text, const char *key)
{
	size_t n = strlen(key);
	return strncmp(text, key, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

/* What a fault in this index costs. */
char *walk_cost(const struct walk *w, uint64_t index, char buf[TEXT_BYTES])
{
	char at[POSITION_TEXT_BYTES], when[TIME_TEXT_BYTES], until[128] = "to the end of the generation";
	if (!w->sound) {
		snprintf(buf, TEXT_BYTES, "nothing more: what is there cannot be restored anyway");
		return buf;
	}
	for (size_t i = 0; i < w->h->snapshots_n; i++)
		if (w->h->snapshots[i].at.index > index) {
			snprintf(until, sizeof until, "up to snapshot %08" PRIx64 " (%s)",
				 w->h->snapshots[i].at.index,
				 time_format(when, w->h->snapshots[i].created_us, 3));
			break;
		}
	snprintf(buf, TEXT_BYTES, "the moments after %s (%s) %s cannot be restored",
		 position_format(at, &w->h->generation, w->window.to), time_format(when, w->window.to_us, 3),
		 until);
	return buf;
}

void walk_damage(struct walk *w, const char *kind, const char *key, uint64_t index, const char *what)
{
	char cost[TEXT_BYTES];
	verify_find(w->v, VERIFY_DAMAGE, kind, &w->h->generation, key, walk_cost(w, index, cost), TODO_PUT_BACK,
		    "%s", what);
}

/* ---- windows ---- */

void walk_window_tell(struct walk *w)
{
	struct verify_window *x = &w->window;
	w->sound = false;
	if (position_compare(x->to, x->from) < 0)
		return;
	if (x->from_us > x->to_us && x->by == VERIFY_BY_TIME)
		return;
	if (x->from_us > x->to_us)
		x->from_us = x->to_us;
	w->v->wish->window(w->v->wish->arg, x);
}

/* Can the end of the window, inside an index, be named by its time? Only if what comes next was later: the next
 * commit, or without index object the next segment, which is the one at hand. */
static bool time_names(const struct walk *w)
{
	const struct wal_index_doc *d = &w->doc;
	if (!w->window.exact)
		return w->h->docs_n == 0 && w->segment && w->segment->at.index == w->window.to.index &&
		       w->segment->created_us > w->window.to_us && w->window.to_us == w->newest_us;
	return w->doc_there && w->to_commit > 0 && w->to_commit < d->commits_n &&
	       d->commits[w->to_commit].wall_us > w->window.to_us;
}

/* A fault at this position ends the window. */
void walk_window_end(struct walk *w, struct position at)
{
	if (!w->sound)
		return;
	if (w->window.to.index == at.index && time_names(w)) {
		w->window.by = VERIFY_BY_TIME;
		walk_window_tell(w);
		return;
	}
	if (w->window.to.index == at.index && w->base_index < at.index)
		w->window = w->at_entry;
	w->window.by = VERIFY_BY_INDEX;
	if (w->window.to.index < at.index)
		walk_window_tell(w);
	w->sound = false;
}

void walk_window_open(struct walk *w, const struct plan_object *snapshot, struct position from)
{
	w->sound = true;
	w->base_index = snapshot->at.index;
	w->from_known = false;
	w->to_commit = 0;
	w->window = (struct verify_window){
		.generation = w->h->generation,
		.from = from,
		.to = { snapshot->at.index, 0 },
		.from_us = snapshot->created_us,
		.to_us = snapshot->created_us,
	};
	w->at_entry = w->window;
	w->newest_us = snapshot->created_us;
}

/* It is not known whether what the window begins with is right, and will not be. */
void walk_window_doubt(struct walk *w)
{
	if (w->holds) {
		w->held.doubtful = true;
		w->v->wish->window(w->v->wish->arg, &w->held);
	}
	w->holds = false;
}

/* A fault: what comes cannot be restored from what was before. */
void walk_break(struct walk *w, struct position at)
{
	walk_window_doubt(w);
	walk_window_end(w, at);
	history_forget(&w->pages);
	w->cmp.on = w->base.on = false;
}

/* The window that ends before a snapshot which does not fit: told when a later one shows which of the two is
 * wrong. */
void walk_window_hold(struct walk *w, uint64_t index)
{
	w->window.by = VERIFY_BY_INDEX;
	w->held = w->window;
	w->holds = w->window.to.index < index && position_compare(w->window.to, w->window.from) >= 0;
	w->sound = false;
}

/* ---- retention ---- */

struct lowest {
	bool any;
	uint64_t index;
};

static int lowest_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct lowest *l = arg;
	struct position at;
	(void)e;
	if (entry->is_dir || !object_parse(entry->name, OBJECT_SNAPSHOT, &at))
		return 0;
	if (!l->any || at.index < l->index)
		l->index = at.index;
	l->any = true;
	return 0;
}

int walk_retention(struct walk *w, uint64_t index, bool *ret, struct err *e)
{
	char prefix[OBJECT_KEY_BYTES];
	struct store *s = w->v->source->store;
	struct lowest l = { .any = false };
	*ret = false;
	if (s->ops->list(s, object_prefix(prefix, OBJECT_SNAPSHOT, &w->h->generation), lowest_entry, &l, e) < 0)
		return -1;
	uint64_t below = l.any ? l.index : UINT64_MAX; /* the whole generation is going */
	if (below <= w->h->snapshots[0].at.index || below <= index)
		return 0;
	*ret = true;
	w->sound = false; /* the window begins with something that is not there any more */
	if (below > w->gone_below)
		w->gone_below = below;
	return 0;
}

int walk_gone(struct walk *w, const char *key, uint64_t index, struct err *e)
{
	bool taken;
	if (walk_retention(w, index, &taken, e) < 0)
		return -1;
	if (!taken)
		walk_damage(w, "gone", key, index, "it is listed, but it cannot be read: it is not there");
	return 0;
}
