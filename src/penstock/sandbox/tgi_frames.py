"""Requests and frames of text-generation-inference, as values (wire/h2o.md sections 3-5).

Pure: bytes of a request become a `Call` or a `Refusal`, tokens become the bytes of
server-sent events. The statuses and wordings are those of v0.8.2 (router/src/server.rs,
infer.rs, validation.rs) under axum 0.6.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

Version = Literal["0.8.2", "1.4.0", "2.1.0"]
KEEP_ALIVE = b":\n\n"
_UNSIGNED = ("u32", "u64", "usize")
_NOT_NULL = frozenset({"do_sample", "max_new_tokens", "stop", "watermark", "details"})
_KINDS: Mapping[str, str] = {
    "best_of": "usize",
    "temperature": "f32",
    "repetition_penalty": "f32",
    "top_k": "i32",
    "top_p": "f32",
    "typical_p": "f32",
    "do_sample": "a boolean",
    "max_new_tokens": "u32",
    "return_full_text": "a boolean",
    "stop": "a sequence",
    "truncate": "usize",
    "watermark": "a boolean",
    "details": "a boolean",
    "seed": "u64",
}


class Parameters(msgspec.Struct, frozen=True):
    """Parameters of a call with the router's defaults: 20 new tokens, no details."""

    best_of: int | None = None
    temperature: float | None = None
    repetition_penalty: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    typical_p: float | None = None
    do_sample: bool = False
    max_new_tokens: int = 20
    return_full_text: bool | None = None
    stop: tuple[str, ...] = ()
    truncate: int | None = None
    details: bool = False
    seed: int | None = None


class Call(msgspec.Struct, frozen=True):
    """A request the router can read."""

    inputs: str
    parameters: Parameters = Parameters()
    stream: bool = False


class Refusal(msgspec.Struct, frozen=True):
    """A plain-text refusal of axum's, before the router has looked at anything."""

    status: int
    text: str


class Limits(msgspec.Struct, frozen=True):
    """Limits the router was started with."""

    max_input_length: int = 2048
    max_total_tokens: int = 4096
    max_stop_sequences: int = 4
    max_best_of: int = 2


class Details(msgspec.Struct, frozen=True):
    """Last frame's details; only those that asked for them get any."""

    finish_reason: str
    generated_tokens: int
    seed: int | None


def parse_call(body: bytes, content_type: str) -> Call | Refusal:
    """Read the body of a call.

    A content type other than JSON is 415, broken JSON 400, JSON of another form 422.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "Expected request with `Content-Type: application/json`")
    try:
        asked = json.loads(body)
    except ValueError as problem:
        return Refusal(400, f"Failed to parse the request body as JSON: {problem}")
    text = body.decode("utf-8", "replace")
    wrong = _wrong(asked, text)
    if wrong is not None:
        return Refusal(422, f"Failed to deserialize the JSON body into the target type: {wrong}")
    known = {key: asked[key] for key in ("inputs", "parameters", "stream") if key in asked}
    return msgspec.convert(known, Call)


def _wrong(asked: object, text: str) -> str | None:
    if not isinstance(asked, dict):
        return f"invalid type: {_named(asked)}, expected struct GenerateRequest at line 1 column 0"
    if "inputs" not in asked:
        return f"missing field `inputs` at line 1 column {len(text)}"
    if not isinstance(asked["inputs"], str):
        where = _column(text, "inputs", asked["inputs"])
        return f"inputs: invalid type: {_named(asked['inputs'])}, expected a string {where}"
    parameters = asked.get("parameters", {})
    if not isinstance(parameters, dict):
        where = _column(text, "parameters", parameters)
        return (
            f"parameters: invalid type: {_named(parameters)}, "
            f"expected struct GenerateParameters {where}"
        )
    for key, value in parameters.items():
        problem = _mistyped(key, value)
        if problem is not None:
            return f"parameters.{key}: {problem} {_column(text, key, value)}"
    stream = asked.get("stream", False)
    if not isinstance(stream, bool):
        where = _column(text, "stream", stream)
        return f"stream: invalid type: {_named(stream)}, expected a boolean {where}"
    return None


def _mistyped(key: str, value: object) -> str | None:
    kind = _KINDS.get(key)
    if kind is None or (value is None and key not in _NOT_NULL):
        return None
    if kind == "a boolean":
        fits = isinstance(value, bool)
    elif kind == "a sequence":
        fits = isinstance(value, list) and all(isinstance(one, str) for one in value)
    elif kind == "f32":
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool)
        if isinstance(value, int) and fits and value < 0 and kind in _UNSIGNED:
            return f"invalid value: integer `{value}`, expected {kind}"
    return None if fits else f"invalid type: {_named(value)}, expected {kind}"


def _named(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f"string {json.dumps(value, ensure_ascii=False)}"
        case list():
            return "sequence"
        case _:
            return "map"


def _column(text: str, key: str, value: object) -> str:
    """Say where the value of `key` ends, counted as the router's parser counts."""
    opening = re.search(rf'"{re.escape(key)}"\s*:\s*', text)
    start = opening.end() if opening else 0
    _, end = json.JSONDecoder().raw_decode(text, start) if opening else (None, 0)
    line = text.count("\n", 0, end) + 1
    return f"at line {line} column {end - text.rfind(chr(10), 0, end) - 1}"


