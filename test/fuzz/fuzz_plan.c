/* SPDX-License-Identifier: Apache-2.0
 *
 * Listings, index documents and wishes from nowhere. A plan that is made must be one that restore can follow:
 * the segments begin with the snapshot's index at offset 0, ascend, leave out no index, and end where the wish
 * says; the same listing in reverse order must give the same plan. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/plan.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OBJECTS = 24, DOCS = 6 };

struct made {
	struct plan_object snapshots[OBJECTS], segments[OBJECTS];
	struct wal_index_doc docs[DOCS];
	const struct wal_index_doc *doc_list[DOCS];
	struct plan_listing l;
};

/* Small numbers mostly, so that objects meet; now and then extreme ones. */
static uint64_t number(struct cur *c)
{
	uint8_t b = cur_u8(c);
	return b < 0xfe ? b % 16 : b == 0xfe ? cur_be64(c) : (uint64_t)INT64_MAX;
}

static struct plan_object make_object(struct cur *c, bool offset)
{
	struct plan_object o = { .at.index = number(c) };
	if (offset)
		o.at.offset = number(c) * 4120;
	o.created_us = (int64_t)number(c);
	return o;
}

static void make(struct made *m, struct cur *c)
{
	memset(m, 0, sizeof *m);
	struct generation g = generation_from(7), other = generation_from(8);
	m->l = (struct plan_listing){
		.generation = g, .snapshots = m->snapshots, .segments = m->segments, .docs = m->doc_list
	};
	for (size_t n = cur_u8(c) % OBJECTS; n > 0; n--)
		m->snapshots[m->l.snapshots_n++] = make_object(c, false);
	for (size_t n = cur_u8(c) % OBJECTS; n > 0; n--)
		m->segments[m->l.segments_n++] = make_object(c, true);
	for (size_t n = cur_u8(c) % DOCS; n > 0; n--) {
		struct wal_index_doc *d = &m->docs[m->l.docs_n];
		uint8_t flags = cur_u8(c);
		*d = (struct wal_index_doc){ .generation = flags & 1 ? other : g,
					     .index = number(c),
					     .end_offset = number(c) };
		d->snapshot_fuzzy = flags & 2;
		d->usable_from.index = number(c);
		d->usable_from.offset = number(c) * 4120;
		for (unsigned k = flags >> 4; k > 0; k--)
			index_doc_add(d, (struct index_commit){ number(c) * 4120, (int64_t)number(c) });
		m->doc_list[m->l.docs_n++] = d;
	}
}

static void check_plan(const struct plan *p, const struct plan_wish *w)
{
	uint64_t index = p->snapshot.at.index;
	assert(!w->below || index < w->below_index);
	assert(!w->by_index || index <= w->index);
	for (size_t i = 0; i < p->segments_n; i++) {
		const struct plan_object *s = &p->segments[i];
		if (i == 0 || s->at.index != index) {
			index += i == 0 ? 0 : 1;
			assert(s->at.index == index && s->at.offset == 0);
		} else {
			assert(s->at.offset > p->segments[i - 1].at.offset);
		}
		assert(!w->by_index || s->at.index <= w->index);
		if (p->stop_inside)
			assert(position_compare(s->at, p->stop) < 0);
	}
	if (p->stop_inside)
		assert(w->by_time && p->exact_time && p->segments_n > 0 && p->stop.index == index);
}

static void reverse(struct plan_object *v, size_t n)
{
	for (size_t i = 0; i + 1 < n - i; i++) {
		struct plan_object t = v[i];
		v[i] = v[n - 1 - i];
		v[n - 1 - i] = t;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cur c = { .p = data, .n = size }, again = c;
	struct made m, mirror;
	struct plan_wish w = { 0 };
	make(&m, &c);
	make(&mirror, &again);
	uint8_t flags = cur_u8(&c);
	w.by_index = flags & 1;
	w.by_time = flags & 2;
	w.below = flags & 4;
	w.index = number(&c);
	w.below_index = number(&c);
	w.wall_us = (int64_t)number(&c);
	struct err e = ERR_INIT, e2 = ERR_INIT;
	int64_t first, last;
	bool window = plan_window(&m.l, &first, &last);
	assert(!window || first <= last);
	assert(plan_choose_generation(&m.l, 1, &w, &e) <= 0);
	reverse(mirror.snapshots, mirror.l.snapshots_n);
	reverse(mirror.segments, mirror.l.segments_n);
	struct plan p, p2;
	int rc = plan_make(&m.l, &w, &p, &e);
	assert(plan_make(&mirror.l, &w, &p2, &e2) == rc);
	if (rc == 0) {
		check_plan(&p, &w);
		assert(position_compare(p.snapshot.at, p2.snapshot.at) == 0 && p.segments_n == p2.segments_n);
		assert(p.stop_inside == p2.stop_inside && position_compare(p.stop, p2.stop) == 0);
	} else {
		assert(e.kind == ERR_NOTHING || e.kind == ERR_DAMAGED);
		assert(strcmp(e.text, e2.text) == 0);
	}
	for (int i = 0; i < DOCS; i++) {
		index_doc_free(&m.docs[i]);
		index_doc_free(&mirror.docs[i]);
	}
	return 0;
}
