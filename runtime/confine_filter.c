/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a dext may ask of the kernel: to use the descriptors it was handed, memory, threads, time.
 *
 * What a driver author might try in good faith (a path, a socket, a program) is refused with EACCES
 * or EPERM, so that the driver can say what went wrong; what nobody needs ends the process.
 *
 * The filter cannot look behind pointers. So clone3, whose flags lie there, does not exist (ENOSYS)
 * and glibc falls back to clone; and a stat by descriptor, which is a stat of the empty path, is
 * told by its flag: a metadata query with a path passes if it sets that flag too.
 */

#include <runtime/confine_filter.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <linux/vfio.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ALL32 0xffffffffU // the kernel, too, looks at these bits alone
#define ALL64 0xffffffffffffffffU

/* The tables are read by group, not by line. */
/* clang-format off */

#define ALLOW(name)          {SCMP_SYS(name), SCMP_ACT_ALLOW, 0, 0, 0}
#define REFUSE(name, error)  {SCMP_SYS(name), SCMP_ACT_ERRNO(error), 0, 0, 0}
#define ALLOW_IF(name, n, mask, value) {SCMP_SYS(name), SCMP_ACT_ALLOW, n, mask, value}
#define REFUSE_IF(name, error, n, mask, value) \
	{SCMP_SYS(name), SCMP_ACT_ERRNO(error), n, mask, value}

#define IOCTL(number)               ALLOW_IF(ioctl, 1, ALL32, (uint32_t)(number))
#define NO_IOCTL(number, error)     REFUSE_IF(ioctl, error, 1, ALL32, (uint32_t)(number))
#define FCNTL(command)              ALLOW_IF(fcntl, 1, ALL32, (command))
#define PRCTL(option)               ALLOW_IF(prctl, 0, ALL32, (option))
#define FLAG_DECIDES(name, n, flag) \
	ALLOW_IF(name, n, flag, flag), REFUSE_IF(name, EACCES, n, flag, 0)
#define FLAG_FORBIDS(name, n, flag) \
	ALLOW_IF(name, n, flag, 0), REFUSE_IF(name, EACCES, n, flag, flag)

