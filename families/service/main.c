// SPDX-License-Identifier: Apache-2.0
/*
 * The main() of every dext: a driver has none of its own. dextd starts the process with its end of
 * the channel as descriptor 3; whoever starts it by hand is told how it is meant.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <families/service/host.h>

enum { CHANNEL_FD = 3 };

static enum log_level wanted_level(void)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	const char *name = getenv("OPENDEXT_LOG");
	for (int i = 0; name != NULL && i < 4; i++)
		if (strcmp(name, names[i]) == 0)
			return (enum log_level)i;
	return LOG_LEVEL_WARN;
}

__attribute__((visibility("default"))) int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
	name = name != NULL ? name + 1 : "dext";
	if (getenv("OPENDEXT_DEXT") == NULL || fcntl(CHANNEL_FD, F_GETFD) < 0) {
		fprintf(stderr,
			"%s is a driver: dextd starts it for its device.\n"
			"Put its bundle into a folder and run: dextd --bundles FOLDER …\n",
			name);
		return EXIT_FAILURE;
	}
	log_to_stderr(name, wanted_level());
	return host_run(CHANNEL_FD);
}
