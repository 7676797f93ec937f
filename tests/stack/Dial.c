// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include <DriverKit/IOLib.h>
#include <DriverKit/IOServiceStateNotificationDispatchSource.h>

#include "Dial.h"
#include "dial.h"

struct Dial_IVars {
	Gauge *gauge; // kept by the provider's stay
	OSAction *seen_action;
	_Atomic uint64_t seen; // Try, which is LOCALONLY, reads it on its caller's queue
	Needle *kept;
	OSAction *alarm; // a proxy of the gauge's
};

bool IMPL(Dial, init)
{
	if (!Dial_super_init(self))
		return false;
	self->ivars = IONewZero(struct Dial_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Dial, free)
{
	if (self->ivars != NULL) {
		OSSafeReleaseNULL(self->ivars->kept);
		OSSafeReleaseNULL(self->ivars->alarm);
	}
	IOSafeDeleteNULL(self->ivars, struct Dial_IVars, 1);
	Dial_super_free(self);
}

kern_return_t IMPL(Dial, Start)
{
	kern_return_t ret = Dial_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	self->ivars->gauge = OSDynamicCast(Gauge, provider);
	if (self->ivars->gauge == NULL)
		return kIOReturnUnsupported;
	ret = Gauge_Attach(self->ivars->gauge, true);
	if (ret == kIOReturnSuccess)
		ret = Dial_CreateActionSeen(self, 0, &self->ivars->seen_action);
	if (ret != kIOReturnSuccess)
		return ret;
	return Dial_RegisterService(self);
}

kern_return_t IMPL(Dial, Stop)
{
	kern_return_t ret = Gauge_Attach(self->ivars->gauge, false);
	IOLog("dial stops: %s", IOReturnString(ret));
	if (self->ivars->seen_action != NULL)
		OSAction_Cancel_f(self->ivars->seen_action, NULL, NULL);
	OSSafeReleaseNULL(self->ivars->seen_action);
	return Dial_super_Stop(self, provider);
}

kern_return_t IMPL(Dial, NewUserClient)
{
	(void)type;
	IOService *client = NULL;
	kern_return_t ret =
		Dial_Create(self, Dial_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

void IMPL(Dial, Seen)
{
	(void)action;
	if (value == self->ivars->seen)
		self->ivars->seen++;
	else
		self->ivars->seen = UINT64_MAX;
}

/* --- what the test asks for --- */

static kern_return_t describe(Gauge *gauge, uint64_t *right)
{
	OSDictionary *question = OSDictionary_withCapacity(1), *answer = NULL;
	OSNumber *number = OSNumber_withNumber(6, 32);
	OSDictionary_setObject(question, "Question", OSNumber_as_OSObject(number));
	kern_return_t ret = Gauge_Describe(gauge, question, &answer);
	OSString *text = OSDynamicCast(OSString, OSDictionary_getObject(answer, "Answer"));
	*right = ret == kIOReturnSuccess && text != NULL &&
		 OSString_isEqualToCString(text, "forty-two") &&
		 OSObject_isEqualTo(OSDictionary_getObject(answer, "Question"),
				    OSNumber_as_OSObject(number));
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(question);
	OSSafeReleaseNULL(answer);
	return ret;
}

static uint64_t count_bytes(IOMemoryDescriptor *memory, uint8_t value)
{
	IOMemoryMap *map = NULL;
	uint64_t n = 0;
	if (IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map) != kIOReturnSuccess)
		return 0;
	const uint8_t *bytes = (const uint8_t *)(uintptr_t)IOMemoryMap_GetAddress(map);
	for (uint64_t i = 0; i < IOMemoryMap_GetLength(map); i++)
		n += bytes[i] == value;
	OSSafeReleaseNULL(map);
	return n;
}

static kern_return_t complement(Gauge *gauge, uint64_t *right)
{
	IOBufferMemoryDescriptor *buffer = NULL;
	IOAddressSegment range;
	kern_return_t ret =
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, 65536, 0, &buffer);
	if (ret != kIOReturnSuccess)
		return ret;
	IOBufferMemoryDescriptor_SetLength(buffer, 65536);
	IOBufferMemoryDescriptor_GetAddressRange(buffer, &range);
	memset((void *)(uintptr_t)range.address, 0x0f, range.length);
	ret = Gauge_Complement(gauge, IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer));
	*right = count_bytes(IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer), 0xf0);
	OSSafeReleaseNULL(buffer);
	return ret;
}

static kern_return_t page(Gauge *gauge, uint64_t *right)
{
	IOMemoryDescriptor *memory = NULL;
	kern_return_t ret = Gauge_CopyPage(gauge, &memory);
	if (ret == kIOReturnSuccess)
		*right = count_bytes(memory, 0x5a);
	OSSafeReleaseNULL(memory);
	return ret;
}

static kern_return_t move_needle(Gauge *gauge, int32_t by, bool home, uint64_t *result)
{
	Needle *needle = NULL;
	int64_t position = 0;
	kern_return_t ret = Gauge_CopyNeedle(gauge, &needle);
	if (ret == kIOReturnSuccess)
		ret = Needle_Move(needle, by, &position);
	if (ret == kIOReturnSuccess)
		ret = Needle_Move(needle, by, &position);
	if (ret == kIOReturnSuccess && home)
		ret = Gauge_Look(gauge, needle, &position);
	*result = (uint64_t)position;
	OSSafeReleaseNULL(needle);
	return ret;
}

