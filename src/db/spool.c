/* SPDX-License-Identifier: Apache-2.0
 *
 * The spool: see spool.h.
 *
 * Happy path: begin creates NAME.tmp (or takes spare.tmp, which was prepared), add writes, commit syncs the
 * bytes and renames. The name itself becomes durable with spool_sync (one fsync of the directory for all),
 * which the relay calls before it lets frames of the WAL go. So what a replica may already have was synced
 * before, and what the WAL may already have lost is in the spool.
 *
 * Failure modes: no space (the temp file is removed, the position has not moved); a crash leaves a .tmp, which
 * the next start removes, or a segment whose bytes were not synced: spool_load reads every segment to its
 * checksum and drops the first bad one and all behind it. */
#include "db/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sys.h"

enum { PIECE_BYTES = 256 << 10 };

void spool_segment_free(struct spool_segment *s)
{
	if (!s)
		return;
	free(s->commits);
	free(s);
}

void spool_segments_free(struct spool_segment *list)
{
	while (list) {
		struct spool_segment *next = list->next;
		spool_segment_free(list);
		list = next;
	}
}

int spool_init(struct spool *s, const char *meta_dir, const struct owner *owner, struct err *e)
{
	char dir[PATH_BYTES];
	*s = (struct spool){ .owner = *owner, .times = TIMES_INIT };
	if (path_join(dir, meta_dir, "walbrook/spool") < 0)
		return err_set(e, ERR_FAIL, "%s: path is too long", meta_dir);
	if (dir_make(dir, owner, e) < 0)
		return err_wrap(e, "spool");
	s->dir = strdup(dir);
	return s->dir ? 0 : err_set(e, ERR_FAIL, "no memory");
}

static void generation_dir(const struct spool *s, const struct generation *g, char *buf)
{
	snprintf(buf, PATH_BYTES, "%s/%s", s->dir, g->name);
}

static int spare_path(const struct spool *s, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%s/%s/spare.tmp", s->dir, s->dir_made.name);
	return n < 0 || (size_t)n >= size ? -1 : 0;
}

static void drop_spare(struct spool *s)
{
	char path[PATH_BYTES];
	if (!s->has_spare)
		return;
	close(s->spare_fd);
	s->has_spare = false;
	if (spare_path(s, path, sizeof path) == 0)
		sys_unlink(path);
}

void spool_prepare(struct spool *s)
{
	char path[PATH_BYTES];
	struct err ignored;
	if (s->has_spare || generation_none(&s->dir_made) || spare_path(s, path, sizeof path) < 0)
		return;
	s->spare_fd = file_create(path, &s->owner, &ignored);
	s->has_spare = s->spare_fd >= 0;
}

void spool_fini(struct spool *s)
{
	for (int i = 0; i < s->unsynced_n; i++)
		close(s->unsynced[i]);
	drop_spare(s);
	if (s->dir)
		times_fini(&s->times);
	free(s->dir);
	*s = (struct spool){ 0 };
}

void spool_path(const struct spool *s, const struct generation *g, struct position at, char *buf)
{
	char name[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_SEGMENT, .generation = *g, .at = at };
	snprintf(buf, PATH_BYTES, "%s/%s/%s", s->dir, g->name, object_name(name, &o));
}

int spool_begin(struct spool *s, const struct generation *g, struct position at, struct spool_file *f,
		struct err *e)
{
	*f = (struct spool_file){ .spool = s, .generation = *g, .at = at, .fd = -1 };
	if (!generation_equal(g, &s->dir_made)) {
		char dir[PATH_BYTES];
		drop_spare(s);
		generation_dir(s, g, dir);
		if (dir_make(dir, &s->owner, e) < 0)
			return err_wrap(e, "spool");
		s->dir_made = *g;
	}
	spool_path(s, g, at, f->path);
	if (s->has_spare && spare_path(s, f->temp, sizeof f->temp) == 0) {
		f->fd = s->spare_fd;
		s->has_spare = false;
		return 0;
	}
	int n = snprintf(f->temp, sizeof f->temp, "%s.tmp", f->path);
	if (n < 0 || (size_t)n >= sizeof f->temp)
		return err_set(e, ERR_FAIL, "%s: path is too long", f->path);
	f->fd = file_create(f->temp, &s->owner, e);
	return f->fd < 0 ? -1 : 0;
}

