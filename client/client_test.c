/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The library against a dextd and a driver that break the rules: whatever they do, a call ends,
 * with a result and a reason, an accepted asynchronous call completes, and nothing is leaked.
 */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/unit_test.h>
#include <client/connection.h>
#include <client/fake.h>
#include <opendext/client.h>
#include <protocol/dextd.h>
#include <wire/ring_layout.h>

static struct fake fake;
static IONotificationPortRef port;
static io_service_t service;
static io_connect_t connection;

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

static OSObject *numbers(uint64_t first, uint32_t n)
{
	OSArray *array = OSArray_withCapacity(n);
	for (uint32_t i = 0; i < n; i++) {
		OSNumber *number = OSNumber_withNumber(first + i, 64);
		OSArray_setObject(array, OSNumber_as_OSObject(number));
		OSObjectRelease(number);
	}
	return OSArray_as_OSObject(array);
}

static kern_return_t look_up(void)
{
	io_iterator_t existing;
	kern_return_t status = IOServiceGetMatchingServices(
		kIOMainPortDefault, IOServiceMatching("Anything"), &existing);
	if (status == kIOReturnSuccess)
		IOObjectRelease(existing);
	return status;
}

/* An open connection, a service and a port. */
static void open_all(void)
{
	fake_init(&fake);
	fake.entries = numbers(5, 1);
	service = IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything"));
	ck_assert_uint_ne(service, IO_OBJECT_NULL);
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &connection),
			 kIOReturnSuccess);
	port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(port);
}

/* The channel to dextd stays open as long as dextd does: end it, and let the library notice. */
static void close_fake(void)
{
	fake_deinit(&fake);
	look_up();
}

static void close_all(void)
{
	if (connection != IO_OBJECT_NULL)
		ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	IOObjectRelease(service);
	IONotificationPortDestroy(port);
	close_fake();
}

/* Poll the port's one descriptor, and dispatch, until `*count` is `n`. */
static void dispatch_until(const unsigned *count, unsigned n)
{
	struct pollfd fd = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	while (*count < n) {
		ck_assert_int_eq(poll(&fd, 1, 10000), 1);
		dext_notification_port_dispatch(port);
	}
	ck_assert_uint_eq(*count, n);
}

static bool port_is_readable(void)
{
	struct pollfd fd = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	return poll(&fd, 1, 0) == 1;
}

/* --- dextd --- */

START_TEST(without_dextd_there_is_a_reason)
{
	char longest[200];
	setenv("OPENDEXT_SOCKET", "/nonexistent/socket", 1);
	ck_assert_int_eq(look_up(), kIOReturnOffline);
	assert_reason("/nonexistent/socket");
	assert_reason("OPENDEXT_SOCKET");
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	setenv("OPENDEXT_SOCKET", longest, 1);
	ck_assert_int_eq(look_up(), kIOReturnBadArgument);
	ck_assert_uint_eq(
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything")),
		IO_OBJECT_NULL);
	assert_reason("107 bytes");
}
END_TEST

START_TEST(a_dextd_that_hangs_up_is_asked_again)
{
	fake_init(&fake);
	dext_call_timeout_set(10000);
	ck_assert_int_eq(look_up(), kIOReturnSuccess);
	fake_deinit(&fake);
	ck_assert_int_ne(look_up(), kIOReturnSuccess);
	ck_assert_int_eq(look_up(), kIOReturnOffline);

	fake_init(&fake);
	atomic_store(&fake.manner, FAKE_HANGS_UP);
	ck_assert_int_eq(look_up(), kIOReturnOffline);
	atomic_store(&fake.manner, FAKE_HANGS_UP_IN_CALL);
	ck_assert_int_eq(look_up(), kIOReturnOffline);
	ck_assert_str_ne(dext_last_reason(), "");
	atomic_store(&fake.manner, FAKE_SENDS_GARBAGE);
	ck_assert_int_ne(look_up(), kIOReturnSuccess);
	ck_assert_str_ne(dext_last_reason(), "");
	atomic_store(&fake.manner, FAKE_SERVES);
	ck_assert_int_eq(look_up(), kIOReturnSuccess);
	close_fake();
}
END_TEST

START_TEST(a_silent_dextd_costs_the_time_limit)
{
	fake_init(&fake);
	atomic_store(&fake.manner, FAKE_SILENT);
	dext_call_timeout_set(50);
	ck_assert_int_eq(look_up(), kIOReturnTimeout);
	assert_reason("50 ms");
	close_fake();
}
END_TEST

START_TEST(a_time_limit_has_limits)
{
	ck_assert_uint_eq(dext_call_timeout_get(), 30000);
	ck_assert_int_eq(dext_call_timeout_set(0), kIOReturnBadArgument);
	ck_assert_int_eq(dext_call_timeout_set(86400001), kIOReturnBadArgument);
	ck_assert_uint_eq(dext_call_timeout_get(), 30000);
}
END_TEST

START_TEST(entries_must_be_numbers)
{
	OSString *text = OSString_withCString("one");
	OSArray *texts = OSArray_withCapacity(1);
	OSArray_setObject(texts, OSString_as_OSObject(text));
	fake_init(&fake);
	fake.entries = OSArray_as_OSObject(texts);
	ck_assert_int_eq(look_up(), kIOReturnIPCError);
	fake.entries = OSString_as_OSObject(text); // no array at all
	ck_assert_int_ne(look_up(), kIOReturnSuccess);
	ck_assert_str_ne(dext_last_reason(), "");
	OSObjectRelease(texts);
	close_fake();
}
END_TEST

