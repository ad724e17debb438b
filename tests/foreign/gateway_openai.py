"""The ``openai`` package for Python, used as its own pages show."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI

from tests.foreign.asking import (
    BREAKS,
    BUSY,
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

TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def of(place: Place, **more: Any) -> OpenAI:
    return OpenAI(base_url=f"{place.url}/v1", api_key="any", max_retries=0, **more)


def async_of(place: Place) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{place.url}/v1", api_key="any", max_retries=0)


def asked(model: str = MODEL, question: str = QUESTION, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}], **more}


def refused(call: Callable[[], object]) -> object:
    """Class, status, code and param of a refusal, and whether it has an id to ask about."""
    try:
        return {"not refused": repr(call())}
    except openai.APIStatusError as error:
        named = str(error.request_id).startswith("req_")
        facts = [type(error).__name__, error.status_code, error.code, error.param]
        return [*facts, "named" if named else "nameless"]
    except openai.APIError as error:
        return [type(error).__name__, None, error.code, None, error.message]


def plain(place: Place) -> object:
    answer = of(place).chat.completions.create(**asked())
    choice, usage = answer.choices[0], answer.usage
    assert usage is not None
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "model": answer.model,
        "total": usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0,
        "id": str(answer._request_id).startswith("req_"),
    }


def headers(place: Place) -> object:
    raw = of(place).chat.completions.with_raw_response.create(
        **asked(extra_headers={"X-Client-Request-Id": "mine-1"})
    )
    given = raw.headers
    return {
        "target": given["x-penstock-target"],
        "attempts": given["x-penstock-attempts"],
        "mine": given["x-client-request-id"],
        "ours": given["x-request-id"] == given["x-penstock-request-id"],
    }


def stream(place: Place) -> object:
    chunks = list(
        of(place).chat.completions.create(
            **asked(stream=True, stream_options={"include_usage": True})
        )
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    return {
        "text": "".join(choice.delta.content or "" for choice in choices),
        "roles": [choice.delta.role for choice in choices if choice.delta.role],
        "finish": [choice.finish_reason for choice in choices if choice.finish_reason],
        "usages": [bool(chunk.choices) for chunk in chunks if chunk.usage is not None],
        "ids": len({chunk.id for chunk in chunks}),
    }


def stream_helper(place: Place) -> object:
    with of(place).chat.completions.stream(**asked()) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
        message = events.get_final_completion().choices[0].message
    return {"text": "".join(pieces), "final": message.content}


def stream_async(place: Place) -> object:
    async def ask() -> str:
        async with async_of(place) as client:
            made = await client.chat.completions.create(**asked(stream=True))
            return "".join([chunk.choices[0].delta.content or "" async for chunk in made])

    return asyncio.run(ask())


def helper_async(place: Place) -> object:
    async def ask() -> object:
        async with (
            async_of(place) as client,
            client.chat.completions.stream(**asked()) as events,
        ):
            return (await events.get_final_completion()).choices[0].message.content

    return asyncio.run(ask())


def at_once(place: Place) -> object:
    """Twenty answers at a time through one client: nothing is mixed up."""

    async def ask() -> bool:
        async with async_of(place) as client:
            questions = [f"question {number} of 20" for number in range(20)]
            create = client.chat.completions.create
            made = await asyncio.gather(*(create(**asked(question=one)) for one in questions))
            return [answer.choices[0].message.content for answer in made] == questions

    return asyncio.run(ask())


def every_backend(place: Place) -> object:
    create = of(place).chat.completions.create
    models = (MODEL, H2O, CHATUI, "allenai/tulu3-405b", "replicate/meta/meta-llama-3-8b-instruct")
    return {
        model: create(**asked(model, "Hello over there")).choices[0].message.content
        for model in models
    }


def stops(place: Place) -> object:
    answer = of(place).chat.completions.create(**asked(CHATUI, "one two three", stop=["o th"]))
    return answer.choices[0].message.content


def several(place: Place) -> object:
    made = of(place).chat.completions.create(**asked(question="twice", n=2))
    return [(choice.index, choice.message.content) for choice in made.choices]


def reasoning(place: Place) -> object:
    message: Any = of(place).chat.completions.create(**asked(question=THINK)).choices[0].message
    made = of(place).chat.completions.create(**asked(question=THINK, stream=True))
    deltas: list[Any] = [chunk.choices[0].delta for chunk in made]
    return {
        "whole": [message.reasoning_content, message.content],
        "streamed": "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas),
    }


def tools(place: Place) -> object:
    """A call, whole and streamed, and its result sent back."""
    question: list[Any] = [{"role": "user", "content": WEATHER}]
    client = of(place)
    first = client.chat.completions.create(model=MODEL, messages=question, tools=[TOOL])
    message: Any = first.choices[0].message
    (call,) = message.tool_calls
    with client.chat.completions.stream(model=MODEL, messages=question, tools=[TOOL]) as events:
        events.until_done()
        streamed: Any = events.get_final_completion().choices[0].message
    history = [*question, message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    last = client.chat.completions.create(model=MODEL, messages=history, tools=[TOOL])
    return {
        "name": call.function.name,
        "arguments": json.loads(call.function.arguments),
        "finish": first.choices[0].finish_reason,
        "streamed": streamed.tool_calls[0].function.arguments == call.function.arguments,
        "then": last.choices[0].message.content,
    }


def models(place: Place) -> object:
    listed = [model.id for model in of(place).models.list()]
    return {
        "some": {MODEL, CHATUI} <= set(listed),
        "one": of(place).models.retrieve(CHATUI).id,
        "short": of(place).models.retrieve(H2O).id,
        "none": refused(lambda: of(place).models.retrieve("h2o/nobody")),
    }


def refusals(place: Place) -> object:
    """Every class of error that a status has, told before the first byte."""

    def ask(model: str, **more: Any) -> object:
        return refused(lambda: of(place).chat.completions.create(**asked(model, **more)))

    found = {name: ask(f"{name}/sandbox-model") for name in FAULTS if name not in LATE}
    found["streamed"] = ask("limited/sandbox-model", stream=True)
    found["unknown"] = ask("nobody/model")
    found["seed"] = ask(CHATUI, seed=3)
    wrong: Any = OpenAI(base_url=f"{place.keyed}/v1", api_key="wrong", max_retries=0)
    found["key"] = refused(lambda: wrong.chat.completions.create(**asked()))
    right = OpenAI(base_url=f"{place.keyed}/v1", api_key=place.key, max_retries=0)
    nobody: Any = OpenAI(base_url="http://127.0.0.1:1/v1", api_key="any", max_retries=0)
    found["unreachable"] = refused(lambda: nobody.chat.completions.create(**asked()))
    found["right key"] = right.chat.completions.create(**asked()).choices[0].message.content
    return found


def retry_after(place: Place) -> object:
    """The upstream's wish reaches the client, who decides."""
    try:
        of(place).chat.completions.create(**asked("limited/sandbox-model"))
    except openai.RateLimitError as error:
        return error.response.headers["retry-after"]
    return None


