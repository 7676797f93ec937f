/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What an application is told of its connections: that a driver was replaced, and the new socket
 * with it, or that there is none any more. It answers, and until then is told no more: one that
 * does not read costs one message, however many drivers die.
 */

struct connection;

/* It goes on with another dext, or has ended: tell its application, once it has answered the last.
 */
void news_of(struct connection *connection);
