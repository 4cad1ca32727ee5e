/* SPDX-License-Identifier: Apache-2.0
 *
 * db/replica and db/retain over a real file store: what is shipped is contiguous and complete, an attach after
 * a crash finds its end, several segments become one object, and retention deletes in an order that leaves
 * every moment of the window restorable wherever it is interrupted. */
#include "world.h"

#include <dirent.h>
#include <sys/stat.h>

#include "core/index.h"
#include "core/plan.h"
#include "db/replica.h"
#include "db/shipped.h"
#include "store/crypt.h"

static const struct generation gen = { "00112233445566aa" }, older = { "11112233445566aa" },
			       oldest = { "22222233445566aa" };

/* ---- a store that looks on ---- */

struct spy {
	struct store base;
	struct store *inner;
	struct store_ops ops;
	unsigned calls, removed_n, fail_remove_at; /* the nth fails (from 1), 0: none */
	bool fail_docs;				   /* an index object cannot be read */
	bool fail_list, hide_newest_snapshot, hide_all;
	char removed[512][OBJECT_KEY_BYTES];
};

static struct spy *spy_of(struct store *s)
{
	return (struct spy *)(void *)s;
}

struct hidden {
	store_list_fn *fn;
	void *arg;
	const char *name;
};

static int pass_unless_hidden(void *arg, const struct store_entry *entry, struct err *e)
{
	struct hidden *h = arg;
	return strcmp(entry->name, h->name) == 0 ? 0 : h->fn(h->arg, entry, e);
}

static int newest_name(void *arg, const struct store_entry *entry, struct err *e)
{
	(void)e;
	if (strcmp(entry->name, arg) > 0)
		snprintf(arg, OBJECT_KEY_BYTES, "%s", entry->name);
	return 0;
}

static int spy_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	struct spy *y = spy_of(s);
	char name[OBJECT_KEY_BYTES] = "";
	y->calls++;
	if (y->fail_list)
		return err_set(e, ERR_UNREACHABLE, "%s: cannot list", prefix);
	if (y->hide_all)
		return 0;
	if (y->hide_newest_snapshot && strstr(prefix, "/snapshots/"))
		y->inner->ops->list(y->inner, prefix, newest_name, name, e);
	struct hidden h = { fn, arg, name };
	return y->inner->ops->list(y->inner, prefix, pass_unless_hidden, &h, e);
}

static int spy_put_begin(struct store *s, const char *key, struct store_put **ret, struct err *e)
{
	spy_of(s)->calls++;
	return spy_of(s)->inner->ops->put_begin(spy_of(s)->inner, key, ret, e);
}

static int spy_get_begin(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			 struct err *e)
{
	spy_of(s)->calls++;
	if (spy_of(s)->fail_docs && strstr(key, "/index/"))
		return err_set(e, ERR_UNREACHABLE, "the connection is gone");
	return spy_of(s)->inner->ops->get_begin(spy_of(s)->inner, key, offset, ret, e);
}

static int spy_remove(struct store *s, const char *const *keys, size_t n, struct err *e)
{
	struct spy *y = spy_of(s);
	y->calls++;
	for (size_t i = 0; i < n; i++) {
		if (y->fail_remove_at && y->removed_n + 1 == y->fail_remove_at)
			return err_set(e, ERR_UNREACHABLE, "the connection is gone");
		assert_true(y->removed_n < 512);
		snprintf(y->removed[y->removed_n++], OBJECT_KEY_BYTES, "%s", keys[i]);
		if (y->inner->ops->remove(y->inner, &keys[i], 1, e) < 0)
			return -1;
	}
	return 0;
}

static int spy_put_file(struct store *s, const char *key, const char *local, struct err *e)
{
	spy_of(s)->calls++;
	return spy_of(s)->inner->ops->put_file(spy_of(s)->inner, key, local, e);
}

static int spy_remove_all(struct store *s, const char *prefix, struct err *e)
{
	spy_of(s)->calls++;
	return spy_of(s)->inner->ops->remove_all(spy_of(s)->inner, prefix, e);
}

static int spy_sync(struct store *s, struct err *e)
{
	spy_of(s)->calls++;
	return spy_of(s)->inner->ops->sync(spy_of(s)->inner, e);
}

static void spy_close(struct store *s)
{
	store_close(spy_of(s)->inner);
	free(s);
}

static struct spy *spy_new(const char *root)
{
	struct err e;
	struct spy *y = calloc(1, sizeof *y);
	assert_non_null(y);
	assert_int_equal(store_file_open(root, &OWNER_PRIVATE, &y->inner, &e), 0);
	y->ops = *y->inner->ops;
	y->ops.list = spy_list;
	y->ops.put_begin = spy_put_begin;
	y->ops.get_begin = spy_get_begin;
	y->ops.remove = spy_remove;
	y->ops.put_file = spy_put_file;
	y->ops.remove_all = spy_remove_all;
	y->ops.sync = spy_sync;
	y->ops.close = spy_close;
	y->base.ops = &y->ops;
	memcpy(y->base.label, y->inner->label, sizeof y->base.label);
	return y;
}

/* ---- a replica and a spool to ship from ---- */

struct world_of {
	struct replica r;
	struct spy *spy;
	struct spool spool;
	struct fake_wal w; /* of the index that is being written */
	uint64_t index, from;
	struct spool_segment *segs[32];
	size_t n;
	struct err e;
};

static void attach_new(struct world_of *x, const char *name)
{
	x->spy = spy_new(at("%s/replica", name));
	x->r = (struct replica){
		.db_path = "db", .name = "file", .url = "", .owner = OWNER_PRIVATE, .store = &x->spy->base
	};
	assert_int_equal(replica_open(&x->r, &x->e), 0);
}

static void begin(struct world_of *x, const char *name)
{
	*x = (struct world_of){ .n = 0 };
	sh("mkdir -p %s/replica", name);
	assert_int_equal(spool_init(&x->spool, at("%s", name), &OWNER_PRIVATE, &x->e), 0);
	attach_new(x, name);
}

static void end(struct world_of *x)
{
	replica_fini(&x->r);
	for (size_t i = 0; i < x->n; i++)
		spool_segment_free(x->segs[i]);
	dyn_free(&x->w.bytes);
	spool_fini(&x->spool);
}

