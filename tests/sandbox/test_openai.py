"""The OpenAI-compatible server (openai-surface.md sections 1 to 4), and the others behind it."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.backend import Backend
from penstock.sandbox.openai_answers import StopCut
from penstock.sandbox.openai_body import read_body
from penstock.sandbox.replicate import TOKEN
from penstock.sandbox.script import End, Fixed, ModelFailure, Prompt, Said, Thought
from tests.sandbox.replicate_service import LLAMA_3
from tests.sandbox.speaking import Gated, until

MODEL = "sandbox-model"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}}}
CALL = {"name": "weather", "arguments": '{"city": "Oslo"}', "when": "weather"}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def chat(said: str = "Hello there", **more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": said}], **more}


async def ask(
    client: aiohttp.ClientSession, sandbox: Sandbox, body: object, **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    url = sandbox.urls["openai"] + "/v1/chat/completions"
    async with client.post(url, json=body, headers=headers) as answer:
        said: dict[str, Any] = await answer.json()
        return answer, said


async def chunks(
    client: aiohttp.ClientSession,
    sandbox: Sandbox,
    body: Mapping[str, object],
    *,
    done: bool = True,
) -> list[dict[str, Any]]:
    """All chunks of a stream; each is one data line and a blank line."""
    url = sandbox.urls["openai"] + "/v1/chat/completions"
    async with client.post(url, json={**body, "stream": True}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Request-Id"].startswith("req_")
        *lines, rest = (await answer.read()).decode().split("\n\n")
    assert rest == ""
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    if done:
        assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def deltas(found: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in found if chunk["choices"]]


async def test_a_plain_answer(client: aiohttp.ClientSession) -> None:
    script = Fixed([Thought("Hm"), " one", " two"])
    async with Sandbox(("openai",), script=script) as sandbox:
        answer, said = await ask(client, sandbox, chat())
    assert answer.headers["X-Request-Id"].startswith("req_")
    assert list(said) == ["id", "object", "created", "model", "choices", "usage"]
    assert (said["object"], said["model"]) == ("chat.completion", MODEL)
    assert said["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": " one two",
                "refusal": None,
                "reasoning_content": "Hm",
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert said["usage"] == usage


async def test_a_stream(client: aiohttp.ClientSession) -> None:
    script = Fixed([Thought("Hm"), " one", "", "\n"])
    async with Sandbox(("openai",), script=script) as sandbox:
        found = await chunks(client, sandbox, chat())
    assert deltas(found) == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm"},
        {"content": " one"},
        {"content": ""},
        {"content": "\n"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in found] == [None] * 5 + ["stop"]
    assert all("usage" not in chunk for chunk in found)
    heads = {(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in found}
    assert len(heads) == 1


async def test_the_usage_comes_in_a_chunk_of_its_own(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("openai",), script=Fixed([" one"])) as sandbox:
        body = chat(stream_options={"include_usage": True})
        *before, last = await chunks(client, sandbox, body)
    assert all(chunk["usage"] is None for chunk in before)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_a_limit(client: aiohttp.ClientSession, name: str) -> None:
    async with Sandbox(("openai",), script=Fixed(["a", "b", "c"])) as sandbox:
        _, said = await ask(client, sandbox, {**chat(), name: 2})
        found = await chunks(client, sandbox, {**chat(), name: 2})
    (choice,) = said["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("ab", "length")
    assert found[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_stop_text_is_cut_out(client: aiohttp.ClientSession) -> None:
    script = Fixed(["one ", "<e", "nd", "> two"])
    async with Sandbox(("openai",), script=script) as sandbox:
        _, said = await ask(client, sandbox, chat(stop="<end>"))
        found = await chunks(client, sandbox, chat(stop=["<end>", "never"]))
    assert said["choices"][0]["message"]["content"] == "one "
    assert "".join(delta.get("content", "") for delta in deltas(found)) == "one "
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("pieces", "stops", "shown", "rest"),
    [
        (["ab", "c"], [], ["ab", "c"], ""),
        (["ab", "c"], ["x"], ["ab", "c"], ""),
        (["a<", "b"], ["<e"], ["a", "<b"], ""),
        (["a<"], ["<e"], ["a"], "<"),
        (["a<", "e", "b"], ["<e"], ["a", "", ""], ""),
        (["ab-c"], ["c", "b"], ["a"], ""),
        (["<<", "e"], ["<e"], ["<", ""], ""),
    ],
)
def test_what_may_begin_a_stop_text_is_held_back(
    pieces: list[str], stops: list[str], shown: list[str], rest: str
) -> None:
    cut = StopCut(stops)
    assert [cut.feed(piece) for piece in pieces] == shown
    assert cut.end() == rest
    assert cut.end() == ""


async def test_a_finish_of_the_models_own(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("openai",), script=Fixed(["a", End("content_filter")])) as sandbox:
        found = await chunks(client, sandbox, chat())
    assert found[-1]["choices"][0]["finish_reason"] == "content_filter"


async def test_a_tool_call_streamed(client: aiohttp.ClientSession) -> None:
    options = {"openai": {"tool_calls": [CALL, {"name": "clock"}]}}
    async with Sandbox(("openai",), options=options) as sandbox:
        found = await chunks(client, sandbox, chat("the weather?", tools=[CLOCK, WEATHER]))
    first, *others = deltas(found)
    assert first == {"role": "assistant", "content": None}
    opened = others[0]["tool_calls"][0]
    assert opened == {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": ""},
    }
    calls = [call for delta in others for call in delta.get("tool_calls", ())]
    arguments = [
        "".join(c["function"]["arguments"] for c in calls if c["index"] == n) for n in (0, 1)
    ]
    assert arguments == ['{"city": "Oslo"}', "{}"]
    assert [call["index"] for call in calls if "id" in call] == [0, 1]
    assert len(calls) > 4
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_tool_call_whole(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("openai",), options={"openai": {"tool_calls": [CALL]}}) as sandbox:
        _, said = await ask(client, sandbox, chat("the weather?", tools=[WEATHER]))
    (choice,) = said["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert choice["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": function}
    ]


@pytest.mark.parametrize(
    ("said", "more", "called"),
    [
        ("weather", {"tools": [WEATHER]}, "weather"),
        ("something else", {"tools": [WEATHER]}, None),
        ("weather", {"tools": [CLOCK]}, None),
        ("weather", {}, None),
        ("weather", {"tools": [WEATHER], "tool_choice": "none"}, None),
        ("weather", {"tools": [WEATHER], "tool_choice": "auto"}, "weather"),
        ("else", {"tools": [CLOCK, WEATHER], "tool_choice": "required"}, "clock"),
        ("else", {"tools": [CLOCK, WEATHER], "tool_choice": WEATHER}, "weather"),
        ("else", {"tools": [CLOCK, WEATHER], "tool_choice": CLOCK}, "clock"),
    ],
)
async def test_when_a_tool_is_called(
    client: aiohttp.ClientSession, said: str, more: Mapping[str, object], called: str | None
) -> None:
    async with Sandbox(("openai",), options={"openai": {"tool_calls": [CALL]}}) as sandbox:
        _, answer = await ask(client, sandbox, chat(said, **more))
    message = answer["choices"][0]["message"]
    assert [call["function"]["name"] for call in message.get("tool_calls", ())] == (
        [called] if called else []
    )
    assert (message["content"] is None) == (called is not None)


async def test_the_result_of_a_call_is_answered_in_words(client: aiohttp.ClientSession) -> None:
    messages = [
        {"role": "user", "content": "weather"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    ]
    options = {"openai": {"tool_calls": [CALL]}}
    async with Sandbox(("openai",), script=Fixed(["Rain."]), options=options) as sandbox:
        body = {"model": MODEL, "messages": messages, "tools": [WEATHER]}
        _, said = await ask(client, sandbox, body)
    assert said["choices"][0]["message"]["content"] == "Rain."


async def test_a_scripted_call_is_checked() -> None:
    options = {"openai": {"tool_calls": [{**CALL, "when": "("}]}}
    with pytest.raises(ValueError, match="options of 'openai'"):
        async with Sandbox(("openai",), options=options):
            pass


@pytest.mark.parametrize(
    ("options", "sent", "status"),
    [
        ({}, None, 200),
        ({}, "Bearer anything", 200),
        ({"needs_key": True}, None, 401),
        ({"needs_key": True}, "Bearer ", 401),
        ({"needs_key": True}, "Basic abc", 401),
        ({"needs_key": True}, "Bearer anything", 200),
        ({"api_key": "right"}, None, 401),
        ({"api_key": "right"}, "Bearer wrong", 401),
        ({"api_key": "right"}, "Bearer right", 200),
    ],
)
async def test_keys(
    client: aiohttp.ClientSession, options: Mapping[str, object], sent: str | None, status: int
) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    async with Sandbox(("openai",), options={"openai": options}) as sandbox:
        answer, said = await ask(client, sandbox, chat(), **headers)
        assert answer.status == status
        if status == 401:
            assert said["error"]["code"] == "invalid_api_key"
            assert said["error"]["type"] == "invalid_request_error"
        for path in ("/v1/models", f"/v1/models/{MODEL}"):
            async with client.get(sandbox.urls["openai"] + path, headers=headers) as listed:
                assert listed.status == status


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ([], 400, None, None),
        ({"messages": []}, 400, "model", None),
        ({"model": MODEL}, 400, "messages", None),
        (chat(temperature="hot"), 400, "temperature", None),
        (chat(temperature=3), 400, "temperature", None),
        (chat(max_tokens=0), 400, "max_tokens", None),
        (chat(n=2), 400, "n", None),
        (chat(stop=["a", "b", "c", "d", "e"]), 400, "stop", None),
        ({"model": MODEL, "messages": []}, 400, "messages", None),
        ({"model": MODEL, "messages": [{"role": "king"}]}, 400, "messages[0].role", None),
        ({"model": MODEL, "messages": [{"content": "x"}]}, 400, "messages[0].role", None),
        ({**chat(), "model": "none"}, 404, "model", "model_not_found"),
        (chat("too many words for it"), 400, "messages", "context_length_exceeded"),
    ],
)
async def test_refusals_name_the_param(
    client: aiohttp.ClientSession, body: object, status: int, param: str | None, code: str | None
) -> None:
    async with Sandbox(("openai",), options={"openai": {"context": 4}}) as sandbox:
        answer, said = await ask(client, sandbox, body)
    assert answer.status == status
    error = said["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert error["param"] == param


async def test_a_body_that_is_no_json(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("openai",)) as sandbox:
        url = sandbox.urls["openai"] + "/v1/chat/completions"
        async with client.post(url, data=b"{") as answer:
            assert answer.status == 400
            assert "could not parse" in (await answer.json())["error"]["message"]
        async with client.get(url) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "unknown_url")


async def test_throttling_tells_the_wait(client: aiohttp.ClientSession) -> None:
    options = {"openai": {"throttled": 1, "retry_after": 1.5}}
    async with Sandbox(("openai",), options=options) as sandbox:
        answer, said = await ask(client, sandbox, chat())
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1.5")
        assert said["error"]["type"] == "rate_limit_error"
        answer, _ = await ask(client, sandbox, chat())
        assert answer.status == 200


async def test_roles_and_parts(client: aiohttp.ClientSession) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = {
        "model": MODEL,
        "messages": [
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [*parts, {"type": "text", "text": "b"}]},
        ],
    }
    async with Sandbox(("openai",)) as sandbox:
        _, said = await ask(client, sandbox, body)
    assert said["choices"][0]["message"]["content"] == "ab"


@pytest.mark.parametrize("status", [None, 503])
async def test_a_failing_model(client: aiohttp.ClientSession, status: int | None) -> None:
    script = Gated(ModelFailure("no memory", status))
    script.open(3)
    async with Sandbox(("openai",), script=script) as sandbox:
        for stream in (False, True):
            answer, said = await ask(client, sandbox, chat(stream=stream))
            assert answer.status == (status or 500)
            error = {"message": "no memory", "type": "server_error", "param": None, "code": None}
            assert said == {"error": error}


async def test_a_model_that_fails_in_the_middle(client: aiohttp.ClientSession) -> None:
    script = Gated("one", ModelFailure("no memory"))
    script.open(2)
    async with Sandbox(("openai",), script=script) as sandbox:
        found = await chunks(client, sandbox, chat(), done=False)
    assert found[-1]["error"]["message"] == "no memory"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in found[:-1])


@pytest.mark.parametrize("stream", [False, True])
async def test_leaving_ends_the_generation(client: aiohttp.ClientSession, stream: bool) -> None:
    script = Gated("one", " two")
    async with Sandbox(("openai",), script=script) as sandbox:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(ask(client, sandbox, chat(stream=stream)))
            await until(lambda: bool(script.asked))
            script.open()
            waiting.cancel()
        await until(lambda: sandbox.servers["openai"]._counts.running == 0)
        state = sandbox.state("openai")
        assert state["runs"] == {"started": 1, "finished": 0, "cancelled": 1, "running": 0}
        assert state["open_streams"] == 0


async def test_models(client: aiohttp.ClientSession) -> None:
    options = {"openai": {"models": ["owner/name", "small"]}}
    async with Sandbox(("openai",), options=options) as sandbox:
        url = sandbox.urls["openai"] + "/v1/models"
        async with client.get(url) as answer:
            listed = await answer.json()
        async with client.get(url + "/owner/name") as answer:
            assert await answer.json() == listed["data"][0]
        async with client.get(url + "/none") as answer:
            assert (answer.status, (await answer.json())["error"]["param"]) == (404, "model")
    assert listed["object"] == "list"
    assert [list(model) for model in listed["data"]] == [
        ["id", "object", "created", "owned_by"]
    ] * 2


def test_a_field_that_is_not_known_passes() -> None:
    body = read_body(json.dumps(chat(frequency_penalty=1, user="me", x=[])).encode())
    assert not hasattr(body, "x")
    assert body == read_body(json.dumps(chat()).encode())


# -- answers of a real model, over the other protocols ---------------------------------------------


class Real:
    """Stands for a real model: thinks, answers, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.asked.append(prompt)
        if prompt.question == "fail":
            yield "part"
            raise ModelFailure("out of memory")
        for piece in (Thought("Hm"), "Real", " answer"):
            yield piece


