// SPDX-License-Identifier: Apache-2.0
/*
 * A real USB device through the kernel's usbfs, on a descriptor that was opened, claimed and
 * narrowed before it came here.
 *
 * A transfer is an URB: submitted and reaped with one ioctl each, in the event loop; the descriptor
 * is writable when something can be reaped. The kernel reads a write's buffer at submission and
 * fills a read's buffer at the reap, so between the two nobody but us touches it.
 *
 * An URB is forgotten by the kernel exactly when it was reaped, or when the descriptor is closed. A
 * node is therefore kept until its URB was reaped. Two things can go wrong with that: the device is
 * gone, then the reap says so after the last URB; and a reap can fail for an URB (its buffer was
 * unmapped), which the kernel then drops without saying which. Such a one is found when it is
 * cancelled: the kernel does not know it, and it is not among what can be reaped.
 *
 * After an unplug, EIO, ESHUTDOWN and ENODEV all mean the same: gone.
 */

#include <errno.h>
#include <linux/usbdevice_fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/list.h>
#include <base/reason.h>
#include <families/usb/descriptors.h>
#include <families/usb/usb_backend.h>
#include <runtime/queue.h>

enum {
	DEVICE_SIZE = 18,
	DESCRIPTORS_MAX = DEVICE_SIZE + 8 * 65535, // eight configurations
	REAPS_PER_CALL = 64,                       // then other descriptors have their turn
};

struct urb {
	struct usb_transfer *transfer;
	struct list link; // usb_backend.pending, in order of submission; or .spare
	bool discarded;
	struct usbdevfs_urb
		*kernel; // what the kernel is given: behind this node, in its allocation
};

struct usb_backend {
	int fd; // owned
	struct fd_source *source;
	void (*on_lost)(void *context, const char *reason);
	void *context;
	bool lost;
	uint8_t configuration; // bConfigurationValue of the active one; 0: not known
	struct list pending;
	struct list spare;
};

static bool means_gone(int error)
{
	return error == ENODEV || error == EIO || error == ESHUTDOWN;
}

/* --- ends --- */

static IOReturn from_urb_status(struct usb_backend *backend, int status)
{
	struct usbdevfs_connectinfo info;
	switch (-status) {
	case 0:
		return kIOReturnSuccess;
	case ENOENT:
	case ECONNRESET:
		return kIOReturnAborted;
	case EPIPE:
		return kUSBHostReturnPipeStalled;
	case EOVERFLOW:
		return kIOReturnOverrun;
	case EREMOTEIO:
		return kIOReturnUnderrun;
	case ENODEV:
	case ESHUTDOWN:
		return kIOReturnNoDevice;
	default: // EPROTO, EILSEQ, ETIME: on the wire; an unplug begins like this
		if (ioctl(backend->fd, USBDEVFS_CONNECTINFO, &info) < 0 && means_gone(errno))
			return kIOReturnNoDevice;
		return kIOReturnNotResponding;
	}
}

static void finish(struct usb_backend *backend, struct urb *urb, IOReturn status, uint32_t actual)
{
	struct usb_transfer *transfer = urb->transfer;
	list_remove(&urb->link);
	list_append(&backend->spare, &urb->link);
	transfer->status = status;
	transfer->actual = actual;
	transfer->done(transfer);
}

/* Reap one. 0, or a negative errno: -EAGAIN: there is none. */
static int reap(struct usb_backend *backend)
{
	void *reaped = NULL;
	if (ioctl(backend->fd, USBDEVFS_REAPURBNDELAY, &reaped) < 0)
		return -errno;
	struct urb *urb = ((struct usbdevfs_urb *)reaped)->usercontext;
	uint32_t actual = urb->kernel->actual_length > 0 ? (uint32_t)urb->kernel->actual_length : 0;
	if (actual > urb->transfer->length)
		actual = urb->transfer->length;
	finish(backend, urb, from_urb_status(backend, urb->kernel->status), actual);
	return 0;
}

/* Reap what there is. 0: all of it; 1: there may be more; else a negative errno. */
static int reap_all(struct usb_backend *backend, unsigned limit)
{
	for (unsigned i = 0; i < limit; i++) {
		int ret = reap(backend);
		if (ret == -EAGAIN)
			return 0;
		if (ret == -EFAULT || ret == -EINTR)
			continue; // EFAULT: one was dropped; its cancel will find it
		if (ret < 0)
			return ret;
	}
	return 1;
}

