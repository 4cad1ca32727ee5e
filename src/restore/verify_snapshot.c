/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: snapshots.
 *
 *   1. Read it: its frame, and the header of the database in it.
 *   2. Do its pages follow from the WAL before it (history.h)? That is looked at where it may first be used: at
 *      the position that its index object tells, else at the end of its index.
 *   3. A snapshot that opens a window has no WAL before it. Then what its header says must fit the WAL behind
 * it: the size must be one from which the first transaction can go on, and each time SQLite writes page 1 the
 *      change counter stays or goes up by one.
 *
 * Two snapshots that do not fit each other: a third tells which is wrong, if a page in which they differ has
 * not been written until then.
 *
 * Failure: damage that a restore notices costs nothing while an older snapshot serves (the restore falls back
 * to it); what a restore would use all the same ends the window. */
#include "restore/verify_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "restore/frame.h"
#include "restore/memory.h"

enum {
	HEAD_BYTES = 100,
	PUBLISH_US = 2000000,	/* a snapshot appears right behind the index object that tells of it */
	BASE_PAGES = 4 << 20,	/* those behind are not looked at */
	PENDING_BYTE = 1 << 30, /* SQLite never uses the page in which this byte lies */
};

struct snapshot_reader {
	struct walk *w;
	uint8_t head[HEAD_BYTES];
	size_t head_n;
	uint64_t plain_bytes;
	uint32_t page_bytes; /* 0: not a database */
	bool misleads;	     /* it is not sound, but a restore would use it */
};

static uint32_t page_bytes_of(const uint8_t *head)
{
	uint32_t n = (uint32_t)head[16] << 8 | head[17];
	if (n == 1)
		n = PAGE_BYTES_MAX;
	return memcmp(head, "SQLite format 3", 16) == 0 && page_bytes_valid(n) ? n : 0;
}

static int snapshot_bytes(void *arg, struct span in, struct err *e)
{
	struct snapshot_reader *r = arg;
	struct history *pages = &r->w->pages;
	r->plain_bytes += in.n;
	if (r->head_n < HEAD_BYTES) {
		size_t some = HEAD_BYTES - r->head_n < in.n ? HEAD_BYTES - r->head_n : in.n;
		memcpy(r->head + r->head_n, in.p, some);
		r->head_n += some;
		in.p += some;
		in.n -= some;
		if (r->head_n < HEAD_BYTES || !(r->page_bytes = page_bytes_of(r->head)))
			return 0;
		if (!r->w->pages_on)
			return 0;
		if (history_snapshot_begin(pages, r->page_bytes, e) < 0)
			return -1;
		history_snapshot_bytes(pages, (struct span){ r->head, HEAD_BYTES });
	}
	if (r->w->pages_on && r->page_bytes)
		history_snapshot_bytes(pages, in);
	return 0;
}

/* Not a sound database file: why, or NULL. `whole`: it is a state at one commit. */
static const char *snapshot_fault(const struct snapshot_reader *r, bool whole, char buf[TEXT_BYTES])
{
	static const uint8_t fractions[] = { 64, 32, 32 };
	if (r->plain_bytes == 0)
		return NULL; /* a database whose first transaction is still in the WAL */
	if (r->head_n < HEAD_BYTES || r->page_bytes == 0)
		return "what it holds is not an SQLite database";
	if (memcmp(r->head + 21, fractions, sizeof fractions) != 0)
		return "the header of the database in it has impossible values";
	uint64_t pages = get_be32(r->head + 28);
	bool valid = pages != 0 && memcmp(r->head + 24, r->head + 92, 4) == 0;
	if (!whole || !valid || pages * r->page_bytes == r->plain_bytes)
		return NULL;
	snprintf(buf, TEXT_BYTES,
		 "it holds %" PRIu64 " bytes, but the header of the database in it says %" PRIu64
		 " pages of %" PRIu32 " bytes",
		 r->plain_bytes, pages, r->page_bytes);
	return buf;
}

