/* SPDX-License-Identifier: Apache-2.0
 *
 * New content for a follower: the first one, or another one because the generation changed, somebody wrote
 * here, or we do not know where we are.
 *
 * Happy path, nothing here yet (CONTENT_FILE): the bytes go into a temporary file beside the database. When all
 * are there it is synced and takes the database's name: nobody ever sees an empty or a half file.
 *
 * Happy path otherwise (CONTENT_PAGES): pages that differ from what is here become frames of one transaction of
 * our WAL, page 1 last, so that it carries the commit. Readers step from the old content to the new one between
 * two of their transactions.
 *
 * A file is also needed when the page size is another one, or what is here is no database; and when both
 * contents have the same schema cookie but not the same schema: an open connection would go on with the schema
 * that it knows, and read the wrong pages. Then everything is copied into the old file first (so that who opens
 * it without its WAL meanwhile sees it whole), WAL and index lose their names, and the new file takes the
 * name. Connections that are open keep the old file with the old content; the log says so.
 *
 * Content that is right only together with some WAL after it (`until`) stays unpublished until that has come by
 * follow_segment, through as many indexes as it takes. Its frames go where the content is: into the file, or
 * into the transaction, whose last frame is then page 1 once more if the commit could not be foreseen.
 *
 * Failure modes: not a database, bytes missing, pages beyond the old end missing: ERR_DAMAGED. A reader of an
 * old snapshot while the file is to be replaced: FOLLOW_AGAIN, and nothing is lost. A stop in between: the
 * temporary file is removed at the next start. */
#include "db/follow_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/log.h"
#include "base/sys.h"

enum {
	HEAD_BYTES = 100,
	AT_VERSIONS = 18, /* of the file format, for writers and readers: 2 is WAL mode */
	AT_COOKIE = 40,
	LEAST_USABLE_BYTES = 480, /* of a page */
	START_BYTES = 8 << 20,
	SCHEMA_DEPTH = 20,
	SCHEMA_PAGES = 100000,
	LOCK_BYTE = 1 << 30, /* SQLite never uses the page that holds it */
};

static void temp_path(const struct follow *f, char path[PATH_BYTES])
{
	snprintf(path, PATH_BYTES, "%.*s.walbrook-new", PATH_BYTES - 16, f->o.path);
}

void content_drop(struct follow *f)
{
	struct follow_content *c = &f->content;
	char path[PATH_BYTES];
	temp_path(f, path);
	if (c->fd >= 0)
		close(c->fd);
	if ((c->mode == CONTENT_FILE || f->page_bytes == 0) && access(path, F_OK) == 0)
		sys_unlink(path);
	free(c->carry);
	free(c->page1);
	*c = (struct follow_content){ .fd = -1 };
}

static enum follow_result begin(struct follow *f, const struct generation *g, uint64_t index, bool same,
				struct err *e)
{
	follow_drop(f);
	if (f->lost || follow_disturbed(f) || follow_moved(f)) {
		enum follow_result rc = follow_reopen(f, e);
		if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
			return rc;
		if (same) {
			err_set(e, ERR_FAIL, "%s: somebody else wrote it since its pages were compared",
				f->o.path);
			return FOLLOW_CONTENT;
		}
	}
	struct follow_content *c = &f->content;
	c->carry = malloc(PAGE_BYTES_MAX);
	c->page1 = calloc(2, PAGE_BYTES_MAX);
	if (!c->carry || !c->page1) {
		content_drop(f);
		return err_set(e, ERR_FAIL, "%s: no memory for a page", f->o.path);
	}
	c->mode = CONTENT_UNKNOWN;
	c->source = (struct follow_source){ .generation = *g, .index = index };
	return FOLLOW_OK;
}

enum follow_result follow_content_begin(struct follow *f, const struct generation *g, uint64_t index,
					struct err *e)
{
	return begin(f, g, index, false, e);
}

void follow_content_until(struct follow *f, struct position at)
{
	struct follow_content *c = &f->content;
	const struct position zero = { c->source.index, WAL_HEADER_BYTES };
	if (c->mode == CONTENT_NONE || c->ended)
		return;
	c->until = at;
	c->waits = position_compare(at, zero) > 0;
}

