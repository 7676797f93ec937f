/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Virtual devices: processes that listen on a UNIX stream socket and speak usbredir or vfio-user.
 * dextd never speaks either. It connects, gives the connection to dext-probe, a confined process
 * that asks the device what it is, publishes what comes back, and connects anew for each driver.
 *
 * The socket's folder is watched: a socket that appears is a plug, one that goes is an unplug, and
 * so is a driver's word that its device hung up.
 */

#include <DriverKit/OSCollections.h>

struct daemon;

/* `spec` is KIND:PATH, borrowed for ever. Negative errno with a reason. */
int device_virtual_add(struct daemon *daemon, const char *spec);
void device_virtual_free_all(struct daemon *daemon);

/* [{device, state, reason}]; returned; NULL: no memory. */
OSArray *device_virtual_describe(const struct daemon *daemon);
