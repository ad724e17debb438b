"""Lines as the servers write them, and what a decoder makes of bytes however they are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence

from penstock.errors import PenstockError
from penstock.providers.allenai.dialect import decoder_of
from penstock.types import Event, Finished, Reasoning, Started, Text, ToolCall, Value

ROOT, REPLY = "msg_A1A1A1A1A1", "msg_B2B2B2B2B2"


class Outcome(Value, frozen=True):
    """What came of a stream."""

    text: str
    thinking: str
    pieces: tuple[str, ...]
    started: tuple[Started, ...]
    calls: tuple[ToolCall, ...]
    finished: Finished | None
    failure: PenstockError | None
    reported: PenstockError | None


def line(value: object) -> bytes:
    """One line, escaped as the v4 servers escape it."""
    return json.dumps(value).encode() + b"\n"


def old_object(
    text: str = "",
    *,
    final: bool = False,
    finish: str | None = None,
    system: bool = False,
    root: str = ROOT,
) -> bytes:
    """An opening or final object of ``message-stream``."""
    reply = {"id": REPLY, "content": text, "role": "assistant", "final": final, "root": root}
    reply |= {"finish_reason": finish, "children": None, "model_id": "tulu3-405b"}
    user = {"id": ROOT, "content": "q", "role": "user", "children": [reply], "final": final}
    user["root"] = root
    if system:
        user["id"] = "msg_U1U1U1U1U1"
        return line({"id": ROOT, "role": "system", "children": [user], "final": final})
    return line(user)


def chunk(text: str | None) -> bytes:
    """A chunk line of ``message-stream``."""
    return line({"message": REPLY, "content": text, "logprobs": []})


def old_error(reason: str, text: str = "what happened") -> bytes:
    """The error line of both v4 versions."""
    return line({"message": REPLY, "error": text, "reason": reason})


def said(text: str, kind: str = "modelResponse") -> bytes:
    """A piece of ``threads``."""
    return line({"content": text, "message": REPLY, "type": kind})


def typed(kind: str, message: str = ROOT, **fields: object) -> bytes:
    """Any line with a type."""
    return line({"type": kind, "message": message, **fields})


def message(ident: str = REPLY, role: str = "assistant", **fields: object) -> dict[str, object]:
    """A message of a thread object."""
    return {"id": ident, "role": role, "content": "", "modelId": "Olmo", **fields}


def thread(*messages: dict[str, object], kind: str | None = None) -> bytes:
    """A thread object; with ``kind`` as the v5 application sends it."""
    listed = list(messages) or [message(ROOT, "user"), message()]
    value: dict[str, object] = {"id": listed[0]["id"], "messages": listed}
    return line(value if kind is None else {"type": kind, "message": ROOT, **value})


def opening() -> bytes:
    """What every stream of ``threads`` begins with."""
    return typed("start") + thread()


def outcome(
    dialect: str,
    data: bytes,
    size: int = 0,
    *,
    clean: bool = True,
    root: str | None = None,
    tools: tuple[str, ...] = (),
) -> Outcome:
    """Feed ``data`` in reads of ``size`` bytes, and the end of the body if it came in order."""
    decoder = decoder_of(dialect, root, tools)
    events: list[Event] = []
    for start in range(0, len(data), size or len(data) or 1):
        events += decoder.feed(data[start : start + (size or len(data))])
    if clean:
        events += decoder.eof()
    assert decoder.text == "".join(_texts(events))
    assert decoder.done == any(isinstance(event, Finished) for event in events)
    return Outcome(
        text=decoder.text,
        thinking="".join(event.text for event in events if isinstance(event, Reasoning)),
        pieces=tuple(_texts(events)),
        started=tuple(event for event in events if isinstance(event, Started)),
        calls=tuple(event for event in events if isinstance(event, ToolCall)),
        finished=next((event for event in events if isinstance(event, Finished)), None),
        failure=decoder.failure,
        reported=decoder.reported,
    )


def _texts(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]