bool follow_content_waits(const struct follow *f, struct position *ret_until)
{
	const struct follow_content *c = &f->content;
	if (ret_until)
		*ret_until = c->until;
	return c->mode != CONTENT_NONE && c->ended && !c->ready;
}

enum follow_result follow_pages_begin(struct follow *f, const struct generation *g, uint64_t index,
				      uint32_t pages, struct err *e)
{
	enum follow_result rc = begin(f, g, index, true, e);
	if (rc != FOLLOW_OK)
		return rc;
	if (!conn_is_open(&f->conn)) {
		content_drop(f);
		err_set(e, ERR_NOTHING, "%s: is not there, so that all pages are needed", f->o.path);
		return FOLLOW_CONTENT;
	}
	f->content.mode = CONTENT_PAGES;
	f->content.page_bytes = f->page_bytes;
	f->content.pages = pages;
	return FOLLOW_OK;
}

/* ---- a file ---- */

static int begin_file(struct follow *f, struct err *e)
{
	char path[PATH_BYTES];
	temp_path(f, path);
	f->content.mode = CONTENT_FILE;
	f->content.fd = file_create(path, &f->o.owner, e);
	if (f->content.fd < 0)
		return -1;
	/* Readers of a group write the -shm, to which SQLite gives the mode of the database: umask does not say
	 * who they are, the directory does, or the file that was here. */
	if (sys_fchmod(f->content.fd, f->o.owner.file_mode) < 0)
		return err_sys(e, errno, "%s: cannot be given its mode", path);
	return 0;
}

/* Gives written bytes to the disk early, so that the sync at the end finds little to do. */
static int file_bytes(struct follow *f, const uint8_t *p, size_t n, struct err *e)
{
	struct follow_content *c = &f->content;
	if (file_write_all(c->fd, f->o.path, p, n, e) < 0)
		return -1;
	c->bytes += n;
	if (c->bytes - c->started >= START_BYTES) {
		sys_sync_file_range(c->fd, (off_t)c->started, (off_t)(c->bytes - c->started),
				    SYNC_FILE_RANGE_WRITE);
		c->started = c->bytes;
	}
	return 0;
}

static int remove_beside(const struct follow *f, const char *suffix, struct err *e)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof path, "%.*s%s", PATH_BYTES - 16, f->o.path, suffix);
	return sys_unlink(path) < 0 && errno != ENOENT ? err_sys(e, errno, "%s: cannot be removed", path) : 0;
}

static int take_the_name(struct follow *f, struct err *e)
{
	char temp[PATH_BYTES], dir[PATH_BYTES];
	struct follow_content *c = &f->content;
	temp_path(f, temp);
	if (sys_fsync(c->fd) < 0)
		return err_sys(e, errno, "%s: cannot sync", temp);
	/* What lies there under these names belongs to another file, and SQLite would apply it to this one. */
	if (remove_beside(f, "-wal", e) < 0 || remove_beside(f, "-shm", e) < 0 ||
	    remove_beside(f, "-journal", e) < 0)
		return -1;
	if (sys_rename(temp, f->o.path) < 0)
		return err_sys(e, errno, "%s: cannot be renamed to %s", temp, f->o.path);
	close(c->fd);
	c->fd = -1;
	return path_dir(dir, f->o.path) < 0 ? 0 : dir_sync(dir, e);
}

static enum follow_result install_file(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	bool replaces = conn_is_open(&f->conn);
	if (replaces) {
		enum follow_result rc = log_backfill(f, e);
		if (rc != FOLLOW_OK)
			return rc;
		follow_detach(f);
	}
	struct follow_source source = c->waits ? f->next : c->source;
	int rc = take_the_name(f, e);
	content_drop(f);
	f->lost = true;
	if (rc < 0)
		return FOLLOW_FAIL;
	f->n.files++;
	if (replaces)
		log_warn("the database is a new file; connections that are open still read the old one",
			 L_S("db", f->o.path), L_I("inode", f->inode));
	enum follow_result opened = follow_attach(f, e);
	if (opened != FOLLOW_OK)
		return opened;
	f->lost = false;
	if (f->live.mx_frame != 0) {
		err_set(e, ERR_FAIL, "%s: somebody wrote it as soon as it was there", f->o.path);
		return FOLLOW_CONTENT;
	}
	f->at = f->next = source;
	f->known = true;
	return txn_anchor(f, e);
}

