/* SPDX-License-Identifier: Apache-2.0
 *
 * Durations and sizes from nowhere. What is accepted is printed in a form that is accepted and means the same;
 * the sign is that of the text; what is refused has a sentence, and the value stays as it was. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_duration(const char *text)
{
	struct err e = ERR_INIT;
	char printed[DURATION_TEXT_BYTES];
	int64_t us = 42, again;
	if (duration_parse(text, &us, &e) < 0) {
		assert(us == 42 && e.kind == ERR_CONFIG && e.text[0]);
		return;
	}
	assert(text[0] == '-' ? us <= 0 : us >= 0);
	assert(duration_parse(duration_format(printed, us), &again, &e) == 0 && again == us);
}

static void one_size(const char *text)
{
	struct err e = ERR_INIT;
	char printed[SIZE_TEXT_BYTES];
	int64_t bytes = 42, again;
	if (size_parse(text, &bytes, &e) < 0) {
		assert(bytes == 42 && e.kind == ERR_CONFIG && e.text[0]);
		return;
	}
	assert(bytes >= 0);
	assert(size_parse(size_format(printed, bytes), &again, &e) == 0 && again == bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	assert(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = 0;
	one_duration(text);
	one_size(text);
	free(text);
	return 0;
}
