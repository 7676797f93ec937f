/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Notifications of services that come and go. Each is a watch: dextd is asked once, with a cookie,
 * and says from then on what came or went. That is collected in an iterator, and the callback is
 * delivered when the iterator was read to its end before.
 *
 * A watch lives as long as the application holds what it got for it; a delivery under way keeps its
 * memory, but does not call back after the end.
 *
 * Locks: `lock` before an iterator's and before a port's. dextd is never called with it held.
 */

#include <stdlib.h>
#include <string.h>

#include <base/list.h>
#include <base/reason.h>
#include <client/directory.h>
#include <client/entry.h>
#include <client/iterator.h>
#include <client/notification.h>
#include <client/port.h>

struct watch {
	struct object object; // what its iterator, and a delivery, hold
	struct list link;     // watches
	uint64_t cookie;
	struct IONotificationPort *port; // a reference
	struct delivery delivery;
	bool queued; // lock: `delivery` is with the port, and holds a reference
	bool ended;  // lock: no callback any more
	void *refcon;

	IOServiceMatchingCallback matched;
	struct iterator *iterator; // holds this watch; valid until `ended`
	io_iterator_t handle;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list watches = { &watches, &watches }; // lock
static uint64_t last_cookie;                         // lock

static struct watch *watch_of(struct object *object)
{
	return container_of(object, struct watch, object);
}

/* --- callbacks --- */

static void run(struct delivery *delivery, bool wanted)
{
	struct watch *watch = container_of(delivery, struct watch, delivery);
	pthread_mutex_lock(&lock);
	watch->queued = false;
	bool ended = watch->ended;
	pthread_mutex_unlock(&lock);
	if (wanted && !ended)
		watch->matched(watch->refcon, watch->handle);
	object_unref(&watch->object);
}

/* With the lock held. */
static void deliver(struct watch *watch)
{
	if (watch->queued)
		return;
	object_ref(&watch->object);
	watch->queued = port_deliver(watch->port, &watch->delivery);
	if (!watch->queued)
		object_unref(&watch->object); // not the last: it is in `watches`
}

void notification_service_changed(uint64_t cookie, uint64_t entry)
{
	struct watch *watch;
	pthread_mutex_lock(&lock);
	list_for_each(watch, &watches, link)
		if (watch->cookie == cookie && iterator_append(watch->iterator, entry))
			deliver(watch);
	pthread_mutex_unlock(&lock);
}

/* --- life --- */

static void watch_free(struct object *object)
{
	struct watch *watch = watch_of(object);
	object_unref(&watch->port->object);
	free(watch);
}

/* The application let go: no callback after, and dextd need not tell. */
static void watch_close(struct object *object)
{
	struct watch *watch = watch_of(object);
	struct DextDirectory_Unwatch_Msg msg = { .cookie = watch->cookie };
	pthread_mutex_lock(&lock);
	watch->ended = true;
	list_remove(&watch->link);
	pthread_mutex_unlock(&lock);
	directory_tell(&DextDirectory_Unwatch_Shape, &msg);
}

static void iterator_close(struct object *object)
{
	struct iterator *iterator = container_of(object, struct iterator, object);
	struct watch *watch = iterator->watch;
	if (watch == NULL)
		return;
	watch_close(&watch->object);
	object_unref(&watch->object);
}

static struct watch *watch_new(struct IONotificationPort *port, void *refcon)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	if (watch == NULL)
		return NULL;
	object_init(&watch->object, OBJECT_INTEREST, watch_close, watch_free);
	object_ref(&port->object);
	watch->port = port;
	watch->refcon = refcon;
	watch->delivery.run = run;
	list_init(&watch->link);
	return watch;
}

/* dextd may tell at once. What is there already is in *entries: returned. */
static kern_return_t watch_start(struct watch *watch, const char *type, OSDictionary *matching,
				 OSArray **entries)
{
	struct DextDirectory_Watch_Msg msg = { .matching = matching };
	memcpy(msg.type, type, strlen(type) + 1);
	pthread_mutex_lock(&lock);
	watch->cookie = msg.cookie = ++last_cookie;
	list_append(&watches, &watch->link);
	pthread_mutex_unlock(&lock);
	kern_return_t status = port_watch(watch->port);
	if (status == kIOReturnSuccess)
		status = directory_call(&DextDirectory_Watch_Shape, &msg);
	if (status == kIOReturnSuccess)
		*entries = msg.entries;
	return status;
}

/* Undo watch_start, and let go. */
static void watch_abandon(struct watch *watch)
{
	watch_close(&watch->object);
	object_unref(&watch->object);
}

/* --- matching --- */

/* A service that ends is withdrawn before it stops: its end is told once. */
static bool tells_ends(const char *type)
{
	return strcmp(type, kIOTerminatedNotification) == 0 ||
	       strcmp(type, kIOWillTerminateNotification) == 0;
}

static bool is_type(const char *type)
{
	static const char *const types[] = { kIOPublishNotification, kIOFirstPublishNotification,
					     kIOMatchedNotification, kIOFirstMatchNotification };
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return tells_ends(type);
}

static kern_return_t start_matching(struct iterator *iterator, struct watch *watch,
				    const char *type, OSDictionary *matching)
{
	OSArray *entries = NULL;
	iterator->watch = watch;
	watch->iterator = iterator;
	kern_return_t status = watch_start(watch, type, matching, &entries);
	/* What is there has not ended: such a notification begins with nothing. */
	if (status == kIOReturnSuccess && !tells_ends(type))
		status = iterator_put_first(iterator, entries);
	OSObjectRelease(entries);
	return status;
}

static kern_return_t add_matching(struct IONotificationPort *port, const char *type,
				  OSDictionary *matching, IOServiceMatchingCallback callback,
				  void *refcon, io_iterator_t *notification)
{
	struct watch *watch = watch_new(port, refcon);
	struct iterator *iterator = watch != NULL ? iterator_new(iterator_close) : NULL;
	kern_return_t status;
	if (iterator == NULL) {
		if (watch != NULL)
			object_unref(&watch->object);
		return refuse(kIOReturnNoMemory, "out of memory");
	}
	watch->matched = callback;
	status = start_matching(iterator, watch, type, matching);
	if (status != kIOReturnSuccess) {
		watch_abandon(watch);
		object_unref(&iterator->object);
		return status;
	}
	/* Nothing calls back before the iterator was read, hence before this is set. */
	*notification = watch->handle = handle_new(&iterator->object);
	return *notification != IO_OBJECT_NULL ? kIOReturnSuccess : kIOReturnNoMemory;
}

kern_return_t IOServiceAddMatchingNotification(IONotificationPortRef notify,
					       const char *notificationType, OSDictionary *matching,
					       IOServiceMatchingCallback callback, void *refcon,
					       io_iterator_t *notification)
{
	kern_return_t status;
	reason_clear();
	if (notify == NULL || notificationType == NULL || matching == NULL || callback == NULL ||
	    notification == NULL)
		status = refuse(kIOReturnBadArgument,
				"a port, a type, a dictionary, a callback and a place for the "
				"iterator are needed");
	else if (!is_type(notificationType))
		status = refuse(kIOReturnUnsupported, "%s is no type of notification",
				notificationType);
	else
		status = add_matching(notify, notificationType, matching, callback, refcon,
				      notification);
	OSObjectRelease(matching);
	return status;
}
