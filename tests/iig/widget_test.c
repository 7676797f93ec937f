/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What iig generates, at work: golden/widget.iig has a method of every kind; here they are
 * implemented, called, encoded and decoded.
 */

#include <check.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/reason.h>
#include <wire/codec.h>

#include "widget.h"

/* The widget only names this class: any will do. */
const OSMetaClass gIOServiceMetaClass = {
	.name = "IOService",
	.super = &gOSObjectMetaClass,
	.instance_size = sizeof(OSObject),
};

struct Widget_IVars {
	uint64_t size;
	char name[8], title[128];
	int16_t values[4];
	uint32_t n_values, n_flags;
	uint32_t pokes;
	OSString *label;
	IOReturn resized;
	uint32_t sizes[2];
	kern_return_t answer;
};

static int widgets_alive;

/* ---- a widget ---- */

bool IMPL(Widget, init)
{
	if (!Widget_super_init(self))
		return false;
	self->ivars = calloc(1, sizeof(*self->ivars));
	widgets_alive++;
	return self->ivars != NULL;
}

void IMPL(Widget, free)
{
	if (self->ivars != NULL)
		OSObjectRelease(self->ivars->label);
	free(self->ivars);
	widgets_alive--;
	Widget_super_free(self);
}

bool IMPL(Widget, isEqualTo)
{
	const Widget *widget = OSDynamicCast(Widget, other);
	return Widget_super_isEqualTo(self, other) ||
	       (widget != NULL && widget->ivars->size == self->ivars->size);
}

static Widget *make(const OSMetaClass *meta, const char *name, uint32_t size)
{
	Widget *widget = (Widget *)OSObjectAllocate(meta);
	ck_assert(Widget_init(widget));
	widget->ivars->size = size;
	strncpy(widget->ivars->name, name, sizeof(widget->ivars->name) - 1);
	return widget;
}

Widget *Widget_withName(const char *name, uint32_t size)
{
	return make(&gWidgetMetaClass, name, size);
}

kern_return_t IMPL(Widget, Create)
{
	*widget = make(&gWidgetMetaClass, name, size);
	return size == 0 ? kIOReturnBadArgument : kIOReturnSuccess;
}

static unsigned recalls;

kern_return_t IMPL(Widget, Recall)
{
	recalls++;
	return kIOReturnSuccess;
}

uint64_t Widget_area(const Widget *self)
{
	return self->ivars->size * self->ivars->size;
}

void Widget_visit(Widget *self, WidgetVisitor visitor, void *context)
{
	visitor(context, Widget_as_OSObject(self));
}

bool IMPL(Widget, paint)
{
	part->count = (uint32_t)(opacity * 100) + palette[2] + range.high;
	return colour == kWidgetGreen && self->ivars != NULL;
}

const struct WidgetPart *IMPL(Widget, getPart)
{
	static const struct WidgetPart part = { .count = 7 };
	(void)self;
	return &part;
}

OSObject *IMPL(Widget, copyChild)
{
	(void)self;
	return index == 0 ? (OSObject *)OSString_withCString("child") : NULL;
}

int16_t IMPL(Widget, weight)
{
	(void)self;
	return -5;
}

WidgetRange IMPL(Widget, range)
{
	(void)self;
	return (WidgetRange){ .low = 1, .high = 9 };
}

kern_return_t IMPL(Widget, measure)
{
	*width = self->ivars->size * scale + (uint64_t)precise;
	*height = (int32_t)bias + offset;
	*visible = colour == kWidgetRed;
	return self->ivars->answer;
}

kern_return_t IMPL(Widget, rename)
{
	strcpy(self->ivars->name, name);
	strcpy(self->ivars->title, title);
	return kIOReturnSuccess;
}

kern_return_t IMPL(Widget, fill)
{
	memcpy(self->ivars->values, values, valuesCount * sizeof(values[0]));
	self->ivars->n_values = valuesCount;
	self->ivars->n_flags = 0;
	for (uint32_t i = 0; i < flagsCount; i++)
		self->ivars->n_flags += flags[i];
	return kIOReturnSuccess;
}

kern_return_t IMPL(Widget, attach)
{
	(void)service;
	OSObjectRetain(label);
	self->ivars->label = label;
	*properties = OSDictionary_withCapacity(1);
	return self->ivars->answer;
}

kern_return_t IMPL(Widget, share)
{
	(void)extras;
	(void)extrasCount;
	*copy = dup(memory);
	return self->ivars->answer;
}

