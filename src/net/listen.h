/* SPDX-License-Identifier: Apache-2.0
 *
 * A listening socket from an address as people write it (httpd_address in net/httpd.h splits it). */
#ifndef WB_NET_LISTEN_H
#define WB_NET_LISTEN_H

#include <stdbool.h>

#include "base/err.h"
#include "net/httpd.h"

struct sockaddr;

/* The descriptor, non-blocking, or -1 with *e as httpd_open says. */
int listen_on(const char *address, struct err *e);
bool listen_is_loopback(const struct sockaddr *a);

#endif
