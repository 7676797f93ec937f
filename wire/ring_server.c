/* SPDX-License-Identifier: Apache-2.0 */

/* The dext's side of a ring. The protocol is at the head of ring.c. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <base/text.h>
#include <wire/futex.h>
#include <wire/ring_layout.h>

enum slot_use { // bits
	SLOT_IDLE = 0,
	SLOT_TAKEN = 1,       // and not answered
	SLOT_WITH_BUFFER = 2, // room for output is in a buffer
	SLOT_AGAIN = 4,       // a predecessor had taken it before
	SLOT_WAITS = 8,       // that, and ring_server_next has yet to hand it on
	SLOT_NOTED = 16,      // as replayable
	SLOT_VARIABLE = 32,   // output may have any size
};

struct ring_server {
	struct ring_view view;
	uint64_t head;         // the next submission; of the thread that takes
	_Atomic uint8_t *busy; // per slot: enum slot_use
	uint32_t n_again;      // calls with SLOT_WAITS; of the thread that takes
	uint32_t generation;
	uint32_t cpu; // what the header's server_cpu was set to; of the thread that takes
	_Atomic uint32_t caller_cpu; // of the last call
	struct waiting waiting;      // of the thread that takes
	uint32_t workers;

	/* Of the thread that writes events. */
	uint64_t event_tail;
	uint64_t event_head; // how far the reader was when last looked at
};

static int go_on(struct ring_server *s);

int ring_server_open(struct ring_server **out, int memory_fd)
{
	struct ring_server *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	int ret = ring_view_init(&s->view, memory_fd);
	if (ret < 0) {
		free(s);
		return ret;
	}
	s->busy = calloc(s->view.n_slots, sizeof(*s->busy));
	if (s->busy == NULL) {
		ring_view_deinit(&s->view);
		free(s);
		return -ENOMEM;
	}
	waiting_init(&s->waiting, WAITING_SERVER);
	s->head = atomic_load(&s->view.header->taken);
	s->event_tail = atomic_load(&s->view.header->event_tail);
	s->event_head = atomic_load(&s->view.header->event_head);
	s->generation = atomic_load(&s->view.header->generation);
	if (s->generation > 1)
		ret = go_on(s);
	if (ret < 0)
		ring_server_close(s);
	else
		*out = s;
	return ret;
}

struct ring_server *ring_server_close(struct ring_server *s)
{
	if (s == NULL)
		return NULL;
	ring_view_deinit(&s->view);
	free(s->busy);
	free(s);
	return NULL;
}

uint32_t ring_server_generation(const struct ring_server *s)
{
	return s->generation;
}

void ring_server_abort(struct ring_server *s, IOReturn status, const char *reason)
{
	ring_view_abort(&s->view, status, reason);
}

static bool is_closed(const struct ring_server *s)
{
	return atomic_load(&s->view.header->closed) != 0;
}

/* --- calls --- */

static uint32_t load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

/* With n_scalars valid. An address of 0 is none, and what should be there is then missed. */
static void copy_addresses(const struct ring_slot *slot, uint32_t memory,
			   struct ring_request *request)
{
	const _Atomic uint64_t *word = slot->payload + request->n_scalars;
	request->input_address = 0;
	request->output_address = 0;
	if ((memory & RING_MEMORY_INPUT) != 0)
		request->input_address = atomic_load_explicit(word++, memory_order_relaxed);
	if ((memory & RING_MEMORY_OUTPUT) != 0)
		request->output_address = atomic_load_explicit(word, memory_order_relaxed);
}

/* Copy the request. -EBADMSG: a number in it is over its limit. */
static int copy_request(const struct ring_server *s, uint32_t index, uint64_t ticket,
			struct ring_request *request)
{
	const struct ring_slot *slot = &s->view.slots[index];
	request->slot = index;
	request->kind = load(&slot->kind);
	request->sequence = atomic_load_explicit(&slot->ticket, memory_order_relaxed);
	request->selector = atomic_load_explicit(&slot->selector, memory_order_relaxed);
	request->async = atomic_load_explicit(&slot->async, memory_order_relaxed);
	request->n_scalars = load(&slot->n_scalars);
	request->n_scalars_out = load(&slot->n_scalars_out);
	request->structure_size = load(&slot->structure_size);
	request->structure_out_max = load(&slot->structure_out_max);
	uint32_t memory = load(&slot->memory);
	request->buffer = memory & RING_MEMORY_BUFFER;
	request->n_regions = memory >> RING_MEMORY_REGIONS;

