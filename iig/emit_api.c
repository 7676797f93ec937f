/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/emit.h>

#include <stdbool.h>
#include <string.h>

/*
 * Availability: for each method that has one, a comment that says it, and a macro in front of the
 * method's declarations. A driver that is compiled with -DDEXT_API=NN promises to run on version
 * NN: to it a method of a later version, or of one that has ended, is unavailable, and one that is
 * about to end is deprecated.
 */

bool api_is_limited(const struct model_method *method)
{
	const struct availability *a = &method->availability;
	return a->introduced != 0 || a->deprecated != 0 || a->obsoleted != 0;
}

bool api_may_be_missing(const struct model_method *method)
{
	return method->availability.introduced != 0 || method->availability.obsoleted != 0;
}

const char *api_prefix(struct arena *arena, const struct model_method *method)
{
	return api_is_limited(method) ? arena_format(arena, "%s_API ", method->api) : "";
}

/* "DEXT_API < 25 || DEXT_API >= 30" */
static const char *missing(struct arena *arena, const struct availability *a)
{
	const char *before =
		a->introduced == 0 ? "" : arena_format(arena, "DEXT_API < %u", a->introduced);
	if (a->obsoleted == 0)
		return before;
	return arena_format(arena, "%s%sDEXT_API >= %u", before, *before == '\0' ? "" : " || ",
			    a->obsoleted);
}

/* "since DriverKit 25, deprecated since DriverKit 30: use x()" */
static const char *text_of(struct arena *arena, const struct availability *a)
{
	const struct {
		const char *what;
		unsigned version;
	} parts[] = {
		{ "since", a->introduced },
		{ "deprecated since", a->deprecated },
		{ "gone since", a->obsoleted },
	};
	const char *text = "";
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i].version != 0)
			text = arena_format(arena, "%s%s%s DriverKit %u", text,
					    *text == '\0' ? "" : ", ", parts[i].what,
					    parts[i].version);
	return a->message == NULL ? text : arena_format(arena, "%s: %s", text, a->message);
}

static const char *quoted(struct arena *arena, const char *text)
{
	const char *out = "\"";
	for (; *text != '\0'; text++)
		out = arena_format(arena, "%s%s%c", out, strchr("\"\\", *text) != NULL ? "\\" : "",
				   *text);
	return arena_format(arena, "%s\"", out);
}

void emit_api(struct text *out, struct arena *arena, const struct model_method *method)
{
	const struct availability *a = &method->availability;
	if (!api_is_limited(method))
		return;
	const char *text = text_of(arena, a);
	const struct text_field fields[] = {
		{ "full", method->full },
		{ "plain", text },
		{ "text", quoted(arena, text) },
		{ "missing", missing(arena, a) },
		{ "deprecated", arena_format(arena, "%u", a->deprecated) },
		{ "if", api_may_be_missing(method) ? "elif" : "if" },
		{ NULL, NULL },
	};
	text_emit(out, "/* $full$: $plain$. */\n", fields);
	if (api_may_be_missing(method))
		text_emit(out,
			  "#if defined(DEXT_API) && ($missing$)\n"
			  "#define $full$_API __attribute__((unavailable($text$)))\n"
			  "#define $full$_API_MISSING\n",
			  fields);
	if (a->deprecated != 0)
		text_emit(out,
			  "#$if$ defined(DEXT_API) && DEXT_API >= $deprecated$\n"
			  "#define $full$_API __attribute__((deprecated($text$)))\n",
			  fields);
	text_emit(out, "#else\n#define $full$_API\n#endif\n", fields);
}

void emit_api_inline_begin(struct text *out, struct arena *arena, const struct signature *signature)
{
	const struct model_method *method = signature->method;
	struct signature declared = *signature;
	declared.prefix = api_prefix(arena, method);
	declared.tail = ";\n";
	if (api_may_be_missing(method)) {
		EMIT(out, "#ifdef $api$_API_MISSING\n", { "api", method->api });
		emit_signature(out, arena, &declared);
		text_add(out, "#else\n");
	}
	if (method->availability.deprecated != 0)
		text_add(out, "#pragma GCC diagnostic push\n"
			      "#pragma GCC diagnostic ignored \"-Wdeprecated-declarations\"\n");
}

void emit_api_inline_end(struct text *out, const struct model_method *method)
{
	if (method->availability.deprecated != 0)
		text_add(out, "#pragma GCC diagnostic pop\n");
	if (api_may_be_missing(method))
		text_add(out, "#endif\n");
}
