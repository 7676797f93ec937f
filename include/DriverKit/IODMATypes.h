/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What IODMACommand is given. */

#include <DriverKit/IOTypes.h>

/* Segments that one preparation may have. */
enum { kIODMACommandSegmentsMax = 32 };

/* The options of Create, of a specification, of PrepareForDMA and of CompleteDMA: none yet. */
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

/* What the device can do. maxAddressBits: how many bits its addresses have; 0 is 64. All else is 0.
 */
typedef struct IODMACommandSpecification {
	uint64_t options;
	uint64_t maxAddressBits;
	uint64_t reserved[16];
} IODMACommandSpecification;
