// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>
#include <string.h>

#include <DriverKit/IOLib.h>
#include <opendext/driver.h>

#include "Rules.h"
#include "rules.h"

struct Rules_IVars {
	IOService *child;                 // RULE_CREATE
	IOBufferMemoryDescriptor *memory; // RULE_MEMORY
};

struct RulesUserClient_IVars {
	kern_return_t early_memory;
};

/* Of the whole process, for every application. */
static _Atomic uint64_t starts, stops, children, clients, client_stops;

/* --- what is made with Create --- */

bool IMPL(RulesChild, init)
{
	if (!RulesChild_super_init(self))
		return false;
	atomic_fetch_add(&children, 1);
	return true;
}

void IMPL(RulesChild, free)
{
	atomic_fetch_sub(&children, 1);
	RulesChild_super_free(self);
}

kern_return_t IMPL(RulesChild, Start)
{
	kern_return_t ret = RulesChild_super_Start(self, provider);
	if (ret != kIOReturnSuccess)
		return ret;
	atomic_fetch_add(&starts, 1);
	return RulesChild_RegisterService(self);
}

kern_return_t IMPL(RulesChild, Stop)
{
	atomic_fetch_add(&stops, 1);
	return RulesChild_super_Stop(self, provider);
}

/* --- the service --- */

bool IMPL(Rules, init)
{
	if (!Rules_super_init(self))
		return false;
	self->ivars = IONewZero(struct Rules_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Rules, free)
{
	if (self->ivars != NULL) {
		OSSafeReleaseNULL(self->ivars->child);
		OSSafeReleaseNULL(self->ivars->memory);
	}
	IOSafeDeleteNULL(self->ivars, struct Rules_IVars, 1);
	Rules_super_free(self);
}

kern_return_t IMPL(Rules, Start)
{
	kern_return_t ret = Rules_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, 4096, 0,
						      &self->ivars->memory);
	return ret == kIOReturnSuccess ? Rules_RegisterService(self) : ret;
}

kern_return_t IMPL(RulesEarly, Start)
{
	IOService *child = NULL;
	kern_return_t ret = RulesEarly_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = RulesEarly_RegisterService(self);
	if (ret == kIOReturnSuccess)
		ret = RulesEarly_Create(self, RulesEarly_as_IOService(self), "Child", &child);
	OSSafeReleaseNULL(child);
	return ret == kIOReturnSuccess ? kIOReturnNotResponding : ret;
}

kern_return_t IMPL(RulesParent, Start)
{
	IOService *child = NULL;
	kern_return_t ret = RulesParent_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = RulesParent_Create(self, RulesParent_as_IOService(self), "Child", &child);
	OSSafeReleaseNULL(child);
	return ret;
}

kern_return_t IMPL(RulesFirstborn, Start)
{
	kern_return_t ret = RulesFirstborn_super_Start(self, provider);
	return ret == kIOReturnSuccess ? RulesFirstborn_RegisterService(self) : ret;
}

static kern_return_t create(Rules *self, IOService *provider, const char *key)
{
	IOService *made = NULL;
	kern_return_t ret = Rules_Create(self, provider, key, &made);
	OSSafeReleaseNULL(self->ivars->child);
	self->ivars->child = made;
	return ret;
}

kern_return_t IMPL(Rules, NewUserClient)
{
	static const char *const keys[] = {
		[RULES_TYPE_GOOD] = "UserClientProperties",
		[RULES_TYPE_NO_CLIENT] = "Child",
		[RULES_TYPE_NO_START] = "ShyClient",
	};
	IOService *made = NULL;
	if (type == RULES_TYPE_NOTHING)
		return kIOReturnSuccess;
	if (type == RULES_TYPE_DEFAULT || type > RULES_TYPE_NO_START)
		return Rules_super_NewUserClient(self, type, userClient);
	kern_return_t ret = Rules_Create(self, Rules_as_IOService(self), keys[type], &made);
	if (type != RULES_TYPE_NO_CLIENT) {
		*userClient = OSDynamicCast(IOUserClient, made);
		return ret;
	}
	/* What C++ would let nobody do without a cast either. */
	*userClient = (IOUserClient *)(void *)made;
	return ret;
}

/* --- its rules --- */

