/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Concurrent pieces.
 *
 * The queue stays serial as a whole: its holder takes items in order, and a concurrent one is
 * started rather than run. Pieces that follow each other run side by side; what is no such piece
 * waits until all before it have ended, and runs alone. While pieces run the queue is held by none
 * (holder 0) and yet HELD: it is `parked`, and the last piece to end schedules its turn again. With
 * nothing waiting, so does whoever pushes a further piece.
 *
 * A piece has a thread to itself: it steps out of its worker, as if it were to wait, and another
 * thread goes on with that worker's loop. So two pieces may wait for each other.
 */

#include <runtime/sharing.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <base/list.h>

struct piece {
	struct queue_item item;
	struct turn turn;
	struct list link; // sharing.running
	IODispatchQueue *queue;
	IODispatchFunction function;
	void *context;
	uint32_t thread; // guarded by sharing.lock; 0: not begun
};

struct sharing {
	pthread_mutex_t lock;
	struct list running; // piece.link; guarded by lock; started and not ended
	bool parked;         // guarded by lock
	bool is_wanted;      // guarded by lock: parked, with something behind that is to be alone
};

int sharing_new(struct sharing **out)
{
	struct sharing *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->running);
	*out = s;
	return 0;
}

struct sharing *sharing_free(struct sharing *s)
{
	if (s == NULL)
		return NULL;
	pthread_mutex_destroy(&s->lock);
	free(s);
	return NULL;
}

bool sharing_is_in(struct sharing *s)
{
	const struct piece *piece;
	bool found = false;

	pthread_mutex_lock(&s->lock);
	list_for_each(piece, &s->running, link)
		if (piece->thread == self_id())
			found = true;
	pthread_mutex_unlock(&s->lock);
	return found;
}

unsigned sharing_threads(struct sharing *s, uint32_t *threads)
{
	const struct piece *piece;
	unsigned n = 0;

	pthread_mutex_lock(&s->lock);
	list_for_each(piece, &s->running, link)
		if (piece->thread != 0 && n < SHARING_THREADS_MAX)
			threads[n++] = piece->thread;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void end_piece(struct piece *piece)
{
	struct IODispatchQueue_IVars *q = piece->queue->ivars;
	struct sharing *s = q->sharing;

	pthread_mutex_lock(&s->lock);
	list_remove(&piece->link);
	bool resumes = s->parked && list_empty(&s->running);
	if (resumes)
		s->parked = false;
	pthread_mutex_unlock(&s->lock);
	free(piece);
	if (resumes)
		pool_schedule(&q->turn); // which keeps the queue
}

static void run_piece(struct turn *turn)
{
	struct piece *piece = container_of(turn, struct piece, turn);
	struct sharing *s = piece->queue->ivars->sharing;
	IODispatchQueue *outer = self_thread.current;
	struct loop *loop = pool_step_out();

	pthread_mutex_lock(&s->lock);
	piece->thread = self_id();
	pthread_mutex_unlock(&s->lock);
	self_thread.current = piece->queue;
	piece->function(piece->context);
	self_thread.current = outer;
	end_piece(piece);
	pool_step_in(loop);
}

static void start_item(struct queue_item *item)
{
	struct piece *piece = container_of(item, struct piece, item);
	struct IODispatchQueue_IVars *q = piece->queue->ivars;

	pthread_mutex_lock(&q->sharing->lock);
	list_append(&q->sharing->running, &piece->link);
	pthread_mutex_unlock(&q->sharing->lock);
	q->yields = true;
	pool_schedule(&piece->turn);
}

struct queue_item *sharing_piece(IODispatchQueue *queue, IODispatchFunction function, void *context)
{
	struct piece *piece = malloc(sizeof(*piece));

	if (piece == NULL)
		return NULL;
	*piece = (struct piece){
		.item.run = start_item,
		.turn = { .run = run_piece, .queue = queue },
		.queue = queue,
		.function = function,
		.context = context,
	};
	return &piece->item;
}

void sharing_drop(struct queue_item *item)
{
	free(container_of(item, struct piece, item));
}

bool sharing_is_piece(const struct queue_item *item)
{
	return item->run == start_item;
}

void sharing_nudge(struct IODispatchQueue_IVars *q)
{
	struct sharing *s = q->sharing;

	pthread_mutex_lock(&s->lock);
	bool resumes = s->parked && !s->is_wanted;
	if (resumes)
		s->parked = false;
	pthread_mutex_unlock(&s->lock);
	if (resumes)
		pool_schedule(&q->turn);
}

bool sharing_leave(struct IODispatchQueue_IVars *q,
		   struct queue_item *(*next)(struct IODispatchQueue_IVars *q))
{
	struct sharing *s = q->sharing;

	pthread_mutex_lock(&s->lock);
	const struct queue_item *item = next(q);
	bool parks = !list_empty(&s->running) && (item == NULL || !sharing_is_piece(item));
	if (parks) {
		s->parked = true;
		s->is_wanted = item != NULL;
		atomic_store_explicit(&q->holder, 0, memory_order_relaxed);
	}
	pthread_mutex_unlock(&s->lock);
	return parks;
}
