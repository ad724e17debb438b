"""``/metrics``, and ``/api/status`` beside it, of a gateway at work over the sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.config import Settings
from penstock.config.routing import BreakerRules, Pool, Routing
from penstock.gateway.exchange import Exchange
from penstock.gateway.metrics import MOST_MODELS, MOST_TOKENS, Live, Metrics, joined
from penstock.gateway.siblings import Siblings
from penstock.gateway.status import Status
from penstock.gateway.view import ROUTES, View, route_of
from penstock.observe import AttemptEnded
from penstock.sandbox import Sandbox
from penstock.types import Usage
from tests.gateway.running import Running, running_gateway

MODEL = "openai_compatible/sandbox-model"
OTHER = "h2o/falcon-40b"
POOLED = Settings(
    routing=Routing(
        pools={"fast": Pool(targets=(OTHER, MODEL))},
        breaker=BreakerRules(failures=1, open=300.0),
    )
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai", "h2o"], pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox) -> AsyncIterator[Running]:
    async with running_gateway(sandbox.providers) as running:
        yield running


class Scrape:
    """The samples of one answer of ``/metrics``."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of that name and those labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values(self, label: str) -> set[str]:
        """All values that a label has anywhere."""
        return {sample.labels[label] for sample in self.samples if label in sample.labels}


async def quiet(gateway: Running, running: int = 0) -> None:
    """Wait until requests have ended, which is after their last byte, and are counted."""
    await until(lambda: gateway.gateway.open_streams == running)
    gateway.gateway.view.settle()


async def leave_in_the_middle(gateway: Running) -> None:
    """Ask for a stream, and leave when a piece of it has come."""
    question = {"role": "user", "content": "One two three"}
    body = {"model": MODEL, "messages": [question], "stream": True}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
        while b'"One' not in await answer.content.readline():
            assert not answer.content.at_eof()
        answer.close()


async def scraped(gateway: Running, running: int = 0) -> Scrape:
    await quiet(gateway, running)
    async with gateway.http.get(f"{gateway.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return Scrape(await answer.text())


async def status_of(gateway: Running) -> Status:
    async with gateway.http.get(f"{gateway.url}/api/status") as answer:
        assert answer.status == 200
        return msgspec.json.decode(await answer.read(), type=Status)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_stream_and_a_whole_answer_are_counted_by_the_names_of_genai(
    gateway: Running,
) -> None:
    await gateway.stream(MODEL, "One two three")
    await gateway.chat(MODEL, "One two three")
    seen = await scraped(gateway)
    call = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai_compatible",
        "gen_ai_request_model": MODEL,
    }
    for name, count in (
        ("gen_ai_server_request_duration_seconds", 2),
        ("gen_ai_server_time_to_first_token_seconds", 1),
        ("gen_ai_server_time_per_output_token_seconds", 1),
        ("gen_ai_client_operation_duration_seconds", 2),
    ):
        assert seen.families[name].type == "histogram"
        assert seen.total(f"{name}_count", **call) == seen.total(f"{name}_count") == count
    assert seen.total("gen_ai_server_request_duration_seconds_count", error_type="") == 2
    assert seen.total("gen_ai_client_token_usage_count", gen_ai_token_type="output", **call) == 2
    assert seen.total("gen_ai_client_token_usage_sum", gen_ai_token_type="output") >= 6
    assert seen.total("penstock_output_pieces_total") >= 3
    assert (
        seen.total("penstock_http_requests_total", route="/v1/chat/completions", status="200") == 2
    )
    assert seen.total("penstock_attempts_total") == 2
    assert seen.total("penstock_retries_total") == 0
    assert seen.total("penstock_ready") == 1
    assert seen.total("process_cpu_seconds_total") > 0


