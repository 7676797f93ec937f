/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interrupts for drivers: an eventfd in the event loop below, the rules of all sources above.
 *
 * The kernel, or a device's process, adds to the eventfd; what it holds when the queue gets to it
 * is the count. While the source is disabled nobody looks at it, and it goes on counting. So no
 * interrupt is lost, and a storm of them costs one call at a time.
 *
 * A device's process is not trusted with what it shares: it can empty the eventfd and make reading
 * it block, so each read says itself that it will not wait; and it can add what it likes.
 */

#include <DriverKit/IOInterruptDispatchSource.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/service/interrupts.h>
#include <runtime/dispatch_source.h>
#include <runtime/queue.h>

struct interrupt {
	struct interrupts *interrupts; // kept
	struct IODispatchSource_IVars *state;
	struct fd_source *source;
	int event_fd;
	struct interrupt_holder holder;
	bool level, continuous;
	uint64_t count, time_ns; // since the last call; the queue's
	pthread_mutex_t lock;
	uint64_t last_count, last_time_ns; // guarded by lock
};

struct IOInterruptDispatchSource_IVars {
	struct interrupt *interrupt; // the state's, as long as the object lives
};

static bool read_count(struct interrupt *interrupt)
{
	uint64_t n;
	struct iovec place = { .iov_base = &n, .iov_len = sizeof(n) };

	if (preadv2(interrupt->event_fd, &place, 1, -1, RWF_NOWAIT) != (ssize_t)sizeof(n))
		return false; // nothing since
	if (__builtin_add_overflow(interrupt->count, n, &interrupt->count))
		interrupt->count = UINT64_MAX;
	interrupt->time_ns = interrupt->continuous ? clock_boot_now_ns() : clock_now_ns();
	return true;
}

static void on_interrupt(void *context, uint32_t ready)
{
	struct interrupt *interrupt = context;

	(void)ready;
	if (read_count(interrupt))
		source_deliver(interrupt->state, 0);
}

static void check_now(void *context)
{
	on_interrupt(context, 0);
}

static void fill(void *context, unsigned line, OSAction *handler, void *room)
{
	struct interrupt *interrupt = context;
	struct IOInterruptDispatchSource_InterruptOccurred_Msg *msg = room;

	(void)line;
	msg->action = handler;
	msg->count = interrupt->count;
	msg->time = interrupt->time_ns;
	interrupt->count = 0;
	pthread_mutex_lock(&interrupt->lock);
	interrupt->last_count = msg->count;
	interrupt->last_time_ns = msg->time;
	pthread_mutex_unlock(&interrupt->lock);
}

static void called(void *context, unsigned line)
{
	const struct interrupt *interrupt = context;

	(void)line;
	if (interrupt->level)
		interrupts_unmask(interrupt->interrupts, &interrupt->holder);
}

static void set_enabled(void *context, bool enabled)
{
	struct interrupt *interrupt = context;
	int ret = fd_source_set_events(interrupt->source, enabled ? EPOLLIN : 0);

	if (ret < 0)
		log_error("interrupt %u cannot be %s (%d)", interrupt->holder.index,
			  enabled ? "enabled" : "disabled", ret);
}

static void ended(void *context)
{
	struct interrupt *interrupt = context;

	source_unref(interrupt->state);
}

static void stop(void *context)
{
	struct interrupt *interrupt = context;

	interrupts_give_back(interrupt->interrupts, &interrupt->holder);
	fd_source_end(interrupt->source, ended);
}

static void interrupt_free(void *context)
{
	struct interrupt *interrupt = context;

	interrupts_unref(interrupt->interrupts);
	if (interrupt->event_fd >= 0)
		close(interrupt->event_fd);
	pthread_mutex_destroy(&interrupt->lock);
	free(interrupt);
}

static const struct source_ops interrupt_ops = {
	.name = "IOInterruptDispatchSource",
	.n_lines = 1,
	.shapes = { &IOInterruptDispatchSource_InterruptOccurred_Shape },
	.fill = fill,
	.called = called,
	.set_enabled = set_enabled,
	.stop = stop,
	.check = check_now,
	.free = interrupt_free,
};

_Static_assert(sizeof(struct IOInterruptDispatchSource_InterruptOccurred_Msg) <= SOURCE_MESSAGE_MAX,
	       "the message fits");

/* --- making --- */

static kern_return_t find_interrupts(IOService *provider, struct interrupts **found)
{
	if (provider == NULL)
		return refuse(kIOReturnBadArgument, "an interrupt needs a provider");
	*found = service_interrupts(provider);
	if (*found == NULL)
		return refuse(kIOReturnNoInterrupt, "%s has no interrupts",
			      provider->super.meta->name);
	return kIOReturnSuccess;
}

static kern_return_t interrupt_new(struct interrupts *interrupts, uint32_t indexAndFlags,
				   struct interrupt **out)
{
	struct interrupt *interrupt = calloc(1, sizeof(*interrupt));

