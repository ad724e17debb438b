"""Requests of the hosted API, and the prediction object it answers with.

Facts: wire/replicate.md sections 2 to 4. The token goes to the API's own origin and nowhere else;
the one exception, a stream host of the vendor that refuses a request without it, is the shell's
to ask for (``may_have_key``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from penstock.errors import PenstockError, ProtocolError, one_sentence
from penstock.providers.replicate.dialect.targets import Target
from penstock.types import Usage, Value
from penstock.wire.decoder import JSON_ERRORS, bad_payload
from penstock.wire.request import (
    HttpRequest,
    header_value,
    json_request,
    origin_of,
    path_of,
    trusted_url,
    url_of,
)

DEFAULT_BASE = "https://api.replicate.com/v1"
KEYLESS_BASE = "https://replicate.com/api"
VENDOR_HOSTS = ("replicate.com", ".replicate.com", ".replicate.net")
TERMINAL = frozenset({"succeeded", "failed", "canceled", "aborted"})


def api_base(base: str) -> str:
    """The base of the API's paths: ``/v1`` is added to an origin, and never twice."""
    return base if base == KEYLESS_BASE or base.endswith("/v1") else f"{base}/v1"


class Urls(msgspec.Struct, frozen=True):
    """Where a prediction can be asked for, cancelled, listened to."""

    get: str | None = None
    cancel: str | None = None
    stream: str | None = None


class Metrics(msgspec.Struct, frozen=True):
    """Token counts of a finished prediction; counts of other models are ignored."""

    input_token_count: int | float | None = None
    output_token_count: int | float | None = None


class Prediction(msgspec.Struct, frozen=True):
    """The prediction object. Fields not named here are ignored, as are unknown ones."""

    id: str = ""
    status: str = ""
    model: str | None = None
    output: Any = None
    error: Any = None
    metrics: Metrics | None = None
    data_removed: bool | None = None
    urls: Urls | None = None

    @property
    def terminal(self) -> bool:
        """True once the status will not change."""
        return self.status in TERMINAL

    @property
    def text(self) -> str | None:
        """The text so far; None where there is none.

        Raises:
            ProtocolError: the model's output is no text.
        """
        output = self.output
        if output is None or isinstance(output, str):
            return output
        if isinstance(output, list) and all(isinstance(item, str) for item in output):
            return "".join(output)
        raise ProtocolError("the output of this model is no text")

    @property
    def usage(self) -> Usage | None:
        """The token counts, where the model reports them."""
        if self.metrics is None:
            return None
        asked, answered = self.metrics.input_token_count, self.metrics.output_token_count
        if asked is None and answered is None:
            return None
        known = asked is not None and answered is not None
        return Usage(
            prompt_tokens=None if asked is None else int(asked),
            completion_tokens=None if answered is None else int(answered),
            total_tokens=int(asked or 0) + int(answered or 0) if known else None,
        )

    @property
    def streams_text(self) -> bool:
        """Whether there is a stream, and it is not one of file URLs (section 2)."""
        stream = self.urls.stream if self.urls else None
        return bool(stream) and not urlsplit(stream or "").path.startswith("/v1/files/")


_PREDICTION = msgspec.json.Decoder(Prediction)


def decode_prediction(body: bytes, status: int) -> Prediction:
    """The prediction in ``body``.

    Raises:
        ProtocolError: it is something else, or has no id; ``status`` is told.
    """
    try:
        prediction = _PREDICTION.decode(body)
    except JSON_ERRORS as problem:
        error: PenstockError = bad_payload(problem, body)
        error.status = status
        error.detail = one_sentence(body[:4000].decode("utf-8", "replace"))
        raise error from None
    if not prediction.id:
        raise ProtocolError("the answer holds no prediction: its id is missing", status=status)
    return prediction


