/* SPDX-License-Identifier: Apache-2.0
 *
 * Encryption as a filter around any store: what is put is encrypted with age for the recipients, what is got is
 * decrypted with the identities and authenticated chunk by chunk before a byte of it is handed out. Names,
 * counts and sizes stay visible; the sizes of a listing are the stored ones. */
#ifndef WB_STORE_CRYPT_H
#define WB_STORE_CRYPT_H

#include "core/age.h"
#include "store/store.h"

/* Wraps `inner`, which belongs to the filter from then on (also when this fails it is closed). The keys are
 * copied. Without recipients it encrypts for the public keys of the identities; without identities nothing can
 * be read (ERR_CONFIG when tried). ERR_FAIL: libcrypto is not there.
 *
 * Reading, besides what the inner store says: ERR_DAMAGED (cut off or altered; says which chunk), ERR_CONFIG
 * (not encrypted, or not for these keys). */
int crypt_open(struct store *inner, const struct age_keys *keys, struct store **ret, struct err *e);

/* store_open(), and the filter around it if there are any keys (keys may be NULL). */
int store_open_keyed(const char *url, bool allow_plain, const struct owner *owner, const struct age_keys *keys,
		     struct store **ret, struct err *e);

#endif
