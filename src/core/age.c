/* SPDX-License-Identifier: Apache-2.0
 *
 * The age format, version 1: see age.h.
 *
 *   age-encryption.org/v1                      first line
 *   -> X25519 SHARE                            a stanza for each recipient; SHARE: an ephemeral public key
 *   BODY                                       the file key, sealed; 16 + 16 bytes
 *   --- MAC                                    HMAC-SHA256 of all from the start to the three dashes
 *   nonce, 16 bytes
 *   payload: chunks of 64 KiB, each with a tag of 16 bytes; the last may be shorter
 *
 * Binary values in the header are base64 without padding, in the canonical form only, in lines of 64
 * characters; the last line of a body is shorter than 64, so it may be empty. Stanzas of other kinds (a
 * passphrase, SSH keys, plugins, what nobody understands) are read over.
 *
 *   body   ChaCha20-Poly1305, nonce zero, key HKDF(secret = X25519(ephemeral, recipient),
 *          salt = SHARE | recipient, info = "age-encryption.org/v1/X25519")
 *   MAC    key HKDF(secret = file key, no salt, info = "header")
 *   chunk  ChaCha20-Poly1305, key HKDF(secret = file key, salt = nonce, info = "payload"), nonce: the number of
 * the chunk in 11 bytes, big-endian, then 1 for the last and 0 for the others
 *
 * So no chunk can be left out, moved or altered, and a payload cannot end early. A payload of nothing is one
 * empty chunk; any other ends with a chunk that is not empty.
 *
 * Keys are Bech32: a prefix, "1", 52 letters for 32 bytes (the last 4 bits zero), 6 letters of checksum. Secret
 * ones are written in capitals with the prefix AGE-SECRET-KEY-, public ones in small letters with age.
 *
 * Failure modes: a key is mistyped, or another kind of key (the text says which, and where, and never repeats a
 * secret); a header is malformed, its MAC is wrong, no identity fits; a chunk is not authentic. */
#include "core/age.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const uint8_t age_magic[AGE_MAGIC_BYTES] = "age-encryption.org/v1\n";
static const char wrap_label[] = "age-encryption.org/v1/X25519";
static const char stanza_begin[] = "-> ", mac_begin[] = "---", x25519_type[] = "X25519";
enum {
	COLUMNS = 64,
	BODY_BYTES = AGE_FILE_KEY_BYTES + AGE_TAG_BYTES,
	LETTERS_32 = 43, /* of base64 for 32 bytes */
	KEY_LETTERS = 52,
	SUM_LETTERS = 6,
};

#define SPAN(array) ((struct span){ (array), sizeof(array) })
#define LABEL(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })

/* ---- keys ---- */

static const char prefixes[][16] = { [AGE_IDENTITY] = "AGE-SECRET-KEY-", [AGE_RECIPIENT] = "age" };

static bool begins(struct span s, const char *with)
{
	return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

/* What is known to be something else. */
static const char *stranger(enum age_role role, struct span s)
{
	if (begins(s, "age-encryption.org/") || begins(s, "-----BEGIN AGE ENCRYPTED FILE"))
		return "the keys are themselves encrypted; decrypt them (age -d) into a file that only you can "
		       "read";
	if (role == AGE_IDENTITY && begins(s, "age1"))
		return "a public key (age1…); the secret one is meant here (AGE-SECRET-KEY-1…)";
	if (role == AGE_RECIPIENT && begins(s, "AGE-SECRET-KEY-"))
		return "a secret key; the public one is meant here (age1…, age-keygen -y prints it)";
	if (begins(s, "ssh-") || begins(s, "-----BEGIN") || begins(s, "ecdsa-"))
		return "an SSH key, which is not supported; make a key with age-keygen";
	if (begins(s, "AGE-PLUGIN-"))
		return "a key of an age plugin, which is not supported; make a key with age-keygen";
	return NULL;
}

static uint32_t bech32_step(uint32_t sum, uint32_t v)
{
	static const uint32_t generator[] = { 0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3 };
	uint32_t top = sum >> 25;
	sum = (sum & 0x1ffffff) << 5 ^ v;
	for (unsigned b = 0; b < 5; b++)
		sum ^= top >> b & 1 ? generator[b] : 0;
	return sum;
}

/* The checksum so far, of the prefix in small letters. */
static uint32_t bech32_prefix(const char *prefix)
{
	uint32_t sum = 1;
	for (const char *p = prefix; *p; p++)
		sum = bech32_step(sum, (uint32_t)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p) >> 5);
	sum = bech32_step(sum, 0);
	for (const char *p = prefix; *p; p++)
		sum = bech32_step(sum, (uint32_t)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p) & 31);
	return sum;
}

