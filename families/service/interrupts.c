/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who has which interrupt. A lock is held while the ops run, so that closing waits for them; they
 * are calls to a backend, some microseconds each, and no interrupt passes through here.
 *
 * Who takes an interrupt gets a ticket. It is void once the interrupt was revoked, so that what its
 * late holder does to it touches no later holder.
 */

#include <families/service/interrupts.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include <base/reason.h>
#include <families/service/service.h>

struct interrupts {
	_Atomic uint32_t refs;
	const struct interrupts_ops *ops;
	void *context;
	unsigned max;
	pthread_mutex_t lock; // guards what follows
	unsigned count;
	bool closed;
	uint32_t last_ticket;
	uint32_t tickets[]; // by index, `max` of them; 0: nobody has it
};

int interrupts_open(struct interrupts **out, const struct interrupts_ops *ops, void *context,
		    unsigned count, unsigned max)
{
	assert(count <= max);
	struct interrupts *made = calloc(1, sizeof(*made) + max * sizeof(made->tickets[0]));

	if (made == NULL)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	made->ops = ops;
	made->context = context;
	made->count = count;
	made->max = max;
	pthread_mutex_init(&made->lock, NULL);
	*out = made;
	return 0;
}

struct interrupts *interrupts_ref(struct interrupts *interrupts)
{
	atomic_fetch_add_explicit(&interrupts->refs, 1, memory_order_relaxed);
	return interrupts;
}

struct interrupts *interrupts_unref(struct interrupts *interrupts)
{
	if (interrupts != NULL &&
	    atomic_fetch_sub_explicit(&interrupts->refs, 1, memory_order_acq_rel) == 1) {
		pthread_mutex_destroy(&interrupts->lock);
		free(interrupts);
	}
	return NULL;
}

/* Locked. */
static void close_one(struct interrupts *interrupts, unsigned index)
{
	if (interrupts->tickets[index] != 0 && !interrupts->closed)
		interrupts->ops->close(interrupts->context, index);
	interrupts->tickets[index] = 0;
}

/* Locked. */
static void close_all(struct interrupts *interrupts)
{
	for (unsigned i = 0; i < interrupts->count; i++)
		close_one(interrupts, i);
}

void interrupts_close(struct interrupts *interrupts)
{
	pthread_mutex_lock(&interrupts->lock);
	close_all(interrupts);
	interrupts->closed = true;
	pthread_mutex_unlock(&interrupts->lock);
}

/* Locked. */
static kern_return_t check_idle(const struct interrupts *interrupts)
{
	if (interrupts->closed)
		return refuse(kIOReturnNoDevice, "the device of the interrupts is gone");
	for (unsigned i = 0; i < interrupts->count; i++)
		if (interrupts->tickets[i] != 0)
			return refuse(kIOReturnBusy,
				      "a source has interrupt %u: cancel and release it first", i);
	return kIOReturnSuccess;
}

/* Locked. */
static kern_return_t change_all(struct interrupts *interrupts, interrupts_change_fn change,
				void *context)
{
	unsigned count = interrupts->count;
	kern_return_t ret = change(context, &count);
	if (ret == kIOReturnSuccess) {
		assert(count <= interrupts->max);
		interrupts->count = count;
	}
	return ret;
}

kern_return_t interrupts_rearrange(struct interrupts *interrupts, interrupts_change_fn change,
				   void *context)
{
	pthread_mutex_lock(&interrupts->lock);
	kern_return_t ret = check_idle(interrupts);
	if (ret == kIOReturnSuccess)
		ret = change_all(interrupts, change, context);
	pthread_mutex_unlock(&interrupts->lock);
	return ret;
}

void interrupts_revoke(struct interrupts *interrupts, interrupts_change_fn change, void *context)
{
	pthread_mutex_lock(&interrupts->lock);
	close_all(interrupts);
	change_all(interrupts, change, context);
	pthread_mutex_unlock(&interrupts->lock);
}

/* Locked. */
static kern_return_t check(const struct interrupts *interrupts, unsigned index)
{
	if (interrupts->closed)
		return refuse(kIOReturnNoDevice, "the device of the interrupt is gone");
	if (index >= interrupts->count)
		return refuse(kIOReturnNoInterrupt, "interrupt %u: the provider has %u", index,
			      interrupts->count);
	return kIOReturnSuccess;
}

kern_return_t interrupts_get_type(struct interrupts *interrupts, unsigned index, uint64_t *type)
{
	pthread_mutex_lock(&interrupts->lock);
	kern_return_t ret = check(interrupts, index);
	if (ret == kIOReturnSuccess)
		*type = interrupts->ops->type(interrupts->context, index);
	pthread_mutex_unlock(&interrupts->lock);
	return ret;
}

/* Locked. */
static uint32_t new_ticket(struct interrupts *interrupts)
{
	if (++interrupts->last_ticket == 0)
		interrupts->last_ticket = 1;
	return interrupts->last_ticket;
}

kern_return_t interrupts_take(struct interrupts *interrupts, struct interrupt_holder *holder,
			      int event_fd)
{
	unsigned index = holder->index;
	pthread_mutex_lock(&interrupts->lock);
	kern_return_t ret = check(interrupts, index);
	if (ret == kIOReturnSuccess && interrupts->tickets[index] != 0)
		ret = refuse(kIOReturnBusy, "interrupt %u: another source has it", index);
	if (ret == kIOReturnSuccess)
		ret = interrupts->ops->open(interrupts->context, index, event_fd);
	if (ret == kIOReturnSuccess)
		interrupts->tickets[index] = holder->ticket = new_ticket(interrupts);
	pthread_mutex_unlock(&interrupts->lock);
	return ret;
}

/* Locked. */
static bool holds(const struct interrupts *interrupts, const struct interrupt_holder *holder)
{
	return holder->ticket != 0 && interrupts->tickets[holder->index] == holder->ticket;
}

void interrupts_give_back(struct interrupts *interrupts, const struct interrupt_holder *holder)
{
	pthread_mutex_lock(&interrupts->lock);
	if (holds(interrupts, holder))
		close_one(interrupts, holder->index);
	pthread_mutex_unlock(&interrupts->lock);
}

void interrupts_unmask(struct interrupts *interrupts, const struct interrupt_holder *holder)
{
	pthread_mutex_lock(&interrupts->lock);
	if (holds(interrupts, holder) && !interrupts->closed)
		interrupts->ops->unmask(interrupts->context, holder->index);
	pthread_mutex_unlock(&interrupts->lock);
}

void service_set_interrupts(IOService *provider, struct interrupts *interrupts)
{
	provider->ivars->interrupts = interrupts_ref(interrupts);
}

struct interrupts *service_interrupts(IOService *provider)
{
	return provider->ivars->interrupts;
}