/* Reads a snapshot. 1: good; 0: it is not, which has been told; -1: *e. `whole` as above. */
static int snapshot_read(struct walk *w, const struct plan_object *o, bool whole, struct snapshot_reader *r,
			 struct err *e)
{
	char key[OBJECT_KEY_BYTES], why[TEXT_BYTES];
	struct frame_reader frame;
	*r = (struct snapshot_reader){ .w = w };
	walk_key(w, OBJECT_SNAPSHOT, o->at, key);
	if (frame_init(&frame, w->v->source->store, &w->v->progress, e) < 0)
		return -1;
	int rc = frame_stream(&frame, key, snapshot_bytes, r, e);
	w->v->result.stored_bytes += frame.stored_bytes;
	frame_free(&frame);
	w->v->result.snapshots++;
	const char *fault = rc == 0 ? snapshot_fault(r, whole, why) : walk_without_key(e->text, key);
	r->misleads = rc == 0 && fault && r->page_bytes > 0;
	if (rc < 0 && e->kind == ERR_NOTHING)
		return walk_gone(w, key, o->at.index, e);
	if (rc < 0 && e->kind != ERR_DAMAGED)
		return -1;
	if (!fault)
		return 1;
	if (w->sound && !r->misleads)
		verify_find(w->v, VERIFY_DAMAGE, "snapshot", &w->h->generation, key,
			    "no moment, as long as the older snapshot and all WAL since then are there: "
			    "restore falls back to them",
			    "put back a good copy if there is one; a newer snapshot makes up for it", "%s",
			    fault);
	else
		walk_damage(w, "snapshot", key, o->at.index, fault);
	return 0;
}

/* The snapshot is not what the WAL before it made. */
static void mismatch(struct walk *w, uint64_t pages)
{
	char key[OBJECT_KEY_BYTES], cost[TEXT_BYTES], other[96] = "";
	struct comparison c = w->cmp;
	bool doubt = !c.opened && !w->confirmed;
	w->cmp.on = w->base.on = false;
	if (w->sound && !c.opened) {
		w->window = c.before;
		w->to_commit = 0;
	}
	if (doubt)
		snprintf(other, sizeof other, ", or snapshot %08" PRIx64 " does", w->history_base);
	if (doubt)
		snprintf(cost, sizeof cost,
			 "what is restored from it or from snapshot %08" PRIx64
			 " may be wrong; which of the two only another snapshot can tell",
			 w->history_base);
	else
		walk_cost(w, c.index, cost);
	if (c.opened)
		w->sound = false;
	if (w->mismatches++ > 0) {
		w->holds = w->confirmed = false;
		history_rebase(&w->pages);
		w->history_base = c.index;
	} else if (w->sound && doubt) {
		walk_window_hold(w, c.index);
		history_doubt(&w->pages);
	}
	walk_window_end(w, (struct position){ c.index, 0 });
	verify_find(
		w->v, VERIFY_DAMAGE, "snapshot-mismatch", &w->h->generation,
		walk_key(w, OBJECT_SNAPSHOT, (struct position){ c.index, 0 }, key), cost, TODO_PUT_BACK,
		"it does not follow from the WAL before it (%" PRIu64
		" pages differ): it belongs to another place%s, or the end of a WAL index between is missing",
		pages, other);
}

void walk_compare(struct walk *w)
{
	struct comparison *c = &w->cmp;
	uint64_t n = history_differs(&w->pages);
	if (n > 0 && !c->to_end && c->at.offset == 0 && c->at.index == c->index) {
		c->to_end = c->noted = true;
		return;
	}
	if (n > 0) {
		mismatch(w, n);
		return;
	}
	w->mismatches = 0;
	c->on = false;
	if (!w->holds || history_cleared(&w->pages))
		w->confirmed = true;
	if (w->holds && w->confirmed)
		w->v->wish->window(w->v->wish->arg, &w->held);
	w->holds = false;
	if (!c->noted)
		return;
	char key[OBJECT_KEY_BYTES];
	verify_find(w->v, VERIFY_EXACTNESS, "snapshot-later", &w->h->generation,
		    walk_key(w, OBJECT_SNAPSHOT, (struct position){ c->index, 0 }, key),
		    "a restore to a time inside this WAL index may hold later changes",
		    "restore to the end of a WAL index (-index)",
		    "it holds changes of WAL index %08" PRIx64 ", which its index object does not say",
		    c->index);
}