kern_return_t IMPL(Widget, reset)
{
	self->ivars->size = 0;
	return kIOReturnSuccess;
}

void IMPL(Widget, poke)
{
	(void)by;
	self->ivars->pokes += times;
}

kern_return_t IMPL(Widget, resize)
{
	self->ivars->size = size;
	return completion == NULL ? kIOReturnNoCompletion : kIOReturnSuccess;
}

void IMPL(Widget, onResized)
{
	(void)action;
	self->ivars->resized = result;
	memcpy(self->ivars->sizes, both, number * sizeof(both[0]));
}

/* ---- what another file adds to a widget ---- */

kern_return_t IMPL(WidgetPrivate, countPokes)
{
	*pokes = self->ivars->pokes;
	return kIOReturnSuccess;
}

bool IMPL(WidgetPrivate, isHeavy)
{
	return self->ivars->size > 4;
}

kern_return_t IMPL(WidgetPrivate, Count)
{
	*alive = (uint32_t)widgets_alive;
	return kIOReturnSuccess;
}

uint32_t WidgetPrivate_half(const Widget *self)
{
	return (uint32_t)self->ivars->size / 2;
}

void IMPL(WidgetPrivate, onMeasured)
{
	(void)action;
	self->ivars->size = area;
}

/* ---- a gadget ---- */

kern_return_t IMPL(Gadget, fill)
{
	return n == 0 ? kIOReturnUnderrun : Gadget_super_fill(self, numbers, n, bits, m);
}

kern_return_t IMPL(Gadget, rename)
{
	return Gadget_super_rename(self, longName, shortName);
}

OSObject *IMPL(Gadget, copyChild)
{
	return Gadget_super_copyChild(self, index - 1);
}

void IMPL(Gadget, onResized)
{
	Gadget_super_onResized(self, action, status + 1, sizes, sizesCount);
}

void IMPL(Gadget, poke)
{
	Gadget_super_poke(self, 10 * count, who);
}

static Gadget *make_gadget(void)
{
	return (Gadget *)make(&gGadgetMetaClass, "gadget", 2);
}

/* ---- calls ---- */

START_TEST(local_calls_carry_anything)
{
	Widget *widget = Widget_withName("one", 3);
	struct WidgetPart part = { 0 };
	const uint8_t palette[3] = { 1, 2, 3 };
	const WidgetRange range = { .high = 40 };
	ck_assert(Widget_paint(widget, 0.5, kWidgetGreen, palette, &part, range));
	ck_assert_uint_eq(part.count, 93);
	ck_assert(!Widget_paint(widget, 0.5, kWidgetRed, palette, &part, range));
	ck_assert_uint_eq(Widget_getPart(widget)->count, 7);
	ck_assert_int_eq(Widget_weight(widget), -5);
	ck_assert_uint_eq(Widget_range(widget).high, 9);
	ck_assert_uint_eq(Widget_area(widget), 9);
	Widget *other = Widget_withName("other", 3);
	ck_assert(Widget_isEqualTo(widget, Widget_as_OSObject(other)));
	Widget_reset(other);
	ck_assert(!Widget_isEqualTo(widget, Widget_as_OSObject(other)));
	Widget_release(other);
	Widget_release(widget);
	ck_assert_int_eq(widgets_alive, 0);
}
END_TEST

START_TEST(outputs_are_copied_where_they_are_wanted)
{
	Widget *widget = Widget_withName("one", 3);
	uint64_t width = 0;
	int32_t height = 0;
	bool visible = false;
	ck_assert_int_eq(
		Widget_measure(widget, true, -1, 2, -100, kWidgetRed, &width, &height, &visible),
		kIOReturnSuccess);
	ck_assert_uint_eq(width, 7);
	ck_assert_int_eq(height, -101);
	ck_assert(visible);
	widget->ivars->answer = kIOReturnBusy;
	ck_assert_int_eq(Widget_measure(widget, false, 0, 4, 0, kWidgetRed, &width, NULL, NULL),
			 kIOReturnBusy);
	ck_assert_uint_eq(width, 12);
	Widget_release(widget);
}
END_TEST

