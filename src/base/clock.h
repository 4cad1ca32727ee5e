/* SPDX-License-Identifier: Apache-2.0
 *
 * Time. Names carry the unit. Monotonic time is for intervals, wall time for people and for restore by time. */
#ifndef WB_BASE_CLOCK_H
#define WB_BASE_CLOCK_H

#include <stdint.h>

int64_t mono_us(void);
int64_t mono_ms(void);
int64_t wall_us(void); /* microseconds since 1970, UTC */
void sleep_us(int64_t us);

#define TIME_TEXT_BYTES 40
/* RFC 3339, UTC, e.g. 2026-01-02T03:04:05.123456Z. `digits` of the second: 0, 3 or 6. Returns buf. */
char *time_format(char buf[TIME_TEXT_BYTES], int64_t us, int digits);
/* RFC 3339 with `Z` or an offset and up to 9 digits of a second (cut to microseconds). -1 if it is not that. */
int time_parse(const char *text, int64_t *ret_us);

#endif
