/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A service that a driver registered, as a device that further drivers are matched to: they are its
 * clients, in processes of their own, and are handed a socket to it. They stop before it does; when
 * its process dies, it is gone for them, and comes again with the next.
 */

#include <base/list.h>
#include <dextd/device/device.h>

struct service;

struct published {
	struct device device;
	struct list link;        // service.published
	struct service *service; // borrowed; NULL: its process is gone
	struct entry *entry;     // of the service, borrowed; the device's own is below it
	uint64_t id;             // the entry's, also when it has ended
};

/* May drivers of other processes know of a service of this class? Not of one that passes for what
 * libdext's own families provide. */
bool published_is_possible(const struct entry *entry);
/* A socket to the service `entry` of another process for a driver that is not matched to it but may
 * know of it; *classes, the names by which it may be called, are borrowed. Negative errno with a
 * reason. */
int published_observe(struct service *service, const struct entry *entry, int *socket_fd,
		      OSArray **classes);

/* The service that a device of this kind stands for; NULL: it has ended, or the device is another.
 */
struct entry *published_entry(struct device *device);

/* Harmless when done already, and for user clients' sake does nothing for a class of libdext's. */
int published_add(struct service *service, struct entry *entry);
/* Those of `entry` and of what is below it, or all with NULL, are gone: their drivers stop. They
 * may be freed at once, or when their drivers have stopped; then service_lost_driver is called. */
void published_end(struct service *service, const struct entry *entry, const char *reason);
/* Is there still a driver on `entry`, or on one below it? One that stops counts. */
bool published_below(const struct service *service, const struct entry *entry);
/* The process is dead: nobody waits for them any more. */
void published_orphan(struct service *service);
