"""The ``anthropic`` package for Python, used as its own pages show."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic

from tests.foreign.asking import (
    BREAKS,
    CHATUI,
    FAULTS,
    H2O,
    HOLD,
    LATE,
    MODEL,
    QUESTION,
    THINK,
    WEATHER,
    Place,
    begun,
    ended,
    run,
)

TOOL: Any = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}


def of(place: Place, **more: Any) -> Anthropic:
    return Anthropic(**{"base_url": place.url, "api_key": "any", "max_retries": 0, **more})


def asked(model: str = MODEL, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "max_tokens": 500, "messages": messages, **more}


def refused(call: Callable[[], object]) -> object:
    """Class, status and type of a refusal, and whether it has an id to ask about."""
    try:
        return {"not refused": repr(call())}
    except anthropic.APIStatusError as error:
        body: Any = error.body
        named = str(error.request_id).startswith("req_")
        kind = body["error"]["type"]
        return [
            type(error).__name__,
            error.status_code,
            kind,
            "named" if named else "nameless",
        ]


def create(place: Place) -> object:
    said: Any = of(place).messages.create(**asked(system="Be brief."))
    return {
        "text": "".join(block.text for block in said.content),
        "stop": said.stop_reason,
        "counted": said.usage.input_tokens > 0 and said.usage.output_tokens > 0,
        "model": said.model,
        "id": str(said._request_id).startswith("req_"),
    }


def stream(place: Place) -> object:
    events = list(of(place).messages.create(**asked(stream=True)))
    return [event.type for event in events if event.type != "content_block_delta"]


def stream_helper(place: Place) -> object:
    with of(place).messages.stream(**asked()) as made:
        pieces = list(made.text_stream)
        final: Any = made.get_final_message()
    return {
        "text": "".join(pieces),
        "final": final.content[0].text,
        "stop": final.stop_reason,
        "counted": final.usage.output_tokens > 0,
    }


def stream_async(place: Place) -> object:
    async def ask() -> str:
        async with (
            AsyncAnthropic(base_url=place.url, api_key="any") as client,
            client.messages.stream(**asked()) as made,
        ):
            return "".join([piece async for piece in made.text_stream])

    return asyncio.run(ask())


def uncounted(place: Place) -> object:
    """A back end that counts no tokens: nothing is made up."""
    said: Any = of(place).messages.create(**asked(CHATUI, "Hello there"))
    with of(place).messages.stream(**asked(CHATUI, "Hello there")) as made:
        text = made.get_final_text()
    return {"text": said.content[0].text, "usage": said.usage.output_tokens, "streamed": text}


def stops(place: Place) -> object:
    question = asked(MODEL, "one two three", stop_sequences=["two", "o th"])
    said: Any = of(place).messages.create(**question)
    with of(place).messages.stream(**question) as made:
        final: Any = made.get_final_message()
    return [[one.content[0].text, one.stop_reason, one.stop_sequence] for one in (said, final)]


def thinking(place: Place) -> object:
    said: Any = of(place).messages.create(**asked(question=THINK))
    with of(place).messages.stream(**asked(question=THINK)) as made:
        final: Any = made.get_final_message()
    return [[block.type for block in one.content] for one in (said, final)]


def tools(place: Place) -> object:
    """A call, whole and streamed, and its result sent back."""
    client = of(place)
    first: Any = client.messages.create(**asked(question=WEATHER, tools=[TOOL]))
    (call,) = first.content
    with client.messages.stream(**asked(question=WEATHER, tools=[TOOL])) as made:
        streamed: Any = made.get_final_message().content[0]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    history: list[Any] = [
        {"role": "user", "content": WEATHER},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    last: Any = client.messages.create(model=MODEL, max_tokens=500, messages=history, tools=[TOOL])
    return {
        "call": [call.type, call.name, call.input],
        "stop": first.stop_reason,
        "streamed": streamed.input,
        "then": last.content[0].text,
    }


def refusals(place: Place) -> object:

    def ask(model: str, **more: Any) -> object:
        return refused(lambda: of(place).messages.create(**asked(model, **more)))

    def key(value: str) -> object:
        client = of(place, base_url=place.keyed, api_key=value)
        return refused(lambda: client.messages.create(**asked()))

    found = {name: ask(f"{name}/sandbox-model") for name in FAULTS if name not in LATE}
    found["unknown"] = ask("nobody/model")
    found["refused"] = ask(CHATUI, extra_body={"top_k": 3})
    found["key"] = key("wrong")
    right: Any = of(place, base_url=place.keyed, api_key=place.key)
    found["right key"] = right.messages.create(**asked()).content[0].text
    return found


def late_failure(place: Place) -> object:
    """After the first byte: the text that came, then an error, never a quiet end."""
    pieces: list[str] = []
    try:
        with of(place).messages.stream(**asked(question=BREAKS)) as made:
            pieces += made.text_stream
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return [type(error).__name__, body["error"]["type"], bool("".join(pieces))]
    return {"ended": "".join(pieces)}


def leave(place: Place) -> object:
    with of(place).messages.stream(**asked(H2O, HOLD)) as made:
        next(iter(made.text_stream))
        busy = begun(place, "h2o")

    async def ask() -> object:
        async with AsyncAnthropic(base_url=place.url, api_key="any") as client:
            call = asyncio.create_task(client.messages.create(**asked(question=HOLD)))
            waiting = await asyncio.to_thread(begun, place, "openai")
            call.cancel()
            await asyncio.wait([call])
            return [waiting, await asyncio.to_thread(ended, place, "openai")]

    return {"stream": [busy, ended(place, "h2o")], "plain": asyncio.run(ask())}


if __name__ == "__main__":
    run(
        create,
        stream,
        stream_helper,
        stream_async,
        uncounted,
        stops,
        thinking,
        tools,
        refusals,
        late_failure,
        leave,
    )
