// SPDX-License-Identifier: Apache-2.0
/* Look at a signal: capture [BLOCKS]. Prints what it saw; succeeds if every sample was right. */

#include <stdio.h>
#include <stdlib.h>

#include <IOKit/IODataQueueClient.h>
#include <IOKit/IOKitLib.h>
#include <opendext/client.h>

#include "scope.h"

static const struct scope_signal wanted_signal = { .period = 200, .amplitude = 5000 };

struct capture {
	const int32_t *samples; // mapped
	uint64_t blocks, wrong;
	int32_t lowest, highest;
};

/* The same triangle, by steps. */
static int32_t expected(uint64_t position)
{
	int64_t step = 2 * wanted_signal.amplitude / (wanted_signal.period / 2);
	int64_t phase = (int64_t)(position % wanted_signal.period);
	if (phase > wanted_signal.period / 2)
		phase = wanted_signal.period - phase;
	return (int32_t)(phase * step) - wanted_signal.amplitude;
}

static void look_at(struct capture *c, const struct scope_news *news)
{
	if (news->number != c->blocks || news->place >= SCOPE_BLOCKS ||
	    news->samples != SCOPE_BLOCK) {
		c->wrong++;
		return;
	}
	for (uint64_t i = 0; i < SCOPE_BLOCK; i++) {
		int32_t value = c->samples[news->place * SCOPE_BLOCK + i];
		c->wrong += value != expected(news->number * SCOPE_BLOCK + i);
		c->lowest = value < c->lowest ? value : c->lowest;
		c->highest = value > c->highest ? value : c->highest;
	}
	c->blocks++;
}

static kern_return_t read_news(IODataQueueMemory *queue, struct capture *c)
{
	struct scope_news news;
	uint32_t size = sizeof(news);
	kern_return_t ret = dext_data_queue_wait(queue, 10000);
	if (ret == kIOReturnSuccess)
		ret = IODataQueueDequeue(queue, &news, &size);
	if (ret == kIOReturnSuccess && size != sizeof(news))
		ret = kIOReturnUnderrun;
	if (ret == kIOReturnSuccess)
		look_at(c, &news);
	return ret;
}

/* As many at once as the ring has places: what is read late would be written over. */
static kern_return_t capture(io_connect_t connect, IODataQueueMemory *queue, struct capture *c,
			     uint64_t blocks)
{
	kern_return_t ret = kIOReturnSuccess;
	while (ret == kIOReturnSuccess && c->wrong == 0 && c->blocks < blocks) {
		uint64_t wanted = blocks - c->blocks, told = 0;
		uint32_t n = 1;
		if (wanted > SCOPE_BLOCKS)
			wanted = SCOPE_BLOCKS;
		ret = IOConnectCallScalarMethod(connect, SCOPE_CAPTURE, &wanted, 1, &told, &n);
		if (ret == kIOReturnSuccess && told != wanted)
			ret = kIOReturnOverrun;
		for (; ret == kIOReturnSuccess && told > 0; told--)
			ret = read_news(queue, c);
	}
	return ret;
}

static kern_return_t look(io_connect_t connect, struct capture *c, uint64_t blocks)
{
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	IODataQueueMemory *queue = NULL;
	kern_return_t ret = IOConnectCallStructMethod(connect, SCOPE_CONFIGURE, &wanted_signal,
						      sizeof(wanted_signal), NULL, NULL);
	if (ret == kIOReturnSuccess)
		ret = IOConnectMapMemory64(connect, SCOPE_SAMPLES, mach_task_self(), &address,
					   &size, kIOMapAnywhere | kIOMapReadOnly);
	if (ret == kIOReturnSuccess)
		ret = dext_data_queue_open(connect, SCOPE_NEWS, DEXT_DATA_QUEUE_NO_SELECTOR,
					   &queue);
	if (ret != kIOReturnSuccess)
		return ret;
	c->samples = (const int32_t *)(uintptr_t)address;
	ret = capture(connect, queue, c, blocks);
	dext_data_queue_close(queue);
	return ret;
}

int main(int argc, char **argv)
{
	uint64_t blocks = argc > 1 ? strtoull(argv[1], NULL, 0) : 100;
	struct capture c = { .lowest = INT32_MAX, .highest = INT32_MIN };
	io_connect_t connect = IO_OBJECT_NULL;
	io_service_t service =
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("Scope"));
	kern_return_t ret = service != IO_OBJECT_NULL
				    ? IOServiceOpen(service, mach_task_self(), 0, &connect)
				    : kIOReturnNotFound;
	if (ret == kIOReturnSuccess)
		ret = look(connect, &c, blocks);
	if (ret == kIOReturnSuccess)
		printf("%llu blocks of %d samples from %d to %d, %llu wrong\n",
		       (unsigned long long)c.blocks, SCOPE_BLOCK, c.lowest, c.highest,
		       (unsigned long long)c.wrong);
	else
		fprintf(stderr, "%s: %s\n", IOReturnString(ret), dext_last_reason());
	IOServiceClose(connect);
	IOObjectRelease(service);
	return ret == kIOReturnSuccess && c.wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
