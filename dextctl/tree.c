/* SPDX-License-Identifier: Apache-2.0 */

#include <inttypes.h>

#include <IOKit/IOKitKeys.h>
#include <dextctl/command.h>
#include <dextctl/print.h>
#include <dextctl/registry.h>

/* Is there a later entry at `depth`, under the same parent as the one at `index`? */
static bool has_sibling(const struct registry *registry, uint32_t index, unsigned depth)
{
	for (uint32_t i = index + 1; i < registry->n_entries; i++) {
		if (registry->entries[i].depth < depth)
			return false;
		if (registry->entries[i].depth == depth)
			return true;
	}
	return false;
}

static void print_branch(const struct registry *registry, uint32_t index)
{
	unsigned depth = registry->entries[index].depth;
	for (unsigned d = 0; d < depth; d++)
		fputs(has_sibling(registry, index, d) ? "│  " : "   ", stdout);
	fputs(has_sibling(registry, index, depth) ? "├─ " : "└─ ", stdout);
}

static void print_fact(const char *before, const char *text)
{
	if (text[0] == '\0')
		return;
	fputs(before, stdout);
	print_text(stdout, text);
}

static void print_entry(const struct registry_entry *entry)
{
	OSDictionary *p = entry->properties;
	uint64_t pid = field_number(p, "OpenDextProcess");
	uint64_t busy = field_number(p, "OpenDextBusy");
	uint64_t restarts = field_number(p, "OpenDextRestarts");
	print_text(stdout, field_text(p, kIORegistryEntryNameKey));
	printf("  [%" PRIu64, entry->id);
	print_fact(", ", field_text(p, kIOObjectClassKey));
	print_fact(", ", field_text(p, "OpenDextBackend"));
	print_fact(", ", field_text(p, "OpenDextState"));
	if (busy != 0)
		printf(", busy %" PRIu64, busy);
	if (pid != 0)
		printf(", process %" PRIu64, pid);
	if (restarts != 0)
		printf(", restarted %" PRIu64 " times", restarts);
	print_fact(", ", field_text(p, kIOBundleIdentifierKey));
	puts("]");
}

/* Print the entry at *index with all below it, and move on to what follows them. */
static void print_nested(const struct registry *registry, uint32_t *index)
{
	const struct registry_entry *entry = &registry->entries[(*index)++];
	bool first = true;
	fputs("{\"entry\": ", stdout);
	print_json(stdout, OSDictionary_as_OSObject(entry->properties));
	fputs(", \"children\": [", stdout);
	while (*index < registry->n_entries && registry->entries[*index].depth > entry->depth) {
		fputs(first ? "" : ", ", stdout);
		first = false;
		print_nested(registry, index);
	}
	fputs("]}", stdout);
}

static void print_all_nested(const struct registry *registry)
{
	putchar('[');
	for (uint32_t i = 0; i < registry->n_entries;) {
		fputs(i > 0 ? ",\n " : "", stdout);
		print_nested(registry, &i);
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
	if (options->json) {
		print_all_nested(&registry);
	} else {
		for (uint32_t i = 0; i < registry.n_entries; i++) {
			print_branch(&registry, i);
			print_entry(&registry.entries[i]);
		}
	}
	registry_deinit(&registry);
	return kIOReturnSuccess;
}

const struct command tree_command = {
	.name = "tree",
	.help = "the registry as a tree: devices, drivers on them, clients of those",
	.takes_json = true,
	.run = run,
};
