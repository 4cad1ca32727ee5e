/* SPDX-License-Identifier: Apache-2.0
 *
 * The option table and the values of options.
 *
 *   1. option_find() gives the row of a key in its scope
 *   2. option_set() checks the text by the type of the row and writes the field that the row points to
 *   3. option_defaults() feeds the defaults of the rows through the same door, so a default can never be
 * something that a person could not have written
 *
 * Failure modes: every refusal names the key, shows the text (unless it is a secret) and an example that works.
 */
#include "conf/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"

#define ONLY(id) (1u << REPLICA_##id)
#define FIELD(type, member) .at = offsetof(struct type, member)
#define TOP(name_, type_) .scope = SCOPE_TOP, .name = (name_), .type = OPTION_##type_
#define LOGGING(name_, type_) .scope = SCOPE_LOGGING, .name = (name_), .type = OPTION_##type_
#define DB(name_, type_) .scope = SCOPE_DB, .name = (name_), .type = OPTION_##type_
#define REPLICA(name_, type_) .scope = SCOPE_REPLICA, .name = (name_), .type = OPTION_##type_
#define UPSTREAM(name_, type_) .scope = SCOPE_UPSTREAM, .name = (name_), .type = OPTION_##type_
#define AGE(name_, type_) .scope = SCOPE_AGE, .name = (name_), .type = OPTION_##type_

enum { PAGES_MAX = 0x7fffffff };

/* HOST:PORT, [IPV6]:PORT or :PORT. Whether it can be had is found out when it is served (net/httpd.c). */
static int check_address(const char *text, struct err *e)
{
	const char *colon = strrchr(text, ':');
	if (!colon || (colon != strchr(text, ':') && (text[0] != '[' || colon[-1] != ']')))
		return err_set(
			e, ERR_CONFIG,
			"must specify port for bind address: \"%.100s\"; for example :9090, 127.0.0.1:9090 or "
			"[::1]:9090",
			text);
	size_t digits = strlen(colon + 1);
	if (digits == 0 || digits > 5 || strspn(colon + 1, "0123456789") != digits ||
	    strtol(colon + 1, NULL, 10) > 65535)
		return err_set(e, ERR_CONFIG, "\"%.20s\" is not a port number in \"%.100s\"", colon + 1, text);
	return 0;
}

/* http://HOST:PORT; a name and a password belong into a file. */
static int check_upstream(const char *text, struct err *e)
{
	bool known = strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0;
	const char *host = known ? strstr(text, "://") + 3 : "";
	size_t n = strcspn(host, "/?#");
	if (n == 0 || strpbrk(text, " ?#"))
		return err_set(
			e, ERR_CONFIG,
			"\"%.100s\" is no address of a primary; write http://HOST:PORT or https://HOST:PORT",
			memchr(host, '@', n) ? "…" : text);
	if (memchr(host, '@', n))
		return err_set(e, ERR_CONFIG,
			       "a name or password in the URL is not used; put the token into a "
			       "file and name that with token-file");
	return 0;
}

static int check_lineage(const char *text, struct err *e)
{
	if (strcmp(text, "same") == 0 || strcmp(text, "any") == 0)
		return 0;
	return err_set(e, ERR_CONFIG, "\"%.80s\" is neither same nor any", text);
}

