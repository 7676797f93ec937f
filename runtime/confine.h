/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The last layer of a dext's confinement: the seccomp filter that its own library installs.
 *
 * libdext's constructor does it when OPENDEXT_DEXT=1 is in the environment, before any of the
 * driver's code has run; a process in which that fails ends at once.
 */

#include <stdbool.h>

/* For all threads, for good. 0 or negative errno. Once is enough; again does nothing. */
int confine_install(void);
bool confine_installed(void);
