/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The interrupts of a PCI function as IOInterruptDispatchSource numbers them: first INTx, if the
 * function has one, then the messages of one kind. Heard only between begin and end of a session.
 * Any thread.
 */

#include <stdbool.h>

#include <families/pci/function.h>
#include <families/service/interrupts.h>

/* Zeroes are one that has not been opened. All but the first two belong to the lock that the ops of
 * `interrupts` run under. */
struct pci_interrupts {
	struct pci_function *function; // borrowed
	struct interrupts *interrupts; // owned
	enum pci_irq messaged;         // the kind behind INTx; PCI_N_IRQS: none
	unsigned n_messaged;
	unsigned n_heard[PCI_N_IRQS]; // taken, by kind
	bool is_configured;           // as the driver asked, not by default
	bool in_session;
};

/* By default there is one message, MSI-X rather than MSI. */
kern_return_t pci_interrupts_open(struct pci_interrupts *self, struct pci_function *function);
/* Before the function is closed. Twice is harmless. */
void pci_interrupts_close(struct pci_interrupts *self);

void pci_interrupts_begin(struct pci_interrupts *self);
/* Nobody hears one any more, and what was configured is forgotten. */
void pci_interrupts_end(struct pci_interrupts *self);

/* See IOPCIDevice.ConfigureInterrupts. */
kern_return_t pci_interrupts_configure(struct pci_interrupts *self, uint32_t type,
				       uint32_t required, uint32_t requested);
