/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The binary form: what goes in comes out equal, one value has one form, and no sequence of bytes
 * does more than fail. Run under the address sanitizer, the hostile cases also show that a failed
 * decode leaves nothing behind.
 */

#include <base/unit_test.h>
#include <objects/binary.h>

#include <errno.h>
#include <string.h>

#include <DriverKit/OSCollectionConstants.h>
#include <base/clock.h>
#include <base/reason.h>

#define AS_OBJECT(x) ((OSObject *)(x))

enum { STRING = 1, NUMBER, DATA, BOOLEAN, ARRAY, DICTIONARY, SET, ORDERED_SET };

static void give(OSDictionary *dictionary, const char *key, void *object)
{
	ck_assert(OSDictionary_setObject(dictionary, key, object));
	OSObjectRelease(object);
}

static OSOrderedSet *ordered_sample(void)
{
	OSOrderedSet *set = OSOrderedSet_withCapacity(0, NULL, NULL);
	OSNumber *number = OSNumber_withNumber(7, 8);

	OSOrderedSet_setObject(set, AS_OBJECT(kOSBooleanTrue));
	OSOrderedSet_setFirstObject(set, AS_OBJECT(number));
	OSObjectRelease(number);
	return set;
}

/* One of each class, nested. */
static OSDictionary *sample(void)
{
	OSDictionary *dictionary = OSDictionary_withCapacity(0);
	OSDictionary *inner = OSDictionary_withCapacity(0);
	OSArray *array = OSArray_withCapacity(0);

	give(inner, "empty", OSString_withCString(""));
	give(inner, "eight bytes", OSString_withCString("12345678"));
	OSArray_setObject(array, AS_OBJECT(inner));
	OSArray_setObject(array, AS_OBJECT(kOSBooleanFalse));
	OSObjectRelease(inner);
	give(dictionary, "IOClass", OSString_withCString("Us\xc3\xa9r"));
	give(dictionary, "idVendor", OSNumber_withNumber(0x1d6b, 16));
	give(dictionary, "big", OSNumber_withNumber(UINT64_MAX, 64));
	give(dictionary, "", OSData_withBytes("\0\1\2", 3));
	give(dictionary, "none", OSData_withBytes(NULL, 0));
	give(dictionary, "yes", OSBoolean_withBoolean(true));
	give(dictionary, "list", array);
	give(dictionary, "set", OSSet_withArray(array));
	give(dictionary, "ordered", ordered_sample());
	return dictionary;
}

static struct binary_buffer put(const void *object)
{
	struct binary_buffer buffer = { .limit = 1U << 20 };

	ck_assert_int_eq(binary_put(&buffer, object), 0);
	return buffer;
}

/* Decode; the object must be released by the caller. */
static int get(const void *data, size_t size, OSObject **object)
{
	size_t used;
	int ret = binary_get(data, size, &used, object);

	return ret < 0 ? ret : used == size ? 0 : -E2BIG;
}

/* Decode bytes that may be anything; whatever comes out must encode to the same bytes again. */
static int try(const uint8_t *data, size_t size)
{
	struct binary_buffer again = { .limit = 1U << 20 };
	OSObject *object = NULL;
	size_t used;
	int ret = binary_get(data, size, &used, &object);

	if (ret < 0)
		return ret;
	ck_assert_uint_le(used, size);
	ck_assert_int_eq(binary_put(&again, object), 0);
	ck_assert_uint_eq(again.size, used);
	ck_assert_mem_eq(again.data, data, used);
	binary_buffer_deinit(&again);
	OSObjectRelease(object);
	return 0;
}

START_TEST(everything_comes_back_equal)
{
	OSDictionary *dictionary = sample();
	struct binary_buffer buffer = put(dictionary);
	OSObject *object;

	ck_assert_uint_eq(buffer.size % 8, 0);
	ck_assert_int_eq(get(buffer.data, buffer.size, &object), 0);
	ck_assert(OSDictionary_isEqualTo(dictionary, object));
	ck_assert_int_eq(try(buffer.data, buffer.size), 0);
	OSObjectRelease(object);
	OSObjectRelease(dictionary);
	binary_buffer_deinit(&buffer);
}
END_TEST

