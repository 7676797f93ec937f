/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How an application finds a driver, opens it, calls it, maps its memory and hears from it: the
 * functions of IOKit, in C. Link with -ldextclient. dextd is found by the environment variable
 * OPENDEXT_SOCKET, else at /run/opendext/socket.
 *
 * Objects are numbers, valid in this process only; 0 (IO_OBJECT_NULL) is none. Every call that
 * gives one gives a reference, which IOObjectRelease returns.
 *
 * Any thread may call anything. No call blocks without a bound: see dext_call_timeout_set() in
 * <opendext/client.h>, where there is also dext_last_reason(), which says in words why the last
 * call of this thread was refused. Not for use in the child of a fork() that has not exec()ed.
 *
 * Callbacks run only in dext_notification_port_dispatch() (<opendext/client.h>), on the thread
 * that calls it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <DriverKit/IOTypes.h>
#include <DriverKit/OSCollections.h>
#include <IOKit/IOKitKeys.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Names of Mach's types, for source that has them: numbers here. A port names a notification port.
 */
typedef uint32_t mach_port_t;
typedef mach_port_t task_port_t;
typedef uint64_t mach_vm_address_t;
typedef uint64_t mach_vm_size_t;
typedef uintptr_t vm_address_t;
typedef uintptr_t vm_size_t;

/* Objects: entries of the registry, iterators and connections. */
typedef uint32_t io_object_t;
typedef io_object_t io_connect_t;
typedef io_object_t io_iterator_t;
typedef io_object_t io_registry_entry_t;
typedef io_object_t io_service_t;

/* Room for a name, terminator included. */
typedef char io_name_t[128];

/* Room for a path, terminator included. */
typedef char io_string_t[512];

/* No object; no port; the one dextd there is. */
#define IO_OBJECT_NULL     ((io_object_t)0)
#define MACH_PORT_NULL     ((mach_port_t)0)
#define kIOMainPortDefault MACH_PORT_NULL

/* The only task there is to map into, or to open for: this process. */
static inline task_port_t mach_task_self(void)
{
	return 1;
}

/* What notifications and completions come through. */
typedef struct IONotificationPort *IONotificationPortRef;

/* --- matching dictionaries --- */

/* What matches services of a class, or of one derived from it. The dictionary is returned; NULL,
 * with the reason: className is NULL, or there is no memory. */
OSDictionary *IOServiceMatching(const char *className);

/* What matches services of that name. Otherwise as IOServiceMatching. */
OSDictionary *IOServiceNameMatching(const char *name);

/* What matches the one entry with this id. Otherwise as IOServiceMatching. */
OSDictionary *IORegistryEntryIDMatching(uint64_t entryID);

/* What has no counterpart here: looking for it is refused with a reason. options: 0. */
OSDictionary *IOBSDNameMatching(mach_port_t mainPort, uint32_t options, const char *bsdName);

/* --- finding: `matching` is consumed, also on failure --- */

/* The first match, returned, or IO_OBJECT_NULL (dext_last_reason() tells "none" from "no dextd").
 */
io_service_t IOServiceGetMatchingService(mach_port_t mainPort, OSDictionary *matching);

/* All matches: the iterator is returned. kIOReturnBadArgument: a parameter is NULL.
 * kIOReturnSuccess also when nothing matches: the iterator is empty then. */
kern_return_t IOServiceGetMatchingServices(mach_port_t mainPort, OSDictionary *matching,
					   io_iterator_t *existing);

/* --- objects and iterators --- */

/* One reference more, one less; with the last the number is void. kIOReturnBadArgument: no object.
 */
kern_return_t IOObjectRetain(io_object_t object);
kern_return_t IOObjectRelease(io_object_t object);

/* Are they the same registry entry? */
bool IOObjectIsEqualTo(io_object_t object, io_object_t other);

/* The next object, returned; IO_OBJECT_NULL at the end. */
io_object_t IOIteratorNext(io_iterator_t iterator);

/* Begin again. Of a notification's iterator nothing: what it gave, it has given. */
void IOIteratorReset(io_iterator_t iterator);

/* Always, for an iterator: it holds what there was when it was made, whatever happens since. */
bool IOIteratorIsValid(io_iterator_t iterator);

/* The class in dextd's registry: IOUserService of a driver's service, IOUserUserClient of a
 * connection. kIOReturnNotFound: the entry has ended. */
kern_return_t IOObjectGetClass(io_object_t object, io_name_t className);

/* Is the object of this class, or of one derived from it? A service is also of its driver's class,
 * of those that this is derived from, and of IOService. False: no, or it has ended. */
bool IOObjectConformsTo(io_object_t object, const char *className);

