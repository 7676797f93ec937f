// SPDX-License-Identifier: Apache-2.0
#include "waiting.h"

#include "Watcher.h"
#include "watcher.h"

void waiting_changed(struct waiting *w)
{
	if (w->source == NULL)
		return; // this was under way when it was cancelled
	w->n_changed++;
	if (w->again)
		IOServiceStateNotificationDispatchSource_StateNotificationBegin(w->source);
}

void waiting_end(struct waiting *w, void *context, IODispatchFunction handler)
{
	if (w->source == NULL)
		return;
	IODispatchSource_Cancel_f(
		IOServiceStateNotificationDispatchSource_as_IODispatchSource(w->source), context,
		handler);
	OSSafeReleaseNULL(w->source);
	OSSafeReleaseNULL(w->service);
}

static void on_ended(void *context)
{
	((struct waiting *)context)->ended = true;
}

static kern_return_t create(Watcher *self, IOService *service,
			    IOServiceStateNotificationDispatchSource **source)
{
	IODispatchQueue *queue = NULL;
	OSArray *items = OSArray_withCapacity(2);
	OSString *level = OSString_withCString(LEVEL_ITEM), *other = OSString_withCString("Other");
	OSArray_setObject(items, OSString_as_OSObject(level));
	OSArray_setObject(items, OSString_as_OSObject(other));
	kern_return_t ret = Watcher_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IOServiceStateNotificationDispatchSource_Create(service, items, queue,
								      source);
	OSSafeReleaseNULL(other);
	OSSafeReleaseNULL(level);
	OSSafeReleaseNULL(items);
	OSSafeReleaseNULL(queue);
	return ret;
}

static kern_return_t begin_waiting(struct waiting *w, Watcher *self, IOService *service)
{
	OSAction *action = NULL;
	if (w->source != NULL || service == NULL)
		return kIOReturnNotReady;
	kern_return_t ret = create(self, service, &w->source);
	if (ret != kIOReturnSuccess)
		return ret;
	OSObjectRetain(service);
	w->service = service;
	w->n_changed = 0;
	w->ended = w->again = false;
	ret = Watcher_CreateActionChanged(self, 0, &action);
	if (ret == kIOReturnSuccess)
		ret = IOServiceStateNotificationDispatchSource_SetHandler(w->source, action);
	OSSafeReleaseNULL(action);
	return ret;
}

static kern_return_t read_level(IOService *service, uint64_t *value)
{
	OSString *item = OSString_withCString(LEVEL_ITEM);
	OSDictionary *found = NULL;
	kern_return_t ret = IOService_StateNotificationItemCopy(service, item, &found);
	OSSafeReleaseNULL(item);
	if (ret != kIOReturnSuccess)
		return ret;
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(found, LEVEL_VALUE));
	*value = number != NULL ? OSNumber_unsigned64BitValue(number) : UINT64_MAX;
	OSSafeReleaseNULL(found);
	return kIOReturnSuccess;
}

static kern_return_t set_level(Watcher *self, uint64_t value)
{
	OSString *item = OSString_withCString(LEVEL_ITEM);
	OSDictionary *level = OSDictionary_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(value, 64);
	OSDictionary_setObject(level, LEVEL_VALUE, OSNumber_as_OSObject(number));
	kern_return_t ret = Watcher_StateNotificationItemCreate(self, item, NULL);
	if (ret == kIOReturnSuccess || ret == kIOReturnExclusiveAccess)
		ret = Watcher_StateNotificationItemSet(self, item, level);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(level);
	OSSafeReleaseNULL(item);
	return ret;
}

