// SPDX-License-Identifier: Apache-2.0
/* dextd against drivers that do what they should not. A well-behaved one beside them never notices.
 */

#include <base/unit_test.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/clock.h>
#include <protocol/dextd.h>

#include "rig.h"

static struct rig rig;
static struct client client;

static const char *const quick[] = { "--start-timeout-ms", "300", "--stop-timeout-ms", "300",
				     NULL };

/* The driver `behaviour` beside a good one. */
static void begin(const char *behaviour, const char *keys)
{
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "bad", behaviour, keys);
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "good", "running");
}

static void end(void)
{
	OSDictionary *good;
	ck_assert_uint_ne(find_entry(&client, "good", &good), 0);
	ck_assert_str_eq(text_of(good, "OpenDextState"), "running");
	ck_assert_uint_eq(number_of(good, "OpenDextRestarts"), 0);
	OSObjectRelease(good);
	client_close(&client);
	rig_stop(&rig);
}

/* It fails until it is quarantined, for `reason`, and `restart` gives it another chance. */
static void check_quarantine(const char *behaviour, const char *reason)
{
	char text[512];
	begin(behaviour, "");
	uint64_t id = wait_state(&client, "bad", "quarantined");
	explanation_of(&client, "IOUserResources", "bad", "reason", text);
	ck_assert_msg(strstr(text, reason) != NULL, "%s: \"%s\"", behaviour, text);
	ck_assert_msg(strstr(text, "dextctl restart") != NULL, "%s: \"%s\"", behaviour, text);

	struct DextDirectory_Control_Msg msg = { .entry = id, .what = "restart" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	OSDictionary *properties;
	find_entry(&client, "bad", &properties);
	ck_assert_str_ne(text_of(properties, "OpenDextState"), "quarantined");
	OSObjectRelease(properties);
	end();
}

START_TEST(never_answers_start)
{
	check_quarantine("silent", "Start did not return within 300 ms");
}
END_TEST

START_TEST(dies_in_start)
{
	check_quarantine("dies", "killed by signal 6");
}
END_TEST

START_TEST(exits_at_once)
{
	check_quarantine("exits", "exited with status 5");
}
END_TEST

START_TEST(sends_garbage)
{
	check_quarantine("garbage", "it sent a malformed message");
}
END_TEST

START_TEST(calls_unknown_methods)
{
	check_quarantine("unknown", "it sent a malformed message");
}
END_TEST

START_TEST(floods)
{
	check_quarantine("floods", "it does not read its messages");
}
END_TEST

START_TEST(cannot_be_executed)
{
	char text[512], path[128];
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "bad", "text", "");
	rig_path(&rig, path, "bundles/bad.dext/text");
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs("this is no program\n", f);
	fclose(f);
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "good", "running");
	wait_state(&client, "bad", "quarantined");
	explanation_of(&client, "IOUserResources", "bad", "reason", text);
	ck_assert_msg(strstr(text, "executing it failed") != NULL, "\"%s\"", text);
	end();
}
END_TEST

START_TEST(refuses_start)
{
	char text[512];
	begin("refuses", "");
	wait_state(&client, "bad", "stopped");
	explanation_of(&client, "IOUserResources", "bad", "reason", text);
	ck_assert_msg(strstr(text, "kIOReturnNotResponding: the dongle is missing") != NULL,
		      "\"%s\"", text);
	end();
}
END_TEST

/* The next candidate of the category takes over, however much lower its score. */
START_TEST(next_candidate)
{
	char text[512];
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "bad", "refuses",
		   "<key>IOMatchCategory</key><string>c</string>"
		   "<key>IOProbeScore</key><integer>100</integer>");
	rig_bundle(&rig, "next", "good", "<key>IOMatchCategory</key><string>c</string>");
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "next", "running");
	wait_state(&client, "good", "running");
	explanation_of(&client, "IOUserResources", "bad", "reason", text);
	ck_assert_msg(strstr(text, "the dongle is missing") != NULL, "\"%s\"", text);
	end();
}
END_TEST

