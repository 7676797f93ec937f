/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a PCI function is, as matching wants it. Any thread. */

#include <families/family.h>
#include <families/pci/function.h>

/* A device that changed between the probe and now is not the one that was matched: refused. */
kern_return_t pci_check_identity(struct pci_function *function, OSDictionary *properties);
/* See family_ops.copy_identity. */
kern_return_t pci_copy_identity(struct device_handover *handover, OSArray **identity);
