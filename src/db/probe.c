/* SPDX-License-Identifier: Apache-2.0
 *
 * Probing: see probe.h.
 *
 * A file with the header of a database may still be on its way, when somebody copies it to its place: it counts
 * when it is as long as its header says, or when nobody has written to it for a second (a checkpoint that was
 * cut short leaves it shorter, too).
 *
 * Failure modes: a file that cannot be read is none (the log of whoever configured it by name says why; here it
 * is one of many); a file that we have open already is not opened again, which would drop our locks. */
#include "db/probe.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "db/opened.h"

enum { HEADER_BYTES = 100, YOUNG_US = 1000000 };

static bool complete(const uint8_t h[HEADER_BYTES], int64_t file_bytes)
{
	uint32_t page = (uint32_t)h[16] << 8 | h[17];
	int64_t bytes = (int64_t)(page == 1 ? 65536 : page) * get_be32(h + 28);
	bool counted = memcmp(h + 24, h + 92, 4) == 0; /* old programs leave the count of pages as it was */
	return counted && bytes > 0 && file_bytes >= bytes;
}

static enum db_probe judge(const char *path, const struct stat *st)
{
	uint8_t h[HEADER_BYTES];
	struct err ignore;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return DB_PROBE_NONE;
	ssize_t n = file_pread_full(fd, path, h, sizeof h, 0, &ignore);
	close(fd);
	int64_t age_us = wall_us() - (st->st_mtim.tv_sec * 1000000LL + st->st_mtim.tv_nsec / 1000);
	bool young = age_us >= 0 && age_us < YOUNG_US;
	if (n < 0)
		return DB_PROBE_NONE;
	size_t magic = n < 16 ? (size_t)n : 16;
	if (memcmp(h, "SQLite format 3", magic) != 0)
		return DB_PROBE_NONE;
	if (n < (ssize_t)sizeof h)
		return young ? DB_PROBE_YOUNG : DB_PROBE_NONE;
	return complete(h, st->st_size) || !young ? DB_PROBE_DATABASE : DB_PROBE_YOUNG;
}

enum db_probe db_probe(const char *path)
{
	struct stat st;
	struct opened mine = { .passing = true };
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return DB_PROBE_NONE;
	if (st.st_size == 0)
		return DB_PROBE_EMPTY;
	if (!opened_take(&mine, st.st_dev, st.st_ino))
		return DB_PROBE_DATABASE;
	enum db_probe is = judge(path, &st);
	opened_forget(&mine);
	return is;
}
