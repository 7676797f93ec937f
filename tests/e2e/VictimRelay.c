// SPDX-License-Identifier: Apache-2.0
/*
 * A driver's two data queues: it takes orders out and puts answers in, the same bytes, on a queue
 * of its own. An answer for which there is no room stays an order until the application has made
 * some.
 */

#include <stdlib.h>
#include <string.h>

#include <DriverKit/IOLib.h>
#include <opendext/driver.h>

#include <IOKit/IODataQueueClient.h>

#include "Victim.h"
#include "victim.h"

struct VictimRelay_IVars {
	IODispatchQueue *queue;
	IODataQueueDispatchSource *orders, *answers;
	OSAction *ordered, *serviced, *answered;
	OSAction *listener; // VICTIM_QUEUE_LISTEN; the queue's
	_Atomic uint64_t tells, completions;
	uint32_t entry_size; // the queue's
	uint8_t entry[VICTIM_QUEUE_CAPACITY];
};

bool IMPL(VictimRelay, init)
{
	if (!VictimRelay_super_init(self))
		return false;
	self->ivars = IONewZero(struct VictimRelay_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(VictimRelay, free)
{
	IOSafeDeleteNULL(self->ivars, struct VictimRelay_IVars, 1);
	VictimRelay_super_free(self);
}

static kern_return_t make_queues(struct VictimRelay_IVars *iv)
{
	kern_return_t ret = IODispatchQueue_Create("relay", 0, 0, &iv->queue);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_Create(VICTIM_QUEUE_CAPACITY, iv->queue,
						       &iv->orders);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_Create(VICTIM_QUEUE_CAPACITY, iv->queue,
						       &iv->answers);
	return ret;
}

static kern_return_t make_actions(VictimRelay *self)
{
	struct VictimRelay_IVars *iv = self->ivars;
	kern_return_t ret = VictimRelay_CreateActionordered(self, 0, &iv->ordered);
	if (ret == kIOReturnSuccess)
		ret = VictimRelay_CreateActionserviced(self, 0, &iv->serviced);
	if (ret == kIOReturnSuccess)
		ret = VictimRelay_CreateActionanswered(self, 0, &iv->answered);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_SetDataAvailableHandler(iv->orders, iv->ordered);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_SetDataServicedHandler(iv->answers, iv->serviced);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDispatchSource_SetDataAvailableHandler(iv->answers, iv->answered);
	return ret;
}

static void drop(IODataQueueDispatchSource **source, OSAction **action)
{
	if (*source != NULL)
		IODataQueueDispatchSource_Cancel_f(*source, NULL, NULL);
	OSSafeReleaseNULL(*source);
	OSSafeReleaseNULL(*action);
}

static void let_listener_go(void *context)
{
	struct VictimRelay_IVars *iv = context;
	OSSafeReleaseNULL(iv->listener);
}

void IMPL(VictimRelay, teardown)
{
	struct VictimRelay_IVars *iv = self->ivars;
	if (iv->queue != NULL)
		IODispatchQueue_DispatchSync_f(iv->queue, iv, let_listener_go);
	drop(&iv->orders, &iv->ordered);
	drop(&iv->answers, &iv->answered);
	OSSafeReleaseNULL(iv->serviced);
	OSSafeReleaseNULL(iv->queue);
}

/* --- from one to the other, on the queue --- */

static void read_order(void *context, const void *data, size_t size)
{
	struct VictimRelay_IVars *iv = context;
	iv->entry_size = (uint32_t)size;
	if (size != 0)
		memcpy(iv->entry, data, size);
}

static void write_answer(void *context, void *data, size_t size)
{
	const struct VictimRelay_IVars *iv = context;
	memcpy(data, iv->entry, size);
}

static void forget(void *context, const void *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
}

/* Also the first time, which makes it wait for orders. */
static void pass_on(void *context)
{
	struct VictimRelay_IVars *iv = context;
	bool tell_producer = false, tell_consumer = false;
	while (IODataQueueDispatchSource_Peek_f(iv->orders, iv, read_order) == kIOReturnSuccess &&
	       IODataQueueDispatchSource_EnqueueWithCoalesce_f(iv->answers, iv->entry_size,
							       &tell_consumer, iv,
							       write_answer) == kIOReturnSuccess)
		IODataQueueDispatchSource_DequeueWithCoalesce_f(iv->orders, &tell_producer, iv,
								forget);
	if (tell_consumer)
		IODataQueueDispatchSource_SendDataAvailable(iv->answers);
}

void IMPL(VictimRelay, ordered)
{
	(void)action;
	pass_on(self->ivars);
}

void IMPL(VictimRelay, serviced)
{
	(void)action;
	pass_on(self->ivars);
}

void IMPL(VictimRelay, answered)
{
	struct VictimRelay_IVars *iv = self->ivars;
	(void)action;
	if (iv->listener == NULL)
		return;
	iv->completions++;
	dext_async_complete(iv->listener, kIOReturnSuccess, NULL, 0);
}

kern_return_t IMPL(VictimRelay, setup)
{
	kern_return_t ret = make_queues(self->ivars);
	if (ret == kIOReturnSuccess)
		ret = make_actions(self);
	if (ret == kIOReturnSuccess)
		ret = IODispatchQueue_DispatchSync_f(self->ivars->queue, self->ivars, pass_on);
	if (ret != kIOReturnSuccess)
		VictimRelay_teardown(self);
	return ret;
}

/* --- for the application --- */

kern_return_t IMPL(VictimRelay, copyMemory)
{
	return IODataQueueDispatchSource_CopyMemory(
		orders ? self->ivars->orders : self->ivars->answers, memory);
}

kern_return_t IMPL(VictimRelay, tell)
{
	self->ivars->tells++;
	switch (what) {
	case DEXT_DATA_QUEUE_AVAILABLE:
		return IODataQueueDispatchSource_SendDataAvailable(self->ivars->orders);
	case DEXT_DATA_QUEUE_SERVICED:
		return IODataQueueDispatchSource_SendDataServiced(self->ivars->answers);
	default:
		return kIOReturnBadArgument;
	}
}

struct listening {
	struct VictimRelay_IVars *iv;
	OSAction *completion;
};

static void begin_listening(void *context)
{
	const struct listening *listening = context;
	OSAction *old = listening->iv->listener;
	OSAction_retain(listening->completion);
	listening->iv->listener = listening->completion;
	OSSafeReleaseNULL(old);
}

kern_return_t IMPL(VictimRelay, listen)
{
	struct listening listening = { self->ivars, completion };
	return IODispatchQueue_DispatchSync_f(self->ivars->queue, &listening, begin_listening);
}

struct bursting {
	struct VictimRelay_IVars *iv;
	uint64_t count, fit;
	kern_return_t status;
};

static void put_burst(void *context)
{
	struct bursting *b = context;
	while (b->fit < b->count) {
		b->iv->entry_size = sizeof(b->fit);
		memcpy(b->iv->entry, &b->fit, sizeof(b->fit));
		b->status = IODataQueueDispatchSource_Enqueue_f(b->iv->answers, b->iv->entry_size,
								b->iv, write_answer);
		if (b->status != kIOReturnSuccess)
			return;
		b->fit++;
	}
}

kern_return_t IMPL(VictimRelay, burst)
{
	struct bursting bursting = { .iv = self->ivars, .count = count };
	kern_return_t ret =
		IODispatchQueue_DispatchSync_f(self->ivars->queue, &bursting, put_burst);
	*fit = bursting.fit;
	return ret != kIOReturnSuccess || bursting.status == kIOReturnOverrun ? ret
									      : bursting.status;
}

void IMPL(VictimRelay, getCounts)
{
	*tells = self->ivars->tells;
	*completions = self->ivars->completions;
}
