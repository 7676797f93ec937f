// SPDX-License-Identifier: Apache-2.0
/*
 * epoll, one batch at a time. Removing a source strikes it out of the rest of the batch, which is
 * what lets any callback free anything. Timers are a sorted list: dextd has a few per process it
 * supervises.
 */

#include <dextd/loop.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>

#define BATCH 32

struct loop {
	int epoll_fd;
	bool quit;
	struct list timers; // loop_timer.link
	struct list hooks;  // loop_hook.link

	/* The events of one epoll_wait; a removed source is struck out of those still to come. */
	struct epoll_event batch[BATCH];
	int n_batch, next;

	int signal_fd;
	struct loop_fd signals;
	void (*on_signal)(void *context, int signal);
	void *signal_context;
};

int loop_new(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	if (loop == NULL)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int error = errno;
		free(loop);
		return -error;
	}
	loop->signal_fd = -1;
	list_init(&loop->timers);
	list_init(&loop->hooks);
	*out = loop;
	return 0;
}

struct loop *loop_free(struct loop *loop)
{
	if (loop == NULL)
		return NULL;
	loop_fd_remove(&loop->signals);
	close_fdp(&loop->signal_fd);
	close_fdp(&loop->epoll_fd);
	free(loop);
	return NULL;
}

int loop_fd_add(struct loop *loop, struct loop_fd *source, int fd, uint32_t events,
		void (*on_ready)(void *context, uint32_t events), void *context)
{
	struct epoll_event event = { .events = events, .data.ptr = source };
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*source = (struct loop_fd){
		.loop = loop,
		.fd = fd,
		.events = events,
		.on_ready = on_ready,
		.context = context,
	};
	return 0;
}

int loop_fd_set_events(struct loop_fd *source, uint32_t events)
{
	if (source->events == events)
		return 0;
	struct epoll_event event = { .events = events, .data.ptr = source };
	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	source->events = events;
	return 0;
}

void loop_fd_remove(struct loop_fd *source)
{
	struct loop *loop = source->loop;
	if (loop == NULL)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = loop->next; i < loop->n_batch; i++) {
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	}
	source->loop = NULL;
	source->fd = -1;
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*on_expired)(void *context),
		     void *context)
{
	*timer = (struct loop_timer){ .loop = loop, .on_expired = on_expired, .context = context };
	list_init(&timer->link);
}

void loop_timer_start(struct loop_timer *timer, uint64_t deadline_ns)
{
	list_remove(&timer->link);
	timer->deadline_ns = deadline_ns;

	struct list *after = timer->loop->timers.prev;
	while (after != &timer->loop->timers &&
	       container_of(after, struct loop_timer, link)->deadline_ns > deadline_ns)
		after = after->prev;
	list_insert(after, &timer->link);
}

void loop_timer_stop(struct loop_timer *timer)
{
	if (timer->deadline_ns == 0)
		return;
	list_remove(&timer->link);
	timer->deadline_ns = 0;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook, void (*prepare)(void *context),
		   void *context)
{
	hook->prepare = prepare;
	hook->context = context;
	list_append(&loop->hooks, &hook->link);
}

void loop_hook_remove(struct loop_hook *hook)
{
	if (hook->prepare == NULL)
		return;
	list_remove(&hook->link);
	hook->prepare = NULL;
}

static void on_child_exit(void *context, uint32_t events)
{
	struct loop_child *child = context;
	siginfo_t info = { 0 };
	(void)events;

	/* P_PIDFD: no other process can be meant, whatever became of the number. */
	if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG) < 0) {
		if (errno == EINTR)
			return;
		info.si_code = CLD_EXITED; // reaped by somebody else: ended, status unknown
	} else if (info.si_pid == 0) {
		return;
	}
	int status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
						: W_EXITCODE(0, info.si_status);
	loop_child_remove(child);
	child->on_exit(child->context, status);
}

