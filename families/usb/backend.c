// SPDX-License-Identifier: Apache-2.0
/*
 * The table of USB backends. It is filled by constructors, before any thread runs, and read only
 * after.
 */

#include <assert.h>
#include <string.h>

#include <families/usb/usb_backend.h>

enum { BACKENDS_MAX = 8 };

static const struct usb_backend_ops *backends[BACKENDS_MAX];
static unsigned n_backends;

void usb_backend_register(const struct usb_backend_ops *ops)
{
	assert(n_backends < BACKENDS_MAX);
	assert(ops->name != NULL && ops->open != NULL && ops->close != NULL);
	assert(ops->copy_descriptors != NULL && ops->claim != NULL && ops->release != NULL);
	assert(ops->submit != NULL && ops->cancel != NULL && ops->clear_halt != NULL);
	backends[n_backends++] = ops;
}

const struct usb_backend_ops *usb_backend_find(const char *name)
{
	for (unsigned i = 0; i < n_backends; i++)
		if (strcmp(backends[i]->name, name) == 0)
			return backends[i];
	return NULL;
}
