/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* DextRegistrar: what a dext may ask of dextd. It can name its own services and nothing else. */

#include <wire/channel.h>

extern const struct channel_method registrar_methods[]; // context: struct dext
