/* SPDX-License-Identifier: Apache-2.0 */
#include <iig/parser.h>

/*
 * What comments say. The one before a declaration is its documentation; lines that begin with @iig
 * are for iig, and what stands between the two of them is copied into the generated source:
 *
 *	@iig implementation
 *	#include "counts.h"
 *	@iig end
 *
 * A comment with such lines documents nothing.
 */

#include <string.h>

static const char mark[] = "@iig";

struct comment {
	struct parser *p;
	struct location where; // of the line that is looked at
	const char *text;      // what is copied begins here; NULL: nothing is
};

const char *parser_doc(struct parser *p, CXCursor cursor)
{
	const char *comment = parser_take(p, clang_Cursor_getRawCommentText(cursor));
	return *comment == '\0' || strstr(comment, mark) != NULL ? NULL : comment;
}

static bool is_word(const char *at, size_t size, const char *word)
{
	return size == strlen(word) && memcmp(at, word, size) == 0;
}

static void end_text(struct comment *c, const char *line)
{
	struct unit *unit = c->p->unit;
	const char *before = unit->implementation != NULL ? unit->implementation : "";
	if (c->text == NULL)
		unit_error(unit, c->where, "@iig end: no \"@iig implementation\" is before it");
	else
		unit->implementation =
			arena_format(unit->arena, "%s%.*s", before, (int)(line - c->text), c->text);
	c->text = NULL;
}

/* `at`: what follows the mark in `line`; the next line begins at `next`. */
static void read_mark(struct comment *c, const char *line, const char *at, const char *next)
{
	at += strspn(at, " \t");
	size_t size = strcspn(at, " \t\r\n*");
	if (is_word(at, size, "end"))
		end_text(c, line);
	else if (!is_word(at, size, "implementation"))
		unit_error(c->p->unit, c->where,
			   "@iig %.*s: iig knows \"@iig implementation\" and \"@iig end\"",
			   (int)size, at);
	else if (c->text != NULL)
		unit_error(c->p->unit, c->where,
			   "@iig implementation: \"@iig end\" is missing before it");
	else
		c->text = next;
}

static void read_comment(struct parser *p, const char *comment, struct location where)
{
	struct comment c = { .p = p, .where = where };
	const char *next;
	for (const char *line = comment; *line != '\0'; line = next, c.where.line++) {
		next = line + strcspn(line, "\n");
		next += *next == '\n';
		const char *at = line + strspn(line, "/*! \t");
		if (is_word(at, strcspn(at, " \t\r\n*"), mark))
			read_mark(&c, line, at + sizeof(mark) - 1, next);
	}
	if (c.text != NULL)
		unit_error(p->unit, where,
			   "@iig implementation: \"@iig end\" is missing, in the same comment");
}

void parser_read_comments(struct parser *p)
{
	unsigned count;
	CXToken *tokens = parser_tokens(p, &count);
	for (unsigned i = 0; i < count; i++)
		if (clang_getTokenKind(tokens[i]) == CXToken_Comment)
			read_comment(p, parser_take(p, clang_getTokenSpelling(p->tu, tokens[i])),
				     parser_locate(p, clang_getTokenLocation(p->tu, tokens[i])));
	clang_disposeTokens(p->tu, tokens, count);
}
