/* SPDX-License-Identifier: Apache-2.0
 *
 * How far something was behind during the last minutes: the small graphs of the page.
 *
 * Nothing is sampled by the clock: a daemon at rest must not wake up for a picture that nobody looks at. How
 * far behind something is, is the age of the oldest thing that it lacks, and between two events that age is
 * either 0 or grows with the clock. So it is enough to note at each event (and when somebody looks) since when
 * it is behind; what was in between follows from that. Pure. */
#ifndef WB_DAEMON_LAG_H
#define WB_DAEMON_LAG_H

#include <stdbool.h>
#include <stdint.h>

enum { LAG_SLOTS = 60, LAG_SLOT_US = 5000000 }; /* five minutes */
#define LAG_UNKNOWN UINT32_MAX

/* Zero it to begin. 264 bytes. */
struct lag {
	int64_t noted_us;	     /* monotonic: the last note; 0: none yet */
	int64_t since_us;	     /* behind since, as of then; 0: it was not */
	bool sampled;		     /* by lag_sample; one is never both */
	uint32_t most_ms[LAG_SLOTS]; /* ring: the slot of a moment is its number modulo LAG_SLOTS */
};

/* Since when it is behind (monotonic), 0: it is not. */
void lag_note(struct lag *l, int64_t now_us, int64_t since_us);
/* How far it is behind now, of something whose events are not told here: what was in between is not known. */
void lag_sample(struct lag *l, int64_t now_us, int64_t behind_us);
/* The most of each slot, oldest first, the last one is that of now. LAG_UNKNOWN: before the first note. */
void lag_read(const struct lag *l, int64_t now_us, uint32_t ret_ms[LAG_SLOTS]);

#endif
