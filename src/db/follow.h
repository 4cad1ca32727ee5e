/* SPDX-License-Identifier: Apache-2.0
 *
 * A follower's database: source transactions, as they come from a primary, are published atomically in a live
 * SQLite database that ordinary connections of other processes read. docs/follow.md tells the way and why it is
 * safe; the first comments of follow.c, follow_txn.c, follow_content.c and follow_log.c tell the steps.
 *
 * Not for two threads at once. One process must not open files of the database but through SQLite and here:
 * closing them would drop its locks. */
#ifndef WB_DB_FOLLOW_H
#define WB_DB_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "core/layout.h"
#include "core/pagehash.h"
#include "core/wal.h"
#include "db/conn.h"
#include "db/follow_place.h"
#include "db/walindex.h"

enum follow_result {
	FOLLOW_FAIL = -1, /* *e: the file, the disk, or damaged bytes. What was published stays; try again */
	FOLLOW_OK = 0,
	FOLLOW_AGAIN,	/* somebody is in the way (*e says who): try again soon */
	FOLLOW_CONTENT, /* what is here is not a known state of the source (*e says why): bring content, whole
			   or what differs from follow_hashes() */
	FOLLOW_GAP,	/* the bytes do not continue our position (*e says how); ask from follow_position() */
	FOLLOW_FULL,	/* the WAL is at its cap because of a reader that does not end; *e names it */
};

/* What of a piece of WAL readers see when it was taken. */
enum follow_publish {
	FOLLOW_EACH,   /* each transaction by itself */
	FOLLOW_MERGED, /* all of them in one step: when far behind */
	FOLLOW_HELD, /* nothing yet, with the next piece: its bytes are not proven to be those that were sent */
};

struct follow_options {
	const char *path, *meta_dir; /* borrowed for the life of the follower */
	struct owner owner;	     /* of files that are made */
	bool adopt;		     /* take over a database that no follower has written before */
	uint64_t log_limit_bytes;    /* of the WAL, from where on it is begun anew; 0: 4 MiB */
	uint64_t log_cap_bytes;	     /* at which applying waits; 0: 1 GiB. A change of content may pass it */
	int64_t pause_us;	     /* publishing rests this long at first, so that readers go; 0: 10 ms */
};

struct follow_counts {
	uint64_t transactions, frames, published; /* of the source, written, steps seen by readers */
	uint64_t restarts, pauses;		  /* of our WAL; tries to begin it anew */
	uint64_t pages_compared, pages_written;	  /* by changes of content */
	uint64_t files;				  /* times that the database became another file */
};

/* Content that is being received: see follow_content.c. */
struct follow_content {
	enum { CONTENT_NONE, CONTENT_UNKNOWN, CONTENT_FILE, CONTENT_PAGES } mode;
	struct follow_source source; /* position at which the copy began */
	struct position until;	     /* the WAL is needed through here */
	bool waits;		     /* it is: the content is not complete by itself */
	bool ended;		     /* all bytes came; the WAL through `until` may be missing */
	bool inside;		     /* the last frame of that WAL was not the end of a transaction */
	bool ready;		     /* nothing is missing: it only has to be published */
	int fd;			     /* of the temporary file */
	uint64_t bytes, started;     /* written; of these, given to the disk */
	uint8_t *carry;		     /* a page that has not come whole */
	size_t carry_n;
	uint8_t *page1; /* written last, so that it can carry the commit; behind it room for another page */
	uint32_t page_bytes, last_pgno;
	uint32_t pages; /* of the database with this content; 0: not known yet */
};

struct follow {
	struct follow_options o;
	struct follow_place_file place;
	struct conn conn;
	struct walindex index;
	int shm_fd;			      /* for F_GETLK only: opened after SQLite's, closed after it */
	uint64_t inode, wal_inode, shm_inode; /* of what we have open */

	struct wal_index live; /* the header of the shared index as we left it */
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	uint32_t page_bytes, pages; /* of the database as readers see it */
	bool known;		    /* `live` is the position `at` of the source */
	bool lost;		    /* somebody was at the files: they are opened again first */
	bool overwritten;	    /* what is in the database file is not known, whatever the WAL says */
	struct {		    /* the database file when we wrote it last, or a checkpoint did */
		int64_t mtime_ns, bytes;
		uint32_t backfill;
	} file;
	struct follow_source at; /* published */

	/* A transaction that is not published. */
	struct follow_source next; /* verified to here */
	bool holding;		   /* FOLLOW_HELD */
	bool catching_up;	   /* `next` is behind `at`: frames that we have are verified again */
	struct wal_chain chain;	   /* of our WAL, behind the last frame of `buf` */
	uint32_t frames;	   /* number of the last frame of `buf` */
	bool log_begun;		   /* the header for a new cycle is written */
	uint8_t *buf;		   /* frames that are not written yet */
	size_t buf_n, buf_cap;