START_TEST(a_bad_gift_is_no_connection)
{
	static const enum fake_gift gifts[] = { GIFT_NOTHING, GIFT_NO_RING, GIFT_SHRINKABLE };
	io_connect_t connect;
	fake_init(&fake);
	fake.entries = numbers(5, 1);
	service = IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything"));
	for (unsigned i = 0; i < 3; i++) {
		fake.gift = gifts[i];
		ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &connect),
				 kIOReturnIPCError);
		ck_assert_uint_eq(connect, IO_OBJECT_NULL);
		assert_reason("unusable");
		ck_assert_uint_eq(atomic_load(&fake.n_closed), i + 1); // dextd was told
	}
	IOObjectRelease(service);
	close_fake();
}
END_TEST

/* --- objects --- */

START_TEST(a_released_number_is_refused)
{
	uint64_t id;
	io_iterator_t existing;
	fake_init(&fake);
	fake.entries = numbers(5, 3);
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching("Anything"), &existing),
			 kIOReturnSuccess);
	io_service_t first = IOIteratorNext(existing), second = IOIteratorNext(existing);
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(first, &id), kIOReturnSuccess);
	ck_assert_uint_eq(id, 5);
	ck_assert(!IOObjectIsEqualTo(first, second));
	IOIteratorReset(existing);
	io_service_t again = IOIteratorNext(existing);
	ck_assert_uint_ne(again, first);
	ck_assert(IOObjectIsEqualTo(first, again));

	ck_assert_int_eq(IOObjectRetain(first), kIOReturnSuccess);
	ck_assert_int_eq(IOObjectRelease(first), kIOReturnSuccess);
	ck_assert_int_eq(IOObjectRelease(first), kIOReturnSuccess);
	ck_assert_int_eq(IOObjectRelease(first), kIOReturnBadArgument);
	assert_reason("released");
	io_service_t third = IOIteratorNext(existing); // in the same place
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(first, &id), kIOReturnBadArgument);
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(existing, &id), kIOReturnBadArgument);
	assert_reason("no registry entry");
	ck_assert_int_eq(IOObjectRelease(0), kIOReturnBadArgument);
	IOObjectRelease(second);
	IOObjectRelease(again);
	IOObjectRelease(third);
	IOObjectRelease(existing);
	close_fake();
}
END_TEST

/* --- calls --- */

static bool echo(struct fake *from, const struct ring_request *request, struct ring_reply *reply)
{
	(void)from;
	reply->n_scalars = request->n_scalars_out;
	memcpy(reply->scalars, request->scalars, sizeof(reply->scalars));
	reply->structure_size = request->structure_out_max;
	memcpy(reply->structure, request->structure, request->structure_size);
	return true;
}

START_TEST(arguments_over_a_limit_are_named)
{
	uint64_t scalars[17] = { 0 };
	char structure[1] = { 0 };
	uint32_t n = 17;
	size_t size = RING_STRUCTURE_MAX + 1;
	open_all(); // nobody answers: nothing of this reaches the driver
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, scalars, 17, NULL, NULL),
			 kIOReturnBadArgument);
	assert_reason("17 input scalars");
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, scalars, &n),
			 kIOReturnBadArgument);
	assert_reason("17 output scalars");
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 1, NULL, NULL),
			 kIOReturnBadArgument);
	assert_reason("NULL");
	ck_assert_int_eq(IOConnectCallStructMethod(connection, 0, structure, RING_STRUCTURE_MAX + 1,
						   NULL, NULL),
			 kIOReturnMessageTooLarge);
	assert_reason("268435457 bytes");
	ck_assert_int_eq(IOConnectCallStructMethod(connection, 0, structure, (size_t)UINT32_MAX + 1,
						   NULL, NULL),
			 kIOReturnMessageTooLarge);
	assert_reason("4294967296 bytes");
	ck_assert_int_eq(IOConnectCallStructMethod(connection, 0, NULL, 0, structure, &size),
			 kIOReturnMessageTooLarge);
	ck_assert_int_eq(IOConnectCallScalarMethod(service, 0, NULL, 0, NULL, NULL),
			 kIOReturnBadArgument);
	assert_reason("no connection");
	close_all();
}
END_TEST

static void *call_often(void *context)
{
	(void)context;
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t in[2] = { i, ~i }, out[2] = { 0 };
		uint32_t n = 2;
		char text[300] = "structure", back[300];
		size_t size = sizeof(back);
		ck_assert_int_eq(IOConnectCallMethod(connection, 1, in, 2, text, sizeof(text), out,
						     &n, back, &size),
				 kIOReturnSuccess);
		ck_assert_uint_eq(n, 2);
		ck_assert_uint_eq(out[1], ~i);
		ck_assert_uint_eq(size, sizeof(back));
		ck_assert_str_eq(back, text);
	}
	return NULL;
}

START_TEST(latency_is_a_property_of_the_connection)
{
	struct ring_view view;
	open_all();
	ck_assert_int_eq(ring_view_init(&view, fake.memory_fd), 0);
	ck_assert_uint_eq(view.header->waiting, WAITING_BALANCED);
	ck_assert_int_eq(dext_connect_set_latency(connection, DEXT_LATENCY_BUSY_POLL),
			 kIOReturnSuccess);
	ck_assert_str_eq(dext_last_reason(), "");
	ck_assert_uint_eq(view.header->waiting, WAITING_BUSY_POLL);
	ck_assert_uint_eq(atomic_load(&fake.awake), 1);
	ck_assert_int_eq(dext_connect_set_latency(connection, DEXT_LATENCY_POWER_SAVER),
			 kIOReturnSuccess);
	ck_assert_uint_eq(view.header->waiting, WAITING_POWER_SAVER);
	ck_assert_uint_eq(atomic_load(&fake.awake), 0);

	fake.no_awake = true;
	ck_assert_int_eq(dext_connect_set_latency(connection, DEXT_LATENCY_BUSY_POLL),
			 kIOReturnSuccess);
	assert_reason("let them sleep");
	ck_assert_uint_eq(view.header->waiting, WAITING_BUSY_POLL);
	ck_assert_int_eq(dext_connect_set_latency(connection, (enum dext_latency)3),
			 kIOReturnBadArgument);
	assert_reason("number 3");
	ck_assert_int_eq(dext_connect_set_latency(service, DEXT_LATENCY_BALANCED),
			 kIOReturnBadArgument);
	ck_assert_uint_eq(view.header->waiting, WAITING_BUSY_POLL);
	ring_view_deinit(&view);
	close_all();
}
END_TEST

