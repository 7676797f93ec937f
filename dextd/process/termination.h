/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The end of a service that a driver made with Create and terminates: the drivers that run on it
 * stop first, whatever process they are in, then the driver is told that it may stop it.
 */

struct channel_call;
struct entry;
struct service;

/* EndService, of an entry of `service`: answers `call` when nobody runs on the entry or below it.
 */
void termination_begin(struct service *service, struct entry *entry, struct channel_call *call);
/* RemoveService: it has stopped. Harmless when its end was not announced. */
void termination_end(struct service *service, const struct entry *entry);
/* A driver that ran on one of the service's entries has ended. */
void termination_check(struct service *service);
/* The process is gone. */
void termination_forget_all(struct service *service);
