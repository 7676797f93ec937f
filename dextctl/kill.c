/* SPDX-License-Identifier: Apache-2.0 */

#include <dextctl/command.h>
#include <dextctl/registry.h>

static kern_return_t run(const struct options *options, const char *argument)
{
	(void)options;
	return registry_control(argument, "kill");
}

const struct command kill_command = {
	.name = "kill",
	.argument = "ENTRY",
	.help = "end the process of a driver at once",
	.run = run,
};