/* Value of a letter of Bech32 in the case of the role. -1: it is none. */
static int letter_value(enum age_role role, uint8_t c)
{
	static const char small[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
	bool upper = c >= 'A' && c <= 'Z', lower = c >= 'a' && c <= 'z';
	if (c == 0 || (role == AGE_IDENTITY ? lower : upper))
		return -1;
	const char *at = strchr(small, upper ? c + 32 : c);
	return at ? (int)(at - small) : -1;
}

int age_key_parse(enum age_role role, struct span text, struct age_key *ret, struct err *e)
{
	const char *prefix = prefixes[role], *what = stranger(role, text);
	size_t prefix_n = strlen(prefix), whole_n = prefix_n + 1 + KEY_LETTERS + SUM_LETTERS;
	uint32_t sum = bech32_prefix(prefix), bits = 0;
	unsigned bits_n = 0;
	struct age_key key = { { 0 } };
	size_t out = 0;
	if (what)
		return err_set(e, ERR_CONFIG, "%s", what);
	if (!begins(text, prefix) || text.n == prefix_n || text.p[prefix_n] != '1')
		return err_set(e, ERR_CONFIG, "not a key of age: one begins with %s1", prefix);
	for (size_t i = prefix_n + 1; i < text.n; i++) {
		int v = letter_value(role, text.p[i]);
		if (v < 0)
			return err_set(e, ERR_CONFIG, "not a key of age: character %zu cannot be in one",
				       i + 1);
		sum = bech32_step(sum, (uint32_t)v);
		if (i - prefix_n > KEY_LETTERS)
			continue;
		bits = (bits << 5 | (uint32_t)v) & 0xfff;
		bits_n += 5;
		if (bits_n >= 8) {
			bits_n -= 8;
			key.bytes[out++] = (uint8_t)(bits >> bits_n);
		}
	}
	int rc = 0;
	if (text.n != whole_n)
		rc = err_set(e, ERR_CONFIG, "not a whole key of age: it has %zu characters instead of %zu",
			     text.n, whole_n);
	else if (sum != 1 || (bits & 15) != 0)
		rc = err_set(e, ERR_CONFIG,
			     "not a key of age: its checksum does not fit, so a character is wrong");
	else
		*ret = key;
	crypto_wipe(&key, sizeof key);
	return rc;
}

int age_keys_add(struct age_keys *k, enum age_role role, const struct age_key *key, struct err *e)
{
	struct age_key **v = role == AGE_IDENTITY ? &k->identities : &k->recipients;
	size_t *n = role == AGE_IDENTITY ? &k->identities_n : &k->recipients_n;
	/* Not realloc: it would leave a copy of the secrets behind. */
	struct age_key *more = malloc((*n + 1) * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory for keys");
	if (*n > 0) {
		memcpy(more, *v, *n * sizeof *more);
		crypto_wipe(*v, *n * sizeof **v);
	}
	free(*v);
	more[(*n)++] = *key;
	*v = more;
	return 0;
}

static struct span trimmed(struct span s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = (struct span){ s.p + 1, s.n - 1 };
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\r'))
		s.n--;
	return s;
}

static int parse_lines(struct age_keys *k, enum age_role role, struct span text, struct err *e)
{
	unsigned line = 0;
	while (text.n > 0) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;
		struct span s = trimmed((struct span){ text.p, n });
		struct age_key key;
		line++;
		n += end != NULL;
		text = (struct span){ text.p + n, text.n - n };
		if (s.n == 0 || s.p[0] == '#')
			continue;
		int rc = age_key_parse(role, s, &key, e);
		if (rc == 0)
			rc = age_keys_add(k, role, &key, e);
		crypto_wipe(&key, sizeof key);
		if (rc < 0)
			return err_wrap(e, "line %u", line);
	}
	return 0;
}

/* Wipes those behind the first n of a kind. */
static void cut(struct age_key *v, size_t *count, size_t n)
{
	if (*count > n)
		crypto_wipe(v + n, (*count - n) * sizeof *v);
	*count = n;
}

int age_keys_parse(struct age_keys *k, enum age_role role, struct span text, struct err *e)
{
	size_t identities = k->identities_n, recipients = k->recipients_n;
	if (parse_lines(k, role, text, e) == 0)
		return 0;
	cut(k->identities, &k->identities_n, identities);
	cut(k->recipients, &k->recipients_n, recipients);
	return -1;
}

int age_keys_copy(struct age_keys *to, const struct age_keys *from, struct err *e)
{
	*to = (struct age_keys){ 0 };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < from->identities_n; i++)
		rc = age_keys_add(to, AGE_IDENTITY, &from->identities[i], e);
	for (size_t i = 0; rc == 0 && i < from->recipients_n; i++)
		rc = age_keys_add(to, AGE_RECIPIENT, &from->recipients[i], e);
	if (rc < 0)
		age_keys_free(to);
	return rc;
}

