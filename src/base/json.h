/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes JSON (RFC 8259), into a growable buffer or a stream, as it comes: nothing is kept in between.
 *
 *   struct json j = JSON_TO_FILE(stdout, 1);
 *   json_array(&j, NULL);
 *   json_object(&j, NULL);
 *   json_string(&j, "path", path);
 *   json_end(&j);
 *   json_end(&j);
 *   return json_finish(&j);
 *
 * `key` is the name of a member; NULL inside an array and at the top. Wrong nesting is our own mistake and ends
 * the program (assert). */
#ifndef WB_BASE_JSON_H
#define WB_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"

enum { JSON_DEPTH_MAX = 32 };

/* Only json.c looks into it. */
struct json {
	struct dyn *dyn; /* borrowed; this one or */
	FILE *file;	 /* this one */
	unsigned lines;	 /* what lies in less than so many containers gets a line of its own; 0: all on one line
			  */
	unsigned depth;
	uint32_t objects, filled; /* bit N: container N is an object; it has members */
	bool failed;
};

#define JSON_TO_DYN(to, lines_depth) ((struct json){ .dyn = (to), .lines = (lines_depth) })
#define JSON_TO_FILE(to, lines_depth) ((struct json){ .file = (to), .lines = (lines_depth) })

void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* of the object or array that was begun last */

/* UTF-8; each byte that is not becomes U+FFFD. NULL is written as null. */
void json_string(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, struct span text); /* the same; may contain NUL */
void json_int(struct json *j, const char *key, int64_t v);
void json_uint(struct json *j, const char *key, uint64_t v);
void json_double(struct json *j, const char *key, double v); /* shortest that reads back; NaN, infinite: null */
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);
/* Microseconds since 1970 as RFC 3339, UTC, six digits of a second. */
void json_time(struct json *j, const char *key, int64_t us);

/* After everything is closed. A stream gets a line feed behind the value. -1: the buffer had no room or memory
 * (what is in it is then worth nothing), or the stream reports an error. */
int json_finish(struct json *j);

#endif
