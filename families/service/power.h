/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Changes of power that dextd asks for, from DextHost::SetPowerState until the driver has called
 * the base class's. All on the control queue.
 */

#include <stdint.h>

#include <DriverKit/IOService.h>

struct channel_call;
struct hosted;

/* `service` is of `hosted`. Answers `call`, now or later. While the matched service is off, calls
 * of its applications are held back. */
void power_serve(struct hosted *hosted, IOService *service, struct channel_call *call,
		 uint32_t flags);
/* The hosted service has stopped: nobody will acknowledge any more. */
void power_forget(const struct hosted *hosted);
