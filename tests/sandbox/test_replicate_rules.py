"""Predictions of Replicate's sandbox: states, waiting, cancelling, what the model is asked
(wire/replicate.md sections 3, 4 and 7).
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from penstock.sandbox.replicate.inputs import seconds_to_wait, seconds_until_cancel
from penstock.sandbox.replicate.models import find_model
from penstock.sandbox.script import Fixed, ModelFailure, Prompt, Said, Thought
from tests.sandbox.replicate_service import (
    LLAMA_3,
    VERSION,
    Serve,
    serving,
)
from tests.sandbox.speaking import Gated


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a service with a script and options."""
    async with AsyncExitStack() as stack:
        yield serving(stack)


# -- the prediction and its states -----------------------------------------------------------------


async def test_states_over_time(serve: Serve) -> None:
    script = Gated("one", " two")
    service = await serve(script, boot=0.03, outputs={LLAMA_3: "list"})
    made = await service.create()
    assert (made["status"], made["output"]) == ("starting", None)
    assert set(made["urls"]) == {"cancel", "get", "web"}
    assert (await service.get(made))["status"] == "starting"
    async with asyncio.timeout(5):
        while (now := await service.get(made))["status"] == "starting":
            await asyncio.sleep(0.002)
    assert (now["status"], now["output"]) == ("processing", None)
    script.open()
    async with asyncio.timeout(5):
        while (now := await service.get(made))["output"] is None:
            await asyncio.sleep(0.002)
    assert (now["status"], now["output"]) == ("processing", ["one"])
    assert service.state["conversations"]["left"] == [made["id"]]
    script.open(2)
    said = await service.over(made)
    assert (said["status"], said["output"]) == ("succeeded", ["one", " two"])
    assert said["created_at"] < said["started_at"] <= said["completed_at"]
    assert service.state["conversations"]["left"] == []


async def test_ids_and_stream_urls_have_the_recorded_form(serve: Serve) -> None:
    service = await serve()
    made = await service.create()
    assert re.fullmatch(r"[0-9a-z]{22}c0[0-9a-z]{2}", made["id"])
    stream = service.sandbox.urls["replicate.stream"]
    assert re.fullmatch(rf"{stream}/v1/streams/[a-z2-7]{{52}}", made["urls"]["stream"])
    assert stream != service.api


async def test_urls_follow_the_host_name_the_client_uses(serve: Serve) -> None:
    service = await serve()
    port = service.api.rpartition(":")[2]
    body = {"input": {"prompt": "x"}}
    url = f"http://localhost:{port}/v1/models/{LLAMA_3}/predictions"
    headers = {"Host": f"localhost:{port}"}
    _, made = await service.ask(
        "POST", url.replace("localhost", "127.0.0.1"), json=body, headers=headers
    )
    assert made["urls"]["get"].startswith(f"http://localhost:{port}/")
    assert made["urls"]["stream"].startswith("http://localhost:")


async def test_the_edge_escapes_and_the_web_part_does_not(serve: Serve) -> None:
    service = await serve(Fixed(["<&>"]))
    body = {"input": {"prompt": "<b> \u2028"}}
    url = f"{service.api}/v1/models/{LLAMA_3}/predictions"
    async with service.session.post(url, json=body) as answer:
        raw = await answer.read()
    assert rb'"prompt":"\u003cb\u003e \u2028"' in raw
    await service.over(made := json.loads(raw))
    async with service.session.get(made["urls"]["get"]) as answer:
        assert b'"output":["<&>"]' in await answer.read()


@pytest.mark.parametrize(
    ("output", "said"),
    [("stream", ["a", "b"]), ("list", ["a", "b"]), ("text", "ab")],
)
async def test_kinds_of_output(serve: Serve, output: str, said: object) -> None:
    service = await serve(Fixed([Thought("hm"), "a", "b"]), outputs={LLAMA_3: output})
    made = await service.create()
    assert ("stream" in made["urls"]) == (output == "stream")
    over = await service.over(made)
    assert over["output"] == said
    assert over["metrics"]["output_token_count"] == 2
    _, model = await service.ask("GET", f"/v1/models/{LLAMA_3}")
    schema = model["latest_version"]["openapi_schema"]["components"]["schemas"]["Output"]
    assert schema["type"] == ("string" if output == "text" else "array")
    assert ("x-cog-array-display" in schema) == (output == "stream")