const struct option options[] = {
	{ TOP("dbs", SECTIONS), .sub = SCOPE_DB, .sentence = "the databases" },
	{ TOP("exec", COMMAND), FIELD(conf, exec),
	  .sentence = "command to run beside replication; its exit status becomes that of walbrook" },
	{ TOP("addr", TEXT), FIELD(conf, addr), .check = check_address,
	  .sentence = "address of the page, status, metrics, health, and for followers, e.g. :9090" },
	{ TOP("access-key-id", TEXT), FIELD(conf, access_key_id),
	  .sentence = "access key of every S3 replica without its own" },
	{ TOP("secret-access-key", TEXT), FIELD(conf, secret_access_key), .secret = true,
	  .sentence = "secret key of every S3 replica without its own" },
	{ TOP("socket", PATH), FIELD(conf, socket),
	  .sentence = "socket of the commands that ask the running daemon; without it `control.sock` in "
		      "`/run/walbrook`, else in `$XDG_RUNTIME_DIR/walbrook`" },
	{ TOP("token-file", PATH), FIELD(conf, token_file),
	  .sentence = "file with the token that `addr` asks for before it shows more than metrics and health" },
	{ TOP("open-to-all", BOOL), FIELD(conf, open_to_all), .by_default = "false",
	  .sentence = "serve everybody who reaches `addr` without a token; else only this machine" },
	{ TOP("tls-cert-file", PATH), FIELD(conf, tls_cert_file),
	  .sentence =
		  "certificate of `addr`, with those between it and the root, as PEM; it speaks HTTPS then" },
	{ TOP("tls-key-file", PATH), FIELD(conf, tls_key_file),
	  .sentence = "private key of that certificate, as PEM" },
	{ TOP("tls-client-ca-file", PATH), FIELD(conf, tls_client_ca_file),
	  .sentence = "certificates as PEM, by one of which that of each client must be signed" },
	{ TOP("connections-per-address", COUNT), FIELD(conf, connections_per_address), .by_default = "64",
	  .min = 1, .max = 4096, .sentence = "connections to `addr` at once from one address" },
	{ TOP("follow-window", SIZE), FIELD(conf, follow_window_bytes), .by_default = "64MiB",
	  .sentence = "segments of older WAL indexes that are kept for followers, for each database" },
	{ TOP("health-lag", DURATION), FIELD(conf, health_lag_us), .by_default = "5m",
	  .sentence = "age of the oldest commit that is not on every replica from which on `/healthz` is "
		      "unhealthy; 0: never" },
	{ TOP("shutdown-timeout", DURATION), FIELD(conf, shutdown_timeout_us), .by_default = "30s",
	  .sentence = "longest time that a stop waits for the last objects; 0: no limit" },
	{ TOP("logging", SECTION), .sub = SCOPE_LOGGING, .sentence = "what is logged, how and where" },

	{ LOGGING("level", LEVEL), FIELD(conf, log_level), .by_default = "info",
	  .sentence = "least level that is logged: debug, info, warn (or warning), error" },
	{ LOGGING("type", FORMAT), FIELD(conf, log_json), .by_default = "text",
	  .sentence = "form of a line: text or json" },
	{ LOGGING("stderr", NOT_BOOL), FIELD(conf, log_stdout), .by_default = "true",
	  .sentence = "log to standard error; false: to standard output" },

	{ DB("path", PATH), FIELD(conf_db, path),
	  .sentence = "file of the database, or a pattern such as `/data/*.db`; this or dir is required" },
	{ DB("dir", PATH), FIELD(conf_db, dir),
	  .sentence = "directory of which every database is copied, also those that appear later" },
	{ DB("pattern", TEXT), FIELD(conf_db, pattern), .by_default = "*", .min = 1,
	  .sentence = "names that count in dir, e.g. `*.db`" },
	{ DB("recursive", BOOL), FIELD(conf_db, recursive), .by_default = "false",
	  .sentence = "look into the directories below dir as well" },
	{ DB("meta-path", PATH), FIELD(conf_db, meta_path),
	  .sentence = "metadata directory; without it `.NAME-litestream` beside the database" },
	{ DB("monitor-interval", DURATION), FIELD(conf_db, monitor_interval_us), .by_default = "1s",
	  .sentence =
		  "longest time between looks at the WAL when the system reports no change; 0: the default" },
	{ DB("checkpoint-interval", DURATION), FIELD(conf_db, checkpoint_interval_us), .by_default = "1m",
	  .sentence = "longest time between checkpoints of a database that changes; 0: no limit" },
	{ DB("min-checkpoint-page-count", COUNT), FIELD(conf_db, min_checkpoint_pages), .by_default = "1000",
	  .min = 1, .max = PAGES_MAX, .sentence = "pages in the WAL from which on a checkpoint is tried" },
	{ DB("max-checkpoint-page-count", COUNT), FIELD(conf_db, max_checkpoint_pages), .by_default = "10000",
	  .min = 0, .max = PAGES_MAX,
	  .sentence = "pages in the WAL from which on a checkpoint is forced; 0: never" },
	{ DB("spool-quota", SIZE), FIELD(conf_db, spool_quota_bytes), .by_default = "1GiB", .min = 1 << 20,
	  .sentence = "room for what the replicas do not have yet; when it is full a new generation begins" },
	{ DB("upstream", SECTION), .sub = SCOPE_UPSTREAM,
	  .sentence = "the primary that it is a live, read-only copy of" },
	{ DB("replicas", SECTIONS), .sub = SCOPE_REPLICA,
	  .sentence = "the places that the database is copied to" },

	{ REPLICA("url", TEXT), FIELD(conf_replica, url),
	  .sentence = "the place as a URL; stands for type, path, bucket, host and user" },
	{ REPLICA("type", TEXT), FIELD(conf_replica, type),
	  .sentence = "file, s3, gcs, abs or sftp; without it that of the URL, else file" },
	{ REPLICA("name", TEXT), FIELD(conf_replica, name),
	  .sentence = "name for messages and `-replica`; without it the type" },
	{ REPLICA("path", TEXT), FIELD(conf_replica, path),
	  .sentence = "directory (file, sftp), or beginning of the object names (s3, gcs, abs)" },
	{ REPLICA("retention", DURATION), FIELD(conf_replica, retention_us), .by_default = "24h",
	  .sentence = "how far back any moment can be restored; 0: nothing is ever deleted" },
	{ REPLICA("retention-check-interval", DURATION), FIELD(conf_replica, retention_check_interval_us),
	  .by_default = "1h", .sentence = "how often what is too old is deleted" },
	{ REPLICA("sync-interval", DURATION), FIELD(conf_replica, sync_interval_us), .by_default = "1s",
	  .sentence = "time that pays for one more object; 0: one for every capture" },
	{ REPLICA("snapshot-interval", DURATION), FIELD(conf_replica, snapshot_interval_us), .by_default = "0",
	  .sentence = "time between snapshots; 0: only as retention needs them" },
	{ REPLICA("validation-interval", DURATION), FIELD(conf_replica, validation_interval_us),
	  .by_default = "0",
	  .sentence =
		  "time between restore drills: everything that a restore does, without writing a database, "
		  "compared with the database at that moment; 0: none" },
	{ REPLICA("age", SECTION), .sub = SCOPE_AGE, .sentence = "encryption of everything in the replica" },
	{ REPLICA("bucket", TEXT), FIELD(conf_replica, bucket), .types = ONLY(S3) | ONLY(GCS) | ONLY(ABS),
	  .sentence = "bucket, or container for abs" },
	{ REPLICA("endpoint", TEXT), FIELD(conf_replica, endpoint), .types = ONLY(S3) | ONLY(ABS),
	  .sentence = "URL of the service, when it is not that of AWS or Azure" },
	{ REPLICA("region", TEXT), FIELD(conf_replica, region), .types = ONLY(S3),
	  .sentence = "region of the bucket" },
	{ REPLICA("access-key-id", TEXT), FIELD(conf_replica, access_key_id), .types = ONLY(S3),
	  .sentence = "access key" },
	{ REPLICA("secret-access-key", TEXT), FIELD(conf_replica, secret_access_key), .types = ONLY(S3),
	  .secret = true, .sentence = "secret key" },
	{ REPLICA("force-path-style", TRISTATE), FIELD(conf_replica, force_path_style), .types = ONLY(S3),
	  .sentence = "the bucket goes into the path instead of the host name; without it by the endpoint" },
	{ REPLICA("skip-verify", BOOL), FIELD(conf_replica, skip_verify), .by_default = "false",
	  .types = ONLY(S3), .sentence = "accept any TLS certificate" },
	{ REPLICA("account-name", TEXT), FIELD(conf_replica, account_name), .types = ONLY(ABS),
	  .sentence = "storage account" },
	{ REPLICA("account-key", TEXT), FIELD(conf_replica, account_key), .types = ONLY(ABS), .secret = true,
	  .sentence = "key of the storage account" },
	{ REPLICA("host", TEXT), FIELD(conf_replica, host), .types = ONLY(SFTP),
	  .sentence = "HOST or HOST:PORT" },
	{ REPLICA("user", TEXT), FIELD(conf_replica, user), .types = ONLY(SFTP),
	  .sentence = "user to log in as" },
	{ REPLICA("password", TEXT), FIELD(conf_replica, password), .types = ONLY(SFTP), .secret = true,
	  .sentence = "password to log in with" },
	{ REPLICA("key-path", PATH), FIELD(conf_replica, key_path), .types = ONLY(SFTP),
	  .sentence = "file of the private key to log in with" },

	{ AGE("identities", TEXTS), FIELD(conf_replica, age_identities),
	  .count_at = offsetof(struct conf_replica, age_identities_n), .secret = true,
	  .sentence = "secret keys (`AGE-SECRET-KEY-1…`) that can read the replica" },
	{ AGE("identity-files", TEXTS), FIELD(conf_replica, age_identity_files),
	  .count_at = offsetof(struct conf_replica, age_identity_files_n),
	  .sentence = "files with more of them, as `age-keygen` writes them" },
	{ AGE("recipients", TEXTS), FIELD(conf_replica, age_recipients),
	  .count_at = offsetof(struct conf_replica, age_recipients_n),
	  .sentence = "public keys (`age1…`) that the replica is written for; without them those of the "
		      "identities" },
	{ AGE("recipient-files", TEXTS), FIELD(conf_replica, age_recipient_files),
	  .count_at = offsetof(struct conf_replica, age_recipient_files_n),
	  .sentence = "files with more of them, one a line" },

	{ UPSTREAM("url", TEXT), FIELD(conf_db, upstream_url), .check = check_upstream,
	  .sentence = "address of the primary, e.g. `http://primary:9090` or `https://…`; required" },
	{ UPSTREAM("path", TEXT), FIELD(conf_db, upstream_path), .min = 1,
	  .sentence = "path of the database on the primary; without it the same as here" },
	{ UPSTREAM("token-file", PATH), FIELD(conf_db, upstream_token_file),
	  .sentence = "file with the token that the primary asks for" },
	{ UPSTREAM("ca-file", PATH), FIELD(conf_db, upstream_ca_file),
	  .sentence = "certificate of who signed that of the primary; without it those of the system" },
	{ UPSTREAM("cert-file", PATH), FIELD(conf_db, upstream_cert_file),
	  .sentence = "certificate to show to the primary" },
	{ UPSTREAM("key-file", PATH), FIELD(conf_db, upstream_key_file),
	  .sentence = "private key of that certificate" },
	{ UPSTREAM("lineage", TEXT), FIELD(conf_db, upstream_lineage), .by_default = "same",
	  .check = check_lineage,
	  .sentence = "any: follow whoever answers there, also an old primary or another history" },
	{ UPSTREAM("adopt", BOOL), FIELD(conf_db, upstream_adopt), .by_default = "false",
	  .sentence = "replace a database that no follower has written" },
	{ UPSTREAM("max-wal-size", SIZE), FIELD(conf_db, upstream_max_wal_bytes), .by_default = "1GiB",
	  .min = 1 << 20,
	  .sentence = "size of the WAL at which applying waits for a reader that does not end" },
	{ UPSTREAM("compress", TRISTATE), FIELD(conf_db, upstream_compress),
	  .sentence = "have content sent compressed; without it unless the primary is on this machine" },
};
const size_t options_n = sizeof options / sizeof *options;
_Static_assert(sizeof options / sizeof *options <= OPTIONS_MAX, "one mark for each option");