/* --- the registry --- */

/* The number of the entry, never used again while dextd runs. kIOReturnBadArgument: no entry. */
kern_return_t IORegistryEntryGetRegistryEntryID(io_registry_entry_t entry, uint64_t *entryID);

/* The name that the registry shows. kIOReturnOverrun: it has no room in an io_name_t. */
kern_return_t IORegistryEntryGetName(io_registry_entry_t entry, io_name_t name);

/* All properties, as they are now: returned. */
kern_return_t IORegistryEntryCreateProperties(io_registry_entry_t entry, OSDictionary **properties);

/* One property, as it is now: returned. kIOReturnNotFound: the entry has none of that name. */
kern_return_t IORegistryEntryCreateProperty(io_registry_entry_t entry, const char *key,
					    OSObject **value);

/* `plane` is kIOServicePlane. kIOReturnNotFound: there is none above, or below. Entries and
 * iterators come with a reference. */
io_registry_entry_t IORegistryGetRootEntry(mach_port_t mainPort);
kern_return_t IORegistryEntryGetParentEntry(io_registry_entry_t entry, const char *plane,
					    io_registry_entry_t *parent);
kern_return_t IORegistryEntryGetChildEntry(io_registry_entry_t entry, const char *plane,
					   io_registry_entry_t *child);
kern_return_t IORegistryEntryGetChildIterator(io_registry_entry_t entry, const char *plane,
					      io_iterator_t *iterator);

/* "IOService:/name@id/name@id"; for people, and to tell entries apart. */
kern_return_t IORegistryEntryGetPath(io_registry_entry_t entry, const char *plane,
				     io_string_t path);

/* Where IORegistryEntrySearchProperty looks beside the entry itself. */
enum {
	kIORegistryIterateRecursively = 1, // down, each entry before those below it
	kIORegistryIterateParents = 2,     // with the other: up instead
};

/* The first value that is found, returned: of the entry itself (options 0), or from it on. */
kern_return_t IORegistryEntrySearchProperty(io_registry_entry_t entry, const char *plane,
					    const char *key, IOOptionBits options,
					    OSObject **value);

/* --- busy --- */

/* How long to wait, from now; more than 60 s counts as 60 s. */
typedef struct mach_timespec {
	uint32_t tv_sec;
	int32_t tv_nsec;
} mach_timespec_t;

/* How many reasons the service has to be busy: its driver's own, its start or stop, what is below
 * it. The registry's is that of its root. */
kern_return_t IOServiceGetBusyState(io_service_t service, uint32_t *busyState);
kern_return_t IOKitGetBusyState(mach_port_t mainPort, uint32_t *busyState);

/* Wait until the service, or everything there is, is not busy; at most *waitTime, NULL: at most the
 * time limit of a call. kIOReturnTimeout: it still is, and dext_last_reason() names who. A service
 * that has ended is not busy. */
kern_return_t IOServiceWaitQuiet(io_service_t service, const mach_timespec_t *waitTime);
kern_return_t IOKitWaitQuiet(mach_port_t mainPort, const mach_timespec_t *waitTime);

/* --- connections --- */

/* Open a service for this process: owningTask is mach_task_self(). `type` is passed to the driver's
 * NewUserClient, and what that refuses is returned. The connection is its own reference: closing it
 * needs nothing else. kIOReturnNotPermitted: dextd's policy: the reason says which rule. */
kern_return_t IOServiceOpen(io_service_t service, task_port_t owningTask, uint32_t type,
			    io_connect_t *connect);
/* kIOReturnUnsupported, always: a connection is shared memory, a socket and doorbells, and no one
 * descriptor stands for it. What there is to wait for has one: dext_notification_port_get_fd
 * (<opendext/client.h>). `oflag`: as for open(). A negative number, as all errors are. */
int IOServiceOpenAsFileDescriptor(io_service_t service, int oflag);
/* Close and release. Calls under way on other threads end; what is mapped is unmapped. Outstanding
 * asynchronous calls complete with kIOReturnAborted. The connection's descriptors and memory may
 * stay a while with a thread that called on it last: until that thread calls on another, or ends.
 */
kern_return_t IOServiceClose(io_connect_t connect);

/* Further references to a connection: IOServiceClose ends it whoever has any, and each of the
 * others is still to be given back, by a second IOServiceClose, which does no more than that, or by
 * IOConnectRelease, which closes what is not closed with the last. */
kern_return_t IOConnectAddRef(io_connect_t connect);
kern_return_t IOConnectRelease(io_connect_t connect);
/* The service that the connection was opened to, with a reference. */
kern_return_t IOConnectGetService(io_connect_t connect, io_service_t *service);
/* kIOReturnUnsupported, as of all drivers' user clients: a method of the driver is the way. */
kern_return_t IOConnectSetProperties(io_connect_t connect, OSDictionary *properties);
kern_return_t IOConnectSetProperty(io_connect_t connect, const char *key, OSObject *value);