START_TEST(threads_call_at_once)
{
	pthread_t threads[8];
	struct fake_driver driver;
	open_all();
	fake_driver_start(&driver, &fake, echo);
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, call_often, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

static bool too_much(struct fake *from, const struct ring_request *request,
		     struct ring_reply *reply)
{
	(void)from;
	(void)request;
	reply->n_scalars = RING_SCALARS;
	return true;
}

START_TEST(a_reply_larger_than_asked_for_ends_the_connection)
{
	struct fake_driver driver;
	uint64_t out = 0;
	uint32_t n = 1;
	open_all();
	fake_driver_start(&driver, &fake, too_much);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, &out, &n),
			 kIOReturnIPCError);
	ck_assert_str_ne(dext_last_reason(), "");
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, &out, &n),
			 kIOReturnOffline);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

static void *close_soon(void *context)
{
	struct pollfd bell = { .fd = fake.doorbell_fd, .events = POLLIN };
	(void)context;
	poll(&bell, 1, -1); // the call is under way
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	return NULL;
}

START_TEST(closing_ends_the_calls_of_other_threads)
{
	pthread_t thread;
	open_all();
	ck_assert(ring_server_sleep(fake.ring));
	pthread_create(&thread, NULL, close_soon, NULL);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, NULL, NULL),
			 kIOReturnAborted);
	assert_reason("closed");
	pthread_join(thread, NULL);
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnBadArgument);
	ck_assert_uint_eq(atomic_load(&fake.n_closed), 1);
	connection = IO_OBJECT_NULL;
	close_all();
}
END_TEST

static void *call_once(void *context)
{
	(void)context;
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, NULL, NULL),
			 kIOReturnSuccess);
	return NULL;
}

static void *give_back(void *context)
{
	(void)context;
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	return NULL;
}

static void run_thread(void *(*run)(void *context))
{
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, run, NULL), 0);
	pthread_join(thread, NULL);
}

/* Each thread remembers the connection that it called on last. */
START_TEST(what_a_thread_remembers_ends_with_the_number)
{
	struct fake_driver driver;
	open_all();
	fake_driver_start(&driver, &fake, echo);
	run_thread(call_once); // whose end lets go: close_all looks for what was left open
	call_once(NULL);
	run_thread(give_back);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, NULL, NULL),
			 kIOReturnBadArgument);
	assert_reason("was released");
	connection = IO_OBJECT_NULL;
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

static void *die_soon(void *context)
{
	struct pollfd bell = { .fd = fake.doorbell_fd, .events = POLLIN };
	(void)context;
	poll(&bell, 1, -1);
	close_fdp(&fake.socket_fd); // the driver is gone, and so is dextd: nobody aborts the ring
	fake_hang_up(&fake);
	return NULL;
}

START_TEST(a_caller_finds_its_driver_gone_by_itself)
{
	pthread_t thread;
	open_all();
	ck_assert(ring_server_sleep(fake.ring));
	pthread_create(&thread, NULL, die_soon, NULL);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, NULL, NULL),
			 kIOReturnAborted);
	assert_reason("ended");
	pthread_join(thread, NULL);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, NULL, 0, NULL, NULL),
			 kIOReturnOffline);
	close_all();
}
END_TEST

/* --- asynchronous calls --- */

struct heard {
	unsigned n;
	IOReturn result;
	uint32_t n_args;
	uintptr_t args[RING_SCALARS];
};

static void hear(struct heard *heard, IOReturn result, uint32_t n_args, void *const *args)
{
	heard->n++;
	heard->result = result;
	heard->n_args = n_args;
	for (uint32_t i = 0; i < n_args; i++)
		heard->args[i] = (uintptr_t)args[i];
}

static void hear0(void *refcon, IOReturn result)
{
	hear(refcon, result, 0, NULL);
}

static void hear1(void *refcon, IOReturn result, void *arg0)
{
	hear(refcon, result, 1, &arg0);
}

static void hear2(void *refcon, IOReturn result, void *arg0, void *arg1)
{
	void *args[2] = { arg0, arg1 };
	hear(refcon, result, 2, args);
}

static void hear_many(void *refcon, IOReturn result, void **args, uint32_t n_args)
{
	hear(refcon, result, n_args, args);
}

static kern_return_t call_async(void (*callback)(void), struct heard *heard)
{
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	reference[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)callback;
	reference[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)heard;
	return IOConnectCallAsyncScalarMethod(connection, 0, IONotificationPortGetMachPort(port),
					      reference, kIOAsyncCalloutCount, NULL, 0, NULL, NULL);
}

/* The number that the last accepted call has on the ring. */
static _Atomic uint64_t last_async;

static bool accept_async(struct fake *from, const struct ring_request *request,
			 struct ring_reply *reply)
{
	(void)from;
	(void)reply;
	atomic_store(&last_async, request->async);
	return true;
}

