// SPDX-License-Identifier: Apache-2.0
/*
 * What an application finds in the registry, above and below a driver's service, and the references
 * to a connection.
 */

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "victim.h"

static struct rig rig;
static io_service_t service;
static io_connect_t connection;

static void begin(void)
{
	rig_start(&rig, NULL, NULL);
	service = rig_wait_service("Victim");
	connection = rig_open();
}

static void end(void)
{
	if (connection != IO_OBJECT_NULL)
		ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	IOObjectRelease(service);
	rig_stop(&rig);
}

static void assert_reason(const char *part)
{
	ck_assert_msg(strstr(dext_last_reason(), part) != NULL, "not \"%s\": %s", part,
		      dext_last_reason());
}

static void assert_class(io_object_t object, const char *wanted)
{
	io_name_t name;
	ck_assert_int_eq(IOObjectGetClass(object, name), kIOReturnSuccess);
	ck_assert_str_eq(name, wanted);
	ck_assert(IOObjectConformsTo(object, wanted));
	ck_assert(IOObjectConformsTo(object, "OSObject"));
	ck_assert(!IOObjectConformsTo(object, "IOSomethingElse"));
}

/* The user client's entry, below the service. */
static io_registry_entry_t find_client(void)
{
	io_iterator_t children;
	io_registry_entry_t child;
	ck_assert_int_eq(IORegistryEntryGetChildIterator(service, kIOServicePlane, &children),
			 kIOReturnSuccess);
	while ((child = IOIteratorNext(children)) != IO_OBJECT_NULL &&
	       !IOObjectConformsTo(child, "IOUserClient"))
		IOObjectRelease(child);
	ck_assert_uint_ne(child, IO_OBJECT_NULL);
	IOObjectRelease(children);
	return child;
}

START_TEST(objects_have_classes)
{
	io_iterator_t iterator = IO_OBJECT_NULL;
	io_name_t name;
	assert_class(service, "IOUserService");
	ck_assert(IOObjectConformsTo(service, "Victim"));
	ck_assert(IOObjectConformsTo(service, "IOService"));
	ck_assert(IOObjectConformsTo(service, "IORegistryEntry"));
	ck_assert(!IOObjectConformsTo(service, "IOUserClient"));
	assert_class(connection, "IOUserUserClient");
	ck_assert(IOObjectConformsTo(connection, "IOUserClient"));
	ck_assert_int_eq(IOServiceGetMatchingServices(kIOMainPortDefault,
						      IOServiceMatching("Victim"), &iterator),
			 kIOReturnSuccess);
	assert_class(iterator, "IOUserIterator");
	ck_assert(IOObjectConformsTo(iterator, "OSIterator"));
	ck_assert(IOIteratorIsValid(iterator));
	ck_assert(!IOIteratorIsValid(service));
	IOObjectRelease(iterator);
	ck_assert(!IOIteratorIsValid(iterator));
	ck_assert(!IOObjectConformsTo(iterator, "OSObject"));
	ck_assert_int_eq(IOObjectGetClass(iterator, name), kIOReturnBadArgument);
}
END_TEST

