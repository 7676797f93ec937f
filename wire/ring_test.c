/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The calls of a ring from both sides, and its end. A server here sleeps as a dext does: an
 * edge-triggered doorbell that nobody reads.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <wire/ring_layout.h>
#include <wire/ring_pair.h>

/* --- a server that answers with what it was asked, each scalar plus one --- */

static void answer(struct ring_server *server, const struct ring_request *request)
{
	struct ring_reply reply;
	memset(&reply, 0, sizeof(reply));
	if (request->selector == 99) {
		reply.status = kIOReturnUnsupported;
		strcpy(reply.reason, "there is no method 99");
	}
	reply.n_scalars = request->n_scalars_out;
	for (uint32_t i = 0; i < reply.n_scalars; i++)
		reply.scalars[i] = request->scalars[i] + 1;
	reply.structure_size = request->structure_size < request->structure_out_max
				       ? request->structure_size
				       : request->structure_out_max;
	memcpy(reply.structure, request->structure, reply.structure_size);
	ck_assert_int_eq(ring_server_reply(server, request->slot, &reply), 0);
}

struct echo {
	struct ring_server *server;
	int doorbell_fd;
	_Atomic bool stop;
	int result;
	uint32_t n_answered;
};

static int echo_serve(struct echo *e)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	struct ring_request request;
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int ret = 0;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, e->doorbell_fd, &event);
	while (!atomic_load(&e->stop) && ret >= 0) {
		ret = ring_server_next(e->server, &request);
		if (ret == 1) {
			answer(e->server, &request);
			e->n_answered++;
		} else if (ret == 0 && ring_server_sleep(e->server)) {
			epoll_wait(epoll_fd, &event, 1, -1);
		}
	}
	close(epoll_fd);
	return ret;
}

static void *echo_thread(void *context)
{
	struct echo *e = context;
	e->result = echo_serve(e);
	return NULL;
}

