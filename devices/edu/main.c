/* SPDX-License-Identifier: Apache-2.0 */

/*
 * dext-edu: a virtual edu card as a process.
 *
 *	dext-edu --socket PATH
 *
 * Listens on the UNIX stream socket PATH for vfio-user clients, one after another, and prints
 * "ready" once it does. SIGTERM and SIGINT end it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <devices/edu/card.h>

int main(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "--socket") != 0) {
		fprintf(stderr, "usage: dext-edu --socket PATH\n");
		return EXIT_FAILURE;
	}
	struct card card = { .server = NULL };
	struct server server;
	server_init(&server, &edu_function, &card);
	card_init(&card, &server);
	return server_run(&server, "dext-edu", argv[2]);
}
