"""The recorded cases through the provider, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import PenstockError, RateLimitError
from penstock.provider import ProviderConfig
from penstock.providers.replicate.provider import create
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Message, Sampling
from tests.providers.replicate.calls import MODEL, provider, stream
from tests.providers.replicate.upstream import CASES, Upstream, load, play

CUTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[i : i + 1] for i in range(len(data))],
}


def request_of(case: dict[str, Any]) -> ChatRequest:
    given = json.loads(case["exchanges"][0]["request"]["body"])["input"]
    system = given.get("system_prompt")
    return ChatRequest(
        model=case.get("model", MODEL),
        messages=(
            *([Message("system", system)] if system else []),
            Message("user", given["prompt"]),
        ),
        sampling=Sampling(max_tokens=given.get("max_tokens"), temperature=given.get("temperature")),
        stream=not case.get("options", {}).get("prefer_wait", False),
    )


async def run(case: dict[str, Any], answer: AnswerStream) -> tuple[list[str], str | None]:
    got: list[str] = []
    limit = case.get("client", {}).get("abort_after_pieces")
    async with answer:
        async for piece in answer.text():
            got.append(piece)
            if limit is not None and len(got) == limit:
                return got, "cancelled"
    return got, answer.finish_reason


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.json")))
async def test_recorded_case(server: Upstream, session: Session, name: str, cut: str) -> None:
    case = load(name)
    play(server, case, CUTS[cut])
    expected = case["expected"]
    cog = case.get("dialect") == "cog"
    more: dict[str, Any] = {"dialect": "cog", "options": {}} if cog else {}
    some = (
        create(session, ProviderConfig(name="replicate", base_url=server.api, dialect="cog"))
        if cog
        else provider(session, server, **more)
    )
    answer = stream(some, request_of(case))
    if "429" in name:  # refused once; the router, not the provider, tries again
        with pytest.raises(RateLimitError) as limited:
            await answer.reply()
        assert limited.value.retry_after == 1
        answer = stream(some, request_of(case))
    if expected["error"] is None:
        got, finish = await run(case, answer)
        assert "".join(got) == expected["text"]
        if "poll" not in name:
            assert got == [piece for piece in expected["pieces"] if piece]
        assert finish == expected["finish"]
    else:
        with pytest.raises(PenstockError) as failed:
            await run(case, answer)
        error = failed.value
        assert error.kind == expected["error"]["kind"]
        assert error.partial == expected["text"]
        assert expected["error"]["status"] in (None, error.status)
        assert expected["error"]["message"] in (error.detail or "")
    check_requests(server, case)


def check_requests(server: Upstream, case: dict[str, Any]) -> None:
    recorded = [
        (exchange["request"]["method"], exchange["request"]["path"])
        for exchange in case["exchanges"]
    ]
    for one in recorded:
        assert one in [(seen.method, seen.path) for seen in server.seen]
    sent = json.loads(case["exchanges"][0]["request"]["body"])
    created = server.create.json
    assert {name: created["input"].get(name) for name in sent["input"]} == sent["input"]
    assert created.get("version") == sent.get("version")
    wanted = [
        value
        for exchange in case["exchanges"]
        for name, value in exchange["request"]["headers"]
        if name == "last-event-id"
    ]
    asked = [
        seen.headers["last-event-id"] for seen in server.seen if "last-event-id" in seen.headers
    ]
    assert asked == wanted
    cancelled = any(path.endswith("/cancel") for _, path in recorded)
    assert server.cancels == (1 if cancelled else 0)
