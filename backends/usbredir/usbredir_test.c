/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The USB family over the usbredir backend, against a scripted peer: what a driver sees of a device
 * that is good, slow, stalled, gone, or lying. The driver's part runs on a queue of its own, as in
 * a dext; whatever happens, every accepted transfer completes once.
 */

#include <runtime/unit_pool.h>

#include <stdatomic.h>
#include <string.h>

#include <UsbUnit.h>
#include <backends/usbredir/scripted_peer.h>
#include <base/clock.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/family.h>
#include <families/service/service.h>
#include <families/usb/device.h>

enum { SIZE = 4096, IN = 0x81, OUT = 0x01 };

/* --- what completes --- */

struct UsbUnitTarget_IVars {
	_Atomic uint32_t n_done; // futex word
	unsigned n_submitted;
	unsigned times[4096]; // how often each transfer completed
	IOReturn status;      // of the latest
	uint32_t actual;
};

bool IMPL(UsbUnitTarget, init)
{
	if (!UsbUnitTarget_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	return self->ivars != NULL;
}

void IMPL(UsbUnitTarget, free)
{
	free(self->ivars);
	self->ivars = NULL;
	UsbUnitTarget_super_free(self);
}

void IMPL(UsbUnitTarget, completed)
{
	struct UsbUnitTarget_IVars *iv = self->ivars;
	const unsigned *number = OSAction_GetReference(action);
	ck_assert_uint_gt(completionTimestamp, 0);
	ck_assert_uint_eq(iv->times[*number]++, 0);
	iv->status = status;
	iv->actual = actualByteCount;
	OSAction_Cancel_f(action, NULL, NULL);
	atomic_fetch_add(&iv->n_done, 1);
	worker_wake(&iv->n_done);
}

/* --- a driver on a scripted device --- */

struct bench {
	struct queue_item item;
	void (*test)(struct bench *bench);
	const struct peer_script *script;
	struct scripted_peer peer;
	IODispatchQueue *driver, *device, *completions;
	struct device_handover handover;
	OSDictionary *properties;
	IOService *provider;
	kern_return_t created;
	IOUSBHostInterface *interface; // borrowed: the provider
	IOService *client;
	IOUSBHostPipe *in;
	UsbUnitTarget *target;
	IOBufferMemoryDescriptor *buffer;
	uint8_t *bytes;
};

static void set_property(OSDictionary *to, const char *key, OSObject *value)
{
	ck_assert(OSDictionary_setObject(to, key, value));
	OSObjectRelease(value);
}

static const struct family_ops *usb(void)
{
	const struct family_ops *ops = family_find("IOUSBHostInterface");
	ck_assert_ptr_nonnull(ops);
	return ops;
}

static void attach(struct bench *b)
{
	b->device = new_queue("device");
	b->properties = OSDictionary_withCapacity(2);
	set_property(b->properties, "OpenDextBackend",
		     (OSObject *)OSString_withCString("usbredir"));
	set_property(b->properties, "bInterfaceNumber", (OSObject *)OSNumber_withNumber(0, 8));
	b->handover = (struct device_handover){
		.properties = b->properties,
		.fds = { scripted_peer_start(&b->peer, b->script) },
		.n_fds = 1,
		.queue = b->device,
	};
	reason_clear();
	b->created = usb()->create_provider(&b->handover, &b->provider);
	b->interface = OSDynamicCast(IOUSBHostInterface, b->provider);
}

static void detach(struct bench *b)
{
	OSSafeReleaseNULL(b->in);
	OSSafeReleaseNULL(b->buffer);
	OSSafeReleaseNULL(b->target);
	OSSafeReleaseNULL(b->provider);
	OSSafeReleaseNULL(b->client);
	handover_deinit(&b->handover);
	scripted_peer_join(&b->peer);
	OSSafeReleaseNULL(b->device);
	OSSafeReleaseNULL(b->properties);
}

static void open_pipe(struct bench *b)
{
	IOAddressSegment range;
	ck_assert_msg(b->created == kIOReturnSuccess, "%s", reason_last());
	b->client = OSTypeAlloc(IOService);
	ck_assert(IOService_init(b->client));
	ck_assert_int_eq(IOUSBHostInterface_Open(b->interface, b->client, 0, NULL), 0);
	ck_assert_int_eq(IOUSBHostInterface_CopyPipe(b->interface, IN, &b->in), 0);
	ck_assert_int_eq(
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, SIZE, 0, &b->buffer), 0);
	ck_assert_int_eq(IOBufferMemoryDescriptor_GetAddressRange(b->buffer, &range), 0);
	b->bytes = (uint8_t *)(uintptr_t)range.address;
	b->target = OSTypeAlloc(UsbUnitTarget);
	ck_assert(UsbUnitTarget_init(b->target));
	OSObject_SetDispatchQueue(UsbUnitTarget_as_OSObject(b->target), "Default", b->completions);
}

