/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys of properties and of matching, and the names of notifications. */

#define kIOProviderClassKey     "IOProviderClass"
#define kIOUserClassKey         "IOUserClass"
#define kIONameMatchKey         "IONameMatch"
#define kIOPropertyMatchKey     "IOPropertyMatch"
#define kIORegistryEntryIDKey   "IORegistryEntryID"
#define kIORegistryEntryNameKey "IORegistryEntryName"
#define kIOObjectClassKey       "IOObjectClass"
#define kIOMatchCategoryKey     "IOMatchCategory"
#define kIOBundleIdentifierKey  "CFBundleIdentifier"

/* IOServiceAddMatchingNotification */
#define kIOPublishNotification    "IOServicePublish"
#define kIOMatchedNotification    "IOServiceMatched"
#define kIOFirstMatchNotification "IOServiceFirstMatch"
#define kIOTerminatedNotification "IOServiceTerminate"

/* IOServiceAddInterestNotification */
#define kIOGeneralInterest            "IOGeneralInterest"
#define kIOMessageServiceIsTerminated 0xe0000010U
