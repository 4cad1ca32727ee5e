/* SPDX-License-Identifier: Apache-2.0
 *
 * A store holds objects under keys: the seam behind which files, and later S3, GCS, Azure and SFTP lie. Calls
 * block; a store is used by one thread at a time. Keys are relative, with `/`, without a leading one.
 *
 * An object appears whole and durable at commit, or not at all. Publishing an existing key replaces it. */
#ifndef WB_STORE_STORE_H
#define WB_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

struct store;
struct store_put;
struct store_get;

struct store_entry {
	const char *name; /* last component, valid during the call */
	bool is_dir;	  /* a common prefix */
	uint64_t bytes;
	int64_t created_us; /* what the store reports: mtime for files */
};
typedef int store_list_fn(void *arg, const struct store_entry *entry, struct err *e);

struct store_ops {
	const char *scheme; /* also the name of the type: "file" */
	/* Everything directly below prefix (which ends with `/`, or is ""), in any order. A prefix that is not
	 * there is an empty listing. The root itself missing is ERR_NOTHING with its path. */
	int (*list)(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e);
	/* Streaming upload. After put_commit or put_abort *p is gone. put_commit publishes durably. */
	int (*put_begin)(struct store *s, const char *key, struct store_put **ret, struct err *e);
	int (*put_write)(struct store_put *p, struct span bytes, struct err *e);
	int (*put_commit)(struct store_put *p, struct err *e);
	void (*put_abort)(struct store_put *p);
	/* Streaming download from a byte offset. get_read returns the count, 0 at the end, -1 on failure.
	 * A missing key is ERR_NOTHING. */
	int (*get_begin)(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			 struct err *e);
	long (*get_read)(struct store_get *g, void *p, size_t n, struct err *e);
	void (*get_end)(struct store_get *g);
	/* Missing keys are fine. Returns after all are gone; stops at the first failure. Order is kept. */
	int (*remove)(struct store *s, const char *const *keys, size_t n, struct err *e);
	void (*close)(struct store *s);
	/* optional: NULL when not supported */
	/* Publishes a local, complete, already durable file as key without copying its bytes where that can be
	 * done (same file system). 1: done; 0: cannot here, use put; -1: failed. */
	int (*put_file)(struct store *s, const char *key, const char *local_path, struct err *e);
	/* Removes everything below prefix, ours or not. Only for whole generations. */
	int (*remove_all)(struct store *s, const char *prefix, struct err *e);
	/* Temporary files directly below prefix that uploads have left which did not end (list never shows
	 * them). Those of uploads that are going on are left out. */
	int (*list_temp)(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e);
	/* Makes the names published by put_file durable (they are visible at once). */
	int (*sync)(struct store *s, struct err *e);
};

struct store {
	const struct store_ops *ops;
	char label[PATH_BYTES]; /* for messages: the path or URL without secrets */
	/* How many uploads of this handle had to make the directory that they go to; NULL where there are none.
	 * One that is made a second time was lost, with what was in it. */
	const unsigned long *dirs_made;
};

/* URL: file:///path or a plain path (allow_plain). Unknown schemes: ERR_CONFIG, which names the scheme and the
 * ones that there are. Opening does not touch the destination. `owner` may be NULL (private). */
int store_open(const char *url, bool allow_plain, const struct owner *owner, struct store **ret, struct err *e);
void store_close(struct store *s);

/* Whole small objects. */
int store_put_bytes(struct store *s, const char *key, struct span bytes, struct err *e);
int store_get_bytes(struct store *s, const char *key, struct dyn *to, struct err *e);

/* The file store alone, used by tests: root is a directory. */
int store_file_open(const char *root, const struct owner *owner, struct store **ret, struct err *e);

#endif
