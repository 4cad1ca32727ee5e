/* SPDX-License-Identifier: Apache-2.0
 *
 * Two of the pages of `addr`: /metrics (Prometheus text format 0.0.4, the names of Litestream 0.3.13 and ours)
 * and /healthz. docs/metrics.md lists them. */
#ifndef WB_DAEMON_METRICS_H
#define WB_DAEMON_METRICS_H

#include "base/buf.h"
#include "daemon/parts.h"
#include "net/httpd.h"

/* Handlers (daemon/http.h). */
void metrics_answer(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret);
void metrics_answer_health(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret);

/* The two bodies, for tests as well. metrics_health gives whether all is well. -1: no memory, or too many. */
int metrics_write(const struct daemon *d, struct dyn *to);
bool metrics_health(const struct daemon *d, struct dyn *to);

#endif
