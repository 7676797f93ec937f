/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A circular doubly linked list, intrusive. Members are `link`, heads are plurals. */

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define list_for_each(pos, head, member)                                                         \
	for (pos = container_of((head)->next, __typeof__(*pos), member); &pos->member != (head); \
	     pos = container_of(pos->member.next, __typeof__(*pos), member))

/* The current element may be removed and freed, no other. */
#define list_for_each_safe(pos, tmp, head, member)                          \
	for (pos = container_of((head)->next, __typeof__(*pos), member),    \
	    tmp = container_of(pos->member.next, __typeof__(*pos), member); \
	     &pos->member != (head);                                        \
	     pos = tmp, tmp = container_of(pos->member.next, __typeof__(*pos), member))

static inline void list_init(struct list *list)
{
	list->prev = list->next = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline void list_insert(struct list *after, struct list *elem)
{
	elem->prev = after;
	elem->next = after->next;
	after->next->prev = elem;
	after->next = elem;
}

static inline void list_append(struct list *head, struct list *elem)
{
	list_insert(head->prev, elem);
}

/* Harmless when done twice. */
static inline void list_remove(struct list *elem)
{
	elem->prev->next = elem->next;
	elem->next->prev = elem->prev;
	list_init(elem);
}