async def by_replicate(client: aiohttp.ClientSession, sandbox: Sandbox, question: str) -> Any:
    url = f"{sandbox.urls['replicate']}/v1/models/{LLAMA_3}/predictions"
    given = {"prompt": question, "max_tokens": 50}
    headers = {"Authorization": f"Bearer {TOKEN}", "Prefer": "wait"}
    async with client.post(url, json={"input": given}, headers=headers) as answer:
        said = await answer.json()
    return said["output"], said["error"]


async def by_cog(client: aiohttp.ClientSession, sandbox: Sandbox, question: str) -> Any:
    given = {"prompt": question, "max_tokens": 50}
    url = f"{sandbox.urls['cog']}/predictions"
    headers = {"Accept": "text/event-stream"}
    async with client.post(url, json={"input": given}, headers=headers) as answer:
        completed = json.loads((await answer.read()).rpartition(b"data: ")[2])
    return completed["output"], completed.get("error")


async def by_openai(client: aiohttp.ClientSession, sandbox: Sandbox, question: str) -> Any:
    *shown, last = await chunks(
        client, sandbox, chat(question, max_tokens=50), done=question != "fail"
    )
    texts = [delta["content"] for delta in deltas(shown) if delta.get("content")]
    return texts, last.get("error", {}).get("message")


@pytest.mark.parametrize("way", [by_replicate, by_cog, by_openai])
async def test_a_real_model_answers_over_each_protocol(
    client: aiohttp.ClientSession, way: Callable[..., Any]
) -> None:
    script = Real()
    async with Sandbox(("openai",), script=script) as real:
        backend = Backend(real.urls["openai"], MODEL)
        async with Sandbox(("replicate", "cog", "openai"), backend=backend) as sandbox:
            assert await way(client, sandbox, "Why?") == (["Real", " answer"], None)
            output, error = await way(client, sandbox, "fail")
    assert [(one.question, one.max_tokens) for one in script.asked] == [("Why?", 50), ("fail", 50)]
    assert output == ["part"]
    assert error.endswith("out of memory")
