/* SPDX-License-Identifier: Apache-2.0
 *
 * conf/: the option table and its documentation, durations, the YAML reader with the place and text of every
 * error, environment variables, replica URLs and rules, and what two replicas must not share. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "conf/conf.h"
#include "conf/expand.h"
#include "conf/nearest.h"
#include "conf/options.h"
#include "conf/url.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define RECIPIENT "age1xrg56jsn8gzzydy46wq3xmys7hhe88yjpkm8rwqhhjmnwlscueeqml6f8k"
#define IDENTITY "AGE-SECRET-KEY-1QQQSYQCYQ5RQWZQFPG9SCRGWPUGPZYSNZS23V9CCRYDPK8QARC0SWRYDWG"

static char file[64];

static int make_file(void **state)
{
	(void)state;
	snprintf(file, sizeof file, "/tmp/wb-conf-XXXXXX");
	int fd = mkstemp(file);
	return fd < 0 ? -1 : close(fd);
}

static int drop_file(void **state)
{
	(void)state;
	return unlink(file);
}

static void write_file(const char *text, size_t n)
{
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int read_bytes(const char *text, size_t n, bool expand, struct conf **ret, struct err *e)
{
	*e = ERR_INIT;
	*ret = NULL;
	write_file(text, n);
	int rc = conf_read(file, expand, ret, e);
	if (rc < 0)
		assert_null(*ret);
	return rc;
}

static int read_text(const char *text, struct conf **ret, struct err *e)
{
	return read_bytes(text, strlen(text), true, ret, e);
}

static struct conf *read_good(const char *text)
{
	struct conf *c;
	struct err e;
	if (read_text(text, &c, &e) < 0)
		fail_msg("refused: %s\n%s", e.text, text);
	return c;
}

/* `at` is LINE:COLUMN, or "" when the error is about the file as a whole; `want` must be in the text behind it.
 */
static void refuse(const char *text, const char *at, const char *want)
{
	struct conf *c;
	struct err e;
	char prefix[128];
	snprintf(prefix, sizeof prefix, "%s:%s%s", file, at, *at ? ":" : "");
	if (read_text(text, &c, &e) == 0)
		fail_msg("accepted, but expected \"%s\":\n%s", want, text);
	if (strncmp(e.text, prefix, strlen(prefix)) != 0 || !strstr(e.text, want))
		fail_msg("expected %s … %s\ngot      %s\nfor\n%s", prefix, want, e.text, text);
	assert_int_equal(e.kind, ERR_CONFIG);
}

/* ---- values ---- */

static void durations_are_those_of_go(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
	} good[] = {
		{ "0", 0 },
		{ "-0", 0 },
		{ "0s", 0 },
		{ "1s", 1000000 },
		{ "1.5s", 1500000 },
		{ ".5s", 500000 },
		{ "1.s", 1000000 },
		{ "1h30m", 5400000000 },
		{ "1h30m5.25s", 5405250000 },
		{ "300ms", 300000 },
		{ "7us", 7 },
		{ "7\302\265s", 7 },
		{ "7\316\274s", 7 },
		{ "2500ns", 2 },
		{ "1ns", 1 },
		{ "0ns", 0 },
		{ "24h", 86400000000 },
		{ "-1m", -60000000 },
		{ "+1m", 60000000 },
		{ "1m1m", 120000000 },
		{ "0.000001s", 1 },
		{ "2562047h", 2562047 * INT64_C(3600000000) },
		{ "0.1234567890123456789s", 123456 },
	};
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "10", "e.g. 10s" },
		{ "1.5", "unit" },
		{ "-3", "unit" },
		{ "", "not a duration" },
		{ "s", "not a duration" },
		{ "1 s", "not a duration" },
		{ "1s ", "not a duration" },
		{ "1d", "24h" },
		{ "2w", "168h" },
		{ "1S", "not a duration" },
		{ "1e3s", "not a duration" },
		{ ".s", "not a duration" },
		{ "--1s", "not a duration" },
		{ "2562048h", "292 years" },
		{ "99999999999999999999s", "292 years" },
		{ "1h99999999999999h", "292 years" },
		{ "1sec", "not a duration" },
		{ "1m30", "not a duration" },
	};
	struct err e;
	int64_t us;
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		if (duration_parse(good[i].text, &us, &e) < 0)
			fail_msg("%s: %s", good[i].text, e.text);
		if (us != good[i].us)
			fail_msg("%s: %lld", good[i].text, (long long)us);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		e = ERR_INIT;
		us = 42;
		if (duration_parse(bad[i].text, &us, &e) == 0 || !strstr(e.text, bad[i].why))
			fail_msg("\"%s\": %s", bad[i].text, e.text);
		assert_int_equal(us, 42);
		assert_int_equal(e.kind, ERR_CONFIG);
	}
}

static void durations_are_printed_so_that_they_can_be_read(void **state)
{
	static const struct {
		int64_t us;
		const char *text;
	} cases[] = {
		{ 0, "0s" },
		{ 1, "1us" },
		{ 1500, "1.5ms" },
		{ 1000, "1ms" },
		{ 1000000, "1s" },
		{ 1500000, "1.5s" },
		{ 60000000, "1m" },
		{ 5400000000, "1h30m" },
		{ 3600000001, "1h0.000001s" },
		{ -1000000, "-1s" },
		{ 1000001, "1.000001s" },
	};
	char buf[DURATION_TEXT_BYTES];
	struct err e;
	int64_t us;
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_string_equal(duration_format(buf, cases[i].us), cases[i].text);
		assert_int_equal(duration_parse(buf, &us, &e), 0);
		assert_int_equal(us, cases[i].us);
	}
	duration_format(buf, INT64_MIN);
	duration_format(buf, INT64_MAX);
	assert_string_equal(buf, "2562047788h54.775807s");
}

static void sizes_have_units(void **state)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "1B", 1 },
		{ "1KB", 1000 },
		{ "1KiB", 1024 },
		{ "512MiB", INT64_C(512) << 20 },
		{ "1.5GB", 1500000000 },
		{ "0.5KiB", 512 },
		{ "1.0009765625KiB", 1025 },
		{ "2TiB", INT64_C(2) << 40 },
		{ "8388607TiB", INT64_C(8388607) << 40 },
	};
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "not a size" },
		{ "1", "e.g. 1MiB" },
		{ "1.5", "unit" },
		{ "1gib", "write the unit as GiB" },
		{ "1G", "write the unit as GiB" },
		{ "1Mb", "write the unit as MB" },
		{ "-1GiB", "not a size" },
		{ "1 GiB", "not a size" },
		{ "GiB", "not a size" },
		{ ".5GiB", "not a size" },
		{ "1.GiB", "not a size" },
		{ "1e3B", "not a size" },
		{ "8388608TiB", "too large" },
		{ "99999999999999999999B", "too large" },
	};
	static const char *const printed[] = { "0B", "1B", "1000000B", "1KiB", "1536MiB", "1GiB", "3TiB" };
	char buf[SIZE_TEXT_BYTES];
	struct err e;
	int64_t bytes;
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		if (size_parse(good[i].text, &bytes, &e) < 0)
			fail_msg("%s: %s", good[i].text, e.text);
		if (bytes != good[i].bytes)
			fail_msg("%s: %lld", good[i].text, (long long)bytes);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		e = ERR_INIT;
		if (size_parse(bad[i].text, &bytes, &e) == 0 || !strstr(e.text, bad[i].why))
			fail_msg("\"%s\": %s", bad[i].text, e.text);
		assert_int_equal(e.kind, ERR_CONFIG);
	}
	for (size_t i = 0; i < COUNT(printed); i++) {
		assert_int_equal(size_parse(printed[i], &bytes, &e), 0);
		assert_string_equal(size_format(buf, bytes), printed[i]);
	}
}

static void nearest_words(void **state)
{
	static const struct {
		const char *word, *want;
	} cases[] = {
		{ "retension", "retention" },
		{ "replica", "replicas" },
		{ "pth", "path" },
		{ "pahts", NULL },
		{ "ptah", "path" },
		{ "retentino", "retention" },
		{ "monitor", NULL },
		{ "", NULL },
		{ "Path", "path" },
		{ "xyzzy", NULL },
	};
	static const char *const known[] = { "path", "replicas", "retention", "retention-check-interval" };
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct nearest n = NEAREST_OF(cases[i].word);
		for (size_t k = 0; k < COUNT(known); k++)
			nearest_offer(&n, known[k]);
		if (!cases[i].want)
			assert_null(n.best);
		else if (!n.best || strcmp(n.best, cases[i].want) != 0)
			fail_msg("%s: %s", cases[i].word, n.best ? n.best : "none");
	}
}

/* ---- good files ---- */

static const char everything[] = "addr: \":9090\"\n"
				 "exec: |\n"
				 "  myapp -listen :8080\n"
				 "access-key-id: AKTOP\n"
				 "secret-access-key: SECTOP\n"
				 "socket: /run/x/../c.sock\n"
				 "token-file: /etc/token\n"
				 "health-lag: 90s\n"
				 "shutdown-timeout: 0\n"
				 "logging:\n"
				 "  level: WARNING\n"
				 "  type: json\n"
				 "  stderr: false\n"
				 "dbs:\n"
				 "  - path: /data/../data//app.db\n"
				 "    meta-path: /meta/app/\n"
				 "    monitor-interval: 2s\n"
				 "    checkpoint-interval: 0\n"
				 "    min-checkpoint-page-count: 5\n"
				 "    max-checkpoint-page-count: 0\n"
				 "    spool-quota: 2GiB\n"
				 "    replicas:\n"
				 "      - path: /backup/app/\n"
				 "        retention: 72h\n"
				 "        retention-check-interval: 10m\n"
				 "        sync-interval: 0\n"
				 "        snapshot-interval: 6h\n"
				 "        validation-interval: 1h30m\n"
				 "        age:\n"
				 "          identities: [" IDENTITY "]\n"
				 "          recipients:\n"
				 "            - |\n"
				 "              # mine\n"
				 "\n"
				 "              " RECIPIENT "\n"
				 "      - type: s3\n"
				 "        name: far\n"
				 "        bucket: b\n"
				 "        path: p\n"
				 "        region: eu-west-1\n"
				 "        endpoint: http://minio:9000\n"
				 "        access-key-id: AK\n"
				 "        force-path-style: no\n"
				 "        skip-verify: yes\n"
				 "      - type: abs\n"
				 "        bucket: c\n"
				 "        account-name: an\n"
				 "        account-key: ak\n"
				 "        endpoint: http://azurite:10000\n"
				 "      - type: sftp\n"
				 "        host: h:2222\n"
				 "        user: u\n"
				 "        password: 'pw'\n"
				 "        key-path: /k\n"
				 "        path: /there\n"
				 "      - url: gcs://gb/gp\n"
				 "  - path: other.db\n"
				 "  - dir: /many\n"
				 "    pattern: '*.sqlite'\n"
				 "    recursive: true\n";

