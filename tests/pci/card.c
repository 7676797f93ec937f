/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything lives in one folder: the bundle, both sockets and the card's memory. Where things were
 * built comes from the environment: DEXTD, DEXTCTL, CARD, DRIVER, DRIVER_PLIST.
 */

#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/clock.h>

#include "card.h"

enum { PATIENCE_MS = 10000 };

static const char *need_env(const char *name)
{
	const char *value = getenv(name);
	ck_assert_msg(value != NULL, "set %s, or run this test through meson", name);
	return value;
}

static void make_bundle(const char *folder)
{
	char command[1024];
	int n = snprintf(
		command, sizeof(command),
		"cd %s && mkdir -p bundles/ivshmem.dext && cp %s bundles/ivshmem.dext/ivshmem "
		"&& cp %s bundles/ivshmem.dext/Info.plist",
		folder, need_env("DRIVER"), need_env("DRIVER_PLIST"));
	ck_assert(n > 0 && (size_t)n < sizeof(command));
	ck_assert_msg(system(command) == 0, "%s", command);
}

pid_t card_spawn(const char *const *argv, int *output)
{
	int fds[2];
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); // nothing outlives a test that failed
		dup2(fds[1], STDOUT_FILENO);
		execv(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	*output = fds[0];
	return pid;
}

/* Started, and it said so. */
static pid_t spawn_ready(const char *const *argv)
{
	int output;
	char byte;
	pid_t pid = card_spawn(argv, &output);
	struct pollfd p = { .fd = output, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, PATIENCE_MS), 1);
	ck_assert_msg(read(output, &byte, 1) == 1, "%s did not start", argv[0]);
	close(output);
	return pid;
}

void card_start(struct card *card, const char *misbehave)
{
	card_start_with(card, misbehave, 0);
}

void card_start_with(struct card *card, const char *misbehave, unsigned n_vectors)
{
	char *folder = card->rig.folder;
	char device[128], virtual[160], memory[128], sock[128], bundles[128], misbehaviour[64],
		vectors[32];
	strcpy(folder, "/tmp/dext-pci.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0755), 0);
	make_bundle(folder);
	snprintf(device, sizeof(device), "%s/card", folder);
	snprintf(virtual, sizeof(virtual), "vfio-user:%s", device);
	snprintf(memory, sizeof(memory), "%s/memory", folder);
	snprintf(sock, sizeof(sock), "%s/socket", folder);
	snprintf(bundles, sizeof(bundles), "%s/bundles", folder);
	snprintf(misbehaviour, sizeof(misbehaviour), "--misbehave=%s", misbehave ? misbehave : "");

	snprintf(vectors, sizeof(vectors), "--vectors=%u", n_vectors);

	const char *option = misbehave != NULL ? misbehaviour : n_vectors > 0 ? vectors : NULL;
	const char *const card_argv[] = { need_env("CARD"),
					  "--socket",
					  device,
					  "--memory",
					  memory,
					  "--size",
					  "65536",
					  option,
					  misbehave != NULL && n_vectors > 0 ? vectors : NULL,
					  NULL };
	card->process = spawn_ready(card_argv);
	card->memory_fd = open(memory, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(card->memory_fd, 0);

	const char *const dextd_argv[] = { need_env("DEXTD"), "--no-real", "--socket",  sock,
					   "--bundles",       bundles,     "--virtual", virtual,
					   "--ready-fd",      "1",         NULL };
	card->rig.dextd = spawn_ready(dextd_argv);
	setenv("OPENDEXT_SOCKET", sock, 1);
	/* The library connects at its first use, and stays connected. */
	IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("NoSuchClass"));
	card->rig.n_fds = rig_count_fds(getpid());
}

void card_stop(struct card *card)
{
	int status;
	rig_stop(&card->rig);
	close(card->memory_fd);
	ck_assert_int_eq(kill(card->process, SIGTERM), 0);
	ck_assert_int_eq(waitpid(card->process, &status, 0), card->process);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the card ended with %#x",
		      status);
}

void card_wait_status(const char *part)
{
	char command[256], text[16384];
	snprintf(command, sizeof(command), "%s status", need_env("DEXTCTL"));
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	do {
		FILE *f = popen(command, "r");
		ck_assert_ptr_nonnull(f);
		text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
		pclose(f);
		if (strstr(text, part) != NULL)
			return;
	} while (clock_now_ns() < deadline);
	ck_abort_msg("dextctl status does not say \"%s\":\n%s", part, text);
}
