/* SPDX-License-Identifier: Apache-2.0
 *
 * walbrook sync: waits until everything that was committed before is on the replicas.
 *
 *   1. flags, and any number of databases (none: all)
 *   2. running_ask(): the daemon captures at once, ships without waiting for the sync interval, and answers
 * when it is there
 *
 * Failure modes: the time is over (ERR_DEADLINE; what is missing, and why, is printed), a database is broken
 * (its reason decides the exit code), no daemon, a name that is not known. */
#include "cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cmd/running.h"

enum { MARGIN_US = 10000000 }; /* the daemon keeps the deadline; this is for one that does not answer at all */

struct sync_flags {
	struct running_flags where;
	const char *replica;
	int64_t timeout_us;
};

#define AT(member) offsetof(struct sync_flags, member)

static const struct args_flag flags[] = {
	RUNNING_ROWS(AT),
	{ "replica", ARGS_TEXT, AT(replica), "NAME", "wait for this replica only", 0, 0 },
	{ "timeout", ARGS_DURATION, AT(timeout_us), "DURATION", "how long to wait; default 1m", 0, 0 },
	{ "json", ARGS_BOOL, AT(where.json), NULL, "answer as JSON, for scripts", 0, 0 },
	{ 0 },
};

static int take_paths(struct request *r, char **paths, int n, char *const *words, struct err *e)
{
	char path[PATH_BYTES];
	for (int i = 0; i < n; i++) {
		if (path_absolute(path, words[i], e) < 0)
			return -1;
		if (!(paths[i] = strdup(path)))
			return err_sys(e, ENOMEM, "cannot keep the path of a database");
		r->dbs[r->dbs_n++] = paths[i];
	}
	return 0;
}

static int sync_all(const struct sync_flags *f, int n, char *const *words, struct err *e)
{
	struct request r = {
		.verb = REQUEST_SYNC, .json = f->where.json, .replica = f->replica, .timeout_us = f->timeout_us
	};
	char **paths = calloc((size_t)n + 1, sizeof *paths);
	r.dbs = calloc((size_t)n + 1, sizeof *r.dbs);
	int rc = paths && r.dbs ? take_paths(&r, paths, n, words, e) : err_sys(e, ENOMEM, "cannot ask");
	if (rc == 0)
		rc = running_ask(&f->where, &r, f->timeout_us + MARGIN_US, e);
	for (int i = 0; paths && i < n; i++)
		free(paths[i]);
	free(paths);
	free(r.dbs);
	return rc;
}

static int run(int argc, char *const *argv, struct err *e, int *ret_exit)
{
	struct sync_flags f = { .timeout_us = REQUEST_TIMEOUT_S * 1000000LL };
	int first;
	(void)ret_exit;
	int rc = command_args(&command_sync, &f, argc, argv, &first, e);
	if (rc != 0)
		return rc < 0 ? -1 : 0;
	if (running_timeout(f.timeout_us, e) < 0)
		return -1;
	if (f.replica && !*f.replica)
		return err_set(e, ERR_USAGE, "-replica is empty");
	return sync_all(&f, argc - first, argv + first, e);
}

const struct command command_sync = {
	.name = "sync",
	.arguments = "[DATABASE...]",
	.sentence = "Wait until everything committed so far is on the replicas",
	.text = "Asks the running daemon to capture and ship at once, and waits until each replica holds\n"
		"everything that was committed before, durable and with a snapshot to restore it with.\n"
		"\n" RUNNING_TEXT "\n"
		"Exit status 0: all is there; 10: the time is over, and what is missing is printed; 4: no\n"
		"daemon, or no such database or replica; 7: not permitted.\n"
		"\n"
		"  walbrook sync\n"
		"  walbrook sync -replica s3 -timeout 5m /var/lib/app/app.db\n",
	.flags = flags,
	.run = run,
};
