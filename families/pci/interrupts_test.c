/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The interrupts of IOPCIDevice, over a card that has INTx, four MSI and three MSI-X vectors, or
 * fewer as a test says. Which eventfd hears which vector is the card's to tell.
 */

#include <runtime/unit_pool.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <PCIDriverKit/PCIDriverKit.h>
#include <UnitInterrupted.h>
#include <base/clock.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/pci/pci_backend.h>

enum { VECTORS_MAX = 4 };

struct card {
	struct pci_backend base;
	uint8_t config[64];
	unsigned counts[PCI_N_IRQS];
	int fds[PCI_N_IRQS][VECTORS_MAX]; // borrowed; -1: nobody hears it
	unsigned n_vectors;               // as set_irq was told last
	unsigned n_unmasks;
	bool fails;
	void (*on_lost)(void *context, const char *reason);
	void *context;
};

static struct card card;

static int open_card(struct pci_backend **out, struct device_handover *handover,
		     void (*on_lost)(void *context, const char *reason), void *context)
{
	(void)handover;
	card.on_lost = on_lost;
	card.context = context;
	*out = &card.base;
	return 0;
}

static void close_card(struct pci_backend *backend)
{
	(void)backend;
	for (unsigned i = 0; i < PCI_N_IRQS; i++)
		for (unsigned j = 0; j < VECTORS_MAX; j++)
			ck_assert_int_eq(card.fds[i][j], -1);
}

static int region_info(struct pci_backend *backend, unsigned region, struct pci_region *info)
{
	(void)backend;
	*info = (struct pci_region){ .size = region == PCI_REGION_CONFIG ? 64 : 0,
				     .readable = true,
				     .writable = true };
	return 0;
}

static int read_card(struct pci_backend *backend, unsigned region, uint64_t offset, void *data,
		     size_t size)
{
	(void)backend;
	(void)region;
	memcpy(data, &card.config[offset], size);
	return 0;
}

static int write_card(struct pci_backend *backend, unsigned region, uint64_t offset,
		      const void *data, size_t size)
{
	(void)backend;
	(void)region;
	memcpy(&card.config[offset], data, size);
	return 0;
}

static int region_fd(struct pci_backend *backend, unsigned region, int *fd, uint64_t *offset)
{
	(void)backend;
	(void)fd;
	(void)offset;
	refuse(kIOReturnUnsupported, "the card has no descriptor for BAR%u", region);
	return -EOPNOTSUPP;
}

static int irq_count(struct pci_backend *backend, enum pci_irq kind, unsigned *count)
{
	(void)backend;
	*count = card.counts[kind];
	return 0;
}

static int set_irq(struct pci_backend *backend, const struct pci_vector *vector, int event_fd)
{
	(void)backend;
	int *fd = &card.fds[vector->kind][vector->number];
	ck_assert_uint_lt(vector->number, vector->n_vectors);
	ck_assert_uint_le(vector->n_vectors, card.counts[vector->kind]);
	ck_assert_int_eq(*fd == -1, event_fd != -1);
	if (card.fails) {
		refuse(kIOReturnDeviceError, "the card refuses");
		return -EIO;
	}
	card.n_vectors = vector->n_vectors;
	*fd = event_fd;
	return 0;
}

static int unmask_intx(struct pci_backend *backend)
{
	(void)backend;
	card.n_unmasks++;
	return 0;
}

static const struct pci_backend_ops card_backend = {
	.name = "card",
	.open = open_card,
	.close = close_card,
	.region_info = region_info,
	.read = read_card,
	.write = write_card,
	.region_fd = region_fd,
	.irq_count = irq_count,
	.set_irq = set_irq,
	.unmask_intx = unmask_intx,
};

static void raise_irq(enum pci_irq kind, unsigned number)
{
	uint64_t one = 1;
	if (card.fds[kind][number] >= 0)
		ck_assert_int_eq(write(card.fds[kind][number], &one, sizeof(one)), sizeof(one));
}

/* --- a driver of it --- */

