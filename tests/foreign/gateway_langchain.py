"""``langchain-openai``, used as its own pages show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

from tests.foreign.asking import (
    BREAKS,
    CHATUI,
    H2O,
    HOLD,
    MODEL,
    QUESTION,
    WEATHER,
    Place,
    begun,
    ended,
    run,
)

SCHEMA: Any = {"title": "weather", "description": "The weather.", "type": "object"}
LOOP = asyncio.Runner()
"""One for all: the package keeps its connections from one model to the next."""
TOOL: Any = {**SCHEMA, "properties": {"city": {"type": "string"}}}


def of(place: Place, model: str = MODEL, **more: Any) -> ChatOpenAI:
    url, key = f"{place.url}/v1", "any"
    return ChatOpenAI(model=model, base_url=url, api_key=key, max_retries=0, **more)


def invoke(place: Place) -> object:
    said: Any = of(place).invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    counts = said.usage_metadata
    return {
        "text": said.content,
        "finish": said.response_metadata["finish_reason"],
        "counted": counts["total_tokens"] == counts["input_tokens"] + counts["output_tokens"],
    }


def stream(place: Place) -> object:
    chunks = list(of(place, stream_usage=True).stream(QUESTION))
    whole: Any = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return {
        "text": whole.content,
        "several": len(chunks) > 3,
        "counted": whole.usage_metadata["total_tokens"] > 0,
    }


def invoke_async(place: Place) -> object:
    async def ask() -> object:
        return (await of(place).ainvoke(QUESTION)).content

    return LOOP.run(ask())


def stream_async(place: Place) -> object:
    async def ask() -> str:
        return "".join([str(chunk.content) async for chunk in of(place).astream(QUESTION)])

    return LOOP.run(ask())


def batch(place: Place) -> object:
    return [said.content for said in of(place).batch(["one", "two", "three"])]


def uncounted(place: Place) -> object:
    """A back end that counts no tokens: nothing is made up."""
    said: Any = of(place, CHATUI).invoke("Hello there")
    streamed = list(of(place, CHATUI, stream_usage=True).stream("Hello there"))
    return {
        "text": said.content,
        "usage": said.usage_metadata,
        "streamed": "".join(str(chunk.content) for chunk in streamed),
    }


def tools(place: Place) -> object:
    """A call and its result, and the call in a stream."""
    able = of(place).bind_tools([TOOL])
    question = HumanMessage(WEATHER)
    first: Any = able.invoke([question])
    (call,) = first.tool_calls
    last = able.invoke([question, first, ToolMessage("rain", tool_call_id=call["id"])])
    whole: Any = None
    for chunk in able.stream([question]):
        whole = chunk if whole is None else whole + chunk
    return {
        "call": [call["name"], call["args"]],
        "then": last.content,
        "streamed": whole.tool_calls[0]["args"],
    }


def responses(place: Place) -> object:
    """Its other way to ask: ``/v1/responses``."""
    model = of(place, use_responses_api=True)
    said = model.invoke(QUESTION)
    return {
        "whole": said.text,
        "streamed": "".join(chunk.text for chunk in model.stream(QUESTION)),
    }


def refusals(place: Place) -> object:
    def ask(model: str, question: str = QUESTION) -> Callable[[], object]:
        return lambda: of(place, model).invoke(question)

    def stream(model: str, question: str) -> Callable[[], object]:
        return lambda: list(of(place, model).stream(question))

    def refused(call: Callable[[], object]) -> object:
        try:
            return {"not refused": repr(call())}
        except openai.APIError as error:
            return [type(error).__name__, error.code]

    return {
        "limited": refused(ask("limited/sandbox-model")),
        "unknown": refused(ask("nobody/model")),
        "broken": refused(stream(MODEL, BREAKS)),
    }


def leave(place: Place) -> object:
    """A stream that is not read to its end, and a task that is cancelled."""
    pieces = of(place, H2O).stream(HOLD)
    for piece in pieces:
        if piece.content:
            break
    busy = begun(place, "h2o")
    pieces.close()

    async def ask() -> object:
        call = asyncio.create_task(of(place).ainvoke(HOLD))
        waiting = await asyncio.to_thread(begun, place, "openai")
        call.cancel()
        await asyncio.wait([call])
        return [waiting, await asyncio.to_thread(ended, place, "openai")]

    return {"stream": [busy, ended(place, "h2o")], "task": LOOP.run(ask())}


if __name__ == "__main__":
    run(
        invoke,
        stream,
        invoke_async,
        stream_async,
        batch,
        uncounted,
        tools,
        responses,
        refusals,
        leave,
    )
