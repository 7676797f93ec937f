/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Memory that an application shares with a connection by address: dext_buffer_create. */

struct connection;

/* Unmap all of them. With the turn at the maps, or by the last who has the connection. */
void connection_free_regions(struct connection *c);
