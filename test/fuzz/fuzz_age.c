/* SPDX-License-Identifier: Apache-2.0
 *
 * age from nowhere. The bytes are taken as a header (whole, and in a growing piece: more bytes never change
 * what fewer have said), as a file that an identity is to open, and as lines of keys, as they are and with the
 * checksum put right. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/age.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_header(struct span in)
{
	static const struct age_key identity = { { 1, 2, 3 } };
	struct age_header h, again;
	struct err e = ERR_INIT;
	uint8_t file_key[AGE_FILE_KEY_BYTES];
	int whole = age_header_parse(in, &h, &e);
	assert(whole >= 0 || (e.kind == ERR_DAMAGED && e.text[0]));
	for (size_t n = 0; n < in.n; n += 1 + in.n / 16) {
		int part = age_header_parse((struct span){ in.p, n }, &again, &e);
		assert(part == 0 || part == whole);
	}
	if (whole <= 0)
		return;
	assert(h.bytes <= in.n && h.text.n < h.bytes && h.x25519_n + h.other_n > 0);
	assert(age_header_parse((struct span){ in.p, h.bytes - 1 }, &again, &e) == 0);
	assert(age_header_parse((struct span){ in.p, h.bytes }, &again, &e) == 1 && again.bytes == h.bytes);
	assert(age_header_open(&h, &identity, 1, file_key, &e) < 0 && e.kind != ERR_NONE);
}

static void try_keys(struct span in)
{
	for (int role = AGE_IDENTITY; role <= AGE_RECIPIENT; role++) {
		struct age_keys k = { 0 };
		struct err e = ERR_INIT;
		if (age_keys_parse(&k, (enum age_role)role, in, &e) < 0)
			assert(e.kind == ERR_CONFIG && strncmp(e.text, "line ", 5) == 0);
		age_keys_free(&k);
	}
}

/* A public key whose letters are those of the input, with the checksum that belongs to them. */
static void try_key(struct span in)
{
	static const char letters[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
	char text[4 + KEY_LETTERS + SUM_LETTERS] = "age1";
	uint32_t sum = bech32_prefix("age");
	struct age_key key;
	struct err e = ERR_INIT;
	if (in.n < KEY_LETTERS)
		return;
	for (size_t i = 0; i < KEY_LETTERS; i++) {
		text[4 + i] = letters[in.p[i] & 31];
		sum = bech32_step(sum, in.p[i] & 31);
	}
	for (size_t i = 0; i < SUM_LETTERS; i++)
		sum = bech32_step(sum, 0);
	sum ^= 1;
	for (size_t i = 0; i < SUM_LETTERS; i++)
		text[4 + KEY_LETTERS + i] = letters[sum >> 5 * (SUM_LETTERS - 1 - i) & 31];
	bool good = (in.p[KEY_LETTERS - 1] & 15) == 0;
	assert(age_key_parse(AGE_RECIPIENT, (struct span){ (const uint8_t *)text, sizeof text }, &key, &e) ==
	       (good ? 0 : -1));
	if (good)
		for (size_t i = 0; i < 5; i++) /* the first bits of the first letter */
			assert((key.bytes[0] >> (7 - i) & 1) == (in.p[0] >> (4 - i) & 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { data, size };
	struct err e = ERR_INIT;
	if (crypto_load(&e) < 0)
		abort();
	try_header(in);
	try_keys(in);
	try_key(in);
	return 0;
}
