/* SPDX-License-Identifier: Apache-2.0 */

/* The PCI backends, by name. They register from constructors, before any thread exists. */

#include <assert.h>
#include <string.h>

#include <families/pci/pci_backend.h>

enum { BACKENDS_MAX = 4 };

static const struct pci_backend_ops *backends[BACKENDS_MAX];
static unsigned n_backends;

void pci_backend_register(const struct pci_backend_ops *ops)
{
	assert(ops->name != NULL && ops->open != NULL && ops->close != NULL);
	assert(ops->region_info != NULL && ops->read != NULL && ops->write != NULL);
	assert(ops->region_fd != NULL && ops->irq_count != NULL);
	assert(ops->set_irq != NULL && ops->unmask_intx != NULL);
	assert((ops->dma_limits != NULL) == (ops->dma_map != NULL));
	assert((ops->dma_limits != NULL) == (ops->dma_unmap != NULL));
	assert(n_backends < BACKENDS_MAX && pci_backend_find(ops->name) == NULL);
	backends[n_backends++] = ops;
}

const struct pci_backend_ops *pci_backend_find(const char *name)
{
	for (unsigned i = 0; i < n_backends; i++) {
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	}
	return NULL;
}