/* The state at the end of the transaction as a file instead. */
static int transaction_to_file(struct follow *f, uint32_t pages, struct err *e)
{
	struct follow_content *c = &f->content;
	uint32_t frames = f->frames;
	if (begin_file(f, e) < 0)
		return -1;
	for (uint32_t pgno = 1; pgno <= pages; pgno++)
		if (txn_read_page(f, frames, pgno, c->carry, e) < 0 ||
		    file_bytes(f, c->carry, f->page_bytes, e) < 0)
			return -1;
	txn_reset(f);
	return 0;
}

/* ---- pages ---- */

static bool is_lock_page(const struct follow *f, uint32_t pgno)
{
	return pgno == LOCK_BYTE / f->page_bytes + 1;
}

static int add_page(struct follow *f, uint32_t pgno, const uint8_t *page, bool compare, struct err *e)
{
	struct follow_content *c = &f->content;
	c->last_pgno = pgno;
	if (pgno == 1) {
		memcpy(c->page1, page, f->page_bytes);
		c->page1[AT_VERSIONS] = c->page1[AT_VERSIONS + 1] = 2;
		return 0;
	}
	if (is_lock_page(f, pgno))
		return 0;
	f->n.pages_compared += compare;
	if (compare && pgno <= f->pages) {
		uint8_t *here = c->page1 + PAGE_BYTES_MAX;
		if (txn_read_page(f, f->live.mx_frame, pgno, here, e) < 0)
			return -1;
		if (memcmp(here, page, f->page_bytes) == 0)
			return 0;
	}
	f->n.pages_written++;
	return txn_frame(f, pgno, 0, page, e);
}

enum follow_result follow_page(struct follow *f, uint32_t pgno, const uint8_t *page, struct err *e)
{
	struct follow_content *c = &f->content;
	enum follow_result rc = FOLLOW_FAIL;
	if (c->mode != CONTENT_PAGES || c->ended || pgno <= c->last_pgno || pgno > c->pages)
		err_set(e, ERR_DAMAGED, "%s: page %" PRIu32 " of the source comes at the wrong place",
			f->o.path, pgno);
	else if (add_page(f, pgno, page, false, e) == 0)
		rc = FOLLOW_OK;
	if (rc != FOLLOW_OK)
		follow_drop(f);
	return rc;
}

enum follow_result follow_hashes(struct follow *f, struct page_hashes *ret, struct err *e)
{
	*ret = (struct page_hashes){ 0 };
	follow_drop(f);
	if (f->lost || follow_disturbed(f) || follow_moved(f)) {
		enum follow_result rc = follow_reopen(f, e);
		if (rc != FOLLOW_OK && rc != FOLLOW_CONTENT)
			return rc;
	}
	if (!conn_is_open(&f->conn))
		return FOLLOW_OK;
	uint8_t *page = malloc(f->page_bytes);
	int rc = page ? 0 : err_set(e, ERR_FAIL, "%s: no memory for a page", f->o.path);
	ret->page_bytes = f->page_bytes;
	for (uint32_t pgno = 1; rc == 0 && pgno <= f->pages; pgno++) {
		rc = txn_read_page(f, f->live.mx_frame, pgno, page, e);
		if (rc == 0)
			rc = page_hashes_put(ret, pgno, page, e);
	}
	free(page);
	if (rc < 0)
		page_hashes_free(ret);
	return rc < 0 ? FOLLOW_FAIL : FOLLOW_OK;
}

/* ---- bytes ---- */

