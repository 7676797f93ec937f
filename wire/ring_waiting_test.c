/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ring between two processes that sleep and look for each other, wherever both run. A wake-up
 * that is lost is a call that times out.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/unit_test.h>
#include <wire/ring_layout.h>

enum { PATIENCE_MS = 10000 };

struct pair {
	int memory_fd, doorbell_fd;
	struct ring_client *client;
	pid_t server;
};

/* --- where --- */

/* The n-th CPU this process may use; with fewer, the last. */
static int cpu_at(int n)
{
	cpu_set_t set;
	int found = -1;
	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && n >= 0; cpu++) {
		if (!CPU_ISSET((unsigned)cpu, &set))
			continue;
		found = cpu;
		n--;
	}
	return found;
}

/* Negative: anywhere. */
static void run_on(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (cpu >= 0)
		sched_setaffinity(0, sizeof(set), &set);
}

/* --- both sides --- */

static void answer(struct ring_server *server, const struct ring_request *request)
{
	struct ring_reply reply;
	reply.status = kIOReturnSuccess;
	reply.n_scalars = request->n_scalars_out;
	reply.structure_size = 0;
	for (uint32_t i = 0; i < reply.n_scalars; i++)
		reply.scalars[i] = request->scalars[i] + 1;
	if (ring_server_reply(server, request->slot, &reply) < 0)
		_exit(2);
}

static _Noreturn void serve(const struct pair *p, int cpu)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct ring_server *server;
	struct ring_request request;
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run_on(cpu);
	if (ring_server_open(&server, p->memory_fd) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->doorbell_fd, &event) < 0)
		_exit(1);
	for (;;) {
		int ret = ring_server_next(server, &request);
		if (ret < 0)
			_exit(3);
		if (ret == 1)
			answer(server, &request);
		else if (!ring_server_linger(server, NULL, NULL) && ring_server_sleep(server))
			epoll_wait(epoll_fd, &event, 1, -1);
	}
}

static void pair_init(struct pair *p, int server_cpu)
{
	ck_assert_int_eq(ring_create(&p->memory_fd), 0);
	p->doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(p->doorbell_fd, 0);
	p->server = fork();
	if (p->server == 0)
		serve(p, server_cpu);
	ck_assert_int_gt(p->server, 0);
	ck_assert_int_eq(ring_client_open(&p->client, p->memory_fd, p->doorbell_fd), 0);
}

static void pair_deinit(struct pair *p)
{
	int status;
	ck_assert_int_eq(kill(p->server, SIGKILL), 0);
	ck_assert_int_eq(waitpid(p->server, &status, 0), p->server);
	ck_assert_msg(WIFSIGNALED(status), "the server ended with %#x", status);
	p->client = ring_client_close(p->client);
	close(p->memory_fd);
	close(p->doorbell_fd);
}

static void call(struct ring_client *client, uint64_t value)
{
	struct ring_request request = { .kind = RING_CALL, .n_scalars = 1, .n_scalars_out = 1 };
	struct ring_reply reply;
	request.scalars[0] = value;
	ck_assert_int_eq(ring_client_call(client, &request, &reply, PATIENCE_MS), 0);
	ck_assert_int_eq(reply.status, kIOReturnSuccess);
	ck_assert_uint_eq(reply.n_scalars, 1);
	ck_assert_uint_eq(reply.scalars[0], value + 1);
}

/* So that a call comes just when the server has enough of looking, or falls asleep. */
static void dawdle(void)
{
	uint64_t chance = chance_u64();
	if (chance % 4 != 0)
		return;
	for (uint64_t n = (chance >> 8) % 1500; n > 0; n--)
		cpu_idle();
}

/* --- every way to wait, everywhere --- */

struct caller {
	struct ring_client *client;
	int cpu;
	uint64_t end_ns, first, n_calls;
	bool changes;
};

static void *call_until(void *context)
{
	struct caller *c = context;
	run_on(c->cpu);
	do {
		for (int i = 0; i < 64; i++) {
			call(c->client, c->first + c->n_calls++);
			dawdle();
		}
		if (c->changes)
			ring_client_set_waiting(c->client, chance_u64() % WAITING_POLICIES);
	} while (clock_now_ns() < c->end_ns);
	return NULL;
}

