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
#include "core/age.h"

/* Where the value of an option came from. */
struct conf_origin {
	unsigned line, column; /* of its key in the file; 0: it is not there */
	bool handed_down;      /* from the top level, where line and column are then */
	char *variable;	       /* the first environment variable in it; NULL: none */
};

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
	char **age_identity_files, **age_recipient_files; /* paths, as given */
	size_t age_identity_files_n, age_recipient_files_n;
	char *access_key_id, *secret_access_key, *region, *bucket, *endpoint;
	int force_path_style; /* once checked 0 or 1 for s3; -1: not given */
	bool skip_verify;
	char *account_name, *account_key;
	char *host; /* HOST or HOST:PORT */
	char *user, *password, *key_path;
	unsigned line, column;	     /* where it stands in the file; 0: command line */
	struct conf_origin *origins; /* see conf_read_origins(); else NULL */
};

/* One database, or with is_template all that are in a directory: `dir` is then the directory and `pattern` what
 * the names in it must fit (relative to dir; of `path: /data/x?/y.db` they are /data and x?/y.db), `path`
 * only tells the template in messages, and paths of replicas and meta_path are directories above those of each
 * database. conf_db_instance() makes the settings of one database of it. */
struct conf_db {
	char *path;	     /* absolute, lexically clean; never NULL once checked */
	char *dir, *pattern; /* NULL unless is_template */
	bool recursive;	     /* pattern is for the last component, directories below dir count as well */
	bool is_template;
	char *meta_path;
	int64_t monitor_interval_us, checkpoint_interval_us;
	int64_t min_checkpoint_pages, max_checkpoint_pages;
	int64_t spool_quota_bytes;
	/* It is a copy of a database of another machine; upstream_url NULL: it is not. */
	char *upstream_url, *upstream_path; /* path NULL: `path` is the one on the primary, too */
	char *upstream_token_file, *upstream_ca_file, *upstream_cert_file, *upstream_key_file;
	char *upstream_lineage; /* "same" or "any" */
	bool upstream_adopt;
	int64_t upstream_max_wal_bytes;
	int upstream_compress; /* -1: unless the primary is on this machine */
	struct conf_replica *replicas;
	size_t replicas_n;
	unsigned line, column;
	struct conf_origin *origins;
};

struct conf {
	char *file;				 /* that it was read from; NULL: command line */
	bool expand_env, exec_given, addr_given; /* how it was read; exec, addr come from the command line */
	char *addr, *exec;
	char *access_key_id, *secret_access_key;
	char *socket;	  /* NULL: see conf_socket() */
	char *token_file; /* see conf_token() */
	bool open_to_all;
	char *tls_cert_file, *tls_key_file, *tls_client_ca_file;
	int64_t connections_per_address;
	int64_t follow_window_bytes;
	int64_t health_lag_us, shutdown_timeout_us; /* 0: never unhealthy, no limit */
	enum log_level log_level;
	bool log_json, log_stdout; /* logging.stderr: false sends it to standard output only when asked for */
	struct conf_db *dbs;
	size_t dbs_n;
	struct conf_db **instances; /* of templates, made by conf_db_get() */
	size_t instances_n;
	struct conf_origin *origins;
};

/* Reads and checks a file. ERR_CONFIG: text "FILE:LINE:COLUMN: what, and the nearest known key". */
int conf_read(const char *path, bool expand_env, struct conf **ret, struct err *e);
/* The same, and keeps where each value came from: one origin for each row of the option table, in the struct
 * that the option is a field of. */
int conf_read_origins(const char *path, bool expand_env, struct conf **ret, struct err *e);
void conf_origins_free(struct conf_origin *origins);
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
/* The age keys of a replica, from the configuration and the files that it names; empty: it is not encrypted.
 * Free with age_keys_free(). *ret_open (may be NULL): a file of secret keys that anybody may read, borrowed, or
 * NULL. ERR_CONFIG or ERR_UNREACHABLE names item or file, and line. */