static void every_key_is_read(void **state)
{
	char cwd[PATH_BYTES], want[2 * PATH_BYTES];
	(void)state;
	struct conf *c = read_good(everything);
	assert_string_equal(c->addr, ":9090");
	assert_string_equal(c->exec, "myapp -listen :8080\n");
	assert_int_equal(c->log_level, LOG_WARN);
	assert_true(c->log_json);
	assert_true(c->log_stdout);
	assert_string_equal(c->socket, "/run/c.sock");
	assert_string_equal(c->token_file, "/etc/token");
	assert_int_equal(c->health_lag_us, 90000000);
	assert_int_equal(c->shutdown_timeout_us, 0);
	assert_int_equal(c->dbs_n, 3);
	const struct conf_db *d = &c->dbs[0];
	assert_string_equal(d->path, "/data/app.db");
	assert_string_equal(d->meta_path, "/meta/app");
	assert_int_equal(d->monitor_interval_us, 2000000);
	assert_int_equal(d->checkpoint_interval_us, 0);
	assert_int_equal(d->min_checkpoint_pages, 5);
	assert_int_equal(d->max_checkpoint_pages, 0);
	assert_int_equal(d->spool_quota_bytes, INT64_C(2) << 30);
	assert_int_equal(d->replicas_n, 5);
	const struct conf_replica *r = &d->replicas[0];
	assert_string_equal(r->type, "file");
	assert_string_equal(r->name, "file");
	assert_string_equal(r->path, "/backup/app");
	assert_null(r->url);
	assert_int_equal(r->retention_us, 72 * INT64_C(3600000000));
	assert_int_equal(r->retention_check_interval_us, 600000000);
	assert_int_equal(r->sync_interval_us, 0);
	assert_int_equal(r->snapshot_interval_us, 6 * INT64_C(3600000000));
	assert_int_equal(r->validation_interval_us, 5400000000);
	assert_int_equal(r->age_identities_n, 1);
	assert_string_equal(r->age_identities[0], IDENTITY);
	assert_int_equal(r->age_recipients_n, 1);
	assert_int_equal(r->line, 23);
	assert_int_equal(r->column, 9);
	r = &d->replicas[1];
	assert_string_equal(r->name, "far");
	assert_string_equal(r->url, "s3://b/p");
	assert_string_equal(r->region, "eu-west-1");
	assert_string_equal(r->access_key_id, "AK");
	assert_string_equal(r->secret_access_key, "SECTOP"); /* handed down: its own is empty */
	assert_int_equal(r->force_path_style, 0);
	assert_true(r->skip_verify);
	r = &d->replicas[2];
	assert_string_equal(r->url, "abs://an@c");
	assert_string_equal(r->account_key, "ak");
	assert_null(r->access_key_id);
	r = &d->replicas[3];
	assert_string_equal(r->url, "sftp://u@h:2222/there");
	assert_string_equal(r->password, "pw");
	assert_string_equal(r->key_path, "/k");
	assert_string_equal(d->replicas[4].bucket, "gb");
	assert_string_equal(d->replicas[4].path, "gp");
	assert_non_null(getcwd(cwd, sizeof cwd));
	snprintf(want, sizeof want, "%s/other.db", cwd);
	assert_string_equal(c->dbs[1].path, want);
	assert_ptr_equal(conf_db_find(c, want), &c->dbs[1]);
	assert_null(conf_db_find(c, "/other.db"));
	d = &c->dbs[2];
	assert_true(d->is_template && d->recursive);
	assert_string_equal(d->dir, "/many");
	assert_string_equal(d->pattern, "*.sqlite");
	assert_string_equal(d->path, "/many/**/*.sqlite");
	conf_free(c);
}

static void defaults_are_those_of_the_table(void **state)
{
	char meta[PATH_BYTES];
	struct err e;
	(void)state;
	struct conf *c = read_good("dbs: [{path: /d/a.db, replicas: [{path: /r}]}]\n");
	assert_int_equal(c->log_level, LOG_INFO);
	assert_false(c->log_json);
	assert_false(c->log_stdout);
	assert_null(c->exec);
	assert_null(c->socket);
	assert_null(c->token_file);
	assert_int_equal(c->health_lag_us, 300000000);
	assert_int_equal(c->shutdown_timeout_us, 30000000);
	const struct conf_db *d = &c->dbs[0];
	assert_false(d->is_template);
	assert_null(d->dir);
	assert_null(d->pattern);
	assert_int_equal(d->spool_quota_bytes, 1 << 30);
	assert_int_equal(d->monitor_interval_us, 1000000);
	assert_int_equal(d->checkpoint_interval_us, 60000000);
	assert_int_equal(d->min_checkpoint_pages, 1000);
	assert_int_equal(d->max_checkpoint_pages, 10000);
	const struct conf_replica *r = &d->replicas[0];
	assert_int_equal(r->retention_us, 24 * INT64_C(3600000000));
	assert_int_equal(r->retention_check_interval_us, 3600000000);
	assert_int_equal(r->sync_interval_us, 1000000);
	assert_int_equal(r->snapshot_interval_us, 0);
	assert_int_equal(r->validation_interval_us, 0);
	assert_int_equal(r->force_path_style, -1);
	assert_int_equal(conf_meta_dir(d, meta, &e), 0);
	assert_string_equal(meta, "/d/.a.db-litestream");
	conf_free(c);
	c = read_good("dbs:\nlogging:\n"); /* empty values are values that are not given */
	assert_int_equal(c->dbs_n, 0);
	conf_free(c);
}

static void merges_and_aliases(void **state)
{
	(void)state;
	struct conf *c = read_good("dbs:\n"
				   "  - path: /a\n"
				   "    replicas:\n"
				   "      - &base\n"
				   "        path: /ra\n"
				   "        retention: 48h\n"
				   "        sync-interval: 5s\n"
				   "  - path: /b\n"
				   "    replicas:\n"
				   "      - <<: *base\n"
				   "        path: /rb\n"
				   "        sync-interval: 9s\n"
				   "  - path: /c\n"
				   "    replicas:\n"
				   "      - {<<: [{path: /rc, sync-interval: 1s}, *base]}\n");
	assert_string_equal(c->dbs[1].replicas[0].path, "/rb");
	assert_int_equal(c->dbs[1].replicas[0].retention_us, 48 * INT64_C(3600000000));
	assert_int_equal(c->dbs[1].replicas[0].sync_interval_us, 9000000);
	assert_string_equal(c->dbs[2].replicas[0].path, "/rc");
	assert_int_equal(c->dbs[2].replicas[0].sync_interval_us, 1000000);
	assert_int_equal(c->dbs[2].replicas[0].retention_us, 48 * INT64_C(3600000000));
	conf_free(c);
	refuse("dbs: &d\n  - <<: *d\n", "1:6", "inside each other");
	refuse("<<: [3]\n", "1:6", "<< takes sections");
	refuse("<<: 3\n", "1:5", "<< takes a section");
	refuse("<<: {addr: a}\n<<: {addr: b}\n", "2:1", "<< is given twice");
	refuse("<<: {adr: a}\n", "1:6", "did you mean \"addr\"");
	refuse("&a\n<<: *a\n", "1:1", "inside each other");
}

/* ---- refusals ---- */

#define DB "dbs:\n  - path: /d/a.db\n"
#define REPLICA_OF DB "    replicas:\n"

static void keys_are_strict(void **state)
{
	(void)state;
	refuse("", "", "is empty");
	refuse("# nothing\n", "", "is empty");
	refuse("---\n", "", "is empty");
	refuse("hello\n", "1:1", "must be a section");
	refuse("- a\n", "1:1", "not a list");
	refuse("dbss: []\n", "1:1", "unknown key \"dbss\" at the top level; did you mean \"dbs\"?");
	refuse("dbs: []\naddr: :1\ndbs: []\n", "3:1", "given twice; the first time in line 1");
	refuse(DB "    retension: 1h\n", "3:5", "unknown key \"retension\" in a database");
	refuse(DB "    retention: 1h\n", "3:5",
	       "\"retention\" is not known in a database of dbs; it belongs in a replica");
	refuse(DB "    replica:\n      path: /r\n", "3:5", "did you mean \"replicas\"?");
	refuse(REPLICA_OF "      - path: /r\n        retension: 1h\n", "5:9", "did you mean \"retention\"?");
	refuse(REPLICA_OF "      - path: /r\n        level: 1h\n", "5:9", "it belongs in logging");
	refuse(REPLICA_OF "      - path: /r\n        path: /s\n", "5:9",
	       "given twice; the first time in line 4");
	refuse("path: /a\n", "1:1", "it belongs in a database of dbs or in a replica");
	refuse("snapshot: 1\n", "1:1", "docs/configuration.md");
	refuse("\"addr\\0x\": 1\n", "1:1", "unknown key");
	refuse("[a]: 1\n", "1:1", "a key must be a word");
	refuse("addr: :1\n---\naddr: :2\n", "3:1", "second document");
	refuse("addr: :1\n...\n---\n- x\n", "4:1", "second document");
	refuse("addr: !secret a\n", "1:7", "YAML tag");
	refuse("logging: !!binary aGk=\n", "1:10", "YAML tag");
}

static void shapes_are_strict(void **state)
{
	(void)state;
	refuse("dbs: 3\n", "1:6", "dbs must be a list of sections, not a single value");
	refuse("dbs: {path: /a}\n", "1:6", "dbs must be a list of sections, not a section");
	refuse("dbs: [/a]\n", "1:7", "an item of dbs must be a section with keys, not a single value");
	refuse("dbs: [~]\n", "1:7", "not empty");
	refuse("logging: [a]\n", "1:10", "logging must be a section with keys, not a list");
	refuse("addr: [a]\n", "1:7", "addr must be text, not a list");
	refuse("addr: 9090\n", "1:7", "must specify port for bind address");
	refuse("addr: \"::1:9090\"\n", "1:7", "must specify port for bind address");
	refuse("addr: localhost:http\n", "1:7", "\"http\" is not a port number");
	refuse("addr: localhost:65536\n", "1:7", "not a port number");
	refuse(DB "    monitor-interval: {a: b}\n", "3:23", "must be a duration, not a section");
	refuse(REPLICA_OF "      - path: /r\n        age: {recipients: " RECIPIENT "}\n", "5:27",
	       "a list of texts");
	refuse(REPLICA_OF "      - path: /r\n        age: {recipients: [[a]]}\n", "5:28", "single value");
	refuse("addr: \"a\\0b\"\n", "1:7", "NUL");
	refuse("addr: \"a\\nb\"\n", "1:7", "line break");
}

