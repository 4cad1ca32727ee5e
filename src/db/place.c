/* SPDX-License-Identifier: Apache-2.0
 *
 * The position file: see place.h. To write it costs one small write and one fdatasync.
 *
 * Failure modes: a torn write spoils one record; the other, older one still holds, and a segment is removed
 * from the spool only after a record that covers it is durable, so the older one plus the spool lead to the
 * same place. */
#include "db/place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/sys.h"
#include "db/records.h"

#define NAME "walbrook-position 1"

static int record_format(char out[PLACE_RECORD_BYTES], const struct place *p, uint64_t seq)
{
	char salt[RECORDS_SALT_CHARS + 1];
	records_hex(salt, p->chain.salt);
	return records_seal(out, PLACE_RECORD_BYTES,
			    snprintf(out, PLACE_RECORD_BYTES,
				     NAME " seq %" PRIu64 " generation %s index %" PRIx64 " offset %" PRIu64
					  " page %" PRIu32 " big %d salt %s sum %08" PRIx32 "%08" PRIx32
					  " wall %" PRId64 " ",
				     seq, p->generation.name, p->index, p->chain.offset, p->chain.page_bytes,
				     p->chain.big_endian, salt, p->chain.sum.s0, p->chain.sum.s1, p->wall_us));
}

static bool record_parse(const char *text, struct place *p)
{
	char salt[RECORDS_SALT_CHARS + 1];
	int big = 0;
	*p = (struct place){ 0 };
	if (sscanf(text,
		   NAME " seq %*u generation %16[0-9a-f] index %" SCNx64 " offset %" SCNu64 " page %" SCNu32
			" big %d salt %16[0-9a-f] sum %8" SCNx32 "%8" SCNx32 " wall %" SCNd64,
		   p->generation.name, &p->index, &p->chain.offset, &p->chain.page_bytes, &big, salt,
		   &p->chain.sum.s0, &p->chain.sum.s1, &p->wall_us) != 9)
		return false;
	p->chain.big_endian = big != 0;
	return generation_valid(p->generation.name) && records_unhex(p->chain.salt, salt);
}

int place_read(const char *path, struct place *ret, uint64_t *ret_seq, struct err *e)
{
	char text[RECORDS_MOST_BYTES + 1];
	if (records_read(path, PLACE_RECORD_BYTES, NAME, text, ret_seq, e) < 0)
		return -1;
	return record_parse(text, ret) ? 0 : err_set(e, ERR_DAMAGED, "%s: holds no good record", path);
}

int place_write(const char *path, const struct owner *o, const struct place *p, uint64_t seq, struct err *e)
{
	char rec[PLACE_RECORD_BYTES];
	if (record_format(rec, p, seq) < 0)
		return err_set(e, ERR_FAIL, "%s: position does not fit its record", path);
	int fd = sys_open(path, O_WRONLY, 0);
	if (fd < 0 && errno == ENOENT)
		return records_make(path, rec, sizeof rec, o, e);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	int rc = records_put(fd, path, rec, sizeof rec, seq, e);
	if (rc == 0 && sys_fdatasync(fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", path);
	close(fd);
	return rc;
}
