/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What dextctl prints, as dictionaries; each is returned, NULL without memory. */

#include <DriverKit/OSCollections.h>

struct daemon;
struct entry;

OSDictionary *describe_entry(const struct entry *entry);
/* A device without what would not fit beside an explanation. */
OSDictionary *describe_device(const struct entry *entry);
/* layers [{name,state,detail}], version, bundles [{path,identifier,state,reason}], virtual
 * [{device,state,reason}], services, connections, clients, processes, descriptors. */
OSDictionary *describe_daemon(struct daemon *daemon);
