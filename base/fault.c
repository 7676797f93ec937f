/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The SIGBUS handler.
 *
 * Guards sit in a fixed table. A slot is taken by swapping a guard in and given back by swapping
 * NULL in, so the handler reads the table without a lock. A thread in the handler counts itself in
 * the slot before it looks at the guard, and fault_guard_remove waits for that count to fall:
 * afterwards no handler can lay pages over addresses that have meanwhile become something else.
 *
 * Several threads may fault in one range at once. Each lays zero pages over the whole of it; to do
 * so twice is harmless, for what was written to a lost range is lost by definition.
 */

#include <base/fault.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARDS_MAX 16384 // pages of the table that were never used cost nothing

static struct slot {
	_Atomic(struct fault_guard *) guard; // borrowed; NULL: free
	_Atomic uint32_t readers;            // threads whose handler looks at `guard`
} slots[GUARDS_MAX];

static _Atomic size_t slots_used; // slots from here on were never taken
static struct sigaction previous;
static uintptr_t page_mask;

static bool guards(const struct fault_guard *guard, uintptr_t address)
{
	uintptr_t start = (uintptr_t)guard->address;

	return address >= start && address - start < guard->length;
}

/* Signal context: the bare system call, for a wrapper may do more. */
static bool replace(struct fault_guard *guard)
{
	uintptr_t start = (uintptr_t)guard->address & ~page_mask;
	uintptr_t end = ((uintptr_t)guard->address + guard->length + page_mask) & ~page_mask;

	atomic_store(&guard->lost, 1);
	return syscall(SYS_mmap, start, end - start, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0L) != -1;
}

/* Signal context. */
static bool absorb(uintptr_t address)
{
	size_t used = atomic_load(&slots_used);
	bool done = false;

	for (size_t i = 0; i < used && !done; i++) {
		atomic_fetch_add(&slots[i].readers, 1);
		struct fault_guard *guard = atomic_load(&slots[i].guard);
		if (guard != NULL && guards(guard, address))
			done = replace(guard);
		atomic_fetch_sub(&slots[i].readers, 1);
	}
	return done;
}

/* Signal context. A fault strikes again when the handler returns, and so meets the default action;
 * a signal that somebody sent has to be sent once more. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	if ((previous.sa_flags & SA_SIGINFO) != 0) {
		previous.sa_sigaction(number, info, context);
		return;
	}
	if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
		previous.sa_handler(number);
		return;
	}
	if (info->si_code <= 0 && previous.sa_handler == SIG_IGN)
		return;
	signal(number, SIG_DFL);
	if (info->si_code <= 0)
		raise(number);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	if (info->si_code <= 0 || !absorb((uintptr_t)info->si_addr))
		pass_on(number, info, context);
	errno = saved;
}

static int install_result;

static void install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };

	page_mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
	sigemptyset(&action.sa_mask);
	/* Read first: the handler may run as soon as it is set. */
	if (sigaction(SIGBUS, NULL, &previous) < 0 || sigaction(SIGBUS, &action, NULL) < 0)
		install_result = -errno;
}

int fault_handler_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return install_result;
}

int fault_guard_add(struct fault_guard *guard)
{
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		struct fault_guard *expected = NULL;

		if (atomic_load_explicit(&slots[i].guard, memory_order_relaxed) != NULL ||
		    !atomic_compare_exchange_strong(&slots[i].guard, &expected, guard))
			continue;
		size_t used = atomic_load(&slots_used);
		while (used < i + 1 && !atomic_compare_exchange_weak(&slots_used, &used, i + 1))
			;
		return 0;
	}
	return -ENOSPC;
}

void fault_guard_remove(struct fault_guard *guard)
{
	for (size_t i = 0; i < GUARDS_MAX; i++) {
		struct fault_guard *expected = guard;

		if (atomic_load_explicit(&slots[i].guard, memory_order_relaxed) != guard ||
		    !atomic_compare_exchange_strong(&slots[i].guard, &expected, NULL))
			continue;
		while (atomic_load(&slots[i].readers) != 0)
			sched_yield();
		return;
	}
}
