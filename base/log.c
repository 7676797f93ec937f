/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Log lines: formatted here, delivered by the host's sink. Nothing is formatted when nobody
 * listens. A line has a fixed room and is cut with "…", for it is for people.
 *
 * The usual sink writes each line with one write(2), so that lines of several processes on one
 * terminal stay whole. Bytes that a terminal would act on are written as \xNN; UTF-8 passes.
 */

#include <base/log.h>

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <base/text.h>

#define LINE_MAX_BYTES 1024

static _Atomic(log_sink_fn) current_sink;
static _Atomic int max_level;
static char process_name[32];

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_set_sink(log_sink_fn sink, enum log_level max)
{
	atomic_store(&max_level, (int)max);
	atomic_store_explicit(&current_sink, sink, memory_order_release);
}

void log_emit(enum log_level level, const char *format, ...)
{
	log_sink_fn sink = atomic_load_explicit(&current_sink, memory_order_acquire);
	char line[LINE_MAX_BYTES];
	int saved = errno;
	va_list args;

	if (sink == NULL || (int)level > atomic_load_explicit(&max_level, memory_order_relaxed))
		return;
	va_start(args, format);
	text_format(line, sizeof(line), format, args);
	va_end(args);
	sink(level, line);
	errno = saved;
}

/* A control byte, which would move the cursor or end the line. */
static int is_unsafe(unsigned char byte)
{
	return byte < 0x20 || byte == 0x7f;
}

static void write_stderr(enum log_level level, const char *line)
{
	char out[4 * LINE_MAX_BYTES + 64];
	size_t used;
	int head = snprintf(out, sizeof(out), "%s[%d] %s: ", process_name, (int)getpid(),
			    level_names[level]);

	used = head > 0 ? (size_t)head : 0;
	for (const char *c = line; *c != '\0' && used + 6 < sizeof(out); c++) {
		if (is_unsafe((unsigned char)*c))
			used += (size_t)snprintf(out + used, 5, "\\x%02x", (unsigned char)*c);
		else
			out[used++] = *c;
	}
	out[used++] = '\n';
	/* There is nobody to tell that the log could not be written. */
	if (write(STDERR_FILENO, out, used) < 0)
		return;
}

void log_to_stderr(const char *process, enum log_level max)
{
	snprintf(process_name, sizeof(process_name), "%.31s", process);
	log_set_sink(write_stderr, max);
}

void log_fatal(const char *format, ...)
{
	log_sink_fn sink = atomic_load_explicit(&current_sink, memory_order_acquire);
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, format);
	text_format(line, sizeof(line), format, args);
	va_end(args);
	if (sink == NULL) {
		log_to_stderr(program_invocation_short_name, LOG_LEVEL_ERROR);
		sink = write_stderr;
	}
	sink(LOG_LEVEL_ERROR, line);
}
