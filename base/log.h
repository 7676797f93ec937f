/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Log lines. A library is silent until its host gives a sink; dextd and a dext log to stderr.
 * Keeps errno. Text from outside is escaped by the sink. An event is logged once, where it is
 * handled.
 */

#include <stdarg.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void (*log_sink_fn)(enum log_level level, const char *line);

void log_set_sink(log_sink_fn sink, enum log_level max);
void log_to_stderr(const char *process, enum log_level max); // the usual sink, with a prefix
void log_emit(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last line of a process: to the sink, or to standard error where nobody listens. */
void log_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...) log_emit(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_emit(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_emit(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_emit(LOG_LEVEL_DEBUG, __VA_ARGS__)