START_TEST(a_completion_finds_its_callback)
{
	static void (*const callbacks[])(void) = {
		(void (*)(void))hear0,     (void (*)(void))hear1,     (void (*)(void))hear2,
		(void (*)(void))hear_many, (void (*)(void))hear_many,
	};
	static const uint32_t counts[] = { 0, 1, 2, 3, 16 };
	struct fake_driver driver;
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	for (int i = 0; i < 5; i++) {
		struct heard heard = { 0 };
		ck_assert_int_eq(call_async(callbacks[i], &heard), kIOReturnSuccess);
		ck_assert(!port_is_readable());
		fake_complete(&fake, atomic_load(&last_async), kIOReturnBusy, counts[i]);
		dispatch_until(&heard.n, 1);
		ck_assert_int_eq(heard.result, kIOReturnBusy);
		ck_assert_uint_eq(heard.n_args, counts[i]);
		for (uint32_t k = 0; k < counts[i]; k++)
			ck_assert_uint_eq(heard.args[k], 100 + k);
		ck_assert(!port_is_readable());
	}
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(a_call_may_complete_more_than_once)
{
	struct fake_driver driver;
	struct heard often = { 0 }, once = { 0 };
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &often), kIOReturnSuccess);
	uint64_t number = atomic_load(&last_async);
	fake_complete(&fake, number, kIOReturnSuccess, 0);
	fake_complete(&fake, number, kIOReturnSuccess, 0);
	dispatch_until(&often.n, 2);
	for (unsigned i = 0; i < 1500; i++) { // more than are remembered
		ck_assert_int_eq(call_async((void (*)(void))hear0, &once), kIOReturnSuccess);
		fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0);
		dispatch_until(&once.n, i + 1);
	}
	fake_complete(&fake, number, kIOReturnSuccess, 0);
	dispatch_until(&often.n, 3);
	fake_driver_stop(&driver);
	close_all();
	ck_assert_uint_eq(often.n, 3); // it was completed: the end tells nothing more
}
END_TEST

static bool refuse_async(struct fake *from, const struct ring_request *request,
			 struct ring_reply *reply)
{
	fake_complete(from, request->async, kIOReturnSuccess, 0); // and yet it completes
	reply->status = kIOReturnBusy;
	return true;
}

/* The library makes the call asynchronous all the same; what completes it calls nobody. */
START_TEST(a_call_without_a_callback_is_complete_by_itself)
{
	struct fake_driver driver;
	struct heard heard = { 0 };
	uint64_t reference[9] = { 0 };
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	for (uint32_t n = 0; n < kIOAsyncCalloutCount; n++) {
		atomic_store(&last_async, 0);
		ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
					 connection, 0, IONotificationPortGetMachPort(port),
					 n > 0 ? reference : NULL, n, NULL, 0, NULL, NULL),
				 kIOReturnSuccess);
		ck_assert_uint_ne(atomic_load(&last_async), 0);
		fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0);
	}
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnSuccess);
	fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0);
	dispatch_until(&heard.n, 1);

	static const struct {
		uint32_t n;
		const char *reason;
	} bad[] = { { 0, "a reference of no words" },
		    { 9, "a reference of 9 words: at most 8" },
		    { 3, "no callback" } };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
					 connection, 0, IONotificationPortGetMachPort(port),
					 reference, bad[i].n, NULL, 0, NULL, NULL),
				 kIOReturnBadArgument);
		assert_reason(bad[i].reason);
	}
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(a_refused_call_never_calls_back)
{
	struct fake_driver driver;
	struct heard heard = { 0 };
	uint64_t reference[kIOAsyncCalloutCount] = { 0 };
	open_all();
	fake_driver_start(&driver, &fake, refuse_async);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnBusy);
	fake_complete(&fake, 12345, kIOReturnSuccess, 0); // of no call at all
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(heard.n, 0);
	ck_assert_int_eq(
		IOConnectCallAsyncScalarMethod(connection, 0, 0, reference, 3, NULL, 0, NULL, NULL),
		kIOReturnBadArgument);
	assert_reason("callback");
	reference[kIOAsyncCalloutFuncIndex] = 1;
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(connection, 0, service, reference, 3, NULL,
							0, NULL, NULL),
			 kIOReturnBadArgument);
	assert_reason("no notification port");
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(a_call_that_ends_with_its_connection_never_calls_back)
{
	pthread_t thread;
	struct heard heard = { 0 };
	open_all();
	ck_assert(ring_server_sleep(fake.ring));
	pthread_create(&thread, NULL, close_soon, NULL);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnAborted);
	pthread_join(thread, NULL);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(heard.n, 0);
	connection = IO_OBJECT_NULL;
	close_all();
}
END_TEST

static bool call_back_and_refuse(struct fake *from, const struct ring_request *request,
				 struct ring_reply *reply)
{
	refuse_async(from, request, reply);
	dext_notification_port_dispatch(port); // as another thread of the application would
	return true;
}

START_TEST(a_call_that_called_back_passes_for_accepted)
{
	struct fake_driver driver;
	struct heard heard = { 0 };
	open_all();
	fake_driver_start(&driver, &fake, call_back_and_refuse);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n, 1);
	fake_driver_stop(&driver);
	close_all();
	ck_assert_uint_eq(heard.n, 1);
}
END_TEST

/* How the driver ends, and whether what it had completed still arrives. */
static void end_with(void (*end)(void))
{
	struct fake_driver driver;
	struct heard done = { 0 }, owed[3] = { { 0 } };
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &done), kIOReturnSuccess);
	uint64_t number = atomic_load(&last_async);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(call_async((void (*)(void))hear0, &owed[i]), kIOReturnSuccess);
	fake_complete(&fake, number, kIOReturnSuccess, 0);
	fake_driver_stop(&driver);
	end();
	for (int i = 0; i < 3; i++)
		dispatch_until(&owed[i].n, 1);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(owed[i].n, 1);
		ck_assert_int_eq(owed[i].result, kIOReturnAborted);
	}
	ck_assert_uint_eq(done.n, 1);
	if (connection != IO_OBJECT_NULL) {
		ck_assert_int_eq(done.result, kIOReturnSuccess);
		ck_assert_int_eq(call_async((void (*)(void))hear0, &done), kIOReturnOffline);
	}
	close_all();
	ck_assert_uint_eq(done.n, 1);
}

static void die(void)
{
	close_fdp(&fake.socket_fd);
	fake_tell_end(&fake, "it died, and is given up");
}

static void send_garbage(void)
{
	fake_send(&fake, "garbage", 7, -1);
}

static void send_unknown(void)
{
	struct ring_socket_message message = { .kind = 99 };
	fake_send(&fake, &message, sizeof(message), fake.doorbell_fd);
}

