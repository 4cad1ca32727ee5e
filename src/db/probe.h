/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a file that nobody told us about is a database: for directories whose databases are found. */
#ifndef WB_DB_PROBE_H
#define WB_DB_PROBE_H

enum db_probe {
	DB_PROBE_NONE,	   /* not a database, or not there */
	DB_PROBE_DATABASE, /* has the header, and all of it is there */
	DB_PROBE_EMPTY,	   /* no bytes yet: not to be touched, it may become one */
	DB_PROBE_YOUNG,	   /* is being written by somebody at this moment (copied, made): look again soon */
};

/* Blocking. Reads the header only of files that this process does not have open (what it has open is one). */
enum db_probe db_probe(const char *path);

#endif
