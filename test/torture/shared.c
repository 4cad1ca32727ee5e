/* SPDX-License-Identifier: Apache-2.0
 *
 * The mapped file that all roles share, the first failure in it, and random numbers from a seed.
 *
 * A failure is claimed with one exchange: the first to come writes its text, later ones are only printed. */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct shared *map_file(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0 || ((flags & O_CREAT) && ftruncate(fd, sizeof(struct shared)) < 0)) {
		fprintf(stderr, "torture: %s: %s\n", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		fprintf(stderr, "torture: cannot map %s: %s\n", path, strerror(errno));
		return NULL;
	}
	return p;
}

struct shared *shared_create(const char *path)
{
	return map_file(path, O_RDWR | O_CREAT | O_EXCL);
}

struct shared *shared_map(const char *path)
{
	return map_file(path, O_RDWR);
}

void shared_unmap(struct shared *sh)
{
	if (sh)
		munmap(sh, sizeof *sh);
}

void note_failure(struct shared *sh, const char *fmt, ...)
{
	char text[FAILURE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	uint32_t none = 0;
	if (atomic_compare_exchange_strong(&sh->failed, &none, 1)) {
		memcpy(sh->failure, text, sizeof text);
		atomic_store(&sh->failed, 2);
	}
	fprintf(stderr, "torture: FAILURE (round %u, pid %d): %s\n", sh->config.round, (int)getpid(), text);
}

uint64_t rng_next(uint64_t *state)
{
	/* splitmix64: every seed, 0 included, gives a good sequence. */
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint32_t rng_below(uint64_t *state, uint32_t n)
{
	return n ? (uint32_t)((rng_next(state) >> 32) * n >> 32) : 0;
}

uint32_t rng_around(uint64_t *state, uint32_t mean)
{
	return rng_below(state, mean) + rng_below(state, mean + 1);
}

bool rng_percent(uint64_t *state, uint32_t percent)
{
	return rng_below(state, 100) < percent;
}