static void echo_stop(struct echo *e, pthread_t thread)
{
	uint64_t one = 1;
	atomic_store(&e->stop, true);
	ck_assert_int_eq(write(e->doorbell_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(thread, NULL);
	ck_assert_int_ge(e->result, 0);
}

/* --- callers --- */

/* One call of `n` scalars and `size` bytes each way, checked. */
static void call_and_check(struct ring_client *client, uint32_t n, uint32_t size, uint64_t seed)
{
	struct ring_request request = { .kind = RING_CALL, .selector = 7 };
	struct ring_reply reply;
	request.n_scalars = request.n_scalars_out = n;
	request.structure_size = request.structure_out_max = size;
	for (uint32_t i = 0; i < n; i++)
		request.scalars[i] = seed + i;
	for (uint32_t i = 0; i < size; i++)
		request.structure[i] = (uint8_t)(seed + i);
	ck_assert_int_eq(ring_client_call(client, &request, &reply, PATIENCE_MS), 0);
	ck_assert_int_eq(reply.status, kIOReturnSuccess);
	ck_assert_uint_eq(reply.n_scalars, n);
	ck_assert_uint_eq(reply.structure_size, size);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(reply.scalars[i], seed + i + 1);
	ck_assert_int_eq(memcmp(reply.structure, request.structure, size), 0);
}

struct caller {
	struct ring_client *client;
	unsigned number, n_calls;
	unsigned n_done, n_aborted, n_refused; // calls_until_the_end
};

static void *call_often(void *context)
{
	struct caller *c = context;
	for (unsigned i = 0; i < c->n_calls; i++) {
		uint64_t seed = (uint64_t)c->number << 32 | i;
		call_and_check(c->client, i % 17, (i * 61) % 400, seed);
	}
	return NULL;
}

static void call_from_threads(struct ring_client *client, unsigned n_threads, unsigned n_calls)
{
	pthread_t threads[64];
	struct caller callers[64];
	for (unsigned i = 0; i < n_threads; i++) {
		callers[i] = (struct caller){ .client = client, .number = i, .n_calls = n_calls };
		pthread_create(&threads[i], NULL, call_often, &callers[i]);
	}
	for (unsigned i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
}

/* --- memory --- */

START_TEST(memory_is_sealed)
{
	int fd;
	ck_assert_int_eq(ring_create(&fd), 0);
	ck_assert_int_eq(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	ck_assert_int_lt(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	close(fd);
}
END_TEST

/* A memfd like a ring's, with one word of the header changed; seals as given. */
static int forge(size_t word, uint32_t value, int seals)
{
	char bytes[512];
	int fd, forged = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(ring_create(&fd), 0);
	off_t size = lseek(fd, 0, SEEK_END);
	ck_assert_int_eq(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	memcpy(bytes + word * 4, &value, sizeof(value));
	ck_assert_int_eq(pwrite(forged, bytes, sizeof(bytes), 0), sizeof(bytes));
	ck_assert_int_eq(ftruncate(forged, size), 0);
	ck_assert_int_eq(fcntl(forged, F_ADD_SEALS, seals), 0);
	close(fd);
	return forged;
}

static int open_both(int fd)
{
	struct ring_server *server = NULL;
	struct ring_client *client = NULL;
	int doorbell_fd = eventfd(0, EFD_CLOEXEC);
	int ret = ring_server_open(&server, fd);
	ck_assert_int_eq(ring_client_open(&client, fd, doorbell_fd), ret);
	ring_server_close(server);
	ring_client_close(client);
	close(doorbell_fd);
	close(fd);
	return ret;
}

START_TEST(only_a_ring_is_opened)
{
	enum { MAGIC, MAJOR, MINOR, SLOT_SIZE, BLOCK_SIZE, N_SLOTS, N_EVENTS };
	ck_assert_int_eq(open_both(forge(MAGIC, RING_MAGIC, F_SEAL_SHRINK)), 0);
	ck_assert_int_eq(open_both(forge(MINOR, 9, F_SEAL_SHRINK)), 0);
	ck_assert_int_eq(open_both(forge(MAGIC, RING_MAGIC, 0)), -EBADMSG); // it could shrink
	ck_assert_int_eq(open_both(forge(MAGIC, 1, F_SEAL_SHRINK)), -EBADMSG);
	ck_assert_int_eq(open_both(forge(MAJOR, RING_MAJOR + 1, F_SEAL_SHRINK)), -EBADMSG);
	ck_assert_int_eq(open_both(forge(SLOT_SIZE, 128, F_SEAL_SHRINK)), -EBADMSG);
	ck_assert_int_eq(open_both(forge(BLOCK_SIZE, 8192, F_SEAL_SHRINK)), -EBADMSG);
	for (uint32_t n = 0; n < 70; n++) {
		int expected = n == RING_SLOTS ? 0 : -EBADMSG;
		ck_assert_int_eq(open_both(forge(N_SLOTS, n, F_SEAL_SHRINK)), expected);
		expected = n == RING_EVENTS ? 0 : -EBADMSG;
		ck_assert_int_eq(open_both(forge(N_EVENTS, n, F_SEAL_SHRINK)), expected);
	}
	ck_assert_int_eq(open_both(forge(N_SLOTS, 0x40000000, F_SEAL_SHRINK)), -EBADMSG);
	ck_assert_int_eq(open_both(forge(N_EVENTS, UINT32_MAX, F_SEAL_SHRINK)), -EBADMSG);

	int fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	ck_assert_int_eq(open_both(fd), -EBADMSG);
	ck_assert_int_eq(open_both(eventfd(0, EFD_CLOEXEC)), -EBADMSG);
}
END_TEST

/* --- calls --- */

START_TEST(calls_carry_scalars_and_structures)
{
	static const uint32_t sizes[] = { 0, 1, 7, 8, 63, 64, 65, 128, 129, 192, 193, 4095, 4096 };
	struct pair p;
	pthread_t thread;
	pair_init(&p);
	struct echo e = { .server = p.server, .doorbell_fd = p.doorbell_fd };
	pthread_create(&thread, NULL, echo_thread, &e);
	for (uint32_t n = 0; n <= RING_SCALARS; n++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			call_and_check(p.client, n, sizes[i], n * 1000 + i);

	struct ring_request request = { .kind = RING_CALL, .selector = 99, .n_scalars_out = 2 };
	struct ring_reply reply;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, PATIENCE_MS), 0);
	ck_assert_int_eq(reply.status, kIOReturnUnsupported);
	ck_assert_str_eq(reply.reason, "there is no method 99");
	ck_assert_uint_eq(reply.n_scalars, 0);
	echo_stop(&e, thread);
	pair_deinit(&p);
}
END_TEST

START_TEST(calls_over_a_limit_are_refused)
{
	struct pair p;
	struct ring_reply reply;
	struct ring_request request = { .kind = RING_CALL };
	pair_init(&p);
	request.n_scalars = RING_SCALARS + 1;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EINVAL);
	request = (struct ring_request){ .kind = RING_CALL, .n_scalars_out = RING_SCALARS + 1 };
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EINVAL);
	request = (struct ring_request){ .kind = RING_CALL, .structure_size = RING_BLOCK + 1 };
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EINVAL);
	request = (struct ring_request){ .kind = RING_CALL, .structure_out_max = RING_BLOCK + 1 };
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EINVAL);
	pair_deinit(&p);
}
END_TEST

START_TEST(many_threads_call_at_once)
{
	struct pair p;
	pthread_t thread;
	pair_init(&p);
	struct echo e = { .server = p.server, .doorbell_fd = p.doorbell_fd };
	pthread_create(&thread, NULL, echo_thread, &e);
	call_from_threads(p.client, 48, 60); // more threads than slots
	echo_stop(&e, thread);
	ck_assert_uint_eq(e.n_answered, 48 * 60);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_call_crosses_processes)
{
	struct pair p;
	pair_init(&p);
	pid_t child = fork();
	if (child == 0) {
		struct echo e = { .server = p.server, .doorbell_fd = p.doorbell_fd };
		_exit(echo_serve(&e) < 0 ? 1 : 0);
	}
	ck_assert_int_gt(child, 0);
	call_from_threads(p.client, 4, 500);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_late_answer_frees_the_slot)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL }, taken[RING_SLOTS];
	struct ring_reply reply;
	pair_init(&p);
	for (uint32_t i = 0; i < RING_SLOTS; i++) {
		ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
		ck_assert_uint_eq(request.sequence, i + 1);
	}
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EAGAIN);
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		ck_assert_int_eq(ring_server_next(p.server, &taken[i]), 1);
	ck_assert_int_eq(ring_server_next(p.server, &request), 0);
	answer(p.server, &taken[5]);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	ck_assert_uint_eq(request.slot, taken[5].slot);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 1), -EAGAIN);
	pair_deinit(&p);
}
END_TEST

