/* SPDX-License-Identifier: Apache-2.0
 *
 * Text in HTML: nothing of it is read as HTML, and nothing hides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/html.h"

#define GONE "\xef\xbf\xbd"

static void expect(const char *text, const char *want)
{
	struct dyn d = DYN_INIT(1 << 16);
	assert_int_equal(html_text(&d, text), 0);
	assert_int_equal(dyn_add(&d, "", 1), 0);
	assert_string_equal((const char *)d.p, want);
	dyn_free(&d);
}

static void test_text(void **state)
{
	(void)state;
	expect("", "");
	expect("/var/lib/app.db", "/var/lib/app.db");
	expect("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
	expect("\" onload=\"&amp;", "&quot; onload=&quot;&amp;amp;");
	expect("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x98");
	expect("a\nb\tc\x7f"
	       "d\x1b",
	       "a" GONE "b" GONE "c" GONE "d" GONE);
	expect("\xff<\xc3<\xe2\x82<\xed\xa0\x80", GONE "&lt;" GONE "&lt;" GONE GONE "&lt;" GONE GONE GONE);
	expect("a\xe2\x80\xae"
	       "b\xe2\x81\xa6"
	       "c\xe2\x80\x8b"
	       "d\xef\xbb\xbf",
	       "a" GONE "b" GONE "c" GONE "d" GONE);
	expect("\xc2\x85\xc2\xa0", GONE "\xc2\xa0");
}

static void test_no_room(void **state)
{
	struct dyn d = DYN_INIT(8);
	(void)state;
	assert_int_equal(html_text(&d, "<<<"), -1);
	dyn_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_text), cmocka_unit_test(test_no_room) };
	return cmocka_run_group_tests_name("html", tests, NULL, NULL);
}
