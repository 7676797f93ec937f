// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include <DriverKit/IOLib.h>

#include "Watcher.h"
#include "waiting.h"
#include "watcher.h"

enum { PRESENT_MAX = 64 };

/* All of it on the default queue. */
struct Watcher_IVars {
	IOServiceNotificationDispatchSource *source;
	OSAction *ready_action;
	IODispatchQueue *queue;
	IOService *present[PRESENT_MAX]; // kept: told of, and not ended
	unsigned n_present;
	IOService *ended; // kept: the last
	Spot *spots[PRESENT_MAX];
	unsigned n_spots;
	uint64_t n_ready, n_matched, n_terminated, n_wrong;
	bool cancelled;
	struct waiting waiting;
};

kern_return_t IMPL(Spot, Start)
{
	kern_return_t ret = Spot_super_Start(self, provider);
	return ret == kIOReturnSuccess ? Spot_RegisterService(self) : ret;
}

kern_return_t IMPL(Twin, Start)
{
	kern_return_t ret = Twin_super_Start(self, provider);
	return ret == kIOReturnSuccess ? Twin_RegisterService(self) : ret;
}

bool IMPL(Watcher, init)
{
	if (!Watcher_super_init(self))
		return false;
	self->ivars = IONewZero(struct Watcher_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Watcher, free)
{
	IOSafeDeleteNULL(self->ivars, struct Watcher_IVars, 1);
	Watcher_super_free(self);
}

kern_return_t IMPL(Watcher, Start)
{
	struct Watcher_IVars *iv = self->ivars;
	kern_return_t ret = Watcher_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = Watcher_CopyDispatchQueue(self, "Default", &iv->queue);
	if (ret == kIOReturnSuccess)
		ret = Watcher_CreateActionReady(self, 0, &iv->ready_action);
	return ret == kIOReturnSuccess ? Watcher_RegisterService(self) : ret;
}

static void forget(struct Watcher_IVars *iv)
{
	while (iv->n_present > 0)
		OSObjectRelease(iv->present[--iv->n_present]);
	OSSafeReleaseNULL(iv->ended);
}

static void cancel(struct Watcher_IVars *iv, void *context, IODispatchFunction handler)
{
	IODispatchSource_Cancel_f(
		IOServiceNotificationDispatchSource_as_IODispatchSource(iv->source), context,
		handler);
	OSSafeReleaseNULL(iv->source);
	forget(iv);
}

kern_return_t IMPL(Watcher, Stop)
{
	struct Watcher_IVars *iv = self->ivars;
	if (iv->source != NULL)
		cancel(iv, NULL, NULL);
	while (iv->n_spots > 0)
		OSObjectRelease(iv->spots[--iv->n_spots]);
	waiting_end(&iv->waiting, NULL, NULL);
	OSSafeReleaseNULL(iv->ready_action);
	OSSafeReleaseNULL(iv->queue);
	return Watcher_super_Stop(self, provider);
}

/* --- being told --- */

static void on_service(void *context, uint64_t type, IOService *service, uint64_t options)
{
	struct Watcher_IVars *iv = context;
	unsigned i = 0;
	iv->n_wrong += options != 0;
	while (i < iv->n_present && iv->present[i] != service)
		i++;
	bool present = i < iv->n_present;
	if (type == kIOServiceNotificationTypeMatched && !present && i < PRESENT_MAX) {
		OSObjectRetain(service);
		iv->present[iv->n_present++] = service;
		iv->n_matched++;
	} else if (type == kIOServiceNotificationTypeTerminated && present) {
		OSSafeReleaseNULL(iv->ended);
		iv->ended = service;
		iv->present[i] = iv->present[--iv->n_present];
		iv->n_terminated++;
	} else {
		iv->n_wrong++;
	}
}

static void deliver_again(void *context, uint64_t type, IOService *service, uint64_t options)
{
	struct Watcher_IVars *iv = context;
	on_service(context, type, service, options);
	iv->n_wrong += IOServiceNotificationDispatchSource_DeliverNotifications_f(
			       iv->source, iv, on_service) != kIOReturnBusy;
}

void IMPL(Watcher, Ready)
{
	(void)action;
	if (self->ivars->source == NULL)
		return; // this was under way when it was cancelled
	self->ivars->n_ready++;
	self->ivars->n_wrong +=
		IOServiceNotificationDispatchSource_DeliverNotifications_f(
			self->ivars->source, self->ivars, deliver_again) != kIOReturnSuccess;
}

static void on_cancelled(void *context)
{
	((struct Watcher_IVars *)context)->cancelled = true;
}

void IMPL(Watcher, Changed)
{
	(void)action;
	waiting_changed(&self->ivars->waiting);
}

/* --- what the test asks for --- */

static OSDictionary *matching(uint64_t class)
{
	static const char *const names[WATCH_CLASSES] = {
		[WATCH_PAGE] = "Page", [WATCH_SPOT] = "Spot",     [WATCH_RECLUSE] = "Recluse",
		[WATCH_TWIN] = "Twin", [WATCH_HERALD] = "Herald", [WATCH_SELF] = "Watcher",
	};
	return IOService_CreateUserClassMatchingDictionary(names[class % WATCH_CLASSES], NULL);
}

static kern_return_t create(struct Watcher_IVars *iv, uint64_t class,
			    IOServiceNotificationDispatchSource **source)
{
	OSDictionary *dictionary = matching(class);
	kern_return_t ret =
		IOServiceNotificationDispatchSource_Create(dictionary, 0, iv->queue, source);
	OSSafeReleaseNULL(dictionary);
	return ret;
}

static kern_return_t watch(struct Watcher_IVars *iv, uint64_t class)
{
	if (iv->source != NULL)
		return kIOReturnBusy;
	iv->n_ready = iv->n_matched = iv->n_terminated = iv->n_wrong = 0;
	iv->cancelled = false;
	kern_return_t ret = create(iv, class, &iv->source);
	return ret == kIOReturnSuccess ? IOServiceNotificationDispatchSource_SetHandler(
						 iv->source, iv->ready_action)
				       : ret;
}

static kern_return_t read_one(IOService *service, uint64_t *result)
{
	Page *page = OSDynamicCast(Page, service);
	return page != NULL ? Page_Read(page, result) : kIOReturnUnsupported;
}

static kern_return_t name_one(IOService *service, uint64_t *result)
{
	OSDictionary *properties = NULL;
	OSString *name = NULL;
	kern_return_t ret = IOService_CopyName(service, &name);
	OSSafeReleaseNULL(name);
	if (ret == kIOReturnSuccess)
		ret = IOService_CopyProperties(service, &properties);
	*result = OSDictionary_getObject(properties, "IOUserClass") != NULL;
	OSSafeReleaseNULL(properties);
	return ret;
}

static kern_return_t add(Watcher *self)
{
	struct Watcher_IVars *iv = self->ivars;
	IOService *made = NULL;
	if (iv->n_spots == PRESENT_MAX)
		return kIOReturnNoSpace;
	kern_return_t ret =
		Watcher_Create(self, Watcher_as_IOService(self), "SpotProperties", &made);
	if (ret == kIOReturnSuccess)
		iv->spots[iv->n_spots++] = OSDynamicCast(Spot, made);
	return ret;
}

static kern_return_t remove_oldest(struct Watcher_IVars *iv)
{
	if (iv->n_spots == 0)
		return kIOReturnUnderrun;
	Spot *spot = iv->spots[0];
	for (unsigned i = 1; i < iv->n_spots; i++)
		iv->spots[i - 1] = iv->spots[i];
	iv->n_spots--;
	kern_return_t ret = Spot_Terminate(spot, 0);
	OSSafeReleaseNULL(spot);
	return ret;
}

#define CHECK(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static uint64_t check_refusals(Watcher *self)
{
	struct Watcher_IVars *iv = self->ivars;
	IOServiceNotificationDispatchSource *source = NULL;
	OSDictionary *good = matching(WATCH_PAGE), *bad = OSDictionary_withCapacity(1);
	OSDictionary_setObject(bad, "NoSuchKey", OSDictionary_as_OSObject(good));
#define CREATE(...) IOServiceNotificationDispatchSource_Create(__VA_ARGS__)
	CHECK(CREATE(NULL, 0, iv->queue, &source) == kIOReturnBadArgument);
	CHECK(CREATE(good, 0, NULL, &source) == kIOReturnBadArgument);
	CHECK(CREATE(good, 0, iv->queue, NULL) == kIOReturnBadArgument);
	CHECK(CREATE(good, 1, iv->queue, &source) == kIOReturnUnsupported);
	CHECK(CREATE(bad, 0, iv->queue, &source) == kIOReturnBadArgument);

	OSData *large = OSData_withCapacity(17000);
	static const char page[17000];
	OSData_appendBytes(large, page, sizeof(page));
	OSDictionary *much =
		IOService_CreatePropertyMatchingDictionary("k", OSData_as_OSObject(large), NULL);
	CHECK(CREATE(much, 0, iv->queue, &source) == kIOReturnOverrun);
	OSSafeReleaseNULL(much);
	OSSafeReleaseNULL(large);
	CHECK(source == NULL);

	CHECK(CREATE(good, 0, iv->queue, &source) == kIOReturnSuccess);
	OSSafeReleaseNULL(good);
	OSSafeReleaseNULL(bad);
	IODispatchSource *base = IOServiceNotificationDispatchSource_as_IODispatchSource(source);
#define DELIVER(...) IOServiceNotificationDispatchSource_DeliverNotifications_f(__VA_ARGS__)
	CHECK(DELIVER(source, iv, NULL) == kIOReturnBadArgument);
	OSAction *other = NULL;
	CHECK(Watcher_CreateActionReady(self, 0, &other) == kIOReturnSuccess);
	CHECK(IOServiceNotificationDispatchSource_SetHandler(source, other) == kIOReturnSuccess);
	OSSafeReleaseNULL(other);
	CHECK(IODispatchSource_Cancel_f(base, NULL, NULL) == kIOReturnSuccess);
	CHECK(DELIVER(source, iv, on_service) == kIOReturnUnsupported);
	OSSafeReleaseNULL(source);
	return 0;
}

static kern_return_t many(struct Watcher_IVars *iv, uint64_t *n)
{
	enum { MORE_THAN_ENOUGH = 100 };
	IOServiceNotificationDispatchSource *sources[MORE_THAN_ENOUGH] = { 0 };
	kern_return_t ret = kIOReturnSuccess;
	for (*n = 0; *n < MORE_THAN_ENOUGH && ret == kIOReturnSuccess; *n += ret == 0)
		ret = create(iv, WATCH_PAGE, &sources[*n]);
	for (unsigned i = 0; i < *n; i++)
		OSSafeReleaseNULL(sources[i]);
	return ret == kIOReturnNoResources ? kIOReturnSuccess : kIOReturnError;
}

static kern_return_t on_source(Watcher *self, uint64_t what, uint64_t argument)
{
	struct Watcher_IVars *iv = self->ivars;
	if (iv->source == NULL)
		return kIOReturnNotReady;
	IODispatchSource *base =
		IOServiceNotificationDispatchSource_as_IODispatchSource(iv->source);
	switch (what) {
	case WATCHER_ENABLE:
		return IODispatchSource_SetEnable(base, argument != 0);
	case WATCHER_HANDLE:
		return IOServiceNotificationDispatchSource_SetHandler(
			iv->source, argument != 0 ? iv->ready_action : NULL);
	case WATCHER_DELIVER:
		return IOServiceNotificationDispatchSource_DeliverNotifications_f(iv->source, iv,
										  on_service);
	default:
		return IODispatchSource_CheckForWork(base, true);
	}
}

kern_return_t IMPL(Watcher, Try)
{
	struct Watcher_IVars *iv = self->ivars;
	IOService *present = iv->n_present > 0 ? iv->present[argument % iv->n_present] : NULL;
	if (what >= WATCHER_WAIT)
		return waiting_try(&iv->waiting, self,
				   what == WATCHER_WAIT && argument == 1
					   ? Watcher_as_IOService(self)
					   : present,
				   what, argument, result);
	switch (what) {
	case WATCHER_WATCH:
		return watch(iv, argument);
	case WATCHER_CANCEL:
		if (iv->source != NULL)
			cancel(iv, iv, on_cancelled);
		*result = iv->cancelled;
		return kIOReturnSuccess;
	case WATCHER_READY:
		*result = iv->n_ready;
		return kIOReturnSuccess;
	case WATCHER_MATCHED:
		*result = iv->n_matched;
		return kIOReturnSuccess;
	case WATCHER_TERMINATED:
		*result = iv->n_terminated;
		return kIOReturnSuccess;
	case WATCHER_WRONG:
		*result = iv->n_wrong;
		return kIOReturnSuccess;
	case WATCHER_READ:
		return read_one(present, result);
	case WATCHER_READ_ENDED:
		return read_one(iv->ended, result);
	case WATCHER_NAME:
		return name_one(present, result);
	case WATCHER_ADD:
		return add(self);
	case WATCHER_REMOVE:
		return remove_oldest(iv);
	case WATCHER_REFUSALS:
		*result = check_refusals(self);
		return kIOReturnSuccess;
	case WATCHER_MANY:
		return many(iv, result);
	default:
		return on_source(self, what, argument);
	}
}

kern_return_t IMPL(Watcher, NewUserClient)
{
	IOService *client = NULL;
	(void)type;
	kern_return_t ret =
		Watcher_Create(self, Watcher_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

static kern_return_t method(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	IOService *client = OSDynamicCast(IOService, target);
	Watcher *watcher = OSDynamicCast(Watcher, IOService_GetProvider(client));
	(void)reference;
	return Watcher_Try(watcher, arguments->selector, arguments->scalarInput[0],
			   &arguments->scalarOutput[0]);
}

kern_return_t IMPL(WatcherUserClient, ExternalMethod)
{
	static const IOUserClientMethodDispatch row = {
		.function = method,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	};
	(void)dispatch;
	(void)target;
	return WatcherUserClient_super_ExternalMethod(
		self, selector, arguments, &row, WatcherUserClient_as_OSObject(self), reference);
}
