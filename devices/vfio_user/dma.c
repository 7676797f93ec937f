/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The memory that the client lets the function reach. It is read and written through its file, page
 * by page of what the client announced and never beyond.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <devices/vfio_user/dma.h>

void dma_init(struct dma *dma)
{
	dma->n_areas = 0;
}

void dma_deinit(struct dma *dma)
{
	while (dma->n_areas > 0)
		close_fdp(&dma->areas[--dma->n_areas].fd);
}

int dma_map(struct dma *dma, const struct dma_area *area, int *fd)
{
	if (*fd < 0 || area->size == 0 || area->address > UINT64_MAX - (area->size - 1) ||
	    area->offset > INT64_MAX - area->size)
		return EINVAL;
	for (unsigned i = 0; i < dma->n_areas; i++)
		if (area->address <= dma->areas[i].address + (dma->areas[i].size - 1) &&
		    dma->areas[i].address <= area->address + (area->size - 1))
			return EEXIST;
	if (dma->n_areas == DMA_AREAS_MAX)
		return ENOSPC;
	dma->areas[dma->n_areas] = *area;
	dma->areas[dma->n_areas++].fd = steal_fd(fd);
	return 0;
}

int dma_unmap(struct dma *dma, uint64_t address, uint64_t size)
{
	for (unsigned i = 0; i < dma->n_areas; i++) {
		struct dma_area *area = &dma->areas[i];
		if (area->address != address || area->size != size)
			continue;
		close_fdp(&area->fd);
		*area = dma->areas[--dma->n_areas];
		return 0;
	}
	return ENOENT;
}

static const struct dma_area *find(const struct dma *dma, uint64_t address)
{
	for (unsigned i = 0; i < dma->n_areas; i++)
		if (address >= dma->areas[i].address &&
		    address - dma->areas[i].address < dma->areas[i].size)
			return &dma->areas[i];
	return NULL;
}

/* How much of `size` bytes at `address` lies in one area that permits it; 0: nothing does. */
static size_t reach(const struct dma *dma, uint64_t address, size_t size, bool writing,
		    const struct dma_area **area)
{
	*area = find(dma, address);
	if (*area == NULL || !(writing ? (*area)->writable : (*area)->readable))
		return 0;
	uint64_t left = (*area)->size - (address - (*area)->address);
	return left < size ? (size_t)left : size;
}

/* A transfer that would leave what is mapped does not begin. */
static int check(const struct dma *dma, uint64_t address, size_t size, bool writing)
{
	const struct dma_area *area;
	while (size > 0) {
		size_t n = reach(dma, address, size, writing, &area);
		if (n == 0)
			return EFAULT;
		address += n;
		size -= n;
	}
	return 0;
}

int dma_read(const struct dma *dma, uint64_t address, void *data, size_t size)
{
	uint8_t *bytes = data;
	int error = check(dma, address, size, false);
	while (error == 0 && size > 0) {
		const struct dma_area *area;
		size_t n = reach(dma, address, size, false, &area);
		off_t at = (off_t)(area->offset + (address - area->address));
		if (pread(area->fd, bytes, n, at) != (ssize_t)n)
			return EIO;
		address += n;
		bytes += n;
		size -= n;
	}
	return error;
}

int dma_write(const struct dma *dma, uint64_t address, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	int error = check(dma, address, size, true);
	while (error == 0 && size > 0) {
		const struct dma_area *area;
		size_t n = reach(dma, address, size, true, &area);
		off_t at = (off_t)(area->offset + (address - area->address));
		if (pwrite(area->fd, bytes, n, at) != (ssize_t)n)
			return EIO;
		address += n;
		bytes += n;
		size -= n;
	}
	return error;
}