void age_keys_free(struct age_keys *k)
{
	cut(k->identities, &k->identities_n, 0);
	free(k->identities);
	free(k->recipients);
	*k = (struct age_keys){ 0 };
}

int age_public(const struct age_key *identity, struct age_key *ret, struct err *e)
{
	return crypto_x25519_public(identity->bytes, ret->bytes, e);
}

int age_keys_match(const struct age_keys *k, struct err *e)
{
	for (size_t i = 0; i < k->identities_n; i++) {
		struct age_key public;
		if (age_public(&k->identities[i], &public, e) < 0)
			return -1;
		for (size_t r = 0; r < k->recipients_n; r++)
			if (memcmp(&public, &k->recipients[r], sizeof public) == 0)
				return 1;
	}
	return 0;
}

/* ---- base64 ---- */

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 32 bytes as 43 letters. */
static void encode_32(const uint8_t in[32], char out[LETTERS_32])
{
	uint32_t bits = 0;
	unsigned bits_n = 0;
	size_t n = 0;
	for (size_t i = 0; i < 32; i++) {
		bits = (bits << 8 | in[i]) & 0xffff;
		for (bits_n += 8; bits_n >= 6; bits_n -= 6)
			out[n++] = base64[bits >> (bits_n - 6) & 63];
	}
	out[n++] = base64[bits << (6 - bits_n) & 63];
	assert(n == LETTERS_32);
}

/* Canonical letters into at most `cap` bytes, more are counted only. -1: not canonical. */
static long decode(struct span in, uint8_t *out, size_t cap)
{
	uint32_t bits = 0;
	unsigned bits_n = 0;
	size_t n = 0;
	if (in.n % 4 == 1)
		return -1;
	for (size_t i = 0; i < in.n; i++) {
		const char *at = in.p[i] ? strchr(base64, in.p[i]) : NULL;
		if (!at)
			return -1;
		bits = (bits << 6 | (uint32_t)(at - base64)) & 0xffff;
		bits_n += 6;
		if (bits_n < 8)
			continue;
		bits_n -= 8;
		if (n < cap)
			out[n] = (uint8_t)(bits >> bits_n);
		n++;
	}
	return (bits & ((1u << bits_n) - 1)) != 0 ? -1 : (long)n;
}

