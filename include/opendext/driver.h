/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a driver has here beside DriverKit's own classes.
 */

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

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
