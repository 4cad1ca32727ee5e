/* SPDX-License-Identifier: Apache-2.0
 *
 * What is kept beside the segments of the spool: see times.h. A record, big-endian:
 *
 *    0  8  offset at which the segment begins
 *    8  8  its end
 *   16  4  n, number of commits
 *   20  4  page size of the database, bytes
 *   24  8  with offset 0: where the WAL index before ended; 0: not known
 *   32  8  salt of the WAL
 *   40     n times: end of the commit frame (8), microseconds since 1970 (8)
 *          XXH64 (seed 0) of all before (8)
 *
 * Happy path: one write a segment to a file that stays open while its WAL index is captured; a start reads the
 * file and finds each segment's record by offset and end (the last one, if it was captured twice). Of segments
 * that have left already, but whose times are in no index object yet, the records complete that (recall.c).
 *
 * Failure modes: no room (given up for this index); a torn record at the end, or damage (what follows is not
 * used). */
#include "db/times.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/sys.h"
#include "db/spool.h"

enum { HEAD_BYTES = 40, COMMIT_BYTES = 16, SUM_BYTES = 8, FILE_BYTES_MAX = 64 << 20, AHEAD_MAX = 4096 };

static int path_of(char *buf, const char *dir, uint64_t index)
{
	int n = snprintf(buf, PATH_BYTES, "%s/%08" PRIx64 ".times", dir, index);
	return n < 0 || n >= PATH_BYTES ? -1 : 0;
}

void times_fini(struct times *t)
{
	if (t->fd >= 0)
		close(t->fd);
	*t = TIMES_INIT;
}

static void give_up(struct times *t, const char *path, const char *why)
{
	log_debug("commit times are not kept", L_S("file", path), L_S("error", why));
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->failed = true;
}

static void turn_to(struct times *t, const char *dir, const struct owner *o, const struct generation *g,
		    uint64_t index)
{
	char path[PATH_BYTES];
	if (t->fd >= 0)
		close(t->fd);
	if (!generation_equal(&t->generation, g))
		t->oldest = index;
	*t = (struct times){ .fd = -1, .generation = *g, .index = index, .oldest = t->oldest };
	if (path_of(path, dir, index) < 0)
		return;
	t->fd = sys_open(path, O_WRONLY | O_CREAT | O_APPEND, o->file_mode);
	if (t->fd < 0)
		give_up(t, path, strerror(errno));
	else if ((o->uid != (uid_t)-1 || o->gid != (gid_t)-1) && sys_fchown(t->fd, o->uid, o->gid) < 0)
		errno = 0; /* not permitted: it stays ours */
}

