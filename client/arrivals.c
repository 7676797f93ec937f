/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A driver sends a descriptor before the reply that it belongs to, so it is there when the caller
 * looks, or is read then. What is left over is of calls that timed out, or was never asked for: the
 * first are remembered by their numbers and closed as they come, the others give way to newer ones.
 */

#include <string.h>

#include <base/cleanup.h>
#include <client/arrivals.h>

static void drop(struct arrivals *arrivals, unsigned index)
{
	close_fdp(&arrivals->all[index].fd);
	arrivals->n--;
	memmove(&arrivals->all[index], &arrivals->all[index + 1],
		(arrivals->n - index) * sizeof(arrivals->all[0]));
}

void arrivals_deinit(struct arrivals *arrivals)
{
	while (arrivals->n > 0)
		drop(arrivals, arrivals->n - 1);
}

/* Its index; n: there is none of that number. */
static unsigned find(const struct arrivals *arrivals, uint64_t sequence)
{
	unsigned i = 0;
	while (i < arrivals->n && arrivals->all[i].sequence != sequence)
		i++;
	return i;
}

static void append(struct arrivals *arrivals, uint64_t sequence, uint32_t generation, int fd)
{
	if (arrivals->n == ARRIVALS_MAX)
		drop(arrivals, 0);
	arrivals->all[arrivals->n].sequence = sequence;
	arrivals->all[arrivals->n].generation = generation;
	arrivals->all[arrivals->n].fd = fd;
	arrivals->n++;
}

void arrivals_add(struct arrivals *arrivals, uint64_t sequence, uint32_t generation, int fd)
{
	unsigned i = find(arrivals, sequence);
	bool forsaken = i < arrivals->n && arrivals->all[i].fd < 0;
	if (i < arrivals->n)
		drop(arrivals, i); // that of a driver that died
	if (forsaken)
		close_fdp(&fd);
	else
		append(arrivals, sequence, generation, fd);
}

int arrivals_take(struct arrivals *arrivals, uint64_t sequence, uint32_t generation)
{
	unsigned i = find(arrivals, sequence);
	if (i == arrivals->n || arrivals->all[i].generation != generation)
		return -1;
	int fd = steal_fd(&arrivals->all[i].fd);
	drop(arrivals, i);
	return fd;
}

void arrivals_forsake(struct arrivals *arrivals, uint64_t sequence)
{
	unsigned i = find(arrivals, sequence);
	if (i < arrivals->n)
		drop(arrivals, i);
	else
		append(arrivals, sequence, 0, -1);
}
