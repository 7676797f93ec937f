// SPDX-License-Identifier: Apache-2.0
/*
 * The interface's numbers, written out once more: a program that was built elsewhere, a log or a
 * book has them as numbers. And what generated code does with what does not fit.
 */

#include <base/unit_test.h>

#include <stdio.h>
#include <string.h>

#include <DriverKit/IODMATypes.h>
#include <DriverKit/IOReturn.h>
#include <DriverKit/IOUserClientTypes.h>
#include <IOKit/IOKitLib.h>
#include <base/log.h>
#include <base/reason.h>

#include "Speaker.h"

#define ROW(name, value)                                         \
	{                                                        \
		kIOReturn##name, 0x##value##U, "kIOReturn" #name \
	}

static const struct {
	IOReturn ret;
	uint32_t value;
	const char *name;
} returns[] = {
	ROW(Success, 0),
	ROW(Error, e00002bc),
	ROW(NoMemory, e00002bd),
	ROW(NoResources, e00002be),
	ROW(IPCError, e00002bf),
	ROW(NoDevice, e00002c0),
	ROW(NotPrivileged, e00002c1),
	ROW(BadArgument, e00002c2),
	ROW(LockedRead, e00002c3),
	ROW(LockedWrite, e00002c4),
	ROW(ExclusiveAccess, e00002c5),
	ROW(BadMessageID, e00002c6),
	ROW(Unsupported, e00002c7),
	ROW(VMError, e00002c8),
	ROW(InternalError, e00002c9),
	ROW(IOError, e00002ca),
	ROW(CannotLock, e00002cc),
	ROW(NotOpen, e00002cd),
	ROW(NotReadable, e00002ce),
	ROW(NotWritable, e00002cf),
	ROW(NotAligned, e00002d0),
	ROW(BadMedia, e00002d1),
	ROW(StillOpen, e00002d2),
	ROW(RLDError, e00002d3),
	ROW(DMAError, e00002d4),
	ROW(Busy, e00002d5),
	ROW(Timeout, e00002d6),
	ROW(Offline, e00002d7),
	ROW(NotReady, e00002d8),
	ROW(NotAttached, e00002d9),
	ROW(NoChannels, e00002da),
	ROW(NoSpace, e00002db),
	ROW(PortExists, e00002dd),
	ROW(CannotWire, e00002de),
	ROW(NoInterrupt, e00002df),
	ROW(NoFrames, e00002e0),
	ROW(MessageTooLarge, e00002e1),
	ROW(NotPermitted, e00002e2),
	ROW(NoPower, e00002e3),
	ROW(NoMedia, e00002e4),
	ROW(UnformattedMedia, e00002e5),
	ROW(UnsupportedMode, e00002e6),
	ROW(Underrun, e00002e7),
	ROW(Overrun, e00002e8),
	ROW(DeviceError, e00002e9),
	ROW(NoCompletion, e00002ea),
	ROW(Aborted, e00002eb),
	ROW(NoBandwidth, e00002ec),
	ROW(NotResponding, e00002ed),
	ROW(IsoTooOld, e00002ee),
	ROW(IsoTooNew, e00002ef),
	ROW(NotFound, e00002f0),
	ROW(Invalid, e0000001),
	{ kUSBHostReturnPipeStalled, 0xe0005000U, "kUSBHostReturnPipeStalled" },
	{ kUSBHostReturnNoPower, 0xe0005001U, "kUSBHostReturnNoPower" },
};

START_TEST(results_have_their_values_and_names)
{
	for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
		ck_assert_msg((uint32_t)returns[i].ret == returns[i].value, "%s is %#x",
			      returns[i].name, (unsigned)returns[i].ret);
		ck_assert_str_eq(IOReturnString(returns[i].ret), returns[i].name);
	}
}
END_TEST

