"""Every decoder and every reader of a body by name, so that a property is put to them all."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from penstock.errors import PenstockError
from penstock.providers.allenai.dialect import decoder_of
from penstock.providers.allenai.dialect import errors as allenai_errors
from penstock.providers.allenai.dialect.lists import models_of, roots_of
from penstock.providers.chatui.dialect import errors as chatui_errors
from penstock.providers.chatui.dialect import requests as chatui_requests
from penstock.providers.chatui.dialect.lines import LinesDecoder
from penstock.providers.h2o.dialect import app as h2o_app
from penstock.providers.h2o.dialect import errors as h2o_errors
from penstock.providers.h2o.dialect.frames import RouterDecoder, WholeDecoder
from penstock.providers.h2o.dialect.router import decode_info
from penstock.providers.openai_compatible import dialect as openai_dialect
from penstock.providers.openassistant.dialect import answers as assistant_answers
from penstock.providers.openassistant.dialect.routes import is_native_404
from penstock.providers.openassistant.dialect.stream import EventDecoder
from penstock.providers.replicate.dialect import errors as replicate_errors
from penstock.providers.replicate.dialect import hosted, listed
from penstock.providers.replicate.dialect.answers import (
    PollReader,
    Resume,
    StreamDecoder,
    detail_of,
)
from penstock.providers.replicate.dialect.cog import CogDecoder, cog_error, decode_cog
from penstock.providers.replicate.dialect.inputs import schema_inputs
from penstock.providers.replicate.dialect.transcript import Transcript
from penstock.types import Event
from penstock.wire.decoder import AnswerDecoder
from penstock.wire.openai import ChatDecoder, decode_completion, response_error
from penstock.wire.request import decode_object
from penstock.wire.status import words_of

CASSETTES = Path(__file__).resolve().parent.parent / "cassettes"


class Dialect(msgspec.Struct, frozen=True):
    """One stream format.

    Attributes:
        provider: whose recordings these are.
        make: a fresh decoder.
        framed: the bytes that carry one JSON text.
        token: a JSON text whose ``%s`` is the JSON of a piece, and whose ``"more"`` is unknown.
        closed: what ends a stream well; "" where that takes what came before into account.
    """

    provider: str
    make: Callable[[], AnswerDecoder]
    framed: Callable[[bytes], bytes]
    token: bytes
    end: bytes


def _line(data: bytes) -> bytes:
    return data + b"\n"


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _output(data: bytes) -> bytes:
    return b"event: output\ndata: " + data + b"\n\n"


DIALECTS: Mapping[str, Dialect] = {
    "allenai message-stream": Dialect(
        "allenai",
        lambda: decoder_of("message-stream"),
        _line,
        b'{"message":"m","content":%s,"more":%s}',
        b'{"id":"m","root":"m","final":true,"children":[]}\n',
    ),
    "allenai threads": Dialect(
        "allenai",
        lambda: decoder_of("threads"),
        _line,
        b'{"type":"modelResponse","message":"m","content":%s,"more":%s}',
        b'{"type":"end","message":"m"}\n',
    ),
    "allenai v5-chat": Dialect(
        "allenai",
        lambda: decoder_of("v5-chat"),
        _line,
        b'{"type":"modelResponse","message":"m","content":%s,"more":%s}',
        b'{"type":"end","message":"m"}\n',
    ),
    "openassistant": Dialect(
        "openassistant",
        EventDecoder,
        _event,
        b'{"event_type":"token","text":%s,"more":%s}',
        b'data: {"event_type":"message","message":{"id":"m","content":"x"}}\n\n',
    ),
    "h2o": Dialect(
        "h2o",
        lambda: RouterDecoder("h2o"),
        _event,
        b'{"token":{"id":1,"text":%s,"special":false},"generated_text":null,"more":%s}',
        b'data: {"token":{"id":2,"text":"</s>","special":true},"generated_text":"x"}\n\n',
    ),
    "chatui": Dialect(
        "chatui",
        lambda: LinesDecoder("chatui"),
        _line,
        b'{"type":"stream","token":%s,"more":%s}',
        b'{"type":"status","status":"finished"}\n',
    ),
    "cog": Dialect(
        "replicate",
        lambda: CogDecoder(Transcript()),
        _output,
        b'{"chunk":%s,"index":1,"more":%s}',
        b'event: completed\ndata: {"id":"p","status":"succeeded","output":["x"]}\n\n',
    ),
    "openai_compatible": Dialect(
        "openai_compatible",
        lambda: ChatDecoder("openai"),
        _event,
        b'{"id":"c","choices":[{"index":0,"delta":{"content":%s}}],"more":%s}',
        b"data: [DONE]\n\n",
    ),
}
"""The dialects whose frames are JSON."""

DECODERS: Mapping[str, Callable[[], AnswerDecoder]] = {
    **{name: dialect.make for name, dialect in DIALECTS.items()},
    "h2o whole": lambda: WholeDecoder("h2o"),
    "h2o with stops": lambda: RouterDecoder("h2o", stop=("stop", "\n"), full_text=True),
    "replicate": lambda: StreamDecoder(Transcript(), Resume()),
    "replicate with stops": lambda: StreamDecoder(Transcript(("stop", "\n\n")), Resume()),
    "cog with stops": lambda: CogDecoder(Transcript(("stop", "\n\n"))),
}
"""Every decoder of an answer."""


def _polled(body: bytes) -> list[Event]:
    prediction = hosted.decode_prediction(body, 200)
    reader = PollReader(Transcript(), 10)
    events = reader.see(prediction)
    return events if reader.failure is None else []


def _answered(body: bytes) -> object:
    prediction = decode_cog(body)
    return (prediction.text, prediction.usage, prediction.terminal, prediction.streams_text)


READERS: Mapping[str, Callable[[bytes], object]] = {
    "allenai models": lambda body: [listed.id for listed in models_of(body)],
    "allenai threads": roots_of,
    "chatui created": chatui_requests.decode_created,
    "chatui answer": lambda body: chatui_requests.decode_answer_id(body, None),
    "chatui models": chatui_requests.decode_models,
    "h2o created": h2o_app.created_id,
    "h2o models": h2o_app.decode_models,
    "tgi info": decode_info,
    "openai_compatible models": openai_dialect.decode_models,
    "openai_compatible completion": lambda body: decode_completion(body, "openai"),
    "openassistant chat": assistant_answers.read_chat,
    "openassistant message": assistant_answers.read_message,
    "openassistant models": assistant_answers.read_models,
    "replicate prediction": _polled,
    "replicate models": listed.decode_models,
    "cog prediction": _answered,
    "any object": decode_object,
}
"""Every reader of a whole body: it returns, or raises one of our errors."""

_HEADERS: dict[str, str] = {"content-type": "application/json", "retry-after": "soon"}

SAYERS: Mapping[str, Callable[[bytes], object]] = {
    "allenai": lambda body: allenai_errors.refusal(400, _HEADERS, body, provider="p", model="m"),
    "chatui": lambda body: chatui_errors.answer_error(400, _HEADERS, body, provider="p"),
    "h2o": lambda body: h2o_errors.answer_error(503, _HEADERS, body, provider="p", model="m"),
    "h2o frame": lambda body: h2o_errors.frame_error("validation", body, "p"),
    "openai_compatible": lambda body: response_error(
        400, _HEADERS, body, provider="p", secrets=("sk-secret",)
    ),
    "openassistant": lambda body: assistant_answers.answer_error(422, _HEADERS, body),
    "openassistant event": lambda body: assistant_answers.reported_error(
        body.decode("utf-8", "replace")
    ),
    "openassistant native": lambda body: is_native_404(404, body),
    "replicate": lambda body: replicate_errors.hosted_error(
        429, _HEADERS, body, provider="p", model="m"
    ),
    "replicate event": detail_of,
    "replicate schema": lambda body: schema_inputs(body, None),
    "cog": lambda body: cog_error(422, _HEADERS, body, provider="p", model="m"),
    "words": words_of,
}
"""Every reader of a body that has already been found to be bad: it never raises anything."""


@functools.cache
def recorded_bodies() -> tuple[bytes, ...]:
    """The bodies of all recorded answers, without those that are the same."""
    found: dict[bytes, None] = {}
    for path in sorted(CASSETTES.rglob("*.json")):
        for exchange in json.loads(path.read_bytes())["exchanges"]:
            chunks = (exchange["response"] or {}).get("chunks", [])
            found[b"".join(base64.b64decode(chunk["b64"]) for chunk in chunks)] = None
    return tuple(sorted(found, key=lambda body: (len(body), body)))


def only_our_errors(work: Callable[[bytes], object], body: bytes) -> object:
    """What comes of it; an error is one of ours, or it comes out of here."""
    try:
        return work(body)
    except PenstockError as error:
        return error
