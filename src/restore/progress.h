/* SPDX-License-Identifier: Apache-2.0
 *
 * Progress of a restore: one line on standard error, rewritten at most five times a second: stored bytes so far
 * and in all, percentage, rate, time left. Any thread may add. Switched off it only counts. */
#ifndef WB_RESTORE_PROGRESS_H
#define WB_RESTORE_PROGRESS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;
	int fd;		  /* where the line goes */
	const char *verb; /* first word of the line; progress_init: "restoring" */
	_Atomic uint64_t done_bytes;
	uint64_t total_bytes;
	int64_t start_ms;
	_Atomic int64_t next_ms; /* not before */
	pthread_mutex_t lock;	 /* one writer of the line */
	bool drawn;
};

void progress_init(struct progress *p, bool on, int fd);
void progress_begin(struct progress *p, uint64_t total_bytes); /* (again) from zero */
void progress_add(struct progress *p, uint64_t bytes);
void progress_end(struct progress *p); /* removes the line */

#define PROGRESS_TEXT_BYTES 192
/* The text of the line of a restore. Returns buf. */
char *progress_text(char buf[PROGRESS_TEXT_BYTES], uint64_t done_bytes, uint64_t total_bytes,
		    int64_t elapsed_ms);

#endif
