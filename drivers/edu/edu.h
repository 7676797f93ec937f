/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the edu driver and its applications agree on. */

/* IOConnectCallMethod selectors. */
enum {
	/* Asynchronous: completed for each interrupt, kEduEventCount values each time. */
	kEduMethodNotify = 0,
	kEduMethodCompute,      // in: n, up to kEduFactorialMax; its factorial comes as an event
	kEduMethodRaise,        // in: reasons of one's own, how often; they come as events
	kEduMethodSetInterrupt, // in: kEduInterruptWire or kEduInterruptMessage
	/* In: to the buffer (1) or to the card (0), offset in the buffer, bytes, up to
	 * kEduTransferMax. By the card's DMA; the end comes as an event. */
	kEduMethodTransfer,
	kEduMethodCount,
};

/* IOConnectMapMemory64 types. */
enum { kEduMemoryBuffer = 0 }; // kEduBufferSize bytes that the card can reach

enum { kEduBufferSize = 4096, kEduTransferMax = 2048 };

/* Indices among the provider's interrupts. */
enum { kEduInterruptWire = 0, kEduInterruptMessage = 1 };

enum {                       // values of an event
	kEduEventReason = 0, // one bit: why the card interrupted
	kEduEventFactorial,  // what the card computed last
	kEduEventInterrupts, // how many came since the driver looked last
	kEduEventTime,       // when the driver saw the last of them, in nanoseconds
	kEduEventCount,
};

enum {
	kEduReasonFactorial = 0x1,
	kEduReasonTransfer = 0x100,
	kEduReasonsOwn = 0xfe
}; // what Raise takes

enum { kEduFactorialMax = 12 }; // the register has 32 bits