/*
 * Call the method `selector` of the driver's user client and wait for its result: at most 16
 * scalars and 256 MiB of structure either way, else kIOReturnMessageTooLarge. Above 4096 bytes a
 * structure goes through memory that is shared with the driver, and kept for the next; 8 such calls
 * run at once, further ones wait. *outputCnt and *outputStructCnt say what there is
 * room for, and afterwards how much was returned; a NULL output with no count is "none".
 *
 * A result of any size: with *outputStructCnt = kIOConnectMethodVarOutputSize, outputStruct is the
 * address of a pointer, and the library makes the memory:
 *
 *	void *data = NULL;
 *	size_t size = kIOConnectMethodVarOutputSize;
 *	ret = IOConnectCallMethod(connect, selector, NULL, 0, NULL, 0, NULL, NULL, &data, &size);
 *	…
 *	vm_deallocate(mach_task_self(), (vm_address_t)data, size);
 *
 * On success it is the caller's: writable, changed by nobody else, NULL for a result of no bytes,
 * and there until it is released by vm_deallocate, whatever becomes of the connection. On failure
 * there is none. Above 4096 bytes, up to the 64 MiB that data may have, it is the driver's own
 * copy, mapped. kIOReturnIPCError, kIOReturnVMError: the driver broke the rules.
 */
kern_return_t IOConnectCallMethod(io_connect_t connection, uint32_t selector, const uint64_t *input,
				  uint32_t inputCnt, const void *inputStruct, size_t inputStructCnt,
				  uint64_t *output, uint32_t *outputCnt, void *outputStruct,
				  size_t *outputStructCnt);

/* Release the result of a call with kIOConnectMethodVarOutputSize: all of it, once. A size of 0
 * releases nothing. (munmap does the same.) kIOReturnBadArgument: another task, or no address that
 * memory of this process begins at. */
kern_return_t vm_deallocate(task_port_t task, vm_address_t address, vm_size_t size);

/* IOConnectCallMethod with numbers alone. */
kern_return_t IOConnectCallScalarMethod(io_connect_t connection, uint32_t selector,
					const uint64_t *input, uint32_t inputCnt, uint64_t *output,
					uint32_t *outputCnt);

/* IOConnectCallMethod with structures alone. */
kern_return_t IOConnectCallStructMethod(io_connect_t connection, uint32_t selector,
					const void *inputStruct, size_t inputStructCnt,
					void *outputStruct, size_t *outputStructCnt);

/*
 * An asynchronous call returns when the driver has accepted it; the driver completes it later, and
 * `wakePort` (IONotificationPortGetMachPort) then calls
 *
 * - reference[kIOAsyncCalloutFuncIndex], the callback, by the number of values that came with the
 *   completion: 0 IOAsyncCallback0, 1 IOAsyncCallback1, 2 IOAsyncCallback2, more IOAsyncCallback;
 * - with reference[kIOAsyncCalloutRefconIndex] as its first argument,
 *
 * with referenceCnt from kIOAsyncCalloutCount to kIOAsyncReferenceCountMax. Without a reference
 * (NULL, or fewer words) nobody is called back. An accepted call completes once even when the
 *driver dies or the connection is closed: then with kIOReturnAborted and no values; a callback that
 * expects values looks at `result` first. A driver may complete the same call further times. A
 * call that was refused never calls back.
 */
enum {
	kIOAsyncReferenceCountMax = 8,
};
enum {
	kIOAsyncReservedIndex = 0,
	kIOAsyncCalloutFuncIndex = 1,
	kIOAsyncCalloutRefconIndex = 2,
	kIOAsyncCalloutCount = 3,
};

/* What is called back. The values are numbers, in a pointer each as in IOKit; `args` is borrowed.
 */
typedef void (*IOAsyncCallback0)(void *refcon, IOReturn result);
typedef void (*IOAsyncCallback1)(void *refcon, IOReturn result, void *arg0);
typedef void (*IOAsyncCallback2)(void *refcon, IOReturn result, void *arg0, void *arg1);
typedef void (*IOAsyncCallback)(void *refcon, IOReturn result, void **args, uint32_t numArgs);

/* IOConnectCallMethod, asynchronous: as told above. `reference` is copied. kIOReturnUnsupported:
 * kIOConnectMethodVarOutputSize. */