async def test_files_have_a_stream_of_their_own_kind(serve: Serve) -> None:
    service = await serve()
    pictures = find_model("sandbox/pictures")
    assert pictures is not None
    made = await service.create(pictures.version)
    assert re.search(r"/v1/files/bcwr-[a-z2-7]{52}$", made["urls"]["stream"])
    body = await service.listen(made)
    (url,) = (await service.get(made))["output"]
    assert f"data: {url}\n".encode() in body
    async with service.session.get(url) as answer:
        assert (await answer.read()).startswith(b"\x89PNG")
    async with service.session.get(url.replace(made["id"], "none")) as answer:
        assert answer.status == 404


async def test_an_empty_answer_is_an_empty_list(serve: Serve) -> None:
    service = await serve("empty")
    assert (await service.over(await service.create()))["output"] == []


@pytest.mark.parametrize(("pieces", "output"), [(["a"], ["a"]), ([], None)])
async def test_a_failed_prediction_says_why(
    serve: Serve, pieces: list[str], output: object
) -> None:
    script = Gated(*pieces, ModelFailure("(E005) out of memory"))
    script.open(2)
    service = await serve(script)
    said = await service.over(await service.create())
    assert (said["status"], said["error"]) == ("failed", "(E005) out of memory")
    assert said["output"] == output


async def test_data_is_removed_after_an_hour(serve: Serve) -> None:
    service = await serve(second=0.03 / 3600)
    made = await service.create()
    await service.over(made)
    async with asyncio.timeout(5):
        while not (said := await service.get(made))["data_removed"]:
            await asyncio.sleep(0.005)
    assert (said["output"], said["input"], said["status"]) == (None, {}, "succeeded")


async def test_logs(serve: Serve) -> None:
    service = await serve(Fixed(["a"]), logs=True)
    made = await service.create()
    assert made["logs"] == ""
    assert b"event: logs\nid: " in await service.listen(made)
    assert (await service.get(made))["logs"] == "Random seed: 4711\n"


# -- waiting, cancelling, deadlines ----------------------------------------------------------------


async def test_waiting_in_vain_ends_with_starting(serve: Serve) -> None:
    service = await serve(Gated("a"), second=0.01)
    url = f"{service.api}/v1/models/{LLAMA_3}/predictions"
    headers = {"Prefer": "wait=2"}
    async with service.session.post(url, json={"input": {"prompt": "x"}}, headers=headers) as it:
        assert (it.status, it.headers["preference-applied"]) == (201, "wait=2")
        said = await it.json()
    assert (said["status"], said["output"]) == ("starting", None)
    assert (await service.get(said))["status"] == "processing"


async def test_a_failure_is_waited_for_too(serve: Serve) -> None:
    script = Gated(ModelFailure("no"))
    script.open()
    made = await (await serve(script)).create(headers={"Prefer": "wait"})
    assert (made["status"], made["error"]) == ("failed", "no")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("respond-async", None), ("wait", 60), ("wait=5", 5), ("wait=0", 1),
     ("wait=99", 60), ("respond-async, wait=7", 7)],
)  # fmt: skip
def test_seconds_to_wait(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("soon", None), ("30", 30), ("30s", 30), ("5m", 300),
     ("1h30m45s", 5445), ("1", 5)],
)  # fmt: skip
def test_seconds_until_cancel(header: str | None, seconds: float | None) -> None:
    assert seconds_until_cancel(header) == seconds


async def test_cancel_in_the_middle_of_a_stream(serve: Serve) -> None:
    script = Gated("one", " two", " three")
    service = await serve(script)
    made = await service.create()
    script.open(2)

    async def cancel() -> dict[str, Any]:
        async with asyncio.timeout(5):
            while (await service.get(made))["output"] != ["one", " two"]:
                await asyncio.sleep(0.002)
        _, said = await service.ask("POST", made["urls"]["cancel"])
        return said

    body, cancelled = await asyncio.gather(service.listen(made), cancel())
    assert body.endswith(b'data: {"reason":"canceled"}\n\n')
    assert (cancelled["status"], cancelled["output"]) == ("canceled", ["one", " two"])
    assert service.state["cancels"] == [made["id"]]
    assert service.state["runs"]["cancelled"] == 1
    # Again, of what is over: its answer is not known, ours is the prediction.
    answer, again = await service.ask("POST", made["urls"]["cancel"])
    assert (answer.status, again["status"]) == (200, "canceled")


