/* SPDX-License-Identifier: Apache-2.0
 *
 * A thin VFS around SQLite's own ("unix"): everything goes straight through, but each open database file
 * remembers which locks of the shared index it holds. So we know on which read slot a connection of ours sits,
 * which SQLite does not tell and on which the relay depends. */
#ifndef WB_DB_VFS_H
#define WB_DB_VFS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define VFS_NAME "walbrook"

/* Lock numbers of the shared index (SQLite's file format documentation, "WAL-index format"). */
enum { SHM_WRITE = 0, SHM_CKPT = 1, SHM_RECOVER = 2, SHM_READ0 = 3, SHM_LOCKS = 8 };
#define SHM_MARK_NONE UINT32_MAX /* the mark of a slot that is not in use */

/* Once, before the first database is opened: configures SQLite (no mutexes we do not need, no preallocated
 * caches) and registers the VFS. */
int vfs_setup(struct err *e);

/* The read slot (0…4) that this file holds, -1: none. `file` comes from SQLITE_FCNTL_FILE_POINTER. */
int vfs_read_slot(sqlite3_file *file);

/* Holds a read slot shared for a moment, so that a connection that begins meanwhile does not raise its mark and
 * sit on it. false: somebody has it exclusively. */
bool vfs_block_slot(sqlite3_file *file, int slot);
void vfs_unblock_slot(sqlite3_file *file, int slot);

/* Takes a read slot by its lock alone, without a transaction: slot 0 shared, another one exclusively. false:
 * somebody has it. */
bool vfs_take_slot(sqlite3_file *file, int slot);
void vfs_drop_slot(sqlite3_file *file, int slot);

/* Takes the checkpoint lock through this file and keeps it. A checkpoint that SQLite then runs on the same
 * connection finds the lock taken and gives it back at its end; so nobody comes between. false: somebody else
 * has it. */
bool vfs_take_checkpoint(sqlite3_file *file);
void vfs_drop_checkpoint(sqlite3_file *file); /* if it is still kept */

/* The write lock of the WAL itself, without a transaction of SQLite around it: one system call a try, so that
 * the moment between two commits of a writer that never pauses is met. The connection must do nothing else
 * meanwhile. */
bool vfs_take_write(sqlite3_file *file);
void vfs_drop_write(sqlite3_file *file);
/* Takes the write lock of the shared index through this file and keeps it: whatever SQLite does on the same
 * connection (a checkpoint, a recovery) finds it taken and leaves it so, and nobody else writes. false:
 * somebody else has it. Must be dropped before the connection is closed. */
bool vfs_keep_write(sqlite3_file *file);
void vfs_let_write(sqlite3_file *file); /* if it is kept */

#endif
