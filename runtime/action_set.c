/* SPDX-License-Identifier: Apache-2.0 */

#include <runtime/action_set.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <runtime/action_parts.h>

struct action_set {
	_Atomic uint32_t refs; // the service, its queue, and each action in it
	pthread_mutex_t lock;
	struct list actions; // OSAction_IVars.link; guarded by lock
	bool ended;          // guarded by lock
};

int action_set_new(struct action_set **out)
{
	struct action_set *set = calloc(1, sizeof(*set));

	if (set == NULL)
		return -ENOMEM;
	atomic_init(&set->refs, 1);
	pthread_mutex_init(&set->lock, NULL);
	list_init(&set->actions);
	*out = set;
	return 0;
}

struct action_set *action_set_ref(struct action_set *set)
{
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

struct action_set *action_set_unref(struct action_set *set)
{
	if (set == NULL || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	pthread_mutex_destroy(&set->lock);
	free(set);
	return NULL;
}

bool action_set_add(struct action_set *set, struct OSAction_IVars *iv)
{
	pthread_mutex_lock(&set->lock);
	bool added = !set->ended;
	if (added) {
		list_append(&set->actions, &iv->link);
		iv->set = action_set_ref(set);
	}
	pthread_mutex_unlock(&set->lock);
	return added;
}

void action_set_remove(struct OSAction_IVars *iv)
{
	struct action_set *set = iv->set;

	if (set == NULL)
		return;
	pthread_mutex_lock(&set->lock);
	list_remove(&iv->link);
	list_init(&iv->link);
	pthread_mutex_unlock(&set->lock);
	iv->set = action_set_unref(set);
}

/* One that lives, kept; NULL: none is left. An action that is just ending leaves by itself. */
static OSAction *take_action(struct action_set *set)
{
	struct OSAction_IVars *iv, *next;
	OSAction *action = NULL;

	pthread_mutex_lock(&set->lock);
	set->ended = true;
	list_for_each_safe(iv, next, &set->actions, link) {
		list_remove(&iv->link);
		list_init(&iv->link);
		if (action_revive(iv->self)) {
			action = iv->self;
			break;
		}
	}
	pthread_mutex_unlock(&set->lock);
	return action;
}

unsigned action_set_end(struct action_set *set, const struct OSMethodShape **which)
{
	unsigned n = 0;
	OSAction *action;

	while ((action = take_action(set)) != NULL) {
		const struct OSMethodShape *shape = action->ivars->row->shape;
		if (OSAction_Cancel_f(action, NULL, NULL) == kIOReturnSuccess) {
			*which = shape;
			n++;
		}
		OSObjectRelease(action);
	}
	return n;
}
