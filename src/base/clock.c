/* SPDX-License-Identifier: Apache-2.0
 *
 * Time: see clock.h. Dates are computed here and not by libc, so that no zone file and no locale plays a part:
 * days are counted in years that begin in March, which puts the leap day at the end.
 *
 * Failure modes: the clocks of Linux cannot fail with the ids used here; a text that is not a time is refused.
 */
#include "base/clock.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum { US_PER_S = 1000000, S_PER_DAY = 86400, DAYS_PER_400_YEARS = 146097 };

static int64_t clock_us(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000;
}

int64_t mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t mono_ms(void)
{
	return mono_us() / 1000;
}

int64_t wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

void sleep_us(int64_t us)
{
	if (us <= 0)
		return;
	struct timespec left = { .tv_sec = (time_t)(us / US_PER_S), .tv_nsec = (long)(us % US_PER_S) * 1000 };
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
		;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
static int64_t days_of(int64_t year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t era = floor_div(y, 400), year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * DAYS_PER_400_YEARS + day_of_era - 719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day)
{
	days += 719468;
	int64_t era = floor_div(days, DAYS_PER_400_YEARS), d = days - era * DAYS_PER_400_YEARS;
	int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
	int64_t day_of_year = d - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * day_of_year + 2) / 153;
	*day = (int)(day_of_year - (153 * m + 2) / 5) + 1;
	*month = (int)(m < 10 ? m + 3 : m - 9);
	*year = era * 400 + y + (*month <= 2);
}

char *time_format(char buf[TIME_TEXT_BYTES], int64_t us, int digits)
{
	int64_t seconds = floor_div(us, US_PER_S), days = floor_div(seconds, S_PER_DAY), year;
	int fraction = (int)((us % US_PER_S + US_PER_S) % US_PER_S), of_day = (int)(seconds - days * S_PER_DAY);
	int month, day;
	date_of(days, &year, &month, &day);
	int n = snprintf(buf, TIME_TEXT_BYTES, "%04lld-%02d-%02dT%02d:%02d:%02d", (long long)year, month, day,
			 of_day / 3600, of_day / 60 % 60, of_day % 60);
	char *end = buf + n;
	if (digits >= 6)
		snprintf(end, TIME_TEXT_BYTES - (size_t)n, ".%06dZ", fraction);
	else if (digits >= 3)
		snprintf(end, TIME_TEXT_BYTES - (size_t)n, ".%03dZ", fraction / 1000);
	else
		snprintf(end, TIME_TEXT_BYTES - (size_t)n, "Z");
	return buf;
}

/* Exactly `digits` decimal digits within least..most, then moves behind them. -1: not that. */
static int number(const char **p, int digits, int least, int most)
{
	int v = 0;
	for (int i = 0; i < digits; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v < least || v > most ? -1 : v;
}

static bool mark(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	return days[month - 1] + (month == 2 && leap);
}

/* "." and 1 to 9 digits; what lies below a microsecond is cut. */
static int fraction_us(const char **p)
{
	int us = 0, n = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++, n++)
		if (n < 6)
			us = us * 10 + (**p - '0');
	if (n == 0 || n > 9)
		return -1;
	for (; n < 6; n++)
		us *= 10;
	return us;
}

int time_parse(const char *text, int64_t *ret_us)
{
	const char *p = text;
	int year, month, day, hour, minute, second, us = 0, offset_s = 0;
	if ((year = number(&p, 4, 0, 9999)) < 0 || !mark(&p, '-') || (month = number(&p, 2, 1, 12)) < 0 ||
	    !mark(&p, '-') || (day = number(&p, 2, 1, days_in_month(year, month))) < 0)
		return -1;
	if ((!mark(&p, 'T') && !mark(&p, 't')) || (hour = number(&p, 2, 0, 23)) < 0 || !mark(&p, ':') ||
	    (minute = number(&p, 2, 0, 59)) < 0 || !mark(&p, ':') || (second = number(&p, 2, 0, 59)) < 0)
		return -1;
	if (mark(&p, '.') && (us = fraction_us(&p)) < 0)
		return -1;
	if (*p == '+' || *p == '-') {
		int sign = *p++ == '-' ? -1 : 1, h, m;
		if ((h = number(&p, 2, 0, 23)) < 0 || !mark(&p, ':') || (m = number(&p, 2, 0, 59)) < 0)
			return -1;
		offset_s = sign * (h * 3600 + m * 60);
	} else if (!mark(&p, 'Z') && !mark(&p, 'z')) {
		return -1;
	}
	if (*p)
		return -1;
	int64_t s = days_of(year, month, day) * S_PER_DAY + hour * 3600 + minute * 60 + second - offset_s;
	*ret_us = s * US_PER_S + us;
	return 0;
}
