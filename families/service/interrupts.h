/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The interrupts of a provider: a family makes them over what its backend can do and sets them on
 * the provider; IOInterruptDispatchSource is their user. An interrupt is an eventfd that whoever
 * raises it adds to. Any thread.
 */

#include <stdint.h>

#include <DriverKit/IOService.h>

struct interrupts;

struct interrupts_ops {
	/* Required. Never fails and never blocks. kIOInterruptType…: a level interrupt is masked
	 * when it comes. */
	uint64_t (*type)(void *context, unsigned index);
	/* Required. From now on, add to event_fd, which is borrowed until close. May block, with a
	 * bound. Refuses what it cannot do. */
	kern_return_t (*open)(void *context, unsigned index, int event_fd);
	/* Required. Nothing is added any more when this returns. May block, with a bound. */
	void (*close)(void *context, unsigned index);
	/* Required with level interrupts: the driver has seen to it, it may come again. */
	void (*unmask)(void *context, unsigned index);
};

/* `count` interrupts, numbered from 0; interrupts_rearrange may make them up to `max`. Returned.
 * -ENOMEM. */
int interrupts_open(struct interrupts **out, const struct interrupts_ops *ops, void *context,
		    unsigned count, unsigned max);
struct interrupts *interrupts_ref(struct interrupts *interrupts);
struct interrupts *interrupts_unref(struct interrupts *interrupts); // may be NULL; returns NULL
/* The device goes: the ops are never called again. Returns when no call of them is under way. Twice
 * is harmless. */
void interrupts_close(struct interrupts *interrupts);
/* What they are changes: `change` runs when no op does, and says how many there are now, at most
 * `max`; or it refuses, and nothing changed. */
typedef kern_return_t (*interrupts_change_fn)(void *context, unsigned *count);
/* … while nobody has one: else kIOReturnBusy. */
kern_return_t interrupts_rearrange(struct interrupts *interrupts, interrupts_change_fn change,
				   void *context);
/* … after all were taken from those who have them: their sources are not called any more. */
void interrupts_revoke(struct interrupts *interrupts, interrupts_change_fn change, void *context);

/* --- their user's side --- */

/* What one has who took an interrupt, until he gives it back or it is revoked. */
struct interrupt_holder {
	unsigned index;
	uint32_t ticket; // interrupts.tickets[index]
};

/* Refuse with kIOReturnNoInterrupt. */
kern_return_t interrupts_get_type(struct interrupts *interrupts, unsigned index, uint64_t *type);
/* Refuse with kIOReturnNoInterrupt, kIOReturnBusy, or what the backend could not do. The index is
 * in `holder`. */
kern_return_t interrupts_take(struct interrupts *interrupts, struct interrupt_holder *holder,
			      int event_fd);
/* Harmless when it was revoked. */
void interrupts_give_back(struct interrupts *interrupts, const struct interrupt_holder *holder);
void interrupts_unmask(struct interrupts *interrupts, const struct interrupt_holder *holder);

/* Those of a provider, kept; set once, before the driver's Start. Borrowed; NULL: none. */
void service_set_interrupts(IOService *provider, struct interrupts *interrupts);
struct interrupts *service_interrupts(IOService *provider);
