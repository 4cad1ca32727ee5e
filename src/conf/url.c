/* SPDX-License-Identifier: Apache-2.0
 *
 * Replica URLs, read as Litestream 0.3 does:
 *
 *   1. the scheme ends at `://`, the authority at the next `/`; query and fragment are ignored
 *   2. user and password stand before the last `@` of the authority; they and the path are percent-decoded
 *   3. the path is cleaned lexically (`//`, `.`, `..`)
 *   4. a file URL has no authority: all that follows the scheme is the path, with its escapes and its query as
 * they stand (file:///a%20b is the directory `a%20b`); when it holds a character that a URL cannot hold, a
 * space or a letter outside ASCII, it is escaped as a whole (file:///a b is the directory `a%20b` as well).
 * store/store.c reads them in the same way
 *   5. the host of an S3 URL may name a provider that needs an endpoint of its own; otherwise it is the bucket
 *
 * Failure modes: escapes that are not hexadecimal, control characters, parts that are too long. Whatever may be
 * a password is left out of every text. Pure, no allocation. */
#include "conf/url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static size_t scheme_chars(const char *text)
{
	size_t n = 0;
	while (text[n] == '_' || isalnum((unsigned char)text[n]))
		n++;
	return n;
}

bool url_like(const char *text)
{
	size_t n = scheme_chars(text);
	return n > 0 && strncmp(text + n, "://", 3) == 0;
}

char *url_shown(char buf[URL_BYTES], const char *text)
{
	const char *slashes = strstr(text, "://"), *at = strrchr(text, '@');
	const char *colon =
		slashes && at && at > slashes ? memchr(slashes + 3, ':', (size_t)(at - slashes - 3)) : NULL;
	if (colon && colon < at)
		snprintf(buf, URL_BYTES, "%.*s:***%s", (int)(colon - text), text, at);
	else
		snprintf(buf, URL_BYTES, "%s", text);
	return buf;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

/* Decodes n bytes into a field. Returns what is wrong, NULL if nothing is. */
static const char *decode(char *to, size_t size, const char *from, size_t n)
{
	size_t len = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)from[i];
		if (c == '%') {
			int high = n - i > 2 ? hex_value(from[i + 1]) : -1,
			    low = n - i > 2 ? hex_value(from[i + 2]) : -1;
			if (high < 0 || low < 0)
				return "% must be followed by two hexadecimal digits (write %25 for the "
				       "character itself)";
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		if (c < ' ' || c == 0x7f)
			return "it contains a control character";
		if (len + 1 >= size)
			return "a part of it is too long";
		to[len++] = (char)c;
	}
	to[len] = 0;
	return NULL;
}

/* Lexically: no empty, `.` or `..` components; the leading slash stays; the root becomes "". */
static void clean(char *path)
{
	char *to = path;
	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		size_t n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.')) {
			p += n;
			continue;
		}
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (to > path && *--to != '/')
				;
			p += n;
			continue;
		}
		*to++ = '/';
		memmove(to, p, n);
		to += n;
		p += n;
	}
	*to = 0;
}

/* May stand in the path of a URL as it is. */
static bool path_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("-_.~$&+,/:;=@!'()*[]%", c));
}

/* Step 4. Everything behind the scheme but the query, if it is a valid path; else decoded and encoded anew. */
static const char *file_url(const char *rest, struct url *u)
{
	size_t n = strcspn(rest, "?#"), len = 1;
	char plain[URL_BYTES];
	const char *why = decode(plain, sizeof plain, rest, n);
	bool as_is = true;
	if (why)
		return why;
	for (size_t i = 0; i < n; i++)
		as_is = as_is && path_char(rest[i]);
	u->path[0] = '/';
	for (const char *p = as_is ? rest : plain; as_is ? p < rest + n : *p != 0; p++) {
		if (len + 4 > sizeof u->path)
			return "a part of it is too long";
		if (as_is || isalnum((unsigned char)*p) || strchr("-_.~$&+,/:;=@", *p))
			u->path[len++] = *p;
		else
			len += (size_t)snprintf(u->path + len, 4, "%%%02X", (unsigned)(unsigned char)*p);
	}
	u->path[len] = 0;
	for (const char *p = rest + n; rest[n] == '?' && *p && *p != '#'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return "it contains a control character";
		if (len + 1 >= sizeof u->path)
			return "a part of it is too long";
		u->path[len++] = *p;
	}
	u->path[len] = 0;
	clean(u->path);
	return u->path[0] ? NULL : "it names the root directory, not a directory of its own";
}

