// SPDX-License-Identifier: Apache-2.0
/*
 * IOUserClient: the checks of a dispatch table. Each row of `checks` is one of DriverKit's, with
 * the text that an application reads when it fails.
 */

#include <DriverKit/IOUserClient.h>
#include <base/reason.h>
#include <opendext/driver.h>

bool IMPL(IOUserClient, init)
{
	return IOUserClient_super_init(self);
}

void IMPL(IOUserClient, free)
{
	IOUserClient_super_free(self);
}

kern_return_t IMPL(IOUserClient, CopyClientMemoryForType)
{
	(void)options;
	(void)memory;
	return refuse(kIOReturnUnsupported, "%s shares no memory of type %llu",
		      IOUserClient_as_OSObject(self)->meta->name, (unsigned long long)type);
}

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

static kern_return_t check_arguments(const IOUserClientMethodArguments *arguments,
				     const IOUserClientMethodDispatch *dispatch)
{
	const struct check checks[] = {
		{ "asynchronous completions", dispatch->checkCompletionExists,
		  arguments->completion != NULL },
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

kern_return_t IMPL(IOUserClient, ExternalMethod)
{
	if (dispatch == NULL)
		return refuse(kIOReturnBadArgument, "selector %llu is not one of %s's methods",
			      (unsigned long long)selector,
			      IOUserClient_as_OSObject(self)->meta->name);
	kern_return_t ret = check_arguments(arguments, dispatch);
	if (ret != kIOReturnSuccess)
		return ret;
	if (dispatch->function == NULL)
		return refuse(kIOReturnNoCompletion, "selector %llu has no function in its table",
			      (unsigned long long)selector);
	return dispatch->function(target, reference, arguments);
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
