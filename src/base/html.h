/* SPDX-License-Identifier: Apache-2.0
 *
 * Text that stands in HTML as itself, between tags and in quoted attributes, whatever is in it. */
#ifndef WB_BASE_HTML_H
#define WB_BASE_HTML_H

#include "base/buf.h"

/* Appends text with what HTML would read written as references. What a person could not see, or would see in
 * another order than it has (control characters, marks of direction), and each byte that is not UTF-8 become
 * U+FFFD. -1: no memory or no room; *to is worth nothing then. */
int html_text(struct dyn *to, const char *text);

#endif
