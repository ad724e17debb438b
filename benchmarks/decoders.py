"""Bytes to events, for each dialect: tokens a second on one core, in large and in small reads.

The frames are those of the wire documents, one token each. The peers decode the same chat
completion stream the way clients usually do; they are measured in the same run, because no time
measured on a shared machine means anything alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sized
from typing import Protocol

from benchmarks.figures import Figure
from penstock.providers.allenai.dialect import decoder_of
from penstock.providers.chatui.dialect.lines import LinesDecoder
from penstock.providers.h2o.dialect.frames import RouterDecoder
from penstock.providers.openassistant.dialect.stream import EventDecoder
from penstock.providers.replicate.dialect.answers import Resume, StreamDecoder
from penstock.providers.replicate.dialect.cog import CogDecoder
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.wire.openai import ChatDecoder

TOKENS = 20_000
ROUNDS = 5
BUDGET = 400_000
LARGE, SMALL = 64 << 10, 512


class Decoder(Protocol):
    """What takes the bytes of one read."""

    def feed(self, data: bytes) -> Sized:
        """What the bytes complete."""


def _sse(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


_CHUNK = _sse(
    b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}'
)
_MESSAGE = b"msg_I4P9Q2S3H4"

DIALECTS: dict[str, tuple[Callable[[], Decoder], bytes]] = {
    "allenai threads": (
        lambda: decoder_of("threads"),
        b'{"content": " token", "message": "%s", "type": "modelResponse"}\n' % _MESSAGE,
    ),
    "allenai message-stream": (
        lambda: decoder_of("message-stream"),
        b'{"message": "%s", "content": " token", "logprobs": []}\n' % _MESSAGE,
    ),
    "openassistant": (
        EventDecoder,
        b'data: {"event_type": "token", "text": " token"}\r\n\r\n',
    ),
    "h2o and tgi": (
        lambda: RouterDecoder("h2o"),
        (
            b'data:{"token":{"id":300,"text":" token","logprob":-0.0123,"special":false},'
            b'"generated_text":null,"details":null}\n\n'
        ),
    ),
    "chatui": (
        lambda: LinesDecoder("chatui"),
        b'{"type":"stream","token":" token' + rb"\u0000" * 10 + b'"}\n',
    ),
    "replicate": (
        lambda: StreamDecoder(Transcript(), Resume()),
        b"event: output\nid: 1690212292:0\ndata:  token\n\n",
    ),
    "cog": (
        lambda: CogDecoder(Transcript()),
        b'event: output\ndata: {"chunk":" token","index":1}\n\n',
    ),
    "openai_compatible": (lambda: ChatDecoder("openai"), _CHUNK),
}


class LineLoop:
    """The usual loop: text lines, a prefix, ``json.loads``. Not correct, but common."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The texts that the bytes complete."""
        *lines, self._rest = (self._rest + data.decode()).split("\n")
        return [
            json.loads(line[6:])["choices"][0]["delta"]["content"]
            for line in lines
            if line.startswith("data: ")
        ]


def figures() -> list[Figure]:
    """Every dialect in reads of 64 KiB and of 512 bytes, then the usual loop beside them."""
    found = []
    for name, (make, frame) in DIALECTS.items():
        found.append(
            Figure(f"{name}, 64 KiB reads", rate(make, frame, LARGE), "tokens/s", BUDGET, True)
        )
        found.append(Figure(f"{name}, 512 B reads", rate(make, frame, SMALL), "tokens/s"))
    found.append(Figure("peer: line loop and json", rate(LineLoop, _CHUNK, LARGE), "tokens/s"))
    return found


def rate(make: Callable[[], Decoder], frame: bytes, read: int) -> float:
    """Tokens per CPU second, the best of several rounds."""
    body = frame * TOKENS
    reads = [body[start : start + read] for start in range(0, len(body), read)]
    best = float("inf")
    for _ in range(ROUNDS):
        decoder = make()
        started = time.process_time()
        seen = sum(len(decoder.feed(data)) for data in reads)
        best = min(best, time.process_time() - started)
        if not TOKENS <= seen <= TOKENS + 2:
            raise SystemExit(f"bench: {seen} of {TOKENS} events came")
    return TOKENS / best
