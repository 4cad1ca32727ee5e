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
#include <xxhash.h>

#include "base/sys.h"

static const char hex_digits[] = "0123456789abcdef";

static void hex8(char out[17], const uint8_t in[8])
{
	for (int i = 0; i < 8; i++) {
		out[2 * i] = hex_digits[in[i] >> 4];
		out[2 * i + 1] = hex_digits[in[i] & 15];
	}
	out[16] = 0;
}

static bool unhex8(uint8_t out[8], const char *in)
{
	if (strlen(in) != 16)
		return false;
	for (int i = 0; i < 8; i++) {
		const char *hi = strchr(hex_digits, in[2 * i]), *lo = strchr(hex_digits, in[2 * i + 1]);
		out[i] = (uint8_t)((hi - hex_digits) << 4 | (lo - hex_digits));
	}
	return true;
}

static int state_format(char *out, size_t room, const char *name, const struct follow_state *s)
{
	char salt[17], from[17];
	hex8(salt, s->local.salt);
	hex8(from, s->source.chain.salt);
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
	char salt[17], from[17], generation[17];
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
	if (!unhex8(s->local.salt, salt) || !unhex8(c->salt, from))
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
	size_t room = FOLLOW_RECORD_BYTES - 18;
	int n = snprintf(out, room, "walbrook-follow 1 seq %" PRIu64 " inode %" PRIu64 " ", seq, p->inode);
	if (n > 0 && (size_t)n < room)
		n += state_format(out + n, room - (size_t)n, "before", &p->before);
	if (n > 0 && (size_t)n < room)
		n += state_format(out + n, room - (size_t)n, "after", &p->after);
	if (n < 0 || (size_t)n >= room)
		return -1;
	snprintf(out + n, 17, "%016" PRIx64, (uint64_t)XXH64(out, (size_t)n, 0));
	memset(out + n + 16, ' ', FOLLOW_RECORD_BYTES - (size_t)n - 16);
	out[FOLLOW_RECORD_BYTES - 1] = '\n';
	return 0;
}

static bool record_parse(const char in[FOLLOW_RECORD_BYTES], struct follow_place *p, uint64_t *seq)
{
	char text[FOLLOW_RECORD_BYTES + 1];
	int n = 0;
	uint64_t h = 0;
	memcpy(text, in, FOLLOW_RECORD_BYTES);
	text[FOLLOW_RECORD_BYTES] = 0;
	if (sscanf(text, "walbrook-follow 1 seq %" SCNu64 " inode %" SCNu64 " %n", seq, &p->inode, &n) != 2 ||
	    n == 0)
		return false;
	const char *at = state_parse(text + n, &p->before);
	at = at ? state_parse(at, &p->after) : NULL;
	return at && sscanf(at, "%16" SCNx64, &h) == 1 && h == XXH64(text, (size_t)(at - text), 0);
}

int follow_place_read(const char *path, struct follow_place *ret, uint64_t *ret_seq, struct err *e)
{
	struct dyn d = DYN_INIT(4 * FOLLOW_RECORD_BYTES);
	bool found = false;
	if (file_read_all(path, &d, e) < 0)
		return -1;
	for (size_t at = 0; at + FOLLOW_RECORD_BYTES <= d.len; at += FOLLOW_RECORD_BYTES) {
		struct follow_place p;
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

int follow_place_open(struct follow_place_file *f, const char *path, const struct owner *o, uint64_t seq,
		      struct err *e)
{
	*f = (struct follow_place_file){ .fd = -1, .seq = seq };
	snprintf(f->path, sizeof f->path, "%s", path);
	f->fd = sys_open(path, O_WRONLY, 0);
	if (f->fd < 0 && errno == ENOENT) {
		char both[2 * FOLLOW_RECORD_BYTES];
		const struct follow_place none = { .inode = 0 };
		if (record_format(both, &none, 0) < 0)
			return err_set(e, ERR_FAIL, "%s: position does not fit its record", path);
		memcpy(both + FOLLOW_RECORD_BYTES, both, FOLLOW_RECORD_BYTES);
		if (file_publish(path, both, sizeof both, o, e) < 0)
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
	off_t at = (off_t)((f->seq + 1) % 2) * FOLLOW_RECORD_BYTES;
	if (file_pwrite_all(f->fd, f->path, rec, sizeof rec, at, e) < 0)
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
