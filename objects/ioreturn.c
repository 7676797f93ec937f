/* SPDX-License-Identifier: Apache-2.0 */

/* The names of results. */

#include <DriverKit/IOReturn.h>

#include <stdio.h>

#define RETURN_CASE(name, value, text) \
	case kIOReturn##name:          \
		return "kIOReturn" #name;

const char *IOReturnString(IOReturn ret)
{
	static _Thread_local char unknown[16];

	switch (ret) {
		IO_RETURN_LIST(RETURN_CASE)
	case kUSBHostReturnPipeStalled:
		return "kUSBHostReturnPipeStalled";
	case kUSBHostReturnNoPower:
		return "kUSBHostReturnNoPower";
	default:
		snprintf(unknown, sizeof(unknown), "0x%08x", (unsigned)ret);
		return unknown;
	}
}
