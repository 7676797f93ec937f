/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The names of notifications, and the keys that applications and drivers share. */

#include <DriverKit/IOKitKeys.h>

/* A key that nothing here has, and the id of the entry above; the root has none. */
#define kIOBSDNameKey      "IOBSDName"
#define kOpenDextParentKey "OpenDextParent"

/* What IOServiceAddMatchingNotification tells: services that were published, matched, either for
 * the first time, that are about to end, or that ended. */
#define kIOPublishNotification       "IOServicePublish"
#define kIOFirstPublishNotification  "IOServiceFirstPublish"
#define kIOMatchedNotification       "IOServiceMatched"
#define kIOFirstMatchNotification    "IOServiceFirstMatch"
#define kIOTerminatedNotification    "IOServiceTerminate"
#define kIOWillTerminateNotification "IOServiceWillTerminate"

/* What IOServiceAddInterestNotification tells, and the message when the service has ended. */
#define kIOGeneralInterest            "IOGeneralInterest"
#define kIOMessageServiceIsTerminated 0xe0000010U
