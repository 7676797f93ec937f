/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Calls that are submitted now and waited for later, so that one thread can have many under way.
 *
 * To the driver they are calls like any other: a slot of the ring each, in the order of their
 * submission. What is kept here is what the wait needs. A connection has a fixed number of places
 * for that, made with its first submission; they are fewer than the ring has slots, and never all
 * the buffers, so that a thread's own submitted calls cannot keep its synchronous ones out.
 *
 * A call's number is its connection's, its place, and how often the place was used before. The
 * word of a place says the same with a state, and every change of it is a compare-and-swap: of two
 * who wait for one call, one has it, and the number of a call that is over is refused.
 *
 * Who is woken. A doorbell wakes the driver, which on one CPU preempts the submitter: four calls
 * with four doorbells are four turns of the driver. With DEXT_CALL_MORE the calls lie in the ring
 * until the last one's doorbell, the driver takes them all in one turn, and when the submitter goes
 * on it finds all the answers: a pair of switches for as many calls as the ring holds.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <base/reason.h>
#include <client/buffer.h>
#include <client/call.h>
#include <client/connection.h>
#include <client/region.h>
#include <client/submission.h>
#include <opendext/client.h>

_Static_assert(DEXT_CALLS_MAX < RING_SLOTS, "synchronous calls have slots of their own");

enum place_state { PLACE_FREE, PLACE_UNDER_WAY, PLACE_CLAIMED };

#define AGE_MASK ((1U << 24) - 1) // of a call's number, above eight bits of place

struct submission {
	_Atomic uint32_t word; // enum place_state in the low two bits, the place's age above
	struct ring_call call;
	uint32_t input_size;
	uint32_t timeout_ms;
	uint64_t deadline_ns;
	struct buffer *buffer; // taken; NULL: the structures fit blocks of the ring
};

struct submissions {
	_Atomic uint32_t free; // bit: the place is nobody's
	struct submission all[DEXT_CALLS_MAX];
};

_Static_assert(DEXT_CALLS_MAX < 32, "a bit per place");

void submissions_free(struct submissions *submissions)
{
	free(submissions);
}

/* --- places --- */

static uint32_t word_of(uint32_t age, enum place_state state)
{
	return (age & AGE_MASK) << 2 | (uint32_t)state;
}

static uint32_t age_of(const struct submission *s)
{
	return atomic_load_explicit(&s->word, memory_order_relaxed) >> 2;
}

static struct submissions *get_places(struct connection *c)
{
	struct submissions *places = atomic_load_explicit(&c->submissions, memory_order_acquire);
	if (places != NULL)
		return places;
	struct submissions *made = calloc(1, sizeof(*made));
	if (made == NULL)
		return NULL;
	atomic_init(&made->free, (1U << DEXT_CALLS_MAX) - 1);
	if (atomic_compare_exchange_strong(&c->submissions, &places, made))
		return made;
	free(made); // another thread's was first
	return places;
}

