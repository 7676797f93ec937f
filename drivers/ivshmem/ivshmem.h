/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the ivshmem driver and its applications agree on. */

/* IOConnectMapMemory64 types. */
enum { kIvshmemMemoryShared = 0 }; // BAR2

/* IOConnectCallMethod selectors. */
enum {
	kIvshmemMethodGetInfo = 0, // out: kIvshmemInfoCount scalars
	kIvshmemMethodRing,        // in: the value for the doorbell register
	kIvshmemMethodCount,
};

enum { // scalars of GetInfo
	kIvshmemInfoVendor = 0,
	kIvshmemInfoDevice,
	kIvshmemInfoMemorySize, // bytes in BAR2
	kIvshmemInfoPosition,   // IVPosition: this machine's number among its peers; 0: none
	kIvshmemInfoCount,
};
