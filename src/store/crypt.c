/* SPDX-License-Identifier: Apache-2.0
 *
 * The encrypting filter: see crypt.h. An object is age(what was put).
 *
 * Put: a new file key, its header for all recipients, a nonce; then chunk after chunk. A full chunk is sealed
 * only when more comes behind it, because the last one is sealed as the last.
 *
 * Get: the header is read and opened, then each chunk is read whole, with one byte more to know whether it is
 * the last, opened, and only then handed out. From an offset on: the object is opened a second time at the
 * chunk in which the offset lies (of an offset between two chunks it is the one before, so that the end of an
 * object is always proven by its last chunk).
 *
 * A local file cannot be published without reading it, so there is no put_file.
 *
 * Failure modes: the object is cut off, goes on behind its end, or was altered (ERR_DAMAGED, with the chunk,
 * and where that lies in the object); it is not encrypted at all (ERR_CONFIG: whoever reads a replica that is
 * part plain has to say so by leaving the keys out); no identity opens it (ERR_CONFIG). After a failure every
 * further read fails. */
#include "store/crypt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct crypt {
	struct store base;
	struct store_ops ops; /* ours, without what the inner store has not got */
	struct store *inner;
	struct age_keys keys;
};

struct store_put {
	struct crypt *c;
	struct store_put *inner; /* of the other kind */
	struct age_stream stream;
	uint64_t chunk;
	size_t n;
	uint8_t buf[AGE_SEALED_BYTES]; /* n plain bytes; sealed in place */
};

enum { AHEAD_BYTES = AGE_SEALED_BYTES + 1 };

struct store_get {
	struct crypt *c;
	struct store_get *inner; /* NULL: it came to its end */
	char *key;
	struct age_stream stream;
	uint64_t payload_at; /* where chunk 0 lies in the object */
	uint64_t chunk;	     /* the next to be opened */
	bool at_end;	     /* of the inner object */
	bool done;	     /* the last chunk was opened */
	bool failed;
	size_t skip; /* plain bytes of the next chunk that are not wanted */
	size_t sealed_n, at, n;
	uint8_t sealed[AHEAD_BYTES];
	uint8_t plain[AGE_CHUNK_BYTES]; /* [at, n) is to be handed out */
};

static struct crypt *of(struct store *s)
{
	return (struct crypt *)(void *)s;
}

/* ---- upload ---- */

static int put_out(struct store_put *p, size_t n, struct err *e)
{
	return p->c->inner->ops->put_write(p->inner, (struct span){ p->buf, n }, e);
}

/* Seals `plain` (which may be in buf) as the next chunk and writes it. */
static int put_chunk(struct store_put *p, struct span plain, bool last, struct err *e)
{
	if (age_stream_seal(&p->stream, p->chunk, last, plain, p->buf, e) < 0)
		return -1;
	p->chunk++;
	p->n = 0;
	return put_out(p, plain.n + AGE_TAG_BYTES, e);
}

