/* SPDX-License-Identifier: Apache-2.0
 *
 * onepass REPLICA OUT: the least that a restore of WAL has to do, on one core, as the reference for `walbrook
 * restore`.
 *
 *   1. Snapshot: liblz4's frame decoder, into an image of the database in memory.
 *   2. Each segment in order: decode, verify the WAL checksum chain, copy each frame's page into the image.
 *   3. pwrite of the image, then fsync.
 *
 * It looks for nothing else: no holes, no names, no temporary file, and memory for everything at once. One
 * line: wal_bytes=, secs= (1 to 3 without the fsync), fsync_secs=. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/wal.h"

enum { PLAIN_MAX_BYTES = 1 << 30 };

struct pass {
	uint8_t *stored, *plain, *image;
	size_t stored_cap, image_bytes;
	LZ4F_dctx *lz4;
	struct wal_chain chain;
	uint64_t wal_bytes;
};

static void die(const char *what, const char *path)
{
	fprintf(stderr, "onepass: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

static size_t read_file(struct pass *p, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		die("cannot open", path);
	size_t n = (size_t)st.st_size, at = 0;
	if (n > p->stored_cap) {
		p->stored = realloc(p->stored, n);
		p->stored_cap = n;
	}
	for (ssize_t got; p->stored && at < n && (got = read(fd, p->stored + at, n - at)) > 0;)
		at += (size_t)got;
	close(fd);
	if (at != n)
		die("cannot read", path);
	return n;
}

static size_t decode(struct pass *p, const char *path, uint8_t *to, size_t max)
{
	size_t n = read_file(p, path), in = 0, out = 0, rc = 1;
	LZ4F_resetDecompressionContext(p->lz4);
	while (rc != 0 && in < n) {
		size_t used = n - in, made = max - out;
		rc = LZ4F_decompress(p->lz4, to + out, &made, p->stored + in, &used, NULL);
		if (LZ4F_isError(rc) || (used == 0 && made == 0))
			die("damaged", path);
		in += used;
		out += made;
	}
	return out;
}

static int put_page(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct pass *p = arg;
	size_t at = (size_t)(f->pgno - 1) * p->chain.page_bytes;
	(void)offset;
	if (at + p->chain.page_bytes > p->image_bytes)
		return 1;
	memcpy(p->image + at, f->page, p->chain.page_bytes);
	return 0;
}

static void apply(struct pass *p, const char *path)
{
	size_t n = decode(p, path, p->plain, PLAIN_MAX_BYTES), good = 0;
	struct span in = { p->plain, n };
	struct wal_header h;
	if (wal_header_parse(in, &h) == WAL_OK) {
		p->chain = wal_chain_start(&h);
		in.p += WAL_HEADER_BYTES;
		in.n -= WAL_HEADER_BYTES;
	}
	wal_chain_run(&p->chain, in, put_page, p, &good);
	if (good != in.n)
		die("chain broken in", path);
	p->wal_bytes += n;
}

static void only_entry(const char *dir, char *to, size_t max)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, alphasort);
	if (n < 3)
		die("empty", dir);
	snprintf(to, max, "%s/%s", dir, list[2]->d_name);
	while (n-- > 0)
		free(list[n]);
	free(list);
}

static void apply_all(struct pass *p, const char *replica)
{
	char dir[1024], path[4096], generation[2048], snapshot[4096];
	struct dirent **list;
	snprintf(dir, sizeof dir, "%s/generations", replica);
	only_entry(dir, generation, sizeof generation);
	snprintf(path, sizeof path, "%s/snapshots", generation);
	only_entry(path, snapshot, sizeof snapshot);
	p->image_bytes = decode(p, snapshot, p->image, PLAIN_MAX_BYTES);
	snprintf(path, sizeof path, "%s/wal", generation);
	int n = scandir(path, &list, NULL, alphasort);
	if (n < 0)
		die("cannot list", path);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/wal/%s", generation, list[i]->d_name);
		if (list[i]->d_name[0] != '.')
			apply(p, path);
		free(list[i]);
	}
	free(list);
}

int main(int argc, char **argv)
{
	struct pass p = { .plain = malloc(PLAIN_MAX_BYTES), .image = malloc(PLAIN_MAX_BYTES) };
	if (argc != 3 || !p.plain || !p.image ||
	    LZ4F_isError(LZ4F_createDecompressionContext(&p.lz4, LZ4F_VERSION))) {
		fprintf(stderr, "usage: onepass REPLICA OUT\n");
		return 2;
	}
	int64_t begin_us = mono_us();
	apply_all(&p, argv[1]);
	int fd = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t at = 0; fd >= 0 && at < p.image_bytes;) {
		size_t n = p.image_bytes - at < 1 << 20 ? p.image_bytes - at : 1 << 20;
		if (pwrite(fd, p.image + at, n, (off_t)at) != (ssize_t)n)
			die("cannot write", argv[2]);
		at += n;
	}
	int64_t written_us = mono_us();
	if (fd < 0 || fsync(fd) < 0)
		die("cannot write", argv[2]);
	printf("wal_bytes=%llu secs=%.4f fsync_secs=%.4f\n", (unsigned long long)p.wal_bytes,
	       (double)(written_us - begin_us) / 1e6, (double)(mono_us() - written_us) / 1e6);
	close(fd);
	LZ4F_freeDecompressionContext(p.lz4);
	free(p.stored);
	free(p.plain);
	free(p.image);
	return 0;
}