int spool_add(struct spool_file *f, struct span stored, struct err *e)
{
	if (file_write_all(f->fd, f->temp, stored.p, stored.n, e) < 0)
		return -1;
	f->stored_bytes += stored.n;
	return 0;
}

void spool_abort(struct spool_file *f)
{
	if (f->fd < 0)
		return;
	close(f->fd);
	f->fd = -1;
	sys_unlink(f->temp);
}

/* The newest first: its sync brings a file system that keeps a journal to write down all of them. */
static int sync_unsynced(struct spool *s, struct err *e)
{
	int rc = 0;
	for (int i = s->unsynced_n - 1; i >= 0; i--) {
		if (rc == 0 && sys_fdatasync(s->unsynced[i]) < 0)
			rc = err_sys(e, errno, "%s: cannot sync a segment", s->dir);
		s->lost = s->lost || rc < 0;
		close(s->unsynced[i]);
	}
	s->unsynced_n = 0;
	return rc;
}

void spool_note_times(const struct spool_file *f, const struct spool_segment *segment)
{
	char dir[PATH_BYTES];
	struct spool *s = f->spool;
	generation_dir(s, &f->generation, dir);
	times_note(&s->times, dir, &s->owner, segment);
}

void spool_rest(struct spool *s)
{
	drop_spare(s);
	if (s->dir)
		times_rest(&s->times);
}

int spool_commit(struct spool_file *f, bool sync, struct err *e)
{
	struct spool *s = f->spool;
	if (!sync && s->unsynced_n == SPOOL_UNSYNCED_MAX)
		sync = true;
	if (sync && sys_fdatasync(f->fd) < 0) {
		err_sys(e, errno, "%s: cannot sync", f->temp);
		spool_abort(f);
		return -1;
	}
	if (sys_rename(f->temp, f->path) < 0) {
		err_sys(e, errno, "%s: cannot rename", f->temp);
		spool_abort(f);
		return -1;
	}
	if (sync)
		close(f->fd);
	else
		s->unsynced[s->unsynced_n++] = f->fd;
	f->fd = -1;
	s->names_unsynced = true;
	s->bytes += f->stored_bytes;
	return 0;
}

int spool_sync(struct spool *s, struct err *e)
{
	if (sync_unsynced(s, e) < 0)
		return -1;
	if (!s->names_unsynced)
		return 0;
	char dir[PATH_BYTES];
	generation_dir(s, &s->dir_made, dir);
	if (dir_sync(dir, e) < 0)
		return -1;
	s->names_unsynced = false;
	return 0;
}

void spool_send_ahead(const struct spool *s)
{
	for (int i = 0; i < s->unsynced_n; i++)
		sys_sync_file_range(s->unsynced[i], 0, 0, SYNC_FILE_RANGE_WRITE);
}

void spool_forget_unsynced(struct spool *s)
{
	for (int i = 0; i < s->unsynced_n; i++)
		close(s->unsynced[i]);
	s->unsynced_n = 0;
	s->names_unsynced = false;
}

int spool_remove(struct spool *s, const struct generation *g, struct position at, uint64_t stored_bytes,
		 struct err *e)
{
	char path[PATH_BYTES];
	spool_path(s, g, at, path);
	if (sys_unlink(path) < 0 && errno != ENOENT)
		return err_sys(e, errno, "%s: cannot be removed", path);
	s->bytes -= stored_bytes < s->bytes ? stored_bytes : s->bytes;
	generation_dir(s, g, path);
	if (at.offset == 0)
		times_passed(&s->times, path, g, at.index);
	return 0;
}

