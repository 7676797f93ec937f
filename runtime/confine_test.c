/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the filter of a dext refuses, what it ends a process for, and that all the runtime does
 * still works under it. Each probe is a child that confines itself.
 */

#include <runtime/unit_pool.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <linux/vfio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <DriverKit/IOLib.h>
#include <base/clock.h>
#include <runtime/confine.h>
#include <runtime/memory.h>

/* How a confined child ends that exits with what `fn` returns. */
static int confined(int (*fn)(void))
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		struct rlimit none = { 0 };
		setrlimit(RLIMIT_CORE, &none);
		if (confine_installed() || confine_install() < 0 || !confine_installed())
			_exit(99);
		_exit(fn());
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void assert_ends_well(int (*fn)(void))
{
	int status = confined(fn);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

static void assert_is_killed(int (*fn)(void))
{
	int status = confined(fn);

	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "status %#x", status);
}

static int failed_at(int line)
{
	IOLog("confine_test.c:%d: errno %d", line, errno);
	return 1;
}

/* In a child, where Check cannot be asked. */
#define MUST_FAIL(error, call)                        \
	do {                                          \
		errno = 0;                            \
		if ((call) != -1 || errno != (error)) \
			return failed_at(__LINE__);   \
	} while (0)
#define MUST(condition)                             \
	do {                                        \
		if (!(condition))                   \
			return failed_at(__LINE__); \
	} while (0)

/* --- refused --- */

static int try_paths(void)
{
	struct stat status;
	char room[8];

	MUST_FAIL(EACCES, open("/dev/null", O_RDONLY | O_CLOEXEC));
	MUST_FAIL(EACCES, openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC));
	MUST_FAIL(EACCES, syscall(SYS_open, "/dev/null", O_RDONLY));
	MUST_FAIL(EACCES, syscall(SYS_openat2, AT_FDCWD, "/dev/null", NULL, 0));
	MUST_FAIL(EACCES, creat("/tmp/x", 0600));
	MUST_FAIL(EACCES, stat("/dev/null", &status));
	MUST_FAIL(EACCES, access("/dev/null", R_OK));
	MUST_FAIL(EACCES, readlink("/proc/self/exe", room, sizeof(room)));
	MUST_FAIL(EACCES, unlink("/tmp/x"));
	MUST(fopen("/proc/self/maps", "re") == NULL && errno == EACCES);
	return 0;
}

static int try_sockets(void)
{
	int fds[2];

	MUST_FAIL(EACCES, socket(AF_UNIX, SOCK_STREAM, 0));
	MUST_FAIL(EACCES, socket(AF_INET, SOCK_STREAM, 0));
	MUST_FAIL(EACCES, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	MUST_FAIL(EACCES, connect(0, NULL, 0));
	MUST_FAIL(EACCES, bind(0, NULL, 0));
	MUST_FAIL(EACCES, listen(0, 1));
	MUST_FAIL(EACCES, accept(0, NULL, NULL));
	return 0;
}

static int try_programs(void)
{
	char name[] = "true", *argv[] = { name, NULL };

	MUST_FAIL(EACCES, execve("/bin/true", argv, NULL));
	MUST_FAIL(EACCES, syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, NULL, 0));
	MUST_FAIL(EACCES, fork());
	MUST_FAIL(EACCES, syscall(SYS_fork));
	MUST_FAIL(EACCES, syscall(SYS_vfork));
	MUST_FAIL(EACCES, syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0));
	MUST_FAIL(ENOSYS, syscall(SYS_clone3, NULL, 0));
	MUST(system("true") != 0);
	return 0;
}

static int try_code(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(page != MAP_FAILED);
	MUST_FAIL(EACCES, mprotect(page, 4096, PROT_READ | PROT_EXEC));
	MUST(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
		     MAP_FAILED &&
	     errno == EACCES);
	return 0;
}

static int try_devices(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	MUST_FAIL(EACCES, ioctl(fd, USBDEVFS_RESET));
	MUST_FAIL(EACCES, ioctl(fd, USBDEVFS_SETCONFIGURATION, NULL));
	MUST_FAIL(EACCES, ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, "x"));
	MUST_FAIL(ENOTTY, ioctl(fd, USBDEVFS_SUBMITURB, NULL)); // passed on: not such a device
	MUST_FAIL(ENOTTY, ioctl(fd, VFIO_DEVICE_GET_INFO, NULL));
	MUST_FAIL(ENOTTY, ioctl(fd, VFIO_DEVICE_SET_IRQS, NULL));
	MUST_FAIL(ENOTTY, ioctl(fd, VFIO_IOMMU_MAP_DMA, NULL));
	MUST_FAIL(EACCES, ioctl(fd, VFIO_DEVICE_IOEVENTFD, NULL));
	MUST_FAIL(EACCES, ioctl(fd, VFIO_DEVICE_FEATURE, NULL));
	MUST_FAIL(EACCES, ioctl(fd, VFIO_DEVICE_RESET));
	MUST(isatty(fd) == 0 && errno == ENOTTY);
	MUST_FAIL(EPERM, kill(getppid(), 0));
	return 0;
}

START_TEST(paths_are_refused)
{
	assert_ends_well(try_paths);
}
END_TEST