/* What lies in a buffer is not the ring's: only the sizes are carried. */
START_TEST(sizes_above_a_block_name_a_buffer)
{
	struct pair p;
	struct ring_request request, taken;
	struct ring_reply reply;
	pair_init(&p);
	const struct ring_request large = {
		.kind = RING_CALL,
		.structure_size = RING_BLOCK + 1,
		.structure_out_max = RING_STRUCTURE_MAX,
		.buffer = RING_BUFFERS,
	};
	request = large;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
	ck_assert_uint_eq(taken.structure_size, large.structure_size);
	ck_assert_uint_eq(taken.structure_out_max, large.structure_out_max);
	ck_assert_uint_eq(taken.buffer, large.buffer);
	reply = (struct ring_reply){ .structure_size = RING_STRUCTURE_MAX + 1 };
	ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &reply), -EINVAL);
	reply.structure_size = RING_STRUCTURE_MAX;
	ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &reply), 0);

	request = large;
	request.buffer = RING_BUFFERS + 1;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -EINVAL);
	request = large;
	request.structure_size = RING_STRUCTURE_MAX + 1;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -EINVAL);
	request = large;
	request.kind = RING_MAP;
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -EINVAL);
	pair_deinit(&p);
}
END_TEST

/* The addresses are words of the request; what else is in it stays whole. */
START_TEST(a_structure_may_lie_at_an_address)
{
	struct pair p;
	struct ring_call call;
	struct ring_reply reply;
	struct ring_request request = {
		.kind = RING_CALL,
		.n_scalars = RING_SCALARS,
		.structure_size = 30, // behind 17 words it has room
		.structure_out_max = RING_BLOCK + 1,
		.output_address = 0xabcdef0123456789,
		.n_regions = 64,
	};
	struct ring_request taken;
	pair_init(&p);
	for (unsigned i = 0; i < RING_SCALARS; i++)
		request.scalars[i] = ~(uint64_t)i;
	memset(request.structure, 's', sizeof(request.structure));
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), 0);
	ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
	ck_assert_uint_eq(taken.input_address, 0);
	ck_assert_uint_eq(taken.output_address, request.output_address);
	ck_assert_uint_eq(taken.n_regions, 64);
	ck_assert_uint_eq(taken.buffer, 0);
	ck_assert_int_eq(memcmp(taken.scalars, request.scalars, sizeof(request.scalars)), 0);
	ck_assert_int_eq(memcmp(taken.structure, request.structure, 30), 0);

	request.structure_size = RING_STRUCTURE_MAX;
	request.input_address = 0x1000;
	request.n_scalars = 1;
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), 0);
	ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
	ck_assert_uint_eq(taken.input_address, 0x1000);
	ck_assert_uint_eq(taken.output_address, request.output_address);
	ck_assert_uint_eq(taken.scalars[0], request.scalars[0]);

	request.structure_size = RING_BLOCK; // it fits a block: no address
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), -EINVAL);
	request.input_address = 0;
	request.structure_out_max = RING_VARIABLE;
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), -EINVAL);
	pair_deinit(&p);
}
END_TEST

