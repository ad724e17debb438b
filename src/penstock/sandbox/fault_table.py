"""The faults there are: data.

The common ones work at every server; the others follow the lists of one protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Value: TypeAlias = int | float | str
Stage: TypeAlias = Literal["answer", "framing", "body", "model", "protocol", "later"]

STAGES: Mapping[Stage, str] = {
    "answer": "Instead of the answer, or before it",
    "framing": "The HTTP around the answer",
    "body": "The body while it is sent",
    "model": "The model",
    "protocol": "The protocol of one server",
    "later": "A later request",
}
"""The stages in words, in the order in which they strike."""


class FaultKind(msgspec.Struct, frozen=True):
    """One fault that can be asked for.

    Attributes:
        stage: Where it strikes: ``answer`` instead of the server's own answer, ``framing``
            the HTTP around the whole answer, ``body`` its bytes while they are sent,
            ``model`` the generation, ``protocol`` where the server itself looks for it,
            ``later`` a later request.
        default: The value without one; its type is the type of the value.
        meaning: What is seen on the wire.
        servers: Which servers know it; empty is all of them.
        values: Which values there are, with what they mean; empty is any of the type.
    """

    stage: Stage
    default: Value | None
    meaning: str
    servers: tuple[str, ...] = ()
    values: Mapping[str, str] = {}


_COMMON: Mapping[str, FaultKind] = {
    "status": FaultKind("answer", 503, "The status N with a JSON error body; nothing is done."),
    "status-html": FaultKind("answer", 502, "The status N with an HTML page."),
    "status-empty": FaultKind("answer", 500, "The status N without a body or a content type."),
    "retry-after": FaultKind(
        "answer", "1", "`Retry-After` with this text, whatever it is; alone the status is 429."
    ),
    "retry-after-date": FaultKind(
        "answer", 2, "`Retry-After` as the date N seconds ahead; alone the status is 429."
    ),
    "html": FaultKind("answer", None, "An HTML page with status 200."),
    "error-200": FaultKind("answer", None, "A JSON error object with status 200."),
    "empty": FaultKind("answer", None, "Status 200 and nothing else."),
    "json": FaultKind(
        "answer",
        "cut",
        "Status 200 and JSON that is none or hostile: `cut`, `text`, `depth`, `nan`, "
        "`surrogate`, `big`, `duplicate`.",
    ),
    "redirect": FaultKind("answer", 302, "A redirect with status N to another path."),
    "redirect-host": FaultKind("answer", 302, "A redirect with status N to another host."),
    "redirect-loop": FaultKind("answer", 302, "A redirect with status N to the same path."),
    "redirect-file": FaultKind("answer", 302, "A redirect with status N to a local file."),
    "silence": FaultKind("answer", None, "The request is taken, and nothing is ever said."),
    "close": FaultKind("answer", None, "The connection is closed instead of an answer."),
    "reset": FaultKind("answer", None, "The connection is reset instead of an answer."),
    "delay": FaultKind("answer", 0.5, "Seconds of silence before the request is looked at."),
    "lost": FaultKind(
        "framing", None, "The request takes its effect, but the connection closes unanswered."
    ),
    "interim": FaultKind("framing", 3, "N interim answers 103 before the real one."),
    "slow-headers": FaultKind("framing", 0.01, "A byte of the headers each so many seconds."),
    "long-header": FaultKind("framing", 65536, "A header of N bytes."),
    "many-headers": FaultKind("framing", 2000, "N further headers."),
    "nul-header": FaultKind("framing", None, "A header with a NUL in its value."),
    "no-colon": FaultKind("framing", None, "A header line without a colon."),
    "both-lengths": FaultKind("framing", None, "`Content-Length` and chunks at once."),
    "two-lengths": FaultKind("framing", None, "Two `Content-Length` that differ."),
    "long-length": FaultKind("framing", 100, "`Content-Length` says N bytes too many."),
    "short-length": FaultKind("framing", 5, "`Content-Length` says N bytes too few."),
    "extra-answer": FaultKind(
        "framing", None, "A second answer that nobody asked for follows; the connection stays."
    ),
    "until-close": FaultKind(
        "framing", 0, "No length and no chunks, and the last N bytes are missing."
    ),
    "bad-chunk": FaultKind("framing", None, "After the first chunk comes a size that is none."),
    "chunk-overflow": FaultKind("framing", None, "After the first chunk a size of 18 digits."),
    "chunk-cut": FaultKind("framing", 10, "Closed N bytes before the end of the last chunk."),
    "chunk-extension": FaultKind("framing", 200_000, "A chunk extension of N bytes."),
    "trailers": FaultKind("framing", 20_000, "N trailers after the body."),
    "type": FaultKind("body", "text/plain", "Another content type."),
    "charset": FaultKind("body", "windows-1252", "The content type names this charset."),
    "stall-after": FaultKind("body", 0, "Silence after N frames; the connection stays open."),
    "end-after": FaultKind("body", 2, "An orderly end after N frames, end mark missing."),
    "break-after": FaultKind("body", 2, "Closed after N frames without the last chunk."),
    "reset-after": FaultKind("body", 2, "The connection is reset after N frames."),
    "stall-bytes": FaultKind("body", 20, "Silence after N bytes of the body."),
    "end-bytes": FaultKind("body", 20, "An orderly end after N bytes."),
    "break-bytes": FaultKind("body", 20, "Closed after N bytes without the last chunk."),
    "reset-bytes": FaultKind("body", 20, "The connection is reset after N bytes."),
    "break-character": FaultKind(
        "body", None, "Closed after the first byte of the first character that has several."
    ),
    "reset-end": FaultKind("body", None, "Reset after the whole body, before the last chunk."),
    "comments-after": FaultKind(
        "body", 0, "After N frames only keep-alive comments (blank lines among JSON lines)."
    ),
    "garbage-after": FaultKind("body", 1, "A frame that is no JSON after N frames."),
    "error-after": FaultKind("body", 1, "A frame with an error object after N frames."),
    "bytes-after": FaultKind("body", 1, "A frame that is no UTF-8 after N frames."),
    "huge-event": FaultKind("body", 2_097_152, "After the first frame one of N bytes."),
    "endless-line": FaultKind(
        "body", 64, "After the first frame N MiB without a line end; 0 is for ever."
    ),
    "duplicate": FaultKind("body", None, "Each frame twice."),
    "swap": FaultKind("body", None, "Each two neighbouring frames in the wrong order."),
    "drop-last": FaultKind("body", 1, "The last N frames are missing; the end is orderly."),
    "no-last-newline": FaultKind("body", None, "The last frame lacks its line ends."),
    "bom": FaultKind("body", None, "A byte-order mark before the first frame."),
    "crlf": FaultKind("body", None, "Line ends are CR LF."),
    "cr": FaultKind("body", None, "Line ends are CR."),
    "bytes-of": FaultKind("body", 1, "Sent in network writes of N bytes."),
    "trickle": FaultKind("body", 0.01, "A byte each so many seconds."),
    "every": FaultKind("body", 0.1, "Seconds between the comments of `comments-after`."),
    "gzip": FaultKind("body", None, "gzip, flushed after each frame."),
    "deflate": FaultKind("body", None, "deflate, flushed after each frame."),
    "gzip-whole": FaultKind("body", None, "gzip that is flushed at the end only."),
    "gzip-cut": FaultKind("body", 12, "gzip without its last N bytes; the end is orderly."),
    "gzip-corrupt": FaultKind("body", None, "gzip with a wrong byte in its data."),
    "gzip-members": FaultKind("body", None, "Each frame is a gzip member of its own."),
    "gzip-bomb": FaultKind("body", 256, "gzip of N MiB of one letter after the first frame."),
    "encoding": FaultKind("body", "foo", "`Content-Encoding` says this, the body is plain."),
    "model-fails": FaultKind(
        "model", 1, "The model fails after N pieces; told in the protocol's own way."
    ),
    "model-stalls": FaultKind("model", 1, "The model says nothing more after N pieces."),
    "model-delay": FaultKind("model", 0.5, "Seconds before the first piece."),
    "model-empty": FaultKind("model", None, "The model says nothing and is done."),
    "model-nul": FaultKind("model", None, "The model's text ends with U+0000."),
    "model-finish": FaultKind("model", "length", "How the model says that it ended."),
    "fails-as": FaultKind(
        "model",
        "failure",
        "The model fails after the pieces of `model-fails`, as the failure of this name; "
        "see below.",
    ),
    "model-status": FaultKind(
        "model", 500, "The model fails so with the status N of the host behind the server."
    ),
    "model-runs": FaultKind("model", 2, "The faults of the model strike N runs, not one."),
    "cleanup": FaultKind(
        "later",
        "500",
        "The next DELETE, cancel or stop gets this status, or `silence`, `close`, `reset`.",
    ),
}

_OWN: Mapping[str, FaultKind] = {
    "upstream": FaultKind(
        "protocol",
        "502",
        "The answer of the model's host is passed on as it is, whatever it is.",
        ("h2o",),
        {
            "401": "JSON: the host's own key is wrong; the session is not.",
            "415": "plain text: the body was no JSON for it",
            "422": "plain text: the body did not fit",
            "502": "HTML of a proxy",
            "503": "JSON: the model is loading",
            "refused": "no connection: the app's own 500",
        },
    ),
    "queued": FaultKind(
        "protocol",
        "requeued",
        "What becomes of the message that is queued next.",
        ("openassistant",),
        {
            "cancelled": "it is cancelled: `pending` for ever",
            "timeout": "it is older than a minute when it is taken",
            "never": "no worker takes it: `pending` for ever",
            "requeued": "its worker is lost before the first piece; another one answers",
            "lost": "its worker is lost and so is its place: `pending` at 0 for ever",
        },
    ),
    "safety": FaultKind(
        "protocol",
        None,
        "The safety worker writes on the question; no event tells of it.",
        ("openassistant",),
    ),
    "plugin": FaultKind(
        "protocol",
        None,
        "A plugin is called before the answer: `plugin_intermediate`, and an empty token.",
        ("openassistant",),
    ),
    "prediction": FaultKind(
        "protocol",
        "no-stream",
        "What is odd about the next prediction.",
        ("replicate",),
        {
            "no-stream": "`urls` has no `stream`; the output is to be polled",
            "no-output": "its answers have no `output`",
            "null-output": "its `output` is null, even when it has succeeded",
            "empty-error": "its `error` is an empty text, though nothing failed",
            "no-id": "the answer to the create has no `id` and no addresses",
            "failed": "the answer to the create says that it has failed",
            "removed": "its data is removed as soon as it has ended",
        },
    ),
    "refusal": FaultKind(
        "protocol",
        "page-502",
        "A refusal of the service, in words that others have quoted.",
        ("replicate",),
        {
            "expired-key": "401 with nothing but a detail",
            "forbidden": "403",
            "throttled-body": "429 whose wait stands in the body only",
            "throttled-detail": "429 whose wait stands in the sentence only",
            "too-large": "413",
            "page-502": "502 with a page of the proxy in front",
        },
    ),
    "stream": FaultKind(
        "protocol",
        "closed-channel",
        "What is odd about the next stream.",
        ("replicate",),
        {
            "closed-channel": "403 without a body: only channels that exist may be read",
            "unknown-channel": "`: hi`, silence, 408",
            "no-done": "after an `error` event no `done` follows",
            "plain-error": "the `error` event's data is plain text",
            "comments": "comments before, between and within events",
            "retry": "`retry` lines, alone and within events, and no `: hi`",
        },
    ),
    "dropped": FaultKind(
        "protocol",
        3,
        "After N events the prediction's history is dropped: an `error` event, and the end.",
        ("cog",),
    ),
    "error": FaultKind(
        "protocol",
        "rate_limit_exceeded",
        "A refusal with this code.",
        ("openai",),
        {
            "invalid_api_key": "401",
            "insufficient_quota": "429 that no waiting helps",
            "billing_hard_limit_reached": "402",
            "unsupported_country": "403",
            "model_not_found": "404",
            "context_length_exceeded": "400",
            "content_policy_violation": "400",
            "invalid_value": "400",
            "request_too_large": "413",
            "unprocessable": "422",
            "rate_limit_exceeded": "429",
            "server_error": "500",
            "overloaded": "503",
        },
    ),
}

FAULTS: Mapping[str, FaultKind] = {**_COMMON, **_OWN}
"""All of them, by name."""

_ROUTER: Mapping[str, str] = {
    "overloaded": "an error frame of that type",
    "validation": "an error frame of that type",
    "generation": "an error frame of that type",
    "incomplete": "an error frame of the type `incomplete_generation`",
    "dropped": "the router's connection is lost between two frames",
    "cut-frame": "the router's connection is lost inside a frame",
}

FAILURES: Mapping[str, Mapping[str, str]] = {
    "allenai": {
        "length": "the context is too small: an error line",
        "unclosed-stream": "an error line and, in the older version, the final object",
        "aborted": "the same with another reason",
        "overloaded": "the same, as when no first token comes in time",
        "grpc": "an error line and the final object with the text so far",
        "finalization": "an error line, then the body breaks",
        "crash": "the body breaks without a word",
        "value": "newer version: the value of an option was refused by the host",
        "tool-arguments": "newer version: the arguments of a tool call are no JSON",
        "tool-unknown": "newer version: a typed error line; the stream ends in order",
        "tool-limit": "newer version: ten rounds of tools; the stream ends in order",
    },
    "openassistant": {
        "worker-lost": "the worker is lost after its first piece",
        "generation": "the model server's JSON stands inside the error's text",
        "timeout": "`Timeout`, and the message's state is that",
    },
    "tgi": _ROUTER,
    "h2o": _ROUTER,
    "chatui": {
        "terminated": "the connection to the host is lost",
    },
}
"""What `fails-as` can be at which server."""
