// SPDX-License-Identifier: Apache-2.0
/*
 * A BAR that a personality declares in OpenDextClientMappedBARs is handed over as its sysfs
 * resource, because an application may hold a mapping of that and of nothing else. Such mappings
 * survive the driver; so before every further start they are revoked: open, map the BAR once
 * through VFIO, close, and open again.
 */

#include <dextd/device/pci.h>

#include <errno.h>
#include <libudev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/match/bundle.h>
#include <dextd/daemon.h>
#include <dextd/device/device.h>
#include <dextd/device/probe.h>
#include <dextd/properties.h>
#include <dextd/device/udev.h>
#include <dextd/device/vfio.h>

enum { CONTAINER, DEVICE, FIRST_BAR, N_BARS = 6 };

struct device_pci_monitor {
	struct daemon *daemon;
	struct list devices; // pci_device.link
	struct udev_watch watch;
};

struct pci_device {
	struct device device;
	struct list link;   // device_pci_monitor.devices
	char *sysfs_path;   // owned
	char address[32];   // "0000:00:04.0"
	bool taken;         // bound to vfio-pci by us
	uint32_t lent_bars; // whose resources a driver was given: to be revoked
};

static struct pci_device *pci_device_of(struct device *device)
{
	return container_of(device, struct pci_device, device);
}

/* --- handing over --- */

static uint32_t client_mapped_bars(const struct personality *personality)
{
	uint32_t bars = 0;
	OSArray *array = properties_array(personality->keys, "OpenDextClientMappedBARs");
	for (uint32_t i = 0; array != NULL && i < OSArray_getCount(array); i++) {
		OSNumber *number = OSDynamicCast(OSNumber, OSArray_getObject(array, i));
		bars |= 1U << OSNumber_unsigned32BitValue(number); // 0 to 5: bundle.c
	}
	return bars;
}

static void revoke_lent_bars(struct pci_device *d)
{
	struct vfio_device vfio;
	if (d->lent_bars == 0 || vfio_open(d->address, &vfio) < 0)
		return;
	for (unsigned bar = 0; bar < N_BARS; bar++) {
		if ((d->lent_bars & 1U << bar) == 0)
			continue;
		int ret = vfio_revoke_bar(&vfio, bar);
		if (ret < 0)
			log_error("%s: mappings of BAR %u cannot be revoked: %s", d->address, bar,
				  strerror(-ret));
	}
	vfio_close(&vfio);
	d->lent_bars = 0;
}

static int pci_open(struct device *device, const struct personality *personality,
		    struct device_fds *fds)
{
	struct pci_device *d = pci_device_of(device);
	struct vfio_device vfio;
	d->taken = true;
	int ret = vfio_bind(d->address);
	if (ret < 0)
		return ret;
	revoke_lent_bars(d);
	ret = vfio_open(d->address, &vfio);
	if (ret < 0)
		return ret;
	fds->fds[CONTAINER] = vfio.container_fd;
	fds->fds[DEVICE] = vfio.device_fd;
	uint32_t bars = client_mapped_bars(personality);
	for (unsigned bar = 0; bar < N_BARS; bar++) {
		if ((bars & 1U << bar) == 0)
			continue;
		fds->fds[FIRST_BAR + bar] = vfio_open_resource(d->address, bar);
		if (fds->fds[FIRST_BAR + bar] >= 0)
			d->lent_bars |= 1U << bar;
	}
	fds->n = FIRST_BAR + N_BARS;
	return 0;
}

static void pci_give_back(struct device *device)
{
	struct pci_device *d = pci_device_of(device);
	if (!d->taken)
		return;
	revoke_lent_bars(d);
	d->taken = false;
	vfio_unbind(d->address);
}

static void pci_free(struct device *device)
{
	struct pci_device *d = pci_device_of(device);
	list_remove(&d->link);
	free(d->sysfs_path);
	free(d);
}

static const struct device_ops vfio_ops = {
	.backend = "vfio",
	.open = pci_open,
	.give_back = pci_give_back,
	.free = pci_free,
};

/* --- discovery --- */

