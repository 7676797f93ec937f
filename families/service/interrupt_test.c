/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interrupts of a provider in software: lines 0 to 2 are edges, line 3 is a level, which the
 * provider masks when it raises it.
 */

#include <runtime/unit_pool.h>

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <UnitInterrupted.h>
#include <base/clock.h>
#include <base/reason.h>
#include <families/service/interrupts.h>

enum { LINES = 4, LEVEL = 3 };

struct card {
	int fds[LINES]; // -1: nobody listens
	_Atomic bool masked, asserted;
	unsigned n_unmasks;
	bool fails;
};

static uint64_t type(void *context, unsigned index)
{
	(void)context;
	return index == LEVEL ? kIOInterruptTypeLevel : kIOInterruptTypeEdge;
}

static kern_return_t open_line(void *context, unsigned index, int event_fd)
{
	struct card *card = context;

	if (card->fails)
		return refuse(kIOReturnDeviceError, "the card refuses");
	ck_assert_int_eq(card->fds[index], -1);
	card->fds[index] = event_fd;
	return kIOReturnSuccess;
}

static void close_line(void *context, unsigned index)
{
	struct card *card = context;

	ck_assert_int_ne(card->fds[index], -1);
	card->fds[index] = -1;
}

static void raise_line(struct card *card, unsigned index)
{
	uint64_t one = 1;

	if (card->fds[index] >= 0)
		ck_assert_int_eq(write(card->fds[index], &one, sizeof(one)), sizeof(one));
}

/* What the wire of a level interrupt does. */
static void look_at_level(struct card *card)
{
	if (!atomic_load(&card->asserted) || atomic_exchange(&card->masked, true))
		return;
	raise_line(card, LEVEL);
}

static void unmask_line(void *context, unsigned index)
{
	struct card *card = context;

	ck_assert_uint_eq(index, LEVEL);
	ck_assert(atomic_load(&card->masked));
	card->n_unmasks++;
	atomic_store(&card->masked, false);
	look_at_level(card);
}

static const struct interrupts_ops card_ops = {
	.type = type,
	.open = open_line,
	.close = close_line,
	.unmask = unmask_line,
};

struct bench {
	struct card card;
	struct interrupts *interrupts;
	IOService *provider;
	IODispatchQueue *queue;
	IOInterruptDispatchSource *source;
	OSAction *action;
	unsigned calls;
	uint64_t count, all, time;
	void (*in_callback)(struct bench *bench);
};

void IMPL(UnitInterrupted, interrupted)
{
	struct bench *bench = *(struct bench **)OSAction_GetReference(action);

	(void)self;
	ck_assert(IODispatchQueue_OnQueue(bench->queue));
	bench->calls++;
	bench->count = count;
	bench->all += count;
	bench->time = time;
	if (bench->in_callback != NULL)
		bench->in_callback(bench);
}

static OSAction *new_action(struct bench *bench)
{
	UnitInterrupted *target = OSTypeAlloc(UnitInterrupted);
	OSAction *action = NULL;

	ck_assert(UnitInterrupted_init(target));
	ck_assert_int_eq(UnitInterrupted_CreateActioninterrupted(target, sizeof(bench), &action),
			 kIOReturnSuccess);
	*(struct bench **)OSAction_GetReference(action) = bench;
	OSObjectRelease(target);
	return action;
}

static void bench_open(struct bench *bench, uint32_t index_and_flags)
{
	*bench = (struct bench){ .card.fds = { -1, -1, -1, -1 }, .queue = new_queue("interrupt") };
	ck_assert_int_eq(
		interrupts_open(&bench->interrupts, &card_ops, &bench->card, LINES, LINES + 1), 0);
	bench->provider = OSTypeAlloc(IOService);
	ck_assert(IOService_init(bench->provider));
	service_set_interrupts(bench->provider, bench->interrupts);
	ck_assert_int_eq(IOInterruptDispatchSource_Create(bench->provider, index_and_flags,
							  bench->queue, &bench->source),
			 kIOReturnSuccess);
	bench->action = new_action(bench);
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(bench->source, bench->action),
			 kIOReturnSuccess);
}

/* Let all run that has come by now. */
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

static void bench_close(struct bench *bench)
{
	OSObjectRelease(bench->source);
	settle();
	for (int i = 0; i < LINES; i++)
		ck_assert_int_eq(bench->card.fds[i], -1);
	OSObjectRelease(bench->action);
	interrupts_close(bench->interrupts);
	interrupts_unref(bench->interrupts);
	OSObjectRelease(bench->provider);
	OSObjectRelease(bench->queue);
}

