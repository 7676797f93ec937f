/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ledger, from outside: a process is decided at its start, so each test runs this program again
 * with OPENDEXT_DEBUG in its environment and the name of a scene as its argument, and reads what it
 * wrote to standard error. The scenes are what a driver author does wrong.
 */

#include <base/unit_test.h>
#include <objects/ledger.h>

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <DriverKit/OSCollections.h>
#include <base/reason.h>

/* --- scenes --- */

static __attribute__((noinline)) OSObject *make_plain(void)
{
	OSObject *object = OSTypeAlloc(OSObject);

	__asm__ volatile("" ::: "memory"); // so that this frame is there
	return object;
}

static __attribute__((noinline)) void free_plain(OSObject *object)
{
	OSObjectRelease(object);
	__asm__ volatile("" ::: "memory");
}

/* Where a function begins, as a report names it: the offset in this program's file. */
static void tell_place(const char *name, void (*function)(void))
{
	Dl_info info;

	if (dladdr((void *)(uintptr_t)function, &info) != 0)
		fprintf(stderr, "%s %lx\n", name,
			(unsigned long)((uintptr_t)function - (uintptr_t)info.dli_fbase));
}

static void leak(void)
{
	tell_place("make_plain", (void (*)(void))(uintptr_t)make_plain);
	for (int i = 0; i < 3; i++)
		OSObjectRetain(make_plain());
	OSNumber_withNumber(1, 8);
	OSObjectRelease(OSNumber_withNumber(2, 8));
}

static void leave_nothing(void)
{
	OSArray *array = OSArray_withCapacity(1);

	OSArray_setObject(array, make_plain());
	OSObjectRelease(OSArray_getObject(array, 0));
	OSObjectRelease(array);
}

static void release_twice(void)
{
	OSObject *object = make_plain();

	tell_place("make_plain", (void (*)(void))(uintptr_t)make_plain);
	tell_place("free_plain", (void (*)(void))(uintptr_t)free_plain);
	free_plain(object);
	OSObjectRelease(object);
}

static void retain_freed(void)
{
	OSObject *object = make_plain();

	free_plain(object);
	OSObjectRetain(object);
}

static void cast_freed(void)
{
	OSObject *object = OSNumber_as_OSObject(OSNumber_withNumber(1, 8));

	free_plain(object);
	if (OSDynamicCast(OSNumber, object) != NULL)
		fprintf(stderr, "the cast succeeded\n");
}

static void call_freed(void)
{
	OSObject *object = OSNumber_as_OSObject(OSNumber_withNumber(1, 8));

	free_plain(object);
	if (OSObject_isEqualTo(object, object))
		fprintf(stderr, "the call was made\n");
	fprintf(stderr, "refused: %s\n", reason_last());
}

/* After so many others, a dead object is forgotten, and its memory was given back. */
static void fill_graves(void)
{
	for (unsigned i = 0; i < 2 * LEDGER_GRAVES_MAX; i++)
		OSObjectRelease(make_plain());
}

static const struct {
	const char *name;
	void (*run)(void);
} scenes[] = {
	{ "leak", leak },
	{ "leave_nothing", leave_nothing },
	{ "release_twice", release_twice },
	{ "retain_freed", retain_freed },
	{ "cast_freed", cast_freed },
	{ "call_freed", call_freed },
	{ "fill_graves", fill_graves },
};

static int run_scene(const char *name)
{
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		if (strcmp(scenes[i].name, name) == 0) {
			scenes[i].run();
			return EXIT_SUCCESS;
		}
	return EXIT_FAILURE;
}

/* --- tests --- */

static char out[64 * 1024];

