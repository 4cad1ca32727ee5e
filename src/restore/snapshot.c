/* SPDX-License-Identifier: Apache-2.0
 *
 * A snapshot is one LZ4 frame of independent blocks, gigabytes of it perhaps. All threads do the same:
 *
 *   1. under the read lock: take the next block from the object;
 *   2. decompress it;
 *   3. wait for its turn; in it add the bytes to the content checksum and learn their place in the file;
 *   4. write them there and ask the system to begin writing them to disk, so that the fsync at the end is
 * short.
 *
 * The turns are in the order of the blocks, so places and checksum are right whatever the sizes of the blocks
 * are. The thread whose turn it is never waits for one behind it, hence no deadlock.
 *
 * Failure: the first error ends all threads. What has been written until then is the caller's to throw away.
 * Frames with linked blocks or block checksums go through one thread. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SYNC_FILE_RANGE_WRITE */
#endif
#include "restore/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/sys.h"
#include "core/wal.h"
#include "restore/frame.h"
#include "restore/memory.h"
#include "restore/output.h"

enum { THREADS_MAX = 16, DATABASE_HEADER_BYTES = 100 };

struct snapshot {
	const char *key, *path;
	int fd;
	struct page_hashes *hashes; /* not NULL: instead of the file, by one thread */
	pthread_mutex_t read_lock;
	struct frame_reader reader;
	uint64_t blocks; /* taken so far */
	bool at_end;
	uint32_t sum; /* that the frame ends with */
	pthread_mutex_t turn_lock;
	pthread_cond_t turned;
	uint64_t turn; /* the block that may be counted now */
	uint64_t plain_bytes;
	XXH32_state_t *hash;
	bool failed;
	struct err err; /* the first */
};

static void fail(struct snapshot *s, const struct err *e)
{
	pthread_mutex_lock(&s->turn_lock);
	if (!s->failed)
		s->err = *e;
	s->failed = true;
	pthread_cond_broadcast(&s->turned);
	pthread_mutex_unlock(&s->turn_lock);
}

static bool failed(struct snapshot *s)
{
	pthread_mutex_lock(&s->turn_lock);
	bool yes = s->failed;
	pthread_mutex_unlock(&s->turn_lock);
	return yes;
}

/* 1: a block and its number; 0: no more; -1. */
static int block_take(struct snapshot *s, uint8_t *stored, struct frame_block *b, uint64_t *ret_number,
		      struct err *e)
{
	pthread_mutex_lock(&s->read_lock);
	int rc = 0;
	if (!s->at_end)
		rc = frame_next(&s->reader, stored, b, &s->sum, e);
	s->at_end = rc <= 0;
	*ret_number = s->blocks;
	s->blocks += rc > 0;
	pthread_mutex_unlock(&s->read_lock);
	return rc;
}

/* Waits for the turn of the block and counts it. 0: *ret_at is its place in the file; -1: somebody has failed.
 */
static int block_count(struct snapshot *s, uint64_t number, struct span plain, uint64_t *ret_at)
{
	pthread_mutex_lock(&s->turn_lock);
	while (s->turn != number && !s->failed)
		pthread_cond_wait(&s->turned, &s->turn_lock);
	int rc = s->failed ? -1 : 0;
	if (rc == 0) {
		XXH32_update(s->hash, plain.p, plain.n);
		*ret_at = s->plain_bytes;
		s->plain_bytes += plain.n;
		s->turn++;
		pthread_cond_broadcast(&s->turned);
	}
	pthread_mutex_unlock(&s->turn_lock);
	return rc;
}

