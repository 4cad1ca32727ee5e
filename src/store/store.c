/* SPDX-License-Identifier: Apache-2.0
 *
 * Stores: see store.h. A URL is split at `://`, its scheme found in a table, and the backend of that row
 * opened.
 *
 * A file URL means the directory that the original takes it for, so that replicas written by it are found:
 *   - what follows the scheme is the path, the host too: file://a/b is /a/b;
 *   - percent escapes are kept as they are: file:///a%20b is the directory "a%20b";
 *   - a path with a character that a URL cannot hold (a space, a letter beyond ASCII) is decoded and escaped
 * again as a whole: file:///a b is the directory "a%20b" as well;
 *   - a query is part of the path.
 * A plain path is taken literally, with ~ expanded.
 *
 * Failure modes: no scheme, an unknown one, or one that this version cannot serve: ERR_CONFIG with a sentence.
 * User names and passwords in a URL, and what follows a `?`, are never repeated in a message. */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_file_url(const char *rest, const char *shown, const struct owner *owner, struct store **ret,
			 struct err *e);

/* One row for each scheme; no `open`: known, and not served by this version. */
static const struct {
	const char *scheme;
	int (*open)(const char *rest, const char *shown, const struct owner *owner, struct store **ret,
		    struct err *e);
} schemes[] = {
	{ "file", open_file_url }, { "s3", NULL },   { "gcs", NULL }, { "gs", NULL },
	{ "abs", NULL },	   { "sftp", NULL },
};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

static bool url_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool url_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Length of the scheme of a URL; 0 if it is a plain path. */
static size_t scheme_length(const char *url)
{
	size_t n = 0;
	while (url_letter(url[n]) || url_digit(url[n]) || strchr("+-._", url[n] ? url[n] : '/'))
		n++;
	return n > 0 && strncmp(url + n, "://", 3) == 0 ? n : 0;
}

/* The URL for messages: without user, password and query. A password with a `/` in it does not end where a URL
 * says that it does; so a `:` without an `@` makes all before the last `@` a secret. */
static void url_without_secrets(char *buf, size_t size, const char *url)
{
	size_t scheme = scheme_length(url);
	const char *rest = scheme ? url + scheme + 3 : url, *host = rest;
	size_t host_end = strcspn(rest, "/?#");
	const char *at = strrchr(rest, '@');
	bool in_host = memchr(rest, '@', host_end) != NULL;
	for (size_t i = 0; in_host && i < host_end; i++)
		if (rest[i] == '@')
			host = rest + i + 1;
	if (scheme && !in_host && at && memchr(rest, ':', host_end))
		host = at + 1;
	if (!scheme)
		host = rest;
	snprintf(buf, size, "%.*s%.*s", (int)(rest - url), url, (int)strcspn(host, "?#"), host);
}

static int hex_digit(char c)
{
	return url_digit(c)	      ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* May stand in the path of a URL as it is: unreserved, reserved but for ? and #, and the percent sign. */
static bool url_path_char(char c)
{
	return url_letter(c) || url_digit(c) || (c && strchr("-_.~$&+,/:;=@!'()*[]%", c));
}

/* The path of a file URL as the original names the directory (see the top). buf: PATH_BYTES. */
static int url_path(char *buf, const char *path, size_t n, const char *shown, struct err *e)
{
	bool as_is = true;
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)path[i];
		if (c < ' ' || c == 0x7f)
			return err_set(e, ERR_CONFIG, "%s: a URL cannot hold control characters", shown);
		if (c == '%' && (i + 2 >= n || hex_digit(path[i + 1]) < 0 || hex_digit(path[i + 2]) < 0))
			return err_set(e, ERR_CONFIG,
				       "%s: %% must be followed by two hexadecimal digits in a URL", shown);
		as_is = as_is && url_path_char(path[i]);
	}
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)path[i];
		if (out + 4 > PATH_BYTES)
			return err_set(e, ERR_CONFIG, "%.200s…: path is longer than %d bytes", shown,
				       PATH_BYTES - 1);
		if (!as_is && c == '%') {
			c = (unsigned char)(hex_digit(path[i + 1]) << 4 | hex_digit(path[i + 2]));
			i += 2;
		}
		if (c == 0)
			return err_set(e, ERR_CONFIG, "%s: a path cannot hold a zero byte", shown);
		if (as_is || url_letter((char)c) || url_digit((char)c) || strchr("-_.~$&+,/:;=@", c))
			buf[out++] = (char)c;
		else
			out += (size_t)snprintf(buf + out, 4, "%%%02X", c);
	}
	buf[out] = 0;
	return 0;
}