async def test_openmetrics_is_spoken_to_those_who_ask_for_it(gateway: Running) -> None:
    headers = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    async with gateway.http.get(f"{gateway.url}/metrics", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_made_up_names_make_no_series(gateway: Running) -> None:
    await gateway.chat(MODEL)
    await gateway.chat("h2o/made-up-0")
    before = len((await scraped(gateway)).samples)
    for number in range(1, 6):
        await gateway.chat(f"h2o/made-up-{number}")
        await gateway.chat(f"nobody-{number}/x")
        async with gateway.http.get(f"{gateway.url}/v1/models/h2o/made-up-{number}") as answer:
            await answer.read()
        async with gateway.http.get(f"{gateway.url}/made-up-{number}") as answer:
            await answer.read()
    seen = await scraped(gateway)
    assert seen.values("gen_ai_request_model") == {MODEL, "other"}
    assert seen.values("gen_ai_provider_name") == {"openai_compatible", "h2o"}
    assert seen.values("route") <= {*ROUTES, "/v1/models/{id}", "other"}
    assert len(seen.samples) - before < 10


def test_the_number_of_names_is_bounded() -> None:
    metrics = Metrics(lambda: Live(0, True, 0, 0, {}, {}))
    for number in range(MOST_MODELS + 50):
        record = AttemptEnded("r", f"h2o/{number}", 1, 0.0, None, 0.1, 0.2, 3, None, True)
        metrics.ended(record)
    (counted,) = [m for m in joined({"": metrics.families()}) if m.name == "penstock_attempts"]
    assert len(counted.samples) == MOST_MODELS + 1
    assert {s.value for s in counted.samples if s.labels["gen_ai_request_model"] == "other"} == {50}


def test_what_ends_in_a_later_loop_is_counted_soon_as_well() -> None:
    view = View()
    scope: dict[str, Any] = {"method": "GET", "path": "/v1/models", "headers": []}

    async def ended(*, wait: bool) -> None:
        view.ended(Exchange(scope, 0.0), 1.0)
        if wait:
            await until(lambda: not view._noted)

    asyncio.run(ended(wait=False))
    asyncio.run(ended(wait=True))


def test_estimated_tokens_are_not_told_as_counted() -> None:
    metrics = Metrics(lambda: Live(0, True, 0, 0, {}, {}))
    scope: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    exchange = Exchange(scope, 0.0)
    exchange.status, exchange.model, exchange.target = 200, MODEL, MODEL
    exchange.usage = Usage(prompt_tokens=3, completion_tokens=4, estimated=True)
    metrics.request(exchange, exchange.path, 1.0)
    families = {family.name: family for family in metrics.families()}
    assert families["gen_ai_client_token_usage"].samples == []
    assert families["gen_ai_server_request_duration_seconds"].samples


def test_a_number_that_cannot_be_added_up_spoils_no_other() -> None:
    view = View()
    scope: dict[str, Any] = {"method": "POST", "path": "/v1/chat/completions", "headers": []}
    for told in (5, 10**400, 7):
        exchange = Exchange(scope, 0.0)
        exchange.status, exchange.model, exchange.target = 200, MODEL, MODEL
        exchange.usage = Usage(prompt_tokens=told, completion_tokens=told)
        view.metrics.request(exchange, exchange.path, 1.0)
        view.settle()
    for _ in range(2):
        families = {family.name: family for family in view.metrics.families()}
        counts = {
            (labels["gen_ai_token_type"], name.rpartition("_")[2]): value
            for name, labels, value in families["gen_ai_client_token_usage"].samples
            if not name.endswith("_bucket")
        }
        assert counts["input", "count"] == counts["output", "count"] == 3
        assert counts["input", "sum"] == 12 + MOST_TOKENS


async def test_refusals_errors_and_callers_who_leave(sandbox: Sandbox, gateway: Running) -> None:
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", data=b"{") as answer:
        assert answer.status == 400
    sandbox.servers["openai"].faults.next("status=500")
    assert (await gateway.chat(MODEL))[0] == 502
    sandbox.servers["openai"].faults.next("end-after=2")
    _, text, _ = await gateway.stream(MODEL, "One two three")
    assert "error" in text
    sandbox.servers["openai"].faults.next("stall-after=3")
    await leave_in_the_middle(gateway)
    seen = await scraped(gateway)
    assert seen.total("penstock_refusals_total", status="400") == 1
    assert seen.total("penstock_refusals_total") == 1
    errors = "gen_ai_server_request_duration_seconds_count"
    assert seen.total(errors, error_type="server") == 1
    assert seen.total(errors, error_type="truncated") == 1
    assert seen.total(errors, error_type="cancelled") == 1
    assert seen.total("penstock_in_flight") == 0
    (target,) = next(p for p in (await status_of(gateway)).providers if p.targets).targets
    assert target.errors == {"server": 1, "truncated": 1}
    assert (target.requests, target.in_flight) == (3, 0)


async def test_what_runs_is_seen_while_it_runs(sandbox: Sandbox, gateway: Running) -> None:
    sandbox.servers["openai"].faults.next("stall-after=2")
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "One two"}], "stream": True}
    url = f"{gateway.url}/v1/chat/completions"
    async with gateway.http.post(url, json=asked) as answer:
        await answer.content.readany()
        seen = await scraped(gateway, running=1)
        assert seen.total("penstock_open_streams") == 1
        assert seen.total("penstock_in_flight") == 1
        status = await status_of(gateway)
        assert status.open_streams == 1
        assert [t.in_flight for p in status.providers for t in p.targets] == [1]
        answer.close()
    assert (await scraped(gateway)).total("penstock_in_flight") == 0