static int write_at(struct snapshot *s, struct span plain, uint64_t at, struct err *e)
{
	if (plain.n == 0)
		return 0;
	if (s->hashes)
		return page_hashes_add(s->hashes, plain, e) < 0 ? err_wrap(e, "%s", s->key) : 0;
	if (output_write(s->fd, s->path, plain, at, e) < 0)
		return -1;
	sys_sync_file_range(s->fd, (off_t)at, (off_t)plain.n, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static void work_on(struct snapshot *s, uint8_t *stored, uint8_t *plain)
{
	struct err e = ERR_INIT;
	struct frame_block b;
	uint64_t number, at;
	while (!failed(s)) {
		int rc = block_take(s, stored, &b, &number, &e);
		if (rc == 0)
			return;
		if (rc > 0) {
			int n = frame_decode(&b, plain, s->reader.head.block_max_bytes);
			struct span got = { plain, n < 0 ? 0 : (size_t)n };
			/* A damaged block is reported when those before it have been counted. */
			if (block_count(s, number, got, &at) < 0)
				return;
			rc = n < 0 ? frame_bad_block(s->key, at, &e) : write_at(s, got, at, &e);
		}
		if (rc < 0) {
			fail(s, &e);
			return;
		}
	}
}

static void *work(void *arg)
{
	struct snapshot *s = arg;
	uint8_t *buffers = memory_map(SNAPSHOT_THREAD_BYTES);
	if (buffers) {
		work_on(s, buffers, buffers + SEGMENT_BLOCK_BYTES);
	} else {
		struct err e;
		err_set(&e, ERR_FAIL, "no memory to decompress");
		fail(s, &e);
	}
	memory_unmap(buffers, SNAPSHOT_THREAD_BYTES);
	return NULL;
}

static int in_parallel(struct snapshot *s, int threads, struct err *e)
{
	pthread_t id[THREADS_MAX];
	int n = 0;
	s->hash = XXH32_createState();
	if (!s->hash)
		return err_set(e, ERR_FAIL, "no memory for a checksum");
	XXH32_reset(s->hash, 0);
	/* This thread is one of them; that a further one cannot be started is no reason to fail. */
	while (n + 1 < threads && n < THREADS_MAX && pthread_create(&id[n], NULL, work, s) == 0)
		n++;
	work(s);
	for (int i = 0; i < n; i++)
		pthread_join(id[i], NULL);
	const struct segment_frame *head = &s->reader.head;
	int rc = 0;
	if (s->failed) {
		*e = s->err;
		rc = -1;
	} else if (head->content_sum && XXH32_digest(s->hash) != s->sum) {
		rc = frame_bad_sum(s->key, s->plain_bytes, e);
	} else if (head->content_size && head->content_bytes != s->plain_bytes) {
		rc = frame_bad_size(s->key, head, s->plain_bytes, e);
	}
	XXH32_freeState(s->hash);
	return rc;
}

static int in_order(void *arg, struct span plain, struct err *e)
{
	struct snapshot *s = arg;
	if (write_at(s, plain, s->plain_bytes, e) < 0)
		return -1;
	s->plain_bytes += plain.n;
	return 0;
}

/* What the first bytes of the file say. */
static int database_check(const struct snapshot *s, struct snapshot_result *ret, struct err *e)
{
	uint8_t head[DATABASE_HEADER_BYTES];
	*ret = (struct snapshot_result){ .plain_bytes = s->plain_bytes };
	if (s->plain_bytes == 0)
		return 0; /* a database whose first transaction is still in the WAL */
	ssize_t n = file_pread_full(s->fd, s->path, head, sizeof head, 0, e);
	if (n < 0)
		return -1;
	uint32_t size = n < (ssize_t)sizeof head ? 0 : (uint32_t)head[16] << 8 | head[17];
	ret->page_bytes = size == 1 ? PAGE_BYTES_MAX : size;
	if (n < (ssize_t)sizeof head || memcmp(head, "SQLite format 3", 16) != 0 ||
	    !page_bytes_valid(ret->page_bytes))
		return err_set(e, ERR_DAMAGED, "%s: what the snapshot holds is not an SQLite database", s->key);
	return 0;
}

static int fetch_all(struct snapshot *s, struct store *store, int threads, struct progress *progress,
		     struct err *e)
{
	if (frame_init(&s->reader, store, progress, e) < 0)
		return -1;
	pthread_mutex_init(&s->read_lock, NULL);
	pthread_mutex_init(&s->turn_lock, NULL);
	pthread_cond_init(&s->turned, NULL);
	int rc = frame_open(&s->reader, s->key, e);
	if (rc == 1)
		rc = in_parallel(s, threads, e);
	else if (rc == 0)
		rc = frame_stream(&s->reader, s->key, in_order, s, e);
	pthread_cond_destroy(&s->turned);
	pthread_mutex_destroy(&s->turn_lock);
	pthread_mutex_destroy(&s->read_lock);
	frame_free(&s->reader);
	return rc;
}

int snapshot_fetch(struct store *store, const char *key, int fd, const char *path, int threads,
		   struct progress *progress, struct snapshot_result *ret, struct err *e)
{
	struct snapshot s = { .key = key, .path = path, .fd = fd };
	int rc = fetch_all(&s, store, threads, progress, e);
	return rc == 0 ? database_check(&s, ret, e) : rc;
}

int snapshot_hash(struct store *store, const char *key, struct page_hashes *hashes, struct progress *progress,
		  struct snapshot_result *ret, struct err *e)
{
	struct snapshot s = { .key = key, .path = "", .fd = -1, .hashes = hashes };
	int rc = fetch_all(&s, store, 1, progress, e);
	if (rc == 0 && s.plain_bytes > 0 && page_hashes_end(hashes, e) < 0)
		rc = err_wrap(e, "%s", key);
	*ret = (struct snapshot_result){ .plain_bytes = s.plain_bytes, .page_bytes = hashes->page_bytes };
	return rc;
}
