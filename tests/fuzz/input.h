/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The input of a target that reads it as steps. Behind its end there are zeroes. */

#include <stddef.h>
#include <stdint.h>

static struct {
	const uint8_t *data; // borrowed
	size_t size;
} input;

static inline uint8_t take(void)
{
	if (input.size == 0)
		return 0;
	input.size--;
	return *input.data++;
}

static inline uint32_t take_word(void)
{
	uint32_t word = take();
	return word | (uint32_t)take() << 8 | (uint32_t)take() << 16 | (uint32_t)take() << 24;
}
