/* SPDX-License-Identifier: Apache-2.0
 *
 * What `addr` serves: /metrics (Prometheus text format 0.0.4, the names of Litestream 0.3.13 and ours) and
 * /healthz. docs/metrics.md lists them. */
#ifndef WB_DAEMON_METRICS_H
#define WB_DAEMON_METRICS_H

#include "base/buf.h"
#include "daemon/parts.h"

struct metrics;

/* Serves on the address of the configuration; without one *ret is NULL. An address that is not to be had (yet)
 * is said in the log and tried again: a backup does not fail for want of metrics. -1: no memory. */
int metrics_open(struct daemon *d, struct metrics **ret, struct err *e);
void metrics_close(struct metrics *m);

/* The two bodies, for tests as well. metrics_health gives whether all is well. -1: no memory, or too many. */
int metrics_write(const struct daemon *d, struct dyn *to);
bool metrics_health(const struct daemon *d, struct dyn *to);

#endif