async def test_a_pool_shows_its_breakers_retries_and_who_answered(sandbox: Sandbox) -> None:
    async with running_gateway(sandbox.providers, config=POOLED) as gateway:
        idle = await status_of(gateway)
        assert {t.model for p in idle.providers for t in p.targets} == {MODEL, OTHER}
        sandbox.servers["h2o"].faults.next("close", times=0)
        status, body, headers = await gateway.chat("fast")
        assert (status, body["model"]) == (200, "fast")
        assert (headers["x-penstock-target"], headers["x-penstock-attempts"]) == (MODEL, "2")
        seen = await scraped(gateway)
        state = "penstock_breaker_state"
        assert seen.total(state, gen_ai_request_model=OTHER, state="open") == 1
        assert seen.total(state, gen_ai_request_model=OTHER, state="closed") == 0
        assert seen.total(state, gen_ai_request_model=MODEL, state="closed") == 1
        assert seen.total("penstock_attempts_total", gen_ai_request_model=OTHER) == 1
        assert seen.total("penstock_retries_total", gen_ai_request_model=MODEL) == 1
        served = "gen_ai_server_request_duration_seconds_count"
        assert seen.total(served, gen_ai_request_model="fast") == 1
        shown = {t.model: t for p in (await status_of(gateway)).providers for t in p.targets}
        assert (shown[OTHER].breaker, shown[OTHER].errors) == ("open", {"network": 1})
        assert (shown[MODEL].breaker, shown[MODEL].errors) == ("closed", {})


async def test_failed_cleanups_are_counted(gateway: Running) -> None:
    async def undo() -> None:
        raise TimeoutError

    await gateway.gateway.client.session.outbox.settle("h2o: delete conversation x", undo)
    assert (await scraped(gateway)).total("penstock_cleanups_failed_total") == 1


async def test_figures_go_on_after_the_configuration_was_read_again(gateway: Running) -> None:
    await gateway.chat(MODEL)
    inner = gateway.gateway
    again = Settings(providers=inner.client._configs, routing=POOLED.routing)
    inner._reread = lambda: again
    before = inner.client
    inner.reload()
    assert inner.client is not before
    assert (await gateway.chat("fast"))[0] == 200
    seen = await scraped(gateway)
    assert seen.total("penstock_attempts_total") == 2
    shown = {t.model: t.requests for p in (await status_of(gateway)).providers for t in p.targets}
    assert shown == {MODEL: 1, OTHER: 1}


async def test_workers_answer_as_one(tmp_path: Path) -> None:
    views = [View(Siblings(tmp_path, index, 3)) for index in range(3)]
    for number, view in enumerate(views, 1):
        for _ in range(number):
            view(AttemptEnded("r", MODEL, 1, 0.0, None, 0.1, 0.2, 3, None, True))
    async with contextlib.AsyncExitStack() as stack:
        for index, view in enumerate(views[:2]):
            await stack.enter_async_context(Siblings(tmp_path, index, 3).serving(view.told))
        for view in views[:2]:  # the third is dead
            seen = Scrape((await view.metrics_text(""))[0].decode())
            assert seen.values("worker") == {"0", "1"}
            assert seen.total("penstock_attempts_total", worker="0") == 1
            assert seen.total("penstock_attempts_total") == 3
            assert [t.requests for p in (await view.status()).providers for t in p.targets] == [3]
        await stack.enter_async_context(Siblings(tmp_path, 2, 3).serving(views[2].told))
        seen = Scrape((await views[0].metrics_text(""))[0].decode())
        assert seen.total("penstock_attempts_total") == 6
        assert [t.requests for p in (await views[2].status()).providers for t in p.targets] == [6]


def test_the_socket_of_a_worker_that_died_is_replaced(tmp_path: Path) -> None:
    async def scene() -> bytes:
        (tmp_path / "0").touch()
        async with Siblings(tmp_path, 0, 2).serving(lambda: b"alive"):
            return (await Siblings(tmp_path, 1, 2).others())["0"]

    assert asyncio.run(scene()) == b"alive"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/models/meta/llama/3", "/v1/models/{id}"),
        ("/assets/index-Bx1.js", "/assets/{name}"),
        ("/v1/models/../../etc", "/v1/models/{id}"),
        ("/wp-admin", "other"),
    ],
)
def test_paths_become_routes(path: str, route: str) -> None:
    assert route_of(path) == route
