/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys of properties and of matching. */

/* The one plane of the registry: what is above an entry is its provider. */
#define kIOServicePlane "IOService"

/* Keys of the dictionaries that match services, and of the properties that a service has. */
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
