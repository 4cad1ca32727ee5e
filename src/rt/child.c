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
 * A child is as we were when we were started: signals, limit of open files, timer slack, descriptors above 2
 * (so sockets of socket activation keep their numbers, with LISTEN_PID set to the child). What belongs to us is
 * not passed on: our own descriptors, and the socket of the service manager.
 *
 * Failure modes: an unterminated quote, a backslash at the end, a shell operator, no word at all: ERR_CONFIG. A
 * program that is not there or cannot be executed is an error of child_start, not an exit code. */
#include "rt/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
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

/* ---- how we were started ---- */

enum { INHERITED_MAX = 64 };

static struct {
	bool known;
	struct rlimit files;
	int timer_slack_ns;
	int inherited[INHERITED_MAX]; /* ascending, above 2 */
	int inherited_n;
	bool listens; /* LISTEN_PID is us: socket activation */
} before;

static void remember_inherited(int fd)
{
	if (before.inherited_n == INHERITED_MAX)
		return;
	int at = before.inherited_n++;
	for (; at > 0 && before.inherited[at - 1] > fd; at--)
		before.inherited[at] = before.inherited[at - 1];
	before.inherited[at] = fd;
}

static void look_at_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	for (struct dirent *f; dir && (f = readdir(dir));) {
		char *end;
		long fd = strtol(f->d_name, &end, 10);
		int flags = *end || fd <= STDERR_FILENO ? -1 : fcntl((int)fd, F_GETFD);
		if (flags >= 0 && !(flags & FD_CLOEXEC))
			remember_inherited((int)fd);
	}
	if (dir)
		closedir(dir);
}

static bool is_ours(const char *name)
{
	char *end;
	const char *text = getenv(name);
	return text && *text && strtol(text, &end, 10) == getpid() && !*end;
}

void child_remember_start(void)
{
	before.known = getrlimit(RLIMIT_NOFILE, &before.files) == 0;
	before.timer_slack_ns = prctl(PR_GET_TIMERSLACK, 0UL, 0UL, 0UL, 0UL);
	before.listens = getenv("LISTEN_FDS") && is_ours("LISTEN_PID");
	before.inherited_n = 0;
	look_at_descriptors();
}

/* ---- the process ---- */

struct launch {
	char *const *argv;
	char **env;
	char listen_pid[32]; /* LISTEN_PID=…; the child writes its own number into it */
	int failed;	     /* the child writes errno into it when it cannot begin */
};

static bool names(const char *variable, const char *name)
{
	size_t n = strlen(name);
	return strncmp(variable, name, n) == 0 && variable[n] == '=';
}

/* The service manager talks with us: what it tells of that is not for the child. Sockets are for the child. */
static int make_environment(struct launch *l)
{
	size_t n = 0, out = 0;
	while (environ && environ[n])
		n++;
	l->env = calloc(n + 2, sizeof *l->env);
	if (!l->env)
		return -1;
	for (size_t i = 0; i < n; i++) {
		char *v = environ[i];
		if (names(v, "NOTIFY_SOCKET") || names(v, "WATCHDOG_USEC") || names(v, "WATCHDOG_PID"))
			continue;
		if (before.listens && (names(v, "LISTEN_PID") || names(v, "LISTEN_PIDFDID")))
			continue;
		l->env[out++] = v;
	}
	if (before.listens)
		l->env[out] = l->listen_pid;
	return 0;
}

/* All descriptors but the standard three and those that we were started with end at exec. Ours do that anyway;
 * this is for what a library may have opened. */
static void close_others(void)
{
	unsigned from = STDERR_FILENO + 1;
	for (int i = 0; i < before.inherited_n; i++) {
		unsigned fd = (unsigned)before.inherited[i];
		if (fd > from)
			close_range(from, fd - 1, CLOSE_RANGE_CLOEXEC);
		from = fd + 1;
	}
	if (before.inherited_n < INHERITED_MAX)
		close_range(from, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void put_number(char *to, unsigned long v)
{
	char digits[24];
	int n = 0;
	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
}

/* In the child, where only what is safe in a signal handler may be called. */
static _Noreturn void become(struct launch *l)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	int null = open("/dev/null", O_RDONLY);
	if (null >= 0 && null != STDIN_FILENO) {
		dup2(null, STDIN_FILENO);
		close(null);
	}
	if (before.known) {
		setrlimit(RLIMIT_NOFILE, &before.files);
		prctl(PR_SET_TIMERSLACK, (unsigned long)before.timer_slack_ns, 0UL, 0UL, 0UL);
	}
	strcpy(l->listen_pid, "LISTEN_PID=");
	put_number(l->listen_pid + strlen(l->listen_pid), (unsigned long)getpid());
	close_others();
	if (!signals_pipe_was_ignored())
		sigaction(SIGPIPE, &by_default, NULL);
	sigprocmask(SIG_SETMASK, signals_mask_before(), NULL);
	environ = l->env;
	execvp(l->argv[0], l->argv);
	int sys = errno;
	if (write(l->failed, &sys, sizeof sys) < 0)
		_exit(126);
	_exit(127);
}

/* Waits until the child has begun. Returns errno of why it could not, 0: it has. */
static int has_begun(int fd, pid_t pid)
{
	int sys = 0;
	ssize_t n;
	do
		n = read(fd, &sys, sizeof sys);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof sys)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return sys;
}

static int spawn(pid_t *ret, char *const *argv)
{
	struct launch l = { .argv = argv };
	int failed[2], rc;
	if (make_environment(&l) < 0)
		return ENOMEM;
	if (pipe2(failed, O_CLOEXEC) < 0) {
		rc = errno;
		free(l.env);
		return rc;
	}
	l.failed = failed[1];
	/* Not posix_spawn: only the child itself knows its number for LISTEN_PID. */
	pid_t pid = fork();
	if (pid == 0)
		become(&l);
	rc = pid < 0 ? errno : 0;
	close(failed[1]);
	if (rc == 0)
		rc = has_begun(failed[0], pid);
	close(failed[0]);
	free(l.env);
	*ret = pid;
	return rc;
}

int child_start(struct child *c, char *const *argv, struct err *e)
{
	pid_t pid = 0;
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

bool child_shares_group(const struct child *c)
{
	return c->pid > 0 && getpgid(c->pid) == getpgrp();
}

void child_signal(const struct child *c, int signo)
{
	if (c->pid > 0)
		kill(c->pid, signo);
}
