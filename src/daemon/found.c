/* SPDX-License-Identifier: Apache-2.0
 *
 * The databases of an entry for many: see found.h.
 *
 * Happy path: directory by directory, as deep as the entry looks; what counts is a file that fits and begins as
 * an SQLite database does, or that is still empty.
 *
 * Failure modes: a directory that cannot be read, a path that cannot be a database of the entry: told to the
 * caller. */
#include "daemon/found.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

enum { DEPTH_MAX = 64 /* of directories */ };

struct walk {
	const struct conf *c;
	const struct conf_db *entry;
	const struct found *f;
	long n;
};

static bool begins_as_database(const char *path)
{
	char head[16];
	FILE *f = fopen(path, "re");
	if (!f)
		return true; /* it fits: whoever looks at it says that it cannot be read */
	size_t n = fread(head, 1, sizeof head, f);
	fclose(f);
	return n == 0 || (n == sizeof head && memcmp(head, "SQLite format 3", sizeof head) == 0);
}

static bool look_at(struct walk *w, const char *dir, unsigned depth);

static void look_at_entry(struct walk *w, const char *path, unsigned depth)
{
	struct stat st;
	struct conf_db one;
	struct err e = ERR_INIT;
	if (lstat(path, &st) < 0)
		return;
	if (S_ISDIR(st.st_mode)) {
		if (depth < DEPTH_MAX && conf_db_descends(w->entry, path))
			look_at(w, path, depth + 1);
		return;
	}
	if (S_ISLNK(st.st_mode) && (stat(path, &st) < 0 || !S_ISREG(st.st_mode)))
		return;
	if (!S_ISREG(st.st_mode) || !conf_db_matches(w->entry, path) || conf_db_find(w->c, path) ||
	    !begins_as_database(path))
		return;
	w->n++;
	if (conf_db_instance(w->entry, path, &one, &e) < 0) {
		w->f->database(w->f->arg, path, NULL, &e);
		return;
	}
	w->f->database(w->f->arg, path, &one, NULL);
	conf_db_free(&one);
}

static bool look_at(struct walk *w, const char *dir, unsigned depth)
{
	struct dirent **names;
	char path[PATH_BYTES];
	int n = scandir(dir, &names, NULL, alphasort);
	if (n < 0) {
		if (w->f->unreadable)
			w->f->unreadable(w->f->arg, dir, errno);
		return false;
	}
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' && path_join(path, dir, names[i]->d_name) == 0)
			look_at_entry(w, path, depth);
		free(names[i]);
	}
	free(names);
	return true;
}

long found_look(const struct conf *c, const struct conf_db *entry, const struct found *f)
{
	struct walk w = { .c = c, .entry = entry, .f = f };
	return look_at(&w, entry->dir, 0) ? w.n : -1;
}
