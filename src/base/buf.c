/* SPDX-License-Identifier: Apache-2.0
 *
 * Growable buffers and the cursor: see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int dyn_reserve(struct dyn *b, size_t n)
{
	if (n > b->max - b->len)
		return -1;
	if (n <= b->cap - b->len)
		return 0;
	size_t cap = b->cap ? b->cap : 256;
	while (cap - b->len < n)
		cap *= 2;
	if (cap > b->max)
		cap = b->max;
	uint8_t *p = realloc(b->p, cap);
	if (!p)
		return -1;
	b->p = p;
	b->cap = cap;
	return 0;
}

int dyn_add(struct dyn *b, const void *src, size_t n)
{
	if (n == 0)
		return 0;
	if (dyn_reserve(b, n) < 0)
		return -1;
	memcpy(b->p + b->len, src, n);
	b->len += n;
	return 0;
}

int dyn_addf(struct dyn *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || dyn_reserve(b, (size_t)n + 1) < 0)
		return -1;
	va_start(ap, fmt);
	vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
	return 0;
}

void dyn_free(struct dyn *b)
{
	free(b->p);
	*b = DYN_INIT(b->max);
}

struct span cur_take(struct cur *c, size_t n)
{
	if (c->n < n) {
		c->bad = true;
		c->n = 0;
		return (struct span){ NULL, 0 };
	}
	struct span s = { c->p, n };
	c->p += n;
	c->n -= n;
	return s;
}

uint8_t cur_u8(struct cur *c)
{
	struct span s = cur_take(c, 1);
	return s.p ? s.p[0] : 0;
}

uint32_t cur_be32(struct cur *c)
{
	struct span s = cur_take(c, 4);
	return s.p ? get_be32(s.p) : 0;
}

uint64_t cur_be64(struct cur *c)
{
	struct span s = cur_take(c, 8);
	return s.p ? get_be64(s.p) : 0;
}

uint32_t cur_le32(struct cur *c)
{
	struct span s = cur_take(c, 4);
	return s.p ? get_le32(s.p) : 0;
}

uint64_t cur_varint(struct cur *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		uint8_t b = cur_u8(c);
		if (c->bad)
			return 0;
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80))
			return v;
	}
	c->bad = true;
	return 0;
}

size_t put_varint(uint8_t *p, uint64_t v)
{
	size_t n = 0;
	while (v >= 0x80) {
		p[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (uint8_t)v;
	return n;
}

size_t utf8_take(const uint8_t *p, size_t n, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t len = p[0] < 0x80   ? 1
		     : p[0] < 0xc2 ? 0
		     : p[0] < 0xe0 ? 2
		     : p[0] < 0xf0 ? 3
		     : p[0] < 0xf5 ? 4
				   : 0;
	if (len == 0 || len > n)
		return 0;
	uint32_t v = len == 1 ? p[0] : p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	*ret = v;
	return v < least[len] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) ? 0 : len;
}
