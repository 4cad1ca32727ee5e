/* SPDX-License-Identifier: Apache-2.0
 *
 * Primitives of libcrypto: see crypto.h.
 *
 * Happy path: the first crypto_load() opens libcrypto.so.3 and finds every function of the list FUNCTIONS; from
 * then on a call is a call through a pointer. The headers of OpenSSL give the pointers their types, so a
 * function that is used wrongly does not compile. One more primitive is one more line in the list.
 *
 * The library stays loaded to the end, and does not tidy up at exit, where a worker may still be at work.
 *
 * Failure modes: the library is not there, or too old (ERR_FAIL, which names the package); a call fails for
 * want of memory (ERR_FAIL). What is not authentic is no error here: the caller knows what it was. */
#include "base/crypto.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/library.h"

#ifndef CRYPTO_LIBRARY /* a test names one that there is not */
#define CRYPTO_LIBRARY "libcrypto.so.3"
#endif

#define FUNCTIONS(X)                                                                                           \
	X(OPENSSL_init_crypto)                                                                                 \
	X(CRYPTO_memcmp)                                                                                       \
	X(EVP_sha256)                                                                                          \
	X(EVP_Digest)                                                                                          \
	X(HMAC)                                                                                                \
	X(EVP_PKEY_new_raw_private_key)                                                                        \
	X(EVP_PKEY_new_raw_public_key)                                                                         \
	X(EVP_PKEY_get_raw_public_key)                                                                         \
	X(EVP_PKEY_free)                                                                                       \
	X(EVP_PKEY_CTX_new)                                                                                    \
	X(EVP_PKEY_CTX_free)                                                                                   \
	X(EVP_PKEY_derive_init)                                                                                \
	X(EVP_PKEY_derive_set_peer)                                                                            \
	X(EVP_PKEY_derive)                                                                                     \
	X(EVP_chacha20_poly1305)                                                                               \
	X(EVP_CIPHER_CTX_new)                                                                                  \
	X(EVP_CIPHER_CTX_free)                                                                                 \
	X(EVP_CIPHER_CTX_ctrl)                                                                                 \
	X(EVP_CipherInit_ex)                                                                                   \
	X(EVP_CipherUpdate)                                                                                    \
	X(EVP_CipherFinal_ex)

static struct {
#define X(name) __typeof__(&name) name##_;
	FUNCTIONS(X)
#undef X
} lib;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct err load_error; /* kind NONE: it is loaded */

static void load(void)
{
	static const struct library_function functions[] = {
#define X(name) { #name, offsetof(__typeof__(lib), name##_) },
		FUNCTIONS(X)
#undef X
	};
	static const struct library crypto = { .file = CRYPTO_LIBRARY,
					       .title = CRYPTO_LIBRARY " of OpenSSL 3",
					       .user = "encryption",
					       .package = "libssl3 or libssl3t64" };
	if (library_load(&crypto, functions, sizeof functions / sizeof *functions, &lib, &load_error) < 0)
		return;
	lib.OPENSSL_init_crypto_(OPENSSL_INIT_NO_ATEXIT, NULL);
}

int crypto_load(struct err *e)
{
	pthread_once(&once, load);
	if (load_error.kind == ERR_NONE)
		return 0;
	*e = load_error;
	return -1;
}

static int failed(const char *what, struct err *e)
{
	return err_set(e, ERR_FAIL, "%s: libcrypto failed, perhaps for want of memory", what);
}

/* ---- SHA-256 ---- */

int crypto_sha256(struct span data, uint8_t out[CRYPTO_HASH_BYTES], struct err *e)
{
	return lib.EVP_Digest_(data.p, data.n, out, NULL, lib.EVP_sha256_(), NULL) == 1 ? 0
											: failed("SHA-256", e);
}

int crypto_hmac_sha256(struct span key, struct span data, uint8_t out[CRYPTO_HASH_BYTES], struct err *e)
{
	static const uint8_t none[1];
	if (key.n > INT_MAX ||
	    !lib.HMAC_(lib.EVP_sha256_(), key.n ? key.p : none, (int)key.n, data.p, data.n, out, NULL))
		return failed("HMAC", e);
	return 0;
}

int crypto_hkdf_sha256(struct span secret, struct span salt, struct span info, uint8_t out[CRYPTO_HASH_BYTES],
		       struct err *e)
{
	uint8_t extracted[CRYPTO_HASH_BYTES], block[128];
	if (info.n >= sizeof block)
		return err_set(e, ERR_FAIL, "HKDF: the label is too long");
	memcpy(block, info.p, info.n);
	block[info.n] = 1;
	int rc = crypto_hmac_sha256(salt, secret, extracted, e);
	if (rc == 0)
		rc = crypto_hmac_sha256((struct span){ extracted, sizeof extracted },
					(struct span){ block, info.n + 1 }, out, e);
	crypto_wipe(extracted, sizeof extracted);
	return rc;
}

bool crypto_equal(const void *a, const void *b, size_t n)
{
	return lib.CRYPTO_memcmp_(a, b, n) == 0;
}

/* ---- X25519 ---- */