const struct replica_type_info replica_types[REPLICA_TYPES_N] = {
#define X(id, name, example) [REPLICA_##id] = { name, example },
	REPLICA_TYPES(X)
#undef X
};

int replica_type_find(const char *name, enum replica_type *ret)
{
	for (unsigned i = 0; i < REPLICA_TYPES_N; i++)
		if (strcmp(replica_types[i].name, name) == 0) {
			*ret = (enum replica_type)i;
			return 0;
		}
	return -1;
}

const char *option_scope_text(enum option_scope s)
{
	static const char *const texts[SCOPES_N] = {
		[SCOPE_TOP] = "at the top level",    [SCOPE_LOGGING] = "in logging",
		[SCOPE_DB] = "in a database of dbs", [SCOPE_REPLICA] = "in a replica",
		[SCOPE_AGE] = "in age of a replica", [SCOPE_UPSTREAM] = "in upstream of a database",
	};
	return texts[s];
}

const char *option_type_text(enum option_type t)
{
	switch (t) {
	case OPTION_TEXT:
	case OPTION_COMMAND:
		return "text";
	case OPTION_PATH:
		return "a path";
	case OPTION_BOOL:
	case OPTION_NOT_BOOL:
	case OPTION_TRISTATE:
		return "true or false";
	case OPTION_COUNT:
		return "a number";
	case OPTION_DURATION:
		return "a duration";
	case OPTION_SIZE:
		return "a size";
	case OPTION_LEVEL:
		return "a level";
	case OPTION_FORMAT:
		return "text or json";
	case OPTION_TEXTS:
		return "a list of texts";
	case OPTION_SECTION:
		return "a section with keys";
	case OPTION_SECTIONS:
		return "a list of sections";
	}
	return "a value";
}