static void close_it(void)
{
	IOServiceClose(connection);
	connection = IO_OBJECT_NULL;
}

START_TEST(what_a_driver_owes_completes_when_it_dies)
{
	end_with(die);
}
END_TEST

START_TEST(what_a_driver_owes_completes_when_it_sends_garbage)
{
	end_with(send_garbage);
	end_with(send_unknown);
}
END_TEST

START_TEST(what_a_driver_owes_completes_when_it_is_closed)
{
	end_with(close_it);
}
END_TEST

/* --- a driver that is replaced --- */

struct restarts {
	unsigned n;
	uint32_t generation;
	unsigned n_heard; // completions that came before
	const struct heard *heard;
};

static void on_restart(void *refcon, io_connect_t connect, uint32_t generation)
{
	struct restarts *restarts = refcon;
	ck_assert_uint_eq(connect, connection);
	restarts->n++;
	restarts->generation = generation;
	restarts->n_heard = restarts->heard->n;
}

static void hear_why(void *refcon, IOReturn result)
{
	hear0(refcon, result);
	assert_reason("died before it completed");
}

START_TEST(a_restart_settles_what_the_dead_driver_owed)
{
	struct fake_driver driver;
	struct heard owed = { 0 }, done = { 0 }, later = { 0 };
	struct restarts restarts = { .heard = &owed };
	open_all();
	ck_assert_int_eq(dext_connect_set_restart_handler(connection, port, on_restart, &restarts),
			 kIOReturnSuccess);
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear_why, &owed), kIOReturnSuccess);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &done), kIOReturnSuccess);
	fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0);
	fake_driver_stop(&driver);
	fake_die(&fake);
	dispatch_until(&done.n, 1);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(owed.n + restarts.n, 0); // the next driver may come

	/* Accepted by the new driver before anybody here has heard of it. */
	fake_succeed(&fake);
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &later), kIOReturnSuccess);
	uint64_t number = atomic_load(&last_async);
	fake_tell_restart(&fake);
	dispatch_until(&restarts.n, 1);
	ck_assert_uint_eq(restarts.generation, 2);
	ck_assert_uint_eq(restarts.n_heard, 1);
	ck_assert_uint_eq(owed.n, 1);
	ck_assert_int_eq(owed.result, kIOReturnAborted);
	ck_assert_uint_eq(later.n, 0);
	fake_complete(&fake, number, kIOReturnSuccess, 0); // wakes over the new socket
	dispatch_until(&later.n, 1);
	ck_assert_int_eq(later.result, kIOReturnSuccess);
	ck_assert_uint_eq(restarts.n, 1);
	ck_assert_uint_eq(owed.n, 1);

	/* A handler that was taken away is not called. */
	ck_assert_int_eq(dext_connect_set_restart_handler(connection, NULL, NULL, NULL),
			 kIOReturnSuccess);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &owed), kIOReturnSuccess);
	fake_driver_stop(&driver);
	fake_die(&fake);
	fake_succeed(&fake);
	fake_tell_restart(&fake);
	dispatch_until(&owed.n, 2);
	ck_assert_uint_eq(restarts.n, 1);
	ck_assert_int_eq(dext_connect_set_restart_handler(connection, NULL, on_restart, NULL),
			 kIOReturnBadArgument);
	close_all();
}
END_TEST

static void hear_and_destroy(void *refcon, IOReturn result)
{
	hear0(refcon, result);
	IONotificationPortDestroy(port);
}

START_TEST(a_callback_may_destroy_its_port)
{
	struct fake_driver driver;
	struct heard heard[3] = { { 0 } };
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(call_async((void (*)(void))hear_and_destroy, &heard[i]),
				 kIOReturnSuccess);
		fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0);
	}
	dispatch_until(&heard[0].n, 1);
	ck_assert_uint_eq(heard[1].n + heard[2].n, 0);
	port = NULL;
	fake_complete(&fake, atomic_load(&last_async), kIOReturnSuccess, 0); // to nobody
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

/* --- callbacks straight from the ring --- */

static void complete_numbered(uint64_t async, uint64_t first, unsigned n)
{
	struct ring_socket_message wake = { .kind = RING_SOCKET_WAKE };
	struct ring_event event = { .async = async, .n_scalars = 1 };
	for (unsigned i = 0; i < n; i++) {
		event.scalars[0] = first + i;
		int ret = ring_server_event(fake.ring, &event);
		ck_assert_int_ge(ret, 0);
		if (ret == 1)
			fake_send(&fake, &wake, sizeof(wake), -1);
	}
}

struct row {
	struct heard heard;
	bool out_of_order;
	void (*at_first)(struct row *row); // run by the callback of the first
	uint64_t number;                   // the call's on the ring
};

static void hear_row(void *refcon, IOReturn result, void *number)
{
	struct row *row = refcon;
	if (result != kIOReturnSuccess || (uintptr_t)number != row->heard.n)
		row->out_of_order = true;
	if (row->heard.n++ == 0 && row->at_first != NULL)
		row->at_first(row);
}

/* As a thread does that waits for a call, or maps memory: what there is becomes deliveries. */
static void drain(struct row *row)
{
	struct connection *c = connection_get(connection);
	connection_drain(c);
	connection_unref(c);
	complete_numbered(row->number, 100, 50); // these are not to overtake the others
}

static void complete_row(struct row *row)
{
	struct fake_driver driver;
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear_row, &row->heard), kIOReturnSuccess);
	fake_driver_stop(&driver);
	row->number = atomic_load(&last_async);
	complete_numbered(row->number, 0, 100);
}

START_TEST(deliveries_are_not_overtaken)
{
	struct row row = { .at_first = drain };
	complete_row(&row);
	dispatch_until(&row.heard.n, 150);
	ck_assert(!row.out_of_order);
	close_all();
}
END_TEST

