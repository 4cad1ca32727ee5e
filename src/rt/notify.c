/* SPDX-License-Identifier: Apache-2.0
 *
 * The service manager: see notify.h.
 *
 * NOTIFY_SOCKET is a path, or `@` and a name in the abstract name space (no file; the @ stands for a zero
 * byte). Each message is one datagram; nobody answers.
 *
 * Failure modes: a name that is too long or of another kind (vsock:) is an error of notify_open; a manager that
 * has gone or does not read loses messages, which is nobody's error. */
#include "rt/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"

enum { SEND_MOST_US = 250000 };

static int64_t number_of(const char *text)
{
	char *end;
	if (!text || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	return *end || errno ? 0 : v;
}

static int64_t watchdog_us(void)
{
	const char *pid = getenv("WATCHDOG_PID");
	return pid && number_of(pid) != getpid() ? 0 : number_of(getenv("WATCHDOG_USEC"));
}

static int address(struct notify *n, const char *name, struct err *e)
{
	size_t len = strlen(name);
	if (*name != '/' && *name != '@')
		return err_set(e, ERR_CONFIG,
			       "NOTIFY_SOCKET=%s: only paths and abstract sockets (@name) are known", name);
	if (len >= sizeof n->to.sun_path || len < 2)
		return err_set(e, ERR_CONFIG, "NOTIFY_SOCKET=%s: is not the name of a socket", name);
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, name, len);
	if (*name == '@')
		n->to.sun_path[0] = 0;
	/* An abstract name ends with the address, a path with its zero byte. */
	n->to_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
	return 0;
}

int notify_open(struct notify *n, struct err *e)
{
	const char *name = getenv("NOTIFY_SOCKET");
	*n = (struct notify){ .fd = -1 };
	if (!name || !*name)
		return 0;
	if (address(n, name, e) < 0)
		return -1;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		return err_sys(e, errno, "cannot make a socket for the service manager");
	struct timeval most = { .tv_usec = SEND_MOST_US };
	setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
	n->watchdog_us = watchdog_us();
	return 0;
}

void notify_close(struct notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	*n = (struct notify){ .fd = -1 };
}

bool notify_send(const struct notify *n, const char *assignments)
{
	ssize_t rc;
	if (n->fd < 0)
		return true;
	do
		rc = sendto(n->fd, assignments, strlen(assignments), MSG_NOSIGNAL,
			    (const struct sockaddr *)(const void *)&n->to, n->to_bytes);
	while (rc < 0 && errno == EINTR);
	return rc >= 0;
}

bool notify_reloading(const struct notify *n)
{
	char text[80];
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, mono_us());
	return notify_send(n, text);
}
