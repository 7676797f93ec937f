// SPDX-License-Identifier: Apache-2.0
/* dextd against applications: what they may, what they may not, and how they die. */

#include <base/unit_test.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <protocol/dextd.h>
#include <wire/ring.h>

#include "rig.h"

static struct rig rig;
static struct client client;

static const char *const quick[] = { "--start-timeout-ms", "500", "--stop-timeout-ms", "300",
				     NULL };

static uint64_t begin_with(const char *behaviour, const char *const *options)
{
	rig_prepare(&rig);
	rig_bundle(&rig, "driver", behaviour, "");
	rig_start(&rig, options);
	client_open(&client, &rig);
	return wait_state(&client, "driver", "running");
}

static uint64_t begin(const char *behaviour)
{
	return begin_with(behaviour, quick);
}

static void end(void)
{
	wait_state(&client, "driver", "running");
	client_close(&client);
	rig_stop(&rig);
}

static kern_return_t open_service(struct client *c, uint64_t id, struct DextDirectory_Open_Msg *msg)
{
	*msg = (struct DextDirectory_Open_Msg){
		.entry = id, .memory = -1, .socket = -1, .doorbell = -1
	};
	return client_ask(c, &DextDirectory_Open_Shape, msg);
}

static void close_descriptors(struct DextDirectory_Open_Msg *msg)
{
	close_fdp(&msg->memory);
	close_fdp(&msg->socket);
	close_fdp(&msg->doorbell);
}

static kern_return_t close_connection(uint64_t id)
{
	struct DextDirectory_Close_Msg msg = { .connection = id };
	return client_ask(&client, &DextDirectory_Close_Shape, &msg);
}

static OSDictionary *matching(const char *key, const char *value)
{
	OSDictionary *d = OSDictionary_withCapacity(1);
	OSString *string = OSString_withCString(value);
	OSDictionary_setObject(d, key, OSString_as_OSObject(string));
	OSObjectRelease(string);
	return d;
}

/* --- looking --- */

START_TEST(finds_services)
{
	uint64_t id = begin("good");
	struct DextDirectory_CopyMatchingServices_Msg msg = {
		.matching = matching("IOProviderClass", "driver")
	};
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyMatchingServices_Shape, &msg),
			 kIOReturnSuccess);
	ck_assert_uint_eq(OSArray_getCount(msg.entries), 1);
	OSNumber *found = OSDynamicCast(OSNumber, OSArray_getObject(msg.entries, 0));
	ck_assert_uint_eq(OSNumber_unsigned64BitValue(found), id);
	OSObjectRelease(msg.entries);
	OSObjectRelease(msg.matching);

	msg.matching = matching("IOBSDName", "disk0");
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyMatchingServices_Shape, &msg),
			 kIOReturnBadArgument);
	OSObjectRelease(msg.matching);
	msg.matching = NULL;
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyMatchingServices_Shape, &msg),
			 kIOReturnBadArgument);

	OSDictionary *entry;
	find_entry(&client, "driver", &entry);
	ck_assert_str_eq(text_of(entry, "CFBundleIdentifier"), "org.test.driver");
	ck_assert_str_eq(text_of(entry, "IOProviderClass"), "IOUserResources");
	ck_assert_str_eq(text_of(entry, "IOObjectClass"), "IOUserService");
	ck_assert_str_eq(text_of(entry, "IOMatchCategory"), "driver");
	ck_assert_uint_eq(number_of(entry, "IORegistryEntryID"), id);
	OSObjectRelease(entry);
	end();
}
END_TEST

START_TEST(asks_for_nothing)
{
	begin("good");
	struct DextDirectory_CopyEntry_Msg entry = { .entry = 12345 };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyEntry_Shape, &entry),
			 kIOReturnNotFound);
	struct DextDirectory_CopyExplanation_Msg why = { .device = "nothing" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyExplanation_Shape, &why),
			 kIOReturnNotFound);
	struct DextDirectory_Control_Msg control = { .entry = 0, .what = "kill" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &control),
			 kIOReturnNotFound);
	struct DextDirectory_Open_Msg open;
	ck_assert_int_eq(open_service(&client, 0, &open), kIOReturnNotFound);
	ck_assert_int_eq(open_service(&client, 1, &open), kIOReturnNotFound); // a device
	ck_assert_int_eq(close_connection(1), kIOReturnNotFound);
	end();
}
END_TEST