static void call_it(struct row *row)
{
	struct fake_driver driver;
	uint64_t in = 7, out = 0;
	uint32_t n = 1;
	(void)row;
	fake_driver_start(&driver, &fake, echo);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, 0, &in, 1, &out, &n),
			 kIOReturnSuccess);
	ck_assert_uint_eq(out, 7);
	fake_driver_stop(&driver);
}

START_TEST(a_callback_may_call)
{
	struct row row = { .at_first = call_it };
	complete_row(&row);
	dispatch_until(&row.heard.n, 100);
	ck_assert(!row.out_of_order);
	close_all();
}
END_TEST

static void dispatch_again(struct row *row)
{
	(void)row;
	while (port_is_readable())
		ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
}

/* Those that the outer dispatch has in its hands come after. */
START_TEST(a_callback_may_dispatch)
{
	struct row row = { .at_first = dispatch_again };
	complete_row(&row);
	dispatch_until(&row.heard.n, 100);
	close_all();
}
END_TEST

static void close_connection(struct row *row)
{
	(void)row;
	close_it();
}

START_TEST(a_callback_may_close_its_connection)
{
	struct row row = { .at_first = close_connection };
	complete_row(&row);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_ge(row.heard.n, 1);
	ck_assert_uint_le(row.heard.n, 100);
	ck_assert(!row.out_of_order);
	close_all();
}
END_TEST

/* In a stream the port stays readable, and nobody is woken; after it, everybody is again. */
START_TEST(a_stream_needs_no_wakes)
{
	struct row row = { 0 };
	struct ring_event event = { .async = 1 };
	complete_row(&row);
	for (uint64_t first = 100; first < 1000; first += 100) {
		ck_assert(port_is_readable());
		ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
		ck_assert_uint_eq(row.heard.n, first);
		event = (struct ring_event){ .async = row.number, .n_scalars = 1 };
		event.scalars[0] = first;
		ck_assert_int_eq(ring_server_event(fake.ring, &event), 0);
		complete_numbered(row.number, first + 1, 99);
	}
	dispatch_until(&row.heard.n, 1000);
	while (port_is_readable())
		ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
	event.scalars[0] = 1000;
	ck_assert_int_eq(ring_server_event(fake.ring, &event), 1);
	ck_assert(!row.out_of_order);
	close_all();
}
END_TEST

enum { TOGETHER = 20000 };

struct together {
	_Atomic unsigned n;
	_Atomic uint8_t seen[TOGETHER];
};

static void hear_together(void *refcon, IOReturn result, void *number)
{
	struct together *t = refcon;
	ck_assert_int_eq(result, kIOReturnSuccess);
	ck_assert_uint_lt((uintptr_t)number, TOGETHER);
	atomic_fetch_add(&t->seen[(uintptr_t)number], 1);
	atomic_fetch_add(&t->n, 1);
}

static void *dispatch_together(void *context)
{
	struct together *t = context;
	struct pollfd fd = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	while (atomic_load(&t->n) < TOGETHER)
		if (poll(&fd, 1, 10) == 1) // another may have taken the last
			dext_notification_port_dispatch(port);
	return NULL;
}

START_TEST(threads_dispatch_at_once)
{
	static struct together t;
	struct fake_driver driver;
	pthread_t threads[2];
	uint64_t first = 0;
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear_together, (struct heard *)(void *)&t),
			 kIOReturnSuccess);
	fake_driver_stop(&driver);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, dispatch_together, &t);
	while (first < TOGETHER)
		if (ring_server_event_fits(fake.ring, 0))
			complete_numbered(atomic_load(&last_async), first++, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < TOGETHER; i++)
		ck_assert_uint_eq(t.seen[i], 1);
	close_all();
}
END_TEST

START_TEST(two_ports_share_a_connection)
{
	struct fake_driver driver;
	struct heard first = { 0 }, second = { 0 };
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	IONotificationPortRef other = port;
	ck_assert_int_eq(call_async((void (*)(void))hear0, &first), kIOReturnSuccess);
	uint64_t number = atomic_load(&last_async);
	port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &second), kIOReturnSuccess);

	/* The one that is dispatched takes the wake; it is the other's all the same. */
	fake_complete(&fake, number, kIOReturnSuccess, 0);
	dext_notification_port_dispatch(port);
	ck_assert_uint_eq(first.n, 0);
	ck_assert(!port_is_readable());
	IONotificationPortDestroy(port);
	port = other;
	dispatch_until(&first.n, 1);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

/* --- memory --- */

/* What the driver gives for a map call. Atomic for the race detector alone, which does not see that
 * a call on the ring orders both sides. */
static struct {
	_Atomic int fd;
	_Atomic uint64_t offset, length;
	_Atomic uint64_t wrong; // added to the sequence
	_Atomic unsigned n_maps, n_unmaps;
} gift;

static bool give_memory(struct fake *from, const struct ring_request *request,
			struct ring_reply *reply)
{
	if (request->kind == RING_UNMAP) {
		gift.n_unmaps++;
		return true;
	}
	gift.n_maps++;
	if (gift.fd >= 0)
		fake_send_descriptor(from, request->sequence + gift.wrong, gift.fd);
	reply->n_scalars = 3;
	reply->scalars[0] = gift.offset;
	reply->scalars[1] = gift.length;
	reply->scalars[2] = request->scalars[1];
	return true;
}