static void values_are_checked(void **state)
{
	(void)state;
	refuse("dbs:\n  - meta-path: /m\n", "2:5", "needs path: FILE");
	refuse("dbs:\n  - path:\n", "2:10", "path is empty");
	refuse("dbs:\n  - path: ''\n", "2:11", "path is empty");
	refuse("exec: ''\n", "1:7", "exec is empty");
	refuse("exec:   \n", "1:6", "exec is empty");
	refuse("exec: \"  \\n \"\n", "1:7", "exec is empty");
	refuse("logging: {type: xml}\n", "1:17", "there are text and json");
	refuse("logging: {type: JSON}\n", "1:17", "there are text and json");
	refuse("logging: {level: loud}\n", "1:18", "debug, info, warn and error");
	refuse("logging: {stderr: 2}\n", "1:19", "neither true nor false");
	refuse(DB "    monitor-interval: 10\n", "3:23",
	       "monitor-interval: \"10\" has no unit; a duration needs one, e.g. 10s");
	refuse(DB "    monitor-interval: -1s\n", "3:23", "is negative");
	refuse(DB "    checkpoint-interval: 1day\n", "3:26", "write hours");
	refuse(DB "    min-checkpoint-page-count: 0\n", "3:32", "allowed are 1 to");
	refuse(DB "    spool-quota: 1\n", "3:18",
	       "spool-quota: \"1\" has no unit; a size needs one, e.g. 1MiB");
	refuse(DB "    spool-quota: 0\n", "3:18", "the least is 1MiB");
	refuse("health-lag: -1s\n", "1:13", "is negative");
	refuse("socket:\n", "1:8", "socket is empty");
	refuse("token-file: ''\n", "1:13", "token-file is empty");
	refuse(DB "    max-checkpoint-page-count: -1\n", "3:32", "not a whole number");
	refuse(DB "    max-checkpoint-page-count: 010\n", "3:32", "plain decimal digits");
	refuse(DB "    max-checkpoint-page-count: 1_000\n", "3:32", "plain decimal digits");
	refuse(DB "    max-checkpoint-page-count: 99999999999999999999\n", "3:32", "out of bounds");
	refuse(REPLICA_OF "      - path: /r\n        retention-check-interval: 0\n", "5:9", "retention: 0");
	refuse(REPLICA_OF "      - path: /r\n        retention: -1h\n", "5:20", "negative");
	refuse(REPLICA_OF "      - path: /r\n        sync-interval: 1000000000\n", "5:24", "e.g. 1000000000s");
	struct conf *c = read_good(REPLICA_OF "      - path: /r\n        retention: 0\n"
					      "        retention-check-interval: 0s\n");
	assert_int_equal(c->dbs[0].replicas[0].retention_us, 0);
	conf_free(c);
	c = read_good("logging: {type: '', level: Debug, stderr: True}\n" DB);
	assert_int_equal(c->log_level, LOG_DEBUG);
	assert_false(c->log_stdout);
	conf_free(c);
}

static void yaml_faults_have_places(void **state)
{
	struct conf *c;
	struct err e;
	(void)state;
	refuse("dbs:\n\t- path: /a\n", "2:1", "with a tab");
	refuse("addr: a\n  exec: b\n", "2:7", "not valid YAML");
	refuse("dbs: [\n", "2:1", "not valid YAML");
	refuse("addr: \"\\xZZ\"\n", "1:10", "not valid YAML");
	refuse("addr: a\naddr: *nobody\n", "2:7", "undefined alias");
	refuse("addr: a\nexec: b\377c\n", "2:8", "UTF-8");
	refuse("addr: a\nexec: b\001c\n", "2:8", "UTF-8");
	assert_int_equal(read_bytes("a: b\0c\n", 7, true, &c, &e), -1);
	assert_non_null(strstr(e.text, ":1:5: not valid YAML"));
	assert_int_equal(read_bytes("\377\376a\0", 4, true, &c, &e), -1);
}

static void hostile_files_are_bounded(void **state)
{
	enum { BIG = (16 << 20) + 1 };
	char *big = malloc(BIG + 1);
	struct conf *c;
	struct err e;
	(void)state;
	assert_non_null(big);
	memset(big, '#', BIG);
	assert_int_equal(read_bytes(big, BIG, false, &c, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "larger than"));
	memset(big, '[', BIG); /* depth */
	assert_int_equal(read_bytes(big, BIG - 1, false, &c, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	size_t n = (size_t)snprintf(big, BIG, "dbs:\n- path: /a\n  replicas: &r\n");
	for (unsigned i = 0; i < 60; i++)
		n += (size_t)snprintf(big + n, BIG - n, "  - {path: /r%u, name: n%u, sync-interval: 1s}\n", i,
				      i);
	while (n < 1 << 20) /* a few bytes of alias for many nodes */
		n += (size_t)snprintf(big + n, BIG - n, "- {path: /a%zu, replicas: *r}\n", n);
	assert_int_equal(read_bytes(big, n, false, &c, &e), -1);
	assert_non_null(strstr(e.text, "aliases"));
	for (n = 0; n < BIG - 8;) /* many nodes without any alias */
		n += (size_t)snprintf(big + n, BIG - n, "- a\n");
	assert_int_equal(read_bytes(big, n, false, &c, &e), -1);
	assert_non_null(strstr(e.text, "more than 2000000 values"));
	n = (size_t)snprintf(big, BIG, "dbs:\n- path: /a\n  replicas:\n");
	for (unsigned i = 0; i < 65; i++)
		n += (size_t)snprintf(big + n, BIG - n, "  - {path: /r%u, name: n%u}\n", i, i);
	assert_int_equal(read_bytes(big, n, false, &c, &e), -1);
	assert_non_null(strstr(e.text, ":68:5: more than 64 replicas"));
	free(big);
}

static void ten_thousand_databases_are_read(void **state)
{
	struct dyn b = DYN_INIT(16 << 20);
	struct conf *c;
	struct err e;
	(void)state;
	assert_int_equal(dyn_addf(&b, "dbs:\n"), 0);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(dyn_addf(&b,
					  "  - path: /var/lib/app/tenants/%05d.db\n"
					  "    replicas:\n"
					  "      - path: /backup/%05d\n"
					  "        retention: 72h\n"
					  "        sync-interval: 10s\n"
					  "      - name: nas\n"
					  "        url: file:///mnt/nas/%05d\n"
					  "        retention: 720h\n"
					  "        snapshot-interval: 24h\n"
					  "      - url: s3://bucket.s3.example.com/tenants/%05d\n"
					  "        region: eu-west-1\n",
					  i, i, i, i),
				 0);
	assert_int_equal(read_bytes((const char *)b.p, b.len, true, &c, &e), 0);
	assert_int_equal(c->dbs_n, 10000);
	assert_string_equal(c->dbs[9999].replicas[0].path, "/backup/09999");
	conf_free(c);
	dyn_free(&b);
}

static void files_that_cannot_be_read(void **state)
{
	struct conf *c;
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(conf_read("/nonexistent/walbrook.yml", true, &c, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "/nonexistent/walbrook.yml"));
	e = ERR_INIT;
	assert_int_equal(conf_read("/tmp", true, &c, &e), -1);
}

/* ---- environment ---- */

static const char *get(const char *name)
{
	static const char *const vars[][2] = { { "A", "alpha" }, { "LONG_1", "0123456789" },
					       { "_", "low" },	 { "$", "pid" },
					       { "1", "one" },	 { "E", "" },
					       { "NL", "a\nb" } };
	for (size_t i = 0; i < COUNT(vars); i++)
		if (strcmp(vars[i][0], name) == 0)
			return vars[i][1];
	return NULL;
}

static void variables_expand_as_in_go(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "$A", "alpha" },
		{ "${A}", "alpha" },
		{ "x${A}y", "xalphay" },
		{ "$A.$A", "alpha.alpha" },
		{ "$LONG_1x", "" },
		{ "${LONG_1}x", "0123456789x" },
		{ "$", "$" },
		{ "a$", "a$" },
		{ "$ x", "$ x" },
		{ "$.x", "$.x" },
		{ "$$", "pid" },
		{ "$$A", "pidA" },
		{ "$1x", "onex" },
		{ "${1}x", "onex" },
		{ "$2x", "x" },
		{ "$?x", "x" },
		{ "${?}x", "x" },
		{ "$UNSET-", "-" },
		{ "${UNSET}", "" },
		{ "$E", "" },
		{ "$_", "low" },
		{ "# ${A:-b} $A\n$A", "# ${A:-b} $A\nalpha" },
		{ "  # $A\nx # $A", "  # $A\nx # alpha" },
		{ "\303\244$A", "\303\244alpha" },
	};
	static const struct {
		const char *in, *why;
	} bad[] = {
		{ "${A:-b}", "f:1:1: \"${A:-b}\" is not an environment variable" },
		{ "a\nbc${", "f:2:3:" },
		{ "${}", "f:1:1:" },
		{ "${A\n}", "f:1:1: \"${A\"" },
		{ "k: $NL", "f:1:4: the value of the environment variable NL" },
		{ "${A B}", "-no-expand-env" },
	};
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dyn out = DYN_INIT(1000);
		struct expansions x = { 0 };
		struct span in = { (const uint8_t *)cases[i].in, strlen(cases[i].in) };
		if (expand_text("f", in, get, &out, &x, &e) < 0)
			fail_msg("%s: %s", cases[i].in, e.text);
		if (out.len != strlen(cases[i].out) ||
		    (out.len > 0 && memcmp(out.p, cases[i].out, out.len) != 0))
			fail_msg("%s: %.*s", cases[i].in, (int)out.len, (char *)out.p);
		expansions_free(&x);
		dyn_free(&out);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct dyn out = DYN_INIT(1000);
		struct expansions x = { 0 };
		struct span in = { (const uint8_t *)bad[i].in, strlen(bad[i].in) };
		if (expand_text("f", in, get, &out, &x, &e) == 0 || !strstr(e.text, bad[i].why))
			fail_msg("%s: %s", bad[i].in, e.text);
		expansions_free(&x);
		dyn_free(&out);
	}
	struct dyn small = DYN_INIT(8);
	struct expansions x = { 0 };
	assert_int_equal(
		expand_text("f", (struct span){ (const uint8_t *)"${LONG_1}", 9 }, get, &small, &x, &e), -1);
	assert_non_null(strstr(e.text, "larger than 8 bytes"));
	expansions_free(&x);
	dyn_free(&small);
}