const struct option *option_find(enum option_scope scope, const char *name)
{
	for (size_t i = 0; i < options_n; i++)
		if (options[i].scope == scope && strcmp(options[i].name, name) == 0)
			return &options[i];
	return NULL;
}

static void *field(const struct option *o, void *base)
{
	return (char *)base + o->at;
}

static int set_text(const struct option *o, void *base, const char *text, struct err *e)
{
	char path[PATH_BYTES];
	bool blank = text[strspn(text, " \t\r\n")] == 0;
	if (blank && (o->type != OPTION_TEXT || o->min == 1))
		return err_set(e, ERR_CONFIG, "%s is empty; give it a value or leave the key out", o->name);
	for (const char *p = text; *p && o->type != OPTION_COMMAND; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return err_set(e, ERR_CONFIG, "%s contains a line break or another control character",
				       o->name);
	if (!blank && o->check && o->check(text, e) < 0)
		return err_wrap(e, "%s", o->name);
	if (o->type == OPTION_PATH) {
		if (path_absolute(path, text, e) < 0) {
			e->kind = ERR_CONFIG;
			return err_wrap(e, "%s", o->name);
		}
		text = path;
	}
	char **at = field(o, base), *copy = NULL;
	if (!blank && !(copy = strdup(text)))
		return err_sys(e, ENOMEM, "cannot keep the value of %s", o->name);
	free(*at);
	*at = copy;
	return 0;
}

/* The words that YAML 1.1 knows, in the three ways of writing them. -1: none of them. */
static int bool_of(const char *text)
{
	static const char *const words[][2] = {
		{ "false", "true" }, { "no", "yes" }, { "off", "on" }, { "n", "y" }
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		for (int v = 0; v < 2; v++)
			if (strcasecmp(text, words[i][v]) == 0)
				return v;
	return -1;
}

static int set_bool(const struct option *o, void *base, const char *text, struct err *e)
{
	int v = bool_of(text);
	if (v < 0)
		return err_set(e, ERR_CONFIG, "%s: \"%.80s\" is neither true nor false", o->name, text);
	if (o->type == OPTION_TRISTATE)
		*(int *)field(o, base) = v;
	else
		*(bool *)field(o, base) = o->type == OPTION_NOT_BOOL ? !v : v;
	return 0;
}

static int set_count(const struct option *o, void *base, const char *text, struct err *e)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || text[digits] || (digits > 1 && text[0] == '0'))
		return err_set(e, ERR_CONFIG,
			       "%s: \"%.80s\" is not a whole number; write it in plain decimal digits, e.g. %s",
			       o->name, text, o->by_default);
	errno = 0;
	long long v = strtoll(text, NULL, 10);
	if (errno || v < o->min || v > o->max)
		return err_set(e, ERR_CONFIG, "%s: %.80s is out of bounds; allowed are %lld to %lld", o->name,
			       text, (long long)o->min, (long long)o->max);
	*(int64_t *)field(o, base) = v;
	return 0;
}

