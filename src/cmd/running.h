/* SPDX-License-Identifier: Apache-2.0
 *
 * What status, sync and reload share: finding the running daemon, asking it, and printing its answer. */
#ifndef WB_CMD_RUNNING_H
#define WB_CMD_RUNNING_H

#include "conf/conf.h"
#include "daemon/request.h"

struct running_flags {
	const char *socket, *config;
	bool no_expand_env, json;
};

#define RUNNING_ROWS(at)                                                                                        \
	{ "socket", ARGS_TEXT, at(where.socket), "PATH", "control socket of the daemon; see above", 0, 0 },     \
		{ "config", ARGS_TEXT, at(where.config), "FILE", "configuration that names the socket", 0, 0 }, \
		FLAG_NO_EXPAND_ENV(at(where.no_expand_env))

#define RUNNING_TEXT                                                                                           \
	"The daemon is asked over its control socket, which only its own user and root may use:\n"             \
	"-socket PATH, else the key socket of the configuration, else /run/walbrook/control.sock or\n"         \
	"$XDG_RUNTIME_DIR/walbrook/control.sock, where somebody answers.\n"

/* Asks and prints: tables and JSON on standard output, hints on standard error if that is a terminal. An answer
 * that takes longer than wait_us is ERR_DEADLINE. A status other than 0 is -1 with its sentence. */
int running_ask(const struct running_flags *f, const struct request *r, int64_t wait_us, struct err *e);

/* ERR_USAGE when a -timeout is not one that the daemon takes. */
int running_timeout(int64_t timeout_us, struct err *e);

#endif
