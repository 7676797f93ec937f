/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ring of a data queue.
 *
 * Indices count bytes and never wrap: 64 bits last. An entry is its size and its bytes, filled up
 * to a multiple of 4. It begins at its index modulo the capacity and lies in one piece, for behind
 * the capacity there is as much memory again: an entry that reaches the end just goes on, while the
 * next one begins modulo the capacity. So there are no gaps and no marks of them, and an entry of
 * any size up to the capacity fits when the queue is empty, wherever the index stands. The second
 * half is touched by such entries only.
 *
 * Who finds the queue empty, or full, says so in its wait word, and looks again; who puts in, or
 * takes out, looks at the other's wait word after. Both with a full fence between, so one of them
 * sees the other. The word is cleared by whoever takes the duty to wake: a sleeper is woken once,
 * and nobody else is.
 */

#include <wire/data_queue.h>

#include <errno.h>
#include <limits.h>

#include <base/clock.h>
#include <wire/futex.h>

#define MAGIC   0x5144584fU // "OXDQ"
#define VERSION 1U

_Static_assert(sizeof(struct data_queue_header) == DATA_QUEUE_HEADER_SIZE, "as it is mapped");

size_t data_queue_memory_size(uint32_t capacity)
{
	return DATA_QUEUE_HEADER_SIZE + 2 * (size_t)capacity;
}

uint64_t data_queue_entry_size(uint32_t size)
{
	return DATA_QUEUE_ENTRY_HEADER_SIZE + ((uint64_t)size + 3) / 4 * 4;
}

void data_queue_format(void *memory, uint32_t capacity)
{
	struct data_queue_header *header = memory;

	atomic_store_explicit(&header->version, VERSION, memory_order_relaxed);
	atomic_store_explicit(&header->capacity, capacity, memory_order_relaxed);
	atomic_store_explicit(&header->entries_at, DATA_QUEUE_HEADER_SIZE, memory_order_relaxed);
	atomic_store_explicit(&header->magic, MAGIC, memory_order_release);
}

static int open_end(struct data_queue *queue, void *memory, size_t size)
{
	struct data_queue_header *header = memory;

	if (size < DATA_QUEUE_HEADER_SIZE ||
	    atomic_load_explicit(&header->magic, memory_order_acquire) != MAGIC ||
	    atomic_load_explicit(&header->version, memory_order_relaxed) != VERSION ||
	    atomic_load_explicit(&header->entries_at, memory_order_relaxed) !=
		    DATA_QUEUE_HEADER_SIZE)
		return -EPROTO;
	uint32_t capacity = atomic_load_explicit(&header->capacity, memory_order_relaxed);
	if (capacity == 0 || capacity % 4 != 0 || capacity > DATA_QUEUE_CAPACITY_MAX ||
	    data_queue_memory_size(capacity) > size)
		return -EPROTO;
	queue->header = header;
	queue->entries = (uint8_t *)memory + DATA_QUEUE_HEADER_SIZE;
	queue->capacity = capacity;
	return 0;
}

static int set_index(struct data_queue *queue, uint64_t index)
{
	queue->index = index;
	queue->position = (uint32_t)(index % queue->capacity);
	return index % 4 == 0 && queue->position % 4 == 0 ? 0 : -EPROTO;
}

int data_queue_open_producer(struct data_queue *queue, void *memory, size_t size)
{
	int ret = open_end(queue, memory, size);

	return ret < 0 ? ret
		       : set_index(queue, atomic_load_explicit(&queue->header->tail,
							       memory_order_acquire));
}

int data_queue_open_consumer(struct data_queue *queue, void *memory, size_t size)
{
	int ret = open_end(queue, memory, size);

	return ret < 0 ? ret
		       : set_index(queue, atomic_load_explicit(&queue->header->head,
							       memory_order_acquire));
}

static _Atomic uint32_t *size_word(const struct data_queue *queue)
{
	return (_Atomic uint32_t *)(void *)(queue->entries + queue->position);
}

/* Past an entry of `size` bytes. */
static void advance(struct data_queue *queue, uint32_t size)
{
	uint64_t step = data_queue_entry_size(size), position = queue->position + step;

	queue->index += step;
	queue->position =
		(uint32_t)(position < queue->capacity ? position : position - queue->capacity);
}

