/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The reason of this thread's last refusal, and the table from errno to IOReturn.
 *
 * A later success does not clear the reason: it is read only after a refusal, and whoever reports
 * a result that was not refused here (a status from a peer, say) sets or clears it.
 */

#include <base/reason.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <base/log.h>
#include <base/text.h>

/* The flag is on the path of each call: it is found without asking the loader. */
static _Thread_local bool has_reason __attribute__((tls_model("initial-exec")));
static _Thread_local char reason[REASON_MAX];
static _Thread_local IOReturn reason_is;

IOReturn refuse(IOReturn status, const char *format, ...)
{
	char text[REASON_MAX]; // the arguments may point into `reason`
	int saved = errno;
	va_list args;

	va_start(args, format);
	text_format(text, sizeof(text), format, args);
	va_end(args);
	memcpy(reason, text, strlen(text) + 1);
	has_reason = true;
	reason_is = status;
	log_debug("refused 0x%08x: %s", (unsigned)status, reason);
	errno = saved;
	return status;
}

const char *reason_last(void)
{
	return has_reason ? reason : "";
}

IOReturn reason_status(void)
{
	return has_reason ? reason_is : kIOReturnSuccess;
}

void reason_set(const char *text)
{
	reason_is = kIOReturnSuccess;
	text_copy(reason, sizeof(reason), text);
	has_reason = true;
}

void reason_clear(void)
{
	has_reason = false;
}

static const struct {
	int error;
	IOReturn status;
} returns[] = {
	{ EPERM, kIOReturnNotPermitted },
	{ EACCES, kIOReturnNotPrivileged },
	{ ENOENT, kIOReturnNotFound },
	{ ESRCH, kIOReturnNotFound },
	{ EIO, kIOReturnIOError },
	{ ENXIO, kIOReturnNoDevice },
	{ ENODEV, kIOReturnNoDevice },
	{ EAGAIN, kIOReturnNotReady },
	{ ENOMEM, kIOReturnNoMemory },
	{ EFAULT, kIOReturnVMError },
	{ EBUSY, kIOReturnBusy },
	{ EEXIST, kIOReturnExclusiveAccess },
	{ EINVAL, kIOReturnBadArgument },
	{ EBADF, kIOReturnBadArgument },
	{ ERANGE, kIOReturnBadArgument },
	{ ENFILE, kIOReturnNoResources },
	{ EMFILE, kIOReturnNoResources },
	{ ENOBUFS, kIOReturnNoResources },
	{ EDQUOT, kIOReturnNoResources },
	{ ENOSPC, kIOReturnNoSpace },
	{ EFBIG, kIOReturnMessageTooLarge },
	{ E2BIG, kIOReturnMessageTooLarge },
	{ EMSGSIZE, kIOReturnMessageTooLarge },
	{ EOVERFLOW, kIOReturnOverrun },
	{ EPIPE, kIOReturnOffline },
	{ ECONNRESET, kIOReturnOffline },
	{ ECONNREFUSED, kIOReturnOffline },
	{ ENOTCONN, kIOReturnOffline },
	{ ESHUTDOWN, kIOReturnOffline },
	{ ENOSYS, kIOReturnUnsupported },
	{ ENOTTY, kIOReturnUnsupported },
	{ EOPNOTSUPP, kIOReturnUnsupported },
	{ EBADMSG, kIOReturnIPCError },
	{ EPROTO, kIOReturnIPCError },
	{ ETIMEDOUT, kIOReturnTimeout },
	{ ETIME, kIOReturnTimeout },
	{ ECANCELED, kIOReturnAborted },
	{ EALREADY, kIOReturnBusy },
	{ EINPROGRESS, kIOReturnBusy },
};

IOReturn return_from_errno(int error)
{
	if (error == 0)
		return kIOReturnSuccess;
	for (size_t i = 0; i < sizeof(returns) / sizeof(returns[0]); i++)
		if (returns[i].error == -error)
			return returns[i].status;
	return kIOReturnError;
}
