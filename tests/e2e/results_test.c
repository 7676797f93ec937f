// SPDX-License-Identifier: Apache-2.0
/*
 * Results whose size the driver chooses: they arrive whole, in memory that is the application's
 * alone, and neither a driver that dies nor an application that breaks the rules harms anybody.
 */

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <client/connection.h>

#include "rig.h"
#include "victim.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { BELLS_MAX = 8 }; // descriptors that come and are no results: doorbells, workers

static struct rig rig;
static io_connect_t victim;
static struct connection *raw; // of `victim`
static pid_t dext;             // the driver's process

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	victim = rig_open();
	raw = connection_get(victim);
	ck_assert_ptr_nonnull(raw);
	dext = rig_process();
}

static void end(void)
{
	connection_unref(raw);
	ck_assert_int_eq(IOServiceClose(victim), kIOReturnSuccess);
	rig_stop(&rig);
}

static void end_undisturbed(void)
{
	ck_assert_int_eq(rig_process(), dext); // nobody had to start it again
	end();
}

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

/* --- calls --- */

struct result {
	uint8_t *bytes;
	size_t size;
};

static kern_return_t ask_with(uint32_t method, uint64_t size, enum victim_result how, size_t in,
			      struct result *result)
{
	uint64_t scalars[2] = { size, how }, told = 0;
	uint32_t count = 1;
	uint8_t *structure = calloc(1, in + 1);
	*result = (struct result){ .size = kIOConnectMethodVarOutputSize };
	kern_return_t ret = IOConnectCallMethod(victim, method, scalars, 2, structure, in, &told,
						&count, &result->bytes, &result->size);
	if (ret == kIOReturnSuccess)
		ck_assert_uint_eq(told, size);
	free(structure);
	return ret;
}

static kern_return_t ask(uint64_t size, struct result *result)
{
	return ask_with(VICTIM_RESULT, size, VICTIM_RESULT_NOW, 0, result);
}

static void release(struct result *result)
{
	ck_assert_int_eq(vm_deallocate(mach_task_self(), (vm_address_t)result->bytes, result->size),
			 kIOReturnSuccess);
}

static void check_bytes(const struct result *result, uint64_t size)
{
	ck_assert_uint_eq(result->size, size);
	ck_assert((result->bytes != NULL) == (size > 0));
	for (uint64_t i = 0; i < size; i++)
		if (result->bytes[i] != VICTIM_RESULT_BYTE(i))
			ck_abort_msg("byte %llu of %llu", (unsigned long long)i,
				     (unsigned long long)size);
}

static void check_result(uint64_t size, size_t in)
{
	struct result result;
	kern_return_t ret = ask_with(VICTIM_RESULT, size, VICTIM_RESULT_NOW, in, &result);
	ck_assert_msg(ret == kIOReturnSuccess, "%llu bytes: %s: %s", (unsigned long long)size,
		      IOReturnString(ret), dext_last_reason());
	check_bytes(&result, size);
	release(&result);
}

/* Mappings of results, by this process. */
static int count_maps(void)
{
	char line[512];
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, "/memfd:dext-result") != NULL;
	fclose(f);
	return n;
}

/* --- what arrives --- */

START_TEST(results_of_any_size_arrive)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 64 * KIB, MIB + 1, 64 * MIB };
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		check_result(sizes[i], 0);
	check_result(100, 5000); // beside a structure that goes through a buffer
	check_result(MIB, MIB);
}
END_TEST

