/* SPDX-License-Identifier: Apache-2.0
 *
 * A replica in memory, for tests that need ten thousand of them: a list of objects whose bytes are shared
 * between copies, and a store over it. Any thread may use a store; what the test itself does to the list it
 * does while no store is used, or in the two calls below. */
#ifndef WB_TEST_MEMSTORE_H
#define WB_TEST_MEMSTORE_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/layout.h"
#include "store/store.h"

struct mem_object {
	char key[OBJECT_KEY_BYTES];
	uint8_t *p; /* owned by the one who made it */
	size_t n;
	int64_t created_us;
};

struct mem {
	struct mem_object *v;
	size_t n, cap;
	/* called before a listing and before an object is opened, one at a time; may be NULL */
	void (*on_list)(struct mem *m, const char *prefix);
	void (*on_get)(struct mem *m, const char *key);
	void *arg;
};

static pthread_mutex_t mem_lock = PTHREAD_MUTEX_INITIALIZER;

struct mem_store {
	struct store base;
	struct mem *mem;
};

struct store_get {
	struct mem_object o;
	size_t at;
};

static inline struct mem_object *mem_find(const struct mem *m, const char *key)
{
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->v[i].key, key) == 0)
			return &m->v[i];
	return NULL;
}

static inline void mem_put(struct mem *m, const char *key, uint8_t *p, size_t n, int64_t created_us)
{
	struct mem_object *o = mem_find(m, key);
	if (!o) {
		if (m->n == m->cap) {
			m->cap = m->cap ? m->cap * 2 : 64;
			m->v = realloc(m->v, m->cap * sizeof *m->v);
			if (!m->v)
				abort();
		}
		o = &m->v[m->n++];
	}
	snprintf(o->key, sizeof o->key, "%s", key);
	o->p = p;
	o->n = n;
	o->created_us = created_us;
}

static inline void mem_remove(struct mem *m, const char *key)
{
	struct mem_object *o = mem_find(m, key);
	if (o)
		memmove(o, o + 1, (size_t)(m->v + --m->n - o) * sizeof *o);
}

/* A list of its own over the same bytes. */
static inline struct mem mem_copy(const struct mem *m)
{
	struct mem c = { .n = m->n, .cap = m->n + 8 };
	c.v = malloc(c.cap * sizeof *c.v);
	if (!c.v)
		abort();
	memcpy(c.v, m->v, m->n * sizeof *c.v);
	return c;
}

static int mem_list_locked(struct mem *m, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	size_t n = strlen(prefix);
	if (m->on_list)
		m->on_list(m, prefix);
	for (size_t i = 0; i < m->n; i++) {
		char name[OBJECT_KEY_BYTES];
		if (strncmp(m->v[i].key, prefix, n) != 0)
			continue;
		size_t len = strcspn(m->v[i].key + n, "/");
		memcpy(name, m->v[i].key + n, len);
		name[len] = 0;
		struct store_entry entry = { .name = name, .is_dir = m->v[i].key[n + len] == '/' };
		bool told = false; /* a folder is told once */
		for (size_t k = 0; k < i && !told; k++)
			told = strncmp(m->v[k].key, m->v[i].key, n + len + 1) == 0;
		entry.bytes = m->v[i].n;
		entry.created_us = m->v[i].created_us;
		if (!told && fn(arg, &entry, e) != 0)
			return -1;
	}
	return 0;
}

static int mem_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	pthread_mutex_lock(&mem_lock);
	int rc = mem_list_locked(((struct mem_store *)(void *)s)->mem, prefix, fn, arg, e);
	pthread_mutex_unlock(&mem_lock);
	return rc;
}

static int mem_get_begin(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			 struct err *e)
{
	struct mem *m = ((struct mem_store *)(void *)s)->mem;
	struct store_get *g = calloc(1, sizeof *g);
	if (!g)
		abort();
	pthread_mutex_lock(&mem_lock);
	if (m->on_get)
		m->on_get(m, key);
	const struct mem_object *o = mem_find(m, key);
	if (o)
		g->o = *o;
	pthread_mutex_unlock(&mem_lock);
	if (!o) {
		free(g);
		return err_set(e, ERR_NOTHING, "%s: no such object", key);
	}
	g->at = (size_t)offset;
	*ret = g;
	return 0;
}

static long mem_get_read(struct store_get *g, void *p, size_t n, struct err *e)
{
	size_t left = g->at < g->o.n ? g->o.n - g->at : 0;
	(void)e;
	if (n > left)
		n = left;
	if (n > 0)
		memcpy(p, g->o.p + g->at, n);
	g->at += n;
	return (long)n;
}

static void mem_get_end(struct store_get *g)
{
	free(g);
}

static void mem_close(struct store *s)
{
	free(s);
}

static const struct store_ops mem_ops = {
	.scheme = "mem",
	.list = mem_list,
	.get_begin = mem_get_begin,
	.get_read = mem_get_read,
	.get_end = mem_get_end,
	.close = mem_close,
};

/* arg: the struct mem. Also the open_more of a source. */
static int mem_open(void *arg, struct store **ret, struct err *e)
{
	struct mem_store *s = calloc(1, sizeof *s);
	(void)e;
	if (!s)
		abort();
	s->base.ops = &mem_ops;
	snprintf(s->base.label, sizeof s->base.label, "memory");
	s->mem = arg;
	*ret = &s->base;
	return 0;
}

#endif
