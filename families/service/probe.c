// SPDX-License-Identifier: Apache-2.0
/*
 * A probe is a dext without a driver: one worker, one family, one question.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/cleanup.h>
#include <base/list.h>
#include <base/log.h>
#include <base/reason.h>
#include <families/family.h>
#include <families/service/probe.h>
#include <runtime/queue.h>
#include <runtime/worker.h>
#include <wire/codec.h>

struct probe {
	struct queue_item item;
	IODispatchQueue *queue;
	const struct family_ops *family;
	struct device_handover handover;
	int output_fd;
	int status; // the exit status
};

static const char *provider_class_of(const char *backend)
{
	static const struct {
		const char *backend, *provider_class;
	} rows[] = {
		{ "usbredir", "IOUSBHostInterface" },
		{ "vfio-user", "IOPCIDevice" },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].backend, backend) == 0)
			return rows[i].provider_class;
	return NULL;
}

static int write_answer(const OSObject *answer, int fd)
{
	struct wire_writer w;
	wire_writer_init(&w);
	int ret = wire_put_object(&w, answer);
	for (size_t done = 0; ret == 0 && done < w.size;) {
		ssize_t n = write(fd, w.data + done, w.size - done);
		if (n < 0)
			ret = -errno;
		else
			done += (size_t)n;
	}
	wire_writer_deinit(&w);
	return ret;
}

static void run(struct queue_item *item)
{
	struct probe *probe = container_of(item, struct probe, item);
	OSArray *identity = NULL;
	OSString *reason = NULL;
	kern_return_t ret = probe->family->copy_identity(&probe->handover, &identity);
	if (ret != kIOReturnSuccess) {
		reason = OSString_withCString(reason_last()[0] != '\0' ? reason_last()
								       : IOReturnString(ret));
		if (reason != NULL)
			(void)write_answer(OSString_as_OSObject(reason), probe->output_fd);
	} else if (write_answer(OSArray_as_OSObject(identity), probe->output_fd) == 0) {
		probe->status = EXIT_SUCCESS;
	}
	OSObjectRelease(reason);
	OSObjectRelease(identity);
	worker_stop();
}

static int set_up(struct probe *probe, const char *backend)
{
	const char *provider_class = provider_class_of(backend);
	probe->family = provider_class != NULL ? family_find(provider_class) : NULL;
	if (probe->family == NULL || probe->family->copy_identity == NULL) {
		log_error("probe: no family reads the identity of a %s device", backend);
		return -1;
	}
	OSString *name = OSString_withCString(backend);
	probe->handover.properties = OSDictionary_withCapacity(1);
	if (name == NULL || probe->handover.properties == NULL ||
	    !OSDictionary_setObject(probe->handover.properties, "OpenDextBackend",
				    OSString_as_OSObject(name)))
		return -1;
	OSObjectRelease(name);
	if (IODispatchQueue_Create("device", 0, 0, &probe->handover.queue) != kIOReturnSuccess ||
	    IODispatchQueue_Create("probe", 0, 0, &probe->queue) != kIOReturnSuccess)
		return -1;
	return 0;
}

int dext_probe(const char *backend, int device_fd, int output_fd)
{
	struct probe probe = {
		.item.run = run,
		.handover = { .fds = { device_fd }, .n_fds = 1 },
		.output_fd = output_fd,
		.status = EXIT_FAILURE,
	};
	if (set_up(&probe, backend) == 0 && queue_post(probe.queue, &probe.item))
		worker_run();
	handover_deinit(&probe.handover);
	OSSafeReleaseNULL(probe.handover.properties);
	OSSafeReleaseNULL(probe.handover.queue);
	OSSafeReleaseNULL(probe.queue);
	return probe.status;
}
