/* SPDX-License-Identifier: Apache-2.0
 *
 * A replica: see replica.h.
 *
 * Happy path: attach once (one listing, and one read of the newest object to know where it ends), then ship:
 * one ready segment is published as it is, without copying where the store can link it; several that are due
 * together are spliced into one object. The index object of the WAL index is written now and then, and whenever
 * a WAL index ends.
 *
 * A blind replica, whose objects we cannot decrypt, is attached by what was noted here when they were shipped
 * (db/shipped.h).
 *
 * Failure modes: the store fails (position unmoved; the caller waits and tries again); the newest object cannot
 * be read to its end, or is not the one that was noted (it is shipped again under the same name); it is
 * encrypted and ours are not, or the other way round, or for other keys (a new generation begins: one
 * generation is of one kind). */
#include "db/replica.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/shipped.h"
#include "store/crypt.h"

enum { PIECE_BYTES = 256 << 10, DOC_EVERY_US = 10000000 };

int replica_open(struct replica *r, struct err *e)
{
	r->snapshot_at.index = UINT64_MAX;
	if (r->store)
		return 0;
	if (store_open_keyed(r->url, true, &r->owner, &r->keys, &r->store, e) < 0)
		return -1;
	if (r->keys.recipients_n == 0)
		return 0;
	int match = age_keys_match(&r->keys, e);
	r->blind = match == 0;
	return match < 0 ? -1 : 0;
}

void replica_fini(struct replica *r)
{
	store_close(r->store);
	age_keys_free(&r->keys);
	free(r->shipped_dir);
	free(r->snapshots);
	index_doc_free(&r->doc);
}

void replica_rebase(struct replica *r, const struct generation *g, struct position at)
{
	r->generation = *g;
	r->at = at;
	r->wants_snapshot = true;
	r->end_damaged = false;
	r->foreign = NULL;
	r->has_wal = r->emptied = false;
	free(r->snapshots);
	r->snapshots = NULL;
	r->snapshots_n = 0;
	r->snapshot_at.index = UINT64_MAX;
	r->retain_due_wall_us = 0;
	index_doc_free(&r->doc);
	r->doc_dirty = false;
}

/* Attach. */

struct newest {
	struct position at, before; /* before: the newest of the WAL index before that one */
	uint64_t bytes;
	bool any, any_before;
};

static int see_segment(void *arg, const struct store_entry *entry, struct err *e)
{
	struct newest *n = arg;
	struct position at;
	(void)e;
	if (entry->is_dir || !object_parse(entry->name, OBJECT_SEGMENT, &at))
		return 0;
	struct position other = at;
	if (!n->any || position_compare(at, n->at) > 0) {
		other = n->at;
		n->at = at;
		n->bytes = entry->bytes;
	}
	if (n->any && (!n->any_before || position_compare(other, n->before) > 0) && other.index < n->at.index) {
		n->before = other;
		n->any_before = true;
	}
	n->any = true;
	return 0;
}

static int add_snapshot(struct replica *r, uint64_t index, int64_t created_us, struct err *e)
{
	size_t at = r->snapshots_n;
	for (size_t i = 0; i < r->snapshots_n; i++)
		if (r->snapshots[i].index == index) {
			r->snapshots[i].created_us = created_us;
			return 0;
		}
	struct replica_snapshot *more = realloc(r->snapshots, (at + 1) * sizeof *more);
	if (!more)
		return err_set(e, ERR_FAIL, "no memory");
	r->snapshots = more;
	while (at > 0 && more[at - 1].index > index) {
		more[at] = more[at - 1];
		at--;
	}
	more[at] = (struct replica_snapshot){ index, created_us };
	r->snapshots_n++;
	return 0;
}

static int see_snapshot(void *arg, const struct store_entry *entry, struct err *e)
{
	struct replica *r = arg;
	struct position at;
	if (entry->is_dir || !object_parse(entry->name, OBJECT_SNAPSHOT, &at))
		return 0;
	return add_snapshot(r, at.index, entry->created_us, e);
}

static int count_plain(void *arg, struct span out, struct err *e)
{
	(void)e;
	*(uint64_t *)arg += out.n;
	return 0;
}

/* The object is not of the kind that we write, or cannot be read with our keys. */
static void is_foreign(struct replica *r, const char *key, const char *why, const char *text)
{
	log_warn("the replica holds what does not go with its keys", L_S("db", r->db_path),
		 L_S("replica", r->name), L_S("object", key), L_S("error", text));
	r->foreign = why;
}