static void call_for(uint32_t ms, int caller_cpu, int server_cpu, enum waiting_policy policy,
		     int n_threads)
{
	struct pair p;
	struct caller callers[4];
	pthread_t threads[4];
	pair_init(&p, server_cpu);
	ring_client_set_waiting(p.client, policy);
	for (int i = 0; i < n_threads; i++) {
		callers[i] = (struct caller){ .client = p.client,
					      .cpu = caller_cpu,
					      .end_ns = clock_deadline_ns(ms),
					      .first = (uint64_t)i << 32,
					      .changes = policy == WAITING_POLICIES };
		pthread_create(&threads[i], NULL, call_until, &callers[i]);
	}
	for (int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	pair_deinit(&p);
}

static void call_everywhere(enum waiting_policy policy)
{
	int cpus[] = { cpu_at(0), cpu_at(1), -1 };
	for (int i = 0; i < 9; i++) {
		call_for(60, cpus[i / 3], cpus[i % 3], policy, 1);
		call_for(30, cpus[i / 3], cpus[i % 3], policy, 4);
	}
}

START_TEST(no_wake_up_is_lost_when_balanced)
{
	call_everywhere(WAITING_BALANCED);
}
END_TEST

START_TEST(no_wake_up_is_lost_when_polling)
{
	call_everywhere(WAITING_BUSY_POLL);
}
END_TEST

START_TEST(no_wake_up_is_lost_when_saving_power)
{
	call_everywhere(WAITING_POWER_SAVER);
}
END_TEST

START_TEST(no_wake_up_is_lost_when_the_policy_changes)
{
	call_everywhere(WAITING_POLICIES);
}
END_TEST

/* --- hints --- */

START_TEST(hints_are_said)
{
	struct pair p;
	struct ring_view view;
	int cpu = cpu_at(1);
	pair_init(&p, cpu);
	run_on(cpu_at(0));
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	call(p.client, 1);
	ck_assert_uint_eq(view.header->server_cpu, (uint32_t)cpu + 1);
	ck_assert_uint_eq(view.slots[0].caller_cpu, (uint32_t)cpu_at(0) + 1);
	ck_assert_uint_eq(view.header->waiting, WAITING_BALANCED);
	ring_client_set_waiting(p.client, WAITING_POWER_SAVER);
	ck_assert_uint_eq(view.header->waiting, WAITING_POWER_SAVER);
	ring_view_deinit(&view);
	pair_deinit(&p);
}
END_TEST

/* Whatever the peer says about itself, a wait for nothing ends soon, and then asleep. */
START_TEST(lies_cost_a_bounded_time)
{
	struct pair p = { 0 };
	struct ring_view view;
	struct ring_server *server;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	ck_assert_int_eq(ring_create(&p.memory_fd), 0);
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	ck_assert_int_eq(ring_server_open(&server, p.memory_fd), 0);
	p.doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(ring_client_open(&p.client, p.memory_fd, p.doorbell_fd), 0);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	view.slots[request.slot].caller_cpu = UINT32_MAX;
	ck_assert_int_eq(ring_server_next(server, &request), 1);

	uint64_t begin_ns = clock_now_ns();
	for (uint32_t i = 0; i < 1000; i++) {
		view.header->waiting = i % 4 == 0 ? UINT32_MAX : i;
		view.header->server_cpu = i % 3 == 0 ? UINT32_MAX : i;
		ck_assert(!ring_server_linger(server, NULL, NULL));
		ck_assert(ring_server_sleep(server));
	}
	ck_assert_uint_lt(clock_now_ns() - begin_ns, 1000 * 1000000ULL);

	view.header->server_cpu = UINT32_MAX;
	ring_client_set_waiting(p.client, WAITING_BUSY_POLL);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -ETIMEDOUT);
	ring_server_close(server);
	ring_view_deinit(&view);
	ring_client_close(p.client);
	close(p.memory_fd);
	close(p.doorbell_fd);
}
END_TEST

static bool count_stops(void *context, uint64_t now_ns)
{
	(void)now_ns;
	++*(unsigned *)context;
	return true;
}

START_TEST(a_server_with_other_work_does_not_linger)
{
	int memory_fd, doorbell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct ring_view view;
	struct ring_server *server;
	struct ring_client *client;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply = { 0 };
	unsigned n_stops = 0;
	ck_assert_int_eq(ring_create(&memory_fd), 0);
	ck_assert_int_eq(ring_view_init(&view, memory_fd), 0);
	ck_assert_int_eq(ring_server_open(&server, memory_fd), 0);
	ck_assert_int_eq(ring_client_open(&client, memory_fd, doorbell_fd), 0);
	ring_client_call(client, &request, &reply, 0);
	view.slots[request.slot].caller_cpu = UINT32_MAX;
	ck_assert_int_eq(ring_server_next(server, &request), 1);
	ck_assert(!ring_server_linger(server, count_stops, &n_stops));
	ck_assert_uint_eq(n_stops, 1);
	ring_client_call(client, &request, &reply, 0);
	ck_assert(ring_server_linger(server, count_stops, &n_stops)); // one waits already
	ck_assert_uint_eq(n_stops, 1);
	ring_abort(memory_fd, kIOReturnAborted, "over");
	ck_assert(!ring_server_linger(server, count_stops, &n_stops));
	ring_client_close(client);
	ring_server_close(server);
	ring_view_deinit(&view);
	close(memory_fd);
	close(doorbell_fd);
}
END_TEST

UNIT_TESTS("ring-waiting", no_wake_up_is_lost_when_balanced, no_wake_up_is_lost_when_polling,
	   no_wake_up_is_lost_when_saving_power, no_wake_up_is_lost_when_the_policy_changes,
	   hints_are_said, lies_cost_a_bounded_time, a_server_with_other_work_does_not_linger)