/* Reading back. */

struct load {
	struct wal_chain chain;
	bool chain_set, bad;
	struct dyn head; /* collects the header, or what tells the page size, across pieces */
	uint64_t plain;
	uint32_t page_bytes;
	uint64_t start;
	uint8_t last_frame[WAL_FRAME_HEADER_BYTES];
	bool big_endian, have_header, have_frame;
	struct wal_header header;
};

/* Keeps what continues the chain: the WAL header if the segment has it, and the header of its last frame. */
static int load_plain(void *arg, struct span out, struct err *e)
{
	struct load *l = arg;
	(void)e;
	for (size_t i = 0; i < out.n;) {
		uint64_t at = l->start + l->plain;
		size_t step;
		if (at < WAL_HEADER_BYTES) {
			step = (size_t)(WAL_HEADER_BYTES - at);
			if (step > out.n - i)
				step = out.n - i;
			if (dyn_add(&l->head, out.p + i, step) < 0)
				l->bad = true;
			if (at + step == WAL_HEADER_BYTES) {
				struct span h = { l->head.p, l->head.len };
				if (wal_header_parse(h, &l->header) != WAL_OK)
					l->bad = true;
				l->have_header = true;
				l->page_bytes = l->header.page_bytes;
				l->head.len = 0;
			}
		} else if (!l->page_bytes) {
			/* Of an older generation, its beginning not here any more: see guess_page_bytes. */
			size_t room = l->head.max - l->head.len;
			step = out.n - i;
			if (dyn_add(&l->head, out.p + i, step < room ? step : room) < 0)
				l->bad = true;
		} else {
			uint64_t frame = wal_frame_bytes(l->page_bytes);
			uint64_t in_frame = (at - WAL_HEADER_BYTES) % frame;
			step = (size_t)(frame - in_frame);
			if (step > out.n - i)
				step = out.n - i;
			for (size_t k = 0; k < step && in_frame + k < WAL_FRAME_HEADER_BYTES; k++)
				l->last_frame[in_frame + k] = out.p[i + k];
			if (in_frame + step == frame)
				l->have_frame = true;
		}
		i += step;
		l->plain += step;
	}
	return 0;
}

/* The page size of a segment without a header of the WAL: the one with which it is whole frames, the second of
 * which has the salts of the first. What comes next in the index object needs it. */
static uint32_t guess_page_bytes(const struct load *l)
{
	for (uint32_t n = PAGE_BYTES_MIN; n <= PAGE_BYTES_MAX; n *= 2) {
		uint64_t frame = wal_frame_bytes(n);
		if (l->plain < frame || l->plain % frame || (l->start - WAL_HEADER_BYTES) % frame)
			continue;
		if (l->plain == frame || memcmp(l->head.p + 8, l->head.p + frame + 8, 8) == 0)
			return n;
	}
	return 0;
}

static int read_segment(const char *path, struct load *l, uint8_t *piece, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "%s: cannot open", path);
	struct segment_reader *r = segment_reader_new(load_plain, l);
	int rc = r ? 0 : err_set(e, ERR_FAIL, "no memory");
	ssize_t n = 1;
	for (off_t at = 0; rc == 0 && n > 0; at += n) {
		n = file_pread_full(fd, path, piece, PIECE_BYTES, at, e);
		rc = n < 0 ? -1 : segment_read(r, (struct span){ piece, (size_t)n }, e);
	}
	if (rc == 0)
		rc = segment_read_end(r, e);
	segment_reader_free(r);
	close(fd);
	return rc;
}

struct name {
	struct position at;
	uint64_t stored_bytes;
	int64_t mtime_us;
};

static int compare_names(const void *a, const void *b)
{
	return position_compare(((const struct name *)a)->at, ((const struct name *)b)->at);
}

