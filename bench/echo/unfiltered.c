// SPDX-License-Identifier: Apache-2.0
/*
 * Linked into a second build of the driver, which shows what the system call filter costs. It runs
 * before any library's constructor and hides from libdext's that this is a dext; every other layer
 * of the confinement is dextd's and stays.
 */

#include <string.h>

static void hide(int argc, char **argv, char **environment)
{
	static const char name[] = "OPENDEXT_DEXT=";
	(void)argc;
	(void)argv;
	for (; *environment != NULL; environment++)
		if (strncmp(*environment, name, sizeof(name) - 1) == 0)
			(*environment)[sizeof(name) - 1] = '0';
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **,
									    char **) = hide;
