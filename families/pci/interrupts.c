/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A function interrupts in one way at a time: the first source that takes an interrupt decides, and
 * the last one that gives one back sets the function free for another. How many messages there are
 * is settled before, because a kind is switched on with the number of its vectors.
 */

#include <DriverKit/IOInterruptDispatchSource.h>
#include <PCIDriverKit/PCIDefinitions.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/pci/interrupts.h>

static const struct irq_kind {
	const char *name;
	uint32_t configured_by; // ConfigureInterrupts' type
	uint32_t type;          // GetInterruptType's
} kinds[PCI_N_IRQS] = {
	[PCI_IRQ_INTX] = { "INTx", kIOInterruptTypeLevel, kIOInterruptTypeLevel },
	[PCI_IRQ_MSI] = { "MSI", kIOInterruptTypePCIMessaged, kIOInterruptTypePCIMessaged },
	[PCI_IRQ_MSIX] = { "MSI-X", kIOInterruptTypePCIMessagedX,
			   kIOInterruptTypePCIMessaged | kIOInterruptTypePCIMessagedX },
};

static struct pci_vector find_vector(const struct pci_interrupts *self, unsigned index)
{
	unsigned n_wires = self->function->n_irqs[PCI_IRQ_INTX];
	if (index < n_wires)
		return (struct pci_vector){ PCI_IRQ_INTX, index, n_wires };
	return (struct pci_vector){ self->messaged, index - n_wires, self->n_messaged };
}

/* --- as IOInterruptDispatchSource uses them --- */

static uint64_t get_type(void *context, unsigned index)
{
	const struct pci_interrupts *self = context;
	return kinds[find_vector(self, index).kind].type;
}

/* The function's other ways are not in use: what the reason names is. */
static kern_return_t check_kind(const struct pci_interrupts *self, enum pci_irq kind)
{
	for (unsigned other = 0; other < PCI_N_IRQS; other++)
		if (other != kind && self->n_heard[other] > 0)
			return refuse(
				kIOReturnBusy,
				"a source has one of the device's %s interrupts, so it raises "
				"no %s: cancel and release that source first",
				kinds[other].name, kinds[kind].name);
	return kIOReturnSuccess;
}

static kern_return_t open_one(void *context, unsigned index, int event_fd)
{
	struct pci_interrupts *self = context;
	struct pci_vector vector = find_vector(self, index);
	if (!self->in_session)
		return refuse(kIOReturnNotOpen,
			      "the device is not open: call IOPCIDevice_Open before its interrupts "
			      "are used");
	kern_return_t ret = check_kind(self, vector.kind);
	if (ret == kIOReturnSuccess)
		ret = pci_function_set_irq(self->function, &vector, event_fd);
	if (ret == kIOReturnSuccess)
		self->n_heard[vector.kind]++;
	return ret;
}

/* What a lost device does not do any more needs no word. */
static void report(const struct pci_interrupts *self, const char *what, unsigned index,
		   kern_return_t ret)
{
	if (ret != kIOReturnSuccess && !atomic_load(&self->function->lost))
		log_warn("interrupt %u of the PCI device cannot be %s: %s", index, what,
			 reason_last());
}

static void close_one(void *context, unsigned index)
{
	struct pci_interrupts *self = context;
	struct pci_vector vector = find_vector(self, index);
	self->n_heard[vector.kind]--;
	report(self, "switched off", index, pci_function_set_irq(self->function, &vector, -1));
}

static void unmask(void *context, unsigned index)
{
	struct pci_interrupts *self = context;
	report(self, "unmasked", index, pci_function_unmask_intx(self->function));
}

static const struct interrupts_ops interrupts_of_a_function = {
	.type = get_type,
	.open = open_one,
	.close = close_one,
	.unmask = unmask,
};

/* --- life --- */

static unsigned count(const struct pci_interrupts *self)
{
	return self->function->n_irqs[PCI_IRQ_INTX] + self->n_messaged;
}

static void arrange_by_default(struct pci_interrupts *self)
{
	const unsigned *n = self->function->n_irqs;
	self->messaged = n[PCI_IRQ_MSIX] > 0  ? PCI_IRQ_MSIX
			 : n[PCI_IRQ_MSI] > 0 ? PCI_IRQ_MSI
					      : PCI_N_IRQS;
	self->n_messaged = self->messaged != PCI_N_IRQS;
	self->is_configured = false;
}

