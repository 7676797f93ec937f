// SPDX-License-Identifier: Apache-2.0
/* The least that sleeps and wakes: two words in shared memory, each a futex of its own. */

#include <bench/caller.h>

#include <string.h>

#include <bench/server.h>
#include <wire/futex.h>

struct words {
	_Alignas(64) _Atomic uint32_t asked;
	uint64_t in[CALLER_SCALARS];
	_Alignas(64) _Atomic uint32_t answered;
	uint64_t out[CALLER_SCALARS];
};

static const uint64_t for_ever_ns = UINT64_C(1) << 60;

static void await(_Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) != value)
		futex_wait(word, value - 1, for_ever_ns, FUTEX_SHARED);
}

static void serve(void *context)
{
	struct words *words = context;
	server_confine();
	for (uint32_t number = 1;; number++) {
		uint64_t copy[CALLER_SCALARS];
		await(&words->asked, number);
		memcpy(copy, words->in, sizeof(copy));
		caller_serve(copy);
		memcpy(words->out, copy, sizeof(copy));
		atomic_store(&words->answered, number);
		futex_wake(&words->answered, 1, FUTEX_SHARED);
	}
}

static void open_words(struct caller *caller)
{
	caller->state = server_shared_memory(sizeof(struct words));
	caller->server = server_fork(serve, caller->state);
}

static bool call(struct caller *caller, const uint64_t *in, uint64_t *out)
{
	struct words *words = caller->state;
	uint32_t number = atomic_load_explicit(&words->asked, memory_order_relaxed) + 1;
	memcpy(words->in, in, sizeof(words->in));
	atomic_store(&words->asked, number);
	futex_wake(&words->asked, 1, FUTEX_SHARED);
	await(&words->answered, number);
	memcpy(out, words->out, sizeof(words->out));
	return true;
}

struct caller caller_futex = { .name = "futex", .open = open_words, .call = call };
