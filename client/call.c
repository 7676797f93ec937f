/* SPDX-License-Identifier: Apache-2.0 */

/*
 * External methods: arguments are checked here too, so that a mistake is named in the application's
 * own terms and costs the driver nothing.
 *
 * A structure above RING_BLOCK bytes travels in a buffer that the driver has mapped too, unless it
 * lies in such memory already (dext_buffer_create). A call whose time was over leaves its buffer
 * for good: the driver may still write to it.
 */

#include <errno.h>
#include <string.h>

#include <base/reason.h>
#include <client/async.h>
#include <client/buffer.h>
#include <client/call.h>
#include <client/connection.h>
#include <client/output.h>
#include <client/port.h>
#include <client/region.h>
#include <opendext/client.h>

/* --- submit --- */

/* The call was answered, by the driver or by the end of the connection. */
static kern_return_t answered(const struct ring_reply *reply)
{
	if (reply->status == kIOReturnSuccess)
		return kIOReturnSuccess;
	if (reply->reason[0] != '\0')
		reason_set(reply->reason);
	else
		refuse(reply->status, "the driver gave no reason");
	return reply->status;
}

static kern_return_t give_up(struct connection *c)
{
	ring_abort(c->memory_fd, kIOReturnIPCError, "the connection's shared memory is corrupt");
	return refuse(kIOReturnIPCError, "the driver sent a malformed reply: the connection ends");
}

kern_return_t call_result(struct connection *c, int ret, const struct ring_reply *reply,
			  uint32_t timeout_ms)
{
	switch (ret) {
	case 0:
		return answered(reply);
	case -ETIMEDOUT:
		return refuse(kIOReturnTimeout,
			      "the driver did not answer within %u ms; it may still do what was "
			      "asked. OPENDEXT_CALL_TIMEOUT_MS sets the limit",
			      timeout_ms);
	case -EAGAIN:
		return refuse(kIOReturnNoResources,
			      "all %u calls that a connection carries at once were under way for "
			      "%u ms",
			      RING_SLOTS, timeout_ms);
	case -ESTALE:
		return refuse(kIOReturnAborted,
			      "the driver died before it executed this call, and the memory that "
			      "it relies on was not shared with the new one");
	case -ECONNRESET:
		return refuse(kIOReturnOffline, "the connection has ended: %s", reply->reason);
	case -EBADMSG:
		return give_up(c);
	default:
		return refuse(return_from_errno(ret), "the call failed: %s", strerror(-ret));
	}
}

kern_return_t connection_call(struct connection *c, struct ring_request *request,
			      struct ring_reply *reply)
{
	uint32_t timeout_ms = dext_call_timeout_get();
	int ret = ring_client_call(c->ring, request, reply, timeout_ms);
	reply->stale = ret == -ESTALE;
	return call_result(c, ret, reply, timeout_ms);
}

/* --- arguments --- */

bool call_takes_any_size(const struct call_arguments *a)
{
	return a->output_size != NULL && *a->output_size == (size_t)kIOConnectMethodVarOutputSize;
}

kern_return_t call_check_input(const struct call_arguments *a)
{
	if (a->n_input > RING_SCALARS)
		return refuse(kIOReturnBadArgument, "%u input scalars: at most %u", a->n_input,
			      RING_SCALARS);
	if (a->input_size > RING_STRUCTURE_MAX)
		return refuse(kIOReturnMessageTooLarge,
			      "an input structure of %zu bytes: at most %u", a->input_size,
			      RING_STRUCTURE_MAX);
	if ((a->n_input > 0 && a->input == NULL) || (a->input_size > 0 && a->input_struct == NULL))
		return refuse(kIOReturnBadArgument, "an input is NULL, but its size is not 0");
	return kIOReturnSuccess;
}

static kern_return_t check_scalar_room(const struct call_arguments *a)
{
	if (a->n_output != NULL && *a->n_output > RING_SCALARS)
		return refuse(kIOReturnBadArgument, "room for %u output scalars: at most %u",
			      *a->n_output, RING_SCALARS);
	return kIOReturnSuccess;
}

kern_return_t call_check_room(const struct call_arguments *a)
{
	kern_return_t status = check_scalar_room(a);
	if (status != kIOReturnSuccess)
		return status;
	if (call_takes_any_size(a))
		return refuse(kIOReturnUnsupported,
			      "a result of kIOConnectMethodVarOutputSize: only a call that waits "
			      "for it can be given one");
	if (a->output_size != NULL && *a->output_size > RING_STRUCTURE_MAX)
		return refuse(kIOReturnMessageTooLarge,
			      "room for an output structure of %zu bytes: at most %u",
			      *a->output_size, RING_STRUCTURE_MAX);
	return kIOReturnSuccess;
}

