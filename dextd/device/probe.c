// SPDX-License-Identifier: Apache-2.0
/*
 * The probe has answered when its process has ended, well, and the pipe is empty: so the end of the
 * process decides, and what is left in the pipe is read then.
 */

#include <dextd/device/probe.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/cleanup.h>
#include <base/clock.h>
#include <base/log.h>
#include <base/text.h>
#include <dextd/daemon.h>
#include <dextd/process/launch.h>
#include <dextd/properties.h>
#include <wire/codec.h>

void probe_name(OSDictionary *identity, char *name, size_t room)
{
	uint64_t a = 0, b = 0, c = 0;
	if (properties_number(identity, "vendor-id", &a)) {
		(void)properties_number(identity, "device-id", &b);
		text_print(name, room, "pci%x,%x", (unsigned)a, (unsigned)b);
		return;
	}
	(void)properties_number(identity, "idVendor", &a);
	(void)properties_number(identity, "idProduct", &b);
	(void)properties_number(identity, "bInterfaceNumber", &c);
	text_print(name, room, "usb%x,%x@%u", (unsigned)a, (unsigned)b, (unsigned)c);
}

/* --- where the program is --- */

static bool is_there(const char *directory, const char *name, char *path)
{
	text_print(path, PATH_MAX, "%s/%s", directory, name);
	return access(path, X_OK) == 0;
}

/* --probe; else installed beside this program; else in this program's build tree. */
static int find_program(const struct daemon *daemon, char *path)
{
	static const char *const names[] = { "../libexec/dext-probe", "dext-probe",
					     "../families/service/dext-probe",
					     "../families/dext-probe", "../dext-probe" };
	char self[PATH_MAX];
	if (daemon->options.probe_path != NULL) {
		text_copy(path, PATH_MAX, daemon->options.probe_path);
		return 0;
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return -errno;
	self[n] = '\0';
	const char *directory = dirname(self);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (is_there(directory, names[i], path))
			return 0;
	}
	return is_there(OPENDEXT_LIBEXECDIR, "dext-probe", path) ? 0 : -ENOENT;
}

/* --- the answer --- */

static const char *check_one(OSObject *object)
{
	OSDictionary *one = OSDynamicCast(OSDictionary, object);
	if (one == NULL)
		return "its identity is not a list of dictionaries";
	const char *class_name = properties_string(one, "IOProviderClass");
	if (class_name == NULL ||
	    (strcmp(class_name, "IOUSBHostInterface") != 0 &&
	     strcmp(class_name, "IOUSBHostDevice") != 0 && strcmp(class_name, "IOPCIDevice") != 0))
		return "its identity names no provider class that drivers can match";
	if (properties_size(one) > REGISTRY_PROPERTIES_MAX / 2)
		return "its identity is too large";
	return NULL;
}

static const char *check_identity(OSArray *identity)
{
	uint32_t n = identity == NULL ? 0 : OSArray_getCount(identity);
	if (n == 0)
		return "it has nothing that a driver can match";
	if (n > PROBE_DEVICES_MAX)
		return "it has more than 32 functions or interfaces";
	for (uint32_t i = 0; i < n; i++) {
		const char *wrong = check_one(OSArray_getObject(identity, i));
		if (wrong != NULL)
			return wrong;
	}
	return NULL;
}

static const char *decode(const struct probe *probe, OSArray **out)
{
	struct wire_reader reader;
	OSObject *object = NULL;
	wire_reader_init(&reader, probe->answer, probe->size);
	int ret = wire_get_object(&reader, OSTypeID(OSArray), &object);
	if (ret == 0)
		ret = wire_reader_finish(&reader);
	wire_reader_deinit(&reader);
	*out = OSDynamicCast(OSArray, object);
	if (ret < 0) {
		OSObjectRelease(object);
		*out = NULL;
		return "the probe's answer is malformed";
	}
	return check_identity(*out);
}

/* --- life --- */

static void clear(struct probe *probe)
{
	loop_timer_stop(&probe->deadline);
	loop_child_remove(&probe->child);
	loop_fd_remove(&probe->output);
	close_fdp(&probe->output_fd);
	close_fdp(&probe->report_fd);
	free(probe->answer);
	probe->answer = NULL;
}

static void drain(struct probe *probe)
{
	ssize_t n;
	while (probe->size <= PROBE_ANSWER_MAX &&
	       (n = read(probe->output_fd, probe->answer + probe->size,
			 PROBE_ANSWER_MAX + 1 - probe->size)) > 0)
		probe->size += (size_t)n;
	if (probe->size > PROBE_ANSWER_MAX) {
		text_copy(probe->reason, sizeof(probe->reason), "its identity is too large");
		loop_fd_remove(&probe->output);
		loop_child_kill(&probe->child, SIGKILL);
	}
}

static void on_output(void *context, uint32_t events)
{
	struct probe *probe = context;
	drain(probe);
	if ((events & (EPOLLHUP | EPOLLERR)) != 0)
		loop_fd_remove(&probe->output);
}

