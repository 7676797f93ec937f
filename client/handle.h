/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The numbers that applications hold (io_object_t) and the objects behind them. A number has a
 * count of its own, the application's references; an object lives as long as its number or anyone
 * who uses it. A number that was given back is refused, also after its place was used again.
 *
 * Any thread.
 */

#include <stdatomic.h>

#include <IOKit/IOKitLib.h>

enum object_kind { OBJECT_ENTRY, OBJECT_ITERATOR, OBJECT_CONNECTION, OBJECT_INTEREST, OBJECT_PORT };

struct object {
	enum object_kind kind;
	_Atomic uint32_t refs;
	/* Optional. The application gave its last reference back; others may still use it. */
	void (*on_close)(struct object *object);
	/* Required. Nobody uses it any more. */
	void (*on_free)(struct object *object);
};

void object_init(struct object *object, enum object_kind kind,
		 void (*on_close)(struct object *object), void (*on_free)(struct object *object));
void *object_ref(struct object *object);
struct object *object_unref(struct object *object); // NULL is ignored; returns NULL

/* A number for `object`, whose reference is consumed. IO_OBJECT_NULL: out of memory; then the
 * object was closed and let go. */
io_object_t handle_new(struct object *object);
/* Returned; NULL and a reason when it is no `kind`. */
struct object *handle_get(io_object_t handle, enum object_kind kind);
/* The same for a use that ends on this thread, by handle_return: without a lock or a count when the
 * thread's last was this one too. For that each thread holds on to what it borrowed last, until it
 * borrows another, gives the number back itself, or ends. */
struct object *handle_borrow(io_object_t handle, enum object_kind kind);
void handle_return(struct object *object);
kern_return_t handle_kind(io_object_t handle, enum object_kind *kind);
kern_return_t handle_retain(io_object_t handle);
kern_return_t handle_release(io_object_t handle);
