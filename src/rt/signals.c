/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals: see signals.h. A blocked signal waits until the descriptor is read, so none is lost between start
 * and loop. Failure modes: a descriptor that cannot be made is an error at the start. */
#include "rt/signals.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static sigset_t before;	 /* empty until signals_block */
static sigset_t ours;	 /* come as events */
static sigset_t ignored; /* of these: we were started to ignore them */
static bool pipe_was_ignored;

static void take(int signo)
{
	struct sigaction old;
	sigaddset(&ours, signo);
	if (sigaction(signo, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		sigaddset(&ignored, signo);
}

void signals_block(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
	sigemptyset(&ours);
	sigemptyset(&ignored);
	take(SIGTERM);
	take(SIGINT);
	take(SIGHUP);
	take(SIGCHLD);
	sigprocmask(SIG_BLOCK, &ours, &before);
	if (sigaction(SIGPIPE, &ignore, &old) == 0)
		pipe_was_ignored = old.sa_handler == SIG_IGN;
	/* An ignored SIGCHLD (inherited) would make children vanish without a status. */
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigaction(SIGCHLD, &dfl, NULL);
}

void signals_block_also(int signo)
{
	take(signo);
	sigprocmask(SIG_BLOCK, &ours, NULL);
}

const sigset_t *signals_mask_before(void)
{
	return &before;
}

bool signals_pipe_was_ignored(void)
{
	return pipe_was_ignored;
}

static void on_ready(struct loop_fd *f, uint32_t events)
{
	struct signals *s = (struct signals *)(void *)((char *)f - offsetof(struct signals, fd));
	struct signalfd_siginfo info;
	(void)events;
	if (read(f->fd, &info, sizeof info) != (ssize_t)sizeof info) /* one a turn: the handler may close s */
		return;
	int signo = (int)info.ssi_signo;
	s->from_terminal = info.ssi_code == SI_KERNEL;
	if (!s->from_terminal || !sigismember(&ignored, signo))
		s->on_signal(s->arg, signo);
}

int signals_open(struct signals *s, struct loop *l, void (*on_signal)(void *arg, int signo), void *arg,
		 struct err *e)
{
	*s = (struct signals){ .loop = l, .on_signal = on_signal, .arg = arg };
	s->fd = (struct loop_fd){ .fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK), .ready = on_ready };
	if (s->fd.fd < 0)
		return err_sys(e, errno, "cannot receive signals");
	if (loop_fd_add(l, &s->fd, EPOLLIN, e) == 0)
		return 0;
	close(s->fd.fd);
	s->fd.fd = -1;
	return -1;
}

void signals_close(struct signals *s)
{
	if (s->fd.fd < 0)
		return;
	loop_fd_remove(s->loop, &s->fd);
	close(s->fd.fd);
	s->fd.fd = -1;
}
