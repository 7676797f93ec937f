/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Every kind of parameter, on its way: golden/cargo.iig is implemented here, called in this process
 * and from another one, and its messages are cut, lengthened and bent, none of which may decode.
 */

#include <check.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/reason.h>
#include <wire/channel.h>
#include <wire/codec.h>

#include "cargo.h"

struct Cargo_IVars {
	struct CargoBox told, arrived;
	uint32_t n_told;
	uint32_t too_many; // list() claims as many more than there is room for
};

static int cargos_alive;

/* Every byte that a field holds is set, and every byte between them. */
static struct CargoBox full_box(void)
{
	struct CargoBox box;
	memset(&box, 0xa5, sizeof(box));
	box.kind = 7;
	box.weight = UINT64_MAX - 1;
	for (int i = 0; i < 4; i++)
		box.offsets[i / 2][i % 2] = (int16_t)(INT16_MIN + i);
	for (uint8_t i = 0; i < 2; i++)
		box.labels[i] = (CargoLabel){ { i, 2, 255 }, i == 1 };
	box.inner.state = kCargoFull;
	box.inner.tag = 9;
	memcpy(box.text, "abcde", 5);
	return box;
}

static void assert_full(const struct CargoBox *box)
{
	ck_assert_uint_eq(box->kind, 7);
	ck_assert_uint_eq(box->weight, UINT64_MAX - 1);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(box->offsets[i / 2][i % 2], INT16_MIN + i);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(box->labels[i].bytes[0], i);
		ck_assert_uint_eq(box->labels[i].bytes[2], 255);
		ck_assert(box->labels[i].fragile == (i == 1));
	}
	ck_assert_int_eq(box->inner.state, kCargoFull);
	ck_assert_uint_eq(box->inner.tag, 9);
	ck_assert_mem_eq(box->text, "abcde", 5);
}

/* ---- what the driver's author writes ---- */

