/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A ring whose peer writes into it what it likes. A peer that is a process of its own asserts
 * nothing: what it would say goes to the same file as what the test says.
 */

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include <base/clock.h>
#include <wire/ring_layout.h>
#include <wire/ring_pair.h>

/* --- a request with other sizes --- */

static void forge_sizes(uint32_t size, uint32_t room, uint32_t buffer)
{
	struct pair p;
	struct ring_view view;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	pair_init(&p);
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	atomic_store(&view.slots[request.slot].structure_size, size);
	atomic_store(&view.slots[request.slot].structure_out_max, room);
	atomic_store(&view.slots[request.slot].memory, buffer);
	ck_assert_int_eq(ring_server_next(p.server, &request), -EBADMSG);
	ring_view_deinit(&view);
	pair_deinit(&p);
}

START_TEST(sizes_that_no_caller_sends_are_caught)
{
	forge_sizes(RING_BLOCK + 1, 0, 0);
	forge_sizes(0, RING_BLOCK + 1, 0);
	forge_sizes(RING_BLOCK + 1, 0, RING_BUFFERS + 1);
	forge_sizes(RING_STRUCTURE_MAX + 1, 0, 1);
	forge_sizes(0, RING_STRUCTURE_MAX + 1, 1);
	forge_sizes(RING_STRUCTURE_MAX + 1, RING_VARIABLE, 1);
	forge_sizes(RING_BLOCK + 1, RING_VARIABLE, 0);
}
END_TEST

/* --- peers that scribble --- */

/* A word that somebody reads, or any. */
static _Atomic uint32_t *choose_word(struct ring_view *view)
{
	_Atomic uint32_t *words = (_Atomic uint32_t *)(void *)view->header;
	uint64_t slot = chance_u64() % RING_SLOTS, event = chance_u64() % RING_EVENTS;
	switch (chance_u64() % 5) {
	case 0:
		return words + chance_u64() % 128;
	case 1:
		return (_Atomic uint32_t *)(void *)&view->entries[slot] + chance_u64() % 3;
	case 2:
		return (_Atomic uint32_t *)(void *)&view->slots[slot] + chance_u64() % 16;
	case 3:
		return (_Atomic uint32_t *)(void *)&view->events[event] + chance_u64() % 8;
	default:
		return words + chance_u64() % (view->size / 4);
	}
}

static void scribble(struct ring_view *view)
{
	uint32_t value = (uint32_t)chance_u64();
	atomic_store(choose_word(view), chance_u64() % 2 == 0 ? value : value % 64);
}

/* It scribbled to the end, and so was not brought down by what it wrote itself. */
static void end_peer(pid_t child)
{
	int status;
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with %#x",
		      (unsigned)status);
}

static void check_request(const struct ring_request *request)
{
	ck_assert_uint_lt(request->slot, RING_SLOTS);
	ck_assert(request->kind >= RING_CALL && request->kind < RING_KINDS);
	ck_assert_uint_le(request->n_scalars, RING_SCALARS);
	ck_assert_uint_le(request->n_scalars_out, RING_SCALARS);
	ck_assert(ring_sizes_are_valid(request));
}

static int serve_scribbled(struct ring_server *server)
{
	struct ring_request request;
	struct ring_event event = { .async = 1, .n_scalars = 3 };
	struct ring_reply reply = { .n_scalars = 1 };
	for (int i = 0; i < 2 * (int)RING_SLOTS; i++) {
		int ret = ring_server_next(server, &request);
		ck_assert(ret == 1 || ret == 0 || ret == -EBADMSG);
		if (ret != 1)
			return ret;
		check_request(&request);
		ret = ring_server_reply(server, request.slot, &reply);
		ck_assert(ret == 0 || ret == -EBADMSG);
		ret = ring_server_event(server, &event);
		ck_assert(ret == 0 || ret == 1 || ret == -ENOSPC || ret == -EBADMSG);
		ck_assert(!ring_server_event_fits(server, RING_EVENTS));
	}
	return 0;
}

