/* SPDX-License-Identifier: Apache-2.0
 *
 * What we know locally of a replica that we write and cannot read (encrypted for keys that are not here): where
 * its newest object begins and ends, and the newest index documents.
 *
 *   <meta>/walbrook/shipped/<16 hex: which replica>/end        one record
 *                                                  /index-0…3  documents, by WAL index modulo 4 */
#ifndef WB_DB_SHIPPED_H
#define WB_DB_SHIPPED_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/age.h"
#include "core/index.h"
#include "core/layout.h"

struct shipped {
	struct generation generation;
	struct position at;    /* where the newest segment object begins */
	uint64_t end;	       /* offset at which it ends; equal to at.offset: there is none yet */
	uint64_t stored_bytes; /* size of the object */
	uint8_t recipients[CRYPTO_HASH_BYTES]; /* hash of the keys that it is for */
};

/* The directory of a replica, to be freed. NULL: no memory. Touches nothing. */
char *shipped_dir(const char *meta_dir, const char *name, const char *url);
/* Whatever the order of the keys. Needs crypto_load(). */
int shipped_recipients(const struct age_keys *k, uint8_t out[CRYPTO_HASH_BYTES], struct err *e);

/* Durable when it returns. Makes the directory when it is not there. */
int shipped_write(const char *dir, const struct owner *o, const struct shipped *s, struct err *e);
/* ERR_NOTHING: there is none; ERR_DAMAGED: it is torn. */
int shipped_read(const char *dir, struct shipped *ret, struct err *e);

/* A document of the replica's index, as it was put there. */
int shipped_doc_write(const char *dir, const struct owner *o, uint64_t index, struct span bytes, struct err *e);
/* ERR_NOTHING when there is none of just this generation and WAL index. */
int shipped_doc_read(const char *dir, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
		     struct err *e);

#endif