	if (interrupt == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an interrupt");
	pthread_mutex_init(&interrupt->lock, NULL);
	interrupt->interrupts = interrupts_ref(interrupts);
	interrupt->holder.index = indexAndFlags & kIOInterruptSourceIndexMask;
	interrupt->continuous = (indexAndFlags & kIOInterruptSourceContinuousTime) != 0;
	interrupt->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t type = 0;
	kern_return_t ret =
		interrupt->event_fd < 0
			? refuse(kIOReturnNoResources, "no descriptor can be had: %s",
				 strerrordesc_np(errno))
			: interrupts_get_type(interrupts, interrupt->holder.index, &type);
	interrupt->level = (type & kIOInterruptTypeLevel) != 0;
	if (ret == kIOReturnSuccess)
		*out = interrupt;
	else
		interrupt_free(interrupt);
	return ret;
}

/* Take it, and watch its eventfd. What fails leaves nothing behind. */
static kern_return_t begin(struct interrupt *interrupt, IODispatchQueue *queue)
{
	kern_return_t ret =
		interrupts_take(interrupt->interrupts, &interrupt->holder, interrupt->event_fd);

	if (ret != kIOReturnSuccess)
		return ret;
	int error = fd_source_open(&interrupt->source, interrupt->event_fd, 0, queue, on_interrupt,
				   interrupt);
	if (error == 0)
		return kIOReturnSuccess;
	interrupts_give_back(interrupt->interrupts, &interrupt->holder);
	return refuse(kIOReturnNoResources, "interrupt %u cannot be watched (%d)",
		      interrupt->holder.index, error);
}

static kern_return_t set_up(IOInterruptDispatchSource *self, struct interrupts *interrupts,
			    uint32_t indexAndFlags, IODispatchQueue *queue)
{
	struct interrupt *interrupt = NULL;

	self->ivars = calloc(1, sizeof(*self->ivars));
	if (self->ivars == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an interrupt");
	kern_return_t ret = interrupt_new(interrupts, indexAndFlags, &interrupt);
	if (interrupt == NULL)
		return ret;
	ret = begin(interrupt, queue);
	if (ret != kIOReturnSuccess) {
		interrupt_free(interrupt);
		return ret;
	}
	ret = source_init(&self->super, &interrupt_ops, interrupt, queue, false);
	if (ret != kIOReturnSuccess) {
		interrupts_give_back(interrupts, &interrupt->holder);
		fd_source_close(interrupt->source);
		interrupt_free(interrupt);
		return ret;
	}
	self->ivars->interrupt = interrupt;
	interrupt->state = source_ref(self->super.ivars);
	return kIOReturnSuccess;
}

kern_return_t IOInterruptDispatchSource_Create(IOService *provider, uint32_t indexAndFlags,
					       IODispatchQueue *queue,
					       IOInterruptDispatchSource **source)
{
	struct interrupts *interrupts;
	kern_return_t ret = find_interrupts(provider, &interrupts);

	if (ret != kIOReturnSuccess)
		return ret;
	if (queue == NULL || source == NULL)
		return refuse(kIOReturnBadArgument, "an interrupt needs a queue and a place");
	if ((indexAndFlags &
	     ~(uint32_t)(kIOInterruptSourceIndexMask | kIOInterruptSourceContinuousTime)) != 0)
		return refuse(kIOReturnBadArgument, "%#x: an unknown flag of an interrupt",
			      indexAndFlags);
	IOInterruptDispatchSource *made = OSTypeAlloc(IOInterruptDispatchSource);
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for an interrupt");
	ret = set_up(made, interrupts, indexAndFlags, queue);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	*source = made;
	return kIOReturnSuccess;
}

void IMPL(IOInterruptDispatchSource, free)
{
	free(self->ivars);
	self->ivars = NULL;
	IOInterruptDispatchSource_super_free(self);
}

kern_return_t IOInterruptDispatchSource_GetInterruptType(IOService *provider, uint32_t index,
							 uint64_t *interruptType)
{
	struct interrupts *interrupts;
	kern_return_t ret = find_interrupts(provider, &interrupts);

	if (ret == kIOReturnSuccess && interruptType == NULL)
		ret = refuse(kIOReturnBadArgument, "GetInterruptType: no place for the type");
	if (ret == kIOReturnSuccess)
		ret = interrupts_get_type(interrupts, index, interruptType);
	return ret;
}

kern_return_t IOInterruptDispatchSource_SetHandler(IOInterruptDispatchSource *self,
						   OSAction *action)
{
	return source_set_handler(IOInterruptDispatchSource_as_IODispatchSource(self), 0, action);
}

kern_return_t IOInterruptDispatchSource_GetLastInterrupt(IOInterruptDispatchSource *self,
							 uint64_t *index, uint64_t *count,
							 uint64_t *time)
{
	kern_return_t ret = source_check(IOInterruptDispatchSource_as_IODispatchSource(self),
					 "GetLastInterrupt");

	if (ret != kIOReturnSuccess)
		return ret;
	struct interrupt *interrupt = self->ivars->interrupt;
	pthread_mutex_lock(&interrupt->lock);
	if (index != NULL)
		*index = interrupt->holder.index;
	if (count != NULL)
		*count = interrupt->last_count;
	if (time != NULL)
		*time = interrupt->last_time_ns;
	pthread_mutex_unlock(&interrupt->lock);
	return kIOReturnSuccess;
}