bool IMPL(Cargo, init)
{
	if (!Cargo_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	cargos_alive++;
	return self->ivars != NULL;
}

void IMPL(Cargo, free)
{
	free(self->ivars);
	cargos_alive--;
	Cargo_super_free(self);
}

kern_return_t IMPL(Cargo, count)
{
	(void)self;
	*total = u64 + all;
	*least = (int16_t)(i8 + u16 + i32);
	*done = state == kCargoFull;
	*now = state;
	return result;
}

kern_return_t IMPL(Cargo, pack)
{
	(void)self;
	*packed = box;
	*where = (IOAddressSegment){ place->length, place->address };
	return kIOReturnSuccess;
}

kern_return_t IMPL(Cargo, stack)
{
	(void)self;
	for (uint32_t i = 0; i < boxesCount; i++)
		assert_full(&boxes[i]);
	return sizesCount == boxesCount + 1 && sizes[boxesCount] == 4 && strcmp(name, "stack") == 0
		       ? kIOReturnSuccess
		       : kIOReturnBadArgument;
}

kern_return_t IMPL(Cargo, list)
{
	uint32_t room = *segmentsCount;
	for (uint32_t i = 0; i < room; i++)
		segments[i] = (IOAddressSegment){ from + i, i };
	for (uint32_t i = 0; i < *deltasCount; i++)
		deltas[i] = -(int32_t)i;
	*segmentsCount = room / 2 + (self->ivars->too_many != 0 ? room : 0) + self->ivars->too_many;
	*title = OSString_withCString("list");
	*log = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Cargo, load)
{
	(void)self;
	*loaded = OSArray_withCapacity(4);
	for (uint32_t i = 0; i < partsCount; i++)
		OSArray_setObject(*loaded, OSString_as_OSObject(parts[i]));
	return OSDictionary_getCount(manifest) == 0 ? kIOReturnSuccess : kIOReturnBadArgument;
}

kern_return_t IMPL(Cargo, wire)
{
	(void)self;
	*back = fcntl(moreCount > 0 ? more[moreCount - 1] : one, F_DUPFD_CLOEXEC, 0);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Cargo, optional)
{
	(void)self;
	return flags == 0 && label == NULL ? kIOReturnSuccess : kIOReturnBadArgument;
}

void IMPL(Cargo, tell)
{
	(void)parts;
	self->ivars->told = box;
	self->ivars->n_told = partsCount;
}

kern_return_t IMPL(Cargo, expect)
{
	(void)self, (void)arrived;
	return kIOReturnSuccess;
}

void IMPL(Cargo, onArrived)
{
	(void)action;
	self->ivars->arrived = arrived;
}

static Cargo *make_cargo(void)
{
	Cargo *cargo = OSTypeAlloc(Cargo);
	ck_assert(Cargo_init(cargo));
	return cargo;
}

/* ---- calls in this process ---- */

START_TEST(structures_go_in_and_come_back)
{
	Cargo *cargo = make_cargo();
	struct CargoBox box = full_box(), packed;
	IOAddressSegment place = { 1, 2 }, where;
	ck_assert_int_eq(Cargo_pack(cargo, box, &place, &packed, &where), kIOReturnSuccess);
	assert_full(&packed);
	ck_assert_uint_eq(where.address, 2);
	ck_assert_int_eq(Cargo_pack(cargo, box, &place, NULL, NULL), kIOReturnSuccess);
	ck_assert_int_eq(Cargo_pack(cargo, box, NULL, &packed, &where), kIOReturnBadArgument);
	ck_assert_str_eq(reason_last(), "Cargo::pack: place is missing");
	Cargo_tell(cargo, box, NULL, 0);
	assert_full(&cargo->ivars->told);
	Cargo_release(cargo);
	ck_assert_int_eq(cargos_alive, 0);
}
END_TEST

START_TEST(what_does_not_fit_is_refused_before_the_call)
{
	Cargo *cargo = make_cargo();
	struct CargoBox boxes[4] = { full_box(), full_box(), full_box() };
	const uint16_t sizes[] = { 1, 2, 3, 4, 5 };
	OSString *part = OSString_withCString("part");
	OSString *const parts[] = { part, part, part, part };
	ck_assert_int_eq(Cargo_stack(cargo, boxes, 3, sizes, 4, "stack"), kIOReturnSuccess);
	ck_assert_int_eq(Cargo_stack(cargo, boxes, 4, sizes, 4, "stack"), kIOReturnOverrun);
	ck_assert_int_eq(Cargo_stack(cargo, boxes, 3, sizes, 5, "stack"), kIOReturnOverrun);
	ck_assert_int_eq(Cargo_stack(cargo, NULL, 1, sizes, 4, "stack"), kIOReturnBadArgument);
	ck_assert_int_eq(Cargo_stack(cargo, boxes, 3, sizes, 4, "a name with 16 ch"),
			 kIOReturnOverrun);
	ck_assert_int_eq(Cargo_load(cargo, NULL, parts, 4, NULL), kIOReturnOverrun);
	Cargo_tell(cargo, boxes[0], parts, 3);
	ck_assert_uint_eq(cargo->ivars->n_told, 0);
	Cargo_tell(cargo, boxes[0], parts, 2);
	ck_assert_uint_eq(cargo->ivars->n_told, 2);
	OSObjectRelease(part);
	Cargo_release(cargo);
}
END_TEST

START_TEST(arrays_come_back_within_their_room)
{
	Cargo *cargo = make_cargo();
	IOAddressSegment segments[4] = { { 0 } };
	int32_t deltas[3];
	uint32_t n_segments = 4, n_deltas = 3;
	OSString *title = NULL;
	dext_fd_t log = -1;
	ck_assert_int_eq(
		Cargo_list(cargo, 10, segments, &n_segments, deltas, &n_deltas, NULL, &log),
		kIOReturnSuccess);
	ck_assert_uint_eq(n_segments, 2);
	ck_assert_uint_eq(segments[1].address, 11);
	ck_assert_uint_eq(segments[2].address, 0);
	ck_assert_uint_eq(n_deltas, 3);
	ck_assert_int_eq(deltas[2], -2);
	ck_assert_int_ge(log, 0);
	close(log);

	uint32_t none = 0, five = 5;
	ck_assert_int_eq(Cargo_list(cargo, 1, NULL, &none, NULL, &none, NULL, NULL),
			 kIOReturnSuccess);
	ck_assert_int_eq(Cargo_list(cargo, 1, NULL, &n_segments, NULL, &none, NULL, NULL),
			 kIOReturnBadArgument);
	ck_assert_int_eq(Cargo_list(cargo, 1, segments, NULL, NULL, &none, NULL, NULL),
			 kIOReturnBadArgument);
	ck_assert_int_eq(Cargo_list(cargo, 1, segments, &five, NULL, &none, NULL, NULL),
			 kIOReturnOverrun);

	/* More than the caller has room for, and more than the message has: nothing comes back. */
	for (uint32_t too_many = 1; too_many < 4; too_many += 2) {
		uint32_t two = 2;
		cargo->ivars->too_many = too_many;
		segments[0].address = 77;
		log = -1;
		ck_assert_int_eq(Cargo_list(cargo, 10, segments, &two, NULL, &none, &title, &log),
				 kIOReturnOverrun);
		ck_assert_uint_eq(two, 2);
		ck_assert_uint_eq(segments[0].address, 77);
		ck_assert_ptr_null(title);
		ck_assert_int_eq(log, -1);
	}
	Cargo_release(cargo);
}
END_TEST

/* A queued message keeps its objects: it must say where each of them is. */
START_TEST(a_message_names_its_objects)
{
	const struct OSMethodShape *shape = &Cargo_load_Shape;
	ck_assert_uint_eq(shape->n_objects, 4);
	ck_assert_uint_eq(shape->objects[0], offsetof(struct Cargo_load_Msg, manifest));
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(shape->objects[1 + i],
				  offsetof(struct Cargo_load_Msg, parts) + i * sizeof(OSString *));
}
END_TEST

/* ---- calls from another process ---- */

static void serve(void *context, struct channel_call *call, void *msg);

static const struct channel_method methods[] = {
	{ &Cargo_count_Shape, serve },
	{ &Cargo_pack_Shape, serve },
	{ &Cargo_stack_Shape, serve },
	{ &Cargo_list_Shape, serve },
	{ &Cargo_load_Shape, serve },
	{ &Cargo_wire_Shape, serve },
	{ NULL, NULL },
};

/* Which of the methods a message is for is not said to the handler; here it is the one that the
 * message's caller announced. */
static const struct OSMethodShape *announced;

static kern_return_t result_of(const void *msg, const struct OSMethodShape *shape)
{
	kern_return_t ret;
	static const size_t at[] = {
		offsetof(struct Cargo_count_Msg, ret), offsetof(struct Cargo_pack_Msg, ret),
		offsetof(struct Cargo_stack_Msg, ret), offsetof(struct Cargo_list_Msg, ret),
		offsetof(struct Cargo_load_Msg, ret),  offsetof(struct Cargo_wire_Msg, ret),
	};
	size_t i = 0;
	while (methods[i].shape != shape)
		i++;
	memcpy(&ret, (const char *)msg + at[i], sizeof(ret));
	return ret;
}

static void serve(void *context, struct channel_call *call, void *msg)
{
	kern_return_t ret = OSObjectInvoke(context, announced, msg);
	if (ret == kIOReturnSuccess)
		ret = result_of(msg, announced);
	channel_reply(call, ret, ret == kIOReturnSuccess ? "" : reason_last());
}

static void hang_up(void *context, struct channel *channel, int error)
{
	(void)context, (void)channel;
	_exit(error == 0 && cargos_alive == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

static const struct channel_events server_events = { .on_hangup = hang_up };

static void ignore_hangup(void *context, struct channel *channel, int error)
{
	(void)context, (void)channel, (void)error;
}

static const struct channel_events client_events = { .on_hangup = ignore_hangup };

struct server {
	pid_t pid;
	struct channel *channel;
};

static struct server start_server(const struct OSMethodShape *shape, uint32_t too_many)
{
	int ends[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	struct server server = { .pid = fork() };
	if (server.pid == 0) {
		Cargo *cargo = make_cargo();
		cargo->ivars->too_many = too_many;
		announced = shape;
		close(ends[0]);
		if (channel_open(&server.channel, ends[1], methods, &server_events, cargo) < 0)
			_exit(EXIT_FAILURE);
		for (;;) {
			struct pollfd wait = { channel_fd(server.channel),
					       channel_poll_events(server.channel), 0 };
			poll(&wait, 1, 10000);
			channel_dispatch(server.channel);
		}
	}
	static const struct channel_method none[] = { { NULL, NULL } };
	close(ends[1]);
	ck_assert_int_eq(channel_open(&server.channel, ends[0], none, &client_events, NULL), 0);
	return server;
}

static kern_return_t call(const struct OSMethodShape *shape, void *msg, uint32_t too_many)
{
	struct server server = start_server(shape, too_many);
	int status;
	kern_return_t ret = channel_call_sync(server.channel, shape, msg, 10000, NULL);
	channel_close(server.channel);
	ck_assert_int_eq(waitpid(server.pid, &status, 0), server.pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
	return ret;
}

START_TEST(every_kind_crosses_processes)
{
	struct Cargo_count_Msg count = { .all = true,
					 .i8 = INT8_MIN,
					 .u16 = UINT16_MAX,
					 .i32 = -3,
					 .u64 = UINT64_MAX,
					 .state = kCargoFull };
	ck_assert_int_eq(call(&Cargo_count_Shape, &count, 0), kIOReturnSuccess);
	ck_assert_uint_eq(count.total, 0);
	ck_assert_int_eq(count.least, (int16_t)(INT8_MIN + UINT16_MAX - 3));
	ck_assert_int_eq(count.now, kCargoFull);
	ck_assert(count.done);

	struct Cargo_pack_Msg pack = { .box = full_box(), .place = { 1, 2 } };
	ck_assert_int_eq(call(&Cargo_pack_Shape, &pack, 0), kIOReturnSuccess);
	assert_full(&pack.packed);
	ck_assert_uint_eq(pack.where.length, 1);

	struct Cargo_stack_Msg stack = { .boxes = { full_box(), full_box() },
					 .boxesCount = 2,
					 .sizes = { 0, 0, 4 },
					 .sizesCount = 3,
					 .name = "stack" };
	ck_assert_int_eq(call(&Cargo_stack_Shape, &stack, 0), kIOReturnSuccess);

	struct Cargo_load_Msg load = {
		.manifest = OSDictionary_withCapacity(0),
		.parts = { OSString_withCString("a"), NULL, NULL },
		.partsCount = 1,
	};
	ck_assert_int_eq(call(&Cargo_load_Shape, &load, 0), kIOReturnSuccess);
	ck_assert_uint_eq(OSArray_getCount(load.loaded), 1);
	OSObjectRelease(load.loaded);
	OSObjectRelease(load.parts[0]);
	OSObjectRelease(load.manifest);

	int fds[2];
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	struct Cargo_wire_Msg wire = { .one = -1, .more = { fds[1] }, .moreCount = 1 };
	ck_assert_int_eq(call(&Cargo_wire_Shape, &wire, 0), kIOReturnSuccess);
	ck_assert_int_eq(write(wire.back, "x", 1), 1);
	close(wire.back);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(the_other_side_refuses_what_does_not_fit)
{
	struct Cargo_list_Msg list = { .from = 1, .segmentsCount = 4, .deltasCount = 2, .log = -1 };
	ck_assert_int_eq(call(&Cargo_list_Shape, &list, 0), kIOReturnSuccess);
	ck_assert_uint_eq(list.segmentsCount, 2);
	ck_assert_uint_eq(list.segments[1].address, 2);
	ck_assert_int_ge(list.log, 0);
	close(list.log);
	OSObjectRelease(list.title);
	list = (struct Cargo_list_Msg){ .from = 1, .segmentsCount = 2, .log = -1 };
	ck_assert_int_eq(call(&Cargo_list_Shape, &list, 1), kIOReturnOverrun);
	ck_assert_str_eq(reason_last(), "Cargo::list: segments is longer than its room");
}
END_TEST

/* ---- messages that are not right ---- */

typedef int (*put_fn)(struct wire_writer *w, const void *msg);
typedef int (*get_fn)(struct wire_reader *r, void *msg);

static int decode(const void *data, size_t size, const int *fds, unsigned n_fds, get_fn get,
		  size_t msg_size)
{
	struct wire_reader r;
	void *exact = malloc(size + 1), *msg = calloc(1, msg_size);
	memcpy(exact, data, size);
	wire_reader_init(&r, exact, size);
	for (unsigned i = 0; i < n_fds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
		wire_reader_give_fds(&r, &fd, 1);
	}
	int ret = get(&r, msg);
	if (ret == 0)
		ret = wire_reader_finish(&r);
	wire_reader_undo(&r);
	wire_reader_deinit(&r);
	free(msg);
	free(exact);
	return ret;
}

/* A message that was cut anywhere, or is a word too long, is refused. */
static void bend(const struct OSMethodShape *shape, bool reply, const void *msg)
{
	get_fn get = reply ? shape->get_reply : shape->get_request;
	struct wire_writer w;
	wire_writer_init(&w);
	ck_assert_int_eq((reply ? shape->put_reply : shape->put_request)(&w, msg), 0);
	wire_put_u64(&w, 0);
	size_t size = w.size - 8;
	ck_assert_int_eq(decode(w.data, size, w.fds, w.n_fds, get, shape->msg_size), 0);
	for (size_t cut = 0; cut < size; cut++)
		ck_assert_msg(decode(w.data, cut, w.fds, w.n_fds, get, shape->msg_size) < 0,
			      "%s cut to %zu", shape->name, cut);
	ck_assert_int_lt(decode(w.data, size + 8, w.fds, w.n_fds, get, shape->msg_size), 0);
	wire_writer_deinit(&w);
}

START_TEST(short_and_long_messages_are_refused)
{
	OSString *text = OSString_withCString("text");
	OSArray *array = OSArray_withCapacity(0);
	OSDictionary *dictionary = OSDictionary_withCapacity(0);
	bend(&Cargo_count_Shape, false, &(struct Cargo_count_Msg){ .u64 = 1 });
	bend(&Cargo_count_Shape, true, &(struct Cargo_count_Msg){ .total = 1 });
	bend(&Cargo_pack_Shape, false, &(struct Cargo_pack_Msg){ .box = full_box() });
	bend(&Cargo_pack_Shape, true, &(struct Cargo_pack_Msg){ .packed = full_box() });
	bend(&Cargo_stack_Shape, false,
	     &(struct Cargo_stack_Msg){
		     .boxes = { full_box() }, .boxesCount = 3, .sizesCount = 4, .name = "n" });
	bend(&Cargo_list_Shape, false,
	     &(struct Cargo_list_Msg){ .segmentsCount = 4, .deltasCount = 3 });
	bend(&Cargo_list_Shape, true,
	     &(struct Cargo_list_Msg){
		     .segmentsCount = 4, .deltasCount = 3, .title = text, .log = STDIN_FILENO });
	bend(&Cargo_load_Shape, false,
	     &(struct Cargo_load_Msg){
		     .manifest = dictionary, .parts = { text, NULL, text }, .partsCount = 3 });
	bend(&Cargo_load_Shape, true, &(struct Cargo_load_Msg){ .loaded = array });
	bend(&Cargo_wire_Shape, false,
	     &(struct Cargo_wire_Msg){
		     .one = STDIN_FILENO, .more = { STDIN_FILENO, -1 }, .moreCount = 2 });
	bend(&Cargo_tell_Shape, false,
	     &(struct Cargo_tell_Msg){ .box = full_box(), .parts = { text }, .partsCount = 1 });
	bend(&Cargo_Arrived_Shape, false, &(struct Cargo_Arrived_Msg){ .box = full_box() });
	OSObjectRelease(text);
	OSObjectRelease(array);
	OSObjectRelease(dictionary);
}
END_TEST

/* The packed box: kind, weight, offsets, labels with their bools, state, tag, text. */
enum { BOX_BYTES = 1 + 8 + 8 + 2 * 4 + 5 + 5, BOX_FRAGILE = 1 + 8 + 8 + 3 };

START_TEST(a_structure_has_one_form)
{
	struct Cargo_pack_Msg msg = { .box = full_box(), .place = { 1, 2 } };
	struct wire_writer w;
	wire_writer_init(&w);
	ck_assert_int_eq(Cargo_pack_Shape.put_request(&w, &msg), 0);
	ck_assert_uint_eq(w.size, (BOX_BYTES + 7) / 8 * 8 + 16);
	/* Little-endian, without the C structure's padding, which was 0xa5. */
	ck_assert_mem_eq(w.data, "\x07\xfe\xff\xff\xff\xff\xff\xff\xff\x00\x80\x01\x80", 13);
	ck_assert_ptr_null(memchr(w.data, 0xa5, w.size));
	for (size_t i = 0; i < w.size; i++) {
		bool padding = i >= BOX_BYTES && i < (BOX_BYTES + 7) / 8 * 8;
		bool boolean = i == BOX_FRAGILE || i == BOX_FRAGILE + 4;
		w.data[i] ^= 2;
		int ret =
			decode(w.data, w.size, NULL, 0, Cargo_pack_Shape.get_request, sizeof(msg));
		ck_assert_msg(ret == (padding || boolean ? -EBADMSG : 0), "byte %zu: %d", i, ret);
		w.data[i] ^= 2;
	}
	wire_writer_deinit(&w);
}
END_TEST

/* A message written by hand, decoded as `get` would. */
static int decode_words(const uint64_t *words, size_t n_words, get_fn get, size_t msg_size)
{
	struct wire_writer w;
	wire_writer_init(&w);
	for (size_t i = 0; i < n_words; i++)
		wire_put_u64(&w, words[i]);
	int ret = decode(w.data, w.size, NULL, 0, get, msg_size);
	wire_writer_deinit(&w);
	return ret;
}

START_TEST(counts_and_names_beyond_their_room_are_refused)
{
	const struct OSMethodShape *list = &Cargo_list_Shape, *stack = &Cargo_stack_Shape;
	const uint64_t rooms[] = { 0, 5, 0 }, huge[] = { 0, UINT64_MAX, 0 };
	ck_assert_int_eq(decode_words(rooms, 3, list->get_request, list->msg_size), -EOVERFLOW);
	ck_assert_int_eq(decode_words(huge, 3, list->get_request, list->msg_size), -EOVERFLOW);
	const uint64_t segments[] = { 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	ck_assert_int_eq(decode_words(segments, 11, list->get_reply, list->msg_size), -EOVERFLOW);
	const uint64_t boxes[] = { 4 }, sizes[] = { 0, 5 };
	ck_assert_int_eq(decode_words(boxes, 1, stack->get_request, stack->msg_size), -EOVERFLOW);
	ck_assert_int_eq(decode_words(sizes, 2, stack->get_request, stack->msg_size), -EOVERFLOW);
	/* A name of as many bytes as its room has, and one with a terminator inside. */
	const uint64_t name[] = { 0, 0, 16, UINT64_MAX, UINT64_MAX };
	ck_assert_int_lt(decode_words(name, 5, stack->get_request, stack->msg_size), 0);
	const uint64_t inside[] = { 0, 0, 3, 0x410041 };
	ck_assert_int_eq(decode_words(inside, 4, stack->get_request, stack->msg_size), -EBADMSG);
	const uint64_t parts[] = { 0, 4 };
	ck_assert_int_lt(
		decode_words(parts, 2, Cargo_load_Shape.get_request, Cargo_load_Shape.msg_size), 0);

	struct Cargo_list_Msg msg = { .segmentsCount = 5 };
	struct wire_writer w;
	wire_writer_init(&w);
	ck_assert_int_eq(list->put_reply(&w, &msg), -EOVERFLOW);
	wire_writer_deinit(&w);
}
END_TEST

START_TEST(an_object_of_another_class_is_refused)
{
	/* The message is well formed as one of load(): its dictionary is a string here. */
	struct wire_writer w;
	OSString *text = OSString_withCString("text");
	OSArray *array = OSArray_withCapacity(0);
	wire_writer_init(&w);
	wire_put_object(&w, OSString_as_OSObject(text));
	wire_put_u64(&w, 0);
	ck_assert_int_eq(decode(w.data, w.size, NULL, 0, Cargo_load_Shape.get_request,
				Cargo_load_Shape.msg_size),
			 -EBADMSG);
	w.size = 0;
	wire_put_object(&w, NULL);
	wire_put_u64(&w, 1);
	wire_put_object(&w, OSArray_as_OSObject(array));
	ck_assert_int_eq(decode(w.data, w.size, NULL, 0, Cargo_load_Shape.get_request,
				Cargo_load_Shape.msg_size),
			 -EBADMSG);
	wire_writer_deinit(&w);
	OSObjectRelease(text);
	OSObjectRelease(array);
}
END_TEST

/* What a message holds is given back by its put function: of an array that cannot be, all but it.
 */
START_TEST(a_message_can_be_given_up)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct Cargo_list_Msg msg = { .segmentsCount = 5, .log = fd };
	wire_message_dispose(Cargo_list_Shape.put_reply, &msg);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

static Suite *cargo_suite(void)
{
	Suite *suite = suite_create("iig-cargo");
	TCase *tcase = tcase_create("cargo");
	tcase_add_test(tcase, structures_go_in_and_come_back);
	tcase_add_test(tcase, what_does_not_fit_is_refused_before_the_call);
	tcase_add_test(tcase, arrays_come_back_within_their_room);
	tcase_add_test(tcase, a_message_names_its_objects);
	tcase_add_test(tcase, every_kind_crosses_processes);
	tcase_add_test(tcase, the_other_side_refuses_what_does_not_fit);
	tcase_add_test(tcase, short_and_long_messages_are_refused);
	tcase_add_test(tcase, a_structure_has_one_form);
	tcase_add_test(tcase, counts_and_names_beyond_their_room_are_refused);
	tcase_add_test(tcase, an_object_of_another_class_is_refused);
	tcase_add_test(tcase, a_message_can_be_given_up);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(cargo_suite());
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