/* Lists the segments of a generation, removes temp files. */
static int list_names(struct spool *s, const struct generation *g, struct name **ret, size_t *ret_n,
		      struct err *e)
{
	char dir[PATH_BYTES], path[PATH_BYTES + 300];
	size_t n = 0, cap = 0;
	struct name *v = NULL;
	generation_dir(s, g, dir);
	*ret = NULL;
	*ret_n = 0;
	drop_spare(s);
	DIR *d = opendir(dir);
	if (!d)
		return errno == ENOENT ? 0 : err_sys(e, errno, "%s: cannot be read", dir);
	for (struct dirent *de; (de = readdir(d));) {
		struct position at;
		struct stat st;
		size_t len = strlen(de->d_name);
		snprintf(path, sizeof path, "%s/%s", dir, de->d_name);
		if (len > 4 && strcmp(de->d_name + len - 4, ".tmp") == 0) {
			sys_unlink(path);
			continue;
		}
		if (!object_parse(de->d_name, OBJECT_SEGMENT, &at) || stat(path, &st) < 0)
			continue;
		if (n == cap) {
			cap = cap ? cap * 2 : 64;
			struct name *more = realloc(v, cap * sizeof *v);
			if (!more) {
				free(v);
				closedir(d);
				return err_set(e, ERR_FAIL, "no memory");
			}
			v = more;
		}
		v[n++] = (struct name){ at, (uint64_t)st.st_size,
					st.st_mtim.tv_sec * 1000000LL + st.st_mtim.tv_nsec / 1000 };
	}
	closedir(d);
	if (n)
		qsort(v, n, sizeof *v, compare_names);
	*ret = v;
	*ret_n = n;
	return 0;
}

/* When its commits were seen, if that was kept; else only that it ends with one, not later than the file's
 * time. */
static int commits_of(struct spool_segment *seg, const struct times_kept *kept, int64_t mtime_us)
{
	int rc = times_find(kept, seg->at.offset, seg->end, &seg->commits, &seg->commits_n);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (!(seg->commits = malloc(sizeof *seg->commits)))
		return -1;
	seg->commits[0] = (struct index_commit){ seg->end, mtime_us };
	seg->commits_n = 1;
	return 0;
}

/* One name becomes a segment; -1 with *e when it is damaged or does not continue what was before. */
static int load_one(struct spool *s, const struct generation *g, const struct name *n, struct load *l,
		    const struct spool_segment *before, const struct times_kept *kept, uint8_t *piece,
		    struct spool_segment **ret, struct err *e)
{
	char path[PATH_BYTES];
	spool_path(s, g, n->at, path);
	l->start = n->at.offset;
	l->plain = 0;
	l->have_frame = false;
	l->head.len = 0;
	if (before && !(n->at.index == before->at.index && n->at.offset == before->end) &&
	    !(n->at.index == before->at.index + 1 && n->at.offset == 0))
		return err_set(e, ERR_DAMAGED, "%s: does not continue the segment before", path);
	if (read_segment(path, l, piece, e) < 0)
		return err_wrap(e, "%s", path);
	bool guess = !l->page_bytes && l->start >= WAL_HEADER_BYTES && l->plain > 0;
	if (guess)
		l->page_bytes = guess_page_bytes(l);
	if (l->bad || l->plain == 0 || (guess && !l->page_bytes))
		return err_set(e, ERR_DAMAGED, "%s: is not a piece of a WAL", path);
	struct spool_segment *seg = calloc(1, sizeof *seg);
	if (!seg)
		return err_set(e, ERR_FAIL, "no memory");
	*seg = (struct spool_segment){ .generation = *g,
				       .at = n->at,
				       .end = n->at.offset + l->plain,
				       .stored_bytes = n->stored_bytes,
				       .page_bytes = l->page_bytes };
	if (seg->at.offset == 0)
		seg->prev_end = before ? before->end : times_prev_end(kept, seg->end);
	if (commits_of(seg, kept, n->mtime_us) < 0) {
		free(seg);
		return err_set(e, ERR_FAIL, "no memory");
	}
	if (l->have_frame) {
		memcpy(seg->salt, l->last_frame + 8, 8);
		l->chain.sum = (struct wal_sum){ get_be32(l->last_frame + 16), get_be32(l->last_frame + 20) };
	} else if (l->have_header) {
		memcpy(seg->salt, l->header.salt, 8);
		l->chain.sum = l->header.sum;
	}
	if (guess) /* the chain is not known, but nobody continues an older generation */
		memcpy(seg->salt, l->head.p + 8, 8);
	memcpy(l->chain.salt, seg->salt, 8);
	if (l->have_header)
		l->chain.big_endian = l->header.big_endian;
	l->chain.page_bytes = l->page_bytes;
	l->chain.offset = seg->end;
	*ret = seg;
	return 0;
}

