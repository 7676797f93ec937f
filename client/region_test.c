/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Buffers of dext_buffer_create and a driver that follows another, which is told of them before its
 * first call, and may break the rules.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/unit_test.h>
#include <client/connection.h>
#include <client/fake.h>
#include <opendext/client.h>

static struct fake fake;
static struct fake_driver driver;
static io_connect_t connection;

/* What the driver was told. Atomic for the race detector alone. */
static struct {
	_Atomic uint64_t address, size;
	_Atomic unsigned n_registers, n_descriptors, n_calls;
	_Atomic uint32_t n_regions; // as the last call says
	_Atomic IOReturn status;    // of registers
} heard;

static bool take_descriptor(void)
{
	struct ring_socket_message message;
	CLEANUP(close_fdp) int fd = -1;
	return ring_socket_receive(fake.socket_fd, &message, &fd) == 1 &&
	       message.kind == RING_SOCKET_REGION && fd >= 0;
}

static bool serve(struct fake *from, const struct ring_request *request, struct ring_reply *reply)
{
	(void)from;
	if (request->kind == RING_REGISTER) {
		heard.address = request->scalars[0];
		heard.size = request->scalars[1];
		heard.n_registers++;
		heard.n_descriptors += take_descriptor();
		reply->status = heard.status;
		snprintf(reply->reason, sizeof(reply->reason), "there is no room");
	} else if (request->kind == RING_CALL) {
		heard.n_calls++;
		heard.n_regions = request->n_regions;
	}
	return true;
}

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
	fake_driver_start(&driver, &fake, serve);
}

static void close_all(void)
{
	io_iterator_t existing;
	if (!driver.stop)
		fake_driver_stop(&driver);
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	fake_deinit(&fake);
	/* The library closes its channel when it notices. */
	IOServiceGetMatchingServices(kIOMainPortDefault, IOServiceMatching("Anything"), &existing);
}

static void restart(void)
{
	fake_driver_stop(&driver);
	fake_die(&fake);
	fake_succeed(&fake);
	fake_driver_start(&driver, &fake, serve);
	fake_tell_restart(&fake);
}

static kern_return_t call(void)
{
	return IOConnectCallScalarMethod(connection, 1, NULL, 0, NULL, NULL);
}

START_TEST(a_driver_that_follows_is_told_before_its_first_call)
{
	void *address = NULL;
	open_all();
	ck_assert_int_eq(call(), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n_regions, 0);
	ck_assert_int_eq(dext_buffer_create(connection, 5000, &address), kIOReturnSuccess);
	ck_assert_int_eq(call(), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n_regions, 1);
	ck_assert_uint_eq(heard.n_registers, 1);
	heard.address = heard.size = 0;
	restart();
	ck_assert_uint_eq(heard.n_registers, 1); // nothing happens without a call
	ck_assert_int_eq(call(), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n_registers, 2);
	ck_assert_uint_eq(heard.n_descriptors, 2);
	ck_assert_uint_eq(heard.address, (uint64_t)(uintptr_t)address);
	ck_assert_uint_eq(heard.size, 8192);
	ck_assert_int_eq(call(), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n_registers, 2); // once
	ck_assert_int_eq(dext_buffer_free(connection, address), kIOReturnSuccess);
	restart();
	ck_assert_int_eq(call(), kIOReturnSuccess);
	ck_assert_uint_eq(heard.n_registers, 2);
	ck_assert_uint_eq(heard.n_regions, 0);
	close_all();
}
END_TEST

START_TEST(a_driver_that_takes_no_buffer_is_not_called)
{
	void *address = NULL;
	open_all();
	ck_assert_int_eq(dext_buffer_create(connection, 1, &address), kIOReturnSuccess);
	heard.status = kIOReturnNoResources;
	restart();
	ck_assert_int_eq(call(), kIOReturnNoResources);
	ck_assert_msg(strstr(dext_last_reason(), "started anew: there is no room") != NULL, "%s",
		      dext_last_reason());
	ck_assert_uint_eq(heard.n_calls, 0);
	ck_assert_int_eq(dext_buffer_free(connection, address), kIOReturnSuccess);
	ck_assert_int_eq(call(), kIOReturnSuccess); // without it, all is well
	close_all();
}
END_TEST

START_TEST(the_end_of_a_connection_is_told_by_the_call)
{
	void *address = NULL;
	open_all();
	ck_assert_int_eq(dext_buffer_create(connection, 1, &address), kIOReturnSuccess);
	fake_driver_stop(&driver);
	fake_die(&fake);
	ck_assert_int_eq(ring_raise_generation(fake.memory_fd, 2, "it died"), 0);
	fake_tell_end(&fake, "it was the last one");
	ck_assert_int_eq(call(), kIOReturnOffline);
	ck_assert_msg(strstr(dext_last_reason(), "it was the last one") != NULL, "%s",
		      dext_last_reason());
	close_all();
}
END_TEST

UNIT_TESTS("region", a_driver_that_follows_is_told_before_its_first_call,
	   a_driver_that_takes_no_buffer_is_not_called, the_end_of_a_connection_is_told_by_the_call)
