/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook follow: the daemon for one database that follows another machine's.
 *
 *   1. flags, the address of the primary, the database, and places to copy it to
 *   2. daemon_run() until a signal
 *
 * Failure modes: an address that is none, a database that lies there and is not a follower's (refused, unless
 * -adopt), another history (refused, unless -lineage any). The primary need not be there yet. */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/options.h"
#include "daemon/daemon.h"

struct follow_flags {
	const char *path, *token_file, *ca_file, *cert_file, *key_file, *lineage, *max_wal_size, *compress;
	const char *addr, *socket, *serve_token_file;
	bool adopt, json;
};

#define AT(member) offsetof(struct follow_flags, member)

static const struct args_flag flags[] = {
	{ "path", ARGS_TEXT, AT(path), "PATH",
	  "of the database on the primary; else the one in the URL, else DATABASE", 0, 0 },
	{ "token-file", ARGS_TEXT, AT(token_file), "FILE", "with the token that the primary asks for", 0, 0 },
	{ "ca-file", ARGS_TEXT, AT(ca_file), "FILE", "certificate of who signed that of the primary", 0, 0 },
	{ "cert-file", ARGS_TEXT, AT(cert_file), "FILE", "certificate to show to the primary", 0, 0 },
	{ "key-file", ARGS_TEXT, AT(key_file), "FILE", "private key of that certificate", 0, 0 },
	{ "lineage", ARGS_TEXT, AT(lineage), "WHICH",
	  "same (default), or any: also another history than before", 0, 0 },
	{ "adopt", ARGS_BOOL, AT(adopt), NULL, "replace a database that no follower has written", 0, 0 },
	{ "max-wal-size", ARGS_TEXT, AT(max_wal_size), "SIZE",
	  "at which applying waits for a reader that does not end; default 1GiB", 0, 0 },
	{ "compress", ARGS_TEXT, AT(compress), "BOOL",
	  "have content sent compressed; else unless it is this machine", 0, 0 },
	{ "addr", ARGS_TEXT, AT(addr), "ADDRESS", "serve followers, status and metrics there, e.g. :9091", 0,
	  0 },
	{ "serve-token-file", ARGS_TEXT, AT(serve_token_file), "FILE", "with the token that -addr asks for", 0,
	  0 },
	{ "socket", ARGS_TEXT, AT(socket), "PATH", "where status, sync, promote and wait ask it", 0, 0 },
	{ "json", ARGS_BOOL, AT(json), NULL, "write the log as JSON", 0, 0 },
	{ 0 },
};

static int set(enum option_scope scope, const char *key, void *base, const char *text, struct err *e)
{
	if (!text)
		return 0;
	if (!*text)
		return err_set(e, ERR_USAGE, "-%s is empty", key);
	if (option_set(option_find(scope, key), base, text, e) == 0)
		return 0;
	e->kind = ERR_USAGE;
	return -1;
}

static int take_flags(const struct follow_flags *f, struct conf *c, struct err *e)
{
	struct conf_db *d = c->dbs;
	d->upstream_adopt = f->adopt;
	c->log_json = f->json;
	if (set(SCOPE_UPSTREAM, "token-file", d, f->token_file, e) < 0 ||
	    set(SCOPE_UPSTREAM, "ca-file", d, f->ca_file, e) < 0 ||
	    set(SCOPE_UPSTREAM, "cert-file", d, f->cert_file, e) < 0 ||
	    set(SCOPE_UPSTREAM, "key-file", d, f->key_file, e) < 0 ||
	    set(SCOPE_UPSTREAM, "lineage", d, f->lineage, e) < 0 ||
	    set(SCOPE_UPSTREAM, "max-wal-size", d, f->max_wal_size, e) < 0 ||
	    set(SCOPE_UPSTREAM, "compress", d, f->compress, e) < 0 ||
	    set(SCOPE_TOP, "addr", c, f->addr, e) < 0 ||
	    set(SCOPE_TOP, "token-file", c, f->serve_token_file, e) < 0 ||
	    set(SCOPE_TOP, "socket", c, f->socket, e) < 0)
		return -1;
	if (!d->upstream_cert_file != !d->upstream_key_file)
		return err_set(e, ERR_USAGE, "-cert-file and -key-file go together");
	return 0;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct follow_flags f = { 0 };
	struct conf *c;
	int first;
	int rc = command_args(&command_follow, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (argc - first < 2)
		return err_set(e, ERR_USAGE,
			       "follow needs the address of the primary and a database, e.g. "
			       "http://primary:9090 /var/lib/app/app.db");
	if (conf_follow_from_args(argv[first], argv[first + 1], f.path, (const char *const *)argv + first + 2,
				  (size_t)(argc - first - 2), &c, e) < 0)
		return -1;
	rc = take_flags(&f, c, e);
	if (rc == 0 && f.json)
		log_setup(c->log_level, true, STDERR_FILENO);
	if (rc == 0)
		rc = daemon_run(c, e, ret_exit);
	conf_free(c);
	return rc;
}

const struct command command_follow = {
	.name = "follow",
	.arguments = "URL DATABASE [REPLICA...]",
	.sentence = "Keep a live, read-only copy of another machine's database",
	.text = "URL is http://HOST:PORT or https://HOST:PORT of a running walbrook with `addr`; a path behind "
		"it\n"
		"is the path of the database there (default: that of DATABASE). DATABASE is the copy: "
		"ordinary\n"
		"SQLite connections read it while it changes; writers get SQLITE_BUSY. It may be copied on to "
		"each\n"
		"REPLICA (as for replicate), and with -addr others may follow it.\n"
		"\n"
		"Runs until SIGINT or SIGTERM; the next start goes on where this one ended. A configuration "
		"says\n"
		"the same with the key upstream, and is run by replicate.\n"
		"\n"
		"  walbrook follow http://primary:9090 /var/lib/app/app.db\n"
		"  walbrook follow -token-file /etc/walbrook.token https://primary:9090/data/app.db copy.db\n",
	.flags = flags,
	.run = run,
};