static int set_duration(const struct option *o, void *base, const char *text, struct err *e)
{
	int64_t us;
	if (duration_parse(text, &us, e) < 0)
		return err_wrap(e, "%s", o->name);
	if (us < o->min)
		return err_set(e, ERR_CONFIG, "%s: %.80s is negative; write 0 or a time such as %s", o->name,
			       text, strcmp(o->by_default, "0") ? o->by_default : "24h");
	*(int64_t *)field(o, base) = us;
	return 0;
}

static int set_size(const struct option *o, void *base, const char *text, struct err *e)
{
	char least[SIZE_TEXT_BYTES];
	int64_t bytes;
	if (size_parse(text, &bytes, e) < 0)
		return err_wrap(e, "%s", o->name);
	if (bytes < o->min)
		return err_set(e, ERR_CONFIG, "%s: %.80s is too little; the least is %s", o->name, text,
			       size_format(least, o->min));
	*(int64_t *)field(o, base) = bytes;
	return 0;
}

static int set_level(const struct option *o, void *base, const char *text, struct err *e)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = { { "debug", LOG_DEBUG },
		       { "info", LOG_INFO },
		       { "warn", LOG_WARN },
		       { "warning", LOG_WARN },
		       { "error", LOG_ERROR } };
	if (!*text)
		text = o->by_default;
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
		if (strcasecmp(text, levels[i].name) == 0) {
			*(enum log_level *)field(o, base) = levels[i].level;
			return 0;
		}
	return err_set(e, ERR_CONFIG, "%s: \"%.80s\" is not a level; there are debug, info, warn and error",
		       o->name, text);
}