static void begin_index(struct world_of *x, uint64_t index)
{
	dyn_free(&x->w.bytes);
	fake_begin(&x->w, 512, (uint32_t)index + 1000);
	x->index = index;
	x->from = 0;
}

/* Some frames more, as a ready segment in the spool. */
static struct spool_segment *grow(struct world_of *x, unsigned frames, int64_t wall_us)
{
	struct spool_file f;
	struct spool_segment *s = calloc(1, sizeof *s);
	assert_non_null(s);
	for (unsigned i = 1; i <= frames; i++)
		fake_frame(&x->w, i, i == frames ? frames : 0);
	struct dyn d = packed((struct span){ x->w.bytes.p + x->from, x->w.bytes.len - x->from });
	*s = (struct spool_segment){ .generation = gen, .at = { x->index, x->from }, .end = x->w.chain.offset };
	s->page_bytes = 512;
	s->stored_bytes = d.len;
	memcpy(s->salt, x->w.chain.salt, 8);
	s->commits = malloc(sizeof *s->commits);
	assert_non_null(s->commits);
	s->commits[0] = (struct index_commit){ s->end, wall_us };
	s->commits_n = 1;
	assert_int_equal(spool_begin(&x->spool, &gen, s->at, &f, &x->e), 0);
	assert_int_equal(spool_add(&f, (struct span){ d.p, d.len }, &x->e), 0);
	s->prev_end = s->at.offset == 0 && x->n > 0 ? x->segs[x->n - 1]->end : 0;
	spool_note_times(&f, s);
	assert_int_equal(spool_commit(&f, true, &x->e), 0);
	dyn_free(&d);
	x->from = s->end;
	x->segs[x->n++] = s;
	return s;
}

static void ship(struct world_of *x, size_t first, size_t n)
{
	const struct spool_segment *list[32];
	for (size_t i = 0; i < n; i++)
		list[i] = x->segs[first + i];
	if (replica_ship(&x->r, &x->spool, list, n, &x->e) < 0)
		fail_msg("%s", x->e.text);
	assert_int_equal(x->r.at.index, x->segs[first + n - 1]->at.index);
	assert_int_equal(x->r.at.offset, x->segs[first + n - 1]->end);
}

static void expect_listing(const char *dir, const char *want)
{
	char got[LINE_BYTES] = "", cmd[LINE_BYTES];
	snprintf(cmd, sizeof cmd, "cd '%s' 2>/dev/null && ls | LC_ALL=C sort | tr '\\n' ' '", dir);
	FILE *f = popen(cmd, "r");
	assert_non_null(f);
	size_t n = fread(got, 1, sizeof got - 1, f);
	pclose(f);
	got[n] = 0;
	assert_string_equal(got, want);
}

static struct dyn object_plain(const char *name, const char *key)
{
	struct dyn d = DYN_INIT(1 << 24);
	unpack_to(&d, at("%s/replica/generations/%s/%s", name, gen.name, key));
	return d;
}

static void expect_object(const char *name, const char *key, const struct fake_wal *w, uint64_t from,
			  uint64_t to)
{
	struct dyn d = object_plain(name, key);
	assert_int_equal(d.len, to - from);
	assert_memory_equal(d.p, w->bytes.p + from, d.len);
	dyn_free(&d);
	struct dyn raw = slurp(at("%s/replica/generations/%s/%s", name, gen.name, key));
	assert_memory_equal(raw.p, segment_header, SEGMENT_HEADER_BYTES);
	dyn_free(&raw);
}

static struct wal_index_doc read_doc(const char *name, uint64_t index)
{
	struct wal_index_doc doc;
	struct err e;
	struct dyn d = slurp(at("%s/replica/generations/%s/index/%08x.index", name, gen.name, (unsigned)index));
	if (index_doc_parse((struct span){ d.p, d.len }, &doc, &e) < 0)
		fail_msg("%s", e.text);
	dyn_free(&d);
	return doc;
}

/* ---- encrypted ---- */

static struct age_keys keys_of(bool identity, bool recipient, uint8_t which)
{
	struct age_keys k = { 0 };
	struct age_key secret = { { 0, which } }, public; /* byte 0 loses its low bits */
	struct err e;
	assert_int_equal(crypto_load(&e), 0);
	assert_int_equal(age_public(&secret, &public, &e), 0);
	if (identity)
		assert_int_equal(age_keys_add(&k, AGE_IDENTITY, &secret, &e), 0);
	if (recipient)
		assert_int_equal(age_keys_add(&k, AGE_RECIPIENT, &public, &e), 0);
	return k;
}

/* A run begins: the same place again, with these keys (consumed). */
static void restart_with(struct world_of *x, const char *name, struct age_keys keys)
{
	static char url[PATH_BYTES];
	bool any;
	snprintf(url, sizeof url, "%s", at("%s/replica", name));
	replica_fini(&x->r);
	x->r = (struct replica){ .db_path = "db",
				 .name = "file",
				 .url = url,
				 .owner = OWNER_PRIVATE,
				 .keys = keys,
				 .shipped_dir = shipped_dir(at("%s", name), "file", "there") };
	if (replica_open(&x->r, &x->e) < 0 || replica_attach(&x->r, &gen, &any, &x->e) < 0)
		fail_msg("%s", x->e.text);
}

static void put_snapshot(struct world_of *x, const char *text)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { OBJECT_SNAPSHOT, gen, { 0, 0 } };
	struct span bytes = { (const uint8_t *)text, strlen(text) };
	assert_int_equal(store_put_bytes(x->r.store, object_key(key, &o), bytes, &x->e), 0);
}

/* Three segments, the last two as one object, and the index. */
static void ship_three(struct world_of *x, const char *name, struct age_keys keys)
{
	begin(x, name);
	restart_with(x, name, keys);
	assert_null(x->r.foreign);
	begin_index(x, 0);
	for (int i = 0; i < 4; i++)
		grow(x, 2, 100 * (i + 1));
	ship(x, 0, 1);
	ship(x, 1, 2);
	assert_int_equal(replica_settle(&x->r, true, &x->e), 0);
}

static void expect_end(const struct world_of *x, size_t behind)
{
	assert_null(x->r.foreign);
	assert_false(x->r.end_damaged);
	assert_int_equal(x->r.at.index, 0);
	assert_int_equal(x->r.at.offset, x->segs[behind]->end);
	assert_int_equal(x->r.doc.commits_n, 3);
}

