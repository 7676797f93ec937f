/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The model of an interface as JSON, for programs that write about it:
 *
 *	{ "iig": 1, "file", "types": […], "classes": [
 *	    { "name", "super", "extends", "attributes": […], "file", "line", "since",
 *	      "deprecated", "obsoleted", "message", "doc", "methods": [
 *	        { "name", "function", "kind", "id", "canonical", "attributes": […], "result",
 *	          "queue", "type", "file", "line", "since", "deprecated", "obsoleted", "message",
 *"doc", "params": [ { "name", "declaration", "carry", "direction", "room", "default" } ] } ] } ] }
 *
 * A key is left out where there is nothing to say. "doc" is the text of the comment without its
 * marks. "types" are the typedefs, enumerations, structures and macros, as they were written.
 */

#include <iig/model.h>
#include <iig/text.h>

void doc_write(struct text *out, const struct model *model);
