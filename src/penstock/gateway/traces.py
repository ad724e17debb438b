"""OpenTelemetry spans: one for each request, and one for each try below it.

Laws:
* without a tracer provider that somebody has set up in this process nothing is imported, made or
  remembered;
* spans are made at the end of a request, from facts that are known then anyway: a token costs
  nothing;
* they hold no prompt, no answer and no secret.

The gateway sets up no provider of its own: ``opentelemetry-instrument penstock serve``, or the
program that mounts the application, does.
Source of the names: the OpenTelemetry semantic conventions (gen_ai).
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from penstock.gateway.exchange import Exchange
from penstock.gateway.metrics import provider_of
from penstock.observe import AttemptEnded
from penstock.types import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Attributes = dict[str, str | int | float | bool | tuple[str, ...]]

MOST = 10_000
"""Requests whose tries are remembered until they end."""


class Traces:
    """Makes the spans of a gateway's requests."""

    def __init__(self) -> None:
        self._tries: dict[str, list[AttemptEnded]] = {}

    @property
    def wanted(self) -> bool:
        """Somebody has set up a provider of tracers in this process."""
        return _tracer() is not None

    def ended(self, record: AttemptEnded) -> None:
        """A try ended; its span is made with that of its request."""
        if not record.request_id or _tracer() is None:
            return
        if len(self._tries) >= MOST:
            # A try that ends after its request is asked for by nobody: the oldest are such.
            del self._tries[next(iter(self._tries))]
        self._tries.setdefault(record.request_id, []).append(record)

    def request(self, exchange: Exchange, route: str, now: float) -> None:
        """A request ended.

        Args:
            route: the template of its path.
            now: instant of the clock that ``exchange`` and the tries were measured with.
        """
        tries = self._tries.pop(exchange.request_id, [])
        tracer = _tracer()
        if tracer is None:
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, set_span_in_context

        ahead = time.time() - time.monotonic()
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in exchange.headers.items()
        }
        name = f"chat {exchange.model}" if exchange.target else f"{exchange.method} {route}"
        span = tracer.start_span(
            name,
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes=_of_request(exchange, route),
            start_time=_ns(exchange.began + ahead),
        )
        inside = set_span_in_context(span)
        for record in tries:
            below = tracer.start_span(
                f"chat {record.target}",
                context=inside,
                kind=SpanKind.CLIENT,
                attributes=_of_try(record),
                start_time=_ns(record.at - record.duration_s + ahead),
            )
            _end(below, record.kind, record.at + ahead)
        # A refusal of the caller's own making is no error of the service.
        blamed = exchange.kind if exchange.status >= 500 or exchange.status < 400 else None
        _end(span, blamed, now + ahead)


def _of_request(exchange: Exchange, route: str) -> Attributes:
    made: Attributes = {
        "http.request.method": exchange.method,
        "http.route": route,
        "http.response.status_code": exchange.status,
        "penstock.request_id": exchange.request_id,
    }
    if exchange.target is not None:
        made |= _of_call(exchange.target, exchange.usage)
        made["penstock.attempts"] = exchange.attempts
        made["penstock.target"] = exchange.target
        made["gen_ai.request.stream"] = exchange.streamed
    if exchange.model is not None:
        made["gen_ai.request.model"] = exchange.model
    if exchange.finish_reason is not None:
        made["gen_ai.response.finish_reasons"] = (exchange.finish_reason,)
    if exchange.first_content is not None:
        made["gen_ai.response.time_to_first_chunk"] = exchange.first_content - exchange.began
    if exchange.kind is not None:
        made["error.type"] = exchange.kind
    return made


def _of_try(record: AttemptEnded) -> Attributes:
    made = _of_call(record.target, record.usage)
    made["gen_ai.request.model"] = record.target.partition("/")[2]
    made["penstock.attempt"] = record.attempt
    if record.first_content_s is not None:
        made["gen_ai.response.time_to_first_chunk"] = record.first_content_s
    if record.kind is not None:
        made["error.type"] = record.kind
    return made


def _of_call(target: str, usage: Usage | None) -> Attributes:
    made: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider_of(target),
        "gen_ai.response.model": target.partition("/")[2],
    }
    if usage is not None and not usage.estimated:
        if usage.prompt_tokens is not None:
            made["gen_ai.usage.input_tokens"] = usage.prompt_tokens
        if usage.completion_tokens is not None:
            made["gen_ai.usage.output_tokens"] = usage.completion_tokens
    return made


def _end(span: Span, kind: str | None, at: float) -> None:
    from opentelemetry.trace import Status, StatusCode

    if kind is not None and kind != "cancelled":
        span.set_status(Status(StatusCode.ERROR, kind))
    span.end(end_time=_ns(at))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _tracer() -> Tracer | None:
    """A tracer, if somebody has set up a provider in this process."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return None
    return provider.get_tracer("penstock")
