/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Confinement from within: the SIGBUS handler, no new privileges, and the filter, in this order, so
 * that nothing the first two need is refused.
 *
 * The filter is applied to all threads at once (a sanitizer has some before we are called) and laid
 * out as a tree: it costs every system call a few comparisons.
 */

#include <runtime/confine.h>

#include <errno.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <base/fault.h>
#include <runtime/confine_filter.h>

static _Atomic bool installed;

bool confine_installed(void)
{
	return atomic_load_explicit(&installed, memory_order_acquire);
}

static int add_rule(scmp_filter_ctx filter, const struct confine_rule *rule)
{
	struct scmp_arg_cmp compare = {
		.arg = rule->argument,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = rule->mask,
		.datum_b = rule->value,
	};
	return seccomp_rule_add_array(filter, rule->action, rule->call, rule->mask != 0 ? 1 : 0,
				      &compare);
}

static int load(scmp_filter_ctx filter)
{
	int ret = 0;

	for (size_t i = 0; i < confine_filter.n_rules && ret == 0; i++)
		ret = add_rule(filter, &confine_filter.rules[i]);
	/* abort() and raise(): a signal to one of its own threads. */
	if (ret == 0 && confine_filter.unknown != SCMP_ACT_ALLOW)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return ret < 0 ? ret : seccomp_load(filter);
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
	scmp_filter_ctx filter = seccomp_init(confine_filter.unknown);
	if (filter == NULL)
		return -ENOMEM;
	ret = load(filter);
	seccomp_release(filter);
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
