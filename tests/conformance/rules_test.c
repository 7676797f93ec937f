// SPDX-License-Identifier: Apache-2.0
/*
 * What IOService and IOUserClient promise a driver, tried by a driver in a process of its own: the
 * status that the rule gives, the reason in words, and that nothing is left of what was refused.
 */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>
#include <tests/e2e/rig.h>

#include "rules.h"

enum { PATIENCE_MS = 10000 };

static struct rig rig;
static io_service_t service;
static io_connect_t rules;

static void begin(void)
{
	const char *const options[] = { "--bundles", getenv("CONFORMANCE_BUNDLES"), NULL };
	rig_start(&rig, NULL, options);
	service = rig_wait_service("Rules");
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), RULES_TYPE_GOOD, &rules),
			 kIOReturnSuccess);
}

static void end(void)
{
	IOServiceClose(rules);
	IOObjectRelease(service);
	rig_stop(&rig);
}

static kern_return_t try(enum rule rule, uint64_t *result)
{
	uint32_t n = 1;
	*result = 0;
	return IOConnectCallScalarMethod(rules, rule, NULL, 0, result, &n);
}

static uint64_t must(enum rule rule)
{
	uint64_t result;
	kern_return_t ret = try(rule, &result);
	ck_assert_msg(ret == kIOReturnSuccess, "%d: %s: %s", (int)rule, IOReturnString(ret),
		      dext_last_reason());
	return result;
}

static void assert_refused(kern_return_t ret, kern_return_t wanted, const char *part)
{
	ck_assert_msg(ret == wanted, "%s instead of %s: %s", IOReturnString(ret),
		      IOReturnString(wanted), dext_last_reason());
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL,
		      "the reason does not say \"%s\": %s", part, dext_last_reason());
}

static void must_refuse(enum rule rule, kern_return_t wanted, const char *part)
{
	uint64_t result;
	assert_refused(try(rule, &result), wanted, part);
}

/* What happens on another queue happens in time. */
static void await(enum rule rule, uint64_t wanted)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS), value;
	while ((value = must(rule)) != wanted)
		ck_assert_msg(clock_now_ns() < deadline, "%d stays %llu, not %llu", (int)rule,
			      (unsigned long long)value, (unsigned long long)wanted);
}

/* --- Create and Terminate --- */

START_TEST(create_follows_its_rules)
{
	must_refuse(RULE_CREATE_FOR_ANOTHER, kIOReturnUnsupported, "the service itself");
	must_refuse(RULE_CREATE_WITHOUT_KEY, kIOReturnBadArgument, "no dictionary NoSuchKey");
	must_refuse(RULE_CREATE_FROM_A_STRING, kIOReturnBadArgument, "no dictionary AString");
	must_refuse(RULE_CREATE_WITHOUT_A_CLASS, kIOReturnBadArgument, "no string IOUserClass");
	must_refuse(RULE_CREATE_UNKNOWN, kIOReturnUnsupported, "no class NoSuchClass");
	must_refuse(RULE_CREATE_NO_SERVICE, kIOReturnUnsupported,
		    "RulesObject is not an IOService");
	ck_assert_uint_eq(must(RULE_CHILDREN), 0);
}
END_TEST

/* It is started when Create returns, below the service that made it, and others find it. */
START_TEST(what_create_makes_is_started_and_found)
{
	ck_assert_uint_eq(must(RULE_CREATE), 1);
	ck_assert_uint_eq(must(RULE_CHILD_PROVIDER), 1);
	io_service_t child = rig_wait_service("RulesChild");
	IOObjectRelease(child);
	must(RULE_FORGET); // it lives on, for it was not terminated
	ck_assert_uint_eq(must(RULE_CHILDREN), 1);
}
END_TEST

static void on_terminated(void *refcon, io_service_t ended, uint32_t type, void *argument)
{
	(void)ended;
	(void)argument;
	if (type == kIOMessageServiceIsTerminated)
		(*(int *)refcon)++;
}

START_TEST(terminate_follows_its_rules)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	io_object_t interest;
	int gone = 0;
	must_refuse(RULE_TERMINATE_ITSELF, kIOReturnNotPermitted, "made with Create");
	must(RULE_CREATE);
	must_refuse(RULE_TERMINATE_OPTIONS, kIOReturnUnsupported, "options must be 0");
	io_service_t child = rig_wait_service("RulesChild");
	ck_assert_int_eq(IOServiceAddInterestNotification(port, child, kIOGeneralInterest,
							  on_terminated, &gone, &interest),
			 kIOReturnSuccess);
	must(RULE_TERMINATE);
	must_refuse(RULE_TERMINATE_AGAIN, kIOReturnNotPermitted, "and once");
	await(RULE_STOPS, 1); // later, on another queue
	rig_wait_flag(port, &gone);
	ck_assert_int_eq(gone, 1);
	must(RULE_FORGET);
	await(RULE_CHILDREN, 0);
	IOObjectRelease(interest);
	IOObjectRelease(child);
	IONotificationPortDestroy(port);
}
END_TEST

