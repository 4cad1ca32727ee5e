/* SPDX-License-Identifier: Apache-2.0
 *
 * Sizes as people write them.
 *
 *   1. a decimal number, with a fraction if need be, and a unit behind it: 512MiB, 1.5GB
 *   2. a fraction is exact to the byte: what lies below one is dropped
 *
 * Failure modes: no unit (of what?), an unknown one (with the nearest way of writing it), more than fits. */
#include "conf/options.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	int64_t bytes;
} units[] = {
	{ "TiB", INT64_C(1) << 40 }, { "GiB", 1 << 30 },      { "MiB", 1 << 20 },
	{ "KiB", 1 << 10 },	     { "TB", 1000000000000 }, { "GB", 1000000000 },
	{ "MB", 1000000 },	     { "KB", 1000 },	      { "B", 1 },
};
enum { UNITS = sizeof units / sizeof *units };

static int unit_why(const char *text, const char *unit, struct err *e)
{
	const char *all = "B, KB, MB, GB, TB, KiB, MiB, GiB and TiB";
	if (!*unit)
		return err_set(e, ERR_CONFIG, "\"%.80s\" has no unit; a size needs one, e.g. %.20sMiB", text,
			       text);
	for (size_t i = 0; i < UNITS; i++)
		if (strcasecmp(unit, units[i].name) == 0 ||
		    (unit[1] == 0 && strncasecmp(unit, units[i].name, 1) == 0))
			return err_set(e, ERR_CONFIG, "\"%.80s\": write the unit as %s; there are %s", text,
				       units[i].name, all);
	return err_set(e, ERR_CONFIG, "\"%.80s\" is not a size; write a number with one of %s, e.g. 512MiB",
		       text, all);
}

/* Bytes of a fraction of a unit. Twelve digits are more than a byte of a TiB. */
static int64_t fraction_bytes(const char *digits, size_t n, int64_t unit)
{
	int64_t numerator = 0, denominator = 1;
	for (size_t i = 0; i < n && i < 12; i++) {
		numerator = numerator * 10 + (digits[i] - '0');
		denominator *= 10;
	}
	return (int64_t)((__extension__(__int128) numerator * unit) / denominator);
}

int size_parse(const char *text, int64_t *ret_bytes, struct err *e)
{
	size_t whole_n = strspn(text, "0123456789"), fraction_n = 0;
	const char *unit = text + whole_n, *fraction = unit + 1;
	int64_t bytes = 0;
	if (strcmp(text, "0") == 0) {
		*ret_bytes = 0;
		return 0;
	}
	if (whole_n > 0 && *unit == '.' && (fraction_n = strspn(fraction, "0123456789")) > 0)
		unit = fraction + fraction_n;
	size_t i = 0;
	while (i < UNITS && strcmp(unit, units[i].name) != 0)
		i++;
	if (whole_n == 0 || i == UNITS)
		return unit_why(text, whole_n ? unit : "?", e);
	bool too_large = false;
	for (size_t k = 0; k < whole_n; k++)
		too_large |= __builtin_mul_overflow(bytes, 10, &bytes) ||
			     __builtin_add_overflow(bytes, text[k] - '0', &bytes);
	too_large |=
		__builtin_mul_overflow(bytes, units[i].bytes, &bytes) ||
		__builtin_add_overflow(bytes, fraction_bytes(fraction, fraction_n, units[i].bytes), &bytes);
	if (too_large)
		return err_set(e, ERR_CONFIG, "\"%.80s\" is too large; a size is below 8388608TiB", text);
	*ret_bytes = bytes;
	return 0;
}

char *size_format(char buf[SIZE_TEXT_BYTES], int64_t bytes)
{
	size_t i = 0;
	while (i + 1 < UNITS && (bytes == 0 || bytes % units[i].bytes != 0 || units[i].name[1] != 'i'))
		i++;
	snprintf(buf, SIZE_TEXT_BYTES, "%lld%s", (long long)(bytes / units[i].bytes), units[i].name);
	return buf;
}