static void places_are_those_before_expansion(void **state)
{
	(void)state;
	setenv("WB_T_SHORT", "a", 1);
	setenv("WB_T_TRUE", "true", 1);
	setenv("WB_T_LONG", "0123456789012345678901234567890", 1);
	setenv("WB_T_BREAK", "a\nexec: evil", 1);
	unsetenv("WB_T_UNSET");
	refuse("logging: {level: $WB_T_SHORT, type: xml}\n", "1:18", "not a level");
	refuse("logging: {stderr: $WB_T_TRUE, typ: xml}\n", "1:31", "unknown key \"typ\"");
	refuse("{exec: $WB_T_LONG$WB_T_SHORT$WB_T_UNSET, typ: xml}\n", "1:42", "unknown key \"typ\"");
	refuse("\n{exec: ${WB_T_SHORT}\303\244, typ: xml}\n", "2:24", "unknown key \"typ\"");
	refuse("addr: $WB_T_BREAK\n", "1:7", "line break");
	refuse("dbs:\n  - path: $WB_T_UNSET\n", "2:10",
	       "The environment variable WB_T_UNSET, used on this line, is not set");
	struct conf *c = read_good("exec: $WB_T_SHORT\n# ${broken\n");
	assert_string_equal(c->exec, "a");
	conf_free(c);
	struct err e;
	assert_int_equal(read_bytes("exec: ${a:-b}$\n", 15, false, &c, &e), 0);
	assert_string_equal(c->exec, "${a:-b}$");
	conf_free(c);
}

static void the_file_is_found(void **state)
{
	char *path;
	struct err e = ERR_INIT;
	(void)state;
	unsetenv("WALBROOK_CONFIG");
	unsetenv("LITESTREAM_CONFIG");
	assert_int_equal(conf_find(file, &path, &e), 0);
	assert_string_equal(path, file);
	free(path);
	setenv("LITESTREAM_CONFIG", file, 1);
	assert_int_equal(conf_find(NULL, &path, &e), 0);
	assert_string_equal(path, file);
	free(path);
	setenv("WALBROOK_CONFIG", "/nonexistent/w.yml", 1);
	assert_int_equal(conf_find(NULL, &path, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "/nonexistent/w.yml"));
	assert_non_null(strstr(e.text, "WALBROOK_CONFIG"));
	assert_int_equal(conf_find("/nonexistent/x.yml", &path, &e), -1);
	assert_non_null(strstr(e.text, "-config"));
	unsetenv("WALBROOK_CONFIG");
	unsetenv("LITESTREAM_CONFIG");
	if (access("/etc/walbrook.yml", F_OK) < 0 && access("/etc/litestream.yml", F_OK) < 0) {
		static const char *const all[] = { "-config", "WALBROOK_CONFIG", "LITESTREAM_CONFIG",
						   "/etc/walbrook.yml", "/etc/litestream.yml" };
		assert_int_equal(conf_find(NULL, &path, &e), -1);
		assert_int_equal(e.kind, ERR_NOTHING);
		for (size_t i = 0; i < COUNT(all); i++)
			assert_non_null(strstr(e.text, all[i]));
	}
}

/* ---- replicas ---- */

static void urls_are_taken_apart(void **state)
{
	static const struct {
		const char *text, *user, *password, *host, *path;
	} good[] = {
		{ "file:///a/b", "", "", "", "/a/b" },
		{ "file:///a//b/../c/", "", "", "", "/a/c" },
		{ "file://rel/x", "", "", "", "/rel/x" },
		{ "file:///a%20b", "", "", "", "/a%20b" },
		{ "file:///a b", "", "", "", "/a%20b" },
		{ "file:///a%2Fb c", "", "", "", "/a/b%20c" },
		{ "file:///\303\244", "", "", "", "/%C3%A4" },
		{ "file:///a?b", "", "", "", "/a?b" },
		{ "file:///a#b", "", "", "", "/a" },
		{ "s3://bucket", "", "", "bucket", "" },
		{ "s3://bucket/", "", "", "bucket", "" },
		{ "s3://bucket/a/../b%20c?x=y#z", "", "", "bucket", "/b c" },
		{ "abs://acc@con/p", "acc", "", "con", "/p" },
		{ "sftp://u:p%40ss@h:22/a", "u", "p@ss", "h:22", "/a" },
		{ "sftp://u:p@w@h/a", "u", "p@w", "h", "/a" },
	};
	static const char *const bad[] = { "/a/b",
					   "abc",
					   "://x",
					   "file://",
					   "file:///",
					   "file:///..",
					   "s3://b/%zz",
					   "s3://b/%4",
					   "s3://b/%00",
					   "s3://b/\001",
					   "averyveryverylongscheme://x",
					   "file:///a%zz",
					   "file:///a?b\001" };
	struct url u;
	struct err e;
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		if (url_parse(good[i].text, &u, &e) < 0)
			fail_msg("%s", e.text);
		if (strcmp(u.user, good[i].user) || strcmp(u.password, good[i].password) ||
		    strcmp(u.host, good[i].host) || strcmp(u.path, good[i].path))
			fail_msg("%s: %s %s %s %s", good[i].text, u.user, u.password, u.host, u.path);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		if (url_parse(bad[i], &u, &e) == 0)
			fail_msg("accepted: %s", bad[i]);
}

static void s3_hosts(void **state)
{
	static const struct {
		const char *host, *bucket, *region, *endpoint;
		bool path_style;
	} cases[] = {
		{ "b", "b", "", "", false },
		{ "my.dotted.bucket:9000", "my.dotted.bucket", "", "", false },
		{ "localhost", "", "us-east-1", "http://localhost", true },
		{ "b.localhost:9000", "b", "us-east-1", "http://localhost:9000", true },
		{ "notlocalhost", "notlocalhost", "", "", false },
		{ "b.s3.us-west-000.backblazeb2.com", "b", "us-west-000",
		  "https://s3.us-west-000.backblazeb2.com", true },
		{ "s3.us-west-000.backblazeb2.com", "", "us-west-000", "https://s3.us-west-000.backblazeb2.com",
		  true },
		{ "a.b.s3.filebase.com", "a.b", "", "https://s3.filebase.com", true },
		{ "b.nyc3.digitaloceanspaces.com", "b", "nyc3", "https://nyc3.digitaloceanspaces.com", true },
		{ "b.s3.fr-par.scw.cloud", "b", "fr-par", "https://s3.fr-par.scw.cloud", true },
		{ "b.eu-1.linodeobjects.com:99", "b", "eu-1", "https://eu-1.linodeobjects.com:99", true },
		{ "xs3.fr-par.scw.cloud", "xs3.fr-par.scw.cloud", "", "", false },
		{ ".digitaloceanspaces.com", ".digitaloceanspaces.com", "", "", false },
		{ "", "", "", "", false },
	};
	struct s3_host h;
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		s3_host_parse(cases[i].host, &h);
		if (strcmp(h.bucket, cases[i].bucket) || strcmp(h.region, cases[i].region) ||
		    strcmp(h.endpoint, cases[i].endpoint) || h.path_style != cases[i].path_style)
			fail_msg("%s: %s %s %s %d", cases[i].host, h.bucket, h.region, h.endpoint,
				 h.path_style);
	}
}

static void replica_rules(void **state)
{
	(void)state;
#define ONE(keys) DB "    replicas: [{" keys "}]\n"
	refuse(ONE(""), "3:16", "needs the place to copy to");
	refuse(ONE("type: fil"), "3:17", "Did you mean file?");
	refuse(ONE("type: S3, bucket: b"), "3:17", "\"S3\" is not known");
	refuse(ONE("url: gs://b"), "3:17", "Did you mean gcs?");
	refuse(ONE("url: /backup"), "3:17", "file:///backup");
	refuse(ONE("url: backup"), "3:17", "not a URL");
	refuse(ONE("path: s3://b/p"), "3:17", "write it as url:");
	refuse(ONE("type: s3, url: \"file:///x\""), "3:17", "type says s3");
	refuse(ONE("url: \"file:///x\", path: /y"), "3:35", "either url or path");
	refuse(ONE("path: /"), "3:17", "root directory");
	refuse(ONE("path: /x, bucket: b"), "3:27",
	       "bucket has no meaning for a replica of type file; it is for s3, gcs, abs");
	refuse(ONE("type: gcs, bucket: b, region: r"), "3:39", "it is for s3");
	refuse(ONE("path: /x, skip-verify: true"), "3:27", "it is for s3");
	refuse(ONE("type: s3"), "3:16", "needs bucket");
	refuse(ONE("url: \"s3://s3.filebase.com/x\""), "3:17", "does not tell its bucket");
	refuse(ONE("url: \"s3://b/p\", bucket: c"), "3:34", "either url or bucket");
	refuse(ONE("url: \"s3://b/p\", path: c"), "3:34", "either url or path");
	refuse(ONE("url: \"abs://a@/p\""), "3:17", "bucket");
	refuse(ONE("type: sftp, user: u"), "3:16", "needs host");
	refuse(ONE("type: sftp, host: h"), "3:16", "needs user");
	refuse(ONE("url: \"sftp://h/p\""), "3:17", "does not tell its user");
	refuse(ONE("url: \"sftp://u@h/p\", host: i"), "3:38", "either url or host");
	refuse(ONE("path: /x, age: "), "3:32", "age is empty");
	refuse(ONE("path: /x, age: {}"), "3:32", "age is empty");
	refuse(ONE("path: /x, age: {recipients: []}"), "3:45", "recipients is empty");
	refuse(ONE("path: /x, age: {recipients: }"), "3:45", "recipients is empty");
	refuse(ONE("path: /x, age: {recipients: [~], identities: [" IDENTITY "]}"), "3:27",
	       "recipients contains no key");
	refuse(ONE("path: /x, age: {recipients: ['# none'], identities: [" IDENTITY "]}"), "3:27",
	       "contains no key");
	refuse(ONE("path: /x, age: {recipients: [age1abc]}"), "3:27", "not a key of age");
	refuse(ONE("path: /x, age: {identities: [" RECIPIENT "]}"), "3:27",
	       "age: item 1 of identities: line 1: a public key");
	refuse(ONE("path: /x, age: {recipients: [" RECIPIENT ", " IDENTITY "]}"), "3:27",
	       "age: item 2 of recipients: line 1: a secret key");
	refuse(ONE("path: /x, age: {recipient-files: [/nowhere/keys]}"), "3:27", "/nowhere/keys: ");
	refuse(ONE("path: /x, age: {identity-files: ['']}"), "3:27", "item 1 of identity-files is empty");
	refuse(ONE("path: /x, age: {identity-files: /a/b}"), "3:49", "a list of texts");
	struct conf *c = read_good(ONE("url: \"s3://b.localhost:9000/p\", region: eu, endpoint: \"http://e\""));
	assert_string_equal(c->dbs[0].replicas[0].region, "eu");
	assert_string_equal(c->dbs[0].replicas[0].endpoint, "http://e");
	assert_int_equal(c->dbs[0].replicas[0].force_path_style, 1);
	conf_free(c);
	c = read_good(ONE("url: \"sftp://u:secret@h/p\", user: other"));
	char shown[PATH_BYTES];
	assert_string_equal(c->dbs[0].replicas[0].user, "other");
	assert_string_equal(c->dbs[0].replicas[0].password, "secret");
	assert_null(strstr(conf_replica_shown(&c->dbs[0].replicas[0], shown), "secret"));
	assert_string_equal(conf_replica_target(&c->dbs[0].replicas[0]), "sftp://u:secret@h/p");
	conf_free(c);
}

