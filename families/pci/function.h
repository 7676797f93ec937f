/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One PCI function over its backend: what IOPCIDevice is made of, without the object.
 *
 * Every access is checked against the sizes learnt when the function was opened, and reaches the
 * backend on its queue. Nothing that the device says is believed twice: the layout is read once
 * and kept. Any thread.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <families/pci/pci_backend.h>

enum { PCI_N_MEMORIES = 7 }; // six BARs and the ROM
enum { PCI_NO_MEMORY = 0xff };

/* A memory index of DriverKit: the present BARs in order, then the ROM. */
struct pci_memory {
	uint8_t region; // the BAR's number, or PCI_REGION_ROM
	uint8_t type;   // kPCIBARType…
	uint64_t size;
};

struct pci_function {
	const struct pci_backend_ops *ops;
	struct pci_backend *backend; // owned
	IODispatchQueue *queue;      // kept; NULL: the backend is called on the caller's thread
	uint64_t config_size;
	struct pci_region regions[PCI_N_REGIONS];
	struct pci_memory memories[PCI_N_MEMORIES];
	unsigned n_memories;
	uint8_t memory_of_bar[PCI_N_MEMORIES]; // by BAR number, 6: the ROM; PCI_NO_MEMORY: none
	int msix_region;                       // the BAR that holds the MSI-X table; -1: none
	unsigned n_irqs[PCI_N_IRQS];           // by kind
	_Atomic bool lost;
	_Atomic bool is_ready; // opened: a loss is now on_lost's to tell
	void (*on_lost)(void *context, const char *reason);
	void *context;
};

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code;
	uint8_t revision;
};

/* Take the handover's descriptors with the backend that its properties name, and learn the layout.
 * on_lost: once, from the backend's queue. Fails with a reason; then nothing is held. */
kern_return_t pci_function_open(struct pci_function *function, struct device_handover *handover,
				void (*on_lost)(void *context, const char *reason), void *context);
void pci_function_close(struct pci_function *function); // twice is harmless

/* 1, 2, 4 or 8 bytes, naturally aligned, inside the region; else refused with a reason. Values are
 * in host order; *value is written only on success. */
kern_return_t pci_function_read(struct pci_function *function, unsigned region, uint64_t offset,
				size_t size, uint64_t *value);
kern_return_t pci_function_write(struct pci_function *function, unsigned region, uint64_t offset,
				 size_t size, uint64_t value);

/* A descriptor that maps the whole region: see pci_backend_ops.region_fd. */
kern_return_t pci_function_region_fd(struct pci_function *function, unsigned region, int *fd,
				     uint64_t *offset);

/* See pci_backend_ops.set_irq and unmask_intx. */
kern_return_t pci_function_set_irq(struct pci_function *function, const struct pci_vector *vector,
				   int event_fd);
kern_return_t pci_function_unmask_intx(struct pci_function *function);

/* For what else a backend does: `make` runs where it is called. Refuses with what `make` refused.
 */
kern_return_t pci_function_visit(struct pci_function *function,
				 int (*make)(const struct pci_backend_ops *ops,
					     struct pci_backend *backend, void *context),
				 void *context);

kern_return_t pci_function_identify(struct pci_function *function, struct pci_identity *identity);

/* Find capability `id` (an extended one: negated) after `after` (0: from the first). Bounded in
 * steps and in time, whatever the lists say. kIOReturnNotFound with a reason. */
kern_return_t pci_function_find_capability(struct pci_function *function, uint32_t id,
					   uint64_t after, uint64_t *found);
