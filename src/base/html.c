/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in HTML: see html.h. */
#include "base/html.h"

#include <stdbool.h>
#include <string.h>

/* Characters that are not seen, or turn those behind them around: a path could lie with them. */
static bool hidden(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

static const char *reference(uint32_t c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return hidden(c) ? "\xef\xbf\xbd" : NULL;
	}
}

int html_text(struct dyn *to, const char *text)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t n = strlen(text);
	int rc = 0;
	while (rc == 0 && n > 0) {
		uint32_t c = 0;
		size_t len = utf8_take(p, n, &c);
		const char *instead = reference(len ? c : 0);
		rc = instead ? dyn_add(to, instead, strlen(instead)) : dyn_add(to, p, len);
		len = len ? len : 1;
		p += len;
		n -= len;
	}
	return rc;
}
