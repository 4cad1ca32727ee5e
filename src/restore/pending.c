/* SPDX-License-Identifier: Apache-2.0
 *
 * Uncommitted pages: see pending.h. They are gathered in memory; when that is full it goes to the end of the
 * file, in one write. At the commit: the file from its beginning, then the memory. The file has lost its name
 * right after it was made, so it goes with the process whatever happens.
 *
 * Failure: errors of the file (no space, say) end the restore. */
#include "restore/pending.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sys.h"
#include "restore/memory.h"

static size_t record_bytes(const struct pending *q)
{
	return sizeof(uint32_t) + q->page_bytes;
}

int pending_init(struct pending *q, const char *spill_path, uint32_t page_bytes, size_t memory_bytes,
		 struct err *e)
{
	*q = (struct pending){ .fd = -1, .page_bytes = page_bytes };
	int len = snprintf(q->path, sizeof q->path, "%s", spill_path);
	if (len < 0 || (size_t)len >= sizeof q->path)
		return err_set(e, ERR_USAGE, "%.200s…: path is too long", spill_path);
	size_t records = memory_bytes / record_bytes(q);
	q->cap = (records > 0 ? records : 1) * record_bytes(q);
	q->mem = memory_map(q->cap);
	return q->mem ? 0 : err_set(e, ERR_FAIL, "no memory for %zu bytes of a transaction", q->cap);
}

void pending_free(struct pending *q)
{
	memory_unmap(q->mem, q->cap);
	if (q->fd >= 0)
		close(q->fd);
	*q = (struct pending){ .fd = -1 };
}

static int spill(struct pending *q, struct err *e)
{
	if (q->fd < 0) {
		q->fd = sys_open(q->path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (q->fd < 0)
			return err_sys(e, errno, "%s: cannot create", q->path);
		if (sys_unlink(q->path) < 0)
			return err_sys(e, errno, "%s: cannot remove", q->path);
	}
	if (file_pwrite_all(q->fd, q->path, q->mem, q->n, (off_t)q->spilled_bytes, e) < 0)
		return -1;
	q->spilled_bytes += q->n;
	q->n = 0;
	return 0;
}

int pending_add(struct pending *q, uint32_t pgno, const uint8_t *page, struct err *e)
{
	if (q->n == q->cap && spill(q, e) < 0)
		return -1;
	memcpy(q->mem + q->n, &pgno, sizeof pgno);
	memcpy(q->mem + q->n + sizeof pgno, page, q->page_bytes);
	q->n += record_bytes(q);
	return 0;
}

static int hand_over(const struct pending *q, struct pages *to, struct err *e)
{
	for (size_t at = 0; at < q->n; at += record_bytes(q)) {
		uint32_t pgno;
		memcpy(&pgno, q->mem + at, sizeof pgno);
		if (pages_put(to, pgno, q->mem + at + sizeof pgno, e) < 0)
			return -1;
	}
	return 0;
}

int pending_commit(struct pending *q, struct pages *to, struct err *e)
{
	if (q->spilled_bytes > 0) {
		/* All of it is in the file then, and the memory is free for reading it back. */
		if (q->n > 0 && spill(q, e) < 0)
			return -1;
		for (uint64_t at = 0; at < q->spilled_bytes; at += q->n) {
			uint64_t left = q->spilled_bytes - at;
			ssize_t got = file_pread_full(q->fd, q->path, q->mem,
						      left < q->cap ? (size_t)left : q->cap, (off_t)at, e);
			if (got < 0)
				return -1;
			q->n = (size_t)got;
			if (q->n == 0 || q->n % record_bytes(q) != 0)
				return err_set(e, ERR_FAIL, "%s: the file became shorter while in use",
					       q->path);
			if (hand_over(q, to, e) < 0)
				return -1;
		}
	} else if (hand_over(q, to, e) < 0) {
		return -1;
	}
	pending_drop(q);
	return 0;
}

void pending_drop(struct pending *q)
{
	q->n = 0;
	if (q->spilled_bytes == 0)
		return;
	q->spilled_bytes = 0;
	/* The next large transaction overwrites the file; giving its space back early is worth a call. */
	if (sys_ftruncate(q->fd, 0) < 0)
		errno = 0;
}