kern_return_t IMPL(Rules, TryChild)
{
	IOService *this_service = Rules_as_IOService(self), *child = self->ivars->child;
	kern_return_t ret;
	switch (rule) {
	case RULE_CREATE_FOR_ANOTHER:
		return create(self, Rules_GetProvider(self), "Child");
	case RULE_CREATE_WITHOUT_KEY:
		return create(self, this_service, "NoSuchKey");
	case RULE_CREATE_FROM_A_STRING:
		return create(self, this_service, "AString");
	case RULE_CREATE_WITHOUT_A_CLASS:
		return create(self, this_service, "WithoutAClass");
	case RULE_CREATE_UNKNOWN:
		return create(self, this_service, "UnknownClass");
	case RULE_CREATE_NO_SERVICE:
		return create(self, this_service, "NoService");
	case RULE_CREATE:
		ret = create(self, this_service, "Child");
		*result = atomic_load(&starts);
		return ret;
	case RULE_CHILD_PROVIDER:
		*result = IOService_GetProvider(child) == this_service;
		return kIOReturnSuccess;
	case RULE_TERMINATE_OPTIONS:
		return IOService_Terminate(child, 1);
	case RULE_TERMINATE_ITSELF:
		return Rules_Terminate(self, 0);
	case RULE_TERMINATE:
	case RULE_TERMINATE_AGAIN:
		ret = IOService_Terminate(child, 0);
		*result = atomic_load(&stops);
		return ret;
	case RULE_STOPS:
		*result = atomic_load(&stops);
		return kIOReturnSuccess;
	case RULE_FORGET:
		OSSafeReleaseNULL(self->ivars->child);
		return kIOReturnSuccess;
	default:
		*result = atomic_load(&children);
		return kIOReturnSuccess;
	}
}

static kern_return_t set_properties(IOService *service)
{
	OSDictionary *properties = OSDictionary_withCapacity(2);
	OSNumber *number = OSNumber_withNumber(42, 32);
	OSDictionary_setObject(properties, "Answer", OSNumber_as_OSObject(number));
	OSDictionary_setObject(properties, "AString", OSNumber_as_OSObject(number));
	kern_return_t ret = IOService_SetProperties(service, properties);
	OSSafeReleaseNULL(number);
	OSSafeReleaseNULL(properties);
	return ret;
}

static bool is_42(OSDictionary *properties, const char *key)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, key));
	return number != NULL && OSNumber_unsigned64BitValue(number) == 42;
}

static kern_return_t set_long_name(Rules *self)
{
	char name[sizeof(IOServiceName) + 1];
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	return Rules_SetName(self, name);
}

kern_return_t IMPL(Rules, TryProperties)
{
	OSDictionary *properties = NULL;
	kern_return_t ret;
	switch (rule) {
	case RULE_SET_PROPERTIES:
		return set_properties(Rules_as_IOService(self));
	case RULE_SET_PROVIDER:
		return set_properties(Rules_GetProvider(self));
	case RULE_COPY_PROPERTIES:
		ret = Rules_CopyProperties(self, &properties);
		*result = ret == kIOReturnSuccess && is_42(properties, "Answer") &&
			  is_42(properties, "AString") &&
			  OSDictionary_getObject(properties, "Child") != NULL;
		OSSafeReleaseNULL(properties);
		return ret;
	case RULE_SET_NAME:
		return Rules_SetName(self, RULES_NAME);
	case RULE_SET_LONG_NAME:
		return set_long_name(self);
	default:
		return Rules_GetRegistryEntryID(self, result);
	}
}

/* --- whose a result is --- */

static kern_return_t count_borrowed(Rules *self, uint64_t *left)
{
	IOService *provider = Rules_GetProvider(self);
	uint32_t before = OSObjectGetRetainCount(provider);
	for (int i = 0; i < 3; i++)
		provider = Rules_GetProvider(self);
	*left = OSObjectGetRetainCount(provider) - before;
	return kIOReturnSuccess;
}

static kern_return_t count_returned(Rules *self, uint64_t *left)
{
	IODispatchQueue *queue = NULL, *again = NULL;
	kern_return_t ret = Rules_CopyDispatchQueue(self, "Default", &queue);
	if (ret != kIOReturnSuccess)
		return ret;
	uint32_t before = OSObjectGetRetainCount(queue);
	ret = Rules_CopyDispatchQueue(self, "Default", &again);
	*left = OSObjectGetRetainCount(queue) - before;
	OSSafeReleaseNULL(again);
	OSSafeReleaseNULL(queue);
	return ret;
}

static kern_return_t look_at_queue(Rules *self, uint64_t *right)
{
	IODispatchQueue *queue = NULL;
	kern_return_t ret = Rules_CopyDispatchQueue(self, "Default", &queue);
	if (ret == kIOReturnSuccess)
		*right = IODispatchQueue_OnQueue(queue) &&
			 strcmp(IODispatchQueue_GetName(queue), "Default") == 0;
	OSSafeReleaseNULL(queue);
	return ret;
}