void times_rest(struct times *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static size_t record_bytes(size_t n)
{
	return HEAD_BYTES + n * COMMIT_BYTES + SUM_BYTES;
}

static uint8_t *record_make(const struct spool_segment *s)
{
	uint8_t *r = malloc(record_bytes(s->commits_n));
	if (!r)
		return NULL;
	put_be64(r, s->at.offset);
	put_be64(r + 8, s->end);
	put_be32(r + 16, (uint32_t)s->commits_n);
	put_be32(r + 20, s->page_bytes);
	put_be64(r + 24, s->prev_end);
	memcpy(r + 32, s->salt, sizeof s->salt);
	for (size_t i = 0; i < s->commits_n; i++) {
		put_be64(r + HEAD_BYTES + i * COMMIT_BYTES, s->commits[i].offset);
		put_be64(r + HEAD_BYTES + i * COMMIT_BYTES + 8, (uint64_t)s->commits[i].wall_us);
	}
	size_t before = record_bytes(s->commits_n) - SUM_BYTES;
	put_be64(r + before, XXH64(r, before, 0));
	return r;
}

void times_note(struct times *t, const char *dir, const struct owner *o, const struct spool_segment *s)
{
	char path[PATH_BYTES];
	struct err e = ERR_INIT;
	if (!generation_equal(&t->generation, &s->generation) || t->index != s->at.index ||
	    (t->fd < 0 && !t->failed))
		turn_to(t, dir, o, &s->generation, s->at.index);
	if (t->fd < 0 || s->commits_n > UINT32_MAX || path_of(path, dir, s->at.index) < 0)
		return;
	uint8_t *r = record_make(s);
	if (!r || file_write_all(t->fd, path, r, record_bytes(s->commits_n), &e) < 0)
		give_up(t, path, r ? e.text : "no memory");
	free(r);
}

void times_passed(struct times *t, const char *dir, const struct generation *g, uint64_t index)
{
	char path[PATH_BYTES];
	if (!generation_equal(&t->generation, g)) {
		/* Of an older generation, or nothing was captured since the start. */
		if (path_of(path, dir, index - 1) == 0 && index > 0)
			sys_unlink(path);
		return;
	}
	/* The one right before it always: a run before may have left it. */
	if (index > 0 && (t->oldest >= index || index - t->oldest > AHEAD_MAX))
		t->oldest = index - 1;
	for (; t->oldest < index; t->oldest++)
		if (path_of(path, dir, t->oldest) == 0)
			sys_unlink(path);
}

static bool index_of_name(const char *name, uint64_t *ret)
{
	size_t digits = strspn(name, "0123456789abcdef");
	if (digits < 8 || digits > 16 || strcmp(name + digits, ".times") != 0)
		return false;
	*ret = strtoull(name, NULL, 16);
	return true;
}

bool times_first(const char *dir, uint64_t from, uint64_t *ret)
{
	bool any = false;
	DIR *d = opendir(dir);
	for (struct dirent *de; d && (de = readdir(d));) {
		uint64_t index;
		if (index_of_name(de->d_name, &index) && index >= from && (!any || index < *ret)) {
			*ret = index;
			any = true;
		}
	}
	if (d)
		closedir(d);
	return any;
}

void times_remove_all(const char *dir)
{
	char path[PATH_BYTES];
	DIR *d = opendir(dir);
	for (struct dirent *de; d && (de = readdir(d));) {
		size_t n = strlen(de->d_name);
		if (n > 6 && strcmp(de->d_name + n - 6, ".times") == 0 && path_join(path, dir, de->d_name) == 0)
			sys_unlink(path);
	}
	if (d)
		closedir(d);
}

void times_read(const char *dir, uint64_t index, struct times_kept *ret)
{
	char path[PATH_BYTES];
	struct err ignore;
	struct dyn all = DYN_INIT(FILE_BYTES_MAX);
	*ret = (struct times_kept){ 0 };
	if (path_of(path, dir, index) < 0 || file_read_all(path, &all, &ignore) < 0) {
		dyn_free(&all);
		return;
	}
	*ret = (struct times_kept){ all.p, all.len };
}

void times_kept_free(struct times_kept *k)
{
	free(k->p);
	*k = (struct times_kept){ 0 };
}

/* The length of the good record at p, 0: there is none. */
static size_t record_check(const uint8_t *p, size_t n)
{
	if (n < record_bytes(0))
		return 0;
	uint64_t commits = get_be32(p + 16);
	if (commits > (n - record_bytes(0)) / COMMIT_BYTES)
		return 0;
	size_t bytes = record_bytes((size_t)commits);
	return XXH64(p, bytes - SUM_BYTES, 0) == get_be64(p + bytes - SUM_BYTES) ? bytes : 0;
}

static bool commits_fit(const uint8_t *p, uint64_t offset, uint64_t end, size_t n)
{
	uint64_t last = offset;
	for (size_t i = 0; i < n; i++) {
		uint64_t at = get_be64(p + HEAD_BYTES + i * COMMIT_BYTES);
		if (at <= last || at > end)
			return false;
		last = at;
	}
	return true;
}

/* The record of a segment, NULL: there is none. */
static const uint8_t *find(const struct times_kept *k, uint64_t offset, uint64_t end)
{
	const uint8_t *found = NULL;
	size_t bytes;
	for (size_t at = 0; (bytes = record_check(k->p + at, k->n - at)) > 0; at += bytes)
		if (get_be64(k->p + at) == offset && get_be64(k->p + at + 8) == end)
			found = k->p + at;
	return found;
}

uint64_t times_prev_end(const struct times_kept *k, uint64_t end)
{
	const uint8_t *found = find(k, 0, end);
	return found ? get_be64(found + 24) : 0;
}

int times_find(const struct times_kept *k, uint64_t offset, uint64_t end, struct index_commit **ret,
	       size_t *ret_n)
{
	const uint8_t *found = find(k, offset, end);
	*ret = NULL;
	*ret_n = 0;
	size_t n = found ? get_be32(found + 16) : 0;
	if (!found || !commits_fit(found, offset, end, n))
		return 0;
	if (n > 0 && !(*ret = calloc(n, sizeof **ret)))
		return -1;
	for (size_t i = 0; i < n; i++)
		(*ret)[i] =
			(struct index_commit){ get_be64(found + HEAD_BYTES + i * COMMIT_BYTES),
					       (int64_t)get_be64(found + HEAD_BYTES + i * COMMIT_BYTES + 8) };
	*ret_n = n;
	return 1;
}

uint64_t times_before(const struct times_kept *k)
{
	uint64_t before = 0;
	size_t bytes;
	for (size_t at = 0; (bytes = record_check(k->p + at, k->n - at)) > 0; at += bytes)
		if (get_be64(k->p + at) == 0)
			before = get_be64(k->p + at + 24);
	return before;
}

/* The commits of one record. What was captured a second time, from the same or an earlier offset on, replaces
 * what the first time had told, but for what the document held before (`kept` commits). */
static int add_record(const uint8_t *p, uint64_t until, size_t kept, struct wal_index_doc *doc)
{
	uint64_t offset = get_be64(p);
	while (doc->commits_n > kept && doc->commits[doc->commits_n - 1].offset > offset)
		doc->commits_n--;
	for (size_t i = 0; i < get_be32(p + 16); i++) {
		struct index_commit c = { get_be64(p + HEAD_BYTES + i * COMMIT_BYTES),
					  (int64_t)get_be64(p + HEAD_BYTES + i * COMMIT_BYTES + 8) };
		bool later = doc->commits_n == 0 || doc->commits[doc->commits_n - 1].offset < c.offset;
		if (later && c.offset <= until && index_doc_add(doc, c) < 0)
			return -1;
	}
	return 0;
}

/* The page size and the salt are those of the document, or it has none yet. */
static bool fits_doc(const uint8_t *p, const struct wal_index_doc *doc)
{
	uint64_t offset = get_be64(p), end = get_be64(p + 8);
	uint32_t page_bytes = get_be32(p + 20);
	if (!page_bytes_valid(page_bytes) || end <= offset || end <= WAL_HEADER_BYTES ||
	    wal_offset_of(page_bytes, wal_frames_in(page_bytes, end)) != end ||
	    !commits_fit(p, offset, end, get_be32(p + 16)))
		return false;
	return doc->page_bytes == 0 ||
	       (doc->page_bytes == page_bytes && memcmp(doc->salt, p + 32, sizeof doc->salt) == 0);
}

int times_complete(const struct times_kept *k, uint64_t until, struct wal_index_doc *doc)
{
	size_t bytes, kept = doc->commits_n;
	uint64_t end = doc->end_offset;
	for (size_t at = 0; (bytes = record_check(k->p + at, k->n - at)) > 0; at += bytes) {
		const uint8_t *p = k->p + at;
		if (get_be64(p) >= until || !fits_doc(p, doc))
			continue;
		doc->page_bytes = get_be32(p + 20);
		memcpy(doc->salt, p + 32, sizeof doc->salt);
		if (add_record(p, until, kept, doc) < 0)
			return -1;
		if (get_be64(p + 8) > end)
			end = get_be64(p + 8) < until ? get_be64(p + 8) : until;
	}
	bool changed = doc->commits_n != kept || end != doc->end_offset;
	doc->end_offset = end;
	return changed;
}
