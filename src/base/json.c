/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON, see json.h. Each value is written as it comes:
 *
 *   1. a comma if something stands before it in its container, and a line break where lines are wanted
 *   2. its name, if the container is an object
 *   3. itself; containers are remembered as two bits each
 *
 * What a terminal would obey (controls, C1 controls) or JavaScript would take for a line break is escaped, so
 * the output may be shown to a person.
 *
 * Failure modes: a buffer at its ceiling or no memory, a stream that fails: from then on nothing is written,
 * and json_finish tells. */
#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static void put(struct json *j, const void *p, size_t n)
{
	if (j->failed || n == 0)
		return;
	j->failed = j->file ? fwrite(p, 1, n, j->file) != n : dyn_add(j->dyn, p, n) < 0;
}

static void put_text(struct json *j, const char *text)
{
	put(j, text, strlen(text));
}

static void new_line(struct json *j)
{
	static const char spaces[] = "                                                                ";
	_Static_assert(sizeof spaces > 2 * JSON_DEPTH_MAX, "two spaces a level");
	put(j, "\n", 1);
	put(j, spaces, 2 * (size_t)j->depth);
}

/* The escape of a character, "" if it stands for itself. */
static void escape(char buf[16], uint32_t c)
{
	static const char named[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
	const char *at = c && c < 0x80 ? strchr(named, (int)c) : NULL;
	buf[0] = 0;
	if (at)
		snprintf(buf, 16, "\\%c", letters[at - named]);
	else if (c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029)
		snprintf(buf, 16, "\\u%04x", (unsigned)c);
}

static void put_string(struct json *j, const uint8_t *p, size_t n)
{
	size_t plain = 0; /* bytes before p that are not written yet and stand for themselves */
	char esc[16];
	put(j, "\"", 1);
	while (n > 0) {
		uint32_t c;
		size_t len = utf8_take(p, n, &c), step = len ? len : 1;
		if (len > 0)
			escape(esc, c);
		else
			memcpy(esc, "\xef\xbf\xbd", 4);
		if (*esc) {
			put(j, p - plain, plain);
			put_text(j, esc);
		}
		plain = *esc ? 0 : plain + step;
		p += step;
		n -= step;
	}
	put(j, p - plain, plain);
	put(j, "\"", 1);
}

/* Everything that stands before a value. */
static void begin(struct json *j, const char *key)
{
	uint32_t bit = j->depth ? 1u << (j->depth - 1) : 0;
	assert(!key == !(j->objects & bit));
	if (j->filled & bit)
		put(j, ",", 1);
	if (j->depth > 0 && j->depth <= j->lines)
		new_line(j);
	else if (j->lines > 0 && j->filled & bit)
		put(j, " ", 1);
	j->filled |= bit;
	if (key) {
		put_string(j, (const uint8_t *)key, strlen(key));
		put(j, ":", 1);
		if (j->lines > 0)
			put(j, " ", 1);
	}
}

static void open_container(struct json *j, const char *key, bool object)
{
	begin(j, key);
	assert(j->depth < JSON_DEPTH_MAX);
	uint32_t bit = 1u << j->depth++;
	j->objects = object ? j->objects | bit : j->objects & ~bit;
	j->filled &= ~bit;
	put(j, object ? "{" : "[", 1);
}

void json_object(struct json *j, const char *key)
{
	open_container(j, key, true);
}

void json_array(struct json *j, const char *key)
{
	open_container(j, key, false);
}

void json_end(struct json *j)
{
	assert(j->depth > 0);
	bool on_lines = j->depth <= j->lines;
	uint32_t bit = 1u << --j->depth;
	if (on_lines && j->filled & bit)
		new_line(j);
	put(j, j->objects & bit ? "}" : "]", 1);
}

void json_bytes(struct json *j, const char *key, struct span text)
{
	begin(j, key);
	put_string(j, text.p, text.n);
}

void json_string(struct json *j, const char *key, const char *text)
{
	if (text)
		json_bytes(j, key, (struct span){ (const uint8_t *)text, strlen(text) });
	else
		json_null(j, key);
}

void json_int(struct json *j, const char *key, int64_t v)
{
	char buf[32];
	snprintf(buf, sizeof buf, "%" PRId64, v);
	begin(j, key);
	put_text(j, buf);
}

void json_uint(struct json *j, const char *key, uint64_t v)
{
	char buf[32];
	snprintf(buf, sizeof buf, "%" PRIu64, v);
	begin(j, key);
	put_text(j, buf);
}

void json_double(struct json *j, const char *key, double v)
{
	char buf[40] = "null";
	for (int digits = 15; isfinite(v) && digits <= 17; digits++) {
		snprintf(buf, sizeof buf, "%.*g", digits, v);
		if (strtod(buf, NULL) == v)
			break;
	}
	begin(j, key);
	put_text(j, buf);
}

void json_bool(struct json *j, const char *key, bool v)
{
	begin(j, key);
	put_text(j, v ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
	begin(j, key);
	put_text(j, "null");
}

void json_time(struct json *j, const char *key, int64_t us)
{
	char buf[TIME_TEXT_BYTES];
	json_string(j, key, time_format(buf, us, 6));
}

int json_finish(struct json *j)
{
	assert(j->depth == 0);
	if (j->file)
		put(j, "\n", 1);
	return j->failed || (j->file && ferror(j->file)) ? -1 : 0;
}
