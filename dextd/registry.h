/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The tree of everything dextd knows: the root, devices (nubs), services of drivers, and their
 * clients. An entry's id is given once and never reused. Entries belong to the registry; pointers
 * to them are borrowed and end with registry_remove.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOTypes.h>
#include <DriverKit/OSCollections.h>
#include <base/list.h>
#include <dextd/power.h>

#define REGISTRY_PROPERTIES_MAX (64U * 1024) // bytes of one entry's properties, encoded
#define REGISTRY_ENTRIES_MAX    16384U
#define REGISTRY_BUCKETS        256U
#define REGISTRY_BUSY_MAX       65535 // AdjustBusy

enum entry_kind { ENTRY_ROOT, ENTRY_DEVICE, ENTRY_SERVICE, ENTRY_CLIENT };

enum entry_state {
	ENTRY_STATE_DEVICE,  // a device, no driver
	ENTRY_STATE_MATCHED, // a device with a driver; a service that waits for its process
	ENTRY_STATE_STARTING,
	ENTRY_STATE_RUNNING,
	ENTRY_STATE_STOPPED,     // Start refused, or Stop returned
	ENTRY_STATE_CRASHED,     // waits to be started again
	ENTRY_STATE_QUARANTINED, // crashed too often: waits for "dextctl restart"
	ENTRY_STATE_CLIENT,
};

struct device;
struct service;

struct entry {
	struct list link;    // registry.entries: ascending ids
	struct list bucket;  // registry.buckets[id % REGISTRY_BUCKETS]
	struct list sibling; // entry.children of the parent
	struct list children;
	struct list published; // registry.published: order of registration
	struct entry *parent;  // borrowed; NULL: the root
	uint64_t id;
	enum entry_kind kind;
	enum entry_state state;
	bool registered;      // applications may find it
	bool wants_register;  // RegisterService came before Start returned
	bool ending;          // its driver terminates it: nobody finds it or runs on it any more
	uint64_t publication; // the number of its latest registration, in order
	IOServiceName name, class_name, user_class;
	OSDictionary *properties; // owned
	struct list items;        // of its state (state_items.h)
	/* Busy: its driver says so, dextd works on it, or something below is busy, which counts
	 * once. */
	uint32_t busy, busy_driver;
	bool working;
	struct entry_power power; // ENTRY_SERVICE
	unsigned n_interests;     // of applications (client/interest.h)
	/* Whose it is; borrowed, may be NULL. */
	struct device *device;   // ENTRY_DEVICE
	struct service *service; // ENTRY_SERVICE and ENTRY_CLIENT
};

/* What happens to services, for those who watch; the entry is complete during the call. */
struct registry_events {
	void (*on_published)(void *context, struct entry *entry);
	void (*on_withdrawn)(void *context, struct entry *entry);
	/* It is about to leave the registry. */
	void (*on_removed)(void *context, const struct entry *entry);
	/* Its first reason to be busy came, or the last went. It may be about to be removed. */
	void (*on_busy)(void *context, const struct entry *entry);
};

struct registry {
	struct list entries;   // entry.link
	struct list published; // entry.published
	struct list buckets[REGISTRY_BUCKETS];
	struct entry *root;
	uint64_t next_id;
	uint64_t last_publication, last_change; // of a registration, of an item of state
	unsigned n_entries;
	const struct registry_events *events; // may be NULL
	void *context;
};

int registry_init(struct registry *registry);
void registry_deinit(struct registry *registry);

/* A new entry below `parent`; `properties` is kept, NULL: none. -ENOSPC with a reason: too many.
 * -EOVERFLOW with a reason: a name or the properties are too long. */
int registry_add(struct registry *registry, struct entry *parent, enum entry_kind kind,
		 const char *class_name, OSDictionary *properties, struct entry **out);
/* With all below it; those that were published are withdrawn first. */
void registry_remove(struct registry *registry, struct entry *entry);

/* To another parent; ids and order of registration stay. */
void registry_move(struct registry *registry, struct entry *entry, struct entry *parent);

/* Services in the subtree, `entry` included. */
unsigned registry_count_services(const struct entry *entry);
bool registry_is_below(const struct entry *entry, const struct entry *ancestor); // or the same

struct entry *registry_find(const struct registry *registry, uint64_t id); // 0: the root

int registry_set_name(struct entry *entry, const char *name);
int registry_set_user_class(struct entry *entry, const char *name);
/* Merge; on failure nothing changed. */
int registry_merge(struct entry *entry, OSDictionary *properties);

/* These and no others; kept. -EOVERFLOW with a reason: too large, nothing changed. */
int registry_reset(struct entry *entry, OSDictionary *properties);
int registry_remove_property(struct entry *entry, const char *key); // -ENOENT with a reason

void registry_publish(struct registry *registry, struct entry *entry);  // harmless when done
void registry_withdraw(struct registry *registry, struct entry *entry); // harmless when not

/* AdjustBusy by its driver. -EINVAL with a reason: below nothing, or beyond any use. */
int registry_adjust_busy(struct registry *registry, struct entry *entry, int32_t delta);
void registry_forget_busy(struct registry *registry, struct entry *entry); // its driver is gone
void registry_set_working(struct registry *registry, struct entry *entry, bool working);
/* Who keeps it busy: itself, or one below. */
const struct entry *registry_who_is_busy(const struct entry *entry);

const char *registry_state_name(enum entry_state state);
/* Properties, with what the registry itself knows laid over them. Returned; NULL: no memory. */
OSDictionary *registry_copy(const struct entry *entry);
