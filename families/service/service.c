// SPDX-License-Identifier: Apache-2.0
/*
 * IOService: identity, life, and what it asks of the registry.
 *
 * Every service has a serial queue of its own, "Default", made by init(). Start and Stop run on it.
 * Stop is over when the base class's Stop was reached: a driver that must wait for its own
 * cancellations calls the super from the last of them, so the host waits for a word, not for the
 * return of a function.
 *
 * A provider object (a family's device) is a service too, with an identity and no host: what it is
 * asked about the registry it answers from the properties that it was given.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <DriverKit/IOUserClient.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/family.h>
#include <families/service/host.h>
#include <families/service/interrupts.h>
#include <families/service/iommu.h>
#include <families/service/service.h>
#include <protocol/dextd.h>
#include <runtime/action_set.h>
#include <runtime/queue.h>
#include <runtime/route.h>

/* The actions made on a queue that was made for this service are the service's. One that somebody
 * else keeps, too, outlives the service, and so do they. */
static void own_queue(IOService *self, IODispatchQueue *queue)
{
	if (OSObjectGetRetainCount(queue) == 1 && queue_actions(queue) == NULL)
		queue_set_actions(queue, self->ivars->actions);
}

bool IMPL(IOService, init)
{
	if (!IOService_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	if (self->ivars == NULL)
		return false;

	IODispatchQueue *queue = NULL;
	if (action_set_new(&self->ivars->actions) < 0 ||
	    object_set_actions(IOService_as_OSObject(self), self->ivars->actions) < 0 ||
	    IOService_CreateDefaultDispatchQueue(self, &queue) != kIOReturnSuccess)
		return false;
	own_queue(self, queue);
	kern_return_t ret =
		OSObject_SetDispatchQueue(IOService_as_OSObject(self), "Default", queue);
	OSSafeReleaseNULL(queue);
	return ret == kIOReturnSuccess;
}

void IMPL(IOService, free)
{
	if (self->ivars != NULL) {
		OSSafeReleaseNULL(self->ivars->properties);
		OSSafeReleaseNULL(self->ivars->provider);
		iommu_unref(self->ivars->iommu);
		interrupts_unref(self->ivars->interrupts);
		action_set_unref(self->ivars->actions);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOService_super_free(self);
}

kern_return_t IMPL(IOService, CreateDefaultDispatchQueue)
{
	(void)self;
	return IODispatchQueue_Create("Default", 0, 0, queue);
}

void service_identify(IOService *service, uint64_t id, OSDictionary *properties)
{
	OSObjectRetain(properties);
	OSSafeReleaseNULL(service->ivars->properties);
	service->ivars->id = id;
	service->ivars->properties = properties;
}

void provider_identify(IOService *provider, const struct device_handover *handover)
{
	service_identify(provider, handover->provider, handover->properties);
}

uint64_t service_id(IOService *service)
{
	return service->ivars->id;
}

kern_return_t service_instantiate(OSDictionary *properties, IOService **service)
{
	OSString *name = OSDynamicCast(OSString, OSDictionary_getObject(properties, "IOUserClass"));
	if (name == NULL)
		return refuse(kIOReturnBadArgument,
			      "the dictionary has no string IOUserClass: name the class to make");
	const char *text = OSString_getCStringNoCopy(name);
	const OSMetaClass *meta = OSMetaClassGetNamed(text);
	if (meta == NULL)
		return refuse(kIOReturnUnsupported,
			      "this driver has no class %s: check IOUserClass against the .iig",
			      text);
	if (!OSMetaClassIsSubclass(meta, OSTypeID(IOService)))
		return refuse(kIOReturnUnsupported, "class %s is not an IOService", text);

	IOService *made = OSDynamicCast(IOService, OSObjectAllocate(meta));
	if (made == NULL)
		return refuse(kIOReturnNoMemory, "no memory for a %s", text);
	if (!IOService_init(made)) {
		OSObjectRelease(made);
		return refuse(kIOReturnError, "%s: init() returned false", text);
	}
	*service = made;
	return kIOReturnSuccess;
}

/* An action and its target may keep each other. */
static void end_actions(IOService *service, const char *who)
{
	const struct OSMethodShape *which = NULL;
	unsigned n = action_set_end(service->ivars->actions, &which);
	if (n > 0)
		log_warn("%s: %s left %u actions uncancelled, one of them for %s::%s: they are "
			 "cancelled now, so that what they keep can be freed",
			 IOService_as_OSObject(service)->meta->name, who, n, which->class_name,
			 which->name);
}

kern_return_t service_start(IOService *service, IOService *provider)
{
	OSObjectRetain(provider);
	service->ivars->provider = provider;
	kern_return_t ret = IOService_Start(service, provider);
	if (ret != kIOReturnSuccess) {
		OSSafeReleaseNULL(service->ivars->provider);
		end_actions(service, "Start failed and");
	}
	return ret;
}

void service_stop(IOService *service)
{
	struct IOService_IVars *iv = service->ivars;
	atomic_store(&iv->ending, true);
	if (iv->provider == NULL)
		return;
	IOService_Stop(service, iv->provider);
	while (atomic_load(&iv->stopped) == 0)
		worker_wait(&iv->stopped, 0,
			    0); // bounded by dextd, which kills a dext that is late
	OSSafeReleaseNULL(iv->provider);
	end_actions(service, "Stop");
}

kern_return_t IMPL(IOService, Start)
{
	if (provider == NULL)
		return refuse(kIOReturnBadArgument, "Start without a provider");
	atomic_store(&self->ivars->stopped, 0);
	return kIOReturnSuccess;
}

kern_return_t IMPL(IOService, Stop)
{
	(void)provider;
	atomic_store(&self->ivars->stopped, 1);
	worker_wake(&self->ivars->stopped);
	return kIOReturnSuccess;
}

kern_return_t IMPL(IOService, NewUserClient)
{
	(void)type;
	(void)userClient;
	return refuse(kIOReturnUnsupported,
		      "%s does not override NewUserClient: it takes no clients",
		      IOService_as_OSObject(self)->meta->name);
}

kern_return_t service_need_host(IOService *self, const char *what)
{
	if (self->ivars->hosted != NULL)
		return kIOReturnSuccess;
	return refuse(kIOReturnUnsupported, "%s on a %s: it is not a service of this driver", what,
		      IOService_as_OSObject(self)->meta->name);
}

/* By which of its classes others may ask for the service: its own, those above it up to IOService.
 */
static kern_return_t tell_classes(IOService *self)
{
	OSDictionary *properties = OSDictionary_withCapacity(1);
	OSArray *names = OSArray_withCapacity(4);
	bool told = properties != NULL && names != NULL;
	for (const OSMetaClass *meta = IOService_as_OSObject(self)->meta;
	     told && meta != NULL && meta != OSTypeID(OSObject); meta = meta->super) {
		OSString *name = OSString_withCString(meta->name);
		told = name != NULL && OSArray_setObject(names, OSString_as_OSObject(name));
		OSObjectRelease(name);
	}
	told = told &&
	       OSDictionary_setObject(properties, "IOUserClasses", OSArray_as_OSObject(names));
	kern_return_t ret = told ? IOService_SetProperties(self, properties)
				 : refuse(kIOReturnNoMemory, "no memory for the names of classes");
	OSObjectRelease(names);
	OSObjectRelease(properties);
	return ret;
}

kern_return_t IMPL(IOService, RegisterService)
{
	kern_return_t ret = service_need_host(self, "RegisterService");
	if (ret == kIOReturnSuccess)
		ret = tell_classes(self);
	if (ret != kIOReturnSuccess)
		return ret;
	struct DextRegistrar_RegisterService_Msg msg = { .service = self->ivars->id };
	return host_call(&DextRegistrar_RegisterService_Shape, &msg, NULL);
}

kern_return_t IMPL(IOService, GetRegistryEntryID)
{
	*registryEntryID = self->ivars->id;
	return kIOReturnSuccess;
}

IOService *IOService_GetProvider(IOService *self)
{
	return self->ivars->provider;
}

kern_return_t IMPL(IOService, Create)
{
	if (provider != self)
		return refuse(kIOReturnUnsupported, "Create: provider must be the service itself");
	kern_return_t ret = service_need_host(self, "Create");
	if (ret != kIOReturnSuccess)
		return ret;
	OSDictionary *properties = OSDynamicCast(
		OSDictionary, OSDictionary_getObject(self->ivars->properties, propertiesKey));
	if (properties == NULL)
		return refuse(kIOReturnBadArgument, "the personality has no dictionary %s",
			      propertiesKey);

	IOService *made = NULL;
	ret = service_instantiate(properties, &made);
	if (ret != kIOReturnSuccess)
		return ret;
	service_identify(made, 0, properties);
	ret = host_adopt(self, made);
	if (ret == kIOReturnSuccess)
		*result = made;
	else
		OSSafeReleaseNULL(made);
	return ret;
}

kern_return_t IMPL(IOService, Terminate)
{
	if (options != 0)
		return refuse(kIOReturnUnsupported, "Terminate: options must be 0");
	kern_return_t ret = service_need_host(self, "Terminate");
	if (ret != kIOReturnSuccess)
		return ret;
	return host_terminate(self);
}

kern_return_t service_may_open(IOService *client)
{
	if (client->ivars == NULL || !atomic_load(&client->ivars->ending))
		return kIOReturnSuccess;
	return refuse(kIOReturnOffline, "Open: %s stops or has stopped: it opens nothing any more",
		      IOService_as_OSObject(client)->meta->name);
}

/* --- as CopyDispatchQueue sees it --- */

static bool has_stopped(OSObject *object)
{
	IOService *service = OSDynamicCast(IOService, object);
	return service != NULL && service->ivars != NULL &&
	       atomic_load(&service->ivars->stopped) != 0;
}

static OSObject *provider_of(OSObject *object)
{
	IOService *service = OSDynamicCast(IOService, object);
	return service != NULL && service->ivars != NULL
		       ? IOService_as_OSObject(service->ivars->provider)
		       : NULL;
}

__attribute__((constructor)) static void offer_services(void)
{
	static const struct route_service_ops ops = { has_stopped, provider_of };
	route_set_services(&ops);
}
