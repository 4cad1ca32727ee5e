/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetching segments.
 *
 *   1. The plan is cut into batches of consecutive segments: one large segment, or several small ones, so that
 * the cost of handing over is small against that of the data.
 *   2. Each worker takes the next batch, reads its objects with a store handle of its own and decompresses the
 * blocks into chunks. Full chunks, and the last of a batch, go to the batch's queue.
 *   3. The applying thread empties the queues in the order of the batches and gives the chunks back.
 *
 * Memory: a fixed number of chunks of one LZ4 block (4 MiB) each and one input buffer a worker; pages that are
 * never touched are never resident, so small segments cost little. The last free chunk is for the worker of the
 * batch that is being applied; so a worker that runs ahead cannot starve the one that everybody waits for, and
 * there is no deadlock.
 *
 * Failure: the error of a worker is kept with its batch and told when the applying thread gets there, so that
 * the first damage in the order of the WAL is the one reported. Index documents that cannot be read are a
 * warning. */
#include "restore/fetch.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "base/log.h"
#include "core/index.h"
#include "core/segment.h"
#include "restore/frame.h"
#include "restore/list.h"
#include "restore/memory.h"
#include "restore/stop.h"

enum {
	CHUNK_BYTES = SEGMENT_BLOCK_BYTES,
	BATCH_STORED_BYTES = 256 << 10,
	BATCH_SEGMENTS = FETCH_PARTS / 2,
	RING = 64, /* batches that are begun and not yet applied, at most */
	WORKERS_MAX = 64,
	CHUNKS_MAX = 64,
};

struct batch {
	size_t first, n; /* segments */
	struct fetch_chunk *head, *tail;
	bool done;
	const struct err *failed; /* in the worker */
	size_t failed_segment;
};

struct worker {
	struct fetch *f;
	pthread_t thread;
	struct store *store;
	bool own_store;
	struct frame_reader reader;
	uint8_t *stored;
	uint64_t number; /* of its batch */
	size_t segment;
	bool first;	/* nothing of the segment has been handed over */
	uint64_t plain; /* bytes of the segment so far */
	XXH32_state_t *sum;
	struct fetch_chunk *chunk;
	struct err err;
};

struct fetch {
	struct fetch_config c;
	pthread_mutex_t lock;
	pthread_cond_t room, ready; /* for workers; for the applying thread */
	struct fetch_chunk *free;
	size_t free_n;
	struct batch ring[RING];
	uint64_t head, taken; /* numbers of batches: being applied, next to be begun */
	size_t next_segment;
	bool stopping;
	size_t batch_segments;
	struct fetch_chunk *chunks;
	size_t chunks_n;
	struct worker *workers;
	int workers_n;
};

/* ---- chunks ---- */

/* NULL: stopping. */
static struct fetch_chunk *chunk_get(struct worker *w)
{
	struct fetch *f = w->f;
	struct fetch_chunk *c = NULL;
	pthread_mutex_lock(&f->lock);
	while (!f->stopping && !(f->free_n > 1 || (f->free_n == 1 && w->number == f->head)))
		pthread_cond_wait(&f->room, &f->lock);
	if (!f->stopping) {
		c = f->free;
		f->free = c->next;
		f->free_n--;
		c->next = NULL;
		c->n = c->parts_n = 0;
	}
	pthread_mutex_unlock(&f->lock);
	return c;
}

void fetch_release(struct fetch *f, struct fetch_chunk *c)
{
	pthread_mutex_lock(&f->lock);
	c->next = f->free;
	f->free = c;
	f->free_n++;
	pthread_cond_broadcast(&f->room);
	pthread_mutex_unlock(&f->lock);
}

/* Hands the worker's chunk over, if it has one, and notes that the batch is complete (done) or has failed. */
static void hand_over(struct worker *w, bool done, const struct err *failed)
{
	struct fetch *f = w->f;
	pthread_mutex_lock(&f->lock);
	struct batch *b = &f->ring[w->number % RING];
	if (w->chunk && b->tail)
		b->tail->next = w->chunk;
	else if (w->chunk)
		b->head = w->chunk;
	if (w->chunk)
		b->tail = w->chunk;
	w->chunk = NULL;
	b->done = done;
	b->failed = failed;
	b->failed_segment = w->segment;
	if (w->number == f->head)
		pthread_cond_signal(&f->ready);
	pthread_mutex_unlock(&f->lock);
}

static int stopping(struct err *e)
{
	return err_set(e, ERR_FAIL, "the restore has ended");
}