static bool decode_32(struct span in, uint8_t out[32])
{
	return decode(in, out, 32) == 32;
}

/* ---- header ---- */

struct stanza {
	bool x25519;
	uint8_t share[CRYPTO_KEY_BYTES], body[BODY_BYTES]; /* with x25519 */
};

static int malformed(const char *what, struct err *e)
{
	return err_set(e, ERR_DAMAGED, "the header of its encryption (age) is malformed: %s", what);
}

/* Takes a line off *in, without its line feed. 1: *ret; 0: it has no end yet. */
static int line_take(struct span *in, struct span *ret)
{
	const uint8_t *end = in->n ? memchr(in->p, '\n', in->n) : NULL;
	if (!end)
		return 0;
	*ret = (struct span){ in->p, (size_t)(end - in->p) };
	*in = (struct span){ end + 1, in->n - ret->n - 1 };
	return 1;
}

/* A word up to the next space. false: it is empty or holds what a word cannot. */
static bool word_take(struct span *in, struct span *ret)
{
	*ret = (struct span){ in->p, 0 };
	while (ret->n < in->n && in->p[ret->n] != ' ') {
		if (in->p[ret->n] < 33 || in->p[ret->n] > 126)
			return false;
		ret->n++;
	}
	bool more = ret->n < in->n;
	*in = (struct span){ in->p + ret->n + more, in->n - ret->n - more };
	return ret->n > 0 && (!more || in->n > 0);
}

/* The words behind the arrow. */
static int stanza_words(struct span line, struct stanza *ret, struct err *e)
{
	struct span word;
	size_t words = 0;
	while (line.n > 0 || words == 0) {
		if (!word_take(&line, &word))
			return malformed("a stanza has an empty word or an unprintable character", e);
		if (words == 0)
			ret->x25519 =
				word.n == sizeof x25519_type - 1 && memcmp(word.p, x25519_type, word.n) == 0;
		else if (ret->x25519 && (words > 1 || !decode_32(word, ret->share)))
			return malformed("the share of an X25519 stanza", e);
		words++;
	}
	return ret->x25519 && words != 2 ? malformed("an X25519 stanza has no share", e) : 0;
}

/* The lines of a body. 1, 0 or -1. */
static int stanza_body(struct span *in, struct stanza *ret, struct err *e)
{
	struct span line;
	size_t bytes = 0;
	do {
		if (!line_take(in, &line))
			return in->n > COLUMNS ? malformed("a line is too long", e) : 0;
		uint8_t *to = ret->body + (bytes < BODY_BYTES ? bytes : BODY_BYTES);
		long n = line.n > COLUMNS ? -1 : decode(line, to, (size_t)(ret->body + BODY_BYTES - to));
		if (n < 0)
			return malformed("the body of a stanza is not base64", e);
		bytes += (size_t)n;
	} while (line.n == COLUMNS);
	return ret->x25519 && bytes != BODY_BYTES ? malformed("the body of an X25519 stanza", e) : 1;
}

/* Takes a stanza off *in. 1; 0: more input is needed; 2: the MAC comes next; -1. */
static int stanza_take(struct span *in, struct stanza *ret, struct err *e)
{
	struct span rest = *in, line;
	if (!line_take(&rest, &line))
		return 0;
	if (begins(line, mac_begin))
		return 2;
	if (!begins(line, stanza_begin))
		return malformed("a line is neither a stanza nor the MAC", e);
	size_t skip = sizeof stanza_begin - 1;
	if (stanza_words((struct span){ line.p + skip, line.n - skip }, ret, e) < 0)
		return -1;
	int rc = stanza_body(&rest, ret, e);
	if (rc == 1)
		*in = rest;
	return rc;
}

static int magic_check(struct span in, struct err *e)
{
	size_t n = in.n < AGE_MAGIC_BYTES ? in.n : AGE_MAGIC_BYTES;
	if (n > 0 && memcmp(in.p, age_magic, n) != 0)
		return err_set(e, ERR_DAMAGED, "not encrypted with age (version 1)");
	return n == AGE_MAGIC_BYTES;
}

