/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and positions from nowhere: what parses as one of ours must be the very text that we would write. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/layout.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	memcpy(text, data, size);
	text[size] = 0;
	for (enum object_kind kind = OBJECT_SNAPSHOT; kind <= OBJECT_INDEX; kind++) {
		struct object o = { .kind = kind, .generation = generation_from(0x0123456789abcdef) };
		char name[OBJECT_KEY_BYTES], key[OBJECT_KEY_BYTES], prefix[OBJECT_KEY_BYTES];
		if (!object_parse(text, kind, &o.at))
			continue;
		assert(o.at.index <= INT64_MAX && o.at.offset <= INT64_MAX);
		assert(strcmp(object_name(name, &o), text) == 0);
		object_key(key, &o);
		object_prefix(prefix, kind, &o.generation);
		assert(strncmp(key, prefix, strlen(prefix)) == 0 && strcmp(key + strlen(prefix), name) == 0);
	}
	struct generation of;
	struct position at;
	if (position_parse(text, &of, &at)) {
		char back[POSITION_TEXT_BYTES];
		assert(at.index <= INT64_MAX && at.offset <= INT64_MAX);
		assert(strcmp(position_format(back, &of, at), text) == 0);
	}
	uint64_t index;
	if (index_parse(text, &index))
		assert(index <= INT64_MAX && strtoull(text, NULL, 16) == index);
	if (generation_valid(text)) {
		struct generation g = generation_from(strtoull(text, NULL, 16));
		assert(strcmp(g.name, text) == 0);
	}
	free(text);
	return 0;
}