/* Makes w->chunk one with at least n free bytes and a free part. */
static int chunk_room(struct worker *w, size_t n, struct err *e)
{
	assert(n <= CHUNK_BYTES);
	if (w->chunk && (CHUNK_BYTES - w->chunk->n < n || w->chunk->parts_n == FETCH_PARTS))
		hand_over(w, false, NULL);
	if (!w->chunk)
		w->chunk = chunk_get(w);
	return w->chunk ? 0 : stopping(e);
}

/* n bytes of the current segment have been put at the end of the chunk. */
static void chunk_add(struct worker *w, size_t n)
{
	struct fetch_chunk *c = w->chunk;
	struct fetch_part *last = c->parts_n > 0 ? &c->parts[c->parts_n - 1] : NULL;
	if (last && last->segment == w->segment) {
		last->data.n += n;
	} else {
		c->parts[c->parts_n++] = (struct fetch_part){
			.segment = w->segment,
			.data = { c->p + c->n, n },
			.first = w->first,
		};
		w->first = false;
	}
	c->n += n;
	w->plain += n;
}

/* ---- one segment ---- */

static int block_add(struct worker *w, const struct frame_block *b, struct err *e)
{
	if (chunk_room(w, 0, e) < 0)
		return -1;
	int n = frame_decode(b, w->chunk->p + w->chunk->n, CHUNK_BYTES - w->chunk->n);
	if (n < 0 && w->chunk->n > 0) {
		/* Damaged, or only larger than what is left of this chunk: a fresh one takes any block. */
		if (chunk_room(w, CHUNK_BYTES, e) < 0)
			return -1;
		n = frame_decode(b, w->chunk->p, CHUNK_BYTES);
	}
	if (n < 0 || (uint32_t)n > w->reader.head.block_max_bytes)
		return frame_bad_block(w->reader.key, w->plain, e);
	XXH32_update(w->sum, w->chunk->p + w->chunk->n, (size_t)n);
	chunk_add(w, (size_t)n);
	return 0;
}

static int blocks_add(struct worker *w, struct err *e)
{
	struct frame_block b;
	uint32_t sum = 0;
	int rc;
	XXH32_reset(w->sum, 0);
	while ((rc = frame_next(&w->reader, w->stored, &b, &sum, e)) > 0)
		if (block_add(w, &b, e) < 0)
			return -1;
	if (rc < 0)
		return -1;
	const struct segment_frame *head = &w->reader.head;
	if (head->content_sum && XXH32_digest(w->sum) != sum)
		return frame_bad_sum(w->reader.key, w->plain, e);
	if (head->content_size && head->content_bytes != w->plain)
		return frame_bad_size(w->reader.key, head, w->plain, e);
	return 0;
}

/* Sink for frames that must be read in order. */
static int bytes_add(void *arg, struct span in, struct err *e)
{
	struct worker *w = arg;
	while (in.n > 0) {
		if (chunk_room(w, 1, e) < 0)
			return -1;
		size_t room = CHUNK_BYTES - w->chunk->n, n = in.n < room ? in.n : room;
		memcpy(w->chunk->p + w->chunk->n, in.p, n);
		chunk_add(w, n);
		in.p += n;
		in.n -= n;
	}
	return 0;
}

static int index_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Where the WAL index of this segment ends for ever, if it is the last one of it and a document tells; else 0.
 */
static int index_end(struct worker *w, uint64_t *ret, struct err *e)
{
	const struct fetch_config *c = &w->f->c;
	uint64_t index = c->segments[w->segment].at.index;
	*ret = 0;
	/* Of the last index of the plan there may be more than was asked for. */
	if (w->segment + 1 == c->segments_n || c->segments[w->segment + 1].at.index == index)
		return 0;
	if (c->doc_indexes_n == 0 ||
	    !bsearch(&index, c->doc_indexes, c->doc_indexes_n, sizeof index, index_compare))
		return 0;
	struct wal_index_doc doc;
	int rc = list_doc_read(w->store, &c->generation, index, &doc, e);
	if (rc <= 0)
		return rc;
	if (doc.ended)
		*ret = doc.end_offset;
	index_doc_free(&doc);
	return 0;
}

