/* SPDX-License-Identifier: Apache-2.0
 *
 * An error is a kind, a cause and a sentence. The kind decides what the program does (exit code, retry), the
 * sentence is for a person: what failed, on which file or object, why, and what to do. Nothing here allocates.
 *
 * Functions that can fail take `struct err *e` last, return 0 or -1, and set *e only when they fail. */
#ifndef WB_BASE_ERR_H
#define WB_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

/* The closed set of kinds: name, exit code of the program, text of the kind, whether a retry can help.
 * The codes are a promise to scripts (docs/exit-codes.md). */
#define ERR_KINDS(X)                                                                                           \
	X(NONE, 0, "done", false)                                                                              \
	X(FAIL, 1, "failure", false)                                                                           \
	X(USAGE, 2, "wrong usage", false)                                                                      \
	X(CONFIG, 3, "configuration invalid", false)                                                           \
	X(NOTHING, 4, "nothing there", false)                                                                  \
	X(DAMAGED, 5, "damaged data", false)                                                                   \
	X(EXISTS, 6, "refused to overwrite", false)                                                            \
	X(UNREACHABLE, 7, "not reachable or not permitted", true)                                              \
	X(SPACE, 8, "no space or quota reached", true)                                                         \
	X(BUSY, 9, "somebody else has it", true)                                                               \
	X(DEADLINE, 10, "deadline passed", true)

enum err_kind {
#define X(id, code, text, retry) ERR_##id,
	ERR_KINDS(X)
#undef X
};

#define ERR_TEXT_BYTES 1024

struct err {
	enum err_kind kind;
	int sys; /* errno of the cause, 0 if there is none */
	char text[ERR_TEXT_BYTES];
};

#define ERR_INIT ((struct err){ .kind = ERR_NONE })

/* Replaces *e. Returns -1, so that `return err_set(...)` reads well. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Replaces *e from an errno value; the kind follows from it (ENOSPC: SPACE, ENOENT: NOTHING, EACCES and the
 * like: UNREACHABLE, else FAIL) and ": strerror" is added to the text. Returns -1. */
int err_sys(struct err *e, int sys, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " before what is there; kind and cause stay. Returns -1. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds ". text" (what to do) after what is there. Returns -1. */
int err_hint(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int err_exit_code(enum err_kind kind);
const char *err_kind_text(enum err_kind kind);
bool err_worth_retry(enum err_kind kind);

#endif