static kern_return_t enable(struct bench *bench, bool on)
{
	return IOInterruptDispatchSource_SetEnable(bench->source, on);
}

/* Disabled at first; what comes then, or while the queue is busy, is one call with its number. */
START_TEST(interrupts_are_counted)
{
	struct bench bench;
	uint64_t index = 9, count = 9, time = 9;

	bench_open(&bench, 1);
	ck_assert_int_eq(
		IOInterruptDispatchSource_GetLastInterrupt(bench.source, &index, &count, &time),
		kIOReturnSuccess);
	ck_assert(index == 1 && count == 0 && time == 0);
	for (int i = 0; i < 5; i++)
		raise_line(&bench.card, 1);
	raise_line(&bench.card, 2); // nobody's
	settle();
	ck_assert_uint_eq(bench.calls, 0);
	uint64_t begin = clock_now_ns();
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(bench.calls, 1);
	ck_assert_uint_eq(bench.count, 5);
	ck_assert(bench.time >= begin && bench.time <= clock_now_ns());
	for (unsigned i = 2; i < 12; i++) {
		raise_line(&bench.card, 1);
		settle();
		ck_assert_uint_eq(bench.calls, i);
		ck_assert_uint_eq(bench.count, 1);
	}
	ck_assert_int_eq(
		IOInterruptDispatchSource_GetLastInterrupt(bench.source, NULL, &count, &time),
		kIOReturnSuccess);
	ck_assert(count == 1 && time == bench.time);
	bench_close(&bench);
}
END_TEST

static void raise_more(struct bench *bench)
{
	if (bench->calls < 4)
		for (unsigned i = 0; i < bench->calls * 3; i++)
			raise_line(&bench->card, 0);
}

START_TEST(those_in_a_callback_are_the_next)
{
	struct bench bench;

	bench_open(&bench, 0 | kIOInterruptSourceContinuousTime);
	bench.in_callback = raise_more;
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	raise_line(&bench.card, 0);
	for (int i = 0; i < 5; i++)
		settle();
	ck_assert_uint_eq(bench.calls, 4);
	ck_assert_uint_eq(bench.all, 1 + 3 + 6 + 9);
	ck_assert_uint_eq(bench.count, 9);
	ck_assert_uint_le(bench.time, clock_boot_now_ns());
	bench_close(&bench);
}
END_TEST

static void check_masked(struct bench *bench)
{
	ck_assert(atomic_load(&bench->card.masked));
	if (bench->calls == 3)
		atomic_store(&bench->card.asserted, false); // the device is satisfied
}

/* A level interrupt that is not seen to comes again, once the handler has returned. */
START_TEST(a_level_is_masked_until_the_handler_returns)
{
	struct bench bench;
	uint64_t what = 9;

	bench_open(&bench, LEVEL);
	ck_assert_int_eq(IOInterruptDispatchSource_GetInterruptType(bench.provider, LEVEL, &what),
			 kIOReturnSuccess);
	ck_assert_uint_eq(what, kIOInterruptTypeLevel);
	ck_assert_int_eq(IOInterruptDispatchSource_GetInterruptType(bench.provider, 0, &what),
			 kIOReturnSuccess);
	ck_assert_uint_eq(what, kIOInterruptTypeEdge);
	bench.in_callback = check_masked;
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	atomic_store(&bench.card.asserted, true);
	look_at_level(&bench.card);
	for (int i = 0; i < 4; i++)
		settle();
	ck_assert_uint_eq(bench.calls, 3);
	ck_assert_uint_eq(bench.card.n_unmasks, 3);
	ck_assert(!atomic_load(&bench.card.masked));
	bench_close(&bench);
}
END_TEST

static void note(void *context)
{
	*(bool *)context = true;
}

static bool disabled;

static void disable(struct bench *bench)
{
	ck_assert_int_eq(IOInterruptDispatchSource_SetEnableWithCompletion_f(bench->source, false,
									     &disabled, note),
			 kIOReturnSuccess);
	raise_line(&bench->card, 0);
	raise_line(&bench->card, 0);
	ck_assert(!disabled);
}