static int segment_add(struct worker *w, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_SEGMENT,
			    .generation = w->f->c.generation,
			    .at = w->f->c.segments[w->segment].at };
	uint64_t end;
	w->first = true;
	w->plain = 0;
	int rc = frame_open(&w->reader, object_key(key, &o), e);
	if (rc > 0)
		rc = blocks_add(w, e);
	else if (rc == 0)
		rc = frame_stream(&w->reader, key, bytes_add, w, e);
	frame_close(&w->reader);
	if (rc < 0 || index_end(w, &end, e) < 0)
		return -1;
	/* An object without data still gets its part, so that the applying thread sees it. */
	struct fetch_chunk *c = w->chunk;
	if (!c || c->parts_n == 0 || c->parts[c->parts_n - 1].segment != w->segment) {
		if (chunk_room(w, 0, e) < 0)
			return -1;
		chunk_add(w, 0);
		c = w->chunk;
	}
	c->parts[c->parts_n - 1].last = true;
	c->parts[c->parts_n - 1].index_end = end;
	return 0;
}

/* The data of a segment that failed is not handed over as far as that can be helped: its error tells more than
 * what would be found wrong in the data. */
static void segment_drop(struct worker *w)
{
	struct fetch_chunk *c = w->chunk;
	if (c && c->parts_n > 0 && c->parts[c->parts_n - 1].segment == w->segment)
		c->n -= c->parts[--c->parts_n].data.n;
}

/* ---- workers ---- */

static bool batch_take(struct worker *w, struct batch *ret)
{
	struct fetch *f = w->f;
	pthread_mutex_lock(&f->lock);
	while (!f->stopping && f->next_segment < f->c.segments_n && f->taken >= f->head + RING)
		pthread_cond_wait(&f->room, &f->lock);
	bool got = !f->stopping && f->next_segment < f->c.segments_n;
	if (got) {
		struct batch b = { .first = f->next_segment };
		uint64_t stored = 0;
		while (b.first + b.n < f->c.segments_n && b.n < f->batch_segments) {
			stored += f->c.segments[b.first + b.n].stored_bytes;
			if (b.n > 0 && stored > BATCH_STORED_BYTES)
				break;
			b.n++;
		}
		f->next_segment += b.n;
		w->number = f->taken++;
		f->ring[w->number % RING] = b;
		*ret = b;
	}
	pthread_mutex_unlock(&f->lock);
	return got;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct batch b;
	while (batch_take(w, &b)) {
		for (size_t i = 0; i < b.n; i++) {
			w->segment = b.first + i;
			if (segment_add(w, &w->err) < 0) {
				/* Nobody needs what comes after it. */
				segment_drop(w);
				hand_over(w, true, &w->err);
				return NULL;
			}
		}
		hand_over(w, true, NULL);
	}
	return NULL;
}

static int worker_init(struct fetch *f, struct worker *w, bool only_one, struct err *e)
{
	struct restore_source *s = f->c.source;
	*w = (struct worker){ .f = f, .store = s->store };
	if (s->open_more) {
		if (s->open_more(s->arg, &w->store, e) < 0)
			return -1;
		w->own_store = true;
	} else if (!only_one) {
		return err_set(e, ERR_FAIL, "this store has one handle only");
	}
	w->stored = memory_map(SEGMENT_BLOCK_BYTES);
	w->sum = XXH32_createState();
	if (frame_init(&w->reader, w->store, f->c.progress, e) < 0)
		return -1;
	return w->stored && w->sum ? 0 : err_set(e, ERR_FAIL, "no memory to decompress");
}

static void worker_fini(struct worker *w)
{
	frame_free(&w->reader);
	memory_unmap(w->stored, SEGMENT_BLOCK_BYTES);
	XXH32_freeState(w->sum);
	if (w->own_store)
		store_close(w->store);
}

/* ---- the whole ---- */

/* How many workers and chunks fit the budget: a worker needs its input buffer and one chunk, one more is spare.
 */
static void budget(struct fetch *f, int *ret_workers, size_t *ret_chunks)
{
	uint64_t largest = 0, memory = f->c.memory_bytes;
	for (size_t i = 0; i < f->c.segments_n; i++)
		if (f->c.segments[i].stored_bytes > largest)
			largest = f->c.segments[i].stored_bytes;
	uint64_t in = (largest < SEGMENT_BLOCK_BYTES ? largest : SEGMENT_BLOCK_BYTES) + (64 << 10);
	uint64_t n = memory > CHUNK_BYTES ? (memory - CHUNK_BYTES) / (in + CHUNK_BYTES) : 1;
	if (n > (uint64_t)f->c.workers)
		n = (uint64_t)f->c.workers;
	if (n > WORKERS_MAX)
		n = WORKERS_MAX;
	if (n > f->c.segments_n)
		n = f->c.segments_n;
	if (n < 1)
		n = 1;
	uint64_t chunks = memory > n * in ? (memory - n * in) / CHUNK_BYTES : 0;
	if (chunks > 2 * n + 1)
		chunks = 2 * n + 1;
	*ret_workers = (int)n;
	*ret_chunks = chunks < 2 ? 2 : chunks > CHUNKS_MAX ? CHUNKS_MAX : (size_t)chunks;
}

