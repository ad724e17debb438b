"""Every rule for a correct client that the wire documents number has a test that names it.

A test names a rule by its function's name or the first words of its docstring, in the folder of
the rule's provider: ``test_rule_4_...``, ``test_rules_6_and_7_...``, ``..._rule_9``, or
``Rule 4``, ``rules 2 to 6``. Rules without a number are named by the words of the table here, as
in ``Further rule "only LF"``. From any other folder the document is named as well:
``wire/allenai.md section 7 rule 16``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
HERE = Path("tests/providers/h2o/test_x.py")

RULES = {
    "wire/allenai.md section 7": (
        "allenai",
        {
            1: "every piece passes, white space too",
            2: "error lines are acted on",
            3: "finish values are reported",
            4: "an answer without text is an answer",
            5: "the reply is found at any depth",
            6: "each model has its host",
            7: "aliases stand in one place",
            8: "lines of a megabyte pass",
            9: "text goes out as UTF-8",
            10: "one anonymous id for each conversation",
            11: "the whole answer is kept",
            12: "options are on the grid or refused",
            13: "a body without its end mark is incomplete",
            14: "lines that cannot be read are not swallowed",
            15: "a captcha and a move of the endpoint are handled",
            16: "names and file names are quoted",
        },
    ),
    "wire/openassistant.md section 12": (
        "openassistant",
        {
            1: "an error event raises and keeps the text",
            2: "an end without a terminal event is truncated",
            3: "an answer that was over before its stream is fetched",
            4: "pending and silence have limits",
            5: "one session asks one thing at a time",
            6: "every path cleans up",
            7: "the status comes before the body",
            8: "a refused post is told in the server's words",
            9: "a list of mistakes is a sentence",
            10: "the text travels bare",
            11: "parameters are mapped and checked",
            12: "other event names are passed over",
            13: "long lines pass",
            14: "the final content repairs the stream",
        },
    ),
    "wire/h2o.md section 10": (
        "h2o",
        {
            1: "an error frame is an error with its reason",
            2: "the status is checked",
            3: "cleanup on every path",
            4: "the older module deletes, too",
            5: "stop-generating comes before DELETE",
            6: "the last line may lack its end",
            7: "lines are bounded by us alone",
            8: "the prefix is removed once",
            9: "only lines that begin with it are frames",
            10: "the last frame ends, not a text",
            11: "an end token that is not flagged is not shown",
            12: "finish and usage are asked for",
            13: "short names lead to full ids",
            14: "full ids stay as they are",
            15: "the settings name the conversation's model",
            16: "a conversation has real turns",
            17: "parameters are known and of their type",
            18: "opting out leaves the field out",
            19: "a last frame is required",
            20: "the cookie is carried by hand",
            21: "no total time",
            22: "frames, not parts of a body",
        },
    ),
    "wire/replicate.md section 9": (
        "replicate",
        {
            1: "nobody gets another's token",
            2: "an empty data line is no line feed",
            3: "the data lines of an event are joined",
            4: "an error event raises",
            5: "the reason of done is read",
            6: "a cut stream is resumed or told",
            7: "who leaves cancels",
            8: "a prediction without a stream is polled",
            9: "no token for other hosts",
            10: "a live stream is never cut",
            11: "parameters by the model's own names",
            12: "stop strings may hold commas",
            13: "system text once, images not lost",
            14: "402, 429 and 504 are told apart",
            15: "the event type ends with its event",
            16: "a page with status 200 is a protocol error",
            17: "versions and deployments",
            18: "no key, no token, no keyless base unasked",
        },
    ),
}
FURTHER = {
    "wire/allenai.md section 7": (
        "only LF",
        "whole lines",
        "same parent",
        "gateway pages",
        "308 with body",
        "no Authorization",
        "validation messages",
        "unknown lines and fields",
        "keys, not position",
    ),
}
NUMBERS = re.compile(r"\brules? (\d+(?:(?:,| and| to) \d+)*)", re.IGNORECASE)


class Named:
    """What the name and docstring of one test say."""

    def __init__(self, path: Path, test: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.name = test.name.replace("_", " ")
        self.words = " ".join((ast.get_docstring(test) or "").split())
        self.provider = path.parent.name

    def rules(self, document: str, provider: str) -> set[int]:
        """The numbered rules of ``document`` that the test names."""
        found: set[int] = set()
        if self.provider == provider:
            found |= numbers_of(self.name) | numbers_of(self.words)
        for cited in re.finditer(re.escape(document) + r",? (rules? [^.;:)]*)", self.words):
            found |= numbers_of(cited[1])
        return found

    def names(self, words: str, provider: str) -> bool:
        """Whether the test names the further rule of these words."""
        return self.provider == provider and f'Further rule "{words}"' in self.words


def numbers_of(text: str) -> set[int]:
    """The numbers in ``rule 4``, ``rules 6 and 7``, ``rules 2 to 6``."""
    found: set[int] = set()
    for phrase in NUMBERS.findall(text):
        for first, last in re.findall(r"(\d+)(?: to (\d+))?", phrase):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def named_in(path: Path, source: str) -> Iterator[Named]:
    """The tests of one module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.name.startswith("test_")
        ):
            yield Named(path, node)


