/* SPDX-License-Identifier: Apache-2.0 */

/* Fields of a message: each comes back, in one form only, and a failure sticks. */

#include <base/unit_test.h>
#include <wire/codec.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <DriverKit/OSCollectionConstants.h>

#define AS_OBJECT(x) ((OSObject *)(x))

static struct wire_reader reader_of(const struct wire_writer *w)
{
	struct wire_reader r;

	wire_reader_init(&r, w->data, w->size);
	return r;
}

START_TEST(fields_come_back)
{
	OSString *string = OSString_withCString("value");
	struct wire_writer w;
	struct wire_reader r;
	OSObject *object = NULL, *none = AS_OBJECT(string);
	uint64_t number = 0;
	char bytes[3], name[8];

	wire_writer_init(&w);
	wire_put_u64(&w, UINT64_MAX);
	wire_put_bytes(&w, "abc", 3);
	wire_put_string(&w, "seven77", sizeof(name));
	wire_put_object(&w, AS_OBJECT(string));
	wire_put_object(&w, NULL);
	ck_assert_int_eq(w.error, 0);
	ck_assert_uint_eq(w.size % 8, 0);

	r = reader_of(&w);
	memset(name, 'x', sizeof(name));
	ck_assert_int_eq(wire_get_u64(&r, UINT64_MAX, &number), 0);
	ck_assert_int_eq(wire_get_bytes(&r, bytes, 3), 0);
	ck_assert_int_eq(wire_get_string(&r, name, sizeof(name)), 0);
	ck_assert_int_eq(wire_get_object(&r, &gOSStringMetaClass, &object), 0);
	ck_assert_int_eq(wire_get_object(&r, &gOSStringMetaClass, &none), 0);
	ck_assert_int_eq(wire_reader_finish(&r), 0);
	wire_reader_deinit(&r);
	ck_assert_uint_eq(number, UINT64_MAX);
	ck_assert_mem_eq(bytes, "abc", 3);
	ck_assert_mem_eq(name, "seven77", 8);
	ck_assert(OSString_isEqualTo(string, object));
	ck_assert_ptr_null(none);
	OSObjectRelease(object);
	OSObjectRelease(string);
	wire_writer_deinit(&w);
}
END_TEST

