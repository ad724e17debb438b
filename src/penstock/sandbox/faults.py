"""Faults on demand: their names, how they are written, and which request gets which.

A fault is written ``name`` or ``name=value``; several are joined with semicolons. Faults of
one request work together: ``status=503; retry-after=2``. They are chosen, in this order,

1. by the header ``X-Sandbox-Fault`` of the request;
2. by the model name: ``name+fault:stall-after=2`` asks for the model ``name``;
3. by `Faults.next` and the rules of a scenario file, the first that matches.

Nothing here does I/O but `load_scenario`, which reads the file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

HEADER = "X-Sandbox-Fault"
# The mark may stand in a JSON body, as it is, or in a path, where it may be quoted.
_MODEL_MARK = re.compile(rb"\+fault:([a-z0-9-]+(?:=[\w.:-]*)?(?:;[a-z0-9-]+(?:=[\w.:-]*)?)*)")
# Routes by which the protocols end a generation (wire/h2o.md section 6, wire/replicate.md
# section 10, wire/allenai.md section 4).
_CLEANUP_PATH = re.compile(r"/(cancel|stop-generating|stop)$")

Value: TypeAlias = int | float | str
Given: TypeAlias = Mapping[str, Value]
Stage: TypeAlias = Literal["answer", "framing", "body", "model", "later"]

STAGES: Mapping[Stage, str] = {
    "answer": "Instead of the answer, or before it",
    "framing": "The HTTP around the answer",
    "body": "The body while it is sent",
    "model": "The model",
    "later": "A later request",
}
"""The stages in words, in the order in which they strike."""


class FaultError(ValueError):
    """A fault or a scenario that cannot be read."""


class FaultKind(msgspec.Struct, frozen=True):
    """One fault that can be asked for.

    Attributes:
        stage: Where it strikes: ``answer`` instead of the server's own answer, ``framing``
            the HTTP around the whole answer, ``body`` its bytes while they are sent,
            ``model`` the generation, ``later`` a later request.
        default: The value without one; its type is the type of the value.
        meaning: What is seen on the wire.
    """

    stage: Stage
    default: Value | None
    meaning: str


FAULTS: Mapping[str, FaultKind] = {
    "status": FaultKind("answer", 503, "The status N with a JSON error body; nothing is done."),
    "status-html": FaultKind("answer", 502, "The status N with an HTML page."),
    "status-empty": FaultKind("answer", 500, "The status N without a body or a content type."),
    "retry-after": FaultKind(
        "answer", "1", "`Retry-After` with this text, whatever it is; alone the status is 429."
    ),
    "retry-after-date": FaultKind(
        "answer", 2, "`Retry-After` as the date N seconds ahead; alone the status is 429."
    ),
    "html": FaultKind("answer", None, "An HTML page with status 200."),
    "error-200": FaultKind("answer", None, "A JSON error object with status 200."),
    "empty": FaultKind("answer", None, "Status 200 and nothing else."),
    "json": FaultKind(
        "answer",
        "cut",
        "Status 200 and JSON that is none or hostile: `cut`, `text`, `depth`, `nan`, "
        "`surrogate`, `big`, `duplicate`.",
    ),
    "redirect": FaultKind("answer", 302, "A redirect with status N to another path."),
    "redirect-host": FaultKind("answer", 302, "A redirect with status N to another host."),
    "redirect-loop": FaultKind("answer", 302, "A redirect with status N to the same path."),
    "redirect-file": FaultKind("answer", 302, "A redirect with status N to a local file."),
    "silence": FaultKind("answer", None, "The request is taken, and nothing is ever said."),
    "close": FaultKind("answer", None, "The connection is closed instead of an answer."),
    "reset": FaultKind("answer", None, "The connection is reset instead of an answer."),
    "delay": FaultKind("answer", 0.5, "Seconds of silence before the request is looked at."),
    "lost": FaultKind(
        "framing", None, "The request takes its effect, but the connection closes unanswered."
    ),
    "interim": FaultKind("framing", 3, "N interim answers 103 before the real one."),
    "slow-headers": FaultKind("framing", 0.01, "A byte of the headers each so many seconds."),
    "long-header": FaultKind("framing", 65536, "A header of N bytes."),
    "many-headers": FaultKind("framing", 2000, "N further headers."),
    "nul-header": FaultKind("framing", None, "A header with a NUL in its value."),
    "no-colon": FaultKind("framing", None, "A header line without a colon."),
    "both-lengths": FaultKind("framing", None, "`Content-Length` and chunks at once."),
    "two-lengths": FaultKind("framing", None, "Two `Content-Length` that differ."),
    "long-length": FaultKind("framing", 100, "`Content-Length` says N bytes too many."),
    "short-length": FaultKind("framing", 5, "`Content-Length` says N bytes too few."),
    "extra-answer": FaultKind(
        "framing", None, "A second answer that nobody asked for follows; the connection stays."
    ),
    "until-close": FaultKind(
        "framing", 0, "No length and no chunks, and the last N bytes are missing."
    ),
    "bad-chunk": FaultKind("framing", None, "After the first chunk comes a size that is none."),
    "chunk-overflow": FaultKind("framing", None, "After the first chunk a size of 18 digits."),
    "chunk-cut": FaultKind("framing", 10, "Closed N bytes before the end of the last chunk."),
    "chunk-extension": FaultKind("framing", 200_000, "A chunk extension of N bytes."),
    "trailers": FaultKind("framing", 20_000, "N trailers after the body."),
    "type": FaultKind("body", "text/plain", "Another content type."),
    "charset": FaultKind("body", "windows-1252", "The content type names this charset."),
    "stall-after": FaultKind("body", 0, "Silence after N frames; the connection stays open."),
    "end-after": FaultKind("body", 2, "An orderly end after N frames, end mark missing."),
    "break-after": FaultKind("body", 2, "Closed after N frames without the last chunk."),
    "reset-after": FaultKind("body", 2, "The connection is reset after N frames."),
    "stall-bytes": FaultKind("body", 20, "Silence after N bytes of the body."),
    "end-bytes": FaultKind("body", 20, "An orderly end after N bytes."),
    "break-bytes": FaultKind("body", 20, "Closed after N bytes without the last chunk."),
    "reset-bytes": FaultKind("body", 20, "The connection is reset after N bytes."),
    "break-character": FaultKind(
        "body", None, "Closed after the first byte of the first character that has several."
    ),
    "reset-end": FaultKind("body", None, "Reset after the whole body, before the last chunk."),
    "comments-after": FaultKind(
        "body", 0, "After N frames only keep-alive comments (blank lines among JSON lines)."
    ),
    "garbage-after": FaultKind("body", 1, "A frame that is no JSON after N frames."),
    "error-after": FaultKind("body", 1, "A frame with an error object after N frames."),
    "bytes-after": FaultKind("body", 1, "A frame that is no UTF-8 after N frames."),
    "huge-event": FaultKind("body", 2_097_152, "After the first frame one of N bytes."),
    "endless-line": FaultKind(
        "body", 64, "After the first frame N MiB without a line end; 0 is for ever."
    ),
    "duplicate": FaultKind("body", None, "Each frame twice."),
    "swap": FaultKind("body", None, "Each two neighbouring frames in the wrong order."),
    "drop-last": FaultKind("body", 1, "The last N frames are missing; the end is orderly."),
    "no-last-newline": FaultKind("body", None, "The last frame lacks its line ends."),
    "bom": FaultKind("body", None, "A byte-order mark before the first frame."),
    "crlf": FaultKind("body", None, "Line ends are CR LF."),
    "cr": FaultKind("body", None, "Line ends are CR."),
    "bytes-of": FaultKind("body", 1, "Sent in network writes of N bytes."),
    "trickle": FaultKind("body", 0.01, "A byte each so many seconds."),
    "every": FaultKind("body", 0.1, "Seconds between the comments of `comments-after`."),
    "gzip": FaultKind("body", None, "gzip, flushed after each frame."),
    "deflate": FaultKind("body", None, "deflate, flushed after each frame."),
    "gzip-whole": FaultKind("body", None, "gzip that is flushed at the end only."),
    "gzip-cut": FaultKind("body", 12, "gzip without its last N bytes; the end is orderly."),
    "gzip-corrupt": FaultKind("body", None, "gzip with a wrong byte in its data."),
    "gzip-members": FaultKind("body", None, "Each frame is a gzip member of its own."),
    "gzip-bomb": FaultKind("body", 256, "gzip of N MiB of one letter after the first frame."),
    "encoding": FaultKind("body", "foo", "`Content-Encoding` says this, the body is plain."),
    "model-fails": FaultKind(
        "model", 1, "The model fails after N pieces; told in the protocol's own way."
    ),
    "model-stalls": FaultKind("model", 1, "The model says nothing more after N pieces."),
    "model-delay": FaultKind("model", 0.5, "Seconds before the first piece."),
    "model-empty": FaultKind("model", None, "The model says nothing and is done."),
    "model-nul": FaultKind("model", None, "The model's text ends with U+0000."),
    "model-finish": FaultKind("model", "length", "How the model says that it ended."),
    "cleanup": FaultKind(
        "later",
        "500",
        "The next DELETE, cancel or stop gets this status, or `silence`, `close`, `reset`.",
    ),
}


def parse_faults(text: str) -> dict[str, Value]:
    """Read ``name[=value][; ...]``.

    Raises:
        FaultError: An unknown name, or a value of the wrong type.
    """
    given: dict[str, Value] = {}
    for one in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, written = (part.strip() for part in one.partition("="))
        given[name] = _value(name, written if equals else None)
    return given


def _value(name: str, written: str | None) -> Value:
    kind = FAULTS.get(name)
    if kind is None:
        raise FaultError(f"no fault is called {name!r}")
    if written is None:
        return True if kind.default is None else kind.default
    if kind.default is None:
        raise FaultError(f"the fault {name!r} takes no value")
    try:
        value = type(kind.default)(written)
    except ValueError:
        raise FaultError(f"{written!r} is no value for the fault {name!r}") from None
    if not isinstance(value, str) and not 0 <= value < 10**9:
        raise FaultError(f"{written!r} is out of range for the fault {name!r}")
    return value


def at_stage(given: Given, *stages: Stage) -> dict[str, Value]:
    """Those of the faults that strike at these stages."""
    return {name: value for name, value in given.items() if FAULTS[name].stage in stages}


def split_mark(data: bytes) -> tuple[bytes, str]:
    """Take the faults out of a body or path that names a model: the rest, and the faults."""
    found = _MODEL_MARK.search(data)
    return (_MODEL_MARK.sub(b"", data), found[1].decode()) if found else (data, "")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which requests get a fault; what is not given matches all.

    Attributes:
        fault: Faults as in the header.
        provider: Name of the server, tag included.
        method: Method of the request.
        path: Regular expression that is found in the path.
        request: Number of the request among those that match the rest, from 1 on.
        times: How many requests get it, from that number on; 0 is all of them.
    """

    fault: str
    provider: str | None = None
    method: str | None = None
    path: str = ""
    request: int = 1
    times: int = 1


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a scenario file holds: a list of rules under ``rules``."""

    rules: tuple[Rule, ...]


def load_scenario(path: str | Path) -> tuple[Rule, ...]:
    """Read a scenario from a TOML file, or a JSON file by its suffix.

    Raises:
        FaultError: The file cannot be read or says what no scenario says.
    """
    try:
        text = Path(path).read_text("utf-8")
        plain = msgspec.json.decode(text) if str(path).endswith(".json") else tomllib.loads(text)
        return checked(msgspec.convert(plain, Scenario).rules)
    except (OSError, ValueError) as problem:
        raise FaultError(f"scenario {str(path)!r}: {problem}") from problem


def checked(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules, every fault and expression of which can be read."""
    for rule in rules:
        parse_faults(rule.fault)
        try:
            re.compile(rule.path)
        except re.error as problem:
            raise FaultError(f"not a regular expression: {rule.path!r} ({problem})") from problem
    return tuple(rules)


