// SPDX-License-Identifier: Apache-2.0
/*
 * IOUserClient: the checks of a dispatch table, and the application's memory by its addresses. Each
 * row of `checks` is one of DriverKit's, with the text that an application reads when it fails.
 */

#include <stdlib.h>

#include <DriverKit/IOUserClient.h>
#include <base/reason.h>
#include <families/service/connection.h>
#include <families/service/regions.h>
#include <families/service/user_client.h>
#include <opendext/driver.h>
#include <runtime/memory.h>

struct IOUserClient_IVars {
	struct regions *regions;    // owned
	OSDictionary *entitlements; // owned, never changed; NULL: it has no application
};

bool IMPL(IOUserClient, init)
{
	if (!IOUserClient_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	if (self->ivars != NULL)
		self->ivars->regions = regions_new();
	return self->ivars != NULL && self->ivars->regions != NULL;
}

void IMPL(IOUserClient, free)
{
	if (self->ivars != NULL) {
		regions_free(self->ivars->regions);
		OSObjectRelease(self->ivars->entitlements);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOUserClient_super_free(self);
}

kern_return_t IMPL(IOUserClient, CopyClientMemoryForType)
{
	(void)options;
	(void)memory;
	return refuse(kIOReturnUnsupported, "%s shares no memory of type %llu",
		      IOUserClient_as_OSObject(self)->meta->name, (unsigned long long)type);
}

/* --- who the application is --- */

void user_client_set_entitlements(IOUserClient *client, OSDictionary *entitlements)
{
	if (client->ivars == NULL || entitlements == NULL)
		return;
	OSObjectRetain(entitlements);
	OSObjectRelease(client->ivars->entitlements);
	client->ivars->entitlements = entitlements;
}

kern_return_t IOUserClient_CopyClientEntitlements(IOUserClient *self, OSDictionary **entitlements)
{
	if (self == NULL || entitlements == NULL)
		return refuse(kIOReturnBadArgument,
			      "CopyClientEntitlements: an argument is missing");
	if (self->ivars == NULL || self->ivars->entitlements == NULL)
		return refuse(kIOReturnNotReady,
			      "CopyClientEntitlements: %s was not made for an application, or "
			      "its init never reached IOUserClient's",
			      IOUserClient_as_OSObject(self)->meta->name);
	*entitlements = OSDictionary_withDictionary(self->ivars->entitlements);
	return *entitlements != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

/* --- the application's memory --- */

struct regions *user_client_regions(IOUserClient *client)
{
	return client->ivars != NULL ? client->ivars->regions : NULL;
}

static kern_return_t check_segments(uint64_t options, uint32_t count,
				    const IOAddressSegment *segments)
{
	uint64_t direction = options & ~(uint64_t)kIOMemoryDisableCopyOnWrite;
	if (direction == 0 || (direction & ~(uint64_t)kIOMemoryDirectionInOut) != 0)
		return refuse(
			kIOReturnBadArgument,
			"CreateMemoryDescriptorFromClient: options %#llx: a direction, and at "
			"most kIOMemoryDisableCopyOnWrite",
			(unsigned long long)options);
	if (segments == NULL || count == 0 || count > MEMORY_PARTS_MAX)
		return refuse(kIOReturnBadArgument,
			      "CreateMemoryDescriptorFromClient: %u segments: 1 to %d", count,
			      MEMORY_PARTS_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (segments[i].length == 0)
			return refuse(kIOReturnBadArgument,
				      "CreateMemoryDescriptorFromClient: segment %u is empty", i);
	return kIOReturnSuccess;
}

kern_return_t IOUserClient_CreateMemoryDescriptorFromClient(IOUserClient *self, uint64_t options,
							    uint32_t segmentsCount,
							    const IOAddressSegment *segments,
							    IOMemoryDescriptor **memory)
{
	IOMemoryDescriptor *parts[MEMORY_PARTS_MAX];
	uint32_t direction = (uint32_t)options & kIOMemoryDirectionInOut, n = 0;
	if (self == NULL || memory == NULL)
		return refuse(kIOReturnBadArgument,
			      "CreateMemoryDescriptorFromClient: an argument is missing");
	struct regions *regions = user_client_regions(self);
	kern_return_t ret = check_segments(options, segmentsCount, segments);
	if (ret == kIOReturnSuccess && regions == NULL)
		ret = refuse(kIOReturnNotReady, "%s: its init never reached IOUserClient's",
			     IOUserClient_as_OSObject(self)->meta->name);
	while (ret == kIOReturnSuccess && n < segmentsCount) {
		ret = regions_part(regions, segments[n].address, segments[n].length, direction,
				   &parts[n]);
		n += ret == kIOReturnSuccess;
	}
	if (ret == kIOReturnSuccess && n == 1) {
		*memory = parts[0];
		return ret;
	}
	if (ret == kIOReturnSuccess)
		ret = memory_concatenate(direction, n, parts, memory);
	while (n > 0)
		OSObjectRelease(parts[--n]);
	return ret;
}

/* --- the checks of a dispatch table --- */

struct check {
	const char *what;
	uint64_t wanted, given;
};

static uint64_t input_size(const IOUserClientMethodArguments *arguments)
{
	uint64_t size = 0;
	if (arguments->structureInputDescriptor != NULL)
		IOMemoryDescriptor_GetLength(arguments->structureInputDescriptor, &size);
	else if (arguments->structureInput != NULL)
		size = OSData_getLength(arguments->structureInput);
	return size;
}

static kern_return_t check_completion(const IOUserClientMethodArguments *arguments,
				      const IOUserClientMethodDispatch *dispatch)
{
	uint32_t wanted = dispatch->checkCompletionExists;
	if (wanted == kIOUserClientVariableStructureSize ||
	    wanted == (arguments->completion != NULL ? 1 : 0))
		return kIOReturnSuccess;
	if (wanted > 1)
		return refuse(kIOReturnBadArgument,
			      "selector %llu: its row's checkCompletionExists is %u: 0, 1 or "
			      "0xffffffff",
			      (unsigned long long)arguments->selector, wanted);
	return refuse(kIOReturnBadArgument, "selector %llu is %s",
		      (unsigned long long)arguments->selector,
		      wanted == 1 ? "asynchronous: call it by IOConnectCallAsync…Method"
				  : "not asynchronous: call it by IOConnectCall…Method");
}

static kern_return_t check_arguments(const IOUserClientMethodArguments *arguments,
				     const IOUserClientMethodDispatch *dispatch)
{
	const struct check checks[] = {
		{ "input scalars", dispatch->checkScalarInputCount, arguments->scalarInputCount },
		{ "bytes of input structure", dispatch->checkStructureInputSize,
		  input_size(arguments) },
		{ "output scalars", dispatch->checkScalarOutputCount,
		  arguments->scalarOutputCount },
		{ "bytes of output structure", dispatch->checkStructureOutputSize,
		  arguments->structureOutputMaximumSize },
	};
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (checks[i].wanted != kIOUserClientVariableStructureSize &&
		    checks[i].wanted != checks[i].given)
			return refuse(kIOReturnBadArgument,
				      "selector %llu takes %llu %s, the call has %llu",
				      (unsigned long long)arguments->selector,
				      (unsigned long long)checks[i].wanted, checks[i].what,
				      (unsigned long long)checks[i].given);
	return kIOReturnSuccess;
}

static kern_return_t call_row(IOUserClient *client, IOUserClientMethodArguments *arguments,
			      const IOUserClientMethodDispatch *dispatch, OSObject *target,
			      void *reference)
{
	kern_return_t ret = check_completion(arguments, dispatch);
	if (ret == kIOReturnSuccess)
		ret = check_arguments(arguments, dispatch);
	if (ret != kIOReturnSuccess)
		return ret;
	if (dispatch->function == NULL)
		return refuse(kIOReturnNoCompletion, "selector %llu has no function in its table",
			      (unsigned long long)arguments->selector);
	if ((dispatch->dextFlags & DEXT_IDEMPOTENT) != 0)
		connection_note_idempotent(client, arguments);
	return dispatch->function(target, reference, arguments);
}

kern_return_t IMPL(IOUserClient, ExternalMethod)
{
	if (dispatch == NULL)
		return refuse(kIOReturnBadArgument, "selector %llu is not one of %s's methods",
			      (unsigned long long)selector,
			      IOUserClient_as_OSObject(self)->meta->name);
	return call_row(self, arguments, dispatch, target, reference);
}

kern_return_t dext_dispatch(IOUserClient *client, uint64_t selector,
			    IOUserClientMethodArguments *arguments,
			    const IOUserClientMethodDispatch *table, size_t rows, OSObject *target,
			    void *reference)
{
	if (client == NULL || arguments == NULL || (table == NULL && rows > 0))
		return refuse(kIOReturnBadArgument, "dext_dispatch: an argument is missing");
	if (selector >= rows)
		return refuse(kIOReturnBadArgument, "selector %llu is not one of %s's %zu methods",
			      (unsigned long long)selector,
			      IOUserClient_as_OSObject(client)->meta->name, rows);
	return call_row(client, arguments, &table[selector], target, reference);
}

kern_return_t dext_structure_input(const IOUserClientMethodArguments *arguments, const void **bytes,
				   size_t *size, IOMemoryMap **map)
{
	if (arguments == NULL || bytes == NULL || size == NULL || map == NULL)
		return refuse(kIOReturnBadArgument, "dext_structure_input: an argument is missing");
	*bytes = NULL;
	*size = 0;
	*map = NULL;
	if (arguments->structureInputDescriptor == NULL) {
		if (arguments->structureInput != NULL) {
			*bytes = OSData_getBytesNoCopy(arguments->structureInput);
			*size = OSData_getLength(arguments->structureInput);
		}
		return kIOReturnSuccess;
	}
	kern_return_t ret = IOMemoryDescriptor_CreateMapping(arguments->structureInputDescriptor, 0,
							     0, 0, 0, 0, map);
	if (ret != kIOReturnSuccess)
		return ret;
	*bytes = (const void *)(uintptr_t)IOMemoryMap_GetAddress(*map);
	*size = IOMemoryMap_GetLength(*map);
	return kIOReturnSuccess;
}

kern_return_t dext_async_complete(OSAction *action, IOReturn status, const uint64_t *data,
				  uint32_t dataCount)
{
	struct IOUserClient_AsyncCompletion_Msg msg = { .action = action, .status = status };
	if (dataCount > kIOUserClientAsyncArgumentsCountMax)
		return refuse(kIOReturnOverrun, "a completion carries at most %u numbers, not %u",
			      (unsigned)kIOUserClientAsyncArgumentsCountMax, dataCount);
	if (data == NULL && dataCount > 0)
		return refuse(kIOReturnBadArgument, "data is NULL, but its count is not 0");
	for (uint32_t i = 0; i < dataCount; i++)
		msg.asyncData[i] = data[i];
	msg.asyncDataCount = dataCount;
	return OSActionInvoke(action, &IOUserClient_AsyncCompletion_Shape, &msg);
}