START_TEST(the_way_up_and_down)
{
	io_registry_entry_t root = IORegistryGetRootEntry(kIOMainPortDefault), above, below, top;
	io_string_t path;
	char wanted[128];
	uint64_t id = 0;
	ck_assert_int_eq(IORegistryEntryGetParentEntry(service, kIOServicePlane, &above),
			 kIOReturnSuccess);
	assert_class(above, "IOUserResources");
	ck_assert_int_eq(IORegistryEntryGetParentEntry(above, kIOServicePlane, &top),
			 kIOReturnSuccess);
	ck_assert(IOObjectIsEqualTo(top, root));
	IOObjectRelease(top);
	ck_assert_int_eq(IORegistryEntryGetParentEntry(root, kIOServicePlane, &top),
			 kIOReturnNotFound);
	assert_reason("is the root");

	ck_assert_int_eq(IORegistryEntryGetChildEntry(above, kIOServicePlane, &below),
			 kIOReturnSuccess);
	ck_assert(IOObjectIsEqualTo(below, service));
	IOObjectRelease(below);
	below = find_client();
	assert_class(below, "IOUserUserClient");
	ck_assert_int_eq(IORegistryEntryGetChildEntry(below, kIOServicePlane, &top),
			 kIOReturnNotFound);
	assert_reason("no children");
	IOObjectRelease(below);

	ck_assert_int_eq(IORegistryEntryGetRegistryEntryID(service, &id), kIOReturnSuccess);
	snprintf(wanted, sizeof(wanted), "/Victim@%llx", (unsigned long long)id);
	ck_assert_int_eq(IORegistryEntryGetPath(service, kIOServicePlane, path), kIOReturnSuccess);
	ck_assert_msg(strncmp(path, "IOService:/", 11) == 0 && strstr(path, wanted) != NULL, "%s",
		      path);
	ck_assert_str_eq(dext_last_reason(), "");
	ck_assert_int_eq(IORegistryEntryGetPath(service, "IOPower", path), kIOReturnBadArgument);
	assert_reason("kIOServicePlane");
	IOObjectRelease(above);
	IOObjectRelease(root);
}
END_TEST

START_TEST(a_property_is_searched_for)
{
	const IOOptionBits up = kIORegistryIterateRecursively | kIORegistryIterateParents;
	io_registry_entry_t root = IORegistryGetRootEntry(kIOMainPortDefault);
	OSObject *value = NULL;
	OSDictionary *properties = NULL;
	io_registry_entry_t client = find_client();
	/* What only the user client has is found from above, and not from the service alone. */
	ck_assert_int_eq(IORegistryEntrySearchProperty(service, kIOServicePlane,
						       "IOUserClientCreator", 0, &value),
			 kIOReturnNotFound);
	ck_assert_int_eq(IORegistryEntrySearchProperty(root, kIOServicePlane, "IOUserClientCreator",
						       kIORegistryIterateRecursively, &value),
			 kIOReturnSuccess);
	ck_assert_ptr_nonnull(OSDynamicCast(OSString, value));
	OSSafeReleaseNULL(value);
	/* What only the service has is found from below. */
	ck_assert_int_eq(IORegistryEntryCreateProperties(client, &properties), kIOReturnSuccess);
	ck_assert_ptr_null(OSDictionary_getObject(properties, "OpenDextProcess"));
	OSObjectRelease(properties);
	ck_assert_int_eq(IORegistryEntrySearchProperty(client, kIOServicePlane, "OpenDextProcess",
						       up, &value),
			 kIOReturnSuccess);
	ck_assert_ptr_nonnull(OSDynamicCast(OSNumber, value));
	OSSafeReleaseNULL(value);
	ck_assert_int_eq(
		IORegistryEntrySearchProperty(client, kIOServicePlane, "NoSuch", up, &value),
		kIOReturnNotFound);
	assert_reason("no entry up to the root has a property NoSuch");
	ck_assert_int_eq(IORegistryEntrySearchProperty(client, kIOServicePlane, "NoSuch",
						       kIORegistryIterateParents, &value),
			 kIOReturnBadArgument);
	IOObjectRelease(client);
	IOObjectRelease(root);
}
END_TEST

START_TEST(there_are_no_bsd_names)
{
	ck_assert_uint_eq(
		IOServiceGetMatchingService(kIOMainPortDefault,
					    IOBSDNameMatching(kIOMainPortDefault, 0, "disk0")),
		IO_OBJECT_NULL);
	assert_reason("matching by IOBSDName is not supported");
	ck_assert_ptr_null(IOBSDNameMatching(kIOMainPortDefault, 1, "disk0"));
}
END_TEST

