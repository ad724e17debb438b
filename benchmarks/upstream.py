"""A raw loopback server that streams chat completions, in a process of its own.

It reads each request to its end and answers by the model asked for: ``large`` as fast as it goes
in large writes, ``small`` one token a write, ``idle`` one token and then nothing. What it costs is
not counted, for it is not what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TOKENS = 20_000
_FRAME = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
_LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_LARGE = 300
"""Frames in a large write: close to 64 KiB."""


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, as many requests as come."""
    try:
        while head := await _head(reader):
            body = await reader.readexactly(_length(head))
            writer.write(_HEAD)
            if b'"idle"' in body:
                writer.write(_chunk(_FRAME))
                await reader.read(1)
                break
            size = _LARGE if b'"large"' in body else 1
            for start in range(0, TOKENS, size):
                writer.write(_chunk(_FRAME * min(size, TOKENS - start)))
                await writer.drain()
            writer.write(_chunk(_LAST) + _chunk(b""))
            await writer.drain()
    except ConnectionError:
        pass  # the client left
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def serve() -> None:
    """Listen, say where on standard output, go on until standard input ends."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def running() -> Iterator[str]:
    """The server in a process of its own; its base URL."""
    command = [sys.executable, "-m", "benchmarks.upstream"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.communicate()


if __name__ == "__main__":
    asyncio.run(serve())
