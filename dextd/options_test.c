// SPDX-License-Identifier: Apache-2.0
/* The command line: defaults, every option, and what is refused, with a reason that names it. */

#include <base/unit_test.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <base/reason.h>
#include <dextd/options.h>
#include <dextd/process/sandbox.h>

static struct options options;
static enum options_result result;

static int parse(const char *a, const char *b, const char *c)
{
	char *argv[] = { strdup("dextd"), a != NULL ? strdup(a) : NULL,
			 b != NULL ? strdup(b) : NULL, c != NULL ? strdup(c) : NULL, NULL };
	int argc = 1 + (a != NULL) + (b != NULL) + (c != NULL);
	reason_clear();
	int ret = options_parse(&options, argc, argv, &result);
	/* The strings are borrowed: kept until the process ends. */
	static char *kept[64][5];
	static unsigned n;
	memcpy(kept[n++ % 64], argv, sizeof(argv));
	return ret;
}

START_TEST(test_defaults)
{
	ck_assert_int_eq(parse(NULL, NULL, NULL), 0);
	ck_assert_int_eq(result, OPTIONS_RUN);
	ck_assert_str_eq(options.socket_path, "/run/opendext/socket");
	ck_assert_uint_eq(options.n_bundle_dirs, 2);
	ck_assert_str_eq(options.bundle_dirs[0], "/usr/lib/opendext/bundles");
	ck_assert_uint_eq(options.start_timeout_ms, 10000);
	ck_assert_int_eq(options.ready_fd, -1);
	ck_assert_uint_eq(options.required_layers, 0);
	ck_assert_uint_eq(options.power_timeout_ms, 20000);
	ck_assert(options.logind == options.real);
	ck_assert_ptr_null(options.latency_path);
	ck_assert_ptr_null(options.policy_path);
}
END_TEST

START_TEST(test_values)
{
	ck_assert_int_eq(parse("--bundles=/a", "--bundles=/b", "--socket=/s"), 0);
	ck_assert_uint_eq(options.n_bundle_dirs, 2);
	ck_assert_str_eq(options.bundle_dirs[1], "/b");
	ck_assert_str_eq(options.socket_path, "/s");
	ck_assert_int_eq(parse("--policy", "/p", NULL), 0);
	ck_assert_str_eq(options.policy_path, "/p");
	ck_assert_int_eq(parse("--virtual=usbredir:/u", "--virtual=vfio-user:/v", "--no-real"), 0);
	ck_assert_uint_eq(options.n_virtual_specs, 2);
	ck_assert(!options.real);
	ck_assert(!options.logind);
	ck_assert_int_eq(parse("--logind", "--no-real", "--power-timeout-ms=7"), 0);
	ck_assert(options.logind);
	ck_assert_uint_eq(options.power_timeout_ms, 7);
	ck_assert_int_eq(parse("--real", "--no-logind", NULL), 0);
	ck_assert(!options.logind);
	ck_assert_int_eq(parse("--real", "--log=debug", "--start-timeout-ms=5"), 0);
	ck_assert(options.real && options.logind);
	ck_assert_int_eq(options.log_level, LOG_LEVEL_DEBUG);
	ck_assert_uint_eq(options.start_timeout_ms, 5);
	ck_assert_int_eq(parse("--require-layers=landlock,seccomp", "--ready-fd=9", NULL), 0);
	ck_assert_uint_eq(options.required_layers, SANDBOX_LANDLOCK | SANDBOX_SECCOMP);
	ck_assert_int_eq(options.ready_fd, 9);
	ck_assert_int_eq(parse("--require-layers=all", NULL, NULL), 0);
	ck_assert_uint_eq(options.required_layers, SANDBOX_ALL);
	ck_assert_int_eq(parse("--allow-low-latency", NULL, NULL), 0);
	ck_assert_str_eq(options.latency_path, "/dev/cpu_dma_latency");
	ck_assert_int_eq(parse("--allow-low-latency=/l", NULL, NULL), 0);
	ck_assert_str_eq(options.latency_path, "/l");
	ck_assert_int_eq(parse("--help", NULL, NULL), 0);
	ck_assert_int_eq(result, OPTIONS_HELP);
	ck_assert_int_eq(parse("--version", NULL, NULL), 0);
	ck_assert_int_eq(result, OPTIONS_VERSION);
}
END_TEST

static const char *const wrong[] = {
	"--nonsense",
	"--socket",
	"argument",
	"--virtual=usb:/x",
	"--virtual=usbredir",
	"--virtual=usbredir:relative",
	"--log=loud",
	"--start-timeout-ms=",
	"--start-timeout-ms=-1",
	"--start-timeout-ms=1h",
	"--start-timeout-ms=99999999999",
	"--require-layers=walls",
	"--require-layers=landlock,walls",
	"--ready-fd=x",
};

static void check_wrong(size_t row_number)
{
	ck_assert_int_eq(parse(wrong[row_number], NULL, NULL), -EINVAL);
	ck_assert_str_ne(reason_last(), "");
}

START_TEST(test_wrong)
{
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		check_wrong(i);
}
END_TEST

UNIT_TESTS("dextd-options", test_defaults, test_values, test_wrong)