START_TEST(one_winner_per_category)
{
	char text[512];
	OSDictionary *properties;
	begin("good", "<key>IOMatchCategory</key><string>good</string>"
		      "<key>IOProbeScore</key><integer>-1</integer>");
	ck_assert_uint_eq(find_entry(&client, "bad", &properties), 0);
	explanation_of(&client, "IOUserResources", "bad", "key", text);
	ck_assert_str_eq(text, "IOMatchCategory");
	end();
}
END_TEST

/* It waits until another runs, and is explained as what it is once it does. */
START_TEST(waits_for_a_count)
{
	char text[512];
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "bad", "good",
		   "<key>IOMatchedServiceCountMatch</key><integer>1</integer>");
	rig_bundle(&rig, "never", "good",
		   "<key>IOMatchedServiceCountMatch</key><integer>9</integer>");
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "bad", "running");
	wait_state(&client, "good", "running");
	explanation_of(&client, "IOUserResources", "bad", "key", text);
	ck_assert_str_eq(text, "");
	explanation_of(&client, "IOUserResources", "never", "key", text);
	ck_assert_str_eq(text, "IOMatchedServiceCountMatch");
	end();
}
END_TEST

START_TEST(reaches_for_others)
{
	OSDictionary *properties;
	begin("steals", "");
	wait_state(&client, "bad", "running");
	find_entry(&client, "bad", &properties);
	ck_assert_uint_eq(number_of(properties, "refused"), 10);
	OSObjectRelease(properties);
	end();
}
END_TEST

START_TEST(grows_without_end)
{
	OSDictionary *properties;
	begin("grows", "");
	wait_state(&client, "bad", "running");
	find_entry(&client, "bad", &properties);
	ck_assert_uint_eq(number_of(properties, "added"), 256);
	ck_assert_uint_eq(number_of(properties, "tooLarge"), 3);
	OSObjectRelease(properties);
	end();
}
END_TEST

/* A driver runs on what is taken away with the service below it. */
START_TEST(removes_what_others_run_on)
{
	OSDictionary *properties;
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "bad", "prunes", "");
	rig_bundle(&rig, "upper", "good", "<key>IOProviderClass</key><string>Leaf</string>");
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "good", "running");
	wait_state(&client, "upper", "running");
	struct DextDirectory_Open_Msg open = { .entry = wait_state(&client, "bad", "running") };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Open_Shape, &open), kIOReturnSuccess);
	close(open.memory);
	close(open.socket);
	close(open.doorbell);
	uint64_t deadline = clock_deadline_ns(10000);
	while (find_entry(&client, "upper", &properties) != 0) {
		OSObjectRelease(properties);
		ck_assert_msg(clock_now_ns() < deadline, "the upper driver stays");
	}
	uint64_t refused = 0;
	while (refused != 3) {
		ck_assert_msg(clock_now_ns() < deadline, "not all was refused");
		find_entry(&client, "bad", &properties);
		if (OSDictionary_getObject(properties, "refused") != NULL)
			refused = number_of(properties, "refused");
		OSObjectRelease(properties);
	}
	end();
}
END_TEST

START_TEST(never_stops)
{
	begin("never-stops", "");
	uint64_t id = wait_state(&client, "bad", "running");
	OSDictionary *properties;
	find_entry(&client, "bad", &properties);
	uint64_t pid = number_of(properties, "OpenDextProcess");
	OSObjectRelease(properties);
	struct DextDirectory_Control_Msg msg = { .entry = id, .what = "restart" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	wait_new_process(&client, "bad", pid); // killed, and started anew
	end();
}
END_TEST

/* It answers Stop, then does not exit: SIGTERM, SIGKILL. */
START_TEST(stays)
{
	begin("stays", "");
	wait_state(&client, "bad", "running");
	end();
}
END_TEST

static bool layer_holds(const char *name)
{
	struct DextDirectory_CopyStatus_Msg msg = { 0 };
	bool holds = false;
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyStatus_Shape, &msg),
			 kIOReturnSuccess);
	OSArray *rows = OSDynamicCast(OSArray, OSDictionary_getObject(msg.status, "layers"));
	ck_assert_uint_eq(OSArray_getCount(rows), 5);
	for (uint32_t i = 0; i < OSArray_getCount(rows); i++) {
		OSDictionary *row = OSDynamicCast(OSDictionary, OSArray_getObject(rows, i));
		if (strcmp(text_of(row, "name"), name) == 0)
			holds = strcmp(text_of(row, "state"), "on") == 0;
	}
	OSObjectRelease(msg.status);
	return holds;
}

