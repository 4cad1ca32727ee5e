# SPDX-License-Identifier: Apache-2.0
"""embed.py page.html page.css page.js OUT: the page as a C header.

page.html has a place for each of {{title}}, {{style}}, {{main}} and {{script}}. Style and script are put in, without
comments and indentation; at the other two the text is cut into page_part[0..2]. page_policy is a
Content-Security-Policy that names the hashes of exactly that style and that script, so nothing else that might ever
stand in the page is run or applied.
"""

import base64
import hashlib
import re
import sys


def small(text):
    lines = (line.strip() for line in re.sub(r"/\*.*?\*/", "", text, flags=re.S).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def source_of(text):
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def c_string(text):
    out = []
    for line in text.splitlines(keepends=True):
        quoted = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("?", "\\?")
        out.append('\t"' + quoted + '"')
    return "\n".join(out)


html, style, script, target = sys.argv[1:]
style = small(open(style, encoding="utf-8").read())
script = small(open(script, encoding="utf-8").read())
page = open(html, encoding="utf-8").read().replace("{{style}}", style).replace("{{script}}", script)
head, rest = page.split("{{title}}")
middle, tail = rest.split("{{main}}")
policy = (
    f"default-src 'none'; script-src {source_of(script)}; style-src {source_of(style)}; connect-src 'self'; img-src data:"
)
with open(target, "w", encoding="ascii") as out:
    out.write("/* Made by tools/embed.py. */\n")
    out.write("static const char *const page_part[] = {\n")
    out.write(",\n".join(c_string(part) for part in (head, middle, tail)))
    out.write("\n};\n")
    out.write(f'static const char page_policy[] = "{policy}";\n')
