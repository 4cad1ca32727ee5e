/* SPDX-License-Identifier: Apache-2.0
 *
 * The control socket: status, sync and reload for the owner of the daemon (docs/control.md). On the loop; a
 * client that is slow, stuck or hostile costs a bounded amount of memory and nobody any time. */
#ifndef WB_DAEMON_CONTROL_H
#define WB_DAEMON_CONTROL_H

#include "daemon/parts.h"

/* Opens the socket of the configuration, else the first of the usual places that can be had. No usual place is
 * to be had, or another daemon of the same user answers there: that is said in the log, and d->control stays
 * NULL. -1: the place that the configuration names cannot be had. */
int control_open(struct daemon *d, struct err *e);
void control_close(struct daemon *d); /* removes it; who still waits is told so */

#endif
