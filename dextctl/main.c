/* SPDX-License-Identifier: Apache-2.0 */

/*
 * dextctl: what dextd knows, for people and, with --json, for programs. Exit status: 0 done; 1
 * refused, with the reason on stderr; 2 wrong usage.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/log.h>
#include <base/reason.h>
#include <client/directory.h>
#include <dextctl/command.h>
#include <dextctl/print.h>

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const struct command *const commands[] = {
	&list_command, &tree_command,    &why_command,   &status_command,
	&kill_command, &restart_command, &sleep_command, &wake_command,
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void print_usage(FILE *out)
{
	fprintf(out, "usage: dextctl [--socket PATH] COMMAND [ARGUMENT] [--json]\n\n");
	for (int i = 0; i < N_COMMANDS; i++) {
		const struct command *c = commands[i];
		char form[64];
		snprintf(form, sizeof(form), "%s%s%s%s", c->name, c->argument != NULL ? " " : "",
			 c->argument != NULL ? c->argument : "", c->takes_json ? " [--json]" : "");
		fprintf(out, "  %-24s %s\n", form, c->help);
	}
	fprintf(out, "\nPATH is dextd's socket: else OPENDEXT_SOCKET, else /run/opendext/socket.\n"
		     "ENTRY is an id as list prints it, or a name that only one service has.\n");
}

static int usage_error(const char *what, const char *text)
{
	fprintf(stderr, "dextctl: %s%s\n", what, text);
	print_usage(stderr);
	return EXIT_USAGE;
}

static const struct command *find_command(const char *name)
{
	for (int i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static int run(const struct command *command, const struct options *options, const char *argument)
{
	kern_return_t status = command->run(options, argument);
	if (status == kIOReturnSuccess && fflush(stdout) == 0)
		return EXIT_SUCCESS;
	if (status == kIOReturnSuccess)
		return EXIT_REFUSED; // nobody reads
	fprintf(stderr, "dextctl %s: ", command->name);
	print_text(stderr, reason_last());
	fprintf(stderr, " (%s)\n", IOReturnString(status));
	return EXIT_REFUSED;
}

/* The words that are no options: at most a command and its argument. Returns how many; -1: an
 * option is wrong, and *wrong names it. */
static int parse(int argc, char **argv, struct options *options, const char *words[2],
		 const char **wrong)
{
	int n_words = 0;
	for (int i = 1; i < argc; i++) {
		*wrong = argv[i];
		if (strcmp(argv[i], "--json") == 0)
			options->json = true;
		else if (strcmp(argv[i], "--socket") == 0 && i + 1 < argc)
			directory_set_path(argv[++i]);
		else if (argv[i][0] == '-' || n_words == 2)
			return -1;
		else
			words[n_words++] = argv[i];
	}
	return n_words;
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	const char *words[2] = { NULL, NULL };
	const char *wrong = NULL;

	log_to_stderr("dextctl", LOG_LEVEL_WARN);
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)) {
		print_usage(stdout);
		return EXIT_SUCCESS;
	}
	int n_words = parse(argc, argv, &options, words, &wrong);
	if (n_words < 0)
		return usage_error("not understood: ", wrong);
	if (n_words == 0)
		return usage_error("which command?", "");
	const struct command *command = find_command(words[0]);
	if (command == NULL)
		return usage_error("no such command: ", words[0]);
	if (command->argument != NULL && words[1] == NULL)
		return usage_error("missing: ", command->argument);
	if (command->argument == NULL && words[1] != NULL)
		return usage_error("not understood: ", words[1]);
	if (options.json && !command->takes_json)
		return usage_error("no --json for ", command->name);
	return run(command, &options, words[1]);
}