static int memory_of(size_t size)
{
	int fd = memfd_create("gift", MFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	gift.fd = fd;
	gift.length = size;
	return fd;
}

static kern_return_t map_type(uint32_t type, IOOptionBits options, uint8_t **address, size_t *size)
{
	mach_vm_address_t at = 0;
	mach_vm_size_t length = 0;
	kern_return_t status =
		IOConnectMapMemory64(connection, type, mach_task_self(), &at, &length, options);
	*address = (uint8_t *)(uintptr_t)at;
	*size = (size_t)length;
	return status;
}

static kern_return_t unmap_type(uint32_t type, const uint8_t *address)
{
	return IOConnectUnmapMemory64(connection, type, mach_task_self(),
				      (mach_vm_address_t)(uintptr_t)address);
}

static bool accept_or_complete_and_give(struct fake *from, const struct ring_request *request,
					struct ring_reply *reply)
{
	if (request->kind == RING_CALL)
		return accept_async(from, request, reply);
	fake_complete(from, atomic_load(&last_async), kIOReturnSuccess, 0);
	return give_memory(from, request, reply);
}

/* The wake for an event goes by on the socket while a descriptor is looked for there. */
START_TEST(a_wake_is_not_lost_on_the_way_to_a_descriptor)
{
	struct fake_driver driver;
	struct heard heard = { 0 };
	uint8_t *address;
	size_t size;
	open_all();
	fake_driver_start(&driver, &fake, accept_or_complete_and_give);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnSuccess);
	int fd = memory_of(4096);
	ck_assert_int_eq(map_type(7, kIOMapAnywhere, &address, &size), kIOReturnSuccess);
	ck_assert(port_is_readable());
	dispatch_until(&heard.n, 1);
	fake_driver_stop(&driver);
	close(fd);
	close_all();
}
END_TEST

START_TEST(a_type_is_one_mapping)
{
	struct fake_driver driver;
	uint8_t *address, *again, byte = 0;
	size_t size;
	open_all();
	fake_driver_start(&driver, &fake, give_memory);
	int fd = memory_of(3 * 4096);
	gift.offset = 4196;
	gift.length = 5000;
	ck_assert_int_eq(map_type(7, kIOMapAnywhere, &address, &size), kIOReturnSuccess);
	ck_assert_uint_eq(size, 5000);
	address[1] = 42;
	ck_assert_int_eq(pread(fd, &byte, 1, 4197), 1);
	ck_assert_uint_eq(byte, 42);
	ck_assert(!dext_mapping_is_lost(address));
	ck_assert_int_eq(map_type(7, kIOMapAnywhere, &again, &size), kIOReturnSuccess);
	ck_assert_ptr_eq(again, address);
	ck_assert_uint_eq(gift.n_maps, 1);
	ck_assert_int_eq(map_type(7, kIOMapReadOnly, &again, &size), kIOReturnBadArgument);
	assert_reason("mapped already");
	ck_assert_int_eq(map_type(8, 0x8000, &again, &size), kIOReturnBadArgument);

	ck_assert_int_eq(unmap_type(7, address + 1), kIOReturnBadArgument);
	ck_assert_int_eq(unmap_type(7, address), kIOReturnSuccess);
	ck_assert_uint_eq(gift.n_unmaps, 0);
	ck_assert_int_eq(unmap_type(7, address), kIOReturnSuccess);
	ck_assert_uint_eq(gift.n_unmaps, 1);
	ck_assert_int_eq(unmap_type(7, address), kIOReturnBadArgument);
	fake_driver_stop(&driver);
	close(fd);
	close_all();
}
END_TEST

START_TEST(memory_that_is_not_there_is_not_mapped)
{
	struct fake_driver driver;
	uint8_t *address;
	size_t size;
	open_all();
	fake_driver_start(&driver, &fake, give_memory);
	int fd = memory_of(4096);
	gift.length = 4097;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnVMError);
	assert_reason("4097 bytes at 0 of memory that has 4096");
	ck_assert_uint_eq(gift.n_unmaps, 1); // the driver was told
	gift.offset = UINT64_MAX - 10;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnIPCError);
	gift.offset = 0;
	gift.length = 0;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnIPCError);
	gift.length = UINT64_MAX;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnIPCError);
	gift.length = 4096;
	gift.wrong = 1000; // the descriptor is of another call
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnIPCError);
	assert_reason("no memory");
	gift.fd = -1;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnIPCError);
	gift.wrong = 0;
	gift.fd = fake.doorbell_fd; // cannot be mapped
	ck_assert_int_ne(map_type(0, 0, &address, &size), kIOReturnSuccess);
	gift.fd = fd;
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnSuccess);
	fake_driver_stop(&driver);
	close(fd);
	close_all();
}
END_TEST

START_TEST(memory_that_vanishes_reads_as_zeroes)
{
	struct fake_driver driver;
	uint8_t *address;
	size_t size;
	open_all();
	fake_driver_start(&driver, &fake, give_memory);
	int fd = memory_of(4 * 4096);
	ck_assert_int_eq(map_type(0, 0, &address, &size), kIOReturnSuccess);
	memset(address, 0x77, size);
	ck_assert(!dext_mapping_is_lost(address));
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_uint_eq(*(volatile uint8_t *)(address + 5000), 0);
	ck_assert(dext_mapping_is_lost(address + 5000));
	ck_assert(dext_mapping_is_lost(address));
	ck_assert(!dext_mapping_is_lost(address + size));
	ck_assert_int_eq(unmap_type(0, address), kIOReturnSuccess);
	fake_driver_stop(&driver);
	close(fd);
	close_all();
}
END_TEST

/* --- notifications of services --- */

struct seen {
	unsigned n;
	uint64_t ids[8];
	uint32_t message;
};

static uint64_t take_id(io_object_t object)
{
	uint64_t id = 0;
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(object, &id), kIOReturnSuccess);
	IOObjectRelease(object);
	return id;
}

static void on_match(void *refcon, io_iterator_t iterator)
{
	struct seen *seen = refcon;
	io_service_t found;
	while ((found = IOIteratorNext(iterator)) != IO_OBJECT_NULL)
		seen->ids[seen->n++ % 8] = take_id(found);
}

static void tell(uint64_t cookie, uint64_t entry)
{
	atomic_store(&fake.tell_entry, entry);
	atomic_store(&fake.tell_cookie, cookie);
	look_up(); // takes it
}

