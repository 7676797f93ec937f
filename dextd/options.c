// SPDX-License-Identifier: Apache-2.0
/* The command line, one row per option. Every refusal names the option and what was expected. */

#include <dextd/options.h>

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/reason.h>
#include <dextd/process/sandbox.h>

const char options_help[] =
	"usage: dextd [options]\n"
	"Match devices to drivers, start the drivers confined, and broker connections to them.\n"
	"\n"
	"  --socket PATH            listen here                  (/run/opendext/socket)\n"
	"  --bundles DIR            take drivers from DIR/*.dext; may be repeated\n"
	"                           (/usr/lib/opendext/bundles and /etc/opendext/bundles)\n"
	"  --virtual KIND:PATH      a virtual device: usbredir:PATH or vfio-user:PATH, the socket\n"
	"                           it listens on; may be repeated\n"
	"  --real                   real USB and PCI devices too (the default for root)\n"
	"  --no-real                virtual devices only\n"
	"  --logind                 tell drivers of the machine's sleep, as logind does\n"
	"                           (the default with --real)\n"
	"  --no-logind              leave that to dextctl sleep and wake\n"
	"  --policy PATH            who may open what: a file, or a folder with *.plist\n"
	"                                                        (/etc/opendext/policy.d)\n"
	"  --require-layers LIST    start no driver without these layers of confinement: all, or\n"
	"                           namespaces,landlock,seccomp,rlimits,user\n"
	"  --allow-low-latency[=FILE]  for connections that poll: keep idle CPUs awake, by holding\n"
	"                           FILE open, and raise their drivers' priority\n"
	"                                                        (/dev/cpu_dma_latency)\n"
	"  --dext-user NAME         the user drivers run as when dextd is root   (65534)\n"
	"  --start-timeout-ms N     how long a driver's Start may take           (10000)\n"
	"  --stop-timeout-ms N      how long a driver's Stop may take            (5000)\n"
	"  --power-timeout-ms N     how long a driver may take to acknowledge a power state\n"
	"                                                                      (20000)\n"
	"  --probe PATH             the dext-probe program\n"
	"  --ready-fd N             write one line there when the socket listens\n"
	"  --log LEVEL              error, warn, info or debug                   (info)\n"
	"  --help, --version\n"
	"\n"
	"SIGHUP reads the bundles and the policy again; SIGTERM stops all drivers, then dextd.\n";

enum option_code {
	OPTION_SOCKET = 256,
	OPTION_BUNDLES,
	OPTION_VIRTUAL,
	OPTION_POLICY,
	OPTION_REAL,
	OPTION_NO_REAL,
	OPTION_LOGIND,
	OPTION_NO_LOGIND,
	OPTION_REQUIRE_LAYERS,
	OPTION_ALLOW_LOW_LATENCY,
	OPTION_DEXT_USER,
	OPTION_START_TIMEOUT,
	OPTION_STOP_TIMEOUT,
	OPTION_POWER_TIMEOUT,
	OPTION_PROBE,
	OPTION_READY_FD,
	OPTION_LOG,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option option_table[] = {
	{ "socket", required_argument, NULL, OPTION_SOCKET },
	{ "bundles", required_argument, NULL, OPTION_BUNDLES },
	{ "virtual", required_argument, NULL, OPTION_VIRTUAL },
	{ "logind", no_argument, NULL, OPTION_LOGIND },
	{ "no-logind", no_argument, NULL, OPTION_NO_LOGIND },
	{ "policy", required_argument, NULL, OPTION_POLICY },
	{ "real", no_argument, NULL, OPTION_REAL },
	{ "no-real", no_argument, NULL, OPTION_NO_REAL },
	{ "require-layers", required_argument, NULL, OPTION_REQUIRE_LAYERS },
	{ "allow-low-latency", optional_argument, NULL, OPTION_ALLOW_LOW_LATENCY },
	{ "dext-user", required_argument, NULL, OPTION_DEXT_USER },
	{ "start-timeout-ms", required_argument, NULL, OPTION_START_TIMEOUT },
	{ "stop-timeout-ms", required_argument, NULL, OPTION_STOP_TIMEOUT },
	{ "power-timeout-ms", required_argument, NULL, OPTION_POWER_TIMEOUT },
	{ "probe", required_argument, NULL, OPTION_PROBE },
	{ "ready-fd", required_argument, NULL, OPTION_READY_FD },
	{ "log", required_argument, NULL, OPTION_LOG },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

static int bad(const char *option, const char *value, const char *wanted)
{
	(void)refuse(kIOReturnBadArgument, "%s %s: %s", option, value, wanted);
	return -EINVAL;
}

static int parse_number(const char *option, const char *text, uint32_t max, uint32_t *value)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || n > max)
		return bad(option, text, "a number was expected");
	*value = (uint32_t)n;
	return 0;
}

