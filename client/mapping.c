/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory that a driver gives to an application.
 *
 * The driver answers a map call with a range and sends the descriptor on the connection's socket
 * before the reply, under the call's number. The range is checked against the file, and the mapping
 * guarded: the memory may still vanish, and then reads as zeroes.
 *
 * A mapping of a driver that died stays what it is, until it is unmapped; a type is then mapped
 * anew, from the driver that follows.
 *
 * One type is one mapping, counted. Maps and unmaps of a connection are made one after the other,
 * so that what is mapped here and what the driver remembers agree.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/fault.h>
#include <base/log.h>
#include <base/reason.h>
#include <client/connection.h>
#include <client/region.h>
#include <opendext/client.h>

struct mapping {
	struct list link; // connection.mappings
	struct list all;  // `mappings` below
	uint32_t type;
	bool read_only;      // as it was asked for
	uint32_t generation; // of the driver whose memory it is
	uint32_t count;      // of maps without an unmap
	uint8_t *address;
	size_t length;
	void *base; // what was mmapped: whole pages
	size_t base_length;
	struct fault_guard guard; // of the whole pages
};

/* Every mapping of the process, for dext_mapping_is_lost. */
static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list mappings = { &mappings, &mappings };

/* What the driver announced. */
struct range {
	uint64_t offset, length;
	uint32_t generation; // of the driver
	bool read_only;
};

/* --- one mapping --- */

static void mapping_free(struct mapping *m)
{
	pthread_mutex_lock(&mappings_lock);
	list_remove(&m->all);
	pthread_mutex_unlock(&mappings_lock);
	list_remove(&m->link);
	fault_guard_remove(&m->guard);
	munmap(m->base, m->base_length);
	free(m);
}

static kern_return_t check_range(int fd, const struct range *range)
{
	struct stat st;
	if (range->length == 0 || range->length > SIZE_MAX / 2 ||
	    range->offset > INT64_MAX - range->length)
		return refuse(kIOReturnIPCError,
			      "the driver gave an impossible range: %llu bytes at "
			      "%llu",
			      (unsigned long long)range->length, (unsigned long long)range->offset);
	if (fstat(fd, &st) < 0)
		return refuse(return_from_errno(-errno), "fstat: %s", strerror(errno));
	if (S_ISREG(st.st_mode) && range->offset + range->length > (uint64_t)st.st_size)
		return refuse(kIOReturnVMError,
			      "the driver announced %llu bytes at %llu of memory that has %llu",
			      (unsigned long long)range->length, (unsigned long long)range->offset,
			      (unsigned long long)st.st_size);
	return kIOReturnSuccess;
}

static kern_return_t map_pages(struct mapping *m, int fd, const struct range *range)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t skip = range->offset % page;
	int protection = range->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
	m->length = (size_t)range->length;
	m->base_length = (size_t)(skip + range->length);
	m->base = mmap(NULL, m->base_length, protection, MAP_SHARED, fd,
		       (off_t)(range->offset - skip));
	if (m->base == MAP_FAILED)
		return refuse(return_from_errno(-errno), "the memory cannot be mapped: %s",
			      strerror(errno));
	m->address = (uint8_t *)m->base + skip;
	m->guard.address = m->base;
	m->guard.length = m->base_length;
	int ret = fault_handler_install();
	if (ret == 0)
		ret = fault_guard_add(&m->guard);
	if (ret < 0) {
		munmap(m->base, m->base_length);
		return refuse(return_from_errno(ret), "the memory cannot be guarded: %s",
			      strerror(-ret));
	}
	return kIOReturnSuccess;
}

static kern_return_t mapping_new(struct mapping **out, int fd, const struct range *range)
{
	kern_return_t status = check_range(fd, range);
	if (status != kIOReturnSuccess)
		return status;
	struct mapping *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return refuse(kIOReturnNoMemory, "out of memory");
	list_init(&m->link);
	m->count = 1;
	status = map_pages(m, fd, range);
	if (status != kIOReturnSuccess) {
		free(m);
		return status;
	}
	pthread_mutex_lock(&mappings_lock);
	list_append(&mappings, &m->all);
	pthread_mutex_unlock(&mappings_lock);
	*out = m;
	return kIOReturnSuccess;
}

bool dext_mapping_is_lost(const void *address)
{
	bool lost = false;
	struct mapping *m;
	pthread_mutex_lock(&mappings_lock);
	list_for_each(m, &mappings, all) {
		uintptr_t offset = (uintptr_t)address - (uintptr_t)m->address;
		if (offset < m->length)
			lost = atomic_load(&m->guard.lost) != 0;
	}
	pthread_mutex_unlock(&mappings_lock);
	return lost;
}

/* --- with the driver --- */

/* The reason of an earlier failure stays. */
static void tell_unmapped(struct connection *c, uint32_t type)
{
	char reason[REASON_MAX];
	memcpy(reason, reason_last(), strlen(reason_last()) + 1);
	struct ring_request request = { .kind = RING_UNMAP, .n_scalars = 1 };
	struct ring_reply reply;
	request.scalars[0] = type;
	if (connection_call(c, &request, &reply) != kIOReturnSuccess)
		log_info("the driver was not told of an unmap: %s", reason_last());
	reason_set(reason);
}

