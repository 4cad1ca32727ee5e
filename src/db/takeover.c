/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking over from Litestream 0.3.13: see takeover.h.
 *
 * Happy path: the name of its generation, the list of its copies of the WAL, the newest of them that follow
 * each other without a hole; each is verified to its last commit (header, salts, checksum chain) and written to
 * the spool as one segment. Where the newest ends is the position; whether the WAL continues it is for the
 * caller to find out, as after any stop.
 *
 * Failure modes: no generation or no copies (nothing to take over); a damaged or incomplete copy (it and all
 * before it are left out; if it is the newest there is nothing to go on with, which is said). */
#include "db/takeover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "core/segment.h"
#include "core/wal.h"

enum { PIECE_BYTES = 256 << 10, NAME_BYTES_MAX = 64, COPIES_MAX = 4096 };

struct copy {
	uint64_t index, bytes;
	struct wal_chain end; /* behind the last commit, once verified */
};

struct copies {
	char dir[PATH_BYTES];
	struct copy *v; /* ascending */
	size_t n, cap;
};

static int read_generation(const char *meta_dir, struct generation *ret)
{
	char path[PATH_BYTES];
	struct err ignore;
	struct dyn text = DYN_INIT(NAME_BYTES_MAX);
	*ret = (struct generation){ "" };
	if (path_join(path, meta_dir, "generation") == 0 && file_read_all(path, &text, &ignore) == 0 &&
	    text.len >= GENERATION_CHARS) {
		memcpy(ret->name, text.p, GENERATION_CHARS);
		if (!generation_valid(ret->name))
			*ret = (struct generation){ "" };
	}
	dyn_free(&text);
	return generation_none(ret) ? -1 : 0;
}

static bool parse_name(const char *name, uint64_t *ret_index)
{
	char digits[NAME_BYTES_MAX], again[NAME_BYTES_MAX];
	size_t len = strlen(name);
	if (len < 12 || len >= sizeof digits || strcmp(name + len - 4, ".wal") != 0)
		return false;
	memcpy(digits, name, len - 4);
	digits[len - 4] = 0;
	if (!index_parse(digits, ret_index))
		return false;
	snprintf(again, sizeof again, "%08llx", (unsigned long long)*ret_index);
	return strcmp(again, digits) == 0;
}

static int compare_copies(const void *a, const void *b)
{
	const struct copy *x = a, *y = b;
	return (x->index > y->index) - (x->index < y->index);
}

static int add_copy(struct copies *c, const char *name)
{
	char path[PATH_BYTES];
	struct stat st;
	struct copy one = { 0 };
	if (!parse_name(name, &one.index) || path_join(path, c->dir, name) < 0 || stat(path, &st) < 0 ||
	    !S_ISREG(st.st_mode))
		return 0;
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 16;
		struct copy *more = realloc(c->v, cap * sizeof *more);
		if (!more)
			return -1;
		c->v = more;
		c->cap = cap;
	}
	one.bytes = (uint64_t)st.st_size;
	c->v[c->n++] = one;
	return 0;
}

static int list_copies(const char *meta_dir, const struct generation *g, struct copies *c, struct err *e)
{
	int n = snprintf(c->dir, sizeof c->dir, "%s/generations/%s/wal", meta_dir, g->name);
	if (n < 0 || (size_t)n >= sizeof c->dir)
		return err_set(e, ERR_CONFIG, "%s: path is too long", meta_dir);
	DIR *d = opendir(c->dir);
	if (!d)
		return errno == ENOENT || errno == ENOTDIR ? 0
							   : err_sys(e, errno, "%s: cannot be read", c->dir);
	int rc = 0;
	for (struct dirent *de; rc == 0 && (de = readdir(d));)
		if (add_copy(c, de->d_name) < 0)
			rc = err_set(e, ERR_FAIL, "no memory");
	closedir(d);
	if (c->n > 1)
		qsort(c->v, c->n, sizeof *c->v, compare_copies);
	return rc;
}

static void copy_path(const struct copies *c, const struct copy *one, char *buf)
{
	snprintf(buf, PATH_BYTES, "%.4000s/%08llx.wal", c->dir, (unsigned long long)one->index);
}

/* Verifies frames from *chain on and moves it behind the last commit. */
static int verify_frames(int fd, const char *path, struct wal_chain *chain, uint8_t *buf, size_t buf_bytes,
			 struct err *e)
{
	size_t frame = (size_t)wal_frame_bytes(chain->page_bytes);
	size_t whole = buf_bytes / frame * frame;
	struct wal_chain at = *chain;
	for (;;) {
		ssize_t n = file_pread_full(fd, path, buf, whole, (off_t)at.offset, e);
		if (n < 0)
			return -1;
		struct span in = { buf, (size_t)n };
		struct wal_frame f;
		while (in.n >= frame) {
			if (wal_chain_step(&at, in, &f) != WAL_OK)
				return 0;
			in.p += frame;
			in.n -= frame;
			if (f.commit_pages)
				*chain = at;
		}
		if ((size_t)n < whole)
			return 0;
	}
}

