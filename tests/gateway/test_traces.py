"""Spans of requests and tries, kept in memory by OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from penstock.gateway.exchange import Exchange
from penstock.gateway.traces import MOST, Traces
from penstock.observe import AttemptEnded
from penstock.sandbox import Sandbox
from tests.gateway.running import Running, running_gateway
from tests.gateway.test_metrics import MODEL, OTHER, POOLED, quiet, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def _provider() -> Iterator[InMemorySpanExporter]:
    """A provider for this process: OpenTelemetry takes one, once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def spans(_provider: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    _provider.clear()
    yield _provider
    _provider.clear()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai", "h2o"], pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox, spans: InMemorySpanExporter) -> AsyncIterator[Running]:
    async with running_gateway(sandbox.providers, config=POOLED) as running:
        yield running


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_is_one_span_with_its_tries_below(
    sandbox: Sandbox, gateway: Running, spans: InMemorySpanExporter
) -> None:
    sandbox.servers["h2o"].faults.next("close", times=0)
    _, _, headers = await gateway.stream("fast", "One two three", {"traceparent": PARENT})
    await quiet(gateway)
    failed, answered, request = spans.get_finished_spans()
    told = facts(request)
    assert (request.name, request.kind) == ("chat fast", SpanKind.SERVER)
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert told.pop("gen_ai.response.time_to_first_chunk") > 0
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai_compatible",
        "gen_ai.request.model": "fast",
        "gen_ai.response.model": "sandbox-model",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 3,
        "penstock.request_id": headers["x-request-id"],
        "penstock.target": MODEL,
        "penstock.attempts": 2,
    }
    assert [span.kind for span in (failed, answered)] == [SpanKind.CLIENT] * 2
    assert [span.name for span in (failed, answered)] == [f"chat {OTHER}", f"chat {MODEL}"]
    for span in (failed, answered):
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert request.start_time is not None
        assert request.end_time is not None
        assert span.start_time is not None
        assert span.end_time is not None
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time
    assert facts(failed)["error.type"] == "network"
    assert facts(failed)["penstock.attempt"] == 1
    assert failed.status.status_code is StatusCode.ERROR
    assert facts(answered)["penstock.attempt"] == 2
    assert facts(answered)["gen_ai.usage.output_tokens"] == 3
    assert answered.status.status_code is StatusCode.UNSET


async def test_refusals_of_callers_are_no_errors_and_broken_answers_are(
    sandbox: Sandbox, gateway: Running, spans: InMemorySpanExporter
) -> None:
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", data=b"{") as answer:
        assert answer.status == 400
    sandbox.servers["openai"].faults.next("end-after=2")
    await gateway.stream(MODEL, "One two three")
    await quiet(gateway)
    refused, _, broken = spans.get_finished_spans()
    assert refused.name == "POST /v1/chat/completions"
    assert facts(refused)["http.response.status_code"] == 400
    assert refused.status.status_code is StatusCode.UNSET
    assert facts(broken)["error.type"] == "truncated"
    assert broken.status.status_code is StatusCode.ERROR


async def test_nothing_that_was_said_is_in_a_span(
    gateway: Running, spans: InMemorySpanExporter
) -> None:
    headers = {"authorization": "Bearer canary-key", "cookie": "session=canary-cookie"}
    await gateway.stream(MODEL, "canary-prompt two three", headers)
    await quiet(gateway)
    written = "".join(span.to_json() for span in spans.get_finished_spans())
    assert MODEL in written
    assert "canary" not in written


def test_a_try_whose_request_is_unknown_is_not_kept(spans: InMemorySpanExporter) -> None:
    traces = Traces()
    traces.ended(AttemptEnded("", MODEL, 1, 1.0, None, 0.1, 0.5))
    scope: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    exchange = Exchange(scope, 0.0)
    exchange.request_id = ""
    traces.request(exchange, exchange.path, 2.0)
    assert len(spans.get_finished_spans()) == 1


@pytest.mark.usefixtures("spans")
def test_tries_that_end_after_their_request_fill_nothing() -> None:
    traces = Traces()
    for number in range(MOST + 50):
        traces.ended(AttemptEnded(f"r{number}", MODEL, 1, 1.0, None, 0.1, 0.5))
    assert len(traces._tries) == MOST
    assert f"r{MOST + 49}" in traces._tries
    assert "r0" not in traces._tries


def test_without_a_provider_nothing_is_imported_or_kept() -> None:
    program = """
import sys
import time
from penstock.gateway.app import Gateway
from penstock.gateway.traces import Traces
from penstock.gateway.exchange import Exchange
from penstock.observe import AttemptEnded
traces = Traces()
def request():
    exchange = Exchange({"method": "POST", "path": "/", "headers": []}, 0.0)
    exchange.request_id = "r"
    traces.ended(AttemptEnded("r", "h2o/x", 1, 1.0, None, 0.1, 0.5))
    traces.request(exchange, "/", 2.0)
request()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
import opentelemetry.trace
request()
assert traces._tries == {}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_span_ends_when_its_request_did_however_late_it_is_made(
    gateway: Running, spans: InMemorySpanExporter
) -> None:
    await gateway.stream(MODEL, "One two three")
    await until(lambda: not gateway.gateway.open_streams)
    ended = time.time_ns()
    await asyncio.sleep(0.03)
    gateway.gateway.view.settle()
    *_, request = spans.get_finished_spans()
    assert request.end_time is not None
    assert request.end_time < ended + 10_000_000
