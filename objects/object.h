/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Objects from the inside: what flags an instance carries. */

#include <DriverKit/OSMetaClass.h>

/* Bits of OSObject.flags. */
enum {
	OBJECT_IMMORTAL = 1U << 0, // shared and constant: retain and release do nothing
	OBJECT_LEDGER = 1U << 1,   // made by the ledger, which must bury it
	OBJECT_DEAD = 1U << 2,     // freed, and kept by the ledger to be recognised
};