static int append(const char *option, const char **list, unsigned *n, const char *value)
{
	if (*n == OPTIONS_LIST_MAX)
		return bad(option, value, "given too often (at most 32 times)");
	list[(*n)++] = value;
	return 0;
}

static int parse_level(const char *text, enum log_level *level)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return bad("--log", text, "error, warn, info or debug was expected");
}

static int parse_layers(const char *text, uint32_t *layers)
{
	while (*text != '\0') {
		size_t length = strcspn(text, ",");
		uint32_t bit = sandbox_layer_named(text, length);
		if (bit == 0)
			return bad("--require-layers", text,
				   "a comma-separated list of namespaces, landlock, seccomp, "
				   "rlimits, user, or all was expected");
		*layers |= bit;
		text += length;
		if (*text == ',')
			text++;
	}
	return 0;
}

static int check_virtual(const char *spec)
{
	const char *path = strchr(spec, ':');
	if (path == NULL || path[1] != '/' ||
	    (strncmp(spec, "usbredir:", 9) != 0 && strncmp(spec, "vfio-user:", 10) != 0))
		return bad("--virtual", spec,
			   "usbredir:PATH or vfio-user:PATH was expected, with an absolute path");
	return 0;
}

static int take(struct options *o, int option, const char *argument, int *logind,
		enum options_result *result)
{
	uint32_t number;
	int ret = 0;

	switch (option) {
	case OPTION_SOCKET:
		o->socket_path = argument;
		break;
	case OPTION_BUNDLES:
		ret = append("--bundles", o->bundle_dirs, &o->n_bundle_dirs, argument);
		break;
	case OPTION_VIRTUAL:
		ret = check_virtual(argument);
		if (ret == 0)
			ret = append("--virtual", o->virtual_specs, &o->n_virtual_specs, argument);
		break;
	case OPTION_POLICY:
		o->policy_path = argument;
		break;
	case OPTION_REAL:
	case OPTION_NO_REAL:
		o->real = option == OPTION_REAL;
		break;
	case OPTION_LOGIND:
	case OPTION_NO_LOGIND:
		*logind = option == OPTION_LOGIND ? 1 : 0;
		break;
	case OPTION_REQUIRE_LAYERS:
		ret = parse_layers(argument, &o->required_layers);
		break;
	case OPTION_ALLOW_LOW_LATENCY:
		o->latency_path = argument != NULL ? argument : "/dev/cpu_dma_latency";
		break;
	case OPTION_DEXT_USER:
		o->dext_user = argument;
		break;
	case OPTION_START_TIMEOUT:
		ret = parse_number("--start-timeout-ms", argument, 600000, &o->start_timeout_ms);
		break;
	case OPTION_STOP_TIMEOUT:
		ret = parse_number("--stop-timeout-ms", argument, 600000, &o->stop_timeout_ms);
		break;
	case OPTION_POWER_TIMEOUT:
		ret = parse_number("--power-timeout-ms", argument, 600000, &o->power_timeout_ms);
		break;
	case OPTION_PROBE:
		o->probe_path = argument;
		break;
	case OPTION_READY_FD:
		ret = parse_number("--ready-fd", argument, INT_MAX, &number);
		if (ret == 0)
			o->ready_fd = (int)number;
		break;
	case OPTION_LOG:
		ret = parse_level(argument, &o->log_level);
		break;
	case OPTION_HELP:
		*result = OPTIONS_HELP;
		break;
	case OPTION_VERSION:
		*result = OPTIONS_VERSION;
		break;
	default:
		(void)refuse(kIOReturnBadArgument, "unknown option, or its argument is missing");
		return -EINVAL;
	}
	return ret;
}

int options_parse(struct options *o, int argc, char **argv, enum options_result *result)
{
	*o = (struct options){
		.socket_path = "/run/opendext/socket",
		.real = geteuid() == 0,
		.log_level = LOG_LEVEL_INFO,
		.start_timeout_ms = 10000,
		.stop_timeout_ms = 5000,
		.power_timeout_ms = 20000,
		.ready_fd = -1,
	};
	*result = OPTIONS_RUN;

	optind = 0; // also restarts a parse: tests call it repeatedly
	opterr = 0;
	int option, logind = -1;
	while ((option = getopt_long(argc, argv, "", option_table, NULL)) >= 0) {
		int ret = take(o, option, optarg, &logind, result);
		if (ret < 0)
			return ret;
	}
	if (optind < argc)
		return bad("argument", argv[optind], "dextd takes options only");
	o->logind = logind < 0 ? o->real : logind == 1;
	if (o->n_bundle_dirs == 0) {
		o->bundle_dirs[o->n_bundle_dirs++] = "/usr/lib/opendext/bundles";
		o->bundle_dirs[o->n_bundle_dirs++] = "/etc/opendext/bundles";
	}
	return 0;
}
