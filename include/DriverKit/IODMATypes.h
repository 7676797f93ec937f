/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What IODMACommand is given. */

#include <DriverKit/IOTypes.h>

enum { kIODMACommandSegmentsMax = 32 };

enum {
	kIODMACommandCreateNoOptions = 0,
	kIODMACommandSpecificationNoOptions = 0,
	kIODMACommandPrepareForDMANoOptions = 0,
	kIODMACommandCompleteDMANoOptions = 0,
};

enum { // IODMACommand::PerformOperation options: exactly one
	kIODMACommandPerformOperationOptionRead = 1,
	kIODMACommandPerformOperationOptionWrite = 2,
	kIODMACommandPerformOperationOptionZero = 4,
};

/* Of what is not described here: 0. */
typedef struct IODMACommandSpecification {
	uint64_t options;
	uint64_t maxAddressBits;
	uint64_t reserved[16];
} IODMACommandSpecification;
