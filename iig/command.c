/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/command.h>

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <iig/check.h>
#include <iig/doc.h>
#include <iig/frozen.h>
#include <iig/output.h>
#include <iig/parse.h>

const char command_usage[] = "       iig freeze FILE.iig -o OUT.frozen [-I DIR]...\n"
			     "       iig check FILE.iig FILE.frozen [-I DIR]...\n"
			     "       iig doc FILE.iig -o OUT.json [-I DIR]...\n";

struct arguments {
	const char *files[2];
	int n_files;
	const char *output;
	const char **include_dirs;
	size_t n_include_dirs;
};

typedef int (*command_fn)(const struct model *model, struct unit *unit,
			  const struct arguments *arguments);

static int save(const struct model *model, struct text *text, const char *path)
{
	int error = output_save(model->arena, path, text->data);
	text_deinit(text);
	return error == 0 ? 0 : 1;
}

static int freeze(const struct model *model, struct unit *unit, const struct arguments *arguments)
{
	(void)unit;
	struct text text = { 0 };
	frozen_write(&text, model);
	return save(model, &text, arguments->output);
}

static int check_frozen(const struct model *model, struct unit *unit,
			const struct arguments *arguments)
{
	const char *text = output_load(model->arena, arguments->files[1]);
	if (text == NULL)
		return 1;
	frozen_check(unit, model, arguments->files[1], text);
	return unit->n_errors == 0 ? 0 : 1;
}

static int doc(const struct model *model, struct unit *unit, const struct arguments *arguments)
{
	(void)unit;
	struct text text = { 0 };
	doc_write(&text, model);
	return save(model, &text, arguments->output);
}

static const struct command {
	const char *name;
	command_fn run;
	int n_files;
	bool has_output;
} commands[] = {
	{ "freeze", freeze, 1, true },
	{ "check", check_frozen, 2, false },
	{ "doc", doc, 1, true },
};

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

bool command_is(const char *name)
{
	return find(name) != NULL;
}

/* getopt leaves what is no option behind, in order. */
static bool read_arguments(struct arena *arena, int argc, char **argv, struct arguments *arguments)
{
	for (int c; (c = getopt(argc, argv, "I:o:")) != -1;) {
		if (c == 'I')
			ARENA_APPEND(arena, arguments->include_dirs, arguments->n_include_dirs,
				     (const char *)optarg);
		else if (c == 'o')
			arguments->output = optarg;
		else
			return false;
	}
	for (; optind < argc && arguments->n_files < 2; optind++)
		arguments->files[arguments->n_files++] = argv[optind];
	return optind == argc;
}

static int run(const struct command *command, struct arena *arena,
	       const struct arguments *arguments)
{
	struct unit unit = { .arena = arena, .file = arguments->files[0] };
	if (!parse(&unit, arguments->include_dirs, arguments->n_include_dirs)) {
		fprintf(stderr, "iig: cannot read %s\n", unit.file);
		return 1;
	}
	if (unit.n_errors == 0)
		check(&unit);
	if (unit.n_errors > 0)
		return 1;
	return command->run(model_new(&unit), &unit, arguments);
}

int command_run(int argc, char **argv)
{
	const struct command *command = find(argv[1]);
	struct arena arena = { 0 };
	struct arguments arguments = { 0 };
	int status = 2;
	if (read_arguments(&arena, argc - 1, argv + 1, &arguments) &&
	    arguments.n_files == command->n_files &&
	    (arguments.output != NULL) == command->has_output)
		status = run(command, &arena, &arguments);
	else
		fprintf(stderr, "usage:\n%s", command_usage);
	arena_deinit(&arena);
	return status;
}
