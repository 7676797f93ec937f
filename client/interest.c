/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interest in what becomes of a service. dextd is asked once, with a cookie, and says from then on
 * what happened, in bits. What the application was not called back for yet is a bit here too: so
 * nothing grows, whoever is slow.
 *
 * An interest lives as long as the application holds it; a delivery under way keeps its memory, but
 * does not call back after the end.
 *
 * Locks: `lock` before a port's. dextd is never called with it held.
 */

#include <stdlib.h>
#include <string.h>

#include <base/list.h>
#include <base/reason.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/interest.h>
#include <client/port.h>
#include <protocol/dextd.h>

struct interest {
	struct object object; // what the application holds
	struct list link;     // interests
	uint64_t cookie, entry;
	struct IONotificationPort *port; // a reference
	struct delivery delivery;
	IOServiceInterestCallback callback;
	void *refcon;
	/* lock: */
	uint32_t due;  // kDextEntry…
	bool busy;     // as dextd said last
	bool queued;   // `delivery` is with the port, and holds a reference
	bool released; // no callback any more
	bool over;     // its end is due, or was told
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list interests = { &interests, &interests }; // lock
static uint64_t last_cookie;                               // lock

static struct interest *interest_of(struct object *object)
{
	return container_of(object, struct interest, object);
}

/* --- callbacks --- */

/* In the order in which they are told. */
static const struct {
	uint32_t bit, message;
} messages[] = {
	{ kDextEntryBusyChanged, kIOMessageServiceBusyStateChange },
	{ kDextEntryPropertiesChanged, kIOMessageServicePropertyChange },
	{ kDextEntryClosed, kIOMessageServiceWasClosed },
	{ kDextEntryEnded, kIOMessageServiceIsTerminated },
};

static bool is_released(const struct interest *i)
{
	pthread_mutex_lock(&lock);
	bool released = i->released;
	pthread_mutex_unlock(&lock);
	return released;
}

static void call_back(const struct interest *i, uint32_t due, bool busy)
{
	io_service_t service = entry_new(i->entry);
	for (size_t n = 0; n < sizeof(messages) / sizeof(messages[0]); n++) {
		if ((due & messages[n].bit) == 0 || is_released(i))
			continue;
		bool argument = messages[n].bit == kDextEntryBusyChanged && busy;
		i->callback(i->refcon, service, messages[n].message,
			    (void *)(uintptr_t)(argument ? 1 : 0));
	}
	if (service != IO_OBJECT_NULL)
		handle_release(service);
}

static void run(struct delivery *delivery, bool wanted)
{
	struct interest *i = container_of(delivery, struct interest, delivery);
	pthread_mutex_lock(&lock);
	i->queued = false;
	uint32_t due = i->due;
	bool busy = i->busy;
	i->due = 0;
	pthread_mutex_unlock(&lock);
	if (wanted)
		call_back(i, due, busy);
	object_unref(&i->object);
}

/* With the lock held. */
static void happened(struct interest *i, uint32_t what)
{
	if (i->over)
		return;
	i->due |= what;
	i->over = (what & kDextEntryEnded) != 0;
	if (i->queued)
		return;
	object_ref(&i->object);
	i->queued = port_deliver(i->port, &i->delivery);
	if (!i->queued)
		object_unref(&i->object); // not the last: it is in `interests`
}

void interest_told(uint64_t cookie, uint32_t what, uint32_t busy)
{
	struct interest *i;
	pthread_mutex_lock(&lock);
	list_for_each(i, &interests, link) {
		if (i->cookie != cookie)
			continue;
		i->busy = busy != 0;
		happened(i, what);
	}
	pthread_mutex_unlock(&lock);
}

void interest_service_gone(uint64_t entry)
{
	struct interest *i;
	pthread_mutex_lock(&lock);
	list_for_each(i, &interests, link)
		if (i->entry == entry)
			happened(i, kDextEntryEnded);
	pthread_mutex_unlock(&lock);
}

/* --- life --- */

static void interest_free(struct object *object)
{
	struct interest *i = interest_of(object);
	object_unref(&i->port->object);
	free(i);
}

/* The application let go: no callback after, and dextd need not tell. */
static void interest_close(struct object *object)
{
	struct interest *i = interest_of(object);
	struct DextDirectory_UnwatchEntry_Msg msg = { .cookie = i->cookie };
	pthread_mutex_lock(&lock);
	i->released = true;
	list_remove(&i->link);
	pthread_mutex_unlock(&lock);
	directory_tell(&DextDirectory_UnwatchEntry_Shape, &msg);
}

/* dextd may tell at once. */
static kern_return_t start(struct interest *i)
{
	struct DextDirectory_WatchEntry_Msg msg = { .entry = i->entry };
	pthread_mutex_lock(&lock);
	i->cookie = msg.cookie = ++last_cookie;
	list_append(&interests, &i->link);
	pthread_mutex_unlock(&lock);
	kern_return_t status = port_watch(i->port);
	if (status == kIOReturnSuccess)
		status = directory_call(&DextDirectory_WatchEntry_Shape, &msg);
	if (status != kIOReturnNotFound)
		return status;
	pthread_mutex_lock(&lock);
	happened(i, kDextEntryEnded); // it has ended before
	pthread_mutex_unlock(&lock);
	return kIOReturnSuccess;
}

static kern_return_t add(struct IONotificationPort *port, uint64_t entry,
			 IOServiceInterestCallback callback, void *refcon,
			 io_object_t *notification)
{
	struct interest *i = calloc(1, sizeof(*i));
	if (i == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	object_init(&i->object, OBJECT_INTEREST, interest_close, interest_free);
	object_ref(&port->object);
	i->port = port;
	i->entry = entry;
	i->callback = callback;
	i->refcon = refcon;
	i->delivery.run = run;
	list_init(&i->link);
	kern_return_t status = start(i);
	if (status != kIOReturnSuccess) {
		interest_close(&i->object);
		object_unref(&i->object);
		return status;
	}
	*notification = handle_new(&i->object);
	return *notification != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

kern_return_t IOServiceAddInterestNotification(IONotificationPortRef notify, io_service_t service,
					       const char *interestType,
					       IOServiceInterestCallback callback, void *refcon,
					       io_object_t *notification)
{
	uint64_t entry;
	reason_clear();
	if (notify == NULL || interestType == NULL || callback == NULL || notification == NULL)
		return refuse(kIOReturnBadArgument,
			      "a port, a type, a callback and a place for the object are needed");
	if (strcmp(interestType, kIOGeneralInterest) != 0)
		return refuse(kIOReturnUnsupported, "%s is no type of interest", interestType);
	kern_return_t status = entry_get_id(service, &entry);
	return status == kIOReturnSuccess ? add(notify, entry, callback, refcon, notification)
					  : status;
}
