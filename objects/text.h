/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What may be the text of a string or a key: bounded, without NUL, UTF-8. */

#include <stdbool.h>
#include <stddef.h>

/* false, with the reason, which begins with `what` ("a key"). */
bool text_may_hold(const char *what, const char *bytes, size_t length);
