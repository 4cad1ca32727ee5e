/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of two records: see records.h.
 *
 * Failure modes: a record that is torn, damaged or none at all is passed over; when both are, the file is
 * damaged, and who asked decides what that means. */
#include "db/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const char hex_digits[] = "0123456789abcdef";

int records_seal(char *record, size_t bytes, int n)
{
	if (n < 0 || (size_t)n + 18 > bytes)
		return -1;
	snprintf(record + n, bytes - (size_t)n, "%016" PRIx64, (uint64_t)XXH64(record, (size_t)n, 0));
	memset(record + n + 16, ' ', bytes - (size_t)n - 16);
	record[bytes - 1] = '\n';
	return 0;
}

/* Cuts the record to its text. false: it is not one, or damaged. */
static bool unseal(char *text, const char *name, uint64_t *ret_seq)
{
	uint64_t h = 0;
	int n = 0, read = 0;
	size_t end = strlen(text), before = strlen(name);
	while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\n'))
		end--;
	if (end < 16 + before || sscanf(text + end - 16, "%16" SCNx64 "%n", &h, &n) != 1 || n != 16)
		return false;
	text[end - 16] = 0;
	return h == XXH64(text, end - 16, 0) && strncmp(text, name, before) == 0 &&
	       sscanf(text + before, " seq %" SCNu64 " %n", ret_seq, &read) == 1 && read > 0;
}

int records_read(const char *path, size_t bytes, const char *name, char text[RECORDS_MOST_BYTES + 1],
		 uint64_t *ret_seq, struct err *e)
{
	struct dyn d = DYN_INIT(4 * RECORDS_MOST_BYTES);
	bool found = false;
	if (file_read_all(path, &d, e) < 0)
		return -1;
	for (size_t at = 0; at + bytes <= d.len; at += bytes) {
		char one[RECORDS_MOST_BYTES + 1];
		uint64_t seq;
		memcpy(one, d.p + at, bytes);
		one[bytes] = 0;
		if (!unseal(one, name, &seq) || (found && seq <= *ret_seq))
			continue;
		memcpy(text, one, sizeof one);
		*ret_seq = seq;
		found = true;
	}
	dyn_free(&d);
	return found ? 0 : err_set(e, ERR_DAMAGED, "%s: holds no good record", path);
}

int records_make(const char *path, const char *record, size_t bytes, const struct owner *o, struct err *e)
{
	char both[2 * RECORDS_MOST_BYTES];
	memcpy(both, record, bytes);
	memcpy(both + bytes, record, bytes);
	return file_publish(path, both, 2 * bytes, o, e);
}

int records_put(int fd, const char *path, const char *record, size_t bytes, uint64_t seq, struct err *e)
{
	return file_pwrite_all(fd, path, record, bytes, (off_t)(seq % 2) * (off_t)bytes, e);
}

void records_hex(char out[RECORDS_SALT_CHARS + 1], const uint8_t in[8])
{
	for (int i = 0; i < 8; i++) {
		out[2 * i] = hex_digits[in[i] >> 4];
		out[2 * i + 1] = hex_digits[in[i] & 15];
	}
	out[RECORDS_SALT_CHARS] = 0;
}

bool records_unhex(uint8_t out[8], const char *in)
{
	if (strlen(in) != RECORDS_SALT_CHARS || strspn(in, hex_digits) != RECORDS_SALT_CHARS)
		return false;
	for (int i = 0; i < 8; i++) {
		const char *hi = strchr(hex_digits, in[2 * i]), *lo = strchr(hex_digits, in[2 * i + 1]);
		out[i] = (uint8_t)((hi - hex_digits) << 4 | (lo - hex_digits));
	}
	return true;
}
