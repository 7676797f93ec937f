/* SPDX-License-Identifier: Apache-2.0 */

#include <wire/data_queue.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/unit_test.h>

/* A queue of `capacity` bytes that ends where no memory is. */
struct bench {
	void *base, *memory;
	size_t base_size, size;
	struct data_queue in, out;
};

static void bench_open(struct bench *bench, uint32_t capacity)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	bench->size = data_queue_memory_size(capacity);
	size_t pages = (bench->size + page - 1) / page * page;
	bench->base_size = pages + page;
	bench->base = mmap(NULL, bench->base_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(bench->base, MAP_FAILED);
	ck_assert_int_eq(mprotect((char *)bench->base + pages, page, PROT_NONE), 0);
	bench->memory = bench->base;
	data_queue_format(bench->memory, capacity);
	ck_assert_int_eq(data_queue_open_producer(&bench->in, bench->memory, bench->size), 0);
	ck_assert_int_eq(data_queue_open_consumer(&bench->out, bench->memory, bench->size), 0);
}

static void bench_close(struct bench *bench)
{
	munmap(bench->base, bench->base_size);
}

static int put(struct bench *bench, uint32_t size, uint32_t seed)
{
	uint8_t *room = NULL;
	int ret = data_queue_reserve(&bench->in, size, (void **)&room);

	if (ret != 0)
		return ret;
	for (uint32_t i = 0; i < size; i++)
		room[i] = (uint8_t)(seed * 7 + i);
	data_queue_put(&bench->in, size);
	return 0;
}

static void take(struct bench *bench, uint32_t size, uint32_t seed)
{
	const uint8_t *data = NULL;
	uint32_t found;

	ck_assert_int_eq(data_queue_peek(&bench->out, (const void **)&data, &found), 0);
	ck_assert_uint_eq(found, size);
	for (uint32_t i = 0; i < size; i++)
		ck_assert_uint_eq(data[i], (uint8_t)(seed * 7 + i));
	data_queue_take(&bench->out, found);
}

static int peek_size(struct bench *bench)
{
	const void *data;
	uint32_t size = 0;
	int ret = data_queue_peek(&bench->out, &data, &size);

	return ret != 0 ? ret : -1000 - (int)size;
}

/* Whatever the sizes, and wherever the index stands, entries come out as they were put in. */
START_TEST(entries_keep_their_order_and_bytes)
{
	static uint32_t sizes[64];
	struct bench bench;
	uint32_t first = 0, last = 0;

	bench_open(&bench, 252);
	chance_seed(5);
	while (first < 20000) {
		uint32_t size = (uint32_t)(chance_u64() % 100);
		if (last - first < 64 && put(&bench, size, last) == 0) {
			sizes[last++ % 64] = size;
			if (chance_u64() % 2 == 0)
				continue;
		}
		take(&bench, sizes[first % 64], first);
		first++;
	}
	bench_close(&bench);
}
END_TEST

/* An entry as large as the queue fits whenever it is empty, and one more byte never. */
START_TEST(the_whole_capacity_is_usable)
{
	struct bench bench;

	bench_open(&bench, 64);
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_int_eq(put(&bench, 60, i), 0);
		ck_assert_int_eq(put(&bench, 0, i), DATA_QUEUE_FULL);
		take(&bench, 60, i);
		ck_assert_int_eq(put(&bench, 61, i), DATA_QUEUE_FULL);
		ck_assert_int_eq(put(&bench, UINT32_MAX, i), DATA_QUEUE_FULL);
		ck_assert_int_eq(put(&bench, i % 9, i), 0); // moves the index on
		take(&bench, i % 9, i);
		ck_assert_int_eq(peek_size(&bench), DATA_QUEUE_EMPTY);
	}
	bench_close(&bench);
}
END_TEST

START_TEST(room_is_counted)
{
	struct bench bench;

	bench_open(&bench, 64);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 4, 8), 0);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 4, 9), DATA_QUEUE_FULL);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 5, 6), DATA_QUEUE_FULL);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 4, 0), 0);
	ck_assert_int_eq(data_queue_can_put(&bench.in, UINT32_MAX, UINT32_MAX), DATA_QUEUE_FULL);
	ck_assert_int_eq(put(&bench, 4, 0), 0);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 4, 8), DATA_QUEUE_FULL);
	bench_close(&bench);
}
END_TEST

/* Who waits is told once, by the first that changes something for it; who does not, never. */
START_TEST(only_who_waits_is_told)
{
	struct bench bench;
	void *room;

	bench_open(&bench, 64);
	ck_assert_int_eq(data_queue_reserve(&bench.in, 4, &room), 0);
	ck_assert_int_eq(data_queue_put(&bench.in, 4), DATA_QUEUE_AWAKE);
	ck_assert_int_eq(data_queue_take(&bench.out, 4), DATA_QUEUE_AWAKE);
	ck_assert_int_eq(peek_size(&bench), DATA_QUEUE_EMPTY);
	ck_assert_int_eq(data_queue_reserve(&bench.in, 4, &room), 0);
	ck_assert_int_eq(data_queue_put(&bench.in, 4), DATA_QUEUE_TOLD);
	for (int i = 0; i < 7; i++) {
		ck_assert_int_eq(data_queue_reserve(&bench.in, 4, &room), 0);
		ck_assert_int_eq(data_queue_put(&bench.in, 4), DATA_QUEUE_AWAKE);
	}
	ck_assert_int_eq(data_queue_take(&bench.out, 4), DATA_QUEUE_AWAKE);
	ck_assert_int_eq(data_queue_reserve(&bench.in, 40, &room), DATA_QUEUE_FULL);
	ck_assert_int_eq(data_queue_take(&bench.out, 4), DATA_QUEUE_TOLD);
	ck_assert_int_eq(data_queue_take(&bench.out, 4), DATA_QUEUE_AWAKE);
	bench_close(&bench);
}
END_TEST

