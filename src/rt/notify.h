/* SPDX-License-Identifier: Apache-2.0
 *
 * Telling the service manager how we are (the protocol of sd_notify): datagrams to the socket that
 * NOTIFY_SOCKET names. Without that variable every call here does nothing and costs nothing. */
#ifndef WB_RT_NOTIFY_H
#define WB_RT_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_bytes;
	int64_t watchdog_us; /* it wants to hear from us in less than this; 0: it does not */
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. 0 also when nobody listens. -1: the variable names a
 * place that cannot be used; *n is as if nobody listened then. */
int notify_open(struct notify *n, struct err *e);
void notify_close(struct notify *n);
static inline bool notify_listens(const struct notify *n)
{
	return n->fd >= 0;
}

/* Assignments with a line feed between them, e.g. "STOPPING=1\nSTATUS=…". Waits up to a quarter of a second
 * when the manager is slow; what it does not take then is lost. false: it is lost. */
bool notify_send(const struct notify *n, const char *assignments);
/* RELOADING=1, with the time that systemd wants beside it; READY=1 ends it. */
bool notify_reloading(const struct notify *n);

#endif
