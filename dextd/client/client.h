/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An application, or dextctl, connected to dextd's socket: who it is (as the kernel says), what it
 * holds, what it watches. Everything it holds is counted against it and ends with it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <DriverKit/IOTypes.h>
#include <DriverKit/OSCollections.h>
#include <base/list.h>
#include <dextd/conversation.h>

#define CLIENTS_MAX            1024U
#define CLIENTS_PER_USER_MAX   512U
#define WATCHES_PER_CLIENT_MAX 256U
#define WATCH_MATCHING_MAX     (16U * 1024) // bytes of a matching dictionary, encoded

struct daemon;
struct entry;

enum watch_type { WATCH_MATCHED, WATCH_TERMINATED };

struct watch {
	struct list link; // client.watches
	uint64_t cookie;
	enum watch_type type;
	OSDictionary *matching; // owned
};

struct client {
	struct list link;        // daemon.clients
	struct list connections; // connection.client_link
	struct list watches;     // watch.link
	struct list waiters;     // quiet.c
	struct list news;        // connection.news_link: what it is to be told, the oldest first
	bool telling;            // it has not answered the last of them
	struct list interests;   // interest.link
	struct list due;         // interest.due_link: what it is to be told, the oldest first
	bool telling_interest;   // it has not answered the last of them
	struct daemon *daemon;
	struct conversation conversation;
	unsigned n_connections, n_watches, n_waiters, n_interests;
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; // owned: beside gid
	unsigned n_groups;
	int pidfd;     // owned: its process; -1: cannot be told (identity.h)
	char name[16]; // of its process, for people
};

/* Listen at the socket; accept from now on. Negative errno with a reason. */
int client_listen(struct daemon *daemon);
void client_unlisten(struct daemon *daemon);
void client_free(struct client *client);

OSDictionary *client_describe(const struct client *client); // for the dext; returned

int client_watch(struct client *client, enum watch_type type, OSDictionary *matching,
		 uint64_t cookie);
int client_unwatch(struct client *client, uint64_t cookie); // -ENOENT
/* The registry tells: all watches of all clients. */
void client_service_changed(struct daemon *daemon, const struct entry *entry, enum watch_type type);