static IOMemoryDescriptor *memory(struct bench *b)
{
	return IOBufferMemoryDescriptor_as_IOMemoryDescriptor(b->buffer);
}

static kern_return_t submit(struct bench *b, uint32_t length, uint32_t timeout_ms)
{
	OSAction *action = NULL;
	unsigned number = b->target->ivars->n_submitted;
	ck_assert_int_eq(UsbUnitTarget_CreateActioncompleted(b->target, sizeof(number), &action),
			 0);
	*(unsigned *)OSAction_GetReference(action) = number;
	kern_return_t ret = IOUSBHostPipe_AsyncIO(b->in, memory(b), length, action, timeout_ms);
	if (ret == kIOReturnSuccess)
		b->target->ivars->n_submitted++;
	else
		OSAction_Cancel_f(action, NULL, NULL);
	OSObjectRelease(action);
	return ret;
}

static void wait_done(struct bench *b, unsigned n)
{
	uint64_t deadline = clock_deadline_ns(10000);
	uint32_t done;
	while ((done = atomic_load(&b->target->ivars->n_done)) < n)
		ck_assert_int_eq(worker_wait(&b->target->ivars->n_done, done, deadline), 0);
	ck_assert_uint_eq(done, n);
}

static void run_bench(struct queue_item *item)
{
	struct bench *b = container_of(item, struct bench, item);
	attach(b);
	b->test(b);
	detach(b);
	worker_stop();
}

/* Run `test` on a driver's queue, against a peer with that script. */
static void run(const struct peer_script *script, void (*test)(struct bench *bench))
{
	struct bench b = { .item.run = run_bench, .test = test, .script = script };
	b.driver = new_queue("driver");
	b.completions = new_queue("completions");
	ck_assert(queue_post(b.driver, &b.item));
	ck_assert_int_eq(worker_run(), 0);
	OSSafeReleaseNULL(b.driver);
	OSSafeReleaseNULL(b.completions);
}

static const struct peer_script good = { .step = STEP_NONE };

/* --- a good device --- */

static void check_reading(struct bench *b)
{
	open_pipe(b);
	uint32_t n = 0;
	ck_assert_int_eq(IOUSBHostPipe_IO(b->in, memory(b), SIZE, &n, 1000), 0);
	ck_assert_uint_eq(n, SIZE);
	for (unsigned i = 0; i < SIZE; i++)
		ck_assert_uint_eq(b->bytes[i], i % 63);
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < 16; k++)
			ck_assert_int_eq(submit(b, 512, k % 2 ? 1000 : 0), 0);
		wait_done(b, (i + 1) * 16);
	}
	ck_assert_int_eq(b->target->ivars->status, kIOReturnSuccess);
	ck_assert_uint_eq(b->target->ivars->actual, 512);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
	ck_assert_uint_eq(atomic_load(&b->peer.n_set_configurations), 0);
}

START_TEST(a_good_device_is_read)
{
	run(&good, check_reading);
}
END_TEST

