/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: whole reads and writes that survive EINTR and short transfers, publication by temp file, fsync, rename
 * and directory fsync, and paths. Every function that fails names the path in the error. */
#ifndef WB_BASE_FILE_H
#define WB_BASE_FILE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* Mode and owner for new files and directories, taken from the database and its directory (as Litestream does).
 * uid and gid of -1: leave. A refused chown is not an error (we may not be root). */
struct owner {
	mode_t file_mode, dir_mode;
	uid_t uid, dir_uid;
	gid_t gid, dir_gid;
};
#define OWNER_PRIVATE                                                                                          \
	((struct owner){ .file_mode = 0600,                                                                    \
			 .dir_mode = 0700,                                                                     \
			 .uid = (uid_t)-1,                                                                     \
			 .dir_uid = (uid_t)-1,                                                                 \
			 .gid = (gid_t)-1,                                                                     \
			 .dir_gid = (gid_t)-1 })
struct owner owner_of(const char *db_path); /* private if the database is not there */

int file_read_all(const char *path, struct dyn *to, struct err *e);
int file_write_all(int fd, const char *path, const void *p, size_t n, struct err *e);
int file_pwrite_all(int fd, const char *path, const void *p, size_t n, off_t off, struct err *e);
/* Reads up to n bytes at off; fewer only at the end of the file. -1 and *e, or the count. */
ssize_t file_pread_full(int fd, const char *path, void *p, size_t n, off_t off, struct err *e);
/* Creates (truncating) with the owner's mode, and applies uid and gid. Returns the descriptor or -1. */
int file_create(const char *path, const struct owner *o, struct err *e);
/* Publishes bytes: path + ".tmp", fsync, rename, directory fsync. On an error nothing is left behind. */
int file_publish(const char *path, const void *p, size_t n, const struct owner *o, struct err *e);
int dir_sync(const char *dir, struct err *e);
int dir_make(const char *dir, const struct owner *o, struct err *e); /* with parents; fine if it is there */

#define PATH_BYTES 4096
/* All of these write into buf (PATH_BYTES) and return 0, or -1 when it does not fit. */
int path_join(char *buf, const char *dir, const char *name);
int path_dir(char *buf, const char *path);
int path_absolute(char *buf, const char *path, struct err *e); /* ~ expanded, lexically cleaned, links kept */
const char *path_base(const char *path);		       /* borrows from path */
/* The word as it is written in a shell, in quotes if it needs them; cut when it does not fit. Returns buf. */
char *shell_word(char *buf, size_t n, const char *word);

#endif
