/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A Transfer that cannot be set up leaves nothing behind, wherever it failed: no reference, no
 * descriptor (the frame compares them), no memory (the sanitizers do). One that was set up can be
 * taken down without ever having read.
 */

#include <runtime/unit_pool.h>

#include <sys/resource.h>
#include <unistd.h>

#include <UsbReader.h>
#include <backends/usbredir/scripted_peer.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/family.h>

struct bench {
	struct queue_item item;
	void (*test)(IOUSBHostInterface *interface, IOService *client);
	IODispatchQueue *driver, *device;
	struct scripted_peer peer;
};

static OSDictionary *device_properties(void)
{
	OSDictionary *properties = OSDictionary_withCapacity(1);
	OSString *name = OSString_withCString("usbredir");
	ck_assert(
		OSDictionary_setObject(properties, "OpenDextBackend", OSString_as_OSObject(name)));
	OSObjectRelease(name);
	return properties;
}

static void run_bench(struct queue_item *item)
{
	struct bench *b = container_of(item, struct bench, item);
	static const struct peer_script good = { .step = STEP_NONE };
	struct device_handover handover = {
		.properties = device_properties(),
		.fds = { scripted_peer_start(&b->peer, &good) },
		.n_fds = 1,
		.queue = b->device,
	};
	IOService *provider = NULL, *client = OSTypeAlloc(IOService);
	ck_assert(IOService_init(client));
	kern_return_t ret =
		family_find("IOUSBHostInterface")->create_provider(&handover, &provider);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	b->test(OSDynamicCast(IOUSBHostInterface, provider), client);
	OSObjectRelease(provider);
	OSObjectRelease(client);
	OSObjectRelease(handover.properties);
	scripted_peer_join(&b->peer);
	worker_stop();
}

static void run(void (*test)(IOUSBHostInterface *interface, IOService *client))
{
	struct bench b = { .item.run = run_bench, .test = test };
	b.driver = new_queue("driver");
	b.device = new_queue("device");
	ck_assert(queue_post(b.driver, &b.item));
	ck_assert_int_eq(worker_run(), 0);
	OSSafeReleaseNULL(b.driver);
	OSSafeReleaseNULL(b.device);
}

static kern_return_t set_up_one(IOUSBHostInterface *interface, uint8_t endpoint, uint32_t size)
{
	Transfer *transfer = OSTypeAlloc(Transfer);
	ck_assert(Transfer_init(transfer));
	kern_return_t ret = Transfer_setup(transfer, interface, endpoint, size);
	if (ret == kIOReturnSuccess)
		Transfer_teardown(transfer);
	OSObjectRelease(transfer);
	return ret;
}

static void check_no_session(IOUSBHostInterface *interface, IOService *client)
{
	(void)client;
	ck_assert_int_eq(set_up_one(interface, 0x81, 512), kIOReturnNotOpen);
}

START_TEST(without_a_session_there_is_no_pipe)
{
	run(check_no_session);
}
END_TEST

static void check_in_session(IOUSBHostInterface *interface, IOService *client)
{
	ck_assert_int_eq(IOUSBHostInterface_Open(interface, client, 0, NULL), 0);
	ck_assert_int_eq(set_up_one(interface, 0x82, 512), kIOReturnNotFound);
	ck_assert_int_eq(set_up_one(interface, 0x81, 0), kIOReturnBadArgument);
	ck_assert_int_eq(set_up_one(interface, 0x81, UINT32_MAX), kIOReturnBadArgument);
	ck_assert_int_eq(set_up_one(interface, 0x81, 512), kIOReturnSuccess);
	ck_assert_int_eq(IOUSBHostInterface_Close(interface, client, 0), 0);
}

START_TEST(whatever_fails_nothing_is_left)
{
	run(check_in_session);
}
END_TEST

/* No buffer: the process may not open one more descriptor. */
static void check_no_buffer(IOUSBHostInterface *interface, IOService *client)
{
	ck_assert_int_eq(IOUSBHostInterface_Open(interface, client, 0, NULL), 0);
	int taken[UNIT_FDS];
	unsigned n = 0;
	while (n < UNIT_FDS && (taken[n] = dup(1)) >= 0)
		n++;
	ck_assert_uint_lt(n, UNIT_FDS);
	kern_return_t ret = set_up_one(interface, 0x81, 512);
	while (n-- > 0)
		close(taken[n]);
	ck_assert_int_ne(ret, kIOReturnSuccess);
	ck_assert_int_eq(set_up_one(interface, 0x81, 512), kIOReturnSuccess);
	ck_assert_int_eq(IOUSBHostInterface_Close(interface, client, 0), 0);
}

START_TEST(without_a_buffer_nothing_is_left)
{
	const struct rlimit few = { 256, 256 };
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	run(check_no_buffer);
}
END_TEST

POOL_TESTS("usb-transfer", without_a_session_there_is_no_pipe, whatever_fails_nothing_is_left,
	   without_a_buffer_nothing_is_left)
