/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking over from Litestream 0.3.13: what it left in the metadata directory becomes segments in our spool and
 * a position, so that its generation goes on and what it had not shipped yet is shipped by us.
 *
 *   <meta>/generation                        16 hex digits and a line feed: its current generation
 *   <meta>/generations/<gen>/wal/<index>.wal its copy of the WAL number <index> (8 hex digits or more): header
 * and frames through the last commit that it saw
 *
 * Only read here; the files stay as they are, so that going back is possible. Source: the behaviour of the
 * original. */
#ifndef WB_DB_TAKEOVER_H
#define WB_DB_TAKEOVER_H

#include <stdint.h>

#include "base/err.h"
#include "db/place.h"
#include "db/spool.h"

/* 1: its newest copies, as many as lie within max_bytes and follow each other, are in the spool (not synced by
 * name yet), and *ret is where the newest ends; 0: there is nothing of it, or nothing beyond `ours`, where a
 * run of ours stopped (generation none: there was none); -1: *e (nothing in *ret). Memory: about 9 MiB while it
 * runs.
 */
int takeover_import(const char *meta_dir, const struct place *ours, struct spool *spool, uint64_t max_bytes,
		    struct place *ret, struct err *e);

#endif
