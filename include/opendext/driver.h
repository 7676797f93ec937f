/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a driver has here beside DriverKit's own classes.
 */

#include <DriverKit/IOMemoryDescriptor.h>
#include <DriverKit/IOUserClient.h>
#include <DriverKit/OSAction.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * IOUserClient's AsyncCompletion, which returns nothing, for a driver that wants to know what
 * became of it; any thread, never blocks. An action may be completed many times: it then brings
 * events to the application. The first completion of a call always finds room; a further one is
 * refused with kIOReturnNoSpace while the application does not read its notification port.
 */
kern_return_t dext_async_complete(OSAction *action, IOReturn status, const uint64_t *data,
				  uint32_t dataCount);

/*
 * ExternalMethod by a table: row `selector` is checked and called as IOUserClient's own
 * ExternalMethod does. kIOReturnBadArgument: the table has no such row. On the queue of
 * ExternalMethod, from an override of it:
 *
 *	kern_return_t IMPL(MyClient, ExternalMethod)
 *	{
 *		return dext_dispatch(MyClient_as_IOUserClient(self), selector, arguments, methods,
 *				     sizeof(methods) / sizeof(methods[0]),
 *				     MyClient_as_OSObject(self), NULL);
 *	}
 */
kern_return_t dext_dispatch(IOUserClient *client, uint64_t selector,
			    IOUserClientMethodArguments *arguments,
			    const IOUserClientMethodDispatch *table, size_t rows, OSObject *target,
			    void *reference);

/*
 * The bytes of a call's input structure, whatever its size: up to 4096 bytes they are in
 * structureInput, above that in structureInputDescriptor, and structureInput is NULL. A method that
 * takes any size has to look at both; this does.
 *
 * Valid during the call; of a large one the application may change them meanwhile: copy before
 * looking twice. *map: returned, keeps a large one mapped; NULL: there was nothing to map. Release
 * it before the method returns. No structure is no bytes, and success.
 */
kern_return_t dext_structure_input(const IOUserClientMethodArguments *arguments, const void **bytes,
				   size_t *size, IOMemoryMap **map);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
