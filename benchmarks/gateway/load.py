"""The load: raw connections that count tokens, at the price of reading.

Run as ``python -m benchmarks.gateway.load URL MODEL KIND N TOKENS KEY [HEADER...]``; prints one
line of JSON: tokens (or answers) that came, seconds, and the time to the first token. Of the kind
``idle`` it prints that as soon as each stream has brought a token, and leaves when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Reader(asyncio.Protocol):
    """One connection: asks, then counts what comes until the end mark."""

    def __init__(self, request: bytes, token: bytes, times: int, stream: bool) -> None:
        self._request = request
        self._token = token
        self._left = times
        self._stream = stream
        self._tail = b""
        self.tokens = 0
        self.answers = 0
        self.first: float | None = None
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask at once."""
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._left -= 1
        self._tail = b""
        self._transport.write(self._request)

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if not self.done.done():
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Count what came; ask again, or end."""
        joined = self._tail + data
        if self._stream:
            keep = len(self._token) - 1
            self.tokens += joined.count(self._token)
            if self.first is None and self._token in joined:
                self.first = time.perf_counter() - self._asked
                self.begun.set_result(None)
            over = joined.endswith(b"\r\n0\r\n\r\n")
            cut = joined.rfind(self._token)
            self._tail = joined[-keep:] if cut < len(joined) - keep else joined[cut + keep + 1 :]
        else:
            self._tail = joined
            over = b"chat.completion" in joined and joined.endswith(b"}")
            over = over or joined.endswith(b"\r\n0\r\n\r\n")
        if over:
            self.answers += 1
            if self._left:
                self._ask()
            else:
                self.done.set_result(None)
                self._transport.close()


async def main(url: str, model: str, kind: str, count: int, tokens: int, *head: str) -> None:
    """Ask, wait, report."""
    stream = kind != "plain"
    body = json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": "Tell me a story."}],
            "max_tokens": tokens,
            **({"stream": True} if stream else {}),
        }
    ).encode()
    place = urlsplit(url)
    key, *further = head
    more = "".join(f"{header}\r\n" for header in further)
    request = (
        f"POST {place.path}/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\n"
        f"content-type: application/json\r\nauthorization: Bearer {key}\r\n"
        f"{more}"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    times = 1 if stream else tokens
    start = time.perf_counter()
    readers = []
    for _ in range(count):
        _, reader = await loop.create_connection(
            lambda: Reader(request, b'"content":" token"', times, stream),
            place.hostname or "127.0.0.1",
            place.port or 80,
        )
        readers.append(reader)
    awaited = [reader.begun if kind == "idle" else reader.done for reader in readers]
    await asyncio.wait(awaited, timeout=120)
    seconds = time.perf_counter() - start
    firsts = [reader.first for reader in readers if reader.first is not None]
    print(
        json.dumps(
            {
                "tokens": sum(reader.tokens for reader in readers),
                "answers": sum(reader.answers for reader in readers),
                "seconds": seconds,
                "first_ms": statistics.median(firsts) * 1000 if firsts else None,
                "first_ms_worst": max(firsts) * 1000 if firsts else None,
            }
        ),
        flush=True,
    )
    if kind == "idle":
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    url, model, kind, count, tokens, *head = sys.argv[1:]
    uvloop.run(main(url, model, kind, int(count), int(tokens), *head))
