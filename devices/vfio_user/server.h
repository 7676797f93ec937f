/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A PCI function behind a vfio-user socket: answers the commands of one client at a time. What the
 * function is, a device says by its table; what all have in common is here: the messages, the
 * eventfds that the client sent for the function's interrupts, and serving until a signal.
 * One thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <devices/vfio_user/dma.h>

enum { SERVER_CONFIG = 7, SERVER_N_REGIONS = 9 };

/* How a function interrupts: VFIO's numbers. INTx is masked when it comes, until it is unmasked. */
enum server_irq { SERVER_INTX, SERVER_MSI, SERVER_MSIX, SERVER_N_IRQ_KINDS };
enum { SERVER_VECTORS_MAX = 8 };

/* What becomes of the answer to a command. A device that is told to misbehave says otherwise. */
enum server_reply {
	SERVER_ANSWER,
	SERVER_HANG_UP, // the connection is closed instead
	SERVER_GARBAGE, // bytes that mean nothing are sent instead
	SERVER_SILENCE, // nothing is sent
};

/* `function` is the device's own. Errors are positive errnos, and become the refusal. */
struct server_ops {
	/* Up to SERVER_VECTORS_MAX; INTx: up to 1. */
	unsigned (*n_irqs)(void *function, enum server_irq kind);
	uint64_t (*region_size)(void *function, unsigned region); // 0: absent
	/* Optional. The file that is the region's memory, borrowed; -1: it cannot be mapped. */
	int (*region_fd)(void *function, unsigned region);
	/* `count` bytes, which need not be inside the region. */
	int (*read)(void *function, unsigned region, uint64_t offset, void *data, size_t count);
	int (*write)(void *function, unsigned region, uint64_t offset, const void *data,
		     size_t count);
	void (*reset)(void *function);
	/* Optional. The client has gone. */
	void (*detached)(void *function);
	/* Optional. A command was carried out. */
	enum server_reply (*before_reply)(void *function);
};

struct server {
	const struct server_ops *ops;
	void *function;
	struct dma dma;                                        // what the function may reach
	int connection_fd;                                     // owned; -1: none
	int event_fds[SERVER_N_IRQ_KINDS][SERVER_VECTORS_MAX]; // owned; -1: none
	bool wire;                                             // INTx is asserted
	bool is_masked;                                        // INTx is
};

void server_init(struct server *server, const struct server_ops *ops, void *function);
/* A client came: `fd` is consumed. */
void server_attach(struct server *server, int fd);
/* The connection is readable: serve one message. A broken client is hung up on. */
void server_dispatch(struct server *server);
void server_detach(struct server *server); // twice is harmless

/* --- for the function --- */

/* Does the client listen for interrupts of this kind? */
bool server_is_heard(const struct server *server, enum server_irq kind);
/* Raise a message. Nobody hears it: nothing happens. */
void server_raise(struct server *server, enum server_irq kind, unsigned vector);
void server_set_wire(struct server *server, bool asserted);

/* --- for a main() --- */

/* Listen on the UNIX stream socket `path`, print "ready", and serve one client after another until
 * SIGTERM or SIGINT. The exit status; `program` begins what is said to stderr. */
int server_run(struct server *server, const char *program, const char *path);
