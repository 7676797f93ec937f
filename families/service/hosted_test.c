/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The end of a hosted service, seen from a family: each of its services has stopped, and cannot
 * open the provider again, when the family is told to close what that service left open.
 */

#include <runtime/unit_pool.h>

#include <string.h>

#include <UnitHosted.h>
#include <base/reason.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <protocol/dextd.h>

enum { NOTES_MAX = 8 };

static const char *notes[NOTES_MAX];
static unsigned n_notes;
static IOService *the_provider;

static void note(const char *what)
{
	ck_assert_uint_lt(n_notes, NOTES_MAX);
	notes[n_notes++] = what;
}

/* --- the driver --- */

kern_return_t IMPL(UnitHosted, Start)
{
	IOService *client = NULL;
	kern_return_t ret = UnitHosted_super_Start(self, provider);
	ck_assert_int_eq(service_may_open(UnitHosted_as_IOService(self)), kIOReturnSuccess);
	if (ret == kIOReturnSuccess)
		ret = UnitHosted_Create(self, UnitHosted_as_IOService(self), "Client", &client);
	OSSafeReleaseNULL(client);
	return ret;
}

kern_return_t IMPL(UnitHosted, Stop)
{
	note("service stops");
	ck_assert_int_eq(service_may_open(UnitHosted_as_IOService(self)), kIOReturnOffline);
	return UnitHosted_super_Stop(self, provider);
}

kern_return_t IMPL(UnitClient, Stop)
{
	note("client stops");
	return UnitClient_super_Stop(self, provider);
}

/* --- the family --- */

static kern_return_t create_provider(struct device_handover *handover, IOService **provider)
{
	IOService *made = OSTypeAlloc(IOService);
	ck_assert(IOService_init(made));
	provider_identify(made, handover);
	*provider = the_provider = made;
	return kIOReturnSuccess;
}

static void client_stopped(IOService *provider, IOService *client)
{
	ck_assert_ptr_eq(provider, the_provider);
	note(OSDynamicCast(IOUserClient, client) != NULL ? "client closed" : "service closed");
	ck_assert_int_eq(service_may_open(client), kIOReturnOffline);
	ck_assert_ptr_nonnull(strstr(reason_last(), "it opens nothing any more"));
}

static const struct family_ops unit_family = {
	.provider_class = "UnitBus",
	.create_provider = create_provider,
	.client_stopped = client_stopped,
};

/* --- the host --- */

static void set_class(OSDictionary *dictionary, const char *key, const char *name)
{
	OSString *text = OSString_withCString(name);
	ck_assert(OSDictionary_setObject(dictionary, key, OSString_as_OSObject(text)));
	OSObjectRelease(text);
}

static OSDictionary *new_personality(void)
{
	OSDictionary *personality = OSDictionary_withCapacity(2);
	OSDictionary *client = OSDictionary_withCapacity(1);
	set_class(personality, "IOUserClass", "UnitHosted");
	set_class(client, "IOUserClass", "UnitClient");
	ck_assert(OSDictionary_setObject(personality, "Client", OSDictionary_as_OSObject(client)));
	OSObjectRelease(client);
	return personality;
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
	ck_assert_uint_eq(n_notes, 0);
	hosted_stop(run->hosted);
	worker_stop();
}

START_TEST(what_stops_is_closed_at_the_provider)
{
	static const char *const expected[] = { "client stops", "client closed", "service stops",
						"service closed" };
	struct DextHost_StartService_Msg msg = {
		.service = 7,
		.provider = 6,
		.personality = new_personality(),
		.device = OSDictionary_withCapacity(1),
	};
	set_class(msg.device, "IOProviderClass", "UnitBus");
	family_register(&unit_family);
	struct run run = { .item.run = run_life };
	ck_assert_int_eq(hosted_new(&run.hosted, &msg), 0);
	ck_assert(queue_post(run.hosted->life, &run.item));
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(n_notes, sizeof(expected) / sizeof(expected[0]));
	for (unsigned i = 0; i < n_notes; i++)
		ck_assert_str_eq(notes[i], expected[i]);
	hosted_free(run.hosted);
	OSObjectRelease(msg.personality);
	OSObjectRelease(msg.device);
}
END_TEST

POOL_TESTS("service-hosted", what_stops_is_closed_at_the_provider)