int crypto_x25519_public(const uint8_t private_key[CRYPTO_KEY_BYTES], uint8_t out[CRYPTO_KEY_BYTES],
			 struct err *e)
{
	size_t n = CRYPTO_KEY_BYTES;
	EVP_PKEY *key = lib.EVP_PKEY_new_raw_private_key_(EVP_PKEY_X25519, NULL, private_key, CRYPTO_KEY_BYTES);
	int ok = key && lib.EVP_PKEY_get_raw_public_key_(key, out, &n) == 1 && n == CRYPTO_KEY_BYTES;
	lib.EVP_PKEY_free_(key);
	return ok ? 0 : failed("X25519", e);
}

int crypto_x25519(const uint8_t private_key[CRYPTO_KEY_BYTES], const uint8_t public_key[CRYPTO_KEY_BYTES],
		  uint8_t out[CRYPTO_KEY_BYTES], struct err *e)
{
	size_t n = CRYPTO_KEY_BYTES;
	int rc = -1;
	EVP_PKEY *mine =
		lib.EVP_PKEY_new_raw_private_key_(EVP_PKEY_X25519, NULL, private_key, CRYPTO_KEY_BYTES);
	EVP_PKEY *theirs =
		lib.EVP_PKEY_new_raw_public_key_(EVP_PKEY_X25519, NULL, public_key, CRYPTO_KEY_BYTES);
	EVP_PKEY_CTX *ctx = mine ? lib.EVP_PKEY_CTX_new_(mine, NULL) : NULL;
	if (!theirs || !ctx || lib.EVP_PKEY_derive_init_(ctx) != 1 ||
	    lib.EVP_PKEY_derive_set_peer_(ctx, theirs) != 1)
		failed("X25519", e);
	else if (lib.EVP_PKEY_derive_(ctx, out, &n) != 1 || n != CRYPTO_KEY_BYTES)
		err_set(e, ERR_DAMAGED, "a public key of X25519 makes no secret");
	else
		rc = 0;
	lib.EVP_PKEY_CTX_free_(ctx);
	lib.EVP_PKEY_free_(theirs);
	lib.EVP_PKEY_free_(mine);
	return rc;
}

/* ---- ChaCha20-Poly1305 ----
 *
 * struct crypto_aead is libcrypto's own context under our name. */

static EVP_CIPHER_CTX *of(struct crypto_aead *a)
{
	return (EVP_CIPHER_CTX *)(void *)a;
}

struct crypto_aead *crypto_aead_new(const uint8_t key[CRYPTO_KEY_BYTES], struct err *e)
{
	EVP_CIPHER_CTX *ctx = lib.EVP_CIPHER_CTX_new_();
	if (!ctx || lib.EVP_CipherInit_ex_(ctx, lib.EVP_chacha20_poly1305_(), NULL, key, NULL, 1) != 1) {
		lib.EVP_CIPHER_CTX_free_(ctx);
		failed("ChaCha20-Poly1305", e);
		return NULL;
	}
	return (struct crypto_aead *)(void *)ctx;
}

int crypto_aead_seal(struct crypto_aead *a, const uint8_t nonce[CRYPTO_NONCE_BYTES], struct span plain,
		     uint8_t *out, struct err *e)
{
	int n = 0, end = 0;
	bool ok = plain.n <= INT_MAX && lib.EVP_CipherInit_ex_(of(a), NULL, NULL, NULL, nonce, 1) == 1;
	if (ok && plain.n > 0)
		ok = lib.EVP_CipherUpdate_(of(a), out, &n, plain.p, (int)plain.n) == 1;
	ok = ok && (size_t)n == plain.n && lib.EVP_CipherFinal_ex_(of(a), out + n, &end) == 1 && end == 0;
	ok = ok && lib.EVP_CIPHER_CTX_ctrl_(of(a), EVP_CTRL_AEAD_GET_TAG, CRYPTO_TAG_BYTES, out + plain.n) == 1;
	return ok ? 0 : failed("ChaCha20-Poly1305", e);
}

bool crypto_aead_open(struct crypto_aead *a, const uint8_t nonce[CRYPTO_NONCE_BYTES], struct span sealed,
		      uint8_t *out)
{
	uint8_t tag[CRYPTO_TAG_BYTES], none[1];
	int n = 0, end = 0;
	if (sealed.n < sizeof tag || sealed.n > INT_MAX)
		return false;
	size_t plain_n = sealed.n - sizeof tag;
	memcpy(tag, sealed.p + plain_n, sizeof tag);
	if (lib.EVP_CipherInit_ex_(of(a), NULL, NULL, NULL, nonce, 0) != 1 ||
	    lib.EVP_CIPHER_CTX_ctrl_(of(a), EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) != 1)
		return false;
	if (plain_n > 0 && lib.EVP_CipherUpdate_(of(a), out, &n, sealed.p, (int)plain_n) != 1)
		return false;
	return (size_t)n == plain_n && lib.EVP_CipherFinal_ex_(of(a), none, &end) == 1;
}

void crypto_aead_free(struct crypto_aead *a)
{
	if (a)
		lib.EVP_CIPHER_CTX_free_(of(a));
}

/* ---- without the library ---- */

int crypto_random(void *p, size_t n, struct err *e)
{
	for (uint8_t *at = p; n > 0;) {
		ssize_t got = getrandom(at, n, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(e, errno, "no random bytes from the kernel");
		at += got;
		n -= (size_t)got;
	}
	return 0;
}

void crypto_wipe(void *p, size_t n)
{
	if (n > 0)
		explicit_bzero(p, n);
}
