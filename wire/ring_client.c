/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The application's side of a ring. The protocol is at the head of ring.c.
 *
 * Which slots are free is known here alone. A call that timed out leaves its slot among the
 * zombies; whoever needs one looks there for an answer that has come meanwhile.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include <base/clock.h>
#include <wire/futex.h>
#include <wire/ring_layout.h>

/* A caller looks whether its peer still lives this often. */
#define PEER_LOOK_NS 500000000U

/* Nobody wakes for a zombie's answer: one who waits for a slot looks again this often. */
#define ZOMBIE_LOOK_NS 50000000U

/* One who waits for the first of a group sleeps over the last of it at most for so long. Less than
 * a tick of the kernel's would make it program a timer for each such sleep, which on a virtual
 * machine costs more than three calls do. */
#define GROUP_NS 10000000U

#define NS_PER_MS 1000000ULL

enum { SLOT_WORDS = RING_COUNT_MAX / 64 };

struct ring_client {
	struct ring_view view;
	_Atomic int doorbells[RING_DOORBELLS];                 // borrowed; by worker; -1: not had
	_Atomic uint32_t doorbell_generations[RING_DOORBELLS]; // whose they are, but for the first
	void (*look)(void *context);                           // may be NULL
	void *look_context;

	_Atomic uint64_t tail;                // the next submission
	_Atomic uint32_t newest;              // the slot of the last ring_client_submit
	_Atomic uint64_t free[SLOT_WORDS];    // bit: the slot is nobody's
	_Atomic uint64_t zombies[SLOT_WORDS]; // bit: its call timed out
	_Atomic uint32_t waiters;             // threads that wait for a slot
	_Atomic uint32_t freed;               // their futex: counts wakes
	struct waiting waiting;

	uint64_t event_head; // of the one reader
};

