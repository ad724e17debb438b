"""Live traffic to case files: the proxy, the conversations in its traffic, and the files.

A file is written when an exchange of its conversation ends, so that a crash loses nothing, and
once more at the end, when all secrets are known and ``expected`` can be filled.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any, Self

import msgspec

from penstock import __version__
from penstock.errors import BadRequestError
from penstock.registry import Registry
from penstock.testing.record.expected import judged
from penstock.testing.record.proxy import Proxy
from penstock.testing.record.redaction import Redactor
from penstock.testing.record.texts import without_text
from penstock.testing.record.threads import Thread, recognise, threads_of
from penstock.testing.replay.case import Case, Exchange, Expected
from penstock.testing.replay.runner import AT_A_TIME, CaseResult
from penstock.types import Value

_OPENAI = "penstock.providers.openai_compatible.provider:create"
_OWN_PREFIX = frozenset({"replicate", "openai_compatible", None})
"""Protocols whose documents count a prefix such as ``/v1`` as part of their paths."""
_SAYS_NOTHING = "no provider is recognised, so nothing is expected; name it and record again"

Note = Callable[[str], None]


class Recorded(Value, frozen=True, kw_only=True):
    """A case that was written.

    Attributes:
        path: its file.
        provider: whose protocol it is; None if that is not known.
        exchanges: how many it holds.
        result: the replay's verdict on it.
    """

    path: Path
    provider: str | None
    exchanges: int
    result: CaseResult


class Recorder:
    """A recording reverse proxy in front of one server, as an async context manager.

    ``url`` is the base URL to use instead of the server's. Each conversation becomes one case file
    in ``folder``. Leaving the context ends the recording: open answers are kept as far as they
    came, ``expected`` is filled, and ``cases`` tells what was written.

    Args:
        upstream: base URL of the server.
        folder: where the files go; it is made if it is not there.
        provider: whose protocol it is; by default that is recognised by the paths.
        redact_text: mask what people and models said, too.
        also: further hosts whose URLs in answers are recorded.
        note: takes one line for each exchange that ended.

    Raises:
        BadRequestError: a URL that is none, a provider that does not exist, an address beyond
            loopback.
    """

    def __init__(
        self,
        upstream: str,
        folder: str | PathLike[str],
        *,
        provider: str | None = None,
        redact_text: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        also: tuple[str, ...] = (),
        ca_bundle: str | None = None,
        note: Note | None = None,
    ) -> None:
        self._proxy = Proxy(
            upstream,
            done=self._ended,
            failed=self._lost,
            host=host,
            port=port,
            also=also,
            ca_bundle=ca_bundle,
        )
        self._folder = Path(folder)
        self._named = None if provider is None else protocol_name(provider)
        self._redact_text = redact_text
        self._note = note or (lambda line: None)
        self._began = datetime.now(UTC)
        self._exchanges: dict[int, Exchange] = {}
        self._redactor = Redactor()
        self._written: dict[Path, Case] = {}
        self._stack = AsyncExitStack()
        self.cases: tuple[Recorded, ...] = ()
        self.unanswered: list[str] = []

    @property
    def url(self) -> str:
        """The base URL to use instead of the server's."""
        return self._proxy.url

    @property
    def provider(self) -> str | None:
        """The provider that was named or recognised."""
        found = self._named or recognise(self._exchanges.values())
        return found or recognise(self._stripped(any_prefix=True).values())

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._stack.enter_async_context(self._proxy)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        self.cases = tuple(await self._finish())

    # -- while it runs -------------------------------------------------------------------------

    def _ended(self, number: int, exchange: Exchange) -> None:
        self._exchanges[number] = exchange
        self._redactor.learn(exchange)
        request, response = exchange.request, exchange.response
        path = self._redactor.text(request.path)
        self._note(f"{request.method} {path} {response.status} {response.closed}")
        try:
            self._write(self._cases(number))
        except OSError as error:  # the traffic goes on; the end of the recording tries once more
            self._note(f"cannot write {error.filename}: {error.strerror}")

    def _lost(self, sentence: str) -> None:
        told = self._redactor.text(sentence)
        self.unanswered.append(told)
        self._note(told)

    # -- cases ---------------------------------------------------------------------------------

    def _cases(self, number: int | None = None) -> dict[Path, Case]:
        """The cases so far, or those that hold one exchange."""
        provider = self.provider
        exchanges = self._stripped(any_prefix=provider not in _OWN_PREFIX)
        return {
            self._path(thread, provider): self._case(thread, provider, exchanges)
            for thread in threads_of(exchanges, provider)
            if number is None or number in thread.members
        }

    def _path(self, thread: Thread, provider: str | None) -> Path:
        stamp = self._began.strftime("%Y%m%d-%H%M%S-%f")[:-3]
        return self._folder / f"{provider or 'unknown'}-{stamp}-{thread.first:03}.json"

    def _case(self, thread: Thread, provider: str | None, exchanges: dict[int, Exchange]) -> Case:
        kept = [self._redactor.exchange(exchanges[number]) for number in thread.members]
        if self._redact_text:
            kept = [without_text(exchange) for exchange in kept]
        return Case(
            case=self._path(thread, provider).stem,
            provider=provider or "unknown",
            exchanges=tuple(kept),
            expected=Expected(),
            notes=self._notes(),
        )

    def _notes(self) -> str:
        told = [f"recorded live by penstock {__version__} on {self._began:%Y-%m-%d}"]
        told.append("secrets are stand-ins of the same length")
        if self._redact_text:
            told.append("texts are masked letter by letter")
        if self._proxy.prefix and self.provider not in _OWN_PREFIX:
            told.append(f"paths are those below {self._proxy.prefix}")
        return "; ".join(told)

    def _stripped(self, *, any_prefix: bool) -> dict[int, Exchange]:
        """The exchanges, with paths below the prefix of the base URL."""
        prefix = self._proxy.prefix
        if not prefix or not any_prefix:
            return self._exchanges
        return {number: _below(prefix, ex) for number, ex in self._exchanges.items()}

    # -- files ---------------------------------------------------------------------------------

    def _write(self, cases: dict[Path, Case]) -> None:
        for path, case in cases.items():
            if self._written.get(path) != case:
                write_case(path, case, server=self._proxy.upstream)
                self._written[path] = case

    async def _finish(self) -> list[Recorded]:
        cases = self._cases()
        for path in self._written.keys() - cases.keys():
            path.unlink(missing_ok=True)  # its exchanges are part of another case now
        self._write(cases)
        provider = self.provider
        gate = asyncio.Semaphore(AT_A_TIME)

        async def one(path: Path, case: Case) -> Recorded:
            async with gate:
                whole, result = await judged(case) if provider else (case, _unjudged(case))
                if self._redactor.shown_by(result.text):
                    # Said piece by piece, where no single piece can be known for a secret.
                    whole, result = await judged(_masked(case))
            self._write({path: whole})
            count = len(case.exchanges)
            return Recorded(path=path, provider=provider, exchanges=count, result=result)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(path, case)) for path, case in cases.items()]
        return [task.result() for task in tasks]


