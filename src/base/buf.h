/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes: a borrowed span, a growable buffer with a ceiling, and a cursor over untrusted bytes whose failure is
 * sticky (read all fields, look at `bad` once at the end). */
#ifndef WB_BASE_BUF_H
#define WB_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
	const uint8_t *p;
	size_t n;
};

/* Growable bytes. `max` is the ceiling in bytes; passing it is an error (-1), never an exhausted machine. */
struct dyn {
	uint8_t *p;
	size_t len, cap, max;
};

#define DYN_INIT(max_bytes) ((struct dyn){ .max = (max_bytes) })

int dyn_add(struct dyn *b, const void *src, size_t n);
int dyn_addf(struct dyn *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int dyn_reserve(struct dyn *b, size_t n); /* room for n more bytes at b->p + b->len */
void dyn_free(struct dyn *b);		  /* ends as an empty buffer with the same ceiling */

/* Cursor over bytes that may be hostile. After a short read every later read gives 0 and `bad` stays set. */
struct cur {
	const uint8_t *p;
	size_t n;
	bool bad;
};

uint8_t cur_u8(struct cur *c);
uint32_t cur_be32(struct cur *c);
uint64_t cur_be64(struct cur *c);
uint32_t cur_le32(struct cur *c);
uint64_t cur_varint(struct cur *c); /* LEB128, at most 10 bytes */
struct span cur_take(struct cur *c, size_t n);

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline uint64_t get_be64(const uint8_t *p)
{
	return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
	put_be32(p, (uint32_t)(v >> 32));
	put_be32(p + 4, (uint32_t)v);
}

static inline uint32_t get_le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

size_t put_varint(uint8_t *p, uint64_t v); /* returns bytes written, at most 10 */

/* Length of the UTF-8 character that begins at p (n > 0 bytes are there), its number in *ret; 0: it is none. */
size_t utf8_take(const uint8_t *p, size_t n, uint32_t *ret);

#endif
