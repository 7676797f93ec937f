// SPDX-License-Identifier: Apache-2.0
/*
 * The life of a matched service, in order:
 *
 *	start   family creates the provider, the personality's class is made, Start
 *	open    NewUserClient, which calls Create, which starts the user client; then its ring
 *	close   the user client's Stop, then its ring is gone
 *	stop    clients, then services made with Create, then the service, then what it left open
 *		at the provider
 *
 * Services made with Create ("children") hang on a list under a lock, since a driver may call
 * Create and Terminate from any of its queues.
 */

#include <stdlib.h>

#include <DriverKit/IOUserClient.h>
#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/remote/link.h>
#include <families/service/child.h>
#include <families/service/completion.h>
#include <families/service/connection.h>
#include <families/service/host.h>
#include <families/service/hosted.h>
#include <families/service/service.h>
#include <protocol/dextd.h>
#include <runtime/queue.h>

int hosted_new(struct hosted **out, struct DextHost_StartService_Msg *msg)
{
	struct hosted *h = calloc(1, sizeof(*h));
	if (h == NULL)
		return -ENOMEM;
	list_init(&h->link);
	list_init(&h->connections);
	list_init(&h->children);
	list_init(&h->links);
	pthread_mutex_init(&h->lock, NULL);
	h->id = msg->service;

	for (uint32_t i = 0; i < msg->descriptorsCount; i++)
		h->handover.fds[i] = steal_fd(&msg->descriptors[i]);
	h->handover.n_fds = msg->descriptorsCount;
	h->handover.provider = msg->provider;
	OSObjectRetain(msg->device);
	h->handover.properties = msg->device;
	OSObjectRetain(msg->personality);
	h->personality = msg->personality;

	if (IODispatchQueue_Create("life", 0, 0, &h->life) != kIOReturnSuccess ||
	    IODispatchQueue_Create("device", 0, 0, &h->device_queue) != kIOReturnSuccess) {
		hosted_free(h);
		return -ENOMEM;
	}
	h->handover.queue = h->device_queue;
	*out = h;
	return 0;
}

struct hosted *hosted_free(struct hosted *h)
{
	if (h == NULL)
		return NULL;
	handover_deinit(&h->handover);
	OSSafeReleaseNULL(h->service);
	OSSafeReleaseNULL(h->provider);
	OSSafeReleaseNULL(h->personality);
	OSSafeReleaseNULL(h->handover.properties);
	OSSafeReleaseNULL(h->life);
	OSSafeReleaseNULL(h->device_queue);
	pthread_mutex_destroy(&h->lock);
	free(h);
	return NULL;
}

/* A service of another driver is of whatever class that gave it. */
static bool is_remote(const struct hosted *h)
{
	OSString *backend = OSDynamicCast(
		OSString, OSDictionary_getObject(h->handover.properties, "OpenDextBackend"));
	return backend != NULL && OSString_isEqualToCString(backend, FAMILY_REMOTE);
}

static kern_return_t create_provider(struct hosted *h)
{
	OSString *name = OSDynamicCast(
		OSString, OSDictionary_getObject(h->handover.properties, "IOProviderClass"));
	if (name == NULL)
		return refuse(kIOReturnBadArgument, "the device has no string IOProviderClass");
	h->family = family_find(is_remote(h) ? FAMILY_REMOTE : OSString_getCStringNoCopy(name));
	if (h->family == NULL)
		return refuse(kIOReturnUnsupported, "no family provides a %s in this build",
			      OSString_getCStringNoCopy(name));
	return h->family->create_provider(&h->handover, &h->provider);
}

kern_return_t hosted_start(struct hosted *h)
{
	reason_clear();
	kern_return_t ret = create_provider(h);
	if (ret != kIOReturnSuccess)
		return ret;
	IOService *service = NULL;
	ret = service_instantiate(h->personality, &service);
	if (ret != kIOReturnSuccess)
		return ret;
	service_identify(service, h->id, h->personality);
	service->ivars->hosted = h;
	h->service = service;
	ret = service_start(service, h->provider);
	if (ret != kIOReturnSuccess) {
		const char *name = IOService_as_OSObject(service)->meta->name;
		hosted_stop(h);
		if (reason_last()[0] == '\0')
			return refuse(ret, "%s: Start returned %s", name, IOReturnString(ret));
	}
	return ret;
}