kern_return_t IOConnectCallAsyncMethod(io_connect_t connection, uint32_t selector,
				       mach_port_t wakePort, uint64_t *reference,
				       uint32_t referenceCnt, const uint64_t *input,
				       uint32_t inputCnt, const void *inputStruct,
				       size_t inputStructCnt, uint64_t *output, uint32_t *outputCnt,
				       void *outputStruct, size_t *outputStructCnt);

/* The same with numbers alone, and with structures alone. */
kern_return_t IOConnectCallAsyncScalarMethod(io_connect_t connection, uint32_t selector,
					     mach_port_t wakePort, uint64_t *reference,
					     uint32_t referenceCnt, const uint64_t *input,
					     uint32_t inputCnt, uint64_t *output,
					     uint32_t *outputCnt);
kern_return_t IOConnectCallAsyncStructMethod(io_connect_t connection, uint32_t selector,
					     mach_port_t wakePort, uint64_t *reference,
					     uint32_t referenceCnt, const void *inputStruct,
					     size_t inputStructCnt, void *outputStruct,
					     size_t *outputStructCnt);

/* --- memory --- */

enum {                        // IOConnectMapMemory64 options
	kIOMapAnywhere = 0x1, // the only placement there is
	kIOMapReadOnly = 0x1000,
};

/* Map the memory that the driver gives for `memoryType`. A type that is mapped already gives the
 * same address once more; each map is undone by one unmap, or by IOServiceClose. Memory that goes
 * away under the mapping reads as zeroes: dext_mapping_is_lost(). kIOReturnBadArgument: another
 * task, another option, or the type is mapped already and not in the same way.
 * kIOReturnUnsupported: the driver has no memory of that type. */
kern_return_t IOConnectMapMemory64(io_connect_t connect, uint32_t memoryType, task_port_t intoTask,
				   mach_vm_address_t *atAddress, mach_vm_size_t *ofSize,
				   IOOptionBits options);

/* Undo one map. kIOReturnBadArgument: the type is not mapped at that address. */
kern_return_t IOConnectUnmapMemory64(io_connect_t connect, uint32_t memoryType,
				     task_port_t fromTask, mach_vm_address_t atAddress);

/* --- notifications --- */

/* A new port; the caller's, until IONotificationPortDestroy. NULL: out of memory or descriptors. */
IONotificationPortRef IONotificationPortCreate(mach_port_t mainPort);
/* Ends all that was to be delivered through it; from a callback too. NULL is ignored. */
void IONotificationPortDestroy(IONotificationPortRef notify);
/* What names the port as `wakePort`; valid as long as the port. */
mach_port_t IONotificationPortGetMachPort(IONotificationPortRef notify);

/* What is called back; run by dext_notification_port_dispatch(). What they are given is borrowed.
 */
typedef void (*IOServiceMatchingCallback)(void *refcon, io_iterator_t iterator);
typedef void (*IOServiceInterestCallback)(void *refcon, io_service_t service, uint32_t messageType,
					  void *messageArgument);

/* Call back when services that match come (or end: kIOTerminatedNotification, and the same under
 * the name kIOWillTerminateNotification: told when the service is withdrawn, before its driver
 * stops). `matching` is consumed. The iterator holds what is there already (of what ends: nothing),
 * and arms the notification when it has been read to its end: now, and again after every callback.
 * Releasing it ends the notification. */
kern_return_t IOServiceAddMatchingNotification(IONotificationPortRef notify,
					       const char *notificationType, OSDictionary *matching,
					       IOServiceMatchingCallback callback, void *refcon,
					       io_iterator_t *notification);

/* Call back with a message when something becomes of the service, or of any other entry:
 *
 * - kIOMessageServiceBusyStateChange: it is busy, messageArgument is (void *)1, or not any more:
 * NULL;
 * - kIOMessageServicePropertyChange: its driver set or removed properties, or its name;
 * - kIOMessageServiceWasClosed: an application has closed a connection to it, or died; so another
 * may try where a driver takes one at a time;
 * - kIOMessageServiceIsTerminated: it has ended, or its driver has died; at once when that was
 * before, and nothing after that.
 *
 * One message of a kind stands for all of that kind since the last, in this order: who is slow is
 * told less, and dextd keeps no more for it. interestType: kIOGeneralInterest, else
 * kIOReturnUnsupported. kIOReturnNoResources: the process has 256 already. Releasing
 * `notification`, from a callback too, ends it: what was to be told is not told any more. */
kern_return_t IOServiceAddInterestNotification(IONotificationPortRef notify, io_service_t service,
					       const char *interestType,
					       IOServiceInterestCallback callback, void *refcon,
					       io_object_t *notification);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

/* The same calls as Core Foundation's users know them. */
#include <IOKit/IOKitCF.h>
