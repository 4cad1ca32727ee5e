/* SPDX-License-Identifier: Apache-2.0
 *
 * The lineage of a database: who may go on writing its history (docs/live.md). A text of a few lines that lies
 * in the metadata directory and is the first record of every extended stream. */
#ifndef WB_LIVE_LINEAGE_H
#define WB_LIVE_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "core/layout.h"

enum {
	LINEAGE_ID_CHARS = 16,
	LINEAGE_PROMOTIONS_MAX = 10000,
	LINEAGE_TEXT_BYTES_MAX = 2 << 20, /* so many promotions fit */
};

struct lineage_promotion {
	char id[LINEAGE_ID_CHARS + 1];
	struct generation generation; /* with `at`: from where the promoted one went on */
	struct position at;
	int64_t wall_us;
};

struct lineage {
	char line[LINEAGE_ID_CHARS + 1]; /* "": none */
	bool plain;			 /* made by a follower whose primary had none: see lineage_gives_way */
	struct lineage_promotion *promotions;
	size_t n;
};

void lineage_free(struct lineage *l); /* ends as none */
/* A new line, without promotions. */
int lineage_make(struct lineage *ret, struct err *e);
/* Adds a promotion with a new id. */
int lineage_promote(struct lineage *l, const struct generation *g, struct position at, int64_t wall_us,
		    struct err *e);

/* Text of an untrusted peer or of the file. ERR_DAMAGED: says which line is what it cannot be. */
int lineage_parse(struct span text, struct lineage *ret, struct err *e);
int lineage_text(const struct lineage *l, struct dyn *to); /* -1: no memory */

enum lineage_match {
	LINEAGE_SAME,
	LINEAGE_AHEAD,	/* ours is the beginning of the other one: that was promoted since */
	LINEAGE_BEHIND, /* the other one is the beginning of ours: an old primary that has come back */
	LINEAGE_BRANCH, /* both were promoted, differently */
	LINEAGE_OTHER,	/* another line: another database */
};
enum lineage_match lineage_compare(const struct lineage *ours, const struct lineage *other);

/* Ours was made here, or further up in the chain, because a plain server has none; nobody was promoted since;
 * and now another one comes, of whoever is followed: a plain server would have been followed as well. */
bool lineage_gives_way(const struct lineage *ours, const struct lineage *other);

/* <meta>/walbrook/lineage. ERR_NOTHING: there is none. Whoever writes makes the directory first. */
int lineage_read(const char *meta_dir, struct lineage *ret, struct err *e);
int lineage_write(const char *meta_dir, const struct owner *owner, const struct lineage *l, struct err *e);
/* The one that is there, or a new one that is written. */
int lineage_read_or_make(const char *meta_dir, const struct owner *owner, struct lineage *ret, struct err *e);

#endif