static bool begins_as_age(struct span bytes)
{
	return bytes.n >= AGE_MAGIC_BYTES && memcmp(bytes.p, age_magic, AGE_MAGIC_BYTES) == 0;
}

static const char other_keys[] = "a replica was not written with the keys that are configured for it now";
static const char no_keys[] = "a replica is encrypted, and no keys are configured for it now";

/* Reads an object, all of it or only its first bytes, into the reader. 1: good; 0: it is damaged (said) or
 * foreign; -1: the store failed. */
static int read_object(struct replica *r, const char *key, struct segment_reader *reader, uint8_t *buf,
		       bool all, struct err *e)
{
	struct store_get *get;
	struct err why = ERR_INIT;
	long n = 0;
	bool good = true, first = true;
	if (r->store->ops->get_begin(r->store, key, 0, &get, &why) == 0) {
		while (good && (n = r->store->ops->get_read(get, buf, PIECE_BYTES, &why)) > 0) {
			struct span piece = { buf, (size_t)n };
			if (first && r->keys.recipients_n + r->keys.identities_n == 0 && begins_as_age(piece)) {
				is_foreign(r, key, no_keys, "it is encrypted (age)");
				good = false;
				break;
			}
			first = false;
			if (!all)
				break;
			good = segment_read(reader, piece, &why) == 0;
		}
		r->store->ops->get_end(get);
		if (n >= 0 && !r->foreign && good && all)
			good = segment_read_end(reader, &why) == 0;
	} else {
		n = -1;
	}
	if (n < 0 && why.kind == ERR_CONFIG)
		is_foreign(r, key, other_keys, why.text);
	else if (n < 0 && why.kind != ERR_DAMAGED) {
		*e = why;
		return -1;
	}
	good = good && n >= 0;
	if (!good && !r->foreign && all)
		log_warn("the newest object is damaged and will be written again", L_S("db", r->db_path),
			 L_S("replica", r->name), L_S("object", key), L_S("error", why.text));
	return good;
}

/* Where the newest segment ends. One that cannot be read to its end counts as not there: it will be written
 * again. With only a snapshot there, whether that is of our kind. */
static int end_of(struct replica *r, bool segment, struct position *at, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { segment ? OBJECT_SEGMENT : OBJECT_SNAPSHOT, r->generation, *at };
	uint64_t plain = 0;
	struct segment_reader *reader = segment_reader_new(count_plain, &plain);
	uint8_t *buf = malloc(PIECE_BYTES);
	int rc = reader && buf ? read_object(r, object_key(key, &o), reader, buf, segment, e)
			       : err_set(e, ERR_FAIL, "no memory");
	if (segment && rc >= 0 && !r->foreign) {
		at->offset += rc ? plain : 0;
		r->end_damaged = !rc;
	}
	segment_reader_free(reader);
	free(buf);
	return rc < 0 ? -1 : 0;
}

/* The same of a blind replica, from what was noted. */
static int end_noted(struct replica *r, const struct newest *n, struct err *e)
{
	struct shipped s;
	struct err why = ERR_INIT;
	uint8_t recipients[CRYPTO_HASH_BYTES];
	if (shipped_recipients(&r->keys, recipients, e) < 0)
		return -1;
	if (!r->shipped_dir || shipped_read(r->shipped_dir, &s, &why) < 0 ||
	    !generation_equal(&s.generation, &r->generation) ||
	    memcmp(s.recipients, recipients, sizeof recipients) != 0) {
		r->foreign = other_keys;
		return 0;
	}
	r->noted = r->generation;
	if (!n->any)
		return 0;
	bool known = position_compare(s.at, n->at) == 0 && s.end > s.at.offset && s.stored_bytes == n->bytes;
	if (known)
		r->at.offset = s.end;
	r->end_damaged = !known; /* else it is in the spool, and is written again from there */
	return 0;
}

/* After something was shipped to a blind replica. What fails costs a new generation at the next start. */
static void note_end(struct replica *r, struct position at, uint64_t end, uint64_t plain_bytes)
{
	struct shipped s = { .generation = r->generation, .at = at, .end = end };
	struct err e = ERR_INIT;
	if (!r->blind || !r->shipped_dir)
		return;
	s.stored_bytes = end > at.offset ? age_file_bytes(plain_bytes, r->keys.recipients_n) : 0;
	if (shipped_recipients(&r->keys, s.recipients, &e) < 0 ||
	    shipped_write(r->shipped_dir, &r->owner, &s, &e) < 0)
		log_warn("cannot note what was shipped; the next start will begin a new generation",
			 L_S("db", r->db_path), L_S("replica", r->name), L_S("error", e.text));
	else
		r->noted = r->generation;
}