/* Fresh keys: the header and the nonce into *head, and the stream is ready. */
static int seal_begin(struct store_put *p, struct dyn *head, struct err *e)
{
	const struct age_keys *k = &p->c->keys;
	uint8_t file_key[AGE_FILE_KEY_BYTES], nonce[AGE_NONCE_BYTES];
	size_t ephemeral_bytes = k->recipients_n * sizeof(struct age_key);
	struct age_key *ephemeral = malloc(ephemeral_bytes);
	int rc = ephemeral ? 0 : err_set(e, ERR_FAIL, "no memory");
	if (rc == 0 &&
	    (crypto_random(file_key, sizeof file_key, e) < 0 || crypto_random(nonce, sizeof nonce, e) < 0 ||
	     crypto_random(ephemeral, ephemeral_bytes, e) < 0))
		rc = -1;
	if (rc == 0)
		rc = age_header_write(k->recipients, ephemeral, k->recipients_n, file_key, head, e);
	if (rc == 0 && dyn_add(head, nonce, sizeof nonce) < 0)
		rc = err_set(e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = age_stream_init(&p->stream, file_key, nonce, e);
	crypto_wipe(file_key, sizeof file_key);
	if (ephemeral)
		crypto_wipe(ephemeral, ephemeral_bytes);
	free(ephemeral);
	return rc;
}

static void put_free(struct store_put *p)
{
	age_stream_fini(&p->stream);
	free(p);
}

static int crypt_put_begin(struct store *s, const char *key, struct store_put **ret, struct err *e)
{
	struct crypt *c = of(s);
	struct dyn head = DYN_INIT(AGE_HEADER_MAX_BYTES + AGE_NONCE_BYTES);
	struct store_put *p = malloc(sizeof *p);
	if (!p)
		return err_set(e, ERR_FAIL, "no memory");
	p->c = c;
	p->inner = NULL;
	p->stream.aead = NULL;
	p->chunk = 0;
	p->n = 0;
	int rc = seal_begin(p, &head, e);
	if (rc == 0)
		rc = c->inner->ops->put_begin(c->inner, key, &p->inner, e);
	if (rc == 0 && c->inner->ops->put_write(p->inner, (struct span){ head.p, head.len }, e) < 0) {
		c->inner->ops->put_abort(p->inner);
		rc = -1;
	}
	dyn_free(&head);
	if (rc == 0)
		*ret = p;
	else
		put_free(p);
	return rc;
}

static int crypt_put_write(struct store_put *p, struct span bytes, struct err *e)
{
	while (bytes.n > 0) {
		if (p->n == AGE_CHUNK_BYTES &&
		    put_chunk(p, (struct span){ p->buf, AGE_CHUNK_BYTES }, false, e) < 0)
			return -1;
		size_t n = AGE_CHUNK_BYTES - p->n;
		if (p->n == 0 && bytes.n > n) { /* a whole one, and more behind it: no need to gather */
			if (put_chunk(p, (struct span){ bytes.p, n }, false, e) < 0)
				return -1;
		} else {
			n = bytes.n < n ? bytes.n : n;
			memcpy(p->buf + p->n, bytes.p, n);
			p->n += n;
		}
		bytes = (struct span){ bytes.p + n, bytes.n - n };
	}
	return 0;
}

static void crypt_put_abort(struct store_put *p)
{
	p->c->inner->ops->put_abort(p->inner);
	put_free(p);
}

static int crypt_put_commit(struct store_put *p, struct err *e)
{
	if (put_chunk(p, (struct span){ p->buf, p->n }, true, e) < 0) {
		crypt_put_abort(p);
		return -1;
	}
	int rc = p->c->inner->ops->put_commit(p->inner, e);
	put_free(p);
	return rc;
}

/* ---- download ---- */

/* Reads until `sealed` is full or the object ends. */
static int read_ahead(struct store_get *g, struct err *e)
{
	while (!g->at_end && g->sealed_n < AHEAD_BYTES) {
		long n = g->c->inner->ops->get_read(g->inner, g->sealed + g->sealed_n,
						    AHEAD_BYTES - g->sealed_n, e);
		if (n < 0)
			return -1;
		g->at_end = n == 0;
		g->sealed_n += (size_t)n;
	}
	return 0;
}

/* The first n bytes of what is read ahead are done with. */
static void pass(struct store_get *g, size_t n)
{
	g->sealed_n -= n;
	memmove(g->sealed, g->sealed + n, g->sealed_n);
}

/* The object does not begin as age does. What it is instead decides what to do. */
static int not_age(const struct store_get *g, struct err *e)
{
	static const uint8_t lz4[] = { 0x04, 0x22, 0x4d, 0x18 }, index[] = { 'W', 'B', 'I', 'X' };
	const uint8_t *p = g->sealed;
	size_t n = g->sealed_n;
	if (n >= sizeof lz4 && (memcmp(p, lz4, sizeof lz4) == 0 || memcmp(p, index, sizeof index) == 0))
		return err_set(e, ERR_CONFIG,
			       "not encrypted, but keys of age are given for this replica. To read what was "
			       "written before it was encrypted, leave the keys out");
	if (n >= 14 && memcmp(p, "-----BEGIN AGE", 14) == 0)
		return err_set(e, ERR_DAMAGED, "an armored file of age, which no replica holds");
	if (n == 0)
		return err_set(e, ERR_DAMAGED, "the object is empty (0 bytes)");
	return err_set(e, ERR_DAMAGED,
		       "damaged: it begins neither as an encrypted object (age) nor as a plain one");
}

/* What is read ahead is the front of the object. */
static int open_header(struct store_get *g, struct err *e)
{
	struct age_header h;
	uint8_t file_key[AGE_FILE_KEY_BYTES];
	size_t magic_n = g->sealed_n < AGE_MAGIC_BYTES ? g->sealed_n : AGE_MAGIC_BYTES;
	if (g->sealed_n == 0 || memcmp(g->sealed, age_magic, magic_n) != 0)
		return not_age(g, e);
	int rc = age_header_parse((struct span){ g->sealed, g->sealed_n }, &h, e);
	if (rc == 0)
		return err_set(e, ERR_DAMAGED, "cut off after %zu bytes, inside the header of its encryption",
			       g->sealed_n);
	if (rc < 0 || age_header_open(&h, g->c->keys.identities, g->c->keys.identities_n, file_key, e) < 0)
		return -1;
	g->payload_at = h.bytes + AGE_NONCE_BYTES;
	if (g->sealed_n < g->payload_at)
		rc = err_set(e, ERR_DAMAGED, "cut off after %zu bytes, behind the header of its encryption",
			     g->sealed_n);
	else
		rc = age_stream_init(&g->stream, file_key, g->sealed + h.bytes, e);
	crypto_wipe(file_key, sizeof file_key);
	if (rc == 0)
		pass(g, g->payload_at);
	return rc;
}

/* Goes to the chunk in which the plain byte `offset` lies. */
static int seek(struct store_get *g, uint64_t offset, struct err *e)
{
	struct store *inner = g->c->inner;
	uint64_t chunk = offset ? (offset - 1) / AGE_CHUNK_BYTES : 0;
	g->skip = (size_t)(offset - chunk * AGE_CHUNK_BYTES);
	if (chunk == 0)
		return 0;
	inner->ops->get_end(g->inner);
	g->inner = NULL;
	g->chunk = chunk;
	g->sealed_n = 0;
	g->at_end = false;
	if (chunk > (UINT64_MAX - g->payload_at) / AGE_SEALED_BYTES)
		return err_set(e, ERR_FAIL, "no object goes as far as byte %" PRIu64, offset);
	return inner->ops->get_begin(inner, g->key, g->payload_at + chunk * AGE_SEALED_BYTES, &g->inner, e);
}

static void crypt_get_end(struct store_get *g)
{
	if (g->inner)
		g->c->inner->ops->get_end(g->inner);
	age_stream_fini(&g->stream);
	crypto_wipe(g->plain, g->n);
	free(g->key);
	free(g);
}

/* Errors about the bytes have no name yet; those of the inner store have theirs. */
static int named(const struct store_get *g, struct err *e)
{
	return err_wrap(e, "%s/%s", g->c->base.label, g->key);
}

static int crypt_get_begin(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			   struct err *e)
{
	struct crypt *c = of(s);
	struct store_get *g = malloc(sizeof *g);
	if (!g)
		return err_set(e, ERR_FAIL, "no memory");
	memset(g, 0, offsetof(struct store_get, sealed));
	g->c = c;
	g->key = strdup(key);
	int rc = g->key ? c->inner->ops->get_begin(c->inner, key, 0, &g->inner, e)
			: err_set(e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = read_ahead(g, e);
	if (rc == 0 && (rc = open_header(g, e)) < 0)
		named(g, e);
	if (rc == 0)
		rc = seek(g, offset, e);
	if (rc == 0)
		*ret = g;
	else
		crypt_get_end(g);
	return rc;
}

/* Why the chunk at the front of `sealed` does not open. */
static int bad_chunk(struct store_get *g, size_t n, bool last, struct err *e)
{
	uint64_t at = g->payload_at + g->chunk * AGE_SEALED_BYTES;
	struct span sealed = { g->sealed, n };
	if (last && n < AGE_TAG_BYTES)
		err_set(e, ERR_DAMAGED,
			"cut off: chunk %" PRIu64 " of its encryption (from byte %" PRIu64
			" of the object on) has %zu bytes",
			g->chunk, at, n);
	else if (last && age_stream_open(&g->stream, g->chunk, false, sealed, g->plain))
		err_set(e, ERR_DAMAGED,
			"cut off: it ends with chunk %" PRIu64 " of its encryption, at byte %" PRIu64
			", which is not the last",
			g->chunk, at + n);
	else if (!last && age_stream_open(&g->stream, g->chunk, true, sealed, g->plain))
		err_set(e, ERR_DAMAGED,
			"damaged: it goes on behind the last chunk of its encryption (%" PRIu64
			", to byte %" PRIu64 ")",
			g->chunk, at + n);
	else
		err_set(e, ERR_DAMAGED,
			"damaged or cut off: chunk %" PRIu64 " of its encryption (bytes %" PRIu64 " to %" PRIu64
			" of the object) is not authentic",
			g->chunk, at, at + n);
	return named(g, e);
}

/* Opens the next chunk. */
static int next_chunk(struct store_get *g, struct err *e)
{
	if (read_ahead(g, e) < 0)
		return -1;
	bool last = g->sealed_n <= AGE_SEALED_BYTES;
	size_t n = last ? g->sealed_n : AGE_SEALED_BYTES;
	if (!age_stream_open(&g->stream, g->chunk, last, (struct span){ g->sealed, n }, g->plain))
		return bad_chunk(g, n, last, e);
	g->chunk++;
	g->done = last;
	g->n = n - AGE_TAG_BYTES;
	g->at = g->skip < g->n ? g->skip : g->n;
	g->skip = 0;
	pass(g, n);
	return 0;
}

static long crypt_get_read(struct store_get *g, void *p, size_t n, struct err *e)
{
	if (g->failed)
		return err_set(e, ERR_FAIL, "%s/%s: read on after a failure", g->c->base.label, g->key);
	while (g->at == g->n) {
		if (g->done || n == 0)
			return 0;
		if (next_chunk(g, e) < 0) {
			g->failed = true;
			g->at = g->n = 0;
			return -1;
		}
	}
	if (n > g->n - g->at)
		n = g->n - g->at;
	memcpy(p, g->plain + g->at, n);
	g->at += n;
	return (long)n;
}

/* ---- passed through ---- */

static int crypt_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	return of(s)->inner->ops->list(of(s)->inner, prefix, fn, arg, e);
}

static int crypt_remove(struct store *s, const char *const *keys, size_t n, struct err *e)
{
	return of(s)->inner->ops->remove(of(s)->inner, keys, n, e);
}

static int crypt_remove_all(struct store *s, const char *prefix, struct err *e)
{
	return of(s)->inner->ops->remove_all(of(s)->inner, prefix, e);
}

static int crypt_sync(struct store *s, struct err *e)
{
	return of(s)->inner->ops->sync(of(s)->inner, e);
}

static void crypt_close(struct store *s)
{
	struct crypt *c = of(s);
	store_close(c->inner);
	age_keys_free(&c->keys);
	free(c);
}

/* ---- the filter ---- */

/* Without recipients: those who can read it. */
static int own_recipients(struct age_keys *k, struct err *e)
{
	for (size_t i = 0; i < k->identities_n; i++) {
		struct age_key public;
		if (age_public(&k->identities[i], &public, e) < 0 ||
		    age_keys_add(k, AGE_RECIPIENT, &public, e) < 0)
			return -1;
	}
	return 0;
}

int crypt_open(struct store *inner, const struct age_keys *keys, struct store **ret, struct err *e)
{
	struct crypt *c = calloc(1, sizeof *c);
	int rc = c ? crypto_load(e) : err_set(e, ERR_FAIL, "no memory");
	if (rc == 0)
		rc = age_keys_copy(&c->keys, keys, e);
	if (rc == 0 && keys->recipients_n == 0)
		rc = own_recipients(&c->keys, e);
	if (rc < 0) {
		store_close(inner);
		if (c)
			age_keys_free(&c->keys);
		free(c);
		return -1;
	}
	c->ops = (struct store_ops){
		.scheme = inner->ops->scheme,
		.list = crypt_list,
		.put_begin = crypt_put_begin,
		.put_write = crypt_put_write,
		.put_commit = crypt_put_commit,
		.put_abort = crypt_put_abort,
		.get_begin = crypt_get_begin,
		.get_read = crypt_get_read,
		.get_end = crypt_get_end,
		.remove = crypt_remove,
		.close = crypt_close,
		.remove_all = inner->ops->remove_all ? crypt_remove_all : NULL,
		.sync = inner->ops->sync ? crypt_sync : NULL,
	};
	c->inner = inner;
	c->base.ops = &c->ops;
	memcpy(c->base.label, inner->label, sizeof c->base.label);
	c->base.dirs_made = inner->dirs_made;
	*ret = &c->base;
	return 0;
}

int store_open_keyed(const char *url, bool allow_plain, const struct owner *owner, const struct age_keys *keys,
		     struct store **ret, struct err *e)
{
	if (store_open(url, allow_plain, owner, ret, e) < 0)
		return -1;
	if (!keys || (keys->identities_n == 0 && keys->recipients_n == 0))
		return 0;
	return crypt_open(*ret, keys, ret, e) < 0 ? err_wrap(e, "age") : 0;
}
