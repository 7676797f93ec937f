// SPDX-License-Identifier: Apache-2.0
/*
 * The driver of the benchmarks. Its memories are made when first asked for, so that a dext whose
 * size is measured holds none of them.
 */

#include <pthread.h>
#include <string.h>

#include <DriverKit/IOLib.h>

#include "Echo.h"
#include "echo.h"
#include "event.h"
#include "flow.h"

struct Echo_IVars {
	IOBufferMemoryDescriptor *memories[ECHO_MEMORIES]; // NULL: not asked for yet
};

/* --- the service --- */

bool IMPL(Echo, init)
{
	if (!Echo_super_init(self))
		return false;
	self->ivars = IONewZero(struct Echo_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Echo, free)
{
	for (int i = 0; i < ECHO_MEMORIES && self->ivars != NULL; i++)
		OSSafeReleaseNULL(self->ivars->memories[i]);
	IOSafeDeleteNULL(self->ivars, struct Echo_IVars, 1);
	Echo_super_free(self);
}

kern_return_t IMPL(Echo, Start)
{
	kern_return_t ret = Echo_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	return Echo_RegisterService(self);
}

kern_return_t IMPL(Echo, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Echo_Create(self, Echo_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Echo, CopyMemory)
{
	static const uint64_t sizes[ECHO_MEMORIES] = { ECHO_SMALL_SIZE, ECHO_LARGE_SIZE };
	if (type >= ECHO_MEMORIES)
		return kIOReturnBadArgument;
	IOBufferMemoryDescriptor **kept = &self->ivars->memories[type];
	if (*kept == NULL) {
		kern_return_t ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut,
								    sizes[type], 0, kept);
		if (ret != kIOReturnSuccess)
			return ret;
	}
	IOBufferMemoryDescriptor_retain(*kept);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(*kept);
	return kIOReturnSuccess;
}

/* --- the user client --- */

kern_return_t IMPL(EchoUserClient, CopyClientMemoryForType)
{
	(void)options;
	Echo *echo = OSDynamicCast(Echo, EchoUserClient_GetProvider(self));
	return Echo_CopyMemory(echo, type, memory);
}

static kern_return_t call(OSObject *target, void *reference, IOUserClientMethodArguments *arguments)
{
	(void)target;
	(void)reference;
	if (arguments->scalarOutputCount < arguments->scalarInputCount)
		return kIOReturnOverrun;
	arguments->scalarOutputCount = arguments->scalarInputCount;
	for (uint32_t i = 0; i < arguments->scalarInputCount; i++)
		arguments->scalarOutput[i] = arguments->scalarInput[i] + 1;
	return kIOReturnSuccess;
}

/* --- events: from a thread of the driver's own, as from a device --- */

struct production {
	struct production *next;
	EchoUserClient *client;
	OSAction *completion;
	struct flow *flow;
	struct event_order order;
};

static void produce(struct production *p)
{
	struct timespec next = { 0 };
	for (uint64_t number = 0; number < p->order.count; number++) {
		IOUserClientAsyncArgumentsArray data;
		event_pace(&p->order, &next);
		flow_wait(p->flow, (uint32_t)number);
		event_fill(data, number, &p->order);
		EchoUserClient_AsyncCompletion(p->client, p->completion, kIOReturnSuccess, data,
					       EVENT_SCALARS);
	}
	OSSafeReleaseNULL(p->completion);
	OSSafeReleaseNULL(p->client);
	IOFree(p, sizeof(*p));
}

/* What is to be produced, the latest first, and the thread, which is started when first needed. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t added;
	struct production *ordered;
	bool started;
} producer = { .lock = PTHREAD_MUTEX_INITIALIZER, .added = PTHREAD_COND_INITIALIZER };

static void *run_producer(void *context)
{
	(void)context;
	for (;;) {
		pthread_mutex_lock(&producer.lock);
		while (producer.ordered == NULL)
			pthread_cond_wait(&producer.added, &producer.lock);
		struct production *p = producer.ordered;
		producer.ordered = p->next;
		pthread_mutex_unlock(&producer.lock);
		produce(p);
	}
	return NULL;
}

/* With the lock held. */
static bool start_producer(void)
{
	pthread_t thread;
	if (!producer.started && pthread_create(&thread, NULL, run_producer, NULL) == 0) {
		pthread_detach(thread);
		producer.started = true;
	}
	return producer.started;
}

static bool order(struct production *p)
{
	pthread_mutex_lock(&producer.lock);
	bool started = start_producer();
	if (started) {
		p->next = producer.ordered;
		producer.ordered = p;
		pthread_cond_signal(&producer.added);
	}
	pthread_mutex_unlock(&producer.lock);
	return started;
}

/* The flow lies in the memory that the application has mapped already. */
static struct flow *find_flow(EchoUserClient *client)
{
	Echo *echo = OSDynamicCast(Echo, EchoUserClient_GetProvider(client));
	IOAddressSegment range = { 0 };
	IOBufferMemoryDescriptor *memory = echo->ivars->memories[ECHO_SMALL];
	if (memory == NULL ||
	    IOBufferMemoryDescriptor_GetAddressRange(memory, &range) != kIOReturnSuccess)
		return NULL;
	return (struct flow *)(uintptr_t)range.address;
}

static kern_return_t events(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	EchoUserClient *client = OSDynamicCast(EchoUserClient, target);
	struct flow *flow = find_flow(client);
	struct production *p = IOMallocZero(sizeof(*p));
	(void)reference;
	if (p == NULL || flow == NULL) {
		IOFree(p, sizeof(*p));
		return flow == NULL ? kIOReturnNotReady : kIOReturnNoMemory;
	}
	p->client = client;
	p->completion = arguments->completion;
	p->flow = flow;
	p->order = (struct event_order){ arguments->scalarInput[0], arguments->scalarInput[1] };
	EchoUserClient_retain(p->client);
	OSAction_retain(p->completion);
	if (!order(p)) {
		OSSafeReleaseNULL(p->completion);
		OSSafeReleaseNULL(p->client);
		IOFree(p, sizeof(*p));
		return kIOReturnNoResources;
	}
	return kIOReturnSuccess;
}

static kern_return_t copy_bytes(IOMemoryMap *in, IOMemoryMap *out)
{
	if (IOMemoryMap_GetLength(out) != IOMemoryMap_GetLength(in))
		return kIOReturnBadArgument;
	memcpy((void *)(uintptr_t)IOMemoryMap_GetAddress(out),
	       (const void *)(uintptr_t)IOMemoryMap_GetAddress(in), IOMemoryMap_GetLength(in));
	return kIOReturnSuccess;
}

static kern_return_t call_large(OSObject *target, void *reference,
				IOUserClientMethodArguments *arguments)
{
	(void)target;
	(void)reference;
	IOMemoryMap *in = NULL, *out = NULL;
	if (arguments->structureInputDescriptor == NULL ||
	    arguments->structureOutputDescriptor == NULL)
		return kIOReturnBadArgument;
	kern_return_t ret = IOMemoryDescriptor_CreateMapping(arguments->structureInputDescriptor, 0,
							     0, 0, 0, 0, &in);
	if (ret == kIOReturnSuccess)
		ret = IOMemoryDescriptor_CreateMapping(arguments->structureOutputDescriptor, 0, 0,
						       0, 0, 0, &out);
	if (ret == kIOReturnSuccess)
		ret = copy_bytes(in, out);
	OSSafeReleaseNULL(in);
	OSSafeReleaseNULL(out);
	return ret;
}

#define ANY kIOUserClientVariableStructureSize

static const IOUserClientMethodDispatch methods[ECHO_METHODS] = {
	[ECHO_CALL] = { call, 0, ANY, 0, ANY, 0 },
	[ECHO_EVENTS] = { events, 1, 2, 0, 0, 0 },
	[ECHO_LARGE_CALL] = { call_large, 0, 0, ANY, 0, ANY },
};

kern_return_t IMPL(EchoUserClient, ExternalMethod)
{
	(void)target;
	if (selector < ECHO_METHODS)
		dispatch = &methods[selector];
	return EchoUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						   EchoUserClient_as_OSObject(self), reference);
}