kern_return_t call_check_output(const struct call_arguments *a)
{
	uint32_t n_output = a->n_output != NULL ? *a->n_output : 0;
	size_t size = a->output_size != NULL ? *a->output_size : 0;
	if ((n_output > 0 && a->output == NULL) || (size > 0 && a->output_struct == NULL))
		return refuse(kIOReturnBadArgument, "an output is NULL, but its size is not 0");
	return kIOReturnSuccess;
}

void call_fill(struct ring_request *request, uint32_t selector, uint64_t async,
	       const struct call_arguments *a)
{
	request->kind = RING_CALL;
	request->selector = selector;
	request->async = async;
	request->n_scalars = a->n_input;
	request->n_scalars_out = a->n_output != NULL ? *a->n_output : 0;
	request->structure_size = (uint32_t)a->input_size;
	request->structure_out_max = a->output_size != NULL ? (uint32_t)*a->output_size : 0;
	if (call_takes_any_size(a))
		request->structure_out_max = RING_VARIABLE;
	request->buffer = 0;
	request->input_address = 0;
	request->output_address = 0;
	if (a->n_input > 0)
		memcpy(request->scalars, a->input, a->n_input * sizeof(uint64_t));
	if (a->input_size > 0 && a->input_size <= RING_BLOCK)
		memcpy(request->structure, a->input_struct, a->input_size);
}

static void store_values(const struct call_arguments *a, const struct ring_reply *reply)
{
	if (a->n_output != NULL) {
		if (reply->n_scalars > 0)
			memcpy(a->output, reply->scalars, reply->n_scalars * sizeof(uint64_t));
		*a->n_output = reply->n_scalars;
	}
	if (a->output_size != NULL)
		*a->output_size = reply->structure_size;
}

/* The reply fits: ring_client_call held it against the request. */
void call_store(const struct call_arguments *a, const struct ring_reply *reply,
		const void *structure)
{
	if (reply->structure_size > 0)
		memcpy(a->output_struct, structure, reply->structure_size);
	store_values(a, reply);
}

uint64_t call_buffer_size(const struct ring_request *request)
{
	uint32_t input = ring_buffered_input(request);
	if (ring_output_is_shared(request->structure_out_max) && request->output_address == 0)
		return ring_output_offset(input) + request->structure_out_max;
	return input > RING_BLOCK ? input : 0;
}

void call_use_buffer(struct ring_request *request, struct buffer *buffer,
		     const struct call_arguments *a)
{
	request->buffer = 1 + buffer->number;
	if (ring_buffered_input(request) > RING_BLOCK)
		memcpy(buffer->bytes, a->input_struct, a->input_size);
}

const void *call_output(const struct ring_reply *reply, const struct buffer *buffer,
			uint32_t structure_out_max, uint32_t structure_size)
{
	if (!ring_output_is_shared(structure_out_max))
		return reply->structure;
	return buffer->bytes + ring_output_offset(structure_size);
}

/* The reply of a call that succeeded. */
static kern_return_t take_reply(struct connection *c, const struct ring_request *request,
				const struct ring_reply *reply, const struct buffer *buffer,
				const struct call_arguments *a)
{
	if (request->output_address != 0) {
		store_values(a, reply);
		return kIOReturnSuccess;
	}
	if (request->structure_out_max != RING_VARIABLE) {
		call_store(a, reply,
			   call_output(reply, buffer, request->structure_out_max,
				       ring_buffered_input(request)));
		return kIOReturnSuccess;
	}
	void **address = a->output_struct;
	kern_return_t status = output_new(c, request->sequence, reply, address);
	if (status == kIOReturnSuccess)
		store_values(a, reply);
	return status;
}

/* A result that comes late is not waited for. */
static kern_return_t call_once(struct connection *c, struct ring_request *request,
			       const struct buffer *buffer, const struct call_arguments *a,
			       struct ring_reply *reply)
{
	kern_return_t status = connection_call(c, request, reply);
	if (status == kIOReturnSuccess)
		status = take_reply(c, request, reply, buffer, a);
	else if (status == kIOReturnTimeout && request->structure_out_max == RING_VARIABLE)
		connection_forsake_descriptor(c, request->sequence);
	return status;
}

static kern_return_t try_with_buffer(struct connection *c, struct ring_request *request,
				     uint64_t size, const struct call_arguments *a,
				     struct ring_reply *reply)
{
	struct buffer *buffer;
	kern_return_t status = buffer_take(c, size, &buffer);
	if (status != kIOReturnSuccess)
		return status;
	call_use_buffer(request, buffer, a);
	status = call_once(c, request, buffer, a, reply);
	buffer_give(c, buffer, status == kIOReturnTimeout);
	return status;
}