static int set_format(const struct option *o, void *base, const char *text, struct err *e)
{
	bool json = strcmp(text, "json") == 0;
	if (!*text)
		text = o->by_default;
	if (!json && strcmp(text, "text") != 0)
		return err_set(e, ERR_CONFIG, "%s: \"%.80s\" is not a form of the log; there are text and json",
			       o->name, text);
	*(bool *)field(o, base) = json;
	return 0;
}

static int add_text(const struct option *o, void *base, const char *text, struct err *e)
{
	char ***at = field(o, base);
	size_t *n = (size_t *)(void *)((char *)base + o->count_at);
	char **more = realloc(*at, (*n + 1) * sizeof **at);
	if (more)
		*at = more;
	char *copy = more ? strdup(text) : NULL;
	if (!copy)
		return err_sys(e, ENOMEM, "cannot keep the values of %s", o->name);
	more[(*n)++] = copy;
	return 0;
}

int option_set(const struct option *o, void *base, const char *text, struct err *e)
{
	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_COMMAND:
		return set_text(o, base, text, e);
	case OPTION_BOOL:
	case OPTION_NOT_BOOL:
	case OPTION_TRISTATE:
		return set_bool(o, base, text, e);
	case OPTION_COUNT:
		return set_count(o, base, text, e);
	case OPTION_DURATION:
		return set_duration(o, base, text, e);
	case OPTION_SIZE:
		return set_size(o, base, text, e);
	case OPTION_LEVEL:
		return set_level(o, base, text, e);
	case OPTION_FORMAT:
		return set_format(o, base, text, e);
	case OPTION_TEXTS:
		return add_text(o, base, text, e);
	case OPTION_SECTION:
	case OPTION_SECTIONS:
		break;
	}
	return err_set(e, ERR_CONFIG, "%s is %s, not a single value", o->name, option_type_text(o->type));
}

int option_defaults(enum option_scope scope, void *base, struct err *e)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		if (o->scope != scope)
			continue;
		if (o->by_default && option_set(o, base, o->by_default, e) < 0)
			return -1;
		if (o->type == OPTION_TRISTATE)
			*(int *)field(o, base) = -1;
		if (o->type == OPTION_SECTION && option_defaults(o->sub, base, e) < 0)
			return -1;
	}
	return 0;
}

bool option_given(const struct option *o, const void *base)
{
	const char *at = (const char *)base + o->at;
	if (o->type == OPTION_TEXT || o->type == OPTION_PATH || o->type == OPTION_COMMAND)
		return *(char *const *)(const void *)at != NULL;
	if (o->type == OPTION_TRISTATE)
		return *(const int *)(const void *)at >= 0;
	if (o->type == OPTION_BOOL)
		return *(const bool *)at;
	return false;
}