START_TEST(sockets_are_refused)
{
	assert_ends_well(try_sockets);
}
END_TEST

START_TEST(programs_are_refused)
{
	assert_ends_well(try_programs);
}
END_TEST

START_TEST(code_is_refused)
{
	assert_ends_well(try_code);
}
END_TEST

START_TEST(device_requests_are_narrowed)
{
	assert_ends_well(try_devices);
}
END_TEST

/* --- deadly --- */

static int call_ptrace(void)
{
	return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static int call_io_uring(void)
{
	return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static int call_nowhere(void)
{
	return (int)syscall(9999);
}

static int call_unknown_ioctl(void)
{
	return ioctl(0, 0x1234);
}

static int lift_limits(void)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	return setrlimit(RLIMIT_CORE, &limit);
}

static int signal_another(void)
{
	return (int)syscall(SYS_tgkill, getppid(), getppid(), 0);
}

START_TEST(unknown_calls_kill)
{
	assert_is_killed(call_ptrace);
	assert_is_killed(call_io_uring);
	assert_is_killed(call_nowhere);
	assert_is_killed(call_unknown_ioctl);
	assert_is_killed(lift_limits);
	assert_is_killed(signal_another);
}
END_TEST

/* --- allowed --- */

struct work {
	IODispatchQueue *queue, *other;
	struct timer_source *timer;
	_Atomic uint32_t word;
	bool done;
};

static void on_time(void *context)
{
	struct work *work = context;

	atomic_store(&work->word, 1);
	worker_wake(&work->word);
}

static void wait_for_time(void *context)
{
	struct work *work = context;

	work->done = worker_wait(&work->word, 0, clock_now_ns() + 20000000000ULL) == 0;
	worker_stop();
}

/* Threads, timers, and the wait that makes a thread. */
static int run_the_pool(void)
{
	struct work work = { 0 };

	MUST(IODispatchQueue_Create("a", 0, 0, &work.queue) == kIOReturnSuccess);
	MUST(IODispatchQueue_Create("b", 0, 0, &work.other) == kIOReturnSuccess);
	MUST(timer_source_open(&work.timer, work.other, on_time, &work) == 0);
	MUST(timer_source_set(work.timer, clock_now_ns() + 1000000) == 0);
	MUST(IODispatchQueue_DispatchAsync_f(work.queue, &work, wait_for_time) == 0);
	MUST(worker_run() == 0);
	MUST(work.done);
	timer_source_close(work.timer);
	OSObjectRelease(work.queue);
	OSObjectRelease(work.other);
	return 0;
}

static int use_memory(void)
{
	IOBufferMemoryDescriptor *buffer = NULL;
	IOMemoryDescriptor *memory = NULL;
	IOMemoryMap *map = NULL;
	struct stat status;

	for (size_t size = 1; size < 1 << 25; size *= 2) {
		char *bytes = malloc(size);
		MUST(bytes != NULL);
		bytes[size - 1] = 1;
		free(bytes);
	}
	MUST(IOBufferMemoryDescriptor_Create(0, 1 << 20, 0, &buffer) == kIOReturnSuccess);
	OSObjectRelease(buffer);
	int fd = memfd_create("peer", MFD_CLOEXEC);
	MUST(ftruncate(fd, 4096) == 0 && fstat(fd, &status) == 0 && status.st_size == 4096);
	int peer = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	MUST(memory_descriptor_create(fd, 0, 4096, 0, &memory) == kIOReturnSuccess);
	MUST(IOMemoryDescriptor_CreateMapping(memory, 0, 0, 0, 0, 0, &map) == kIOReturnSuccess);
	MUST(ftruncate(peer, 0) == 0);
	MUST(*(volatile char *)(uintptr_t)IOMemoryMap_GetAddress(map) == 0);
	MUST(IOMemoryMap_IsLost(map));
	OSObjectRelease(map);
	OSObjectRelease(memory);
	return 0;
}

static int fds_for_test[2];

/* A descriptor goes out over a socket that was there before. */
static int send_descriptor(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	char byte = 'x';
	struct iovec bytes = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	memcpy(CMSG_DATA(&control.header), &fds_for_test[0], sizeof(int));
	MUST(sendmsg(fds_for_test[0], &message, MSG_NOSIGNAL) == 1);
	MUST(recvmsg(fds_for_test[1], &message, MSG_CMSG_CLOEXEC) == 1);
	MUST(send(fds_for_test[0], "y", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1);
	return 0;
}

static int speak(void)
{
	IOLog("confined and well\n");
	fprintf(stderr, "so is %s\n", "stdio");
	IOSleep(1);
	MUST(prctl(PR_SET_NAME, "confined") == 0);
	return 0;
}

static int give_up(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

START_TEST(the_runtime_works_confined)
{
	assert_ends_well(run_the_pool);
	assert_ends_well(use_memory);
	assert_ends_well(speak);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds_for_test), 0);
	assert_ends_well(send_descriptor);
	close(fds_for_test[0]);
	close(fds_for_test[1]);
	int status = confined(give_up);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
END_TEST

POOL_TESTS("runtime-confine", paths_are_refused, sockets_are_refused, programs_are_refused,
	   code_is_refused, device_requests_are_narrowed, unknown_calls_kill,
	   the_runtime_works_confined)