/* Say that this end waits; the caller looks once more. */
static void begin_wait(_Atomic uint32_t *word, enum data_queue_wait how)
{
	atomic_store_explicit(word, (uint32_t)how, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

/* Of the other end, after something changed for it. What is no word of ours wants a message. */
static enum data_queue_wait end_wait(_Atomic uint32_t *word)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(word, memory_order_relaxed) == DATA_QUEUE_AWAKE)
		return DATA_QUEUE_AWAKE;
	switch (atomic_exchange_explicit(word, DATA_QUEUE_AWAKE, memory_order_acq_rel)) {
	case DATA_QUEUE_AWAKE:
		return DATA_QUEUE_AWAKE;
	case DATA_QUEUE_ASLEEP:
		return DATA_QUEUE_ASLEEP;
	default:
		return DATA_QUEUE_TOLD;
	}
}

/* --- the producer --- */

static int get_room(const struct data_queue *queue, uint32_t *room)
{
	uint64_t head = atomic_load_explicit(&queue->header->head, memory_order_acquire);
	uint64_t used = queue->index - head;

	if (used > queue->capacity || used % 4 != 0)
		return -EBADMSG;
	*room = queue->capacity - (uint32_t)used;
	return 0;
}

int data_queue_can_put(const struct data_queue *queue, uint32_t size, uint32_t count)
{
	uint32_t room;
	int ret = get_room(queue, &room);

	if (ret < 0 || count == 0)
		return ret;
	return data_queue_entry_size(size) <= room / count ? 0 : DATA_QUEUE_FULL;
}

int data_queue_reserve(struct data_queue *queue, uint32_t size, void **room)
{
	int ret = data_queue_can_put(queue, size, 1);

	if (ret == DATA_QUEUE_FULL) {
		begin_wait(&queue->header->producer_waits, DATA_QUEUE_TOLD);
		ret = data_queue_can_put(queue, size, 1);
	}
	if (ret == 0)
		*room = queue->entries + queue->position + DATA_QUEUE_ENTRY_HEADER_SIZE;
	return ret;
}

enum data_queue_wait data_queue_put(struct data_queue *queue, uint32_t size)
{
	atomic_store_explicit(size_word(queue), size, memory_order_relaxed);
	advance(queue, size);
	atomic_store_explicit(&queue->header->tail, queue->index, memory_order_release);
	return end_wait(&queue->header->consumer_waits);
}

/* --- the consumer --- */

static int look(const struct data_queue *queue, uint32_t *size)
{
	uint64_t tail = atomic_load_explicit(&queue->header->tail, memory_order_acquire);
	uint64_t used = tail - queue->index;

	if (used == 0)
		return DATA_QUEUE_EMPTY;
	if (used > queue->capacity || used % 4 != 0)
		return -EBADMSG;
	*size = atomic_load_explicit(size_word(queue), memory_order_relaxed);
	return data_queue_entry_size(*size) <= used ? 0 : -EBADMSG;
}

int data_queue_peek(struct data_queue *queue, const void **data, uint32_t *size)
{
	uint32_t found = 0;
	int ret = look(queue, &found);

	if (ret == DATA_QUEUE_EMPTY) {
		begin_wait(&queue->header->consumer_waits, DATA_QUEUE_TOLD);
		ret = look(queue, &found);
	}
	if (ret != 0)
		return ret;
	*data = queue->entries + queue->position + DATA_QUEUE_ENTRY_HEADER_SIZE;
	*size = found;
	return 0;
}

enum data_queue_wait data_queue_take(struct data_queue *queue, uint32_t size)
{
	advance(queue, size);
	atomic_store_explicit(&queue->header->head, queue->index, memory_order_release);
	return end_wait(&queue->header->producer_waits);
}

bool data_queue_has_data(const struct data_queue *queue)
{
	return atomic_load_explicit(&queue->header->tail, memory_order_acquire) !=
	       atomic_load_explicit(&queue->header->head, memory_order_acquire);
}

int data_queue_wait(struct data_queue *queue, uint64_t deadline_ns)
{
	_Atomic uint32_t *word = &queue->header->consumer_waits;
	uint32_t size;

	while (look(queue, &size) == DATA_QUEUE_EMPTY) {
		uint64_t now = clock_now_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		begin_wait(word, DATA_QUEUE_ASLEEP);
		if (look(queue, &size) == DATA_QUEUE_EMPTY)
			futex_wait(word, DATA_QUEUE_ASLEEP, deadline_ns - now, FUTEX_SHARED);
		atomic_store_explicit(word, DATA_QUEUE_AWAKE, memory_order_relaxed);
	}
	return 0;
}

void data_queue_wake_consumer(struct data_queue *queue)
{
	futex_wake(&queue->header->consumer_waits, INT_MAX, FUTEX_SHARED);
}
