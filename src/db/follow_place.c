/* SPDX-License-Identifier: Apache-2.0
 *
 * The follower's position file: see follow_place.h. One pwrite a transaction, into the page cache.
 *
 * Failure modes: a torn record spoils one of two; the other one is the record of the publication before, whose
 * `after` is what is live then, since a record is written before its publication. After a loss of power both
 * may be older than the WAL or newer: then they fit nothing. */
#include "db/follow_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "db/records.h"

#define NAME "walbrook-follow 1"

static int state_format(char *out, size_t room, const char *name, const struct follow_state *s)
{
	char salt[RECORDS_SALT_CHARS + 1], from[RECORDS_SALT_CHARS + 1];
	records_hex(salt, s->local.salt);
	records_hex(from, s->source.chain.salt);
	return snprintf(out, room,
			"%s salt %s frame %" PRIu32 " sum %08" PRIx32 "%08" PRIx32 " change %" PRIx32
			" is %s index %" PRIx64 " offset %" PRIu64 " page %" PRIu32
			" big %d salt %s sum %08" PRIx32 "%08" PRIx32 " ",
			name, salt, s->local.mx_frame, s->local.sum.s0, s->local.sum.s1, s->local.change,
			generation_none(&s->source.generation) ? "-" : s->source.generation.name,
			s->source.index, s->source.chain.offset, s->source.chain.page_bytes,
			s->source.chain.big_endian, from, s->source.chain.sum.s0, s->source.chain.sum.s1);
}

static const char *state_parse(const char *in, struct follow_state *s)
{
	char salt[RECORDS_SALT_CHARS + 1], from[RECORDS_SALT_CHARS + 1], generation[17];
	int big = 0, at = 0;
	struct wal_chain *c = &s->source.chain;
	*s = (struct follow_state){ 0 };
	if (sscanf(in,
		   "%*[a-z] salt %16[0-9a-f] frame %" SCNu32 " sum %8" SCNx32 "%8" SCNx32 " change %" SCNx32
		   " is %16[0-9a-f-] index %" SCNx64 " offset %" SCNu64 " page %" SCNu32
		   " big %d salt %16[0-9a-f] sum %8" SCNx32 "%8" SCNx32 " %n",
		   salt, &s->local.mx_frame, &s->local.sum.s0, &s->local.sum.s1, &s->local.change, generation,
		   &s->source.index, &c->offset, &c->page_bytes, &big, from, &c->sum.s0, &c->sum.s1,
		   &at) != 13 ||
	    at == 0)
		return NULL;
	if (!records_unhex(s->local.salt, salt) || !records_unhex(c->salt, from))
		return NULL;
	if (strcmp(generation, "-") != 0) {
		if (!generation_valid(generation))
			return NULL;
		memcpy(s->source.generation.name, generation, sizeof generation);
	}
	if (c->offset != 0 && !page_bytes_valid(c->page_bytes))
		return NULL;
	c->big_endian = big != 0;
	return in + at;
}

static int record_format(char out[FOLLOW_RECORD_BYTES], const struct follow_place *p, uint64_t seq)
{
	size_t room = FOLLOW_RECORD_BYTES;
	int n = snprintf(out, room, NAME " seq %" PRIu64 " inode %" PRIu64 " ", seq, p->inode);
	if (n > 0 && (size_t)n < room)
		n += state_format(out + n, room - (size_t)n, "before", &p->before);
	if (n > 0 && (size_t)n < room)
		n += state_format(out + n, room - (size_t)n, "after", &p->after);
	return records_seal(out, room, n);
}

int follow_place_read(const char *path, struct follow_place *ret, uint64_t *ret_seq, struct err *e)
{
	char text[RECORDS_MOST_BYTES + 1];
	int n = 0;
	if (records_read(path, FOLLOW_RECORD_BYTES, NAME, text, ret_seq, e) < 0)
		return -1;
	bool good = sscanf(text, NAME " seq %*u inode %" SCNu64 " %n", &ret->inode, &n) == 1 && n > 0;
	const char *at = good ? state_parse(text + n, &ret->before) : NULL;
	at = at ? state_parse(at, &ret->after) : NULL;
	return at && !*at ? 0 : err_set(e, ERR_DAMAGED, "%s: holds no good record", path);
}

int follow_place_open(struct follow_place_file *f, const char *path, const struct owner *o, uint64_t seq,
		      struct err *e)
{
	*f = (struct follow_place_file){ .fd = -1, .seq = seq };
	snprintf(f->path, sizeof f->path, "%s", path);
	f->fd = sys_open(path, O_WRONLY, 0);
	if (f->fd < 0 && errno == ENOENT) {
		char rec[FOLLOW_RECORD_BYTES];
		const struct follow_place none = { .inode = 0 };
		if (record_format(rec, &none, 0) < 0)
			return err_set(e, ERR_FAIL, "%s: position does not fit its record", path);
		if (records_make(path, rec, sizeof rec, o, e) < 0)
			return -1;
		f->fd = sys_open(path, O_WRONLY, 0);
	}
	return f->fd < 0 ? err_sys(e, errno, "%s: cannot be opened", path) : 0;
}

int follow_place_write(struct follow_place_file *f, const struct follow_place *p, struct err *e)
{
	char rec[FOLLOW_RECORD_BYTES];
	if (record_format(rec, p, f->seq + 1) < 0)
		return err_set(e, ERR_FAIL, "%s: position does not fit its record", f->path);
	if (records_put(f->fd, f->path, rec, sizeof rec, f->seq + 1, e) < 0)
		return -1;
	f->seq++;
	return 0;
}

int follow_place_sync(struct follow_place_file *f, struct err *e)
{
	return sys_fdatasync(f->fd) < 0 ? err_sys(e, errno, "%s: cannot sync", f->path) : 0;
}

void follow_place_close(struct follow_place_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}