/* Up to a block the result is in the ring; above, the ring only says how much there is. */
START_TEST(a_caller_may_take_whatever_there_is)
{
	static const uint32_t sizes[] = { 0, 100, RING_BLOCK, RING_BLOCK + 1, RING_STRUCTURE_MAX };
	struct pair p;
	struct ring_view view;
	struct ring_request request = { .kind = RING_CALL, .structure_out_max = RING_VARIABLE };
	struct ring_request taken;
	struct ring_call call;
	struct ring_reply reply;
	pair_init(&p);
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), 0);
		ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
		ck_assert_uint_eq(taken.structure_out_max, RING_VARIABLE);
		struct ring_reply answer = { .structure_size = RING_STRUCTURE_MAX + 1 };
		ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &answer), -EINVAL);
		answer.structure_size = sizes[i];
		memset(answer.structure, 'a' + (int)i, sizeof(answer.structure));
		ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &answer), 0);
		ck_assert_int_eq(ring_client_take(p.client, &call, &reply, 0), 0);
		ck_assert_uint_eq(reply.structure_size, sizes[i]);
		if (sizes[i] > 0 && sizes[i] <= RING_BLOCK)
			ck_assert_int_eq(memcmp(reply.structure, answer.structure, sizes[i]), 0);
	}
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), 0);
	ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
	ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &(struct ring_reply){ 0 }), 0);
	atomic_store(&view.slots[call.slot].structure_size, RING_STRUCTURE_MAX + 1);
	ck_assert_int_eq(ring_client_take(p.client, &call, &reply, 0), -EBADMSG);
	request.kind = RING_MAP;
	ck_assert_int_eq(ring_client_submit(p.client, &request, false, &call, &reply), -EINVAL);
	ring_view_deinit(&view);
	pair_deinit(&p);
}
END_TEST

