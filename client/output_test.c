/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Results whose size the driver chooses, from drivers that lie about them.
 */

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/unit_test.h>
#include <client/connection.h>
#include <client/fake.h>
#include <opendext/client.h>

enum { SIZE = 10000, SOUND = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

static struct fake fake;
static io_connect_t connection;

static void open_all(void)
{
	OSArray *entries = OSArray_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(5, 64);
	OSArray_setObject(entries, OSNumber_as_OSObject(number));
	OSObjectRelease(number);
	fake_init(&fake);
	fake.entries = OSArray_as_OSObject(entries);
	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything"));
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), 0, &connection),
			 kIOReturnSuccess);
	IOObjectRelease(service);
}

static void close_all(void)
{
	io_iterator_t existing;
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	fake_deinit(&fake);
	/* The library closes its channel when it notices. */
	IOServiceGetMatchingServices(kIOMainPortDefault, IOServiceMatching("Anything"), &existing);
}

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "the reason is \"%s\"",
		      dext_last_reason());
}

static kern_return_t ask(uint8_t **bytes, size_t *size)
{
	*bytes = NULL;
	*size = kIOConnectMethodVarOutputSize;
	return IOConnectCallStructMethod(connection, 1, NULL, 0, bytes, size);
}

/* --- what the driver sends --- */

/* Atomic for the race detector alone, which does not see that a call on the ring orders both sides.
 */
static struct {
	_Atomic int fd;        // -1: nothing
	_Atomic uint32_t size; // that it announces
	_Atomic bool silent;   // it does not answer
	_Atomic uint64_t sequence;
} gift;

static bool give(struct fake *from, const struct ring_request *request, struct ring_reply *reply)
{
	ck_assert_uint_eq(request->structure_out_max, RING_VARIABLE);
	gift.sequence = request->sequence;
	if (gift.silent)
		return false;
	if (gift.fd >= 0)
		fake_send_descriptor(from, request->sequence, gift.fd);
	reply->structure_size = gift.size;
	memset(reply->structure, 'r', sizeof(reply->structure));
	return true;
}