/* With the key of what was written, an attach reads where it ends. */
static void test_encrypted(void **state)
{
	(void)state;
	struct world_of x;
	ship_three(&x, "crypt", keys_of(true, true, 1));
	assert_false(x.r.blind);
	struct dyn raw = slurp(at("crypt/replica/generations/%s/index/00000000.index", gen.name));
	assert_memory_equal(raw.p, age_magic, AGE_MAGIC_BYTES);
	dyn_free(&raw);
	restart_with(&x, "crypt", keys_of(true, true, 1));
	expect_end(&x, 2);
	restart_with(&x, "crypt", keys_of(true, false, 1)); /* for itself: the same key */
	expect_end(&x, 2);
	ship(&x, 3, 1);
	/* The newest object is damaged: what lies in the spool is written again. */
	sh("truncate -s -1 crypt/replica/generations/%s/wal/00000000_00000cb0.wal.lz4", gen.name);
	assert_int_equal(x.segs[3]->at.offset, 0xcb0);
	restart_with(&x, "crypt", keys_of(true, true, 1));
	assert_true(x.r.end_damaged);
	assert_null(x.r.foreign);
	assert_int_equal(x.r.at.offset, 0xcb0);
	end(&x);
}

/* Objects of another kind, or for other keys: the generation is not continued, whatever can be guessed. */
static void test_foreign(void **state)
{
	(void)state;
	struct world_of x;
	ship_three(&x, "foreign", keys_of(true, true, 1));
	restart_with(&x, "foreign", keys_of(false, false, 1));
	assert_non_null(strstr(x.r.foreign, "no keys are configured"));
	restart_with(&x, "foreign", keys_of(true, true, 2));
	assert_non_null(strstr(x.r.foreign, "keys"));
	restart_with(&x, "foreign", keys_of(false, true, 1)); /* nothing was noted: it was not blind then */
	assert_true(x.r.blind);
	assert_non_null(x.r.foreign);
	end(&x);
	ship_three(&x, "foreign2", keys_of(false, false, 1));
	restart_with(&x, "foreign2", keys_of(true, true, 1));
	assert_non_null(x.r.foreign);
	end(&x);
	/* With a snapshot alone. */
	begin(&x, "foreign3");
	restart_with(&x, "foreign3", keys_of(false, false, 1));
	put_snapshot(&x, "\x04\x22\x4d\x18 and so on");
	restart_with(&x, "foreign3", keys_of(false, false, 1));
	assert_null(x.r.foreign);
	restart_with(&x, "foreign3", keys_of(true, true, 1));
	assert_non_null(x.r.foreign);
	put_snapshot(&x, "now encrypted");
	restart_with(&x, "foreign3", keys_of(true, true, 1));
	assert_null(x.r.foreign);
	restart_with(&x, "foreign3", keys_of(false, false, 1));
	assert_non_null(x.r.foreign);
	end(&x);
}

/* Without the key: what was noted tells the end, and nothing is guessed when it does not. */
static void test_blind(void **state)
{
	(void)state;
	struct world_of x;
	struct snapshot s = { .generation = gen };
	begin(&x, "blind");
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_true(x.r.blind);
	put_snapshot(&x, "encrypted");
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_non_null(x.r.foreign); /* whose it is nobody knows */
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	assert_int_equal(replica_note_snapshot(&x.r, &s, &x.e), 0);
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_null(x.r.foreign);
	assert_int_equal(x.r.at.offset, 0);
	end(&x);
	sh("rm -rf blind");

	ship_three(&x, "blind", keys_of(false, true, 1));
	restart_with(&x, "blind", keys_of(false, true, 1));
	expect_end(&x, 2);
	/* Killed between the object and the note of it. */
	sh("cp -r blind/walbrook/shipped before");
	ship(&x, 3, 1);
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_int_equal(x.r.at.offset, x.segs[3]->end);
	sh("rm -r blind/walbrook/shipped && cp -r before blind/walbrook/shipped");
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_null(x.r.foreign);
	assert_true(x.r.end_damaged);
	assert_int_equal(x.r.at.offset, x.segs[3]->at.offset);
	x.r.end_damaged = false;
	ship(&x, 3, 1);
	/* The object is not as long as it was. */
	sh("truncate -s -1 blind/replica/generations/%s/wal/00000000_00000cb0.wal.lz4", gen.name);
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_true(x.r.end_damaged);
	assert_int_equal(x.r.at.offset, x.segs[3]->at.offset);
	/* Other recipients, a torn record, none at all. */
	restart_with(&x, "blind", keys_of(false, true, 2));
	assert_non_null(x.r.foreign);
	sh("printf x | dd of=$(echo blind/walbrook/shipped/*/end) bs=1 seek=60 conv=notrunc status=none");
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_non_null(x.r.foreign);
	sh("rm blind/walbrook/shipped/*/end");
	restart_with(&x, "blind", keys_of(false, true, 1));
	assert_non_null(x.r.foreign);
	end(&x);
}

/* ---- shipping ---- */

static void test_ship(void **state)
{
	(void)state;
	struct world_of x;
	bool any = true;
	begin(&x, "ship");
	assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
	assert_false(any);
	assert_true(x.r.wants_snapshot);
	assert_int_equal(x.r.at.offset, 0);
	begin_index(&x, 0);
	grow(&x, 3, 100);
	grow(&x, 1, 200);
	grow(&x, 2, 300);
	for (size_t i = 0; i < 3; i++)
		ship(&x, i, 1);
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
	const char *dir = at("ship/replica/generations/%s/wal", gen.name);
	expect_listing(dir, "00000000_00000000.wal.lz4 00000000_00000668.wal.lz4 00000000_00000880.wal.lz4 ");
	expect_object("ship", "wal/00000000_00000000.wal.lz4", &x.w, 0, x.segs[0]->end);
	expect_object("ship", "wal/00000000_00000668.wal.lz4", &x.w, x.segs[0]->end, x.segs[1]->end);
	expect_object("ship", "wal/00000000_00000880.wal.lz4", &x.w, x.segs[1]->end, x.segs[2]->end);
	/* One segment alone is the very file of the spool where that can be had. */
	struct stat a, b;
	char path[PATH_BYTES];
	spool_path(&x.spool, &gen, x.segs[0]->at, path);
	assert_int_equal(stat(path, &a), 0);
	assert_int_equal(stat(at("ship/replica/generations/%s/wal/00000000_00000000.wal.lz4", gen.name), &b),
			 0);
	assert_int_equal(a.st_ino, b.st_ino);
	struct wal_index_doc doc = read_doc("ship", 0);
	assert_int_equal(doc.end_offset, x.segs[2]->end);
	assert_false(doc.ended);
	assert_int_equal(doc.page_bytes, 512);
	assert_int_equal(doc.commits_n, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(doc.commits[i].offset, x.segs[i]->end);
		assert_int_equal(doc.commits[i].wall_us, 100 * (int)(i + 1));
	}
	index_doc_free(&doc);
	assert_int_equal(x.r.objects, 3);
	end(&x);
}

