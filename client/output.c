/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A small result is in the reply, and is copied. A large one is a file that the driver wrote and
 * sealed, and is mapped privately: what the application sees there nobody changes, and what it
 * writes there nobody sees. Either way it is whole pages, so one way of releasing does for both.
 *
 * The file is the driver's word, hence it must be one of which that is true: anonymous memory of
 * ordinary pages, sealed against shrinking and against whoever may still hold it for writing, and
 * as large as the reply says.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <IOKit/IOKitLib.h>
#include <base/cleanup.h>
#include <base/reason.h>
#include <client/connection.h>
#include <client/output.h>

static kern_return_t check_file(int fd, uint32_t size)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_WRITE;
	struct stat st;
	struct statfs fs;
	int seals = fcntl(fd, F_GET_SEALS);
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return refuse(return_from_errno(-errno), "the result's memory is unusable: %s",
			      strerrordesc_np(errno));
	if (seals < 0 || (seals & wanted) != wanted || fs.f_type != TMPFS_MAGIC)
		return refuse(kIOReturnIPCError,
			      "the driver sent a result in memory that it can still change");
	if ((uint64_t)st.st_size < size)
		return refuse(kIOReturnVMError,
			      "the driver announced a result of %u bytes, in memory that has %lld",
			      size, (long long)st.st_size);
	return kIOReturnSuccess;
}

static kern_return_t map(int fd, int flags, uint32_t size, void **address)
{
	void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd, 0);
	if (pages == MAP_FAILED)
		return refuse(return_from_errno(-errno), "no room for a result of %u bytes", size);
	*address = pages;
	return kIOReturnSuccess;
}

kern_return_t output_new(struct connection *c, uint64_t sequence, const struct ring_reply *reply,
			 void **address)
{
	*address = NULL;
	if (reply->structure_size == 0)
		return kIOReturnSuccess;
	if (!ring_output_is_sent(RING_VARIABLE, reply->structure_size)) {
		kern_return_t status = map(-1, MAP_ANONYMOUS, reply->structure_size, address);
		if (status == kIOReturnSuccess)
			memcpy(*address, reply->structure, reply->structure_size);
		return status;
	}
	CLEANUP(close_fdp) int fd = connection_take_descriptor(c, sequence, reply->generation);
	if (fd < 0)
		return refuse(kIOReturnIPCError, "the driver sent no memory with its reply");
	kern_return_t status = check_file(fd, reply->structure_size);
	return status == kIOReturnSuccess ? map(fd, 0, reply->structure_size, address) : status;
}

kern_return_t vm_deallocate(task_port_t task, vm_address_t address, vm_size_t size)
{
	reason_clear();
	if (task != mach_task_self())
		return refuse(kIOReturnBadArgument, "the task must be mach_task_self()");
	if (size > 0 && munmap((void *)address, size) < 0)
		return refuse(kIOReturnBadArgument, "%#llx: %zu bytes are no range of whole pages",
			      (unsigned long long)address, size);
	return kIOReturnSuccess;
}
