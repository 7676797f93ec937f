/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* DextDirectory: what an application or dextctl may ask of dextd. */

#include <wire/channel.h>

extern const struct channel_method directory_methods[]; // context: struct client