struct rig {
	IOService *provider, *client;
	IOPCIDevice *pci;
	IODispatchQueue *queue;
	IODispatchQueue *backend_queue; // NULL: the backend is called on any thread
	unsigned calls;
	uint64_t count;
};

static IOService *make_client(void)
{
	IOService *client = OSTypeAlloc(IOService);
	ck_assert(IOService_init(client));
	return client;
}

static OSDictionary *make_properties(void)
{
	OSDictionary *properties = OSDictionary_withCapacity(1);
	OSString *name = OSString_withCString("card");
	OSDictionary_setObject(properties, "OpenDextBackend", OSString_as_OSObject(name));
	OSObjectRelease(name);
	return properties;
}

static void rig_init(struct rig *rig, unsigned n_intx, unsigned n_msi, unsigned n_msix)
{
	*rig = (struct rig){ .queue = new_queue("driver"),
			     .client = make_client(),
			     .backend_queue = rig->backend_queue };
	memset(&card, 0, sizeof(card));
	memset(card.fds, -1, sizeof(card.fds));
	card.config[0] = 0x34;
	memcpy(card.counts, (unsigned[]){ n_intx, n_msi, n_msix }, sizeof(card.counts));
	if (pci_backend_find("card") == NULL)
		pci_backend_register(&card_backend);
	struct device_handover handover = { .properties = make_properties(),
					    .queue = rig->backend_queue };
	kern_return_t ret = family_find("IOPCIDevice")->create_provider(&handover, &rig->provider);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	OSObjectRelease(handover.properties);
	rig->pci = OSDynamicCast(IOPCIDevice, rig->provider);
	ck_assert_int_eq(IOPCIDevice_Open(rig->pci, rig->client, 0), kIOReturnSuccess);
}

static void settle(void)
{
	IODispatchQueue *queue = new_queue("settle");
	struct timer_source *last;
	ck_assert_int_eq(timer_source_open(&last, queue, stop_pool, NULL), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(timer_source_set(last, clock_now_ns()), 0);
		ck_assert_int_eq(worker_run(), 0);
	}
	timer_source_close(last);
	OSObjectRelease(queue);
}

static void rig_deinit(struct rig *rig)
{
	settle();
	OSObjectRelease(rig->client);
	OSObjectRelease(rig->provider);
	OSObjectRelease(rig->queue);
	OSObjectRelease(rig->backend_queue);
}

void IMPL(UnitInterrupted, interrupted)
{
	struct rig *rig = *(struct rig **)OSAction_GetReference(action);
	(void)self;
	(void)time;
	rig->calls++;
	rig->count += count;
}

/* Source `index`, enabled. */
static IOInterruptDispatchSource *must_take(struct rig *rig, uint32_t index)
{
	IOInterruptDispatchSource *source = NULL;
	UnitInterrupted *target = OSTypeAlloc(UnitInterrupted);
	OSAction *action = NULL;
	kern_return_t ret =
		IOInterruptDispatchSource_Create(rig->provider, index, rig->queue, &source);
	ck_assert_msg(ret == kIOReturnSuccess, "%s", reason_last());
	ck_assert(UnitInterrupted_init(target));
	ck_assert_int_eq(UnitInterrupted_CreateActioninterrupted(target, sizeof(rig), &action),
			 kIOReturnSuccess);
	*(struct rig **)OSAction_GetReference(action) = rig;
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(source, action), kIOReturnSuccess);
	ck_assert_int_eq(IOInterruptDispatchSource_SetEnable(source, true), kIOReturnSuccess);
	OSObjectRelease(action);
	OSObjectRelease(target);
	return source;
}

static kern_return_t take(struct rig *rig, uint32_t index)
{
	IOInterruptDispatchSource *source = NULL;
	kern_return_t ret =
		IOInterruptDispatchSource_Create(rig->provider, index, rig->queue, &source);
	OSSafeReleaseNULL(source);
	settle();
	return ret;
}

static kern_return_t configure(struct rig *rig, uint32_t type, uint32_t required,
			       uint32_t requested)
{
	return IOPCIDevice_ConfigureInterrupts(rig->pci, type, required, requested, 0);
}

