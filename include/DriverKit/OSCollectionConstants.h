/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Constant objects: shared, never freed; retain and release do nothing to them. Any thread. */

#include <DriverKit/OSCollections.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The two values of OSBoolean. */
extern OSBoolean *const kOSBooleanTrue;
extern OSBoolean *const kOSBooleanFalse;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
