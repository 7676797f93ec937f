// SPDX-License-Identifier: Apache-2.0
/* Built where there is no libsystemd. */

#include <dextd/logind.h>

#include <stddef.h>

#include <base/log.h>

void logind_start(struct logind **out, struct daemon *daemon)
{
	(void)daemon;
	*out = NULL;
	log_warn("the machine's sleep is not followed: this dextd was built without libsystemd");
}

struct logind *logind_stop(struct logind *logind)
{
	(void)logind;
	return NULL;
}
