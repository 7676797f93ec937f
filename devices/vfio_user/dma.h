/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a virtual function's DMA reaches: the areas that the client announced with DMA_MAP, by
 * device address. Errors are positive errnos. One thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DMA_AREAS_MAX = 64 };

struct dma_area {
	uint64_t address, size;
	uint64_t offset; // in the file
	int fd;          // owned
	bool readable, writable;
};

struct dma {
	struct dma_area areas[DMA_AREAS_MAX];
	unsigned n_areas;
};

void dma_init(struct dma *dma);
void dma_deinit(struct dma *dma); // twice is harmless

/* `fd`, the area's file, is taken on success. EEXIST: it overlaps another. ENOSPC: there are too
 * many. EINVAL: no file, or no area. */
int dma_map(struct dma *dma, const struct dma_area *area, int *fd);
/* Exactly what was mapped; else ENOENT. */
int dma_unmap(struct dma *dma, uint64_t address, uint64_t size);

/* EFAULT: not all of it is mapped for that; nothing was transferred. */
int dma_read(const struct dma *dma, uint64_t address, void *data, size_t size);
int dma_write(const struct dma *dma, uint64_t address, const void *data, size_t size);
