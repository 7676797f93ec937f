/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ledger. A record lies in front of each object, in one of two lists: of the living, or of the
 * graves, oldest first.
 *
 * A dead object keeps its memory, emptied, under a class that has no methods. So whatever is done
 * with it fails in the check that an ordinary object passes, and only what fails asks for the
 * ledger: those who do right pay nothing.
 *
 * A driver is confined: nothing may be opened once its filter is on. So a report, with its stacks,
 * is one write to standard error.
 */

#include <objects/ledger.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/OSObject.h>
#include <base/list.h>
#include <base/stack.h>
#include <base/text.h>

struct record {
	struct list link; // ledger.living or ledger.graves
	const OSMetaClass *meta;
	size_t size; // of the object
	struct stack made, freed;
};

/* In front of the object, with its alignment. */
#define RECORD_SIZE ((sizeof(struct record) + 15U) & ~(size_t)15U)

bool ledger_is_kept;

static struct {
	pthread_mutex_t lock;
	struct list living, graves; // guarded by lock
	size_t n_graves, grave_bytes;
	unsigned n_wrong; // guarded by lock; uses of dead objects
} ledger = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.living = { &ledger.living, &ledger.living },
	.graves = { &ledger.graves, &ledger.graves },
};

/* Who makes the last release that this thread is in: one free() may end in another's. */
static _Thread_local const void *releaser;

static const OSMetaClass dead_class = { .name = "a freed object",
					.instance_size = sizeof(OSObject) };

static struct record *record_of(const OSObject *object)
{
	return (struct record *)(void *)((uint8_t *)(uintptr_t)object - RECORD_SIZE);
}

static OSObject *object_of(struct record *record)
{
	return (OSObject *)(void *)((uint8_t *)record + RECORD_SIZE);
}

/* --- reports --- */

static void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void report(const char *format, ...)
{
	char line[STACK_TEXT + 256];
	va_list args;
	int head = snprintf(line, sizeof(line),
			    "%.31s[%d] objects: ", program_invocation_short_name, (int)getpid());

	va_start(args, format);
	text_format(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	strcat(line, "\n");
	/* There is nobody to tell that a report could not be written. */
	if (write(STDERR_FILENO, line, strlen(line)) < 0)
		return;
}

void ledger_report(const OSObject *object, const char *use, void *caller)
{
	struct record *record = record_of(object);
	char text[STACK_TEXT];
	struct stack now;

	if ((object->flags & OBJECT_LEDGER) == 0)
		return;
	stack_take(&now, caller);
	pthread_mutex_lock(&ledger.lock);
	ledger.n_wrong++;
	stack_print(text, sizeof(text), &now);
	report("%s of a freed %s, at %s", use, record->meta->name, text);
	stack_print(text, sizeof(text), &record->made);
	report("    it was made at %s", text);
	stack_print(text, sizeof(text), &record->freed);
	report("    and freed at %s", text);
	pthread_mutex_unlock(&ledger.lock);
}

/* By class, then by place. */
static int compare_records(const void *one, const void *two)
{
	const struct record *left = *(struct record *const *)one;
	const struct record *right = *(struct record *const *)two;

	if (left->meta != right->meta)
		return strcmp(left->meta->name, right->meta->name);
	return memcmp(&left->made, &right->made, sizeof(left->made));
}

static void report_alive(struct record *const *records, size_t n_records)
{
	for (size_t i = 0, same; i < n_records; i += same) {
		unsigned long references = 0;
		char text[STACK_TEXT];

		for (same = 0;
		     i + same < n_records && compare_records(&records[i], &records[i + same]) == 0;
		     same++)
			references += OSObjectGetRetainCount(object_of(records[i + same]));
		stack_print(text, sizeof(text), &records[i]->made);
		report("alive at exit: %zu %s with %lu references, made at %s", same,
		       records[i]->meta->name, references, text);
	}
}

__attribute__((destructor)) static void close_ledger(void)
{
	struct record **records, *record;
	size_t n_records = 0, i = 0;

	if (!ledger_is_kept)
		return;
	pthread_mutex_lock(&ledger.lock);
	list_for_each(record, &ledger.living, link)
		n_records++;
	records = calloc(n_records + 1, sizeof(struct record *));
	if (records != NULL) {
		list_for_each(record, &ledger.living, link)
			records[i++] = record;
		qsort(records, i, sizeof(struct record *), compare_records);
		report_alive(records, i);
	}
	report("%zu alive at exit, %u wrong uses", n_records, ledger.n_wrong);
	pthread_mutex_unlock(&ledger.lock);
	free(records);
}

/* --- keeping it --- */

OSObject *ledger_allocate(const OSMetaClass *meta, size_t size, void *caller)
{
	struct record *record = calloc(1, RECORD_SIZE + size);

	if (record == NULL)
		return NULL;
	record->meta = meta;
	record->size = size;
	stack_take(&record->made, caller);
	object_of(record)->flags = OBJECT_LEDGER;
	pthread_mutex_lock(&ledger.lock);
	list_append(&ledger.living, &record->link);
	pthread_mutex_unlock(&ledger.lock);
	return object_of(record);
}

/* With the lock held. */
static void open_oldest_grave(void)
{
	struct record *record = container_of(ledger.graves.next, struct record, link);

	list_remove(&record->link);
	ledger.n_graves--;
	ledger.grave_bytes -= RECORD_SIZE + record->size;
	free(record);
}

void ledger_free(OSObject *object, void *caller)
{
	struct OSObject_free_Msg msg = { 0 };
	const void *outer = releaser;

	releaser = caller;
	OSObjectInvokeSuper(object->meta, object, &OSObject_free_Shape, &msg);
	releaser = outer;
}

void ledger_bury(OSObject *object)
{
	struct record *record = record_of(object);

	stack_take(&record->freed, releaser);
	memset((void *)object, 0, record->size);
	object->meta = &dead_class;
	object->flags = OBJECT_LEDGER | OBJECT_DEAD;
	pthread_mutex_lock(&ledger.lock);
	list_remove(&record->link);
	list_append(&ledger.graves, &record->link);
	ledger.n_graves++;
	ledger.grave_bytes += RECORD_SIZE + record->size;
	while (ledger.n_graves > LEDGER_GRAVES_MAX || ledger.grave_bytes > LEDGER_GRAVE_BYTES_MAX)
		open_oldest_grave();
	pthread_mutex_unlock(&ledger.lock);
}

/* Before libdext's other constructors, of which one puts on the filter. */
__attribute__((constructor(101))) static void open_ledger(void)
{
	const char *wanted = secure_getenv("OPENDEXT_DEBUG");

	if (wanted == NULL || *wanted == '\0')
		return;
	if (strcmp(wanted, "objects") != 0) {
		report("OPENDEXT_DEBUG=%s is not known: use OPENDEXT_DEBUG=objects", wanted);
		return;
	}
	ledger_is_kept = true;
}
