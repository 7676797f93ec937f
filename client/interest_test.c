/* SPDX-License-Identifier: Apache-2.0 */

/* Interest in a service: what dextd tells of it, by kinds, once each, and to nobody who let go. */

#include <poll.h>

#include <base/unit_test.h>
#include <client/fake.h>
#include <opendext/client.h>
#include <protocol/dextd.h>

static struct fake fake;
static io_service_t service;
static IONotificationPortRef port;

/* Ask dextd for something: what it has to tell comes with the answer. */
static void look_up(void)
{
	IOObjectRelease(
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything")));
}

static void open_all(void)
{
	OSArray *entries = OSArray_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(5, 64);
	OSArray_setObject(entries, OSNumber_as_OSObject(number));
	OSObjectRelease(number);
	fake_init(&fake);
	fake.entries = OSArray_as_OSObject(entries);
	service = IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Anything"));
	ck_assert_uint_ne(service, IO_OBJECT_NULL);
	port = IONotificationPortCreate(kIOMainPortDefault);
	ck_assert_ptr_nonnull(port);
}

/* The channel to dextd stays open as long as dextd does: end it, and let the library notice. */
static void close_all(void)
{
	IOObjectRelease(service);
	IONotificationPortDestroy(port);
	fake_deinit(&fake);
	look_up();
}

static bool port_is_readable(void)
{
	struct pollfd fd = { .fd = dext_notification_port_get_fd(port), .events = POLLIN };
	return poll(&fd, 1, 0) == 1;
}

static void tell_interest(uint32_t what, uint32_t busy)
{
	atomic_store(&fake.tell_busy, busy);
	atomic_store(&fake.tell_what, what);
	look_up(); // takes it
}

struct told {
	unsigned n;
	uint32_t messages[16];
	void *arguments[16];
	io_object_t release; // at the first message
};

static void on_message(void *refcon, io_service_t which, uint32_t message, void *argument)
{
	struct told *told = refcon;
	(void)which;
	told->messages[told->n % 16] = message;
	told->arguments[told->n % 16] = argument;
	told->n++;
	if (told->release != IO_OBJECT_NULL)
		IOObjectRelease(told->release);
	told->release = IO_OBJECT_NULL;
}

static io_object_t add_interest(struct told *told)
{
	io_object_t interest = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceAddInterestNotification(port, service, kIOGeneralInterest,
							  on_message, told, &interest),
			 kIOReturnSuccess);
	return interest;
}

static void dispatch_all(void)
{
	look_up(); // what was sent has come
	while (port_is_readable())
		ck_assert_int_eq(dext_notification_port_dispatch(port), kIOReturnSuccess);
}

static void assert_told(const struct told *told, unsigned i, uint32_t message, uintptr_t argument)
{
	ck_assert_uint_lt(i, told->n);
	ck_assert_uint_eq(told->messages[i], message);
	ck_assert_uint_eq((uintptr_t)told->arguments[i], argument);
}

START_TEST(what_becomes_of_a_service_is_told_by_kind)
{
	struct told told = { 0 };
	open_all();
	io_object_t interest = add_interest(&told);
	tell_interest(kDextEntryBusyChanged, 1);
	dispatch_all();
	assert_told(&told, 0, kIOMessageServiceBusyStateChange, 1);
	tell_interest(kDextEntryBusyChanged | kDextEntryPropertiesChanged | kDextEntryClosed, 0);
	dispatch_all();
	assert_told(&told, 1, kIOMessageServiceBusyStateChange, 0);
	assert_told(&told, 2, kIOMessageServicePropertyChange, 0);
	assert_told(&told, 3, kIOMessageServiceWasClosed, 0);
	tell_interest(0x100, 0); // of a later dextd
	tell_interest(kDextEntryEnded, 0);
	tell_interest(kDextEntryPropertiesChanged, 0);
	dispatch_all();
	assert_told(&told, 4, kIOMessageServiceIsTerminated, 0);
	ck_assert_uint_eq(told.n, 5);
	ck_assert_uint_eq(atomic_load(&fake.n_interest_answered), 5);
	IOObjectRelease(interest);
	close_all();
}
END_TEST

/* Nobody dispatches: what is read in the course of calls is answered, and one of each kind. */
START_TEST(what_is_not_dispatched_does_not_pile_up)
{
	struct told told = { 0 };
	open_all();
	io_object_t interest = add_interest(&told);
	for (unsigned i = 0; i < 200; i++)
		tell_interest(kDextEntryPropertiesChanged | kDextEntryBusyChanged, i % 2);
	dispatch_all();
	ck_assert_uint_eq(told.n, 2);
	assert_told(&told, 0, kIOMessageServiceBusyStateChange, 1); // what is so now
	assert_told(&told, 1, kIOMessageServicePropertyChange, 0);
	ck_assert_uint_eq(atomic_load(&fake.n_interest_answered), 200);
	IOObjectRelease(interest);
	close_all();
}
END_TEST

START_TEST(a_message_to_a_released_notifier_is_dropped)
{
	struct told told = { 0 };
	open_all();
	io_object_t interest = add_interest(&told);
	tell_interest(kDextEntryPropertiesChanged, 0);
	look_up();
	ck_assert(port_is_readable()); // it is due
	IOObjectRelease(interest);
	ck_assert_uint_eq(atomic_load(&fake.n_unwatched), 1);
	dispatch_all();
	ck_assert_uint_eq(told.n, 0);

	/* From the callback of another message. */
	interest = add_interest(&told);
	told.release = interest;
	tell_interest(kDextEntryPropertiesChanged | kDextEntryClosed | kDextEntryEnded, 0);
	dispatch_all();
	ck_assert_uint_eq(told.n, 1);
	tell_interest(kDextEntryClosed, 0); // dextd had not heard of it
	dispatch_all();
	ck_assert_uint_eq(told.n, 1);
	close_all();
}
END_TEST

UNIT_TESTS("interest", what_becomes_of_a_service_is_told_by_kind,
	   what_is_not_dispatched_does_not_pile_up, a_message_to_a_released_notifier_is_dropped)