START_TEST(objects_come_back_only_on_success)
{
	Widget *widget = Widget_withName("one", 3);
	OSString *label = OSString_withCString("label");
	OSDictionary *properties = NULL;
	ck_assert_int_eq(Widget_attach(widget, label, NULL, &properties), kIOReturnSuccess);
	ck_assert_ptr_nonnull(properties);
	OSSafeReleaseNULL(properties);
	OSObjectRelease(widget->ivars->label);
	/* Nobody wants it: it is released, which a leak checker sees. */
	ck_assert_int_eq(Widget_attach(widget, label, NULL, NULL), kIOReturnSuccess);
	OSObjectRelease(label);
	Widget_release(widget);
}
END_TEST

START_TEST(names_and_arrays_have_room_or_are_refused)
{
	Widget *widget = Widget_withName("one", 3);
	const int16_t values[4] = { 1, -2, 3, -4 };
	const bool flags[2] = { true, true };
	ck_assert_int_eq(Widget_rename(widget, "1234567", "title"), kIOReturnSuccess);
	ck_assert_str_eq(widget->ivars->name, "1234567");
	ck_assert_str_eq(widget->ivars->title, "title");
	ck_assert_int_eq(Widget_rename(widget, "12345678", "title"), kIOReturnOverrun);
	ck_assert_str_eq(reason_last(), "Widget::rename: name is longer than its room");
	ck_assert_int_eq(Widget_rename(widget, "1", NULL), kIOReturnBadArgument);
	ck_assert_str_eq(reason_last(), "Widget::rename: title is missing");
	ck_assert_int_eq(Widget_fill(widget, values, 4, flags, 2), kIOReturnSuccess);
	ck_assert_int_eq(widget->ivars->values[3], -4);
	ck_assert_uint_eq(widget->ivars->n_flags, 2);
	ck_assert_int_eq(Widget_fill(widget, values, 5, flags, 2), kIOReturnOverrun);
	ck_assert_int_eq(Widget_fill(widget, values, 4, NULL, 1), kIOReturnBadArgument);
	ck_assert_int_eq(Widget_fill(widget, NULL, 0, NULL, 0), kIOReturnSuccess);
	ck_assert_uint_eq(widget->ivars->n_values, 0);
	Widget_release(widget);
}
END_TEST

START_TEST(no_object_is_an_error_and_no_crash)
{
	ck_assert_int_eq(Widget_reset(NULL), kIOReturnBadArgument);
	ck_assert(!Widget_init(NULL));
	ck_assert_int_eq(Widget_weight(NULL), 0);
	ck_assert_uint_eq(Widget_range(NULL).high, 0);
	ck_assert_ptr_null(Widget_copyChild(NULL, 0));
	Widget_poke(NULL, 1, NULL);
	Widget_Resized(NULL, NULL, kIOReturnSuccess, NULL, 0);
	Gadget_super_poke(NULL, 1, NULL);
	ck_assert_int_eq(Gadget_reset(NULL), kIOReturnBadArgument);
	Widget_retain(NULL);
	Widget_release(NULL);
}
END_TEST

START_TEST(descriptors_come_back)
{
	Widget *widget = Widget_withName("one", 3);
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = -1;
	ck_assert_int_eq(Widget_share(widget, null_fd, NULL, 0, &copy), kIOReturnSuccess);
	ck_assert_int_ge(copy, 0);
	/* The copy that nobody takes is closed: the same number is free again. */
	ck_assert_int_eq(close(copy), 0);
	ck_assert_int_eq(Widget_share(widget, null_fd, NULL, 0, NULL), kIOReturnSuccess);
	ck_assert_int_eq(dup(null_fd), copy);
	close(copy);
	close(null_fd);
	Widget_release(widget);
}
END_TEST

/* ---- inheritance ---- */

START_TEST(overrides_reach_their_super)
{
	Gadget *gadget = make_gadget();
	const int16_t values[4] = { 5 };
	ck_assert_int_eq(Gadget_fill(gadget, values, 0, NULL, 0), kIOReturnUnderrun);
	ck_assert_int_eq(Widget_fill(Gadget_as_Widget(gadget), values, 1, NULL, 0),
			 kIOReturnSuccess);
	ck_assert_uint_eq(gadget->super.ivars->n_values, 1);
	ck_assert_int_eq(Gadget_rename(gadget, "short", "long"), kIOReturnSuccess);
	ck_assert_str_eq(gadget->super.ivars->name, "long");
	Gadget_poke(gadget, 2, NULL);
	ck_assert_uint_eq(gadget->super.ivars->pokes, 20);
	OSObject *child = Gadget_copyChild(gadget, 1);
	ck_assert_ptr_nonnull(OSDynamicCast(OSString, child));
	OSObjectRelease(child);
	ck_assert_uint_eq(Gadget_area(gadget), 4);
	Gadget_release(gadget);
	ck_assert_int_eq(widgets_alive, 0);
}
END_TEST