static kern_return_t try_call(struct connection *c, struct ring_request *request, uint64_t size,
			      const struct call_arguments *a, struct ring_reply *reply)
{
	reply->stale = false;
	kern_return_t status = connection_check_regions(c, &request->n_regions);
	if (status != kIOReturnSuccess)
		return status;
	return size > 0 ? try_with_buffer(c, request, size, a, reply)
			: call_once(c, request, NULL, a, reply);
}

static bool overlap(const struct call_arguments *a)
{
	uintptr_t in = (uintptr_t)a->input_struct, out = (uintptr_t)a->output_struct;
	return in < out + *a->output_size && out < in + a->input_size;
}

/* A large structure that lies in memory which the driver has mapped is left there: but not if the
 * method would write where it reads. */
static void use_regions(struct connection *c, struct ring_request *request,
			const struct call_arguments *a)
{
	bool in = request->structure_size > RING_BLOCK;
	bool out = ring_output_is_shared(request->structure_out_max);
	if ((!in && !out) || !connection_has_regions(c) || (in && out && overlap(a)))
		return;
	if (in && connection_has_region(c, a->input_struct, a->input_size))
		request->input_address = (uint64_t)(uintptr_t)a->input_struct;
	if (out && connection_has_region(c, a->output_struct, *a->output_size))
		request->output_address = (uint64_t)(uintptr_t)a->output_struct;
}

/* async: 0, or the number of the asynchronous call. *generation: of the driver that answered. A
 * driver that died before it executed the call had the memory that this relies on, and the next one
 * has not: then all over again. */
static kern_return_t call(struct connection *c, uint32_t selector, uint64_t async,
			  const struct call_arguments *a, uint32_t *generation)
{
	struct ring_request request;
	struct ring_reply reply;
	call_fill(&request, selector, async, a);
	use_regions(c, &request, a);
	uint64_t size = call_buffer_size(&request);
	kern_return_t status;
	unsigned tries = 0;
	do
		status = try_call(c, &request, size, a, &reply);
	while (reply.stale && ++tries < BUFFER_TRIES);
	if (status == kIOReturnSuccess)
		*generation = reply.generation;
	return status;
}

static kern_return_t check(const struct call_arguments *a, bool waits)
{
	kern_return_t status = call_check_input(a);
	if (status == kIOReturnSuccess)
		status =
			waits && call_takes_any_size(a) ? check_scalar_room(a) : call_check_room(a);
	return status == kIOReturnSuccess ? call_check_output(a) : status;
}

static kern_return_t call_sync(io_connect_t connection, uint32_t selector,
			       const struct call_arguments *a)
{
	reason_clear();
	kern_return_t status = check(a, true);
	if (status != kIOReturnSuccess)
		return status;
	struct connection *c = connection_borrow(connection);
	if (c == NULL)
		return kIOReturnBadArgument;
	uint32_t generation;
	status = call(c, selector, 0, a, &generation);
	connection_return(c);
	return status;
}

/* --- asynchronous calls --- */

static kern_return_t begin(struct connection *c, mach_port_t wakePort, const uint64_t *reference,
			   struct async_call **call)
{
	struct object *object = handle_get(wakePort, OBJECT_PORT);
	if (object == NULL)
		return kIOReturnBadArgument;
	struct IONotificationPort *port = container_of(object, struct IONotificationPort, object);
	kern_return_t status = connection_join_port(c, port);
	if (status == kIOReturnSuccess)
		status = async_begin(c, port, reference[kIOAsyncCalloutFuncIndex],
				     reference[kIOAsyncCalloutRefconIndex], call);
	object_unref(object);
	return status;
}

/* The call came back. One that has completed meanwhile was accepted, whatever became of it then. */
static kern_return_t settle(struct connection *c, struct async_call *begun,
			    const struct call_arguments *a, kern_return_t status,
			    uint32_t generation)
{
	static const struct ring_reply nothing;
	if (status == kIOReturnSuccess) {
		async_accepted(c, begun, generation);
	} else if (!async_refused(c, begun)) {
		reason_clear();
		call_store(a, &nothing, NULL);
		status = kIOReturnSuccess;
	}
	return status;
}