/* "0000:00:04.0" in decimal parts without the domain: "0:4:0". */
static bool debug_name(const char *address, char *text, size_t room)
{
	unsigned domain, bus, slot, function;
	if (sscanf(address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
		return false;
	text_print(text, room, "%u:%u:%u", bus, slot, function);
	return true;
}

static OSDictionary *read_properties(struct udev_device *device)
{
	static const struct {
		const char *attribute, *property;
	} numbers[] = {
		{ "vendor", "vendor-id" },
		{ "device", "device-id" },
		{ "subsystem_vendor", "subsystem-vendor-id" },
		{ "subsystem_device", "subsystem-id" },
		{ "class", "class-code" },
		{ "revision", "revision-id" },
	};
	char name[32];
	const char *address = udev_device_get_sysname(device);
	OSDictionary *p = OSDictionary_withCapacity(12);
	bool ok = p != NULL && debug_name(address, name, sizeof(name)) &&
		  properties_set_string(p, "IOProviderClass", "IOPCIDevice") &&
		  properties_set_string(p, "OpenDextAddress", address) &&
		  properties_set_string(p, "pcidebug", name);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && ok; i++) {
		uint64_t value;
		ok = udev_number(device, numbers[i].attribute, 16, &value) &&
		     properties_set_number(p, numbers[i].property, value);
	}
	if (ok)
		return p;
	OSObjectRelease(p);
	return NULL;
}

static struct pci_device *find(const struct device_pci_monitor *monitor, const char *path)
{
	struct pci_device *d;
	list_for_each(d, &monitor->devices, link) {
		if (strcmp(d->sysfs_path, path) == 0)
			return d;
	}
	return NULL;
}

static int publish(struct device_pci_monitor *monitor, struct udev_device *device,
		   OSDictionary *properties)
{
	char name[64];
	struct pci_device *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	list_append(&monitor->devices, &d->link);
	d->sysfs_path = strdup(udev_device_get_syspath(device));
	if (d->sysfs_path == NULL) {
		pci_free(&d->device);
		return -ENOMEM;
	}
	text_copy(d->address, sizeof(d->address), udev_device_get_sysname(device));
	probe_name(properties, name, sizeof(name));
	return device_publish(monitor->daemon, &d->device, &vfio_ops, name, properties);
}

static void on_added(void *context, struct udev_device *device)
{
	struct device_pci_monitor *monitor = context;
	if (find(monitor, udev_device_get_syspath(device)) != NULL)
		return;
	CLEANUP(properties_releasep) OSDictionary *properties = read_properties(device);
	int ret = properties != NULL ? publish(monitor, device, properties) : -EINVAL;
	if (ret < 0)
		log_error("%s cannot be published: %s", udev_device_get_syspath(device),
			  strerror(-ret));
}

static void on_removed(void *context, const char *path)
{
	struct pci_device *d = find(context, path);
	if (d == NULL)
		return;
	d->taken = false; // nothing is left to give back
	list_remove(&d->link);
	device_unplug(&d->device, "it was removed");
}

int device_pci_start(struct device_pci_monitor **out, struct daemon *daemon)
{
	struct device_pci_monitor *monitor = calloc(1, sizeof(*monitor));
	if (monitor == NULL)
		return -ENOMEM;
	monitor->daemon = daemon;
	list_init(&monitor->devices);
	monitor->watch.on_added = on_added;
	monitor->watch.on_removed = on_removed;
	monitor->watch.context = monitor;
	int ret = udev_watch_start(&monitor->watch, daemon->loop, "pci", NULL);
	if (ret < 0) {
		(void)refuse(return_from_errno(ret), "PCI devices cannot be watched: %s",
			     strerror(-ret));
		free(monitor);
		return ret;
	}
	*out = monitor;
	return 0;
}

struct device_pci_monitor *device_pci_stop(struct device_pci_monitor *monitor)
{
	if (monitor == NULL)
		return NULL;
	udev_watch_stop(&monitor->watch);
	/* The devices live until their drivers have stopped: they leave the list on their own. */
	while (!list_empty(&monitor->devices))
		list_remove(monitor->devices.next);
	free(monitor);
	return NULL;
}
