/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>

#include <base/reason.h>
#include <client/directory.h>
#include <dextctl/command.h>
#include <dextctl/print.h>

static void print_layers(OSArray *layers)
{
	puts("confinement");
	for (uint32_t i = 0; i < array_count(layers); i++) {
		OSDictionary *layer = array_dictionary(layers, i);
		if (layer == NULL)
			continue;
		fputs("  ", stdout);
		print_column(stdout, field_text(layer, "name"), 12);
		print_column(stdout, field_text(layer, "state"), 8);
		print_text(stdout, field_text(layer, "detail"));
		putchar('\n');
	}
}

/* Things with a state: a row names one by `name` and `more`, and says why in "reason". */
static void print_states(const char *title, OSArray *rows, const char *name, const char *more)
{
	if (array_count(rows) == 0)
		return;
	puts(title);
	for (uint32_t i = 0; i < array_count(rows); i++) {
		OSDictionary *row = array_dictionary(rows, i);
		if (row == NULL)
			continue;
		fputs("  ", stdout);
		print_column(stdout, field_text(row, "state"), 8);
		print_column(stdout, field_text(row, name), more != NULL ? 32 : 0);
		print_text(stdout, more != NULL ? field_text(row, more) : "");
		putchar('\n');
		if (field_text(row, "reason")[0] != '\0') {
			fputs("            ", stdout);
			print_text(stdout, field_text(row, "reason"));
			putchar('\n');
		}
	}
}

static void print_count(OSDictionary *status, const char *key, const char *before)
{
	printf("%s%" PRIu64 " %s", before, field_number(status, key), key);
}

/* What --allow-low-latency grants at this moment, to those who poll. */
static void print_latency(OSDictionary *status)
{
	uint64_t awake = field_number(status, "awake"),
		 real_time = field_number(status, "realTime");
	uint64_t nice = field_number(status, "nice");
	if (awake == 0 && real_time == 0 && nice == 0)
		return;
	printf("low latency: idle CPUs are kept awake for %" PRIu64 " connections; drivers at "
	       "real-time priority: %" PRIu64 ", at nice -20: %" PRIu64 "\n",
	       awake, real_time, nice);
}

static void print_policy(OSDictionary *policy)
{
	if (policy == NULL)
		return;
	printf("policy: %" PRIu64 " rules of ", field_number(policy, "rules"));
	print_text(stdout, field_text(policy, "path"));
	putchar('\n');
	if (field_text(policy, "reason")[0] == '\0')
		return;
	fputs("  as they were before: ", stdout);
	print_text(stdout, field_text(policy, "reason"));
	putchar('\n');
}

static void print_status(OSDictionary *status)
{
	fputs("dextd ", stdout);
	print_text(stdout, field_text(status, "version"));
	print_count(status, "services", ": ");
	print_count(status, "processes", " in ");
	print_count(status, "connections", ", ");
	print_count(status, "clients", " of ");
	printf("\nreal devices: %s\n", field_boolean(status, "real") ? "yes" : "no");
	print_policy(field_dictionary(status, "policy"));
	print_latency(status);
	print_states("virtual devices", field_array(status, "virtual"), "device", NULL);
	print_layers(field_array(status, "layers"));
	print_states("bundles", field_array(status, "bundles"), "identifier", "path");
	if (field_number(status, "bundlesLeftOff") != 0)
		printf("  and %" PRIu64 " more\n", field_number(status, "bundlesLeftOff"));
}

static kern_return_t run(const struct options *options, const char *argument)
{
	(void)argument;
	struct DextDirectory_CopyStatus_Msg msg = { 0 };
	kern_return_t status = directory_call(&DextDirectory_CopyStatus_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	if (msg.status == NULL)
		return refuse(kIOReturnIPCError, "dextd sent no status");
	if (options->json) {
		print_json(stdout, OSDictionary_as_OSObject(msg.status));
		putchar('\n');
	} else {
		print_status(msg.status);
	}
	OSObjectRelease(msg.status);
	return kIOReturnSuccess;
}

const struct command status_command = {
	.name = "status",
	.help = "which devices, layers of confinement and bundles dextd has",
	.takes_json = true,
	.run = run,
};
