/* SPDX-License-Identifier: Apache-2.0
 *
 * Replica URLs from nowhere. The parts of what is accepted hold no control characters and its path no `..`;
 * what is shown of it, and every refusal, leaves the password out; a path put behind it is found behind its
 * path. */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "conf/conf.h"
#include "conf/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_clean(const char *text)
{
	for (; *text; text++)
		assert((unsigned char)*text >= ' ' && *text != 0x7f);
}

static void check_path(const struct url *u)
{
	size_t n = strlen(u->path);
	assert(n == 0 || (u->path[0] == '/' && n > 1 && u->path[n - 1] != '/'));
	assert(!strstr(u->path, "/../") && !strstr(u->path, "//") && !strstr(u->path, "/./"));
	assert(n < 3 || strcmp(u->path + n - 3, "/..") != 0);
}

static void check_append(const char *text, const struct url *u)
{
	static const char below[] = "x/a b%.db";
	char longer[URL_BYTES];
	struct url v;
	struct err e = ERR_INIT;
	if (strcmp(u->scheme, "file") == 0 || url_append(longer, text, below) < 0)
		return;
	if (url_parse(longer, &v, &e) < 0)
		return; /* too long for one of its parts */
	size_t n = strlen(v.path), m = strlen(below);
	assert(n > m && strcmp(v.path + n - m, below) == 0 && v.path[n - m - 1] == '/');
	assert(strncmp(v.path, u->path, strlen(u->path)) == 0 && strcmp(v.host, u->host) == 0);
}

/* What is shown does not depend on the password: with any other one in its place it is the same. */
static void check_shown(const char *text)
{
	const char *user = strstr(text, "://") + 3, *end = user + strcspn(user, "/?#"), *at = end;
	char other[URL_BYTES + 8], shown[URL_BYTES], shown_other[URL_BYTES];
	while (at > user && *at != '@')
		at--;
	const char *colon = memchr(user, ':', (size_t)(at - user));
	if (!colon)
		return;
	snprintf(other, sizeof other, "%.*s:another%s", (int)(colon - text), text, at);
	assert(strcmp(url_shown(shown, text), url_shown(shown_other, other)) == 0);
}

static void check_replica_of(const char *text)
{
	struct conf_replica r;
	struct err e = ERR_INIT;
	char shown[PATH_BYTES];
	if (conf_replica_from_text(text, &r, &e) < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		return;
	}
	assert(r.type && r.name && conf_replica_target(&r));
	conf_replica_shown(&r, shown);
	conf_replica_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct url u;
	struct s3_host h;
	char *text = malloc(size + 1), shown[URL_BYTES];
	assert(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = 0;
	url_shown(shown, text);
	if (url_parse(text, &u, &e) == 0) {
		check_clean(u.user);
		check_clean(u.password);
		check_clean(u.host);
		check_clean(u.path);
		check_path(&u);
		check_append(text, &u);
		s3_host_parse(u.host, &h);
		check_shown(text);
	} else {
		assert(e.kind == ERR_CONFIG && e.text[0]);
	}
	check_replica_of(text);
	free(text);
	return 0;
}
