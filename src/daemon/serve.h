/* SPDX-License-Identifier: Apache-2.0
 *
 * The handlers of /stream and /hashes (daemon/http.h, docs/live.md). What the loop and a database tell each
 * other of followers is in daemon/managed.h. */
#ifndef WB_DAEMON_SERVE_H
#define WB_DAEMON_SERVE_H

#include "daemon/parts.h"
#include "net/httpd.h"

void serve_stream(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret);
void serve_hashes(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret);
size_t serve_body_most(struct daemon *d,
		       const struct httpd_request *q); /* a bit for each page, and some more */
void serve_close(struct daemon *d);		       /* after all databases */

#endif