START_TEST(a_connection_is_closed_once)
{
	io_service_t opened = IO_OBJECT_NULL;
	uint64_t in[2] = { 1, 2 }, out[2];
	uint32_t n = 2;
	ck_assert_int_eq(IOConnectGetService(connection, &opened), kIOReturnSuccess);
	ck_assert(IOObjectIsEqualTo(opened, service));
	IOObjectRelease(opened);
	ck_assert_int_eq(IOConnectAddRef(connection), kIOReturnSuccess);
	ck_assert_int_eq(IOConnectAddRef(connection), kIOReturnSuccess);
	ck_assert_int_eq(IOConnectRelease(connection), kIOReturnSuccess);
	ck_assert_int_eq(IOConnectCallScalarMethod(connection, VICTIM_ECHO, in, 2, out, &n),
			 kIOReturnSuccess);
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	ck_assert_int_ne(IOConnectCallScalarMethod(connection, VICTIM_ECHO, in, 2, out, &n),
			 kIOReturnSuccess);
	assert_reason("closed the connection");
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnSuccess);
	ck_assert_int_eq(IOServiceClose(connection), kIOReturnBadArgument);
	ck_assert_int_eq(IOConnectRelease(connection), kIOReturnBadArgument);
	ck_assert_int_eq(IOConnectAddRef(service), kIOReturnBadArgument);
	connection = IO_OBJECT_NULL;
}
END_TEST

