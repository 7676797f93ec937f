/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Feed the files of a folder to a fuzz target, one after the other: what a fuzzer once found is an
 * ordinary test from then on. A crash names its file on the last line; an empty folder and a
 * descriptor left open are failures.
 *
 * With clang, the same target is a fuzzer: link it with -fsanitize=fuzzer instead of this file.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/cleanup.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned count_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int replay_file(const char *path)
{
	CLEANUP(freep) uint8_t *data = NULL;
	CLEANUP(close_fdp) int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	ssize_t size;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	/* Exactly as large as the input, so that a sanitizer sees a read beyond it. */
	data = malloc(status.st_size > 0 ? (size_t)status.st_size : 1);
	if (data == NULL)
		return -ENOMEM;
	size = read(fd, data, (size_t)status.st_size);
	if (size != status.st_size)
		return size < 0 ? -errno : -EIO;
	close_fdp(&fd);
	return LLVMFuzzerTestOneInput(data, (size_t)size);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
	struct dirent **entries = NULL;
	unsigned before = count_fds();
	int n_entries, failed = 0;

	if (argc != 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return EXIT_FAILURE;
	}
	n_entries = scandir(".", &entries, is_visible, alphasort);
	for (int i = 0; i < n_entries; i++) {
		int ret;

		printf("%s\n", entries[i]->d_name);
		fflush(stdout);
		ret = replay_file(entries[i]->d_name);
		if (ret != 0) {
			printf("%s: %s\n", entries[i]->d_name, strerror(-ret));
			failed = 1;
		}
		free(entries[i]);
	}
	free(entries);
	if (n_entries <= 0 || count_fds() != before) {
		printf(n_entries <= 0 ? "no inputs\n" : "descriptors were left open\n");
		failed = 1;
	}
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