int replica_attach(struct replica *r, const struct generation *g, bool *ret_any, struct err *e)
{
	char prefix[OBJECT_KEY_BYTES];
	struct newest n = { .any = false };
	replica_rebase(r, g, (struct position){ 0, 0 });
	r->generation = (struct generation){ "" }; /* until all is known */
	if (r->store->ops->list(r->store, object_prefix(prefix, OBJECT_SNAPSHOT, g), see_snapshot, r, e) < 0 &&
	    e->kind != ERR_NOTHING)
		return -1;
	if (r->store->ops->list(r->store, object_prefix(prefix, OBJECT_SEGMENT, g), see_segment, &n, e) < 0 &&
	    e->kind != ERR_NOTHING)
		return -1;
	r->generation = *g;
	r->wants_snapshot = r->snapshots_n == 0;
	r->has_wal = n.any;
	*ret_any = n.any || r->snapshots_n > 0;
	if (n.any)
		r->at = n.at;
	else if (r->snapshots_n > 0)
		r->at = (struct position){ r->snapshots[r->snapshots_n - 1].index, 0 };
	if (*ret_any && (r->blind ? end_noted(r, &n, e) : end_of(r, n.any, &r->at, e)) < 0) {
		r->generation = (struct generation){ "" };
		return -1;
	}
	if (*ret_any && replica_doc_read(r, r->at.index, &r->doc, e) < 0) {
		r->generation = (struct generation){ "" };
		return -1;
	}
	r->before = n.any_before && n.before.index + 1 == n.at.index ? n.before : (struct position){ 0, 0 };
	r->has_before = n.any_before && n.before.index + 1 == n.at.index;
	return 0;
}

int replica_end_before(struct replica *r, uint64_t *ret, struct err *e)
{
	struct replica look = *r; /* what is found does not count as the end of the replica */
	struct position at = r->before;
	*ret = 0;
	if (!r->has_before || r->blind)
		return 0;
	if (end_of(&look, true, &at, e) < 0)
		return -1;
	*ret = look.foreign || look.end_damaged ? 0 : at.offset;
	return 0;
}

/* Ship. */

uint64_t replica_has_of(const struct replica *r, const struct spool_segment *s)
{
	bool inside = r->at.index == s->at.index && r->at.offset > s->at.offset && r->at.offset < s->end;
	return inside ? r->at.offset - s->at.offset : 0;
}

static int put_pieces(struct store *s, struct store_put *put, const char *path, struct segment_splicer *splicer,
		      struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	uint8_t *buf = malloc(PIECE_BYTES);
	int rc = buf ? 0 : err_set(e, ERR_FAIL, "no memory");
	for (off_t off = 0; rc == 0;) {
		ssize_t n = file_pread_full(fd, path, buf, PIECE_BYTES, off, e);
		if (n <= 0) {
			rc = n < 0 ? -1 : 0;
			break;
		}
		struct span piece = { buf, (size_t)n };
		rc = splicer ? segment_splice(splicer, piece, e) : s->ops->put_write(put, piece, e);
		off += n;
	}
	free(buf);
	close(fd);
	return rc;
}

struct splice_out {
	struct store *store;
	struct store_put *put;
	uint64_t bytes;
};

static int to_put(void *arg, struct span out, struct err *e)
{
	struct splice_out *o = arg;
	o->bytes += out.n;
	return o->store->ops->put_write(o->put, out, e);
}

static int splice_all(struct splice_out *out, const struct spool *spool,
		      const struct spool_segment *const *list, size_t n, struct err *e)
{
	char path[PATH_BYTES];
	struct segment_splicer *s = segment_splicer_new(to_put, out);
	int rc = s ? 0 : err_set(e, ERR_FAIL, "no memory");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		spool_path(spool, &list[i]->generation, list[i]->at, path);
		rc = put_pieces(out->store, out->put, path, s, e);
		if (rc == 0)
			rc = segment_splice_next(s, e);
	}
	if (rc == 0)
		rc = segment_splice_finish(s, e);
	segment_splicer_free(s);
	return rc;
}

/* A segment of which the replica has the beginning: what lies behind it is compressed again. */
struct rest {
	uint64_t skip_bytes;
	struct segment_writer *to;
};

static int write_rest(void *arg, struct span out, struct err *e)
{
	struct rest *x = arg;
	uint64_t skip = x->skip_bytes < out.n ? x->skip_bytes : out.n;
	x->skip_bytes -= skip;
	return out.n == skip ? 0 : segment_write(x->to, (struct span){ out.p + skip, out.n - skip }, e);
}