/* --- connections --- */

START_TEST(opens_and_closes)
{
	uint64_t id = begin("good");
	struct DextDirectory_Open_Msg msg;
	uint64_t descriptors = 0;
	for (unsigned i = 0; i < 50; i++) {
		ck_assert_int_eq(open_service(&client, id, &msg), kIOReturnSuccess);
		ck_assert_int_ge(msg.memory, 0);
		ck_assert_int_ge(msg.socket, 0);
		ck_assert_int_ge(msg.doorbell, 0);
		struct DextDirectory_CopyEntry_Msg entry = { .entry = msg.connection };
		ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyEntry_Shape, &entry),
				 kIOReturnSuccess);
		ck_assert_str_eq(text_of(entry.properties, "OpenDextState"), "client");
		OSObjectRelease(entry.properties);
		close_descriptors(&msg);
		ck_assert_int_eq(close_connection(msg.connection), kIOReturnSuccess);
		ck_assert_int_eq(close_connection(msg.connection), kIOReturnNotFound);
		wait_status(&client, "connections", 0);
		if (i == 0)
			descriptors = status_number(&client, "descriptors");
	}
	ck_assert_uint_eq(status_number(&client, "descriptors"), descriptors);
	end();
}
END_TEST

START_TEST(open_is_refused)
{
	uint64_t id = begin("refuses-open");
	struct DextDirectory_Open_Msg msg;
	char reason[CHANNEL_REASON_MAX];
	msg = (struct DextDirectory_Open_Msg){ .entry = id };
	ck_assert_int_eq(
		channel_call_sync(client.channel, &DextDirectory_Open_Shape, &msg, 5000, reason),
		kIOReturnUnsupported);
	ck_assert_str_eq(reason, "no clients today");
	wait_status(&client, "connections", 0);
	end();
}
END_TEST

/* Wait for that many restarts to be told. Each look asks dextd something. */
static void wait_restarts(unsigned n)
{
	while (client.n_restarts < n)
		(void)status_number(&client, "connections");
	ck_assert_uint_eq(client.n_restarts, n);
}

/* The dext dies with a connection open: the next one has it, and nothing is left of the close. */
START_TEST(driver_dies)
{
	uint64_t id = begin("good");
	struct DextDirectory_Open_Msg msg;
	ck_assert_int_eq(open_service(&client, id, &msg), kIOReturnSuccess);
	struct ring_client *ring;
	ck_assert_int_eq(ring_client_open(&ring, msg.memory, msg.doorbell), 0);

	OSDictionary *properties;
	find_entry(&client, "driver", &properties);
	uint64_t pid = number_of(properties, "OpenDextProcess");
	OSObjectRelease(properties);
	ck_assert_int_eq(kill((pid_t)pid, SIGKILL), 0);

	static struct ring_request request = { .kind = RING_CALL };
	static struct ring_reply reply;
	wait_new_process(&client, "driver", pid);
	wait_restarts(1);
	ck_assert_uint_eq(client.last_generation, 2);
	ck_assert_uint_eq(ring_client_generation(ring), 2);
	/* This driver does not look at rings. */
	ck_assert_int_eq(ring_client_call(ring, &request, &reply, 10), -ETIMEDOUT);
	struct DextDirectory_CopyEntry_Msg entry = { .entry = msg.connection };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_CopyEntry_Shape, &entry),
			 kIOReturnSuccess);
	OSObjectRelease(entry.properties);
	ck_assert_int_eq(close_connection(msg.connection), kIOReturnSuccess);
	wait_status(&client, "connections", 0);
	ring_client_close(ring);
	close_descriptors(&msg);
	end();
}
END_TEST

START_TEST(driver_dies_in_open)
{
	uint64_t id = begin("dies-in-open");
	struct DextDirectory_Open_Msg msg;
	ck_assert_int_ne(open_service(&client, id, &msg), kIOReturnSuccess);
	wait_status(&client, "connections", 0);
	end();
}
END_TEST

