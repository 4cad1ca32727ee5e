/* SPDX-License-Identifier: Apache-2.0
 *
 * Names: see names.h. FNV-1a over the bytes; the table doubles when it has as many names as buckets.
 *
 * Failure modes: a table that cannot grow has longer chains; only the first piece of memory is needed. */
#include "daemon/names.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 16 };

static uint64_t hash_of(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (const char *p = name; *p; p++)
		h = (h ^ (unsigned char)*p) * 0x100000001b3u;
	return h ^ h >> 32;
}

static void put(struct named **buckets, size_t n, struct named *x)
{
	struct named **at = &buckets[x->hash & (n - 1)];
	x->next = *at;
	*at = x;
}

static int grow(struct names *t)
{
	size_t n = t->buckets_n ? 2 * t->buckets_n : BUCKETS_FIRST;
	struct named **more = calloc(n, sizeof(struct named *));
	if (!more)
		return t->buckets_n ? 0 : -1;
	for (size_t i = 0; i < t->buckets_n; i++) {
		for (struct named *x = t->buckets[i], *next; x; x = next) {
			next = x->next;
			put(more, n, x);
		}
	}
	free(t->buckets);
	t->buckets = more;
	t->buckets_n = n;
	return 0;
}

struct named *names_find(const struct names *t, const char *name)
{
	uint64_t h = hash_of(name);
	struct named *x = t->buckets_n ? t->buckets[h & (t->buckets_n - 1)] : NULL;
	while (x && (x->hash != h || strcmp(x->name, name) != 0))
		x = x->next;
	return x;
}

int names_add(struct names *t, struct named *x, const char *name)
{
	if (t->n >= t->buckets_n && grow(t) < 0)
		return -1;
	x->name = name;
	x->in = true;
	x->hash = hash_of(name);
	put(t->buckets, t->buckets_n, x);
	t->n++;
	return 0;
}

void names_remove(struct names *t, struct named *x)
{
	if (!x->in)
		return;
	struct named **at = &t->buckets[x->hash & (t->buckets_n - 1)];
	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	x->in = false;
	t->n--;
}

void names_free(struct names *t)
{
	free(t->buckets);
	*t = (struct names){ 0 };
}

struct named **names_all(const struct names *t)
{
	struct named **all = calloc(t->n ? t->n : 1, sizeof(struct named *));
	size_t n = 0;
	for (size_t i = 0; all && i < t->buckets_n; i++)
		for (struct named *x = t->buckets[i]; x; x = x->next)
			all[n++] = x;
	return all;
}