START_TEST(an_answer_is_for_a_call_that_was_taken)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply = { 0 };
	pair_init(&p);
	ck_assert_int_eq(ring_server_reply(p.server, 0, &reply), -EINVAL);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	ck_assert_int_eq(ring_server_reply(p.server, request.slot, &reply), -EINVAL);
	ck_assert_int_eq(ring_server_next(p.server, &request), 1);
	ck_assert_int_eq(ring_server_reply(p.server, RING_SLOTS, &reply), -EINVAL);
	reply.n_scalars = RING_SCALARS + 1;
	ck_assert_int_eq(ring_server_reply(p.server, request.slot, &reply), -EINVAL);
	reply.n_scalars = 0;
	ck_assert_int_eq(ring_server_reply(p.server, request.slot, &reply), 0);
	ck_assert_int_eq(ring_server_reply(p.server, request.slot, &reply), -EINVAL);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_successor_goes_on)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_event event = { .async = 1 };
	struct ring_reply reply;
	pair_init(&p);
	for (uint64_t i = 1; i < 100; i++) {
		ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
		ck_assert_int_eq(ring_server_next(p.server, &request), 1);
		ck_assert_uint_eq(request.sequence, i);
		answer(p.server, &request);
		ck_assert_int_eq(ring_server_event(p.server, &event), 0);
		ck_assert_int_eq(ring_client_next_event(p.client, &event), 1);
		ring_server_close(p.server);
		ck_assert_int_eq(ring_server_open(&p.server, p.memory_fd), 0);
		ck_assert_int_eq(ring_server_next(p.server, &request), 0);
	}
	pair_deinit(&p);
}
END_TEST

/* --- doorbell --- */

static uint64_t rings(const struct pair *p)
{
	uint64_t n = 0;
	return read(p->doorbell_fd, &n, sizeof(n)) < 0 ? 0 : n;
}

START_TEST(only_a_sleeper_is_rung_for)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	pair_init(&p);
	ring_client_call(p.client, &request, &reply, 0);
	ck_assert_uint_eq(rings(&p), 0);
	ck_assert(!ring_server_sleep(p.server)); // one waits
	ck_assert_int_eq(ring_server_next(p.server, &request), 1);
	ck_assert(ring_server_sleep(p.server));
	ring_client_call(p.client, &request, &reply, 0);
	ring_client_call(p.client, &request, &reply, 0);
	ck_assert_uint_eq(rings(&p), 1);
	pair_deinit(&p);
}
END_TEST

START_TEST(a_full_doorbell_stops_nobody)
{
	struct pair p;
	uint64_t full = UINT64_MAX - 1;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	pair_init(&p);
	ck_assert_int_eq(write(p.doorbell_fd, &full, sizeof(full)), sizeof(full));
	ring_client_close(p.client);
	ck_assert_int_eq(fcntl(p.doorbell_fd, F_SETFL, 0), 0); // the peer's doing: blocking
	ck_assert_int_eq(ring_client_open(&p.client, p.memory_fd, p.doorbell_fd), 0);
	ck_assert(ring_server_sleep(p.server));
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	pair_deinit(&p);
}
END_TEST

/* --- the end --- */

static void *call_until_the_end(void *context)
{
	struct caller *c = context;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	for (;;) {
		int ret = ring_client_call(c->client, &request, &reply, PATIENCE_MS);
		if (ret == 0 && reply.status == kIOReturnSuccess) {
			c->n_done++;
			continue;
		}
		ck_assert(ret == 0 || ret == -ECONNRESET);
		ck_assert_int_eq(reply.status, kIOReturnOffline);
		ck_assert_str_eq(reply.reason, "the driver died");
		if (ret == 0)
			c->n_aborted++;
		else
			c->n_refused++;
		if (ret == -ECONNRESET)
			return NULL;
	}
}

static void race_abort(bool served)
{
	enum { N = 40 };
	struct pair p;
	pthread_t thread, threads[N];
	struct caller callers[N];
	pair_init(&p);
	struct echo e = { .server = p.server, .doorbell_fd = p.doorbell_fd };
	if (served)
		pthread_create(&thread, NULL, echo_thread, &e);
	for (unsigned i = 0; i < N; i++) {
		callers[i] = (struct caller){ .client = p.client };
		pthread_create(&threads[i], NULL, call_until_the_end, &callers[i]);
	}
	ck_assert_int_eq(ring_abort(p.memory_fd, kIOReturnOffline, "the driver died"), 0);
	for (unsigned i = 0; i < N; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_uint_eq(callers[i].n_refused, 1);
		ck_assert_uint_le(callers[i].n_aborted, 1);
	}
	if (served)
		echo_stop(&e, thread);
	pair_deinit(&p);
}

