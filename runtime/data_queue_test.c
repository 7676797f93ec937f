/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/unit_pool.h>

#include <stdatomic.h>
#include <string.h>

#include <UnitDataQueue.h>
#include <base/clock.h>
#include <base/reason.h>
#include <runtime/memory.h>
#include <wire/data_queue.h>

/* A queue of which the driver has both ends, or the test plays the application. */
struct bench {
	IODispatchQueue *queue;
	IODataQueueDispatchSource *source;
	OSAction *available, *serviced;
	struct data_queue_header *header;
	unsigned n_available, n_serviced;
	uint32_t next_in, next_out, last; // numbers that are put in and taken out
	uint32_t fill_with;
	uint32_t found;
	size_t found_size;
};

static OSAction *new_action(struct bench *bench, bool serviced)
{
	UnitListener *target = OSTypeAlloc(UnitListener);
	OSAction *action = NULL;

	ck_assert(UnitListener_init(target));
	kern_return_t ret =
		serviced ? UnitListener_CreateActionserviced(target, sizeof(bench), &action)
			 : UnitListener_CreateActionavailable(target, sizeof(bench), &action);
	ck_assert_int_eq(ret, kIOReturnSuccess);
	*(struct bench **)OSAction_GetReference(action) = bench;
	OSObjectRelease(target);
	return action;
}

static void bench_open(struct bench *bench, uint64_t capacity)
{
	IOMemoryDescriptor *memory = NULL;
	void *bytes;
	uint64_t length;

	*bench = (struct bench){ .queue = new_queue("data") };
	ck_assert_int_eq(IODataQueueDispatchSource_Create(capacity, bench->queue, &bench->source),
			 kIOReturnSuccess);
	bench->available = new_action(bench, false);
	bench->serviced = new_action(bench, true);
	ck_assert_int_eq(
		IODataQueueDispatchSource_SetDataAvailableHandler(bench->source, bench->available),
		kIOReturnSuccess);
	ck_assert_int_eq(
		IODataQueueDispatchSource_SetDataServicedHandler(bench->source, bench->serviced),
		kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_CopyMemory(bench->source, &memory),
			 kIOReturnSuccess);
	ck_assert_int_eq(memory_get_bytes(memory, &bytes, &length), kIOReturnSuccess);
	ck_assert_uint_eq(length, data_queue_memory_size((uint32_t)capacity));
	bench->header = bytes;
	OSObjectRelease(memory);
}

static void settle(struct bench *bench)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(bench->queue, NULL, stop_pool),
				 kIOReturnSuccess);
		ck_assert_int_eq(worker_run(), 0);
	}
}

static void bench_close(struct bench *bench)
{
	OSObjectRelease(bench->source);
	OSObjectRelease(bench->available);
	OSObjectRelease(bench->serviced);
	OSObjectRelease(bench->queue);
}

static void fill(void *context, void *data, size_t size)
{
	const struct bench *bench = context;

	memset(data, 0, size);
	if (size >= sizeof(bench->fill_with))
		memcpy(data, &bench->fill_with, sizeof(bench->fill_with));
}

static void find(void *context, const void *data, size_t size)
{
	struct bench *bench = context;

	bench->found_size = size;
	if (size >= sizeof(bench->found))
		memcpy(&bench->found, data, sizeof(bench->found));
}

static kern_return_t put(struct bench *bench, uint32_t number)
{
	bench->fill_with = number;
	return IODataQueueDispatchSource_Enqueue_f(bench->source, 4, bench, fill);
}

static kern_return_t get(struct bench *bench)
{
	return IODataQueueDispatchSource_Dequeue_f(bench->source, bench, find);
}

/* The consumer: all there is. */
void IMPL(UnitListener, available)
{
	struct bench *bench = *(struct bench **)OSAction_GetReference(action);

	(void)self;
	ck_assert(IODispatchQueue_OnQueue(bench->queue));
	bench->n_available++;
	while (get(bench) == kIOReturnSuccess)
		ck_assert_uint_eq(bench->found, bench->next_out++);
	if (bench->last != 0 && bench->next_out == bench->last)
		worker_stop();
}

/* The producer: until it is full, or has put in all. */
void IMPL(UnitListener, serviced)
{
	struct bench *bench = *(struct bench **)OSAction_GetReference(action);

	(void)self;
	bench->n_serviced++;
	while (bench->next_in < bench->last && put(bench, bench->next_in) == kIOReturnSuccess)
		bench->next_in++;
}

