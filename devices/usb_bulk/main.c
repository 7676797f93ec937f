// SPDX-License-Identifier: Apache-2.0
/*
 * dext-usb-bulk: a virtual USB device on a UNIX socket, spoken to in usbredir.
 *
 * It serves one connection after another; each finds the device as new. SIGTERM and SIGINT end it
 * and remove the socket.
 */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <base/cleanup.h>
#include <base/log.h>
#include <devices/usb_bulk/peer.h>

static const char usage[] =
	"usage: dext-usb-bulk --socket PATH [options]\n"
	"  --vendor ID --product ID   USB ids, default 0x1d6b and 0x0104\n"
	"  --sequence                 number every IN transfer in its first 8 bytes\n"
	"  --misbehave KIND[=N]       behave badly from IN transfer N on (default 0): hangup-after,\n"
	"                             garbage, long-reply, wrong-id, stall-after, hold-after, silent\n"
	"  --verbose                  say on stderr what each connection did\n";

struct options {
	const char *socket;
	struct bulk_identity identity;
	struct misbehaviour misbehaviour;
};

static bool parse_number(const char *text, unsigned long max, unsigned long *value)
{
	char *end = NULL;
	errno = 0;
	*value = strtoul(text, &end, 0);
	return errno == 0 && end != text && *end == '\0' && *value <= max;
}

static bool parse_misbehaviour(const char *text, struct misbehaviour *m)
{
	static const struct {
		const char *name;
		enum misbehaviour_kind kind;
	} kinds[] = {
		{ "hangup-after", HANG_UP }, { "garbage", GARBAGE },   { "long-reply", LONG_REPLY },
		{ "wrong-id", WRONG_ID },    { "stall-after", STALL }, { "hold-after", HOLD },
		{ "silent", SILENT },
	};
	size_t n = strcspn(text, "=");
	unsigned long after = 0;
	if (text[n] == '=' && !parse_number(text + n + 1, 1UL << 31, &after))
		return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strlen(kinds[i].name) == n && strncmp(kinds[i].name, text, n) == 0) {
			*m = (struct misbehaviour){ .kind = kinds[i].kind, .after = after };
			return true;
		}
	}
	return false;
}

enum {
	OPT_SOCKET = 1,
	OPT_VENDOR,
	OPT_PRODUCT,
	OPT_SEQUENCE,
	OPT_MISBEHAVE,
	OPT_VERBOSE,
	OPT_HELP
};

static bool take_option(struct options *options, int option)
{
	unsigned long id = 0;
	switch (option) {
	case OPT_SOCKET:
		options->socket = optarg;
		return true;
	case OPT_VENDOR:
		if (!parse_number(optarg, UINT16_MAX, &id))
			return false;
		options->identity.vendor = (uint16_t)id;
		return true;
	case OPT_PRODUCT:
		if (!parse_number(optarg, UINT16_MAX, &id))
			return false;
		options->identity.product = (uint16_t)id;
		return true;
	case OPT_SEQUENCE:
		options->identity.sequence = true;
		return true;
	case OPT_MISBEHAVE:
		return parse_misbehaviour(optarg, &options->misbehaviour);
	case OPT_VERBOSE:
		log_to_stderr("dext-usb-bulk", LOG_LEVEL_INFO);
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "vendor", required_argument, NULL, OPT_VENDOR },
		{ "product", required_argument, NULL, OPT_PRODUCT },
		{ "sequence", no_argument, NULL, OPT_SEQUENCE },
		{ "misbehave", required_argument, NULL, OPT_MISBEHAVE },
		{ "verbose", no_argument, NULL, OPT_VERBOSE },
		{ "help", no_argument, NULL, OPT_HELP },
		{ 0 },
	};
	int option;
	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (option == OPT_HELP) {
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		}
		if (!take_option(options, option))
			return false;
	}
	return optind == argc && options->socket != NULL;
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	CLEANUP(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Serve one connection at a time until a signal ends it. 0 or a negative errno. */
static int serve(int listener, int signals, const struct options *options)
{
	struct peer *peer = NULL;
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = signals, .events = POLLIN },
			{ .fd = peer != NULL ? peer->fd : listener,
			  .events = peer != NULL ? peer_poll_events(peer) : POLLIN },
		};
		if (poll(fds, 2, -1) < 0 && errno != EINTR) {
			int error = -errno;
			peer_free(peer);
			return error;
		}
		if (fds[0].revents != 0)
			break;
		if (fds[1].revents == 0)
			continue;
		if (peer != NULL) {
			if (!peer_serve(peer, fds[1].revents))
				peer = peer_free(peer);
			continue;
		}
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			peer = peer_new(fd, &options->identity, &options->misbehaviour);
	}
	peer_free(peer);
	return 0;
}

int main(int argc, char **argv)
{
	struct options options = { .identity = { .vendor = 0x1d6b, .product = 0x0104 } };
	log_to_stderr("dext-usb-bulk", LOG_LEVEL_WARN);
	if (!parse_options(argc, argv, &options)) {
		fputs(usage, stderr);
		return 2;
	}
	CLEANUP(close_fdp) int signals = open_signals();
	CLEANUP(close_fdp) int listener = listen_on(options.socket);
	if (signals < 0 || listener < 0) {
		int error = listener < 0 ? listener : signals;
		log_error("%s: %s", options.socket, strerror(-error));
		return EXIT_FAILURE;
	}
	puts("ready");
	fflush(stdout);
	int error = serve(listener, signals, &options);
	unlink(options.socket);
	if (error != 0)
		log_error("%s", strerror(-error));
	return error != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