START_TEST(none_is_a_value_only_alone)
{
	uint8_t array[16] = { ARRAY, 0, 0, 0, 1 };
	struct binary_buffer buffer = put(NULL);
	OSObject *object = AS_OBJECT(kOSBooleanTrue);

	ck_assert_uint_eq(buffer.size, 8);
	ck_assert_int_eq(get(buffer.data, buffer.size, &object), 0);
	ck_assert_ptr_null(object);
	ck_assert_int_eq(try(array, sizeof(array)), -EBADMSG);
	binary_buffer_deinit(&buffer);
}
END_TEST

START_TEST(what_follows_a_value_is_left_to_the_caller)
{
	struct binary_buffer buffer = put(kOSBooleanTrue);
	OSObject *object;
	size_t used;

	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(kOSBooleanFalse)), 0);
	ck_assert_int_eq(binary_get(buffer.data, buffer.size, &used, &object), 0);
	ck_assert_uint_eq(used, 8);
	ck_assert_ptr_eq(object, kOSBooleanTrue);
	binary_buffer_deinit(&buffer);
}
END_TEST

/* A service, say, in a property: refused with its class, and nothing half written. */
START_TEST(other_classes_are_refused)
{
	OSDictionary *dictionary = sample();
	OSObject *plain = OSTypeAlloc(OSObject);
	struct binary_buffer buffer = put(kOSBooleanTrue);

	give(dictionary, "plain", plain);
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(dictionary)), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(reason_last(), "OSObject"));
	ck_assert_uint_eq(buffer.size, 8);
	OSObjectRelease(dictionary);
	binary_buffer_deinit(&buffer);
}
END_TEST

START_TEST(buffer_keeps_its_limit)
{
	OSDictionary *dictionary = sample();
	struct binary_buffer buffer = put(dictionary);
	size_t size = buffer.size;

	buffer.size = 0;
	buffer.limit = size - 8;
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(dictionary)), -EMSGSIZE);
	ck_assert_uint_eq(buffer.size, 0);
	buffer.limit = size;
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(dictionary)), 0);
	OSObjectRelease(dictionary);
	binary_buffer_deinit(&buffer);
}
END_TEST

/* `depth` arrays, one in the other. */
static OSArray *deep(unsigned depth)
{
	OSArray *array = OSArray_withCapacity(0);

	while (--depth > 0) {
		OSArray *outer = OSArray_withCapacity(1);

		OSArray_setObject(outer, AS_OBJECT(array));
		OSObjectRelease(array);
		array = outer;
	}
	return array;
}

/* What the receiver would refuse is refused here, where the mistake was made. */
START_TEST(set_with_members_changed_to_be_equal_is_refused)
{
	OSNumber *one = OSNumber_withNumber(1, 8), *two = OSNumber_withNumber(2, 8);
	OSObject *const objects[] = { AS_OBJECT(one), AS_OBJECT(two) };
	OSSet *set = OSSet_withObjects(objects, 2, 0);
	struct binary_buffer buffer = { .limit = 1U << 20 };

	OSNumber_setValue(one, 3);
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(set)), 0);
	OSNumber_setValue(one, 2);
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(set)), -EINVAL);
	ck_assert_ptr_nonnull(strstr(reason_last(), "was changed"));
	OSObjectRelease(one);
	OSObjectRelease(two);
	OSObjectRelease(set);
	binary_buffer_deinit(&buffer);
}
END_TEST

/* The same bytes each time, and a collection that holds itself has none. */
START_TEST(form_is_deterministic)
{
	OSDictionary *one = sample(), *two = sample();
	struct binary_buffer first = put(one), second = put(two), refused = { .limit = 1U << 20 };

	ck_assert_uint_eq(first.size, second.size);
	ck_assert_mem_eq(first.data, second.data, first.size);
	OSDictionary_setObject(one, "itself", AS_OBJECT(one));
	ck_assert_int_eq(binary_put(&refused, AS_OBJECT(one)), -EMSGSIZE);
	ck_assert_ptr_nonnull(strstr(reason_last(), "does it hold itself?"));
	OSDictionary_flushCollection(one);
	OSObjectRelease(one);
	OSObjectRelease(two);
	binary_buffer_deinit(&first);
	binary_buffer_deinit(&second);
	binary_buffer_deinit(&refused);
}
END_TEST

