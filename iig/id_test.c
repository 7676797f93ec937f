/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/id.h>

#include <check.h>
#include <stdlib.h>

static const struct type status = {
	.kind = TYPE_INTEGER, .name = "kern_return_t", .is_signed = true, .bits = 32
};
static const struct type plain_char = { .kind = TYPE_INTEGER, .name = "char", .bits = 8 };
static const struct class thing = { .name = "Thing" };

static struct arena arena;

static void free_arena(void)
{
	arena_deinit(&arena);
}

static struct method method_of(struct param *params, size_t n_params)
{
	return (struct method){
		.name = "set",
		.cls = &thing,
		.result = &status,
		.params = params,
		.n_params = n_params,
	};
}

START_TEST(typedefs_do_not_matter_and_layout_does)
{
	struct type array = { .kind = TYPE_ARRAY,
			      .name = "ThingName",
			      .inner = &plain_char,
			      .is_const = true,
			      .count = 128 };
	struct type object = { .kind = TYPE_OBJECT, .name = "Thing", .cls = &thing };
	struct type pointer = { .kind = TYPE_POINTER, .inner = &object };
	struct type twice = { .kind = TYPE_POINTER, .inner = &pointer };
	struct field fields[] = { { .name = "a", .type = &status },
				  { .name = "b", .type = &plain_char } };
	struct type record = { .kind = TYPE_RECORD,
			       .name = "struct pair",
			       .complete = true,
			       .fields = fields,
			       .n_fields = 2 };
	struct type word = { .kind = TYPE_INTEGER, .name = "size_t", .varies = true, .bits = 64 };
	struct type fd = { .kind = TYPE_INTEGER, .name = "dext_fd_t", .is_fd = true, .bits = 32 };
	struct param params[] = {
		{ .type = &array },  { .type = &pointer }, { .type = &twice },
		{ .type = &record }, { .type = &word },    { .type = &fd },
	};
	struct method method = method_of(params, 6);
	ck_assert_str_eq(canonical_method(&arena, &method),
			 "Thing::set(char[128],object:Thing,object:Thing*,{i32,char},uword,fd)i32");
}
END_TEST

/* The id is part of the wire: this value may never change. */
START_TEST(an_id_is_the_head_of_sha256)
{
	struct method method = method_of(NULL, 0);
	ck_assert_str_eq(canonical_method(&arena, &method), "Thing::set()i32");
	ck_assert_uint_eq(method_id(&arena, &method), 0xad37e916efaef4bcULL);
}
END_TEST

START_TEST(equal_ids_are_found)
{
	struct method_id ids[] = { { .id = 3 }, { .id = 1 }, { .id = 2 }, { .id = 1 } };
	size_t at = 9;
	ck_assert(ids_collide(ids, 4, &at));
	ck_assert_uint_eq(at, 0);
	ck_assert(!ids_collide(ids + 1, 3, &at));
	ck_assert(!ids_collide(NULL, 0, &at));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iig-id");
	TCase *tcase = tcase_create("id");
	tcase_add_checked_fixture(tcase, NULL, free_arena);
	tcase_add_test(tcase, typedefs_do_not_matter_and_layout_does);
	tcase_add_test(tcase, an_id_is_the_head_of_sha256);
	tcase_add_test(tcase, equal_ids_are_found);
	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
