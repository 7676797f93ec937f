/* SPDX-License-Identifier: Apache-2.0 */

/* The small things of DriverKit/IOLib.h. */

#include <DriverKit/IOLib.h>

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <base/clock.h>
#include <base/text.h>
#include <runtime/queue.h>

#define LINE_MAX_BYTES 1024
#define NS_PER_MS      1000000ULL
#define NS_PER_US      1000ULL
#define SLEEP_MAX_MS   (24ULL * 3600 * 1000)

void *IOMalloc(size_t length)
{
	return malloc(length);
}

void *IOMallocZero(size_t length)
{
	return calloc(1, length);
}

void IOFree(void *address, size_t length)
{
	(void)length;
	free(address);
}

void IOSleep(uint64_t milliseconds)
{
	_Atomic uint32_t never = 0;
	uint64_t bounded = milliseconds < SLEEP_MAX_MS ? milliseconds : SLEEP_MAX_MS;
	uint64_t deadline = clock_now_ns() + bounded * NS_PER_MS;

	/* Without a thread for the event loop a wait ends early. */
	while (clock_now_ns() < deadline)
		worker_wait(&never, 0, deadline);
}

void IODelay(uint64_t microseconds)
{
	uint64_t deadline = clock_now_ns() + microseconds * NS_PER_US;

	while (clock_now_ns() < deadline)
		;
}

static bool is_control(unsigned char byte)
{
	return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

void IOLog(const char *format, ...)
{
	char text[LINE_MAX_BYTES], line[4 * LINE_MAX_BYTES + 8];
	size_t used = 0;
	int saved = errno;
	va_list args;

	va_start(args, format);
	text_format(text, sizeof(text), format, args);
	va_end(args);
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '\n' && c[1] == '\0')
			break; // drivers end a line or not, as they like
		if (is_control((unsigned char)*c))
			used += (size_t)snprintf(line + used, 5, "\\x%02x", (unsigned char)*c);
		else
			line[used++] = *c;
	}
	line[used++] = '\n';
	/* There is nobody to tell that the log could not be written. */
	if (write(STDERR_FILENO, line, used) < 0)
		used = 0;
	errno = saved;
}
