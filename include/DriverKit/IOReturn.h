/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Results. Layout: system (6 bits, 0x38 is IOKit) << 26 | subsystem (12 bits) << 14 | code.
 * Names and values are DriverKit's; every public function returns one of them.
 */

#include <stdint.h>

/* The result of a call: 0 is success. */
typedef int32_t kern_return_t;
typedef kern_return_t IOReturn;

/* Every result: its name without kIOReturn, its value, and what it says to a person. */
#define IO_RETURN_LIST(X)                                              \
	X(Success, 0x0U, "success")                                    \
	X(Error, 0xe00002bcU, "general error")                         \
	X(NoMemory, 0xe00002bdU, "out of memory")                      \
	X(NoResources, 0xe00002beU, "out of resources")                \
	X(IPCError, 0xe00002bfU, "malformed message")                  \
	X(NoDevice, 0xe00002c0U, "no such device")                     \
	X(NotPrivileged, 0xe00002c1U, "privilege needed")              \
	X(BadArgument, 0xe00002c2U, "bad argument")                    \
	X(LockedRead, 0xe00002c3U, "locked for reading")               \
	X(LockedWrite, 0xe00002c4U, "locked for writing")              \
	X(ExclusiveAccess, 0xe00002c5U, "held exclusively by another") \
	X(BadMessageID, 0xe00002c6U, "wrong message id")               \
	X(Unsupported, 0xe00002c7U, "not supported")                   \
	X(VMError, 0xe00002c8U, "memory fault")                        \
	X(InternalError, 0xe00002c9U, "internal error")                \
	X(IOError, 0xe00002caU, "I/O error")                           \
	X(CannotLock, 0xe00002ccU, "cannot lock")                      \
	X(NotOpen, 0xe00002cdU, "not open")                            \
	X(NotReadable, 0xe00002ceU, "not readable")                    \
	X(NotWritable, 0xe00002cfU, "not writable")                    \
	X(NotAligned, 0xe00002d0U, "not aligned")                      \
	X(BadMedia, 0xe00002d1U, "bad media")                          \
	X(StillOpen, 0xe00002d2U, "still open")                        \
	X(RLDError, 0xe00002d3U, "loader error")                       \
	X(DMAError, 0xe00002d4U, "DMA error")                          \
	X(Busy, 0xe00002d5U, "busy")                                   \
	X(Timeout, 0xe00002d6U, "timed out")                           \
	X(Offline, 0xe00002d7U, "offline")                             \
	X(NotReady, 0xe00002d8U, "not ready")                          \
	X(NotAttached, 0xe00002d9U, "not attached")                    \
	X(NoChannels, 0xe00002daU, "no channels")                      \
	X(NoSpace, 0xe00002dbU, "no space")                            \
	X(PortExists, 0xe00002ddU, "port exists")                      \
	X(CannotWire, 0xe00002deU, "cannot pin memory")                \
	X(NoInterrupt, 0xe00002dfU, "no interrupt attached")           \
	X(NoFrames, 0xe00002e0U, "no frames queued")                   \
	X(MessageTooLarge, 0xe00002e1U, "message too large")           \
	X(NotPermitted, 0xe00002e2U, "not permitted")                  \
	X(NoPower, 0xe00002e3U, "no power")                            \
	X(NoMedia, 0xe00002e4U, "no media")                            \
	X(UnformattedMedia, 0xe00002e5U, "unformatted media")          \
	X(UnsupportedMode, 0xe00002e6U, "unsupported mode")            \
	X(Underrun, 0xe00002e7U, "underrun")                           \
	X(Overrun, 0xe00002e8U, "overrun")                             \
	X(DeviceError, 0xe00002e9U, "device error")                    \
	X(NoCompletion, 0xe00002eaU, "no completion routine")          \
	X(Aborted, 0xe00002ebU, "aborted")                             \
	X(NoBandwidth, 0xe00002ecU, "no bandwidth")                    \
	X(NotResponding, 0xe00002edU, "device does not respond")       \
	X(IsoTooOld, 0xe00002eeU, "frame too old")                     \
	X(IsoTooNew, 0xe00002efU, "frame too new")                     \
	X(NotFound, 0xe00002f0U, "not found")                          \
	X(Invalid, 0xe0000001U, "invalid")

#define IO_RETURN_ENUM(name, value, text) kIOReturn##name = (IOReturn)(value),
enum { IO_RETURN_LIST(IO_RETURN_ENUM) };
#undef IO_RETURN_ENUM

/* Results of USB transfers: group 0xe0005000 (IOUSBHostFamily). PipeStalled: the endpoint answered
 * STALL (USB 2.0, 8.4.5); ClearStall makes it work again. NoPower: the device has none. */
enum {
	kUSBHostReturnPipeStalled = (IOReturn)0xe0005000U,
	kUSBHostReturnNoPower = (IOReturn)0xe0005001U,
};

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The constant's name ("kIOReturnAborted"), valid for ever; of an unknown value "0x%08x", valid
 * until this thread asks again. Any thread; never NULL. */
const char *IOReturnString(IOReturn ret);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