/* What was shipped is deleted, or its disk is not mounted any more: an upload makes the directory again. */
static void expect_emptied(const char *name, bool encrypted)
{
	struct world_of x;
	char command[PATH_BYTES + 16];
	ship_three(&x, name, encrypted ? keys_of(true, true, 1) : (struct age_keys){ 0 });
	assert_false(x.r.emptied);
	restart_with(&x, name, encrypted ? keys_of(true, true, 1) : (struct age_keys){ 0 });
	snprintf(command, sizeof command, "rm -r '%s'", at("%s/replica/generations", name));
	ship(&x, 3, 1); /* the directory was there at the attach */
	assert_false(x.r.emptied);
	assert_int_equal(system(command), 0);
	grow(&x, 2, 500);
	ship(&x, 4, 1);
	assert_true(x.r.emptied);
	replica_rebase(&x.r, &older, (struct position){ 0, 0 });
	assert_false(x.r.emptied);
	end(&x);
}

static void test_emptied(void **state)
{
	(void)state;
	expect_emptied("emptied", false);
}

static void test_emptied_encrypted(void **state)
{
	(void)state;
	expect_emptied("emptied-age", true);
}

static void test_splice(void **state)
{
	(void)state;
	struct world_of x;
	begin(&x, "splice");
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	begin_index(&x, 0);
	for (int i = 0; i < 5; i++)
		grow(&x, 2, 10 * i);
	ship(&x, 0, 1);
	ship(&x, 1, 4);
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
	const char *dir = at("splice/replica/generations/%s/wal", gen.name);
	expect_listing(dir, "00000000_00000000.wal.lz4 00000000_00000450.wal.lz4 ");
	expect_object("splice", "wal/00000000_00000450.wal.lz4", &x.w, x.segs[0]->end, x.segs[4]->end);
	struct wal_index_doc doc = read_doc("splice", 0);
	assert_int_equal(doc.commits_n, 5);
	index_doc_free(&doc);
	assert_int_equal(x.r.objects, 2);
	end(&x);
}

/* The next WAL index begins: the index object of the one before is complete, and says so, at once. */
static void test_next_index(void **state)
{
	(void)state;
	struct world_of x;
	begin(&x, "next");
	replica_rebase(&x.r, &gen, (struct position){ 5, 0 });
	begin_index(&x, 5);
	grow(&x, 2, 1000);
	uint64_t end_5 = grow(&x, 2, 2000)->end;
	ship(&x, 0, 1);
	ship(&x, 1, 1);
	begin_index(&x, 6);
	grow(&x, 1, 3000);
	ship(&x, 2, 1);
	struct wal_index_doc doc = read_doc("next", 5);
	assert_true(doc.ended);
	assert_int_equal(doc.end_offset, end_5);
	index_doc_free(&doc);
	expect_listing(at("next/replica/generations/%s/index", gen.name), "00000005.index ");
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
	doc = read_doc("next", 6);
	assert_false(doc.ended);
	assert_int_equal(doc.commits_n, 1);
	index_doc_free(&doc);
	end(&x);
}

/* The source is gone from the spool: nothing appears, the position stays. */
static void test_ship_fails(void **state)
{
	(void)state;
	struct world_of x;
	char path[PATH_BYTES];
	begin(&x, "fails");
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	begin_index(&x, 0);
	grow(&x, 2, 1);
	grow(&x, 2, 2);
	spool_path(&x.spool, &gen, x.segs[1]->at, path);
	struct dyn good = slurp(path);
	for (int damage = 0; damage < 2; damage++) {
		const struct spool_segment *list[2] = { x.segs[0], x.segs[1] };
		if (damage)
			spew(path, good.p, good.len / 2);
		else
			assert_int_equal(unlink(path), 0);
		assert_int_equal(replica_ship(&x.r, &x.spool, list, 2, &x.e), -1);
		assert_non_null(strstr(x.e.text, "00000000_00000000.wal.lz4"));
		assert_int_equal(x.r.at.offset, 0);
		expect_listing(at("fails/replica/generations/%s/wal", gen.name), "");
	}
	spew(path, good.p, good.len);
	ship(&x, 0, 2);
	expect_object("fails", "wal/00000000_00000000.wal.lz4", &x.w, 0, x.segs[1]->end);
	dyn_free(&good);
	end(&x);
}

/* ---- attaching ---- */

static void again(struct world_of *x, const char *name)
{
	replica_fini(&x->r);
	attach_new(x, name);
}

static void test_attach(void **state)
{
	(void)state;
	struct world_of x;
	bool any = false;
	begin(&x, "attach");
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	begin_index(&x, 0);
	for (int i = 0; i < 3; i++)
		grow(&x, 2, 10 * i + 10);
	ship(&x, 0, 1);
	ship(&x, 1, 1);
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);

	again(&x, "attach"); /* no object is asked for but the newest and the index */
	assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
	assert_true(any);
	assert_true(x.r.wants_snapshot);
	assert_int_equal(x.r.at.index, 0);
	assert_int_equal(x.r.at.offset, x.segs[1]->end);
	assert_int_equal(x.spy->calls, 4);
	ship(&x, 2, 1);
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
	struct wal_index_doc doc = read_doc("attach", 0);
	assert_int_equal(doc.commits_n, 3); /* those of before are kept */
	index_doc_free(&doc);

	/* Another generation: nothing of it is there. */
	assert_int_equal(replica_attach(&x.r, &older, &any, &x.e), 0);
	assert_false(any);
	assert_int_equal(x.r.at.offset, 0);
	end(&x);
}

