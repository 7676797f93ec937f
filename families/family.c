// SPDX-License-Identifier: Apache-2.0
/*
 * The table of families. It is filled by constructors, before any thread runs, and read only after.
 */

#include <assert.h>
#include <string.h>

#include <base/cleanup.h>
#include <families/family.h>

enum { FAMILIES_MAX = 16 };

static const struct family_ops *families[FAMILIES_MAX];
static unsigned n_families;

void family_register(const struct family_ops *ops)
{
	assert(n_families < FAMILIES_MAX);
	assert(ops->provider_class != NULL && ops->create_provider != NULL);
	families[n_families++] = ops;
}

const struct family_ops *family_find(const char *provider_class)
{
	for (unsigned i = 0; i < n_families; i++)
		if (strcmp(families[i]->provider_class, provider_class) == 0)
			return families[i];
	return NULL;
}

int handover_take_fd(struct device_handover *handover, unsigned index)
{
	if (index >= handover->n_fds)
		return -1;
	return steal_fd(&handover->fds[index]);
}

void handover_deinit(struct device_handover *handover)
{
	for (unsigned i = 0; i < handover->n_fds; i++)
		close_fdp(&handover->fds[i]);
}
