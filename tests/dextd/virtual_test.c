// SPDX-License-Identifier: Apache-2.0
/*
 * Virtual devices, with a probe that answers as it is told: what is published, what is refused, and
 * what follows when the device's socket comes, goes, or is left behind.
 */

#include <base/unit_test.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <protocol/dextd.h>

#include "rig.h"

#define PCI_DRIVER                                               \
	"<key>IOProviderClass</key><string>IOPCIDevice</string>" \
	"<key>IOPCIMatch</key><string>0x11101af4</string>"

static struct rig rig;
static struct client client;

static int listen_as_device(const struct rig *r)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/device", r->folder);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	return fd;
}

static void unlink_device(void)
{
	char path[128];
	rig_path(&rig, path, "device");
	ck_assert_int_eq(unlink(path), 0);
}

/* dextd with one virtual device and a probe of this behaviour. */
static void begin(const char *probe)
{
	char spec[160], path[128];
	rig_install(&rig, "RAW_PROBE", probe);
	rig_bundle(&rig, "driver", "good", PCI_DRIVER);
	rig_path(&rig, path, probe);
	snprintf(spec, sizeof(spec), "vfio-user:%s/device", rig.folder);
	const char *const options[] = { "--probe", path, "--virtual", spec, NULL };
	rig_start(&rig, options);
	client_open(&client, &rig);
}

static void end(void)
{
	client_close(&client);
	rig_stop(&rig);
}

/* Wait until the one virtual device is in `state`; its reason. */
static void wait_virtual(const char *state, char *reason)
{
	uint64_t deadline = clock_deadline_ns(20000);
	char now[32];
	do {
		struct DextDirectory_CopyStatus_Msg msg = { 0 };
		ck_assert_msg(clock_now_ns() < deadline, "the device is %s, not %s", now, state);
		ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyStatus_Shape, &msg),
				 kIOReturnSuccess);
		OSArray *rows =
			OSDynamicCast(OSArray, OSDictionary_getObject(msg.status, "virtual"));
		OSDictionary *row = OSDynamicCast(OSDictionary, OSArray_getObject(rows, 0));
		snprintf(now, sizeof(now), "%s", text_of(row, "state"));
		snprintf(reason, 512, "%s", text_of(row, "reason"));
		OSObjectRelease(msg.status);
	} while (strcmp(now, state) != 0 || (strcmp(state, "absent") == 0 && reason[0] == '\0'));
}

START_TEST(is_published_and_started)
{
	OSDictionary *properties;
	rig_prepare(&rig);
	CLEANUP(close_fdp) int device __attribute__((unused)) = listen_as_device(&rig);
	begin("one");
	wait_state(&client, "driver", "running");
	find_entry(&client, "driver", &properties);
	ck_assert_str_eq(text_of(properties, "OpenDextBackend"), "vfio-user");
	ck_assert_str_eq(text_of(properties, "IOProviderClass"), "IOPCIDevice");
	OSObjectRelease(properties);
	char text[512];
	explanation_of(&client, "pci1af4,1110", "driver", "key", text);
	ck_assert_str_eq(text, "");
	end();
}
END_TEST

START_TEST(two_functions_two_drivers)
{
	rig_prepare(&rig);
	CLEANUP(close_fdp) int device __attribute__((unused)) = listen_as_device(&rig);
	begin("two");
	wait_state(&client, "driver", "running");
	wait_status(&client, "services", 2);
	wait_status(&client, "processes", 2);
	end();
}
END_TEST

static const struct {
	const char *probe, *reason;
} bad_probes[] = {
	{ "dies", "killed by signal" },
	{ "fails", "did not say what it is" },
	{ "garbage", "malformed" },
	{ "huge", "too large" },
	{ "wrong-class", "no provider class" },
	{ "many", "more than 32" },
	{ "nothing", "malformed" },
};

START_TEST(bad_answers_are_refused)
{
	for (size_t i = 0; i < sizeof(bad_probes) / sizeof(bad_probes[0]); i++) {
		char reason[512];
		rig_prepare(&rig);
		CLEANUP(close_fdp) int device __attribute__((unused)) = listen_as_device(&rig);
		begin(bad_probes[i].probe);
		wait_virtual("absent", reason);
		ck_assert_msg(strstr(reason, bad_probes[i].reason) != NULL, "%s: \"%s\"",
			      bad_probes[i].probe, reason);
		ck_assert_uint_eq(status_number(&client, "services"), 0);
		end();
	}
}
END_TEST

START_TEST(plug_and_unplug)
{
	OSDictionary *properties;
	char reason[512];
	rig_prepare(&rig);
	begin("one");
	wait_virtual("absent", reason);
	uint64_t descriptors = status_number(&client, "descriptors");
	uint64_t last = 0;
	for (unsigned i = 0; i < 3; i++) {
		CLEANUP(close_fdp) int device __attribute__((unused)) = listen_as_device(&rig);
		uint64_t id = wait_state(&client, "driver", "running");
		ck_assert_uint_gt(id, last); // another device, another entry
		last = id;
		unlink_device();
		wait_status(&client, "services", 0);
		ck_assert_uint_eq(find_entry(&client, "driver", &properties), 0);
		wait_status(&client, "processes", 0);
	}
	wait_status(&client, "descriptors", descriptors);
	end();
}
END_TEST

/* The device died and left its socket behind: the next start finds out. */
START_TEST(nobody_listens)
{
	char reason[512];
	rig_prepare(&rig);
	int device = listen_as_device(&rig);
	begin("one");
	uint64_t id = wait_state(&client, "driver", "running");
	close_fdp(&device);
	struct DextDirectory_Control_Msg msg = { .entry = id, .what = "kill" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &msg), kIOReturnSuccess);
	wait_virtual("absent", reason);
	wait_status(&client, "services", 0);
	unlink_device();
	device = listen_as_device(&rig);
	wait_state(&client, "driver", "running");
	close_fdp(&device);
	end();
}
END_TEST

UNIT_TESTS("dextd-virtual", is_published_and_started, two_functions_two_drivers,
	   bad_answers_are_refused, plug_and_unplug, nobody_listens)
