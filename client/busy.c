/* SPDX-License-Identifier: Apache-2.0 */

/* dextd answers when it is quiet. One call to dextd is under way at a time in this process: so a
 * long wait is a row of short ones, between which other threads have their turn. */

#include <base/clock.h>
#include <base/reason.h>
#include <client/directory.h>
#include <client/entry.h>
#include <opendext/client.h>

enum { SLICE_MS = 50, WAIT_MAX_MS = 60 * 1000, ROOT = 0 };

static kern_return_t get_busy(uint64_t entry, uint32_t *busy)
{
	struct DextDirectory_CopyEntry_Msg msg = { .entry = entry };
	if (busy == NULL)
		return refuse(kIOReturnBadArgument, "busyState is NULL");
	kern_return_t status = directory_call(&DextDirectory_CopyEntry_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	OSNumber *number =
		OSDynamicCast(OSNumber, OSDictionary_getObject(msg.properties, "OpenDextBusy"));
	if (number != NULL)
		*busy = OSNumber_unsigned32BitValue(number);
	else
		status = refuse(kIOReturnIPCError, "dextd does not say whether it is busy");
	OSObjectRelease(msg.properties);
	return status;
}

static kern_return_t wait_once(uint64_t entry, uint64_t deadline, uint64_t now)
{
	uint64_t left_ms = now < deadline ? (deadline - now + 999999) / 1000000 : 0;
	uint32_t slice_ms = dext_call_timeout_get() / 2;
	if (slice_ms > SLICE_MS)
		slice_ms = SLICE_MS;
	struct DextDirectory_WaitQuiet_Msg msg = {
		.entry = entry,
		.timeoutMs = left_ms < slice_ms ? (uint32_t)left_ms : slice_ms,
	};
	return directory_call(&DextDirectory_WaitQuiet_Shape, &msg);
}

static kern_return_t wait_quiet(uint64_t entry, const mach_timespec_t *time)
{
	uint64_t ms = dext_call_timeout_get();
	if (time != NULL && (time->tv_nsec < 0 || time->tv_nsec >= 1000000000))
		return refuse(kIOReturnBadArgument, "tv_nsec is 0 to 999999999");
	if (time != NULL)
		ms = (uint64_t)time->tv_sec * 1000 + (uint32_t)time->tv_nsec / 1000000;
	uint64_t deadline = clock_deadline_ns(ms < WAIT_MAX_MS ? (uint32_t)ms : WAIT_MAX_MS), now;
	kern_return_t status;
	do {
		now = clock_now_ns();
		status = wait_once(entry, deadline, now);
	} while (status == kIOReturnTimeout && now < deadline);
	return status;
}

kern_return_t IOServiceGetBusyState(io_service_t service, uint32_t *busyState)
{
	uint64_t entry;
	reason_clear();
	kern_return_t status = entry_get_id(service, &entry);
	return status == kIOReturnSuccess ? get_busy(entry, busyState) : status;
}

kern_return_t IOKitGetBusyState(mach_port_t mainPort, uint32_t *busyState)
{
	(void)mainPort;
	reason_clear();
	return get_busy(ROOT, busyState);
}

kern_return_t IOServiceWaitQuiet(io_service_t service, const mach_timespec_t *waitTime)
{
	uint64_t entry;
	reason_clear();
	kern_return_t status = entry_get_id(service, &entry);
	return status == kIOReturnSuccess ? wait_quiet(entry, waitTime) : status;
}

kern_return_t IOKitWaitQuiet(mach_port_t mainPort, const mach_timespec_t *waitTime)
{
	(void)mainPort;
	reason_clear();
	return wait_quiet(ROOT, waitTime);
}
