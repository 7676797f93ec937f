/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A data queue whose memory the other side writes at any moment: both ends, in one thread. The
 * first byte of the input is the capacity in words; then come steps: a byte that says which, and
 * what it needs. The memory ends exactly where the queue does, so that a sanitizer sees the first
 * byte beyond.
 *
 * Whatever is written, an end gives a result that its header names, and no access leaves the
 * memory.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wire/data_queue.h>

#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 500 };

static struct {
	uint8_t *memory;
	size_t memory_size;
	struct data_queue in, out;
} fuzz;

static void scribble(void)
{
	_Atomic uint32_t *words = (_Atomic uint32_t *)(void *)fuzz.memory;
	uint32_t at = take() | (uint32_t)take() << 8;
	atomic_store(words + at % (fuzz.memory_size / 4), take_word());
}

/* The words that matter, near what they are. */
static void scribble_part(void)
{
	struct data_queue_header *header = (struct data_queue_header *)(void *)fuzz.memory;
	_Atomic uint32_t *size = (_Atomic uint32_t *)(void *)(fuzz.out.entries + fuzz.out.position);
	uint8_t which = take();
	uint64_t value = (uint64_t)(int64_t)(int8_t)take();
	switch (which % 5) {
	case 0:
		atomic_fetch_add(&header->tail, value * 4);
		break;
	case 1:
		atomic_fetch_add(&header->head, value * 4);
		break;
	case 2:
		atomic_store(size, (uint32_t)value);
		break;
	case 3:
		atomic_store(&header->capacity, (uint32_t)value * 4);
		break;
	default:
		atomic_store(&header->consumer_waits, (uint32_t)value);
		atomic_store(&header->producer_waits, (uint32_t)value >> 1);
	}
}

static void put(void)
{
	uint32_t size = take();
	void *room = NULL;
	if (size > 250)
		size = take_word();
	int ret = data_queue_reserve(&fuzz.in, size, &room);
	assert(ret == 0 || ret == DATA_QUEUE_FULL || ret == -EBADMSG);
	if (ret != 0)
		return;
	memset(room, (int)size, size);
	data_queue_put(&fuzz.in, size);
}

/* The other side writes between the look and the reading. */
static void get(void)
{
	const void *data = NULL;
	uint32_t size = 0, sum = 0;
	int ret = data_queue_peek(&fuzz.out, &data, &size);
	assert(ret == 0 || ret == DATA_QUEUE_EMPTY || ret == -EBADMSG);
	if (ret != 0)
		return;
	if ((take() & 1) != 0)
		scribble_part();
	for (uint32_t i = 0; i < size; i++)
		sum += ((const volatile uint8_t *)data)[i];
	(void)sum;
	data_queue_take(&fuzz.out, size);
}

static void ask(void)
{
	int ret = data_queue_can_put(&fuzz.in, take_word(), take_word());
	assert(ret == 0 || ret == DATA_QUEUE_FULL || ret == -EBADMSG);
	data_queue_has_data(&fuzz.out);
	ret = data_queue_wait(&fuzz.out, 1); // long past
	assert(ret == 0 || ret == -ETIMEDOUT);
}

/* Open again, on what the memory says by now. */
static void reopen(void)
{
	struct data_queue end;
	int ret = data_queue_open_producer(&end, fuzz.memory, fuzz.memory_size);
	assert(ret == 0 || ret == -EPROTO);
	if (ret == 0)
		fuzz.in = end;
	ret = data_queue_open_consumer(&end, fuzz.memory, fuzz.memory_size);
	assert(ret == 0 || ret == -EPROTO);
	if (ret == 0)
		fuzz.out = end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const steps[])(void) = { put, get, scribble_part, scribble, ask, reopen };
	input.data = data;
	input.size = size;
	uint32_t capacity = 4 + take() * 4U;
	fuzz.memory_size = data_queue_memory_size(capacity);
	fuzz.memory = aligned_alloc(64, (fuzz.memory_size + 63) / 64 * 64);
	if (fuzz.memory == NULL)
		abort();
	memset(fuzz.memory, 0, fuzz.memory_size);
	data_queue_format(fuzz.memory, capacity);
	reopen();
	for (unsigned n = 0; n < STEPS_MAX && input.size > 0; n++)
		steps[take() % (sizeof(steps) / sizeof(steps[0]))]();
	free(fuzz.memory);
	return 0;
}
