// SPDX-License-Identifier: Apache-2.0
/*
 * What a driver's start costs, and how long an application is without it.
 *
 *	opendext  dextd begins to start the driver → its Start returned and an application has
 *	          heard of its service: process, sandbox, filter, library, registration
 *	opendext-plug  a virtual USB device appears → the same of its driver. As dextd does not
 *	          speak to devices itself, there is a process before the driver's that asks this
 *	          one who it is
 *	restart   SIGKILL of the driver → the next successful call of an application, which hears
 *	          of the new service, opens it, and calls
 *	restart-usb  the same of the driver of that device, which is claimed anew
 *	spawn     posix_spawn of a program that does nothing → its first byte
 *	bwrap     the same in bubblewrap, with namespaces of its own
 *
 * dextd starts a driver that keeps dying ever later, so after each kill it is asked for a restart,
 * which makes it forget; that one is not counted.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bench/echo/echo.h>
#include <bench/measure.h>
#include <bench/rig.h>
#include <client/directory.h>
#include <drivers/usb_reader/usb_reader.h>
#include <opendext/client.h>

enum { PATIENCE_MS = 20000 };

extern char **environ;

/* --- a service that comes and goes --- */

struct watch {
	IONotificationPortRef port;
	io_iterator_t comes, goes;
	io_service_t service; // the last that came
	uint64_t entry;       // its id
	uint64_t came, went;  // ticks; 0: not since they were cleared
	bool (*call)(io_connect_t connect);
};

static void on_coming(void *refcon, io_iterator_t iterator)
{
	struct watch *watch = refcon;
	for (io_service_t s; (s = IOIteratorNext(iterator)) != IO_OBJECT_NULL;) {
		if (watch->service != IO_OBJECT_NULL)
			IOObjectRelease(watch->service);
		watch->service = s;
		watch->came = bench_ticks();
	}
}

static void on_going(void *refcon, io_iterator_t iterator)
{
	struct watch *watch = refcon;
	for (io_service_t s; (s = IOIteratorNext(iterator)) != IO_OBJECT_NULL;) {
		IOObjectRelease(s);
		watch->went = bench_ticks();
	}
}

/* The next thing that dextd tells. */
static bool listen(struct watch *watch)
{
	struct pollfd p = { .fd = dext_notification_port_get_fd(watch->port), .events = POLLIN };
	if (poll(&p, 1, PATIENCE_MS) == 1 &&
	    dext_notification_port_dispatch(watch->port) == kIOReturnSuccess)
		return true;
	fprintf(stderr, "launch: dextd tells nothing: %s\n", dext_last_reason());
	return false;
}

static bool wait_for_coming(struct watch *watch)
{
	while (watch->came == 0)
		if (!listen(watch))
			return false;
	return true;
}

static bool watch_open(struct watch *watch, const char *class_name)
{
	watch->port = IONotificationPortCreate(kIOMainPortDefault);
	if (watch->port == NULL ||
	    IOServiceAddMatchingNotification(watch->port, kIOMatchedNotification,
					     IOServiceMatching(class_name), on_coming, watch,
					     &watch->comes) != kIOReturnSuccess ||
	    IOServiceAddMatchingNotification(watch->port, kIOTerminatedNotification,
					     IOServiceMatching(class_name), on_going, watch,
					     &watch->goes) != kIOReturnSuccess)
		return false;
	on_coming(watch, watch->comes);
	on_going(watch, watch->goes);
	return true;
}

static bool wait_for_going(struct watch *watch)
{
	while (watch->went == 0)
		if (!listen(watch))
			return false;
	return true;
}

static bool ask_for_restart(struct watch *watch)
{
	struct DextDirectory_Control_Msg msg = { .entry = watch->entry, .what = "restart" };
	watch->came = watch->went = 0;
	return directory_call(&DextDirectory_Control_Shape, &msg) == kIOReturnSuccess;
}

/* --- a driver --- */