def _masked(case: Case) -> Case:
    notes = f"{case.notes}; texts are masked letter by letter, because they told a secret"
    exchanges = tuple(without_text(exchange) for exchange in case.exchanges)
    return msgspec.structs.replace(case, exchanges=exchanges, notes=notes)


def _unjudged(case: Case) -> CaseResult:
    return CaseResult(
        case=case.case, provider=case.provider, verdict="skipped", reason=_SAYS_NOTHING
    )


def _below(prefix: str, exchange: Exchange) -> Exchange:
    path = exchange.request.path.removeprefix(prefix) or "/"
    request = msgspec.structs.replace(exchange.request, path=path)
    return Exchange(request, exchange.response)


def protocol_name(provider: str) -> str:
    """The provider whose protocol ``provider`` speaks: every vendor's row is one of one protocol.

    Raises:
        BadRequestError: there is no such provider.
    """
    entries = Registry().entries
    entry = entries.get(provider)
    if entry is None:
        known = ", ".join(entries)
        raise BadRequestError(f"there is no provider {provider[:80]!r}; known are {known}")
    return "openai_compatible" if entry.factory == _OPENAI else provider


def write_case(path: Path, case: Case, *, server: str) -> None:
    """Write a case file that only its owner can read: it holds what people said."""
    if not path.exists():
        path.touch(mode=0o600)
    text = json.dumps(case_as_json(case, server), ensure_ascii=False, indent=1)
    path.write_bytes(text.encode("utf-8", "surrogatepass") + b"\n")


def case_as_json(case: Case, server: str) -> dict[str, Any]:
    """A case in the order of the format, with nothing left out that a reader looks for."""
    made: dict[str, Any] = msgspec.to_builtins(case)
    exchanges = made.pop("exchanges")
    expected = made.pop("expected", {})
    for exchange in exchanges:
        exchange["request"].setdefault("query", "")
        exchange["response"].setdefault("chunks", [])
        exchange["response"].setdefault("closed", "clean")
    if "exchange" in expected:
        for turn in (expected, *expected.get("turns", ())):
            for name in ("finish", "error"):
                turn.setdefault(name, None)
    return {**made, "server": server, "exchanges": exchanges, "expected": expected}
