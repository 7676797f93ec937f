// SPDX-License-Identifier: Apache-2.0

#include <dextd/client/news.h>

#include <base/cleanup.h>
#include <dextd/client/client.h>
#include <dextd/client/connection.h>
#include <protocol/dextd.h>

static void tell_next(struct client *client);

static void on_answer(void *context, kern_return_t status, const char *reason, void *message)
{
	struct client *client = context;
	(void)status; // it may have closed the connection meanwhile
	(void)reason;
	(void)message;
	client->telling = false;
	if (client->conversation.channel != NULL)
		tell_next(client);
}

static int tell_end(struct client *client, const struct connection *c)
{
	const struct DextWatcher_ConnectionEnded_Msg msg = { .connection = c->id };
	return conversation_call(&client->conversation, &DextWatcher_ConnectionEnded_Shape, &msg, 0,
				 on_answer, client);
}

static int tell_restart(struct client *client, struct connection *c)
{
	CLEANUP(close_fdp) int socket_fd = steal_fd(&c->socket_fd);
	const struct DextWatcher_ConnectionRestarted_Msg msg = {
		.connection = c->id,
		.generation = c->generation,
		.socket = socket_fd,
	};
	return conversation_call(&client->conversation, &DextWatcher_ConnectionRestarted_Shape,
				 &msg, 0, on_answer, client);
}

static void tell_next(struct client *client)
{
	if (client->telling || list_empty(&client->news))
		return;
	struct connection *c = container_of(client->news.next, struct connection, news_link);
	list_remove(&c->news_link);
	int ret = c->entry == NULL ? tell_end(client, c) : tell_restart(client, c);
	client->telling = ret == 0; // else the conversation is at its end
}

void news_of(struct connection *c)
{
	if (c->client == NULL)
		return;
	list_remove(&c->news_link);
	list_append(&c->client->news, &c->news_link);
	tell_next(c->client);
}