/* How long one start took, in ticks; 0: it cannot be told, for both ends came at once. */
static bool start_once(struct watch *watch, uint64_t *ticks)
{
	if (!ask_for_restart(watch) || !wait_for_going(watch))
		return false;
	bool at_once = watch->came != 0;
	if (!wait_for_coming(watch))
		return false;
	*ticks = at_once ? 0 : watch->came - watch->went;
	return true;
}

static bool start_driver(void *context, struct bench_round *round)
{
	do {
		uint64_t ticks;
		if (!start_once(context, &ticks))
			return false;
		if (ticks != 0)
			bench_took(round, ticks);
	} while (bench_ticks() < round->end || round->n_samples == 0);
	return true;
}

static bool call_echo(io_connect_t connect)
{
	uint64_t in[16] = { 0 }, out[16];
	uint32_t n = 16;
	return IOConnectCallScalarMethod(connect, ECHO_CALL, in, 16, out, &n) == kIOReturnSuccess &&
	       n == 16 && out[15] == 1;
}

static bool call_usb_reader(io_connect_t connect)
{
	uint64_t out[kUsbReaderStatisticsCount];
	uint32_t n = kUsbReaderStatisticsCount;
	return IOConnectCallScalarMethod(connect, kUsbReaderMethodGetStatistics, NULL, 0, out,
					 &n) == kIOReturnSuccess &&
	       n == kUsbReaderStatisticsCount;
}

static bool call_again(const struct watch *watch)
{
	io_connect_t connect = IO_OBJECT_NULL;
	bool ok =
		IOServiceOpen(watch->service, mach_task_self(), 0, &connect) == kIOReturnSuccess &&
		watch->call(connect);
	if (connect != IO_OBJECT_NULL)
		IOServiceClose(connect);
	return ok;
}

static bool kill_driver(void *context, struct bench_round *round)
{
	struct watch *watch = context;
	do {
		uint64_t ticks;
		pid_t driver = rig_process(watch->service);
		watch->came = watch->went = 0;
		uint64_t begin = bench_ticks();
		if (kill(driver, SIGKILL) < 0 || !wait_for_coming(watch) || !call_again(watch))
			return false;
		bench_took(round, bench_ticks() - begin);
		if (!start_once(watch, &ticks))
			return false;
	} while (bench_ticks() < round->end);
	return true;
}

/* --- a device --- */

static struct {
	char folder[64];         // empty: there is none
	char here[96], away[96]; // where the device's socket is while it is plugged in, and not
	char option[128];        // dextd's
	pid_t process;
} device;

static void remove_device(void)
{
	if (device.process > 0) {
		kill(device.process, SIGTERM);
		waitpid(device.process, NULL, 0);
	}
	unlink(device.away);
	unlink(device.here);
	rmdir(device.folder);
}

/* A virtual device that listens where dextd does not look. */
static bool make_device(void)
{
	int fds[2];
	char byte;
	strcpy(device.folder, "/tmp/dext-bench.XXXXXX");
	if (mkdtemp(device.folder) == NULL || pipe2(fds, O_CLOEXEC) < 0)
		return false;
	snprintf(device.here, sizeof(device.here), "%s/device", device.folder);
	snprintf(device.away, sizeof(device.away), "%s/away", device.folder);
	snprintf(device.option, sizeof(device.option), "usbredir:%s", device.here);
	device.process = fork();
	if (device.process == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(fds[1], STDOUT_FILENO);
		execl(BENCH_USB_BULK, "dext-usb-bulk", "--socket", device.away, (char *)NULL);
		_exit(127);
	}
	atexit(remove_device);
	close(fds[1]);
	bool ok = read(fds[0], &byte, 1) == 1; // it says that it listens
	close(fds[0]);
	return ok;
}

static bool plug(void *context, struct bench_round *round)
{
	struct watch *watch = context;
	do {
		watch->came = watch->went = 0;
		uint64_t begin = bench_ticks();
		if (rename(device.away, device.here) < 0 || !wait_for_coming(watch))
			return false;
		bench_took(round, watch->came - begin);
		if (rename(device.here, device.away) < 0 || !wait_for_going(watch))
			return false;
	} while (bench_ticks() < round->end);
	return true;
}

