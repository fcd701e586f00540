"""Texts that do something where they are printed or written without care."""

from __future__ import annotations

import unicodedata

HOSTILE = {
    "clears the screen": "cat\x1b[2J\x1b[H",
    "title of the window": "cat\x1b]0;owned\x07",
    "link of a terminal": "\x1b]8;;http://example.org\x1b\\cat\x1b]8;;\x1b\\",
    "copies to the clipboard": "\x1b]52;c;Y3VybA==\x07cat",
    "control sequence in one character": "cat\x9b31m",
    "bell": "cat\x07",
    "overwrites the line": "cat\rError: none",
    "erases": "cat\x08\x08\x08dog\x7f",
    "form feed": "cat\x0cdog\x0b",
    "a second line": "cat\nError: all is lost",
    "separator of lines": "cat\u2028Error\u2029",
    "right to left": "cat\u202egpj.exe",
    "isolates": "cat\u2066\u2067dog\u2069",
    "nothing to see": "c\u200bat\u2060\ufeff\u00ad",
    "joiner": "c\u200dat",
    "tags": "cat\U000e0041\U000e0042",
    "half a character": "cat\udcff",
    "markup of rich": "[bold red]cat[/] [link=http://example.org]dog[/link] [/nothing]",
    "emoji of rich": "cat :warning: dog",
    "HTML": "<script>alert(1)</script>",
    "HTML of a picture": '"><img src=x onerror=alert(1)>',
    "entity": "&lt;b&gt; &#60;",
    "cell of a table": "cat | dog |",
    "code": "`cat` ```dog",
    "link of Markdown": "cat](javascript:alert(1)) [dog](http://example.org)",
    "picture of Markdown": "![cat](http://example.org/x.png)",
    "emphasis": "**cat** __dog__ ~~cow~~ # ",
    "end of a front matter": "cat\n---\nlicense: other",
    "YAML": "cat: {license: other} # !!python/object:os.system",
    "end of a text in Python": 'cat"); import os; os.system("id") #\\',
}
"""What each does, and the text."""


def has_invisible(text: str) -> bool:
    """Return whether a character of a text is no glyph, mark or space."""
    return any(unicodedata.category(c) in INVISIBLE for c in text)


INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