def waits(place: Place) -> object:
    """The client asks once more by itself, no sooner than the upstream wished."""
    began = time.monotonic()
    client = OpenAI(base_url=f"{place.url}/v1", api_key="any", max_retries=1)
    said = client.chat.completions.create(**asked(BUSY)).choices[0].message.content
    return [said, time.monotonic() - began > 0.9]


def own_retries(place: Place) -> object:
    """The client asks again by itself, as it does with OpenAI, unless that cannot help."""
    found: dict[str, int] = {}
    for name in ("full", "locked"):
        client = OpenAI(base_url=f"{place.url}/v1", api_key="any", max_retries=1)
        asks = 0

        def count(request: object) -> None:
            nonlocal asks
            asks += 1

        client._client.event_hooks["request"] = [count]
        refused(lambda: client.chat.completions.create(**asked(f"{name}/sandbox-model")))  # noqa: B023
        found[name] = asks
    return found


def late_failures(place: Place) -> object:
    """After the first byte: the text that came, then an error, never a quiet end."""

    def ask(model: str, question: str = QUESTION) -> object:
        pieces: list[str] = []
        try:
            for chunk in of(place).chat.completions.create(**asked(model, question, stream=True)):
                pieces.append(chunk.choices[0].delta.content or "")
        except openai.APIError as error:
            return [type(error).__name__, error.code, bool("".join(pieces))]
        return {"ended": "".join(pieces)}

    return {
        "model": ask(MODEL, BREAKS),
        "erring": ask("erring/sandbox-model"),
        "cut": ask("cut/sandbox-model"),
        "torn": ask("torn/sandbox-model"),
        "h2o": ask(H2O, BREAKS),
    }


