/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What becomes of single services, from whoever learns of it; any thread, no lock held but the
 * directory's. */

#include <stdint.h>

/* dextd says: to what is watched under `cookie` happened `what` (kDextEntry…). */
void interest_told(uint64_t cookie, uint32_t what, uint32_t busy);
/* A connection to the service found its driver gone. */
void interest_service_gone(uint64_t entry);
