/* SPDX-License-Identifier: Apache-2.0
 *
 * What a replica holds: generations, and the objects of one as the plan wants them. */
#ifndef WB_RESTORE_LIST_H
#define WB_RESTORE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/index.h"
#include "core/plan.h"
#include "restore/restore.h"

/* One generation of one source. */
struct listing {
	struct restore_source *source;
	struct plan_listing plan; /* its arrays and docs belong to the listing */
	size_t snapshots_cap, segments_cap;
	uint64_t *doc_indexes; /* indexes that have a document, ascending */
	size_t doc_indexes_n, doc_indexes_cap;
	struct plan_object *doc_objects; /* the same documents as objects, ascending */
	size_t doc_objects_n, doc_objects_cap;
	struct wal_index_doc *docs; /* those that were read; plan.docs points at them */
	size_t docs_n, docs_cap;
};

struct generations {
	struct generation *v;
	size_t n, cap;
};

/* Names that are not ours are warned about if `warn`. A replica without the folder has no generations. */
int list_generations(struct store *s, struct generations *ret, bool warn, struct err *e);
void generations_free(struct generations *g);

int listing_read(struct listing *l, struct restore_source *source, const struct generation *g, bool warn,
		 struct err *e);
/* The same, only the folders of some kinds: LIST_KIND(OBJECT_SEGMENT) | … */
#define LIST_KIND(kind) (1u << (kind))
int listing_read_kinds(struct listing *l, struct restore_source *source, const struct generation *g,
		       unsigned kinds, bool warn, struct err *e);
/* Reads the documents that the wish needs. */
int listing_docs(struct listing *l, const struct plan_wish *w, struct err *e);
/* Reads the documents that plan_window needs: three at most. */
int listing_docs_window(struct listing *l, struct err *e);
void listing_free(struct listing *l);

/* The newest position at which a segment begins, false: none. */
bool listing_newest(const struct listing *l, struct position *ret);
/* Drops from l what was not there when `before` was listed: snapshots that it lacks, segments behind both its
 * newest and `end` (up to which the index document says that all is there). */
void listing_keep(struct listing *l, const struct listing *before, struct position end);

/* 1: read, free it with index_doc_free; 0: there is none, or it cannot be used (which was logged); -1: *e. */
int list_doc_read(struct store *s, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
		  struct err *e);

/* For whoever lists by himself. Room for one more element of v; a further object at the end; qsort's order. */
int list_room(void **v, size_t n, size_t *cap, size_t element_bytes, struct err *e);
int list_object_add(struct plan_object **v, size_t *n, size_t *cap, const struct plan_object *o, struct err *e);
int list_object_compare(const void *a, const void *b);

#endif