static void expect_doc(const char *name, uint64_t index, size_t commits, uint64_t end_offset, bool ended)
{
	struct wal_index_doc doc = read_doc(name, index);
	assert_int_equal(doc.commits_n, commits);
	for (size_t i = 0; i < commits; i++)
		assert_int_equal(doc.commits[i].wall_us, (int64_t)(index * 1000 + i * 10 + 10));
	assert_int_equal(doc.end_offset, end_offset);
	assert_int_equal(doc.ended, ended);
	index_doc_free(&doc);
}

/* Killed before the index was written: what is beside the spool completes it, also when the generation is over
 * by then, and that of the WAL index before, whose end was not told either. */
static void test_recall(void **state)
{
	(void)state;
	struct world_of x;
	bool any = false;
	for (int over = 0; over < 2; over++) {
		const char *name = over ? "recall-old" : "recall";
		begin(&x, name);
		replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
		begin_index(&x, 0);
		for (int i = 0; i < 4; i++)
			grow(&x, 2, 10 * i + 10);
		begin_index(&x, 1);
		for (int i = 0; i < 3; i++)
			grow(&x, 2, 1000 + 10 * i + 10);
		ship(&x, 0, 2);
		assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
		ship(&x, 2, 2);
		/* The index is put back to what it was then. */
		char command[4 * PATH_BYTES], doc[PATH_BYTES];
		snprintf(doc, sizeof doc, "%s", at("%s/replica/generations/%s/index", name, gen.name));
		snprintf(command, sizeof command, "cp -a '%s' '%s.then'", doc, doc);
		assert_int_equal(system(command), 0);
		ship(&x, 4, 2);
		snprintf(command, sizeof command, "rm -r '%s' && mv '%s.then' '%s'", doc, doc, doc);
		assert_int_equal(system(command), 0);
		expect_doc(name, 0, 2, x.segs[1]->end, false);

		again(&x, name);
		x.spy->fail_docs = true; /* what it holds would be lost: not without it */
		assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), -1);
		assert_int_equal(x.e.kind, ERR_UNREACHABLE);
		x.spy->fail_docs = false;
		if (over) {
			assert_int_equal(replica_recall_old(&x.r, &x.spool, &gen, &x.e), 0);
		} else {
			assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
			assert_int_equal(replica_recall(&x.r, &x.spool, &x.e), 0);
			assert_true(x.r.doc_dirty);
			assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
		}
		expect_doc(name, 0, 4, x.segs[3]->end, true);
		expect_doc(name, 1, 2, x.segs[5]->end, false); /* the third is in the spool still */
		/* Once more: nothing is to be added, and nothing is written. */
		again(&x, name);
		assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
		assert_int_equal(replica_recall(&x.r, &x.spool, &x.e), 0);
		assert_false(x.r.doc_dirty);
		end(&x);
	}
}

/* The newest object was cut, or is rubbish: it counts as not there, and is written again under its name. */
static void test_attach_damaged(void **state)
{
	(void)state;
	struct world_of x;
	bool any = false;
	begin(&x, "mend");
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	begin_index(&x, 0);
	for (int i = 0; i < 4; i++)
		grow(&x, 2, 10 * i + 10);
	ship(&x, 0, 1);
	ship(&x, 1, 3);
	char newest[PATH_BYTES];
	snprintf(newest, sizeof newest, "%s",
		 at("mend/replica/generations/%s/wal/00000000_00000450.wal.lz4", gen.name));
	struct dyn good = slurp(newest);
	for (size_t keep = 0; keep <= good.len - 1; keep += good.len / 5) {
		again(&x, "mend");
		spew(newest, good.p, keep);
		assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
		assert_int_equal(x.r.at.offset, x.segs[0]->end);
		ship(&x, 1, 2); /* another cut than before: the name is that of its beginning */
		ship(&x, 3, 1);
		expect_object("mend", "wal/00000000_00000450.wal.lz4", &x.w, x.segs[0]->end, x.segs[2]->end);
		unlink(at("mend/replica/generations/%s/wal/00000000_00000cb0.wal.lz4", gen.name));
	}
	dyn_free(&good);
	end(&x);
}

static void test_attach_snapshot_only(void **state)
{
	(void)state;
	struct world_of x;
	bool any = false;
	begin(&x, "snaponly");
	sh("mkdir -p snaponly/replica/generations/%s/snapshots && cd snaponly/replica/generations/%s/snapshots "
	   "&& "
	   "touch 00000003.snapshot.lz4 00000009.snapshot.lz4 README 0000000a.snapshot.lz4.tmp",
	   gen.name, gen.name);
	assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), 0);
	assert_true(any);
	assert_false(x.r.wants_snapshot);
	assert_int_equal(x.r.snapshots_n, 2);
	assert_int_equal(x.r.snapshots[0].index, 3);
	assert_int_equal(x.r.snapshots[1].index, 9);
	assert_int_equal(x.r.at.index, 9);
	assert_int_equal(x.r.at.offset, 0);
	x.spy->fail_list = true;
	assert_int_equal(replica_attach(&x.r, &gen, &any, &x.e), -1);
	assert_true(generation_none(&x.r.generation));
	end(&x);
}

/* ---- snapshots ---- */