static void expect_reason(const char *part)
{
	ck_assert_msg(strstr(reason_last(), part) != NULL, "%s", reason_last());
}

/* What GetInterruptType says of each index, to the first that is not there. */
static void expect_types(struct rig *rig, const uint64_t *types, unsigned n)
{
	uint64_t type;
	for (uint32_t i = 0; i < n; i++) {
		ck_assert_int_eq(
			IOInterruptDispatchSource_GetInterruptType(rig->provider, i, &type),
			kIOReturnSuccess);
		ck_assert_uint_eq(type, types[i]);
	}
	ck_assert_int_eq(IOInterruptDispatchSource_GetInterruptType(rig->provider, n, &type),
			 kIOReturnNoInterrupt);
}

enum {
	WIRE = kIOInterruptTypeLevel,
	MSI = kIOInterruptTypePCIMessaged,
	MSIX = kIOInterruptTypePCIMessaged | kIOInterruptTypePCIMessagedX,
};

START_TEST(the_wire_is_first_and_messages_follow)
{
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 4, 3);
	expect_types(&rig, (uint64_t[]){ WIRE, MSIX }, 2); // by default
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 3, 3), kIOReturnSuccess);
	expect_types(&rig, (uint64_t[]){ WIRE, MSI, MSI, MSI, MSI }, 5); // a power of two
	rig_deinit(&rig);

	rig_init(&rig, 0, 4, 3);
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessagedX, 1, 9), kIOReturnSuccess);
	expect_types(&rig, (uint64_t[]){ MSIX, MSIX, MSIX }, 3); // as many as there are
	rig_deinit(&rig);

	rig_init(&rig, 1, 1, 0);
	expect_types(&rig, (uint64_t[]){ WIRE, MSI }, 2);
	ck_assert_int_eq(configure(&rig, kIOInterruptTypeLevel, 1, 1), kIOReturnSuccess);
	expect_types(&rig, (uint64_t[]){ WIRE }, 1);
	rig_deinit(&rig);

	rig_init(&rig, 0, 0, 0);
	expect_types(&rig, NULL, 0);
	rig_deinit(&rig);
}
END_TEST

START_TEST(each_vector_has_its_source)
{
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 4, 3);
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessagedX, 3, 3), kIOReturnSuccess);
	IOInterruptDispatchSource *first = must_take(&rig, 1), *last = must_take(&rig, 3);
	ck_assert_uint_eq(card.n_vectors, 3);
	ck_assert(card.fds[PCI_IRQ_MSIX][0] >= 0 && card.fds[PCI_IRQ_MSIX][2] >= 0);
	ck_assert_int_eq(card.fds[PCI_IRQ_MSIX][1], -1);
	for (int i = 0; i < 3; i++)
		raise_irq(PCI_IRQ_MSIX, 2);
	settle();
	ck_assert_uint_eq(rig.calls, 1);
	ck_assert_uint_eq(rig.count, 3);
	raise_irq(PCI_IRQ_MSIX, 0);
	settle();
	ck_assert_uint_eq(rig.calls, 2);
	uint64_t index, count;
	ck_assert_int_eq(IOInterruptDispatchSource_GetLastInterrupt(last, &index, &count, NULL),
			 kIOReturnSuccess);
	ck_assert(index == 3 && count == 3);
	ck_assert_uint_eq(card.n_unmasks, 0);
	OSObjectRelease(first);
	settle();
	ck_assert_int_eq(card.fds[PCI_IRQ_MSIX][0], -1);
	raise_irq(PCI_IRQ_MSIX, 2);
	settle();
	ck_assert_uint_eq(rig.calls, 3);
	OSObjectRelease(last);
	rig_deinit(&rig);
}
END_TEST

START_TEST(a_wire_is_unmasked_after_its_handler)
{
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 0, 0);
	IOInterruptDispatchSource *source = must_take(&rig, 0);
	for (unsigned i = 1; i <= 3; i++) {
		raise_irq(PCI_IRQ_INTX, 0);
		ck_assert_uint_eq(card.n_unmasks, i - 1);
		settle();
		ck_assert_uint_eq(card.n_unmasks, i);
		ck_assert_uint_eq(rig.calls, i);
	}
	OSObjectRelease(source);
	rig_deinit(&rig);
}
END_TEST