/* Finds out where the good part of a copy ends. ERR_DAMAGED when it has not even a header. */
static int verify(const struct copies *c, struct copy *one, struct err *e)
{
	char path[PATH_BYTES];
	struct wal_header h;
	copy_path(c, one, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	size_t buf_bytes = PIECE_BYTES;
	uint8_t *buf = malloc(buf_bytes);
	int rc = buf ? 0 : err_set(e, ERR_FAIL, "no memory");
	ssize_t n = rc < 0 ? -1 : file_pread_full(fd, path, buf, WAL_HEADER_BYTES, 0, e);
	rc = n < 0 ? -1 : 0;
	if (rc == 0 && wal_header_parse((struct span){ buf, (size_t)n }, &h) != WAL_OK)
		rc = err_set(e, ERR_DAMAGED, "%s: does not begin as a WAL", path);
	if (rc == 0) {
		one->end = wal_chain_start(&h);
		rc = verify_frames(fd, path, &one->end, buf, buf_bytes, e);
	}
	free(buf);
	close(fd);
	return rc;
}

static int to_spool(void *arg, struct span out, struct err *e)
{
	return spool_add(arg, out, e);
}

static int compress(int fd, const char *path, uint64_t bytes, struct spool_file *to, struct err *e)
{
	struct segment_writer *w = segment_writer_new(to_spool, to);
	uint8_t *buf = malloc(PIECE_BYTES);
	int rc = w && buf ? 0 : err_set(e, ERR_FAIL, "no memory");
	for (uint64_t at = 0; rc == 0 && at < bytes;) {
		size_t want = bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES;
		ssize_t n = file_pread_full(fd, path, buf, want, (off_t)at, e);
		if (n >= 0 && (size_t)n < want)
			err_set(e, ERR_BUSY, "%s: became shorter while it was read", path);
		rc = n < 0 || (size_t)n < want ? -1 : segment_write(w, (struct span){ buf, want }, e);
		at += want;
	}
	if (rc == 0)
		rc = segment_finish(w, e);
	segment_writer_free(w);
	free(buf);
	return rc;
}

static int import(const struct copies *c, const struct copy *one, struct spool *spool,
		  const struct generation *g, struct err *e)
{
	char path[PATH_BYTES];
	struct spool_file f;
	copy_path(c, one, path);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	int rc = spool_begin(spool, g, (struct position){ one->index, 0 }, &f, e);
	if (rc == 0) {
		rc = compress(fd, path, one->end.offset, &f, e);
		if (rc < 0)
			spool_abort(&f);
		else
			rc = spool_commit(&f, true, e);
	}
	close(fd);
	return rc;
}

/* The first of the newest copies that follow each other and are good, within max_bytes. */
static int choose(struct copies *c, uint64_t max_bytes, size_t *ret_first, struct err *e)
{
	uint64_t sum = 0;
	size_t first = c->n;
	while (first > 0 && c->n - first < COPIES_MAX) {
		struct copy *one = &c->v[first - 1];
		bool newest = first == c->n;
		struct err why = ERR_INIT;
		if (newest && one->bytes > max_bytes)
			return err_set(e, ERR_SPACE,
				       "%s: the newest copy of the WAL is larger than the spool may be",
				       c->dir);
		if (!newest && (one->index + 1 != one[1].index || sum + one->bytes > max_bytes))
			break;
		if (verify(c, one, &why) < 0) {
			if (newest || why.kind != ERR_DAMAGED) {
				*e = why;
				return -1;
			}
			log_warn("an older copy of the WAL cannot be taken over", L_S("error", why.text));
			break;
		}
		sum += one->bytes;
		first--;
	}
	*ret_first = first;
	return 0;
}

static bool beyond(const struct copy *newest, const struct generation *g, const struct place *ours)
{
	return !generation_equal(g, &ours->generation) ||
	       position_compare((struct position){ newest->index, newest->end.offset },
				(struct position){ ours->index, ours->chain.offset }) > 0;
}

int takeover_import(const char *meta_dir, const struct place *ours, struct spool *spool, uint64_t max_bytes,
		    struct place *ret, struct err *e)
{
	struct generation g;
	struct copies c = { .n = 0 };
	uint64_t counted = spool->bytes; /* they are counted when the spool is loaded */
	size_t first = 0;
	if (read_generation(meta_dir, &g) < 0)
		return 0;
	int rc = list_copies(meta_dir, &g, &c, e);
	if (rc == 0 && c.n > 0)
		rc = choose(&c, max_bytes, &first, e);
	if (rc == 0 && c.n > 0 && !beyond(&c.v[c.n - 1], &g, ours))
		c.n = 0;
	for (size_t i = first; rc == 0 && i < c.n; i++)
		rc = import(&c, &c.v[i], spool, &g, e);
	spool->bytes = counted;
	if (rc == 0 && c.n > 0) {
		const struct copy *newest = &c.v[c.n - 1];
		*ret = (struct place){ .generation = g, .index = newest->index, .chain = newest->end };
		rc = 1;
	}
	free(c.v);
	return rc;
}
