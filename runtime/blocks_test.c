/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Methods with a block in C, built by clang -fblocks: each block runs as its function would, is
 * held until it has run, and no longer. Blocks capture the test's token, so the token's count says
 * how many copies of them there are; the sanitizer that this is built with sees the rest.
 */

#include <runtime/unit_pool.h>

#include <Block.h>
#include <Block_private.h>
#include <string.h>

#include <DriverKit/IODataQueueDispatchSource.h>
#include <DriverKit/IOTimerDispatchSource.h>
#include <UnitObjects.h>

typedef void (^Token)(void);

static Token new_token(const char *what)
{
	return Block_copy(^{
	  ck_abort_msg("%s: a token is not called", what);
	});
}

/* Copies of blocks that capture it. */
static int copies(Token token)
{
	const struct Block_layout *layout = (void *)token;

	return (layout->flags & BLOCK_REFCOUNT_MASK) - 1;
}

static void end_token(Token token)
{
	ck_assert_int_eq(copies(token), 0);
	Block_release(token);
}

/* All that was queued on `queue` before has run, and the pieces have let go of what they held. */
static void settle(IODispatchQueue *queue)
{
	ck_assert_int_eq(IODispatchQueue_DispatchAsync_f(queue, NULL, stop_pool), kIOReturnSuccess);
	ck_assert_int_eq(worker_run(), 0);
}

/* --- queues --- */