static void check_writing(struct bench *b)
{
	open_pipe(b);
	IOUSBHostPipe *out = NULL;
	uint32_t n = 0;
	ck_assert_int_eq(IOUSBHostInterface_CopyPipe(b->interface, OUT, &out), 0);
	ck_assert_int_eq(IOUSBHostPipe_IO(out, memory(b), 1000, &n, 0), 0);
	ck_assert_uint_eq(n, 1000);
	ck_assert_int_eq(IOUSBHostPipe_IO(out, memory(b), 0, &n, 0), 0);
	ck_assert_uint_eq(n, 0);
	OSObjectRelease(out);
}

START_TEST(a_good_device_is_written)
{
	run(&good, check_writing);
}
END_TEST

static void check_sixty_four(struct bench *b)
{
	open_pipe(b);
	for (unsigned i = 0; i < USB_REQUESTS_MAX; i++)
		ck_assert_int_eq(submit(b, 512, 0), 0);
	ck_assert_int_eq(submit(b, 512, 0), kIOReturnNoResources);
	ck_assert_str_ne(reason_last(), "");
	ck_assert_int_eq(IOUSBHostPipe_Abort(b->in, kIOUSBAbortSynchronous, kIOReturnOffline, NULL),
			 0);
	wait_done(b, USB_REQUESTS_MAX);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnOffline);
	ck_assert_uint_eq(b->target->ivars->actual, 512);
}

START_TEST(at_most_64_are_in_flight_and_an_abort_ends_them_all)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_HOLD }, check_sixty_four);
}
END_TEST

static void check_configured(struct bench *b)
{
	ck_assert_int_eq(b->created, kIOReturnSuccess);
	ck_assert_uint_eq(atomic_load(&b->peer.n_set_configurations), 1);
	const IOUSBConfigurationDescriptor *c =
		IOUSBHostInterface_CopyConfigurationDescriptor(b->interface);
	ck_assert_uint_eq(c->wTotalLength, 32);
	ck_assert_uint_eq(c->bConfigurationValue, 7);
	ck_assert_uint_eq(IOUSBHostInterface_GetInterfaceDescriptor(b->interface, c)->bNumEndpoints,
			  2);
	IOUSBHostFreeDescriptor(c);
}

START_TEST(an_unconfigured_device_is_configured)
{
	run(&(struct peer_script){ .step = STEP_NONE, .unconfigured = true }, check_configured);
}
END_TEST

static uint64_t number_of(OSArray *identity, const char *key)
{
	OSDictionary *one = OSDynamicCast(OSDictionary, OSArray_getObject(identity, 0));
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(one, key));
	ck_assert_ptr_nonnull(number);
	return OSNumber_unsigned64BitValue(number);
}

static void check_identity(struct bench *b)
{
	struct scripted_peer peer;
	struct device_handover handover = b->handover;
	handover.fds[0] = scripted_peer_start(&peer, b->script);
	OSArray *identity = NULL;
	ck_assert_int_eq(usb()->copy_identity(&handover, &identity), 0);
	ck_assert_uint_eq(OSArray_getCount(identity), 1);
	ck_assert_uint_eq(number_of(identity, "idVendor"), 0x1d6b);
	ck_assert_uint_eq(number_of(identity, "idProduct"), 0x0104);
	ck_assert_uint_eq(number_of(identity, "bConfigurationValue"), 7);
	ck_assert_uint_eq(number_of(identity, "bInterfaceClass"), 0xff);
	ck_assert_uint_eq(number_of(identity, "bInterfaceProtocol"), 1);
	OSObjectRelease(identity);
	handover_deinit(&handover);
	scripted_peer_join(&peer);
}

START_TEST(a_device_says_what_it_is)
{
	run(&(struct peer_script){ .step = STEP_NONE, .protocol = 1 }, check_identity);
}
END_TEST

/* --- what a driver may not do --- */