static kern_return_t take_place(struct connection *c, struct submission **out)
{
	struct submissions *places = get_places(c);
	if (places == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	uint32_t bits = atomic_load(&places->free);
	while (bits != 0) {
		uint32_t place = (uint32_t)__builtin_ctz(bits);
		if (atomic_compare_exchange_weak(&places->free, &bits, bits & ~(1U << place))) {
			*out = &places->all[place];
			return kIOReturnSuccess;
		}
	}
	return refuse(kIOReturnNoResources,
		      "%u calls are submitted on this connection: wait for one, or give one up",
		      DEXT_CALLS_MAX);
}

static uint32_t place_of(const struct connection *c, const struct submission *s)
{
	return (uint32_t)(s - c->submissions->all);
}

static void give_place(struct connection *c, struct submission *s)
{
	atomic_store_explicit(&s->word, word_of(age_of(s) + 1, PLACE_FREE), memory_order_release);
	atomic_fetch_or(&c->submissions->free, 1U << place_of(c, s));
}

/* --- submit --- */

static kern_return_t take_buffer(struct connection *c, struct submission *s,
				 struct ring_request *request, const struct call_arguments *a)
{
	uint64_t size = call_buffer_size(request);
	if (size == 0)
		return kIOReturnSuccess;
	kern_return_t status = buffer_try(c, size, &s->buffer);
	if (status == kIOReturnSuccess)
		call_use_buffer(request, s->buffer, a);
	return status;
}

static kern_return_t post(struct connection *c, struct submission *s, struct ring_request *request,
			  bool more_follow)
{
	struct ring_reply reply;
	int ret = ring_client_submit(c->ring, request, more_follow, &s->call, &reply);
	if (ret == -EAGAIN)
		return refuse(kIOReturnNoResources,
			      "all %u calls that a connection carries at once are under way",
			      RING_SLOTS);
	return ret == 0 ? kIOReturnSuccess : call_result(c, ret, &reply, s->timeout_ms);
}

static kern_return_t submit(struct connection *c, uint32_t selector, const struct call_arguments *a,
			    bool more_follow, struct submission *s)
{
	struct ring_request request;
	call_fill(&request, selector, 0, a);
	s->input_size = ring_buffered_input(&request);
	s->buffer = NULL;
	s->timeout_ms = dext_call_timeout_get();
	s->deadline_ns = clock_coarse_deadline_ns(s->timeout_ms);
	kern_return_t status = connection_check_regions(c, &request.n_regions);
	if (status == kIOReturnSuccess)
		status = take_buffer(c, s, &request, a);
	if (status != kIOReturnSuccess)
		return status;
	status = post(c, s, &request, more_follow);
	if (status != kIOReturnSuccess && s->buffer != NULL)
		buffer_give(c, s->buffer, false);
	return status;
}

static kern_return_t submit_on(struct connection *c, io_connect_t connect, uint32_t selector,
			       const struct call_arguments *a, uint32_t options, dext_call_t *call)
{
	struct submission *s = NULL;
	kern_return_t status = take_place(c, &s);
	if (status != kIOReturnSuccess)
		return status;
	status = submit(c, selector, a, (options & DEXT_CALL_MORE) != 0, s);
	if (status != kIOReturnSuccess) {
		give_place(c, s);
		return status;
	}
	uint32_t age = age_of(s);
	*call = (uint64_t)connect << 32 | age << 8 | place_of(c, s);
	atomic_store_explicit(&s->word, word_of(age, PLACE_UNDER_WAY), memory_order_release);
	return status;
}

kern_return_t dext_call_submit(io_connect_t connect, uint32_t selector, const uint64_t *input,
			       uint32_t inputCnt, const void *inputStruct, size_t inputStructCnt,
			       uint32_t outputCnt, size_t outputStructCnt, uint32_t options,
			       dext_call_t *call)
{
	const struct call_arguments a = {
		.input = input,
		.n_input = inputCnt,
		.input_struct = inputStruct,
		.input_size = inputStructCnt,
		.n_output = &outputCnt,
		.output_size = &outputStructCnt,
	};
	reason_clear();
	if (call == NULL || (options & ~DEXT_CALL_MORE) != 0)
		return refuse(kIOReturnBadArgument, "call is NULL, or an option is unknown");
	kern_return_t status = call_check_input(&a);
	if (status == kIOReturnSuccess)
		status = call_check_room(&a);
	if (status != kIOReturnSuccess)
		return status;
	struct connection *c = connection_borrow(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	status = submit_on(c, connect, selector, &a, options, call);
	if (status == kIOReturnSuccess && (options & DEXT_CALL_MORE) == 0)
		ring_client_flush(c->ring);
	connection_return(c);
	return status;
}

kern_return_t dext_call_flush(io_connect_t connect)
{
	reason_clear();
	struct connection *c = connection_borrow(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	ring_client_flush(c->ring);
	connection_return(c);
	return kIOReturnSuccess;
}

/* --- the end of one --- */

static struct submission *find(const struct connection *c, dext_call_t call)
{
	uint32_t place = call & 0xff;
	struct submissions *places = atomic_load_explicit(&c->submissions, memory_order_acquire);
	return places != NULL && place < DEXT_CALLS_MAX ? &places->all[place] : NULL;
}

/* From now on the call is this thread's alone. On success `c` is returned too. */
static kern_return_t claim(dext_call_t call, struct connection **out, struct submission **claimed)
{
	struct connection *c = connection_borrow((io_connect_t)(call >> 32));
	if (c == NULL)
		return kIOReturnBadArgument;
	struct submission *s = find(c, call);
	uint32_t age = (uint32_t)call >> 8;
	uint32_t word = word_of(age, PLACE_UNDER_WAY);
	if (s != NULL &&
	    atomic_compare_exchange_strong(&s->word, &word, word_of(age, PLACE_CLAIMED))) {
		*out = c;
		*claimed = s;
		return kIOReturnSuccess;
	}
	connection_return(c);
	if (s != NULL && word == word_of(age, PLACE_CLAIMED))
		return refuse(kIOReturnBusy, "another thread waits for this call");
	return refuse(kIOReturnBadArgument,
		      "0x%016llx is no call that is under way: it was waited for before, or given "
		      "up",
		      (unsigned long long)call);
}

/* The wait has at least the room that the driver was promised. */
static kern_return_t check_room(const struct submission *s, const struct call_arguments *a)
{
	uint32_t n_output = a->n_output != NULL ? *a->n_output : 0;
	size_t size = a->output_size != NULL ? *a->output_size : 0;
	if (call_takes_any_size(a))
		return refuse(kIOReturnBadArgument,
			      "kIOConnectMethodVarOutputSize: the call was submitted with room "
			      "for %u bytes",
			      s->call.structure_out_max);
	if (n_output < s->call.n_scalars_out || size < s->call.structure_out_max)
		return refuse(kIOReturnBadArgument,
			      "room for %u scalars and %zu bytes of structure: the call was "
			      "submitted with room for %u and %u",
			      n_output, size, s->call.n_scalars_out, s->call.structure_out_max);
	return call_check_output(a);
}

static void give_up(struct connection *c, struct submission *s)
{
	ring_client_leave(c->ring, &s->call);
	if (s->buffer != NULL)
		buffer_give(c, s->buffer, true);
	give_place(c, s);
}

static kern_return_t take(struct connection *c, struct submission *s,
			  const struct call_arguments *a)
{
	struct ring_reply reply;
	int ret = ring_client_take(c->ring, &s->call, &reply, s->deadline_ns);
	kern_return_t status = call_result(c, ret, &reply, s->timeout_ms);
	if (status == kIOReturnSuccess)
		call_store(
			a, &reply,
			call_output(&reply, s->buffer, s->call.structure_out_max, s->input_size));
	if (s->buffer != NULL)
		buffer_give(c, s->buffer, status == kIOReturnTimeout);
	give_place(c, s);
	return status;
}

kern_return_t dext_call_wait(dext_call_t call, uint64_t *output, uint32_t *outputCnt,
			     void *outputStruct, size_t *outputStructCnt)
{
	const struct call_arguments a = {
		.output = output,
		.n_output = outputCnt,
		.output_struct = outputStruct,
		.output_size = outputStructCnt,
	};
	struct connection *c = NULL;
	struct submission *s = NULL;
	reason_clear();
	kern_return_t status = claim(call, &c, &s);
	if (status != kIOReturnSuccess)
		return status;
	status = check_room(s, &a);
	if (status == kIOReturnSuccess)
		status = take(c, s, &a);
	else
		give_up(c, s);
	connection_return(c);
	return status;
}

kern_return_t dext_call_abandon(dext_call_t call)
{
	struct connection *c = NULL;
	struct submission *s = NULL;
	reason_clear();
	kern_return_t status = claim(call, &c, &s);
	if (status != kIOReturnSuccess)
		return status;
	give_up(c, s);
	connection_return(c);
	return kIOReturnSuccess;
}