static bool has_text(const struct option *o)
{
	return o->type == OPTION_TEXT || o->type == OPTION_PATH || o->type == OPTION_COMMAND;
}

static size_t *count_of(const struct option *o, void *base)
{
	return (size_t *)(void *)((char *)base + o->count_at);
}

const char *option_text(const struct option *o, const void *base, char buf[OPTION_TEXT_BYTES])
{
	static const char *const levels[] = {
		[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"
	};
	const void *at = (const char *)base + o->at;
	switch (o->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_COMMAND:
		return *(char *const *)at;
	case OPTION_BOOL:
		return *(const bool *)at ? "true" : "false";
	case OPTION_NOT_BOOL:
		return *(const bool *)at ? "false" : "true";
	case OPTION_TRISTATE:
		return *(const int *)at < 0 ? NULL : *(const int *)at ? "true" : "false";
	case OPTION_COUNT:
		snprintf(buf, OPTION_TEXT_BYTES, "%lld", (long long)*(const int64_t *)at);
		return buf;
	case OPTION_DURATION:
		return duration_format(buf, *(const int64_t *)at);
	case OPTION_SIZE:
		return size_format(buf, *(const int64_t *)at);
	case OPTION_LEVEL:
		return levels[*(const enum log_level *)at];
	case OPTION_FORMAT:
		return *(const bool *)at ? "json" : "text";
	case OPTION_TEXTS:
	case OPTION_SECTION:
	case OPTION_SECTIONS:
		break;
	}
	return NULL;
}

/* Replaces borrowed texts by copies; *failed: there is no memory any more, so they become nothing. */
static void own_one(const struct option *o, void *to, bool *failed)
{
	if (has_text(o)) {
		char **at = field(o, to);
		if (*at && (*failed || !(*at = strdup(*at)))) {
			*failed = true;
			*at = NULL;
		}
		return;
	}
	char ***at = field(o, to);
	size_t n = *count_of(o, to);
	char **copy = n && !*failed ? calloc(n, sizeof *copy) : NULL;
	for (size_t i = 0; copy && i < n; i++)
		if (!(copy[i] = strdup((*at)[i])))
			*failed = true;
	*failed |= n && !copy;
	*at = copy;
	*count_of(o, to) = copy ? n : 0;
}

static void own_scope(enum option_scope scope, void *to, bool *failed)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		if (o->scope != scope)
			continue;
		if (o->type == OPTION_SECTION)
			own_scope(o->sub, to, failed);
		else if (has_text(o) || o->type == OPTION_TEXTS)
			own_one(o, to, failed);
	}
}

int options_own(enum option_scope scope, void *to, struct err *e)
{
	bool failed = false;
	own_scope(scope, to, &failed);
	return failed ? err_sys(e, ENOMEM, "cannot copy a part of the configuration") : 0;
}

void options_free(enum option_scope scope, void *base)
{
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		if (o->scope != scope)
			continue;
		if (o->type == OPTION_SECTION) {
			options_free(o->sub, base);
		} else if (has_text(o)) {
			char **at = field(o, base);
			free(*at);
			*at = NULL;
		} else if (o->type == OPTION_TEXTS) {
			char ***at = field(o, base);
			for (size_t k = 0; k < *count_of(o, base); k++)
				free((*at)[k]);
			free(*at);
			*at = NULL;
			*count_of(o, base) = 0;
		}
	}
}

/* One unit at text; its length in bytes and its value in nanoseconds. 0: none that is known. */
static size_t unit_at(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },	   { "us", 1000 },	{ "\302\265s", 1000 }, { "\316\274s", 1000 },
		{ "ms", 1000000 }, { "s", 1000000000 }, { "m", 60000000000 },  { "h", 3600000000000 },
	};
	size_t n = strcspn(text, ".0123456789");
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (strlen(units[i].name) == n && memcmp(units[i].name, text, n) == 0) {
			*ret_ns = units[i].ns;
			return n;
		}
	return 0;
}