START_TEST(a_disabled_interrupt_goes_on_counting)
{
	struct bench bench;

	bench_open(&bench, 0);
	bench.in_callback = disable;
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	raise_line(&bench.card, 0);
	settle();
	ck_assert(disabled);
	ck_assert_uint_eq(bench.calls, 1);
	bench.in_callback = NULL;
	raise_line(&bench.card, 0);
	settle();
	ck_assert_uint_eq(bench.calls, 1);
	struct pollfd unread = { .fd = bench.card.fds[0], .events = POLLIN };
	ck_assert_int_eq(poll(&unread, 1, 0), 1); // nobody woke up for it
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(bench.calls, 2);
	ck_assert_uint_eq(bench.count, 3);

	/* Without a handler, too. */
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(bench.source, NULL),
			 kIOReturnSuccess);
	for (int i = 0; i < 4; i++) {
		raise_line(&bench.card, 0);
		settle();
	}
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(bench.source, bench.action),
			 kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(bench.calls, 3);
	ck_assert_uint_eq(bench.count, 4);
	bench_close(&bench);
}
END_TEST

static void check_in_queue(void *context)
{
	struct bench *bench = context;

	raise_line(&bench->card, 0);
	ck_assert_int_eq(IOInterruptDispatchSource_CheckForWork(bench->source, true),
			 kIOReturnSuccess);
	ck_assert_uint_eq(bench->calls, 1); // at once, not when the loop gets to it
}

START_TEST(one_can_look_for_an_interrupt)
{
	struct bench bench;

	bench_open(&bench, 0);
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	IODispatchQueue_DispatchSync_f(bench.queue, &bench, check_in_queue);
	settle();
	ck_assert_uint_eq(bench.calls, 1);
	ck_assert_uint_eq(bench.all, 1);
	bench_close(&bench);
}
END_TEST

/* Source and queue, in either order, with an interrupt pending: the handler comes, no call does,
 * and the line is free for another source. */
START_TEST(a_cancelled_interrupt_is_given_back)
{
	for (int queue_first = 0; queue_first < 2; queue_first++) {
		struct bench bench;
		bool cancelled = false;
		bench_open(&bench, 0);
		ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
		raise_line(&bench.card, 0);
		if (queue_first)
			IODispatchQueue_Cancel_f(bench.queue, NULL, NULL);
		ck_assert_int_eq(IOInterruptDispatchSource_Cancel_f(bench.source, &cancelled, note),
				 kIOReturnSuccess);
		ck_assert_int_eq(bench.card.fds[0], -1);
		if (!queue_first)
			IODispatchQueue_Cancel_f(bench.queue, NULL, NULL);
		settle();
		ck_assert(cancelled);
		ck_assert_uint_eq(bench.calls, 0);
		ck_assert_int_eq(enable(&bench, true), kIOReturnUnsupported);
		IOInterruptDispatchSource *other = NULL;
		ck_assert_int_eq(
			IOInterruptDispatchSource_Create(bench.provider, 0, bench.queue, &other),
			kIOReturnSuccess);
		OSObjectRelease(other);
		bench_close(&bench);
	}
}
END_TEST

START_TEST(what_is_not_there_is_refused)
{
	struct bench bench;
	IOInterruptDispatchSource *other = NULL;
	uint64_t what;

	bench_open(&bench, 0);
	IOService *plain = OSTypeAlloc(IOService);
	ck_assert(IOService_init(plain));
	ck_assert_int_eq(IOInterruptDispatchSource_Create(plain, 0, bench.queue, &other),
			 kIOReturnNoInterrupt);
	ck_assert_int_eq(
		IOInterruptDispatchSource_Create(bench.provider, LINES, bench.queue, &other),
		kIOReturnNoInterrupt);
	ck_assert_int_eq(IOInterruptDispatchSource_GetInterruptType(bench.provider, LINES, &what),
			 kIOReturnNoInterrupt);
	ck_assert_int_eq(IOInterruptDispatchSource_Create(bench.provider, 0, bench.queue, &other),
			 kIOReturnBusy);
	ck_assert_int_eq(
		IOInterruptDispatchSource_Create(bench.provider, 0x20001, bench.queue, &other),
		kIOReturnBadArgument);
	ck_assert_int_eq(IOInterruptDispatchSource_Create(NULL, 1, bench.queue, &other),
			 kIOReturnBadArgument);
	bench.card.fails = true;
	ck_assert_int_eq(IOInterruptDispatchSource_Create(bench.provider, 1, bench.queue, &other),
			 kIOReturnDeviceError);
	ck_assert_str_eq(reason_last(), "the card refuses");
	ck_assert_ptr_null(other);

	/* The device goes. */
	interrupts_close(bench.interrupts);
	ck_assert_int_eq(bench.card.fds[0], -1);
	ck_assert_int_eq(IOInterruptDispatchSource_Create(bench.provider, 1, bench.queue, &other),
			 kIOReturnNoDevice);
	OSObjectRelease(plain);
	bench_close(&bench);
}
END_TEST