static bool kill_usb_driver(void *context, struct bench_round *round)
{
	struct watch *watch = context;
	watch->came = watch->went = 0;
	if (rename(device.away, device.here) < 0 || !wait_for_coming(watch) ||
	    IORegistryEntryGetRegistryEntryID(watch->service, &watch->entry) != kIOReturnSuccess)
		return false;
	bench_round_begin(round);
	bool ok = kill_driver(watch, round);
	watch->went = 0;
	return rename(device.here, device.away) == 0 && wait_for_going(watch) && ok;
}

/* --- a bare program --- */

static bool spawn_once(const char *const *argv)
{
	int fds[2], status;
	char byte;
	pid_t pid;
	posix_spawn_file_actions_t actions;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	int error = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv,
				 environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	bool ok = error == 0 && read(fds[0], &byte, 1) == 1;
	close(fds[0]);
	return error == 0 && ok && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool spawn(void *context, struct bench_round *round)
{
	do {
		uint64_t begin = bench_ticks();
		if (!spawn_once(context))
			return false;
		bench_took(round, bench_ticks() - begin);
	} while (bench_ticks() < round->end);
	return true;
}

/* --- what is compared --- */

static struct bench bench;
static struct rig rig;

static void stop_rig(void)
{
	rig_stop(&rig);
}

static void add(const char *name, bool (*run)(void *context, struct bench_round *round),
		const void *context)
{
	bench_add(&bench, &(struct bench_cell){ .name = name,
						.pin = BENCH_FREE,
						.run = run,
						.context = (void *)(uintptr_t)context,
						.long_rounds = 2 });
}

static void add_ratio(const char *a, const char *b)
{
	bench_add_ratio(&bench, (struct bench_ratio){
					.a = a, .b = b, .pin_a = BENCH_FREE, .pin_b = BENCH_FREE });
}

int main(int argc, char **argv)
{
	static const char *const drivers[] = { "echo", BENCH_USB_READER };
	static const char *const bare[] = { BENCH_LAUNCHED, NULL };
	static const char *const bwrap[] = { "bwrap", "--unshare-all", "--ro-bind", "/",
					     "/",     BENCH_LAUNCHED,  NULL };
	const char *const options[] = { "--virtual", device.option, NULL };
	struct watch watch = { .call = call_echo }, usb_watch = { .call = call_usb_reader };

	bench_init(&bench, "launch", argc, argv);
	if (!make_device()) {
		fprintf(stderr, "launch: no virtual device\n");
		return EXIT_FAILURE;
	}
	rig_start(&rig, drivers, 2, options);
	atexit(stop_rig);
	if (!watch_open(&watch, "Echo") || !wait_for_coming(&watch) ||
	    IORegistryEntryGetRegistryEntryID(watch.service, &watch.entry) != kIOReturnSuccess ||
	    !watch_open(&usb_watch, "UsbReader")) {
		fprintf(stderr, "launch: no driver: %s\n", dext_last_reason());
		return EXIT_FAILURE;
	}
	add("opendext", start_driver, &watch);
	add("opendext-plug", plug, &usb_watch);
	add("restart", kill_driver, &watch);
	add("restart-usb", kill_usb_driver, &usb_watch);
	add("spawn", spawn, bare);
	if (spawn_once(bwrap))
		add("bwrap", spawn, bwrap);
	else
		fprintf(stderr, "launch: bwrap does not run here: its case is left out\n");
	add_ratio("opendext", "spawn");
	add_ratio("opendext", "bwrap");
	add_ratio("opendext-plug", "spawn");
	add_ratio("restart", "spawn");
	add_ratio("restart-usb", "restart");
	bench_limit(&bench, "opendext", 2e6);
	bench_limit(&bench, "restart", 10e6);
	bench_limit(&bench, "restart-usb", 10e6);
	return bench_run(&bench) ? bench_report(&bench) : EXIT_FAILURE;
}