static kern_return_t many(Watcher *self, uint64_t *n)
{
	enum { MORE_THAN_ENOUGH = 100 };
	IOServiceStateNotificationDispatchSource *sources[MORE_THAN_ENOUGH] = { 0 };
	IOService *service = Watcher_as_IOService(self);
	kern_return_t ret = kIOReturnSuccess;
	for (*n = 0; *n < MORE_THAN_ENOUGH && ret == kIOReturnSuccess; *n += ret == 0)
		ret = create(self, service, &sources[*n]);
	for (unsigned i = 0; i < *n; i++)
		OSSafeReleaseNULL(sources[i]);
	return ret == kIOReturnNoResources ? kIOReturnSuccess : kIOReturnError;
}

#define CHECK(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static uint64_t check_wrong(Watcher *self)
{
	IOServiceStateNotificationDispatchSource *source = NULL;
	IOService *service = Watcher_as_IOService(self);
	IOService *device = Watcher_GetProvider(self); // which has no state
	IODispatchQueue *queue = NULL;
	OSArray *none = OSArray_withCapacity(1), *numbers = OSArray_withCapacity(1);
	OSNumber *number = OSNumber_withNumber(1, 8);
	OSArray_setObject(numbers, OSNumber_as_OSObject(number));
	CHECK(Watcher_CopyDispatchQueue(self, "Default", &queue) == kIOReturnSuccess);
#define CREATE(...) IOServiceStateNotificationDispatchSource_Create(__VA_ARGS__)
	CHECK(CREATE(NULL, none, queue, &source) == kIOReturnBadArgument);
	CHECK(CREATE(service, NULL, queue, &source) == kIOReturnBadArgument);
	CHECK(CREATE(service, none, NULL, &source) == kIOReturnBadArgument);
	CHECK(CREATE(service, none, queue, NULL) == kIOReturnBadArgument);
	CHECK(CREATE(service, none, queue, &source) == kIOReturnBadArgument);
	CHECK(CREATE(service, numbers, queue, &source) == kIOReturnBadArgument);
	CHECK(create(self, device, &source) == kIOReturnNotFound);
	CHECK(source == NULL);
	CHECK(create(self, service, &source) == kIOReturnSuccess);
	IODispatchSource *base =
		IOServiceStateNotificationDispatchSource_as_IODispatchSource(source);
	CHECK(IODispatchSource_Cancel_f(base, NULL, NULL) == kIOReturnSuccess);
	CHECK(IOServiceStateNotificationDispatchSource_StateNotificationBegin(source) ==
	      kIOReturnUnsupported);
	OSSafeReleaseNULL(source);
	OSSafeReleaseNULL(queue);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(numbers);
	OSSafeReleaseNULL(none);
	return 0;
}

static kern_return_t on_source(struct waiting *w, uint64_t what, uint64_t argument,
			       uint64_t *result)
{
	if (w->source == NULL)
		return kIOReturnNotReady;
	switch (what) {
	case WATCHER_BEGIN:
		return IOServiceStateNotificationDispatchSource_StateNotificationBegin(w->source);
	case WATCHER_LEVEL:
		return read_level(w->service, result);
	default:
		return IODispatchSource_SetEnable(
			IOServiceStateNotificationDispatchSource_as_IODispatchSource(w->source),
			argument != 0);
	}
}

kern_return_t waiting_try(struct waiting *w, Watcher *self, IOService *service, uint64_t what,
			  uint64_t argument, uint64_t *result)
{
	switch (what) {
	case WATCHER_WAIT:
		return begin_waiting(w, self, service);
	case WATCHER_AGAIN:
		w->again = argument != 0;
		return kIOReturnSuccess;
	case WATCHER_CHANGED:
		*result = w->n_changed;
		return kIOReturnSuccess;
	case WATCHER_SET_LEVEL:
		return set_level(self, argument);
	case WATCHER_WAIT_END:
		waiting_end(w, w, on_ended);
		*result = w->ended;
		return kIOReturnSuccess;
	case WATCHER_WAIT_MANY:
		return many(self, result);
	case WATCHER_WAIT_WRONG:
		*result = check_wrong(self);
		return kIOReturnSuccess;
	default:
		return on_source(w, what, argument, result);
	}
}
