/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A data queue: entries of bytes in shared memory, from one producer to one consumer, a driver on
 * one side and an application on the other. The calls of one end come one after the other. No
 * system call here but data_queue_wait and data_queue_wake.
 *
 * The other side may write anything at any time: an end keeps its own index and the geometry to
 * itself, reads each shared word once, and checks it. What cannot be is -EBADMSG, from then on
 * until somebody writes what can; no access leaves the memory.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATA_QUEUE_CAPACITY_MAX (1U << 30)

enum { DATA_QUEUE_HEADER_SIZE = 256, DATA_QUEUE_ENTRY_HEADER_SIZE = 4 };

/* Whom a wait word speaks of: one who does not wait, wants a message, or sleeps on the word. */
enum data_queue_wait { DATA_QUEUE_AWAKE = 0, DATA_QUEUE_TOLD = 1, DATA_QUEUE_ASLEEP = 2 };

struct data_queue_header {
	_Atomic uint32_t magic, version, capacity, entries_at; // constant
	_Alignas(64) _Atomic uint64_t tail;                    // bytes ever put in; the producer's
	_Alignas(64) _Atomic uint64_t head;           // bytes ever taken out; the consumer's
	_Alignas(64) _Atomic uint32_t consumer_waits; // enum data_queue_wait, for data
	_Atomic uint32_t producer_waits;              // for room
};

/* One end, private to its process. */
struct data_queue {
	struct data_queue_header *header;
	uint8_t *entries;
	uint32_t capacity;
	uint64_t index;    // what it has put in, or taken out
	uint32_t position; // index modulo capacity
};

/* Positive: a state of the queue that the caller handles. */
enum data_queue_result { DATA_QUEUE_FULL = 1, DATA_QUEUE_EMPTY = 2 };

/* Bytes of memory for a queue of `capacity`, a multiple of 4 up to DATA_QUEUE_CAPACITY_MAX. */
size_t data_queue_memory_size(uint32_t capacity);
void data_queue_format(void *memory, uint32_t capacity); // memory of that size, zeroed

/* `memory`, of `size` bytes, outlives the end. -EPROTO: it holds no queue. */
int data_queue_open_producer(struct data_queue *queue, void *memory, size_t size);
int data_queue_open_consumer(struct data_queue *queue, void *memory, size_t size);

/* What an entry of `size` bytes takes of the capacity. */
uint64_t data_queue_entry_size(uint32_t size);

/* The producer: is there room for `count` entries of `size` bytes? 0, DATA_QUEUE_FULL, -EBADMSG. */
int data_queue_can_put(const struct data_queue *queue, uint32_t size, uint32_t count);

/* The producer: room for `size` bytes, to be filled before data_queue_put publishes them. When it
 * is full, the consumer will tell once there is more room. 0, DATA_QUEUE_FULL, -EBADMSG. */
int data_queue_reserve(struct data_queue *queue, uint32_t size, void **room);
/* Returns whom to wake for it. */
enum data_queue_wait data_queue_put(struct data_queue *queue, uint32_t size);

/* The consumer: the first entry, in place: its bytes may change while they are read. When there is
 * none, the producer will tell once there is. 0, DATA_QUEUE_EMPTY, -EBADMSG. */
int data_queue_peek(struct data_queue *queue, const void **data, uint32_t *size);
/* Take it out; `size` is what peek gave. Returns whom to wake for it. */
enum data_queue_wait data_queue_take(struct data_queue *queue, uint32_t size);

/* Either end: is there data, as far as the memory says? */
bool data_queue_has_data(const struct data_queue *queue);

/* The consumer: sleep until there is data. 0, or -ETIMEDOUT. */
int data_queue_wait(struct data_queue *queue, uint64_t deadline_ns);
/* Wake one that put or take called DATA_QUEUE_ASLEEP. */
void data_queue_wake_consumer(struct data_queue *queue);