class Api(Value, frozen=True):
    """The hosted API as one caller sees it: makes its requests.

    Attributes:
        base: base of the paths, ``/v1`` included.
        key: the token; None for the keyless base.
        headers: the caller's own, for the API's origin; they win over ours.
        hosts: further hosts that the server may name.
    """

    base: str
    key: str | None = None
    headers: Mapping[str, str] = {}
    hosts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Api({self.base!r})"

    def create(self, target: Target, inputs: Mapping[str, Any], wait: int | None) -> HttpRequest:
        """Ask for a new prediction; ``wait`` seconds of holding the answer back, or None."""
        body: dict[str, Any] = {"input": dict(inputs), "stream": True}
        if target.version is not None:
            body["version"] = target.version
        prefer = () if wait is None else (("Prefer", f"wait={wait}"),)
        request = json_request("POST", url_of(self.base, target.path), body)
        return msgspec.structs.replace(request, headers=self._headers(*request.headers, *prefer))

    def get(self, prediction: Prediction) -> HttpRequest:
        """Ask for the state of a prediction."""
        named = prediction.urls.get if prediction.urls else None
        url = self._own(named, "/predictions/" + path_of(prediction.id, param="id"))
        return HttpRequest(method="GET", url=url, headers=self._headers())

    def cancel(self, prediction: Prediction) -> HttpRequest:
        """Cancel a prediction."""
        named = prediction.urls.cancel if prediction.urls else None
        url = self._own(named, "/predictions/" + path_of(prediction.id, param="id") + "/cancel")
        content_type = ("Content-Type", "application/json")
        return HttpRequest(method="POST", url=url, headers=self._headers(content_type))

    def stream(self, prediction: Prediction, last_id: str = "") -> HttpRequest:
        """Listen to a prediction; after ``last_id``, if there is one. It carries no token.

        Raises:
            ProtocolError: the server named a host it may not name.
        """
        named = (prediction.urls.stream if prediction.urls else None) or ""
        url = trusted_url(named, base=self.base, hosts=(*VENDOR_HOSTS, *self.hosts))
        headers = [("Accept", "text/event-stream"), ("Cache-Control", "no-store")]
        if last_id and last_id.isprintable() and last_id.isascii():
            headers.append(("Last-Event-ID", last_id))
        return HttpRequest(method="GET", url=url, headers=tuple(headers), stream=True)

    def may_have_key(self, url: str) -> bool:
        """Whether a stream that refused us may be shown the token: section 2, last paragraph."""
        if self.key is None:
            return False
        host = urlsplit(url).hostname or ""
        vendors = host == "replicate.com" or host.endswith((".replicate.com", ".replicate.net"))
        secure = url.startswith("https://")
        return origin_of(url) == origin_of(self.base) or (vendors and secure)

    def with_key(self, request: HttpRequest) -> HttpRequest:
        """The same request with the token."""
        return request.with_headers(*self._authorization())

    def model(self, model: str) -> HttpRequest:
        """Ask for a model and its schema."""
        url = url_of(self.base, f"/models/{path_of(model, slashes=True)}")
        return HttpRequest(method="GET", url=url, headers=self._headers())

    def models(self, following: str | None = None) -> HttpRequest:
        """Ask for a page of the list of models; ``following`` is the URL a page named."""
        query = urlsplit(following or "").query
        cursor = parse_qs(query).get("cursor", [""])[0]
        url = url_of(self.base, "/models", {"cursor": cursor} if cursor else None)
        return HttpRequest(method="GET", url=url, headers=self._headers())

    def _own(self, named: str | None, path: str) -> str:
        # A named URL is used where it is the API's own; the token follows no other.
        usable = named is not None and named.isascii() and named.isprintable() and " " not in named
        if named and usable and origin_of(named) == origin_of(self.base):
            return named
        return url_of(self.base, path)

    def _authorization(self) -> tuple[tuple[str, str], ...]:
        if self.key is None:
            return ()
        return (("Authorization", f"Bearer {header_value('api_key', self.key)}"),)

    def _headers(self, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        ours = (("Accept", "application/json"), *self._authorization(), *more)
        theirs = {name.lower(): (name, value) for name, value in self.headers.items()}
        kept = [header for header in ours if header[0].lower() not in theirs]
        return (*kept, *theirs.values())
