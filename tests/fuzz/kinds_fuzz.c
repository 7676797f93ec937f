/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What iig's decoders make of bytes that no encoder wrote: a message of every kind of parameter
 * (kinds.iig). The first byte chooses a method, and request or reply; the second how many
 * descriptors come along; the rest is the body.
 *
 * What decodes must encode to the same bytes again, and hold what it took exactly once: each
 * message has one form, and a structure's padding is no part of it.
 */

#include "kinds.h"
#include "message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct OSMethodShape *const shapes[] = {
	&Kinds_Numbers_Shape,    &Kinds_Structures_Shape, &Kinds_Arrays_Shape,
	&Kinds_ArraysBack_Shape, &Kinds_Objects_Shape,    &Kinds_Descriptors_Shape,
	&Kinds_Tell_Shape,
};

#define N_SHAPES (sizeof(shapes) / sizeof(shapes[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size >= 2)
		message_decode(shapes[(data[0] >> 1) % N_SHAPES], data, size);
	return 0;
}