/* A reference may name a callback, or serve only to make the call asynchronous. */
static kern_return_t check_reference(const uint64_t *reference, uint32_t n)
{
	if (reference != NULL && n < 1)
		return refuse(kIOReturnBadArgument, "a reference of no words");
	if (n > kIOAsyncReferenceCountMax)
		return refuse(kIOReturnBadArgument, "a reference of %u words: at most %u", n,
			      (unsigned)kIOAsyncReferenceCountMax);
	if (reference != NULL && n >= kIOAsyncCalloutCount &&
	    reference[kIOAsyncCalloutFuncIndex] == 0)
		return refuse(kIOReturnBadArgument, "the reference has no callback");
	return kIOReturnSuccess;
}

static kern_return_t call_async(io_connect_t connection, uint32_t selector, mach_port_t wakePort,
				const uint64_t *reference, uint32_t referenceCnt,
				const struct call_arguments *a)
{
	struct async_call *begun;
	reason_clear();
	static const uint64_t dummy[kIOAsyncCalloutCount];
	kern_return_t status = check_reference(reference, referenceCnt);
	if (status == kIOReturnSuccess)
		status = check(a, false);
	if (reference == NULL || referenceCnt < kIOAsyncCalloutCount)
		reference = dummy;
	if (status != kIOReturnSuccess)
		return status;
	struct connection *c = connection_borrow(connection);
	if (c == NULL)
		return kIOReturnBadArgument;
	status = begin(c, wakePort, reference, &begun);
	uint32_t generation = 0;
	if (status == kIOReturnSuccess) {
		status = call(c, selector, async_number(begun), a, &generation);
		status = settle(c, begun, a, status, generation);
	}
	connection_return(c);
	return status;
}

/* --- the public forms --- */

kern_return_t IOConnectCallMethod(io_connect_t connection, uint32_t selector, const uint64_t *input,
				  uint32_t inputCnt, const void *inputStruct, size_t inputStructCnt,
				  uint64_t *output, uint32_t *outputCnt, void *outputStruct,
				  size_t *outputStructCnt)
{
	return call_sync(connection, selector,
			 &(struct call_arguments){ input, inputCnt, inputStruct, inputStructCnt,
						   output, outputCnt, outputStruct,
						   outputStructCnt });
}

kern_return_t IOConnectCallScalarMethod(io_connect_t connection, uint32_t selector,
					const uint64_t *input, uint32_t inputCnt, uint64_t *output,
					uint32_t *outputCnt)
{
	return call_sync(connection, selector,
			 &(struct call_arguments){ .input = input,
						   .n_input = inputCnt,
						   .output = output,
						   .n_output = outputCnt });
}

kern_return_t IOConnectCallStructMethod(io_connect_t connection, uint32_t selector,
					const void *inputStruct, size_t inputStructCnt,
					void *outputStruct, size_t *outputStructCnt)
{
	return call_sync(connection, selector,
			 &(struct call_arguments){ .input_struct = inputStruct,
						   .input_size = inputStructCnt,
						   .output_struct = outputStruct,
						   .output_size = outputStructCnt });
}

kern_return_t IOConnectCallAsyncMethod(io_connect_t connection, uint32_t selector,
				       mach_port_t wakePort, uint64_t *reference,
				       uint32_t referenceCnt, const uint64_t *input,
				       uint32_t inputCnt, const void *inputStruct,
				       size_t inputStructCnt, uint64_t *output, uint32_t *outputCnt,
				       void *outputStruct, size_t *outputStructCnt)
{
	return call_async(connection, selector, wakePort, reference, referenceCnt,
			  &(struct call_arguments){ input, inputCnt, inputStruct, inputStructCnt,
						    output, outputCnt, outputStruct,
						    outputStructCnt });
}

kern_return_t IOConnectCallAsyncScalarMethod(io_connect_t connection, uint32_t selector,
					     mach_port_t wakePort, uint64_t *reference,
					     uint32_t referenceCnt, const uint64_t *input,
					     uint32_t inputCnt, uint64_t *output,
					     uint32_t *outputCnt)
{
	return call_async(connection, selector, wakePort, reference, referenceCnt,
			  &(struct call_arguments){ .input = input,
						    .n_input = inputCnt,
						    .output = output,
						    .n_output = outputCnt });
}

kern_return_t IOConnectCallAsyncStructMethod(io_connect_t connection, uint32_t selector,
					     mach_port_t wakePort, uint64_t *reference,
					     uint32_t referenceCnt, const void *inputStruct,
					     size_t inputStructCnt, void *outputStruct,
					     size_t *outputStructCnt)
{
	return call_async(connection, selector, wakePort, reference, referenceCnt,
			  &(struct call_arguments){ .input_struct = inputStruct,
						    .input_size = inputStructCnt,
						    .output_struct = outputStruct,
						    .output_size = outputStructCnt });
}
