/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the ivshmem driver and its applications agree on. */

/* IOConnectMapMemory64 types. */
enum { kIvshmemMemoryShared = 0 }; // BAR2

/* IOConnectCallMethod selectors. */
enum {
	kIvshmemMethodGetInfo = 0, // out: kIvshmemInfoCount scalars
	kIvshmemMethodRing,        // in: the value for the doorbell register
	/* Asynchronous: completed each time that one of this machine's doorbells was rung, with
	 * kIvshmemEventCount values. kIOReturnUnsupported: the card has none. */
	kIvshmemMethodNotify,
	kIvshmemMethodCount,
};

enum { kIvshmemVectorsMax = 8 };

enum {                           // values of an event
	kIvshmemEventVector = 0, // which doorbell
	kIvshmemEventRings,      // how often since the driver looked last
	kIvshmemEventTime,       // when the driver saw the last of them, in nanoseconds
	kIvshmemEventCount,
};

enum { // scalars of GetInfo
	kIvshmemInfoVendor = 0,
	kIvshmemInfoDevice,
	kIvshmemInfoMemorySize, // bytes in BAR2
	kIvshmemInfoPosition,   // IVPosition: this machine's number among its peers; 0: none
	kIvshmemInfoVectors,    // this machine's doorbells; 0: the card has no interrupts
	kIvshmemInfoCount,
};