/* --- start --- */

static void on_found(void *refcon, io_iterator_t iterator)
{
	for (io_service_t s; (s = IOIteratorNext(iterator)) != IO_OBJECT_NULL; IOObjectRelease(s))
		++*(int *)refcon;
}

/* Until `dextctl list` has a line with both. */
static void wait_listed(const char *name, const char *state)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE_MS);
	char command[256], line[512];
	snprintf(command, sizeof(command), "%s list", getenv("DEXTCTL"));
	for (bool listed = false; !listed;) {
		ck_assert_msg(clock_now_ns() < deadline, "%s is not %s", name, state);
		FILE *f = popen(command, "r");
		ck_assert_ptr_nonnull(f);
		while (fgets(line, sizeof(line), f) != NULL)
			listed = listed ||
				 (strstr(line, name) != NULL && strstr(line, state) != NULL);
		pclose(f);
	}
}

/* A service that registers in a Start that then refuses was never there, nor what it had made. */
START_TEST(nothing_is_published_before_start_has_returned)
{
	static const char *const classes[] = { "RulesEarly", "RulesChild" };
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	io_iterator_t found[2];
	int n = 0;
	wait_listed("RulesEarly", "stopped");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(IOServiceAddMatchingNotification(port, kIOMatchedNotification,
								  IOServiceMatching(classes[i]),
								  on_found, &n, &found[i]),
				 kIOReturnSuccess);
		on_found(&n, found[i]);
	}
	rig_control("restart", "RulesEarly"); // now it is watched from the start
	wait_listed("RulesEarly", "stopped"); // it has begun anew when the command returns
	io_service_t again = rig_wait_service("Rules"); // dextd has told all that came before
	dext_notification_port_dispatch(port);
	ck_assert_int_eq(n, 0);
	IOObjectRelease(again);
	IOObjectRelease(found[0]);
	IOObjectRelease(found[1]);
	IONotificationPortDestroy(port);
}
END_TEST

/* It is the child that registered, and not its parent. */
START_TEST(a_child_that_registers_in_its_parents_start_is_published)
{
	io_service_t child = rig_wait_service("RulesFirstborn");
	IOObjectRelease(child);
	ck_assert_uint_eq(
		IOServiceGetMatchingService(kIOMainPortDefault, IOServiceMatching("RulesParent")),
		IO_OBJECT_NULL);
}
END_TEST

/* --- properties and identity --- */

START_TEST(properties_are_merged_over_the_personality)
{
	must(RULE_SET_PROPERTIES);
	ck_assert_uint_eq(must(RULE_COPY_PROPERTIES), 1);
	ck_assert_uint_eq(rig_number(service, "Answer"), 42);
	must_refuse(RULE_SET_PROVIDER, kIOReturnUnsupported, "not a service of this driver");
}
END_TEST

START_TEST(a_service_has_a_name_and_an_id)
{
	io_name_t name;
	uint64_t id = 0;
	must(RULE_SET_NAME);
	ck_assert_int_eq(IORegistryEntryGetName(service, name), kIOReturnSuccess);
	ck_assert_str_eq(name, RULES_NAME);
	must_refuse(RULE_SET_LONG_NAME, kIOReturnOverrun, "longer than its room");
	ck_assert_int_eq(IORegistryEntryGetName(service, name), kIOReturnSuccess);
	ck_assert_str_eq(name, RULES_NAME);
	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(service, &id), kIOReturnSuccess);
	ck_assert_uint_eq(must(RULE_ENTRY_ID), id);
}
END_TEST

/* --- ownership and queues --- */

START_TEST(what_is_got_is_borrowed_and_what_is_copied_is_returned)
{
	ck_assert_uint_eq(must(RULE_BORROWED), 0);
	ck_assert_uint_eq(must(RULE_RETURNED), 1);
}
END_TEST

START_TEST(a_service_runs_on_a_queue_of_its_own)
{
	ck_assert_uint_eq(must(RULE_DEFAULT_QUEUE), 1);
}
END_TEST

/* --- user clients --- */

static void assert_open_refused(uint32_t type, kern_return_t wanted, const char *part)
{
	io_connect_t other = IO_OBJECT_NULL;
	assert_refused(IOServiceOpen(service, mach_task_self(), type, &other), wanted, part);
	ck_assert_uint_eq(other, IO_OBJECT_NULL);
}

START_TEST(a_client_that_is_none_is_refused)
{
	assert_open_refused(RULES_TYPE_DEFAULT, kIOReturnUnsupported,
			    "does not override NewUserClient");
	assert_open_refused(RULES_TYPE_NO_CLIENT, kIOReturnUnsupported, "no IOUserClient");
	assert_open_refused(RULES_TYPE_NOTHING, kIOReturnUnsupported, "no IOUserClient");
	assert_open_refused(RULES_TYPE_NO_START, kIOReturnNoSpace, "");
	await(RULE_CLIENTS, 1);
	await(RULE_CHILDREN, 0);
}
END_TEST

