"""Cog, the model server: the rules of wire/replicate.md section 8 and what cog 0.23.1 says."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.cog_forms import Asked, Unreadable, invalid, read_body
from penstock.sandbox.script import Fixed, ModelFailure, Thought
from tests.sandbox.speaking import Gated, until

SSE = {"Accept": "text/event-stream"}
BUSY = {"error": "At capacity - all prediction slots busy", "status": "failed"}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def asked(prompt: str = "x", **given: object) -> dict[str, object]:
    return {"input": {"prompt": prompt, **given}}


async def events(answer: aiohttp.ClientResponse) -> list[tuple[str, dict[str, Any]]]:
    """All events of a stream that ends in order."""
    assert answer.status == 200, await answer.text()
    assert answer.headers["Content-Type"] == "text/event-stream"
    body = (await answer.read()).decode()
    assert body.endswith("\n\n")
    found = []
    for block in body.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_events_of_a_stream(client: aiohttp.ClientSession) -> None:
    script = Fixed(["a", Thought("hm"), "", "b\n"])
    options = {"cog": {"logs": True}}
    async with (
        Sandbox(("cog",), script=script, options=options) as sandbox,
        client.post(sandbox.urls["cog"] + "/predictions", json=asked(), headers=SSE) as answer,
    ):
        got = await events(answer)
    ident = got[0][1]["id"]
    log = "Random seed: 4711\n"
    assert ident.startswith("pred_")
    metrics = got[-1][1].pop("metrics")
    assert list(metrics) == ["predict_time"]
    assert got == [
        ("start", {"id": ident, "status": "processing"}),
        ("log", {"data": log, "source": "stdout"}),
        ("output", {"chunk": "a", "index": 0}),
        ("output", {"chunk": "", "index": 1}),
        ("output", {"chunk": "b\n", "index": 2}),
        (
            "completed",
            {"id": ident, "logs": log, "output": ["a", "", "b\n"], "status": "succeeded"},
        ),
    ]


async def test_a_failed_prediction_is_still_a_200(client: aiohttp.ClientSession) -> None:
    script = Gated("a", ModelFailure("broke <&>"))
    script.open(4)
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"] + "/predictions"
        async with client.post(url, json=asked()) as answer:
            assert answer.status == 200
            whole = await answer.json()
        async with client.post(url, json=asked(), headers=SSE) as answer:
            name, completed = (await events(answer))[-1]
    error = "Prediction failed: Generator iteration error: RuntimeError: broke <&>"
    assert list(whole) == ["error", "id", "logs", "metrics", "status"]
    assert (whole["error"], whole["status"]) == (error, "failed")
    assert (name, completed["error"], completed["output"]) == ("completed", error, ["a"])


async def test_one_slot(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"]
        body = {**asked(), "id": "slow"}
        async with client.post(url + "/predictions", json=body, headers=SSE) as first:
            await first.content.readany()
            for headers in ({}, SSE):
                async with client.post(
                    url + "/predictions", json=asked(), headers=headers
                ) as answer:
                    assert (answer.status, await answer.json()) == (409, BUSY)
            # The input is judged before the slot.
            async with client.post(url + "/predictions", json={"input": {}}) as answer:
                assert answer.status == 422
            async with client.get(url + "/health-check") as answer:
                assert (await answer.json())["status"] == "BUSY"
            script.open(2)
            await first.read()
        async with client.get(url + "/health-check") as answer:
            assert (await answer.json())["status"] == "READY"
        assert sandbox.state("cog")["conversations"] == {
            "created": ["slow"],
            "deleted": ["slow"],
            "left": [],
        }


async def test_the_slot_may_stay_taken_for_a_moment(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("cog",), options={"cog": {"linger": 0.05}}) as sandbox:
        url = sandbox.urls["cog"] + "/predictions"
        statuses: list[int] = []
        async with asyncio.timeout(5):
            while statuses.count(200) < 2:
                async with client.post(url, json=asked()) as answer:
                    statuses.append(answer.status)
    assert statuses[0] == 200
    assert 409 in statuses


async def test_cancel_takes_effect_at_the_next_piece(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b", "c")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"]
        body = {**asked(), "id": "slow"}
        async with client.post(url + "/predictions", json=body, headers=SSE) as stream:
            script.open()
            seen = b""
            while b'"chunk":"a"' not in seen:
                seen += await stream.content.readany()
            async with client.post(url + "/predictions/slow/cancel") as answer:
                assert (answer.status, await answer.json()) == (200, {})
            assert sandbox.servers["cog"]._counts.running == 1
            script.open()
            seen += await stream.read()
        completed = json.loads(seen.rpartition(b"data: ")[2])
        assert (completed["status"], completed["output"]) == ("canceled", ["a"])
        async with client.post(url + "/predictions/slow/cancel") as answer:
            assert (answer.status, await answer.json()) == (404, {})


async def test_a_cancelled_whole_answer_has_no_output(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"]

        async def ask() -> Any:
            body = {**asked(), "id": "slow"}
            async with client.post(url + "/predictions", json=body) as answer:
                return await answer.json()

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(ask())
            await until(lambda: bool(script.asked))
            async with client.post(url + "/predictions/slow/cancel") as answer:
                assert answer.status == 200
            script.open(2)
        said = waiting.result()
    assert list(said) == ["id", "logs", "metrics", "status"]
    assert said["status"] == "canceled"


@pytest.mark.parametrize("headers", [{}, SSE])
@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PUT", "/two")])
async def test_leaving_cancels_at_the_next_piece(
    client: aiohttp.ClientSession, headers: Mapping[str, str], method: str, path: str
) -> None:
    script = Gated("a", "b", "c")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"] + "/predictions"

        async def ask() -> None:
            async with client.request(method, url + path, json=asked(), headers=headers) as answer:
                await answer.read()

        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(ask())
            await until(lambda: bool(script.asked))
            script.open()
            waiting.cancel()
        await until(lambda: sandbox.servers["cog"]._connections() == 0)
        async with client.post(url, json=asked()) as answer:
            assert answer.status == 409
        script.open()
        await until(lambda: sandbox.servers["cog"]._counts.running == 0)
        assert sandbox.servers["cog"]._counts.cancelled == 1
        script.open(3)
        async with client.post(url, json=asked()) as answer:
            assert (answer.status, (await answer.json())["output"]) == (200, ["a", "b", "c"])


async def test_a_second_put_joins(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"] + "/predictions/two"
        body = asked("Hi", temperature=1)
        async with client.put(url, json=body, headers=SSE) as first:
            script.open()
            seen = b""
            while b'"chunk":"a"' not in seen:
                seen += await first.content.readany()
            async with client.put(url, json=asked("other")) as answer:
                assert answer.status == 202
                assert await answer.json() == {
                    "id": "two",
                    "input": {"prompt": "Hi", "temperature": 1},
                    "logs": "",
                    "metrics": {},
                    "output": ["a"],
                    "status": "processing",
                }
            async with client.put(url, json=body, headers=SSE) as second:
                script.open()
                rest = await second.read()
            assert seen + await first.read() == rest
        assert len(script.asked) == 1
        script.open(2)
        async with client.put(url, json=body) as answer:  # what is over is not joined
            assert (answer.status, (await answer.json())["output"]) == (200, ["a", "b"])


async def test_one_of_two_listeners_may_leave(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b")
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"] + "/predictions/two"
        async with client.put(url, json=asked(), headers=SSE) as first:
            await first.content.readany()
            async with client.put(url, json=asked(), headers=SSE) as second:
                await second.content.readany()
            await until(lambda: sandbox.servers["cog"].open_streams == 1)
            script.open(2)
            assert (await first.read()).endswith(b'"status":"succeeded"}\n\n')


async def test_a_put_names_its_prediction(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("cog",)) as sandbox:
        url = sandbox.urls["cog"] + "/predictions/abc"
        async with client.put(url, json={**asked(), "id": "def"}) as answer:
            assert answer.status == 422
            (detail,) = (await answer.json())["detail"]
            assert detail["msg"] == "prediction ID must match the ID supplied in the URL"
        async with client.put(url, json={**asked(), "id": "abc"}) as answer:
            assert (await answer.json())["id"] == "abc"


async def test_results_that_nobody_waits_for(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("cog",)) as sandbox:
        headers = {"Prefer": "respond-async"}
        url = sandbox.urls["cog"] + "/predictions"
        async with client.post(url, json={**asked(), "id": "a"}, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (202, {"id": "a", "status": "starting"})
        await until(lambda: sandbox.servers["cog"]._counts.finished == 1)


async def test_setup(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("cog",), options={"cog": {"setup": 60.0}}) as sandbox:
        url = sandbox.urls["cog"]
        async with client.post(url + "/predictions", json=asked()) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"].startswith("Setup has not finished yet.")
        # The model is not known yet, so that nothing says that it streams.
        async with client.post(url + "/predictions", json=asked(), headers=SSE) as answer:
            assert answer.status == 406
        async with client.get(url + "/health-check") as answer:
            said = await answer.json()
        assert (said["status"], said["setup"]["status"]) == ("STARTING", "starting")
        async with client.get(url + "/openapi.json") as answer:
            assert answer.status == 503


async def test_a_model_that_is_not_marked_for_streaming(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("cog",), options={"cog": {"streams": False}}) as sandbox:
        url = sandbox.urls["cog"] + "/predictions"
        async with client.post(url, json=asked(), headers=SSE) as answer:
            assert answer.status == 406
            assert "does not support streaming" in (await answer.json())["error"]
        async with client.post(url, json=asked("Hi")) as answer:
            assert (await answer.json())["output"] == ["Hi"]


async def test_silence_is_broken_by_comments(client: aiohttp.ClientSession) -> None:
    options = {"cog": {"keep_alive": 0.005}}
    async with (
        Sandbox(("cog",), script=Gated("a"), options=options) as sandbox,
        client.post(sandbox.urls["cog"] + "/predictions", json=asked(), headers=SSE) as answer,
    ):
        body = b""
        while not body.endswith(b": keep-alive\n\n: keep-alive\n\n"):
            body += await answer.content.readany()
    assert body.startswith(b"event: start\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/predictions", 405),
        ("GET", "/nothing", 404),
        ("POST", "/predictions/none/cancel", 404),
    ],
)
async def test_other_routes(
    client: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with (
        Sandbox(("cog",)) as sandbox,
        client.request(method, sandbox.urls["cog"] + path) as answer,
    ):
        assert answer.status == status
        assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("given", "details"),
    [
        ({}, [("prompt", "Field required", "value_error.missing")]),
        ([1], [("__root__", '[1] is not of type "object"', "value_error")]),
        (
            {"prompt": 3, "max_tokens": "x"},
            [
                ("max_tokens", '"x" is not of type "integer"', "value_error"),
                ("prompt", '3 is not of type "string"', "value_error"),
            ],
        ),
        (
            {"prompt": None, "max_tokens": 65.5},
            [
                ("max_tokens", "65.5 is greater than the maximum of 64", "value_error"),
                ("max_tokens", '65.5 is not of type "integer"', "value_error"),
                ("prompt", 'null is not of type "string"', "value_error"),
            ],
        ),
        (
            {"prompt": "x", "max_tokens": 0},
            [("max_tokens", "0 is less than the minimum of 1", "value_error")],
        ),
        ({"prompt": "x", "top": 1, "max_tokens": 64.0}, []),
    ],
)
def test_what_does_not_fit(given: object, details: list[tuple[str, str, str]]) -> None:
    said = invalid(given, 64)
    assert said == (
        {
            "detail": [
                {"loc": ["body", "input", name], "msg": words, "type": kind}
                for name, words, kind in details
            ]
        }
        if details
        else None
    )


@pytest.mark.parametrize(
    ("body", "kind", "status", "text"),
    [
        (b"{bad", "application/json", 400, "Failed to parse the request body as JSON: "),
        (b"{}", "text/plain", 415, "Expected request with `Content-Type: application/json`"),
        (b'{"id":5}', "application/json", 422, "Failed to deserialize the JSON body into"),
    ],
)
async def test_bodies_that_cannot_be_read(
    client: aiohttp.ClientSession, body: bytes, kind: str, status: int, text: str
) -> None:
    with pytest.raises(Unreadable, match="^" + text.split(":", maxsplit=1)[0].replace("`", ".")):
        read_body(body, kind)
    async with (
        Sandbox(("cog",)) as sandbox,
        client.post(
            sandbox.urls["cog"] + "/predictions", data=body, headers={"Content-Type": kind}
        ) as answer,
    ):
        assert answer.status == status
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert (await answer.text()).startswith(text)


def test_nothing_asks_with_an_empty_input() -> None:
    empty = Asked(input={})
    assert read_body(b"", "") == empty
    assert read_body(b'{"input":null}', "application/json; charset=utf-8") == empty


async def test_what_the_model_is_asked(client: aiohttp.ClientSession) -> None:
    script = Gated("a", "b", "c,", "d")
    script.open(10)
    given = {"system_prompt": "S", "max_tokens": 3.0, "stop_sequences": "b,d"}
    async with Sandbox(("cog",), script=script) as sandbox:
        url = sandbox.urls["cog"] + "/predictions"
        async with client.post(url, json=asked("Hi", **given)) as answer:
            assert (await answer.json())["output"] == ["a", "b"]
    (prompt,) = script.asked
    assert [(one.role, one.content) for one in prompt.messages] == [("system", "S"), ("user", "Hi")]
    assert (prompt.max_tokens, prompt.stop) == (3, ("b", "d"))
