"""What the recorder writes of every back end replays, and says what the client saw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from penstock import Client
from penstock.config import Settings
from penstock.errors import PenstockError
from penstock.sandbox import Sandbox
from penstock.sandbox.script import Prompt, Said
from penstock.testing.record import Recorded, Recorder
from penstock.testing.replay import load_case, replay_cases
from penstock.testing.replay.case import ExpectedError
from tests.served import served

MODELS = {
    "allenai": "Olmo-3-7B-Instruct",
    "openassistant": "OA_SFT_Llama_30B_6",
    "h2o": "falcon-40b",
    "tgi": "",
    "chatui": "",
    "replicate": "meta/meta-llama-3-70b-instruct",
    "cog": "",
    "openai_compatible": "sandbox-model",
}
NATIVE = ("allenai", "openassistant", "h2o", "chatui")
QUESTION = "Grüße an 1 Fluß 🙂\n\n  with indentation"


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(pace=0.002) as running:
        yield running


@asynccontextmanager
async def recording_of(
    sandbox: Sandbox, name: str, folder: Path, **options: Any
) -> AsyncIterator[tuple[Recorder, Client]]:
    """A recorder in front of a back end, and a client that knows only the recorder."""
    settings = sandbox.providers[name]
    async with Recorder(settings["base_url"], folder, **options) as recording:
        providers = {name: {**settings, "base_url": recording.url}}
        async with Client(config=Settings(), providers=providers) as asking:
            yield recording, asking


async def model_of(asking: Client, name: str) -> str:
    if MODELS[name] or name == "cog":
        return f"{name}/{MODELS[name]}"
    return (await asking.models(name))[0].id


async def replays(folder: Path) -> None:
    cases = [load_case(path) for path in sorted(folder.glob("*.json"))]
    lines: list[str] = []
    summary = await replay_cases(cases, report=lines.append)
    assert summary.failed == 0, lines
    assert summary.passed


def texts(cases: tuple[Recorded, ...]) -> list[str]:
    return [case.result.text for case in cases if case.result.text]


async def ask_all(
    names: Iterable[str], ask: Callable[[str], Awaitable[tuple[Recorded, ...]]]
) -> dict[str, tuple[Recorded, ...]]:
    """Every back end at once, each through a recorder of its own."""
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_named(ask, name)) for name in names}
    return {name: task.result() for name, task in tasks.items()}


async def _named(
    ask: Callable[[str], Awaitable[tuple[Recorded, ...]]], name: str
) -> tuple[Recorded, ...]:
    return await ask(name)


async def test_whole_streamed_and_left_answers_of_every_back_end_replay(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async def ask(name: str) -> tuple[Recorded, ...]:
        async with recording_of(sandbox, name, tmp_path) as (recording, asking):
            model = await model_of(asking, name)
            whole = await asking.complete(model, QUESTION)
            async with asking.stream(model, "one two three") as answer:
                pieces = [piece async for piece in answer.text()]
            async with asking.stream(model, "never heard " * 150) as answer:
                await anext(answer.text())
        assert (whole.text, "".join(pieces)) == (QUESTION, "one two three"), name
        assert recording.provider == name
        return recording.cases

    for name, cases in (await ask_all(MODELS, ask)).items():
        assert all(case.result.verdict != "failed" for case in cases), name
        assert texts(cases)[:2] == [QUESTION, "one two three"], name
        left = load_case(cases[-1].path)
        assert left.expected.finish == "cancelled", name
        assert any(exchange.response.closed == "client" for exchange in left.exchanges), name
    await replays(tmp_path)


async def test_the_turns_of_a_conversation_are_one_case(sandbox: Sandbox, tmp_path: Path) -> None:
    async def ask(name: str) -> tuple[Recorded, ...]:
        async with recording_of(sandbox, name, tmp_path, provider=name) as (recording, asking):
            model = await model_of(asking, name)
            first, other = asking.conversation(model), asking.conversation(model)
            await asking.complete(model, "first of one", conversation=first)
            await asking.complete(model, "first of another", conversation=other)
            await asking.complete(model, "second of one", conversation=first)
            await first.delete()
            await other.delete()
        return recording.cases

    for name, cases in (await ask_all(NATIVE, ask)).items():
        turns = [[t.text for t in load_case(case.path).expected.turns] for case in cases]
        assert ["first of one", "second of one"] in turns, name
        assert "first of another" in texts(cases), name
    await replays(tmp_path)


async def test_a_vendor_is_recorded_by_the_protocol_it_speaks(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    base = f"{sandbox.urls['openai']}/v1"
    async with Recorder(base, tmp_path, provider="vllm") as recording:
        assert recording.url.endswith("/v1")
        settings = {"vllm": {"base_url": recording.url}}
        async with Client(config=Settings(), providers=settings) as asking:
            await asking.complete("vllm/sandbox-model", "Hello")
    assert [case.provider for case in recording.cases] == ["openai_compatible"]
    await replays(tmp_path)


async def test_paths_below_a_prefix_are_the_protocols_own(tmp_path: Path) -> None:
    """The prefix is the server's; the case is one of the protocol."""

    async with Sandbox(("cog",)) as running:

        async def forward(request: web.Request) -> web.StreamResponse:
            raise web.HTTPTemporaryRedirect(running.urls["cog"] + request.path[len("/deep") :])

        app = web.Application()
        app.router.add_route("*", "/deep/{rest:.*}", forward)
        async with served(app) as url, Recorder(f"{url}/deep", tmp_path) as recording:
            settings = {"cog": {"base_url": recording.url}}
            async with Client(config=Settings(), providers=settings) as asking:
                with pytest.raises(PenstockError):
                    await asking.complete("cog/", "Hello")
    (case,) = (load_case(case.path) for case in recording.cases)
    assert case.provider == "cog"
    assert case.exchanges[0].request.path == "/predictions"
    assert isinstance(case.expected.error, ExpectedError)


