/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which queue a method of an object runs on. */

#include <DriverKit/IODispatchQueue.h>

/*
 * The queue that `method` (the row that serves a call on `object`) is to run on: the one set under
 * its QUEUENAME, else the default queue. Returned; NULL: the object has neither.
 */
IODispatchQueue *route_copy_queue(OSObject *object, const struct OSMethod *method);
