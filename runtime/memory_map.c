/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Maps. What Linux gives for memory is decided here, once: pages that are shared with the file, at
 * any address or a chosen one, read-only or not, with guard pages before and after. How they are
 * cached belongs to the memory and not to the mapping, so a cache mode is granted where the memory
 * has it anyway, and else refused.
 *
 * Bytes that are mapped already need no further mapping, unless the map asks for something of its
 * own: an address, guards, or to be read-only.
 */

#include <runtime/memory_parts.h>

#include <fcntl.h>
#include <stdlib.h>

#include <base/reason.h>

#define CACHE_MODES                                                     \
	(kIOMemoryMapCacheModeInhibit | kIOMemoryMapCacheModeCopyback | \
	 kIOMemoryMapCacheModeWriteThrough | kIOMemoryMapCacheModeRealTime)
#define KNOWN_OPTIONS \
	(kIOMemoryMapFixedAddress | kIOMemoryMapReadOnly | kIOMemoryMapGuardedMask | CACHE_MODES)

enum { LARGE_MARGIN = 1 << 20 };

struct IOMemoryMap_IVars {
	IOMemoryDescriptor *memory; // kept
	uint64_t offset;
	void *bytes;
	uint64_t length;
	const struct window *window; // that they are in: `own`, or the descriptor's
	struct window own;
};

/* What a map asks for. */
struct wish {
	uint64_t offset, length, address, margin;
	bool writable;
	bool is_own; // no other mapping will do
};

/* --- options --- */

/* Anonymous memory is the machine's own, which processors write back. */
static bool is_write_back(IOMemoryDescriptor *memory)
{
	struct window_piece pieces[MEMORY_PIECES_MAX];
	unsigned n = memory_get_pieces(memory, 0, memory->ivars->capacity, pieces);

	for (unsigned i = 0; i < n; i++)
		if (fcntl(pieces[i].fd, F_GET_SEALS) < 0)
			return false;
	return memory->ivars->cache_mode == kIOMemoryMapCacheModeDefault;
}

static kern_return_t check_cache_mode(IOMemoryDescriptor *memory, uint64_t mode)
{
	if (mode == kIOMemoryMapCacheModeDefault || mode == memory->ivars->cache_mode)
		return kIOReturnSuccess;
	if (mode == kIOMemoryMapCacheModeCopyback && is_write_back(memory))
		return kIOReturnSuccess;
	return refuse(kIOReturnUnsupported,
		      "CreateMapping: cache mode %#llx: how memory is cached is the kernel's to "
		      "say, and this memory's mode is %#x: ask for kIOMemoryMapCacheModeDefault",
		      (unsigned long long)mode, memory->ivars->cache_mode);
}

static kern_return_t check_guards(uint64_t guards, struct wish *wish)
{
	switch (guards) {
	case kIOMemoryMapGuardedDefault:
		wish->margin = MEMORY_MARGIN;
		return kIOReturnSuccess;
	case kIOMemoryMapGuardedNone:
		return kIOReturnSuccess;
	case kIOMemoryMapGuardedSmall:
		wish->margin = MEMORY_MARGIN;
		break;
	case kIOMemoryMapGuardedLarge:
		wish->margin = LARGE_MARGIN;
		break;
	default:
		return refuse(kIOReturnBadArgument, "CreateMapping: unknown guard mode %#llx",
			      (unsigned long long)guards);
	}
	wish->is_own = true;
	return kIOReturnSuccess;
}

static kern_return_t check_options(IOMemoryDescriptor *memory, uint64_t options, uint64_t address,
				   uint64_t alignment, struct wish *wish)
{
	uint64_t cache = options & CACHE_MODES;
	bool is_fixed = (options & kIOMemoryMapFixedAddress) != 0;

	if ((options & ~(uint64_t)KNOWN_OPTIONS) != 0 || (cache & (cache - 1)) != 0)
		return refuse(kIOReturnBadArgument, "CreateMapping: unknown options %#llx",
			      (unsigned long long)options);
	if (alignment != 0)
		return refuse(kIOReturnBadArgument,
			      "CreateMapping: alignment %llu: it must be 0; align a buffer when it "
			      "is made, or choose the address",
			      (unsigned long long)alignment);
	if (is_fixed != (address != 0))
		return refuse(kIOReturnBadArgument,
			      "CreateMapping: an address and kIOMemoryMapFixedAddress go together");
	wish->address = address;
	wish->is_own = is_fixed;
	wish->writable = (options & kIOMemoryMapReadOnly) == 0 && is_writable(memory->ivars);
	kern_return_t ret = check_guards(options & kIOMemoryMapGuardedMask, wish);
	return ret == kIOReturnSuccess ? check_cache_mode(memory, cache) : ret;
}