/* What dextd's own layers leave to a driver, before libdext adds its filter. */
START_TEST(is_confined)
{
	OSDictionary *p;
	begin("looks", "");
	wait_state(&client, "bad", "running");
	find_entry(&client, "bad", &p);
	if (layer_holds("landlock")) {
		ck_assert_uint_eq(number_of(p, "passwd"), EACCES);
		ck_assert_uint_eq(number_of(p, "folder"), EACCES);
		ck_assert_uint_eq(number_of(p, "temporary"), EACCES);
		ck_assert_uint_eq(number_of(p, "devices"), EACCES);
	}
	if (layer_holds("namespaces"))
		ck_assert(number_of(p, "network") == ENETUNREACH ||
			  number_of(p, "network") == EACCES);
	if (layer_holds("user"))
		ck_assert_uint_eq(number_of(p, "uid"), 65534);
	ck_assert_uint_eq(number_of(p, "descriptors"), 4);
	ck_assert_uint_eq(number_of(p, "core"), 0);
	ck_assert_uint_eq(number_of(p, "privileges"), 1);
	ck_assert_uint_eq(number_of(p, "blocked"), 0);
	ck_assert_uint_eq(number_of(p, "environment"), 0);
	OSObjectRelease(p);
	end();
}
END_TEST

START_TEST(one_process_for_a_server)
{
	OSDictionary *a, *b;
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "good", "");
	rig_bundle(&rig, "a", "good",
		   "<key>IOProviderClass</key><string>IOUserResources</string>"
		   "<key>IOUserServerOneProcess</key><true/></dict><key>b</key><dict>"
		   "<key>IOProviderClass</key><string>IOUserResources</string>"
		   "<key>IOUserClass</key><string>b</string>"
		   "<key>IOUserServerOneProcess</key><true/>");
	rig_start(&rig, quick);
	client_open(&client, &rig);
	wait_state(&client, "good", "running");
	uint64_t id = wait_state(&client, "a", "running");
	wait_state(&client, "b", "running");
	find_entry(&client, "a", &a);
	find_entry(&client, "b", &b);
	uint64_t pid = number_of(a, "OpenDextProcess");
	ck_assert_uint_eq(pid, number_of(b, "OpenDextProcess"));
	OSObjectRelease(a);
	OSObjectRelease(b);

	/* One stops while the other runs on; one death ends both. */
	struct DextDirectory_Control_Msg msg = { .entry = id, .what = "restart" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	wait_state(&client, "a", "running");
	find_entry(&client, "b", &b);
	ck_assert_uint_eq(number_of(b, "OpenDextProcess"), pid);
	ck_assert_uint_eq(number_of(b, "OpenDextRestarts"), 0);
	OSObjectRelease(b);
	msg = (struct DextDirectory_Control_Msg){ .entry = id, .what = "kill" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	wait_new_process(&client, "a", pid);
	wait_new_process(&client, "b", pid);
	end();
}
END_TEST

static const char *const filter_required[] = { "--require-layers", "seccomp", "--start-timeout-ms",
					       "300", NULL };

/* No driver code runs before the filter was reported. */
START_TEST(filter_is_required)
{
	char text[512];
	rig_prepare(&rig);
	rig_bundle(&rig, "good", "announces", "");
	rig_bundle(&rig, "bad", "good", "");
	rig_start(&rig, filter_required);
	client_open(&client, &rig);
	wait_state(&client, "good", "running");
	wait_state(&client, "bad", "quarantined");
	explanation_of(&client, "IOUserResources", "bad", "reason", text);
	ck_assert_msg(strstr(text, "did not report its system call filter") != NULL, "\"%s\"",
		      text);
	end();
}
END_TEST

/* That of "bad", which was made with this behaviour. */
static void remove_bundle(const char *behaviour)
{
	char path[128], name[64];
	rig_path(&rig, path, "bundles/bad.dext/Info.plist");
	ck_assert_int_eq(unlink(path), 0);
	snprintf(name, sizeof(name), "bundles/bad.dext/%s", behaviour);
	rig_path(&rig, path, name);
	ck_assert_int_eq(unlink(path), 0);
	rig_path(&rig, path, "bundles/bad.dext");
	ck_assert_int_eq(rmdir(path), 0);
}

/* Quarantined or stopped: SIGHUP gives the bundle, as it is now, another chance. */
START_TEST(a_repaired_bundle_starts)
{
	begin("refuses", "");
	wait_state(&client, "bad", "stopped");
	remove_bundle("refuses");
	rig_bundle(&rig, "bad", "good", "");
	rig_signal(&rig, SIGHUP);
	wait_state(&client, "bad", "running");
	end();
}
END_TEST

/* What runs goes on; its next process is of the new one, with its keys and none of the old. */
START_TEST(a_bundle_is_upgraded_while_it_runs)
{
	OSDictionary *properties;
	begin("good", "<key>Version</key><integer>1</integer><key>Old</key><integer>1</integer>");
	uint64_t id = wait_state(&client, "bad", "running");
	remove_bundle("good");
	rig_bundle(&rig, "bad", "good", "<key>Version</key><integer>2</integer>");
	rig_bundle(&rig, "late", "good", "");
	rig_signal(&rig, SIGHUP);
	wait_state(&client, "late", "running");
	ck_assert_uint_eq(find_entry(&client, "bad", &properties), id);
	ck_assert_uint_eq(number_of(properties, "Version"), 1);
	ck_assert_uint_eq(number_of(properties, "OpenDextRestarts"), 0);
	uint64_t pid = number_of(properties, "OpenDextProcess");
	OSObjectRelease(properties);

	struct DextDirectory_Control_Msg msg = { .entry = id, .what = "kill" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	wait_new_process(&client, "bad", pid);
	ck_assert_uint_eq(find_entry(&client, "bad", &properties), id);
	ck_assert_uint_eq(number_of(properties, "Version"), 2);
	ck_assert_ptr_null(OSDictionary_getObject(properties, "Old"));
	OSObjectRelease(properties);
	end();
}
END_TEST

/* SIGHUP: a new bundle starts, a bad one is listed, what ran runs on. */
START_TEST(bundles_are_read_again)
{
	char text[512], path[128];
	begin("good", "");
	wait_state(&client, "bad", "running");
	rig_bundle(&rig, "late", "good", "");
	rig_path(&rig, path, "bundles/empty.dext");
	ck_assert_int_eq(mkdir(path, 0755), 0);
	rig_signal(&rig, SIGHUP);
	wait_state(&client, "late", "running");
	explanation_of(&client, "IOUserResources", "empty", "reason", text);
	ck_assert_msg(strstr(text, "Info.plist cannot be opened") != NULL, "\"%s\"", text);
	end();
}
END_TEST

UNIT_TESTS("dextd-drivers", never_answers_start, dies_in_start, exits_at_once, sends_garbage,
	   calls_unknown_methods, floods, cannot_be_executed, refuses_start, next_candidate,
	   one_winner_per_category, waits_for_a_count, reaches_for_others, grows_without_end,
	   removes_what_others_run_on, never_stops, stays, is_confined, one_process_for_a_server,
	   a_repaired_bundle_starts, filter_is_required, a_bundle_is_upgraded_while_it_runs,
	   bundles_are_read_again)
