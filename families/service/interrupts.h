/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The interrupts of a provider: a family makes them over what its backend can do and sets them on
 * the provider; IOInterruptDispatchSource is their user. An interrupt is an eventfd that whoever
 * raises it adds to. Any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOService.h>

struct interrupts;

struct interrupts_ops {
	/* Required. Never fails and never blocks: a level interrupt, which is masked when it comes?
	 */
	bool (*is_level)(void *context, unsigned index);
	/* Required. From now on, add to event_fd, which is borrowed until close. May block, with a
	 * bound. 0, or a negative errno with refuse(). */
	int (*open)(void *context, unsigned index, int event_fd);
	/* Required. Nothing is added any more when this returns. May block, with a bound. */
	void (*close)(void *context, unsigned index);
	/* Required with level interrupts: the driver has seen to it, it may come again. */
	void (*unmask)(void *context, unsigned index);
};

/* `count` interrupts, numbered from 0. Returned. -ENOMEM. */
int interrupts_open(struct interrupts **out, const struct interrupts_ops *ops, void *context,
		    unsigned count);
struct interrupts *interrupts_ref(struct interrupts *interrupts);
struct interrupts *interrupts_unref(struct interrupts *interrupts); // may be NULL; returns NULL
/* The device goes: the ops are never called again. Returns when no call of them is under way. Twice
 * is harmless. */
void interrupts_close(struct interrupts *interrupts);

/* --- their user's side --- */

/* Refuse with kIOReturnNoInterrupt. */
kern_return_t interrupts_is_level(struct interrupts *interrupts, unsigned index, bool *level);
/* Refuse with kIOReturnNoInterrupt, kIOReturnBusy, or what the backend could not do. */
kern_return_t interrupts_take(struct interrupts *interrupts, unsigned index, int event_fd);
void interrupts_give_back(struct interrupts *interrupts, unsigned index);
void interrupts_unmask(struct interrupts *interrupts, unsigned index);

/* Those of a provider, kept; set once, before the driver's Start. Borrowed; NULL: none. */
void service_set_interrupts(IOService *provider, struct interrupts *interrupts);
struct interrupts *service_interrupts(IOService *provider);