int age_header_parse(struct span in, struct age_header *ret, struct err *e)
{
	struct age_header h = { 0 };
	struct span rest = in, line = { 0 };
	int rc = magic_check(in, e);
	if (rc <= 0)
		return rc;
	rest = (struct span){ in.p + AGE_MAGIC_BYTES, in.n - AGE_MAGIC_BYTES };
	for (;;) {
		struct stanza s = { 0 };
		rc = stanza_take(&rest, &s, e);
		if (rc != 1)
			break;
		h.x25519_n += s.x25519;
		h.other_n += !s.x25519;
	}
	if (rc == 0 && in.n >= AGE_HEADER_MAX_BYTES)
		return malformed("it is too long", e);
	if (rc != 2)
		return rc;
	h.text = (struct span){ in.p, (size_t)(rest.p - in.p) + sizeof mac_begin - 1 };
	line_take(&rest, &line);
	size_t skip = sizeof mac_begin; /* and a space */
	if (line.n != skip + LETTERS_32 || line.p[skip - 1] != ' ' ||
	    !decode_32((struct span){ line.p + skip, LETTERS_32 }, h.mac))
		return malformed("the line of the MAC", e);
	if (h.x25519_n + h.other_n == 0)
		return malformed("it names no recipient", e);
	h.bytes = (size_t)(rest.p - in.p);
	*ret = h;
	return 1;
}

/* The key that seals the file key for one recipient. */
static int wrap_key(const uint8_t secret[CRYPTO_KEY_BYTES], const uint8_t share[CRYPTO_KEY_BYTES],
		    const uint8_t recipient[CRYPTO_KEY_BYTES], uint8_t out[CRYPTO_KEY_BYTES], struct err *e)
{
	uint8_t salt[2 * CRYPTO_KEY_BYTES];
	memcpy(salt, share, CRYPTO_KEY_BYTES);
	memcpy(salt + CRYPTO_KEY_BYTES, recipient, CRYPTO_KEY_BYTES);
	return crypto_hkdf_sha256((struct span){ secret, CRYPTO_KEY_BYTES }, SPAN(salt), LABEL(wrap_label), out,
				  e);
}

static const uint8_t zero_nonce[CRYPTO_NONCE_BYTES];

/* 1: the identity opens the stanza; 0: it does not; -1: the library failed. */
static int unwrap(const struct stanza *s, const struct age_key *identity, const struct age_key *public,
		  uint8_t file_key[AGE_FILE_KEY_BYTES], struct err *e)
{
	uint8_t secret[CRYPTO_KEY_BYTES], key[CRYPTO_KEY_BYTES];
	struct err why = ERR_INIT;
	int rc = crypto_x25519(identity->bytes, s->share, secret, &why);
	if (rc < 0 && why.kind == ERR_DAMAGED)
		return 0;
	if (rc < 0)
		*e = why;
	if (rc == 0)
		rc = wrap_key(secret, s->share, public->bytes, key, e);
	struct crypto_aead *a = rc == 0 ? crypto_aead_new(key, e) : NULL;
	rc = a ? crypto_aead_open(a, zero_nonce, SPAN(s->body), file_key) : -1;
	crypto_aead_free(a);
	crypto_wipe(secret, sizeof secret);
	crypto_wipe(key, sizeof key);
	return rc;
}

static int mac_of(struct span text, const uint8_t file_key[AGE_FILE_KEY_BYTES], uint8_t out[CRYPTO_HASH_BYTES],
		  struct err *e)
{
	uint8_t key[CRYPTO_HASH_BYTES];
	int rc = crypto_hkdf_sha256((struct span){ file_key, AGE_FILE_KEY_BYTES }, (struct span){ 0 },
				    LABEL("header"), key, e);
	if (rc == 0)
		rc = crypto_hmac_sha256(SPAN(key), text, out, e);
	crypto_wipe(key, sizeof key);
	return rc;
}