class _Counted:
    """A rule, and how many requests have matched it."""

    def __init__(self, rule: Rule, *, cleanup: bool = False) -> None:
        self.rule = rule
        self._cleanup = cleanup
        self._seen = 0

    def strikes(self, method: str, path: str) -> bool:
        """Whether it strikes this request, which is counted if it matches."""
        if self._cleanup and method != "DELETE" and not _CLEANUP_PATH.search(path):
            return False
        if self.rule.method not in (None, method) or not re.search(self.rule.path, path):
            return False
        self._seen += 1
        late = self._seen - self.rule.request
        return late >= 0 and (self.rule.times == 0 or late < self.rule.times)


class Faults:
    """The rules of one server, and how far each has been counted."""

    def __init__(self, name: str, rules: Sequence[Rule] = ()) -> None:
        self._rules = [_Counted(rule) for rule in checked(rules) if rule.provider in (None, name)]
        self._waiting: dict[str, Value] = {}

    def next(
        self, fault: str, *, method: str | None = None, path: str = "", times: int = 1
    ) -> None:
        """Let the next requests that match get a fault.

        Args:
            fault: Faults as in the header.
            method: Method of those requests; None is any.
            path: Regular expression that is found in their path.
            times: How many of them get it; 0 is all.

        Raises:
            FaultError: It cannot be read.
        """
        rule = Rule(fault=fault, method=method, path=path, times=times)
        self._rules.extend(map(_Counted, checked([rule])))

    def clear(self) -> None:
        """Forget all rules."""
        self._rules.clear()
        self._waiting.clear()

    def choose(self, method: str, path: str, header: str = "", model: str = "") -> Given:
        """Give the faults of a request, and count it.

        Raises:
            FaultError: What the header or the model name says cannot be read.
        """
        # Every rule counts every request, whichever of them strikes.
        striking = [one.rule.fault for one in self._rules if one.strikes(method, path)]
        chosen = parse_faults(header or model or next(iter(striking), ""))
        if not header:
            # The run, and what a model is named for, may begin with a later request.
            waiting = at_stage(chosen, "model", *(("body",) if model else ()))
            self._waiting.update(waiting)
            chosen = {name: value for name, value in chosen.items() if name not in waiting}
        if "cleanup" in chosen:
            self._arm(str(chosen["cleanup"]))
        return chosen

    def take(self, stage: Stage) -> dict[str, Value]:
        """Faults that wait for a stream (``body``) or a run (``model``), which now begins."""
        taken = at_stage(self._waiting, stage)
        self._waiting = {k: v for k, v in self._waiting.items() if k not in taken}
        return taken

    def _arm(self, how: str) -> None:
        fault = f"status={how}" if how.isdigit() else how
        self._rules.insert(0, _Counted(checked([Rule(fault=fault)])[0], cleanup=True))