static void test_snapshot(void **state)
{
	(void)state;
	struct world_of x, y;
	struct err e = ERR_INIT;
	char url[3][PATH_BYTES];
	struct peer p = peer_open(at("db"));
	peer_do(&p, "PRAGMA journal_mode=wal");
	peer_do(&p, "CREATE TABLE t AS SELECT randomblob(300000) AS v");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	sh("cp db db-copy; touch blocked");
	begin(&x, "snap-x");
	begin(&y, "snap-y");
	for (int i = 0; i < 3; i++)
		snprintf(url[i], sizeof url[i], "%s",
			 at("%s", i == 0   ? "snap-x/replica"
				  : i == 1 ? "snap-y/replica"
					   : "blocked/replica"));
	struct replica bad = { .url = url[2], .owner = OWNER_PRIVATE };
	x.r.url = url[0];
	y.r.url = url[1];
	replica_rebase(&x.r, &gen, (struct position){ 0, 0 });
	replica_rebase(&y.r, &gen, (struct position){ 0, 0 });
	struct conn holder;
	assert_int_equal(conn_open(&holder, at("db"), &e), 0);
	assert_int_equal(conn_begin(&holder, &e), 0);
	struct snapshot s = { .generation = gen };
	assert_int_equal(snapshot_pin(&s, at("db"), &holder, &e), 1);
	assert_true(s.exact);
	peer_do(&p, "UPDATE t SET v=randomblob(300000)");
	peer_do(&p, "PRAGMA wal_checkpoint(PASSIVE)"); /* cannot change the file now */
	struct snapshot_out outs[3] = { { .replica = &x.r }, { .replica = &bad }, { .replica = &y.r } };
	snapshot_outs_copy(&s, outs, 3);
	expect_listing(at("snap-x/replica/generations/%s/snapshots", gen.name), "00000000.snapshot.lz4.tmp ");
	snapshot_outs_end(&s, outs, 2, true);
	snapshot_outs_end(&s, outs + 2, 1, false);
	assert_int_equal(outs[0].e.kind, ERR_NONE);
	assert_int_not_equal(outs[1].e.kind, ERR_NONE);
	assert_int_not_equal(outs[2].e.kind, ERR_NONE);
	expect_listing(at("snap-y/replica/generations/%s/snapshots", gen.name), "");
	struct dyn got = object_plain("snap-x", "snapshots/00000000.snapshot.lz4"), want = slurp(at("db-copy"));
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.p, want.p, want.len);
	assert_int_equal(replica_note_usable(&x.r, &s, s.at, &e), 0);
	assert_int_equal(replica_note_snapshot(&x.r, &s, &e), 0);
	assert_false(x.r.wants_snapshot);
	assert_int_equal(x.r.snapshots_n, 1);
	dyn_free(&got);
	dyn_free(&want);
	snapshot_close(&s);
	conn_close(&holder);
	peer_leave(&p);
	end(&x);
	end(&y);
}

/* A snapshot in the middle of a WAL index is usable only from there on: its index object says so, also when
 * that is not the one that is being shipped any more. */
static void test_usable(void **state)
{
	(void)state;
	struct world_of x;
	begin(&x, "usable");
	replica_rebase(&x.r, &gen, (struct position){ 5, 0 });
	begin_index(&x, 5);
	uint64_t middle = grow(&x, 2, 1000)->end;
	grow(&x, 2, 2000);
	begin_index(&x, 6);
	grow(&x, 3, 3000);
	for (size_t i = 0; i < 3; i++)
		ship(&x, i, 1);
	struct snapshot s = { .generation = gen, .at = { 5, middle } };
	x.spy->fail_docs = true; /* what it holds would be lost: not without it */
	assert_int_equal(replica_note_usable(&x.r, &s, (struct position){ 6, x.segs[2]->end }, &x.e), -1);
	assert_int_equal(x.r.doc.index, 6);
	x.spy->fail_docs = false;
	assert_int_equal(replica_note_usable(&x.r, &s, (struct position){ 6, x.segs[2]->end }, &x.e), 0);
	struct wal_index_doc doc = read_doc("usable", 5);
	assert_true(doc.snapshot_fuzzy);
	assert_int_equal(doc.usable_from.index, 6);
	assert_int_equal(doc.usable_from.offset, x.segs[2]->end);
	assert_int_equal(doc.commits_n, 2);
	assert_true(doc.ended);
	index_doc_free(&doc);
	assert_int_equal(x.r.doc.index, 6); /* and shipping goes on where it was */
	assert_int_equal(x.r.doc.commits_n, 1);
	assert_int_equal(replica_settle(&x.r, true, &x.e), 0);
	doc = read_doc("usable", 6);
	assert_int_equal(doc.commits_n, 1);
	assert_false(doc.snapshot_fuzzy);
	index_doc_free(&doc);
	end(&x);
}

/* ---- retention ---- */

enum { HOUR = 3600 };

static int64_t now_us;

/* Puts an object of that age, in hours. */
static void put_aged(const char *name, const struct generation *g, enum object_kind kind, uint64_t index,
		     uint64_t offset, int hours)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { kind, *g, { index, offset } };
	const char *path = at("%s/replica/%s", name, object_key(key, &o));
	char dir[PATH_BYTES];
	struct err e;
	int64_t then_us = now_us - hours * (int64_t)HOUR * 1000000;
	struct timespec t[2] = { { .tv_sec = then_us / 1000000 }, { .tv_sec = then_us / 1000000 } };
	assert_int_equal(path_dir(dir, path), 0);
	assert_int_equal(dir_make(dir, &OWNER_PRIVATE, &e), 0);
	spew(path, "x", 1);
	assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

/* Snapshots of index 0, 4, 8, 12, aged 40, 30, 20, 10 hours; each WAL index has two segments and an index
 * object. */
static void put_history(const char *name, const struct generation *g, int age)
{
	for (unsigned i = 0; i < 16; i++) {
		int hours = age + 40 - (int)(i * 10 / 4);
		if (i % 4 == 0)
			put_aged(name, g, OBJECT_SNAPSHOT, i, 0, hours);
		put_aged(name, g, OBJECT_SEGMENT, i, 0, hours);
		put_aged(name, g, OBJECT_SEGMENT, i, 4152, hours);
		put_aged(name, g, OBJECT_INDEX, i, 0, hours);
	}
}

static void begin_retention(struct world_of *x, const char *name, int hours)
{
	bool any;
	now_us = 1700000000000000;
	begin(x, name);
	put_history(name, &gen, 0);
	x->r.retention_us = hours * (int64_t)HOUR * 1000000;
	/* The newest segment is no real one: the attach takes its name for its end. */
	assert_int_equal(replica_attach(&x->r, &gen, &any, &x->e), 0);
	assert_false(x->r.wants_snapshot);
	assert_int_equal(x->r.snapshots_n, 4);
}

struct collected {
	struct plan_object v[64];
	size_t n;
	enum object_kind kind;
};