START_TEST(a_scribbling_application_harms_no_server)
{
	unsigned n_caught = 0;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct pair p;
		struct ring_view view;
		struct ring_request request = { .kind = RING_CALL, .n_scalars = 4 };
		struct ring_reply reply;
		int ret = 0;
		chance_seed(seed);
		pair_init(&p);
		ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
		for (int round = 0; round < 20 && ret >= 0; round++) {
			request.structure_size = (uint32_t)(chance_u64() % 600);
			for (unsigned n = (unsigned)(chance_u64() % 4); n > 0; n--)
				ring_client_call(p.client, &request, &reply, 0);
			for (unsigned n = (unsigned)(chance_u64() % 3); n > 0; n--)
				scribble(&view);
			ret = serve_scribbled(p.server);
		}
		n_caught += ret == -EBADMSG;
		ring_view_deinit(&view);
		pair_deinit(&p);
	}
	ck_assert_uint_gt(n_caught, 100);
}
END_TEST

static _Noreturn void scribble_for_ever(int memory_fd, uint64_t seed)
{
	struct ring_view view;
	chance_seed(seed);
	if (ring_view_init(&view, memory_fd) < 0)
		_exit(1);
	for (;;)
		scribble(&view);
}

START_TEST(a_scribbling_process_harms_no_server)
{
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct pair p;
		struct ring_request request = { .kind = RING_CALL, .n_scalars = 4 };
		struct ring_reply reply;
		pair_init(&p);
		pid_t child = fork();
		if (child == 0)
			scribble_for_ever(p.memory_fd, seed);
		ck_assert_int_gt(child, 0);
		for (int round = 0; round < 200; round++) {
			request.structure_size = (uint32_t)(round * 20);
			ring_client_call(p.client, &request, &reply, 0);
			if (serve_scribbled(p.server) < 0)
				break;
		}
		ck_assert_int_eq(ring_abort(p.memory_fd, kIOReturnIPCError, "corrupt"), 0);
		end_peer(child);
		pair_deinit(&p);
	}
}
END_TEST

/* A dext that answers, and scribbles. */
static _Noreturn void serve_and_scribble(struct pair *p, uint64_t seed)
{
	struct ring_view view;
	struct ring_request request;
	struct ring_event event = { .async = 1, .n_scalars = 2 };
	struct ring_reply reply = { .n_scalars = 1 };
	chance_seed(seed);
	if (ring_view_init(&view, p->memory_fd) < 0)
		_exit(1);
	for (;; scribble(&view)) {
		if (p->server == NULL && ring_server_open(&p->server, p->memory_fd) < 0)
			continue;
		int ret = ring_server_next(p->server, &request);
		if (ret == 1)
			ring_server_reply(p->server, request.slot, &reply);
		if (ret < 0) // its own doing
			p->server = ring_server_close(p->server);
		else
			ring_server_event(p->server, &event);
	}
}

START_TEST(a_scribbling_dext_harms_no_application)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct pair p;
		struct ring_request request = { .kind = RING_CALL, .n_scalars_out = 2 };
		struct ring_reply reply;
		struct ring_event event;
		pair_init(&p);
		request.structure_out_max = 100;
		pid_t child = fork();
		if (child == 0)
			serve_and_scribble(&p, seed);
		ck_assert_int_gt(child, 0);
		for (int round = 0; round < 40; round++) {
			int ret = ring_client_call(p.client, &request, &reply, 2);
			ck_assert(ret == 0 || ret == -ETIMEDOUT || ret == -ECONNRESET ||
				  ret == -EAGAIN || ret == -EBADMSG || ret == -ESTALE);
			if (ret == 0 && reply.status == kIOReturnSuccess) {
				ck_assert_uint_le(reply.n_scalars, 2);
				ck_assert_uint_le(reply.structure_size, 100);
			}
			ret = ring_client_next_event(p.client, &event);
			ck_assert(ret == 0 || ret == 1 || ret == -EBADMSG);
			if (ret == 1)
				ck_assert_uint_le(event.n_scalars, RING_SCALARS);
			ring_client_event_sleep(p.client);
		}
		end_peer(child);
		pair_deinit(&p);
	}
}
END_TEST

UNIT_TESTS("hostile ring", sizes_that_no_caller_sends_are_caught,
	   a_scribbling_application_harms_no_server, a_scribbling_process_harms_no_server,
	   a_scribbling_dext_harms_no_application)