async def test_cancel_before_it_runs(serve: Serve) -> None:
    service = await serve(boot=60.0)
    made = await service.create()
    _, said = await service.ask("POST", made["urls"]["cancel"])
    assert (said["status"], said["started_at"], said["output"]) == ("canceled", None, None)
    assert list(said["metrics"]) == ["total_time"]


@pytest.mark.parametrize(("boot", "status"), [(60.0, "aborted"), (0.0, "canceled")])
async def test_a_deadline_aborts_or_cancels(serve: Serve, boot: float, status: str) -> None:
    service = await serve(Gated("a"), boot=boot, second=0.002)
    made = await service.create(headers={"Cancel-After": "5s"})
    assert "deadline" in made
    assert (await service.over(made))["status"] == status


async def test_a_prediction_in_time_meets_no_deadline(serve: Serve) -> None:
    service = await serve()
    made = await service.create(headers={"Cancel-After": "1h"})
    assert (await service.over(made))["status"] == "succeeded"


# -- what the model is asked -----------------------------------------------------------------------


class Listener:
    """Remembers what it is asked, and says many pieces."""

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        self.asked.append(prompt)
        for number in range(600):
            yield f" {number}"


@pytest.mark.parametrize(
    ("model", "given", "messages"),
    [
        (LLAMA_3, {"prompt": "Hi", "system_prompt": "Be short."}, [("user", "Hi")]),
        (
            LLAMA_3,
            {"prompt": "{prompt}!", "prompt_template": "<{prompt}> {system_prompt}"},
            [("user", "<{prompt}!> ")],
        ),
        (
            "meta/meta-llama-3.1-405b-instruct",
            {"prompt": "Hi", "system_prompt": "S", "prompt_template": "{system_prompt}|{prompt}"},
            [("user", "S|Hi")],
        ),
        (
            "meta/meta-llama-3.1-405b-instruct",
            {"prompt": "Hi", "system_prompt": "S"},
            [("system", "S"), ("user", "Hi")],
        ),
        (VERSION, {"prompt": "Hi"}, [("system", "You are a helpful assistant."), ("user", "Hi")]),
        (
            "openai/gpt-5",
            {"prompt": "P", "system_prompt": "S", "messages": [{"role": "user", "content": "M"}]},
            [("user", "M")],
        ),
        (
            "openai/gpt-5",
            {"messages": '[{"role":"user","content":[{"type":"text","text":"M"}]}]'},
            [("user", "M")],
        ),
        ("openai/gpt-5", {"prompt": "P", "messages": "odd"}, [("user", "P")]),
    ],
)
async def test_prompts(
    serve: Serve, model: str, given: Mapping[str, object], messages: list[tuple[str, str]]
) -> None:
    script = Listener()
    service = await serve(script)
    body: dict[str, object] = {"input": given, "version": model}
    answer, made = await service.ask("POST", "/v1/predictions", json=body)
    assert answer.status == 201
    await service.over(made)
    (prompt,) = script.asked
    assert [(message.role, message.content) for message in prompt.messages] == messages


@pytest.mark.parametrize(
    ("model", "given", "count"),
    [
        (LLAMA_3, {}, 512),
        (LLAMA_3, {"max_tokens": 3}, 3),
        (LLAMA_3, {"max_new_tokens": 3}, 512),  # a wrong name has no effect
        (VERSION, {}, 128),
        (VERSION, {"max_new_tokens": 3.0}, 3),
        (VERSION, {"stop_sequences": "x,4, 7"}, 5),
        (LLAMA_3, {"stop_sequences": "4"}, 512),
        ("openai/gpt-5", {}, 600),
    ],
)
async def test_limits_and_stop_texts(
    serve: Serve, model: str, given: Mapping[str, object], count: int
) -> None:
    service = await serve(Listener())
    said = await service.over(await service.create(model, given))
    assert len(said["output"]) == count
    assert said["metrics"]["output_token_count"] == count
