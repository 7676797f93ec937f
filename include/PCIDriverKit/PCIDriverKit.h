/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Everything a PCI driver includes. */

#include <PCIDriverKit/IOPCIDevice.h>
#include <PCIDriverKit/PCIDefinitions.h>
