/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * VFIO as dextd uses it: bind a function, open group, container and device, give it back. Whoever
 * holds container and device can do DMA, so dextd passes both on and keeps neither.
 */

#include <stdbool.h>

struct vfio_device {
	int container_fd, device_fd; // owned; -1: none
};

/* `address` is "0000:00:04.0". Negative errno with a reason; -ENODEV: it is gone. */
int vfio_bind(const char *address);
void vfio_unbind(const char *address); // back to the kernel's own choice
/* One container per call. The group is closed again: container and device keep it in use. */
int vfio_open(const char *address, struct vfio_device *device);
void vfio_close(struct vfio_device *device);

/* Map BAR `number` once through VFIO and unmap it: that takes away every mapping of its sysfs
 * resource, whoever holds it. */
int vfio_revoke_bar(const struct vfio_device *device, unsigned number);
/* The BAR's sysfs resource, if this kernel lets it be mapped while VFIO has the device; -1 else. */
int vfio_open_resource(const char *address, unsigned number);