START_TEST(driver_hangs_in_open)
{
	uint64_t id = begin("hangs-in-open");
	OSDictionary *properties;
	find_entry(&client, "driver", &properties);
	uint64_t pid = number_of(properties, "OpenDextProcess");
	OSObjectRelease(properties);
	struct DextDirectory_Open_Msg msg;
	ck_assert_int_eq(open_service(&client, id, &msg), kIOReturnTimeout);
	wait_new_process(&client, "driver", pid);
	wait_status(&client, "connections", 0);
	end();
}
END_TEST

/* --- deaths of clients --- */

START_TEST(client_dies_with_connections)
{
	uint64_t id = begin("good");
	uint64_t descriptors = status_number(&client, "descriptors");
	struct client other;
	client_open(&other, &rig);
	for (unsigned i = 0; i < 20; i++) {
		struct DextDirectory_Open_Msg msg;
		ck_assert_int_eq(open_service(&other, id, &msg), kIOReturnSuccess);
		close_descriptors(&msg);
	}
	client_close(&other);
	wait_status(&client, "connections", 0);
	wait_status(&client, "descriptors", descriptors);
	wait_status(&client, "clients", 1);
	end();
}
END_TEST

static void ignore_reply(void *context, kern_return_t status, const char *reason, void *msg)
{
	(void)context;
	(void)status;
	(void)reason;
	(void)msg;
}

/* It asks and is gone before the answer: in every driver's state. */
static void check_death_in_open(const char *behaviour)
{
	uint64_t id = begin(behaviour);
	uint64_t descriptors = status_number(&client, "descriptors");
	for (unsigned i = 0; i < 10; i++) {
		struct client other;
		const struct DextDirectory_Open_Msg msg = { .entry = id };
		client_open(&other, &rig);
		ck_assert_int_eq(channel_call(other.channel, &DextDirectory_Open_Shape, &msg, 0,
					      ignore_reply, NULL),
				 0);
		client_close(&other);
	}
	wait_status(&client, "clients", 1);
	wait_status(&client, "connections", 0);
	wait_state(&client, "driver", "running");
	wait_status(&client, "descriptors", descriptors);
	end();
}

START_TEST(client_dies_in_open)
{
	check_death_in_open("good");
}
END_TEST

START_TEST(client_dies_in_open_that_hangs)
{
	check_death_in_open("hangs-in-open");
}
END_TEST

/* --- bad clients --- */