void hosted_end_life(struct hosted *h, IOService *service)
{
	service_stop(service);
	if (h->family->client_stopped != NULL)
		h->family->client_stopped(h->provider, service);
}

/* --- drivers that run on one of these services, or were told of it --- */

enum { DRIVERS_MAX = 256 };

struct driver {
	struct list link; // hosted.links; alone once it was taken off
	struct hosted *hosted;
	uint64_t service;                 // on which it runs
	struct remote_link *conversation; // owned
};

/* `wanted`, or any of `service`. Whoever takes it off the list ends it. */
static struct driver *take_driver(struct hosted *h, const struct driver *wanted, uint64_t service)
{
	struct driver *found = NULL, *d;
	pthread_mutex_lock(&h->lock);
	list_for_each(d, &h->links, link)
		if (d == wanted || d->service == service)
			found = d;
	if (found != NULL)
		list_remove(&found->link);
	pthread_mutex_unlock(&h->lock);
	return found;
}

static void driver_end(struct driver *d)
{
	remote_link_close(d->conversation);
	free(d);
}

static void on_driver_gone(void *context)
{
	struct driver *d = context;
	if (take_driver(d->hosted, d, 0) != NULL)
		driver_end(d);
}

void hosted_end_drivers(struct hosted *h, uint64_t service)
{
	struct driver *d;
	while ((d = take_driver(h, NULL, service)) != NULL)
		driver_end(d);
}

IOService *hosted_copy_service(struct hosted *h, uint64_t id)
{
	if (h->id != id)
		return child_copy(h, id);
	OSObjectRetain(h->service);
	return h->service;
}

bool hosted_has_service(struct hosted *h, uint64_t id)
{
	IOService *service = hosted_copy_service(h, id);
	OSObjectRelease(service);
	return service != NULL;
}

/* With the lock held; `fd` is consumed. */
static kern_return_t begin_driver(struct driver *d, int fd, IOService *service)
{
	struct list *links = &d->hosted->links;
	const struct driver *other;
	unsigned n = 0;

	list_for_each(other, links, link)
		n++;
	if (n >= DRIVERS_MAX) {
		close_fdp(&fd);
		return refuse(kIOReturnNoResources, "%d drivers talk to it already", DRIVERS_MAX);
	}
	list_append(links, &d->link);
	int ret = remote_link_open(&d->conversation, fd, IOService_as_OSObject(service),
				   on_driver_gone, d);
	if (ret == 0)
		return kIOReturnSuccess;
	list_remove(&d->link);
	return refuse(return_from_errno(ret), "the socket cannot be used");
}

kern_return_t hosted_serve_driver(struct hosted *h, uint64_t id, int socket_fd)
{
	CLEANUP(close_fdp) int fd = socket_fd;
	IOService *service = hosted_copy_service(h, id);
	struct driver *d = calloc(1, sizeof(*d));
	kern_return_t status;

	if (service == NULL || d == NULL) {
		status = refuse(d == NULL ? kIOReturnNoMemory : kIOReturnNotFound,
				"no such service, or no memory");
	} else {
		d->hosted = h;
		d->service = id;
		pthread_mutex_lock(&h->lock);
		status = begin_driver(d, steal_fd(&fd), service);
		pthread_mutex_unlock(&h->lock);
	}
	if (status != kIOReturnSuccess)
		free(d);
	OSObjectRelease(service);
	return status;
}

/* --- connections --- */

/* The connection `id`, or any with 0, off the list. */
static struct connection *take_connection(struct hosted *h, uint64_t id)
{
	struct connection *found = NULL, *c;
	pthread_mutex_lock(&h->lock);
	list_for_each(c, &h->connections, link)
		if (id == 0 || c->id == id)
			found = c;
	if (found != NULL)
		list_remove(&found->link);
	pthread_mutex_unlock(&h->lock);
	return found;
}

/* A driver may call Create at any time, from any of its queues: only while it is asked for a user
 * client does one have an application. */
static void set_entitlements(struct hosted *h, OSDictionary *entitlements)
{
	OSObjectRetain(entitlements);
	pthread_mutex_lock(&h->lock);
	OSDictionary *before = h->entitlements;
	h->entitlements = entitlements;
	pthread_mutex_unlock(&h->lock);
	OSObjectRelease(before);
}

