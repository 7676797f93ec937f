/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a filter says, as tables. confine_filter.c has the filter of a dext; a build with sanitizers
 * takes the wider one of confine_filter_sanitize.c instead. */

#include <stddef.h>
#include <stdint.h>

/* When the bits `mask` of an argument are `value`. mask 0: always. */
struct confine_rule {
	int call;
	uint32_t action; // SCMP_ACT_…
	unsigned argument;
	uint64_t mask, value;
};

struct confine_filter {
	uint32_t unknown; // what happens to a call that no rule names
	const struct confine_rule *rules;
	size_t n_rules;
};

extern const struct confine_filter confine_filter;
