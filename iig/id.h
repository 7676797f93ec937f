/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Method ids: the first 64 bits of SHA-256 over a text that is the same on every architecture and
 * changes whenever the method's meaning on the wire does: class, name, and the types of parameters
 * and result, with typedefs and structures expanded.
 */

#include <iig/tree.h>

/* "IOService::SetName(char[128])i32" */
const char *canonical_method(struct arena *arena, const struct method *method);

/* The parameters and the result alone: what two methods must share to have the same signature. */
const char *canonical_signature(struct arena *arena, const struct method *method);

uint64_t method_id(struct arena *arena, const struct method *method);

struct method_id {
	uint64_t id;
	const struct method *method;
};

/* Sort by id; true if two are equal, which then stand at *at and *at + 1. */
bool ids_collide(struct method_id *ids, size_t n_ids, size_t *at);