/* What a scene writes, in `out`. */
static void play(const char *debug, const char *scene)
{
	char path[PATH_MAX] = "";
	size_t size = 0;
	int ends[2], status;
	ssize_t got;
	pid_t pid;

	ck_assert_int_gt(readlink("/proc/self/exe", path, sizeof(path) - 1), 0);
	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		if (debug != NULL)
			setenv("OPENDEXT_DEBUG", debug, 1);
		else
			unsetenv("OPENDEXT_DEBUG");
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1); // it is the ledger that shall tell
		execl(path, path, scene, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	while ((got = read(ends[0], out + size, sizeof(out) - 1 - size)) > 0)
		size += (size_t)got;
	out[size] = '\0';
	close(ends[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s ended with %#x: %s", scene, status, out);
}

static const char *line_with(const char *part)
{
	const char *line = strstr(out, part);

	ck_assert_msg(line != NULL, "no line with \"%s\" in:\n%s", part, out);
	return line;
}

/* One of the frames behind `line` is in `function`, as the scene told where that is. */
static void assert_place(const char *line, const char *function)
{
	unsigned long begin = 0, offset;
	const char *told = strstr(out, function), *end = strchr(line, '\n');

	ck_assert_ptr_nonnull(told);
	ck_assert_int_eq(sscanf(told + strlen(function), "%lx", &begin), 1);
	for (const char *at = line; (at = strstr(at, "+0x")) != NULL && at < end; at++) {
		ck_assert_int_eq(sscanf(at, "+0x%lx", &offset), 1);
		if (offset > begin && offset < begin + 512)
			return;
	}
	ck_abort_msg("%s is at %lx, which is not in: %s", function, begin, line);
}

START_TEST(says_nothing_unless_asked)
{
	play(NULL, "leak");
	ck_assert_ptr_null(strstr(out, "objects:"));
	play("", "leak");
	ck_assert_ptr_null(strstr(out, "objects:"));
}
END_TEST

START_TEST(unknown_wish_is_refused)
{
	play("object", "leak");
	line_with("OPENDEXT_DEBUG=object is not known: use OPENDEXT_DEBUG=objects");
	ck_assert_ptr_null(strstr(out, "alive"));
}
END_TEST

/* The list of who is still there: of each place one line, with how many it made. */
START_TEST(objects_alive_at_exit_are_listed)
{
	play("objects", "leak");
	assert_place(line_with("alive at exit: 3 OSObject with 6 references, made at"),
		     "make_plain");
	line_with("alive at exit: 1 OSNumber with 1 references, made at");
	line_with("objects: 4 alive at exit, 0 wrong uses\n");
}
END_TEST

START_TEST(nothing_alive_is_said)
{
	play("objects", "leave_nothing");
	line_with("objects: 0 alive at exit, 0 wrong uses\n");
	ck_assert_ptr_null(strstr(out, "made at"));
}
END_TEST

START_TEST(over_release_is_reported_with_its_places)
{
	play("objects", "release_twice");
	line_with("release of a freed OSObject, at ");
	assert_place(line_with("it was made at "), "make_plain");
	assert_place(line_with("and freed at "), "free_plain");
	line_with("objects: 0 alive at exit, 1 wrong uses\n");
}
END_TEST

START_TEST(use_after_free_is_reported_and_does_nothing)
{
	static const struct {
		const char *scene, *line;
	} uses[] = { { "retain_freed", "retain of a freed OSObject, at " },
		     { "cast_freed", "cast of a freed OSNumber, at " },
		     { "call_freed", "isEqualTo of a freed OSNumber, at " } };

	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
		play("objects", uses[i].scene);
		line_with(uses[i].line);
		line_with("it was made at ");
		line_with("and freed at ");
		line_with(", 1 wrong uses\n");
		ck_assert_ptr_null(strstr(out, "succeeded"));
		ck_assert_ptr_null(strstr(out, "the call was made"));
	}
	line_with("refused: class a freed object has no implementation of OSObject::isEqualTo");
}
END_TEST

START_TEST(graves_are_bounded)
{
	play("objects", "fill_graves");
	line_with("objects: 0 alive at exit, 0 wrong uses\n");
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		says_nothing_unless_asked,
		unknown_wish_is_refused,
		objects_alive_at_exit_are_listed,
		nothing_alive_is_said,
		over_release_is_reported_with_its_places,
		use_after_free_is_reported_and_does_nothing,
		graves_are_bounded,
	};

	if (argc == 2)
		return run_scene(argv[1]);
	return unit_run("ledger", tests, sizeof(tests) / sizeof(tests[0]));
}