START_TEST(a_closed_client_is_stopped_and_freed)
{
	io_connect_t other = IO_OBJECT_NULL;
	ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), RULES_TYPE_GOOD, &other),
			 kIOReturnSuccess);
	ck_assert_uint_eq(must(RULE_CLIENTS), 2);
	ck_assert_int_eq(IOServiceClose(other), kIOReturnSuccess);
	await(RULE_CLIENT_STOPS, 1);
	await(RULE_CLIENTS, 1);
	ck_assert_int_ne(IOServiceClose(other), kIOReturnSuccess);
}
END_TEST

/* The driver gives its reference away with each copy; none is left when the clients are gone. */
START_TEST(the_reference_to_client_memory_is_consumed)
{
	ck_assert_uint_eq(must(RULE_MEMORY), 1);
	for (int i = 0; i < 3; i++) {
		io_connect_t other = IO_OBJECT_NULL;
		mach_vm_address_t address = 0;
		mach_vm_size_t size = 0;
		ck_assert_int_eq(IOServiceOpen(service, mach_task_self(), RULES_TYPE_GOOD, &other),
				 kIOReturnSuccess);
		ck_assert_int_eq(IOConnectMapMemory64(other, 0, mach_task_self(), &address, &size,
						      kIOMapAnywhere),
				 kIOReturnSuccess);
		ck_assert_uint_eq(size, 4096);
		IOServiceClose(other);
	}
	await(RULE_MEMORY, 1);
}
END_TEST

START_TEST(only_this_process_is_opened_or_mapped_for)
{
	io_connect_t other = IO_OBJECT_NULL;
	mach_vm_address_t address = 0;
	mach_vm_size_t size = 0;
	assert_refused(IOServiceOpen(service, mach_task_self() + 1, RULES_TYPE_GOOD, &other),
		       kIOReturnBadArgument, "owningTask");
	assert_refused(IOConnectMapMemory64(rules, 0, mach_task_self() + 1, &address, &size,
					    kIOMapAnywhere),
		       kIOReturnBadArgument, "the task must be");
}
END_TEST

/* There is no memory of the application's yet; the number of its first page is none. */
START_TEST(memory_of_the_application_is_asked_for_after_start)
{
	ck_assert_int_ne((int32_t)must(RULE_EARLY_MEMORY), kIOReturnSuccess);
}
END_TEST

static void on_completion(void *refcon, IOReturn result)
{
	*(int *)refcon = result;
}

START_TEST(a_completion_carries_sixteen_numbers)
{
	IONotificationPortRef port = IONotificationPortCreate(kIOMainPortDefault);
	int completed = 0;
	uint64_t out = 0, reference[kIOAsyncCalloutCount] = {
		[kIOAsyncCalloutFuncIndex] = (uint64_t)(uintptr_t)on_completion,
		[kIOAsyncCalloutRefconIndex] = (uint64_t)(uintptr_t)&completed,
	};
	uint32_t n = 1;
	ck_assert_int_eq(IOConnectCallAsyncScalarMethod(
				 rules, RULE_COMPLETE_17, IONotificationPortGetMachPort(port),
				 reference, kIOAsyncCalloutCount, NULL, 0, &out, &n),
			 kIOReturnSuccess);
	ck_assert_int_eq((int32_t)out, kIOReturnOverrun);
	rig_wait_flag(port, &completed); // it was not completed: it ends with the call
	ck_assert_int_eq(completed, kIOReturnAborted);
	IONotificationPortDestroy(port);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conformance-rules");
	TCase *tc = tcase_create("rules");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, create_follows_its_rules);
	tcase_add_test(tc, what_create_makes_is_started_and_found);
	tcase_add_test(tc, terminate_follows_its_rules);
	tcase_add_test(tc, nothing_is_published_before_start_has_returned);
	tcase_add_test(tc, a_child_that_registers_in_its_parents_start_is_published);
	tcase_add_test(tc, properties_are_merged_over_the_personality);
	tcase_add_test(tc, a_service_has_a_name_and_an_id);
	tcase_add_test(tc, what_is_got_is_borrowed_and_what_is_copied_is_returned);
	tcase_add_test(tc, a_service_runs_on_a_queue_of_its_own);
	tcase_add_test(tc, a_client_that_is_none_is_refused);
	tcase_add_test(tc, a_closed_client_is_stopped_and_freed);
	tcase_add_test(tc, the_reference_to_client_memory_is_consumed);
	tcase_add_test(tc, only_this_process_is_opened_or_mapped_for);
	tcase_add_test(tc, memory_of_the_application_is_asked_for_after_start);
	tcase_add_test(tc, a_completion_carries_sixteen_numbers);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
