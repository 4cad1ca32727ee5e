/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration: what a YAML file or the command line says, checked. One table (conf/options.h) names every
 * key with its type, default, bounds and sentence; the parser, `help` and the documentation come from it. */
#ifndef WB_CONF_CONF_H
#define WB_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"

/* Strings are owned by the configuration; NULL: not given. Times are in microseconds; 0 has the meaning that
 * the table gives (off, or at every capture for sync_interval_us). */
struct conf_replica {
	char *type; /* file, s3, gcs, abs, sftp; never NULL once checked */
	char *name; /* default: the type; never NULL once checked */
	char *path; /* file: absolute, lexically clean. Else: beginning of the keys or remote path, NULL for
		       none */
	char *url;  /* as given, or made from the other keys; NULL for file replicas: their path says all */
	int64_t retention_us, retention_check_interval_us;
	int64_t sync_interval_us, snapshot_interval_us, validation_interval_us;
	char **age_identities, **age_recipients;
	size_t age_identities_n, age_recipients_n;
	char *access_key_id, *secret_access_key, *region, *bucket, *endpoint;
	int force_path_style; /* once checked 0 or 1 for s3; -1: not given */
	bool skip_verify;
	char *account_name, *account_key;
	char *host; /* HOST or HOST:PORT */
	char *user, *password, *key_path;
	unsigned line, column; /* where it stands in the file; 0: command line */
};

struct conf_db {
	char *path; /* absolute, lexically clean */
	char *meta_path;
	int64_t monitor_interval_us, checkpoint_interval_us;
	int64_t min_checkpoint_pages, max_checkpoint_pages;
	struct conf_replica *replicas;
	size_t replicas_n;
	unsigned line, column;
};

struct conf {
	char *file; /* that it was read from; NULL: command line */
	char *addr, *exec;
	char *access_key_id, *secret_access_key;
	enum log_level log_level;
	bool log_json, log_stdout; /* logging.stderr: false sends it to standard output only when asked for */
	struct conf_db *dbs;
	size_t dbs_n;
};

/* Reads and checks a file. ERR_CONFIG: text "FILE:LINE:COLUMN: what, and the nearest known key". */
int conf_read(const char *path, bool expand_env, struct conf **ret, struct err *e);
/* Finds the file: -config, WALBROOK_CONFIG, LITESTREAM_CONFIG, /etc/walbrook.yml, /etc/litestream.yml; the
 * error names all that were tried. given may be NULL. */
int conf_find(const char *given, char **ret_path, struct err *e);
/* One database with replica URLs, as `replicate DB URL…`. */
int conf_from_args(const char *db, const char *const *urls, size_t n, struct conf **ret, struct err *e);
/* Checks that need no file: duplicate databases, replica names, two databases on one replica path, replica
 * inside a metadata directory, known schemes. conf_read and conf_from_args call it. */
int conf_check(const struct conf *c, struct err *e);
/* One replica as a person names it on the command line: a URL, or the path of a directory with a slash in it.
 */
int conf_replica_from_text(const char *text, struct conf_replica *ret, struct err *e);
/* Checks one replica, finds out its type and fills in what its URL tells. *ret_key: the key at fault, NULL for
 * none. */
int conf_replica_resolve(struct conf_replica *r, const char **ret_key, struct err *e);
/* What store_open() is to be called with: the directory of a file replica, else the URL. Borrowed. */
const char *conf_replica_target(const struct conf_replica *r);
/* The same for messages and logs: without passwords. Returns buf (PATH_BYTES). */
char *conf_replica_shown(const struct conf_replica *r, char *buf);
/* Keys of age are read and checked, but encryption is not there yet: whoever is about to read or write a
 * replica has to refuse it here, because to write it in the clear would break a promise. ERR_CONFIG. */
int conf_replica_usable(const struct conf *c, const struct conf_replica *r, struct err *e);
void conf_replica_free(struct conf_replica *r);
const struct conf_db *conf_db_find(const struct conf *c, const char *absolute_path);
/* Metadata directory of a database: meta_path or <dir>/.<name>-litestream. Writes PATH_BYTES. */
int conf_meta_dir(const struct conf_db *db, char *buf, struct err *e);
void conf_free(struct conf *c);

#endif