static void check_sessions(struct bench *b)
{
	IOUSBHostPipe *pipe = NULL;
	IOService *other = OSTypeAlloc(IOService);
	ck_assert(IOService_init(other));
	ck_assert_int_eq(IOUSBHostInterface_CopyPipe(b->interface, IN, &pipe), kIOReturnNotOpen);
	open_pipe(b);
	ck_assert_int_eq(IOUSBHostInterface_Open(b->interface, other, 0, NULL),
			 kIOReturnExclusiveAccess);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, other, 0), kIOReturnNotOpen);
	ck_assert_int_eq(IOUSBHostInterface_CopyPipe(b->interface, 0x80, &pipe), kIOReturnNotFound);
	ck_assert_int_eq(IOUSBHostInterface_CopyPipe(b->interface, 0x82, &pipe), kIOReturnNotFound);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
	ck_assert_int_eq(submit(b, 512, 0), kIOReturnNotOpen); // a pipe of a session that is over
	ck_assert_int_eq(IOUSBHostInterface_Open(b->interface, other, 0, NULL), 0);
	ck_assert_int_eq(submit(b, 512, 0), kIOReturnNotOpen);
	usb()->client_stopped(b->provider, other);
	service_stop(other);
	ck_assert_int_eq(IOUSBHostInterface_Open(b->interface, other, 0, NULL), kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason_last(), "IOService stops or has stopped"));
	ck_assert_int_eq(IOUSBHostInterface_Open(b->interface, b->client, 0, NULL), 0);
	OSObjectRelease(other);
}

START_TEST(an_interface_has_one_session_at_a_time)
{
	run(&good, check_sessions);
}
END_TEST

static void refused(kern_return_t ret, kern_return_t expected)
{
	ck_assert_int_eq(ret, expected);
	ck_assert_str_ne(reason_last(), "");
	reason_clear();
}

static void check_arguments(struct bench *b)
{
	open_pipe(b);
	uint32_t n;
	refused(submit(b, 100, 0), kIOReturnBadArgument); // no whole packets
	refused(submit(b, SIZE + 512, 0), kIOReturnBadArgument);
	refused(IOUSBHostPipe_IO(b->in, NULL, 512, &n, 0), kIOReturnBadArgument);
	refused(IOUSBHostPipe_AsyncIO(b->in, memory(b), 512, NULL, 0), kIOReturnBadArgument);
	refused(IOUSBHostPipe_Abort(b->in, 7, kIOReturnAborted, NULL), kIOReturnBadArgument);
	refused(IOUSBHostPipe_Abort(b->in, 0, kIOReturnSuccess, NULL), kIOReturnBadArgument);
	refused(IOUSBHostPipe_ClearStall(b->in, false), kIOReturnUnsupported);
	uint8_t alternate = 1;
	refused(IOUSBHostInterface_Open(b->interface, b->client, 1, &alternate),
		kIOReturnUnsupported);
	refused(IOUSBHostInterface_Open(b->interface, NULL, 0, NULL), kIOReturnBadArgument);

	IOBufferMemoryDescriptor *only_out = NULL, *large = NULL;
	IOBufferMemoryDescriptor_Create(kIOMemoryDirectionOut, 512, 0, &only_out);
	refused(IOUSBHostPipe_IO(b->in, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(only_out),
				 512, &n, 0),
		kIOReturnNotWritable);
	IOBufferMemoryDescriptor_Create(kIOMemoryDirectionIn, 2 << 20, 0, &large);
	kern_return_t ret = IOUSBHostPipe_IO(
		b->in, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(large), 2 << 20, &n, 0);
	ck_assert_int_ne(ret, kIOReturnSuccess);
	ck_assert_str_ne(reason_last(), "");
	OSObjectRelease(only_out);
	OSObjectRelease(large);
	ck_assert_uint_eq(atomic_load(&b->peer.n_bulk), 0);
}

START_TEST(wrong_arguments_are_refused_with_a_reason)
{
	run(&good, check_arguments);
}
END_TEST

/* --- ends --- */

static void check_timeout(struct bench *b)
{
	open_pipe(b);
	uint32_t n = 0;
	ck_assert_int_eq(IOUSBHostPipe_IO(b->in, memory(b), 1024, &n, 20), kIOReturnTimeout);
	ck_assert_uint_eq(n, 512); // what came before the cancel
	ck_assert_int_eq(submit(b, 1024, 20), 0);
	wait_done(b, 1);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnTimeout);
	ck_assert_uint_eq(b->target->ivars->actual, 512);
	ck_assert_int_eq(submit(b, 1024, 0), 0); // a timeout does not halt the pipe
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
	wait_done(b, 2);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnAborted);
}