static const struct confine_rule rules[] = {
	/* Descriptors at hand */
	ALLOW(read), ALLOW(readv), ALLOW(pread64), ALLOW(preadv), ALLOW(preadv2),
	ALLOW(write), ALLOW(writev), ALLOW(pwrite64), ALLOW(pwritev), ALLOW(pwritev2),
	ALLOW(lseek), ALLOW(fstat), ALLOW(fstatfs), ALLOW(close), ALLOW(close_range),
	ALLOW(dup), ALLOW(dup2), ALLOW(dup3), ALLOW(pipe), ALLOW(pipe2),
	ALLOW(fsync), ALLOW(fdatasync),
	FLAG_DECIDES(newfstatat, 3, AT_EMPTY_PATH), FLAG_DECIDES(statx, 2, AT_EMPTY_PATH),
	FCNTL(F_DUPFD), FCNTL(F_DUPFD_CLOEXEC), FCNTL(F_GETFD), FCNTL(F_SETFD), FCNTL(F_GETFL),
	FCNTL(F_SETFL), FCNTL(F_ADD_SEALS), FCNTL(F_GET_SEALS),
	ALLOW(recvmsg), ALLOW(sendmsg), ALLOW(recvmmsg), ALLOW(sendmmsg), ALLOW(recvfrom),
	ALLOW(sendto), ALLOW(shutdown), ALLOW(getsockopt), ALLOW(getsockname), ALLOW(getpeername),
	REFUSE(setsockopt, EPERM),

	/* Waiting */
	ALLOW(poll), ALLOW(ppoll), ALLOW(select), ALLOW(pselect6), ALLOW(pause),
	ALLOW(epoll_create), ALLOW(epoll_create1), ALLOW(epoll_ctl), ALLOW(epoll_wait),
	ALLOW(epoll_pwait), ALLOW(epoll_pwait2), ALLOW(eventfd), ALLOW(eventfd2),
	ALLOW(timerfd_create), ALLOW(timerfd_settime), ALLOW(timerfd_gettime),
	ALLOW(nanosleep), ALLOW(clock_nanosleep), ALLOW(clock_gettime), ALLOW(clock_getres),
	ALLOW(gettimeofday), ALLOW(time), ALLOW(restart_syscall),

	/* Memory: nothing that could be executed */
	FLAG_FORBIDS(mmap, 2, PROT_EXEC), FLAG_FORBIDS(mprotect, 2, PROT_EXEC),
	ALLOW(munmap), ALLOW(mremap), ALLOW(madvise), ALLOW(brk), ALLOW(msync), ALLOW(mlock),
	ALLOW(munlock), ALLOW(memfd_create), ALLOW(ftruncate), ALLOW(fallocate),

	/* Threads of this process */
	FLAG_DECIDES(clone, 0, CLONE_THREAD), REFUSE(clone3, ENOSYS),
	ALLOW(futex), ALLOW(futex_waitv), ALLOW(set_robust_list), ALLOW(rseq), ALLOW(gettid),
	ALLOW(sched_yield), ALLOW(sched_getaffinity), ALLOW(getcpu), ALLOW(membarrier),
	ALLOW(exit), ALLOW(exit_group),
	PRCTL(PR_SET_NAME), PRCTL(PR_GET_NAME), PRCTL(PR_GET_NO_NEW_PRIVS), PRCTL(PR_GET_SECCOMP),
	PRCTL(0x53564d41), // PR_SET_VMA: malloc names its memory

	/* Signals, to itself */
	ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(rt_sigpending),
	ALLOW(rt_sigtimedwait), ALLOW(sigaltstack), // tgkill: confine.c, which knows the process
	REFUSE(kill, EPERM), REFUSE(tkill, EPERM),

	/* Who and where it is */
	ALLOW(getpid), ALLOW(getppid), ALLOW(getuid), ALLOW(geteuid), ALLOW(getgid), ALLOW(getegid),
	ALLOW(getrandom), ALLOW(getrusage), ALLOW(sysinfo), ALLOW(uname), ALLOW(times),
	ALLOW(getrlimit),
	ALLOW_IF(prlimit64, 2, ALL64, 0), // to read a limit, not to set one

	/* Devices: what VFIO does to an open device and its container */
	IOCTL(VFIO_DEVICE_GET_INFO), IOCTL(VFIO_DEVICE_GET_REGION_INFO),
	IOCTL(VFIO_DEVICE_GET_IRQ_INFO), IOCTL(VFIO_DEVICE_SET_IRQS),
	IOCTL(VFIO_IOMMU_GET_INFO), IOCTL(VFIO_IOMMU_MAP_DMA), IOCTL(VFIO_IOMMU_UNMAP_DMA),
	NO_IOCTL(VFIO_DEVICE_RESET, EACCES), NO_IOCTL(VFIO_DEVICE_IOEVENTFD, EACCES),
	NO_IOCTL(VFIO_DEVICE_FEATURE, EACCES), NO_IOCTL(VFIO_CHECK_EXTENSION, EACCES),
	NO_IOCTL(VFIO_SET_IOMMU, EACCES), NO_IOCTL(VFIO_GROUP_GET_STATUS, EACCES),
	NO_IOCTL(VFIO_GROUP_SET_CONTAINER, EACCES), NO_IOCTL(VFIO_GROUP_UNSET_CONTAINER, EACCES),
	NO_IOCTL(VFIO_GROUP_GET_DEVICE_FD, EACCES),

	/* … and usbfs to a claimed interface, but not to the whole device */
	IOCTL(USBDEVFS_SUBMITURB), IOCTL(USBDEVFS_REAPURB), IOCTL(USBDEVFS_REAPURBNDELAY),
	IOCTL(USBDEVFS_DISCARDURB), IOCTL(USBDEVFS_CLAIMINTERFACE),
	IOCTL(USBDEVFS_RELEASEINTERFACE), IOCTL(USBDEVFS_SETINTERFACE), IOCTL(USBDEVFS_CLEAR_HALT),
	IOCTL(USBDEVFS_RESETEP), IOCTL(USBDEVFS_CONTROL), IOCTL(USBDEVFS_BULK),
	IOCTL(USBDEVFS_GET_CAPABILITIES), IOCTL(USBDEVFS_GET_SPEED), IOCTL(USBDEVFS_GETDRIVER),
	IOCTL(USBDEVFS_CONNECTINFO),
	NO_IOCTL(USBDEVFS_RESET, EACCES), NO_IOCTL(USBDEVFS_SETCONFIGURATION, EACCES),
	NO_IOCTL(USBDEVFS_IOCTL, EACCES), NO_IOCTL(USBDEVFS_DISCONNECT_CLAIM, EACCES),
	NO_IOCTL(USBDEVFS_CLAIM_PORT, EACCES), NO_IOCTL(USBDEVFS_RELEASE_PORT, EACCES),

	/* … and any descriptor */
	IOCTL(FIONREAD), IOCTL(FIONBIO), NO_IOCTL(TCGETS, ENOTTY), NO_IOCTL(TIOCGWINSZ, ENOTTY),

	/* Paths */
	REFUSE(open, EACCES), REFUSE(openat, EACCES), REFUSE(openat2, EACCES), REFUSE(creat, EACCES),
	REFUSE(stat, EACCES), REFUSE(lstat, EACCES), REFUSE(access, EACCES),
	REFUSE(faccessat, EACCES), REFUSE(faccessat2, EACCES), REFUSE(readlink, EACCES),
	REFUSE(readlinkat, EACCES), REFUSE(getcwd, EACCES), REFUSE(chdir, EACCES),
	REFUSE(unlink, EACCES), REFUSE(unlinkat, EACCES), REFUSE(rename, EACCES),
	REFUSE(renameat, EACCES), REFUSE(renameat2, EACCES), REFUSE(mkdir, EACCES),
	REFUSE(mkdirat, EACCES), REFUSE(rmdir, EACCES), REFUSE(truncate, EACCES),

	/* Sockets */
	REFUSE(socket, EACCES), REFUSE(socketpair, EACCES), REFUSE(connect, EACCES),
	REFUSE(bind, EACCES), REFUSE(listen, EACCES), REFUSE(accept, EACCES),
	REFUSE(accept4, EACCES),

	/* Programs */
	REFUSE(execve, EACCES), REFUSE(execveat, EACCES), REFUSE(fork, EACCES),
	REFUSE(vfork, EACCES),
};

/* clang-format on */

const struct confine_filter confine_filter = {
	.unknown = SCMP_ACT_KILL_PROCESS,
	.rules = rules,
	.n_rules = sizeof(rules) / sizeof(rules[0]),
};