/* What in the first 100 bytes cannot be; NULL: nothing. A plain stream has no other check of them. */
static const char *odd_head(const uint8_t *h, uint32_t page_bytes)
{
	static const uint8_t zeros[20];
	if (memcmp(h, "SQLite format 3", 16) != 0 || !page_bytes_valid(page_bytes))
		return "is not a database";
	if (h[AT_VERSIONS] - 1u > 1 || h[AT_VERSIONS + 1] - 1u > 1)
		return "has a version that is not known";
	if (h[20] > page_bytes - LEAST_USABLE_BYTES || h[21] != 64 || h[22] != 32 || h[23] != 32)
		return "has impossible sizes in its head";
	if (get_be32(h + 44) > 4 || get_be32(h + 56) > 3)
		return "has an unknown schema format or encoding";
	return memcmp(h + 72, zeros, sizeof zeros) != 0 ? "has something in its head where nothing may be"
							: NULL;
}

static int decide(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	uint32_t n = (uint32_t)c->carry[16] << 8 | c->carry[17];
	c->page_bytes = n == 1 ? PAGE_BYTES_MAX : n;
	const char *odd = odd_head(c->carry, c->page_bytes);
	if (odd)
		return err_set(e, ERR_DAMAGED, "%s: what the source sent %s", f->o.path, odd);
	if (conn_is_open(&f->conn) && f->page_bytes == c->page_bytes) {
		c->mode = CONTENT_PAGES;
		return 0;
	}
	c->carry[AT_VERSIONS] = c->carry[AT_VERSIONS + 1] = 2;
	if (begin_file(f, e) < 0 || file_bytes(f, c->carry, c->carry_n, e) < 0)
		return -1;
	c->carry_n = 0;
	return 0;
}

static void carry(struct follow_content *c, struct span *in, size_t upto)
{
	size_t n = upto - c->carry_n < in->n ? upto - c->carry_n : in->n;
	memcpy(c->carry + c->carry_n, in->p, n);
	c->carry_n += n;
	in->p += n;
	in->n -= n;
}

static int whole_pages(struct follow *f, struct span in, struct err *e)
{
	struct follow_content *c = &f->content;
	while (in.n > 0) {
		const uint8_t *page = c->carry;
		if (c->carry_n == 0 && in.n >= c->page_bytes) {
			page = in.p;
			in.p += c->page_bytes;
			in.n -= c->page_bytes;
		} else {
			carry(c, &in, c->page_bytes);
			if (c->carry_n < c->page_bytes)
				return 0;
			c->carry_n = 0;
		}
		if (add_page(f, c->last_pgno + 1, page, true, e) < 0)
			return -1;
	}
	return 0;
}

enum follow_result follow_content_bytes(struct follow *f, struct span in, struct err *e)
{
	struct follow_content *c = &f->content;
	int rc = 0;
	if (c->mode == CONTENT_NONE || c->ended || c->pages)
		return err_set(e, ERR_FAIL, "%s: no content was begun", f->o.path);
	if (c->mode == CONTENT_UNKNOWN) {
		carry(c, &in, HEAD_BYTES);
		if (c->carry_n < HEAD_BYTES)
			return FOLLOW_OK;
		rc = decide(f, e);
	}
	if (rc == 0 && in.n > 0)
		rc = c->mode == CONTENT_FILE ? file_bytes(f, in.p, in.n, e) : whole_pages(f, in, e);
	if (rc == 0)
		return FOLLOW_OK;
	follow_drop(f);
	return FOLLOW_FAIL;
}

/* ---- the end ---- */

/* The tree of the schema as one hash. Its pages are foreign bytes: a tree that leads in circles ends at the
 * budget. */
struct schema {
	uint64_t hash;
	uint32_t budget; /* pages that may still be read */
};

static int schema_page(struct follow *f, uint32_t limit, uint32_t pgno, int depth, struct schema *s,
		       struct err *e);

/* Cells of an inner page, then the last child. Overflow pages of very long definitions are not looked at. */
static int schema_children(struct follow *f, uint32_t limit, const uint8_t *page, uint32_t head, int depth,
			   struct schema *s, struct err *e)
{
	uint32_t cells = (uint32_t)page[head + 3] << 8 | page[head + 4];
	for (uint32_t i = 0; i < cells && head + 14 + 2 * i <= f->page_bytes; i++) {
		uint32_t at = (uint32_t)page[head + 12 + 2 * i] << 8 | page[head + 13 + 2 * i];
		if (at + 4 <= f->page_bytes && schema_page(f, limit, get_be32(page + at), depth + 1, s, e) < 0)
			return -1;
	}
	return schema_page(f, limit, get_be32(page + head + 8), depth + 1, s, e);
}