/* --- mapping --- */

static kern_return_t map_anew(IOMemoryDescriptor *memory, struct IOMemoryMap_IVars *map,
			      const struct wish *wish)
{
	struct window_piece pieces[MEMORY_PIECES_MAX];
	const struct window_shape shape = {
		.pieces = pieces,
		.n_pieces = memory_get_pieces(memory, wish->offset, wish->length, pieces),
		.writable = wish->writable,
		.address = wish->address,
		.margin = wish->margin,
	};
	kern_return_t ret = window_open(&map->own, &shape);

	map->window = &map->own;
	map->bytes = map->own.bytes;
	return ret;
}

static kern_return_t map_range(IOMemoryDescriptor *memory, struct IOMemoryMap_IVars *map,
			       const struct wish *wish)
{
	struct IOMemoryDescriptor_IVars *iv = memory->ivars;
	kern_return_t ret = kIOReturnSuccess;
	char *bytes = NULL;

	map->offset = wish->offset;
	map->length = wish->length;
	if (!wish->is_own && wish->writable)
		map->window = memory_mapped(iv, &bytes);
	else if (!wish->is_own && iv->is_foreign && iv->n_parts == 0)
		ret = memory_map_read_only(memory, &map->window, &bytes);
	if (ret == kIOReturnSuccess && bytes == NULL)
		return map_anew(memory, map, wish);
	map->bytes = bytes + wish->offset;
	return ret;
}

kern_return_t IOMemoryDescriptor_CreateMapping(IOMemoryDescriptor *self, uint64_t options,
					       uint64_t address, uint64_t offset, uint64_t length,
					       uint64_t alignment, IOMemoryMap **map)
{
	if (self == NULL || map == NULL)
		return refuse(kIOReturnBadArgument, "CreateMapping: an argument is missing");
	struct wish wish = { .offset = offset, .length = length };
	kern_return_t ret = check_options(self, options, address, alignment, &wish);
	if (ret == kIOReturnSuccess)
		ret = memory_check_range("CreateMapping", length_of(self->ivars), offset,
					 &wish.length);
	if (ret != kIOReturnSuccess)
		return ret;

	IOMemoryMap *made = OSTypeAlloc(IOMemoryMap);
	if (made != NULL)
		made->ivars = calloc(1, sizeof(*made->ivars));
	if (made == NULL || made->ivars == NULL) {
		OSObjectRelease(made);
		return refuse(kIOReturnNoMemory, "CreateMapping: out of memory");
	}
	ret = map_range(self, made->ivars, &wish);
	if (ret != kIOReturnSuccess) {
		OSObjectRelease(made);
		return ret;
	}
	OSObjectRetain(self);
	made->ivars->memory = self;
	*map = made;
	return kIOReturnSuccess;
}

void IMPL(IOMemoryMap, free)
{
	if (self->ivars != NULL) {
		window_close(&self->ivars->own);
		OSObjectRelease(self->ivars->memory);
		free(self->ivars);
		self->ivars = NULL;
	}
	IOMemoryMap_super_free(self);
}

uint64_t IOMemoryMap_GetAddress(IOMemoryMap *self)
{
	return self != NULL ? (uint64_t)(uintptr_t)self->ivars->bytes : 0;
}

uint64_t IOMemoryMap_GetLength(IOMemoryMap *self)
{
	return self != NULL ? self->ivars->length : 0;
}

uint64_t IOMemoryMap_GetOffset(IOMemoryMap *self)
{
	return self != NULL ? self->ivars->offset : 0;
}

bool IOMemoryMap_IsLost(IOMemoryMap *self)
{
	return self != NULL && window_is_lost(self->ivars->window);
}
