/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A personality that won a device: one service of a driver, from its match until the device goes,
 * through however many processes it takes. Its registry entry keeps its id all that time.
 *
 * What happens when its process has ended is decided by its `goal`, in one place
 * (service_process_ended).
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOReturn.h>
#include <dextd/device/device.h>
#include <dextd/loop.h>

#define SERVICE_CRASHES          5U // so many in SERVICE_CRASH_WINDOW_NS, and it is quarantined
#define SERVICE_CRASH_WINDOW_NS  (10ULL * 1000 * 1000 * 1000)
#define SERVICE_BACKOFF_FIRST_MS 100U
#define SERVICE_BACKOFF_MAX_MS   30000U

struct daemon;
struct dext;

enum service_goal {
	SERVICE_RUN,     // an end is a crash: start again
	SERVICE_RESTART, // stop, then start again
	SERVICE_NEXT,    // Start refused: the next candidate of the category
	SERVICE_REMOVE,  // the device goes
};

struct service {
	struct list device_link;  // device.services
	struct list dext_link;    // dext.services, while it has a process
	struct list published;    // published.link: what other drivers run on
	struct list terminations; // termination.link: what its driver terminates
	struct device *device;
	struct entry *entry;
	struct personality *personality; // its bundle is referenced
	struct dext *dext;               // NULL: no process
	struct list orphans;             // connection.dext_link: they wait for the next process
	int64_t score;
	enum service_goal goal;
	bool started;        // Start returned successfully in the present process
	bool start_deferred; // until the machine wakes
	bool start_waits;    // for the dext to report the layers that are required
	bool stop_waits;     // for the drivers that run on it
	bool stop_sent;
	struct device_fds handover; // opened, not yet handed over
	struct loop_timer timer;    // when to start
	struct loop_timer refused;  // when to act on a Start that failed
	unsigned n_children;        // entries made with AddService
	unsigned n_requests;        // Start and Stop under way

	uint64_t start_deadline_ns; // of the Start under way
	uint64_t started_at_ns;
	uint64_t crashes_ns[SERVICE_CRASHES]; // a ring
	unsigned n_crashes, restarts, failed_starts;
	uint32_t backoff_ms;
	char reason[REASON_MAX];       // of the last failure
	char last_end[128];            // of its last process: why, for the callers that it left
	char refused_open[REASON_MAX]; // the last client that policy kept out, and why
};

/* The bundles were read anew: forget what was refused, let go of what rests, match again. */
void service_rematch(struct device *device);
/* Start what matches and is not running: highest score first, one winner per category. */
void service_match(struct device *device);
void service_end_all(struct device *device, const char *reason);

/* The process took the service's Start: `status` and `reason` are its answer. */
void service_start_answered(struct service *service, IOReturn status, const char *reason);
/* The service has no process any more; it may be freed by this. */
void service_process_ended(struct service *service, const char *reason);

/* A driver that ran on it, or on what it made, has ended. */
void service_lost_driver(struct service *service);

/* The machine has woken: start what was to start meanwhile. */
void service_start_deferred(struct daemon *daemon);

/* dextctl kill and restart. */
IOReturn service_kill(struct service *service);
IOReturn service_restart(struct service *service);

/* RegisterService by the driver, for the service's own entry or one below it. */
void service_register(struct service *service, struct entry *entry);
