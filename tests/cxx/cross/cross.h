/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the two halves of the test share. Every class counts, and remembers what it was told. */

#include <DriverKit/IOReturn.h>
#include <stddef.h>

#ifdef __cplusplus
class CrossBase;
class IODispatchQueue;
extern "C" {
#else
#include <DriverKit/IODispatchQueue.h>
typedef struct CrossBase CrossBase;
#endif

enum cross_class {
	CROSS_BASE,
	CROSS_MIDDLE,
	CROSS_LEAF,
	CROSS_TOP,
	CROSS_SIBLING,
	CROSS_EMPTY,
	CROSS_CLASSES
};

extern struct cross_counts {
	unsigned inits[CROSS_CLASSES], frees[CROSS_CLASSES];
	unsigned members_made, members_gone; // of C++ classes with constructors, in ivars
	unsigned worked[CROSS_CLASSES];
	uint64_t value;     // of the last completion
	const void *with;   // the object it brought
	uint64_t reference; // in its reference block
} cross_counts;

/* --- the C++ side, for C --- */

/* A new object; as its author would make it. */
CrossBase *cxx_make(enum cross_class cls);

/* What a caller in C++ gets whose pointer is of class `as`. UINT64_MAX: it is none. */
uint64_t cxx_digits(CrossBase *object, enum cross_class as);
uint64_t cxx_const_digits(const CrossBase *object, enum cross_class as);
uint64_t cxx_add_digits(CrossBase *object, enum cross_class as);
uint64_t cxx_level(CrossBase *object, enum cross_class as);
uint64_t cxx_level_by_message(CrossBase *object, enum cross_class as);
uint64_t cxx_plain_functions(CrossBase *object); // times(3) and thrice(3), as hundreds and ones

/* `object`'s field of C++'s and the ivars of its class `as`, as C++ sees them. */
const void *cxx_vtable(const CrossBase *object);
const void *cxx_ivars(CrossBase *object, enum cross_class as);
size_t cxx_size(enum cross_class cls);

/* Have `worker` work with `value`, for an action of `target` made here. */
kern_return_t cxx_work(CrossBase *target, CrossBase *worker, uint64_t value, uint64_t reference);

/* A queue's blocks, as many as there are forms: each adds its digit. 0: not compiled with blocks.
 */
uint64_t cxx_blocks(IODispatchQueue *queue, void (*end)(void *));

#ifdef __cplusplus
}
#endif