	if (request->sequence != ticket)
		return -EBADMSG;
	if (request->kind < RING_CALL || request->kind >= RING_KINDS)
		return -EBADMSG;
	if (request->n_scalars > RING_SCALARS || request->n_scalars_out > RING_SCALARS)
		return -EBADMSG;
	copy_addresses(slot, memory, request);
	if (!ring_sizes_are_valid(request))
		return -EBADMSG;
	ring_load(request->scalars, slot->payload, request->n_scalars * 8);
	if (request->structure_size <= RING_BLOCK)
		ring_load(request->structure,
			  ring_structure(&s->view, index, ring_request_words(request),
					 request->structure_size),
			  request->structure_size);
	return 0;
}

/* A slot may be served when it is posted and not being served already. */
static bool may_serve(struct ring_server *s, uint32_t index)
{
	if (index >= s->view.n_slots)
		return false;
	uint32_t state = atomic_load_explicit(&s->view.slots[index].state, memory_order_acquire);
	if (state != RING_POSTED && state != RING_AWAITED)
		return false;
	return atomic_load_explicit(&s->busy[index], memory_order_relaxed) == SLOT_IDLE;
}

static const struct ring_entry *next_entry(const struct ring_server *s)
{
	return &s->view.entries[s->head & (s->view.n_slots - 1)];
}

/* The application may have moved us in the header: it is set anew only when we move. */
static void note_cpus(struct ring_server *s, uint32_t index)
{
	uint32_t cpu = waiting_here();
	atomic_store_explicit(&s->caller_cpu, load(&s->view.slots[index].caller_cpu),
			      memory_order_relaxed);
	if (s->cpu == cpu)
		return;
	s->cpu = cpu;
	atomic_store_explicit(&s->view.header->server_cpu, cpu, memory_order_relaxed);
}

static void set_use(struct ring_server *s, uint32_t index, uint32_t use)
{
	atomic_store_explicit(&s->busy[index], (uint8_t)use, memory_order_relaxed);
}

static uint32_t get_use(const struct ring_server *s, uint32_t index)
{
	return atomic_load_explicit(&s->busy[index], memory_order_relaxed);
}

static uint32_t first_use(const struct ring_request *request)
{
	if (request->structure_out_max == RING_VARIABLE)
		return SLOT_TAKEN | SLOT_VARIABLE;
	return SLOT_TAKEN | (request->structure_out_max > RING_BLOCK ? SLOT_WITH_BUFFER : 0U);
}

static uint64_t noted_ticket(const struct ring_server *s, uint32_t index)
{
	return atomic_load_explicit(&s->view.notes[index].replayable, memory_order_relaxed);
}

/* The oldest call that waits to be replayed: there is one. */
static uint32_t find_again(const struct ring_server *s)
{
	uint32_t oldest = s->view.n_slots;
	for (uint32_t i = 0; i < s->view.n_slots; i++)
		if ((get_use(s, i) & SLOT_WAITS) != 0 &&
		    (oldest == s->view.n_slots || noted_ticket(s, i) < noted_ticket(s, oldest)))
			oldest = i;
	return oldest;
}

static int next_again(struct ring_server *s, struct ring_request *request)
{
	uint32_t index = find_again(s);
	s->n_again--;
	int ret = copy_request(s, index, noted_ticket(s, index), request);
	if (ret < 0)
		return ret;
	set_use(s, index, first_use(request) | SLOT_AGAIN);
	return 1;
}

int ring_server_next(struct ring_server *s, struct ring_request *request)
{
	if (s->n_again > 0)
		return next_again(s, request);
	const struct ring_entry *entry = next_entry(s);
	uint64_t ticket = atomic_load_explicit(&entry->ticket, memory_order_acquire);
	if (ticket == ring_stale(s->head, s->view.n_slots))
		return 0;
	uint32_t index = load(&entry->slot);
	if (ticket != s->head + 1 || !may_serve(s, index))
		return is_closed(s) ? 0 : -EBADMSG;
	int ret = copy_request(s, index, s->head + 1, request);
	if (ret < 0)
		return ret;
	note_cpus(s, index);
	set_use(s, index, first_use(request));
	s->head++;
	atomic_store_explicit(&s->view.header->taken, s->head, memory_order_relaxed);
	return 1;
}

static bool has_next(const void *context)
{
	const struct ring_server *s = context;
	uint64_t ticket = atomic_load_explicit(&next_entry(s)->ticket, memory_order_acquire);
	return ticket != ring_stale(s->head, s->view.n_slots);
}

bool ring_server_linger(struct ring_server *s, waiting_stop_fn stop, void *context)
{
	struct waiting_spin spin = {
		.waiting = &s->waiting, .peer = &s->caller_cpu, .stop = stop, .context = context
	};
	waiting_set_policy(&s->waiting, WAITING_SERVER, load(&s->view.header->waiting));
	return !is_closed(s) && waiting_spin(&spin, has_next, s);
}

