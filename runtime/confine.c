/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Confinement from within: the SIGBUS handler, no new privileges, and the filter, in this order, so
 * that nothing the first two need is refused.
 *
 * The filter is compiled when libdext is built (confine_compile.c), and applied to all threads at
 * once: a sanitizer has some before we are called.
 */

#include <runtime/confine.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/fault.h>
#include <runtime/confine_program.h>

static _Atomic bool installed;

bool confine_installed(void)
{
	return atomic_load_explicit(&installed, memory_order_acquire);
}

/* For all threads, or none. */
static int load(void)
{
	struct sock_fprog filter = {
		.len = sizeof(program) / sizeof(program[0]),
		.filter = program,
	};
	if (PID_AT >= 0)
		program[PID_AT].k = (uint32_t)getpid();
	long ret =
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
	if (ret < 0)
		return -errno;
	return ret == 0 ? 0 : -ESRCH; // a thread's own filter differs
}

int confine_install(void)
{
	if (confine_installed())
		return 0;
	int ret = fault_handler_install();
	if (ret < 0)
		return ret;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	ret = load();
	if (ret == 0)
		atomic_store_explicit(&installed, true, memory_order_release);
	return ret;
}

__attribute__((constructor)) static void confine_dext(void)
{
	const char *dext = getenv("OPENDEXT_DEXT");

	if (dext == NULL || strcmp(dext, "1") != 0)
		return;
	int ret = confine_install();
	if (ret == 0)
		return;
	fprintf(stderr, "this driver cannot be confined and does not run: %s\n",
		strerrordesc_np(-ret));
	_exit(EXIT_FAILURE);
}
