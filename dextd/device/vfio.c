// SPDX-License-Identifier: Apache-2.0
/*
 * The order of the steps is VFIO's: bind every function of the group, open the container, open the
 * group, join them, choose the IOMMU type, and only then ask for the device.
 */

#include <dextd/device/vfio.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <base/reason.h>
#include <base/text.h>

#define SYSFS_DEVICES "/sys/bus/pci/devices"

static int fail(const char *address, const char *what, int error)
{
	(void)refuse(return_from_errno(-error), "%s: %s: %s", address, what, strerror(error));
	return -error;
}

static int write_attribute(const char *path, const char *text)
{
	CLEANUP(close_fdp) int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int write_device(const char *address, const char *attribute, const char *text)
{
	char path[PATH_MAX];
	text_print(path, sizeof(path), SYSFS_DEVICES "/%s/%s", address, attribute);
	return write_attribute(path, text);
}

/* The last component of the link `name` of the device. */
static int read_link(const char *address, const char *name, char *target, size_t room)
{
	char path[PATH_MAX], link[PATH_MAX];
	text_print(path, sizeof(path), SYSFS_DEVICES "/%s/%s", address, name);
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -errno;
	link[n] = '\0';
	const char *slash = strrchr(link, '/');
	text_copy(target, room, slash != NULL ? slash + 1 : link);
	return 0;
}

static bool is_bound_to_vfio(const char *address)
{
	char driver[64];
	return read_link(address, "driver", driver, sizeof(driver)) == 0 &&
	       strcmp(driver, "vfio-pci") == 0;
}

int vfio_bind(const char *address)
{
	char driver[64];
	if (is_bound_to_vfio(address))
		return 0;
	int ret = write_device(address, "driver_override", "vfio-pci");
	if (ret < 0)
		return ret == -ENOENT ? -ENODEV
				      : fail(address, "driver_override cannot be set", -ret);
	if (read_link(address, "driver", driver, sizeof(driver)) == 0)
		(void)write_device(address, "driver/unbind", address);
	ret = write_attribute("/sys/bus/pci/drivers_probe", address);
	if (ret < 0 || !is_bound_to_vfio(address)) {
		(void)write_device(address, "driver_override", "\n");
		(void)write_attribute("/sys/bus/pci/drivers_probe", address);
		(void)refuse(kIOReturnNoResources,
			     "%s: vfio-pci does not take it: is the module loaded (modprobe "
			     "vfio-pci), is there an IOMMU?",
			     address);
		return ret < 0 ? ret : -ENXIO;
	}
	return 0;
}

void vfio_unbind(const char *address)
{
	(void)write_device(address, "driver_override", "\n");
	if (is_bound_to_vfio(address))
		(void)write_device(address, "driver/unbind", address);
	(void)write_attribute("/sys/bus/pci/drivers_probe", address);
}

static int open_container(const char *address, int *out)
{
	CLEANUP(close_fdp) int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(address, "/dev/vfio/vfio cannot be opened", errno);
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return fail(
			address,
			"VFIO has no type 1 IOMMU: modprobe vfio_iommu_type1, and boot with the IOMMU on",
			EOPNOTSUPP);
	*out = steal_fd(&fd);
	return 0;
}

static int open_group(const char *address, int *out)
{
	char group[32], path[64];
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int ret = read_link(address, "iommu_group", group, sizeof(group));
	if (ret < 0)
		return fail(address, "it is in no IOMMU group", -ret);
	text_print(path, sizeof(path), "/dev/vfio/%s", group);
	CLEANUP(close_fdp) int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(address, "its IOMMU group cannot be opened (is it in use?)", errno);
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return fail(address, "its IOMMU group does not answer", errno);
	if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0)
		return fail(address, "other devices of its IOMMU group have kernel drivers", EBUSY);
	*out = steal_fd(&fd);
	return 0;
}

int vfio_open(const char *address, struct vfio_device *device)
{
	CLEANUP(close_fdp) int container = -1;
	CLEANUP(close_fdp) int group = -1;
	device->container_fd = device->device_fd = -1;
	int ret = open_container(address, &container);
	if (ret == 0)
		ret = open_group(address, &group);
	if (ret < 0)
		return ret;
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0)
		return fail(address, "its group cannot join a container", errno);
	if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return fail(address, "the IOMMU cannot be used", errno);
	int fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	if (fd < 0)
		return fail(address, "VFIO does not open it", errno);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	device->device_fd = fd;
	device->container_fd = steal_fd(&container);
	return 0;
}

void vfio_close(struct vfio_device *device)
{
	close_fdp(&device->device_fd);
	close_fdp(&device->container_fd);
}

int vfio_revoke_bar(const struct vfio_device *device, unsigned number)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = number };
	if (ioctl(device->device_fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		return -errno;
	if (info.size == 0)
		return 0;
	if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) == 0)
		return -EOPNOTSUPP;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, device->device_fd, (off_t)info.offset);
	if (map == MAP_FAILED)
		return -errno;
	/* The BAR is taken when a page of it is touched first. */
	(void)*(volatile const uint32_t *)map;
	(void)munmap(map, page);
	return 0;
}

int vfio_open_resource(const char *address, unsigned number)
{
	char path[PATH_MAX];
	text_print(path, sizeof(path), SYSFS_DEVICES "/%s/resource%u", address, number);
	CLEANUP(close_fdp) int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		log_warn("%s cannot be opened: %s: applications cannot map this BAR", path,
			 strerror(errno));
		return -1;
	}
	struct stat st;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	if (fstat(fd, &st) < 0 || st.st_size < (off_t)page)
		return -1; // an absent BAR, or smaller than a page: never mapped
	void *map = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		log_warn("%s cannot be mapped while VFIO has the card: %s: applications cannot "
			 "map this BAR",
			 path, strerror(errno));
		return -1;
	}
	(void)munmap(map, page);
	return steal_fd(&fd);
}
