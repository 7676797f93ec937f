/* SPDX-License-Identifier: Apache-2.0 */

#include <dextctl/command.h>
#include <dextctl/registry.h>

static kern_return_t run(const struct options *options, const char *argument)
{
	(void)options;
	return registry_control(argument, "restart");
}

const struct command restart_command = {
	.name = "restart",
	.argument = "ENTRY",
	.help = "stop a driver and start it again",
	.run = run,
};