bool ring_server_sleep(struct ring_server *s)
{
	const struct ring_entry *entry = next_entry(s);
	atomic_store(&s->view.header->server_sleeps, 1);
	if (atomic_load(&entry->ticket) == ring_stale(s->head, s->view.n_slots) || is_closed(s))
		return true;
	atomic_store(&s->view.header->server_sleeps, 0);
	return false;
}

void ring_server_set_workers(struct ring_server *s, uint32_t n)
{
	s->workers = n < RING_DOORBELLS ? n : RING_DOORBELLS;
	atomic_store_explicit(&s->view.header->doorbells, 1, memory_order_relaxed);
	atomic_store_explicit(&s->view.header->workers, s->workers, memory_order_relaxed);
}

void ring_server_announce_doorbell(struct ring_server *s, uint32_t worker)
{
	atomic_fetch_or(&s->view.header->doorbells, 1U << worker);
}

uint32_t ring_server_caller_worker(const struct ring_server *s)
{
	uint32_t cpu = load(&s->caller_cpu);
	return cpu != 0 && s->workers > 1 ? (cpu - 1) % s->workers : 0;
}

static void write_values(struct ring_server *s, uint32_t index, const struct ring_reply *reply,
			 uint32_t use)
{
	struct ring_slot *slot = &s->view.slots[index];
	ring_store(slot->payload, reply->scalars, reply->n_scalars * 8);
	if ((use & SLOT_WITH_BUFFER) == 0 && reply->structure_size <= RING_BLOCK)
		ring_store(ring_structure(&s->view, index, reply->n_scalars, reply->structure_size),
			   reply->structure, reply->structure_size);
	atomic_store_explicit(&slot->n_scalars, reply->n_scalars, memory_order_relaxed);
	atomic_store_explicit(&slot->structure_size, reply->structure_size, memory_order_relaxed);
}

static void write_refusal(struct ring_slot *slot, const struct ring_reply *reply)
{
	size_t length = strnlen(reply->reason, RING_PAYLOAD - 1);
	char text[RING_PAYLOAD] = "";
	memcpy(text, reply->reason, length);
	ring_store(slot->payload, text, length + 1);
	atomic_store_explicit(&slot->n_scalars, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->structure_size, 0, memory_order_relaxed);
}

/* For the compiler: what a process that is killed has stored, is there. */
static void store_in_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

void ring_server_note_replayable(struct ring_server *s, const struct ring_request *request)
{
	struct ring_note *note = &s->view.notes[request->slot];
	uint32_t use = get_use(s, request->slot);
	if ((use & SLOT_AGAIN) == 0)
		atomic_store_explicit(&note->deaths, 0, memory_order_relaxed);
	store_in_order();
	atomic_store_explicit(&note->replayable, request->sequence, memory_order_relaxed);
	set_use(s, request->slot, use | SLOT_NOTED);
}

/* Before the answer is written over the request. */
static void forget_note(struct ring_server *s, uint32_t index, uint32_t use)
{
	if ((use & (SLOT_NOTED | SLOT_AGAIN)) == 0)
		return;
	atomic_store_explicit(&s->view.notes[index].replayable, 0, memory_order_relaxed);
	store_in_order();
}

/* -EBADMSG: nobody was waiting for that. */
static int end_call(struct ring_server *s, uint32_t index, enum ring_state end)
{
	struct ring_slot *slot = &s->view.slots[index];
	atomic_store_explicit(&slot->generation, s->generation, memory_order_relaxed);

	/* First, for once answered the slot may be posted again at once. */
	set_use(s, index, SLOT_IDLE);
	uint32_t was = ring_slot_end(slot, end);
	if (was == RING_AWAITED)
		futex_wake(&slot->state, INT_MAX, FUTEX_SHARED);
	else if (was != RING_POSTED && !is_closed(s))
		return -EBADMSG;
	return 0;
}

int ring_server_refuse_stale(struct ring_server *s, uint32_t index)
{
	uint32_t use = index < s->view.n_slots ? get_use(s, index) : SLOT_IDLE;
	if (use == SLOT_IDLE)
		return -EINVAL;
	forget_note(s, index, use);
	return end_call(s, index, RING_STALE);
}

int ring_server_reply(struct ring_server *s, uint32_t index, const struct ring_reply *reply)
{
	if (index >= s->view.n_slots)
		return -EINVAL;
	uint32_t use = get_use(s, index);
	bool elsewhere = (use & (SLOT_WITH_BUFFER | SLOT_VARIABLE)) != 0;
	uint32_t limit = elsewhere ? RING_STRUCTURE_MAX : RING_BLOCK;
	if (use == SLOT_IDLE || reply->n_scalars > RING_SCALARS || reply->structure_size > limit)
		return -EINVAL;
	struct ring_slot *slot = &s->view.slots[index];
	forget_note(s, index, use);
	if (reply->status == kIOReturnSuccess)
		write_values(s, index, reply, use);
	else
		write_refusal(slot, reply);
	atomic_store_explicit(&slot->status, (uint32_t)reply->status, memory_order_relaxed);
	return end_call(s, index, RING_ANSWERED);
}