int ring_client_open(struct ring_client **out, int memory_fd, int doorbell_fd)
{
	int flags = fcntl(doorbell_fd, F_GETFL);
	if (flags < 0 || fcntl(doorbell_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	struct ring_client *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	int ret = ring_view_init(&c->view, memory_fd);
	if (ret < 0) {
		free(c);
		return ret;
	}
	atomic_init(&c->doorbells[0], doorbell_fd);
	for (uint32_t i = 1; i < RING_DOORBELLS; i++)
		atomic_init(&c->doorbells[i], -1);
	waiting_init(&c->waiting, WAITING_CALLER);
	for (uint32_t i = 0; i < c->view.n_slots; i++)
		atomic_fetch_or(&c->free[i / 64], UINT64_C(1) << (i % 64));
	*out = c;
	return 0;
}

struct ring_client *ring_client_close(struct ring_client *c)
{
	if (c == NULL)
		return NULL;
	ring_view_deinit(&c->view);
	free(c);
	return NULL;
}

void ring_client_set_look(struct ring_client *c, void (*look)(void *context), void *context)
{
	c->look = look;
	c->look_context = context;
}

void ring_client_set_waiting(struct ring_client *c, enum waiting_policy policy)
{
	waiting_set_policy(&c->waiting, WAITING_CALLER, policy);
	atomic_store_explicit(&c->view.header->waiting, policy, memory_order_relaxed);
}

/* A call's time begins when it first has to sleep: one that need not takes no look at the clock. */
struct deadline {
	uint32_t timeout_ms;
	uint64_t ns; // 0: not begun
};

/* Nanoseconds until then, at most `limit`; 0: it is past. */
static uint64_t time_left(struct deadline *deadline, uint64_t limit)
{
	uint64_t now = clock_now_ns();
	if (deadline->ns == 0)
		deadline->ns = now + deadline->timeout_ms * NS_PER_MS;
	uint64_t left = now < deadline->ns ? deadline->ns - now : 0;
	return left < limit ? left : limit;
}

/* --- slots --- */

static void give_slot(struct ring_client *c, uint32_t index)
{
	atomic_fetch_or(&c->free[index / 64], UINT64_C(1) << (index % 64));
	if (atomic_load(&c->waiters) > 0) {
		atomic_fetch_add(&c->freed, 1);
		futex_wake(&c->freed, 1, FUTEX_PRIVATE);
	}
}

static int take_bit(_Atomic uint64_t *word)
{
	for (uint64_t bits = atomic_load(word); bits != 0; bits = atomic_load(word)) {
		int bit = __builtin_ctzll(bits);
		uint64_t mask = UINT64_C(1) << bit;
		if ((atomic_fetch_and(word, ~mask) & mask) != 0)
			return bit;
	}
	return -1;
}

static int take_free(struct ring_client *c)
{
	for (int i = 0; i < SLOT_WORDS; i++) {
		int bit = take_bit(&c->free[i]);
		if (bit >= 0)
			return i * 64 + bit;
	}
	return -1;
}

/* Is a call under way in this slot? */
static bool under_way(const struct ring_client *c, uint32_t index)
{
	uint32_t state = atomic_load_explicit(&c->view.slots[index].state, memory_order_acquire);
	return state == RING_POSTED || state == RING_AWAITED;
}

static bool is_zombie(const struct ring_client *c, uint32_t index)
{
	return (atomic_load(&c->zombies[index / 64]) >> (index % 64) & 1) != 0;
}

/* A zombie whose answer has come; there may be none. */
static int take_zombie(struct ring_client *c)
{
	for (uint32_t i = 0; i < c->view.n_slots; i++) {
		uint64_t mask = UINT64_C(1) << (i % 64);
		if (is_zombie(c, i) && !under_way(c, i) &&
		    (atomic_fetch_and(&c->zombies[i / 64], ~mask) & mask) != 0)
			return (int)i;
	}
	return -1;
}

static int try_slot(struct ring_client *c)
{
	int index = take_free(c);
	return index >= 0 ? index : take_zombie(c);
}

/* The slot's number, or -EAGAIN. */
static int take_slot(struct ring_client *c, struct deadline *deadline)
{
	int index = try_slot(c);
	if (index >= 0)
		return index;
	atomic_fetch_add(&c->waiters, 1);
	for (;;) {
		uint32_t freed = atomic_load(&c->freed);
		index = try_slot(c);
		uint64_t left = time_left(deadline, ZOMBIE_LOOK_NS);
		if (index >= 0 || left == 0)
			break;
		futex_wait(&c->freed, freed, left, FUTEX_PRIVATE);
	}
	atomic_fetch_sub(&c->waiters, 1);
	return index >= 0 ? index : -EAGAIN;
}

/* --- calls --- */

static void store(_Atomic uint32_t *word, uint32_t value)
{
	atomic_store_explicit(word, value, memory_order_relaxed);
}

static uint32_t load(const _Atomic uint32_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static void write_addresses(struct ring_slot *slot, const struct ring_request *request)
{
	_Atomic uint64_t *word = slot->payload + request->n_scalars;
	if (request->input_address != 0)
		atomic_store_explicit(word++, request->input_address, memory_order_relaxed);
	if (request->output_address != 0)
		atomic_store_explicit(word, request->output_address, memory_order_relaxed);
}

static void write_request(struct ring_client *c, uint32_t index, const struct ring_request *request)
{
	struct ring_slot *slot = &c->view.slots[index];
	store(&slot->kind, request->kind);
	atomic_store_explicit(&slot->selector, request->selector, memory_order_relaxed);
	atomic_store_explicit(&slot->async, request->async, memory_order_relaxed);
	store(&slot->n_scalars, request->n_scalars);
	store(&slot->n_scalars_out, request->n_scalars_out);
	store(&slot->structure_size, request->structure_size);
	store(&slot->structure_out_max, request->structure_out_max);
	store(&slot->memory, ring_memory_word(request));
	store(&slot->caller_cpu, waiting_here());
	ring_store(slot->payload, request->scalars, request->n_scalars * 8);
	if ((request->input_address | request->output_address) != 0)
		write_addresses(slot, request);
	if (request->structure_size <= RING_BLOCK)
		ring_store(ring_structure(&c->view, index, ring_request_words(request),
					  request->structure_size),
			   request->structure, request->structure_size);
}

void ring_client_set_doorbell(struct ring_client *c, uint32_t worker, int doorbell_fd,
			      uint32_t generation)
{
	atomic_store(&c->doorbells[worker], doorbell_fd);
	atomic_store(&c->doorbell_generations[worker], generation);
}

uint32_t ring_client_generation(const struct ring_client *c)
{
	return atomic_load(&c->view.header->generation);
}

bool ring_client_is_closed(const struct ring_client *c)
{
	return atomic_load(&c->view.header->closed) != 0;
}

static bool has_doorbell(struct ring_client *c, uint32_t worker)
{
	return atomic_load(&c->doorbell_generations[worker]) == ring_client_generation(c) &&
	       atomic_load(&c->doorbells[worker]) >= 0;
}

/* The doorbell of this CPU's worker; the first one's as long as there is no such. */
static int choose_doorbell(struct ring_client *c)
{
	uint32_t workers = load(&c->view.header->workers);
	uint32_t here = waiting_here();
	if (workers < 2 || workers > RING_DOORBELLS || here == 0)
		return atomic_load(&c->doorbells[0]);
	uint32_t worker = (here - 1) % workers;
	bool was_sent = (load(&c->view.header->doorbells) >> worker & 1) != 0;
	if (worker != 0 && was_sent && !has_doorbell(c, worker) && c->look != NULL)
		c->look(c->look_context);
	return atomic_load(&c->doorbells[has_doorbell(c, worker) ? worker : 0]);
}

/* A full doorbell has been rung already. */
static void ring_doorbell(struct ring_client *c)
{
	uint64_t one = 1;
	if (atomic_load(&c->view.header->server_sleeps) == 0)
		return;
	if (atomic_exchange(&c->view.header->server_sleeps, 0) == 0)
		return;
	int doorbell_fd = choose_doorbell(c);
	ssize_t written;
	do
		written = write(doorbell_fd, &one, sizeof(one));
	while (written < 0 && errno == EINTR);
}

/* Only the last store waits: the lines of slot and entry, which the dext had last, come over
 * side by side. The ticket is taken before the first of them, for that orders too. */
static void post(struct ring_client *c, uint32_t index, struct ring_request *request)
{
	struct ring_slot *slot = &c->view.slots[index];
	uint64_t position = atomic_fetch_add(&c->tail, 1);
	struct ring_entry *entry = &c->view.entries[position & (c->view.n_slots - 1)];
	request->slot = index;
	request->sequence = position + 1;
	write_request(c, index, request);
	atomic_store_explicit(&slot->ticket, position + 1, memory_order_relaxed);
	atomic_store_explicit(&slot->state, RING_POSTED, memory_order_release);
	store(&entry->slot, index);
	atomic_store(&entry->ticket, position + 1);
}

static bool has_ended(const void *context)
{
	const struct ring_slot *slot = context;
	return atomic_load_explicit(&slot->state, memory_order_acquire) != RING_POSTED;
}

/* Sleep until the call in this slot ends, at most `ns`; 0 without a cause too. */
static int sleep_over(struct ring_slot *slot, uint64_t ns)
{
	uint32_t state = RING_POSTED;
	if (!atomic_compare_exchange_strong(&slot->state, &state, RING_AWAITED) &&
	    state != RING_AWAITED)
		return 0;
	return futex_wait(&slot->state, RING_AWAITED, ns, FUTEX_SHARED);
}

/* Before sleeping over the call itself: a waker that has the rest of the group before it should not
 * be interrupted for each. Which call that word is of meanwhile does not matter, for it costs no
 * more than GROUP_NS. */
static void wait_for_group(struct ring_client *c, const struct ring_slot *slot,
			   struct deadline *deadline)
{
	struct ring_slot *newest = &c->view.slots[load(&c->newest)];
	if (newest != slot && !has_ended(slot))
		sleep_over(newest, time_left(deadline, GROUP_NS));
}

/* The state that ended the wait; POSTED or AWAITED when the time is over. */
static uint32_t wait_for_end(struct ring_client *c, const struct ring_call *call,
			     struct deadline *deadline)
{
	struct ring_slot *slot = &c->view.slots[call->slot];
	struct waiting_spin spin = { .waiting = &c->waiting, .peer = &c->view.header->server_cpu };
	if (deadline->timeout_ms != 0)
		waiting_spin(&spin, has_ended, slot);
	if (call->more_follow)
		wait_for_group(c, slot, deadline);
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
	while (state == RING_POSTED || state == RING_AWAITED) {
		uint64_t left = time_left(deadline, PEER_LOOK_NS);
		if (left == 0)
			break;
		if (sleep_over(slot, left) < 0 && c->look != NULL)
			c->look(c->look_context);
		state = atomic_load_explicit(&slot->state, memory_order_acquire);
	}
	return state;
}

/* Copy the answer. -EBADMSG: it is larger than was asked for. */
static int read_reply(const struct ring_client *c, const struct ring_call *call,
		      struct ring_reply *reply)
{
	const struct ring_slot *slot = &c->view.slots[call->slot];
	reply->status = (IOReturn)load(&slot->status);
	reply->generation = load(&slot->generation);
	reply->n_scalars = 0;
	reply->structure_size = 0;
	reply->reason[0] = '\0';
	if (reply->status != kIOReturnSuccess) {
		ring_load(reply->reason, slot->payload, RING_PAYLOAD);
		reply->reason[RING_PAYLOAD - 1] = '\0';
		return 0;
	}
	uint32_t n_scalars = load(&slot->n_scalars);
	uint32_t structure_size = load(&slot->structure_size);
	if (n_scalars > call->n_scalars_out ||
	    structure_size > ring_output_limit(call->structure_out_max))
		return -EBADMSG;
	ring_load(reply->scalars, slot->payload, n_scalars * 8);
	if (structure_size <= RING_BLOCK && !ring_output_is_shared(call->structure_out_max))
		ring_load(reply->structure,
			  ring_structure(&c->view, call->slot, n_scalars, structure_size),
			  structure_size);
	reply->n_scalars = n_scalars;
	reply->structure_size = structure_size;
	return 0;
}

static int finish_call(struct ring_client *c, const struct ring_call *call,
		       struct ring_reply *reply, uint32_t state)
{
	int ret = -EBADMSG;
	switch (state) {
	case RING_ANSWERED:
		ret = read_reply(c, call, reply);
		break;
	case RING_ABORTED:
		ret = ring_view_closed(&c->view, reply) ? 0 : -EBADMSG;
		break;
	case RING_STALE:
		reply->generation = load(&c->view.slots[call->slot].generation);
		ret = -ESTALE;
		break;
	case RING_POSTED:
	case RING_AWAITED:
		ring_client_leave(c, call);
		return -ETIMEDOUT;
	default:
		break;
	}
	give_slot(c, call->slot);
	return ret;
}

static bool is_valid(const struct ring_request *request)
{
	return request->n_scalars <= RING_SCALARS && request->n_scalars_out <= RING_SCALARS &&
	       request->buffer <= RING_BUFFERS && request->n_regions <= UINT16_MAX &&
	       ring_sizes_are_valid(request);
}

/* Into a slot that is the caller's. True: the dext may have to be woken. False: the ring was closed
 * meanwhile, which has ended the call. */
static bool enter(struct ring_client *c, uint32_t index, struct ring_request *request,
		  struct ring_call *call)
{
	post(c, index, request);
	*call = (struct ring_call){
		.slot = index,
		.n_scalars_out = request->n_scalars_out,
		.structure_out_max = request->structure_out_max,
	};
	if (atomic_load(&c->view.header->closed) == 0)
		return true;
	ring_slot_end(&c->view.slots[index], RING_ABORTED);
	return false;
}

int ring_client_call(struct ring_client *c, struct ring_request *request, struct ring_reply *reply,
		     uint32_t timeout_ms)
{
	struct deadline deadline = { .timeout_ms = timeout_ms };
	struct ring_call call;
	if (!is_valid(request))
		return -EINVAL;
	if (ring_view_closed(&c->view, reply))
		return -ECONNRESET;
	int index = take_slot(c, &deadline);
	if (index < 0)
		return index;
	if (enter(c, (uint32_t)index, request, &call))
		ring_doorbell(c);
	return finish_call(c, &call, reply, wait_for_end(c, &call, &deadline));
}

/* --- calls that are submitted now and waited for later --- */

int ring_client_submit(struct ring_client *c, struct ring_request *request, bool more_follow,
		       struct ring_call *call, struct ring_reply *reply)
{
	if (!is_valid(request))
		return -EINVAL;
	if (ring_view_closed(&c->view, reply))
		return -ECONNRESET;
	int index = try_slot(c);
	if (index < 0)
		return -EAGAIN;
	enter(c, (uint32_t)index, request, call);
	call->more_follow = more_follow;
	store(&c->newest, call->slot);
	return 0;
}

void ring_client_flush(struct ring_client *c)
{
	ring_doorbell(c);
}

int ring_client_take(struct ring_client *c, const struct ring_call *call, struct ring_reply *reply,
		     uint64_t deadline_ns)
{
	struct deadline deadline = { .timeout_ms = 1, .ns = deadline_ns };
	if (under_way(c, call->slot))
		ring_doorbell(c);
	return finish_call(c, call, reply, wait_for_end(c, call, &deadline));
}

void ring_client_leave(struct ring_client *c, const struct ring_call *call)
{
	atomic_fetch_or(&c->zombies[call->slot / 64], UINT64_C(1) << (call->slot % 64));
}

/* --- events --- */

int ring_client_look_event(struct ring_client *c, uint32_t ahead, struct ring_event *event)
{
	uint64_t position = c->event_head + ahead;
	const struct ring_event_slot *slot = &c->view.events[position & (c->view.n_events - 1)];
	uint64_t sequence = atomic_load_explicit(&slot->sequence, memory_order_acquire);
	if (sequence == ring_stale(position, c->view.n_events))
		return 0;
	uint32_t n_scalars = load(&slot->n_scalars);
	if (sequence != position + 1 || n_scalars > RING_SCALARS)
		return -EBADMSG;
	event->async = atomic_load_explicit(&slot->async, memory_order_relaxed);
	event->status = (IOReturn)load(&slot->status);
	event->n_scalars = n_scalars;
	ring_load(event->scalars, slot->payload, n_scalars * 8);
	return 1;
}

void ring_client_take_events(struct ring_client *c, uint32_t n)
{
	c->event_head += n;
	atomic_store_explicit(&c->view.header->event_head, c->event_head, memory_order_release);
}

int ring_client_next_event(struct ring_client *c, struct ring_event *event)
{
	int ret = ring_client_look_event(c, 0, event);
	if (ret == 1)
		ring_client_take_events(c, 1);
	return ret;
}

bool ring_client_event_sleep(struct ring_client *c)
{
	const struct ring_event_slot *slot =
		&c->view.events[c->event_head & (c->view.n_events - 1)];
	atomic_store(&c->view.header->client_sleeps, 1);
	if (atomic_load(&slot->sequence) == ring_stale(c->event_head, c->view.n_events))
		return true;
	atomic_store(&c->view.header->client_sleeps, 0);
	return false;
}