int conf_replica_keys(const struct conf_replica *r, struct age_keys *ret, const char **ret_open, struct err *e);
/* The same for a check alone: a file that we may not read is no error. */
int conf_replica_check_keys(const struct conf_replica *r, struct err *e);
/* Adds the secret keys of a file (-identity), which is read now and once (it may be a pipe), to n replicas.
 * *ret_open: anybody may read it. */
int conf_replicas_add_identities(struct conf_replica *replicas, size_t n, const char *path, bool *ret_open,
				 struct err *e);
/* What makes two replicas the same place, whatever way it was written. -1: does not fit into size. */
int conf_replica_place(const struct conf_replica *r, char *buf, size_t size);
void conf_replica_free(struct conf_replica *r);
/* The entry of just this database; templates are not looked at. NULL: there is none. */
const struct conf_db *conf_db_find(const struct conf *c, const char *absolute_path);
/* The settings of a database, of its own entry, else of the first template that it fits. Owned by the
 * configuration. NULL: ERR_CONFIG. */
const struct conf_db *conf_db_get(struct conf *c, const char *absolute_path, struct err *e);
/* Whether a template is for the file of this name. The path is absolute and lexically clean. Hidden files and
 * what is in hidden directories never fit, nor do files that end with -wal, -shm or -journal. Pure: whether it
 * is a database, its content tells. */
bool conf_db_matches(const struct conf_db *tmpl, const char *path);
/* The settings of one database of a template: a deep copy with `path`, and with the path relative to `dir` put
 * behind meta_path and the path of every replica. Refuses what does not match (ERR_CONFIG). Free with
 * conf_db_free(). */
int conf_db_instance(const struct conf_db *tmpl, const char *db_path, struct conf_db *ret, struct err *e);
/* Step between reading an entry and conf_check(): which kind it is. given: which keys stand in the file, by the
 * place of their row in the table. *ret_key: the key at fault, NULL for none. */
int conf_db_resolve(struct conf_db *db, const bool *given, const char **ret_key, struct err *e);
/* A copy of an ordinary entry, of its own. Free with conf_db_free(). */
int conf_db_copy(const struct conf_db *from, struct conf_db *ret, struct err *e);
/* Whether they say the same, wherever they stand in their files. */
bool conf_db_equal(const struct conf_db *a, const struct conf_db *b);
void conf_db_free(struct conf_db *db); /* what it holds, not the struct itself */
/* The same for a path relative to `dir`. */
bool conf_db_fits(const struct conf_db *tmpl, const char *relative);
/* Whether a directory below the `dir` of a template can hold files that it is for, so that a scan has to look
 * into it (and a watch has to be on it). True for `dir` itself. Pure. */
bool conf_db_descends(const struct conf_db *tmpl, const char *dir);
/* Metadata directory of a database: meta_path or <dir>/.<name>-litestream. Writes PATH_BYTES. */
int conf_meta_dir(const struct conf_db *db, char *buf, struct err *e);
/* The places of the control socket in the order of preference: number i into buf (PATH_BYTES). false: there are
 * no more (then buf is ""). c may be NULL. The daemon takes the first whose directory is there and can be
 * written to, a client the first that exists. */
bool conf_socket(const struct conf *c, unsigned i, char *buf);
/* The token of token_file: one word of visible ASCII, at least 16 characters, without the line feed behind it.
 * The file is read now. *ret_open: others than its owner and group may read it. ERR_CONFIG (also when it cannot
 * be read); the text never shows a part of it. */
enum { CONF_TOKEN_BYTES = 4096 };
int conf_token(const struct conf *c, char buf[CONF_TOKEN_BYTES], bool *ret_open, struct err *e);
/* The same of a file that is named by another key. */
int conf_token_of(const char *path, char buf[CONF_TOKEN_BYTES], bool *ret_open, struct err *e);
/* What a followed database is called on its primary. Borrowed. */
const char *conf_upstream_path(const struct conf_db *db);
/* `walbrook follow URL DB`: one followed database; a path in the URL is its path on the primary, unless `path`
 * says so. Replicas as for conf_from_args. */
int conf_follow_from_args(const char *url, const char *db, const char *path, const char *const *urls, size_t n,
			  struct conf **ret, struct err *e);
void conf_free(struct conf *c);

#endif
