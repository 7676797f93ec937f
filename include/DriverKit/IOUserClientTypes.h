/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an external method is given, and the table that says what it accepts. */

#include <DriverKit/IOTypes.h>

#ifdef __cplusplus
class OSObject;
class OSData;
class OSAction;
class IOMemoryDescriptor;
#else
typedef struct OSObject OSObject;
typedef struct OSData OSData;
typedef struct OSAction OSAction;
typedef struct IOMemoryDescriptor IOMemoryDescriptor;
#endif

/* A structure of up to 4096 bytes is structureInput. A larger one is structureInputDescriptor, and
 * structureInput is NULL: a method whose row takes any size looks at both, or calls
 * dext_structure_input (<opendext/driver.h>).
 *
 * Fields after a call's inputs are the method's to fill; all objects are borrowed for the call:
 * a method that completes later retains `completion`.
 *
 * A structure above 4096 bytes is memory that the application shares with this process, mapped here
 * for many calls: CreateMapping of its descriptor costs no system call. It is the application's:
 * its bytes may change while they are read, and belong to another call after this one. A method
 * fills structureOutputDescriptor, all of it, or sets structureOutput and leaves the descriptor.
 *
 * A caller that takes a result of any size (kIOConnectMethodVarOutputSize) has no room to tell of:
 * structureOutputMaximumSize is kIOUserClientVariableStructureSize, and the method sets
 * structureOutput, as long as data may be (kOSCollectionBytesMax). A row that checks the size of
 * the output exactly refuses it.
 */
typedef struct IOUserClientMethodArguments {
	uint64_t version;
	uint64_t selector;
	OSAction *completion; // NULL: a synchronous call
	const uint64_t *scalarInput;
	uint32_t scalarInputCount;
	OSData *structureInput;                       // NULL: none, or above 4096 bytes
	IOMemoryDescriptor *structureInputDescriptor; // instead of it above 4096 bytes
	uint64_t *scalarOutput;
	uint32_t scalarOutputCount; // in: room; the method lowers it to what it wrote
	OSData *structureOutput;    // the method sets it (returned to the caller of the method)
	IOMemoryDescriptor *structureOutputDescriptor; // NULL: the room is up to 4096 bytes
	uint64_t structureOutputMaximumSize;
} IOUserClientMethodArguments;

/* An external method. `target` and `reference` are what was given to IOUserClient::ExternalMethod;
 * all is borrowed. Runs on the queue of ExternalMethod. What it returns is what the application's
 * call returns. */
typedef kern_return_t (*IOUserClientMethodFunction)(OSObject *target, void *reference,
						    IOUserClientMethodArguments *arguments);

/* In place of any check of IOUserClientMethodDispatch: whatever comes. */
#define kIOUserClientVariableStructureSize 0xffffffffU

/*
 * For dextFlags: to execute the method twice does no harm, and the second time it answers as it
 * would have the first. A synchronous call of such a method, under way when the driver's process
 * dies, is executed anew by the next process (at most twice more); the caller only waits longer.
 * Without the flag it ends with kIOReturnAborted. An asynchronous call is never executed anew.
 */
#define DEXT_IDEMPOTENT 0x1U

/* One external method. Each check is exact, or 0xffffffff for any. */
typedef struct IOUserClientMethodDispatch {
	IOUserClientMethodFunction function;
	uint32_t checkCompletionExists; // 1: must be asynchronous; 0: must not; 0xffffffff: either
	uint32_t checkScalarInputCount;
	uint32_t checkStructureInputSize;
	uint32_t checkScalarOutputCount;
	uint32_t checkStructureOutputSize;
	/* Ours, not DriverKit's; a row that leaves it out has 0. */
#ifdef __cplusplus
	uint32_t dextFlags = 0;
#else
	uint32_t dextFlags;
#endif
} IOUserClientMethodDispatch;