START_TEST(a_result_is_the_applications_alone)
{
	struct result result, other;
	ck_assert_int_eq(ask(100 * KIB, &result), kIOReturnSuccess);
	ck_assert_int_eq(count_maps(), 1);
	memset(result.bytes, 0xee, result.size); // it is writable …
	ck_assert_int_eq(ask(100 * KIB, &other), kIOReturnSuccess);
	check_bytes(&other, 100 * KIB); // … and nobody else's
	ck_assert_int_eq(vm_deallocate(0, (vm_address_t)other.bytes, other.size),
			 kIOReturnBadArgument);
	ck_assert_int_eq(vm_deallocate(mach_task_self(), (vm_address_t)other.bytes + 1, other.size),
			 kIOReturnBadArgument);
	assert_reason("no range of whole pages");
	release(&other);
	ck_assert_int_eq(kill(dext, SIGKILL), 0); // it stays, whatever becomes of the driver
	ck_assert_uint_eq(result.bytes[result.size - 1], 0xee);
	release(&result);
	ck_assert_int_eq(count_maps(), 0);
}
END_TEST

/* A dispatch table's checks hold: of the size there is none but "any". */
START_TEST(a_method_with_an_exact_size_refuses)
{
	uint8_t in[VICTIM_EXACT_SIZE] = { 0 };
	void *bytes = NULL;
	size_t size = kIOConnectMethodVarOutputSize;
	ck_assert_int_eq(
		IOConnectCallStructMethod(victim, VICTIM_EXACT, in, sizeof(in), &bytes, &size),
		kIOReturnBadArgument);
	assert_reason("takes 10000 bytes of output structure, the call has 4294967295");
	ck_assert_ptr_null(bytes);
	ck_assert_int_eq(IOConnectCallStructMethod(victim, VICTIM_INVERT, in, 100, &bytes, &size),
			 kIOReturnSuccess);
	ck_assert_uint_eq(size, 100);
	ck_assert_int_eq(vm_deallocate(mach_task_self(), (vm_address_t)bytes, size),
			 kIOReturnSuccess);
}
END_TEST

START_TEST(what_a_method_may_not_return_is_refused)
{
	struct result result;
	ck_assert_int_ne(ask(64 * MIB + 1, &result), kIOReturnSuccess);
	assert_reason("at most 67108864");
	ck_assert_int_eq(ask_with(VICTIM_RESULT, 0, VICTIM_RESULT_MEMORY, 0, &result),
			 kIOReturnBadArgument);
	assert_reason("replaced structureOutputDescriptor");
	check_result(5000, 0);
}
END_TEST

static void *ask_often(void *context)
{
	size_t size = *(const size_t *)context;
	for (int i = 0; i < 40; i++)
		check_result(size + i, 0);
	return NULL;
}

