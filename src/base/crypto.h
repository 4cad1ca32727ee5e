/* SPDX-License-Identifier: Apache-2.0
 *
 * Cryptographic primitives: those of OpenSSL's libcrypto, which is loaded at first use, so that who needs none
 * pays for none. crypto_load() must have succeeded before any other call here except crypto_random and
 * crypto_wipe. Any thread may call; a struct crypto_aead is used by one thread at a time. */
#ifndef WB_BASE_CRYPTO_H
#define WB_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum {
	CRYPTO_HASH_BYTES = 32,	 /* SHA-256 */
	CRYPTO_KEY_BYTES = 32,	 /* X25519, ChaCha20-Poly1305 */
	CRYPTO_NONCE_BYTES = 12, /* ChaCha20-Poly1305 */
	CRYPTO_TAG_BYTES = 16,
};

/* ERR_FAIL: the library is not there or lacks something; the text says what to install. */
int crypto_load(struct err *e);

int crypto_sha256(struct span data, uint8_t out[CRYPTO_HASH_BYTES], struct err *e);
int crypto_hmac_sha256(struct span key, struct span data, uint8_t out[CRYPTO_HASH_BYTES], struct err *e);
/* HKDF with SHA-256 (RFC 5869), one block of output. */
int crypto_hkdf_sha256(struct span secret, struct span salt, struct span info, uint8_t out[CRYPTO_HASH_BYTES],
		       struct err *e);
bool crypto_equal(const void *a, const void *b, size_t n); /* in a time that depends on n alone */

int crypto_x25519_public(const uint8_t private_key[CRYPTO_KEY_BYTES], uint8_t out[CRYPTO_KEY_BYTES],
			 struct err *e);
/* The shared secret. ERR_DAMAGED: public_key is one of the few that make every secret zero. */
int crypto_x25519(const uint8_t private_key[CRYPTO_KEY_BYTES], const uint8_t public_key[CRYPTO_KEY_BYTES],
		  uint8_t out[CRYPTO_KEY_BYTES], struct err *e);

/* ChaCha20-Poly1305 without additional data. */
struct crypto_aead;
struct crypto_aead *crypto_aead_new(const uint8_t key[CRYPTO_KEY_BYTES], struct err *e); /* NULL and *e */
/* out: plain.n + CRYPTO_TAG_BYTES; may be plain.p. */
int crypto_aead_seal(struct crypto_aead *a, const uint8_t nonce[CRYPTO_NONCE_BYTES], struct span plain,
		     uint8_t *out, struct err *e);
/* out: sealed.n - CRYPTO_TAG_BYTES; may be sealed.p. false: not authentic, and out holds nothing of use. */
bool crypto_aead_open(struct crypto_aead *a, const uint8_t nonce[CRYPTO_NONCE_BYTES], struct span sealed,
		      uint8_t *out);
void crypto_aead_free(struct crypto_aead *a);

/* Random bytes of the kernel. */
int crypto_random(void *p, size_t n, struct err *e);
/* Zeros that no compiler leaves out. */
void crypto_wipe(void *p, size_t n);

#endif
