// SPDX-License-Identifier: Apache-2.0
/* Wait until all drivers have started that are to. */

#include <stdio.h>

#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

int main(void)
{
	kern_return_t ret = IOKitWaitQuiet(kIOMainPortDefault, NULL);
	if (ret != kIOReturnSuccess)
		fprintf(stderr, "%s: %s\n", IOReturnString(ret), dext_last_reason());
	return ret == kIOReturnSuccess ? 0 : 1;
}
