/* SPDX-License-Identifier: Apache-2.0
 *
 * Which database files this process has open through SQLite, by device and inode. The same file under two names
 * must not be opened twice, and nobody may open and close it beside SQLite: closing any descriptor of a file
 * drops all POSIX locks that the process has on it. Any thread. */
#ifndef WB_DB_OPENED_H
#define WB_DB_OPENED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct opened {
	dev_t dev;
	ino_t ino;
	bool passing; /* set by one that lets go at once: others wait for it */
	bool aside;   /* set by one that is not a database, but the lock of its metadata: not counted */
	bool is;      /* it is in the table */
	struct opened *next;
};

/* Takes the file for the owner of *o, until opened_forget(). false: somebody else has it, or no memory. When it
 * has it already: true. */
bool opened_take(struct opened *o, dev_t dev, ino_t ino);
void opened_forget(struct opened *o); /* fine when nothing was taken */

size_t opened_count(void);

#endif
