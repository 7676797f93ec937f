/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the test asks the Dial driver to do with its Gauge. Each takes one number and gives one. */
enum {
	DIAL_READ,        // channel -> value
	DIAL_DESCRIBE,    // 1: the answer was right and the question was in it
	DIAL_WATCH,       // times: has them sent
	DIAL_SEEN,        // -> readings that came so far, in order; a wrong one: UINT64_MAX
	DIAL_COMPLEMENT,  // -> bytes of our buffer that came back right
	DIAL_PAGE,        // -> bytes of the gauge's page that are right
	DIAL_NEEDLE,      // by -> position of a needle that was moved twice
	DIAL_SAME_NEEDLE, // 1: the same object is the same proxy
	DIAL_HOME,        // by -> position that the gauge itself sees
	DIAL_NEEDLES,     // -> needles alive in the gauge's process
	DIAL_KEEP_NEEDLE, // keeps one until the driver dies
	DIAL_KEEP_ALARM,  // value: keeps an alarm of the gauge's, and invokes it with that
	DIAL_DROP_ALARM,  // lets go of it
	DIAL_ALARM_SUM,   // -> of what all alarms were invoked with
	DIAL_ABORTED,     // -> alarms that were aborted
	DIAL_LOCALONLY,   // calls a LOCALONLY method
	DIAL_ALLOCATE,    // 1: no Gauge can be made here
	DIAL_RANGE,       // -> what the gauge's state says, which can be waited for
	DIAL_DIE,         // has the gauge's process die in a call
	DIAL_METHODS,
};
