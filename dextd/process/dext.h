/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * One driver process: its channel, its requests under way, its end. It runs one service, or several
 * when their personalities say IOUserServerOneProcess.
 *
 * A dext ends in one way only: its process has exited and on_process_exit runs. Whoever wants its
 * end asks (dext_end) or forces (dext_kill) and waits for that.
 */

#include <stdbool.h>
#include <stdint.h>

#include <base/list.h>
#include <base/reason.h>
#include <dextd/conversation.h>
#include <dextd/loop.h>
#include <dextd/process/priority.h>

#define DEXT_SERVICES_MAX 256U

struct bundle;
struct daemon;
struct service;

struct dext {
	struct list link;                   // daemon.dexts
	struct list services;               // service.dext_link
	struct list connections;            // connection.dext_link
	struct list watches, state_watches; // watches.c, state_watches.c
	struct daemon *daemon;
	struct bundle *bundle; // referenced
	char *server_name;     // owned: IOUserServerName
	bool shared;           // IOUserServerOneProcess
	struct conversation conversation;
	struct loop_child child;
	int report_fd;   // owned: launch_failure
	uint32_t layers; // enum sandbox_layer
	enum priority priority;
	bool ending; // asked to exit: takes no more services
	bool killed;
	unsigned n_requests; // under way: the heartbeat runs while there are any
	unsigned n_resuming; // of them: connections that it is to go on with
	bool ping_sent;
	struct loop_timer heartbeat;
	struct loop_timer patience;    // until SIGTERM, then SIGKILL, while ending
	struct loop_timer confined_by; // when the layers it must report must have come
	unsigned impatience;
	char reason[REASON_MAX]; // why we ended it; empty: it ended by itself
};

/* Start `service` in a running dext of its server name, or in a new one. The service's handover is
 * consumed. Negative errno: no process; the service is not attached. */
int dext_start_service(struct daemon *daemon, struct service *service);
/* Ask for Stop; service_process_ended follows. */
void dext_stop_service(struct dext *dext, struct service *service);
/* The service does not run in it any more: service_process_ended at once when others do, else once
 * the process has exited. */
void dext_release_service(struct dext *dext, struct service *service);

/* The process says that it has put `layer` on itself. */
void dext_confined(struct dext *dext, uint32_t layer);

void dext_end(struct dext *dext);
void dext_kill(struct dext *dext, const char *reason);

/* A request under way, with a deadline, watched by the heartbeat. `on_reply` calls dext_answered
 * first. */
int dext_request(struct dext *dext, const struct OSMethodShape *shape, const void *msg,
		 uint32_t timeout_ms, channel_reply_fn on_reply, void *context);
void dext_answered(struct dext *dext);
/* Is it the deadline that passed? A driver may answer kIOReturnTimeout too. */
bool dext_timed_out(IOReturn status, uint64_t deadline_ns);