static void expect_hangup(int fd)
{
	char byte;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ck_assert_int_le(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

START_TEST(sends_garbage)
{
	static uint8_t data[64 * 1024];
	static const size_t sizes[] = { 1, 8, 16, 40, 64, 600, 4096, sizeof(data) };
	begin("good");
	memset(data, 0xa5, sizeof(data));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = rig_connect(&rig);
		ck_assert_int_eq(send(fd, data, sizes[i], MSG_NOSIGNAL), (ssize_t)sizes[i]);
		expect_hangup(fd);
	}
	/* Methods that only dextd or a dext serves. */
	struct client other;
	struct DextHost_Ping_Msg ping = { 0 };
	client_open(&other, &rig);
	ck_assert_int_ne(client_ask(&other, &DextHost_Ping_Shape, &ping), kIOReturnSuccess);
	ck_assert(other.hung_up);
	client_close(&other);
	wait_status(&client, "clients", 1);
	end();
}
END_TEST

/* It asks on and on and never reads: it loses its conversation, nobody else does. */
START_TEST(never_reads)
{
	begin("good");
	struct client other;
	struct DextDirectory_CopyStatus_Msg msg = { 0 };
	client_open(&other, &rig);
	for (unsigned i = 0; i < 2000; i++) {
		if (channel_call(other.channel, &DextDirectory_CopyStatus_Shape, &msg, 0,
				 ignore_reply, NULL) < 0)
			break;
	}
	ck_assert_uint_ge(status_number(&client, "clients"), 1); // it still answers
	client_close(&other);
	wait_status(&client, "clients", 1);
	end();
}
END_TEST

/* --- watching --- */

static kern_return_t watch(struct client *c, const char *type, uint64_t cookie, uint32_t *present)
{
	struct DextDirectory_Watch_Msg msg = {
		.matching = matching("IOProviderClass", "driver"),
		.cookie = cookie,
	};
	strcpy(msg.type, type);
	kern_return_t ret = client_ask(c, &DextDirectory_Watch_Shape, &msg);
	*present = ret == kIOReturnSuccess ? OSArray_getCount(msg.entries) : 0;
	if (ret == kIOReturnSuccess)
		OSObjectRelease(msg.entries);
	OSObjectRelease(msg.matching);
	return ret;
}

START_TEST(watches)
{
	uint64_t id = begin("good");
	uint32_t present;
	struct client terminations;
	client_open(&terminations, &rig);
	ck_assert_int_eq(watch(&client, "IOServiceMatched", 7, &present), kIOReturnSuccess);
	ck_assert_uint_eq(present, 1);
	ck_assert_int_eq(watch(&terminations, "IOServiceTerminate", 8, &present), kIOReturnSuccess);
	ck_assert_int_eq(watch(&client, "IOServiceBusy", 9, &present), kIOReturnBadArgument);

	struct DextDirectory_Control_Msg control = { .entry = id, .what = "kill" };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Control_Shape, &control),
			 kIOReturnSuccess);
	client_wait_changes(&terminations, 1);
	ck_assert_uint_eq(terminations.last_cookie, 8);
	ck_assert_uint_eq(terminations.last_entry, id);
	client_wait_changes(&client, 1); // the new process has registered
	ck_assert_uint_eq(client.last_cookie, 7);
	ck_assert_uint_eq(client.last_entry, id);

	struct DextDirectory_Unwatch_Msg unwatch = { .cookie = 7 };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Unwatch_Shape, &unwatch),
			 kIOReturnSuccess);
	ck_assert_int_eq(client_ask(&client, &DextDirectory_Unwatch_Shape, &unwatch),
			 kIOReturnNotFound);
	client_close(&terminations);
	end();
}
END_TEST

START_TEST(watches_too_much)
{
	begin("good");
	uint32_t present;
	for (unsigned i = 0; i < 256; i++)
		ck_assert_int_eq(watch(&client, "IOServiceMatched", i, &present), kIOReturnSuccess);
	ck_assert_int_ne(watch(&client, "IOServiceMatched", 256, &present), kIOReturnSuccess);
	end();
}
END_TEST

/* --- what becomes of an entry --- */

static kern_return_t watch_entry(struct client *c, uint64_t cookie, uint64_t entry)
{
	struct DextDirectory_WatchEntry_Msg msg = { .cookie = cookie, .entry = entry };
	return client_ask(c, &DextDirectory_WatchEntry_Shape, &msg);
}

static kern_return_t unwatch_entry(struct client *c, uint64_t cookie)
{
	struct DextDirectory_UnwatchEntry_Msg msg = { .cookie = cookie };
	return client_ask(c, &DextDirectory_UnwatchEntry_Shape, &msg);
}

START_TEST(watches_entries)
{
	uint64_t id = begin("good");
	ck_assert_int_eq(watch_entry(&client, 1, id + 1000), kIOReturnNotFound);
	for (unsigned i = 0; i < 256; i++)
		ck_assert_int_eq(watch_entry(&client, i, id), kIOReturnSuccess);
	ck_assert_int_eq(watch_entry(&client, 256, id), kIOReturnNoResources);
	ck_assert_int_eq(unwatch_entry(&client, 5), kIOReturnSuccess);
	ck_assert_int_eq(unwatch_entry(&client, 5), kIOReturnNotFound);
	ck_assert_int_eq(watch_entry(&client, 6, id), kIOReturnBadArgument); // taken
	ck_assert_int_eq(watch_entry(&client, 5, id), kIOReturnSuccess);
	end();
}
END_TEST

/* One message, and what happened meanwhile is one more; the client stays. */
static void check_that_one_is_read(struct client *deaf)
{
	ck_assert_uint_eq(deaf->n_entry_changes, 0);
	ck_assert_uint_gt(status_number(deaf, "clients"), 0); // reads what came
	ck_assert_uint_gt(status_number(deaf, "clients"), 0); // and what its answer brought
	ck_assert_uint_eq(deaf->n_entry_changes, 2);
	ck_assert_uint_eq(deaf->last_cookie, 9);
	ck_assert_uint_ne(deaf->last_what & kDextEntryPropertiesChanged, 0);
	ck_assert(!deaf->hung_up);
}

