/* SPDX-License-Identifier: Apache-2.0
 *
 * The position file: see place.h. Writing one of two records in place needs no rename and moves no metadata, so
 * it costs one small write and one fdatasync.
 *
 * Failure modes: a torn write spoils one record; the other, older one still holds, and a segment is removed
 * from the spool only after a record that covers it is durable, so the older one plus the spool lead to the
 * same place. */
#include "db/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/sys.h"

static const char hex_digits[] = "0123456789abcdef";

static int record_format(char out[PLACE_RECORD_BYTES], const struct place *p, uint64_t seq)
{
	char salt[17];
	for (int i = 0; i < 8; i++) {
		salt[2 * i] = hex_digits[p->chain.salt[i] >> 4];
		salt[2 * i + 1] = hex_digits[p->chain.salt[i] & 15];
	}
	salt[16] = 0;
	memset(out, ' ', PLACE_RECORD_BYTES);
	int n = snprintf(out, PLACE_RECORD_BYTES,
			 "walbrook-position 1 seq %" PRIu64 " generation %s index %" PRIx64 " offset %" PRIu64
			 " page %" PRIu32 " big %d salt %s sum %08" PRIx32 "%08" PRIx32 " wall %" PRId64 " ",
			 seq, p->generation.name, p->index, p->chain.offset, p->chain.page_bytes,
			 p->chain.big_endian, salt, p->chain.sum.s0, p->chain.sum.s1, p->wall_us);
	if (n < 0 || n + 18 > PLACE_RECORD_BYTES)
		return -1;
	uint64_t h = XXH64(out, (size_t)n, 0);
	snprintf(out + n, (size_t)(PLACE_RECORD_BYTES - n), "%016" PRIx64, h);
	out[n + 16] = ' ';
	out[PLACE_RECORD_BYTES - 1] = '\n';
	return 0;
}

static bool record_parse(const char in[PLACE_RECORD_BYTES], struct place *p, uint64_t *seq)
{
	char text[PLACE_RECORD_BYTES + 1], salt[17];
	int big = 0, at = 0;
	uint64_t h = 0;
	memcpy(text, in, PLACE_RECORD_BYTES);
	text[PLACE_RECORD_BYTES] = 0;
	*p = (struct place){ 0 };
	if (sscanf(text,
		   "walbrook-position 1 seq %" SCNu64 " generation %16[0-9a-f] index %" SCNx64
		   " offset %" SCNu64 " page %" SCNu32 " big %d salt %16[0-9a-f] sum %8" SCNx32 "%8" SCNx32
		   " wall %" SCNd64 " %n",
		   seq, p->generation.name, &p->index, &p->chain.offset, &p->chain.page_bytes, &big, salt,
		   &p->chain.sum.s0, &p->chain.sum.s1, &p->wall_us, &at) != 10 ||
	    at == 0)
		return false;
	if (sscanf(text + at, "%16" SCNx64, &h) != 1 || h != XXH64(text, (size_t)at, 0))
		return false;
	if (!generation_valid(p->generation.name) || strlen(salt) != 16)
		return false;
	for (int i = 0; i < 8; i++) {
		const char *hi = strchr(hex_digits, salt[2 * i]), *lo = strchr(hex_digits, salt[2 * i + 1]);
		p->chain.salt[i] = (uint8_t)((hi - hex_digits) << 4 | (lo - hex_digits));
	}
	p->chain.big_endian = big != 0;
	return true;
}

int place_read(const char *path, struct place *ret, uint64_t *ret_seq, struct err *e)
{
	struct dyn d = DYN_INIT(4 * PLACE_RECORD_BYTES);
	bool found = false;
	if (file_read_all(path, &d, e) < 0)
		return -1;
	for (size_t at = 0; at + PLACE_RECORD_BYTES <= d.len; at += PLACE_RECORD_BYTES) {
		struct place p;
		uint64_t seq;
		if (!record_parse((const char *)d.p + at, &p, &seq) || (found && seq <= *ret_seq))
			continue;
		*ret = p;
		*ret_seq = seq;
		found = true;
	}
	dyn_free(&d);
	return found ? 0 : err_set(e, ERR_DAMAGED, "%s: holds no good record", path);
}

int place_write(const char *path, const struct owner *o, const struct place *p, uint64_t seq, struct err *e)
{
	char rec[PLACE_RECORD_BYTES];
	if (record_format(rec, p, seq) < 0)
		return err_set(e, ERR_FAIL, "%s: position does not fit its record", path);
	int fd = sys_open(path, O_WRONLY, 0);
	if (fd < 0 && errno == ENOENT) {
		char both[2 * PLACE_RECORD_BYTES];
		memcpy(both, rec, sizeof rec);
		memcpy(both + sizeof rec, rec, sizeof rec);
		return file_publish(path, both, sizeof both, o, e);
	}
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	int rc = file_pwrite_all(fd, path, rec, sizeof rec, (off_t)(seq % 2) * PLACE_RECORD_BYTES, e);
	if (rc == 0 && sys_fdatasync(fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", path);
	close(fd);
	return rc;
}
