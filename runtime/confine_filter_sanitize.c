/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The filter of a build with sanitizers. They read /proc, make processes to stop the threads of
 * this one, and map what they like; so only sockets and programs are refused here, and the tests of
 * the confinement run in the plain build.
 */

#include <runtime/confine_filter.h>

#include <errno.h>
#include <seccomp.h>

/* clang-format off */
#define REFUSE(name) {SCMP_SYS(name), SCMP_ACT_ERRNO(EACCES), 0, 0, 0}

static const struct confine_rule rules[] = {
	REFUSE(socket), REFUSE(connect), REFUSE(bind), REFUSE(listen), REFUSE(accept),
	REFUSE(accept4), REFUSE(execve), REFUSE(execveat),
};
/* clang-format on */

const struct confine_filter confine_filter = {
	.unknown = SCMP_ACT_ALLOW,
	.rules = rules,
	.n_rules = sizeof(rules) / sizeof(rules[0]),
};
