/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of system calls that change files. Everything in the program that changes a file goes through it,
 * so that a test build can make the Nth call fail, write short, or stop the process there (test/faults). The
 * release build has the plain functions and no way to change them.
 *
 * SQLite's own calls in our process go through it too (db/vfs.c). */
#ifndef WB_BASE_SYS_H
#define WB_BASE_SYS_H

#include <stddef.h>
#include <sys/types.h>

int sys_open(const char *path, int flags, mode_t mode); /* O_CLOEXEC is always added; EINTR is retried */
int sys_mkdir(const char *path, mode_t mode);
int sys_unlink(const char *path);
int sys_unlinkat(int dir_fd, const char *name, int flags);
int sys_rmdir(const char *path);
int sys_rename(const char *from, const char *to);
/* EEXIST instead of replacing. Atomic; where the file system cannot do that, a link and an unlink: then both
 * names are there for a moment, never neither. */
int sys_rename_noreplace(const char *from, const char *to);
int sys_link(const char *from, const char *to);
int sys_ftruncate(int fd, off_t size);
int sys_fallocate(int fd, int mode, off_t off, off_t len);
int sys_fsync(int fd);
int sys_fdatasync(int fd);
int sys_sync_file_range(int fd, off_t off, off_t len,
			unsigned flags); /* a hint for writeback, promises nothing */
int sys_fchmod(int fd, mode_t mode);
int sys_fchown(int fd, uid_t uid, gid_t gid);
int sys_futimens(int fd, const struct timespec times[2]); /* NULL: now */
int sys_chown(const char *path, uid_t uid, gid_t gid);
/* One transfer: fewer bytes than asked for are possible (file_write_all and file_pwrite_all go on). */
ssize_t sys_write(int fd, const void *p, size_t n);
ssize_t sys_pwrite(int fd, const void *p, size_t n, off_t off);

#ifdef WALBROOK_FAULTS
/* Names of the calls as WALBROOK_FAULT and the trace spell them; NULL at the end. */
extern const char *const sys_names[];
/* SQLite syncs with a call that cannot be replaced: its VFS wrapper asks here first ("sqlite_sync"). */
int sys_fault_sqlite_sync(void);
#endif

#endif
