/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/deadline.h>

#include <base/clock.h>
#include <base/reason.h>

uint64_t deadline_in(uint64_t timeout_ns)
{
	uint64_t now = clock_now_ns();
	uint64_t longest = (uint64_t)INT64_MAX - now;

	return now + (timeout_ns < longest ? timeout_ns : longest);
}

kern_return_t deadline_from(const char *what, uint64_t clock, uint64_t deadline,
			    uint64_t *deadline_ns)
{
	uint64_t now;

	switch (clock) {
	case kIOTimerClockUptimeRaw:
	case kIOTimerClockMachAbsoluteTime:
		now = clock_now_ns();
		break;
	case kIOTimerClockMonotonicRaw:
	case kIOTimerClockMachContinuousTime:
		now = clock_boot_now_ns();
		break;
	case kIOTimerClockRealTime:
		now = clock_real_now_ns();
		break;
	default:
		return refuse(kIOReturnBadArgument, "%s: options %#llx name no clock", what,
			      (unsigned long long)clock);
	}
	*deadline_ns = deadline_in(deadline > now ? deadline - now : 0);
	return kIOReturnSuccess;
}