START_TEST(a_device_interrupts_in_one_way)
{
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 1, 0);
	IOInterruptDispatchSource *wire = must_take(&rig, 0);
	ck_assert_int_eq(take(&rig, 1), kIOReturnBusy);
	expect_reason("one of the device's INTx interrupts, so it raises no MSI");
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 1, 1), kIOReturnBusy);
	OSObjectRelease(wire);
	settle();
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 1, 1), kIOReturnSuccess);
	IOInterruptDispatchSource *message = must_take(&rig, 1);
	ck_assert_int_eq(take(&rig, 0), kIOReturnBusy);
	ck_assert_int_eq(take(&rig, 1), kIOReturnBusy);
	expect_reason("interrupt 1: another source has it");
	OSObjectRelease(message);
	rig_deinit(&rig);
}
END_TEST

START_TEST(wishes_that_cannot_be_met_are_refused)
{
	static const struct {
		uint32_t type, required, requested;
		kern_return_t ret;
		const char *reason;
	} cases[] = {
		{ kIOInterruptTypeEdge, 1, 1, kIOReturnBadArgument, "type 0" },
		{ 0x40000, 1, 1, kIOReturnBadArgument, "type 0x40000" },
		{ MSIX, 1, 1, kIOReturnBadArgument, "type 0x30000" },
		{ kIOInterruptTypePCIMessaged, 0, 1, kIOReturnBadArgument, "0 required" },
		{ kIOInterruptTypePCIMessaged, 2, 1, kIOReturnBadArgument, "2 required, 1" },
		{ kIOInterruptTypePCIMessaged, 5, 5, kIOReturnNoResources,
		  "5 MSI interrupts are required, the device has 4" },
		{ kIOInterruptTypePCIMessaged, UINT32_MAX, UINT32_MAX, kIOReturnNoResources,
		  "4294967295 MSI" },
		{ kIOInterruptTypeLevel, 2, 2, kIOReturnNoResources, "2 INTx" },
		{ kIOInterruptTypePCIMessagedX, 1, 1, kIOReturnUnsupported, "no MSI-X" },
	};
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 4, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(
			configure(&rig, cases[i].type, cases[i].required, cases[i].requested),
			cases[i].ret);
		expect_reason(cases[i].reason);
		expect_types(&rig, (uint64_t[]){ WIRE, MSI }, 2);
	}
	ck_assert_int_eq(
		IOPCIDevice_ConfigureInterrupts(rig.pci, kIOInterruptTypePCIMessaged, 1, 1, 1),
		kIOReturnBadArgument);
	ck_assert_int_eq(
		IOPCIDevice_ConfigureInterrupts(NULL, kIOInterruptTypePCIMessaged, 1, 1, 0),
		kIOReturnBadArgument);

	/* Once is enough; twice the same changes nothing. */
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 2, 2), kIOReturnSuccess);
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 1, 2), kIOReturnSuccess);
	ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 4, 4), kIOReturnUnsupported);
	expect_reason("configured otherwise already");
	ck_assert_int_eq(configure(&rig, kIOInterruptTypeLevel, 1, 1), kIOReturnUnsupported);
	ck_assert_int_eq(take(&rig, 3), kIOReturnNoInterrupt);
	card.fails = true;
	ck_assert_int_ne(take(&rig, 2), kIOReturnSuccess);
	expect_reason("the card refuses");
	rig_deinit(&rig);
}
END_TEST

