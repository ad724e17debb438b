"""The scripted upstream: an OpenAI-shaped server at the price of its writes.

Run as ``python -m benchmarks.gateway.upstream PORT``. The name of the model says what it does:
``paced`` sends 50 tokens a second, ``burst`` all it has at once, one write a token, ``idle`` one
token and then nothing; asked for a whole answer it sends one. The number of tokens is the
``max_tokens`` of the request.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import uvloop

_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_TOKENS = re.compile(rb'"max_tokens": ?(\d+)')
_FRAME = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"scripted","choices":[{"index":0,"delta":{%s},"logprobs":null,'
    b'"finish_reason":%s}]}\n\n'
)
TOKEN = _FRAME % (b'"content":" token"', b"null")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_WHOLE = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"scripted",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"'
    + b" token"
    * 20
    + b'"},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":20,"total_tokens":25}}'
)
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
    len(_WHOLE),
    _WHOLE,
)
PACE = 0.02
"""Seconds between two tokens."""


def _chunk(frame: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(frame), frame)


_CHUNK = _chunk(TOKEN)
_END = _chunk(_FRAME % (b"", b'"stop"')) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._data = b""
        self._left = 0
        self._paused = False
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A gateway connected."""
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        """It does not read."""
        self._paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused = False
        if self._left:
            self._burst()

    def data_received(self, data: bytes) -> None:
        """Answer a whole request."""
        self._data += data
        head, mark, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if not mark or len(body) < size:
            return
        request, self._data = self._data, body[size:]
        tokens = _TOKENS.search(request)
        self._left = int(tokens[1]) if tokens else 20
        if b"/models" in head.partition(b"\r\n")[0]:
            self._models()
        elif not re.search(rb'"stream": ?true', request):
            self._left = 0
            self._transport.write(_PLAIN)
        elif b"burst" in request:
            self._transport.write(_HEAD)
            self._burst()
        elif b"idle" in request:
            self._left = 0
            self._transport.write(_HEAD + _CHUNK)
        else:
            self._transport.write(_HEAD)
            self._next = self._loop.time()
            self._paced()

    def _models(self) -> None:
        self._left = 0
        body = b'{"object":"list","data":[{"id":"paced","object":"model"}]}'
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
            % (len(body), body)
        )

    def _burst(self) -> None:
        while self._left and not self._paused:
            self._left -= 1
            self._transport.write(_CHUNK)
        if not self._left:
            self._transport.write(_END)

    def _paced(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            self._transport.write(_END)
            return
        self._left -= 1
        self._transport.write(_CHUNK)
        self._next += PACE
        self._loop.call_at(self._next, self._paced)


async def main(port: int) -> None:
    """Serve until the end of the process."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