START_TEST(a_notification_is_armed_by_reading_to_the_end)
{
	struct seen seen = { 0 };
	io_iterator_t iterator;
	open_all();
	ck_assert_int_eq(IOServiceAddMatchingNotification(port, "IOServiceNonsense",
							  IOServiceMatching("Anything"), on_match,
							  &seen, &iterator),
			 kIOReturnUnsupported);
	ck_assert_int_eq(IOServiceAddMatchingNotification(port, kIOMatchedNotification,
							  IOServiceMatching("Anything"), on_match,
							  &seen, &iterator),
			 kIOReturnSuccess);
	tell(1, 6); // not armed: no callback
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(seen.n, 0);
	on_match(&seen, iterator);
	ck_assert_uint_eq(seen.n, 2);
	ck_assert_uint_eq(seen.ids[0], 5);
	ck_assert_uint_eq(seen.ids[1], 6);
	tell(1, 7);
	dispatch_until(&seen.n, 3);
	ck_assert_uint_eq(seen.ids[2], 7);
	tell(99, 8); // nobody asked
	tell(1, 9);
	dispatch_until(&seen.n, 4);

	tell(1, 10);
	ck_assert(port_is_readable()); // the callback is due, but not any more
	IOObjectRelease(iterator);
	ck_assert_uint_eq(atomic_load(&fake.n_unwatched), 1);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(seen.n, 4);
	close_all();
}
END_TEST

START_TEST(a_port_says_when_dextd_is_gone)
{
	struct seen seen = { 0 };
	io_iterator_t iterator;
	open_all();
	ck_assert_int_eq(IOServiceAddMatchingNotification(port, kIOTerminatedNotification,
							  IOServiceMatching("Anything"), on_match,
							  &seen, &iterator),
			 kIOReturnSuccess);
	on_match(&seen, iterator);
	ck_assert_uint_eq(seen.n, 0);
	ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
	fake_deinit(&fake);
	ck_assert(port_is_readable());
	ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnOffline);
	assert_reason("dextd hung up");
	ck_assert(!port_is_readable());
	IOObjectRelease(iterator);
	IOObjectRelease(service);
	IOServiceClose(connection);
	IONotificationPortDestroy(port);
}
END_TEST

static void on_interest(void *refcon, io_service_t which, uint32_t message, void *argument)
{
	struct seen *seen = refcon;
	uint64_t id = 0;
	ck_assert_ptr_null(argument);
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(which, &id), kIOReturnSuccess);
	seen->ids[seen->n++ % 8] = id;
	seen->message = message;
}

static void tell_interest(uint32_t what, uint32_t busy)
{
	atomic_store(&fake.tell_busy, busy);
	atomic_store(&fake.tell_what, what);
	look_up(); // takes it
}

START_TEST(the_end_of_a_service_is_told_once)
{
	struct fake_driver driver;
	struct seen seen = { 0 };
	struct heard heard = { 0 };
	io_object_t interest;
	open_all();
	fake_driver_start(&driver, &fake, accept_async);
	ck_assert_int_eq(call_async((void (*)(void))hear0, &heard), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceAddInterestNotification(port, service, kIOGeneralInterest,
							  on_interest, &seen, &interest),
			 kIOReturnSuccess);
	ck_assert(!port_is_readable());
	fake_driver_stop(&driver);
	close_fdp(&fake.socket_fd); // the driver dies
	fake_tell_end(&fake, "it died");
	tell_interest(kDextEntryEnded, 0); // and dextd says so
	dispatch_until(&heard.n, 1);
	dispatch_until(&seen.n, 1);
	while (port_is_readable())
		dext_notification_port_dispatch(port);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.ids[0], 5);
	ck_assert_uint_eq(seen.message, kIOMessageServiceIsTerminated);
	IOObjectRelease(interest);

	/* One that has ended before. */
	seen.n = 0;
	fake.entry_unknown = true;
	ck_assert_int_eq(IOServiceAddInterestNotification(port, service, kIOGeneralInterest,
							  on_interest, &seen, &interest),
			 kIOReturnSuccess);
	dispatch_until(&seen.n, 1);
	IOObjectRelease(interest);
	close_all();
}
END_TEST

UNIT_TESTS("client", without_dextd_there_is_a_reason, a_dextd_that_hangs_up_is_asked_again,
	   a_silent_dextd_costs_the_time_limit, a_time_limit_has_limits, entries_must_be_numbers,
	   a_bad_gift_is_no_connection, a_released_number_is_refused,
	   arguments_over_a_limit_are_named, latency_is_a_property_of_the_connection,
	   threads_call_at_once, a_reply_larger_than_asked_for_ends_the_connection,
	   closing_ends_the_calls_of_other_threads, what_a_thread_remembers_ends_with_the_number,
	   a_caller_finds_its_driver_gone_by_itself, a_completion_finds_its_callback,
	   a_call_may_complete_more_than_once, a_call_without_a_callback_is_complete_by_itself,
	   a_refused_call_never_calls_back, a_call_that_ends_with_its_connection_never_calls_back,
	   a_call_that_called_back_passes_for_accepted, what_a_driver_owes_completes_when_it_dies,
	   a_restart_settles_what_the_dead_driver_owed,
	   what_a_driver_owes_completes_when_it_sends_garbage,
	   what_a_driver_owes_completes_when_it_is_closed, a_callback_may_destroy_its_port,
	   deliveries_are_not_overtaken, a_callback_may_call, a_callback_may_dispatch,
	   a_callback_may_close_its_connection, a_stream_needs_no_wakes, threads_dispatch_at_once,
	   two_ports_share_a_connection, a_wake_is_not_lost_on_the_way_to_a_descriptor,
	   a_type_is_one_mapping, memory_that_is_not_there_is_not_mapped,
	   memory_that_vanishes_reads_as_zeroes, a_notification_is_armed_by_reading_to_the_end,
	   a_port_says_when_dextd_is_gone, the_end_of_a_service_is_told_once)