static int put_rest(struct splice_out *out, const char *path, uint64_t skip_bytes, struct err *e)
{
	struct rest x = { .skip_bytes = skip_bytes, .to = segment_writer_new(to_put, out) };
	struct segment_reader *r = segment_reader_new(write_rest, &x);
	uint8_t *buf = malloc(PIECE_BYTES);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc = fd >= 0 ? 0 : err_sys(e, errno, "%s: cannot be opened", path);
	if (rc == 0 && (!x.to || !r || !buf))
		rc = err_set(e, ERR_FAIL, "no memory");
	ssize_t n = 1;
	for (off_t off = 0; rc == 0 && n > 0; off += n) {
		n = file_pread_full(fd, path, buf, PIECE_BYTES, off, e);
		rc = n < 0 ? -1 : segment_read(r, (struct span){ buf, (size_t)n }, e);
	}
	if (rc == 0)
		rc = segment_read_end(r, e);
	if (rc == 0)
		rc = segment_finish(x.to, e);
	if (fd >= 0)
		close(fd);
	free(buf);
	segment_reader_free(r);
	segment_writer_free(x.to);
	return rc;
}

/* Copies one segment or the rest of it, or splices several, into a new object. */
static int put_object(struct replica *r, const char *key, const struct spool *spool,
		      const struct spool_segment *const *list, size_t n, uint64_t *ret_bytes, struct err *e)
{
	char path[PATH_BYTES];
	struct splice_out out = { .store = r->store };
	int rc;
	if (r->store->ops->put_begin(r->store, key, &out.put, e) < 0)
		return -1;
	uint64_t has_bytes = replica_has_of(r, list[0]);
	spool_path(spool, &list[0]->generation, list[0]->at, path);
	if (has_bytes > 0) {
		rc = put_rest(&out, path, has_bytes, e);
	} else if (n == 1) {
		rc = put_pieces(r->store, out.put, path, NULL, e);
		out.bytes = list[0]->stored_bytes;
	} else {
		rc = splice_all(&out, spool, list, n, e);
	}
	if (rc < 0) {
		r->store->ops->put_abort(out.put);
		return -1;
	}
	*ret_bytes = out.bytes;
	return r->store->ops->put_commit(out.put, e);
}

/* Linked, or copied. */
static int publish(struct replica *r, const char *key, const struct spool *spool,
		   const struct spool_segment *const *list, size_t n, uint64_t *ret_bytes, struct err *e)
{
	char path[PATH_BYTES];
	int linked = 0;
	if (n == 1 && replica_has_of(r, list[0]) == 0 && r->store->ops->put_file) {
		spool_path(spool, &list[0]->generation, list[0]->at, path);
		linked = r->store->ops->put_file(r->store, key, path, e);
	}
	if (linked < 0 || (linked == 0 && put_object(r, key, spool, list, n, ret_bytes, e) < 0))
		return -1;
	/* Its name must be durable before the spool may forget it. (It is visible already.) */
	return linked > 0 && r->store->ops->sync ? r->store->ops->sync(r->store, e) : 0;
}

int replica_ship(struct replica *r, const struct spool *spool, const struct spool_segment *const *list,
		 size_t n, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { OBJECT_SEGMENT, list[0]->generation, list[0]->at };
	uint64_t bytes = list[0]->stored_bytes;
	unsigned long made = r->store->dirs_made ? *r->store->dirs_made : 0;
	o.at.offset += replica_has_of(r, list[0]);
	int rc = publish(r, object_key(key, &o), spool, list, n, &bytes, e);
	/* Also when the upload failed: the next one will find the directory. */
	if (r->has_wal && r->store->dirs_made && *r->store->dirs_made != made)
		r->emptied = true;
	if (rc < 0)
		return err_wrap(e, "%s", key);
	bool first = !r->has_wal;
	r->has_wal = true;
	r->wal_bytes += list[n - 1]->end - o.at.offset;
	r->at = (struct position){ list[n - 1]->at.index, list[n - 1]->end };
	note_end(r, o.at, r->at.offset, bytes);
	r->objects++;
	r->stored_bytes += bytes;
	struct err why = ERR_INIT;
	/* The first one makes its directory, and does not tell whether the one above was there still. */
	if (first && r->store->dirs_made && *r->store->dirs_made != made && replica_look(r, &why) < 0)
		log_warn("it is not known whether the snapshot is still there", L_S("db", r->db_path),
			 L_S("replica", r->name), L_S("error", why.text));
	for (size_t i = 0; i < n; i++) {
		if (replica_doc_note(r, list[i], &why) < 0)
			log_warn("the index of the replica lags", L_S("db", r->db_path),
				 L_S("replica", r->name), L_S("error", why.text));
	}
	return 0;
}

