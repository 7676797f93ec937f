/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A dextd of the test's own: its folder, its bundles of raw_dext, and raw conversations with it.
 * The paths of the programs come from the environment: DEXTD, RAW_DEXT, RAW_PROBE.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <DriverKit/OSCollections.h>
#include <wire/channel.h>

struct rig {
	char folder[64];
	pid_t dextd; // 0: stopped
};

void rig_prepare(struct rig *rig); // the folder
/* BUNDLES/NAME.dext with raw_dext behaving as `behaviour`; `keys` is XML added to the personality,
 * whose IOUserClass is NAME; the provider is IOUserResources when it names none. */
void rig_bundle(const struct rig *rig, const char *name, const char *behaviour, const char *keys);
void rig_start(struct rig *rig, const char *const *options); // options end with NULL; may be NULL
/* SIGTERM; it must exit well, soon, and leave no process behind. */
void rig_stop(struct rig *rig);
void rig_signal(const struct rig *rig, int signal);
void rig_path(const struct rig *rig, char *path, const char *name);             // 128 bytes
void rig_install(const struct rig *rig, const char *program, const char *name); // $program there

/* --- a client --- */

struct client {
	struct channel *channel;
	unsigned n_changes; // ServiceChanged
	uint64_t last_cookie, last_entry;
	unsigned n_entry_changes; // EntryChanged
	uint32_t last_what;
	unsigned n_restarts, n_ends; // ConnectionRestarted, ConnectionEnded
	uint32_t last_generation;
	bool mute; // it does not answer them
	bool hung_up;
};

int rig_connect(const struct rig *rig); // a bare descriptor
void client_open(struct client *client, const struct rig *rig);
void client_close(struct client *client);
kern_return_t client_ask(struct client *client, const struct OSMethodShape *shape, void *msg);
void client_wait_changes(struct client *client, unsigned n); // until n ServiceChanged have come

uint64_t number_of(OSDictionary *dictionary, const char *key);
const char *text_of(OSDictionary *dictionary, const char *key); // "" when absent

/* The entry whose IOUserClass is `name`; 0: none. Its properties in *properties, returned, or NULL.
 */
uint64_t find_entry(struct client *client, const char *name, OSDictionary **properties);
/* Wait until the entry `name` is in `state`. */
uint64_t wait_state(struct client *client, const char *name, const char *state);
uint64_t wait_new_process(struct client *client, const char *name, uint64_t old_pid);
uint64_t status_number(struct client *client, const char *key);
void wait_status(struct client *client, const char *key, uint64_t value);
/* The explanation's row of a personality of bundle NAME.dext: its text for `key`. */
void explanation_of(struct client *client, const char *device, const char *name, const char *key,
		    char *text); // 512 bytes