static int collect(void *arg, const struct store_entry *entry, struct err *e)
{
	struct collected *c = arg;
	struct position p;
	(void)e;
	if (object_parse(entry->name, c->kind, &p))
		c->v[c->n++] = (struct plan_object){ p, entry->bytes, entry->created_us };
	return 0;
}

/* Restore, to the newest moment and to the beginning of the window, finds a plan without a hole. */
static void expect_restorable(struct world_of *x, int64_t back_to_us)
{
	struct collected snapshots = { .kind = OBJECT_SNAPSHOT }, segments = { .kind = OBJECT_SEGMENT };
	char prefix[OBJECT_KEY_BYTES];
	struct store *s = x->spy->inner;
	assert_int_equal(
		s->ops->list(s, object_prefix(prefix, OBJECT_SNAPSHOT, &gen), collect, &snapshots, &x->e), 0);
	assert_int_equal(
		s->ops->list(s, object_prefix(prefix, OBJECT_SEGMENT, &gen), collect, &segments, &x->e), 0);
	struct plan_listing l = { .generation = gen,
				  .snapshots = snapshots.v,
				  .snapshots_n = snapshots.n,
				  .segments = segments.v,
				  .segments_n = segments.n };
	struct plan_wish wishes[2] = { { .by_time = false }, { .by_time = true, .wall_us = back_to_us } };
	for (size_t i = 0; i < 2; i++) {
		struct plan p;
		if (plan_make(&l, &wishes[i], &p, &x->e) < 0)
			fail_msg("%s", x->e.text);
		if (i == 0)
			assert_int_equal(p.segments[p.segments_n - 1].at.index, 15);
	}
}

static void test_retain(void **state)
{
	(void)state;
	struct world_of x;
	begin_retention(&x, "retain", 24);
	int64_t cutoff_us = now_us - x.r.retention_us;
	/* The snapshot of index 4 is 30 h old: it is the newest one outside of the window, and stays. */
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	const char *want[] = { "snapshots/00000000.snapshot.lz4" };
	char key[OBJECT_KEY_BYTES];
	assert_int_equal(x.spy->removed_n, 1 + 8 + 4);
	snprintf(key, sizeof key, "generations/%s/%s", gen.name, want[0]);
	assert_string_equal(x.spy->removed[0], key);
	for (unsigned i = 0; i < 8; i++) { /* ascending index, within one the highest offset first */
		snprintf(key, sizeof key, "generations/%s/wal/%08x_%08x.wal.lz4", gen.name, i / 2,
			 i % 2 ? 0 : 4152);
		assert_string_equal(x.spy->removed[1 + i], key);
	}
	for (unsigned i = 0; i < 4; i++) {
		snprintf(key, sizeof key, "generations/%s/index/%08x.index", gen.name, i);
		assert_string_equal(x.spy->removed[9 + i], key);
	}
	expect_restorable(&x, cutoff_us);
	assert_int_equal(x.r.snapshots_n, 3);
	assert_int_equal(x.r.snapshots[0].index, 4);
	/* The snapshot of index 8 is 20 h old: in four hours index 4 may go. Until then no store is asked. */
	assert_int_equal(x.r.retain_due_wall_us, now_us + 4 * (int64_t)HOUR * 1000000);
	unsigned calls = x.spy->calls;
	assert_int_equal(replica_retain(&x.r, now_us + 3 * (int64_t)HOUR * 1000000, &x.e), 0);
	assert_int_equal(x.spy->calls, calls);
	x.spy->removed_n = 0;
	assert_int_equal(replica_retain(&x.r, now_us + 4 * (int64_t)HOUR * 1000000, &x.e), 0);
	assert_int_equal(x.spy->removed_n, 13);
	assert_int_equal(x.r.snapshots[0].index, 8);
	end(&x);
}

/* Everything is inside the window, or only the newest is outside: nothing goes. */
static void test_retain_nothing(void **state)
{
	(void)state;
	struct world_of x;
	begin_retention(&x, "young", 100);
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	assert_int_equal(x.spy->removed_n, 0);
	x.r.retain_due_wall_us = 0;
	x.r.retention_us = 0; /* off */
	unsigned calls = x.spy->calls;
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	assert_int_equal(x.spy->calls, calls);
	end(&x);
	begin_retention(&x, "ancient", 1);
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	assert_int_equal(x.r.snapshots_n, 1);
	assert_int_equal(x.r.snapshots[0].index, 12); /* the last one never goes, however old */
	expect_restorable(&x, now_us - x.r.retention_us);
	end(&x);
}

/* Interrupted after each removal: what is left restores, now and back to the beginning of the window; the next
 * try finishes. */
static void test_retain_interrupted(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth <= 40; nth++) {
		struct world_of x;
		char name[32];
		snprintf(name, sizeof name, "stop%u", nth);
		begin_retention(&x, name, 12);
		x.spy->fail_remove_at = nth;
		int rc = replica_retain(&x.r, now_us, &x.e);
		assert_int_equal(rc,
				 nth <= 26 ? -1 : 0); /* two snapshots, eight indexes of three objects each */
		if (rc < 0)
			assert_non_null(strstr(x.e.text, "connection"));
		expect_restorable(&x, now_us - x.r.retention_us);
		x.spy->fail_remove_at = 0;
		x.spy->removed_n = 0;
		if (rc < 0) /* as the daemon does, or another run of it */
			assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
		expect_restorable(&x, now_us - x.r.retention_us);
		expect_listing(at("%s/replica/generations/%s/snapshots", name, gen.name),
			       "00000008.snapshot.lz4 0000000c.snapshot.lz4 ");
		if (rc == 0)
			nth = 40;
		unsigned n = 0;
		DIR *d = opendir(at("%s/replica/generations/%s/wal", name, gen.name));
		assert_non_null(d);
		for (const struct dirent *de; (de = readdir(d));)
			n += de->d_name[0] != '.';
		closedir(d);
		assert_int_equal(n, 16);
		end(&x);
	}
}

/* The listing is not what we know it to be: a store that lies, or another place. Nothing is deleted, and it is
 * said. */