/* Ask the driver for a user client; it stays a child until its connection closes. */
static kern_return_t new_user_client(struct hosted *h, uint64_t id, uint32_t type,
				     OSDictionary *entitlements, IOUserClient **client)
{
	h->opening = id;
	set_entitlements(h, entitlements);
	kern_return_t ret = IOService_NewUserClient(h->service, type, client);
	h->opening = 0;
	set_entitlements(h, NULL);
	if (ret != kIOReturnSuccess)
		return ret;
	if (*client == NULL || OSDynamicCast(IOUserClient, *client) == NULL)
		return refuse(kIOReturnUnsupported,
			      "NewUserClient gave no IOUserClient: make it with Create");
	return kIOReturnSuccess;
}

uint64_t hosted_pid_of(OSDictionary *application)
{
	OSNumber *pid = OSDynamicCast(OSNumber, OSDictionary_getObject(application, "pid"));
	return pid != NULL ? OSNumber_unsigned64BitValue(pid) : 0;
}

kern_return_t hosted_open(struct hosted *h, uint32_t type, const struct connection_ends *ends)
{
	CLEANUP(close_fdp) int memory = ends->memory_fd;
	CLEANUP(close_fdp) int sock = ends->socket_fd;
	CLEANUP(close_fdp) int bell = ends->doorbell_fd;

	reason_clear();
	if (h->service == NULL)
		return refuse(kIOReturnOffline, "the service has stopped");
	IOUserClient *client = NULL;
	kern_return_t ret = new_user_client(h, ends->id, type, ends->entitlements, &client);
	struct connection *c = NULL;
	if (ret == kIOReturnSuccess) {
		memory = sock = bell = -1; // consumed
		ret = connection_open(&c, ends, client);
	}
	if (ret == kIOReturnSuccess) {
		pthread_mutex_lock(&h->lock);
		list_append(&h->connections, &c->link);
		connection_hold(c, h->held);
		pthread_mutex_unlock(&h->lock);
	} else if (client != NULL) {
		(void)child_end(h, IOUserClient_as_IOService(client));
	}
	OSObjectRelease(client);
	return ret;
}

void hosted_hold_calls(struct hosted *h, bool hold)
{
	struct connection *c;
	pthread_mutex_lock(&h->lock);
	h->held = hold;
	list_for_each(c, &h->connections, link)
		connection_hold(c, hold);
	pthread_mutex_unlock(&h->lock);
}

static void end_connection(struct hosted *h, struct connection *c, bool keep)
{
	if (keep)
		connection_pause(c);
	else
		completion_abort_all(c);
	/* Stop: the driver completes or drops what it owes the client. */
	(void)child_end(h, IOUserClient_as_IOService(c->client));
	connection_close(c, keep);
}

void hosted_announce_end(struct hosted *h)
{
	atomic_fetch_add(&h->n_ending, 1);
}

void hosted_ended(struct hosted *h)
{
	atomic_fetch_sub(&h->n_ending, 1);
	worker_wake(&h->n_ending);
}

kern_return_t hosted_close(struct hosted *h, uint64_t id)
{
	struct connection *c = take_connection(h, id);
	if (c != NULL)
		end_connection(h, c, false);
	hosted_ended(h);
	if (c == NULL)
		return refuse(kIOReturnNotFound, "no connection %llu", (unsigned long long)id);
	return kIOReturnSuccess;
}

static void await_ends(struct hosted *h)
{
	uint32_t n;
	while ((n = atomic_load(&h->n_ending)) != 0)
		worker_wait(&h->n_ending, n,
			    0); // bounded by dextd, which kills a dext that is late
}

void hosted_stop(struct hosted *h)
{
	struct connection *c;
	while ((c = take_connection(h, 0)) != NULL)
		end_connection(h, c, h->keep);
	await_ends(h);
	child_end_all(h);
	await_ends(h); // one of them may have terminated another
	hosted_end_drivers(h, h->id);
	if (h->service != NULL) {
		hosted_end_life(h, h->service);
		h->service->ivars->hosted = NULL;
		OSSafeReleaseNULL(h->service);
	}
	OSSafeReleaseNULL(h->provider);
}