enum { EXCHANGED = 100000 };

static void *put_many(void *context)
{
	struct bench *bench = context;

	for (uint32_t i = 0; i < EXCHANGED; i++) {
		uint32_t *room;
		while (data_queue_reserve(&bench->in, 4, (void **)&room) != 0)
			sched_yield();
		*room = i;
		if (data_queue_put(&bench->in, 4) == DATA_QUEUE_ASLEEP)
			data_queue_wake_consumer(&bench->in);
	}
	return NULL;
}

/* Two threads: nothing is lost, and no sleeper is forgotten. */
START_TEST(a_sleeper_is_woken)
{
	struct bench bench;
	pthread_t thread;
	const void *data;
	uint32_t size, value;

	bench_open(&bench, 256);
	ck_assert_int_eq(data_queue_wait(&bench.out, clock_now_ns() + 1000000), -ETIMEDOUT);
	pthread_create(&thread, NULL, put_many, &bench);
	for (uint32_t i = 0; i < EXCHANGED; i++) {
		ck_assert_int_eq(data_queue_wait(&bench.out, clock_deadline_ns(20000)), 0);
		ck_assert_int_eq(data_queue_peek(&bench.out, &data, &size), 0);
		memcpy(&value, data, 4);
		ck_assert_uint_eq(value, i);
		data_queue_take(&bench.out, size);
	}
	pthread_join(thread, NULL);
	bench_close(&bench);
}
END_TEST

/* What the other side may write, and what must not come of it. */
START_TEST(what_cannot_be_is_refused)
{
	struct bench bench;
	void *room;

	bench_open(&bench, 64);
	put(&bench, 8, 1);
	struct data_queue_header *header = bench.memory;
	_Atomic uint32_t *size = (_Atomic uint32_t *)(void *)bench.out.entries;
	static const uint32_t sizes[] = { 9, 12, 60, 61, 0x7fffffff, 0xfffffffc, UINT32_MAX };
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		atomic_store(size, sizes[i]);
		ck_assert_int_eq(peek_size(&bench), -EBADMSG);
	}
	atomic_store(size, 8);
	ck_assert_int_eq(peek_size(&bench), -1008);
	static const uint64_t tails[] = { 13, 68, 1ULL << 32, UINT64_MAX, UINT64_MAX - 11 };
	for (unsigned i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		atomic_store(&header->tail, tails[i]);
		ck_assert_int_eq(peek_size(&bench), -EBADMSG);
	}
	atomic_store(&header->tail, 12);
	static const uint64_t heads[] = { 1, 16, 1ULL << 33, UINT64_MAX - 1000 };
	for (unsigned i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		atomic_store(&header->head, heads[i]);
		ck_assert_int_eq(data_queue_reserve(&bench.in, 4, &room), -EBADMSG);
		ck_assert_int_eq(data_queue_can_put(&bench.in, 4, 1), -EBADMSG);
	}
	/* The geometry is looked at once. */
	atomic_store(&header->head, 0);
	atomic_store(&header->capacity, 1U << 20);
	ck_assert_int_eq(data_queue_can_put(&bench.in, 100, 1), DATA_QUEUE_FULL);
	bench_close(&bench);
}
END_TEST

START_TEST(other_memory_is_no_queue)
{
	struct bench bench;
	struct data_queue end;

	bench_open(&bench, 64);
	struct data_queue_header *header = bench.memory, good;
	memcpy(&good, header, sizeof(good));
	ck_assert_int_eq(data_queue_open_consumer(&end, bench.memory, 255), -EPROTO);
	ck_assert_int_eq(data_queue_open_consumer(&end, bench.memory, bench.size - 1), -EPROTO);
	static const uint32_t capacities[] = {
		0, 2, 66, 68, DATA_QUEUE_CAPACITY_MAX + 4, UINT32_MAX - 3
	};
	for (unsigned i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
		atomic_store(&header->capacity, capacities[i]);
		ck_assert_int_eq(data_queue_open_consumer(&end, bench.memory, bench.size), -EPROTO);
	}
	memcpy(bench.memory, &good, sizeof(good));
	atomic_store(&header->head, 2);
	ck_assert_int_eq(data_queue_open_consumer(&end, bench.memory, bench.size), -EPROTO);
	_Atomic uint32_t *const words[] = { &header->magic, &header->version, &header->entries_at };
	for (unsigned i = 0; i < 3; i++) {
		memcpy(bench.memory, &good, sizeof(good));
		atomic_fetch_add(words[i], 1);
		ck_assert_int_eq(data_queue_open_producer(&end, bench.memory, bench.size), -EPROTO);
	}
	bench_close(&bench);
}
END_TEST

UNIT_TESTS("data_queue", entries_keep_their_order_and_bytes, the_whole_capacity_is_usable,
	   room_is_counted, only_who_waits_is_told, a_sleeper_is_woken, what_cannot_be_is_refused,
	   other_memory_is_no_queue)
