/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in HTML, from nowhere: what comes out holds no character that HTML reads, is UTF-8, and read back as
 * HTML it is the text again (but for what is shown as U+FFFD). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/html.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The character behind the reference at *at, which moves past it. */
static uint32_t dereference(const uint8_t **at, size_t left)
{
	static const struct {
		const char *text;
		uint32_t c;
	} all[] = { { "&amp;", '&' }, { "&lt;", '<' }, { "&gt;", '>' }, { "&quot;", '"' }, { "&#39;", '\'' } };
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		size_t n = strlen(all[i].text);
		if (n <= left && memcmp(*at, all[i].text, n) == 0) {
			*at += n;
			return all[i].c;
		}
	}
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dyn out = DYN_INIT(1 << 24);
	char *text = malloc(size + 1);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = 0;
	assert(html_text(&out, text) == 0);
	const uint8_t *p = out.p, *end = out.len ? out.p + out.len : p, *from = (const uint8_t *)text;
	size_t left = strlen(text);
	while (left > 0) {
		uint32_t is, was = 0;
		assert(p < end);
		size_t len = utf8_take(from, left, &was);
		if (*p == '&') {
			is = dereference(&p, (size_t)(end - p));
		} else {
			assert(!strchr("<>\"'", *p));
			size_t n = utf8_take(p, (size_t)(end - p), &is);
			assert(n > 0);
			p += n;
		}
		assert(is == was || is == 0xfffd);
		from += len ? len : 1;
		left -= len ? len : 1;
	}
	assert(p == end);
	free(text);
	dyn_free(&out);
	return 0;
}
