/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ledger: who made which object, and who freed it. A process keeps one when its environment
 * says OPENDEXT_DEBUG=objects; then, on its standard error,
 *
 *	- every object that is alive when the process exits is listed, with its class, how many
 *there are of it, and where they were made;
 *	- a retain, a release, a cast or a method call of an object that was freed is reported when
 *it happens, with where the object was made and freed, and does nothing.
 *
 * A freed object is kept, to be recognised, until 4096 others or 4 MiB were freed after it. A place
 * is FUNCTION+OFFSET where the dynamic symbols tell it, else FILE+OFFSET, which addr2line reads.
 *
 * In a process that keeps none it costs one branch for each object made, and one for each freed.
 * Any thread.
 */

#include <stdbool.h>
#include <stddef.h>

#include <objects/object.h>

#define LEDGER_GRAVES_MAX      4096U
#define LEDGER_GRAVE_BYTES_MAX (4U * 1024U * 1024U)

extern bool ledger_is_kept; // constant once main runs

/*
 * A place is a call stack from `caller` outwards: the return address of the function that the
 * ledger's reader knows, so that the object model's own functions are not in it.
 */

/* `size` zeroed bytes for an instance of `meta`, marked OBJECT_LEDGER. NULL: out of memory. */
OSObject *ledger_allocate(const OSMetaClass *meta, size_t size, void *caller);

/* Call free() of an object without references. */
void ledger_free(OSObject *object, void *caller);

/* The end of what ledger_allocate gave, from within free(). */
void ledger_bury(OSObject *object);

/* See ledger_check. */
void ledger_report(const OSObject *object, const char *use, void *caller);

/* Somebody uses `object`, which may be NULL: report it if it is dead. To be called where something
 * is wrong already, so that it costs those nothing who do right. */
__attribute__((always_inline)) static inline void ledger_check(const OSObject *object,
							       const char *use)
{
	if (object != NULL && (object->flags & OBJECT_DEAD) != 0)
		ledger_report(object, use, __builtin_return_address(0));
}