START_TEST(threads_get_their_own_results)
{
	enum { THREADS = 16 };
	pthread_t threads[THREADS];
	size_t sizes[THREADS];
	int own_fds = rig_count_fds(getpid()), fds = rig_count_fds(dext);
	for (int i = 0; i < THREADS; i++) {
		sizes[i] = 4090 + i * 1000;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, &sizes[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(count_maps(), 0);
	ck_assert_int_le(rig_count_fds(getpid()), own_fds + BELLS_MAX);
	ck_assert_int_le(rig_count_fds(dext), fds + BELLS_MAX);
}
END_TEST

/* --- an application that breaks the rules --- */

static kern_return_t raw_call(uint64_t async, struct ring_reply *reply)
{
	struct ring_request request = {
		.kind = RING_CALL,
		.selector = VICTIM_RESULT,
		.async = async,
		.n_scalars = 2,
		.n_scalars_out = 1,
		.structure_out_max = RING_VARIABLE,
		.scalars = { 10000, VICTIM_RESULT_NOW },
	};
	ck_assert_int_eq(ring_client_call(raw->ring, &request, reply, 10000), 0);
	return reply->status;
}

START_TEST(results_that_nobody_takes_are_bounded)
{
	struct ring_reply reply;
	int fds = rig_count_fds(dext), n = 0;
	while (raw_call(0, &reply) == kIOReturnSuccess)
		ck_assert_int_lt(n++, 10000);
	ck_assert_msg(strstr(reply.reason, "does not read") != NULL, "%s", reply.reason);
	ck_assert_int_le(rig_count_fds(dext), fds + BELLS_MAX);
	check_result(100, 0); // what is not sent is served
	connection_drain(raw);
	for (int i = 0; i < 16; i++)
		connection_drain(raw);
	check_result(10000, 0);
	ck_assert_uint_le(raw->arrivals.n, ARRIVALS_MAX);
}
END_TEST

START_TEST(an_asynchronous_call_takes_none)
{
	struct ring_reply reply;
	ck_assert_int_eq(raw_call(1, &reply), kIOReturnBadArgument);
	ck_assert_msg(strstr(reply.reason, "variable size") != NULL, "%s", reply.reason);
}
END_TEST

/* --- a driver that dies --- */

struct call {
	pthread_t thread;
	uint32_t method;
	kern_return_t status;
	struct result result;
	char reason[256];
};

static void *ask_late(void *context)
{
	struct call *call = context;
	call->status = ask_with(call->method, 20000, VICTIM_RESULT_LATE, 0, &call->result);
	snprintf(call->reason, sizeof(call->reason), "%s", dext_last_reason());
	return NULL;
}

static volatile uint8_t *map_shared(io_connect_t connect)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	ck_assert_int_eq(IOConnectMapMemory64(connect, VICTIM_TYPE_SHARED, mach_task_self(),
					      &address, &size, kIOMapAnywhere),
			 kIOReturnSuccess);
	return (volatile uint8_t *)(uintptr_t)address;
}

static void await_method(volatile uint8_t *shared)
{
	while (shared[0] == 0)
		sched_yield(); // the driver has not got the call
}

/* `other` is another connection: `victim` is busy. */
static void start_and_kill(struct call *call, io_connect_t other)
{
	volatile uint8_t *shared = map_shared(other);
	ck_assert_int_eq(pthread_create(&call->thread, NULL, ask_late, call), 0);
	await_method(shared);
	ck_assert_int_eq(kill(dext, SIGKILL), 0);
}

START_TEST(a_result_of_a_driver_that_died_is_none)
{
	struct call call = { .method = VICTIM_RESULT };
	io_connect_t other = rig_open();
	start_and_kill(&call, other);
	pthread_join(call.thread, NULL);
	ck_assert_int_eq(call.status, kIOReturnAborted);
	ck_assert_msg(strstr(call.reason, "died") != NULL, "%s", call.reason);
	check_result(20000, 0);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
}
END_TEST

START_TEST(an_idempotent_method_gives_it_in_the_next_driver)
{
	struct call call = { .method = VICTIM_RESULT_AGAIN };
	io_connect_t other = rig_open();
	start_and_kill(&call, other);
	uint64_t in = 1, out = 0;
	uint32_t count = 1;
	ck_assert_int_eq(IOConnectCallScalarMethod(other, VICTIM_ECHO, &in, 1, &out, &count),
			 kIOReturnSuccess); // from here on it is the next one's
	volatile uint8_t *shared = map_shared(other);
	await_method(shared);
	shared[1] = 1;
	pthread_join(call.thread, NULL);
	ck_assert_msg(call.status == kIOReturnSuccess, "%s", call.reason);
	check_bytes(&call.result, 20000);
	release(&call.result);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("results");
	TCase *tc = tcase_create("results");
	tcase_add_checked_fixture(tc, begin, end_undisturbed);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, results_of_any_size_arrive);
	tcase_add_test(tc, a_method_with_an_exact_size_refuses);
	tcase_add_test(tc, what_a_method_may_not_return_is_refused);
	tcase_add_test(tc, threads_get_their_own_results);
	tcase_add_test(tc, results_that_nobody_takes_are_bounded);
	tcase_add_test(tc, an_asynchronous_call_takes_none);
	suite_add_tcase(suite, tc);
	tc = tcase_create("deaths");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_result_is_the_applications_alone);
	tcase_add_test(tc, a_result_of_a_driver_that_died_is_none);
	tcase_add_test(tc, an_idempotent_method_gives_it_in_the_next_driver);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
