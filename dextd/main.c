// SPDX-License-Identifier: Apache-2.0
/* dextd: everything but its command line is in the library, so that tests link what ships. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <dextd/daemon.h>
#include <dextd/options.h>

static int run(const struct options *options)
{
	struct daemon daemon;
	log_to_stderr("dextd", options->log_level);
	int ret = daemon_start(&daemon, options);
	if (ret < 0)
		log_error("cannot start: %s",
			  reason_last()[0] != '\0' ? reason_last() : strerror(-ret));
	else
		ret = daemon_run(&daemon);
	daemon_free(&daemon);
	return ret < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct options options;
	enum options_result result;
	if (options_parse(&options, argc, argv, &result) < 0) {
		fprintf(stderr, "dextd: %s (dextd --help)\n", reason_last());
		return EXIT_FAILURE;
	}
	if (result == OPTIONS_HELP)
		return fputs(options_help, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (result == OPTIONS_VERSION)
		return puts("dextd " OPENDEXT_VERSION) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	return run(&options);
}