START_TEST(results_are_told_apart)
{
	struct bench bench;
	bool tell = false;

	bench_open(&bench, 64);
	ck_assert_uint_eq(IODataQueueDispatchSource_GetDataQueueEntryHeaderSize(bench.source), 4);
	ck_assert(!IODataQueueDispatchSource_IsDataAvailable(bench.source));
	ck_assert_int_eq(get(&bench), kIOReturnUnderrun);
	ck_assert_int_eq(IODataQueueDispatchSource_Peek_f(bench.source, &bench, find),
			 kIOReturnUnderrun);
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_int_eq(put(&bench, i), kIOReturnSuccess);
	ck_assert_int_eq(put(&bench, 8), kIOReturnOverrun);
	ck_assert_int_eq(IODataQueueDispatchSource_CanEnqueueData(bench.source, 4, 1),
			 kIOReturnOverrun);
	ck_assert(IODataQueueDispatchSource_IsDataAvailable(bench.source));
	ck_assert_int_eq(IODataQueueDispatchSource_Peek_f(bench.source, &bench, find),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_Peek_f(bench.source, &bench, find),
			 kIOReturnSuccess);
	ck_assert_uint_eq(bench.found, 0);
	for (uint32_t i = 0; i < 8; i++) {
		ck_assert_int_eq(get(&bench), kIOReturnSuccess);
		ck_assert_uint_eq(bench.found, i);
		ck_assert_uint_eq(bench.found_size, 4);
	}
	ck_assert_int_eq(IODataQueueDispatchSource_CanEnqueueData(bench.source, 4, 8),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_CanEnqueueData(bench.source, 4, 9),
			 kIOReturnOverrun);
	ck_assert_int_eq(IODataQueueDispatchSource_CanEnqueueData(bench.source, 61, 1),
			 kIOReturnOverrun);
	ck_assert_ptr_nonnull(strstr(reason_last(), "never fits"));
	ck_assert_int_eq(
		IODataQueueDispatchSource_EnqueueWithCoalesce_f(bench.source, 4, &tell, NULL, NULL),
		kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueDispatchSource_EnqueueWithCoalesce_f(bench.source, 4, NULL,
									 &bench, fill),
			 kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueDispatchSource_Dequeue_f(bench.source, NULL, NULL),
			 kIOReturnBadArgument);
	settle(&bench);
	bench_close(&bench);
}
END_TEST

START_TEST(a_size_is_a_multiple_of_four)
{
	static const uint64_t bad[] = {
		0, 1, 2, 3, 5, 62, (1ULL << 30) + 4, 1ULL << 32, UINT64_MAX
	};
	IODispatchQueue *queue = new_queue("data");
	IODataQueueDispatchSource *source = NULL;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(IODataQueueDispatchSource_Create(bad[i], queue, &source),
				 kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueDispatchSource_Create(64, NULL, &source), kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueDispatchSource_Create(64, queue, NULL), kIOReturnBadArgument);
	ck_assert_ptr_null(source);
	OSObjectRelease(queue);
}
END_TEST

START_TEST(handlers_are_what_they_are_for)
{
	struct bench bench;
	OSAction *found = NULL;

	bench_open(&bench, 64);
	ck_assert_int_eq(
		IODataQueueDispatchSource_SetDataAvailableHandler(bench.source, bench.serviced),
		kIOReturnBadArgument);
	ck_assert_int_eq(
		IODataQueueDispatchSource_SetDataServicedHandler(bench.source, bench.available),
		kIOReturnBadArgument);
	ck_assert_int_eq(IODataQueueDispatchSource_CopyDataAvailableHandler(bench.source, &found),
			 kIOReturnSuccess);
	ck_assert_ptr_eq(found, bench.available);
	OSObjectRelease(found);
	ck_assert_int_eq(IODataQueueDispatchSource_CopyDataServicedHandler(bench.source, &found),
			 kIOReturnSuccess);
	ck_assert_ptr_eq(found, bench.serviced);
	OSObjectRelease(found);
	ck_assert_int_eq(IODataQueueDispatchSource_SetDataServicedHandler(bench.source, NULL),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_CopyDataServicedHandler(bench.source, &found),
			 kIOReturnNotFound);
	bench_close(&bench);
}
END_TEST

/* Within the driver: a producer and a consumer that wake each other, and no more often than there
 * is cause to. */
