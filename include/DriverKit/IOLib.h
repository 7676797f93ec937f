/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a driver needs from a library of its own: memory, time and a line in the log. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <DriverKit/IOReturn.h>
#include <DriverKit/IOTypes.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Heap memory of `length` bytes, Zero: zeroed; the caller's. NULL: none is left. IOFree gives it
 * back, with its length. Any thread; none of them waits. */
void *IOMalloc(size_t length);
void *IOMallocZero(size_t length);
void IOFree(void *address, size_t length); // NULL is ignored

#ifndef __cplusplus
/* `count` zeroed elements of `type`; NULL: out of memory, or too many for it. In C++ their
 * constructors run as well, and their destructors when they are deleted. */
#define IONewZero(type, count) ((type *)calloc((count), sizeof(type)))

/* Free what IONewZero gave and forget it. */
#define IOSafeDeleteNULL(pointer, type, count)                     \
	do {                                                       \
		IOFree((pointer), (size_t)(count) * sizeof(type)); \
		(pointer) = NULL;                                  \
	} while (0)
#endif

/* Wait, at most a day. Any thread, but no method that others wait for should. The calling thread
 * keeps its queue; all other queues go on. */
void IOSleep(uint64_t milliseconds);

/* Spin: for what hardware needs, at most a few microseconds. */
void IODelay(uint64_t microseconds);

/* One line to the driver's log (stderr), in printf's form; any thread. Control characters are
 * escaped. */
void IOLog(const char *format, ...) __attribute__((format(printf, 1, 2)));

#pragma GCC visibility pop
#ifdef __cplusplus
}

#include <DriverKit/IOLib.hpp>
#endif