/* One letter of a key changed, anywhere, is noticed; and whatever is wrong, a secret is not repeated. */
static void age_keys_and_secrets(void **state)
{
	char key[sizeof IDENTITY], text[512];
	struct conf *c;
	struct err e;
	(void)state;
	for (size_t i = 0; i < strlen(IDENTITY); i++) {
		memcpy(key, IDENTITY, sizeof key);
		key[i] = key[i] == 'Q' ? 'P' : 'Q';
		snprintf(text, sizeof text, ONE("path: /x, age: {identities: [%s]}"), key);
		assert_int_equal(read_text(text, &c, &e), -1);
		assert_null(strstr(e.text, "QYQ5RQWZ"));
	}
	static const char *const secret[] = {
		ONE("url: \"sftp://u:geheim@h\""),
		ONE("url: \"sftp://u:geheim@h/%%zz\", user: x"),
		ONE("url: \"sfpt://u:geheim@h\""),
		ONE("path: /x, password: geheim"),
		ONE("path: /x, secret-access-key: geheim"),
		ONE("type: sftp, user: u, host: h, password: \"geheim\\n\""),
		ONE("url: \"s3://a:geheim@/x\""),
		ONE("url: \"sftp://u:ge/geheim@h/%%zz\""),
	};
	for (size_t i = 0; i < COUNT(secret); i++)
		if (read_text(secret[i], &c, &e) == 0)
			conf_free(c);
		else
			assert_null(strstr(e.text, "geheim"));
}

/* ---- keys of age ---- */

static void key_file(const char *path, const char *text, mode_t mode)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(path, mode), 0);
}

/* Keys from the configuration and from files come together, in this order; lines that are no keys do not count.
 */
static void age_keys_from_files(void **state)
{
	char path[80], text[600];
	struct age_keys k;
	const char *open = NULL;
	struct err e = ERR_INIT;
	(void)state;
	snprintf(path, sizeof path, "%s.keys", file);
	key_file(path, "# created: today\r\n\n  " IDENTITY "\r\n#\n" IDENTITY "\n", 0644);
	snprintf(text, sizeof text,
		 ONE("path: /x, age: {identities: [\"#\\n" IDENTITY "\\n\"], identity-files: [%s], "
		     "recipients: [" RECIPIENT "]}"),
		 path);
	struct conf *c = read_good(text);
	struct conf_replica *r = &c->dbs[0].replicas[0];
	assert_int_equal(conf_replica_keys(r, &k, &open, &e), 0);
	assert_int_equal(k.identities_n, 3);
	assert_int_equal(k.recipients_n, 1);
	assert_string_equal(open, path); /* anybody may read it */
	age_keys_free(&k);
	key_file(path, IDENTITY, 0640);
	assert_int_equal(conf_replica_keys(r, &k, &open, &e), 0);
	assert_int_equal(k.identities_n, 2);
	assert_null(open);
	age_keys_free(&k);
	/* It has become something else since the configuration was read. */
	key_file(path, "# created: today\n" RECIPIENT "\n", 0600);
	assert_int_equal(conf_replica_keys(r, &k, &open, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, "line 2: a public key"));
	refuse(text, "3:27", "line 2: a public key");
	key_file(path, "\n# nothing\n", 0600);
	refuse(text, "3:27", "contains no key");
	assert_int_equal(unlink(path), 0);
	refuse(text, "3:27", "No such file");
	conf_free(c);
}

/* -identity: the keys of a file are read once, for all replicas, and nothing is added when one is bad. */
static void age_keys_from_a_flag(void **state)
{
	char path[80];
	bool open;
	struct age_keys k;
	struct err e = ERR_INIT;
	struct conf_replica r[2];
	(void)state;
	snprintf(path, sizeof path, "%s.keys", file);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(conf_replica_from_text("file:///x", &r[i], &e), 0);
	key_file(path, IDENTITY "\nAGE-SECRET-KEY-1QQQ\n", 0600);
	assert_int_equal(conf_replicas_add_identities(r, 2, path, &open, &e), -1);
	assert_non_null(strstr(e.text, "line 2: "));
	assert_int_equal(r[0].age_identities_n, 0);
	key_file(path, "# mine\n" IDENTITY "\n", 0604);
	assert_int_equal(conf_replicas_add_identities(r, 2, path, &open, &e), 0);
	assert_true(open);
	assert_int_equal(unlink(path), 0);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(conf_replica_keys(&r[i], &k, NULL, &e), 0);
		assert_int_equal(k.identities_n, 1);
		age_keys_free(&k);
		conf_replica_free(&r[i]);
	}
	assert_int_equal(conf_replicas_add_identities(r, 0, path, &open, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
}

/* ---- what must not be shared ---- */

static void places_are_not_shared(void **state)
{
	(void)state;
#define TWO(a, b) "dbs:\n  - {path: /d/a.db, replicas: [" a "]}\n  - {path: /d/b.db, replicas: [" b "]}\n"
	refuse("dbs:\n  - path: /d/a\n  - path: /d/./a\n", "3:5",
	       "/d/a is configured twice (the other one is in line 2)");
	refuse("dbs:\n  - path: /d/a\n  - path: /d//x/../a\n", "3:5", "twice");
	refuse("dbs:\n  - {path: /a, meta-path: /m}\n  - {path: /b, meta-path: /m/}\n", "3:5",
	       "metadata directory /m");
	refuse("dbs:\n  - {path: /a/x}\n  - {path: /b, meta-path: /a/.x-litestream}\n", "3:5",
	       "metadata directory");
	refuse(TWO("{path: /r}", "{path: /r/}"), "3:32", "two replicas are on /r (the other one is in line 2)");
	refuse(TWO("{path: /r}", "{url: \"file:///r//\"}"), "3:32", "two replicas");
	refuse(TWO("{url: \"s3://b/p\"}", "{type: s3, bucket: b, path: p/}"), "3:32", "two replicas");
	refuse(TWO("{url: \"sftp://u@h/p\"}", "{type: sftp, host: h, user: v, path: /p}"), "3:32",
	       "two replicas");
	refuse(TWO("{path: /r}, {path: /s}", "{path: /t}"), "2:44", "are named \"file\"");
	refuse(TWO("{path: /d/a.db}", ""), "2:32", "is on the database /d/a.db itself");
	refuse(TWO("{path: /d/b.db-wal}", ""), "2:32", "on a file of the database /d/b.db");
	refuse(TWO("", "{path: /d/.a.db-litestream}"), "3:32", "metadata directory of the database /d/a.db");
	refuse(TWO("", "{path: /d/.a.db-litestream/x/y}"), "3:32", "metadata directory");
	struct conf *c =
		read_good(TWO("{path: /r}, {path: /s, name: x}, {url: \"s3://b/p\"}",
			      "{path: /r2}, {url: \"s3://b/q\"}, {path: /d/.a.db-litestream2, name: y}"));
	conf_free(c);
}

static void the_command_line_makes_one(void **state)
{
	static const char *const urls[] = { "file:///r1", "/r2/", "s3://b/p", "s3://b/q" };
	static const struct {
		const char *db;
		const char *urls[2];
		const char *why;
	} bad[] = {
		{ "/d", { "backup", NULL }, "./backup" },
		{ "/d", { "", NULL }, "not the place" },
		{ "file:///d", { "/r", NULL }, "the database comes first" },
		{ "/d", { "/r", "file:///r/" }, "two replicas are on /r" },
		{ "/d", { "/d-wal", NULL }, "on a file of the database" },
		{ "/d", { "ftp://x/y", NULL }, "Did you mean sftp?" },
		{ "", { "/r", NULL }, "empty" },
	};
	struct conf *c;
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(conf_from_args("/d/./a", urls, COUNT(urls), &c, &e), 0);
	assert_null(c->file);
	assert_int_equal(c->dbs_n, 1);
	assert_string_equal(c->dbs[0].path, "/d/a");
	assert_int_equal(c->dbs[0].max_checkpoint_pages, 10000);
	static const char *const names[] = { "file", "file-2", "s3", "s3-2" };
	for (size_t i = 0; i < COUNT(names); i++) {
		assert_string_equal(c->dbs[0].replicas[i].name, names[i]);
		assert_int_equal(c->dbs[0].replicas[i].sync_interval_us, 1000000);
	}
	assert_string_equal(c->dbs[0].replicas[1].path, "/r2");
	assert_string_equal(conf_replica_target(&c->dbs[0].replicas[0]), "/r1");
	conf_free(c);
	for (size_t i = 0; i < COUNT(bad); i++) {
		if (conf_from_args(bad[i].db, bad[i].urls, bad[i].urls[1] ? 2 : 1, &c, &e) == 0)
			fail_msg("accepted %s %s", bad[i].db, bad[i].urls[0]);
		if (!strstr(e.text, bad[i].why) || e.kind != ERR_USAGE)
			fail_msg("%s: %s", bad[i].why, e.text);
	}
}

/* ---- entries for many databases ---- */

#define SCAN(keys) "dbs:\n  - {" keys ", replicas: [{path: /r}]}\n"

static void templates_fit_names(void **state)
{
	static const struct {
		const char *keys, *path;
		bool fits;
	} cases[] = {
		{ "path: /d/*.db", "/d/a.db", true },
		{ "path: /d/*.db", "/d/x/a.db", false },
		{ "path: /d/*.db", "/d/.a.db", false },
		{ "path: /d/*.db", "/e/a.db", false },
		{ "path: /d/*.db", "/dd/a.db", false },
		{ "path: /d/*", "/d/a.db-wal", false },
		{ "path: /d/*", "/d/a.db-shm", false },
		{ "path: /d/*", "/d/a.db-journal", false },
		{ "path: /d/*", "/d", false },
		{ "path: /d/*", "/d/", false },
		{ "path: '/d/[ab]?.db'", "/d/b1.db", true },
		{ "path: '/d/[ab]?.db'", "/d/c1.db", false },
		{ "path: /d/*/app.db", "/d/t1/app.db", true },
		{ "path: /d/*/app.db", "/d/.t1/app.db", false },
		{ "path: /d/*/app.db", "/d/t1/x/app.db", false },
		{ "path: '/*.db'", "/a.db", true },
		{ "path: '/d\\*e/*.db'", "/d*e/a.db", true },
		{ "path: '/d\\*e/*.db'", "/dxe/a.db", false },
		{ "dir: /d", "/d/a.db", true },
		{ "dir: /d", "/d/a.sqlite3", true },
		{ "dir: /d", "/d/x/a.db", false },
		{ "dir: /d/, pattern: '*.db'", "/d/a.sqlite3", false },
		{ "dir: /d, recursive: true", "/d/x/y/a.db", true },
		{ "dir: /d, recursive: true", "/d/.x/a.db", false },
		{ "dir: /d, recursive: true", "/d/x/.a.db", false },
		{ "dir: /d, recursive: true, pattern: '*.db'", "/d/x.db/a", false },
		{ "dir: /", "/b.db", true },
		{ "dir: /d, recursive: true", "/d/x/../../etc/passwd", false },
		{ "dir: /d, recursive: true", "/d//a.db", false },
		{ "dir: /d, recursive: true", "/d/a\nb.db", false },
	};
	char text[256];
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		snprintf(text, sizeof text, SCAN("%s"), cases[i].keys);
		struct conf *c = read_good(text);
		assert_true(c->dbs[0].is_template);
		if (conf_db_matches(&c->dbs[0], cases[i].path) != cases[i].fits)
			fail_msg("%s and %s", cases[i].keys, cases[i].path);
		struct err e = ERR_INIT;
		struct conf_db one;
		int rc = conf_db_instance(&c->dbs[0], cases[i].path, &one, &e);
		assert_int_equal(rc, cases[i].fits ? 0 : -1);
		if (rc == 0)
			conf_db_free(&one);
		else
			assert_int_equal(e.kind, ERR_CONFIG);
		assert_null(conf_db_find(c, c->dbs[0].path));
		conf_free(c);
	}
	struct conf *c = read_good(SCAN("path: '/d/a\\*b.db'")); /* a file that is called like this */
	assert_false(c->dbs[0].is_template);
	assert_string_equal(c->dbs[0].path, "/d/a*b.db");
	conf_free(c);
	c = read_good(SCAN("path: '/d/a\\b.db'"));
	assert_string_equal(c->dbs[0].path, "/d/a\\b.db");
	conf_free(c);
}