static int open_file_url(const char *rest, const char *shown, const struct owner *owner, struct store **ret,
			 struct err *e)
{
	char path[PATH_BYTES], whole[2 * PATH_BYTES], root[PATH_BYTES];
	size_t n = strcspn(rest, "?#");
	const char *at = strchr(rest, '@');
	if (at && (size_t)(at - rest) < strcspn(rest, "/?#"))
		return err_set(e, ERR_CONFIG, "%s: a file URL names no user; write file:///path", shown);
	if (!*rest)
		return err_set(e, ERR_CONFIG, "%s: names no directory; write file:///path", shown);
	if (url_path(path, rest, n, shown, e) < 0)
		return -1;
	int len = snprintf(whole, sizeof whole, "/%s%s", path, rest + n);
	if (len < 0 || (size_t)len >= sizeof whole)
		return err_set(e, ERR_CONFIG, "%.200s…: path is longer than %d bytes", shown, PATH_BYTES - 1);
	if (path_absolute(root, whole, e) < 0)
		return -1;
	return store_file_open(root, owner, ret, e);
}

/* "file, s3" of the rows that can be opened. */
static const char *served(char *buf, size_t size)
{
	size_t n = 0;
	buf[0] = 0;
	for (size_t i = 0; i < SCHEMES && n < size; i++)
		if (schemes[i].open)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", schemes[i].scheme);
	return buf;
}

int store_open(const char *url, bool allow_plain, const struct owner *owner, struct store **ret, struct err *e)
{
	char shown[512], known[128], root[PATH_BYTES];
	size_t n = scheme_length(url);
	url_without_secrets(shown, sizeof shown, url);
	if (n == 0 && !allow_plain)
		return err_set(e, ERR_CONFIG,
			       "replica URL has no scheme: %s; a directory is written file:///path", shown);
	if (n == 0)
		return path_absolute(root, url, e) < 0 ? -1 : store_file_open(root, owner, ret, e);
	for (size_t i = 0; i < SCHEMES; i++) {
		if (strlen(schemes[i].scheme) != n || strncmp(schemes[i].scheme, url, n) != 0)
			continue;
		if (schemes[i].open)
			return schemes[i].open(url + n + 3, shown, owner, ret, e);
		return err_set(e, ERR_CONFIG, "%s: this version cannot use %s replicas yet; it can use: %s",
			       shown, schemes[i].scheme, served(known, sizeof known));
	}
	return err_set(e, ERR_CONFIG, "unknown replica URL scheme \"%.*s\" in %s; this build knows: %s",
		       n > 64 ? 64 : (int)n, url, shown, served(known, sizeof known));
}

void store_close(struct store *s)
{
	if (s)
		s->ops->close(s);
}

int store_put_bytes(struct store *s, const char *key, struct span bytes, struct err *e)
{
	struct store_put *p;
	if (s->ops->put_begin(s, key, &p, e) < 0)
		return -1;
	if (s->ops->put_write(p, bytes, e) < 0) {
		s->ops->put_abort(p);
		return -1;
	}
	return s->ops->put_commit(p, e);
}

int store_get_bytes(struct store *s, const char *key, struct dyn *to, struct err *e)
{
	enum { PIECE_BYTES = 16 * 1024 };
	uint8_t piece[PIECE_BYTES];
	struct store_get *g;
	size_t before = to->len;
	long n;
	if (s->ops->get_begin(s, key, 0, &g, e) < 0)
		return -1;
	while ((n = s->ops->get_read(g, piece, sizeof piece, e)) > 0) {
		if (dyn_add(to, piece, (size_t)n) == 0)
			continue;
		n = err_set(e, ERR_FAIL,
			    "%s/%s: larger than the %zu bytes that are read of such an object, or no memory",
			    s->label, key, to->max);
		break;
	}
	s->ops->get_end(g);
	if (n < 0)
		to->len = before;
	return n < 0 ? -1 : 0;
}