/* A driver has 1500 services come and go, and as many properties. */
START_TEST(who_does_not_read_is_bounded)
{
	struct DextDirectory_Open_Msg msg;
	struct client deaf, deafer;
	uint64_t id = begin_with("churns", NULL);
	client_open(&deaf, &rig);
	client_open(&deafer, &rig);
	ck_assert_int_eq(watch_entry(&deaf, 9, id), kIOReturnSuccess);
	struct DextDirectory_Watch_Msg children = {
		.matching = matching("IOUserClass", "Child"),
		.cookie = 10,
		.type = "IOServiceMatched",
	};
	ck_assert_int_eq(client_ask(&deafer, &DextDirectory_Watch_Shape, &children),
			 kIOReturnSuccess);
	OSObjectRelease(children.matching);
	OSObjectRelease(children.entries);
	uint64_t before = status_number(&client, "clients");

	ck_assert_int_eq(open_service(&client, id, &msg), kIOReturnSuccess);
	close_descriptors(&msg);
	OSDictionary *properties = NULL;
	ck_assert_uint_eq(find_entry(&client, "driver", &properties), id);
	ck_assert_uint_eq(number_of(properties, "churned"), 1500);
	OSObjectRelease(properties);
	check_that_one_is_read(&deaf);
	/* Each service that came is a message: too many unread are the end of the conversation. */
	wait_status(&client, "clients", before - 1);
	client_close(&deafer);
	client_close(&deaf);
	end();
}
END_TEST

/* --- busy --- */

static kern_return_t wait_quiet(uint64_t entry, uint32_t timeout_ms, char *reason)
{
	struct DextDirectory_WaitQuiet_Msg msg = { .entry = entry, .timeoutMs = timeout_ms };
	return channel_call_sync(client.channel, &DextDirectory_WaitQuiet_Shape, &msg, 5000,
				 reason);
}

/* A driver that never starts is busy; who waits is bounded, and may go away. */
START_TEST(waits_for_quiet)
{
	static const char *const patient[] = { "--start-timeout-ms", "1000", "--stop-timeout-ms",
					       "300", NULL };
	const struct DextDirectory_WaitQuiet_Msg shorter = { .timeoutMs = 200 };
	char reason[CHANNEL_REASON_MAX] = "";
	struct client other;
	rig_prepare(&rig);
	rig_bundle(&rig, "driver", "silent", "");
	rig_start(&rig, patient);
	client_open(&client, &rig);
	wait_state(&client, "driver", "starting");

	ck_assert_int_eq(wait_quiet(0, 20, reason), kIOReturnTimeout);
	ck_assert_msg(strstr(reason, "driver") != NULL && strstr(reason, "starting") != NULL, "%s",
		      reason);
	ck_assert_int_eq(wait_quiet(12345, 20, reason), kIOReturnSuccess); // it has ended
	ck_assert_int_eq(wait_quiet(0, 60001, reason), kIOReturnNoResources);
	client_open(&other, &rig);
	for (unsigned i = 0; i < 16; i++) {
		ck_assert_int_eq(channel_call(client.channel, &DextDirectory_WaitQuiet_Shape,
					      &shorter, 0, ignore_reply, NULL),
				 0);
		ck_assert_int_eq(channel_call(other.channel, &DextDirectory_WaitQuiet_Shape,
					      &shorter, 0, ignore_reply, NULL),
				 0);
	}
	ck_assert_int_eq(wait_quiet(0, 20, reason), kIOReturnNoResources);
	ck_assert_uint_eq(status_number(&other, "clients"), 2); // all of it has been read
	client_close(&other);
	wait_status(&client, "clients", 1);

	/* Its waits are over before the driver is given up; that is quiet, and told then. */
	kern_return_t ret;
	while ((ret = wait_quiet(0, 10, reason)) == kIOReturnNoResources)
		;
	ck_assert_int_eq(ret, kIOReturnTimeout);
	struct DextDirectory_WaitQuiet_Msg until = { .timeoutMs = 60000 };
	ck_assert_int_eq(client_ask(&client, &DextDirectory_WaitQuiet_Shape, &until),
			 kIOReturnSuccess);
	wait_state(&client, "driver", "quarantined");
	client_close(&client);
	rig_stop(&rig);
}
END_TEST