kern_return_t pci_interrupts_open(struct pci_interrupts *self, struct pci_function *function)
{
	*self = (struct pci_interrupts){ .function = function };
	arrange_by_default(self);
	if (interrupts_open(&self->interrupts, &interrupts_of_a_function, self, count(self),
			    PCI_INTX_MAX + PCI_MSIX_MAX) < 0)
		return refuse(kIOReturnNoMemory, "out of memory for the device's interrupts");
	return kIOReturnSuccess;
}

void pci_interrupts_close(struct pci_interrupts *self)
{
	if (self->interrupts != NULL)
		interrupts_close(self->interrupts);
	self->interrupts = interrupts_unref(self->interrupts);
}

static kern_return_t begin(void *context, unsigned *n)
{
	struct pci_interrupts *self = context;
	(void)n;
	self->in_session = true;
	return kIOReturnSuccess;
}

void pci_interrupts_begin(struct pci_interrupts *self)
{
	interrupts_rearrange(self->interrupts, begin, self);
}

static kern_return_t end(void *context, unsigned *n)
{
	struct pci_interrupts *self = context;
	self->in_session = false;
	arrange_by_default(self);
	*n = count(self);
	return kIOReturnSuccess;
}

void pci_interrupts_end(struct pci_interrupts *self)
{
	interrupts_revoke(self->interrupts, end, self);
}

/* --- configuring --- */

struct wish {
	struct pci_interrupts *self;
	enum pci_irq kind;
	unsigned required, requested;
};

/* MSI comes in powers of two (PCI Local Bus 3.0, 6.8.1.3). */
static unsigned count_granted(const struct wish *wish)
{
	unsigned limit = wish->self->function->n_irqs[wish->kind], n = wish->requested;
	if (wish->kind == PCI_IRQ_MSI)
		for (n = 1; n < wish->requested && n < PCI_MSI_MAX; n *= 2)
			;
	return n < limit ? n : limit;
}

static kern_return_t check_available(const struct wish *wish)
{
	unsigned limit = wish->self->function->n_irqs[wish->kind];
	const char *name = kinds[wish->kind].name;
	if (limit == 0)
		return refuse(kIOReturnUnsupported, "the device has no %s interrupts", name);
	if (wish->required > limit)
		return refuse(kIOReturnNoResources,
			      "%u %s interrupts are required, the device has %u", wish->required,
			      name, limit);
	return kIOReturnSuccess;
}

static kern_return_t configure(void *context, unsigned *n)
{
	const struct wish *wish = context;
	struct pci_interrupts *self = wish->self;
	kern_return_t ret = check_available(wish);
	if (ret != kIOReturnSuccess)
		return ret;
	unsigned granted = wish->kind == PCI_IRQ_INTX ? 0 : count_granted(wish);
	enum pci_irq messaged = wish->kind == PCI_IRQ_INTX ? PCI_N_IRQS : wish->kind;
	if (self->is_configured && (messaged != self->messaged || granted != self->n_messaged))
		return refuse(kIOReturnUnsupported,
			      "the interrupts are configured otherwise already: close the device "
			      "to begin anew");
	self->messaged = messaged;
	self->n_messaged = granted;
	self->is_configured = true;
	*n = count(self);
	return kIOReturnSuccess;
}

static kern_return_t find_kind(uint32_t type, enum pci_irq *kind)
{
	for (unsigned i = 0; i < PCI_N_IRQS; i++)
		if (kinds[i].configured_by == type) {
			*kind = i;
			return kIOReturnSuccess;
		}
	return refuse(kIOReturnBadArgument,
		      "ConfigureInterrupts: type %#x: one of kIOInterruptTypeLevel, "
		      "kIOInterruptTypePCIMessaged, kIOInterruptTypePCIMessagedX",
		      type);
}

kern_return_t pci_interrupts_configure(struct pci_interrupts *self, uint32_t type,
				       uint32_t required, uint32_t requested)
{
	struct wish wish = { .self = self, .required = required, .requested = requested };
	kern_return_t ret = find_kind(type, &wish.kind);
	if (ret != kIOReturnSuccess)
		return ret;
	if (required == 0 || requested < required)
		return refuse(kIOReturnBadArgument,
			      "ConfigureInterrupts: %u required, %u requested: at least one, and "
			      "no fewer requested",
			      required, requested);
	return interrupts_rearrange(self->interrupts, configure, &wish);
}