/* All stanzas for one identity. 1, 0 or -1. */
static int open_with(const struct age_header *h, const struct age_key *identity,
		     uint8_t file_key[AGE_FILE_KEY_BYTES], struct err *e)
{
	struct age_key public;
	struct stanza s;
	struct span rest = { h->text.p + AGE_MAGIC_BYTES, h->bytes - AGE_MAGIC_BYTES };
	int rc = age_public(identity, &public, e);
	while (rc == 0) {
		s = (struct stanza){ 0 };
		if (stanza_take(&rest, &s, e) != 1)
			break;
		if (s.x25519)
			rc = unwrap(&s, identity, &public, file_key, e);
	}
	return rc;
}

int age_header_open(const struct age_header *h, const struct age_key *identities, size_t n,
		    uint8_t file_key[AGE_FILE_KEY_BYTES], struct err *e)
{
	uint8_t mac[CRYPTO_HASH_BYTES];
	int rc = 0;
	if (h->x25519_n == 0)
		return err_set(e, ERR_CONFIG,
			       "encrypted (age) for a passphrase or for other keys than X25519, which is not "
			       "supported");
	if (n == 0)
		return err_set(e, ERR_CONFIG,
			       "encrypted (age), and cannot be read without a secret key (identity)");
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = open_with(h, &identities[i], file_key, e);
	if (rc < 0)
		return -1;
	if (rc == 0)
		return err_set(e, ERR_CONFIG,
			       "encrypted (age), and %s it: it was written for another key, or its header is "
			       "damaged",
			       n == 1 ? "the identity that is given does not open"
				      : "none of the identities that are given opens");
	if (mac_of(h->text, file_key, mac, e) == 0) {
		if (crypto_equal(mac, h->mac, sizeof mac))
			return 0;
		err_set(e, ERR_DAMAGED, "the header of its encryption (age) was altered: the MAC does not fit");
	}
	crypto_wipe(file_key, AGE_FILE_KEY_BYTES);
	return -1;
}

static int stanza_write(const struct age_key *recipient, const struct age_key *ephemeral,
			const uint8_t file_key[AGE_FILE_KEY_BYTES], struct dyn *to, struct err *e)
{
	uint8_t share[CRYPTO_KEY_BYTES], secret[CRYPTO_KEY_BYTES], key[CRYPTO_KEY_BYTES], body[BODY_BYTES];
	char share_text[LETTERS_32], body_text[LETTERS_32];
	struct crypto_aead *a = NULL;
	int rc = crypto_x25519_public(ephemeral->bytes, share, e);
	if (rc == 0 && (rc = crypto_x25519(ephemeral->bytes, recipient->bytes, secret, e)) < 0)
		e->kind = ERR_CONFIG; /* such a recipient is no key that anybody has */
	if (rc == 0)
		rc = wrap_key(secret, share, recipient->bytes, key, e);
	if (rc == 0)
		rc = (a = crypto_aead_new(key, e)) ? 0 : -1;
	if (rc == 0)
		rc = crypto_aead_seal(a, zero_nonce, (struct span){ file_key, AGE_FILE_KEY_BYTES }, body, e);
	crypto_aead_free(a);
	crypto_wipe(secret, sizeof secret);
	crypto_wipe(key, sizeof key);
	if (rc < 0)
		return -1;
	encode_32(share, share_text);
	encode_32(body, body_text);
	return dyn_addf(to, "-> X25519 %.*s\n%.*s\n", LETTERS_32, share_text, LETTERS_32, body_text) < 0
		       ? err_set(e, ERR_FAIL, "too many recipients, or no memory")
		       : 0;
}