def timeout(place: Place) -> object:
    client = of(place, timeout=0.5)
    return [
        refused(lambda: client.chat.completions.create(**asked("slow/sandbox-model")))[0],  # type: ignore[index]  # a list
        ended(place, "openai"),
    ]


def leave_stream(place: Place) -> object:
    found: dict[str, object] = {}
    for backend, model in (("openai", MODEL), ("h2o", H2O)):
        made = of(place).chat.completions.create(**asked(model, HOLD, stream=True))
        text = ""
        for chunk in made:
            text += chunk.choices[0].delta.content or ""
            if "on on" in text:
                break
        busy = begun(place, backend)
        made.close()
        found[backend] = [busy, ended(place, backend)]
    return found


def leave_plain(place: Place) -> object:
    """A task that is cancelled while the whole answer is waited for."""

    async def ask(backend: str, model: str) -> object:
        async with async_of(place) as client:
            call = asyncio.create_task(client.chat.completions.create(**asked(model, HOLD)))
            busy = await asyncio.to_thread(begun, place, backend)
            call.cancel()
            await asyncio.wait([call])
            return [busy, call.cancelled(), await asyncio.to_thread(ended, place, backend)]

    return {
        backend: asyncio.run(ask(backend, model))
        for backend, model in (("openai", MODEL), ("h2o", H2O))
    }


def responses(place: Place) -> object:
    made = of(place).responses.create(model=MODEL, input=QUESTION, instructions="Be brief.")
    usage = made.usage
    return {
        "text": made.output_text,
        "status": made.status,
        "counted": usage is not None and usage.total_tokens > 0,
        "repeated": made.instructions,
    }


def responses_stream(place: Place) -> object:
    events = list(of(place).responses.create(model=MODEL, input=QUESTION, stream=True))
    numbers = [event.sequence_number for event in events]
    return {
        "text": "".join(e.delta for e in events if e.type == "response.output_text.delta"),
        "ends": [events[0].type, events[-1].type],
        "numbered": numbers == list(range(len(numbers))),
    }


def responses_helper(place: Place) -> object:
    with of(place).responses.stream(model=MODEL, input=THINK) as events:
        for _ in events:
            pass
        final = events.get_final_response()
    return {"text": final.output_text, "items": [item.type for item in final.output]}


def responses_tools(place: Place) -> object:
    """A call and its result, the history sent again as ``input``."""
    tool: Any = {"type": "function", "name": "weather", "parameters": {}, "strict": False}
    history: list[Any] = [{"role": "user", "content": WEATHER}]
    client = of(place)
    first = client.responses.create(model=MODEL, input=history, tools=[tool])
    call: Any = first.output[0]
    history += [item.model_dump() for item in first.output]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    last = client.responses.create(model=MODEL, input=history, tools=[tool])
    with client.responses.stream(model=MODEL, input=WEATHER, tools=[tool]) as events:
        streamed: Any = events.get_final_response().output[0]
    return {
        "call": [call.name, json.loads(call.arguments)],
        "streamed": streamed.arguments == call.arguments,
        "then": last.output_text,
    }


def responses_refused(place: Place) -> object:
    client = of(place)
    continued: Any = {"previous_response_id": "resp_1"}

    def broken() -> object:
        return list(client.responses.create(model=MODEL, input=BREAKS, stream=True))

    return {
        "continued": refused(
            lambda: client.responses.create(model=MODEL, input="and?", **continued)
        ),
        "limited": refused(
            lambda: client.responses.create(model="limited/sandbox-model", input="x")
        ),
        "broken": refused(broken),
    }


if __name__ == "__main__":
    run(
        plain,
        headers,
        stream,
        stream_helper,
        stream_async,
        helper_async,
        at_once,
        every_backend,
        stops,
        several,
        reasoning,
        tools,
        models,
        refusals,
        retry_after,
        waits,
        own_retries,
        late_failures,
        timeout,
        leave_stream,
        leave_plain,
        responses,
        responses_stream,
        responses_helper,
        responses_tools,
        responses_refused,
    )