kern_return_t IMPL(Rules, Try)
{
	*result = 0;
	if (rule <= RULE_CHILDREN)
		return Rules_TryChild(self, rule, result);
	if (rule <= RULE_ENTRY_ID)
		return Rules_TryProperties(self, rule, result);
	switch (rule) {
	case RULE_BORROWED:
		return count_borrowed(self, result);
	case RULE_RETURNED:
		return count_returned(self, result);
	case RULE_DEFAULT_QUEUE:
		return look_at_queue(self, result);
	case RULE_MEMORY:
		*result = OSObjectGetRetainCount(self->ivars->memory);
		return kIOReturnSuccess;
	case RULE_CLIENTS:
		*result = atomic_load(&clients);
		return kIOReturnSuccess;
	case RULE_CLIENT_STOPS:
		*result = atomic_load(&client_stops);
		return kIOReturnSuccess;
	default:
		return kIOReturnBadArgument;
	}
}

/* --- the user client --- */

bool IMPL(RulesUserClient, init)
{
	if (!RulesUserClient_super_init(self))
		return false;
	self->ivars = IONewZero(struct RulesUserClient_IVars, 1);
	atomic_fetch_add(&clients, 1);
	return self->ivars != NULL;
}

void IMPL(RulesUserClient, free)
{
	IOSafeDeleteNULL(self->ivars, struct RulesUserClient_IVars, 1);
	atomic_fetch_sub(&clients, 1);
	RulesUserClient_super_free(self);
}

kern_return_t IMPL(RulesUserClient, Start)
{
	const IOAddressSegment nowhere = { .address = 4096, .length = 1 };
	IOMemoryDescriptor *memory = NULL;
	kern_return_t ret = RulesUserClient_super_Start(self, provider);
	self->ivars->early_memory = RulesUserClient_CreateMemoryDescriptorFromClient(
		self, kIOMemoryDirectionIn, 1, &nowhere, &memory);
	return ret;
}

kern_return_t IMPL(RulesShyClient, Start)
{
	kern_return_t ret = RulesShyClient_super_Start(self, provider);
	return ret == kIOReturnSuccess ? kIOReturnNoSpace : ret;
}

kern_return_t IMPL(RulesUserClient, Stop)
{
	atomic_fetch_add(&client_stops, 1);
	return RulesUserClient_super_Stop(self, provider);
}

kern_return_t IMPL(RulesUserClient, CopyClientMemoryForType)
{
	Rules *rules = OSDynamicCast(Rules, RulesUserClient_GetProvider(self));
	(void)type;
	(void)options;
	OSObjectRetain(rules->ivars->memory);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(rules->ivars->memory);
	return kIOReturnSuccess;
}

static kern_return_t try(OSObject *target, void *reference, IOUserClientMethodArguments *arguments)
{
	RulesUserClient *client = OSDynamicCast(RulesUserClient, target);
	Rules *rules = OSDynamicCast(Rules, RulesUserClient_GetProvider(client));
	(void)reference;
	if (arguments->selector == RULE_EARLY_MEMORY) {
		arguments->scalarOutput[0] = (uint32_t)client->ivars->early_memory;
		return kIOReturnSuccess;
	}
	return Rules_Try(rules, arguments->selector, &arguments->scalarOutput[0]);
}

static kern_return_t complete_17(OSObject *target, void *reference,
				 IOUserClientMethodArguments *arguments)
{
	static const uint64_t numbers[17];
	(void)target;
	(void)reference;
	arguments->scalarOutput[0] =
		(uint32_t)dext_async_complete(arguments->completion, kIOReturnSuccess, numbers, 17);
	return kIOReturnSuccess;
}

kern_return_t IMPL(RulesUserClient, ExternalMethod)
{
	static const IOUserClientMethodDispatch one = { .function = try,
							.checkScalarOutputCount = 1 };
	static const IOUserClientMethodDispatch completing = {
		.function = complete_17,
		.checkCompletionExists = 1,
		.checkScalarOutputCount = 1,
	};
	(void)target;
	if (selector < RULES)
		dispatch = selector == RULE_COMPLETE_17 ? &completing : &one;
	return RulesUserClient_super_ExternalMethod(self, selector, arguments, dispatch,
						    RulesUserClient_as_OSObject(self), reference);
}
