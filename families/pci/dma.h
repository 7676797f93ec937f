/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What IODMACommand maps for a PCI function: an IOMMU over its backend. Any thread. */

#include <families/pci/function.h>
#include <families/service/iommu.h>

/* Zeroes are one that has not been opened. */
struct pci_dma {
	struct pci_function *function; // borrowed
	struct iommu *iommu;           // owned; NULL: no DMA
};

/* A function whose backend has no DMA, or none that makes sense (that is logged), has none. */
void pci_dma_open(struct pci_dma *dma, struct pci_function *function);
/* Before the function is closed. Twice is harmless. */
void pci_dma_close(struct pci_dma *dma);