START_TEST(depth_is_bounded_both_ways)
{
	OSArray *fits = deep(BINARY_DEPTH_MAX), *too_deep = deep(BINARY_DEPTH_MAX + 1);
	struct binary_buffer buffer = put(fits), refused = { .limit = 1U << 20 };
	uint8_t bomb[8 * 4096];

	ck_assert_int_eq(try(buffer.data, buffer.size), 0);
	ck_assert_int_eq(binary_put(&refused, AS_OBJECT(too_deep)), -EMSGSIZE);
	memset(bomb, 0, sizeof(bomb));
	for (size_t i = 0; i < sizeof(bomb); i += 8)
		bomb[i] = ARRAY, bomb[i + 4] = 1;
	ck_assert_int_eq(try(bomb, sizeof(bomb)), -EBADMSG);
	OSObjectRelease(fits);
	OSObjectRelease(too_deep);
	binary_buffer_deinit(&buffer);
	binary_buffer_deinit(&refused);
}
END_TEST

START_TEST(number_of_nodes_is_bounded_both_ways)
{
	OSArray *array = OSArray_withCapacity(0);
	struct binary_buffer buffer = { .limit = 1U << 20 };

	for (uint32_t i = 0; i < BINARY_NODES_MAX - 1; i++)
		OSArray_setObject(array, AS_OBJECT(kOSBooleanTrue));
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(array)), 0);
	ck_assert_int_eq(try(buffer.data, buffer.size), 0);
	OSArray_setObject(array, AS_OBJECT(kOSBooleanTrue));
	buffer.size = 0;
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(array)), -EMSGSIZE);
	buffer.size = 8 * BINARY_NODES_MAX; // the largest again, and one more
	ck_assert_int_eq(binary_put(&buffer, AS_OBJECT(kOSBooleanTrue)), 0);
	memcpy(buffer.data + 4, &(uint32_t){ BINARY_NODES_MAX }, 4);
	ck_assert_int_eq(try(buffer.data, buffer.size), -EBADMSG);
	OSObjectRelease(array);
	binary_buffer_deinit(&buffer);
}
END_TEST

struct hostile {
	const char *why, *reason;
	size_t size;
	uint8_t bytes[64];
};