int replica_settle(struct replica *r, bool force, struct err *e)
{
	if (r->store->ops->sync && r->store->ops->sync(r->store, e) < 0)
		return -1;
	if (!r->doc_dirty || (!force && mono_us() - r->doc_written_us < DOC_EVERY_US))
		return 0;
	return replica_doc_write(r, e);
}

/* Snapshots. */

struct fan {
	struct snapshot_out *outs;
	size_t n;
};

static int to_all(void *arg, struct span out, struct err *e)
{
	struct fan *f = arg;
	size_t good = 0;
	for (size_t i = 0; i < f->n; i++) {
		struct snapshot_out *o = &f->outs[i];
		if (o->e.kind != ERR_NONE)
			continue;
		if (o->store->ops->put_write(o->put, out, &o->e) == 0) {
			o->stored_bytes += out.n;
			good++;
		}
	}
	return good ? 0 : err_set(e, ERR_UNREACHABLE, "no replica takes the snapshot");
}

static void out_begin(const struct snapshot *s, struct snapshot_out *o)
{
	char key[OBJECT_KEY_BYTES];
	struct object ob = { OBJECT_SNAPSHOT, s->generation, { s->at.index, 0 } };
	if (store_open_keyed(o->replica->url, true, &o->replica->owner, &o->replica->keys, &o->store, &o->e) <
	    0)
		return;
	if (o->store->ops->put_begin(o->store, object_key(key, &ob), &o->put, &o->e) < 0)
		o->put = NULL;
}

void snapshot_outs_copy(struct snapshot *s, struct snapshot_out *outs, size_t n)
{
	struct fan f = { outs, n };
	struct err e = ERR_INIT;
	for (size_t i = 0; i < n; i++)
		out_begin(s, &outs[i]);
	if (snapshot_copy(s, to_all, &f, &e) == 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (outs[i].e.kind == ERR_NONE)
			outs[i].e = e;
}

void snapshot_outs_end(const struct snapshot *s, struct snapshot_out *outs, size_t n, bool publish)
{
	(void)s;
	for (size_t i = 0; i < n; i++) {
		struct snapshot_out *o = &outs[i];
		if (o->put && o->e.kind == ERR_NONE && publish) {
			o->store->ops->put_commit(o->put, &o->e);
		} else if (o->put) {
			o->store->ops->put_abort(o->put);
			if (o->e.kind == ERR_NONE)
				err_set(&o->e, ERR_FAIL, "cancelled");
		}
		o->put = NULL;
		store_close(o->store);
		o->store = NULL;
	}
}

int replica_note_snapshot(struct replica *r, const struct snapshot *s, struct err *e)
{
	if (!generation_equal(&r->generation, &s->generation))
		return 0;
	if (add_snapshot(r, s->at.index, wall_us(), e) < 0)
		return -1;
	if (!generation_equal(&r->noted, &r->generation)) /* no segment yet: there is nothing behind it */
		note_end(r, r->at, r->at.offset, 0);
	r->wants_snapshot = false;
	r->snapshot_at = s->at;
	r->retain_due_wall_us = 0;
	return 0;
}

int replica_note_usable(struct replica *r, const struct snapshot *s, struct position usable_from, struct err *e)
{
	if (!generation_equal(&r->generation, &s->generation))
		return err_set(e, ERR_FAIL, "the generation changed meanwhile");
	struct wal_index_doc current = r->doc;
	bool other = current.index != s->at.index || !generation_equal(&current.generation, &s->generation);
	if (other) {
		/* The index object of an earlier WAL index says it: fetch, add, put back. */
		r->doc = (struct wal_index_doc){ 0 };
		if (replica_doc_read(r, s->at.index, &r->doc, e) < 0) {
			r->doc = current;
			return -1; /* what it holds would be lost */
		}
		r->doc.generation = s->generation;
		r->doc.index = s->at.index;
	}
	/* One from the very beginning of a WAL index is usable for all of it; there may not even be a WAL yet.
	 */
	bool whole = usable_from.index == s->at.index && usable_from.offset == 0;
	r->doc.snapshot_fuzzy = !whole;
	r->doc.usable_from = usable_from;
	int rc = whole ? 0 : replica_doc_write(r, e);
	if (other && current.index > s->at.index && generation_equal(&current.generation, &s->generation)) {
		index_doc_free(&r->doc);
		r->doc = current;
		r->doc_dirty = true;
	} else if (other) {
		index_doc_free(&current);
	}
	return rc;
}