START_TEST(a_user_client_takes_no_properties)
{
	OSNumber *number = OSNumber_withNumber(1, 32);
	ck_assert_int_eq(IOConnectSetProperty(connection, "key", OSNumber_as_OSObject(number)),
			 kIOReturnUnsupported);
	assert_reason("call a method of the driver");
	ck_assert_int_eq(IOConnectSetProperties(connection, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(IOConnectSetProperty(connection, NULL, OSNumber_as_OSObject(number)),
			 kIOReturnBadArgument);
	OSObjectRelease(number);
}
END_TEST

/* --- the names with CF --- */

START_TEST(core_foundations_names_lead_to_the_same)
{
	const IOOptionBits up = kIORegistryIterateRecursively | kIORegistryIterateParents;
	io_registry_entry_t client = find_client();
	OSDictionary *properties = NULL;
	ck_assert_int_eq(IORegistryEntryCreateCFProperties(service, &properties,
							   kCFAllocatorDefault, kNilOptions),
			 kIOReturnSuccess);
	OSObject *value = IORegistryEntryCreateCFProperty(service, CFSTR("OpenDextProcess"),
							  kCFAllocatorDefault, kNilOptions);
	ck_assert_ptr_nonnull(OSDynamicCast(OSNumber, value));
	ck_assert(OSObject_isEqualTo(value, OSDictionary_getObject(properties, "OpenDextProcess")));
	OSObject *same = IORegistryEntrySearchCFProperty(
		client, kIOServicePlane, CFSTR("OpenDextProcess"), kCFAllocatorDefault, up);
	ck_assert_ptr_nonnull(same);
	ck_assert(OSObject_isEqualTo(value, same));
	OSObjectRelease(same);
	OSObjectRelease(value);
	OSObjectRelease(properties);
	value = IORegistryEntrySearchCFProperty(service, kIOServicePlane,
						CFSTR("IOUserClientCreator"), kCFAllocatorDefault,
						kIORegistryIterateRecursively);
	ck_assert_ptr_nonnull(OSDynamicCast(OSString, value));
	OSObjectRelease(value);

	ck_assert_ptr_null(IORegistryEntrySearchCFProperty(service, kIOServicePlane,
							   CFSTR("IOUserClientCreator"),
							   kCFAllocatorDefault, kNilOptions));
	assert_reason("no property IOUserClientCreator");
	ck_assert_ptr_null(IORegistryEntryCreateCFProperty(service, CFSTR("NoSuch"),
							   kCFAllocatorDefault, kNilOptions));
	assert_reason("no property NoSuch");
	ck_assert_ptr_null(
		IORegistryEntryCreateCFProperty(service, NULL, kCFAllocatorDefault, kNilOptions));
	assert_reason("NULL");
	IOObjectRelease(client);
}
END_TEST

START_TEST(another_allocator_and_options_are_refused)
{
	OSDictionary *properties = NULL;
	ck_assert_int_eq(IORegistryEntryCreateCFProperties(service, &properties, &properties, 0),
			 kIOReturnBadArgument);
	assert_reason("kCFAllocatorDefault");
	ck_assert_int_eq(IORegistryEntryCreateCFProperties(service, &properties, NULL, 1),
			 kIOReturnBadArgument);
	assert_reason("options 0x1");
	ck_assert_ptr_null(
		IORegistryEntryCreateCFProperty(service, "OpenDextProcess", &properties, 0));
	ck_assert_ptr_null(IORegistryEntryCreateCFProperty(service, "OpenDextProcess", NULL, 1));
	ck_assert_ptr_null(IORegistryEntrySearchCFProperty(service, kIOServicePlane,
							   "OpenDextProcess", &properties, 0));
	ck_assert_ptr_null(properties);
}
END_TEST

START_TEST(an_application_sets_no_properties)
{
	OSNumber *number = OSNumber_withNumber(1, 32);
	OSObject *value = OSNumber_as_OSObject(number);
	OSDictionary *one = OSDictionary_withCapacity(1);
	OSObject *properties = OSDictionary_as_OSObject(one);
	ck_assert(OSDictionary_setObject(one, "key", value));
	ck_assert_int_eq(IORegistryEntrySetCFProperties(service, properties), kIOReturnUnsupported);
	assert_reason("call a method of the driver");
	ck_assert_int_eq(IORegistryEntrySetCFProperty(service, "key", value), kIOReturnUnsupported);
	ck_assert_int_eq(IORegistryEntrySetCFProperty(service, NULL, value), kIOReturnBadArgument);
	ck_assert_int_eq(IORegistryEntrySetCFProperties(service, NULL), kIOReturnBadArgument);
	ck_assert_int_eq(IORegistryEntrySetCFProperties(connection, properties),
			 kIOReturnBadArgument);
	ck_assert_ptr_null(IORegistryEntryCreateCFProperty(service, "key", NULL, 0));

	ck_assert_int_eq(IOConnectSetCFProperties(connection, properties), kIOReturnUnsupported);
	assert_reason("call a method of the driver");
	ck_assert_int_eq(IOConnectSetCFProperty(connection, "key", value), kIOReturnUnsupported);
	ck_assert_int_eq(IOConnectSetCFProperties(connection, value), kIOReturnBadArgument);
	assert_reason("no dictionary");
	ck_assert_int_eq(IOConnectSetCFProperty(connection, NULL, value), kIOReturnBadArgument);
	ck_assert_int_eq(IOConnectSetCFProperties(service, properties), kIOReturnBadArgument);
	OSObjectRelease(one);
	OSObjectRelease(number);
}
END_TEST

START_TEST(no_descriptor_is_a_connection)
{
	ck_assert_int_eq(IOServiceOpenAsFileDescriptor(service, O_RDWR), kIOReturnUnsupported);
	assert_reason("dext_notification_port_get_fd");
	ck_assert_int_eq(IOServiceOpenAsFileDescriptor(connection, O_RDWR), kIOReturnBadArgument);
	ck_assert_int_lt(IOServiceOpenAsFileDescriptor(IO_OBJECT_NULL, O_RDWR), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("e2e-registry");
	TCase *tc = tcase_create("registry");
	tcase_add_checked_fixture(tc, begin, end);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, objects_have_classes);
	tcase_add_test(tc, the_way_up_and_down);
	tcase_add_test(tc, a_property_is_searched_for);
	tcase_add_test(tc, there_are_no_bsd_names);
	tcase_add_test(tc, a_connection_is_closed_once);
	tcase_add_test(tc, a_user_client_takes_no_properties);
	tcase_add_test(tc, core_foundations_names_lead_to_the_same);
	tcase_add_test(tc, another_allocator_and_options_are_refused);
	tcase_add_test(tc, an_application_sets_no_properties);
	tcase_add_test(tc, no_descriptor_is_a_connection);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_set_tap(runner, "-");
	srunner_run_all(runner, CK_SILENT);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