static kern_return_t same_needle(Gauge *gauge, uint64_t *same)
{
	Needle *first = NULL, *again = NULL;
	kern_return_t ret = Gauge_CopyNeedle(gauge, &first);
	if (ret == kIOReturnSuccess)
		ret = Gauge_CopyLastNeedle(gauge, &again);
	*same = first == again;
	OSSafeReleaseNULL(again);
	OSSafeReleaseNULL(first);
	return ret;
}

static kern_return_t allocate(uint64_t *none)
{
	Gauge *made = OSTypeAlloc(Gauge);
	*none = made == NULL;
	return kIOReturnSuccess;
}

static kern_return_t wait_for_range(Dial *self, OSArray *items)
{
	IOServiceStateNotificationDispatchSource *source = NULL;
	IODispatchQueue *queue = NULL;
	kern_return_t ret = Dial_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		ret = IOServiceStateNotificationDispatchSource_Create(
			Gauge_as_IOService(self->ivars->gauge), items, queue, &source);
	if (ret == kIOReturnSuccess)
		ret = IOServiceStateNotificationDispatchSource_StateNotificationBegin(source);
	OSSafeReleaseNULL(source);
	OSSafeReleaseNULL(queue);
	return ret;
}

static kern_return_t range(Dial *self, uint64_t *high)
{
	OSString *item = OSString_withCString("Range");
	OSArray *items = OSArray_withCapacity(1);
	OSDictionary *value = NULL;
	OSArray_setObject(items, OSString_as_OSObject(item));
	kern_return_t ret = Gauge_StateNotificationItemCopy(self->ivars->gauge, item, &value);
	if (ret == kIOReturnSuccess) {
		*high = OSNumber_unsigned64BitValue(
			OSDynamicCast(OSNumber, OSDictionary_getObject(value, "High")));
		ret = wait_for_range(self, items);
	}
	OSSafeReleaseNULL(value);
	OSSafeReleaseNULL(items);
	OSSafeReleaseNULL(item);
	return ret;
}

static kern_return_t keep_alarm(Dial *self, uint64_t value)
{
	kern_return_t ret = Gauge_CopyAlarm(self->ivars->gauge, &self->ivars->alarm);
	if (ret == kIOReturnSuccess)
		Gauge_Reading(self->ivars->gauge, self->ivars->alarm, value);
	return ret;
}

kern_return_t IMPL(Dial, Try)
{
	Gauge *gauge = self->ivars->gauge;
	uint64_t other;
	switch (what) {
	case DIAL_READ:
		return Gauge_Read(gauge, (uint32_t)argument, result);
	case DIAL_DESCRIBE:
		return describe(gauge, result);
	case DIAL_WATCH:
		return Gauge_Watch(gauge, self->ivars->seen_action, (uint32_t)argument);
	case DIAL_SEEN:
		*result = self->ivars->seen;
		return kIOReturnSuccess;
	case DIAL_COMPLEMENT:
		return complement(gauge, result);
	case DIAL_PAGE:
		return page(gauge, result);
	case DIAL_NEEDLE:
	case DIAL_HOME:
		return move_needle(gauge, (int32_t)argument, what == DIAL_HOME, result);
	case DIAL_SAME_NEEDLE:
		return same_needle(gauge, result);
	case DIAL_NEEDLES:
		Gauge_Forget(gauge);
		return Gauge_Count(gauge, result);
	case DIAL_KEEP_NEEDLE:
		return Gauge_CopyNeedle(gauge, &self->ivars->kept);
	case DIAL_KEEP_ALARM:
		return keep_alarm(self, argument);
	case DIAL_DROP_ALARM:
		OSSafeReleaseNULL(self->ivars->alarm);
		return kIOReturnSuccess;
	case DIAL_ALARM_SUM:
		return Gauge_CountAlarms(gauge, result, &other);
	case DIAL_ABORTED:
		return Gauge_CountAlarms(gauge, &other, result);
	case DIAL_LOCALONLY:
		return Gauge_Private(gauge);
	case DIAL_ALLOCATE:
		return allocate(result);
	case DIAL_RANGE:
		return range(self, result);
	case DIAL_DIE:
		return Gauge_Die(gauge);
	default:
		return kIOReturnBadArgument;
	}
}

static kern_return_t method(OSObject *target, void *reference,
			    IOUserClientMethodArguments *arguments)
{
	IOService *client = OSDynamicCast(IOService, target);
	Dial *dial = OSDynamicCast(Dial, IOService_GetProvider(client));
	(void)reference;
	return Dial_Try(dial, arguments->selector, arguments->scalarInput[0],
			&arguments->scalarOutput[0]);
}

kern_return_t IMPL(DialUserClient, ExternalMethod)
{
	static const IOUserClientMethodDispatch row = {
		.function = method,
		.checkScalarInputCount = 1,
		.checkScalarOutputCount = 1,
	};
	(void)dispatch;
	(void)target;
	return DialUserClient_super_ExternalMethod(self, selector, arguments, &row,
						   DialUserClient_as_OSObject(self), reference);
}
