/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <devices/ivshmem/function.h>

static const struct {
	const char *name;
	enum misbehaviour misbehaviour;
	bool on_doorbell;
} misbehaviours[] = {
	{ "bar-larger-than-file", BAR_LARGER_THAN_FILE, false },
	{ "truncate-after-map", TRUNCATE_AFTER_MAP, true },
	{ "hangup", HANG_UP, false },
	{ "garbage", GARBAGE, false },
	{ "silent", SILENT, false },
	{ "hangup-on-doorbell", HANG_UP, true },
	{ "garbage-on-doorbell", GARBAGE, true },
	{ "silent-on-doorbell", SILENT, true },
};

bool function_misbehave(struct function *function, const char *name)
{
	for (size_t i = 0; i < sizeof(misbehaviours) / sizeof(misbehaviours[0]); i++) {
		if (strcmp(name, misbehaviours[i].name) != 0)
			continue;
		function->misbehaviour = misbehaviours[i].misbehaviour;
		function->on_doorbell = misbehaviours[i].on_doorbell;
		return true;
	}
	return false;
}

const char *function_misbehaviour_name(unsigned index)
{
	return index < sizeof(misbehaviours) / sizeof(misbehaviours[0]) ? misbehaviours[index].name
									: NULL;
}

static void on_vector(void *context, unsigned vector)
{
	struct function *function = context;
	server_raise(function->server, SERVER_MSIX, vector);
}

void function_init(struct function *function, struct server *server, int memory_fd,
		   uint64_t memory_size, unsigned n_vectors)
{
	*function = (struct function){ .server = server, .misbehaviour = BEHAVE };
	card_init(&function->card, memory_fd, memory_size, n_vectors);
	function->card.on_vector = on_vector;
	function->card.context = function;
}

static unsigned n_irqs(void *context, enum server_irq kind)
{
	const struct function *function = context;
	return kind == SERVER_MSIX ? function->card.n_vectors : 0;
}

static uint64_t region_size(void *context, unsigned region)
{
	const struct function *function = context;
	uint64_t size = card_region_size(&function->card, region);
	if (region == CARD_BAR2 && function->misbehaviour == BAR_LARGER_THAN_FILE)
		size *= 2;
	return size;
}

static int region_fd(void *context, unsigned region)
{
	const struct function *function = context;
	return region == CARD_BAR2 ? function->card.memory_fd : -1;
}

static int read_region(void *context, unsigned region, uint64_t offset, void *data, size_t count)
{
	struct function *function = context;
	return card_read(&function->card, region, offset, data, count);
}

static int write_region(void *context, unsigned region, uint64_t offset, const void *data,
			size_t count)
{
	struct function *function = context;
	return card_write(&function->card, region, offset, data, count);
}

static void reset(void *context)
{
	struct function *function = context;
	card_reset(&function->card);
}

static void detached(void *context)
{
	struct function *function = context;
	function->card.n_doorbells = 0;
}

static enum server_reply before_reply(void *context)
{
	struct function *function = context;
	if (function->on_doorbell && function->card.n_doorbells == 0)
		return SERVER_ANSWER;
	switch (function->misbehaviour) {
	case HANG_UP:
		return SERVER_HANG_UP;
	case GARBAGE:
		return SERVER_GARBAGE;
	case SILENT:
		return SERVER_SILENCE;
	case TRUNCATE_AFTER_MAP:
		if (ftruncate(function->card.memory_fd, 0) < 0)
			perror("cutting the memory file");
		return SERVER_ANSWER;
	case BAR_LARGER_THAN_FILE:
	case BEHAVE:
		break;
	}
	return SERVER_ANSWER;
}

const struct server_ops ivshmem_function = {
	.n_irqs = n_irqs,
	.region_size = region_size,
	.region_fd = region_fd,
	.read = read_region,
	.write = write_region,
	.reset = reset,
	.detached = detached,
	.before_reply = before_reply,
};
