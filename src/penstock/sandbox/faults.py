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
from typing import TypeAlias

import msgspec

from penstock.sandbox.fault_table import FAILURES, FAULTS, STAGES, FaultKind, Stage, Value

__all__ = [
    "FAULTS",
    "HEADER",
    "STAGES",
    "FaultError",
    "FaultKind",
    "Faults",
    "Given",
    "Rule",
    "Scenario",
    "Stage",
    "Value",
    "at_stage",
    "checked",
    "load_scenario",
    "parse_faults",
    "split_mark",
]

HEADER = "X-Sandbox-Fault"
# The mark may stand in a JSON body, as it is, or in a path, where it may be quoted.
_MODEL_MARK = re.compile(rb"\+fault:([a-z0-9-]+(?:=[\w.:-]*)?(?:;[a-z0-9-]+(?:=[\w.:-]*)?)*)")
# Routes by which the protocols end a generation (wire/h2o.md section 6, wire/replicate.md
# section 10, wire/allenai.md section 4).
_CLEANUP_PATH = re.compile(r"/(cancel|stop-generating|stop)$")

Given: TypeAlias = Mapping[str, Value]


class FaultError(ValueError):
    """A fault or a scenario that cannot be read."""


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
    if kind.values and value not in kind.values:
        known = ", ".join(kind.values)
        raise FaultError(f"{written!r} is no value for the fault {name!r}; there are: {known}")
    return value


def check_server(given: Given, kind: str) -> None:
    """Demand that a server of this kind knows these faults.

    Raises:
        FaultError: It does not.
    """
    for name, value in given.items():
        servers = FAULTS[name].servers
        if servers and kind not in servers:
            raise FaultError(f"the fault {name!r} is one of {', '.join(servers)}, not of {kind}")
        if name == "fails-as" and value not in {"failure", *FAILURES.get(kind, ())}:
            raise FaultError(f"no failure of {kind} is called {value!r}")


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
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise FaultError(f"scenario {str(path)!r}: {reason}") from problem


def checked(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules, every fault and expression of which can be read."""
    for rule in rules:
        given = parse_faults(rule.fault)
        if rule.provider is not None:
            check_server(given, rule.provider.partition(":")[0])
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
        self._kind = name.partition(":")[0]
        self._rules = [
            _Counted(rule)
            for rule in checked(rules)
            if rule.provider in (None, name) and self._knows(rule)
        ]
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
        rule = Rule(fault=fault, method=method, path=path, times=times, provider=self._kind)
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
        check_server(chosen, self._kind)
        if not header:
            # The run, and what a model is named for, may begin with a later request.
            waiting = at_stage(chosen, "model", "protocol", *(("body",) if model else ()))
            self._waiting.update(waiting)
            chosen = {name: value for name, value in chosen.items() if name not in waiting}
        if "cleanup" in chosen:
            self._arm(str(chosen["cleanup"]))
        return chosen

    def take(self, stage: Stage) -> dict[str, Value]:
        """Faults that wait for a stream (``body``) or a run (``model``), which now begins."""
        taken = at_stage(self._waiting, stage)
        runs = int(taken.get("model-runs", 1))
        if stage == "model" and runs > 1:
            self._waiting["model-runs"] = runs - 1
            return taken
        self._waiting = {k: v for k, v in self._waiting.items() if k not in taken}
        return taken

    def take_named(self, name: str) -> Value | None:
        """The fault of that name that waits for the place in the protocol that is reached now."""
        return self._waiting.pop(name, None)

    def _knows(self, rule: Rule) -> bool:
        """Whether a rule for all servers can strike here."""
        try:
            check_server(parse_faults(rule.fault), self._kind)
        except FaultError:
            return False
        return True

    def _arm(self, how: str) -> None:
        fault = f"status={how}" if how.isdigit() else how
        self._rules.insert(0, _Counted(checked([Rule(fault=fault)])[0], cleanup=True))
