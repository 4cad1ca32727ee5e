/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection of ours to a database in WAL mode, opened so that it never disturbs: no automatic checkpoint,
 * none on close, the WAL stays, no schema is read. And the shared index as memory. */
#ifndef WB_DB_CONN_H
#define WB_DB_CONN_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/wal.h"

struct conn {
	sqlite3 *db; /* NULL: closed */
	sqlite3_file *file, *wal_file;
	bool bare; /* sits on bare_slot by its lock alone */
	int bare_slot;
	const volatile uint8_t *shm; /* the first region of the shared index; valid while any of ours is open */
};

/* Opens and brings the connection to where the WAL and its index are mapped (begins and ends a read). ERR_BUSY:
 * try again soon; ERR_DAMAGED: not a database; ERR_FAIL with a named state: not WAL, read-only shared index,
 * exclusive. */
int conn_open(struct conn *c, const char *path, struct err *e);
void conn_close(struct conn *c); /* ends a transaction; never checkpoints */

/* Begins a read transaction and makes sure that it holds a read slot. ERR_BUSY: try again. */
int conn_begin(struct conn *c, struct err *e);
void conn_end(struct conn *c);
static inline bool conn_is_open(const struct conn *c)
{
	return c->db != NULL;
}
bool conn_reading(const struct conn *c); /* or sits on a slot */
int conn_slot(const struct conn *c);	 /* 0…4, -1: not reading */

/* Sits on a read slot by its lock alone, which is one system call; conn_end lets it go. The connection must not
 * be reading.
 *   0:    shared. Nothing is copied meanwhile. What the index says counts only once the lock is there.
 *   2…4:  exclusively, with the mark of a slot that is not in use: the WAL does not begin anew, and anybody may
 *         copy all of it. Slot 1 is left to the application: SQLite counts on being able to join its mark.
 * false: somebody else has it. */
bool conn_take_slot(struct conn *c, int slot);
/* From the slot 2…4 that it sits on to slot 0, in two steps, so that one of them is always held: takes slot 0
 * as well, and lets one of the two go. */
bool conn_add_slot_0(struct conn *c);
void conn_keep_one_slot(struct conn *c, bool slot_0);

/* The write lock for a short moment, without a transaction: waits at most wait_us. ERR_BUSY: not got. The
 * connection is used for nothing else. */
int conn_take_write(struct conn *c, int64_t wait_us, struct err *e);
void conn_drop_write(struct conn *c);

/* PASSIVE checkpoint: copies what nobody forbids. ERR_BUSY: another one is at work. */
int conn_passive(struct conn *c, struct err *e);

/* Takes the checkpoint lock: every checkpoint that began before is over. The next conn_passive uses it up.
 * false: it is busy. */
bool conn_take_checkpoint(struct conn *c);
void conn_drop_checkpoint(struct conn *c);

/* The header of the shared index: raw is filled with the 48 bytes of a validated copy. false: being written, or
 * not valid; look again. */
bool conn_index(const struct conn *c, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret);
/* The same, for a few milliseconds if it is being written. */
bool conn_index_patiently(const struct conn *c, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret);
uint32_t shm_backfill(const volatile uint8_t *shm);
uint32_t shm_mark(const volatile uint8_t *shm, int slot); /* of a read slot >= 1 */
/* If the slot >= 1 that this connection holds has this mark: makes it one lower. A checkpoint copies one frame
 * less then. */
void conn_lower_mark(struct conn *c, uint32_t mark);
uint32_t shm_attempted(const volatile uint8_t *shm); /* through which frame a checkpoint has begun to copy */
bool shm_index(const volatile uint8_t *shm, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret);

/* Reads from the WAL or the database file through SQLite's own descriptors (see spec of POSIX locks in
 * relay.c). Returns bytes read, short only at the end of the file; -1 and *e. */
long conn_read_wal(struct conn *c, void *p, size_t n, uint64_t off, struct err *e);
long conn_read_db(struct conn *c, void *p, size_t n, uint64_t off, struct err *e);
/* fsync of both files outside any lock, so that a checkpoint's own finds nothing left to write. */
int conn_sync_wal(struct conn *c, struct err *e);
int conn_sync_db(struct conn *c, struct err *e);

/* The database or its WAL is no longer what its name leads to. */
bool conn_moved(struct conn *c);
const char *conn_wal_path(const struct conn *c);
void conn_shm_path(const struct conn *c, char *buf); /* writes PATH_BYTES */

#endif