/* system, 6 bits; subsystem, 12; code, 14 */
START_TEST(results_are_made_of_system_subsystem_and_code)
{
	ck_assert_uint_eq((uint32_t)kIOReturnError, 0x38U << 26 | 0U << 14 | 0x2bcU);
	ck_assert_uint_eq((uint32_t)kUSBHostReturnPipeStalled, 0x38U << 26 | 1U << 14 | 0x1000U);
	for (size_t i = 1; i < sizeof(returns) / sizeof(returns[0]); i++)
		ck_assert_int_lt(returns[i].ret, 0); // a failure, for whoever tests the sign
}
END_TEST

START_TEST(options_and_limits_have_their_values)
{
	static const struct {
		uint64_t is, wanted;
	} rows[] = {
		{ sizeof(IODispatchQueueName), 256 },
		{ sizeof(IOServiceName), 128 },
		{ sizeof(IOPropertyName), 128 },
		{ kIOMemoryDirectionNone, 0 },
		{ kIOMemoryDirectionIn, 1 },
		{ kIOMemoryDirectionOut, 2 },
		{ kIOMemoryDirectionInOut, 3 },
		{ kIOMemoryDirectionOutIn, 3 },
		{ kIOMemoryDisableCopyOnWrite, 0x10 },
		{ kIOMemoryMapFixedAddress, 1 },
		{ kIOMemoryMapReadOnly, 2 },
		{ kIOMemoryMapGuardedMask, 0x1c },
		{ kIOMemoryMapGuardedDefault, 0 },
		{ kIOMemoryMapGuardedNone, 4 },
		{ kIOMemoryMapGuardedSmall, 8 },
		{ kIOMemoryMapGuardedLarge, 0xc },
		{ kIOMemoryMapCacheModeDefault, 0 },
		{ kIOMemoryMapCacheModeInhibit, 0x100 },
		{ kIOMemoryMapCacheModeCopyback, 0x200 },
		{ kIOMemoryMapCacheModeWriteThrough, 0x400 },
		{ kIOMemoryMapCacheModeRealTime, 0x800 },
		{ kIOUserClientMemoryReadOnly, 1 },
		{ kIOUserClientScalarArgumentsCountMax, 16 },
		{ kIOUserClientAsyncArgumentsCountMax, 16 },
		{ kIOUserClientStructureMaximumInline, 4096 },
		{ kIOUserClientVariableStructureSize, 0xffffffffU },
		{ kIODMACommandSegmentsMax, 32 },
		{ sizeof(IODMACommandSpecification), 18 * sizeof(uint64_t) },
		{ kIODMACommandPerformOperationOptionRead, 1 },
		{ kIODMACommandPerformOperationOptionWrite, 2 },
		{ kIODMACommandPerformOperationOptionZero, 4 },
		{ kIOMessageServiceIsTerminated, 0xe0000010U },
		{ kIOMessageServiceIsSuspended, 0xe0000020U },
		{ kIOMessageServiceIsResumed, 0xe0000030U },
		{ kIOMessageServiceIsRequestingClose, 0xe0000100U },
		{ kIOMessageServiceWasClosed, 0xe0000110U },
		{ kIOMessageServiceBusyStateChange, 0xe0000120U },
		{ kIOMessageServicePropertyChange, 0xe0000130U },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(rows[i].is == rows[i].wanted, "row %zu: %#llx", i,
			      (unsigned long long)rows[i].is);
}
END_TEST

START_TEST(keys_have_their_names)
{
	ck_assert_str_eq(kIOPublishNotification, "IOServicePublish");
	ck_assert_str_eq(kIOMatchedNotification, "IOServiceMatched");
	ck_assert_str_eq(kIOFirstMatchNotification, "IOServiceFirstMatch");
	ck_assert_str_eq(kIOTerminatedNotification, "IOServiceTerminate");
	ck_assert_str_eq(kIOGeneralInterest, "IOGeneralInterest");
	ck_assert_str_eq(kIOProviderClassKey, "IOProviderClass");
	ck_assert_str_eq(kIOUserClassKey, "IOUserClass");
	ck_assert_str_eq(kIONameMatchKey, "IONameMatch");
	ck_assert_str_eq(kIOPropertyMatchKey, "IOPropertyMatch");
	ck_assert_str_eq(kIORegistryEntryIDKey, "IORegistryEntryID");
	ck_assert_str_eq(kIOMatchCategoryKey, "IOMatchCategory");
	ck_assert_str_eq(kIOBundleIdentifierKey, "CFBundleIdentifier");
}
END_TEST

/* --- what generated code does --- */

static uint32_t n_said;
static kern_return_t status;

void IMPL(Speaker, say)
{
	(void)self;
	(void)words;
	n_said += wordsCount;
}

static OSString *made; // by the last call of ask

kern_return_t IMPL(Speaker, ask)
{
	(void)self;
	*number = OSObjectGetRetainCount(question);
	made = OSString_withCString("answer");
	*answer = made;
	return status;
}

kern_return_t IMPL(Speaker, name)
{
	(void)self;
	(void)name;
	n_said++;
	return kIOReturnSuccess;
}

static Speaker *new_speaker(void)
{
	Speaker *speaker = OSTypeAlloc(Speaker);
	ck_assert(Speaker_init(speaker));
	return speaker;
}

static char logged[256];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(logged, sizeof(logged), "%s", line);
}

