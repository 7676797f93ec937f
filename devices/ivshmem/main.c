/* SPDX-License-Identifier: Apache-2.0 */

/*
 * dext-ivshmem: a virtual ivshmem card as a process.
 *
 *	dext-ivshmem --socket PATH --memory FILE [--size BYTES] [--vectors N] [--misbehave=NAME]
 *
 * Listens on the UNIX stream socket PATH for vfio-user clients, one after another, and prints
 * "ready" once it does. FILE is BAR2: whoever opens it shares the memory. It is made, or grown, to
 * BYTES, a power of two; without --size its own length counts, or 1 MiB when it is empty.
 * With --vectors, 1 to 8, the card has as many doorbells, by MSI-X. SIGTERM and SIGINT end it.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <devices/ivshmem/function.h>
#include <devices/vfio_user/server.h>

#define MEMORY_SIZE_MIN     4096U
#define MEMORY_SIZE_DEFAULT (1024U * 1024)
#define MEMORY_SIZE_MAX     (UINT64_C(1) << 40)

struct options {
	const char *socket, *memory, *misbehave;
	uint64_t size; // 0: not given
	unsigned n_vectors;
};

static int usage(const char *problem)
{
	fprintf(stderr,
		"dext-ivshmem: %s\n"
		"usage: dext-ivshmem --socket PATH --memory FILE [--size BYTES] [--vectors N] "
		"[--misbehave=NAME]\n"
		"names:",
		problem);
	for (unsigned i = 0; function_misbehaviour_name(i) != NULL; i++)
		fprintf(stderr, " %s", function_misbehaviour_name(i));
	fprintf(stderr, "\n");
	return EXIT_FAILURE;
}

static bool is_memory_size(uint64_t size)
{
	return size >= MEMORY_SIZE_MIN && size <= MEMORY_SIZE_MAX && (size & (size - 1)) == 0;
}

/* The file behind BAR2. -1: said why. */
static int open_memory(const char *path, uint64_t *size)
{
	CLEANUP(close_fdp) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "dext-ivshmem: %s: %s\n", path, strerror(errno));
		return -1;
	}
	if (*size == 0)
		*size = st.st_size > 0 ? (uint64_t)st.st_size : MEMORY_SIZE_DEFAULT;
	if (!is_memory_size(*size)) {
		fprintf(stderr,
			"dext-ivshmem: %s: a BAR of %llu bytes: it must be a power of two, at least "
			"%u\n",
			path, (unsigned long long)*size, MEMORY_SIZE_MIN);
		return -1;
	}
	if ((uint64_t)st.st_size < *size && ftruncate(fd, (off_t)*size) < 0) {
		fprintf(stderr, "dext-ivshmem: %s: %s\n", path, strerror(errno));
		return -1;
	}
	return steal_fd(&fd);
}

static bool parse(struct options *options, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "memory", required_argument, NULL, 'm' },
		{ "size", required_argument, NULL, 'z' },
		{ "vectors", required_argument, NULL, 'v' },
		{ "misbehave", required_argument, NULL, 'x' },
		{ NULL, 0, NULL, 0 },
	};
	int c;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		char *end = NULL;
		switch (c) {
		case 's':
			options->socket = optarg;
			break;
		case 'm':
			options->memory = optarg;
			break;
		case 'x':
			options->misbehave = optarg;
			break;
		case 'v':
			options->n_vectors = (unsigned)strtoul(optarg, &end, 0);
			if (*end != '\0' || options->n_vectors < 1 ||
			    options->n_vectors > SERVER_VECTORS_MAX)
				return false;
			break;
		case 'z':
			options->size = strtoull(optarg, &end, 0);
			if (*end != '\0' || !is_memory_size(options->size))
				return false;
			break;
		default:
			return false;
		}
	}
	return optind == argc && options->socket != NULL && options->memory != NULL;
}

int main(int argc, char **argv)
{
	struct options options = { .size = 0 };
	if (!parse(&options, argc, argv))
		return usage("wrong arguments");
	CLEANUP(close_fdp) int memory_fd = open_memory(options.memory, &options.size);
	if (memory_fd < 0)
		return EXIT_FAILURE;
	struct function function;
	struct server server;
	server_init(&server, &ivshmem_function, &function);
	function_init(&function, &server, memory_fd, options.size, options.n_vectors);
	if (options.misbehave != NULL && !function_misbehave(&function, options.misbehave))
		return usage("no such way to misbehave");

	return server_run(&server, "dext-ivshmem", options.socket);
}
