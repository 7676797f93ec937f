/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Everything one dextd holds. A device has services (one per match category), a service runs in a
 * dext (a process), a dext has connections, a client (an application) has connections. Each kind is
 * listed here once and by its owner. One thread.
 */

#include <stdbool.h>

#include <base/list.h>
#include <base/reason.h>
#include <dextd/loop.h>
#include <dextd/options.h>
#include <dextd/registry.h>
#include <dextd/process/sandbox.h>

struct logind;
struct rules;
struct real_devices;

struct daemon {
	struct options options; // constant
	struct loop *loop;      // owned
	struct registry registry;
	struct sandbox sandbox;
	struct rules *rules;           // owned: who may open what
	char rules_reason[REASON_MAX]; // why the files of now are not those rules; empty: they are
	struct list bundles;           // bundle.link
	struct list virtuals;          // virtual.link
	struct list devices;           // device.link
	struct list dexts;             // dext.link
	struct list clients;           // client.link
	unsigned n_clients, n_connections, n_services;
	struct real_devices *usb, *pci; // owned; NULL: virtual devices only
	struct logind *logind;          // owned; NULL: the machine's sleep is not followed
	struct loop_fd listener;
	struct loop_timer accept_again; // after running out of descriptors
	int listen_fd;
	struct power power;
	int awake_fd;         // owned; -1: nobody holds it
	int32_t awake_us;     // what it holds (latency.h); -1: nothing
	unsigned n_awake;     // connections that poll (client/awake.h)
	uint32_t dext_layers; // layers that every dext so far reported of itself
	bool dexts_reported;  // at least one did
	bool stopping;
};

/* Read the bundles, publish the devices, listen. Negative errno with a reason. */
int daemon_start(struct daemon *daemon, const struct options *options);
/* Serve until told to stop, and until every driver has stopped. */
int daemon_run(struct daemon *daemon);
void daemon_free(struct daemon *daemon); // also after a failed start

void daemon_rescan(struct daemon *daemon); // SIGHUP
void daemon_stop(struct daemon *daemon);   // SIGTERM: again, it stops waiting
void daemon_check_stopped(struct daemon *daemon);
