/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One pass by recursive descent, bounded in depth. The scanner remembers where it is: at depth 2,
 * inside the member `object` of the outermost object, numbers are compared with what is wanted.
 * Errors are sticky: after the first problem nothing moves any more. Keys are compared as they are
 * written, so one spelt with escapes is never a wanted one.
 */

#include <errno.h>
#include <string.h>

#include <backends/vfio_user/json.h>

struct scanner {
	const char *at, *end;
	const char *problem; // NULL: none yet
	struct json_number *wanted;
	unsigned n_wanted;
	unsigned depth;
};

/* A piece of the text, without its quotes. */
struct span {
	const char *text;
	size_t size;
};

static bool fail(struct scanner *s, const char *problem)
{
	if (s->problem == NULL)
		s->problem = problem;
	return false;
}

static void skip_space(struct scanner *s)
{
	while (s->at < s->end && strchr(" \t\n\r", *s->at) != NULL && *s->at != '\0')
		s->at++;
}

static char peek(struct scanner *s)
{
	return s->at < s->end ? *s->at : '\0';
}

static bool take(struct scanner *s, char c)
{
	if (s->at == s->end || *s->at != c)
		return false;
	s->at++;
	return true;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool take_digits(struct scanner *s)
{
	const char *start = s->at;
	while (is_digit(peek(s)))
		s->at++;
	return s->at > start;
}

static bool take_escape(struct scanner *s)
{
	if (!take(s, 'u')) {
		char c = peek(s);
		if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
			return fail(s, "an unknown escape in a string");
		s->at++;
		return true;
	}
	for (int i = 0; i < 4; i++) {
		char c = peek(s);
		if (c == '\0' || strchr("0123456789abcdefABCDEF", c) == NULL)
			return fail(s, "\\u without four hexadecimal digits");
		s->at++;
	}
	return true;
}

static bool take_string(struct scanner *s, struct span *span)
{
	if (!take(s, '"'))
		return fail(s, "a string was expected");
	span->text = s->at;
	while (s->at < s->end) {
		unsigned char c = (unsigned char)*s->at++;
		if (c == '"') {
			span->size = (size_t)(s->at - 1 - span->text);
			return true;
		}
		if (c < 0x20)
			return fail(s, "a control character in a string");
		if (c == '\\' && !take_escape(s))
			return false;
	}
	return fail(s, "a string without an end");
}

/* The wanted number that `object`.`name` is; NULL: none. */
static struct json_number *find_wanted(struct scanner *s, const struct span *object,
				       const struct span *name)
{
	for (unsigned i = 0; object != NULL && i < s->n_wanted; i++) {
		struct json_number *w = &s->wanted[i];
		if (strlen(w->object) == object->size && strlen(w->name) == name->size &&
		    memcmp(w->object, object->text, object->size) == 0 &&
		    memcmp(w->name, name->text, name->size) == 0)
			return w;
	}
	return NULL;
}

static bool take_number(struct scanner *s)
{
	take(s, '-');
	if (!take(s, '0') && !take_digits(s))
		return fail(s, "a value was expected");
	if (take(s, '.') && !take_digits(s))
		return fail(s, "a fraction without digits");
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			take(s, '-');
		if (!take_digits(s))
			return fail(s, "an exponent without digits");
	}
	return true;
}

static bool take_wanted(struct scanner *s, struct json_number *wanted)
{
	const char *start = s->at;
	uint64_t value = 0;
	while (is_digit(peek(s)) && value <= (INT64_MAX - 9) / 10)
		value = value * 10 + (uint64_t)(*s->at++ - '0');
	const char *end = s->at;
	s->at = start;
	if (!take_number(s))
		return false;
	if (s->at != end || wanted->found)
		return fail(s, "a capability that is not one number, or not a whole one");
	wanted->value = value;
	wanted->found = true;
	return true;
}

static bool take_word(struct scanner *s, const char *word)
{
	size_t size = strlen(word);
	if ((size_t)(s->end - s->at) < size || memcmp(s->at, word, size) != 0)
		return fail(s, "a value was expected");
	s->at += size;
	return true;
}

static bool take_value(struct scanner *s, const struct span *parent);

/* `parent`: the member of the outermost object that this object is the value of; NULL: another. */
static bool take_member(struct scanner *s, const struct span *parent)
{
	struct span name;
	skip_space(s);
	if (!take_string(s, &name))
		return false;
	skip_space(s);
	if (!take(s, ':'))
		return fail(s, "a colon was expected");
	skip_space(s);
	struct json_number *wanted = s->depth == 2 ? find_wanted(s, parent, &name) : NULL;
	if (wanted != NULL)
		return take_wanted(s, wanted);
	return take_value(s, s->depth == 1 ? &name : NULL);
}

static bool take_element(struct scanner *s, const struct span *parent)
{
	(void)parent;
	return take_value(s, NULL);
}

/* What stands between brackets, separated by commas. */
static bool take_list(struct scanner *s, char close, const struct span *parent,
		      bool (*take_one)(struct scanner *s, const struct span *parent))
{
	if (s->depth == JSON_DEPTH_MAX)
		return fail(s, "nested too deep");
	s->at++;
	skip_space(s);
	if (take(s, close))
		return true;
	s->depth++;
	do {
		if (!take_one(s, parent))
			return false;
		skip_space(s);
	} while (take(s, ','));
	s->depth--;
	return take(s, close) || fail(s, "a comma or a closing bracket was expected");
}

static bool take_value(struct scanner *s, const struct span *parent)
{
	struct span ignored;
	skip_space(s);
	switch (peek(s)) {
	case '{':
		return take_list(s, '}', parent, take_member);
	case '[':
		return take_list(s, ']', NULL, take_element);
	case '"':
		return take_string(s, &ignored);
	case 't':
		return take_word(s, "true");
	case 'f':
		return take_word(s, "false");
	case 'n':
		return take_word(s, "null");
	default:
		return take_number(s);
	}
}

int json_scan(const char *text, size_t size, struct json_number *wanted, unsigned n_wanted,
	      const char **problem)
{
	struct scanner s = {
		.at = text, .end = text + size, .wanted = wanted, .n_wanted = n_wanted
	};
	for (unsigned i = 0; i < n_wanted; i++)
		wanted[i].found = false;
	if (size > JSON_SIZE_MAX) {
		fail(&s, "longer than 64 KiB");
	} else if (take_value(&s, NULL)) {
		skip_space(&s);
		if (s.at != s.end)
			fail(&s, "text after the end");
	}
	if (s.problem == NULL)
		return 0;
	*problem = s.problem;
	return -EBADMSG;
}
