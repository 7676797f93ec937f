/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The queues of a service: the default one, that its class may make itself, those that it names,
 * and those of its provider; and what becomes of them, and of the actions made on them, at its end.
 */

#include <runtime/unit_pool.h>

#include <string.h>

#include <UnitQueued.h>
#include <base/reason.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <protocol/dextd.h>
#include <runtime/action.h>

static IODispatchQueue *own, *served, *carried; // own: borrowed from its service
static UnitQueued *service;
static OSAction *forgotten;
static unsigned n_calls, n_passed;
static bool stopped;

static uint32_t references(const void *object)
{
	return OSObjectGetRetainCount(object);
}

/* --- the service --- */

kern_return_t IMPL(UnitQueued, CreateDefaultDispatchQueue)
{
	(void)self;
	own = *queue = new_queue("our own");
	return kIOReturnSuccess;
}

static kern_return_t note_call(const IODispatchQueue *expected)
{
	ck_assert_ptr_eq(queue_current(), expected);
	n_calls++;
	return kIOReturnSuccess;
}

kern_return_t IMPL(UnitQueued, Usual)
{
	(void)self;
	return note_call(own);
}

kern_return_t IMPL(UnitQueued, Served)
{
	(void)self;
	return note_call(served);
}

kern_return_t IMPL(UnitQueued, Fallen)
{
	(void)self;
	return note_call(own);
}

kern_return_t IMPL(UnitQueuedBus, Carried)
{
	(void)self;
	return kIOReturnUnsupported;
}

kern_return_t IMPL(UnitQueuedBus, Dropped)
{
	(void)self;
	return kIOReturnUnsupported;
}

void IMPL(UnitBystander, passed)
{
	(void)self;
	(void)action;
	n_passed++;
}

/* What CopyDispatchQueue says of a name, and gives; the reference is given back. */
static kern_return_t look_up(const char *name, IODispatchQueue **found)
{
	*found = NULL;
	kern_return_t ret = UnitQueued_CopyDispatchQueue(service, name, found);
	OSObjectRelease(*found);
	return ret;
}

static void expect_queue(const char *name, const IODispatchQueue *expected)
{
	IODispatchQueue *found;
	ck_assert_msg(look_up(name, &found) == kIOReturnSuccess, "%s: %s", name, reason_last());
	ck_assert_ptr_eq(found, expected);
}

/* Its own names first, then its provider's, whose answer counts then: what it has not set it has
 * not, and what nobody knows is an error that says who was asked last. */
static void check_names(void)
{
	IODispatchQueue *found;

	expect_queue("Default", own);
	expect_queue("UnitServed", served);
	expect_queue("UnitCarried", carried);
	ck_assert_int_eq(look_up("UnitFallen", &found), kIOReturnNotFound);
	ck_assert_ptr_nonnull(strstr(reason_last(), "UnitQueued:"));
	ck_assert_int_eq(look_up("UnitDropped", &found), kIOReturnNotFound);
	ck_assert_ptr_nonnull(strstr(reason_last(), "UnitQueuedBus:"));
	ck_assert_int_eq(look_up("UnitUnknown", &found), kIOReturnBadArgument);
	ck_assert_ptr_nonnull(strstr(reason_last(), "UnitQueuedBus"));
	/* Asking is one thing, and setting another: a provider's queue is not its client's to set.
	 */
	ck_assert_int_eq(UnitQueued_SetDispatchQueue(service, "UnitCarried", served),
			 kIOReturnBadArgument);
}

kern_return_t IMPL(UnitQueued, Start)
{
	kern_return_t ret = UnitQueued_super_Start(self, provider);
	ck_assert_int_eq(ret, kIOReturnSuccess);
	ck_assert_ptr_eq(queue_current(), own);
	service = self;
	OSObjectRetain(self);
	ck_assert_int_eq(UnitQueued_SetDispatchQueue(self, "UnitServed", served), kIOReturnSuccess);
	check_names();
	ck_assert_int_eq(UnitQueued_Usual(self), kIOReturnSuccess);
	ck_assert_int_eq(UnitQueued_Served(self), kIOReturnSuccess);
	ck_assert_int_eq(UnitQueued_Fallen(self), kIOReturnSuccess);
	ck_assert_uint_eq(n_calls, 3);

	UnitBystander *bystander = OSTypeAlloc(UnitBystander);
	ck_assert(UnitBystander_init(bystander));
	ck_assert_int_eq(UnitBystander_CreateActionpassed(bystander, 0, &forgotten),
			 kIOReturnSuccess);
	OSObjectRelease(bystander);
	return ret;
}

