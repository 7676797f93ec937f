// SPDX-License-Identifier: Apache-2.0
/*
 * A fixed share would be too small for one application or too large for many. So an application may
 * have as much as it leaves for others: the first may take half, the next half of what is left
 * then, and so on; whoever comes finds room, and one that is alone is not held to the share of a
 * crowd.
 *
 * A lease outlives its account's connections: memory that a driver keeps is still mapped.
 */

#include <pthread.h>
#include <stdlib.h>

#include <base/list.h>
#include <base/reason.h>
#include <families/service/account.h>

/* Bytes, of all applications. What is read alone is mapped a second time, read-only, so this is at
 * most three quarters of what a dext may map. */
#define SHARED_MAX (3ULL << 29)

struct account {
	struct list link; // accounts
	uint64_t application;
	uint32_t refs; // connections and leases
	uint64_t size; // bytes
};

struct lease {
	struct account *account; // kept
	uint64_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards all accounts, and what follows
static struct list accounts = { &accounts, &accounts };
static uint64_t n_shared; // bytes

/* With the lock held. */
static void unref(struct account *account)
{
	if (--account->refs > 0)
		return;
	list_remove(&account->link);
	free(account);
}

struct account *account_open(uint64_t application)
{
	struct account *account, *found = NULL;
	pthread_mutex_lock(&lock);
	list_for_each(account, &accounts, link)
		if (account->application == application)
			found = account;
	if (found == NULL) {
		found = calloc(1, sizeof(*found));
		if (found != NULL) {
			found->application = application;
			list_append(&accounts, &found->link);
		}
	}
	if (found != NULL)
		found->refs++;
	pthread_mutex_unlock(&lock);
	return found;
}

struct account *account_close(struct account *account)
{
	pthread_mutex_lock(&lock);
	unref(account);
	pthread_mutex_unlock(&lock);
	return NULL;
}

kern_return_t lease_begin(struct lease **out, struct account *account, uint64_t size)
{
	kern_return_t ret = kIOReturnSuccess;
	struct lease *lease = malloc(sizeof(*lease));
	if (lease == NULL)
		return refuse(kIOReturnNoMemory, "out of memory for a buffer");
	pthread_mutex_lock(&lock);
	uint64_t left = SHARED_MAX - n_shared;
	if (size > left || account->size + size > left - size) {
		ret = refuse(kIOReturnNoResources,
			     "%llu more bytes: the application shares %llu with this driver, and "
			     "would have more than is left for others: %llu of %llu are free",
			     (unsigned long long)size, (unsigned long long)account->size,
			     (unsigned long long)left, (unsigned long long)SHARED_MAX);
	} else {
		*lease = (struct lease){ account, size };
		account->refs++;
		account->size += size;
		n_shared += size;
	}
	pthread_mutex_unlock(&lock);
	if (ret == kIOReturnSuccess)
		*out = lease;
	else
		free(lease);
	return ret;
}

void lease_end(void *context)
{
	struct lease *lease = context;
	if (lease == NULL)
		return;
	pthread_mutex_lock(&lock);
	n_shared -= lease->size;
	lease->account->size -= lease->size;
	unref(lease->account);
	pthread_mutex_unlock(&lock);
	free(lease);
}
