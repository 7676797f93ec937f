/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who has which interrupt. A lock is held while the ops run, so that closing waits for them; they
 * are calls to a backend, some microseconds each, and no interrupt passes through here.
 */

#include <families/service/interrupts.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/reason.h>
#include <families/service/service.h>

struct interrupts {
	_Atomic uint32_t refs;
	const struct interrupts_ops *ops;
	void *context;
	unsigned count;
	pthread_mutex_t lock;
	bool closed;  // guarded by lock
	bool taken[]; // by index; guarded by lock
};

int interrupts_open(struct interrupts **out, const struct interrupts_ops *ops, void *context,
		    unsigned count)
{
	struct interrupts *made = calloc(1, sizeof(*made) + count * sizeof(made->taken[0]));

	if (made == NULL)
		return -ENOMEM;
	atomic_init(&made->refs, 1);
	made->ops = ops;
	made->context = context;
	made->count = count;
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
	if (interrupts->taken[index] && !interrupts->closed)
		interrupts->ops->close(interrupts->context, index);
	interrupts->taken[index] = false;
}

void interrupts_close(struct interrupts *interrupts)
{
	pthread_mutex_lock(&interrupts->lock);
	for (unsigned i = 0; i < interrupts->count; i++)
		close_one(interrupts, i);
	interrupts->closed = true;
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

kern_return_t interrupts_is_level(struct interrupts *interrupts, unsigned index, bool *level)
{
	pthread_mutex_lock(&interrupts->lock);
	kern_return_t ret = check(interrupts, index);
	if (ret == kIOReturnSuccess)
		*level = interrupts->ops->is_level(interrupts->context, index);
	pthread_mutex_unlock(&interrupts->lock);
	return ret;
}

kern_return_t interrupts_take(struct interrupts *interrupts, unsigned index, int event_fd)
{
	pthread_mutex_lock(&interrupts->lock);
	kern_return_t ret = check(interrupts, index);
	if (ret == kIOReturnSuccess && interrupts->taken[index])
		ret = refuse(kIOReturnBusy, "interrupt %u: another source has it", index);
	if (ret == kIOReturnSuccess) {
		int error = interrupts->ops->open(interrupts->context, index, event_fd);
		ret = error < 0 ? return_from_errno(error) : kIOReturnSuccess;
		interrupts->taken[index] = error == 0;
	}
	pthread_mutex_unlock(&interrupts->lock);
	return ret;
}

void interrupts_give_back(struct interrupts *interrupts, unsigned index)
{
	pthread_mutex_lock(&interrupts->lock);
	close_one(interrupts, index);
	pthread_mutex_unlock(&interrupts->lock);
}

void interrupts_unmask(struct interrupts *interrupts, unsigned index)
{
	pthread_mutex_lock(&interrupts->lock);
	if (interrupts->taken[index] && !interrupts->closed)
		interrupts->ops->unmask(interrupts->context, index);
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