START_TEST(callbacks_take_the_message_of_their_prototype)
{
	Gadget *gadget = make_gadget();
	const struct OSMethod *row = OSMetaClassFindMethod(&gGadgetMetaClass, Widget_onResized_ID);
	struct Widget_Resized_Msg msg = { .status = kIOReturnAborted,
					  .sizes = { 4, 5 },
					  .sizesCount = 2 };
	ck_assert_ptr_nonnull(row);
	ck_assert_uint_eq(row->shape->msg_size, sizeof(msg));
	ck_assert_uint_eq(row->shape->flags, kOSMethodTarget | kOSMethodOneway);
	row->invoke(Gadget_as_OSObject(gadget), &msg);
	ck_assert_int_eq(gadget->super.ivars->resized, kIOReturnAborted + 1);
	ck_assert_uint_eq(gadget->super.ivars->sizes[1], 5);
	OSAction *action = NULL;
	ck_assert_int_eq(Gadget_CreateActiononResized(gadget, 0, &action), kIOReturnSuccess);
	ck_assert_ptr_nonnull(action);
	OSAction_release(action);
	Gadget_release(gadget);
	ck_assert_int_eq(widgets_alive, 0);
}
END_TEST

static void check_table(const OSMetaClass *meta)
{
	ck_assert_ptr_eq(OSMetaClassGetNamed(meta->name), meta);
	for (uint32_t i = 0; i < meta->n_methods; i++) {
		const struct OSMethod *method = &meta->methods[i];
		ck_assert_ptr_eq(OSMetaClassFindMethod(meta, method->shape->id), method);
		ck_assert_uint_le(method->queue, meta->n_queue_names);
		if (i > 0)
			ck_assert_uint_gt(method->shape->id, method[-1].shape->id);
	}
}

static const char *queue_of(const OSMetaClass *meta, uint64_t id)
{
	const struct OSMethod *method = OSMetaClassFindMethod(meta, id);
	return method->queue == 0 ? "Default" : meta->queue_names[method->queue - 1];
}

START_TEST(static_methods_go_through_the_class_table)
{
	Widget *widget = NULL;
	ck_assert_int_eq(Widget_Create("one", 3, &widget), kIOReturnSuccess);
	ck_assert_uint_eq(widget->ivars->size, 3);
	Widget_release(widget);
	ck_assert_int_eq(Widget_Create("eightchr", 3, &widget), kIOReturnOverrun);
	ck_assert_int_eq(Widget_Create(NULL, 3, &widget), kIOReturnBadArgument);
	ck_assert_int_eq(Widget_Recall(), kIOReturnSuccess);
	ck_assert_uint_eq(recalls, 1);
	ck_assert_uint_eq(Widget_Create_Shape.flags, kOSMethodLocalOnly | kOSMethodClass);
	ck_assert_ptr_nonnull(OSMetaClassFindMethod(&gWidgetMetaClass, Widget_Create_ID));
}
END_TEST

START_TEST(an_extension_adds_methods_to_every_widget)
{
	Gadget *gadget = make_gadget();
	Widget *widget = Gadget_as_Widget(gadget);
	uint32_t pokes = 0, alive = 0;
	Widget_poke(widget, 2, NULL);
	ck_assert_int_eq(WidgetPrivate_countPokes(widget, &pokes), kIOReturnSuccess);
	ck_assert_uint_eq(pokes, 20);
	ck_assert(!WidgetPrivate_isHeavy(widget));
	ck_assert_uint_eq(WidgetPrivate_half(widget), 1);
	ck_assert_int_eq(WidgetPrivate_Count(&alive), kIOReturnSuccess);
	ck_assert_uint_eq(alive, 1);

	OSAction *action = NULL;
	ck_assert_int_eq(WidgetPrivate_CreateActiononMeasured(widget, 0, &action),
			 kIOReturnSuccess);
	ck_assert_ptr_nonnull(action);
	const struct OSMethod *row =
		OSMetaClassFindMethod(&gGadgetMetaClass, WidgetPrivate_onMeasured_ID);
	ck_assert_ptr_nonnull(row);
	row->invoke(Gadget_as_OSObject(gadget), &(struct WidgetPrivate_Measured_Msg){ .area = 9 });
	ck_assert_uint_eq(Widget_area(widget), 81);
	OSObjectRelease(action);
	Gadget_release(gadget);
}
END_TEST