/* --- events --- */

static uint64_t events_unread(const struct ring_server *s)
{
	return s->event_tail - s->event_head;
}

/* 1: there is room for more than `n`. 0: there is not. -EBADMSG: the reader is ahead of the writer.
 * The reader's line is looked at only when what it said last does not do: it writes there. */
static int has_room(struct ring_server *s, uint32_t n)
{
	uint32_t n_events = s->view.n_events;
	if (n >= n_events)
		return 0;
	if (events_unread(s) < n_events - n)
		return 1;
	s->event_head = atomic_load_explicit(&s->view.header->event_head, memory_order_acquire);
	if (events_unread(s) > n_events)
		return -EBADMSG;
	return events_unread(s) < n_events - n;
}

int ring_server_event(struct ring_server *s, const struct ring_event *event)
{
	struct ring_header *header = s->view.header;
	struct ring_event_slot *slot = &s->view.events[s->event_tail & (s->view.n_events - 1)];
	if (event->n_scalars > RING_SCALARS)
		return -EINVAL;
	int ret = has_room(s, 0);
	if (ret <= 0)
		return ret < 0 ? ret : -ENOSPC;
	atomic_store_explicit(&slot->async, event->async, memory_order_relaxed);
	atomic_store_explicit(&slot->status, (uint32_t)event->status, memory_order_relaxed);
	atomic_store_explicit(&slot->n_scalars, event->n_scalars, memory_order_relaxed);
	ring_store(slot->payload, event->scalars, event->n_scalars * 8);
	s->event_tail++;
	atomic_store_explicit(&header->event_tail, s->event_tail, memory_order_relaxed);
	atomic_store(&slot->sequence, s->event_tail);
	return atomic_load(&header->client_sleeps) != 0 &&
	       atomic_exchange(&header->client_sleeps, 0) != 0;
}

bool ring_server_event_fits(struct ring_server *s, uint32_t n)
{
	return has_room(s, n) > 0;
}

/* --- where a predecessor was --- */

/* One event may have its place, and not be published. */
static int go_on_with_events(struct ring_server *s)
{
	uint64_t tail = s->event_tail;
	if (tail > 0 &&
	    atomic_load(&s->view.events[(tail - 1) & (s->view.n_events - 1)].sequence) != tail)
		s->event_tail--;
	return events_unread(s) <= s->view.n_events ? 0 : -EBADMSG;
}

static void abort_call(struct ring_server *s, uint32_t index, uint32_t deaths)
{
	struct ring_slot *slot = &s->view.slots[index];
	struct ring_reply reply;
	char why[RING_NOTICE_TEXT];
	ring_load(why, s->view.header->obituary, sizeof(why));
	why[sizeof(why) - 1] = '\0';
	text_print(reply.reason, sizeof(reply.reason), "the driver died %s this call: %s",
		   deaths < RING_DEATHS ? "while it executed" : "each time that it executed", why);
	write_refusal(slot, &reply);
	atomic_store_explicit(&slot->status, (uint32_t)kIOReturnAborted, memory_order_relaxed);
	(void)end_call(s, index, RING_ANSWERED);
}

static bool comes_with_descriptor(uint32_t kind)
{
	return kind == RING_SHARE || kind == RING_REGISTER;
}

/* A call that was taken: now it is ours, to be settled once. */
static void settle(struct ring_server *s, uint32_t index, uint64_t ticket)
{
	struct ring_note *note = &s->view.notes[index];
	uint32_t deaths = 0;
	if (noted_ticket(s, index) == ticket) {
		deaths = load(&note->deaths) + 1;
		atomic_store_explicit(&note->deaths, deaths, memory_order_relaxed);
	}
	if (deaths > 0 && deaths < RING_DEATHS) {
		set_use(s, index, SLOT_TAKEN | SLOT_AGAIN | SLOT_WAITS);
		s->n_again++;
	} else if (comes_with_descriptor(load(&s->view.slots[index].kind))) {
		(void)end_call(s, index, RING_STALE);
	} else {
		abort_call(s, index, deaths);
	}
}

static int go_on(struct ring_server *s)
{
	for (uint32_t i = 0; i < s->view.n_slots; i++) {
		struct ring_slot *slot = &s->view.slots[i];
		uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
		uint64_t ticket = atomic_load_explicit(&slot->ticket, memory_order_relaxed);
		if (state != RING_POSTED && state != RING_AWAITED)
			futex_wake(&slot->state, INT_MAX, FUTEX_SHARED); // its wake may be due
		else if (ticket - 1 < s->head)                           // 0 is none
			settle(s, i, ticket);
	}
	return go_on_with_events(s);
}
