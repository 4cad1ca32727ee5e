/* SPDX-License-Identifier: Apache-2.0
 *
 * What anybody may ask of /stream: lines NAME=VALUE are the parameters, the first of a name counts. What is
 * accepted is within its bounds and what was said; what is refused has one clean line for the client. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "live/query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *param(void *arg, const char *name)
{
	size_t n = strlen(name);
	for (const char *line = arg; *line; line += strlen(line) + 1)
		if (strncmp(line, name, n) == 0 && line[n] == '=')
			return line + n + 1;
	return NULL;
}

static void check_position(const struct live_query *q, char *lines)
{
	struct generation g = q->generation;
	uint64_t index;
	assert(generation_valid(g.name) && strcmp(g.name, param(lines, "generation")) == 0);
	assert(index_parse(param(lines, "index"), &index) && index == q->at.index);
	assert(q->at.index <= INT64_MAX && q->at.offset <= INT64_MAX);
	assert(q->has_offset || q->at.offset == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct live_query q;
	struct err e = ERR_INIT;
	char *lines = malloc(size + 2);
	assert(lines);
	if (size)
		memcpy(lines, data, size);
	lines[size] = lines[size + 1] = 0;
	for (size_t i = 0; i < size; i++)
		if (lines[i] == '\n')
			lines[i] = 0;
	if (live_query_parse(param, lines, &q, &e) == 0) {
		const char *txn = param(lines, "txn");
		assert(q.path && *q.path && q.path == param(lines, "path"));
		assert(q.extended == (txn && strcmp(txn, "1") == 0));
		assert(!q.has_offset || q.has_position);
		if (q.has_position)
			check_position(&q, lines);
		else
			assert(q.at.index == 0 && q.at.offset == 0);
	} else {
		assert(e.kind == ERR_USAGE && e.text[0]);
		for (const char *p = e.text; *p; p++)
			assert(*p >= ' ' && *p < 0x7f);
	}
	free(lines);
	return 0;
}