def count_tokens(text: str) -> int:
    """Estimate the tokens of a prompt: a quarter of its characters.

    The same estimate as in the recorded refusal (h2o-prompt-too-long-sse), where 12,310
    characters are 3,077 tokens.
    """
    return math.floor(len(text) / 4)


def invalid(call: Call, limits: Limits) -> str | None:
    """Say what the router's validation refuses, or None; the order is the router's."""
    problem = next(_problems(call, limits), None)
    return problem and f"Input validation error: {problem}"


def _problems(call: Call, limits: Limits) -> Iterator[str]:
    asked = call.parameters
    sampling = asked.do_sample or any(
        one is not None for one in (asked.temperature, asked.top_k, asked.top_p, asked.typical_p)
    )
    best_of = 1 if asked.best_of is None else asked.best_of
    if not 1 <= best_of <= limits.max_best_of:
        yield f"`best_of` must be > 0 and <= {limits.max_best_of}. Given: {best_of}"
    if best_of > 1 and not sampling:
        yield "you must use sampling when `best_of` is > 1"
    if asked.temperature is not None and asked.temperature <= 0:
        yield "`temperature` must be strictly positive"
    if asked.repetition_penalty is not None and asked.repetition_penalty <= 0:
        yield "`repetition_penalty` must be strictly positive"
    if asked.top_p is not None and not 0 < asked.top_p < 1:
        yield "`top_p` must be > 0.0 and < 1.0"
    if asked.typical_p is not None and not 0 < asked.typical_p < 1:
        yield "`typical_p` must be > 0.0 and < 1.0"
    if asked.top_k is not None and asked.top_k <= 0:
        yield "`top_k` must be strictly positive"
    if asked.max_new_tokens == 0:
        yield "`max_new_tokens` must be strictly positive"
    if len(asked.stop) > limits.max_stop_sequences:
        most = limits.max_stop_sequences
        yield f"`stop` supports up to {most} stop sequences. Given: {len(asked.stop)}"
    if not call.inputs:
        yield "`inputs` cannot be empty"
    yield from _too_long(call, limits)


def _too_long(call: Call, limits: Limits) -> Iterator[str]:
    asked = call.parameters
    most = limits.max_input_length
    tokens = count_tokens(call.inputs)
    length = tokens if asked.truncate is None else min(tokens, asked.truncate)
    if asked.truncate is not None and not 0 < asked.truncate <= most:
        yield f"`truncate` must be strictly positive and less than {most}. Given: {asked.truncate}"
    if length + asked.max_new_tokens > limits.max_total_tokens:
        yield (
            f"`inputs` tokens + `max_new_tokens` must be <= {limits.max_total_tokens}. "
            f"Given: {length} `inputs` tokens and {asked.max_new_tokens} `max_new_tokens`"
        )
    if length > most:
        yield f"`inputs` must have less than {most} tokens. Given: {length}"


def token(number: int, text: str, *, ident: int | None = None) -> dict[str, object]:
    """Give the JSON of a token; `ident` marks a special one."""
    return {
        "id": 300 + number if ident is None else ident,
        "text": text,
        "logprob": round(-0.0123 * (number + 1), 4),
        "special": ident is not None,
    }


def frame(value: Mapping[str, object], version: Version) -> bytes:
    """Write one server-sent event: no blank after the colon until axum 0.7, TGI 2.1.0."""
    head = b"data: " if version == "2.1.0" else b"data:"
    return head + msgspec.json.encode(value) + b"\n\n"


def token_frame(
    number: int,
    shown: Mapping[str, object],
    version: Version,
    generated_text: str | None = None,
    details: Details | None = None,
) -> bytes:
    """Write the frame of a token, the last one with the whole text."""
    # From 1.4.0 on each frame begins with the token's number (wire/h2o.md section 4).
    index = {} if version == "0.8.2" else {"index": number + 1}
    rest = {"token": shown, "generated_text": generated_text, "details": details}
    return frame({**index, **rest}, version)


def error_frame(message: str, error_type: str, version: Version) -> bytes:
    """Write the frame that ends a failed stream."""
    return frame({"error": message, "error_type": error_type}, version)