/* The process behind a device shares the eventfd: it empties it, and makes reading it wait. */
START_TEST(a_device_cannot_make_the_queue_wait)
{
	struct bench bench;
	uint64_t n;

	bench_open(&bench, 0);
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	ck_assert_int_eq(fcntl(bench.card.fds[0], F_SETFL, 0), 0);
	raise_line(&bench.card, 0);
	ck_assert_int_eq(read(bench.card.fds[0], &n, sizeof(n)), sizeof(n));
	ck_assert_int_eq(IOInterruptDispatchSource_CheckForWork(bench.source, true),
			 kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(bench.calls, 0);
	bench_close(&bench);
}
END_TEST

/* Nor can it count in a circle. */
START_TEST(a_count_has_an_end)
{
	struct bench bench;
	uint64_t most = UINT64_MAX - 1;

	bench_open(&bench, 0);
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(bench.source, NULL),
			 kIOReturnSuccess);
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(write(bench.card.fds[0], &most, sizeof(most)), sizeof(most));
		settle();
	}
	ck_assert_int_eq(IOInterruptDispatchSource_SetHandler(bench.source, bench.action),
			 kIOReturnSuccess);
	settle();
	ck_assert_uint_eq(bench.calls, 1);
	ck_assert_uint_eq(bench.count, UINT64_MAX);
	bench_close(&bench);
}
END_TEST

static kern_return_t one_more(void *context, unsigned *count)
{
	if (context != NULL)
		return refuse(kIOReturnUnsupported, "not today");
	++*count;
	return kIOReturnSuccess;
}

static kern_return_t as_many(void *context, unsigned *count)
{
	(void)context;
	(void)count;
	return kIOReturnSuccess;
}

/* A revoked interrupt is somebody else's: who had it cannot take it from him. */
START_TEST(interrupts_are_revoked_and_rearranged)
{
	struct bench bench;
	IOInterruptDispatchSource *other = NULL;

	bench_open(&bench, 0);
	ck_assert_int_eq(enable(&bench, true), kIOReturnSuccess);
	ck_assert_int_eq(interrupts_rearrange(bench.interrupts, one_more, NULL), kIOReturnBusy);
	ck_assert_str_eq(reason_last(), "a source has interrupt 0: cancel and release it first");
	interrupts_revoke(bench.interrupts, as_many, NULL);
	ck_assert_int_eq(bench.card.fds[0], -1);
	ck_assert_int_eq(interrupts_rearrange(bench.interrupts, one_more, &bench),
			 kIOReturnUnsupported);
	ck_assert_int_eq(interrupts_rearrange(bench.interrupts, one_more, NULL), kIOReturnSuccess);
	ck_assert_int_eq(
		IOInterruptDispatchSource_Create(bench.provider, LINES + 1, bench.queue, &other),
		kIOReturnNoInterrupt);
	ck_assert_int_eq(
		IOInterruptDispatchSource_GetInterruptType(bench.provider, LINES, &(uint64_t){ 0 }),
		kIOReturnSuccess);
	ck_assert_int_eq(IOInterruptDispatchSource_Create(bench.provider, 0, bench.queue, &other),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOInterruptDispatchSource_Cancel_f(bench.source, NULL, NULL),
			 kIOReturnSuccess);
	settle();
	ck_assert_int_ne(bench.card.fds[0], -1);
	OSObjectRelease(other);
	bench_close(&bench);
}
END_TEST

POOL_TESTS("interrupt", interrupts_are_counted, those_in_a_callback_are_the_next,
	   a_level_is_masked_until_the_handler_returns, a_disabled_interrupt_goes_on_counting,
	   one_can_look_for_an_interrupt, a_cancelled_interrupt_is_given_back,
	   what_is_not_there_is_refused, a_device_cannot_make_the_queue_wait, a_count_has_an_end,
	   interrupts_are_revoked_and_rearranged)
