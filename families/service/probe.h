/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <DriverKit/IOTypes.h>

/*
 * Ask a virtual device what it is: what dext-probe does, in a confined process of its own, so that
 * dextd never reads what a device says.
 *
 * `backend` is "usbredir" or "vfio-user"; device_fd (consumed) is connected to the device; the
 * identity, an OSArray of dictionaries, is written to output_fd (borrowed); when it fails, an
 * OSString that says why. The process's exit status.
 */
#pragma GCC visibility push(default)
int dext_probe(const char *backend, int device_fd, int output_fd);
#pragma GCC visibility pop