	struct follow_content content;
	uint64_t next_restart_bytes; /* of the WAL: when to try again to begin it anew */
	unsigned failed_restarts;    /* since the last good one */
	uint32_t checkpoint_seq;
	char why[256]; /* the reader that keeps the WAL from being begun anew, "" if none */
	struct follow_counts n;
};

/* Opens and takes the write lock. FOLLOW_OK: follow_position() is what is here. FOLLOW_CONTENT: nothing is here
 * yet, or not what we left. FOLLOW_AGAIN: a local writer is at work; call follow_open again. FOLLOW_FAIL: also
 * ERR_EXISTS, a database that is not a follower's and !adopt. After FOLLOW_AGAIN and FOLLOW_FAIL the follower
 * is closed. vfs_setup() was called. */
enum follow_result follow_open(struct follow *f, const struct follow_options *o, struct err *e);
/* Lets go and leaves everything as it is; the next open goes on. */
void follow_close(struct follow *f);
/* Ends following: what is published is made durable, local writers are admitted, the record of the position is
 * removed. The follower is closed when it is FOLLOW_OK. */
enum follow_result follow_promote(struct follow *f, struct err *e);

/* The position that readers see. false: none is known. */
bool follow_position(const struct follow *f, struct follow_source *ret);

/* Somebody else wrote the database, or removed files of it. The first is one look at memory, the second some
 * calls of stat, which also show whether the database file was written past SQLite (a copy over it). True:
 * follow_reopen, and bring content unless that says FOLLOW_OK. follow_segment looks at both. */
bool follow_disturbed(const struct follow *f);
bool follow_moved(struct follow *f);
/* Closes and opens again; the results are those of follow_open, but the follower stays usable: after
 * FOLLOW_AGAIN and FOLLOW_FAIL call it again. */
enum follow_result follow_reopen(struct follow *f, struct err *e);

/* Gives memory back that is needed only while there is work. */
void follow_rest(struct follow *f);

/* Plain WAL bytes of the source from `from` on: at offset 0 with the header. Whole frames; a segment may end
 * inside a transaction. A segment may begin at offset 0 of the index in which we are: what we have is verified
 * and skipped. After anything but FOLLOW_OK go on from follow_position(): some transactions may have been
 * published. */
enum follow_result follow_segment(struct follow *f, const struct generation *g, struct position from,
				  struct span plain, enum follow_publish how, struct err *e);
/* Forgets what is not published (the stream broke), content included. */
void follow_drop(struct follow *f);

/* New content: a database file as bytes in order, which is the state of the source at `index` offset 0, or at
 * the position that follow_content_until() tells (before _end), once the WAL through there has come by
 * follow_segment: that of `index` from its beginning, and that of those behind it. The first content appears as
 * a file at once; later ones as one transaction of the pages that differ; with another page size as a new file,
 * while open readers keep the old one. _end: FOLLOW_AGAIN and FOLLOW_FULL: call it again later. */
enum follow_result follow_content_begin(struct follow *f, const struct generation *g, uint64_t index,
					struct err *e);
enum follow_result follow_content_bytes(struct follow *f, struct span bytes, struct err *e);
void follow_content_until(struct follow *f, struct position at);
enum follow_result follow_content_end(struct follow *f, struct err *e);
/* The content waits for WAL; *ret_until (may be NULL) through where. */
bool follow_content_waits(const struct follow *f, struct position *ret_until);
/* There is no more WAL than what has come: published with that. FOLLOW_AGAIN: a transaction has begun and not
 * ended (or as for _end). */
enum follow_result follow_content_settle(struct follow *f, struct err *e);

/* The same, only the pages that differ: hashes of what is here, then pages in ascending order, those beyond the
 * old end among them, then follow_content_end. */
enum follow_result follow_hashes(struct follow *f, struct page_hashes *ret, struct err *e);
enum follow_result follow_pages_begin(struct follow *f, const struct generation *g, uint64_t index,
				      uint32_t pages, struct err *e);
enum follow_result follow_page(struct follow *f, uint32_t pgno, const uint8_t *page, struct err *e);

/* Everything that is published is in the database file now. FOLLOW_AGAIN: a reader is in the way (named in *e),
 * or a transaction is being received. */
enum follow_result follow_backfill(struct follow *f, struct err *e);
/* Begins our WAL anew when it is over its limit: copies it into the database file and waits some
 * milliseconds for readers. follow_segment does it by itself. FOLLOW_AGAIN: readers are in the way (f->why
 * names one). */
enum follow_result follow_restart_log(struct follow *f, struct err *e);
uint64_t follow_log_bytes(const struct follow *f);

#endif
