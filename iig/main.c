/* SPDX-License-Identifier: Apache-2.0 */

/*
 * iig: from an interface file to a C header and source.
 *
 *	iig --def X.iig --header X.h --impl X.c [--include-as '<dir/X.h>'] [--deps X.d] [-I DIR]…
 *	    [--remote] [--cxx-header X.hpp [--cxx-impl X.iig.cpp]]
 *
 * With --cxx-header X.h is for C++ as well: it leads there to X.hpp, which stands beside it. With
 * --cxx-impl the classes of this file are implemented in C++, and that source joins them to the C
 * source, which is needed in any case.
 *
 * With --remote, X.c is for a driver that calls these classes in another driver's process.
 *
 * Other commands are in command.h.
 *
 * parse → check → model → emit. Nothing is written unless everything was right.
 */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <iig/check.h>
#include <iig/command.h>
#include <iig/emit.h>
#include <iig/emit_cxx.h>
#include <iig/model.h>
#include <iig/output.h>
#include <iig/parse.h>

struct options {
	const char *definition, *header, *impl, *include_as, *deps;
	const char *cxx_header, *cxx_impl; // NULL: none
	const char **include_dirs;
	size_t n_include_dirs;
	bool remote;
};

static int usage(FILE *out, int status)
{
	fputs("usage: iig --def FILE.iig --header OUT.h --impl OUT.c [--remote]\n"
	      "           [--include-as NAME] [--deps OUT.d] [-I DIR]... [--cxx-header OUT.hpp [--cxx-impl OUT.cpp]]\n",
	      out);
	return fputs(command_usage, out) == EOF ? 1 : status;
}

static int read_options(struct arena *arena, int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "def", required_argument, NULL, 'd' },
		{ "header", required_argument, NULL, 'h' },
		{ "impl", required_argument, NULL, 'i' },
		{ "include-as", required_argument, NULL, 'a' },
		{ "deps", required_argument, NULL, 'D' },
		{ "cxx-header", required_argument, NULL, 'H' },
		{ "cxx-impl", required_argument, NULL, 'C' },
		{ "remote", no_argument, NULL, 'r' },
		{ 0 },
	};
	for (int c; (c = getopt_long(argc, argv, "I:", known, NULL)) != -1;) {
		switch (c) {
		case 'd':
			options->definition = optarg;
			break;
		case 'h':
			options->header = optarg;
			break;
		case 'i':
			options->impl = optarg;
			break;
		case 'a':
			options->include_as = optarg;
			break;
		case 'D':
			options->deps = optarg;
			break;
		case 'H':
			options->cxx_header = optarg;
			break;
		case 'C':
			options->cxx_impl = optarg;
			break;
		case 'r':
			options->remote = true;
			break;
		case 'I':
			ARENA_APPEND(arena, options->include_dirs, options->n_include_dirs,
				     (const char *)optarg);
			break;
		default:
			return -EINVAL;
		}
	}
	bool complete = options->definition != NULL && options->header != NULL &&
			options->impl != NULL && optind == argc &&
			(options->cxx_impl == NULL || options->cxx_header != NULL);
	return complete ? 0 : -EINVAL;
}

/* For make and ninja: the outputs depend on every file that was read. */
static const char *dependencies(const struct unit *unit, const struct options *options)
{
	const char *text = arena_format(unit->arena, "%s:", options->header);
	for (size_t i = 0; i < unit->n_dependencies; i++)
		text = arena_format(unit->arena, "%s \\\n  %s", text, unit->dependencies[i]);
	return arena_format(unit->arena, "%s\n", text);
}

static const char *last_part(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash == NULL ? path : slash + 1;
}

/* The name by which the source includes the header: as given, or the header's last part. */
static const char *header_name(struct arena *arena, const struct options *options)
{
	if (options->include_as != NULL)
		return options->include_as;
	return arena_format(arena, "\"%s\"", last_part(options->header));
}

static int emit_cxx(const struct model *model, const struct options *options)
{
	struct text header = { 0 }, source = { 0 };
	emit_cxx_header(&header, model, options->cxx_impl != NULL);
	int error = output_save(model->arena, options->cxx_header, header.data);
	if (error == 0 && options->cxx_impl != NULL) {
		emit_cxx_source(&source, model, header_name(model->arena, options));
		error = output_save(model->arena, options->cxx_impl, source.data);
	}
	text_deinit(&header);
	text_deinit(&source);
	return error;
}

static int emit(const struct model *model, const struct options *options)
{
	struct text header = { 0 }, source = { 0 };
	bool cxx = options->cxx_header != NULL;
	emit_header(&header, model, cxx ? last_part(options->cxx_header) : NULL);
	emit_source(&source, model, header_name(model->arena, options),
		    options->remote             ? SOURCE_REMOTE
		    : options->cxx_impl != NULL ? SOURCE_CXX
						: SOURCE_C);
	int error = output_save(model->arena, options->header, header.data);
	if (error == 0)
		error = output_save(model->arena, options->impl, source.data);
	if (error == 0 && cxx)
		error = emit_cxx(model, options);
	if (error == 0 && options->deps != NULL)
		error = output_save(model->arena, options->deps,
				    dependencies(model->unit, options));
	text_deinit(&header);
	text_deinit(&source);
	return error;
}

/* What C++ has no form for. */
static void check_cxx(struct unit *unit, const struct options *options)
{
	for (size_t i = 0; i < unit->n_classes; i++) {
		const struct class *cls = unit->classes[i];
		if (!cls->is_complete || !cls->is_main)
			continue;
		if (options->cxx_header != NULL && cls->is_protocol)
			unit_error(unit, cls->where,
				   "class %s: a PROTOCOL class is for C alone: leave --cxx-header "
				   "away",
				   cls->name);
		if (options->cxx_impl != NULL && strcmp(cls->name, ROOT_CLASS) == 0)
			unit_error(unit, cls->where,
				   "class %s: the root is implemented in C: leave --cxx-impl away",
				   cls->name);
	}
}

static int compile(struct arena *arena, const struct options *options)
{
	struct unit unit = { .arena = arena, .file = options->definition };
	if (!parse(&unit, options->include_dirs, options->n_include_dirs)) {
		fprintf(stderr, "iig: cannot read %s\n", unit.file);
		return 1;
	}
	if (unit.n_errors == 0)
		check(&unit);
	if (unit.n_errors == 0)
		check_cxx(&unit, options);
	if (unit.n_errors > 0)
		return 1;
	return emit(model_new(&unit), options) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, 0);
	if (argc > 1 && command_is(argv[1]))
		return command_run(argc, argv);
	struct arena arena = { 0 };
	struct options options = { 0 };
	int status = read_options(&arena, argc, argv, &options) == 0 ? compile(&arena, &options)
								     : usage(stderr, 2);
	arena_deinit(&arena);
	return status;
}