static const struct hostile hostiles[] = {
	{ "nothing", "missing, or cut off", 0, { 0 } },
	{ "half a head", "missing, or cut off", 4, { BOOLEAN } },
	{ "none with a size", "kind that is not known", 8, { 0, 0, 0, 0, 1 } },
	{ "unknown kind", "kind that is not known", 8, { 9 } },
	{ "large kind", "kind that is not known", 8, { STRING, 0, 1 } },
	{ "boolean of 2", "neither 0 nor 1", 8, { BOOLEAN, 0, 0, 0, 2 } },
	{ "string beyond the end", "larger than what is left", 8, { STRING, 0, 0, 0, 1 } },
	{ "string of 4 GiB",
	  "larger than what is left",
	  16,
	  { STRING, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
	{ "string with a NUL", "holds a NUL", 16, { STRING, 0, 0, 0, 3, 0, 0, 0, 'a', 0, 'b' } },
	{ "string with a dirty padding",
	  "padding is not zero",
	  16,
	  { STRING, 0, 0, 0, 1, 0, 0, 0, 'a', 1 } },
	{ "data with a dirty padding",
	  "padding is not zero",
	  16,
	  { DATA, 0, 0, 0, 1, 0, 0, 0, 'a', 0, 0, 0, 0, 0, 0, 1 } },
	{ "number of 12 bits", "not 8, 16, 32 or 64 bits", 16, { NUMBER, 0, 0, 0, 12 } },
	{ "number wider than it says",
	  "larger than its width",
	  16,
	  { NUMBER, 0, 0, 0, 8, 0, 0, 0, 0, 1 } },
	{ "number without a value", "larger than what is left", 8, { NUMBER, 0, 0, 0, 8 } },
	{ "array of 4 Gi", "more members than", 16, { ARRAY, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
	{ "array longer than its bytes",
	  "more members than",
	  16,
	  { ARRAY, 0, 0, 0, 2, 0, 0, 0, BOOLEAN } },
	{ "dictionary of 4 Gi",
	  "more members than",
	  16,
	  { DICTIONARY, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
	{ "dictionary without a value",
	  "more members than",
	  16,
	  { DICTIONARY, 0, 0, 0, 1, 0, 0, 0, STRING } },
	{ "key that is no string",
	  "key is no string",
	  24,
	  { DICTIONARY, 0, 0, 0, 1, 0, 0, 0, BOOLEAN } },
	{ "key that comes twice",
	  "key comes twice",
	  40,
	  { DICTIONARY, 0, 0, 0, 2, 0, 0, 0,      STRING, 0, 0, 0, 0, 0, 0, 0,      BOOLEAN,
	    0,          0, 0, 0, 0, 0, 0, STRING, 0,      0, 0, 0, 0, 0, 0, BOOLEAN } },
	{ "string that is not UTF-8",
	  "not UTF-8 at byte 1",
	  16,
	  { STRING, 0, 0, 0, 2, 0, 0, 0, 'a', 0xff } },
	{ "set of 4 Gi", "more members than", 16, { SET, 0, 0, 0, 0xff, 0xff, 0xff, 0xff } },
	{ "set that holds a value twice",
	  "a value twice",
	  24,
	  { SET, 0, 0, 0, 2, 0, 0, 0, BOOLEAN, 0, 0, 0, 0, 0, 0, 0, BOOLEAN } },
	{ "set that holds a number in two widths",
	  "a value twice",
	  40,
	  { SET, 0, 0, 0, 2, 0, 0, 0,      NUMBER, 0, 0, 0,  8, 0, 0, 0, 1,
	    0,   0, 0, 0, 0, 0, 0, NUMBER, 0,      0, 0, 16, 0, 0, 0, 1 } },
	{ "ordered set that holds a value twice",
	  "a value twice",
	  24,
	  { ORDERED_SET, 0, 0, 0, 2, 0, 0, 0, BOOLEAN, 0, 0, 0, 0, 0, 0, 0, BOOLEAN } },
	{ "set with nothing in it", "kind that is not known", 16, { SET, 0, 0, 0, 1 } },
};

START_TEST(hostile_bytes_are_refused)
{
	for (size_t i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++) {
		reason_clear();
		ck_assert_msg(try(hostiles[i].bytes, hostiles[i].size) == -EBADMSG, "%s",
			      hostiles[i].why);
		ck_assert_msg(strstr(reason_last(), hostiles[i].reason) != NULL, "%s: %s",
			      hostiles[i].why, reason_last());
	}
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	OSDictionary *dictionary = sample();
	struct binary_buffer buffer = put(dictionary);

	for (size_t size = 0; size < buffer.size; size++) {
		uint8_t *exact = malloc(size + 1); // so that a read beyond it is seen

		memcpy(exact, buffer.data, size);
		ck_assert_int_eq(try(exact, size), -EBADMSG);
		free(exact);
	}
	OSObjectRelease(dictionary);
	binary_buffer_deinit(&buffer);
}
END_TEST

/* What decodes after a change is a value like any other. */
START_TEST(random_changes_do_no_harm)
{
	OSDictionary *dictionary = sample();
	struct binary_buffer buffer = put(dictionary);
	uint8_t *changed = malloc(buffer.size);
	unsigned valid = 0;

	chance_seed(20260801);
	for (int round = 0; round < 20000; round++) {
		memcpy(changed, buffer.data, buffer.size);
		for (uint64_t n = 1 + chance_u64() % 4; n > 0; n--)
			changed[chance_u64() % buffer.size] = (uint8_t)chance_u64();
		valid += try(changed, buffer.size) == 0;
	}
	ck_assert_uint_gt(valid, 0);
	ck_assert_uint_lt(valid, 20000);
	free(changed);
	OSObjectRelease(dictionary);
	binary_buffer_deinit(&buffer);
}
END_TEST

UNIT_TESTS("binary", everything_comes_back_equal, none_is_a_value_only_alone,
	   what_follows_a_value_is_left_to_the_caller, other_classes_are_refused,
	   buffer_keeps_its_limit, form_is_deterministic,
	   set_with_members_changed_to_be_equal_is_refused, depth_is_bounded_both_ways,
	   number_of_nodes_is_bounded_both_ways, hostile_bytes_are_refused,
	   every_truncation_is_refused, random_changes_do_no_harm)
