/* SPDX-License-Identifier: Apache-2.0
 *
 * A checker: restores a replica with walbrook, as it is at this moment, and verifies what comes out.
 *
 *   1. walbrook restore -o OUT REPLICA (with -timestamp, when a moment is asked for).
 *   2. Verify the file (chain.c): a committed prefix, whole.
 *   3. Latest: nothing up to `floor` may be missing. By time: nothing whose COMMIT began after it may be there.
 *
 * At the end of a round also: every page of the restored file against the source. The source's file and WAL are
 * copied, SQLite itself recovers the copy and checkpoints it, and the two files must then have the same bytes.
 *
 * "Nothing there" (exit 4) is fine while nothing was ever proven to be in the replica, or for a moment that
 * lies before the first; every other end of a restore is a failure, and its files are kept. */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { RESTORE_TIMEOUT_MS = 40000, COPY_BYTES = 1 << 20 };

static int run_restore(struct shared *sh, const struct check_wish *w, const char *log_path)
{
	char when[TIME_TEXT_BYTES];
	const char *argv[10];
	int n = 0;
	argv[n++] = w->walbrook;
	argv[n++] = "restore";
	argv[n++] = "-o";
	argv[n++] = w->out;
	if (w->not_after_us) {
		argv[n++] = "-timestamp";
		argv[n++] = time_format(when, w->not_after_us, 6);
	}
	argv[n++] = sh->config.replica_path[w->replica];
	argv[n] = NULL;
	char *copy[10];
	for (int i = 0; i <= n; i++) {
		union {
			const char *in;
			char *out;
		} u = { .in = argv[i] }; /* execv wants char *const[] and changes nothing */
		copy[i] = u.out;
	}
	pid_t pid = proc_start(copy, log_path);
	return pid < 0 ? 255 : proc_wait(pid, RESTORE_TIMEOUT_MS);
}

static int verify_restored(struct shared *sh, const struct check_wish *w, const char *what)
{
	uint64_t last = 0;
	if (chain_verify(sh, w->out, what, &last) < 0)
		return CHECK_FAILED;
	atomic_store(&sh->checked_seq, last);
	if (!w->not_after_us && last < w->floor) {
		note_failure(
			sh,
			"%s: ends at transaction %llu, but %llu was in the replica or acknowledged before a "
			"completed sync",
			what, (unsigned long long)last, (unsigned long long)w->floor);
		return CHECK_FAILED;
	}
	if (w->not_after_us && last > 0 && atomic_load(&sh->seq[last].commit_begin_us) > w->not_after_us) {
		note_failure(sh, "%s: holds transaction %llu, whose COMMIT began after the moment asked for",
			     what, (unsigned long long)last);
		return CHECK_FAILED;
	}
	return CHECK_GOOD;
}

int check_restore(struct shared *sh, const struct check_wish *w)
{
	char what[PATH_MAX_BYTES + 64], log_path[PATH_MAX_BYTES + 8];
	snprintf(what, sizeof what, "restore of replica %u%s into %s", w->replica,
		 w->not_after_us ? " by time" : "", w->out);
	snprintf(log_path, sizeof log_path, "%s.log", w->out);
	int status = run_restore(sh, w, log_path);
	struct stat st;
	if (status == CHECK_NOTHING && (w->floor == 0 || w->not_after_us)) {
		if (stat(w->out, &st) == 0) {
			note_failure(sh, "%s: nothing there, but the output exists", what);
			return CHECK_FAILED;
		}
		unlink(log_path);
		return CHECK_NOTHING;
	}
	if (status != 0) {
		note_failure(sh, "%s: %s %d", what, status < 0 ? "timed out" : "exit status", status);
		print_tail(log_path, "restore");
		return CHECK_FAILED;
	}
	int rc = verify_restored(sh, w, what);
	if (rc == CHECK_GOOD) {
		unlink(log_path);
		unlink(w->out);
	}
	return rc;
}

static int copy_file(struct shared *sh, const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *b = malloc(COPY_BYTES);
	ssize_t n = -1;
	if (in >= 0 && out >= 0 && b)
		while ((n = read(in, b, COPY_BYTES)) > 0 && write(out, b, (size_t)n) == n)
			;
	if (n != 0)
		note_failure(sh, "cannot copy %s to %s: %s", from, to, strerror(errno));
	free(b);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n == 0 ? 0 : -1;
}

/* The source as SQLite sees it, in one file. */
static int copy_source(struct shared *sh, const char *copy_path)
{
	char from[PATH_MAX_BYTES + 8], to[PATH_MAX_BYTES + 8];
	struct stat st;
	if (copy_file(sh, sh->config.db_path, copy_path) < 0)
		return -1;
	snprintf(from, sizeof from, "%s-wal", sh->config.db_path);
	snprintf(to, sizeof to, "%s-wal", copy_path);
	if (stat(from, &st) == 0 && copy_file(sh, from, to) < 0)
		return -1;
	sqlite3 *db = NULL;
	int rc = sqlite3_open(copy_path, &db);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "SELECT count(*) FROM sqlite_master", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	if (rc != SQLITE_OK)
		note_failure(sh, "cannot recover the copy of the source: %s", sqlite3_errmsg(db));
	sqlite3_close(db);
	return rc == SQLITE_OK ? 0 : -1;
}

static int compare_pages(struct shared *sh, const char *path, const char *copy_path)
{
	size_t page = sh->config.page_bytes;
	FILE *a = fopen(path, "re"), *b = fopen(copy_path, "re");
	uint8_t *pa = malloc(page), *pb = malloc(page);
	uint64_t number = 0, differ = 0, first = 0;
	int rc = -1;
	if (!a || !b || !pa || !pb) {
		note_failure(sh, "cannot compare %s with %s: %s", path, copy_path, strerror(errno));
		goto end;
	}
	for (;;) {
		size_t na = fread(pa, 1, page, a), nb = fread(pb, 1, page, b);
		if (na == 0 && nb == 0)
			break;
		number++;
		if (na != nb || memcmp(pa, pb, na) != 0) {
			differ++;
			first = first ? first : number;
		}
	}
	if (differ)
		note_failure(sh,
			     "%s: %llu of %llu pages are not those of the source (%s), the first is page %llu",
			     path, (unsigned long long)differ, (unsigned long long)number, copy_path,
			     (unsigned long long)first);
	else
		rc = 0;
end:
	if (a)
		fclose(a);
	if (b)
		fclose(b);
	free(pa);
	free(pb);
	return rc;
}

int check_final(struct shared *sh, const struct check_wish *w, const char *copy_path)
{
	char log_path[PATH_MAX_BYTES + 8];
	uint64_t last = 0;
	snprintf(log_path, sizeof log_path, "%s.log", w->out);
	int status = run_restore(sh, w, log_path);
	if (status != 0) {
		note_failure(sh, "last restore of replica %u: %s %d", w->replica,
			     status < 0 ? "timed out" : "exit status", status);
		print_tail(log_path, "restore");
		return CHECK_FAILED;
	}
	if (copy_source(sh, copy_path) < 0 || chain_verify(sh, copy_path, "the source", &last) < 0)
		return CHECK_FAILED;
	if (last < atomic_load(&sh->acked)) {
		note_failure(sh, "the source ends at transaction %llu, but %llu was acknowledged",
			     (unsigned long long)last, (unsigned long long)atomic_load(&sh->acked));
		return CHECK_FAILED;
	}
	if (verify_restored(sh, w, "last restore") != CHECK_GOOD)
		return CHECK_FAILED;
	return compare_pages(sh, w->out, copy_path) == 0 ? CHECK_GOOD : CHECK_FAILED;
}