static void on_deadline(void *context)
{
	struct probe *probe = context;
	text_copy(probe->reason, sizeof(probe->reason),
		  "the device did not say what it is within 5 s");
	loop_child_kill(&probe->child, SIGKILL);
}

/* A probe that fails answers with a text instead of an identity: why. */
static bool take_reason(struct probe *probe)
{
	struct wire_reader reader;
	OSObject *object = NULL;
	wire_reader_init(&reader, probe->answer, probe->size);
	int ret = wire_get_object(&reader, OSTypeID(OSString), &object);
	if (ret == 0)
		ret = wire_reader_finish(&reader);
	wire_reader_deinit(&reader);
	OSString *text = OSDynamicCast(OSString, object);
	bool taken = ret == 0 && text != NULL && OSString_getLength(text) > 0;
	if (taken)
		text_copy(probe->reason, sizeof(probe->reason), OSString_getCStringNoCopy(text));
	OSObjectRelease(object);
	return taken;
}

static void describe_failure(struct probe *probe, int status)
{
	char step[128];
	if (probe->reason[0] != '\0' || take_reason(probe))
		return;
	if (launch_failure(probe->report_fd, step, sizeof(step)))
		text_print(probe->reason, sizeof(probe->reason), "dext-probe: %s", step);
	else if (WIFSIGNALED(status))
		text_print(probe->reason, sizeof(probe->reason),
			   "dext-probe was killed by signal "
			   "%d",
			   WTERMSIG(status));
	else
		text_copy(probe->reason, sizeof(probe->reason),
			  "the device did not say what it is");
}

static void on_process_exit(void *context, int status)
{
	struct probe *probe = context;
	OSArray *identity = NULL;

	drain(probe);
	if (status == 0 && probe->reason[0] == '\0') {
		const char *wrong = decode(probe, &identity);
		if (wrong != NULL) {
			OSSafeReleaseNULL(identity);
			text_copy(probe->reason, sizeof(probe->reason), wrong);
		}
	} else {
		describe_failure(probe, status);
	}
	clear(probe);
	probe->done(probe->context, identity, probe->reason); // may start it anew
	OSObjectRelease(identity);
}

static int launch_probe(struct probe *probe, const char *kind, int device_fd, int write_fd)
{
	char path[PATH_MAX], directory[PATH_MAX];
	int ret = find_program(probe->daemon, path);
	if (ret < 0) {
		log_error("dext-probe is not where it should be: say where with --probe");
		return ret;
	}
	text_copy(directory, sizeof(directory), path);
	const struct launch_request request = {
		.executable = path,
		.argument = kind,
		.directory = dirname(directory),
		.fds = { device_fd, write_fd },
		.n_fds = 2,
		.log_level = probe->daemon->options.log_level,
	};
	struct launched launched;
	ret = launch(&probe->daemon->sandbox, &request, &launched);
	if (ret < 0)
		return ret;
	probe->report_fd = launched.report_fd;
	ret = loop_child_add(probe->daemon->loop, &probe->child, launched.pid, launched.pidfd,
			     on_process_exit, probe);
	if (ret < 0) {
		(void)kill(launched.pid, SIGKILL);
		(void)waitpid(launched.pid, NULL, 0);
	}
	return ret;
}

int probe_start(struct probe *probe, struct daemon *daemon, const char *kind, int device_fd,
		probe_done_fn done, void *context)
{
	CLEANUP(close_fdp) int device = device_fd;
	int pipe_fds[2];
	*probe = (struct probe){
		.daemon = daemon,
		.output_fd = -1,
		.report_fd = -1,
		.done = done,
		.context = context,
	};
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	probe->output_fd = pipe_fds[0];
	CLEANUP(close_fdp) int write_fd = pipe_fds[1];
	probe->answer = malloc(PROBE_ANSWER_MAX + 1);
	int ret = probe->answer != NULL ? 0 : -ENOMEM;
	if (ret == 0 && fcntl(probe->output_fd, F_SETFL, O_NONBLOCK) < 0)
		ret = -errno;
	if (ret == 0)
		ret = loop_fd_add(daemon->loop, &probe->output, probe->output_fd, EPOLLIN,
				  on_output, probe);
	if (ret == 0)
		ret = launch_probe(probe, kind, device, write_fd);
	if (ret < 0) {
		clear(probe);
		return ret;
	}
	loop_timer_init(&probe->deadline, daemon->loop, on_deadline, probe);
	loop_timer_start(&probe->deadline, clock_deadline_ns(PROBE_TIMEOUT_MS));
	return 0;
}

/* Its end is waited for: SIGKILL makes that short. */
void probe_cancel(struct probe *probe)
{
	if (probe->answer == NULL)
		return;
	pid_t pid = probe->child.pid;
	loop_child_kill(&probe->child, SIGKILL);
	clear(probe);
	(void)waitpid(pid, NULL, 0);
}
