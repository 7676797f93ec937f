// SPDX-License-Identifier: Apache-2.0
/*
 * The driver of the end-to-end tests. Its personality says how it starts: with the key "Misbehave"
 * it hangs in Start, dies in it, or refuses, itself or every client; without it, it starts, and
 * misbehaves when called.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <DriverKit/IOLib.h>
#include <opendext/driver.h>

#include "Victim.h"
#include "victim.h"

struct Victim_IVars {
	bool refuses_clients;
	IOBufferMemoryDescriptor *shared;
	uint64_t asked; // NewUserClient
};

struct VictimUserClient_IVars {
	OSAction *kept;           // VICTIM_KEEP
	OSAction *forgotten;      // VICTIM_FORGET
	uint64_t counted;         // VICTIM_COUNT
	IOMemoryDescriptor *lent; // VICTIM_LEND
	VictimRelay *relay;       // made when it is asked for
	char entitled[2048];      // VICTIM_ENTITLED
};

/* --- the service --- */

bool IMPL(Victim, init)
{
	if (!Victim_super_init(self))
		return false;
	self->ivars = IONewZero(struct Victim_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(Victim, free)
{
	if (self->ivars != NULL)
		OSSafeReleaseNULL(self->ivars->shared);
	IOSafeDeleteNULL(self->ivars, struct Victim_IVars, 1);
	Victim_super_free(self);
}

static void hang(void)
{
	for (;;)
		pause();
}

static kern_return_t misbehave(Victim *self)
{
	OSDictionary *properties = NULL;
	kern_return_t ret = Victim_CopyProperties(self, &properties);
	if (ret != kIOReturnSuccess)
		return ret;
	OSString *how = OSDynamicCast(OSString, OSDictionary_getObject(properties, "Misbehave"));
	if (how == NULL) {
		ret = kIOReturnSuccess;
	} else if (OSString_isEqualToCString(how, "hang")) {
		(void)Victim_SetName(self, VICTIM_HANGS);
		hang();
	} else if (OSString_isEqualToCString(how, "die")) {
		abort();
	} else if (OSString_isEqualToCString(how, "refuse-clients")) {
		self->ivars->refuses_clients = true;
	} else {
		ret = kIOReturnNotResponding;
	}
	OSSafeReleaseNULL(properties);
	return ret;
}

kern_return_t IMPL(Victim, Start)
{
	kern_return_t ret = Victim_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = misbehave(self);
	if (ret == kIOReturnSuccess)
		ret = IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, VICTIM_SHARED_SIZE,
						      0, &self->ivars->shared);
	if (ret != kIOReturnSuccess)
		return ret;
	return Victim_RegisterService(self);
}

kern_return_t IMPL(Victim, NewUserClient)
{
	self->ivars->asked++;
	if (type != 0 || self->ivars->refuses_clients)
		return kIOReturnUnsupported;
	IOService *client = NULL;
	kern_return_t ret =
		Victim_Create(self, Victim_as_IOService(self), "UserClientProperties", &client);
	if (ret == kIOReturnSuccess)
		*userClient = OSDynamicCast(IOUserClient, client);
	return ret;
}

kern_return_t IMPL(Victim, CopyShared)
{
	IOBufferMemoryDescriptor_retain(self->ivars->shared);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(self->ivars->shared);
	return kIOReturnSuccess;
}

/* --- the user client --- */

bool IMPL(VictimUserClient, init)
{
	if (!VictimUserClient_super_init(self))
		return false;
	self->ivars = IONewZero(struct VictimUserClient_IVars, 1);
	return self->ivars != NULL;
}

void IMPL(VictimUserClient, free)
{
	if (self->ivars->forgotten != NULL)
		IOLog("the client is freed");
	OSSafeReleaseNULL(self->ivars->forgotten);
	IOSafeDeleteNULL(self->ivars, struct VictimUserClient_IVars, 1);
	VictimUserClient_super_free(self);
}

void IMPL(VictimUserClient, forgotten)
{
	(void)self;
	(void)action;
	(void)status;
	(void)asyncData;
	(void)asyncDataCount;
}

static void append_text(char *text, size_t room, const char *more)
{
	size_t used = strlen(text), n = strlen(more);
	if (used + n < room)
		memcpy(text + used, more, n + 1);
}

static void append_value(char *text, size_t room, OSObject *value)
{
	OSString *string = OSDynamicCast(OSString, value);
	OSArray *array = OSDynamicCast(OSArray, value);
	if (string != NULL)
		append_text(text, room, OSString_getCStringNoCopy(string));
	else if (OSDynamicCast(OSBoolean, value) != NULL)
		append_text(text, room, "a boolean");
	for (uint32_t i = 0; array != NULL && i < OSArray_getCount(array); i++) {
		append_text(text, room, i > 0 ? "," : "");
		append_value(text, room, OSArray_getObject(array, i));
	}
}

kern_return_t IMPL(VictimUserClient, Start)
{
	OSDictionary *entitlements = NULL;
	const char *key;
	OSObject *value;
	char *text = self->ivars->entitled;
	size_t room = sizeof(self->ivars->entitled);
	kern_return_t ret = VictimUserClient_super_Start(self, provider);
	if (ret == kIOReturnSuccess)
		ret = VictimUserClient_CopyClientEntitlements(self, &entitlements);
	if (ret != kIOReturnSuccess)
		return ret;
	for (uint32_t i = 0; OSDictionary_getEntry(entitlements, i, &key, &value); i++) {
		append_text(text, room, key);
		append_text(text, room, "=");
		append_value(text, room, value);
		append_text(text, room, "\n");
	}
	OSSafeReleaseNULL(entitlements);
	return kIOReturnSuccess;
}

kern_return_t IMPL(VictimUserClient, Stop)
{
	if (self->ivars->forgotten != NULL)
		IOLog("the client stops");
	OSSafeReleaseNULL(self->ivars->kept);
	OSSafeReleaseNULL(self->ivars->lent);
	if (self->ivars->relay != NULL)
		VictimRelay_teardown(self->ivars->relay);
	OSSafeReleaseNULL(self->ivars->relay);
	return VictimUserClient_super_Stop(self, provider);
}

static Victim *victim_of(OSObject *target)
{
	IOService *service = OSDynamicCast(IOService, target);
	return OSDynamicCast(Victim, IOService_GetProvider(service));
}

static kern_return_t copy_buffer(IOMemoryDescriptor **memory)
{
	IOBufferMemoryDescriptor *buffer = NULL;
	kern_return_t ret =
		IOBufferMemoryDescriptor_Create(kIOMemoryDirectionInOut, 4096, 0, &buffer);
	*memory = IOBufferMemoryDescriptor_as_IOMemoryDescriptor(buffer);
	return ret;
}

/* The second half of the shared memory. */
static kern_return_t copy_part(VictimUserClient *self, IOMemoryDescriptor **memory)
{
	IOMemoryDescriptor *whole = NULL;
	kern_return_t ret =
		Victim_CopyShared(victim_of(VictimUserClient_as_OSObject(self)), &whole);
	if (ret == kIOReturnSuccess)
		ret = IOMemoryDescriptor_CreateSubMemoryDescriptor(
			kIOMemoryDirectionInOut, VICTIM_SHARED_SIZE / 2, VICTIM_SHARED_SIZE / 2,
			whole, memory);
	OSSafeReleaseNULL(whole);
	return ret;
}

static VictimRelay *relay_of(VictimUserClient *self)
{
	if (self->ivars->relay != NULL)
		return self->ivars->relay;
	VictimRelay *relay = OSTypeAlloc(VictimRelay);
	if (relay != NULL && VictimRelay_init(relay) &&
	    VictimRelay_setup(relay) == kIOReturnSuccess)
		self->ivars->relay = relay;
	else
		OSSafeReleaseNULL(relay);
	return self->ivars->relay;
}

kern_return_t IMPL(VictimUserClient, CopyClientMemoryForType)
{
	switch (type) {
	case VICTIM_TYPE_READ_ONLY:
		*options |= kIOUserClientMemoryReadOnly;
		return copy_buffer(memory);
	case VICTIM_TYPE_PART:
		return copy_part(self, memory);
	case VICTIM_TYPE_ORDERS:
	case VICTIM_TYPE_ANSWERS:
		return relay_of(self) != NULL
			       ? VictimRelay_copyMemory(self->ivars->relay,
							type == VICTIM_TYPE_ORDERS, memory)
			       : kIOReturnNoMemory;
	case VICTIM_TYPE_SHARED:
		return Victim_CopyShared(victim_of(VictimUserClient_as_OSObject(self)), memory);
	default:
		return kIOReturnNotPermitted;
	}
}

#define METHOD(name)                                                 \
	static kern_return_t name(OSObject *target, void *reference, \
				  IOUserClientMethodArguments *arguments)

METHOD(echo)
{
	(void)target;
	(void)reference;
	if (arguments->scalarOutputCount < arguments->scalarInputCount)
		return kIOReturnOverrun;
	arguments->scalarOutputCount = arguments->scalarInputCount;
	for (uint32_t i = 0; i < arguments->scalarInputCount; i++)
		arguments->scalarOutput[i] = arguments->scalarInput[i];
	return kIOReturnSuccess;
}

METHOD(structure)
{
	(void)target;
	(void)reference;
	const uint8_t *in = OSData_getBytesNoCopy(arguments->structureInput);
	uint8_t out[16];
	for (int i = 0; i < 16; i++)
		out[i] = in[15 - i];
	arguments->structureOutput = OSData_withBytes(out, sizeof(out));
	return arguments->structureOutput != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

/* Where a structure lies: its data, or its descriptor, mapped. */
struct bytes {
	uint8_t *at;
	size_t size;
	IOMemoryMap *map; // owned; NULL: none
};

static kern_return_t map_bytes(IOMemoryDescriptor *memory, struct bytes *bytes)
{
	kern_return_t ret = IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &bytes->map);
	if (ret != kIOReturnSuccess)
		return ret;
	bytes->at = (uint8_t *)(uintptr_t)IOMemoryMap_GetAddress(bytes->map);
	bytes->size = IOMemoryMap_GetLength(bytes->map);
	return ret;
}

static kern_return_t find_input(const IOUserClientMethodArguments *arguments, struct bytes *in)
{
	const void *bytes = NULL;
	*in = (struct bytes){ 0 };
	kern_return_t ret = dext_structure_input(arguments, &bytes, &in->size, &in->map);
	in->at = (uint8_t *)(uintptr_t)bytes;
	return ret == kIOReturnSuccess && in->size == 0 ? kIOReturnBadArgument : ret;
}

static kern_return_t invert_into_memory(const struct bytes *in, IOMemoryDescriptor *memory)
{
	struct bytes out = { 0 };
	kern_return_t ret = map_bytes(memory, &out);
	for (size_t i = 0; ret == kIOReturnSuccess && i < out.size; i++)
		out.at[i] = (uint8_t)~in->at[i % in->size];
	OSSafeReleaseNULL(out.map);
	return ret;
}

static kern_return_t invert_into_data(const struct bytes *in,
				      IOUserClientMethodArguments *arguments)
{
	uint8_t out[4096];
	size_t size = in->size;
	if (size > arguments->structureOutputMaximumSize)
		size = arguments->structureOutputMaximumSize;
	if (size > sizeof(out))
		return kIOReturnOverrun;
	for (size_t i = 0; i < size; i++)
		out[i] = (uint8_t)~in->at[i];
	arguments->structureOutput = OSData_withBytes(out, size);
	return arguments->structureOutput != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

METHOD(invert)
{
	(void)target;
	(void)reference;
	struct bytes in;
	kern_return_t ret = find_input(arguments, &in);
	if (ret != kIOReturnSuccess)
		return ret;
	if (arguments->structureOutputDescriptor != NULL)
		ret = invert_into_memory(&in, arguments->structureOutputDescriptor);
	else
		ret = invert_into_data(&in, arguments);
	OSSafeReleaseNULL(in.map);
	return ret;
}

/* Data where there is room for more. */
METHOD(invert_data)
{
	(void)target;
	(void)reference;
	struct bytes in;
	kern_return_t ret = find_input(arguments, &in);
	if (ret == kIOReturnSuccess)
		ret = invert_into_data(&in, arguments);
	OSSafeReleaseNULL(in.map);
	return ret;
}

METHOD(die)
{
	(void)target;
	(void)reference;
	(void)arguments;
	abort();
}

METHOD(never_return)
{
	(void)target;
	(void)reference;
	(void)arguments;
	hang();
	return kIOReturnSuccess;
}

static kern_return_t tell_errno(IOUserClientMethodArguments *arguments, long result)
{
	arguments->scalarOutput[0] = result < 0 ? (uint64_t)errno : 0;
	return kIOReturnSuccess;
}

METHOD(open_path)
{
	(void)target;
	(void)reference;
	return tell_errno(arguments, open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

METHOD(make_socket)
{
	(void)target;
	(void)reference;
	return tell_errno(arguments, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

METHOD(run_program)
{
	(void)target;
	(void)reference;
	char name[] = "/bin/true";
	char *const argv[] = { name, NULL };
	return tell_errno(arguments, execve(name, argv, NULL));
}

METHOD(forbidden)
{
	(void)target;
	(void)reference;
	return tell_errno(arguments, syscall(SYS_keyctl, 0, 0, 0, 0, 0));
}

METHOD(complete)
{
	(void)reference;
	IOUserClientAsyncArgumentsArray data = { 0 };
	uint32_t count = (uint32_t)arguments->scalarInput[0];
	for (uint32_t i = 0; i < count && i < kIOUserClientAsyncArgumentsCountMax; i++)
		data[i] = i + 1;
	IOUserClient_AsyncCompletion(OSDynamicCast(IOUserClient, target), arguments->completion,
				     kIOReturnSuccess, data, count);
	return kIOReturnSuccess;
}

METHOD(keep)
{
	(void)reference;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	if (client->ivars->kept != NULL)
		return kIOReturnBusy;
	OSAction_retain(arguments->completion);
	client->ivars->kept = arguments->completion;
	return kIOReturnSuccess;
}

METHOD(let_go)
{
	(void)reference;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	if (client->ivars->kept == NULL)
		return kIOReturnNotReady;
	const IOUserClientAsyncArgumentsArray none = { 0 };
	if (arguments->scalarInput[0] == 1)
		VictimUserClient_AsyncCompletion(client, client->ivars->kept, kIOReturnSuccess,
						 none, 0);
	OSSafeReleaseNULL(client->ivars->kept);
	return kIOReturnSuccess;
}

static void on_aborted(void *context)
{
	(void)context;
	IOLog("the application of what was kept is gone");
}

METHOD(forget)
{
	(void)reference;
	(void)arguments;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	if (client->ivars->kept == NULL)
		return kIOReturnNotReady;
	kern_return_t ret =
		OSAction_SetAbortedHandler_f(client->ivars->kept, NULL, on_aborted, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	return VictimUserClient_CreateActionforgotten(client, 0, &client->ivars->forgotten);
}

METHOD(burst)
{
	(void)reference;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	kern_return_t ret = kIOReturnSuccess;
	uint64_t n = 0;
	if (client->ivars->kept == NULL)
		return kIOReturnNotReady;
	for (; n < arguments->scalarInput[0] && ret == kIOReturnSuccess; n++)
		ret = dext_async_complete(client->ivars->kept, kIOReturnSuccess, &n, 1);
	arguments->scalarOutput[0] = ret == kIOReturnSuccess ? n : n - 1;
	arguments->scalarOutput[1] = (uint32_t)ret;
	return kIOReturnSuccess;
}

METHOD(too_much)
{
	(void)target;
	(void)reference;
	static const uint8_t bytes[256];
	arguments->structureOutput = OSData_withBytes(bytes, sizeof(bytes));
	return kIOReturnSuccess;
}

/* The shared memory in this process; `map` keeps it. */
static void *map_shared(OSObject *target, IOMemoryMap **map)
{
	IOMemoryDescriptor *memory = NULL;
	kern_return_t ret = Victim_CopyShared(victim_of(target), &memory);
	if (ret == kIOReturnSuccess)
		ret = IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, map);
	OSSafeReleaseNULL(memory);
	if (ret != kIOReturnSuccess)
		return NULL;
	return (void *)(uintptr_t)IOMemoryMap_GetAddress(*map);
}

METHOD(poke)
{
	(void)reference;
	IOMemoryMap *map = NULL;
	_Atomic uint8_t *bytes = map_shared(target, &map);
	if (bytes == NULL)
		return kIOReturnNoMemory;
	if (arguments->scalarInput[0] < IOMemoryMap_GetLength(map))
		bytes[arguments->scalarInput[0]] = (uint8_t)arguments->scalarInput[1];
	OSSafeReleaseNULL(map);
	return kIOReturnSuccess;
}

static kern_return_t handshake(OSObject *target)
{
	IOMemoryMap *map = NULL;
	_Atomic uint8_t *bytes = map_shared(target, &map);
	if (bytes == NULL)
		return kIOReturnNoMemory;
	bytes[0] = 1;
	for (int i = 0; i < 5000 && bytes[1] == 0; i++)
		IOSleep(1);
	kern_return_t ret = bytes[1] != 0 ? kIOReturnSuccess : kIOReturnTimeout;
	OSSafeReleaseNULL(map);
	return ret;
}

METHOD(wait_for_byte)
{
	(void)reference;
	(void)arguments;
	return handshake(target);
}

METHOD(wait_again)
{
	(void)reference;
	arguments->scalarOutput[0] = (uint64_t)getpid();
	return handshake(target);
}

METHOD(read_late)
{
	(void)reference;
	struct bytes in;
	uint64_t sum = 0;
	kern_return_t ret = find_input(arguments, &in);
	if (ret == kIOReturnSuccess)
		ret = handshake(target);
	for (size_t i = 0; ret == kIOReturnSuccess && i < in.size; i++)
		sum += in.at[i];
	arguments->scalarOutput[0] = sum;
	if (ret == kIOReturnSuccess && in.map != NULL && IOMemoryMap_IsLost(in.map))
		ret = kIOReturnNotPermitted; // of all refusals the one that nothing else makes
	OSSafeReleaseNULL(in.map);
	return ret;
}

METHOD(count)
{
	(void)reference;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	arguments->scalarOutput[0] = arguments->scalarInput[0];
	arguments->scalarOutput[1] = client->ivars->counted++;
	return kIOReturnSuccess;
}

METHOD(served)
{
	(void)reference;
	IOMemoryMap *map = NULL;
	_Atomic uint32_t *words = map_shared(target, &map);
	if (words == NULL)
		return kIOReturnNoMemory;
	IODelay(arguments->scalarInput[0]);
	arguments->scalarOutput[0] = atomic_fetch_add(&words[VICTIM_SERVED_WORD], 1);
	OSSafeReleaseNULL(map);
	return kIOReturnSuccess;
}

METHOD(asked)
{
	(void)reference;
	arguments->scalarOutput[0] = victim_of(target)->ivars->asked;
	return kIOReturnSuccess;
}

static kern_return_t make_result(uint64_t size, IOUserClientMethodArguments *arguments)
{
	uint8_t *bytes = malloc(size + 1);
	if (bytes == NULL)
		return kIOReturnNoMemory;
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = VICTIM_RESULT_BYTE(i);
	arguments->structureOutput = OSData_withBytes(bytes, size);
	free(bytes);
	return arguments->structureOutput != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

METHOD(result)
{
	(void)reference;
	uint64_t size = arguments->scalarInput[0], how = arguments->scalarInput[1];
	kern_return_t ret = kIOReturnSuccess;
	if (arguments->structureOutputMaximumSize != kIOUserClientVariableStructureSize ||
	    arguments->structureOutputDescriptor != NULL)
		return kIOReturnInternalError; // not what such a caller is promised
	if (how == VICTIM_RESULT_LATE)
		ret = handshake(target);
	arguments->scalarOutput[0] = size;
	if (ret == kIOReturnSuccess && how == VICTIM_RESULT_MEMORY)
		ret = copy_buffer(&arguments->structureOutputDescriptor);
	else if (ret == kIOReturnSuccess)
		ret = make_result(size, arguments);
	return ret;
}

METHOD(entitled)
{
	(void)reference;
	VictimUserClient *client = OSDynamicCast(VictimUserClient, target);
	const char *text = client->ivars->entitled;
	arguments->structureOutput = OSData_withBytes(text, strlen(text) + 1);
	return arguments->structureOutput != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

#define ANY kIOUserClientVariableStructureSize

METHOD(misuse)
{
	(void)target;
	(void)reference;
	(void)arguments;
	OSNumber *number = OSNumber_withNumber(1, 8);
	OSObjectRelease(number);
	OSObjectRelease(number);
	return OSTypeAlloc(OSObject) != NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

/* --- memory by its address --- */

METHOD(lend)
{
	(void)reference;
	VictimUserClient *self = OSDynamicCast(VictimUserClient, target);
	IOAddressSegment segments[8];
	uint32_t n = (arguments->scalarInputCount - 1) / 2;
	for (uint32_t i = 0; i < n; i++) {
		segments[i].address = arguments->scalarInput[1 + 2 * i];
		segments[i].length = arguments->scalarInput[2 + 2 * i];
	}
	OSSafeReleaseNULL(self->ivars->lent);
	return VictimUserClient_CreateMemoryDescriptorFromClient(self, arguments->scalarInput[0], n,
								 segments, &self->ivars->lent);
}

static kern_return_t map_lent(OSObject *target, IOMemoryMap **map)
{
	VictimUserClient *self = OSDynamicCast(VictimUserClient, target);
	if (self->ivars->lent == NULL)
		return kIOReturnNotReady;
	return IOMemoryDescriptor_CreateMapping(self->ivars->lent, 0, 0, 0, 0, 0, map);
}

METHOD(lent_sum)
{
	(void)reference;
	IOMemoryMap *map = NULL;
	kern_return_t ret = map_lent(target, &map);
	if (ret != kIOReturnSuccess)
		return ret;
	const uint8_t *bytes = (const uint8_t *)(uintptr_t)IOMemoryMap_GetAddress(map);
	arguments->scalarOutput[0] = 0;
	for (uint64_t i = 0; i < IOMemoryMap_GetLength(map); i++)
		arguments->scalarOutput[0] += bytes[i];
	OSSafeReleaseNULL(map);
	return kIOReturnSuccess;
}

METHOD(lent_fill)
{
	(void)reference;
	VictimUserClient *self = OSDynamicCast(VictimUserClient, target);
	IOMemoryMap *map = NULL;
	kern_return_t ret = map_lent(target, &map);
	if (ret != kIOReturnSuccess)
		return ret;
	memset((void *)(uintptr_t)IOMemoryMap_GetAddress(map), (int)arguments->scalarInput[0],
	       IOMemoryMap_GetLength(map));
	OSSafeReleaseNULL(map);
	OSSafeReleaseNULL(self->ivars->lent);
	return kIOReturnSuccess;
}

/* --- data queues --- */

METHOD(queue_tell)
{
	(void)reference;
	VictimRelay *relay = relay_of(OSDynamicCast(VictimUserClient, target));
	return VictimRelay_tell(relay, arguments->scalarInput[0]);
}

METHOD(queue_listen)
{
	(void)reference;
	VictimRelay *relay = relay_of(OSDynamicCast(VictimUserClient, target));
	return VictimRelay_listen(relay, arguments->completion);
}

METHOD(queue_burst)
{
	(void)reference;
	VictimRelay *relay = relay_of(OSDynamicCast(VictimUserClient, target));
	return VictimRelay_burst(relay, arguments->scalarInput[0], arguments->scalarOutput);
}

METHOD(queue_count)
{
	(void)reference;
	VictimRelay *relay = relay_of(OSDynamicCast(VictimUserClient, target));
	VictimRelay_getCounts(relay, &arguments->scalarOutput[0], &arguments->scalarOutput[1]);
	return kIOReturnSuccess;
}

static const IOUserClientMethodDispatch methods[VICTIM_METHODS] = {
	[VICTIM_ECHO] = { echo, 0, ANY, 0, ANY, 0 },
	[VICTIM_STRUCTURE] = { structure, 0, 0, 16, 0, 16 },
	[VICTIM_DIE] = { die, 0, 0, 0, 0, 0 },
	[VICTIM_HANG] = { never_return, 0, 0, 0, 0, 0 },
	[VICTIM_OPEN] = { open_path, 0, 0, 0, 1, 0 },
	[VICTIM_SOCKET] = { make_socket, 0, 0, 0, 1, 0 },
	[VICTIM_EXEC] = { run_program, 0, 0, 0, 1, 0 },
	[VICTIM_FORBIDDEN] = { forbidden, 0, 0, 0, 1, 0 },
	[VICTIM_COMPLETE] = { complete, 1, 1, 0, 0, 0 },
	[VICTIM_KEEP] = { keep, 1, 0, 0, 0, 0 },
	[VICTIM_RELEASE] = { let_go, 0, 1, 0, 0, 0 },
	[VICTIM_FORGET] = { forget, 0, 0, 0, 0, 0 },
	[VICTIM_TOO_MUCH] = { too_much, 0, 0, 0, 0, ANY },
	[VICTIM_POKE] = { poke, 0, 2, 0, 0, 0 },
	[VICTIM_WAIT] = { wait_for_byte, 0, 0, 0, 0, 0 },
	[VICTIM_NO_FUNCTION] = { NULL, 0, 0, 0, 0, 0 },
	[VICTIM_BURST] = { burst, 0, 1, 0, 2, 0 },
	[VICTIM_INVERT] = { invert, 0, 0, ANY, 0, ANY },
	[VICTIM_INVERT_DATA] = { invert_data, 0, 0, ANY, 0, ANY },
	[VICTIM_EXACT] = { invert, 0, 0, VICTIM_EXACT_SIZE, 0, VICTIM_EXACT_SIZE },
	[VICTIM_MISUSE] = { misuse, 0, 0, 0, 0, 0 },
	[VICTIM_LEND] = { lend, 0, ANY, 0, 0, 0 },
	[VICTIM_LENT_SUM] = { lent_sum, 0, 0, 0, 1, 0 },
	[VICTIM_LENT_FILL] = { lent_fill, 0, 1, 0, 0, 0 },
	[VICTIM_QUEUE_TELL] = { queue_tell, 0, 1, 0, 0, 0 },
	[VICTIM_QUEUE_LISTEN] = { queue_listen, 1, 0, 0, 0, 0 },
	[VICTIM_QUEUE_BURST] = { queue_burst, 0, 1, 0, 1, 0 },
	[VICTIM_QUEUE_COUNT] = { queue_count, 0, 0, 0, 2, 0 },
	[VICTIM_COUNT] = { count, 0, 1, 0, 2, 0 },
	[VICTIM_WAIT_AGAIN] = { wait_again, 0, 0, 0, 1, 0, DEXT_IDEMPOTENT },
	[VICTIM_ECHO_AGAIN] = { echo, 0, ANY, 0, ANY, 0, DEXT_IDEMPOTENT },
	[VICTIM_DIE_AGAIN] = { die, 0, 0, 0, 0, 0, DEXT_IDEMPOTENT },
	[VICTIM_READ_LATE] = { read_late, 0, 0, ANY, 1, 0 },
	[VICTIM_ASKED] = { asked, 0, 0, 0, 1, 0 },
	[VICTIM_SERVED] = { served, 0, 1, 0, 1, 0 },
	[VICTIM_ENTITLED] = { entitled, 0, 0, 0, 0, ANY },
	[VICTIM_RESULT] = { result, 0, 2, ANY, 1, ANY },
	[VICTIM_RESULT_AGAIN] = { result, 0, 2, ANY, 1, ANY, DEXT_IDEMPOTENT },
};

kern_return_t IMPL(VictimUserClient, ExternalMethod)
{
	(void)target;
	(void)dispatch;
	return dext_dispatch(VictimUserClient_as_IOUserClient(self), selector, arguments, methods,
			     VICTIM_METHODS, VictimUserClient_as_OSObject(self), reference);
}