static void test_retain_suspicious(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct world_of x;
		char name[32];
		snprintf(name, sizeof name, "suspicious%d", how);
		begin_retention(&x, name, 12);
		x.spy->hide_newest_snapshot = how == 0;
		x.spy->hide_all = how == 1;
		x.spy->fail_list = how == 2;
		assert_int_equal(replica_retain(&x.r, now_us, &x.e), -1);
		assert_int_equal(x.e.kind, ERR_UNREACHABLE);
		assert_non_null(strstr(x.e.text, how == 2 ? "cannot list" : "nothing is deleted"));
		assert_int_equal(x.spy->removed_n, 0);
		/* What is there is what counts from now on; a place that cannot be read changes nothing. */
		assert_int_equal(x.r.snapshots_n, how == 0 ? 3 : how == 1 ? 0 : 4);
		assert_int_equal(x.r.wants_snapshot, how == 1);
		end(&x);
	}
}

static void forget(const char *name, const char *what)
{
	char command[PATH_BYTES + 64];
	snprintf(command, sizeof command, "rm -r %s/generations/%s/%s", at("%s/replica", name), gen.name, what);
	assert_int_equal(system(command), 0);
}

/* Others delete in a replica: it is noticed by a look, one listing, and only then. */
static void test_look(void **state)
{
	(void)state;
	struct world_of x;
	begin_retention(&x, "look", 24);
	unsigned calls = x.spy->calls;
	assert_int_equal(replica_look(&x.r, &x.e), 0);
	assert_int_equal(x.spy->calls, calls + 1);
	assert_int_equal(x.r.snapshots_n, 4);
	forget("look", "snapshots/0000000c.snapshot.lz4"); /* the newest: an older one does as well */
	assert_int_equal(replica_look(&x.r, &x.e), 0);
	assert_int_equal(x.r.snapshots_n, 3);
	assert_int_equal(x.r.snapshots[2].index, 8);
	assert_false(x.r.wants_snapshot);
	x.spy->fail_list = true; /* not to be told: nothing changes */
	assert_int_equal(replica_look(&x.r, &x.e), -1);
	assert_int_equal(x.e.kind, ERR_UNREACHABLE);
	assert_int_equal(x.r.snapshots_n, 3);
	x.spy->fail_list = false;
	forget("look", "snapshots");
	assert_int_equal(replica_look(&x.r, &x.e), 0);
	assert_true(x.r.wants_snapshot);
	assert_false(x.r.emptied); /* the WAL is there: a snapshot will do */
	assert_int_equal(x.r.snapshots_n, 0);
	calls = x.spy->calls;
	assert_int_equal(replica_look(&x.r, &x.e), 0);
	assert_int_equal(x.spy->calls, calls);
	end(&x);
	begin_retention(&x, "look-all", 24);
	sh("rm -r look-all/replica/generations");
	assert_int_equal(replica_look(&x.r, &x.e), 0);
	assert_true(x.r.wants_snapshot && x.r.emptied); /* only a new generation will */
	end(&x);
}

static void test_retain_foreign(void **state)
{
	(void)state;
	static const char *const names[] = { "wal/README",
					     "wal/0000000Z_00000000.wal.lz4",
					     "wal/00000001_00000000.wal",
					     "snapshots/old.snapshot.lz4",
					     "notes.txt",
					     "index/x",
					     "own/deep/file" };
	struct world_of x;
	begin_retention(&x, "foreign", 12);
	put_history("foreign", &older, 100); /* serves nothing any more */
	sh("cd foreign/replica/generations && for g in %s %s; do mkdir -p $g/own/deep; done; touch keep.me; "
	   "mkdir -p lost+found/generations",
	   gen.name, older.name);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int k = 0; k < 2; k++)
			spew(at("foreign/replica/generations/%s/%s", k ? older.name : gen.name, names[i]), "x",
			     1);
	x.spy->removed_n = 0;
	int rc = replica_retain(&x.r, now_us, &x.e);
	assert_int_equal(rc, 0);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int k = 0; k < 2; k++)
			if (!exists(at("foreign/replica/generations/%s/%s", k ? older.name : gen.name,
				       names[i])))
				fail_msg("%s is gone", names[i]);
	assert_true(exists(at("foreign/replica/generations/keep.me")));
	assert_true(exists(at("foreign/replica/generations/lost+found/generations")));
	assert_false(exists(at("foreign/replica/generations/%s/snapshots/00000000.snapshot.lz4", older.name)));
	end(&x);
}

/* An older generation goes as a whole when a newer one serves the whole window; the one that is needed for the
 * beginning of the window stays, as does the current one, whatever its age. */
static void test_retain_generations(void **state)
{
	(void)state;
	struct world_of x;
	begin_retention(&x, "gens", 24);
	put_history("gens", &older, 60);
	put_history("gens", &oldest, 200);
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	expect_listing(at("gens/replica/generations"), "00112233445566aa ");
	assert_int_equal(x.r.snapshots[0].index, 4);
	expect_restorable(&x, now_us - x.r.retention_us);
	end(&x);

	/* The window is older than the current generation: the older one serves its beginning, the oldest
	 * nothing. */
	begin_retention(&x, "gens2", 50);
	put_history("gens2", &older, 60);
	put_history("gens2", &oldest, 200);
	assert_int_equal(replica_retain(&x.r, now_us, &x.e), 0);
	expect_listing(at("gens2/replica/generations"), "00112233445566aa 11112233445566aa ");
	assert_true(x.r.retain_due_wall_us > now_us && x.r.retain_due_wall_us < INT64_MAX);
	assert_int_equal(x.r.snapshots_n, 4);
	end(&x);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "peer") == 0)
		return peer_main();
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encrypted),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_blind),
		cmocka_unit_test(test_ship),
		cmocka_unit_test(test_emptied),
		cmocka_unit_test(test_emptied_encrypted),
		cmocka_unit_test(test_splice),
		cmocka_unit_test(test_next_index),
		cmocka_unit_test(test_ship_fails),
		cmocka_unit_test(test_attach),
		cmocka_unit_test(test_recall),
		cmocka_unit_test(test_attach_damaged),
		cmocka_unit_test(test_attach_snapshot_only),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_usable),
		cmocka_unit_test(test_retain),
		cmocka_unit_test(test_retain_nothing),
		cmocka_unit_test(test_retain_interrupted),
		cmocka_unit_test(test_retain_suspicious),
		cmocka_unit_test(test_look),
		cmocka_unit_test(test_retain_foreign),
		cmocka_unit_test(test_retain_generations),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("replica", tests, world_make, world_drop);
}
