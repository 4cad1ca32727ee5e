/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the follower share; not for others. */
#ifndef WB_DB_FOLLOW_PARTS_H
#define WB_DB_FOLLOW_PARTS_H

#include "db/follow.h"

/* follow.c */
enum follow_result follow_attach(struct follow *f, struct err *e); /* opens the connection, takes the lock */
void follow_detach(struct follow *f);
void follow_note_file(struct follow *f);    /* what it looks like now is our doing, or that of a checkpoint */
void follow_look_at_file(struct follow *f); /* since then: sets f->overwritten */
struct follow_local follow_local_of(const struct wal_index *h);

/* follow_txn.c: one transaction of our WAL. All drop it when they fail. */
void txn_reset(struct follow *f);
int txn_frame(struct follow *f, uint32_t pgno, uint32_t commit_pages, const uint8_t *page, struct err *e);
/* The last frame carried the commit of `pages`; readers see it when this returns 0. */
int txn_publish(struct follow *f, uint32_t pages, const struct follow_source *to, struct err *e);
int txn_flush(struct follow *f, struct err *e);
/* Frames of the transaction (limit f->frames) or what is published (f->live.mx_frame). */
int txn_read_page(struct follow *f, uint32_t limit, uint32_t pgno, uint8_t *page, struct err *e);
/* An empty log proves nothing after a crash: page 1 is written into it once more. */
enum follow_result txn_anchor(struct follow *f, struct err *e);

/* follow_content.c */
enum follow_result content_frame(struct follow *f, const struct wal_frame *fr, struct err *e);
/* All WAL of the segment was taken: publishes if that is enough. */
enum follow_result content_look(struct follow *f, struct err *e);
void content_drop(struct follow *f);

/* follow_log.c */
/* Everything of the log is in the database file. FOLLOW_AGAIN: a reader is in the way. */
enum follow_result log_backfill(struct follow *f, struct err *e);
enum follow_result log_tend(struct follow *f, struct err *e);
enum follow_result log_cap(struct follow *f, struct err *e);
/* The other process that holds a lock of the shared index (SHM_…); 0: none. */
int log_holder(struct follow *f, int lock);

#endif
