"""The scripted upstream: an OpenAI-shaped server that does what the question says.

A question holds ``truth:SCRIPT:NONCE``. It travels through every gateway as it is, whatever that
does to model names and headers; the nonce tells which requests here belong to which question
there. Standard library only, as is the rest of the suite: it runs beside any gateway.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

ASKED = re.compile(r"truth:([a-z0-9-]+):([a-z0-9]+)")
NO_MODEL = "no-such-model"
"""A model whose name holds this is unknown here."""

RETRY_AFTER = 7
REFUSED = "the script refuses with {}"
FAILED = "the script fails in the middle"
PIECES = ("Hello", ",", " world")
SPACED = (" Hello", " world")
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}

End = Literal["whole", "cut", "stall"]


class Scripted(NamedTuple):
    """An answer: a status, headers, parts of a body, and how it ends.

    ``cut`` closes in the middle of the framing. ``stall`` waits for the gateway to leave; without
    a status it does so before the first byte.
    """

    status: int
    parts: tuple[bytes, ...]
    end: End = "whole"
    headers: tuple[str, ...] = ()


class Seen:
    """One request that came here.

    Attributes:
        body: its JSON.
        left: when the gateway closed the connection instead of waiting; None if it did not.
        gone: set once it has.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.left: float | None = None
        self.gone = asyncio.Event()

    @property
    def said(self) -> str:
        """Everything that its messages say."""
        return json.dumps(self.body.get("messages"), ensure_ascii=False)


# -- scripts, pure -------------------------------------------------------------------------------


def scripted(script: str, body: dict[str, Any]) -> Scripted:
    """What is answered to ``body`` where the question names ``script``."""
    if NO_MODEL in str(body.get("model")):
        return _refusal(404, "the script knows no such model", "model_not_found")
    if script.startswith("status-"):
        status = int(script.removeprefix("status-"))
        return _refusal(status, REFUSED.format(status), "scripted")
    if script == "silent":
        return Scripted(0, (), "stall")
    return _streamed(script, body) if body.get("stream") else _whole(script)


def _refusal(status: int, message: str, code: str) -> Scripted:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    wait = (f"Retry-After: {RETRY_AFTER}",) if status in {429, 503} else ()
    return Scripted(status, (_json({"error": error}),), headers=wait)


def _whole(script: str) -> Scripted:
    if script == "stall":
        return Scripted(0, (), "stall")
    text = "".join(SPACED if script == "space" else PIECES)
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**_frame("chat.completion"), "choices": [choice], "usage": USAGE}
    return Scripted(200, (_json(body),), "cut" if script in {"early", "cut"} else "whole")


def _streamed(script: str, body: dict[str, Any]) -> Scripted:
    counting = bool((body.get("stream_options") or {}).get("include_usage"))
    spoken = SPACED if script == "space" else PIECES
    pieces = [_delta({"content": text}, counting) for text in spoken]
    first = (_delta({"role": "assistant", "content": ""}, counting), pieces[0])
    if script == "stall":
        return Scripted(200, first, "stall")
    if script in {"early", "cut"}:
        return Scripted(200, first, "whole" if script == "early" else "cut")
    if script == "error":
        error = {"message": FAILED, "type": "server_error", "param": None, "code": None}
        return Scripted(200, (*first, _event({"error": error})))
    last = [_delta({}, counting, "stop")]
    if counting:
        last.append(_event({**_frame("chat.completion.chunk"), "choices": [], "usage": USAGE}))
    return Scripted(200, (*first, *pieces[1:], *last, b"data: [DONE]\n\n"))


def _delta(delta: dict[str, str], counting: bool, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage = {"usage": None} if counting else {}
    return _event({**_frame("chat.completion.chunk"), "choices": [choice], **usage})


def _frame(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-truth", "object": kind, "created": 1_700_000_000, "model": "truth"}


def _event(value: object) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


# -- the server ----------------------------------------------------------------------------------


class Upstream:
    """The running server.

    Attributes:
        port: where it listens, on loopback.
        seen: nonce of a question -> requests that came for it.
    """

    def __init__(self) -> None:
        self.port = 0
        self.seen: defaultdict[str, list[Seen]] = defaultdict(list)
        self._came: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._writers: set[asyncio.StreamWriter] = set()
        self._quiet = asyncio.Event()

    async def first(self, nonce: str) -> Seen:
        """The first request for this question, once it is there."""
        await self._came[nonce].wait()
        return self.seen[nonce][0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as many requests as come."""
        self._writers.add(writer)
        self._quiet.clear()
        try:
            while (request := await _read_request(reader)) is not None:
                if not await self._answer(request, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the gateway left, which is what some rows look at
        finally:
            writer.close()
            self._writers.discard(writer)
            if not self._writers:
                self._quiet.set()

    async def _answer(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer; whether the connection can be used again."""
        if not request:
            listed = {"object": "list", "data": [{"id": "truth", "object": "model"}]}
            await _send_whole(writer, Scripted(200, (_json(listed),)))
            return True
        try:
            body = json.loads(request)
        except ValueError:
            await _send_whole(writer, Scripted(400, (b"no JSON",)))
            return True
        asked = ASKED.findall(json.dumps(body.get("messages")))
        script, nonce = asked[-1] if asked else ("hello", "none")
        seen = Seen(body)
        self.seen[nonce].append(seen)
        self._came[nonce].set()
        answer = scripted(script, body)
        try:
            if answer.status == 200 and body.get("stream"):
                await _send_stream(writer, answer)
            elif answer.status:
                await _send_whole(writer, answer)
            if answer.end == "stall":
                await reader.read(1)
        finally:
            if answer.end == "stall":
                seen.left = asyncio.get_running_loop().time()
                seen.gone.set()
        return answer.end == "whole"

    async def aclose(self) -> None:
        """Drop every connection, and wait until all are gone."""
        for writer in self._writers:
            writer.transport.abort()
        if self._writers:
            await self._quiet.wait()


async def _read_request(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next request, empty where it has none; None where no more come."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head):
        return await _read_chunks(reader)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return await reader.readexactly(int(length[1])) if length else b""


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _send_whole(writer: asyncio.StreamWriter, answer: Scripted) -> None:
    body = b"".join(answer.parts)
    sent = len(body) // 2 if answer.end == "cut" else len(body)
    lines = [f"HTTP/1.1 {answer.status} Scripted", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *answer.headers, "", ""]
    writer.write("\r\n".join(lines).encode() + body[:sent])
    await writer.drain()


async def _send_stream(writer: asyncio.StreamWriter, answer: Scripted) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for part in answer.parts:
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        await writer.drain()
        await asyncio.sleep(0)
    if answer.end == "whole":
        writer.write(b"0\r\n\r\n")
    await writer.drain()


@asynccontextmanager
async def running_upstream(port: int = 0) -> AsyncIterator[Upstream]:
    """The scripted upstream on a port of loopback, a free one by default."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", port)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.aclose()
