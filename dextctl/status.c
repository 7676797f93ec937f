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

static void print_bundles(OSArray *bundles)
{
	puts("bundles");
	for (uint32_t i = 0; i < array_count(bundles); i++) {
		OSDictionary *bundle = array_dictionary(bundles, i);
		if (bundle == NULL)
			continue;
		fputs("  ", stdout);
		print_column(stdout, field_text(bundle, "state"), 8);
		print_column(stdout, field_text(bundle, "identifier"), 32);
		print_text(stdout, field_text(bundle, "path"));
		putchar('\n');
		if (field_text(bundle, "reason")[0] != '\0') {
			fputs("            ", stdout);
			print_text(stdout, field_text(bundle, "reason"));
			putchar('\n');
		}
	}
}

static void print_virtual(OSArray *devices)
{
	if (array_count(devices) > 0)
		puts("virtual devices");
	for (uint32_t i = 0; i < array_count(devices); i++) {
		OSDictionary *device = array_dictionary(devices, i);
		if (device == NULL)
			continue;
		fputs("  ", stdout);
		print_column(stdout, field_text(device, "state"), 8);
		print_text(stdout, field_text(device, "device"));
		if (field_text(device, "reason")[0] != '\0') {
			fputs(": ", stdout);
			print_text(stdout, field_text(device, "reason"));
		}
		putchar('\n');
	}
}

static void print_status(OSDictionary *status)
{
	fputs("dextd ", stdout);
	print_text(stdout, field_text(status, "version"));
	printf(": %" PRIu64 " services, %" PRIu64 " connections\n",
	       field_number(status, "services"), field_number(status, "connections"));
	print_layers(field_array(status, "layers"));
	print_bundles(field_array(status, "bundles"));
	print_virtual(field_array(status, "virtual"));
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
	.help = "which layers of confinement hold here, which bundles are valid, which virtual "
		"devices are there",
	.takes_json = true,
	.run = run,
};