START_TEST(tables_are_sorted_and_name_queues)
{
	check_table(&gWidgetMetaClass);
	check_table(&gGadgetMetaClass);
	ck_assert_str_eq(queue_of(&gWidgetMetaClass, Widget_fill_ID), "WidgetQueue");
	ck_assert_str_eq(queue_of(&gWidgetMetaClass, Widget_share_ID), "SlowQueue");
	ck_assert_str_eq(queue_of(&gWidgetMetaClass, Widget_poke_ID), "Default");
	ck_assert_str_eq(queue_of(&gGadgetMetaClass, Widget_fill_ID), "WidgetQueue");
	ck_assert_str_eq(queue_of(&gGadgetMetaClass, Widget_poke_ID), "GadgetQueue");
	ck_assert_uint_eq(gGadgetMetaClass.instance_size, sizeof(OSObject) + 2 * sizeof(void *));
}
END_TEST

/* ---- encode and decode ---- */

/* Decode what `w` holds, all of it. 0 or negative errno. */
static int decode(const struct wire_writer *w, int (*get)(struct wire_reader *r, void *msg),
		  void *msg)
{
	struct wire_reader r;
	wire_reader_init(&r, w->data, w->size);
	wire_reader_give_fds(&r, w->fds, w->n_fds);
	int ret = get(&r, msg);
	if (ret == 0)
		ret = wire_reader_finish(&r);
	if (ret < 0)
		wire_reader_undo(&r);
	wire_reader_deinit(&r);
	return ret;
}

/* Send `msg` to `out` by the shape's request or reply. */
static int carry(const struct OSMethodShape *shape, bool reply, const void *msg, void *out)
{
	struct wire_writer w;
	wire_writer_init(&w);
	int ret = (reply ? shape->put_reply : shape->put_request)(&w, msg);
	if (ret == 0)
		ret = decode(&w, reply ? shape->get_reply : shape->get_request, out);
	wire_writer_deinit(&w);
	return ret;
}

START_TEST(numbers_travel)
{
	struct Widget_measure_Msg out = { 0 }, msg = {
		.precise = true,
		.offset = INT8_MIN,
		.scale = UINT16_MAX,
		.bias = INT64_MIN,
		.colour = kWidgetGreen,
		.width = UINT64_MAX,
		.height = -1,
		.visible = true,
	};
	ck_assert_int_eq(carry(&Widget_measure_Shape, false, &msg, &out), 0);
	ck_assert(out.precise);
	ck_assert_int_eq(out.offset, INT8_MIN);
	ck_assert_uint_eq(out.scale, UINT16_MAX);
	ck_assert_int_eq(out.bias, INT64_MIN);
	ck_assert_int_eq(out.colour, kWidgetGreen);
	ck_assert_uint_eq(out.width, 0);
	ck_assert_int_eq(carry(&Widget_measure_Shape, true, &msg, &out), 0);
	ck_assert_uint_eq(out.width, UINT64_MAX);
	ck_assert_int_eq(out.height, -1);
	ck_assert(out.visible);
}
END_TEST

START_TEST(names_and_arrays_travel)
{
	struct Widget_rename_Msg name = { .name = "1234567", .title = "t" }, name_out;
	ck_assert_int_eq(carry(&Widget_rename_Shape, false, &name, &name_out), 0);
	ck_assert_str_eq(name_out.name, "1234567");
	ck_assert_str_eq(name_out.title, "t");
	memset(name.name, 'x', sizeof(name.name));
	ck_assert_int_lt(carry(&Widget_rename_Shape, false, &name, &name_out), 0);

	struct Widget_fill_Msg fill = { .values = { -1, 2 }, .valuesCount = 2, .flagsCount = 0 },
			       fill_out;
	memset(&fill_out, 0xff, sizeof(fill_out));
	ck_assert_int_eq(carry(&Widget_fill_Shape, false, &fill, &fill_out), 0);
	ck_assert_int_eq(fill_out.values[0], -1);
	ck_assert_int_eq(fill_out.values[2], 0);
	ck_assert_uint_eq(fill_out.valuesCount, 2);
	ck_assert_uint_eq(fill_out.flagsCount, 0);
	fill.valuesCount = 5;
	ck_assert_int_eq(carry(&Widget_fill_Shape, false, &fill, &fill_out), -EOVERFLOW);
}
END_TEST

