/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of objects, both ways. layout.h draws the tree.
 *
 *   snapshot   <index>.snapshot.lz4
 *   segment    <index>_<offset>.wal.lz4
 *   index      <index>.index
 *
 * A number is written with %08x: lowercase hex, at least 8 digits. It is read back only in that very form, so a
 * name that parses is the name that we would write: a zero too many, an uppercase digit, a suffix or a blank
 * make it a foreign name. (0.3.13 writes offsets past 32 bits with more digits but cannot read them back; we
 * can.)
 *
 * Failure: a foreign name is told by `false`; what to do about it is the caller's decision. */
#include "core/layout.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_DIGITS_MIN = 8, NUMBER_DIGITS_MAX = 16 };
static const uint64_t number_max = INT64_MAX;

static const struct {
	const char *dir, *suffix;
} kinds[] = {
	[OBJECT_SNAPSHOT] = { "snapshots", ".snapshot.lz4" },
	[OBJECT_SEGMENT] = { "wal", ".wal.lz4" },
	[OBJECT_INDEX] = { "index", ".index" },
};

/* Longest key: 12 + 16 + 11 for the directories, two numbers with `_`, the longest suffix. */
static_assert(12 + GENERATION_CHARS + 11 + 2 * NUMBER_DIGITS_MAX + 1 + 13 < OBJECT_KEY_BYTES, "keys fit");
static_assert(GENERATION_CHARS + 1 + 16 + 1 + 20 < POSITION_TEXT_BYTES, "position texts fit");

/* Value of a lowercase hex digit, or -1. */
static int hex_lower(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool generation_valid(const char *name)
{
	size_t n = 0;
	while (n < GENERATION_CHARS && hex_lower(name[n]) >= 0)
		n++;
	return n == GENERATION_CHARS && name[n] == 0;
}

struct generation generation_from(uint64_t random_bits)
{
	struct generation g;
	snprintf(g.name, sizeof g.name, "%016" PRIx64, random_bits);
	return g;
}

bool generation_equal(const struct generation *a, const struct generation *b)
{
	return strcmp(a->name, b->name) == 0;
}

int position_compare(struct position a, struct position b)
{
	if (a.index != b.index)
		return a.index < b.index ? -1 : 1;
	return a.offset < b.offset ? -1 : a.offset > b.offset;
}

char *position_format(char buf[POSITION_TEXT_BYTES], const struct generation *g, struct position p)
{
	if (generation_none(g))
		buf[0] = 0;
	else
		snprintf(buf, POSITION_TEXT_BYTES, "%s/%08" PRIx64 ":%" PRIu64, g->name, p.index, p.offset);
	return buf;
}

char *object_name(char buf[OBJECT_KEY_BYTES], const struct object *o)
{
	assert(o->at.index <= number_max && o->at.offset <= number_max);
	const char *suffix = kinds[o->kind].suffix;
	if (o->kind == OBJECT_SEGMENT)
		snprintf(buf, OBJECT_KEY_BYTES, "%08" PRIx64 "_%08" PRIx64 "%s", o->at.index, o->at.offset,
			 suffix);
	else
		snprintf(buf, OBJECT_KEY_BYTES, "%08" PRIx64 "%s", o->at.index, suffix);
	return buf;
}

char *object_prefix(char buf[OBJECT_KEY_BYTES], enum object_kind kind, const struct generation *g)
{
	assert(generation_valid(g->name));
	snprintf(buf, OBJECT_KEY_BYTES, "generations/%s/%s/", g->name, kinds[kind].dir);
	return buf;
}

char *object_key(char buf[OBJECT_KEY_BYTES], const struct object *o)
{
	char name[OBJECT_KEY_BYTES];
	object_prefix(buf, o->kind, &o->generation);
	size_t n = strlen(buf), name_n = strlen(object_name(name, o));
	assert(n + name_n < OBJECT_KEY_BYTES);
	memcpy(buf + n, name, name_n + 1);
	return buf;
}

/* Reads a number in exactly the form in which we write it and moves *at behind it. */
static bool number_read(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;
	size_t n = 0;
	for (; n < NUMBER_DIGITS_MAX && hex_lower(p[n]) >= 0; n++)
		v = v << 4 | (uint64_t)hex_lower(p[n]);
	if (n < NUMBER_DIGITS_MIN || (n > NUMBER_DIGITS_MIN && p[0] == '0') || v > number_max)
		return false;
	*at = p + n;
	*ret = v;
	return true;
}

/* The same for a decimal number without needless zeros. */
static bool decimal_read(const char **at, uint64_t *ret)
{
	const char *p = *at;
	uint64_t v = 0;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (number_max - (uint64_t)(*p - '0')) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (p == *at || (**at == '0' && p - *at > 1))
		return false;
	*at = p;
	*ret = v;
	return true;
}

bool position_parse(const char *text, struct generation *ret_g, struct position *ret)
{
	struct generation g = { "" };
	struct position p;
	size_t n = strnlen(text, GENERATION_CHARS);
	memcpy(g.name, text, n);
	if (!generation_valid(g.name) || text[n] != '/')
		return false;
	const char *at = text + n + 1;
	if (!number_read(&at, &p.index) || *at++ != ':' || !decimal_read(&at, &p.offset) || *at)
		return false;
	*ret_g = g;
	*ret = p;
	return true;
}

bool object_parse(const char *base_name, enum object_kind kind, struct position *ret)
{
	struct position at = { 0, 0 };
	if (!number_read(&base_name, &at.index))
		return false;
	if (kind == OBJECT_SEGMENT) {
		if (*base_name++ != '_' || !number_read(&base_name, &at.offset))
			return false;
	}
	if (strcmp(base_name, kinds[kind].suffix) != 0)
		return false;
	*ret = at;
	return true;
}

bool index_parse(const char *text, uint64_t *ret)
{
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	uint64_t v = 0;
	size_t n = 0;
	for (; n < NUMBER_DIGITS_MAX && text[n]; n++) {
		int digit = hex_lower(text[n] >= 'A' && text[n] <= 'F' ? (char)(text[n] - 'A' + 'a') : text[n]);
		if (digit < 0)
			return false;
		v = v << 4 | (uint64_t)digit;
	}
	if (n == 0 || text[n] || v > number_max)
		return false;
	*ret = v;
	return true;
}
