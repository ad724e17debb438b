"""What the model behind a sandbox server says.

A `Script` turns a `Prompt` into pieces. Nothing here knows a protocol: the servers put
the pieces into their own frames. A piece is a `str` (visible text as one token), a
`Thought` (reasoning, for back ends that can show it), or an `End` (only where the script
knows how the answer ended; without one it ended with ``stop``).

Joining the pieces of a built-in script gives exactly its text, white space included.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import msgspec

from penstock.sandbox.texts import BLANKS, CODE, HUGE, LOREM, MULTILINGUAL, SHOWN


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation the model is asked to continue."""

    role: str
    content: str


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a server asks of the model."""

    messages: tuple[Message, ...]
    model: str = ""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """The text of the last user message, or an empty text."""
        said = (one.content for one in reversed(self.messages) if one.role == "user")
        return next(said, "")


class Thought(msgspec.Struct, frozen=True):
    """A piece of reasoning."""

    text: str


class End(msgspec.Struct, frozen=True):
    """How the answer ended: ``stop``, ``length``, or a value of the backend's own."""

    finish: str = "stop"


Piece: TypeAlias = str | Thought
Said: TypeAlias = str | Thought | End


class ModelFailure(Exception):
    """The model failed; each server says so in its protocol's own way.

    Attributes:
        message: What is told, where the protocol tells.
        status: Status of the host that failed.
        kind: One of the failures that the server knows by name, as `fails-as` has them.
    """

    def __init__(self, message: str, status: int | None = None, kind: str = "failure") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind


class ScriptError(ValueError):
    """A script name or script file that cannot be used."""


@runtime_checkable
class Script(Protocol):
    """Source of answers. Its generator is closed by the run that reads it."""

    def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the answer to `prompt`, piece by piece; raise `ModelFailure` to fail."""
        ...


# Indentation and line ends are tokens of their own, a word brings its leading blank
# along, a long word comes in parts: so do the tokenizers of real models.
_TOKEN = re.compile(r"\n|[^\S\n]{2,}|[^\S\n]?\S{1,10}|\s")


def cut_tokens(text: str) -> list[str]:
    """Cut `text` in pieces like a model's tokens; joined they are `text` again."""
    return _TOKEN.findall(text)


class Echo:
    """Repeats the last user message."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the question again."""
        for token in cut_tokens(prompt.question):
            yield token


class Fixed:
    """Says the same pieces whatever it is asked."""

    def __init__(self, pieces: Sequence[Said]) -> None:
        self._pieces = tuple(pieces)

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the fixed pieces."""
        for piece in self._pieces:
            yield piece


class Matched:
    """Chooses the answer by the first regular expression found in the question."""

    def __init__(self, answers: Mapping[str, Sequence[Said]]) -> None:
        self._answers = [(_compiled(pattern), Fixed(pieces)) for pattern, pieces in answers.items()]

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        """Say the answer that matches; echo the question where none does."""
        matching = (said for pattern, said in self._answers if pattern.search(prompt.question))
        chosen: Script = next(matching, None) or Echo()
        async for piece in chosen.pieces(prompt):
            yield piece


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as problem:
        raise ScriptError(f"not a regular expression: {pattern!r} ({problem})") from problem


_BUILT_IN: Mapping[str, Script] = {
    "echo": Echo(),
    "lorem": Fixed(cut_tokens(LOREM)),
    "multilingual": Fixed(cut_tokens(MULTILINGUAL)),
    "code": Fixed(cut_tokens(CODE)),
    "blanks": Fixed(BLANKS),
    "huge": Fixed([HUGE]),
    "empty": Fixed([]),
}

SCRIPTS: tuple[str, ...] = tuple(_BUILT_IN)
"""Names of the built-in scripts."""


SHOW: Script = Matched({r"(?i)\bshow\b": cut_tokens(SHOWN)})
"""Repeats the question; one that says "show" gets a text with everything that a page can show."""


class _Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reasoning: str


class _Ending(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    finish: str


_Written: TypeAlias = list[str | dict[str, str]]


def load_script(source: str | Script) -> Script:
    """Give the script of that name, or the one read from that file.

    A file holds JSON or plain text. JSON is a list of pieces (a text, or
    ``{"reasoning": text}``, or at its end ``{"finish": word}``), or an object that
    leads from regular expressions on the last user message to such lists. Plain text is
    cut in tokens.

    Raises:
        ScriptError: Neither a built-in name nor a readable file, or its JSON has
            another form.
    """
    if not isinstance(source, str):
        return source
    if source in _BUILT_IN:
        return _BUILT_IN[source]
    try:
        text = Path(source).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        names = ", ".join(SCRIPTS)
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise ScriptError(f"no script {source!r} (built in: {names}): {reason}") from problem
    return _parsed(source, text)


def _parsed(source: str, text: str) -> Script:
    if not text.lstrip().startswith(("[", "{")):
        return Fixed(cut_tokens(text))
    try:
        written = msgspec.json.decode(text, type=_Written | dict[str, _Written])
        if isinstance(written, dict):
            return Matched({key: [_said(one) for one in told] for key, told in written.items()})
        return Fixed([_said(one) for one in written])
    except msgspec.MsgspecError as problem:
        if Path(source).suffix == ".json":
            raise ScriptError(f"script {source!r}: {problem}") from problem
        return Fixed(cut_tokens(text))


def _said(written: str | dict[str, str]) -> Said:
    if isinstance(written, str):
        return written
    if "finish" in written:
        return End(msgspec.convert(written, _Ending).finish)
    return Thought(msgspec.convert(written, _Reasoning).reasoning)
