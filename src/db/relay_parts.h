/* SPDX-License-Identifier: Apache-2.0
 *
 * What relay.c and relay_along.c share; for nobody else. */
#ifndef WB_DB_RELAY_PARTS_H
#define WB_DB_RELAY_PARTS_H

#include "db/relay.h"

enum relay_result relay_busy_or_fail(const struct err *e);

/* The index as it is now. -1: it is being written, *e is BUSY. */
int relay_index_now(struct conn *c, struct wal_index *h, struct err *e);

/* Captures through the index as it is now, which is put into *h. durable: and syncs it. */
enum relay_result relay_capture_now(struct relay *r, struct conn *conn, struct capture *c, bool durable,
				    struct wal_index *h, struct err *e);

/* Steps 1 to 3 of a round: after RELAY_OK both hold, everything up to the other's snapshot is captured, and the
 * holder may go. */
enum relay_result relay_both_hold(struct relay *r, struct capture *c, bool durable, struct wal_index *h,
				  struct err *e);

/* Lets a read go and remembers its slot. */
void relay_let(struct relay *r, struct conn *c);

/* The write lock was held since from_us, until now. */
void relay_note_hold(struct relay *r, int64_t from_us);

/* Another process has this lock of the shared index. */
bool relay_foreign_lock(struct relay *r, int lock, int *ret_pid);

#endif
