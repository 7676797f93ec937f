/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What dextd was told on its command line. Read once in main, constant afterwards. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/log.h>

#define OPTIONS_LIST_MAX 32

struct options {
	const char *socket_path;
	const char *bundle_dirs[OPTIONS_LIST_MAX];
	unsigned n_bundle_dirs;
	const char *virtual_specs[OPTIONS_LIST_MAX];
	unsigned n_virtual_specs;
	const char *probe_path;   // NULL: search
	const char *policy_path;  // a file or a folder; NULL: the default one, if it is there
	const char *dext_user;    // name or number; NULL: 65534 when root, else our own
	const char *latency_path; // for connections that poll; NULL: not allowed
	uint32_t required_layers; // enum sandbox_layer bits
	bool real;                // real devices: discover, detach and hand over
	bool logind;              // follow the machine's sleep
	enum log_level log_level;
	uint32_t start_timeout_ms;
	uint32_t stop_timeout_ms;
	uint32_t power_timeout_ms;
	int ready_fd; // -1: none
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

/* Strings are borrowed from argv. Negative errno, with a reason (base/reason.h). */
int options_parse(struct options *options, int argc, char **argv, enum options_result *result);
extern const char options_help[];