int loop_child_add(struct loop *loop, struct loop_child *child, pid_t pid, int pidfd,
		   void (*on_exit)(void *context, int status), void *context)
{
	int ret = loop_fd_add(loop, &child->exit, pidfd, EPOLLIN, on_child_exit, child);
	if (ret < 0) {
		close_fdp(&pidfd);
		return ret;
	}
	child->pid = pid;
	child->pidfd = pidfd;
	child->on_exit = on_exit;
	child->context = context;
	return 0;
}

void loop_child_remove(struct loop_child *child)
{
	if (child->pid == 0)
		return;
	loop_fd_remove(&child->exit);
	close_fdp(&child->pidfd);
	child->pid = 0;
}

void loop_child_kill(struct loop_child *child, int signal)
{
	if (child->pid != 0)
		(void)syscall(SYS_pidfd_send_signal, child->pidfd, signal, NULL, 0);
}

static void on_signal_ready(void *context, uint32_t events)
{
	struct loop *loop = context;
	struct signalfd_siginfo info;
	(void)events;

	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->on_signal(loop->signal_context, (int)info.ssi_signo);
}

int loop_signals(struct loop *loop, const sigset_t *signals,
		 void (*on_signal)(void *context, int signal), void *context)
{
	if (sigprocmask(SIG_BLOCK, signals, NULL) < 0)
		return -errno;
	loop->signal_fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (loop->signal_fd < 0)
		return -errno;
	loop->on_signal = on_signal;
	loop->signal_context = context;
	return loop_fd_add(loop, &loop->signals, loop->signal_fd, EPOLLIN, on_signal_ready, loop);
}

/* What is due now; a timer that its callback starts anew waits for the next pass. */
static void run_timers(struct loop *loop)
{
	struct list due;
	uint64_t now = clock_now_ns();

	list_init(&due);
	while (!list_empty(&loop->timers)) {
		struct loop_timer *timer = container_of(loop->timers.next, struct loop_timer, link);
		if (timer->deadline_ns > now)
			break;
		list_remove(&timer->link);
		list_append(&due, &timer->link);
	}
	while (!list_empty(&due)) {
		struct loop_timer *timer = container_of(due.next, struct loop_timer, link);
		loop_timer_stop(timer);
		timer->on_expired(timer->context);
	}
}

/* Milliseconds until the first timer, rounded up; at most `timeout_ms`. */
static int wait_ms(const struct loop *loop, int timeout_ms)
{
	if (list_empty(&loop->timers))
		return timeout_ms;
	uint64_t deadline = container_of(loop->timers.next, struct loop_timer, link)->deadline_ns;
	uint64_t now = clock_now_ns();
	if (deadline <= now)
		return 0;
	uint64_t ms = (deadline - now + 999999) / 1000000;
	if (ms > INT_MAX)
		ms = INT_MAX;
	return timeout_ms >= 0 && (uint64_t)timeout_ms < ms ? timeout_ms : (int)ms;
}

int loop_step(struct loop *loop, int timeout_ms)
{
	struct loop_hook *hook;
	list_for_each(hook, &loop->hooks, link)
		hook->prepare(hook->context);

	int n = epoll_wait(loop->epoll_fd, loop->batch, BATCH, wait_ms(loop, timeout_ms));
	if (n < 0 && errno != EINTR)
		return -errno;

	loop->n_batch = n < 0 ? 0 : n;
	for (loop->next = 0; loop->next < loop->n_batch;) {
		const struct epoll_event *event = &loop->batch[loop->next++];
		struct loop_fd *source = event->data.ptr;
		if (source != NULL)
			source->on_ready(source->context, event->events);
	}
	loop->n_batch = 0;
	run_timers(loop);
	return 0;
}

int loop_run(struct loop *loop)
{
	int ret = 0;
	loop->quit = false;
	while (!loop->quit && ret == 0)
		ret = loop_step(loop, -1);
	return ret;
}

void loop_quit(struct loop *loop)
{
	loop->quit = true;
}
