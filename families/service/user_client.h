/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the host tells a user client that it made for an application. */

#include <DriverKit/IOUserClient.h>

/* Before its Start. The dictionary is kept, and never changed; NULL: none came. */
void user_client_set_entitlements(IOUserClient *client, OSDictionary *entitlements);
