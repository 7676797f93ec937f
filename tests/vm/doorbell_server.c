/* SPDX-License-Identifier: Apache-2.0 */

/*
 * doorbell-server PATH: tells one ivshmem-doorbell card of QEMU who it is, in the protocol of
 * QEMU's ivshmem-server (docs/specs/ivshmem-spec): its number, the memory, and an eventfd for each
 * of its vectors. It is alone among its peers, so what it rings is itself. Prints "ready" once it
 * listens; ends when the card has gone.
 */

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { POSITION = 7, VECTORS = 4, MEMORY_SIZE = 1 << 20 };

/* A number, and a descriptor with it unless that is -1. */
static bool tell(int to, int64_t number, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .room = { 0 } };
	uint64_t bytes = htole64((uint64_t)number);
	struct iovec iov = { &bytes, sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd >= 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = sizeof(control.room);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(bytes);
}

static bool introduce(int card)
{
	int memory = memfd_create("ivshmem", MFD_CLOEXEC);
	if (memory < 0 || ftruncate(memory, MEMORY_SIZE) < 0)
		return false;
	bool done = tell(card, 0, -1) /* the protocol's version */ && tell(card, POSITION, -1) &&
		    tell(card, -1, memory);
	for (int i = 0; done && i < VECTORS; i++)
		done = tell(card, POSITION, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	return done;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: doorbell-server PATH\n");
		return EXIT_FAILURE;
	}
	strcpy(address.sun_path, argv[1]);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0) {
		perror(argv[1]);
		return EXIT_FAILURE;
	}
	printf("ready\n");
	fflush(stdout);
	int card = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (card < 0 || !introduce(card)) {
		perror("the card");
		return EXIT_FAILURE;
	}
	char byte;
	while (read(card, &byte, 1) > 0)
		;
	return EXIT_SUCCESS;
}