START_TEST(a_timeout_reports_what_came_and_close_aborts)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_HOLD }, check_timeout);
}
END_TEST

/* The peer hears no cancel: the family gives up after two seconds, and the buffer stays alive. */
static void check_abandoned(struct bench *b)
{
	open_pipe(b);
	uint64_t begin = clock_now_ns();
	ck_assert_int_eq(submit(b, 512, 20), 0);
	wait_done(b, 1);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnTimeout);
	ck_assert_uint_lt(clock_now_ns() - begin, 2500000000ULL);
	refused(submit(b, 512, 0), kIOReturnNotResponding);
	refused(IOUSBHostPipe_ClearStall(b->in, true), kIOReturnNotResponding);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
}

START_TEST(a_device_that_ignores_the_cancel_is_given_up)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_DEAF }, check_abandoned);
}
END_TEST

static void check_stall(struct bench *b)
{
	open_pipe(b);
	uint32_t n = 1;
	ck_assert_int_eq(IOUSBHostPipe_IO(b->in, memory(b), 512, &n, 0), kUSBHostReturnPipeStalled);
	ck_assert_uint_eq(n, 0);
	refused(IOUSBHostPipe_IO(b->in, memory(b), 512, &n, 0), kUSBHostReturnPipeStalled);
	ck_assert_uint_eq(atomic_load(&b->peer.n_bulk), 1); // refused here, not by the device
	ck_assert_int_eq(IOUSBHostPipe_ClearStall(b->in, true), 0);
	ck_assert_int_eq(IOUSBHostPipe_IO(b->in, memory(b), 512, &n, 0), 0);
	ck_assert_uint_eq(n, 512);
}

START_TEST(a_stalled_pipe_stays_halted_until_it_is_cleared)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_STALL }, check_stall);
}
END_TEST

static void check_babble(struct bench *b)
{
	open_pipe(b);
	uint32_t n = 0;
	ck_assert_int_eq(IOUSBHostPipe_IO(b->in, memory(b), 512, &n, 0), kIOReturnOverrun);
	ck_assert_uint_le(n, 512);
}

START_TEST(babble_is_an_overrun)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_BABBLE }, check_babble);
}
END_TEST

/* --- a lying device --- */

static void check_not_created(struct bench *b)
{
	ck_assert_int_ne(b->created, kIOReturnSuccess);
	ck_assert_str_ne(reason_last(), "");
}

START_TEST(a_spoiled_greeting_is_refused_with_a_reason)
{
	for (int step = STEP_HELLO; step < STEP_BULK; step++) {
		struct peer_script script = { .step = (enum peer_step)step,
					      .unconfigured = true,
					      .spoil = (enum peer_spoil)_i };
		bool harmless =
			(step == STEP_CONNECT && (_i == SPOIL_ID || _i == SPOIL_OVERLONG)) ||
			(step == STEP_HELLO && (_i == SPOIL_ID || _i == SPOIL_OVERLONG)) ||
			((step == STEP_GET_CONFIGURATION || step == STEP_SET_CONFIGURATION) &&
			 _i == SPOIL_OVERLONG);
		if (!harmless)
			run(&script, check_not_created);
	}
}
END_TEST

START_TEST(a_silent_greeting_ends_after_two_seconds)
{
	run(&(struct peer_script){ .step = STEP_DEVICE, .spoil = SPOIL_SILENCE },
	    check_not_created);
	ck_assert_ptr_nonnull(strstr(reason_last(), "descriptor"));
}
END_TEST

static void check_all_lost(struct bench *b)
{
	open_pipe(b);
	unsigned n = 0;
	while (n < 8 && submit(b, 512, 0) == kIOReturnSuccess)
		n++;
	wait_done(b, n);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnNoDevice);
	refused(submit(b, 512, 0), kIOReturnNoDevice);
	refused(IOUSBHostPipe_ClearStall(b->in, true), kIOReturnNoDevice);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
	refused(IOUSBHostInterface_Open(b->interface, b->client, 0, NULL), kIOReturnNoDevice);
}

