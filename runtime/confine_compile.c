/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs at build time: compiles the filter of this build (confine_filter.h) to the kernel's program
 * and prints it as a C array. Compiling it in every driver process cost most of a launch, and most
 * of the process's memory.
 *
 * One rule knows the process: abort() and raise() are a tgkill to oneself. Its process id is a
 * marker here, and the place of the marker is printed with the program.
 */

#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <runtime/confine_filter.h>

#define PID_MARKER 0x7f5a1d37U

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

/* Laid out as a tree: it costs every system call a few comparisons. */
static int compile(scmp_filter_ctx filter, int fd)
{
	int ret = 0;

	for (size_t i = 0; i < confine_filter.n_rules && ret == 0; i++)
		ret = add_rule(filter, &confine_filter.rules[i]);
	if (ret == 0 && confine_filter.unknown != SCMP_ACT_ALLOW)
		ret = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       SCMP_A0(SCMP_CMP_EQ, PID_MARKER));
	if (ret == 0)
		ret = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return ret < 0 ? ret : seccomp_export_bpf(filter, fd);
}

static int print(const struct sock_filter *program, size_t n)
{
	size_t n_markers = 0, marker = 0;

	printf("/* The filter of this build, made by confine_compile. */\n");
	printf("static struct sock_filter program[] = {\n");
	for (size_t i = 0; i < n; i++) {
		if (program[i].k == PID_MARKER) {
			marker = i;
			n_markers++;
		}
		printf("\t{ %#x, %u, %u, %#x },\n", program[i].code, program[i].jt, program[i].jf,
		       program[i].k);
	}
	printf("};\n\n/* Where the process's own id goes; -1: nowhere. */\n");
	printf("enum { PID_AT = %ld };\n", n_markers == 1 ? (long)marker : -1L);
	return n_markers > 1 ? -ERANGE : 0;
}

static int run(void)
{
	CLEANUP(close_fdp) int fd = memfd_create("filter", MFD_CLOEXEC);
	scmp_filter_ctx filter = seccomp_init(confine_filter.unknown);
	struct sock_filter program[4096]; // BPF_MAXINSNS: the kernel takes no more

	if (fd < 0 || filter == NULL)
		return -ENOMEM;
	int ret = compile(filter, fd);
	seccomp_release(filter);
	if (ret < 0)
		return ret;
	ssize_t size = pread(fd, program, sizeof(program), 0);
	if (size <= 0 || (size_t)size % sizeof(program[0]) != 0)
		return -EIO;
	return print(program, (size_t)size / sizeof(program[0]));
}

int main(void)
{
	int ret = run();

	if (ret == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "the filter cannot be compiled: %s\n", strerror(-ret));
	return EXIT_FAILURE;
}
