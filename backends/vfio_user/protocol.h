/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The vfio-user protocol, version 0: what a client and a device say to each other over one UNIX
 * stream socket. Every message is a header and a payload, in host byte order; descriptors travel
 * with SCM_RIGHTS. Either side may send commands; replies carry the command's id. A refusal is a
 * bare header with VFIO_USER_ERROR and an errno value.
 *
 * Used by the backend and by the virtual devices. Declarations only.
 */

#include <stdint.h>

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,  // from the device
	VFIO_USER_DMA_WRITE = 12, // from the device
	VFIO_USER_DEVICE_RESET = 13,
};

enum { // header flags
	VFIO_USER_TYPE_MASK = 0xf,
	VFIO_USER_TYPE_COMMAND = 0,
	VFIO_USER_TYPE_REPLY = 1,
	VFIO_USER_NO_REPLY = 0x10,
	VFIO_USER_ERROR = 0x20,
};

struct vfio_user_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; // of the message, this header included
	uint32_t flags;
	uint32_t error; // errno, with VFIO_USER_ERROR
};

/* A NUL-terminated JSON text follows: {"capabilities":{…}} */
struct vfio_user_version {
	uint16_t major;
	uint16_t minor;
};

enum { VFIO_USER_DEVICE_RESETS = 1, VFIO_USER_DEVICE_PCI = 2 }; // device_info.flags

struct vfio_user_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};

enum { // region_info.flags
	VFIO_USER_REGION_READABLE = 1,
	VFIO_USER_REGION_WRITABLE = 2,
	VFIO_USER_REGION_MAPPABLE = 4, // a descriptor comes with the reply
	VFIO_USER_REGION_CAPABILITIES = 8,
};

/* Capabilities may follow, linked from cap_offset; argsz is the room, then the need. */
struct vfio_user_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset; // from the start of this struct
	uint64_t size;
	uint64_t offset; // of the region in its descriptor
};

enum { VFIO_USER_CAPABILITY_SPARSE_MMAP = 1 };

struct vfio_user_capability {
	uint16_t id;
	uint16_t version;
	uint32_t next; // offset like cap_offset; 0: the last
};

struct vfio_user_sparse_area {
	uint64_t offset;
	uint64_t size;
};

/* Only these areas of the region can be mapped. Areas follow. */
struct vfio_user_sparse_mmap {
	struct vfio_user_capability header;
	uint32_t n_areas;
	uint32_t reserved;
};

enum {                             // irq_info.flags
	VFIO_USER_IRQ_EVENTFD = 1, // an eventfd can be set
	VFIO_USER_IRQ_MASKABLE = 2,
	VFIO_USER_IRQ_AUTOMASKED = 4, // when it comes it is masked, and the client unmasks it
};

/* The index is VFIO's: 0 INTx, 1 MSI, 2 MSI-X. */
struct vfio_user_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};

enum { // irq_set.flags: one of DATA, one of ACTION
	VFIO_USER_IRQ_DATA_NONE = 0x1,
	VFIO_USER_IRQ_DATA_EVENTFD = 0x4, // a descriptor for each comes along; none: forget them
	VFIO_USER_IRQ_ACTION_MASK = 0x8,
	VFIO_USER_IRQ_ACTION_UNMASK = 0x10,
	VFIO_USER_IRQ_ACTION_TRIGGER = 0x20,
};

struct vfio_user_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
};

/* REGION_READ, its reply, and REGION_WRITE; the data follows. A write's reply is this alone. */
struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};

enum { VFIO_USER_DMA_READABLE = 1, VFIO_USER_DMA_WRITABLE = 2 }; // dma_map.flags: by the device

/* The memory's file comes along; offset is where the mapping begins in it. */
struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t address;
	uint64_t size;
};

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};