int age_header_write(const struct age_key *recipients, const struct age_key *ephemeral, size_t n,
		     const uint8_t file_key[AGE_FILE_KEY_BYTES], struct dyn *to, struct err *e)
{
	uint8_t mac[CRYPTO_HASH_BYTES];
	char mac_text[LETTERS_32];
	struct dyn text = DYN_INIT(AGE_HEADER_MAX_BYTES - 64);
	int rc = dyn_add(&text, age_magic, AGE_MAGIC_BYTES);
	assert(n > 0);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = stanza_write(&recipients[i], &ephemeral[i], file_key, &text, e);
	if (rc == 0 && dyn_add(&text, mac_begin, sizeof mac_begin - 1) < 0)
		rc = err_set(e, ERR_FAIL, "too many recipients, or no memory");
	if (rc == 0)
		rc = mac_of((struct span){ text.p, text.len }, file_key, mac, e);
	if (rc == 0) {
		encode_32(mac, mac_text);
		if (dyn_add(to, text.p, text.len) < 0 || dyn_addf(to, " %.*s\n", LETTERS_32, mac_text) < 0)
			rc = err_set(e, ERR_FAIL, "no memory");
	}
	dyn_free(&text);
	return rc;
}

/* ---- payload ---- */

uint64_t age_file_bytes(uint64_t plain_bytes, size_t recipients_n)
{
	enum {
		STANZA_BYTES = sizeof stanza_begin - 1 + sizeof x25519_type + LETTERS_32 + 1 + LETTERS_32 + 1,
		FIXED_BYTES = AGE_MAGIC_BYTES + sizeof mac_begin + LETTERS_32 + 1 + AGE_NONCE_BYTES,
	};
	uint64_t chunks = plain_bytes ? (plain_bytes - 1) / AGE_CHUNK_BYTES + 1 : 1;
	return FIXED_BYTES + recipients_n * STANZA_BYTES + plain_bytes + chunks * AGE_TAG_BYTES;
}

int age_stream_init(struct age_stream *s, const uint8_t file_key[AGE_FILE_KEY_BYTES],
		    const uint8_t nonce[AGE_NONCE_BYTES], struct err *e)
{
	uint8_t key[CRYPTO_KEY_BYTES];
	s->aead = NULL;
	if (crypto_hkdf_sha256((struct span){ file_key, AGE_FILE_KEY_BYTES },
			       (struct span){ nonce, AGE_NONCE_BYTES }, LABEL("payload"), key, e) == 0)
		s->aead = crypto_aead_new(key, e);
	crypto_wipe(key, sizeof key);
	return s->aead ? 0 : -1;
}

static void chunk_nonce(uint8_t out[CRYPTO_NONCE_BYTES], uint64_t chunk, bool last)
{
	memset(out, 0, CRYPTO_NONCE_BYTES);
	put_be64(out + CRYPTO_NONCE_BYTES - 1 - 8, chunk);
	out[CRYPTO_NONCE_BYTES - 1] = last;
}

int age_stream_seal(struct age_stream *s, uint64_t chunk, bool last, struct span plain, uint8_t *out,
		    struct err *e)
{
	uint8_t nonce[CRYPTO_NONCE_BYTES];
	assert(plain.n <= AGE_CHUNK_BYTES && (last || plain.n == AGE_CHUNK_BYTES) && (plain.n || chunk == 0));
	chunk_nonce(nonce, chunk, last);
	return crypto_aead_seal(s->aead, nonce, plain, out, e);
}

bool age_stream_open(struct age_stream *s, uint64_t chunk, bool last, struct span sealed, uint8_t *out)
{
	uint8_t nonce[CRYPTO_NONCE_BYTES];
	if (sealed.n < AGE_TAG_BYTES || sealed.n > AGE_SEALED_BYTES || (!last && sealed.n < AGE_SEALED_BYTES) ||
	    (sealed.n == AGE_TAG_BYTES && chunk > 0))
		return false;
	chunk_nonce(nonce, chunk, last);
	return crypto_aead_open(s->aead, nonce, sealed, out);
}

void age_stream_fini(struct age_stream *s)
{
	crypto_aead_free(s->aead);
	s->aead = NULL;
}
