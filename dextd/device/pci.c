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
#include <dextd/properties.h>
#include <dextd/device/udev.h>
#include <dextd/device/vfio.h>

enum { CONTAINER, DEVICE, FIRST_BAR, N_BARS = 6 };

struct pci_device {
	struct real_device real; // taken: bound to vfio-pci by us
	char address[32];        // "0000:00:04.0"
	uint32_t lent_bars;      // whose resources a driver was given: to be revoked
};

static struct pci_device *pci_device_of(struct device *device)
{
	return container_of(device, struct pci_device, real.device);
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
	d->real.taken = true;
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
	if (!d->real.taken)
		return;
	revoke_lent_bars(d);
	d->real.taken = false;
	vfio_unbind(d->address);
}

static void pci_free(struct device *device)
{
	struct pci_device *d = pci_device_of(device);
	real_device_deinit(&d->real);
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

static int add(struct real_devices *devices, struct udev_device *found)
{
	CLEANUP(properties_releasep) OSDictionary *properties = read_properties(found);
	if (properties == NULL)
		return -EINVAL;
	struct pci_device *d = calloc(1, sizeof(*d));
	if (d == NULL)
		return -ENOMEM;
	text_copy(d->address, sizeof(d->address), udev_device_get_sysname(found));
	return real_device_publish(devices, &d->real, found, &vfio_ops, properties);
}

const struct real_kind pci_devices = {
	.name = "PCI",
	.subsystem = "pci",
	.farewell = "it was removed",
	.add = add,
};
