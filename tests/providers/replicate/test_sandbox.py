"""The provider against the sandbox, which shares no code with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.errors import (
    AuthError,
    BadRequestError,
    OverloadedError,
    PaymentRequiredError,
    RateLimitError,
)
from penstock.provider import Provider, ProviderConfig
from penstock.providers.replicate.provider import create, create_cog
from penstock.sandbox import Sandbox
from penstock.sandbox.replicate import TOKEN
from penstock.sandbox.script import Fixed, Prompt, Said, Script
from penstock.stream import AnswerStream
from penstock.transport import Session
from penstock.types import ChatRequest, Event, Message, Sampling, Text, Timeouts, Waiting

LLAMA = "meta/meta-llama-3-70b-instruct"
PIECES = ("One ", "two", "\n", "\n\n", " ", "three\n  four", ".")
WHOLE = "".join(PIECES)


class Site:
    """A running sandbox and a session of ours."""

    def __init__(self, sandbox: Sandbox, session: Session) -> None:
        self._sandbox = sandbox
        self.session = session

    def provider(self, **more: Any) -> Provider:
        config = {"api_key": TOKEN, "options": {"poll_interval": 0.02}, **more}
        base = self._sandbox.urls["replicate"]
        return create(self.session, ProviderConfig(name="replicate", base_url=base, **config))

    def ask(self, model: str = LLAMA, **more: Any) -> AnswerStream:
        more.setdefault("messages", (Message("user", "Why?"),))
        request = ChatRequest(model=model, **more)
        some = self.provider()
        return AnswerStream(lambda: some.stream(request), provider=some.name, model=model)

    @property
    def state(self) -> dict[str, Any]:
        return self._sandbox.state("replicate")

    @property
    def cancels(self) -> int:
        return len(self.state["cancels"])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def clean(self) -> None:
        """Wait until nothing is open here or there, and nothing is left."""
        await self.until(lambda: not self.state["open_streams"] and not self.session.outbox.pending)
        assert self.session.open_connections == 0
        await self.until(lambda: not self.state["conversations"]["left"])
        assert self.session.outbox.failed == []


@asynccontextmanager
async def site(
    script: str | Script = "", *, pace: float = 0.0, **options: object
) -> AsyncIterator[Site]:
    chosen = script or Fixed(PIECES)
    known = {"replicate": options}
    async with (
        Sandbox(["replicate"], script=chosen, pace=pace, options=known) as sandbox,
        Session() as session,
    ):
        yield Site(sandbox, session)


@pytest.mark.parametrize(
    "model",
    [
        LLAMA,
        "meta/meta-llama-3.1-405b-instruct",
        "meta/llama-2-70b-chat:02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        "02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        "openai/gpt-5",
    ],
)
@pytest.mark.parametrize("whole", [False, True])
async def test_an_answer_is_whole_and_leaves_nothing(model: str, whole: bool) -> None:
    async with site() as place:
        reply = await place.ask(model, stream=not whole, sampling=Sampling(stop=("never",))).reply()
        assert (reply.text, reply.finish_reason, reply.warnings) == (WHOLE, "stop", ())
        assert reply.usage is not None
        assert reply.usage.completion_tokens
        await place.clean()
        assert place.cancels == 0


@pytest.mark.parametrize("output", ["list", "text"])
async def test_models_that_do_not_stream_are_polled(output: str) -> None:
    async with site(pace=0.02, outputs={LLAMA: output}) as place:
        async with place.ask() as answer:
            got = [event async for event in answer]
        pieces = [event.text for event in got if isinstance(event, Text)]
        assert "".join(pieces) == WHOLE
        assert len(pieces) == 1 if output == "text" else len(pieces) > 1
        assert any(isinstance(event, Waiting) for event in got)
        await place.clean()


@pytest.mark.parametrize("cut_by", ["break", "reset", "end"])
@pytest.mark.parametrize("odd", [{}, {"replay": True}, {"ids": False}])
async def test_a_stream_that_is_cut_is_whole_all_the_same(
    cut_by: str, odd: dict[str, bool]
) -> None:
    stream = {"cut_after": 90, "cut_times": 2, "cut_by": cut_by, "ping": True, **odd}
    async with site(pace=0.01, stream=stream) as place:
        reply = await place.ask().reply()
        assert (reply.text, reply.finish_reason) == (WHOLE, "stop")
        await place.clean()
        assert place.cancels == 0


class OnceHeard:
    """Says its first piece once somebody listens to the stream again, and the rest once that came.

    Else the run may be over while the stream is opened anew, and the answer is read as a whole.
    """

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.followed = asyncio.Event()

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        await self.heard.wait()
        yield PIECES[0]
        await self.followed.wait()
        for piece in PIECES[1:]:
            yield piece


async def test_a_slow_boot_is_waited_for_and_then_streamed() -> None:
    script = OnceHeard()
    async with site(script, boot=1.0, second=0.01, pace=0.01) as place:  # the 408 comes after 0.3 s
        got: list[Event] = []
        async with place.ask() as answer, asyncio.TaskGroup() as group:
            group.create_task(heard_again(place, script))
            async for event in answer:
                got.append(event)
                if isinstance(event, Text):
                    script.followed.set()
        pieces = [event.text for event in got if isinstance(event, Text)]
        assert pieces[0] == PIECES[0]
        assert "".join(pieces) == WHOLE
        waits = [event.reason for event in got if isinstance(event, Waiting)]
        assert waits.count("cold_start") > 1
        await place.clean()


async def heard_again(place: Site, script: OnceHeard) -> None:
    """Let the model speak when the run has begun and its stream is open."""
    async with asyncio.timeout(20):
        while not (place.state["runs"]["running"] and place.state["open_streams"]):
            await asyncio.sleep(0.005)
    script.heard.set()


@pytest.mark.parametrize("model", [LLAMA, "meta/meta-llama-3.1-405b-instruct"])
async def test_the_system_text_goes_where_the_schema_has_a_place_for_it(model: str) -> None:
    async with site("echo") as place:
        messages = (Message("system", "Be short."), Message("user", "Why?"))
        reply = await place.ask(model, messages=messages).reply()
        assert "Why?" in reply.text
        assert ("System: Be short." in reply.text) is (model == LLAMA)


async def test_ranges_and_names_come_from_the_schema() -> None:
    async with site() as place:
        with pytest.raises(BadRequestError, match="max_tokens must be"):
            await place.ask("anthropic/claude-4-sonnet", sampling=Sampling(max_tokens=5)).reply()
        reply = await place.ask(
            "anthropic/claude-4-sonnet", sampling=Sampling(max_tokens=2000, top_k=3)
        ).reply()
        assert [notice.code for notice in reply.warnings] == ["parameter_dropped"]
        assert place.state["creates"] == 1


async def test_no_token_reaches_the_stream_host() -> None:
    async with site() as place:
        await place.ask().reply()
        heard = place.state["stream_headers"]
        assert len(heard) == 1
        assert TOKEN not in str(heard)


async def test_refusals() -> None:
    async with site(throttled=1, credit=False) as place:
        with pytest.raises(RateLimitError) as limited:
            await place.ask().reply()
        assert limited.value.retry_after is not None
        with pytest.raises(PaymentRequiredError):
            await place.ask().reply()
        with pytest.raises(AuthError):
            await place.provider(api_key="r8_wrong_wrong").models()
        assert place.state["creates"] == 2


async def test_all_models_over_all_pages() -> None:
    async with site(page=2) as place:
        found = [model.id for model in await place.provider().models()]
        assert LLAMA in found
        assert len(found) == len(set(found)) > 6


async def test_a_stop_string_ends_the_prediction_there_too() -> None:
    async with site(pace=0.05) as place:
        reply = await place.ask(sampling=Sampling(stop=("o\n",))).reply()
        assert (reply.text, reply.finish_reason) == ("One tw", "stop")
        await place.clean()
        assert place.cancels == 1


# -- leaving -----------------------------------------------------------------------------------


async def test_leaving_early_stops_the_prediction() -> None:
    async with site(pace=0.05) as place:
        async with place.ask() as answer:
            assert await anext(answer.text()) == "One "
        await place.clean()
        assert place.cancels == 1


PHASES: dict[str, Callable[[Site, AnswerStream], bool]] = {
    "connecting": lambda place, answer: place.state["requests"] == 0,
    "created": lambda place, answer: place.state["creates"] == 1,
    "headers": lambda place, answer: answer.started is not None,
    "listening": lambda place, answer: place.state["open_streams"] == 1,
    "first piece": lambda place, answer: bool(answer.partial),
    "middle": lambda place, answer: "\n" in answer.partial,
    "last piece": lambda place, answer: answer.partial == WHOLE,
}


@pytest.mark.parametrize(
    ("phase", "whole"),
    [*((phase, False) for phase in PHASES), ("connecting", True), ("created", True)],
)
async def test_cancelled_in_each_phase(phase: str, whole: bool) -> None:
    async with site(pace=0.03) as place:
        answer = place.ask(stream=not whole)
        task = asyncio.create_task(answer.reply())
        await place.until(lambda: task.done() or PHASES[phase](place, answer))
        start = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - start < 0.2
        await place.clean()


async def test_two_callers_at_once_are_not_mixed_up() -> None:
    async with site("echo", pace=0.01) as place:
        some = place.provider(timeouts=Timeouts.of(5))

        async def one(text: str) -> str:
            request = ChatRequest(model=LLAMA, messages=(Message("user", text),))
            stream = AnswerStream(lambda: some.stream(request), provider="", model=LLAMA)
            return (await stream.reply()).text

        questions = [f"Question {number} of many" for number in range(6)]
        answers = await asyncio.gather(*map(one, questions))
        for question, said in zip(questions, answers, strict=True):
            assert question in said
            assert not any(other in said for other in questions if other != question)
        await place.clean()


# -- Cog ---------------------------------------------------------------------------------------


class CogSite(Site):
    """The same for Cog."""

    def provider(self, **more: Any) -> Provider:
        base = self._sandbox.urls["cog"]
        return create_cog(self.session, ProviderConfig(name="cog", base_url=base, **more))

    @property
    def state(self) -> dict[str, Any]:
        return self._sandbox.state("cog")


@asynccontextmanager
async def cog_site(*, pace: float = 0.0, **options: object) -> AsyncIterator[CogSite]:
    async with (
        Sandbox(["cog"], script=Fixed(PIECES), pace=pace, options={"cog": options}) as sandbox,
        Session() as session,
    ):
        yield CogSite(sandbox, session)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("whole", [True, False])
async def test_cog_answers_whole(streams: bool, whole: bool) -> None:
    async with cog_site(streams=streams, logs=True, keep_alive=0.01, pace=0.02) as place:
        for _ in range(3):
            async with place.ask("default", stream=not whole) as answer:
                pieces = [piece async for piece in answer.text()]
            assert pieces == (list(PIECES) if streams else [WHOLE])
            assert answer.finish_reason == "stop"
            await place.clean()
        assert place.state["requests"] == (3 if streams else 2 + 2 + 1)


async def once_ready(place: CogSite) -> list[str]:
    async with asyncio.timeout(5):
        while True:
            try:
                return [piece async for piece in place.ask("default").text()]
            except OverloadedError:
                await asyncio.sleep(0.02)


async def test_cog_that_was_in_its_setup_streams_afterwards() -> None:
    async with cog_site(setup=0.2) as place:
        with pytest.raises(OverloadedError):
            await place.ask("default").reply()
        # The setup may end between the refused stream and the plain request after it.
        assert "".join(await once_ready(place)) == WHOLE
        assert await once_ready(place) == list(PIECES)


async def test_cog_refuses_what_it_cannot_do() -> None:
    async with cog_site(max_tokens=64, linger=5) as place:
        with pytest.raises(BadRequestError, match="maximum of 64"):
            await place.ask("default", sampling=Sampling(max_tokens=100)).reply()
        await place.ask("default").reply()
        with pytest.raises(OverloadedError) as busy:
            await place.ask("default").reply()
        assert busy.value.retryable


COG_PHASES: dict[str, Callable[[Site, AnswerStream], bool]] = {
    "connecting": lambda place, answer: place.state["requests"] == 0,
    "created": lambda place, answer: bool(place.state["conversations"]["created"]),
    "started": lambda place, answer: answer.started is not None,
    "first piece": lambda place, answer: bool(answer.partial),
    "middle": lambda place, answer: "\n" in answer.partial,
    "last piece": lambda place, answer: answer.partial == WHOLE,
}


@pytest.mark.parametrize(
    ("phase", "streams"),
    [*((phase, True) for phase in COG_PHASES), ("connecting", False), ("created", False)],
)
async def test_cog_cancelled_in_each_phase(phase: str, streams: bool) -> None:
    async with cog_site(pace=0.03, streams=streams) as place:
        answer = place.ask("default")
        task = asyncio.create_task(answer.reply())
        await place.until(lambda: task.done() or COG_PHASES[phase](place, answer))
        start = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - start < 0.2
        await place.clean()


async def test_leaving_cog_early_frees_its_slot() -> None:
    async with cog_site(pace=0.03) as place:
        async with place.ask("default") as answer:
            assert await anext(answer.text()) == "One "
        await place.clean()
        assert (await place.ask("default").reply()).text == WHOLE
