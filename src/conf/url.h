/* SPDX-License-Identifier: Apache-2.0
 *
 * The URL of a replica: SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH], and what the host of an S3 URL tells. */
#ifndef WB_CONF_URL_H
#define WB_CONF_URL_H

#include <stdbool.h>

#include "base/err.h"

enum { URL_BYTES = 2048 };

/* Parts are NUL-terminated and decoded (%41 is A), except in a file URL. "" when not there. */
struct url {
	char scheme[16];
	char user[256], password[256];
	char host[512];	      /* with :PORT if there is one */
	char path[URL_BYTES]; /* cleaned; with its leading slash; "" for none or the root */
};

bool url_like(const char *text); /* WORD://… */
/* ERR_CONFIG; the text of the error never shows a password. */
int url_parse(const char *text, struct url *ret, struct err *e);
/* The text without what may be a password. Returns buf. */
char *url_shown(char buf[URL_BYTES], const char *text);

/* Puts a path behind that of a URL, before its query; what a URL cannot hold is escaped. -1: too long. */
int url_append(char buf[URL_BYTES], const char *text, const char *relative);

/* What the host of an S3 URL means. Strings are "" when it does not tell. */
struct s3_host {
	char bucket[512], region[128], endpoint[600];
	bool path_style;
};
void s3_host_parse(const char *host, struct s3_host *ret);

#endif