static void templates_say_where_to_look(void **state)
{
	static const struct {
		const char *keys, *dir;
		bool descends;
	} cases[] = {
		{ "path: /d/*.db", "/d", true },
		{ "path: /d/*.db", "/d/x", false },
		{ "path: /d/t*/x/*.db", "/d/t1", true },
		{ "path: /d/t*/x/*.db", "/d/u1", false },
		{ "path: /d/t*/x/*.db", "/d/t1/x", true },
		{ "path: /d/t*/x/*.db", "/d/t1/y", false },
		{ "path: /d/t*/x/*.db", "/d/t1/x/y", false },
		{ "dir: /d", "/d/x", false },
		{ "dir: /d, recursive: true", "/d/x", true },
		{ "dir: /d, recursive: true", "/d/x/y", true },
		{ "dir: /d, recursive: true", "/e", false },
		{ "dir: /d, recursive: true", "/d/.x", false },
	};
	char text[256];
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		snprintf(text, sizeof text, SCAN("%s"), cases[i].keys);
		struct conf *c = read_good(text);
		if (conf_db_descends(&c->dbs[0], cases[i].dir) != cases[i].descends)
			fail_msg("%s and %s", cases[i].keys, cases[i].dir);
		conf_free(c);
	}
}

static void a_template_makes_databases(void **state)
{
	struct err e = ERR_INIT;
	struct conf_db one;
	char meta[PATH_BYTES];
	(void)state;
	struct conf *c = read_good("dbs:\n"
				   "  - dir: /d\n"
				   "    recursive: yes\n"
				   "    meta-path: /m/\n"
				   "    spool-quota: 64MiB\n"
				   "    monitor-interval: 7s\n"
				   "    replicas:\n"
				   "      - path: /r/\n"
				   "        retention: 48h\n"
				   "        age: {identities: [" IDENTITY "], recipients: [" RECIPIENT "]}\n"
				   "      - {url: 's3://b/p/?x=y', name: q}\n"
				   "      - {type: s3, bucket: c}\n"
				   "      - {type: sftp, host: h, user: u, path: rel, password: pw}\n"
				   "  - path: /d/own.db\n"
				   "    replicas: [{path: /r/own.db}]\n");
	assert_int_equal(conf_db_instance(&c->dbs[0], "/d/x/a b%.db", &one, &e), 0);
	assert_string_equal(one.path, "/d/x/a b%.db");
	assert_false(one.is_template);
	assert_null(one.dir);
	assert_string_equal(one.meta_path, "/m/x/a b%.db");
	assert_int_equal(one.monitor_interval_us, 7000000);
	assert_int_equal(one.spool_quota_bytes, 64 << 20);
	assert_int_equal(one.replicas_n, 4);
	assert_string_equal(one.replicas[0].path, "/r/x/a b%.db");
	assert_null(one.replicas[0].url);
	assert_int_equal(one.replicas[0].retention_us, 48 * INT64_C(3600000000));
	assert_string_equal(one.replicas[0].age_recipients[0], RECIPIENT);
	assert_ptr_not_equal(one.replicas[0].age_recipients[0], c->dbs[0].replicas[0].age_recipients[0]);
	assert_string_equal(one.replicas[1].url, "s3://b/p/x/a%20b%25.db?x=y");
	assert_string_equal(one.replicas[1].path, "p/x/a b%.db");
	assert_string_equal(one.replicas[2].url, "s3://c/x/a%20b%25.db");
	assert_string_equal(one.replicas[2].path, "x/a b%.db");
	assert_string_equal(one.replicas[3].url, "sftp://u@h/rel/x/a%20b%25.db");
	assert_string_equal(one.replicas[3].path, "rel/x/a b%.db");
	assert_string_equal(one.replicas[3].password, "pw");
	conf_db_free(&one);
	assert_string_equal(c->dbs[0].replicas[0].path, "/r"); /* the template is as it was */
	const struct conf_db *a = conf_db_get(c, "/d/a.db", &e);
	assert_non_null(a);
	assert_ptr_equal(conf_db_get(c, "/d/a.db", &e), a);
	assert_string_equal(a->replicas[0].path, "/r/a.db");
	assert_ptr_equal(conf_db_get(c, "/d/own.db", &e), &c->dbs[1]); /* its own entry goes first */
	assert_null(conf_db_get(c, "/e/a.db", &e));
	assert_int_equal(e.kind, ERR_CONFIG);
	conf_free(c);
	c = read_good(SCAN("dir: /d"));
	assert_int_equal(conf_db_instance(&c->dbs[0], "/d/a.db", &one, &e), 0);
	assert_int_equal(conf_meta_dir(&one, meta, &e), 0);
	assert_string_equal(meta, "/d/.a.db-litestream");
	conf_db_free(&one);
	char deep[PATH_BYTES];
	memset(deep, 'x', sizeof deep);
	memcpy(deep, "/d/", 3);
	deep[sizeof deep - 1] = 0;
	assert_int_equal(conf_db_instance(&c->dbs[0], deep, &one, &e), 0); /* /r/xxx… is as long */
	conf_db_free(&one);
	conf_free(c);
	c = read_good("dbs: [{dir: /d, replicas: [{path: /a-longer-place}]}]\n");
	assert_int_equal(conf_db_instance(&c->dbs[0], deep, &one, &e), -1);
	assert_non_null(strstr(e.text, "too long"));
	conf_free(c);
}

#define SAME_BASE "dbs:\n  - {path: /a.db, %s replicas: [{path: /r%s}%s]}\n"

static struct conf *read_same(const char *db_keys, const char *replica_keys, const char *more)
{
	char text[1024];
	snprintf(text, sizeof text, "# a line\n" SAME_BASE, db_keys, replica_keys, more);
	return read_good(text);
}

/* What a reload compares: everything that is said, not where it stands. */
static void databases_are_compared_and_copied(void **state)
{
	static const char *const other[][3] = {
		{ "meta-path: /m,", "", "" },
		{ "monitor-interval: 2s,", "", "" },
		{ "max-checkpoint-page-count: 5000,", "", "" },
		{ "spool-quota: 1GB,", "", "" },
		{ "", "x", "" },
		{ "", ", name: other", "" },
		{ "", ", retention: 25h", "" },
		{ "", ", sync-interval: 2s", "" },
		{ "", "", ", {url: 's3://b/p', name: two}" },
		{ "", ", age: {identities: [" IDENTITY "], recipients: [" RECIPIENT "]}", "" },
	};
	struct conf *c = read_same("", "", ""),
		    *d = read_good("dbs: [{path: /a.db, replicas: [{path: /r}]}]\n");
	struct conf_db copy;
	struct err e;
	(void)state;
	assert_true(conf_db_equal(&c->dbs[0], &d->dbs[0])); /* on another line */
	for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
		struct conf *o = read_same(other[i][0], other[i][1], other[i][2]);
		if (conf_db_equal(&c->dbs[0], &o->dbs[0]) || conf_db_equal(&o->dbs[0], &c->dbs[0]))
			fail_msg("no difference seen: %s %s %s", other[i][0], other[i][1], other[i][2]);
		assert_int_equal(conf_db_copy(&o->dbs[0], &copy, &e), 0);
		assert_true(conf_db_equal(&o->dbs[0], &copy));
		conf_free(o);
		assert_string_equal(copy.path, "/a.db"); /* it stands by itself */
		conf_db_free(&copy);
	}
	conf_free(c);
	conf_free(d);
}