/* Full of `byte`. */
static int file_of(size_t size, int byte, unsigned flags, int seals)
{
	uint8_t bytes[SIZE];
	ck_assert_uint_le(size, sizeof(bytes));
	memset(bytes, byte, sizeof(bytes));
	int fd = memfd_create("gift", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void check_refused(int fd, kern_return_t status, const char *reason)
{
	uint8_t *bytes;
	size_t size;
	gift.fd = fd;
	ck_assert_int_eq(ask(&bytes, &size), status);
	assert_reason(reason);
	ck_assert_ptr_null(bytes);
}

static void check_arrives(int fd, uint32_t announced, char byte)
{
	uint8_t *bytes;
	size_t size;
	gift.fd = fd;
	gift.size = announced;
	kern_return_t status = ask(&bytes, &size);
	ck_assert_msg(status == kIOReturnSuccess, "%s", dext_last_reason());
	ck_assert_uint_eq(size, announced);
	for (size_t i = 0; i < size; i++)
		ck_assert_int_eq(bytes[i], byte);
	memset(bytes, '!', size); // its own
	ck_assert_int_eq(vm_deallocate(mach_task_self(), (vm_address_t)bytes, size),
			 kIOReturnSuccess);
}

/* --- the tests --- */

START_TEST(memory_that_may_change_is_refused)
{
	struct fake_driver driver;
	open_all();
	fake_driver_start(&driver, &fake, give);
	CLEANUP(close_fdp) int sound = file_of(SIZE, 's', 0, SOUND);
	CLEANUP(close_fdp) int open = file_of(SIZE, 'o', 0, 0);
	CLEANUP(close_fdp) int shrinks = file_of(SIZE, 'o', 0, F_SEAL_WRITE);
	CLEANUP(close_fdp) int written = file_of(SIZE, 'o', 0, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE);
	CLEANUP(close_fdp) int shorter = file_of(SIZE - 1, 's', 0, SOUND);
	gift.size = SIZE;
	check_refused(-1, kIOReturnIPCError, "no memory");
	check_refused(open, kIOReturnIPCError, "can still change");
	check_refused(shrinks, kIOReturnIPCError, "can still change");
	check_refused(written, kIOReturnIPCError, "can still change");
	check_refused(fake.doorbell_fd, kIOReturnIPCError, "can still change");
	check_refused(fake.socket_fd, kIOReturnIPCError, "can still change");
	check_refused(shorter, kIOReturnVMError, "of 10000 bytes, in memory that has 9999");
	gift.size = RING_STRUCTURE_MAX;
	check_refused(sound, kIOReturnVMError, "in memory that has 10000");
	check_arrives(sound, SIZE, 's');
	check_arrives(sound, SIZE, 's'); // nobody has written to it
	check_arrives(sound, RING_BLOCK + 1, 's');
	check_arrives(-1, RING_BLOCK, 'r');
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

/* Pages of a pool that may be empty when they are touched. */
START_TEST(huge_pages_are_refused)
{
	struct fake_driver driver;
	CLEANUP(close_fdp)
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
	if (huge < 0 || ftruncate(huge, 1 << 30) < 0)
		return; // no such pages in this kernel
	ck_assert_int_eq(fcntl(huge, F_ADD_SEALS, SOUND), 0);
	open_all();
	fake_driver_start(&driver, &fake, give);
	gift.size = SIZE;
	check_refused(huge, kIOReturnIPCError, "can still change");
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(a_result_that_comes_too_late_is_closed)
{
	struct fake_driver driver;
	uint8_t *bytes;
	size_t size;
	open_all();
	struct connection *c = connection_get(connection);
	fake_driver_start(&driver, &fake, give);
	CLEANUP(close_fdp) int sound = file_of(SIZE, 's', 0, SOUND);
	gift.silent = true;
	ck_assert_int_eq(dext_call_timeout_set(50), kIOReturnSuccess);
	ck_assert_int_eq(ask(&bytes, &size), kIOReturnTimeout);
	ck_assert_int_eq(dext_call_timeout_set(30000), kIOReturnSuccess);
	fake_send_descriptor(&fake, gift.sequence, sound);
	gift.silent = false;
	check_arrives(sound, SIZE, 's'); // by then the late one was read
	ck_assert_uint_eq(c->arrivals.n, 0);

	for (uint64_t i = 0; i < 3 * ARRIVALS_MAX; i++) { // that nobody asked for
		fake_send_descriptor(&fake, 1000000 + i, sound);
		connection_drain(c);
	}
	ck_assert_uint_eq(c->arrivals.n, ARRIVALS_MAX);
	check_arrives(sound, SIZE, 's');
	connection_unref(c);
	fake_driver_stop(&driver);
	close_all();
}
END_TEST

START_TEST(only_a_call_that_waits_may_ask_for_any_size)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	uint64_t reference[kIOAsyncReferenceCountMax] = { 0 };
	void *bytes = NULL;
	size_t size = kIOConnectMethodVarOutputSize;
	uint32_t n = 17;
	uint64_t scalars[17];
	dext_call_t call;
	open_all(); // nobody answers: nothing of this reaches the driver
	ck_assert_int_eq(IOConnectCallAsyncStructMethod(connection, 1,
							IONotificationPortGetMachPort(port),
							reference, 1, NULL, 0, &bytes, &size),
			 kIOReturnUnsupported);
	assert_reason("kIOConnectMethodVarOutputSize");
	ck_assert_int_eq(dext_call_submit(connection, 1, NULL, 0, NULL, 0, 0, size, 0, &call),
			 kIOReturnUnsupported);
	ck_assert_int_eq(dext_call_submit(connection, 1, NULL, 0, NULL, 0, 0, 8, 0, &call),
			 kIOReturnSuccess);
	ck_assert_int_eq(dext_call_wait(call, NULL, NULL, &bytes, &size), kIOReturnBadArgument);
	assert_reason("room for 8 bytes");
	ck_assert_int_eq(IOConnectCallStructMethod(connection, 1, NULL, 0, NULL, &size),
			 kIOReturnBadArgument);
	assert_reason("an output is NULL");
	ck_assert_int_eq(
		IOConnectCallMethod(connection, 1, NULL, 0, NULL, 0, scalars, &n, &bytes, &size),
		kIOReturnBadArgument);
	assert_reason("17 output scalars");
	IONotificationPortDestroy(port);
	close_all();
}
END_TEST

/* --- a driver that dies, and the next --- */

struct asking {
	pthread_t thread;
	kern_return_t status;
	uint8_t *bytes;
	size_t size;
};

static void *ask_once(void *context)
{
	struct asking *asking = context;
	asking->status = ask(&asking->bytes, &asking->size);
	return NULL;
}

static void await_call(struct ring_request *request)
{
	while (ring_server_next(fake.ring, request) != 1)
		sched_yield(); // the call is not there yet
}

static uint32_t generation_of(struct connection *c)
{
	pthread_mutex_lock(&c->lock);
	uint32_t generation = c->generation;
	pthread_mutex_unlock(&c->lock);
	return generation;
}

/* The first dies between its result and its answer; both results have the number of the call. */
START_TEST(a_result_is_that_of_the_driver_that_answered)
{
	struct asking asking;
	struct ring_request request;
	struct ring_reply reply = { .structure_size = SIZE };
	open_all();
	CLEANUP(close_fdp) int first = file_of(SIZE, '1', 0, SOUND);
	CLEANUP(close_fdp) int second = file_of(SIZE, '2', 0, SOUND);
	ck_assert_int_eq(pthread_create(&asking.thread, NULL, ask_once, &asking), 0);
	await_call(&request);
	ring_server_note_replayable(fake.ring, &request);
	fake_send_descriptor(&fake, request.sequence, first);
	fake_die(&fake);
	fake_succeed(&fake);
	await_call(&request);
	fake_tell_restart(&fake);
	struct connection *c = connection_get(connection);
	while (generation_of(c) < 2) // until the first one's result was read, and its end
		connection_drain(c);
	connection_unref(c);
	fake_send_descriptor(&fake, request.sequence, second);
	ck_assert_int_eq(ring_server_reply(fake.ring, request.slot, &reply), 0);
	pthread_join(asking.thread, NULL);
	ck_assert_int_eq(asking.status, kIOReturnSuccess);
	ck_assert_uint_eq(asking.size, SIZE);
	ck_assert_int_eq(asking.bytes[0], '2');
	ck_assert_int_eq(vm_deallocate(mach_task_self(), (vm_address_t)asking.bytes, SIZE),
			 kIOReturnSuccess);
	close_all();
}
END_TEST

UNIT_TESTS("output", memory_that_may_change_is_refused, huge_pages_are_refused,
	   a_result_that_comes_too_late_is_closed, only_a_call_that_waits_may_ask_for_any_size,
	   a_result_is_that_of_the_driver_that_answered)
