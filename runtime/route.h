/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where a method of an object runs: on which queue, or in which process. */

#include <DriverKit/IODispatchQueue.h>

/*
 * The queue that `method` (the row that serves a call on `object`) is to run on: the one set under
 * its QUEUENAME, else the default queue. Returned; NULL: the object has neither.
 */
IODispatchQueue *route_copy_queue(OSObject *object, const struct OSMethod *method);

/*
 * An object that stands for one in another process. Its methods go to `call`, on the caller's
 * queue, except those that `local` implements: these are answered here, as are its init and free.
 * LOCALONLY methods of other classes are refused. Embedded in what its maker keeps of it.
 */
struct route_proxy {
	const OSMetaClass *local; // IOService or OSObject
	/* Make the call and wait for it. Returns what OSObjectInvoke returns; the method's own
	 * result is in `msg`. */
	kern_return_t (*call)(struct route_proxy *proxy, const struct OSMethodShape *shape,
			      void *msg);
	/* The object's last reference is gone; on whatever thread held it. */
	void (*released)(struct route_proxy *proxy);
};

/*
 * An init()ed object of class `meta`, or rather of a class derived from it that a process makes
 * once: `meta` may be implemented here too, and its own init and free must not run. Returned; NULL:
 * no memory, or its init failed.
 */
OSObject *route_new_proxy(const OSMetaClass *meta, struct route_proxy *proxy);
struct route_proxy *route_proxy_of(const OSObject *object); // NULL: it is not one

/* What only services have, as CopyDispatchQueue sees it. Both are required, and take any object. */
struct route_service_ops {
	bool (*has_stopped)(OSObject *object);
	OSObject *(*provider)(OSObject *object); // borrowed; NULL: none
};

/* Constant. Before main. */
void route_set_services(const struct route_service_ops *ops);
