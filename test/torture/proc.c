/* SPDX-License-Identifier: Apache-2.0
 *
 * Child processes: start with output into a file, wait with a bound, kill. Only processes started here are ever
 * signalled, by number, and only while they have not been reaped. Children die with their parent
 * (PR_SET_PDEATHSIG). */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum { PROCS_MAX = 16 };

static volatile pid_t running[PROCS_MAX];

static void remember(pid_t pid, bool on)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (running[i] == (on ? 0 : pid)) {
			running[i] = on ? pid : 0;
			return;
		}
}

pid_t proc_start(char *const argv[], const char *log_path)
{
	pid_t parent = getpid();
	fflush(NULL);
	pid_t pid = fork();
	if (pid != 0) {
		if (pid > 0)
			remember(pid, true);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(126);
	if (log_path) {
		int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
			_exit(126);
	}
	execv(argv[0], argv);
	fprintf(stderr, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

bool proc_ended(pid_t pid, int *ret_status)
{
	int st;
	pid_t got = waitpid(pid, &st, WNOHANG);
	if (got == 0 || (got < 0 && errno == EINTR))
		return false;
	remember(pid, false);
	*ret_status = got < 0 ? 255 : WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
	return true;
}

int proc_wait(pid_t pid, int64_t timeout_ms)
{
	int64_t end_ms = mono_ms() + timeout_ms;
	int status;
	while (!proc_ended(pid, &status)) {
		if (mono_ms() > end_ms) {
			proc_kill(pid, SIGKILL);
			while (!proc_ended(pid, &status))
				sleep_us(1000);
			return -1;
		}
		sleep_us(500);
	}
	return status;
}

void proc_kill(pid_t pid, int sig)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (pid > 0 && running[i] == pid)
			kill(pid, sig);
}

void proc_kill_all(void)
{
	for (int i = 0; i < PROCS_MAX; i++)
		if (running[i] > 0)
			kill(running[i], SIGKILL);
}

void print_tail(const char *path, const char *title)
{
	enum { TAIL_BYTES = 3000 };
	char b[TAIL_BYTES + 1];
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	if (fseek(f, -(long)TAIL_BYTES, SEEK_END) != 0)
		rewind(f);
	size_t n = fread(b, 1, TAIL_BYTES, f);
	b[n] = 0;
	fclose(f);
	fprintf(stderr, "---- end of %s (%s)\n%s%s----\n", title, path, b, n && b[n - 1] == '\n' ? "" : "\n");
}