/* A comparison that will not come to its position. */
void walk_compare_end(struct walk *w)
{
	char key[OBJECT_KEY_BYTES], at[POSITION_TEXT_BYTES];
	if (!w->cmp.on)
		return;
	if (w->cmp.to_end) {
		walk_compare(w);
		if (w->cmp.on)
			walk_compare(w);
		return;
	}
	w->cmp.on = false;
	if (w->h->fresh)
		return;
	verify_find(w->v, VERIFY_DAMAGE, "snapshot-unusable", &w->h->generation,
		    walk_key(w, OBJECT_SNAPSHOT, (struct position){ w->cmp.index, 0 }, key),
		    w->cmp.opened ? "nothing can be restored from it"
				  : "no moment, as long as the older snapshot and all WAL since then are there",
		    TODO_PUT_BACK, "it can be used only together with the WAL up to %s, which is not there",
		    position_format(at, &w->h->generation, w->cmp.at));
}

static void base_mismatch(struct walk *w, const char *why)
{
	char key[OBJECT_KEY_BYTES];
	uint64_t index = w->base.index;
	w->sound = w->base.on = w->cmp.on = false;
	history_forget(&w->pages);
	verify_find(w->v, VERIFY_DAMAGE, "snapshot-mismatch", &w->h->generation,
		    walk_key(w, OBJECT_SNAPSHOT, (struct position){ index, 0 }, key),
		    "nothing can be restored from it, nor from the WAL behind it up to the next snapshot",
		    TODO_PUT_BACK, "it belongs to another place: the WAL behind it does not go on from it: %s",
		    why);
}

/* A frame behind the snapshot that opened the window. */
void walk_base_frame(struct walk *w, const struct wal_frame *f)
{
	struct base *b = &w->base;
	char why[96];
	if (!b->committed && f->pgno <= BASE_PAGES)
		b->seen[(f->pgno - 1) / 8] |= (uint8_t)(1u << (f->pgno - 1) % 8);
	if (f->pgno != 1 || memcmp(f->page + 24, f->page + 92, 4) != 0)
		return;
	uint32_t now = get_be32(f->page + 24);
	if (!b->any && (int32_t)(now - b->counter) > 1) {
		snprintf(why, sizeof why, "its change counter is %" PRIu32 ", in the WAL behind it %" PRIu32,
			 b->counter, now);
		base_mismatch(w, why);
		return;
	}
	b->any = true;
	b->last = now;
}

/* Are the pages from `from` to `to` all in the first transaction? */
static bool base_wrote(const struct walk *w, uint32_t from, uint32_t to)
{
	for (uint32_t p = from; p <= to && p <= BASE_PAGES; p++)
		if (!(w->base.seen[(p - 1) / 8] & 1u << (p - 1) % 8) &&
		    p != PENDING_BYTE / w->chain.page_bytes + 1)
			return false;
	return true;
}

/* Can the first transaction have been made on a database of the size of the snapshot? A page that is new is
 * written, page 1 holds the size, and only VACUUM makes a database smaller that does not give back pages by
 * itself: then all of it is written. */
static bool base_fits(const struct walk *w, uint32_t pages)
{
	const struct base *b = &w->base;
	if (pages == b->pages)
		return true;
	if (pages > b->pages)
		return base_wrote(w, 1, 1) && base_wrote(w, b->pages + 1, pages);
	return base_wrote(w, 1, b->vacuum ? 1 : pages);
}

/* The WAL has been read to a place behind which the snapshot holds nothing. */
void walk_base_end(struct walk *w)
{
	struct base *b = &w->base;
	char why[96] = "";
	if (!b->committed || !w->sound) {
		b->on = b->on && w->sound;
		return;
	}
	if (!b->fits)
		snprintf(why, sizeof why, "its %" PRIu32 " pages are not the size that the WAL goes on from",
			 b->pages);
	else if (b->any && (int32_t)(b->counter - b->last) > 0)
		snprintf(why, sizeof why,
			 "its change counter is %" PRIu32 ", in the WAL behind it only %" PRIu32, b->counter,
			 b->last);
	else if (!b->any)
		return; /* page 1 is still to come */
	b->on = false;
	if (*why)
		base_mismatch(w, why);
}

void walk_base_commit(struct walk *w, struct position at, uint32_t pages)
{
	struct base *b = &w->base;
	if (!b->committed)
		b->fits = base_fits(w, pages);
	b->committed = true;
	if (position_compare(at, b->until) <= 0 && pages == b->pages)
		b->fits = true;
	if (position_compare(at, b->until) >= 0)
		walk_base_end(w);
}

