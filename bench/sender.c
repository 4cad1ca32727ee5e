/* SPDX-License-Identifier: Apache-2.0
 *
 * sender N BYTES EVERY_US: the least that sending the same bytes to N others can cost.
 *
 *   1. Listens on a free port of 127.0.0.1 and prints port=; takes N connections.
 *   2. Every EVERY_US it sends BYTES (always the same memory) to each of them, one call each. Nothing is read,
 * kept, numbered, compressed or retried.
 *   3. The end of standard input ends it: sent= bytes, short= calls that could not send all.
 *
 * The reference of bench/followers.py. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "sender: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int listening(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, n) < 0 || listen(fd, 1024) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &n) < 0)
		die("listen");
	printf("port=%d\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: sender N BYTES EVERY_US\n");
		return 2;
	}
	int n = atoi(argv[1]), *fds = calloc((size_t)n, sizeof *fds), from = listening();
	size_t bytes = strtoul(argv[2], NULL, 10);
	char *what = calloc(1, bytes + 1);
	unsigned long long sent = 0, cut = 0;
	if (!fds || !what)
		die("memory");
	for (int i = 0; i < n; i++) {
		struct pollfd p[2] = { { .fd = from, .events = POLLIN },
				       { .fd = STDIN_FILENO, .events = POLLIN } };
		if (poll(p, 2, -1) < 0 || p[1].revents)
			return 1;
		if ((fds[i] = accept(from, NULL, NULL)) < 0)
			die("accept");
	}
	int64_t every_us = strtoll(argv[3], NULL, 10), next_us = mono_us() + every_us;
	for (;; next_us += every_us) {
		struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
		int64_t wait_us = next_us - mono_us();
		if (poll(&p, 1, wait_us > 0 ? (int)((wait_us + 999) / 1000) : 0) > 0)
			break;
		for (int i = 0; i < n; i++) {
			ssize_t k = send(fds[i], what, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += k > 0 ? (unsigned long long)k : 0;
			cut += k != (ssize_t)bytes;
		}
	}
	printf("sent=%llu short=%llu\n", sent, cut);
	return 0;
}
