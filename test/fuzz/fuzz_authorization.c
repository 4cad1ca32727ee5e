/* SPDX-License-Identifier: Apache-2.0
 *
 * The header with which anybody asks to be let in. What is taken out of it is a text that ends in its buffer
 * with zeros to the end (the comparison looks at all of it), and is what another decoder finds there; only the
 * token itself is the same as the token. */
#include <assert.h>
#include <stdlib.h>

#include "daemon/http.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char token[CONF_TOKEN_BYTES] = "correct-horse";

/* A decoder of its own, by position rather than by bits. Returns what is behind the first colon, or NULL. */
static char *password_of(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strspn(text, letters), whole = n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
	unsigned char *out = calloc(1, whole + 1);
	assert(out);
	for (size_t i = 0; i < whole * 8; i++) {
		size_t letter = (size_t)(strchr(letters, text[i / 6]) - letters);
		if (letter >> (5 - i % 6) & 1)
			out[i / 8] |= (unsigned char)(0x80 >> i % 8);
	}
	unsigned char *colon = memchr(out, ':', whole);
	char *ret = colon ? calloc(1, whole + 1) : NULL;
	if (ret)
		memcpy(ret, colon + 1, (size_t)(out + whole - colon - 1));
	free(out);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char sent[CONF_TOKEN_BYTES], *text = malloc(size + 1);
	assert(text);
	if (size)
		memcpy(text, data, size);
	text[size] = 0;
	memset(sent, 'x', sizeof sent);
	sent_token(text, sent);
	assert(sent[sizeof sent - 1] == 0);
	bool same = same_token(sent, token);
	assert(same == (memcmp(sent, token, sizeof sent) == 0));
	if (same && strncasecmp(text, "Bearer ", 7) == 0) {
		assert(strcmp(text + 7 + strspn(text + 7, " "), token) == 0);
	} else if (same) {
		assert(strncasecmp(text, "Basic ", 6) == 0);
		char *password = password_of(text + 6 + strspn(text + 6, " "));
		assert(password && strcmp(password, token) == 0);
		free(password);
	}
	free(text);
	return 0;
}
