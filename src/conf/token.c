/* SPDX-License-Identifier: Apache-2.0
 *
 * The token that the HTTP server asks for, from the file that `token-file` names.
 *
 *   1. the file is read whole; it has at most CONF_TOKEN_BYTES
 *   2. one line feed (or CR LF) behind the token does not belong to it
 *   3. what is left must be one word of visible ASCII, because it travels in a header, and long enough that
 * nobody guesses it
 *
 * Failure modes: each names the file and what to do, and never shows what is in it. */
#include "conf/conf.h"

#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

enum { TOKEN_LEAST_CHARS = 16 };

static int check_token(const char *path, const char *token, size_t n, struct err *e)
{
	const char *how = "make one with: head -c 24 /dev/urandom | base64";
	if (n == 0)
		return err_set(e, ERR_CONFIG, "token-file %s is empty; %s", path, how);
	for (size_t i = 0; i < n; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return err_set(e, ERR_CONFIG,
				       "token-file %s must hold one word of visible ASCII on one line; %s",
				       path, how);
	if (n < TOKEN_LEAST_CHARS)
		return err_set(e, ERR_CONFIG, "token-file %s holds fewer than %d characters; %s", path,
			       TOKEN_LEAST_CHARS, how);
	return 0;
}

static int read_token(const char *path, char buf[CONF_TOKEN_BYTES], struct err *e)
{
	struct dyn b = DYN_INIT(CONF_TOKEN_BYTES + 2);
	int rc = file_read_all(path, &b, e);
	if (rc < 0)
		e->kind = ERR_CONFIG;
	size_t n = b.len;
	n -= rc == 0 && n > 0 && b.p[n - 1] == '\n';
	n -= rc == 0 && n > 0 && n < b.len && b.p[n - 1] == '\r';
	if (rc == 0 && n >= CONF_TOKEN_BYTES)
		rc = err_set(e, ERR_CONFIG, "token-file %s is larger than %d bytes", path,
			     CONF_TOKEN_BYTES - 1);
	if (rc == 0 && (rc = check_token(path, (const char *)b.p, n, e)) == 0) {
		memcpy(buf, b.p, n);
		buf[n] = 0;
	}
	if (b.p)
		explicit_bzero(b.p, b.len);
	dyn_free(&b);
	return rc;
}

int conf_token_of(const char *path, char buf[CONF_TOKEN_BYTES], bool *ret_open, struct err *e)
{
	struct stat st;
	if (read_token(path, buf, e) < 0)
		return -1;
	*ret_open = stat(path, &st) == 0 && (st.st_mode & S_IROTH);
	return 0;
}

int conf_token(const struct conf *c, char buf[CONF_TOKEN_BYTES], bool *ret_open, struct err *e)
{
	if (!c->token_file)
		return err_set(e, ERR_CONFIG, "no token-file is configured");
	return conf_token_of(c->token_file, buf, ret_open, e);
}
