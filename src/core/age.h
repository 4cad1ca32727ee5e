/* SPDX-License-Identifier: Apache-2.0
 *
 * The age format, version 1, with X25519 keys: keys as text, the header of a file, and its payload chunk by
 * chunk (age.c tells the bytes). Pure: randomness is passed in. crypto_load() must have succeeded before the
 * calls that seal, open, or make public keys; parsing needs no library.
 *
 * Secret keys never appear in the text of an error. */
#ifndef WB_CORE_AGE_H
#define WB_CORE_AGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/err.h"

enum {
	AGE_FILE_KEY_BYTES = 16,
	AGE_NONCE_BYTES = 16,	    /* between header and payload */
	AGE_CHUNK_BYTES = 64 << 10, /* of plain data; only the last chunk is shorter */
	AGE_TAG_BYTES = CRYPTO_TAG_BYTES,
	AGE_SEALED_BYTES = AGE_CHUNK_BYTES + AGE_TAG_BYTES,
	AGE_HEADER_MAX_BYTES = 60 << 10, /* some 600 recipients */
	AGE_MAGIC_BYTES = 22,
};
extern const uint8_t age_magic[AGE_MAGIC_BYTES]; /* the first line, with its line feed */

/* ---- keys ---- */

struct age_key {
	uint8_t bytes[CRYPTO_KEY_BYTES];
};

enum age_role { AGE_IDENTITY, AGE_RECIPIENT }; /* secret keys read, public ones are written for */

/* Who may read and for whom is written. Owned; zeroed is empty. */
struct age_keys {
	struct age_key *identities, *recipients;
	size_t identities_n, recipients_n;
};

/* One key as age-keygen writes it: AGE-SECRET-KEY-1… or age1…. ERR_CONFIG says what is wrong and at which
 * character, without repeating it. */
int age_key_parse(enum age_role role, struct span text, struct age_key *ret, struct err *e);
/* Lines with a key each; blanks around them, empty lines and those that begin with # do not count. Adds to *k,
 * which stays as it was when this fails. ERR_CONFIG: the text begins with "line N: ". */
int age_keys_parse(struct age_keys *k, enum age_role role, struct span text, struct err *e);
int age_keys_copy(struct age_keys *to, const struct age_keys *from, struct err *e); /* to: uninitialised */
int age_keys_add(struct age_keys *k, enum age_role role, const struct age_key *key, struct err *e);
void age_keys_free(struct age_keys *k); /* wipes */
int age_public(const struct age_key *identity, struct age_key *ret, struct err *e);
/* 1: one of the identities belongs to a recipient, so what is written can be read; 0: none does; -1: *e. */
int age_keys_match(const struct age_keys *k, struct err *e);

/* ---- header ---- */

struct age_header {
	struct span text; /* all that the MAC covers; borrowed from the input */
	uint8_t mac[CRYPTO_HASH_BYTES];
	size_t bytes;		  /* the nonce stands behind them */
	size_t x25519_n, other_n; /* stanzas of each kind */
};

/* 1: parsed; 0: needs more input; -1: ERR_DAMAGED, no header of age. */
int age_header_parse(struct span in, struct age_header *ret, struct err *e);
/* Finds the stanza that one of the identities opens and checks the MAC. ERR_CONFIG: none does (the text tells
 * a wrong key from a file for other kinds of keys); ERR_DAMAGED: the MAC is wrong. */
int age_header_open(const struct age_header *h, const struct age_key *identities, size_t n,
		    uint8_t file_key[AGE_FILE_KEY_BYTES], struct err *e);
/* Appends a header. ephemeral: a fresh random key for each recipient. */
int age_header_write(const struct age_key *recipients, const struct age_key *ephemeral, size_t n,
		     const uint8_t file_key[AGE_FILE_KEY_BYTES], struct dyn *to, struct err *e);

/* ---- payload ---- */

/* Size of a file for so many recipients with so many plain bytes. */
uint64_t age_file_bytes(uint64_t plain_bytes, size_t recipients_n);

struct age_stream {
	struct crypto_aead *aead;
};

int age_stream_init(struct age_stream *s, const uint8_t file_key[AGE_FILE_KEY_BYTES],
		    const uint8_t nonce[AGE_NONCE_BYTES], struct err *e);
/* Chunk number `chunk`, from 0. plain.n is AGE_CHUNK_BYTES unless it is the last, and not 0 unless it is the
 * only one. out: plain.n + AGE_TAG_BYTES; may be plain.p. */
int age_stream_seal(struct age_stream *s, uint64_t chunk, bool last, struct span plain, uint8_t *out,
		    struct err *e);
/* false: damaged, of another place, or of another file. out: sealed.n - AGE_TAG_BYTES. */
bool age_stream_open(struct age_stream *s, uint64_t chunk, bool last, struct span sealed, uint8_t *out);
void age_stream_fini(struct age_stream *s);

#endif
