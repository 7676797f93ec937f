/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>
#include <string.h>

#include <IOKit/IOKitKeys.h>
#include <base/reason.h>
#include <client/directory.h>
#include <dextctl/command.h>
#include <dextctl/print.h>

static void print_labelled(const char *label, const char *text)
{
	if (text[0] == '\0')
		return;
	printf("      %s: ", label);
	print_text(stdout, text);
	putchar('\n');
}

static void print_candidate(OSDictionary *candidate)
{
	bool matched = field_boolean(candidate, "matched");
	printf("  %s ", matched ? "+" : "-");
	print_text(stdout, field_text(candidate, "personality"));
	fputs(" of ", stdout);
	print_text(stdout, field_text(candidate, "bundle"));
	if (matched)
		printf(", score %" PRIu64, field_number(candidate, "score"));
	putchar('\n');
	print_labelled("failed at", field_text(candidate, "key"));
	print_labelled("because", field_text(candidate, "reason"));
	print_labelled("to do", field_text(candidate, "fix"));
}

static void print_explanation(OSDictionary *explanation)
{
	OSDictionary *device = field_dictionary(explanation, "device");
	OSArray *candidates = field_array(explanation, "candidates");
	if (device != NULL) {
		print_text(stdout, field_text(device, kIORegistryEntryNameKey));
		printf("  [%" PRIu64 ", ", field_number(device, kIORegistryEntryIDKey));
		print_text(stdout, field_text(device, kIOProviderClassKey));
		puts("]");
	}
	if (array_count(candidates) == 0)
		puts("  no personality was tried: no bundle is installed, or none is valid "
		     "(dextctl status)");
	for (uint32_t i = 0; i < array_count(candidates); i++)
		if (array_dictionary(candidates, i) != NULL)
			print_candidate(array_dictionary(candidates, i));
	print_text(stdout, field_text(explanation, "result"));
	putchar('\n');
}

static kern_return_t run(const struct options *options, const char *argument)
{
	struct DextDirectory_CopyExplanation_Msg msg = { 0 };
	if (strlen(argument) >= sizeof(msg.device))
		return refuse(kIOReturnOverrun, "a device's name has at most %zu bytes",
			      sizeof(msg.device) - 1);
	memcpy(msg.device, argument, strlen(argument) + 1);
	kern_return_t status = directory_call(&DextDirectory_CopyExplanation_Shape, &msg);
	if (status != kIOReturnSuccess)
		return status;
	if (msg.explanation == NULL)
		return refuse(kIOReturnIPCError, "dextd sent no explanation");
	if (options->json) {
		print_json(stdout, OSDictionary_as_OSObject(msg.explanation));
		putchar('\n');
	} else {
		print_explanation(msg.explanation);
	}
	OSObjectRelease(msg.explanation);
	return kIOReturnSuccess;
}

const struct command why_command = {
	.name = "why",
	.argument = "DEVICE",
	.help = "which personalities were tried on a device, and why not",
	.takes_json = true,
	.run = run,
};