START_TEST(an_abort_ends_every_call)
{
	for (int i = 0; i < 20; i++)
		race_abort(i % 2 == 0);
}
END_TEST

START_TEST(an_answer_after_the_abort_is_dropped)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL }, taken;
	struct ring_reply reply = { 0 };
	pair_init(&p);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ETIMEDOUT);
	ck_assert_int_eq(ring_server_next(p.server, &taken), 1);
	ck_assert_int_eq(ring_abort(p.memory_fd, kIOReturnAborted, "first"), 0);
	ck_assert_int_eq(ring_abort(p.memory_fd, kIOReturnOffline, "second"), 0);
	ck_assert_int_eq(ring_server_reply(p.server, taken.slot, &reply), 0);
	ck_assert_int_eq(ring_server_next(p.server, &request), 0); // nothing is served any more
	ck_assert(ring_server_sleep(p.server));
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, 0), -ECONNRESET);
	ck_assert_int_eq(reply.status, kIOReturnAborted);
	ck_assert_str_eq(reply.reason, "first");
	pair_deinit(&p);
}
END_TEST

static void expect_end(struct pair *p, IOReturn status, const char *reason)
{
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	ck_assert_int_eq(ring_client_call(p->client, &request, &reply, 0), -ECONNRESET);
	ck_assert_int_eq(reply.status, status);
	ck_assert_str_eq(reply.reason, reason);
}

START_TEST(a_killed_closer_stops_no_other)
{
	struct pair p;
	struct ring_view view;
	char longest[4 * RING_NOTICE_TEXT];

	pair_init(&p);
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	atomic_store(&view.header->n_notices, 1); // one claimed a notice, and was killed
	ring_abort(p.memory_fd, kIOReturnOffline, "another");
	expect_end(&p, kIOReturnOffline, "another");
	ring_view_deinit(&view);
	pair_deinit(&p);

	pair_init(&p);
	ck_assert_int_eq(ring_view_init(&view, p.memory_fd), 0);
	atomic_store(&view.header->n_notices, 12345);
	ring_abort(p.memory_fd, kIOReturnOffline, "no room for this");
	expect_end(&p, kIOReturnAborted, "");
	ring_view_deinit(&view);
	pair_deinit(&p);

	pair_init(&p);
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	ring_abort(p.memory_fd, kIOReturnSuccess, longest);
	memset(longest + RING_NOTICE_TEXT - 4, 0, 4);
	strcpy(longest + RING_NOTICE_TEXT - 4, "…");
	expect_end(&p, kIOReturnAborted, longest);
	pair_deinit(&p);
}
END_TEST

static void end_it(void *context)
{
	const struct pair *p = context;
	ring_abort(p->memory_fd, kIOReturnAborted, "the peer is gone");
}

START_TEST(a_waiting_caller_finds_its_peer_gone)
{
	struct pair p;
	struct ring_request request = { .kind = RING_CALL };
	struct ring_reply reply;
	pair_init(&p);
	ring_client_set_look(p.client, end_it, &p);
	ck_assert_int_eq(ring_client_call(p.client, &request, &reply, PATIENCE_MS), 0);
	ck_assert_int_eq(reply.status, kIOReturnAborted);
	ck_assert_str_eq(reply.reason, "the peer is gone");
	pair_deinit(&p);
}
END_TEST

UNIT_TESTS("ring", memory_is_sealed, only_a_ring_is_opened, calls_carry_scalars_and_structures,
	   calls_over_a_limit_are_refused, many_threads_call_at_once, a_call_crosses_processes,
	   a_late_answer_frees_the_slot, an_answer_is_for_a_call_that_was_taken,
	   sizes_above_a_block_name_a_buffer, a_caller_may_take_whatever_there_is,
	   a_structure_may_lie_at_an_address, a_successor_goes_on, only_a_sleeper_is_rung_for,
	   a_full_doorbell_stops_nobody, an_abort_ends_every_call,
	   an_answer_after_the_abort_is_dropped, a_killed_closer_stops_no_other,
	   a_waiting_caller_finds_its_peer_gone)