/* told: by its index object that `usable` is the position from which it is whole. */
static int base_begin(struct walk *w, const struct snapshot_reader *r, struct position usable, bool told,
		      struct err *e)
{
	uint8_t *seen = w->base.seen;
	if (!seen && !(seen = memory_map(BASE_PAGES / 8)))
		return err_set(e, ERR_FAIL, "no memory to compare a snapshot with the WAL");
	if (w->base.on || w->base.committed)
		memset(seen, 0, BASE_PAGES / 8);
	w->base = (struct base){
		.on = r->plain_bytes > 0 && memcmp(r->head + 24, r->head + 92, 4) == 0,
		.index = w->base_index,
		.until = usable,
		.counter = get_be32(r->head + 24),
		.vacuum = get_be32(r->head + 52) != 0,
		.pages = get_be32(r->head + 28),
		.seen = seen,
	};
	if (!told)
		w->base.until.offset = UINT64_MAX;
	w->base.on = w->base.on && w->base.pages > 0;
	return 0;
}

/* Does its index object know this WAL index from its first commit on? Else we have taken it over in its middle,
 * and the snapshot may be one of Litestream, of which the object tells nothing. */
static bool doc_knows_all(const struct walk *w)
{
	const struct holding *h = w->h;
	uint64_t first_end = UINT64_MAX; /* of the first segment: the next one begins there */
	for (size_t i = 1; i < h->segments_n; i++)
		if (h->segments[i].at.index == w->doc.index && h->segments[i - 1].at.index == w->doc.index) {
			first_end = h->segments[i].at.offset;
			break;
		}
	return w->doc.commits_n > 0 ? w->doc.commits[0].offset <= first_end
				    : w->doc.end_offset <= WAL_HEADER_BYTES;
}

/* The snapshot of the index that begins (or of one behind all segments). */
int walk_snapshot(struct walk *w, const struct plan_object *o, struct err *e)
{
	struct snapshot_reader r;
	struct position usable = { o->at.index, 0 };
	/* Of a snapshot that is newer than the index object this knows nothing: Litestream, which may go on in
	 * a generation of ours, may have put it there. */
	bool told = w->doc_there && o->created_us <= w->doc.stored_us + PUBLISH_US;
	bool noted = told && w->doc.snapshot_fuzzy;
	told = noted || (told && doc_knows_all(w));
	if (noted && position_compare(w->doc.usable_from, usable) > 0)
		usable = w->doc.usable_from;
	int rc = snapshot_read(w, o, told && !noted, &r, e);
	if (rc == 0 && r.misleads)
		walk_window_end(w, (struct position){ o->at.index, 0 });
	if (rc <= 0)
		return rc;
	walk_compare_end(w); /* that of an earlier snapshot, whose pages have gone now */
	bool follows = w->pages_on && w->pages.known;
	w->cmp = (struct comparison){
		.on = follows, .opened = !w->sound, .index = o->at.index, .at = usable, .before = w->window
	};
	w->cmp.to_end = !told;
	bool opens = !w->sound;
	if (opens)
		walk_window_open(w, o, usable);
	if (!w->page_bytes || opens)
		w->page_bytes = r.page_bytes;
	if (w->pages_on && !follows) {
		if (r.plain_bytes == 0 && history_snapshot_begin(&w->pages, PAGE_BYTES_MIN, e) < 0)
			return -1;
		history_adopt(&w->pages);
		w->history_base = o->at.index;
		w->confirmed = false;
		w->mismatches = 0;
	}
	if (opens && !follows && base_begin(w, &r, usable, told, e) < 0)
		return -1;
	history_mark(&w->pages);
	if (follows && !w->cmp.to_end && usable.offset == 0 && usable.index == o->at.index)
		walk_compare(w);
	return 0;
}

int walk_snapshot_alone(struct walk *w, const struct plan_object *o, struct err *e)
{
	struct snapshot_reader r;
	return snapshot_read(w, o, false, &r, e) < 0 ? -1 : 0;
}

void walk_base_free(struct walk *w)
{
	memory_unmap(w->base.seen, BASE_PAGES / 8);
	w->base.seen = NULL;
}