@pytest.fixture(scope="module")
def every_test() -> list[Named]:
    """All tests of the project."""
    return [
        test
        for path in sorted(TESTS.rglob("test_*.py"))
        for test in named_in(path, path.read_text("utf-8"))
    ]


@pytest.mark.parametrize("document", RULES)
def test_every_numbered_rule_has_a_test_that_names_it(
    every_test: list[Named], document: str
) -> None:
    provider, rules = RULES[document]
    found = {number for test in every_test for number in test.rules(document, provider)}
    assert {number: rules[number] for number in rules if number not in found} == {}
    assert found <= rules.keys(), "a test names a rule that does not exist"


@pytest.mark.parametrize("document", FURTHER)
def test_every_further_rule_has_a_test_that_names_it(
    every_test: list[Named], document: str
) -> None:
    provider = RULES[document][0]
    named = [
        words for words in FURTHER[document] if any(t.names(words, provider) for t in every_test)
    ]
    assert named == list(FURTHER[document])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_rule_4_it_ends(): ...", {4}),
        ("async def test_rules_13_and_14_names(): ...", {13, 14}),
        ("def test_rules_2_to_4(): ...", {2, 3, 4}),
        ("async def test_it_is_cut_rule_12(site): ...", {12}),
        ('def test_it():\n    """Decision 18, rule 5 of it."""', {5}),
        ('def test_it():\n    """Rules 2, 3 and 9."""', {2, 3, 9}),
        ('def test_it():\n    """wire/h2o.md section 10 rule 7."""', {7}),
        ('def test_it():\n    """Nothing."""\n    rule_4 = 5  # rule 6', set()),
        ("def rule_5(): ...", set()),
        ("def test_the_404_rule(): ...", set()),
    ],
)
def test_what_names_a_rule(source: str, expected: set[int]) -> None:
    found = [one.rules("wire/h2o.md section 10", "h2o") for one in named_in(HERE, source)]
    assert set().union(*found) == expected


def test_from_another_folder_the_document_is_named_as_well() -> None:
    (near, far, other) = (
        test
        for words in ("Rule 3.", "wire/h2o.md section 10, rule 3.", "wire/h2o.md section 9 rule 3.")
        for test in named_in(Path("tests/wire/test_x.py"), f'def test_a():\n    """{words}"""')
    )
    assert near.rules("wire/h2o.md section 10", "h2o") == set()
    assert far.rules("wire/h2o.md section 10", "h2o") == {3}
    assert other.rules("wire/h2o.md section 10", "h2o") == set()