/* The descriptor is the caller's. */
static kern_return_t ask_for_memory(struct connection *c, uint32_t type, struct range *range,
				    int *fd)
{
	struct ring_request request = { .kind = RING_MAP, .n_scalars = 2, .n_scalars_out = 3 };
	struct ring_reply reply;
	request.scalars[0] = type;
	request.scalars[1] = range->read_only ? kIOUserClientMemoryReadOnly : 0;
	kern_return_t status = connection_call(c, &request, &reply);
	if (status == kIOReturnTimeout)
		connection_forsake_descriptor(c, request.sequence);
	if (status != kIOReturnSuccess)
		return status;
	range->generation = reply.generation;
	*fd = connection_take_descriptor(c, request.sequence, reply.generation);
	if (*fd < 0 || reply.n_scalars != 3) {
		close_fdp(fd);
		return refuse(kIOReturnIPCError, "the driver sent no memory with its reply");
	}
	range->offset = reply.scalars[0];
	range->length = reply.scalars[1];
	if ((reply.scalars[2] & kIOUserClientMemoryReadOnly) != 0)
		range->read_only = true;
	return kIOReturnSuccess;
}

static kern_return_t map_new(struct connection *c, uint32_t type, bool read_only,
			     struct mapping **out)
{
	CLEANUP(close_fdp) int fd = -1;
	struct range range = { .read_only = read_only };
	kern_return_t status = ask_for_memory(c, type, &range, &fd);
	if (status != kIOReturnSuccess)
		return status;
	struct mapping *m = NULL;
	status = mapping_new(&m, fd, &range);
	if (m == NULL) {
		tell_unmapped(c, type);
		return status;
	}
	m->type = type;
	m->generation = range.generation;
	m->read_only = read_only;
	list_append(&c->mappings, &m->link);
	*out = m;
	return kIOReturnSuccess;
}

/* --- the public calls --- */

static bool is_present(struct connection *c, const struct mapping *m)
{
	return m->generation == ring_client_generation(c->ring);
}

/* Of the present driver. */
static struct mapping *find(struct connection *c, uint32_t type)
{
	struct mapping *m;
	list_for_each(m, &c->mappings, link)
		if (m->type == type && is_present(c, m))
			return m;
	return NULL;
}

/* Of any. */
static struct mapping *find_at(struct connection *c, uint32_t type, mach_vm_address_t address)
{
	struct mapping *m;
	list_for_each(m, &c->mappings, link)
		if (m->type == type && (mach_vm_address_t)(uintptr_t)m->address == address)
			return m;
	return NULL;
}

static kern_return_t map(struct connection *c, uint32_t type, bool read_only,
			 mach_vm_address_t *address, mach_vm_size_t *size)
{
	if (c->unmapped)
		return refuse(kIOReturnOffline, "the connection was closed");
	struct mapping *m = find(c, type);
	if (m == NULL) {
		kern_return_t status = map_new(c, type, read_only, &m);
		if (m == NULL)
			return status;
	} else if (m->read_only != read_only) {
		return refuse(kIOReturnBadArgument, "type %u is mapped already, %s: unmap it first",
			      type, m->read_only ? "read-only" : "for writing");
	} else {
		m->count++;
	}
	*address = (mach_vm_address_t)(uintptr_t)m->address;
	*size = m->length;
	return kIOReturnSuccess;
}

static kern_return_t check_task(task_port_t task)
{
	if (task != mach_task_self())
		return refuse(kIOReturnBadArgument, "the task must be mach_task_self()");
	return kIOReturnSuccess;
}

kern_return_t IOConnectMapMemory64(io_connect_t connect, uint32_t memoryType, task_port_t intoTask,
				   mach_vm_address_t *atAddress, mach_vm_size_t *ofSize,
				   IOOptionBits options)
{
	reason_clear();
	if (atAddress == NULL || ofSize == NULL)
		return refuse(kIOReturnBadArgument, "atAddress or ofSize is NULL");
	if (check_task(intoTask) != kIOReturnSuccess)
		return kIOReturnBadArgument;
	if ((options & ~(IOOptionBits)(kIOMapAnywhere | kIOMapReadOnly)) != 0)
		return refuse(kIOReturnBadArgument,
			      "options 0x%x: kIOMapAnywhere and kIOMapReadOnly are all there are",
			      options);
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	kern_return_t status = turn_take(&c->maps, "map or unmap");
	if (status == kIOReturnSuccess) {
		status = map(c, memoryType, (options & kIOMapReadOnly) != 0, atAddress, ofSize);
		turn_give(&c->maps);
	}
	connection_unref(c);
	return status;
}

static kern_return_t unmap(struct connection *c, uint32_t type, mach_vm_address_t address)
{
	struct mapping *m = find_at(c, type, address);
	if (m == NULL)
		return refuse(kIOReturnBadArgument, "type %u is not mapped at that address", type);
	if (--m->count == 0) {
		bool present = is_present(c, m);
		mapping_free(m);
		if (present)
			tell_unmapped(c, type);
	}
	return kIOReturnSuccess;
}

kern_return_t IOConnectUnmapMemory64(io_connect_t connect, uint32_t memoryType,
				     task_port_t fromTask, mach_vm_address_t atAddress)
{
	reason_clear();
	if (check_task(fromTask) != kIOReturnSuccess)
		return kIOReturnBadArgument;
	struct connection *c = connection_get(connect);
	if (c == NULL)
		return kIOReturnBadArgument;
	kern_return_t status = turn_take(&c->maps, "map or unmap");
	if (status == kIOReturnSuccess) {
		status = unmap(c, memoryType, atAddress);
		turn_give(&c->maps);
	}
	connection_unref(c);
	return status;
}

void connection_unmap_all(struct connection *c)
{
	struct mapping *m, *next;
	if (turn_take(&c->maps, "map or unmap") != kIOReturnSuccess)
		return;
	c->unmapped = true;
	list_for_each_safe(m, next, &c->mappings, link)
		mapping_free(m);
	connection_free_regions(c);
	turn_give(&c->maps);
}
