/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the forms of a call share: one that waits (call.c), and one that is submitted now and waited
 * for later (submission.c). Any thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <wire/ring.h>

struct buffer;
struct connection;

/* What the caller of a method passed. */
struct call_arguments {
	const uint64_t *input;
	uint32_t n_input;
	const void *input_struct;
	size_t input_size;
	uint64_t *output;
	uint32_t *n_output; // may be NULL: none
	void *output_struct;
	size_t *output_size; // may be NULL: none; kIOConnectMethodVarOutputSize: any
};

/* Is the result's size the driver's to choose? Then output_struct is where its address goes. */
bool call_takes_any_size(const struct call_arguments *a);

/* Each fails with a reason. The room: is it told, and not too large? The output: is it there? */
kern_return_t call_check_input(const struct call_arguments *a);
kern_return_t call_check_room(const struct call_arguments *a);
kern_return_t call_check_output(const struct call_arguments *a);

/* async: 0, or the number of the asynchronous call. What is larger than a block is not copied. */
void call_fill(struct ring_request *request, uint32_t selector, uint64_t async,
	       const struct call_arguments *a);
/* What a buffer has to hold for the request: 0: it needs none. */
uint64_t call_buffer_size(const struct ring_request *request);
/* Have the structures in `buffer`, and copy the input there if it is that large. */
void call_use_buffer(struct ring_request *request, struct buffer *buffer,
		     const struct call_arguments *a);
/* Where the reply's structure lies, given the request's numbers. */
const void *call_output(const struct ring_reply *reply, const struct buffer *buffer,
			uint32_t structure_out_max, uint32_t structure_size);
/* The reply of a call that succeeded. It fits: the ring held it against the request. */
void call_store(const struct call_arguments *a, const struct ring_reply *reply,
		const void *structure);

/* What the ring's side of a call returned, as a status with a reason. */
kern_return_t call_result(struct connection *c, int ret, const struct ring_reply *reply,
			  uint32_t timeout_ms);