static void end_pending(struct usb_backend *backend, IOReturn status)
{
	while (!list_empty(&backend->pending))
		finish(backend, container_of(backend->pending.next, struct urb, link), status, 0);
}

/* The descriptor is closed first: after that the kernel knows none of the URBs. */
static void lose(struct usb_backend *backend)
{
	backend->lost = true;
	backend->source = fd_source_close(backend->source);
	close_fdp(&backend->fd);
	end_pending(backend, kIOReturnNoDevice);
	backend->on_lost(backend->context, "usbfs: the device was unplugged");
}

static void on_ready(void *context, uint32_t ready)
{
	struct usb_backend *backend = context;
	int ret = reap_all(backend, REAPS_PER_CALL);
	if (ret < 0 || (ret == 0 && (ready & EPOLLHUP) != 0))
		lose(backend);
}

/* --- the backend --- */

static uint8_t number_property(OSDictionary *properties, const char *key)
{
	OSNumber *number = OSDynamicCast(OSNumber, OSDictionary_getObject(properties, key));
	return number != NULL ? OSNumber_unsigned8BitValue(number) : 0;
}

static void free_urbs(struct list *urbs)
{
	struct urb *urb, *tmp;
	list_for_each_safe(urb, tmp, urbs, link)
		free(urb);
}

static void usbfs_close(struct usb_backend *backend)
{
	if (backend->source != NULL)
		backend->source = fd_source_close(backend->source);
	close_fdp(&backend->fd);
	end_pending(backend, kIOReturnAborted);
	free_urbs(&backend->spare);
	free(backend);
}

static int usbfs_open(struct usb_backend **out, struct device_handover *handover,
		      void (*on_lost)(void *context, const char *reason), void *context)
{
	CLEANUP(close_fdp) int fd = handover_take_fd(handover, 0);
	if (fd < 0) {
		refuse(kIOReturnBadArgument, "usbfs: no descriptor was handed over");
		return -EBADF;
	}
	struct usb_backend *backend = calloc(1, sizeof(*backend));
	if (backend == NULL)
		return -ENOMEM;
	list_init(&backend->pending);
	list_init(&backend->spare);
	backend->on_lost = on_lost;
	backend->context = context;
	backend->configuration = number_property(handover->properties, "bConfigurationValue");
	backend->fd = steal_fd(&fd);
	int ret = fd_source_open(&backend->source, backend->fd, EPOLLOUT, handover->queue, on_ready,
				 backend);
	if (ret != 0) {
		usbfs_close(backend);
		return ret;
	}
	*out = backend;
	return 0;
}