/* Nobody waits for a void method: what it refused stands in the log. */
START_TEST(a_void_call_that_does_not_fit_is_logged)
{
	const uint32_t words[3] = { 0 };
	Speaker *speaker = new_speaker();
	log_set_sink(remember, LOG_LEVEL_ERROR);
	Speaker_say(speaker, words, 2);
	ck_assert_str_eq(logged, "");
	Speaker_say(speaker, words, 3);
	ck_assert_uint_eq(n_said, 2);
	ck_assert_msg(strstr(logged, "Speaker::say") != NULL, "%s", logged);
	log_set_sink(NULL, LOG_LEVEL_ERROR);
	OSObjectRelease(speaker);
}
END_TEST

START_TEST(a_name_is_refused_rather_than_cut)
{
	char name[sizeof(IOServiceName) + 1];
	Speaker *speaker = new_speaker();
	memset(name, 'x', sizeof(name));
	name[sizeof(IOServiceName) - 1] = '\0';
	ck_assert_int_eq(Speaker_name(speaker, name), kIOReturnSuccess);
	name[sizeof(IOServiceName) - 1] = 'x';
	name[sizeof(IOServiceName)] = '\0';
	ck_assert_int_eq(Speaker_name(speaker, name), kIOReturnOverrun);
	ck_assert_str_eq(reason_last(), "Speaker::name: name is longer than its room");
	ck_assert_uint_eq(n_said, 1);
	OSObjectRelease(speaker);
}
END_TEST

/* An argument is the caller's throughout; a result is the caller's too, but only of a success. */
START_TEST(arguments_are_borrowed_and_results_are_returned)
{
	Speaker *speaker = new_speaker();
	OSString *question = OSString_withCString("question"), *answer = NULL;
	uint64_t references = 0;
	ck_assert_int_eq(Speaker_ask(speaker, question, &references, &answer), kIOReturnSuccess);
	ck_assert_uint_eq(references, 1);
	ck_assert_uint_eq(OSObjectGetRetainCount(question), 1);
	ck_assert_uint_eq(OSObjectGetRetainCount(answer), 1);
	OSSafeReleaseNULL(answer);
	status = kIOReturnBusy;
	ck_assert_int_eq(Speaker_ask(speaker, question, NULL, &answer), kIOReturnBusy);
	ck_assert_ptr_null(answer);
	OSObjectRelease(made); // which nobody took: it stays its maker's
	OSObjectRelease(question);
	OSObjectRelease(speaker);
}
END_TEST

UNIT_TESTS("conformance-values", results_have_their_values_and_names,
	   results_are_made_of_system_subsystem_and_code, options_and_limits_have_their_values,
	   keys_have_their_names, a_void_call_that_does_not_fit_is_logged,
	   a_name_is_refused_rather_than_cut, arguments_are_borrowed_and_results_are_returned)