static int schema_page(struct follow *f, uint32_t limit, uint32_t pgno, int depth, struct schema *s,
		       struct err *e)
{
	enum { INNER = 5 };
	if (pgno == 0 || depth > SCHEMA_DEPTH || s->budget == 0)
		return 0;
	s->budget--;
	uint8_t *page = malloc(f->page_bytes);
	int rc = page ? txn_read_page(f, limit, pgno, page, e) : err_set(e, ERR_FAIL, "no memory for a page");
	uint32_t head = pgno == 1 ? HEAD_BYTES : 0;
	if (rc == 0)
		s->hash = XXH64(page + head, f->page_bytes - head, s->hash);
	if (rc == 0 && page[head] == INNER)
		rc = schema_children(f, limit, page, head, depth, s, e);
	free(page);
	return rc;
}

/* 1: open connections could not notice that the schema is another one. */
static int schema_clashes(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	struct schema old = { .budget = SCHEMA_PAGES }, new = { .budget = SCHEMA_PAGES };
	uint32_t frames = f->frames;
	if (f->pages == 0 || txn_flush(f, e) < 0 || txn_read_page(f, f->live.mx_frame, 1, c->carry, e) < 0)
		return f->pages == 0 ? 0 : -1;
	uint32_t cookie = get_be32(c->carry + AT_COOKIE);
	if (txn_read_page(f, frames, 1, c->carry, e) < 0)
		return -1;
	if (get_be32(c->carry + AT_COOKIE) != cookie)
		return 0;
	if (schema_page(f, f->live.mx_frame, 1, 0, &old, e) < 0 || schema_page(f, frames, 1, 0, &new, e) < 0)
		return -1;
	return old.hash != new.hash;
}

static int pages_are_there(struct follow *f, uint32_t pages, struct err *e)
{
	if (txn_flush(f, e) < 0)
		return -1;
	for (uint32_t pgno = f->pages + 1; pgno <= pages; pgno++)
		if (!is_lock_page(f, pgno) && walindex_find(&f->index, f->frames, pgno) <= f->live.mx_frame)
			return err_set(e, ERR_DAMAGED,
				       "%s: page %" PRIu32 " is missing in the content from the source",
				       f->o.path, pgno);
	return 0;
}

static enum follow_result publish_pages(struct follow *f, uint32_t pages, struct err *e)
{
	struct follow_source source = f->next;
	if (follow_disturbed(f) || follow_moved(f)) {
		f->lost = true;
		f->known = false;
		err_set(e, ERR_FAIL, "%s: somebody else wrote it, or removed files of it, while content came",
			f->o.path);
		return FOLLOW_CONTENT;
	}
	if (pages_are_there(f, pages, e) < 0)
		return FOLLOW_FAIL;
	int clashes = schema_clashes(f, e);
	if (clashes < 0)
		return FOLLOW_FAIL;
	if (clashes > 0) {
		log_info("the schema changed behind the same cookie", L_S("db", f->o.path));
		if (transaction_to_file(f, pages, e) < 0)
			return FOLLOW_FAIL;
		return install_file(f, e);
	}
	if (txn_publish(f, pages, &source, e) < 0)
		return FOLLOW_FAIL;
	content_drop(f);
	f->next = f->at;
	return log_tend(f, e);
}

/* The WAL that is needed is there. */
static enum follow_result publish(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	c->ready = true;
	if (c->mode == CONTENT_PAGES)
		return publish_pages(f, c->pages, e);
	off_t size = (off_t)c->pages * c->page_bytes;
	if (c->waits && sys_ftruncate(c->fd, size) < 0)
		return err_sys(e, errno, "%s: the new file cannot be cut", f->o.path);
	return install_file(f, e);
}

static bool is_enough(const struct follow *f)
{
	const struct position at = { f->next.index, f->next.chain.offset };
	return position_compare(at, f->content.until) >= 0;
}