static void templates_are_checked(void **state)
{
	(void)state;
	refuse("dbs:\n  - {path: /d/*.db, dir: /d}\n", "2:21", "either path or dir");
	refuse("dbs:\n  - {path: /d/a.db, pattern: '*'}\n", "2:21", "pattern is for dir");
	refuse("dbs:\n  - {path: /d/a.db, recursive: true}\n", "2:21", "recursive is for dir");
	refuse("dbs:\n  - {dir: /d, pattern: a/b}\n", "2:15", "contains a slash");
	refuse("dbs:\n  - {dir: /d, pattern: ''}\n", "2:24", "pattern is empty");
	refuse("dbs:\n  - {pattern: x}\n", "2:5", "path: FILE, or dir: DIRECTORY");
	refuse("dbs:\n  - {dir: /d}\n  - {dir: /d/}\n", "3:5", "twice");
	refuse("dbs:\n  - {dir: /d, replicas: [{path: /d}]}\n", "2:26", "in one directory with");
	refuse("dbs:\n  - {dir: /d, recursive: true, replicas: [{path: /d/backup}]}\n", "2:43", "among");
	refuse("dbs:\n  - {path: /d/*/a.db, replicas: [{path: /d/backup}]}\n", "2:34", "among");
	refuse("dbs:\n  - {path: /d/*.db, replicas: [{path: /r}]}\n"
	       "  - {path: /d/*.sqlite, replicas: [{path: /r}]}\n",
	       "3:36", "two replicas are on /r");
	refuse("dbs:\n  - {dir: /d, replicas: [{path: /r}]}\n  - {path: /e/x.db, replicas: [{path: "
	       "/r/x.db}]}\n",
	       "3:32", "lies where /d/* would have that of its database /d/x.db (the other one is in line 2)");
	refuse("dbs:\n  - {dir: /d, replicas: [{path: /r}], meta-path: /m}\n  - {dir: /e, meta-path: /m}\n",
	       "3:5", "metadata directory /m");
	refuse("dbs:\n  - {dir: /d, replicas: [{path: /m/x}], meta-path: /m}\n", "2:26", "metadata directory");
	refuse("dbs:\n  - {dir: /d, recursive: true, replicas: [{path: /r}]}\n"
	       "  - {dir: /e, replicas: [{path: /r/x}]}\n",
	       "3:26", "lies where");
	struct conf *c = read_good("dbs:\n  - {dir: /d, replicas: [{path: /d/backup}]}\n"
				   "  - {path: /d/x.db, replicas: [{path: /d/backup/x.db}]}\n"
				   "  - {path: /e/x.db, replicas: [{path: /d/backup/y/x.db}]}\n");
	conf_free(c);
}

/* ---- every key, and where its value came from ---- */

/* A value that is not the default, and what has to stand beside it. */
static const struct sample {
	enum option_scope scope;
	const char *name, *yaml, *shown, *beside;
} samples[] = {
	{ SCOPE_TOP, "exec", "app -x", "app -x", "" },
	{ SCOPE_TOP, "addr", ":9091", ":9091", "" },
	{ SCOPE_TOP, "access-key-id", "AK", "AK", "" },
	{ SCOPE_TOP, "secret-access-key", "SK", "SK", "" },
	{ SCOPE_TOP, "socket", "/run/s/", "/run/s", "" },
	{ SCOPE_TOP, "token-file", "/t", "/t", "" },
	{ SCOPE_TOP, "open-to-all", "no", "false", "" },
	{ SCOPE_TOP, "tls-cert-file", "/c/", "/c", "tls-key-file: /k" },
	{ SCOPE_TOP, "tls-key-file", "/k", "/k", "tls-cert-file: /c" },
	{ SCOPE_TOP, "tls-client-ca-file", "/ca", "/ca", "tls-cert-file: /c, tls-key-file: /k" },
	{ SCOPE_TOP, "connections-per-address", "7", "7", "" },
	{ SCOPE_TOP, "follow-window", "3MiB", "3MiB", "" },
	{ SCOPE_TOP, "health-lag", "90s", "1m30s", "" },
	{ SCOPE_TOP, "shutdown-timeout", "7s", "7s", "" },
	{ SCOPE_LOGGING, "level", "DEBUG", "debug", "" },
	{ SCOPE_LOGGING, "type", "json", "json", "" },
	{ SCOPE_LOGGING, "stderr", "no", "false", "" },
	{ SCOPE_DB, "path", "/d/b.db", "/d/b.db", "" },
	{ SCOPE_DB, "dir", "/many", "/many", "" },
	{ SCOPE_DB, "pattern", "x.db", "x.db", "dir: /many" },
	{ SCOPE_DB, "recursive", "on", "true", "dir: /many" },
	{ SCOPE_DB, "meta-path", "/m", "/m", "path: /d/b.db" },
	{ SCOPE_DB, "monitor-interval", "250ms", "250ms", "path: /d/b.db" },
	{ SCOPE_DB, "checkpoint-interval", "2m", "2m", "path: /d/b.db" },
	{ SCOPE_DB, "min-checkpoint-page-count", "7", "7", "path: /d/b.db" },
	{ SCOPE_DB, "max-checkpoint-page-count", "8", "8", "path: /d/b.db" },
	{ SCOPE_DB, "spool-quota", "3MiB", "3MiB", "path: /d/b.db" },
	{ SCOPE_UPSTREAM, "url", "https://h:9", "https://h:9", "" },
	{ SCOPE_UPSTREAM, "path", "/p/a.db", "/p/a.db", "url: http://h" },
	{ SCOPE_UPSTREAM, "token-file", "/t/", "/t", "url: http://h" },
	{ SCOPE_UPSTREAM, "ca-file", "/ca", "/ca", "url: http://h" },
	{ SCOPE_UPSTREAM, "cert-file", "/c", "/c", "url: http://h, key-file: /k" },
	{ SCOPE_UPSTREAM, "key-file", "/k", "/k", "url: http://h, cert-file: /c" },
	{ SCOPE_UPSTREAM, "lineage", "any", "any", "url: http://h" },
	{ SCOPE_UPSTREAM, "adopt", "yes", "true", "url: http://h" },
	{ SCOPE_UPSTREAM, "max-wal-size", "2MiB", "2MiB", "url: http://h" },
	{ SCOPE_UPSTREAM, "compress", "on", "true", "url: http://h" },
	{ SCOPE_REPLICA, "url", "gcs://b/p", "gcs://b/p", "" },
	{ SCOPE_REPLICA, "type", "s3", "s3", "bucket: b" },
	{ SCOPE_REPLICA, "name", "far", "far", "path: /r" },
	{ SCOPE_REPLICA, "path", "/r/x", "/r/x", "" },
	{ SCOPE_REPLICA, "retention", "72h", "72h", "path: /r" },
	{ SCOPE_REPLICA, "retention-check-interval", "9m", "9m", "path: /r" },
	{ SCOPE_REPLICA, "sync-interval", "5s", "5s", "path: /r" },
	{ SCOPE_REPLICA, "snapshot-interval", "6h", "6h", "path: /r" },
	{ SCOPE_REPLICA, "validation-interval", "1h", "1h", "path: /r" },
	{ SCOPE_REPLICA, "bucket", "b", "b", "type: abs" },
	{ SCOPE_REPLICA, "endpoint", "http://e", "http://e", "url: s3://b" },
	{ SCOPE_REPLICA, "region", "eu", "eu", "url: s3://b" },
	{ SCOPE_REPLICA, "access-key-id", "AK", "AK", "url: s3://b" },
	{ SCOPE_REPLICA, "secret-access-key", "SK", "SK", "url: s3://b" },
	{ SCOPE_REPLICA, "force-path-style", "true", "true", "url: s3://b" },
	{ SCOPE_REPLICA, "skip-verify", "true", "true", "url: s3://b" },
	{ SCOPE_REPLICA, "account-name", "an", "an", "type: abs, bucket: b" },
	{ SCOPE_REPLICA, "account-key", "ak", "ak", "url: abs://a@b" },
	{ SCOPE_REPLICA, "host", "h:22", "h:22", "type: sftp, user: u" },
	{ SCOPE_REPLICA, "user", "u", "u", "type: sftp, host: h" },
	{ SCOPE_REPLICA, "password", "pw", "pw", "url: sftp://u@h" },
	{ SCOPE_REPLICA, "key-path", "/k", "/k", "url: sftp://u@h" },
};

/* The key stands alone in line *ret_line, column 2 or more. */
static void sample_text(const struct sample *s, const char *value, char *buf, size_t size, unsigned *ret_line)
{
	const char *open = s->scope == SCOPE_TOP	? "{\n"
			   : s->scope == SCOPE_LOGGING	? "logging: {\n"
			   : s->scope == SCOPE_DB	? "dbs: [{\n"
			   : s->scope == SCOPE_UPSTREAM ? "dbs: [{path: /d/a.db, upstream: {\n"
							: "dbs: [{path: /d/a.db, replicas: [{\n";
	const char *close = s->scope == SCOPE_TOP	 ? "}\n"
			    : s->scope == SCOPE_LOGGING	 ? "}\n"
			    : s->scope == SCOPE_DB	 ? "}]\n"
			    : s->scope == SCOPE_UPSTREAM ? "}}]\n"
							 : "}]}]\n";
	snprintf(buf, size, "%s  %s: \"%s\",\n%s\n%s", open, s->name, value, s->beside, close);
	*ret_line = 2;
}

static const void *sample_base(const struct conf *c, enum option_scope scope, const struct conf_origin **ret)
{
	if (scope == SCOPE_TOP || scope == SCOPE_LOGGING) {
		*ret = c->origins;
		return c;
	}
	bool of_db = scope == SCOPE_DB || scope == SCOPE_UPSTREAM;
	*ret = of_db ? c->dbs[0].origins : c->dbs[0].replicas[0].origins;
	return of_db ? (const void *)&c->dbs[0] : &c->dbs[0].replicas[0];
}

static void check_sample(const struct sample *s, const struct option *o, bool by_variable)
{
	char text[512], buf[OPTION_TEXT_BYTES];
	unsigned line;
	struct conf *c;
	struct err e = ERR_INIT;
	const struct conf_origin *origins;
	setenv("WB_T_VALUE", s->yaml, 1);
	sample_text(s, by_variable ? "${WB_T_VALUE}" : s->yaml, text, sizeof text, &line);
	write_file(text, strlen(text));
	if (conf_read_origins(file, true, &c, &e) < 0)
		fail_msg("%s\n%s", e.text, text);
	const void *base = sample_base(c, s->scope, &origins);
	const char *got = option_text(o, base, buf);
	if (!got || strcmp(got, s->shown) != 0)
		fail_msg("%s is %s\n%s", s->name, got ? got : "not there", text);
	const struct conf_origin *at = &origins[o - options];
	assert_int_equal(at->line, line);
	assert_int_equal(at->column, 3);
	assert_false(at->handed_down);
	if (by_variable)
		assert_string_equal(at->variable, "WB_T_VALUE");
	else
		assert_null(at->variable);
	for (size_t i = 0; i < options_n; i++) /* and nothing else seems to be given */
		if (&options[i] != o && !strstr(s->beside, options[i].name) && options[i].scope == s->scope &&
		    origins[i].line && strcmp(options[i].name, "logging") != 0)
			fail_msg("%s makes %s look given", s->name, options[i].name);
	conf_free(c);
}

