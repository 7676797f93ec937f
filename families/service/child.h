/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The services that a hosted service made with Create, user clients among them. host_adopt and
 * host_terminate (host.h) are the driver's side of it. Any queue.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/IOService.h>

struct hosted;

/* The one with this registry entry; returned; NULL: there is none, or it is ending. */
IOService *child_copy(struct hosted *hosted, uint64_t id);
/* Stop it and take it out of the registry. False: it is ending already, or was never made. */
bool child_end(struct hosted *hosted, IOService *service);
/* Nothing more is made; what there is ends, the newest first. */
void child_end_all(struct hosted *hosted);
