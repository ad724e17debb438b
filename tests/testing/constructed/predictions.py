"""Bytes of Replicate's API and of its event streams (wire/replicate.md sections 3 to 6, 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.testing.constructed.build import (
    JSON,
    Headers,
    Raw,
    answer,
    as_bytes,
    compact,
    exchange,
    failed,
)
from tests.testing.constructed.build import case as case_of

API, STREAMS = "api.replicate.com", "stream.replicate.com"
LLAMA = "meta/meta-llama-3-70b-instruct"
KEY = ("authorization", "Bearer r8_test_token_0000000000000000000000000")
PREDICTION = "0t9w881b0z2xfp5pve4wx9c0gb"
STREAM_PATH = "/v1/streams/bufnqzqrhfakezeqf7s4vvmlzzg4z4gaspqmwsa5uqdx75l4aqxa"
THREE = ("The", " sky", " is blue.")
PROBLEM = "application/problem+json"
OFFICIAL = f"/v1/models/{LLAMA}/predictions"


def case(name: str, exchanges: Sequence[Raw], expected: Raw, notes: str, **more: Any) -> Raw:
    """A case of this provider."""
    return case_of(f"made-replicate-{name}", "replicate", exchanges, expected, notes, **more)


def stopped(*pieces: str, message: str = "") -> Raw:
    """A prediction that failed: no HTTP error."""
    return failed("model", None, message, *pieces)


def prediction(
    status: str = "starting", *, stream: str | None = f"https://{STREAMS}{STREAM_PATH}", **more: Any
) -> Raw:
    """A prediction object; ``output`` is left out unless given."""
    base = f"https://{API}/v1/predictions/{PREDICTION}"
    urls = {"cancel": f"{base}/cancel", "get": base}
    if stream is not None:
        urls["stream"] = stream
    return {
        "id": PREDICTION,
        "model": LLAMA,
        "version": "hidden",
        "input": {"prompt": "Hi"},
        "logs": "",
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": status,
        "created_at": "2026-11-20T12:00:00.118Z",
        "urls": urls,
        **more,
    }


def created(
    response: Raw | None = None,
    *,
    path: str = OFFICIAL,
    headers: Headers = (KEY,),
    given: Raw | None = None,
    **body: Any,
) -> Raw:
    """POST of a prediction."""
    told = response or answer(compact(prediction()), status=201)
    sent = {"input": given or {"prompt": "Hi"}, "stream": True, **body}
    return exchange(
        "POST",
        path,
        told,
        host=API,
        headers=[("accept", JSON), *headers],
        body=compact(sent),
        content_type=JSON,
    )


def got(value: Raw | None = None, response: Raw | None = None) -> Raw:
    """GET of the prediction."""
    told = response or answer(compact(value))
    path = f"/v1/predictions/{PREDICTION}"
    return exchange("GET", path, told, host=API, headers=[KEY, ("accept", JSON)])


def cancelled() -> Raw:
    """POST of the cancel route."""
    path = f"/v1/predictions/{PREDICTION}/cancel"
    told = answer(compact(prediction("canceled", output=None)))
    return exchange("POST", path, told, host=API, headers=[KEY])


def streamed(
    *parts: str | bytes,
    left_open: bool = True,
    last_id: str | None = None,
    response: Raw | None = None,
    host: str = STREAMS,
    path: str = STREAM_PATH,
    headers: Headers = (),
    **more: Any,
) -> Raw:
    """GET of the stream; after its parts it stays open, as the real one does."""
    if left_open and "closed" not in more:
        more["left_open"] = True
    kind = "text/event-stream; charset=utf-8"
    told = response or answer(*parts, content_type=kind, **more)
    sent = [("accept", "text/event-stream"), ("cache-control", "no-store"), *headers]
    if last_id is not None:
        sent.append(("last-event-id", last_id))
    return exchange("GET", path, told, host=host, headers=sent)


def refusal(code: int, headers: Headers = (), **problem: Any) -> Raw:
    """An answer of the API that is no success."""
    return answer(compact(problem), status=code, content_type=PROBLEM, headers=headers)


# -- events --------------------------------------------------------------------------------------


HI = ": hi\n\n"


def event(kind: str, data: str, identifier: str | None = None) -> str:
    """One event as the stream server writes it: event, id, data."""
    place = "" if identifier is None else f"id: {identifier}\n"
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {kind}\n{place}{lines}\n"


def outputs(*tokens: str, first: int = 0) -> list[str]:
    """Output events with ids in a row."""
    return [event("output", text, place(first + n)) for n, text in enumerate(tokens)]


def place(number: int) -> str:
    """An id: the second, and the number within it."""
    return f"1795221016:{number}"


def done(data: str = "{}", number: int = 99) -> str:
    """The end of a stream."""
    return event("done", data, place(number))


# -- Cog -----------------------------------------------------------------------------------------


def cog_asked(
    response: Raw, *, stream: bool = True, method: str = "POST", path: str = "/predictions"
) -> Raw:
    """A prediction asked of Cog."""
    accept = [("accept", "text/event-stream")] if stream else []
    body = compact({"input": {"prompt": "Hi", "max_tokens": 64}})
    return exchange(
        method, path, response, host="127.0.0.1", headers=accept, body=body, content_type=JSON
    )


def cog_event(kind: str, **data: Any) -> str:
    """An event of Cog: JSON, no id."""
    return f"event: {kind}\ndata: {compact(data)}\n\n"


def cog_ended(status: str, output: Sequence[str], **more: Any) -> str:
    """The last event."""
    whole = {"id": "pred_1", "logs": "", "metrics": {"predict_time": 0.3}, "output": list(output)}
    return cog_event("completed", **{**whole, "status": status, **more})


def cog_stream(*parts: str, closed: str = "clean") -> Raw:
    """An event stream of Cog, behind its start."""
    start = cog_event("start", id="pred_1", status="processing")
    listed = [as_bytes(part) for part in (start, *parts)]
    return answer(*listed, content_type="text/event-stream", closed=closed)


def cog_pieces(*tokens: str) -> list[str]:
    """Output events of Cog."""
    return [cog_event("output", chunk=text, index=n) for n, text in enumerate(tokens)]