static int read_all(int fd, uint8_t *data, size_t room, size_t *size)
{
	size_t n = 0;
	while (n < room) {
		ssize_t got = pread(fd, data + n, room - n, (off_t)n);
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*size = n;
	return 0;
}

/* The active configuration among those that follow each other in `data`. */
static uint8_t *find_configuration(const struct usb_backend *backend, uint8_t *data, size_t size)
{
	uint8_t *first = size > 0 ? data : NULL;
	while (size > 0 && usb_configuration_bound(data, size) == 0) {
		const IOUSBConfigurationDescriptor *configuration = (const void *)data;
		if (backend->configuration == 0 ||
		    configuration->bConfigurationValue == backend->configuration)
			return data;
		size -= configuration->wTotalLength;
		data += configuration->wTotalLength;
	}
	return first;
}

static int usbfs_copy_descriptors(struct usb_backend *backend, uint8_t **data, size_t *size)
{
	CLEANUP(freep) uint8_t *all = malloc(DESCRIPTORS_MAX);
	if (all == NULL)
		return -ENOMEM;
	size_t n = 0;
	int ret = read_all(backend->fd, all, DESCRIPTORS_MAX, &n);
	if (ret != 0)
		return ret;
	if (n < DEVICE_SIZE)
		return -EBADMSG;
	uint8_t *configuration = find_configuration(backend, all + DEVICE_SIZE, n - DEVICE_SIZE);
	if (configuration == NULL)
		return -EBADMSG;
	size_t length = n - (size_t)(configuration - all);
	memmove(all + DEVICE_SIZE, configuration, length);
	*size = DEVICE_SIZE + length;
	*data = all;
	all = NULL;
	return 0;
}

/* It is ours already when it was claimed for us: claiming twice is harmless. */
static int usbfs_claim(struct usb_backend *backend, uint8_t interface)
{
	unsigned number = interface;
	if (backend->lost)
		return -ENODEV;
	if (ioctl(backend->fd, USBDEVFS_CLAIMINTERFACE, &number) == 0)
		return 0;
	int error = errno;
	if (error == EBUSY)
		refuse(kIOReturnExclusiveAccess,
		       "usbfs: another program or a kernel driver holds interface %u", number);
	return -error;
}

/* The claim belongs to whoever opened the descriptor, and ends with it. */
static int usbfs_release(struct usb_backend *backend, uint8_t interface)
{
	(void)backend;
	(void)interface;
	return 0;
}

static int refuse_submit(int error, uint32_t length)
{
	if (error == ENOMEM)
		refuse(kIOReturnNoResources,
		       "usbfs: no memory for a transfer of %u bytes: the kernel's limit for all USB "
		       "programs together is in /sys/module/usbcore/parameters/usbfs_memory_mb; "
		       "raise it, or use fewer or smaller transfers",
		       length);
	return means_gone(error) ? -ENODEV : -error;
}

static struct urb *take_urb(struct usb_backend *backend)
{
	if (!list_empty(&backend->spare)) {
		struct urb *spare = container_of(backend->spare.next, struct urb, link);
		list_remove(&spare->link);
		return spare;
	}
	struct urb *urb = malloc(sizeof(*urb) + sizeof(*urb->kernel));
	if (urb != NULL)
		urb->kernel = (void *)(urb + 1);
	return urb;
}

static int usbfs_submit(struct usb_backend *backend, struct usb_transfer *transfer)
{
	if (backend->lost)
		return -ENODEV;
	if (transfer->length > INT32_MAX)
		return -EMSGSIZE;
	struct urb *urb = take_urb(backend);
	if (urb == NULL)
		return -ENOMEM;
	urb->transfer = transfer;
	urb->discarded = false;
	*urb->kernel = (struct usbdevfs_urb){
		.type = transfer->type == kIOUSBEndpointTypeInterrupt ? USBDEVFS_URB_TYPE_INTERRUPT
								      : USBDEVFS_URB_TYPE_BULK,
		.endpoint = transfer->endpoint,
		.buffer = transfer->data,
		.buffer_length = (int)transfer->length,
		.usercontext = urb,
	};
	if (ioctl(backend->fd, USBDEVFS_SUBMITURB, urb->kernel) < 0) {
		int error = errno;
		list_append(&backend->spare, &urb->link);
		return refuse_submit(error, transfer->length);
	}
	transfer->backend = urb;
	list_append(&backend->pending, &urb->link);
	return 0;
}

static bool is_pending(const struct usb_backend *backend, const struct urb *wanted)
{
	const struct urb *urb;
	list_for_each(urb, &backend->pending, link)
		if (urb == wanted)
			return true;
	return false;
}

static void usbfs_cancel(struct usb_backend *backend, struct usb_transfer *transfer)
{
	struct urb *urb = transfer->backend;
	if (backend->lost || urb->discarded)
		return;
	urb->discarded = true;
	if (ioctl(backend->fd, USBDEVFS_DISCARDURB, urb->kernel) == 0 || errno != EINVAL)
		return; // its reap follows, or the loss of the device
	/* The kernel does not have it: it is ready to be reaped, or it was dropped. */
	if (reap_all(backend, UINT32_MAX) == 0 && is_pending(backend, urb))
		finish(backend, urb, kIOReturnVMError, 0);
}

/* The kernel sends the request itself and waits for it, usually about a millisecond, at most 5 s.
 */
static int usbfs_clear_halt(struct usb_backend *backend, uint8_t endpoint)
{
	unsigned number = endpoint;
	if (backend->lost)
		return -ENODEV;
	if (ioctl(backend->fd, USBDEVFS_CLEAR_HALT, &number) == 0)
		return 0;
	return means_gone(errno) ? -ENODEV : -errno;
}

static const struct usb_backend_ops usbfs_backend = {
	.name = "usbfs",
	.open = usbfs_open,
	.close = usbfs_close,
	.copy_descriptors = usbfs_copy_descriptors,
	.claim = usbfs_claim,
	.release = usbfs_release,
	.submit = usbfs_submit,
	.cancel = usbfs_cancel,
	.clear_halt = usbfs_clear_halt,
};

__attribute__((constructor)) static void register_backend(void)
{
	usb_backend_register(&usbfs_backend);
}
