/* SPDX-License-Identifier: Apache-2.0
 *
 * The age keys of a replica: those that stand in the configuration and those in the files that it names, which
 * are the files of age-keygen (comments and blank lines do not count, several keys are fine).
 *
 *   1. when the configuration is read every key is checked down to its checksum, also in files. A file that we
 *      may not read is left for later: another user may run the daemon than looks at a listing
 *   2. whoever opens the replica gets the keys themselves; a file is read again then
 *
 * Failure modes: a bad key is named by its item, or its file, and its line, and never repeated. */
#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "conf/options.h"

enum { KEY_FILE_MAX_BYTES = 256 << 10 };

/* A kind of keys and where they come from. */
struct source {
	enum age_role role;
	const char *texts_key, *files_key;
	char *const *texts, *const *files;
	size_t texts_n, files_n;
};

static size_t count(const struct age_keys *k, enum age_role role)
{
	return role == AGE_IDENTITY ? k->identities_n : k->recipients_n;
}

static int add_texts(const struct source *s, struct age_keys *k, struct err *e)
{
	size_t before = count(k, s->role);
	for (size_t i = 0; i < s->texts_n; i++) {
		struct span text = { (const uint8_t *)s->texts[i], strlen(s->texts[i]) };
		if (age_keys_parse(k, s->role, text, e) < 0)
			return err_wrap(e, "age: item %zu of %s", i + 1, s->texts_key);
	}
	if (s->texts_n > 0 && count(k, s->role) == before)
		return err_set(e, ERR_CONFIG, "age: %s contains no key", s->texts_key);
	return 0;
}

/* The bytes of a key file. *ret_open: anybody may read it. */
static int read_file(const char *path, struct dyn *to, bool *ret_open, struct err *e)
{
	struct stat st;
	*ret_open = stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH);
	if (file_read_all(path, to, e) == 0)
		return 0;
	if (e->kind != ERR_UNREACHABLE)
		e->kind = ERR_CONFIG;
	return -1;
}

static int add_file(enum age_role role, const char *path, struct age_keys *k, bool *ret_open, struct err *e)
{
	struct dyn d = DYN_INIT(KEY_FILE_MAX_BYTES);
	size_t before = count(k, role);
	int rc = read_file(path, &d, ret_open, e);
	if (rc == 0 && (rc = age_keys_parse(k, role, (struct span){ d.p, d.len }, e)) < 0)
		err_wrap(e, "%s", path);
	if (rc == 0 && count(k, role) == before)
		rc = err_set(e, ERR_CONFIG, "%s contains no key", path);
	if (d.len > 0)
		crypto_wipe(d.p, d.len);
	dyn_free(&d);
	return rc;
}

/* for_later: files that may not be read are passed over. */
static int add_files(const struct source *s, struct age_keys *k, bool for_later, const char **ret_open,
		     struct err *e)
{
	for (size_t i = 0; i < s->files_n; i++) {
		char path[PATH_BYTES];
		bool open = false;
		if (!s->files[i][strspn(s->files[i], " \t\r\n")])
			return err_set(e, ERR_CONFIG,
				       "age: item %zu of %s is empty; it takes the path of a file", i + 1,
				       s->files_key);
		if (path_absolute(path, s->files[i], e) < 0) {
			e->kind = ERR_CONFIG;
			return err_wrap(e, "age: %s", s->files_key);
		}
		if (add_file(s->role, path, k, &open, e) < 0 && !(for_later && e->kind == ERR_UNREACHABLE))
			return err_wrap(e, "age: %s", s->files_key);
		if (open && s->role == AGE_IDENTITY && ret_open)
			*ret_open = s->files[i];
	}
	return 0;
}

static int collect(const struct conf_replica *r, struct age_keys *k, bool for_later, const char **ret_open,
		   struct err *e)
{
	const struct source sources[] = {
		{ AGE_IDENTITY, "identities", "identity-files", r->age_identities, r->age_identity_files,
		  r->age_identities_n, r->age_identity_files_n },
		{ AGE_RECIPIENT, "recipients", "recipient-files", r->age_recipients, r->age_recipient_files,
		  r->age_recipients_n, r->age_recipient_files_n },
	};
	for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
		if (add_texts(&sources[i], k, e) < 0 || add_files(&sources[i], k, for_later, ret_open, e) < 0)
			return -1;
	return 0;
}

int conf_replica_keys(const struct conf_replica *r, struct age_keys *ret, const char **ret_open, struct err *e)
{
	*ret = (struct age_keys){ 0 };
	if (ret_open)
		*ret_open = NULL;
	if (collect(r, ret, false, ret_open, e) == 0)
		return 0;
	age_keys_free(ret);
	return -1;
}

int conf_replica_check_keys(const struct conf_replica *r, struct err *e)
{
	struct age_keys k = { 0 };
	int rc = collect(r, &k, true, NULL, e);
	age_keys_free(&k);
	return rc;
}

int conf_replicas_add_identities(struct conf_replica *replicas, size_t n, const char *path, bool *ret_open,
				 struct err *e)
{
	struct dyn d = DYN_INIT(KEY_FILE_MAX_BYTES);
	struct age_keys k = { 0 };
	int rc = read_file(path, &d, ret_open, e);
	if (rc == 0 && (rc = age_keys_parse(&k, AGE_IDENTITY, (struct span){ d.p, d.len }, e)) < 0)
		err_wrap(e, "%s", path);
	if (rc == 0 && k.identities_n == 0)
		rc = err_set(e, ERR_CONFIG, "%s contains no key", path);
	if (rc == 0 && dyn_add(&d, "", 1) < 0)
		rc = err_set(e, ERR_CONFIG, "%s is longer than a file of keys", path);
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = option_set(option_find(SCOPE_AGE, "identities"), &replicas[i], (const char *)d.p, e);
	if (d.len > 0)
		crypto_wipe(d.p, d.len);
	dyn_free(&d);
	age_keys_free(&k);
	return rc;
}
