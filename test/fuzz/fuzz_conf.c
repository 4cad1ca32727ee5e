/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files from nowhere, with an environment that never changes. The first byte says whether
 * variables are expanded and whether origins are kept. What is accepted must be complete (every database with a
 * path, every replica with a type, a name and a place) and must pass its checks again; what is refused must
 * have a text that begins with the name of the file. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/read.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *fuzz_environment(const char *name)
{
	return strcmp(name, "A") == 0	? "alpha"
	       : strcmp(name, "N") == 0 ? "[1, 2]"
	       : strcmp(name, "X") == 0 ? "a\nb"
					: NULL;
}

/* Whatever the pattern, a database of it stays below its directory, and its replicas below theirs. */
static void check_template(const struct conf_db *t)
{
	static const char *const names[] = { "a.db", "x/a.db", "x/y/z.sqlite", "../a.db", "x/../../a.db", "." };
	struct err e = ERR_INIT;
	struct conf_db one;
	char path[2 * PATH_BYTES];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", strcmp(t->dir, "/") ? t->dir : "", names[i]);
		conf_db_descends(t, path);
		if (conf_db_instance(t, path, &one, &e) < 0)
			continue;
		assert(conf_db_matches(t, path) && !strstr(names[i], ".."));
		assert(!one.is_template && strcmp(one.path, path) == 0 && one.replicas_n == t->replicas_n);
		for (size_t k = 0; k < one.replicas_n; k++) {
			const char *from = t->replicas[k].path, *to = one.replicas[k].path;
			size_t n = from ? strlen(from) : 0, m = strlen(names[i]);
			while (n > 0 && from[n - 1] == '/')
				n--;
			assert(strlen(to) >= m && strcmp(to + strlen(to) - m, names[i]) == 0);
			assert(strncmp(to, from ? from : "", n) == 0);
		}
		conf_db_free(&one);
	}
}

static void check_complete(const struct conf *c)
{
	struct err e = ERR_INIT;
	char meta[PATH_BYTES], shown[PATH_BYTES];
	for (size_t i = 0; i < c->dbs_n; i++) {
		const struct conf_db *d = &c->dbs[i];
		assert(d->path && d->path[0] == '/' && d->line > 0 && d->column > 0);
		assert(conf_meta_dir(d, meta, &e) == 0);
		if (d->is_template)
			check_template(d);
		else
			assert(conf_db_find(c, d->path) == d && !d->dir && !d->pattern);
		for (size_t k = 0; k < d->replicas_n; k++) {
			const struct conf_replica *r = &d->replicas[k];
			assert(r->type && r->name && conf_replica_target(r) && r->line > 0);
			assert(r->retention_us == 0 || r->retention_check_interval_us > 0);
			conf_replica_shown(r, shown);
		}
	}
	assert(conf_check(c, &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct dyn text = DYN_INIT(CONF_FILE_MAX_BYTES + 1);
	if (size == 0)
		return 0;
	struct reader r = {
		.file = "fuzz.yml", .c = calloc(1, sizeof *r.c), .e = &e, .keep_origins = data[0] & 2
	};
	struct span in = { data + 1, size - 1 };
	assert(r.c && (r.c->file = strdup(r.file)));
	int rc = data[0] & 1 ? expand_text(r.file, in, fuzz_environment, &text, &r.expanded, &e)
			     : dyn_add(&text, in.p, in.n);
	if (rc == 0 && dyn_add(&text, "", 1) == 0) {
		rc = read_text(&r, (struct span){ text.p, text.len - 1 });
		if (rc == 0)
			check_complete(r.c);
	}
	if (rc < 0)
		assert(e.kind != ERR_NONE && strncmp(e.text, "fuzz.yml", 8) == 0);
	conf_free(r.c);
	expansions_free(&r.expanded);
	dyn_free(&text);
	return 0;
}
