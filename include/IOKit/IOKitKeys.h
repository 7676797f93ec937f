/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The names of notifications, and the keys that applications and drivers share. */

#include <DriverKit/IOKitKeys.h>

/* IOServiceAddMatchingNotification */
#define kIOPublishNotification       "IOServicePublish"
#define kIOFirstPublishNotification  "IOServiceFirstPublish"
#define kIOMatchedNotification       "IOServiceMatched"
#define kIOFirstMatchNotification    "IOServiceFirstMatch"
#define kIOTerminatedNotification    "IOServiceTerminate"
#define kIOWillTerminateNotification "IOServiceWillTerminate"

/* IOServiceAddInterestNotification */
#define kIOGeneralInterest            "IOGeneralInterest"
#define kIOMessageServiceIsTerminated 0xe0000010U
