/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

/*
 * What iig does with an interface besides compiling it:
 *
 *	iig freeze X.iig -o X.frozen [-I DIR]…	write down what callers rely on (iig/frozen.h)
 *	iig check X.iig X.frozen [-I DIR]…	refuse an edit that breaks them
 *	iig doc X.iig -o X.json [-I DIR]…	the model as JSON (iig/doc.h)
 */

/* Does `name` name one of these? */
bool command_is(const char *name);

/* Run argv[1] with what follows. The exit status: 0, 1 the interface is not right, 2 usage. */
int command_run(int argc, char **argv);

/* The lines that usage prints. */
extern const char command_usage[];