/* --- idle CPUs --- */

static kern_return_t keep_awake(uint64_t connection, uint32_t keep)
{
	struct DextDirectory_KeepAwake_Msg msg = { .connection = connection, .keep = keep };
	return client_ask(&client, &DextDirectory_KeepAwake_Shape, &msg);
}

START_TEST(keeps_awake_only_where_allowed)
{
	uint64_t id = begin("good");
	struct DextDirectory_Open_Msg msg;
	ck_assert_int_eq(open_service(&client, id, &msg), kIOReturnSuccess);
	ck_assert_int_eq(keep_awake(msg.connection, 1), kIOReturnNotPermitted);
	ck_assert_int_eq(keep_awake(msg.connection, 0), kIOReturnSuccess);
	ck_assert_int_eq(keep_awake(id, 1), kIOReturnNotFound);
	ck_assert_uint_eq(status_number(&client, "awake"), 0);
	close_descriptors(&msg);
	end();
}
END_TEST

/* Whether the driver's priority may be raised depends on who runs this; tests/e2e/latency_test.c
 * looks at that. */
static void assert_held(kern_return_t ret)
{
	ck_assert_msg(ret == kIOReturnSuccess || ret == kIOReturnNotPermitted, "%s",
		      IOReturnString(ret));
}

START_TEST(keeps_awake_while_a_connection_polls)
{
	char path[] = "/tmp/dext-awake.XXXXXX", option[64];
	CLEANUP(close_fdp) int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	(void)snprintf(option, sizeof(option), "--allow-low-latency=%s", path);
	const char *const options[] = { option, NULL };
	uint64_t id = begin_with("good", options);
	uint64_t descriptors = status_number(&client, "descriptors");
	struct DextDirectory_Open_Msg one, two;
	ck_assert_int_eq(open_service(&client, id, &one), kIOReturnSuccess);
	ck_assert_int_eq(open_service(&client, id, &two), kIOReturnSuccess);
	assert_held(keep_awake(one.connection, 1));
	assert_held(keep_awake(one.connection, 1));
	assert_held(keep_awake(two.connection, 1));
	ck_assert_uint_eq(status_number(&client, "awake"), 2);
	int32_t latency_us = -1;
	ck_assert_int_eq(pread(fd, &latency_us, sizeof(latency_us), 0), sizeof(latency_us));
	ck_assert_int_eq(latency_us, 0);

	ck_assert_int_eq(keep_awake(one.connection, 0), kIOReturnSuccess);
	ck_assert_uint_eq(status_number(&client, "awake"), 1);
	ck_assert_int_eq(close_connection(two.connection), kIOReturnSuccess);
	ck_assert_int_eq(close_connection(one.connection), kIOReturnSuccess);
	wait_status(&client, "connections", 0);
	ck_assert_uint_eq(status_number(&client, "awake"), 0);
	ck_assert_uint_eq(status_number(&client, "descriptors"), descriptors);

	unlink(path);
	close_descriptors(&one);
	close_descriptors(&two);
	ck_assert_int_eq(open_service(&client, id, &one), kIOReturnSuccess);
	ck_assert_int_eq(keep_awake(one.connection, 1), kIOReturnNotPermitted); // no such file
	close_descriptors(&one);
	close_fdp(&fd);
	end();
}
END_TEST

UNIT_TESTS("dextd-clients", finds_services, asks_for_nothing, opens_and_closes, open_is_refused,
	   driver_dies, driver_dies_in_open, driver_hangs_in_open, client_dies_with_connections,
	   client_dies_in_open, client_dies_in_open_that_hangs, sends_garbage, never_reads, watches,
	   watches_too_much, watches_entries, who_does_not_read_is_bounded, waits_for_quiet,
	   keeps_awake_only_where_allowed, keeps_awake_while_a_connection_polls)
