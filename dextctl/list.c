/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>

#include <IOKit/IOKitKeys.h>
#include <dextctl/command.h>
#include <dextctl/print.h>
#include <dextctl/registry.h>

static void print_line(const struct registry_entry *entry)
{
	OSDictionary *p = entry->properties;
	char id[24], process[24] = "-";
	uint64_t pid = field_number(p, "OpenDextProcess");
	snprintf(id, sizeof(id), "%" PRIu64, entry->id);
	if (pid != 0)
		snprintf(process, sizeof(process), "%" PRIu64, pid);
	print_column(stdout, id, 6);
	print_column(stdout, field_text(p, "OpenDextState"), 8);
	print_column(stdout, process, 7);
	print_column(stdout, field_text(p, kIORegistryEntryNameKey), 24);
	print_column(stdout, field_text(p, kIOObjectClassKey), 20);
	print_text(stdout, field_text(p, kIOBundleIdentifierKey));
	putchar('\n');
}

static void print_table(const struct registry *registry)
{
	static const struct {
		const char *title;
		int width;
	} columns[] = {
		{ "ID", 6 }, { "STATE", 8 }, { "PROCESS", 7 }, { "NAME", 24 }, { "CLASS", 20 },
	};
	for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
		print_column(stdout, columns[i].title, columns[i].width);
	puts("BUNDLE");
	for (uint32_t i = 0; i < registry->n_entries; i++)
		print_line(&registry->entries[i]);
}

static void print_array(const struct registry *registry)
{
	putchar('[');
	for (uint32_t i = 0; i < registry->n_entries; i++) {
		fputs(i > 0 ? ",\n " : "", stdout);
		print_json(stdout, OSDictionary_as_OSObject(registry->entries[i].properties));
	}
	puts("]");
}

static kern_return_t run(const struct options *options, const char *argument)
{
	(void)argument;
	struct registry registry;
	kern_return_t status = registry_init(&registry);
	if (status != kIOReturnSuccess)
		return status;
	if (options->json)
		print_array(&registry);
	else
		print_table(&registry);
	registry_deinit(&registry);
	return kIOReturnSuccess;
}

const struct command list_command = {
	.name = "list",
	.help = "every entry of the registry, one a line",
	.takes_json = true,
	.run = run,
};
