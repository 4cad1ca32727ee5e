/* SPDX-License-Identifier: Apache-2.0
 *
 * The page for people at GET /: databases, replicas, followers and what is followed, as of now. One text
 * without anything from elsewhere, complete without its script, which only brings the same page again every two
 * seconds. */
#ifndef WB_DAEMON_PAGE_H
#define WB_DAEMON_PAGE_H

#include "base/buf.h"
#include "daemon/parts.h"

enum {
	PAGE_DATABASES_MOST = 200, /* rows of more would help nobody; those that need somebody come first */
};

/* The whole page. -1: no memory, or too large. */
int page_write(const struct daemon *d, struct dyn *to);
/* Of the Content-Security-Policy: what its style and script are. */
const char *page_csp(void);

#endif
