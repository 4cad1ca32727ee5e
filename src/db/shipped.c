/* SPDX-License-Identifier: Apache-2.0
 *
 * Local knowledge of a replica that cannot be read: see shipped.h.
 *
 * Happy path: after each object its end is written in place and synced, before the spool may forget the
 * segments in it. So when a run begins, the newest object of the replica is the one of the record, or it begins
 * where a segment of the spool does; anything else was not made by us, or not here.
 *
 * A record is one line of text padded with spaces to 256 bytes, which ends with XXH64 of all before it. The
 * documents are those that the replica has, in the clear: they hold times and lengths, no content.
 *
 * Failure modes: what cannot be written or is torn costs a new generation at the next start (the record), or
 * times of commits (a document), never data. */
#include "db/shipped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/sys.h"

enum { RECORD_BYTES = 256, DOCS = 4, HASH_CHARS = 2 * CRYPTO_HASH_BYTES };
static const char hex_digits[] = "0123456789abcdef";

char *shipped_dir(const char *meta_dir, const char *name, const char *url)
{
	char *dir;
	uint64_t which = XXH64(name, strlen(name) + 1, XXH64(url, strlen(url) + 1, 0));
	return asprintf(&dir, "%s/walbrook/shipped/%016" PRIx64, meta_dir, which) < 0 ? NULL : dir;
}

static int key_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct age_key));
}

int shipped_recipients(const struct age_keys *k, uint8_t out[CRYPTO_HASH_BYTES], struct err *e)
{
	size_t bytes = k->recipients_n * sizeof *k->recipients;
	struct age_key *sorted = malloc(bytes ? bytes : 1);
	if (!sorted)
		return err_set(e, ERR_FAIL, "no memory");
	if (bytes) {
		memcpy(sorted, k->recipients, bytes);
		qsort(sorted, k->recipients_n, sizeof *sorted, key_order);
	}
	int rc = crypto_sha256((struct span){ (const uint8_t *)sorted, bytes }, out, e);
	free(sorted);
	return rc;
}

static int record_format(char out[RECORD_BYTES], const struct shipped *s)
{
	char hash[HASH_CHARS + 1] = "";
	for (size_t i = 0; i < HASH_CHARS; i++)
		hash[i] = hex_digits[s->recipients[i / 2] >> (i % 2 ? 0 : 4) & 15];
	memset(out, ' ', RECORD_BYTES);
	int n = snprintf(out, RECORD_BYTES,
			 "walbrook-shipped 1 generation %s index %" PRIx64 " offset %" PRIx64 " end %" PRIx64
			 " bytes %" PRIu64 " recipients %s ",
			 s->generation.name, s->at.index, s->at.offset, s->end, s->stored_bytes, hash);
	if (n < 0 || n + 18 > RECORD_BYTES)
		return -1;
	snprintf(out + n, (size_t)(RECORD_BYTES - n), "%016" PRIx64, (uint64_t)XXH64(out, (size_t)n, 0));
	out[n + 16] = ' ';
	out[RECORD_BYTES - 1] = '\n';
	return 0;
}

static bool record_parse(struct span in, struct shipped *ret)
{
	char text[RECORD_BYTES + 1], hash[HASH_CHARS + 1] = "";
	struct shipped s = { .end = 0 };
	int at = 0;
	uint64_t sum = 0;
	if (in.n != RECORD_BYTES)
		return false;
	memcpy(text, in.p, RECORD_BYTES);
	text[RECORD_BYTES] = 0;
	if (sscanf(text,
		   "walbrook-shipped 1 generation %16[0-9a-f] index %" SCNx64 " offset %" SCNx64 " end %" SCNx64
		   " bytes %" SCNu64 " recipients %64[0-9a-f] %n",
		   s.generation.name, &s.at.index, &s.at.offset, &s.end, &s.stored_bytes, hash, &at) != 6 ||
	    at == 0 || sscanf(text + at, "%16" SCNx64, &sum) != 1 || sum != XXH64(text, (size_t)at, 0))
		return false;
	if (!generation_valid(s.generation.name) || strlen(hash) != HASH_CHARS || s.end < s.at.offset)
		return false;
	for (size_t i = 0; i < HASH_CHARS; i++) {
		unsigned digit = (unsigned)(strchr(hex_digits, hash[i]) - hex_digits);
		s.recipients[i / 2] = (uint8_t)(s.recipients[i / 2] | digit << (i % 2 ? 0 : 4));
	}
	*ret = s;
	return true;
}

int shipped_write(const char *dir, const struct owner *o, const struct shipped *s, struct err *e)
{
	char path[PATH_BYTES], record[RECORD_BYTES];
	if (path_join(path, dir, "end") < 0 || record_format(record, s) < 0)
		return err_set(e, ERR_FAIL, "%s: what was shipped does not fit its record", dir);
	int fd = sys_open(path, O_WRONLY, 0);
	if (fd < 0 && errno == ENOENT)
		return dir_make(dir, o, e) < 0 ? -1 : file_publish(path, record, sizeof record, o, e);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot be opened", path);
	int rc = file_pwrite_all(fd, path, record, sizeof record, 0, e);
	if (rc == 0 && sys_fdatasync(fd) < 0)
		rc = err_sys(e, errno, "%s: cannot sync", path);
	close(fd);
	return rc;
}

int shipped_read(const char *dir, struct shipped *ret, struct err *e)
{
	char path[PATH_BYTES];
	struct dyn d = DYN_INIT(4 * RECORD_BYTES);
	if (path_join(path, dir, "end") < 0)
		return err_set(e, ERR_FAIL, "%s: path is too long", dir);
	int rc = file_read_all(path, &d, e);
	if (rc == 0 && !record_parse((struct span){ d.p, d.len }, ret))
		rc = err_set(e, ERR_DAMAGED, "%s: holds no good record", path);
	dyn_free(&d);
	return rc;
}

static int doc_path(char *buf, const char *dir, uint64_t index, struct err *e)
{
	char name[32];
	snprintf(name, sizeof name, "index-%u", (unsigned)(index % DOCS));
	return path_join(buf, dir, name) < 0 ? err_set(e, ERR_FAIL, "%s: path is too long", dir) : 0;
}

int shipped_doc_write(const char *dir, const struct owner *o, uint64_t index, struct span bytes, struct err *e)
{
	char path[PATH_BYTES];
	if (doc_path(path, dir, index, e) < 0 || dir_make(dir, o, e) < 0)
		return -1;
	return file_publish(path, bytes.p, bytes.n, o, e);
}

int shipped_doc_read(const char *dir, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
		     struct err *e)
{
	char path[PATH_BYTES];
	struct dyn d = DYN_INIT(INDEX_DOC_MAX_BYTES);
	int rc = doc_path(path, dir, index, e);
	if (rc == 0)
		rc = file_read_all(path, &d, e);
	if (rc == 0)
		rc = index_doc_parse((struct span){ d.p, d.len }, ret, e);
	dyn_free(&d);
	if (rc < 0 || (generation_equal(&ret->generation, g) && ret->index == index))
		return rc;
	index_doc_free(ret);
	return err_set(e, ERR_NOTHING, "%s: is of another WAL index", path);
}
