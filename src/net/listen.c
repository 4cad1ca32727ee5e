/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening on an address: see listen.h.
 *
 * Happy path: the address is split, looked up, and bound by ourselves, so that errors are ours to explain.
 *
 * Failure modes: not an address; a name that is not found; a port that is taken; no right to it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* IPv6 macros */
#endif
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 512 };

int httpd_address(const char *address, char host[HTTPD_HOST_BYTES], unsigned *ret_port, struct err *e)
{
	const char *colon = strrchr(address, ':');
	const char *from = address, *to = colon;
	if (!colon || (address[0] != '[' && memchr(address, ':', (size_t)(colon - address))))
		return err_set(e, ERR_CONFIG,
			       "must specify port for bind address: \"%.100s\"; for example :9090 or "
			       "127.0.0.1:9090",
			       address);
	if (address[0] == '[') {
		if (colon == address || colon[-1] != ']')
			return err_set(e, ERR_CONFIG,
				       "must specify port for bind address: \"%.100s\"; for example "
				       "[::1]:9090",
				       address);
		from++;
		to--;
	}
	size_t port_chars = strlen(colon + 1), host_chars = (size_t)(to - from);
	if (port_chars == 0 || port_chars > 5 || strspn(colon + 1, "0123456789") != port_chars ||
	    (*ret_port = (unsigned)strtoul(colon + 1, NULL, 10)) > 65535)
		return err_set(e, ERR_CONFIG, "\"%.20s\" is not a port number in the bind address \"%.100s\"",
			       colon + 1, address);
	if (host_chars >= HTTPD_HOST_BYTES)
		return err_set(e, ERR_CONFIG, "the bind address \"%.100s\" is too long", address);
	memcpy(host, from, host_chars);
	host[host_chars] = 0;
	return 0;
}

bool listen_is_loopback(const struct sockaddr *a)
{
	if (a->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24) == 127;
	if (a->sa_family != AF_INET6)
		return false;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

static int bind_one(const struct addrinfo *a)
{
	int on = 1, off = 0;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	int sys = errno;
	close(fd);
	errno = sys;
	return -1;
}

/* Of several addresses of a name the first that can be had; for all interfaces IPv6 first, which takes IPv4
 * too. */
int listen_on(const char *address, struct err *e)
{
	char host[HTTPD_HOST_BYTES], service[8];
	unsigned port;
	if (httpd_address(address, host, &port, e) < 0)
		return -1;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV }, *list;
	snprintf(service, sizeof service, "%u", port);
	int gai = getaddrinfo(*host ? host : "::", service, &hints, &list);
	if (gai != 0)
		return err_set(e, ERR_CONFIG, "the bind address \"%.100s\" cannot be found: %s", address,
			       gai_strerror(gai));
	int fd = -1, sys = EADDRNOTAVAIL;
	for (const struct addrinfo *a = list; fd < 0 && a; a = a->ai_next)
		if ((fd = bind_one(a)) < 0)
			sys = errno;
	freeaddrinfo(list);
	if (fd < 0 && !*host && sys != EADDRINUSE) { /* a machine without IPv6 */
		struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
		struct addrinfo four = { .ai_family = AF_INET,
					 .ai_addr = (struct sockaddr *)(void *)&any,
					 .ai_addrlen = sizeof any };
		if ((fd = bind_one(&four)) < 0)
			sys = errno;
	}
	if (fd >= 0)
		return fd;
	if (sys == EADDRINUSE)
		return err_set(e, ERR_BUSY, "%s: another program listens there", address);
	return err_set(e, ERR_UNREACHABLE, "%s: cannot listen: %s", address, strerror(sys));
}
