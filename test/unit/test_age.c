/* SPDX-License-Identifier: Apache-2.0
 *
 * core/age.c: keys as text, headers and payloads, against files that the age command wrote (test/golden/age),
 * and the filter store/crypt.c around a directory. WALBROOK_GOLDEN: where golden data lies (test/golden). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "core/age.h"
#include "store/crypt.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define KEY "generations/0123456789abcdef/wal/00000001_00000000.wal.lz4"

static char root[64];
static struct age_keys key, key2, wrong; /* of the golden files */

static struct dyn golden(const char *name)
{
	const char *dir = getenv("WALBROOK_GOLDEN");
	char path[PATH_BYTES];
	struct dyn d = DYN_INIT(1 << 20);
	struct err e = ERR_INIT;
	snprintf(path, sizeof path, "%s/age/%s", dir && *dir ? dir : "test/golden", name);
	if (file_read_all(path, &d, &e) < 0)
		fail_msg("%s", e.text);
	return d;
}

static struct age_keys identity_of(const char *name)
{
	struct dyn d = golden(name);
	struct age_keys k = { 0 };
	struct err e = ERR_INIT;
	if (age_keys_parse(&k, AGE_IDENTITY, (struct span){ d.p, d.len }, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(k.identities_n, 1);
	dyn_free(&d);
	return k;
}

static int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	if (crypto_load(&e) < 0)
		return -1;
	key = identity_of("key.txt");
	key2 = identity_of("key2.txt");
	wrong = identity_of("wrong.txt");
	snprintf(root, sizeof root, "/tmp/wb-age-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
	char cmd[128];
	(void)state;
	age_keys_free(&key);
	age_keys_free(&key2);
	age_keys_free(&wrong);
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
	return system(cmd);
}

/* What the golden files hold. */
static uint8_t *plain_of(size_t n)
{
	uint8_t *p = malloc(n + 1);
	assert_non_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * i / 7 + i);
	return p;
}

static void says(const struct err *e, enum err_kind kind, const char *text)
{
	if (e->kind != kind || !strstr(e->text, text))
		fail_msg("kind %d, expected %d, and \"%s\" in: %s", (int)e->kind, (int)kind, text, e->text);
}

/* ---- keys ---- */

#define IDENTITY "AGE-SECRET-KEY-1W757CRHQPNRAKWL0CPSECA6LKGAT2JDCR8QK6RU5ZFKNWWM4RSGQV22ZLU"
#define RECIPIENT "age1pfdlprja7e5laj90a7hew2sqk73fww34d43565npe4z2h6hgcc7spzgf0h"

static int parse(struct age_keys *k, enum age_role role, const char *text, struct err *e)
{
	*e = ERR_INIT;
	return age_keys_parse(k, role, (struct span){ (const uint8_t *)text, strlen(text) }, e);
}

static void test_keys(void **state)
{
	struct age_keys k = { 0 };
	struct age_key public;
	struct err e;
	(void)state;
	assert_int_equal(parse(&k, AGE_IDENTITY, "# a comment\r\n\r\n \t" IDENTITY "\t \r\n\n#" IDENTITY, &e),
			 0);
	assert_int_equal(k.identities_n, 1);
	assert_memory_equal(k.identities, key.identities, sizeof *k.identities);
	assert_int_equal(parse(&k, AGE_RECIPIENT, RECIPIENT "\n" RECIPIENT, &e), 0);
	assert_int_equal(k.recipients_n, 2);
	assert_int_equal(age_public(&k.identities[0], &public, &e), 0);
	assert_memory_equal(&public, &k.recipients[0], sizeof public);
	assert_int_equal(age_keys_match(&k, &e), 1);
	age_keys_free(&k);
	assert_int_equal(parse(&k, AGE_RECIPIENT, RECIPIENT, &e), 0);
	assert_int_equal(age_keys_match(&k, &e), 0);
	assert_int_equal(age_keys_add(&k, AGE_IDENTITY, &wrong.identities[0], &e), 0);
	assert_int_equal(age_keys_match(&k, &e), 0);
	assert_int_equal(age_keys_add(&k, AGE_IDENTITY, &key.identities[0], &e), 0);
	assert_int_equal(age_keys_match(&k, &e), 1);
	age_keys_free(&k);
}

static void test_keys_refused(void **state)
{
	static const struct {
		enum age_role role;
		const char *text, *says;
	} rows[] = {
		{ AGE_RECIPIENT, IDENTITY, "line 1: a secret key" },
		{ AGE_IDENTITY, "#\n\n" RECIPIENT, "line 3: a public key" },
		{ AGE_RECIPIENT, "ssh-ed25519 AAAA", "SSH key" },
		{ AGE_IDENTITY, "-----BEGIN OPENSSH PRIVATE KEY-----", "SSH key" },
		{ AGE_IDENTITY, "-----BEGIN AGE ENCRYPTED FILE-----", "themselves encrypted" },
		{ AGE_IDENTITY, "age-encryption.org/v1", "themselves encrypted" },
		{ AGE_IDENTITY, "AGE-PLUGIN-YUBIKEY-1QQQ", "plugin" },
		{ AGE_RECIPIENT, "hello", "begins with age1" },
		{ AGE_RECIPIENT, "age", "begins with age1" },
		{ AGE_RECIPIENT, "age1", "4 characters instead of 62" },
		{ AGE_RECIPIENT, RECIPIENT "q", "63 characters instead of 62" },
		{ AGE_RECIPIENT, "age1pfdlprjA7e5laj90a7hew2sqk73fww34d43565npe4z2h6hgcc7spzgf0h",
		  "character 12 " },
		{ AGE_RECIPIENT, "age1pfdlprja7e5laj90a7hew2sqk73fww34d43565npe4z2h6hgcc7spzgf0b",
		  "character 62 " },
		{ AGE_RECIPIENT, "age1pfdlprja7e5laj90a7hew2sqk73fww34d43565npe4z2h6hgcc7spzgf0q", "checksum" },
		{ AGE_IDENTITY, "age-secret-key-1w757crhqpnrakwl0cpseca6lkgat2jdcr8qk6ru5zfknwwm4rsgqv22zlu",
		  "begins with AGE-SECRET-KEY-1" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct age_keys k = { 0 };
		struct err e;
		assert_int_equal(parse(&k, rows[i].role, rows[i].text, &e), -1);
		says(&e, ERR_CONFIG, rows[i].says);
		assert_int_equal(k.identities_n + k.recipients_n, 0);
		age_keys_free(&k);
	}
}

/* Any character of a key changed to any other is noticed, and nothing of a secret is repeated. */
static void test_key_typos(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof IDENTITY - 1; i++)
		for (char c = ' '; c < 127; c++) {
			char text[] = IDENTITY;
			struct age_key k;
			struct err e = ERR_INIT;
			if (text[i] == c)
				continue;
			text[i] = c;
			struct span s = { (const uint8_t *)text, sizeof text - 1 };
			assert_int_equal(age_key_parse(AGE_IDENTITY, s, &k, &e), -1);
			assert_null(strstr(e.text, "QPNRAKWL"));
			assert_null(strstr(e.text, "RSGQV2"));
		}
}

/* A failure in a later line leaves nothing of the lines before. */
static void test_keys_all_or_nothing(void **state)
{
	struct age_keys k = { 0 };
	struct err e;
	(void)state;
	assert_int_equal(parse(&k, AGE_IDENTITY, IDENTITY, &e), 0);
	assert_int_equal(parse(&k, AGE_IDENTITY, IDENTITY "\nnonsense", &e), -1);
	says(&e, ERR_CONFIG, "line 2: ");
	assert_int_equal(k.identities_n, 1);
	age_keys_free(&k);
}

/* ---- what age wrote ---- */

static int decrypt(struct span in, const struct age_key *ids, size_t n, struct dyn *out, struct err *e)
{
	static uint8_t plain[AGE_CHUNK_BYTES];
	struct age_header h;
	struct age_stream s;
	uint8_t file_key[AGE_FILE_KEY_BYTES];
	*e = ERR_INIT;
	int rc = age_header_parse(in, &h, e);
	if (rc <= 0)
		return rc < 0 ? -1 : err_set(e, ERR_DAMAGED, "cut off");
	if (age_header_open(&h, ids, n, file_key, e) < 0)
		return -1;
	if (in.n < h.bytes + AGE_NONCE_BYTES)
		return err_set(e, ERR_DAMAGED, "cut off");
	assert_int_equal(age_stream_init(&s, file_key, in.p + h.bytes, e), 0);
	size_t at = h.bytes + AGE_NONCE_BYTES;
	for (uint64_t chunk = 0; rc >= 0; chunk++) {
		bool last = in.n - at <= AGE_SEALED_BYTES;
		struct span sealed = { in.p + at, last ? in.n - at : AGE_SEALED_BYTES };
		if (!age_stream_open(&s, chunk, last, sealed, plain)) {
			rc = err_set(e, ERR_DAMAGED, "chunk");
			break;
		}
		assert_int_equal(dyn_add(out, plain, sealed.n - AGE_TAG_BYTES), 0);
		at += sealed.n;
		if (last)
			break;
	}
	age_stream_fini(&s);
	return rc < 0 ? -1 : 0;
}

static void test_vectors(void **state)
{
	static const struct {
		const char *name;
		const struct age_keys *keys;
		size_t plain_n;
	} rows[] = {
		{ "one.age", &key, 1000 }, { "several.age", &key, 1000 }, { "several.age", &key2, 1000 },
		{ "empty.age", &key, 0 },  { "chunk.age", &key, 65536 },  { "chunk-and-one.age", &key, 65537 },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dyn in = golden(rows[i].name), out = DYN_INIT(1 << 20);
		uint8_t *plain = plain_of(rows[i].plain_n);
		struct err e;
		if (decrypt((struct span){ in.p, in.len }, rows[i].keys->identities, 1, &out, &e) < 0)
			fail_msg("%s: %s", rows[i].name, e.text);
		assert_int_equal(out.len, rows[i].plain_n);
		if (out.len)
			assert_memory_equal(out.p, plain, out.len);
		free(plain);
		dyn_free(&in);
		dyn_free(&out);
	}
}

static void test_not_for_us(void **state)
{
	static const struct {
		const char *name;
		const struct age_keys *keys;
		size_t n;
		enum err_kind kind;
		const char *says;
	} rows[] = {
		{ "one.age", &wrong, 1, ERR_CONFIG, "does not open" },
		{ "one.age", &wrong, 0, ERR_CONFIG, "without a secret key" },
		{ "one.age", &key2, 1, ERR_CONFIG, "does not open" },
		{ "ssh.age", &key, 1, ERR_CONFIG, "other keys than X25519" },
		{ "passphrase.age", &key, 1, ERR_CONFIG, "passphrase" },
		{ "armored.age", &key, 1, ERR_DAMAGED, "not encrypted with age" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct dyn in = golden(rows[i].name), out = DYN_INIT(1 << 20);
		struct err e;
		assert_int_equal(
			decrypt((struct span){ in.p, in.len }, rows[i].keys->identities, rows[i].n, &out, &e),
			-1);
		says(&e, rows[i].kind, rows[i].says);
		dyn_free(&in);
		dyn_free(&out);
	}
}

/* Every byte changed, and every length that is not the whole. */
static void test_any_damage(void **state)
{
	struct dyn in = golden("several.age"), out = DYN_INIT(1 << 20);
	struct err e;
	(void)state;
	for (size_t i = 0; i < in.len; i++)
		for (int other = 0; other < 2; other++) {
			uint8_t mask = (uint8_t)(other ? 0xff : 1 << i % 8);
			in.p[i] ^= mask;
			assert_int_equal(decrypt((struct span){ in.p, in.len }, key.identities, 1, &out, &e),
					 -1);
			assert_true(e.kind == ERR_DAMAGED || e.kind == ERR_CONFIG);
			in.p[i] ^= mask;
		}
	for (size_t n = 0; n < in.len; n++)
		assert_int_equal(decrypt((struct span){ in.p, n }, key.identities, 1, &out, &e), -1);
	assert_int_equal(out.len, 0);
	assert_int_equal(decrypt((struct span){ in.p, in.len }, key.identities, 1, &out, &e), 0);
	dyn_free(&in);
	dyn_free(&out);
}

static void test_malformed_headers(void **state)
{
#define MAGIC "age-encryption.org/v1\n"
#define SHARE "pw4aACb/BaQSfWxuuav7uFd8EDvoGn0ZXv5gsJQaOlU"
#define BODY "JFTMaK6W9CFwGLm2EP1glk8w6LqeF7dBTtQNAsDJ1qw"
#define MAC "--- " BODY "\n"
	static const char *const bad[] = {
		MAGIC MAC,
		MAGIC "-> X25519\n" BODY "\n" MAC,
		MAGIC "-> X25519 " SHARE " more\n" BODY "\n" MAC,
		MAGIC "-> X25519 " SHARE "=\n" BODY "\n" MAC,
		MAGIC "-> X25519 pw4aACb/BaQSfWxuuav7uFd8EDvoGn0ZXv5gsJQaOlV\n" BODY
		      "\n" MAC, /* not canonical */
		MAGIC "-> X25519 " SHARE "\n" BODY "A\n" MAC,
		MAGIC "-> X25519 " SHARE "\n\n" MAC,
		MAGIC "-> X25519 " SHARE " \n" BODY "\n" MAC,
		MAGIC "->  X25519 " SHARE "\n" BODY "\n" MAC,
		MAGIC "-> \n\n" MAC,
		MAGIC "-> a\tb\n\n" MAC,
		MAGIC "->X25519 " SHARE "\n" BODY "\n" MAC,
		MAGIC "-> other\n====\n" MAC,
		MAGIC
		"-> other\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" MAC, /* 65 */
		MAGIC "hello\n",
		MAGIC "\n",
		MAGIC "-> other\n\n---\n",
		MAGIC "-> other\n\n---" BODY "\n",
		MAGIC "-> other\n\n--- " BODY "A\n",
		MAGIC "-> other\n\n--- AAAA\n",
		MAGIC "-> other\r\n\r\n" MAC,
		"age-encryption.org/v2\n-> other\n\n" MAC,
	};
	static const char *const good[] = {
		MAGIC "-> X25519 " SHARE "\n" BODY "\n" MAC,
		MAGIC "-> other\n\n" MAC,
		MAGIC "-> other with some words !~\nAAAA\n" MAC,
		/* A full line is followed by one that is shorter, here an empty one. */
		MAGIC "-> other\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\n" MAC,
	};
	struct age_header h;
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (age_header_parse((struct span){ (const uint8_t *)bad[i], strlen(bad[i]) }, &h, &e) != -1)
			fail_msg("taken: %s", bad[i]);
	for (size_t i = 0; i < COUNT(good); i++) {
		const uint8_t *p = (const uint8_t *)good[i];
		size_t n = strlen(good[i]);
		for (size_t k = 0; k < n; k++)
			assert_int_equal(age_header_parse((struct span){ p, k }, &h, &e), 0);
		assert_int_equal(age_header_parse((struct span){ p, n }, &h, &e), 1);
		assert_int_equal(h.bytes, n);
	}
}

/* ---- the filter ---- */

static struct store *open_with(const struct age_keys *k)
{
	struct store *s;
	struct err e = ERR_INIT;
	if (store_open_keyed(root, true, NULL, k, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static struct dyn stored(void)
{
	struct store *s = open_with(NULL);
	struct dyn d = DYN_INIT(1 << 20);
	struct err e = ERR_INIT;
	assert_int_equal(store_get_bytes(s, KEY, &d, &e), 0);
	store_close(s);
	return d;
}

static void store_raw(const uint8_t *p, size_t n)
{
	struct store *s = open_with(NULL);
	struct err e = ERR_INIT;
	assert_int_equal(store_put_bytes(s, KEY, (struct span){ p, n }, &e), 0);
	store_close(s);
}

static void put_in_pieces(struct store *s, const uint8_t *p, size_t n, size_t piece)
{
	struct store_put *put;
	struct err e = ERR_INIT;
	assert_int_equal(s->ops->put_begin(s, KEY, &put, &e), 0);
	for (size_t at = 0; at < n; at += piece)
		assert_int_equal(
			s->ops->put_write(put, (struct span){ p + at, n - at < piece ? n - at : piece }, &e),
			0);
	assert_int_equal(s->ops->put_commit(put, &e), 0);
}

/* Reads from an offset in pieces; compares with the whole. */
static void get_from(struct store *s, const uint8_t *plain, size_t n, size_t offset, size_t piece)
{
	struct store_get *get;
	struct err e = ERR_INIT;
	uint8_t *buf = malloc(piece);
	size_t at = offset < n ? offset : n;
	long got;
	if (s->ops->get_begin(s, KEY, offset, &get, &e) < 0)
		fail_msg("offset %zu: %s", offset, e.text);
	while ((got = s->ops->get_read(get, buf, piece, &e)) > 0) {
		assert_true(at + (size_t)got <= n);
		assert_memory_equal(buf, plain + at, (size_t)got);
		at += (size_t)got;
	}
	if (got < 0)
		fail_msg("offset %zu: %s", offset, e.text);
	assert_int_equal(at, n);
	s->ops->get_end(get);
	free(buf);
}

static const size_t sizes[] = { 0, 1, 65535, 65536, 65537, 131072, 3 * 65536, 3 * 65536 + 7 };

static void test_filter_sizes(void **state)
{
	static const size_t pieces[] = { 1000, 65536, 65537, 1 << 20 };
	struct store *s = open_with(&key);
	(void)state;
	assert_null(s->ops->put_file);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint8_t *plain = plain_of(sizes[i]);
		for (size_t k = 0; k < COUNT(pieces); k++) {
			put_in_pieces(s, plain, sizes[i], pieces[k]);
			struct dyn d = stored(), out = DYN_INIT(1 << 20);
			struct err e;
			if (decrypt((struct span){ d.p, d.len }, key.identities, 1, &out, &e) < 0)
				fail_msg("%s", e.text);
			assert_int_equal(out.len, sizes[i]);
			assert_int_equal(d.len, age_file_bytes(sizes[i], 1));
			get_from(s, plain, sizes[i], 0, pieces[k]);
			dyn_free(&d);
			dyn_free(&out);
		}
		free(plain);
	}
	store_close(s);
}

static void test_filter_offsets(void **state)
{
	static const size_t offsets[] = {
		1, 65535, 65536, 65537, 131071, 131072, 131073, 196607, 196608, 196615
	};
	struct store *s = open_with(&key);
	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint8_t *plain = plain_of(sizes[i]);
		put_in_pieces(s, plain, sizes[i], 1 << 20);
		for (size_t k = 0; k < COUNT(offsets); k++) {
			struct store_get *get;
			struct err e = ERR_INIT;
			uint8_t byte;
			size_t chunks = sizes[i] ? (sizes[i] - 1) / AGE_CHUNK_BYTES + 1 : 1;
			if ((offsets[k] - 1) / AGE_CHUNK_BYTES < chunks) {
				get_from(s, plain, sizes[i], offsets[k], 5000);
				continue;
			}
			/* Whoever reads on there was told of more bytes: the object must have been longer. */
			assert_int_equal(s->ops->get_begin(s, KEY, offsets[k], &get, &e), 0);
			assert_int_equal(s->ops->get_read(get, &byte, 1, &e), -1);
			says(&e, ERR_DAMAGED, "cut off");
			s->ops->get_end(get);
		}
		free(plain);
	}
	store_close(s);
}

static int read_all(struct store *s, struct err *e)
{
	struct dyn d = DYN_INIT(1 << 20);
	*e = ERR_INIT;
	int rc = store_get_bytes(s, KEY, &d, e);
	dyn_free(&d);
	return rc;
}

/* An object of three chunks: changed in every chunk and cut at every interesting place. */
static void test_filter_damage(void **state)
{
	struct store *s = open_with(&key);
	uint8_t *plain = plain_of(2 * 65536 + 100);
	struct err e;
	(void)state;
	put_in_pieces(s, plain, 2 * 65536 + 100, 1 << 20);
	struct dyn d = stored();
	size_t head = d.len - (2 * 65536 + 100 + 3 * AGE_TAG_BYTES); /* header and nonce */
	static const char *const chunks[] = { "chunk 0 ", "chunk 1 ", "chunk 2 " };
	for (size_t i = 0; i < 3; i++)
		for (size_t at = 0; at < 100; at += 33) {
			d.p[head + i * AGE_SEALED_BYTES + at] ^= 1;
			store_raw(d.p, d.len);
			d.p[head + i * AGE_SEALED_BYTES + at] ^= 1;
			assert_int_equal(read_all(s, &e), -1);
			says(&e, ERR_DAMAGED, chunks[i]);
			says(&e, ERR_DAMAGED, KEY);
		}
	static const struct {
		size_t behind, bytes;
		const char *says;
	} cuts[] = {
		{ 0, 0, "cut off: chunk 0" },
		{ 0, 15, "cut off: chunk 0" },
		{ 0, 16, "cut off: chunk 0" },
		{ 0, 1000, "chunk 0" },
		{ 1, 0, "cut off: it ends with chunk 0" },
		{ 1, 10, "cut off: chunk 1" },
		{ 1, 5000, "chunk 1" },
		{ 2, 0, "cut off: it ends with chunk 1" },
		{ 2, 115, "chunk 2" },
	};
	for (size_t i = 0; i < COUNT(cuts); i++) {
		store_raw(d.p, head + cuts[i].behind * AGE_SEALED_BYTES + cuts[i].bytes);
		assert_int_equal(read_all(s, &e), -1);
		if (i != 2)
			says(&e, ERR_DAMAGED, cuts[i].says);
	}
	for (size_t n = 0; n < head; n++) {
		store_raw(d.p, n);
		assert_int_equal(read_all(s, &e), -1);
		assert_int_equal(e.kind, ERR_DAMAGED);
	}
	/* Two chunks in each other's place, and something behind the end. */
	uint8_t *swapped = malloc(d.len + AGE_SEALED_BYTES);
	memcpy(swapped, d.p, d.len);
	memcpy(swapped + head, d.p + head + AGE_SEALED_BYTES, AGE_SEALED_BYTES);
	memcpy(swapped + head + AGE_SEALED_BYTES, d.p + head, AGE_SEALED_BYTES);
	store_raw(swapped, d.len);
	assert_int_equal(read_all(s, &e), -1);
	says(&e, ERR_DAMAGED, "chunk 0");
	memcpy(swapped, d.p, d.len);
	swapped[d.len] = 0;
	store_raw(swapped, d.len + 1);
	assert_int_equal(read_all(s, &e), -1);
	says(&e, ERR_DAMAGED, "chunk 2");
	put_in_pieces(s, plain, 65536, 1 << 20);
	struct dyn one = stored();
	memcpy(swapped, one.p, one.len);
	store_raw(swapped, one.len + 1);
	assert_int_equal(read_all(s, &e), -1);
	says(&e, ERR_DAMAGED, "goes on behind the last chunk");
	dyn_free(&one);
	free(swapped);
	free(plain);
	dyn_free(&d);
	store_close(s);
}

/* Every byte of a small object changed, and every length. */
static void test_filter_small_damage(void **state)
{
	struct store *s = open_with(&key);
	struct err e;
	(void)state;
	put_in_pieces(s, (const uint8_t *)"hello, world", 12, 12);
	struct dyn d = stored();
	for (size_t i = 0; i < d.len; i++) {
		d.p[i] ^= 0x20;
		store_raw(d.p, d.len);
		d.p[i] ^= 0x20;
		assert_int_equal(read_all(s, &e), -1);
		assert_true(e.kind == ERR_DAMAGED || e.kind == ERR_CONFIG);
	}
	for (size_t n = 0; n < d.len; n++) {
		store_raw(d.p, n);
		assert_int_equal(read_all(s, &e), -1);
		says(&e, ERR_DAMAGED, KEY);
	}
	store_raw(d.p, d.len);
	assert_int_equal(read_all(s, &e), 0);
	dyn_free(&d);
	store_close(s);
}

static void test_filter_keys(void **state)
{
	struct age_keys to_two = { 0 }, public = { 0 };
	struct age_key k;
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(age_public(&key.identities[0], &k, &e), 0);
	assert_int_equal(age_keys_add(&to_two, AGE_RECIPIENT, &k, &e), 0);
	assert_int_equal(age_keys_add(&public, AGE_RECIPIENT, &k, &e), 0);
	assert_int_equal(age_public(&key2.identities[0], &k, &e), 0);
	assert_int_equal(age_keys_add(&to_two, AGE_RECIPIENT, &k, &e), 0);
	struct store *a = open_with(&key), *b = open_with(&key2), *other = open_with(&wrong),
		     *writer = open_with(&to_two), *blind = open_with(&public), *plain = open_with(NULL);
	put_in_pieces(writer, (const uint8_t *)"hello", 5, 5);
	assert_int_equal(read_all(a, &e), 0);
	assert_int_equal(read_all(b, &e), 0);
	assert_int_equal(read_all(other, &e), -1);
	says(&e, ERR_CONFIG, "does not open");
	says(&e, ERR_CONFIG, KEY);
	assert_int_equal(read_all(blind, &e), -1);
	says(&e, ERR_CONFIG, "without a secret key");
	/* What is not encrypted is never taken for it, and damage is not taken for what is not encrypted. */
	static const char *const not_encrypted[] = { "\x04\x22\x4d\x18 lz4", "WBIX" };
	for (size_t i = 0; i < COUNT(not_encrypted); i++) {
		put_in_pieces(plain, (const uint8_t *)not_encrypted[i], strlen(not_encrypted[i]), 100);
		assert_int_equal(read_all(a, &e), -1);
		says(&e, ERR_CONFIG, "not encrypted");
	}
	put_in_pieces(plain, (const uint8_t *)"xyz", 3, 3);
	assert_int_equal(read_all(a, &e), -1);
	says(&e, ERR_DAMAGED, "damaged");
	assert_int_equal(a->ops->remove(a, (const char *[]){ KEY }, 1, &e), 0);
	assert_int_equal(read_all(a, &e), -1);
	says(&e, ERR_NOTHING, KEY);
	struct store *all[] = { a, b, other, writer, blind, plain };
	for (size_t i = 0; i < COUNT(all); i++)
		store_close(all[i]);
	age_keys_free(&to_two);
	age_keys_free(&public);
}

/* Two objects of the same bytes have nothing in common but what is public. */
static void test_filter_fresh(void **state)
{
	struct store *s = open_with(&key);
	(void)state;
	put_in_pieces(s, (const uint8_t *)"hello", 5, 5);
	struct dyn x = stored();
	put_in_pieces(s, (const uint8_t *)"hello", 5, 5);
	struct dyn y = stored();
	assert_int_equal(x.len, y.len);
	assert_memory_not_equal(x.p + x.len - 21, y.p + y.len - 21, 21);
	assert_memory_not_equal(x.p + x.len - 37, y.p + y.len - 37, 16);
	dyn_free(&x);
	dyn_free(&y);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),	      cmocka_unit_test(test_keys_refused),
		cmocka_unit_test(test_key_typos),     cmocka_unit_test(test_keys_all_or_nothing),
		cmocka_unit_test(test_vectors),	      cmocka_unit_test(test_not_for_us),
		cmocka_unit_test(test_any_damage),    cmocka_unit_test(test_malformed_headers),
		cmocka_unit_test(test_filter_sizes),  cmocka_unit_test(test_filter_offsets),
		cmocka_unit_test(test_filter_damage), cmocka_unit_test(test_filter_small_damage),
		cmocka_unit_test(test_filter_keys),   cmocka_unit_test(test_filter_fresh),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
