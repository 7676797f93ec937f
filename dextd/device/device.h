/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A device that drivers can match: one interface of a USB device, one PCI function, or the
 * permanent IOUserResources. Where it comes from is behind device_ops; service.c matches and
 * starts.
 */

#include <stdbool.h>

#include <DriverKit/OSCollections.h>
#include <base/list.h>
#include <base/reason.h>

struct bundle;
struct daemon;
struct device;
struct entry;
struct personality;

#define DEVICE_FDS_MAX 8U

/* What a driver is handed; see DextHost::StartService. */
struct device_fds {
	int fds[DEVICE_FDS_MAX]; // owned; -1: none
	unsigned n;
};

struct device_ops {
	const char *backend; // OpenDextBackend; NULL: the device has no descriptors
	/* Required when there is a backend. Open it for a driver of `personality`, into `fds` that
	 * are empty. Negative errno with a reason; -ENODEV: it is gone. */
	int (*open)(struct device *device, const struct personality *personality,
		    struct device_fds *fds);
	/* Optional. No driver has it any more: give it back to the kernel. */
	void (*give_back)(struct device *device);
	/* Optional. A driver says that the device is gone. The default unplugs it. */
	void (*lost)(struct device *device, const char *reason);
	/* Required. The struct that embeds it. */
	void (*free)(struct device *device);
};

/* A personality that matched and was then refused by its own Start, or by the device. */
struct rejection {
	struct list link;                // device.rejections
	char *bundle_path, *personality; // owned
	char reason[REASON_MAX];
};

struct device {
	struct list link; // daemon.devices
	struct daemon *daemon;
	const struct device_ops *ops;
	struct entry *entry;    // borrowed from the registry
	struct list services;   // service.device_link
	struct list rejections; // rejection.link
	bool gone;              // unplugged: freed once its services have ended
};

/* Add to the registry and match. `properties` is kept; IOProviderClass is in it. On failure the
 * device is freed. */
int device_publish(struct daemon *daemon, struct device *device, const struct device_ops *ops,
		   const char *name, OSDictionary *properties);
int device_publish_below(struct daemon *daemon, struct entry *parent, struct device *device,
			 const struct device_ops *ops, const char *name, OSDictionary *properties);
/* The device is gone: its services stop, then it is freed. */
void device_unplug(struct device *device, const char *reason);
/* A service has ended: free the device if it waits for that, else offer it to others. */
void device_service_ended(struct device *device);
void device_give_back(struct device *device);
void device_lost(struct device *device, const char *reason);

int device_reject(struct device *device, const struct personality *personality, const char *reason);
const struct rejection *device_rejection(const struct device *device,
					 const struct personality *personality); // NULL: none
void device_forget_rejections(struct device *device);

void device_fds_init(struct device_fds *fds);
void device_fds_close(struct device_fds *fds); // harmless when done twice

/* The device that `text` names: an id, a name, or a bus address. NULL: none. */
struct device *device_find(struct daemon *daemon, const char *text);

int device_publish_resources(struct daemon *daemon); // IOUserResources
