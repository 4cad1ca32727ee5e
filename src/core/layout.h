/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions, objects and their names in a replica of the Litestream 0.3 layout:
 *
 *   generations/<16 hex>/snapshots/<index>.snapshot.lz4
 *   generations/<16 hex>/wal/<index>_<offset>.wal.lz4
 *   generations/<16 hex>/index/<index>.index        ours; 0.3.13 never looks there (core/index.h)
 *
 * The rest of the program talks about positions and objects; only this file knows names. Numbers are written
 * with %08x and read from 8 to 16 lowercase hex digits (value at most 2^63-1; more than 8 only when the number
 * needs them, so that every position has exactly one name), compared as numbers. Pure. */
#ifndef WB_CORE_LAYOUT_H
#define WB_CORE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define GENERATION_CHARS 16
struct generation {
	char name[GENERATION_CHARS + 1]; /* 16 lowercase hex digits, or "" for none */
};

bool generation_valid(const char *name); /* exactly 16 lowercase hex digits */
struct generation generation_from(uint64_t random_bits);
static inline bool generation_none(const struct generation *g)
{
	return g->name[0] == 0;
}
bool generation_equal(const struct generation *a, const struct generation *b);

/* A place in the history of a generation: byte `offset` of the WAL number `index`. */
struct position {
	uint64_t index;
	uint64_t offset;
};
int position_compare(struct position a, struct position b); /* <0, 0, >0 */
#define POSITION_TEXT_BYTES 64
/* GENERATION/%08x:%d as the original prints it. Returns buf. */
char *position_format(char buf[POSITION_TEXT_BYTES], const struct generation *g, struct position p);
/* The same text back, in exactly that form and nothing behind it. false: it is none. */
bool position_parse(const char *text, struct generation *ret_g, struct position *ret);

enum object_kind { OBJECT_SNAPSHOT, OBJECT_SEGMENT, OBJECT_INDEX };

struct object {
	enum object_kind kind;
	struct generation generation;
	struct position at; /* offset only for segments */
};

#define OBJECT_KEY_BYTES 128
/* The key below the root of the replica, e.g. generations/0123456789abcdef/wal/00000001_00001038.wal.lz4. */
char *object_key(char buf[OBJECT_KEY_BYTES], const struct object *o);
/* The last component only. */
char *object_name(char buf[OBJECT_KEY_BYTES], const struct object *o);
/* The directory in which objects of this kind lie: generations/<gen>/wal/ (with the slash at the end). */
char *object_prefix(char buf[OBJECT_KEY_BYTES], enum object_kind kind, const struct generation *g);

/* Parses the base name of an object of the given kind. false: not one of ours (report it, never delete it). */
bool object_parse(const char *base_name, enum object_kind kind, struct position *ret);

/* "00000f" or "0x1F" as a person writes an index: 1 to 16 hex digits, either case, optional 0x. */
bool index_parse(const char *text, uint64_t *ret);

#endif