START_TEST(a_spoiled_answer_ends_all_with_no_device)
{
	if (_i == SPOIL_SILENCE)
		return;
	run(&(struct peer_script){ .step = STEP_BULK, .spoil = (enum peer_spoil)_i },
	    check_all_lost);
}
END_TEST

/* --- chance --- */

static void act_by_chance(struct bench *b)
{
	switch (chance_u64() % 8) {
	case 0:
		IOUSBHostPipe_Abort(b->in, kIOUSBAbortAsynchronous, kIOReturnAborted, NULL);
		break;
	case 1:
		IOUSBHostPipe_Abort(b->in, kIOUSBAbortSynchronous, kIOReturnOffline, NULL);
		break;
	default:
		submit(b, 512 * (1 + (uint32_t)(chance_u64() % 4)), chance_u64() % 3 ? 0 : 1);
	}
}

static void check_by_chance(struct bench *b)
{
	open_pipe(b);
	for (unsigned i = 0; i < 400; i++)
		act_by_chance(b);
	ck_assert_int_eq(IOUSBHostInterface_Close(b->interface, b->client, 0), 0);
	wait_done(b, b->target->ivars->n_submitted);
}

START_TEST(every_transfer_completes_once_whatever_happens)
{
	uint64_t seed = (uint64_t)_i + 1;
	chance_seed(seed);
	struct peer_script script = { .step = STEP_NONE, .bulk = BULK_CHANCE, .seed = seed };
	if (_i % 2 == 1)
		script.hang_up_after = 20 + (unsigned)(seed * 13 % 200);
	run(&script, check_by_chance);
}
END_TEST

/* The provider goes while transfers fly: they end, and nothing is left. */
static void check_dropped(struct bench *b)
{
	open_pipe(b);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(submit(b, 512, 0), 0);
	OSSafeReleaseNULL(b->in);
	OSSafeReleaseNULL(b->provider);
	wait_done(b, 8);
	ck_assert_int_eq(b->target->ivars->status, kIOReturnAborted);
}

START_TEST(transfers_end_with_the_provider)
{
	run(&(struct peer_script){ .step = STEP_NONE, .bulk = BULK_HOLD }, check_dropped);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("usbredir");
	TCase *cases = tcase_create("usbredir");
	tcase_set_timeout(cases, UNIT_TIME_LIMIT_S);
	tcase_add_checked_fixture(cases, open_pool, NULL);
	tcase_add_checked_fixture(cases, unit_note_fds, unit_compare_fds);
	tcase_add_test(cases, a_good_device_is_read);
	tcase_add_test(cases, a_good_device_is_written);
	tcase_add_test(cases, at_most_64_are_in_flight_and_an_abort_ends_them_all);
	tcase_add_test(cases, an_unconfigured_device_is_configured);
	tcase_add_test(cases, a_device_says_what_it_is);
	tcase_add_test(cases, an_interface_has_one_session_at_a_time);
	tcase_add_test(cases, wrong_arguments_are_refused_with_a_reason);
	tcase_add_test(cases, a_timeout_reports_what_came_and_close_aborts);
	tcase_add_test(cases, a_device_that_ignores_the_cancel_is_given_up);
	tcase_add_test(cases, a_stalled_pipe_stays_halted_until_it_is_cleared);
	tcase_add_test(cases, babble_is_an_overrun);
	tcase_add_loop_test(cases, a_spoiled_greeting_is_refused_with_a_reason, 0, SPOIL_SILENCE);
	tcase_add_test(cases, a_silent_greeting_ends_after_two_seconds);
	tcase_add_loop_test(cases, a_spoiled_answer_ends_all_with_no_device, 0, SPOIL_SILENCE);
	tcase_add_loop_test(cases, every_transfer_completes_once_whatever_happens, 0, 24);
	tcase_add_test(cases, transfers_end_with_the_provider);
	suite_add_tcase(suite, cases);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
