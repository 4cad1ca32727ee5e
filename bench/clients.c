/* SPDX-License-Identifier: Apache-2.0
 *
 * clients PORT N READY_BYTES [TARGET]: many who only receive, as cheaply as that can be done.
 *
 *   1. N connections to 127.0.0.1:PORT, each of which asks for TARGET (none: says nothing). Not more than 200
 * at a time ask and wait for their content, because a primary lets only so many stand in line.
 *   2. What comes is counted and thrown away in the kernel (MSG_TRUNC), not copied. After each look there is a
 * pause of 20 ms, so that what comes to one socket in pieces costs one call.
 *   3. For each line on standard input one line: bytes= (in all), ready= (connections that got READY_BYTES at
 * least), closed=, cpu_secs= (of this process). The end of the input ends it.
 *
 * It stands for processes on other machines, so it must not take from the two programs that are compared what
 * they would not have shared with it: run it with nice 19. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { PAUSE_MS = 20, EVENTS = 1024, TAKE_BYTES = 8 << 20, AT_ONCE = 200 };

static struct {
	int epoll, want, n, open, ready;
	uint64_t bytes, ready_bytes, *of; /* by descriptor */
	size_t fds;
} c;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "clients: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void connect_one(int port, const char *request)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	if (*request && send(fd, request, strlen(request), 0) != (ssize_t)strlen(request))
		die("send");
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };
	if (epoll_ctl(c.epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll");
	if ((size_t)fd >= c.fds) {
		c.of = realloc(c.of, (size_t)(fd + 256) * sizeof *c.of);
		if (!c.of)
			die("memory");
		memset(c.of + c.fds, 0, ((size_t)fd + 256 - c.fds) * sizeof *c.of);
		c.fds = (size_t)fd + 256;
	}
	c.open++;
}

static void connect_more(int port, const char *request)
{
	for (; c.n < c.want && (!*request || c.n - c.ready < AT_ONCE); c.n++)
		connect_one(port, request);
}

static void take(int fd)
{
	ssize_t n = recv(fd, NULL, TAKE_BYTES, MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close(fd);
		c.open--;
		c.ready -= c.of[fd] >= c.ready_bytes;
		return;
	}
	c.bytes += (uint64_t)n;
	c.ready += c.of[fd] < c.ready_bytes && c.of[fd] + (uint64_t)n >= c.ready_bytes;
	c.of[fd] += (uint64_t)n;
}

static void take_all(int wait_ms)
{
	static struct epoll_event v[EVENTS];
	int n = epoll_wait(c.epoll, v, EVENTS, wait_ms);
	for (int i = 0; i < n; i++)
		take(v[i].data.fd);
}

/* False at the end of the input. */
static bool answer(void)
{
	char line[64];
	struct rusage u;
	ssize_t n = read(STDIN_FILENO, line, sizeof line);
	if (n <= 0)
		return false;
	take_all(0);
	getrusage(RUSAGE_SELF, &u);
	printf("bytes=%llu ready=%d closed=%d cpu_secs=%.4f\n", (unsigned long long)c.bytes, c.ready,
	       c.n - c.open,
	       (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6);
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	char request[4096] = "";
	struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };
	if (argc < 4) {
		fprintf(stderr, "usage: clients PORT N READY_BYTES [TARGET]\n");
		return 2;
	}
	if (argc > 4)
		snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", argv[4]);
	c.ready_bytes = strtoull(argv[3], NULL, 10);
	c.epoll = p[1].fd = epoll_create1(EPOLL_CLOEXEC);
	c.want = atoi(argv[2]);
	for (;;) {
		connect_more(atoi(argv[1]), request);
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			die("poll");
		if (p[0].revents && !answer())
			return 0;
		if (p[1].revents)
			take_all(0);
		sleep_us((int64_t)PAUSE_MS * 1000);
	}
}
