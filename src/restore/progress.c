/* SPDX-License-Identifier: Apache-2.0
 *
 * Progress: see progress.h. Bytes are those of the stored objects, whose sum the plan knows; the rate is the
 * mean of the whole run. The line is drawn with one write and taken away at the end, so that what follows on
 * the terminal (log lines, errors) begins at the left. A line that cannot be written is lost. */
#include "restore/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

enum { EVERY_MS = 200 };

void progress_init(struct progress *p, bool on, int fd)
{
	*p = (struct progress){ .on = on, .fd = fd, .verb = "restoring" };
	pthread_mutex_init(&p->lock, NULL);
}

void progress_begin(struct progress *p, uint64_t total_bytes)
{
	atomic_store(&p->done_bytes, 0);
	p->total_bytes = total_bytes;
	p->start_ms = mono_ms();
	atomic_store(&p->next_ms, p->start_ms + EVERY_MS);
}

static int amount(char *buf, size_t n, uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double v = (double)bytes;
	unsigned u = 0;
	for (; v >= 1024 && u + 1 < sizeof units / sizeof *units; u++)
		v /= 1024;
	return snprintf(buf, n, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

static char *text_of(char buf[PROGRESS_TEXT_BYTES], const char *verb, uint64_t done_bytes, uint64_t total_bytes,
		     int64_t elapsed_ms)
{
	char done[24], total[24], rate[24], left[40] = "";
	/* An object may be larger than it was when it was listed. */
	if (total_bytes < done_bytes)
		total_bytes = done_bytes;
	double seconds = (double)(elapsed_ms > 0 ? elapsed_ms : 1) / 1000;
	double per_second = (double)done_bytes / seconds;
	amount(done, sizeof done, done_bytes);
	amount(total, sizeof total, total_bytes);
	amount(rate, sizeof rate, (uint64_t)per_second);
	if (done_bytes > 0) {
		uint64_t s = (uint64_t)((double)(total_bytes - done_bytes) / per_second + 0.5);
		if (s < 60)
			snprintf(left, sizeof left, ", %" PRIu64 " s left", s);
		else
			snprintf(left, sizeof left, ", %" PRIu64 " min %" PRIu64 " s left", s / 60, s % 60);
	}
	int percent = total_bytes > 0 ? (int)((double)done_bytes * 100 / (double)total_bytes) : 100;
	snprintf(buf, PROGRESS_TEXT_BYTES, "%s %s of %s (%d %%), %s/s%s", verb, done, total, percent, rate,
		 left);
	return buf;
}

char *progress_text(char buf[PROGRESS_TEXT_BYTES], uint64_t done_bytes, uint64_t total_bytes,
		    int64_t elapsed_ms)
{
	return text_of(buf, "restoring", done_bytes, total_bytes, elapsed_ms);
}

static void draw(struct progress *p, int64_t now_ms)
{
	char text[PROGRESS_TEXT_BYTES], line[PROGRESS_TEXT_BYTES + 8];
	text_of(text, p->verb, atomic_load(&p->done_bytes), p->total_bytes, now_ms - p->start_ms);
	int n = snprintf(line, sizeof line, "\r%s\033[K", text);
	p->drawn = n > 0 && write(p->fd, line, (size_t)n) == n;
}

void progress_add(struct progress *p, uint64_t bytes)
{
	atomic_fetch_add_explicit(&p->done_bytes, bytes, memory_order_relaxed);
	if (!p->on)
		return;
	int64_t now_ms = mono_ms();
	if (now_ms < atomic_load_explicit(&p->next_ms, memory_order_relaxed) ||
	    pthread_mutex_trylock(&p->lock) != 0)
		return;
	atomic_store_explicit(&p->next_ms, now_ms + EVERY_MS, memory_order_relaxed);
	draw(p, now_ms);
	pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p)
{
	if (p->drawn && write(p->fd, "\r\033[K", 4) == 4)
		p->drawn = false;
	pthread_mutex_destroy(&p->lock);
}
