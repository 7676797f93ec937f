// SPDX-License-Identifier: Apache-2.0
/*
 * dext-probe BACKEND: descriptor 3 is connected to the device, descriptor 4 takes its identity. It
 * is started, confined, by dextd.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <families/service/probe.h>

int main(int argc, char **argv)
{
	if (argc != 2 || fcntl(3, F_GETFD) < 0 || fcntl(4, F_GETFD) < 0) {
		fprintf(stderr,
			"usage: dext-probe usbredir|vfio-user\n"
			"dextd runs it, with a device as descriptor 3 and an output as 4\n");
		return EXIT_FAILURE;
	}
	return dext_probe(argv[1], 3, 4);
}
