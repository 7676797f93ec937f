/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* "dextctl why": every personality that was tried on a device, and what became of it. */

#include <DriverKit/OSCollections.h>

struct device;

/* device, candidates [{personality, bundle, score, matched, key, reason, fix}], result. Returned;
 * NULL: no memory. */
OSDictionary *explain_device(struct device *device);
