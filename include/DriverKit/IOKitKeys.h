/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys of properties and of matching. */

#define kIOServicePlane "IOService"

#define kIOProviderClassKey            "IOProviderClass"
#define kIOUserClassKey                "IOUserClass"
#define kIONameMatchKey                "IONameMatch"
#define kIOPropertyMatchKey            "IOPropertyMatch"
#define kIORegistryEntryIDKey          "IORegistryEntryID"
#define kIORegistryEntryNameKey        "IORegistryEntryName"
#define kIOObjectClassKey              "IOObjectClass"
#define kIOMatchCategoryKey            "IOMatchCategory"
#define kIOBundleIdentifierKey         "CFBundleIdentifier"
#define kIOPropertyExistsMatchKey      "IOPropertyExistsMatch"
#define kIOPathMatchKey                "IOPathMatch"
#define kIOLocationMatchKey            "IOLocationMatch"
#define kIOParentMatchKey              "IOParentMatch"
#define kIOMatchedServiceCountMatchKey "IOMatchedServiceCountMatch"
