/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that are open: see opened.h. A hash table by inode under one lock; its memory goes when the last one
 * does. */
#include "db/opened.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/clock.h"

enum { BUCKETS_FIRST = 16, PASSING_US = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct opened **buckets;
	size_t buckets_n, n, aside_n;
} table;

static struct opened **bucket(struct opened **buckets, size_t n, ino_t ino)
{
	return &buckets[((uint64_t)ino * 0x9e3779b97f4a7c15u >> 32) & (n - 1)];
}

/* With the lock. A table that cannot grow has longer chains. */
static void grow(void)
{
	size_t n = table.buckets_n ? 2 * table.buckets_n : BUCKETS_FIRST;
	struct opened **more = calloc(n, sizeof(struct opened *));
	if (!more)
		return;
	for (size_t i = 0; i < table.buckets_n; i++) {
		for (struct opened *o = table.buckets[i], *next; o; o = next) {
			struct opened **at = bucket(more, n, o->ino);
			next = o->next;
			o->next = *at;
			*at = o;
		}
	}
	free(table.buckets);
	table.buckets = more;
	table.buckets_n = n;
}

static struct opened *find(dev_t dev, ino_t ino)
{
	struct opened *x = table.n ? *bucket(table.buckets, table.buckets_n, ino) : NULL;
	while (x && (x->ino != ino || x->dev != dev))
		x = x->next;
	return x;
}

static bool add(struct opened *o, dev_t dev, ino_t ino)
{
	if (table.n >= table.buckets_n)
		grow();
	if (!table.buckets)
		return false;
	struct opened **at = bucket(table.buckets, table.buckets_n, ino);
	*o = (struct opened){
		.dev = dev, .ino = ino, .passing = o->passing, .aside = o->aside, .is = true, .next = *at
	};
	*at = o;
	table.n++;
	table.aside_n += o->aside;
	return true;
}

static void forget(struct opened *o)
{
	struct opened **at = bucket(table.buckets, table.buckets_n, o->ino);
	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	o->is = false;
	table.aside_n -= o->aside;
	if (--table.n > 0)
		return;
	free(table.buckets);
	table.buckets = NULL;
	table.buckets_n = 0;
}

bool opened_take(struct opened *o, dev_t dev, ino_t ino)
{
	pthread_mutex_lock(&lock);
	struct opened *other = find(dev, ino);
	while (other && other != o && other->passing) {
		pthread_mutex_unlock(&lock);
		sleep_us(PASSING_US);
		pthread_mutex_lock(&lock);
		other = find(dev, ino);
	}
	if (o->is && other != o)
		forget(o);
	bool got = other == o || (!other && add(o, dev, ino));
	pthread_mutex_unlock(&lock);
	return got;
}

void opened_forget(struct opened *o)
{
	pthread_mutex_lock(&lock);
	if (o->is)
		forget(o);
	pthread_mutex_unlock(&lock);
}

size_t opened_count(void)
{
	pthread_mutex_lock(&lock);
	size_t n = table.n - table.aside_n;
	pthread_mutex_unlock(&lock);
	return n;
}
