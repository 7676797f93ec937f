/* SPDX-License-Identifier: Apache-2.0 */

/* Both wait for every driver, which dextd does not do for ever. */

#include <client/directory.h>
#include <dextctl/command.h>
#include <opendext/client.h>

enum { PATIENCE_MS = 600000 };

static kern_return_t set_sleep(uint32_t asleep)
{
	struct DextDirectory_SetSleep_Msg msg = { .asleep = asleep };
	kern_return_t status = dext_call_timeout_set(PATIENCE_MS);
	return status == kIOReturnSuccess ? directory_call(&DextDirectory_SetSleep_Shape, &msg)
					  : status;
}

static kern_return_t run_sleep(const struct options *options, const char *argument)
{
	(void)options;
	(void)argument;
	return set_sleep(1);
}

static kern_return_t run_wake(const struct options *options, const char *argument)
{
	(void)options;
	(void)argument;
	return set_sleep(0);
}

const struct command sleep_command = {
	.name = "sleep",
	.help = "tell every driver that the machine is to sleep",
	.run = run_sleep,
};

const struct command wake_command = {
	.name = "wake",
	.help = "tell every driver that it has woken",
	.run = run_wake,
};
