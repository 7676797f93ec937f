/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What concerns services as a whole, from whoever learns of it; any thread, no lock held but the
 * directory's. */

#include <stdint.h>

/* dextd says: what is watched under `cookie` changed. */
void notification_service_changed(uint64_t cookie, uint64_t entry);