/* Digits of the fraction as nanoseconds; what lies below a nanosecond is dropped. */
static uint64_t fraction_ns(const char *digits, size_t n, uint64_t unit_ns)
{
	uint64_t ns = 0, part = unit_ns;
	for (size_t i = 0; i < n && part >= 10; i++) {
		part /= 10;
		ns += part * (uint64_t)(digits[i] - '0');
	}
	return ns;
}

static int duration_why(const char *text, const char *at, struct err *e)
{
	if (*at == 0 && strspn(text, "+-.0123456789") == strlen(text) && *text)
		return err_set(e, ERR_CONFIG, "\"%.80s\" has no unit; a duration needs one, e.g. %.20ss", text,
			       text);
	if ((*at == 'd' || *at == 'w') && at > text)
		return err_set(e, ERR_CONFIG, "\"%.80s\": there is no unit for %s; write hours, e.g. %s", text,
			       *at == 'd' ? "days" : "weeks", *at == 'd' ? "24h for a day" : "168h for a week");
	return err_set(
		e, ERR_CONFIG,
		"\"%.80s\" is not a duration; write numbers with ns, us, ms, s, m or h, e.g. 1h30m or 10s",
		text);
}

int duration_parse(const char *text, int64_t *ret_us, struct err *e)
{
	const char *p = text + (*text == '-' || *text == '+');
	uint64_t total_ns = 0, unit_ns, whole;
	bool too_long = false;
	if (strcmp(p, "0") == 0) {
		*ret_us = 0;
		return 0;
	}
	do {
		size_t digits = strspn(p, "0123456789"), more = 0;
		const char *number = p, *fraction = p + digits + 1;
		p += digits;
		if (*p == '.') {
			more = strspn(fraction, "0123456789");
			p = fraction + more;
		}
		size_t unit = digits + more > 0 ? unit_at(p, &unit_ns) : 0;
		if (unit == 0)
			return duration_why(text, p, e);
		p += unit;
		whole = 0;
		for (size_t i = 0; i < digits; i++)
			too_long |= __builtin_mul_overflow(whole, 10, &whole) ||
				    __builtin_add_overflow(whole, (uint64_t)(number[i] - '0'), &whole);
		too_long |= __builtin_mul_overflow(whole, unit_ns, &whole) ||
			    __builtin_add_overflow(total_ns, whole, &total_ns) ||
			    __builtin_add_overflow(total_ns, fraction_ns(fraction, more, unit_ns), &total_ns);
	} while (*p);
	if (too_long || total_ns > INT64_MAX)
		return err_set(e, ERR_CONFIG, "\"%.80s\" is too long; a duration is at most 292 years", text);
	int64_t us = total_ns && total_ns < 1000 ? 1 : (int64_t)(total_ns / 1000);
	*ret_us = *text == '-' ? -us : us;
	return 0;
}

char *duration_format(char buf[DURATION_TEXT_BYTES], int64_t us)
{
	uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
	unsigned long long h = v / 3600000000u, m = v / 60000000u % 60, rest = v % 60000000u;
	int n = snprintf(buf, DURATION_TEXT_BYTES, "%s", us < 0 ? "-" : "");
	if (v == 0)
		n = snprintf(buf, DURATION_TEXT_BYTES, "0s");
	if (h)
		n += snprintf(buf + n, DURATION_TEXT_BYTES - (size_t)n, "%lluh", h);
	if (m)
		n += snprintf(buf + n, DURATION_TEXT_BYTES - (size_t)n, "%llum", m);
	if (rest == 0)
		return buf;
	unsigned long long unit = rest >= 1000000 || h || m ? 1000000 : rest >= 1000 ? 1000 : 1;
	n += snprintf(buf + n, DURATION_TEXT_BYTES - (size_t)n, "%llu", rest / unit);
	if (rest % unit) {
		n += snprintf(buf + n, DURATION_TEXT_BYTES - (size_t)n, unit == 1000 ? ".%03llu" : ".%06llu",
			      rest % unit);
		while (buf[n - 1] == '0')
			buf[--n] = 0;
	}
	snprintf(buf + n, DURATION_TEXT_BYTES - (size_t)n, "%s",
		 unit == 1000000 ? "s"
		 : unit == 1000	 ? "ms"
				 : "us");
	return buf;
}
