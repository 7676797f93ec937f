/* SPDX-License-Identifier: Apache-2.0 */

/* What concerns the library as a whole: its start, its time limit, its last reason. */

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/fault.h>
#include <base/log.h>
#include <base/reason.h>
#include <opendext/client.h>

#define TIMEOUT_DEFAULT_MS 30000U
#define TIMEOUT_MAX_MS     86400000U // a day

static _Atomic uint32_t timeout_ms = TIMEOUT_DEFAULT_MS;

static void read_environment(void)
{
	const char *text = getenv("OPENDEXT_CALL_TIMEOUT_MS");
	char *end;
	if (text == NULL || text[0] == '\0')
		return;
	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (errno != 0 || *end != '\0' || value == 0 || value > TIMEOUT_MAX_MS)
		log_warn("OPENDEXT_CALL_TIMEOUT_MS=%s is no number from 1 to %u: ignored", text,
			 TIMEOUT_MAX_MS);
	else
		atomic_store(&timeout_ms, (uint32_t)value);
}

/* From the start: memory that a driver hands over may vanish whenever it is mapped. */
__attribute__((constructor)) static void start(void)
{
	fault_handler_install();
	read_environment();
}

kern_return_t dext_call_timeout_set(uint32_t value)
{
	if (value == 0 || value > TIMEOUT_MAX_MS)
		return refuse(kIOReturnBadArgument, "a time limit is 1 to %u ms, not %u",
			      TIMEOUT_MAX_MS, value);
	atomic_store(&timeout_ms, value);
	return kIOReturnSuccess;
}

uint32_t dext_call_timeout_get(void)
{
	return atomic_load(&timeout_ms);
}

const char *dext_last_reason(void)
{
	return reason_last();
}