async def test_masked_texts_replay_and_tell_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    async def ask(name: str) -> tuple[Recorded, ...]:
        async with recording_of(sandbox, name, tmp_path, redact_text=True) as (recording, asking):
            reply = await asking.complete(await model_of(asking, name), "Wasserfall 77 grüßt 水")
        assert reply.text == "Wasserfall 77 grüßt 水", name
        return recording.cases

    for name, cases in (await ask_all(MODELS, ask)).items():
        assert texts(cases) == ["xxxxxxxxxx 00 xxééx 一"], name
    for path in tmp_path.iterdir():
        case = load_case(path)
        bodies = b"".join(e.request.content + e.response.content for e in case.exchanges)
        assert b"Wasserfall" not in bodies
        assert "Wasserfall" not in path.read_text("utf-8")
    await replays(tmp_path)


async def test_a_secret_said_piece_by_piece_masks_the_text(tmp_path: Path) -> None:
    """No single piece can be known for a part of it."""
    key = "r8_canary0123456789"

    class Spelled:
        async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
            for letter in f"it is {key}":
                yield letter

    async with Sandbox(("replicate",), script=Spelled()) as running:
        providers = {"replicate": {**running.providers["replicate"]}}
        async with Recorder(running.urls["replicate"], tmp_path / "cases") as recording:
            providers["replicate"]["base_url"] = recording.url
            async with Client(config=Settings(), providers=providers) as asking:
                answer = asking.stream(f"replicate/{MODELS['replicate']}", "Hi")
                assert "".join([piece async for piece in answer.text()]) == f"it is {key}"
    (case,) = (case for case in recording.cases if case.result.text)
    assert case.result.text == "xx xx x0_xxxxxx0000000000"
    assert "because they told a secret" in (load_case(case.path).notes or "")
    await replays(tmp_path / "cases")