static void every_key_arrives_with_its_origin(void **state)
{
	size_t found = 0;
	(void)state;
	for (size_t i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		const struct sample *s = NULL;
		for (size_t k = 0; k < COUNT(samples); k++)
			if (samples[k].scope == o->scope && strcmp(samples[k].name, o->name) == 0)
				s = &samples[k];
		if (o->type == OPTION_SECTION || o->type == OPTION_SECTIONS || o->scope == SCOPE_AGE)
			continue; /* lists of age: below */
		if (!s)
			fail_msg("no sample for the key %s %s", o->name, option_scope_text(o->scope));
		if (o->by_default)
			assert_string_not_equal(o->by_default, s->yaml);
		check_sample(s, o, false);
		check_sample(s, o, true);
		found++;
	}
	assert_int_equal(found, COUNT(samples));
}

static void origins_of_lists_merges_and_what_is_handed_down(void **state)
{
	struct conf *c;
	struct err e = ERR_INIT;
	static const char text[] = "secret-access-key: $WB_T_VALUE\n"
				   "dbs:\n"
				   "  - path: /d/a.db\n"
				   "    replicas:\n"
				   "      - &base\n"
				   "        url: s3://b/p\n"
				   "        retention: 48h\n"
				   "      - <<: *base\n"
				   "        url: file:///r\n"
				   "        age:\n"
				   "          recipients:\n"
				   "            - $WB_T_RECIPIENT\n"
				   "          identities: [" IDENTITY "]\n";
	(void)state;
	setenv("WB_T_VALUE", "SK", 1);
	setenv("WB_T_RECIPIENT", RECIPIENT, 1);
	write_file(text, sizeof text - 1);
	assert_int_equal(conf_read_origins(file, true, &c, &e), 0);
#define ORIGIN(r, scope, key) (&c->dbs[0].replicas[r].origins[option_find(scope, key) - options])
	const struct conf_origin *at = ORIGIN(0, SCOPE_REPLICA, "secret-access-key");
	assert_true(at->handed_down);
	assert_int_equal(at->line, 1);
	assert_string_equal(at->variable, "WB_T_VALUE");
	assert_int_equal(ORIGIN(0, SCOPE_REPLICA, "access-key-id")->line, 0);
	assert_int_equal(ORIGIN(1, SCOPE_REPLICA, "retention")->line, 7);
	assert_int_equal(ORIGIN(1, SCOPE_REPLICA, "url")->line, 9);
	assert_int_equal(ORIGIN(1, SCOPE_REPLICA, "path")->line, 0);
	assert_int_equal(ORIGIN(1, SCOPE_AGE, "recipients")->line, 11);
	assert_string_equal(ORIGIN(1, SCOPE_AGE, "recipients")->variable, "WB_T_RECIPIENT");
	assert_int_equal(ORIGIN(1, SCOPE_AGE, "identities")->line, 13);
	assert_null(ORIGIN(1, SCOPE_AGE, "identities")->variable);
	conf_free(c);
	assert_int_equal(conf_read(file, true, &c, &e), 0);
	assert_null(c->origins); /* nobody asked */
	assert_null(c->dbs[0].origins);
	conf_free(c);
}

/* ---- what the server of the daemon needs ---- */

static void sockets_have_places(void **state)
{
	char buf[PATH_BYTES];
	struct conf c = { 0 };
	(void)state;
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	assert_true(conf_socket(&c, 0, buf));
	assert_string_equal(buf, "/run/walbrook/control.sock");
	assert_true(conf_socket(NULL, 1, buf));
	assert_string_equal(buf, "/run/user/7/walbrook/control.sock");
	assert_false(conf_socket(&c, 2, buf));
	assert_string_equal(buf, "");
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	assert_false(conf_socket(&c, 1, buf));
	unsetenv("XDG_RUNTIME_DIR");
	assert_false(conf_socket(&c, 1, buf));
	c.socket = strdup("/s");
	assert_true(conf_socket(&c, 0, buf));
	assert_string_equal(buf, "/s");
	assert_false(conf_socket(&c, 1, buf));
	free(c.socket);
}

static void tokens_are_checked(void **state)
{
	static const char *const bad[][2] = {
		{ "", "is empty" },
		{ "\n", "is empty" },
		{ "geheim", "fewer than 16" },
		{ "geheim geheim geheim\n", "one word" },
		{ "geheimgeheimgeheim\n\n", "one word" },
		{ "geheimgeheimgeheim\303\244", "one word" },
	};
	static const char *const good[] = { "geheimgeheimgeheim", "geheimgeheimgeheim\n",
					    "geheimgeheimgeheim\r\n" };
	char token[CONF_TOKEN_BYTES], big[CONF_TOKEN_BYTES + 1];
	struct conf c = { .token_file = file };
	struct err e;
	bool is_open;
	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		write_file(good[i], strlen(good[i]));
		assert_int_equal(conf_token(&c, token, &is_open, &e), 0);
		assert_string_equal(token, "geheimgeheimgeheim");
		assert_false(is_open);
	}
	assert_int_equal(chmod(file, 0644), 0);
	assert_int_equal(conf_token(&c, token, &is_open, &e), 0);
	assert_true(is_open);
	assert_int_equal(chmod(file, 0600), 0);
	for (size_t i = 0; i < COUNT(bad); i++) {
		write_file(bad[i][0], strlen(bad[i][0]));
		if (conf_token(&c, token, &is_open, &e) == 0 || !strstr(e.text, bad[i][1]))
			fail_msg("%zu: %s", i, e.text);
		assert_int_equal(e.kind, ERR_CONFIG);
		assert_null(strstr(e.text, "geheim"));
	}
	memset(big, 'x', sizeof big);
	write_file(big, CONF_TOKEN_BYTES - 1);
	assert_int_equal(conf_token(&c, token, &is_open, &e), 0);
	write_file(big, sizeof big);
	assert_int_equal(conf_token(&c, token, &is_open, &e), -1);
	assert_non_null(strstr(e.text, "larger than"));
	c.token_file = (char[]){ "/nonexistent/token" };
	assert_int_equal(conf_token(&c, token, &is_open, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
}

/* ---- documentation ---- */

static void table_row(const struct option *o, char *buf, size_t size)
{
	char types[64] = "";
	for (unsigned t = 0; t < REPLICA_TYPES_N && o->types; t++)
		if (o->types & 1u << t)
			snprintf(types + strlen(types), sizeof types - strlen(types), "%s%s",
				 *types ? ", " : "", replica_types[t].name);
	snprintf(buf, size, "| `%s` | %s | %s%s%s | %s%s%s%s |\n", o->name, option_type_text(o->type),
		 o->by_default ? "`" : "", o->by_default ? o->by_default : "", o->by_default ? "`" : "",
		 *types ? "(" : "", types, *types ? ") " : "", o->sentence);
}

static char *read_doc(const char *name)
{
	const char *dir = getenv("WALBROOK_DOCS");
	char path[PATH_BYTES];
	struct dyn b = DYN_INIT(1 << 20);
	struct err e;
	snprintf(path, sizeof path, "%s/%s", dir ? dir : "docs", name);
	if (file_read_all(path, &b, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(dyn_add(&b, "", 1), 0);
	return (char *)b.p;
}

static void the_documentation_has_every_key(void **state)
{
	char *doc = read_doc("configuration.md"), row[512];
	size_t rows = 0, missing = 0;
	(void)state;
	for (size_t i = 0; i < options_n; i++) {
		table_row(&options[i], row, sizeof row);
		if (!strstr(doc, row)) {
			missing++;
			print_error("missing %s: %s", option_scope_text(options[i].scope), row);
		}
	}
	for (const char *p = doc; (p = strstr(p, "\n| `")); p++)
		rows++;
	free(doc);
	assert_int_equal(missing, 0);
	assert_int_equal(rows, options_n);
}

static void the_documentation_has_every_exit_code(void **state)
{
	static const struct {
		int code;
		const char *text;
		bool retry;
	} kinds[] = {
#define X(id, code, text, retry) { code, text, retry },
		ERR_KINDS(X)
#undef X
	};
	char *doc = read_doc("exit-codes.md"), row[128];
	size_t rows = 0;
	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		snprintf(row, sizeof row, "\n| %d | %s | %s |", kinds[i].code, kinds[i].text,
			 kinds[i].retry ? "yes" : "no");
		if (!strstr(doc, row))
			fail_msg("missing: %s", row);
	}
	for (const char *p = doc; (p = strstr(p, "\n| ")); p++)
		rows += p[3] >= '0' && p[3] <= '9';
	free(doc);
	assert_int_equal(rows, COUNT(kinds));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_those_of_go),
		cmocka_unit_test(durations_are_printed_so_that_they_can_be_read),
		cmocka_unit_test(sizes_have_units),
		cmocka_unit_test(nearest_words),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(defaults_are_those_of_the_table),
		cmocka_unit_test(merges_and_aliases),
		cmocka_unit_test(keys_are_strict),
		cmocka_unit_test(shapes_are_strict),
		cmocka_unit_test(values_are_checked),
		cmocka_unit_test(yaml_faults_have_places),
		cmocka_unit_test(hostile_files_are_bounded),
		cmocka_unit_test(ten_thousand_databases_are_read),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(variables_expand_as_in_go),
		cmocka_unit_test(places_are_those_before_expansion),
		cmocka_unit_test(the_file_is_found),
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(s3_hosts),
		cmocka_unit_test(replica_rules),
		cmocka_unit_test(age_keys_and_secrets),
		cmocka_unit_test(age_keys_from_files),
		cmocka_unit_test(age_keys_from_a_flag),
		cmocka_unit_test(places_are_not_shared),
		cmocka_unit_test(the_command_line_makes_one),
		cmocka_unit_test(templates_fit_names),
		cmocka_unit_test(templates_say_where_to_look),
		cmocka_unit_test(a_template_makes_databases),
		cmocka_unit_test(databases_are_compared_and_copied),
		cmocka_unit_test(templates_are_checked),
		cmocka_unit_test(every_key_arrives_with_its_origin),
		cmocka_unit_test(origins_of_lists_merges_and_what_is_handed_down),
		cmocka_unit_test(sockets_have_places),
		cmocka_unit_test(tokens_are_checked),
		cmocka_unit_test(the_documentation_has_every_key),
		cmocka_unit_test(the_documentation_has_every_exit_code),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("conf", tests, make_file, drop_file);
}
