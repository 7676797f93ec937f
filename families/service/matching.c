// SPDX-License-Identifier: Apache-2.0
/* Matching dictionaries, as drivers build them. */

#include <DriverKit/IOKitKeys.h>
#include <DriverKit/IOService.h>
#include <base/reason.h>

/* `value` is consumed. */
static OSDictionary *add(OSDictionary *matching, const char *key, void *value)
{
	OSDictionary *made = matching == NULL ? OSDictionary_withCapacity(1) : NULL;
	OSDictionary *into = matching != NULL ? matching : made;
	if (into != NULL && (value == NULL || !OSDictionary_setObject(into, key, value))) {
		OSObjectRelease(made);
		into = NULL;
	}
	OSObjectRelease(value);
	return into;
}

static OSDictionary *add_text(OSDictionary *matching, const char *key, const char *text)
{
	if (text == NULL) {
		(void)refuse(kIOReturnBadArgument, "%s: the name is NULL", key);
		return NULL;
	}
	return add(matching, key, OSString_withCString(text));
}

/* Several properties are asked for in one dictionary: a service needs them all. */
OSDictionary *IOService_CreatePropertyMatchingDictionary(const char *key, OSObject *value,
							 OSDictionary *matching)
{
	if (key == NULL || value == NULL) {
		(void)refuse(kIOReturnBadArgument, "a property needs a key and a value");
		return NULL;
	}
	OSDictionary *before =
		OSDynamicCast(OSDictionary, OSDictionary_getObject(matching, kIOPropertyMatchKey));
	OSDictionary *wanted =
		before != NULL ? OSDictionary_withDictionary(before) : OSDictionary_withCapacity(1);
	if (wanted != NULL && !OSDictionary_setObject(wanted, key, value))
		OSSafeReleaseNULL(wanted);
	return add(matching, kIOPropertyMatchKey, wanted);
}

OSDictionary *IOService_CreateNameMatchingDictionary(const char *serviceName,
						     OSDictionary *matching)
{
	return add_text(matching, kIONameMatchKey, serviceName);
}

OSDictionary *IOService_CreateKernelClassMatchingDictionary(const char *className,
							    OSDictionary *matching)
{
	return add_text(matching, kIOProviderClassKey, className);
}

OSDictionary *IOService_CreateUserClassMatchingDictionary(const char *className,
							  OSDictionary *matching)
{
	return add_text(matching, kIOUserClassKey, className);
}