/* Nothing of what was in a name before stays behind the new one. */
START_TEST(short_string_is_zero_filled)
{
	static const char zeroes[30];
	struct wire_writer w;
	struct wire_reader r;
	char name[32];

	wire_writer_init(&w);
	wire_put_string(&w, "ab", sizeof(name));
	r = reader_of(&w);
	memset(name, 'x', sizeof(name));
	ck_assert_int_eq(wire_get_string(&r, name, sizeof(name)), 0);
	ck_assert_mem_eq(name, "ab", 2);
	ck_assert_mem_eq(name + 2, zeroes, 30);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(too_long_is_refused_not_cut)
{
	static uint8_t large[WIRE_BODY_MAX + 8];
	struct wire_writer w;

	wire_writer_init(&w);
	ck_assert_int_eq(wire_put_string(&w, "eight888", 8), -EOVERFLOW);
	ck_assert_int_eq(wire_put_u64(&w, 1), -EOVERFLOW);
	wire_writer_deinit(&w);
	ck_assert_int_eq(wire_put_bytes(&w, large, WIRE_BODY_MAX), 0);
	ck_assert_int_eq(wire_put_u64(&w, 1), -EMSGSIZE);
	wire_writer_deinit(&w);
	ck_assert_int_eq(wire_put_bytes(&w, large, sizeof(large)), -EMSGSIZE);
	wire_writer_deinit(&w);
	ck_assert_int_eq(wire_put_string(&w, NULL, 8), -EINVAL);
	wire_writer_deinit(&w);
	ck_assert_int_eq(wire_put_object(&w, NULL), 0);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(value_above_its_maximum_is_refused)
{
	struct wire_writer w;
	struct wire_reader r;
	uint64_t value = 7;

	wire_writer_init(&w);
	wire_put_u64(&w, 256);
	r = reader_of(&w);
	ck_assert_int_eq(wire_get_u64(&r, 255, &value), -EBADMSG);
	ck_assert_uint_eq(value, 7);
	ck_assert_int_eq(wire_reader_finish(&r), -EBADMSG);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(failed_reader_stays_failed)
{
	struct wire_writer w;
	struct wire_reader r;
	uint64_t value;
	OSObject *object;
	char text[8];
	int fd;

	wire_writer_init(&w);
	for (int i = 0; i < 8; i++)
		wire_put_u64(&w, 1);
	r = reader_of(&w);
	ck_assert_int_eq(wire_get_u64(&r, 0, &value), -EBADMSG);
	ck_assert_int_eq(wire_get_u64(&r, 1, &value), -EBADMSG);
	ck_assert_int_eq(wire_get_bytes(&r, text, 8), -EBADMSG);
	ck_assert_int_eq(wire_get_string(&r, text, 8), -EBADMSG);
	ck_assert_int_eq(wire_get_object(&r, &gOSStringMetaClass, &object), -EBADMSG);
	ck_assert_int_eq(wire_get_fd(&r, &fd), -EBADMSG);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(strings_have_one_form)
{
	static const uint64_t too_long[] = { 8, 0x6161616161616161ULL };
	static const uint64_t with_nul[] = { 3, 0x610061ULL };
	static const uint64_t dirty[] = { 1, 0x6161ULL };
	static const uint64_t missing[] = { 1 };
	const struct {
		const void *data;
		size_t size;
	} bad[] = {
		{ too_long, 16 }, { with_nul, 16 }, { dirty, 16 }, { missing, 8 }, { missing, 0 }
	};
	char text[8];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct wire_reader r;

		wire_reader_init(&r, bad[i].data, bad[i].size);
		ck_assert_int_eq(wire_get_string(&r, text, sizeof(text)), -EBADMSG);
	}
}
END_TEST

START_TEST(object_of_another_class_is_refused)
{
	struct wire_writer w;
	struct wire_reader r;
	OSObject *object = NULL;

	wire_writer_init(&w);
	wire_put_object(&w, AS_OBJECT(kOSBooleanTrue));
	r = reader_of(&w);
	ck_assert_int_eq(wire_get_object(&r, &gOSDictionaryMetaClass, &object), -EBADMSG);
	ck_assert_ptr_null(object);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(trailing_bytes_and_descriptors_are_an_error)
{
	int fds[] = { dup(0), dup(0) };
	struct wire_writer w;
	struct wire_reader r;
	uint64_t value;

	wire_writer_init(&w);
	wire_put_u64(&w, 1);
	wire_put_u64(&w, 0);
	r = reader_of(&w);
	wire_get_u64(&r, 1, &value);
	ck_assert_int_eq(wire_reader_finish(&r), -EBADMSG);
	r = reader_of(&w);
	wire_reader_give_fds(&r, fds, 2);
	wire_get_u64(&r, 1, &value);
	wire_get_u64(&r, 1, &value);
	ck_assert_int_eq(wire_reader_finish(&r), -EBADMSG);
	wire_reader_deinit(&r); // closes both
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(descriptors_are_borrowed_by_writers_and_handed_over_by_readers)
{
	int given[2], taken[3] = { 7, 7, 7 };
	struct wire_writer w;
	struct wire_reader r;

	ck_assert_int_eq(pipe(given), 0);
	wire_writer_init(&w);
	wire_put_fd(&w, given[0]);
	wire_put_fd(&w, -1);
	wire_put_fd(&w, given[1]);
	ck_assert_uint_eq(w.n_fds, 2);
	r = reader_of(&w);
	wire_reader_give_fds(&r, given, 2);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(wire_get_fd(&r, &taken[i]), 0);
	ck_assert_int_eq(wire_reader_finish(&r), 0);
	wire_reader_deinit(&r);
	wire_writer_deinit(&w);
	ck_assert_int_eq(taken[0], given[0]);
	ck_assert_int_eq(taken[1], -1);
	ck_assert_int_eq(close(taken[0]), 0);
	ck_assert_int_eq(close(taken[2]), 0);
}
END_TEST

START_TEST(missing_descriptor_is_an_error)
{
	struct wire_writer w;
	struct wire_reader r;
	int fd = 7;

	wire_writer_init(&w);
	wire_put_fd(&w, 0);
	r = reader_of(&w);
	ck_assert_int_eq(wire_get_fd(&r, &fd), -EBADMSG);
	ck_assert_int_eq(fd, 7);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(descriptors_are_bounded)
{
	int fds[WIRE_FDS_MAX + 1];
	struct wire_writer w;
	struct wire_reader r;

	wire_writer_init(&w);
	for (unsigned i = 0; i < WIRE_FDS_MAX; i++)
		ck_assert_int_eq(wire_put_fd(&w, 0), 0);
	ck_assert_int_eq(wire_put_fd(&w, 0), -EMSGSIZE);
	for (unsigned i = 0; i <= WIRE_FDS_MAX; i++)
		fds[i] = dup(0);
	r = reader_of(&w);
	wire_reader_give_fds(&r, fds, WIRE_FDS_MAX + 1);
	ck_assert_int_eq(wire_reader_finish(&r), -EBADMSG);
	wire_reader_deinit(&r);
	wire_writer_deinit(&w);
}
END_TEST

/* Half a message was read when the rest turned out bad: all of it goes back. */
START_TEST(undo_gives_back_what_was_taken)
{
	OSString *string = OSString_withCString("x");
	struct wire_writer w;
	struct wire_reader r;
	int given[2], fd;
	OSObject *object;

	ck_assert_int_eq(pipe(given), 0);
	wire_writer_init(&w);
	wire_put_object(&w, AS_OBJECT(string));
	wire_put_fd(&w, given[0]);
	wire_put_fd(&w, given[1]);
	r = reader_of(&w);
	wire_reader_give_fds(&r, given, 2);
	wire_get_object(&r, &gOSStringMetaClass, &object);
	OSObjectRetain(object);
	wire_get_fd(&r, &fd);
	wire_reader_undo(&r);
	wire_reader_deinit(&r);
	ck_assert_uint_eq(atomic_load(&object->refcount), 1);
	OSObjectRelease(object);
	OSObjectRelease(string);
	wire_writer_deinit(&w);
}
END_TEST

struct owning_msg {
	OSObject *object;
	int fd, no_fd;
	char text[8];
};

static int put_owning(struct wire_writer *w, const void *msg)
{
	const struct owning_msg *m = msg;

	wire_put_string(w, m->text, sizeof(m->text));
	wire_put_object(w, m->object);
	wire_put_fd(w, m->fd);
	wire_put_fd(w, m->no_fd);
	return w->error;
}

START_TEST(dispose_gives_back_what_a_message_owns)
{
	struct owning_msg msg = { .object = AS_OBJECT(OSString_withCString("x")), .no_fd = -1 };

	msg.fd = dup(0);
	memset(msg.text, 'x', sizeof(msg.text)); // could not even be encoded
	OSObjectRetain(msg.object);
	wire_message_dispose(put_owning, &msg);
	ck_assert_uint_eq(atomic_load(&msg.object->refcount), 1);
	OSObjectRelease(msg.object);
}
END_TEST

UNIT_TESTS("codec", fields_come_back, short_string_is_zero_filled, too_long_is_refused_not_cut,
	   value_above_its_maximum_is_refused, failed_reader_stays_failed, strings_have_one_form,
	   object_of_another_class_is_refused, trailing_bytes_and_descriptors_are_an_error,
	   descriptors_are_borrowed_by_writers_and_handed_over_by_readers,
	   missing_descriptor_is_an_error, descriptors_are_bounded, undo_gives_back_what_was_taken,
	   dispose_gives_back_what_a_message_owns)
