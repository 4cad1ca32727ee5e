/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line an event, as text (time=… level=… msg="…" key=value) or JSON, to standard error unless told
 * otherwise. Any thread may write; a line is written with one call. Never put a secret in an attribute. */
#ifndef WB_BASE_LOG_H
#define WB_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_attr {
	const char *key;
	enum { LOG_A_STR, LOG_A_INT, LOG_A_MS } type;
	const char *str;
	int64_t num;
};

/* Attributes: L_S("db", path), L_I("bytes", n), L_MS("elapsed", milliseconds; shown as a duration). */
#define L_S(k, v)                                                                                              \
	{                                                                                                      \
		.key = (k), .type = LOG_A_STR, .str = (v)                                                      \
	}
#define L_I(k, v)                                                                                              \
	{                                                                                                      \
		.key = (k), .type = LOG_A_INT, .num = (int64_t)(v)                                             \
	}
#define L_MS(k, v)                                                                                             \
	{                                                                                                      \
		.key = (k), .type = LOG_A_MS, .num = (int64_t)(v)                                              \
	}

#define LOG_AT(level, msg, ...)                                                                                \
	do {                                                                                                   \
		if (log_enabled(level)) {                                                                      \
			const struct log_attr la_[] = { { .key = 0 }, ##__VA_ARGS__ };                         \
			log_write(level, msg, la_ + 1, sizeof la_ / sizeof *la_ - 1);                          \
		}                                                                                              \
	} while (0)
#define log_debug(msg, ...) LOG_AT(LOG_DEBUG, msg, ##__VA_ARGS__)
#define log_info(msg, ...) LOG_AT(LOG_INFO, msg, ##__VA_ARGS__)
#define log_warn(msg, ...) LOG_AT(LOG_WARN, msg, ##__VA_ARGS__)
#define log_error(msg, ...) LOG_AT(LOG_ERROR, msg, ##__VA_ARGS__)

/* Any time. fd is borrowed (1 or 2). Default: info, text, standard error. */
void log_setup(enum log_level least, bool json, int fd);
/* Warnings and errors that repeat are collapsed from now on (or not): log.c tells how. For programs that run
 * long; whoever switches it on calls log_flush before the end. */
void log_collapse(bool on);
/* Writes how often those were repeated that were left out since. */
void log_flush(void);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *msg, const struct log_attr *attrs, unsigned long n);

#endif