static const char *remote_url(const char *rest, struct url *u)
{
	size_t all = strcspn(rest, "?#"), authority = strcspn(rest, "/?#");
	const char *why, *host = rest;
	for (const char *p = rest; p < rest + authority; p++)
		if (*p == '@')
			host = p + 1;
	if (host > rest) {
		size_t n = (size_t)(host - 1 - rest);
		const char *colon = memchr(rest, ':', n);
		size_t user = colon ? (size_t)(colon - rest) : n;
		if ((why = decode(u->user, sizeof u->user, rest, user)))
			return why;
		if (colon && (why = decode(u->password, sizeof u->password, colon + 1, n - user - 1)))
			return why;
	}
	if ((why = decode(u->host, sizeof u->host, host, authority - (size_t)(host - rest))))
		return why;
	if ((why = decode(u->path, sizeof u->path, rest + authority, all - authority)))
		return why;
	clean(u->path);
	return NULL;
}

int url_parse(const char *text, struct url *ret, struct err *e)
{
	char shown[URL_BYTES];
	size_t n = scheme_chars(text);
	*ret = (struct url){ 0 };
	url_shown(shown, text);
	if (!url_like(text))
		return err_set(e, ERR_CONFIG,
			       "\"%.200s\" is not a URL: it does not begin with file://, s3:// or the like",
			       shown);
	if (strlen(text) >= URL_BYTES || n >= sizeof ret->scheme)
		return err_set(e, ERR_CONFIG, "the URL \"%.60s…\" is too long", shown);
	memcpy(ret->scheme, text, n);
	const char *why =
		strcmp(ret->scheme, "file") ? remote_url(text + n + 3, ret) : file_url(text + n + 3, ret);
	if (why)
		return err_set(e, ERR_CONFIG, "the URL \"%.200s\" cannot be used: %s", shown, why);
	return 0;
}

int url_append(char buf[URL_BYTES], const char *text, const char *relative)
{
	size_t end = strcspn(text, "?#"), n = end;
	if (end >= URL_BYTES)
		return -1;
	memcpy(buf, text, end);
	while (n > 0 && buf[n - 1] == '/')
		n--;
	buf[n++] = '/';
	for (const char *p = relative; *p; p++) {
		if (n + 4 > URL_BYTES)
			return -1;
		if (isalnum((unsigned char)*p) || strchr("-_.~$&+,/:;=@", *p))
			buf[n++] = *p;
		else
			n += (size_t)snprintf(buf + n, 4, "%%%02X", (unsigned)(unsigned char)*p);
	}
	int rest = snprintf(buf + n, URL_BYTES - n, "%s", text + end);
	return rest < 0 || (size_t)rest >= URL_BYTES - n ? -1 : 0;
}

static void set(char *to, size_t size, const char *from, size_t n)
{
	snprintf(to, size, "%.*s", (int)n, from);
}

/* Providers whose host names tell bucket and region: [BUCKET.]PREFIX REGION SUFFIX, REGION without dots. */
static const struct {
	const char *prefix, *suffix;
	bool has_region;
} providers[] = {
	{ "s3.", ".backblazeb2.com", true },	 { "s3.filebase.com", "", false },
	{ "", ".digitaloceanspaces.com", true }, { "s3.", ".scw.cloud", true },
	{ "", ".linodeobjects.com", true },
};

/* Where in a host of n bytes the part of the provider starts. false: it is not his. */
static bool provider_at(size_t i, const char *host, size_t n, size_t *ret_start, size_t *ret_region,
			size_t *ret_region_n)
{
	size_t pn = strlen(providers[i].prefix), sn = strlen(providers[i].suffix);
	if (n < pn + sn || memcmp(host + n - sn, providers[i].suffix, sn) != 0)
		return false;
	size_t region = n - sn, region_n = 0;
	while (providers[i].has_region && region > 0 && host[region - 1] != '.') {
		region--;
		region_n++;
	}
	if (region < pn || memcmp(host + region - pn, providers[i].prefix, pn) != 0)
		return false;
	*ret_start = region - pn;
	*ret_region = region;
	*ret_region_n = region_n;
	return (*ret_start == 0 || host[*ret_start - 1] == '.') && (region_n > 0 || !providers[i].has_region);
}

void s3_host_parse(const char *host, struct s3_host *ret)
{
	const char *port = strrchr(host, ':');
	size_t n = port ? (size_t)(port - host) : strlen(host), start, region, region_n;
	*ret = (struct s3_host){ 0 };
	if (n >= 9 && memcmp(host + n - 9, "localhost", 9) == 0 && (n == 9 || host[n - 10] == '.')) {
		set(ret->bucket, sizeof ret->bucket, host, n > 9 ? n - 10 : 0);
		snprintf(ret->region, sizeof ret->region, "us-east-1");
		snprintf(ret->endpoint, sizeof ret->endpoint, "http://localhost%s", port ? port : "");
		ret->path_style = true;
		return;
	}
	for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
		if (!provider_at(i, host, n, &start, &region, &region_n))
			continue;
		set(ret->bucket, sizeof ret->bucket, host, start > 0 ? start - 1 : 0);
		set(ret->region, sizeof ret->region, host + region, region_n);
		snprintf(ret->endpoint, sizeof ret->endpoint, "https://%.*s%s", (int)(n - start), host + start,
			 port ? port : "");
		ret->path_style = true;
		return;
	}
	set(ret->bucket, sizeof ret->bucket, host, n);
}