enum follow_result content_frame(struct follow *f, const struct wal_frame *fr, struct err *e)
{
	struct follow_content *c = &f->content;
	bool last = fr->commit_pages && is_enough(f) && !f->holding;
	c->inside = !fr->commit_pages;
	if (fr->commit_pages)
		c->pages = fr->commit_pages;
	if (c->mode == CONTENT_FILE) {
		off_t at = (off_t)(fr->pgno - 1) * c->page_bytes;
		if (file_pwrite_all(c->fd, f->o.path, fr->page, c->page_bytes, at, e) < 0)
			return FOLLOW_FAIL;
	} else if (txn_frame(f, fr->pgno, last ? fr->commit_pages : 0, fr->page, e) < 0) {
		return FOLLOW_FAIL;
	}
	return last ? publish(f, e) : FOLLOW_OK;
}

/* The commit was not foreseen: page 1 carries it. */
static int commit_pages(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	if (txn_flush(f, e) < 0 || txn_read_page(f, f->frames, 1, c->page1, e) < 0)
		return -1;
	return txn_frame(f, 1, c->pages, c->page1, e);
}

static enum follow_result settle(struct follow *f, struct err *e)
{
	if (f->content.mode == CONTENT_PAGES && commit_pages(f, e) < 0)
		return FOLLOW_FAIL;
	return publish(f, e);
}

enum follow_result content_look(struct follow *f, struct err *e)
{
	const struct follow_content *c = &f->content;
	return follow_content_waits(f, NULL) && !f->holding && !c->inside && is_enough(f) ? settle(f, e)
											  : FOLLOW_OK;
}

enum follow_result follow_content_settle(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	if (c->mode == CONTENT_NONE || !c->ended)
		return err_set(e, ERR_FAIL, "%s: no content is waiting", f->o.path);
	if (c->inside) {
		err_set(e, ERR_BUSY, "%s: a transaction of the source has not come to its end", f->o.path);
		return FOLLOW_AGAIN;
	}
	enum follow_result rc = c->ready ? install_file(f, e) : settle(f, e);
	if (rc != FOLLOW_OK && !(rc == FOLLOW_AGAIN && f->content.ready))
		follow_drop(f);
	return rc;
}

static int count_pages(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	uint64_t pages = c->pages;
	if (c->mode == CONTENT_UNKNOWN || c->carry_n != 0 ||
	    (c->mode == CONTENT_FILE && c->bytes % c->page_bytes != 0))
		return err_set(e, ERR_DAMAGED, "%s: the content from the source ends too early", f->o.path);
	if (c->mode == CONTENT_FILE)
		pages = c->bytes / c->page_bytes;
	else if (pages == 0)
		pages = c->last_pgno;
	if (pages == 0 || pages > UINT32_MAX - 1)
		return err_set(e, ERR_DAMAGED, "%s: %" PRIu64 " pages are no database", f->o.path, pages);
	c->pages = (uint32_t)pages;
	return 0;
}

/* Page 1 is still to be written: with the commit, or without it when WAL is to follow. */
static int end_pages(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	bool none = c->page1[AT_VERSIONS] == 0;
	if (none && txn_read_page(f, f->live.mx_frame, 1, c->page1, e) < 0)
		return -1;
	return txn_frame(f, 1, c->waits ? 0 : c->pages, c->page1, e);
}

enum follow_result follow_content_end(struct follow *f, struct err *e)
{
	struct follow_content *c = &f->content;
	enum follow_result rc = FOLLOW_FAIL;
	if (c->mode == CONTENT_NONE)
		return err_set(e, ERR_FAIL, "%s: no content was begun", f->o.path);
	if (c->ended && !c->ready)
		return FOLLOW_OK;
	if (c->ended) {
		rc = install_file(f, e);
	} else if (count_pages(f, e) == 0 && (c->mode == CONTENT_FILE || end_pages(f, e) == 0)) {
		c->ended = true;
		f->next = c->source;
		rc = c->waits ? FOLLOW_OK : publish(f, e);
	}
	if (rc != FOLLOW_OK && !(rc == FOLLOW_AGAIN && f->content.ready))
		follow_drop(f);
	return rc;
}