START_TEST(what_runs_now_is_not_copied)
{
	IODispatchQueue *queue = new_queue("now");
	Token token = new_token("now");
	__block int runs = 0;
	void (^piece)(void) = ^{
	  (void)token;
	  ck_assert(IODispatchQueue_OnQueue(queue));
	  ck_assert_int_eq(copies(token), 0);
	  runs++;
	};

	ck_assert_int_eq(IODispatchQueue_DispatchSync(queue, piece), kIOReturnSuccess);
	ck_assert_int_eq(runs, 1);
	ck_assert_int_eq(IODispatchQueue_RunAction(queue,
						   ^kern_return_t {
						     piece();
						     return kIOReturnBusy;
						   }),
			 kIOReturnBusy);
	ck_assert_int_eq(runs, 2);
	ck_assert_int_eq(IODispatchQueue_DispatchSync(queue, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(IODispatchQueue_RunAction(queue, NULL), kIOReturnBadArgument);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

START_TEST(what_runs_later_is_held_until_then)
{
	IODispatchQueue *queue = new_queue("later");
	Token token = new_token("later");
	__block uint64_t seen = 0;

	for (uint64_t i = 1; i <= 3; i++)
		ck_assert_int_eq(IODispatchQueue_DispatchAsync(queue,
							       ^{
								 (void)token;
								 seen = seen * 10 + i;
								 ck_assert_int_eq(copies(token),
										  4 - (int)i);
							       }),
				 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 3);
	settle(queue);
	ck_assert_uint_eq(seen, 123);
	ck_assert_int_eq(IODispatchQueue_DispatchAsync(queue, NULL), kIOReturnBadArgument);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

START_TEST(concurrent_blocks_are_held_until_they_ran)
{
	enum { PIECES = 4 };
	IODispatchQueue *queue = NULL, *serial = new_queue("serial");
	Token token = new_token("concurrent");
	__block _Atomic int runs = 0;

	ck_assert_int_eq(IODispatchQueue_Create("reentrant", kIODispatchQueueReentrant, 0, &queue),
			 kIOReturnSuccess);
	for (int i = 0; i < PIECES; i++)
		ck_assert_int_eq(IODispatchQueue_DispatchConcurrent(queue,
								    ^{
								      (void)token;
								      atomic_fetch_add(&runs, 1);
								    }),
				 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), PIECES);
	ck_assert_int_eq(IODispatchQueue_DispatchConcurrent(serial,
							    ^{
							      (void)token;
							    }),
			 kIOReturnUnsupported);
	settle(queue); // behind them, alone
	ck_assert_int_eq(atomic_load(&runs), PIECES);
	OSObjectRelease(queue);
	OSObjectRelease(serial);
	end_token(token);
}
END_TEST

/* What was accepted before runs, what is refused is released at once. */
START_TEST(a_cancelled_queue_holds_no_block)
{
	IODispatchQueue *queue = new_queue("cancelled");
	Token token = new_token("cancelled");
	__block unsigned seen = 0;
	void (^refused)(void) = ^{
	  (void)token;
	  ck_abort_msg("a refused block runs");
	};

	ck_assert_int_eq(IODispatchQueue_DispatchAsync(queue,
						       ^{
							 (void)token;
							 seen = seen * 10 + 1;
						       }),
			 kIOReturnSuccess);
	ck_assert_int_eq(IODispatchQueue_Cancel(queue,
						^{
						  (void)token;
						  seen = seen * 10 + 2;
						  worker_stop();
						}),
			 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 2);
	ck_assert_int_eq(IODispatchQueue_DispatchAsync(queue, refused), kIOReturnOffline);
	ck_assert_int_eq(IODispatchQueue_Cancel(queue, refused), kIOReturnOffline);
	ck_assert_int_eq(IODispatchQueue_DispatchSync(queue, refused), kIOReturnOffline);
	ck_assert_int_eq(copies(token), 2);
	ck_assert_int_eq(worker_run(), 0);
	ck_assert_uint_eq(seen, 12);
	OSObjectRelease(queue);

	queue = new_queue("without a handler");
	ck_assert_int_eq(IODispatchQueue_Cancel(queue, NULL), kIOReturnSuccess);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

/* --- actions --- */

static OSAction *new_action(IODispatchQueue *queue)
{
	UnitReceiver *target = OSTypeAlloc(UnitReceiver);
	OSAction *action = NULL;

	ck_assert(UnitReceiver_init(target));
	ck_assert_int_eq(UnitReceiver_SetDispatchQueue(target, "Default", queue), kIOReturnSuccess);
	ck_assert_int_eq(UnitReceiver_CreateActioncompleted(target, 0, &action), kIOReturnSuccess);
	OSObjectRelease(target);
	return action;
}

START_TEST(an_action_holds_its_blocks_until_they_are_over)
{
	IODispatchQueue *queue = new_queue("action");
	OSAction *action = new_action(queue), *other = new_action(queue);
	Token token = new_token("action");
	__block unsigned aborted = 0, cancelled = 0;
	void (^never)(void) = ^{
	  (void)token;
	  ck_abort_msg("it was replaced, or refused");
	};

	ck_assert_int_eq(OSAction_SetAbortedHandler(action, never), kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 1);
	ck_assert_int_eq(OSAction_SetAbortedHandler(action,
						    ^{
						      (void)token;
						      aborted++;
						      ck_assert_int_eq(copies(token), 1);
						    }),
			 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 1); // the one before is over
	OSAction_Aborted(action);
	settle(queue);
	ck_assert_uint_eq(aborted, 1);
	ck_assert_int_eq(copies(token), 0);

	ck_assert_int_eq(OSAction_SetAbortedHandler(other, never), kIOReturnSuccess);
	ck_assert_int_eq(OSAction_SetAbortedHandler(other, NULL), kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 0);
	ck_assert_int_eq(OSAction_SetAbortedHandler(other, never), kIOReturnSuccess);
	ck_assert_int_eq(OSAction_Cancel(other,
					 ^{
					   (void)token;
					   cancelled++;
					 }),
			 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 2); // with the aborted handler
	settle(queue);
	ck_assert_uint_eq(cancelled, 1);
	ck_assert_int_eq(copies(token), 0); // the aborted handler of a cancelled action too
	ck_assert_int_eq(OSAction_Cancel(other, never), kIOReturnOffline);
	ck_assert_int_eq(OSAction_SetAbortedHandler(other, never), kIOReturnOffline);
	ck_assert_int_eq(copies(token), 0);

	ck_assert_int_eq(OSAction_Cancel(action, NULL), kIOReturnSuccess);
	settle(queue);
	OSObjectRelease(action);
	OSObjectRelease(other);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

/* An action that is released with a handler set ends it as well. */
START_TEST(the_last_release_ends_a_block)
{
	IODispatchQueue *queue = new_queue("released");
	OSAction *action = new_action(queue);
	Token token = new_token("released");

	ck_assert_int_eq(OSAction_SetAbortedHandler(action,
						    ^{
						      (void)token;
						    }),
			 kIOReturnSuccess);
	OSObjectRelease(action);
	settle(queue);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

/* --- sources --- */

/* Through the derived class: what it inherits has the block form too. */
START_TEST(a_source_holds_its_blocks_until_they_ran)
{
	IODispatchQueue *queue = new_queue("source");
	IOTimerDispatchSource *timer = NULL;
	Token token = new_token("source");
	__block unsigned seen = 0;
	void (^refused)(void) = ^{
	  (void)token;
	  ck_abort_msg("a refused block runs");
	};

	ck_assert_int_eq(IOTimerDispatchSource_Create(queue, &timer), kIOReturnSuccess);
	for (int i = 0; i < 2; i++) { // set already is no error, and no reason to keep it
		ck_assert_int_eq(IOTimerDispatchSource_SetEnableWithCompletion(timer, false,
									       ^{
										 (void)token;
										 seen = seen * 10 +
											1;
									       }),
				 kIOReturnSuccess);
		settle(queue);
	}
	ck_assert_int_eq(copies(token), 0);
	ck_assert_int_eq(IOTimerDispatchSource_Cancel(timer,
						      ^{
							(void)token;
							seen = seen * 10 + 2;
						      }),
			 kIOReturnSuccess);
	ck_assert_int_eq(copies(token), 1);
	ck_assert_int_eq(IOTimerDispatchSource_Cancel(timer, refused), kIOReturnUnsupported);
	ck_assert_int_eq(IOTimerDispatchSource_SetEnableWithCompletion(timer, true, refused),
			 kIOReturnUnsupported);
	settle(queue);
	ck_assert_uint_eq(seen, 112);
	OSObjectRelease(timer);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

START_TEST(entries_are_put_in_and_taken_out_by_blocks)
{
	IODispatchQueue *queue = new_queue("data");
	IODataQueueDispatchSource *source = NULL;
	Token token = new_token("data");
	__block uint32_t found = 0;
	bool tell = false;
	void (^find)(const void *, size_t) = ^(const void *data, size_t size) {
	  uint32_t number;

	  ck_assert_int_eq(copies(token), 0);
	  ck_assert_uint_eq(size, sizeof(number));
	  memcpy(&number, data, size);
	  found = found * 10 + number;
	};

	ck_assert_int_eq(IODataQueueDispatchSource_Create(16, queue, &source), kIOReturnSuccess);
	for (uint32_t i = 1; i <= 3; i++) {
		void (^fill)(void *, size_t) = ^(void *data, size_t size) {
		  (void)token;
		  memcpy(data, &i, size);
		};
		/* Room for two entries of eight bytes. */
		kern_return_t ret = i < 2 ? IODataQueueDispatchSource_Enqueue(source, 4, fill)
					  : IODataQueueDispatchSource_EnqueueWithCoalesce(
						    source, 4, &tell, fill);
		ck_assert_int_eq(ret, i <= 2 ? kIOReturnSuccess : kIOReturnOverrun);
	}
	ck_assert_int_eq(IODataQueueDispatchSource_Peek(source, find), kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_Dequeue(source, find), kIOReturnSuccess);
	ck_assert_int_eq(IODataQueueDispatchSource_DequeueWithCoalesce(source, &tell, find),
			 kIOReturnSuccess);
	ck_assert_uint_eq(found, 112);
	ck_assert_int_eq(IODataQueueDispatchSource_Dequeue(source, find), kIOReturnUnderrun);
	OSObjectRelease(source);
	settle(queue);
	OSObjectRelease(queue);
	end_token(token);
}
END_TEST

/* --- what the objects call, and nothing here does --- */

bool IMPL(UnitReceiver, init)
{
	return UnitReceiver_super_init(self);
}

void IMPL(UnitReceiver, free)
{
	UnitReceiver_super_free(self);
}

kern_return_t IMPL(UnitReceiver, Work)
{
	(void)self, (void)number, (void)result;
	return kIOReturnUnsupported;
}

kern_return_t IMPL(UnitReceiver, Help)
{
	(void)self, (void)number;
	return kIOReturnUnsupported;
}

kern_return_t IMPL(UnitReceiver, Named)
{
	(void)self, (void)number;
	return kIOReturnUnsupported;
}

kern_return_t IMPL(UnitHeir, Named)
{
	(void)self, (void)number;
	return kIOReturnUnsupported;
}

void IMPL(UnitReceiver, completed)
{
	(void)self, (void)action, (void)number, (void)text;
}

void IMPL(UnitReceiver, completedOnNamed)
{
	(void)self, (void)action, (void)number, (void)text;
}

POOL_TESTS("blocks", what_runs_now_is_not_copied, what_runs_later_is_held_until_then,
	   concurrent_blocks_are_held_until_they_ran, a_cancelled_queue_holds_no_block,
	   an_action_holds_its_blocks_until_they_are_over, the_last_release_ends_a_block,
	   a_source_holds_its_blocks_until_they_ran, entries_are_put_in_and_taken_out_by_blocks)
