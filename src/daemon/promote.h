/* SPDX-License-Identifier: Apache-2.0
 *
 * Promotion: a followed database becomes a primary (docs/live.md). */
#ifndef WB_DAEMON_PROMOTE_H
#define WB_DAEMON_PROMOTE_H

#include "base/err.h"
#include "db/follow.h"

/* Whether the database of this metadata directory was promoted here; *ret_text (TEXT_MAX_BYTES, may be NULL):
 * when and from where, for people. */
enum { PROMOTED_TEXT_BYTES = 256 };
bool promoted_before(const char *meta_dir, char ret_text[PROMOTED_TEXT_BYTES]);

/* An open follower becomes a primary: its lineage gets a line, the promotion is noted, following ends, and f is
 * closed. After an error f is as it was, or (once it is noted) closed by the next try. */
int promote_here(struct follow *f, const char *meta_dir, struct err *e);

/* The same when nobody follows it at the moment. ERR_BUSY: a daemon does. */
int promote_offline(const char *path, const char *meta_dir, struct err *e);

#endif
