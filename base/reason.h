/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Why the last refusal on this thread happened: which check, which key, what to do about it.
 * refuse() is used in the return statement of whatever refuses:
 *
 *	return refuse(kIOReturnNotOpen, "%s does not hold the device open: call Open first", name);
 *
 * The text travels with the error reply and reaches dextctl, the log and the application
 * (dext_last_reason()). Thread-local; at most 511 bytes, cut with "…" (it is for people).
 */

#include <DriverKit/IOReturn.h>

#define REASON_MAX 512

IOReturn refuse(IOReturn status, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *reason_last(void);     // never NULL
IOReturn reason_status(void);      // of that refusal; success after reason_set and reason_clear
void reason_set(const char *text); // as received from a peer
void reason_clear(void);
IOReturn return_from_errno(int error); // a negative errno to the nearest kIOReturn
