/* SPDX-License-Identifier: Apache-2.0
 *
 * Children: see child.h.
 *
 * Words are separated by spaces, tabs and line ends. Between '…' every character stands for itself. Between "…"
 * too, except that a backslash takes the special meaning from the next character if that is ", \, $ or `.
 * Outside of quotes a backslash does that for any character. Quoted and unquoted pieces that touch make one
 * word; '' is an empty word. Nothing is expanded: $HOME, * and ~ are passed on as they are. ; & | < > outside
 * of quotes would mean something in a shell that does not happen here (and the original ignores all that
 * follows them), so they are refused.
 *
 * Failure modes: an unterminated quote, a backslash at the end, a shell operator, no word at all: ERR_CONFIG. A
 * program that is not there or cannot be executed is an error of child_start, not an exit code. */
#include "rt/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rt/signals.h"

extern char **environ;

/* ---- words ---- */

struct split {
	const char *line, *at;
	char *out; /* the word that is being written; never longer than the line */
	size_t out_n;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* s->at is behind the opening quote; ends behind the closing one. */
static int quoted(struct split *s, char quote, struct err *e)
{
	size_t column = (size_t)(s->at - s->line);
	for (; *s->at != quote; s->at++) {
		if (quote == '"' && *s->at == '\\' && s->at[1] && strchr("\"\\$`", s->at[1]))
			s->at++;
		if (!*s->at)
			return err_set(e, ERR_CONFIG,
				       "command: unterminated quote: the %c at column %zu has no end", quote,
				       column);
		s->out[s->out_n++] = *s->at;
	}
	s->at++;
	return 0;
}

/* One word from s->at, which is not blank, into s->out. */
static int word(struct split *s, struct err *e)
{
	s->out_n = 0;
	while (*s->at && !blank(*s->at)) {
		char c = *s->at++;
		if (c == '\'' || c == '"') {
			if (quoted(s, c, e) < 0)
				return -1;
			continue;
		}
		if (c == '\\') {
			c = *s->at;
			if (!c)
				return err_set(e, ERR_CONFIG,
					       "command: nothing follows the backslash at the end");
			s->at++;
		} else if (strchr(";&|<>", c)) {
			return err_set(
				e, ERR_CONFIG,
				"command: the %c at column %zu needs a shell: quote it, or run sh -c '...'", c,
				(size_t)(s->at - s->line));
		}
		s->out[s->out_n++] = c;
	}
	return 0;
}

int child_split(const char *line, char ***ret_argv, struct err *e)
{
	/* At most every other character begins a word, and a word with its end is no longer than its text. */
	size_t n = strlen(line), words_max = n / 2 + 1, words_n = 0;
	char **argv = calloc(1, (words_max + 1) * sizeof *argv + n + 1);
	if (!argv)
		return err_set(e, ERR_FAIL, "no memory");
	struct split s = { .line = line, .at = line, .out = (char *)(argv + words_max + 1) };
	for (;;) {
		while (blank(*s.at))
			s.at++;
		if (!*s.at)
			break;
		if (word(&s, e) < 0) {
			free(argv);
			return -1;
		}
		argv[words_n++] = s.out;
		s.out += s.out_n;
		*s.out++ = 0;
	}
	if (words_n == 0 || !*argv[0]) {
		free(argv);
		return err_set(e, ERR_CONFIG, "command: it is empty");
	}
	*ret_argv = argv;
	return 0;
}

void child_argv_free(char **argv)
{
	free(argv);
}

/* ---- the process ---- */

static int spawn(pid_t *ret, char *const *argv)
{
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	sigset_t defaults;
	int rc = posix_spawnattr_init(&attr);
	if (rc)
		return rc;
	rc = posix_spawn_file_actions_init(&files);
	if (rc) {
		posix_spawnattr_destroy(&attr);
		return rc;
	}
	sigemptyset(&defaults);
	if (!signals_pipe_was_ignored())
		sigaddset(&defaults, SIGPIPE);
	rc = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (rc == 0)
		rc = posix_spawnattr_setsigmask(&attr, signals_mask_before());
	if (rc == 0)
		rc = posix_spawnattr_setsigdefault(&attr, &defaults);
	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawnp(ret, argv[0], &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return rc;
}

int child_start(struct child *c, char *const *argv, struct err *e)
{
	pid_t pid;
	int rc = spawn(&pid, argv);
	if (rc)
		return err_sys(e, rc, "%s: cannot start the command", argv[0]);
	*c = (struct child){ .pid = pid };
	return 0;
}

bool child_ended(struct child *c)
{
	int status;
	pid_t pid;
	if (c->pid == 0)
		return true;
	do
		pid = waitpid(c->pid, &status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0 || (pid > 0 && !WIFEXITED(status) && !WIFSIGNALED(status)))
		return false;
	/* Not ours to wait for (somebody else did): gone, and nobody knows how. */
	c->exit_code = pid < 0 ? 1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	c->pid = 0;
	return true;
}

void child_signal(const struct child *c, int signo)
{
	if (c->pid > 0)
		kill(c->pid, signo);
}
