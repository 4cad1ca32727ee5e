/* SPDX-License-Identifier: Apache-2.0
 *
 * What `addr` serves: one table of paths (http.c), and the one place that decides who may have what.
 *
 * To add a page: a function below as its handler, and a row in the table. The handler is called only for
 * methods that its row names and peers that have access, on the loop's thread. docs/live.md lists the paths. */
#ifndef WB_DAEMON_HTTP_H
#define WB_DAEMON_HTTP_H

#include "daemon/parts.h"
#include "net/httpd.h"

struct http;

enum { HTTP_GET = 1, HTTP_POST = 2 }; /* GET: HEAD as well, unless the body has no end */

/* Fills *ret: body, or stream, or later (net/httpd.h). */
typedef void http_handler(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret);

struct http_route {
	const char *path; /* exactly */
	http_handler *answer;
	unsigned methods;
	bool open;    /* to everybody, without a token */
	bool endless; /* no HEAD */
	/* Bytes that a POST may bring; NULL: none are read. */
	size_t (*body_most)(struct daemon *d, const struct httpd_request *q);
	const char *if_not; /* what is said when another method is used; NULL: "only GET is served here" */
};

/* Serves on the address of the configuration; without one *ret is NULL. An address that is not to be had (yet)
 * is said in the log and tried again: a backup does not fail for want of it. -1: no memory. */
int http_open(struct daemon *d, struct http **ret, struct err *e);
/* The configuration is another one: begins anew only if what concerns it has changed. */
void http_again(struct http **h, struct daemon *d);
void http_close(struct http *h); /* NULL is fine */

/* One line of text with its status; for handlers. */
void http_say(struct httpd_answer *ret, unsigned status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether somebody may follow what is served: the address is there. */
bool http_serves(const struct daemon *d);

#endif
