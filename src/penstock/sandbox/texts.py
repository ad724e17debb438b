"""Texts of the built-in scripts: data, chosen to break careless readers."""

LOREM = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor "
    "incididunt ut labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud "
    "exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat.\n\n"
    "Duis aute irure dolor in reprehenderit in voluptate velit esse cillum dolore eu "
    "fugiat nulla pariatur. Excepteur sint occaecat cupidatat non proident, sunt in culpa "
    "qui officia deserunt mollit anim id est laborum."
)

# Greek, Cyrillic, Han, kana, Hangul, Devanagari, Thai; right-to-left Hebrew and Arabic
# with digits inside; a base letter with two combining marks; emoji joined by U+200D, with
# a skin tone, and a flag of two regional indicators; U+2028 and U+0085, which some line
# readers take for line ends; and a code point beyond the basic plane.
MULTILINGUAL = (
    "Καλημέρα, доброе утро, 早上好, おはよう, 좋은 아침, सुप्रभात, สวัสดี. "
    "\u05e9\u05dc\u05d5\u05dd 123 \u05e2\u05d5\u05dc\u05dd, "
    "\u0645\u0631\u062d\u0628\u0627 456 \u0628\u0643. "
    "q\u0323\u0307 e\u0301 Å "
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 "
    "\U0001f44b\U0001f3fd \U0001f1ea\U0001f1fa "
    "one\u2028two\u0085three \U0001d518\U0001d52b\U0001d526."
)

CODE = (
    "```python\n"
    "def total(rows):\n"
    "    result = 0\n"
    "\n"
    "    for row in rows:\n"
    "        if row:\n"
    '            result += row["n"]  # two blanks before\n'
    "\n"
    "\n"
    "    return result\n"
    "```\n"
    "\n"
    "```make\n"
    "all:\n"
    "\t@echo done\n"
    "\t\ttabs  kept\n"
    "```\n"
)

BLANKS = (" ", "\n", " ", "a", "  ", "\n\n", "\t", "b", " ", "", "\n", "\t\t", "\n", " c", "\n")

HUGE = ("0123456789abcdef" * 12_800)[:204_800]

SHOWN = """\
### What a model may say

A paragraph with **bold**, *slanted* and `fixed` words, a [link](https://example.org/) and a list:

1. First things first.
2. Then the rest:
   - with care,
   - and in order.

| back end | streams | waits |
|---|---|---|
| h2oGPT | pieces | no |
| Open-Assistant | pieces | in a queue |
| Replicate | pieces | for a cold start |

```python
def mill(stream):
    '''Turn what flows into work.'''
    for piece in stream:
        yield piece.upper()  # two blanks before
```

> Water that runs drives the wheel; water that stands does not.

Καλημέρα, 早上好, おはよう, \u05e9\u05dc\u05d5\u05dd, \U0001f44b\U0001f3fd.
"""
