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

/* What IOServiceAddInterestNotification tells: everything there is to tell. */
#define kIOGeneralInterest "IOGeneralInterest"

/* Its messages. The last three are never sent: a bus does not tell dextd that it suspends a device,
 * and nobody is asked to close a service, for connections outlive the driver that they are to. */
#define kIOMessageServiceIsTerminated      0xe0000010U
#define kIOMessageServiceWasClosed         0xe0000110U
#define kIOMessageServiceBusyStateChange   0xe0000120U
#define kIOMessageServicePropertyChange    0xe0000130U
#define kIOMessageServiceIsSuspended       0xe0000020U
#define kIOMessageServiceIsResumed         0xe0000030U
#define kIOMessageServiceIsRequestingClose 0xe0000100U