kern_return_t IMPL(UnitQueued, Stop)
{
	ck_assert_ptr_eq(queue_current(), own);
	check_names(); // it has not stopped yet
	stopped = true;
	return UnitQueued_super_Stop(self, provider);
}

/* --- around it --- */

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	UnitQueuedBus *made = OSTypeAlloc(UnitQueuedBus);
	ck_assert(UnitQueuedBus_init(made));
	ck_assert_int_eq(UnitQueuedBus_SetDispatchQueue(made, "UnitCarried", carried),
			 kIOReturnSuccess);
	*provider = UnitQueuedBus_as_IOService(made);
	provider_identify(*provider, handover);
	return kIOReturnSuccess;
}

static const struct family_ops unit_family = {
	.provider_class = "UnitQueuedBus",
	.create_provider = create_provider,
};

static OSDictionary *new_dictionary(const char *key, const char *name)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(1);
	OSString *text = OSString_withCString(name);
	ck_assert(OSDictionary_setObject(dictionary, key, OSString_as_OSObject(text)));
	OSObjectRelease(text);
	return dictionary;
}

struct run {
	struct queue_item item;
	struct hosted *hosted;
};

static void run_life(struct queue_item *item)
{
	struct run *run = container_of(item, struct run, item);
	kern_return_t ret = hosted_start(run->hosted);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	hosted_stop(run->hosted);
	worker_stop();
}

/* One life of the service. It is kept by the test beyond its end. */
static void live(void)
{
	struct DextHost_StartService_Msg msg = {
		.service = 7,
		.provider = 6,
		.personality = new_dictionary("IOUserClass", "UnitQueued"),
		.device = new_dictionary("IOProviderClass", "UnitQueuedBus"),
	};
	struct run run = { .item.run = run_life };

	served = new_queue("served");
	carried = new_queue("carried");
	family_register(&unit_family);
	ck_assert_int_eq(hosted_new(&run.hosted, &msg), 0);
	ck_assert(queue_post(run.hosted->life, &run.item));
	ck_assert_int_eq(worker_run(), 0);
	ck_assert(stopped);
	hosted_free(run.hosted);
	OSObjectRelease(msg.personality);
	OSObjectRelease(msg.device);
}

static void end(void)
{
	OSObjectRelease(forgotten);
	OSObjectRelease(service);
	ck_assert_uint_eq(references(served), 1);
	ck_assert_uint_eq(references(carried), 1);
	OSObjectRelease(served);
	OSObjectRelease(carried);
}

START_TEST(a_service_asks_its_provider_for_queues)
{
	IODispatchQueue *found;

	live();
	/* Stopped, it knows none any more, not even its provider's. */
	ck_assert_int_eq(look_up("Default", &found), kIOReturnError);
	ck_assert_int_eq(look_up("UnitServed", &found), kIOReturnError);
	ck_assert_int_eq(look_up("UnitCarried", &found), kIOReturnError);
	ck_assert_ptr_nonnull(strstr(reason_last(), "has stopped"));
	end();
}
END_TEST

/* What was made on a queue of its own is cancelled with the service, too. */
START_TEST(a_service_may_make_its_default_queue)
{
	struct UnitBystander_Passed_Msg msg = { 0 };

	live();
	msg.action = forgotten;
	ck_assert_int_eq(OSActionInvoke(forgotten, &UnitBystander_Passed_Shape, &msg),
			 kIOReturnOffline);
	ck_assert_uint_eq(n_passed, 0);
	end();
}
END_TEST

POOL_TESTS("service-queues", a_service_asks_its_provider_for_queues,
	   a_service_may_make_its_default_queue)
