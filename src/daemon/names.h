/* SPDX-License-Identifier: Apache-2.0
 *
 * Structs found by a name, however many there are: a hash table whose links are in the structs. */
#ifndef WB_DAEMON_NAMES_H
#define WB_DAEMON_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct named {
	const char *name; /* borrowed while it is in the table */
	void *owner;	  /* the user's */
	/* private */
	bool in;
	uint64_t hash;
	struct named *next;
};

/* Zero it to begin with. */
struct names {
	struct named **buckets;
	size_t buckets_n, n;
};

struct named *names_find(const struct names *t, const char *name); /* NULL: none */
/* -1: no memory. Two of one name must not be in it. */
int names_add(struct names *t, struct named *x, const char *name);
void names_remove(struct names *t, struct named *x); /* fine when it is in none */
/* All t->n of them, to free(); for walks that change the table. NULL: no memory. */
struct named **names_all(const struct names *t);
void names_free(struct names *t); /* the table; the structs are not touched */

#endif