/* Close, or Stop without it: nothing is heard, and the next session begins as the first did. */
START_TEST(the_end_of_a_session_ends_its_interrupts)
{
	for (int stopped = 0; stopped < 2; stopped++) {
		struct rig rig = { .backend_queue = NULL };
		rig_init(&rig, 1, 4, 0);
		ck_assert_int_eq(configure(&rig, kIOInterruptTypePCIMessaged, 4, 4),
				 kIOReturnSuccess);
		IOInterruptDispatchSource *source = must_take(&rig, 4);
		ck_assert_int_ge(card.fds[PCI_IRQ_MSI][3], 0);
		if (stopped)
			family_find("IOPCIDevice")->client_stopped(rig.provider, rig.client);
		else
			IOPCIDevice_Close(rig.pci, rig.client, 0);
		ck_assert_int_eq(card.fds[PCI_IRQ_MSI][3], -1);
		ck_assert_int_eq(take(&rig, 1), kIOReturnNotOpen);
		expect_reason("call IOPCIDevice_Open before its interrupts are used");
		ck_assert_int_eq(configure(&rig, kIOInterruptTypeLevel, 1, 1), kIOReturnNotOpen);

		ck_assert_int_eq(IOPCIDevice_Open(rig.pci, rig.client, 0), kIOReturnSuccess);
		expect_types(&rig, (uint64_t[]){ WIRE, MSI }, 2);
		IOInterruptDispatchSource *wire = must_take(&rig, 0);
		OSObjectRelease(source); // of before: not its to give back
		settle();
		ck_assert_int_ge(card.fds[PCI_IRQ_INTX][0], 0);
		OSObjectRelease(wire);
		rig_deinit(&rig);
	}
}
END_TEST

START_TEST(a_lost_device_has_no_interrupts)
{
	struct rig rig = { .backend_queue = NULL };
	rig_init(&rig, 1, 1, 0);
	IOInterruptDispatchSource *wire = must_take(&rig, 0);
	raise_irq(PCI_IRQ_INTX, 0);
	card.on_lost(card.context, "pulled out");
	settle();
	ck_assert_uint_eq(rig.calls, 1); // it came before
	ck_assert_uint_eq(card.n_unmasks, 0);
	OSObjectRelease(wire);
	settle();
	ck_assert_int_eq(take(&rig, 0), kIOReturnNoDevice);
	card.fds[PCI_IRQ_INTX][0] = -1; // what became of it is the device's affair
	rig_deinit(&rig);
}
END_TEST

/* --- waiting for the device --- */

static void do_nothing(void *context)
{
	(void)context;
}

/* The device is at it, and waits for the driver. */
static void want_driver(void *context)
{
	struct rig *rig = context;
	ck_assert_int_eq(queue_sync(rig->queue, do_nothing, NULL), 0);
}

static void *hold_backend(void *context)
{
	struct rig *rig = context;
	ck_assert_int_eq(queue_sync(rig->backend_queue, want_driver, rig), 0);
	return NULL;
}

static void read_from_driver(void *context)
{
	struct rig *rig = context;
	uint8_t value = 0;
	pthread_t other = start_thread(hold_backend, rig);
	while (!queue_is_wanted(rig->queue))
		;
	IOPCIDevice_ConfigurationRead8(rig->pci, 0, &value);
	ck_assert_uint_eq(value, UINT8_MAX);
	ck_assert_int_eq(take(rig, 0), kIOReturnCannotLock);
	expect_reason("waits for a queue that this caller holds");
	rig->calls = 1;
	pthread_detach(other);
}

/* What cannot be waited for has not happened, and is no success. */
START_TEST(a_visit_that_would_never_end_is_refused)
{
	struct rig rig = { .backend_queue = new_queue("backend") };
	rig_init(&rig, 1, 0, 0);
	ck_assert_int_eq(queue_sync(rig.queue, read_from_driver, &rig), 0);
	ck_assert_uint_eq(rig.calls, 1);
	ck_assert_int_eq(queue_sync(rig.backend_queue, do_nothing, NULL), 0); // the other is done
	rig_deinit(&rig);
}
END_TEST

POOL_TESTS("pci-interrupts", the_wire_is_first_and_messages_follow, each_vector_has_its_source,
	   a_wire_is_unmasked_after_its_handler, a_device_interrupts_in_one_way,
	   wishes_that_cannot_be_met_are_refused, the_end_of_a_session_ends_its_interrupts,
	   a_lost_device_has_no_interrupts, a_visit_that_would_never_end_is_refused)
