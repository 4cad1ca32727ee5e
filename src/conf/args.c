/* SPDX-License-Identifier: Apache-2.0
 *
 * Flags of a command.
 *
 *   1. words that begin with `-` are flags until the first that does not, or `--`
 *   2. one or two dashes mean the same; a value stands behind `=` or is the next word (never for a switch)
 *   3. a word that looks like a flag behind the first argument is an error, because the original would have
 * taken it for an argument; behind `--` everything is an argument
 *
 * Failure modes: unknown flags (with the nearest known one), missing and bad values (with an example that
 * works), a value that is itself one of the flags (a value was forgotten). All ERR_USAGE. */
#include "conf/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "conf/nearest.h"
#include "conf/options.h"
#include "core/layout.h"

static bool looks_like_flag(const char *word)
{
	return word[0] == '-' && word[1] != 0;
}

static const char *without_dashes(const char *word)
{
	return word + (word[0] == '-') + (word[0] == '-' && word[1] == '-');
}

/* n characters at name, without dashes. */
static const struct args_flag *find(const struct args_flag *flags, const char *name, size_t n)
{
	for (const struct args_flag *f = flags; f->name; f++)
		if (strlen(f->name) == n && memcmp(f->name, name, n) == 0)
			return f;
	return NULL;
}

static int unknown(const struct args_flag *flags, const char *word, struct err *e)
{
	char name[64];
	snprintf(name, sizeof name, "%.*s", (int)strcspn(without_dashes(word), "="), without_dashes(word));
	struct nearest near = NEAREST_OF(name);
	for (const struct args_flag *f = flags; f->name; f++)
		nearest_offer(&near, f->name);
	err_set(e, ERR_USAGE, "there is no flag %.80s", word);
	return near.best ? err_hint(e, "Did you mean -%s?", near.best)
			 : err_hint(e, "-h lists those that there are");
}

static int set_bool(const struct args_flag *f, bool *to, const char *value, struct err *e)
{
	static const char *const yes[] = { "true", "1", "t" }, *const no[] = { "false", "0", "f" };
	for (size_t i = 0; value && i < sizeof yes / sizeof *yes; i++)
		if (strcasecmp(value, yes[i]) == 0 || strcasecmp(value, no[i]) == 0) {
			*to = strcasecmp(value, yes[i]) == 0;
			return 0;
		}
	if (value)
		return err_set(e, ERR_USAGE, "-%s=%.80s: neither true nor false", f->name, value);
	*to = true;
	return 0;
}

static int set_int(const struct args_flag *f, int *to, const char *value, struct err *e)
{
	char *end;
	errno = 0;
	long v = strtol(value, &end, 10);
	if (end == value || *end || strspn(value, " \t\n") > 0)
		return err_set(e, ERR_USAGE, "-%s: \"%.80s\" is not a whole number", f->name, value);
	if (errno || v < f->min || v > f->max)
		return err_set(e, ERR_USAGE, "-%s: %.80s is out of bounds; allowed are %d to %d", f->name,
			       value, f->min, f->max);
	*to = (int)v;
	return 0;
}

static int set_value(const struct args_flag *f, void *base, const char *value, struct err *e)
{
	void *at = (char *)base + f->at;
	struct args_time *time = at;
	struct args_hex *hex = at;
	switch (f->type) {
	case ARGS_BOOL:
		return set_bool(f, at, value, e);
	case ARGS_TEXT:
		*(const char **)at = value;
		return 0;
	case ARGS_INT:
		return set_int(f, at, value, e);
	case ARGS_DURATION:
		if (duration_parse(value, at, e) < 0) {
			e->kind = ERR_USAGE;
			return err_wrap(e, "-%s", f->name);
		}
		return 0;
	case ARGS_TIME:
		if (time_parse(value, &time->wall_us) < 0)
			return err_set(e, ERR_USAGE,
				       "-%s: \"%.80s\" is not a time with its zone; write it as "
				       "2000-01-02T15:04:05Z or "
				       "2000-01-02T17:04:05.250+02:00",
				       f->name, value);
		time->given = true;
		return 0;
	case ARGS_HEX:
		if (!index_parse(value, &hex->value))
			return err_set(e, ERR_USAGE,
				       "-%s: \"%.80s\" is not a WAL index; write its hexadecimal digits as "
				       "they stand in the names of "
				       "the objects, e.g. 0000001f or 1f",
				       f->name, value);
		hex->given = true;
		return 0;
	}
	return 0;
}

/* The flag at argv[i]; *ret_words: how many words it takes. */
static int one_flag(const struct args_flag *flags, void *base, int argc, char *const *argv, int i,
		    int *ret_words, struct err *e)
{
	const char *name = without_dashes(argv[i]), *equals = strchr(name, '=');
	size_t n = equals ? (size_t)(equals - name) : strlen(name);
	const struct args_flag *f = find(flags, name, n);
	*ret_words = 1;
	if (!f && ((n == 1 && name[0] == 'h') || (n == 4 && memcmp(name, "help", 4) == 0)))
		return 1;
	if (!f)
		return unknown(flags, argv[i], e);
	if (f->type == ARGS_BOOL || equals)
		return set_value(f, base, equals ? equals + 1 : NULL, e);
	if (i + 1 == argc)
		return err_set(e, ERR_USAGE, "-%s needs a value: -%s %s", f->name, f->name, f->value);
	const char *value = argv[i + 1];
	if (looks_like_flag(value) && find(flags, without_dashes(value), strcspn(without_dashes(value), "=")))
		return err_set(
			e, ERR_USAGE,
			"-%s needs a value, but the flag %.80s follows; if that is the value, write -%s=%.80s",
			f->name, value, f->name, value);
	*ret_words = 2;
	return set_value(f, base, value, e);
}

int args_parse(const struct args_flag *flags, void *base, int argc, char *const *argv, int *ret_first,
	       struct err *e)
{
	int i = 0, words;
	while (i < argc && looks_like_flag(argv[i])) {
		if (strcmp(argv[i], "--") == 0) {
			*ret_first = i + 1;
			return 0;
		}
		int rc = one_flag(flags, base, argc, argv, i, &words, e);
		if (rc != 0)
			return rc;
		i += words;
	}
	*ret_first = i;
	for (; i < argc; i++)
		if (looks_like_flag(argv[i]))
			return err_set(e, ERR_USAGE,
				       "flags must come before arguments: %.80s (an argument that begins with "
				       "- goes behind --)",
				       argv[i]);
	return 0;
}