START_TEST(objects_and_descriptors_travel)
{
	struct Widget_attach_Msg attach = { .label = OSString_withCString("l") },
				 attach_out = { 0 };
	ck_assert_int_eq(carry(&Widget_attach_Shape, false, &attach, &attach_out), 0);
	ck_assert_str_eq(OSString_getCStringNoCopy(attach_out.label), "l");
	ck_assert_ptr_null(attach_out.service);
	OSObjectRelease(attach_out.label);
	OSObjectRelease(attach.label);

	int fds[2] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
		       open("/dev/zero", O_RDONLY | O_CLOEXEC) };
	struct Widget_share_Msg share = { .memory = fds[0],
					  .extras = { fds[1] },
					  .extrasCount = 1 },
				out;
	ck_assert_int_eq(carry(&Widget_share_Shape, false, &share, &out), 0);
	ck_assert_int_eq(out.memory, fds[0]);
	ck_assert_int_eq(out.extras[0], fds[1]);
	ck_assert_int_eq(out.extras[1], -1);
	share.memory = -1;
	share.extrasCount = 0;
	ck_assert_int_eq(carry(&Widget_share_Shape, false, &share, &out), 0);
	ck_assert_int_eq(out.memory, -1);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(decoding_is_strict)
{
	static const struct {
		const struct OSMethodShape *shape;
		unsigned n_values;
		uint64_t values[8];
	} bad[] = {
		{ &Widget_measure_Shape, 5, { 2, 0, 0, 0, 0 } },           // no bool
		{ &Widget_measure_Shape, 5, { 0, 0x100, 0, 0, 0 } },       // over 8 bits
		{ &Widget_measure_Shape, 5, { 0, 0, 0x10000, 0, 0 } },     // over 16 bits
		{ &Widget_measure_Shape, 5, { 0, 0, 0, 0, 0x100000000 } }, // over 32 bits
		{ &Widget_measure_Shape, 4, { 0, 0, 0, 0 } },              // too short
		{ &Widget_measure_Shape, 6, { 0, 0, 0, 0, 0, 0 } },        // too long
		{ &Widget_fill_Shape, 7, { 5, 0, 0, 0, 0, 0, 0 } },        // count over the room
		{ &Widget_fill_Shape, 2, { UINT64_MAX, 0 } },              // count over all bounds
		{ &Widget_fill_Shape, 3, { 0, 1, 2 } },                    // a bool in an array
		{ &Widget_reset_Shape, 1, { 0 } },                         // nothing is expected
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		union {
			struct Widget_measure_Msg measure;
			struct Widget_fill_Msg fill;
		} msg = { 0 };
		struct wire_writer w;
		wire_writer_init(&w);
		for (unsigned k = 0; k < bad[i].n_values; k++)
			wire_put_u64(&w, bad[i].values[k]);
		ck_assert_msg(decode(&w, bad[i].shape->get_request, &msg) < 0, "row %zu", i);
		wire_writer_deinit(&w);
	}
}
END_TEST

static Suite *widget_suite(void)
{
	Suite *suite = suite_create("iig-widget");
	TCase *tcase = tcase_create("widget");
	tcase_add_test(tcase, local_calls_carry_anything);
	tcase_add_test(tcase, outputs_are_copied_where_they_are_wanted);
	tcase_add_test(tcase, objects_come_back_only_on_success);
	tcase_add_test(tcase, names_and_arrays_have_room_or_are_refused);
	tcase_add_test(tcase, no_object_is_an_error_and_no_crash);
	tcase_add_test(tcase, descriptors_come_back);
	tcase_add_test(tcase, overrides_reach_their_super);
	tcase_add_test(tcase, callbacks_take_the_message_of_their_prototype);
	tcase_add_test(tcase, static_methods_go_through_the_class_table);
	tcase_add_test(tcase, an_extension_adds_methods_to_every_widget);
	tcase_add_test(tcase, tables_are_sorted_and_name_queues);
	tcase_add_test(tcase, numbers_travel);
	tcase_add_test(tcase, names_and_arrays_travel);
	tcase_add_test(tcase, objects_and_descriptors_travel);
	tcase_add_test(tcase, decoding_is_strict);
	suite_add_tcase(suite, tcase);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(widget_suite());
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
