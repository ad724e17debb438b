"""One line of JSON for each request: what it holds, and what it never does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock.gateway.page import Page
from penstock.gateway.serve import set_up_logs
from penstock.sandbox import Sandbox
from tests.gateway.running import Running, running_gateway
from tests.gateway.test_metrics import leave_in_the_middle, until

MODEL = "openai_compatible/sandbox-model"
CANARY = "the-canary-sings-at-noon"


class Lines(logging.Handler):
    """The lines of the access log as they were written, and everything else that was told."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[dict[str, Any]] = []
        self.levels: list[str] = []
        self.all: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.all.append(text)
        if record.name == "penstock.access":
            assert "\n" not in text
            self.requests.append(json.loads(text))
            self.levels.append(record.levelname)


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    loggers = [logging.getLogger("penstock"), logging.getLogger("penstock.access")]
    before = [(logger, logger.level) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    loggers[1].propagate = False
    yield handler
    for logger, level in before:
        logger.removeHandler(handler)
        logger.setLevel(level)
    loggers[1].propagate = True


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai", "h2o"], pace=0.0) as servers:
        yield servers


@pytest.fixture
async def gateway(sandbox: Sandbox, lines: Lines) -> AsyncIterator[Running]:
    async with running_gateway(sandbox.providers) as running:
        yield running


async def line(lines: Lines, count: int = 1) -> dict[str, Any]:
    """The last of ``count`` lines: the answer's last byte can be here before them."""
    async with asyncio.timeout(5):
        while len(lines.requests) < count:
            await asyncio.sleep(0.01)
    assert len(lines.requests) == count
    return lines.requests[-1]


async def test_a_stream_is_one_line_with_its_figures(gateway: Running, lines: Lines) -> None:
    _, _, headers = await gateway.stream(MODEL, "One two three")
    told = await line(lines)
    assert told.pop("duration_ms") >= told.pop("first_token_ms") >= 0
    assert told.pop("pieces") >= 3
    assert told == {
        "request_id": headers["x-request-id"],
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": MODEL,
        "target": MODEL,
        "finish_reason": "stop",
        "usage": {"prompt": 3, "completion": 3},
    }


async def test_neither_prompt_nor_answer_nor_secret_is_told(
    sandbox: Sandbox, gateway: Running, lines: Lines
) -> None:
    secret = {"authorization": f"Bearer {CANARY}-key", "cookie": f"session={CANARY}-cookie"}
    await gateway.chat(MODEL, CANARY, headers=secret)
    await gateway.stream(MODEL, CANARY, headers=secret)
    sandbox.servers["openai"].faults.next("status=500")
    await gateway.chat(MODEL, CANARY, headers=secret)
    sandbox.servers["openai"].faults.next("end-after=3")
    await gateway.stream(MODEL, f"{CANARY} " * 9, headers=secret)
    await gateway.chat(MODEL, CANARY, headers=secret, temperature=[CANARY])
    url = f"{gateway.url}/v1/models/{MODEL}?key={CANARY}-query"
    async with gateway.http.get(url, headers=secret) as answer:
        await answer.read()
    told = await line(lines, 6)
    assert [one["status"] for one in lines.requests] == [200, 200, 502, 200, 400, 200]
    assert told["path"] == f"/v1/models/{MODEL}"
    assert not [text for text in lines.all if CANARY in text]


async def test_failures_say_their_kind_before_and_after_the_first_piece(
    sandbox: Sandbox, gateway: Running, lines: Lines
) -> None:
    sandbox.servers["openai"].faults.next("status=503")
    await gateway.stream(MODEL)
    told = await line(lines)
    assert (told["status"], told["kind"], told["target"]) == (503, "overloaded", MODEL)
    sandbox.servers["openai"].faults.next("end-after=2")
    await gateway.stream(MODEL, "One two three")
    told = await line(lines, 2)
    assert (told["status"], told["kind"]) == (200, "truncated")
    assert "finish_reason" not in told


async def test_a_caller_who_leaves_in_the_middle_is_told_as_one(
    sandbox: Sandbox, gateway: Running, lines: Lines
) -> None:
    sandbox.servers["openai"].faults.next("stall-after=3")
    await leave_in_the_middle(gateway)
    told = await line(lines)
    # The status that the caller has seen stays.
    assert (told["status"], told["kind"], told["target"]) == (200, "cancelled", MODEL)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_leaves_before_the_first_piece_is_a_499(
    sandbox: Sandbox, gateway: Running, lines: Lines, stream: bool
) -> None:
    sandbox.servers["openai"].faults.next("silence")
    asking = asyncio.ensure_future((gateway.stream if stream else gateway.chat)(MODEL))
    await until(lambda: gateway.gateway.open_streams == 1)
    asking.cancel()
    told = await line(lines)
    assert (told["status"], told["kind"], told["target"]) == (499, "cancelled", MODEL)


async def test_the_request_id_is_the_same_everywhere(gateway: Running, lines: Lines) -> None:
    own = {"X-Client-Request-Id": "mine-1", "X-Request-Id": "forged"}
    for number, (path, body) in enumerate(
        [("/v1/chat/completions", b"{"), ("/nothing", b""), ("/v1/messages", b"{")], 1
    ):
        async with gateway.http.post(gateway.url + path, data=body, headers=own) as answer:
            id = answer.headers["x-request-id"]
            assert answer.headers["x-client-request-id"] == "mine-1"
            if path == "/v1/messages":
                assert (await answer.json())["request_id"] == id
        assert (await line(lines, number))["request_id"] == id


POLLED = ["/api/status", "/health/live", "/health/ready", "/metrics"]


async def test_what_is_asked_every_few_seconds_is_told_to_those_who_debug(
    gateway: Running, lines: Lines
) -> None:
    for number, path in enumerate([*POLLED, "/openapi.json"], 1):
        async with gateway.http.get(gateway.url + path) as answer:
            assert answer.status < 400
        assert (await line(lines, number))["path"] == path
    assert lines.levels == ["DEBUG"] * len(POLLED) + ["INFO"]


async def test_the_files_of_the_page_are_told_to_those_who_debug(lines: Lines) -> None:
    page = sorted(Page().paths)
    async with running_gateway({}) as gateway:
        for number, path in enumerate(page, 1):
            async with gateway.http.get(gateway.url + path) as answer:
                expected = "DEBUG" if answer.status < 400 else "INFO"  # 503: it is not built
            await line(lines, number)
            assert lines.levels[-1] == expected


async def test_a_poll_that_fails_is_told_to_all(gateway: Running, lines: Lines) -> None:
    gateway.gateway.ready = False
    for number, path in enumerate(["/health/ready", "/health/nothing"], 1):
        async with gateway.http.get(gateway.url + path) as answer:
            assert answer.status >= 400
        assert (await line(lines, number))["path"] == path
    async with gateway.http.post(gateway.url + "/metrics") as answer:
        assert answer.status == 405
    await line(lines, 3)
    assert lines.levels == ["INFO"] * 3


async def test_a_path_cannot_forge_a_line(gateway: Running, lines: Lines) -> None:
    async with gateway.http.get(gateway.url + '/x%0a{"status":200}%0d%1b[31m') as answer:
        assert answer.status == 404
    assert (await line(lines))["path"].startswith("/x\n{")


def test_the_command_writes_lines_to_stderr_and_quiet_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    access, own = logging.getLogger("penstock.access"), logging.getLogger("penstock")
    kept = [(one, one.handlers[:], one.level, one.propagate) for one in (access, own)]
    try:
        set_up_logs(quiet=False)
        access.info('{"status":200}')
        own.warning("left behind")
        assert capsys.readouterr() == ("", '{"status":200}\nWARNING penstock: left behind\n')
        set_up_logs(quiet=True)
        access.info('{"status":200}')
        assert capsys.readouterr() == ("", "")
    finally:
        for one, handlers, level, propagate in kept:
            one.handlers, one.level, one.propagate = handlers, level, propagate


async def test_what_a_caller_makes_long_is_short_in_the_log(gateway: Running, lines: Lines) -> None:
    status, body, _ = await gateway.chat("h2o/" + "x" * 100_000)
    assert (status, body["error"]["param"]) == (400, "model")
    async with gateway.http.get(f"{gateway.url}/{'x' * 20_000}") as answer:
        assert answer.status == 404
    await line(lines, 2)
    assert max(map(len, lines.all)) < 1500