int spool_load(struct spool *s, const struct generation *g, struct spool_segment **ret, struct wal_chain *tail,
	       struct err *e)
{
	struct name *names;
	size_t n;
	if (list_names(s, g, &names, &n, e) < 0)
		return -1;
	enum { HEAD_BYTES = 2 * WAL_FRAME_HEADER_BYTES + PAGE_BYTES_MAX };
	struct load l = { .head = DYN_INIT(HEAD_BYTES), .page_bytes = tail->page_bytes, .chain = *tail };
	uint8_t *piece = malloc(PIECE_BYTES);
	struct spool_segment *first = NULL, **end = &first, *before = NULL;
	bool dropping = false;
	int rc = 0;
	char dir[PATH_BYTES];
	struct times_kept kept = { 0 };
	generation_dir(s, g, dir);
	if (!piece)
		rc = err_set(e, ERR_FAIL, "no memory");
	for (size_t i = 0; piece && i < n; i++) {
		struct err why;
		if (i == 0 || names[i].at.index != names[i - 1].at.index) {
			times_kept_free(&kept);
			times_read(dir, names[i].at.index, &kept);
		}
		if (!dropping && load_one(s, g, &names[i], &l, before, &kept, piece, end, &why) == 0) {
			s->bytes += names[i].stored_bytes;
			before = *end;
			end = &before->next;
			continue;
		}
		if (!dropping && why.kind != ERR_DAMAGED) {
			*e = why; /* it may be readable later: nothing is dropped */
			rc = -1;
			break;
		}
		s->dropped = true;
		if (!dropping)
			log_warn("spool: dropping an unusable segment and what follows it",
				 L_S("error", why.text));
		dropping = true;
		char path[PATH_BYTES];
		spool_path(s, g, names[i].at, path);
		sys_unlink(path);
	}
	if (first)
		*tail = l.chain;
	free(names);
	times_kept_free(&kept);
	free(piece);
	dyn_free(&l.head);
	*ret = first;
	return rc;
}

int spool_generations(struct spool *s, int (*fn)(void *arg, const struct generation *g), void *arg,
		      struct err *e)
{
	DIR *d = opendir(s->dir);
	if (!d)
		return err_sys(e, errno, "%s: cannot be read", s->dir);
	int rc = 0;
	for (struct dirent *de; rc == 0 && (de = readdir(d));) {
		if (!generation_valid(de->d_name))
			continue;
		struct generation g;
		memcpy(g.name, de->d_name, sizeof g.name);
		rc = fn(arg, &g);
	}
	closedir(d);
	return rc;
}

int spool_remove_generation(struct spool *s, const struct generation *g, struct err *e)
{
	struct name *names;
	size_t n;
	char path[PATH_BYTES];
	if (list_names(s, g, &names, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		spool_path(s, g, names[i].at, path);
		sys_unlink(path);
	}
	free(names);
	generation_dir(s, g, path);
	times_remove_all(path);
	sys_rmdir(path);
	if (generation_equal(g, &s->dir_made))
		s->dir_made = (struct generation){ "" };
	return 0;
}