static int chunks_make(struct fetch *f, size_t n, struct err *e)
{
	f->chunks = calloc(n, sizeof *f->chunks);
	for (; f->chunks && f->chunks_n < n; f->chunks_n++) {
		struct fetch_chunk *c = &f->chunks[f->chunks_n];
		c->p = memory_map(CHUNK_BYTES);
		if (!c->p)
			break;
		c->next = f->free;
		f->free = c;
		f->free_n++;
	}
	return f->chunks_n >= 2 ? 0 : err_set(e, ERR_FAIL, "no memory for the data of segments");
}

static int workers_start(struct fetch *f, int n, struct err *e)
{
	struct err later;
	f->workers = calloc((size_t)n, sizeof *f->workers);
	if (!f->workers)
		return err_set(e, ERR_FAIL, "no memory for workers");
	for (int i = 0; i < n; i++) {
		struct worker *w = &f->workers[f->workers_n];
		/* The first must work, fewer than wished is fine. */
		if (worker_init(f, w, i == 0, i == 0 ? e : &later) < 0) {
			worker_fini(w);
			return i == 0 ? -1 : 0;
		}
		int rc = pthread_create(&w->thread, NULL, work, w);
		if (rc != 0) {
			worker_fini(w);
			return i == 0 ? err_sys(e, rc, "cannot start a thread") : 0;
		}
		f->workers_n++;
	}
	return 0;
}

struct fetch *fetch_start(const struct fetch_config *c, struct err *e)
{
	struct fetch *f = calloc(1, sizeof *f);
	int workers;
	size_t chunks;
	if (!f) {
		err_set(e, ERR_FAIL, "no memory to fetch segments");
		return NULL;
	}
	f->c = *c;
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->room, NULL);
	pthread_cond_init(&f->ready, &attr);
	pthread_condattr_destroy(&attr);
	budget(f, &workers, &chunks);
	/* Few segments are spread over all workers: with a slow store each of them waits for its own. */
	f->batch_segments = c->segments_n / ((size_t)workers * 4);
	if (f->batch_segments < 1)
		f->batch_segments = 1;
	if (f->batch_segments > BATCH_SEGMENTS)
		f->batch_segments = BATCH_SEGMENTS;
	if (chunks_make(f, chunks, e) < 0 || workers_start(f, workers, e) < 0) {
		fetch_stop(f);
		return NULL;
	}
	return f;
}

/* Waits for news, at most long enough to notice an interruption. */
static int ready_wait(struct fetch *f, struct err *e)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += 100 * 1000 * 1000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&f->ready, &f->lock, &t);
	return stop_check(e);
}

/* As fetch_next, under the lock. */
static int next_locked(struct fetch *f, struct fetch_chunk **ret, size_t *ret_segment, struct err *e)
{
	for (;;) {
		struct batch *b = &f->ring[f->head % RING];
		bool begun = f->head < f->taken;
		if (begun && b->head) {
			*ret = b->head;
			b->head = b->head->next;
			if (!b->head)
				b->tail = NULL;
			(*ret)->next = NULL;
			return 1;
		}
		if (begun && b->done && b->failed) {
			*ret_segment = b->failed_segment;
			*e = *b->failed;
			return -1;
		}
		if (begun && b->done) {
			f->head++;
			pthread_cond_broadcast(&f->room);
			continue;
		}
		if (!begun && f->next_segment == f->c.segments_n)
			return 0;
		if (ready_wait(f, e) < 0)
			return -1;
	}
}

int fetch_next(struct fetch *f, struct fetch_chunk **ret, size_t *ret_segment, struct err *e)
{
	*ret_segment = f->c.segments_n; /* none, unless a segment failed */
	pthread_mutex_lock(&f->lock);
	int rc = next_locked(f, ret, ret_segment, e);
	pthread_mutex_unlock(&f->lock);
	return rc;
}

void fetch_stop(struct fetch *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	pthread_cond_broadcast(&f->room);
	pthread_mutex_unlock(&f->lock);
	for (int i = 0; i < f->workers_n; i++) {
		pthread_join(f->workers[i].thread, NULL);
		worker_fini(&f->workers[i]);
	}
	for (size_t i = 0; i < f->chunks_n; i++)
		memory_unmap(f->chunks[i].p, CHUNK_BYTES);
	free(f->chunks);
	free(f->workers);
	pthread_cond_destroy(&f->ready);
	pthread_cond_destroy(&f->room);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
