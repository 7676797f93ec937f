/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The items of a service's state: values under names, each a dictionary, which its driver sets and
 * other drivers wait for (DextRegistrar::SetStateItem, WatchState). They belong to a registry
 * entry.
 */

#include <stdbool.h>
#include <stdint.h>

#include <DriverKit/OSCollections.h>
#include <base/list.h>

#define STATE_ITEMS_MAX      64U          // of one entry
#define STATE_ITEMS_SIZE_MAX (64U * 1024) // bytes of their values and schemas, encoded

/* `schema` is kept; NULL or empty: any value. -EEXIST, -ENOSPC, -EOVERFLOW with a reason. */
int state_item_add(struct list *items, const char *name, OSDictionary *schema);
/* `value` is kept, and `number` its number, unless it is what is there: *changed says so. -ENOENT,
 * -EINVAL (not of its schema), -EOVERFLOW with a reason. */
int state_item_set(struct list *items, const char *name, OSDictionary *value, uint64_t number,
		   bool *changed);
/* Borrowed; NULL: no such item, or it was never set. */
OSDictionary *state_item_value(const struct list *items, const char *name);
uint64_t state_item_changed(const struct list *items, const char *name); // its number; 0: never set
void state_items_clear(struct list *items);
