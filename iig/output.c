/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/output.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A build that was interrupted leaves nothing that looks done. */
static int write_file(struct arena *arena, const char *path, const char *text)
{
	const char *draft = arena_format(arena, "%s.tmp", path);
	FILE *file = fopen(draft, "we");
	if (file == NULL)
		return -errno;
	int error = fputs(text, file) == EOF ? -EIO : 0;
	if (fclose(file) != 0 && error == 0)
		error = -errno;
	if (error == 0 && rename(draft, path) != 0)
		error = -errno;
	if (error != 0)
		remove(draft);
	return error;
}

static bool is_current(const char *path, const char *text)
{
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	int c;
	while ((c = fgetc(file)) != EOF && *text != '\0' && c == (unsigned char)*text)
		text++;
	fclose(file);
	return c == EOF && *text == '\0';
}

int output_save(struct arena *arena, const char *path, const char *text)
{
	if (is_current(path, text))
		return 0;
	int error = write_file(arena, path, text);
	if (error != 0)
		fprintf(stderr, "iig: cannot write %s: %s\n", path, strerror(-error));
	return error;
}

const char *output_load(struct arena *arena, const char *path)
{
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		fprintf(stderr, "iig: cannot read %s: %s\n", path, strerror(errno));
		return NULL;
	}
	const char *text = "";
	char buffer[4096];
	for (size_t size; (size = fread(buffer, 1, sizeof(buffer), file)) > 0;)
		text = arena_format(arena, "%s%.*s", text, (int)size, buffer);
	bool failed = ferror(file) != 0;
	fclose(file);
	if (!failed)
		return text;
	fprintf(stderr, "iig: cannot read %s\n", path);
	return NULL;
}