START_TEST(each_side_wakes_the_other)
{
	struct bench bench;

	bench_open(&bench, 64); // eight entries
	bench.last = 4000;
	ck_assert_int_eq(get(&bench), kIOReturnUnderrun); // the consumer waits
	ck_assert_int_eq(IODataQueueDispatchSource_SendDataServiced(bench.source),
			 kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(bench.next_out, 4000);
	ck_assert_uint_eq(bench.n_available, 500);
	ck_assert_uint_le(bench.n_serviced, 502);
	settle(&bench);
	bench_close(&bench);
}
END_TEST

/* Many entries, one message; and none to who does not wait. */
START_TEST(a_batch_is_one_message)
{
	struct bench bench;
	bool tell = false;

	bench_open(&bench, 1024);
	for (uint32_t i = 0; i < 10; i++) {
		bench.fill_with = i;
		ck_assert_int_eq(IODataQueueDispatchSource_EnqueueWithCoalesce_f(
					 bench.source, 4, &tell, &bench, fill),
				 kIOReturnSuccess);
	}
	ck_assert(!tell); // nobody waited
	settle(&bench);
	ck_assert_uint_eq(bench.n_available, 0);
	ck_assert_int_eq(IODataQueueDispatchSource_SendDataAvailable(bench.source),
			 kIOReturnSuccess);
	settle(&bench);
	ck_assert_uint_eq(bench.n_available, 1); // it has drained the queue, and waits
	for (uint32_t i = 10; i < 100; i++) {
		bench.fill_with = i;
		ck_assert_int_eq(IODataQueueDispatchSource_EnqueueWithCoalesce_f(
					 bench.source, 4, &tell, &bench, fill),
				 kIOReturnSuccess);
	}
	ck_assert(tell);
	settle(&bench);
	ck_assert_uint_eq(bench.n_available, 1); // not before it is sent
	ck_assert_int_eq(IODataQueueDispatchSource_SendDataAvailable(bench.source),
			 kIOReturnSuccess);
	settle(&bench);
	ck_assert_uint_eq(bench.n_available, 2);
	ck_assert_uint_eq(bench.next_out, 100);

	/* The producer's side of it. */
	tell = false;
	for (uint32_t i = 100; put(&bench, i) == kIOReturnSuccess; i++)
		continue;
	for (int i = 0; i < 5; i++) {
		tell = false;
		ck_assert_int_eq(IODataQueueDispatchSource_DequeueWithCoalesce_f(
					 bench.source, &tell, &bench, find),
				 kIOReturnSuccess);
		ck_assert(tell == (i == 0));
	}
	bench.next_out += 5;
	settle(&bench); // the consumer's handler takes the rest
	bench_close(&bench);
}
END_TEST

/* An application that sleeps on the queue is woken, and nothing is called for it. */
static void *sleep_on_queue(void *context)
{
	struct bench *bench = context;
	struct data_queue end;

	ck_assert_int_eq(data_queue_open_consumer(&end, bench->header, data_queue_memory_size(64)),
			 0);
	ck_assert_int_eq(data_queue_wait(&end, clock_deadline_ns(20000)), 0);
	return NULL;
}

START_TEST(a_sleeper_is_woken_without_a_message)
{
	struct bench bench;

	bench_open(&bench, 64);
	pthread_t thread = start_thread(sleep_on_queue, &bench);
	while (atomic_load(&bench.header->consumer_waits) != DATA_QUEUE_ASLEEP)
		sched_yield();
	uint64_t begin = clock_now_ns();
	ck_assert_int_eq(put(&bench, 1), kIOReturnSuccess);
	pthread_join(thread, NULL);
	ck_assert_uint_lt(clock_now_ns() - begin, 10000000000ULL);
	settle(&bench);
	ck_assert_uint_eq(bench.n_available, 0);
	bench_close(&bench);
}
END_TEST

/* What an application writes is an error here, and what a driver has read does not change. */
static void overwrite(void *context, const void *data, size_t size)
{
	struct bench *bench = context;
	uint32_t before, after;

	ck_assert_uint_eq(size, 4);
	memcpy(&before, data, 4);
	memset((char *)bench->header + DATA_QUEUE_HEADER_SIZE, 0xff, 64);
	memcpy(&after, data, 4);
	ck_assert_uint_eq(before, after);
}

START_TEST(a_hostile_application_is_an_error)
{
	struct bench bench;

	bench_open(&bench, 64);
	ck_assert_int_eq(put(&bench, 77), kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_Dequeue_f(bench.source, &bench, overwrite),
			 kIOReturnSuccess);
	ck_assert_int_eq(put(&bench, 78), kIOReturnSuccess);
	atomic_store(&bench.header->tail, 6);
	ck_assert_int_eq(get(&bench), kIOReturnError);
	ck_assert_int_eq(IODataQueueDispatchSource_Peek_f(bench.source, &bench, find),
			 kIOReturnError);
	ck_assert_ptr_nonnull(strstr(reason_last(), "cannot be"));
	atomic_store(&bench.header->head, 1000);
	ck_assert_int_eq(put(&bench, 79), kIOReturnError);
	ck_assert_int_eq(IODataQueueDispatchSource_CanEnqueueData(bench.source, 4, 1),
			 kIOReturnError);
	bench_close(&bench);
}
END_TEST

static void note(void *context)
{
	*(bool *)context = true;
}

START_TEST(a_cancelled_queue_refuses)
{
	struct bench bench;
	bool cancelled = false;

	bench_open(&bench, 64);
	ck_assert_int_eq(get(&bench), kIOReturnUnderrun);
	ck_assert_int_eq(put(&bench, 0), kIOReturnSuccess); // a call is due
	ck_assert_int_eq(IODataQueueDispatchSource_Cancel_f(bench.source, &cancelled, note),
			 kIOReturnSuccess);
	settle(&bench);
	ck_assert(cancelled);
	ck_assert_uint_eq(bench.n_available, 0);
	ck_assert_int_eq(put(&bench, 0), kIOReturnUnsupported);
	ck_assert_int_eq(get(&bench), kIOReturnUnsupported);
	ck_assert_int_eq(IODataQueueDispatchSource_SendDataAvailable(bench.source),
			 kIOReturnUnsupported);
	bench_close(&bench);
}
END_TEST

POOL_TESTS("data_queue", results_are_told_apart, a_size_is_a_multiple_of_four,
	   handlers_are_what_they_are_for, each_side_wakes_the_other, a_batch_is_one_message,
	   a_sleeper_is_woken_without_a_message, a_hostile_application_is_an_error,
	   a_cancelled_queue_refuses)
