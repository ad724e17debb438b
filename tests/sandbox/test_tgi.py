"""The native routes of text-generation-inference (wire/h2o.md sections 4 and 5)."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import aiohttp
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import End, Fixed, Prompt, Said, Thought
from penstock.sandbox.tgi_frames import Call, Limits, Parameters, invalid, parse_call
from tests.sandbox.speaking import Failing, until

WORDS = [" one", " two", " three"]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def frames(answer: aiohttp.ClientResponse, head: bytes = b"data:") -> list[dict[str, object]]:
    """All frames of a stream, each of them one line after `head` and a blank line."""
    body = await answer.read()
    assert body.endswith(b"\n\n")
    lines = body.removesuffix(b"\n\n").split(b"\n\n")
    assert all(line.startswith(head + b"{") for line in lines)
    return [json.loads(line.removeprefix(head)) for line in lines]


def asked(**parameters: object) -> dict[str, object]:
    return {"inputs": "Count", "parameters": parameters}


async def test_frames_end_with_the_end_token(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("tgi",), script=Fixed(WORDS)) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked(details=True)) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            assert answer.headers["x-compute-characters"] == "5"
            got = await frames(answer)
    assert [frame["token"] for frame in got] == [
        {"id": 300, "text": " one", "logprob": -0.0123, "special": False},
        {"id": 301, "text": " two", "logprob": -0.0246, "special": False},
        {"id": 302, "text": " three", "logprob": -0.0369, "special": False},
        {"id": 11, "text": "<|endoftext|>", "logprob": -0.0492, "special": True},
    ]
    assert [frame["generated_text"] for frame in got] == [None, None, None, " one two three"]
    assert got[0]["details"] is None
    # The model did not sample, so no seed is named.
    assert got[-1]["details"] == {"finish_reason": "eos_token", "generated_tokens": 4, "seed": None}


@pytest.mark.parametrize(
    ("parameters", "last", "reason"),
    [
        ({"max_new_tokens": 2}, " two", "length"),
        ({"stop": ["tw"]}, " two", "stop_sequence"),
        ({"max_new_tokens": 4}, "<|endoftext|>", "length"),
        ({"max_new_tokens": 5}, "<|endoftext|>", "eos_token"),
    ],
)
async def test_the_last_frame_says_how_it_ended(
    client: aiohttp.ClientSession, parameters: Mapping[str, object], last: str, reason: str
) -> None:
    async with Sandbox(("tgi",), script=Fixed(WORDS)) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        body = asked(details=True, do_sample=True, **parameters)
        async with client.post(url, json=body) as answer:
            frame = (await frames(answer))[-1]
    assert isinstance(frame["token"], dict)
    assert isinstance(frame["details"], dict)
    assert frame["token"]["text"] == last
    assert frame["details"]["finish_reason"] == reason
    assert frame["details"]["seed"] > 2**53


async def test_twenty_tokens_unless_asked(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("tgi",), script=Fixed([" x"] * 30)) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json={"inputs": "Count"}) as answer:
            got = await frames(answer)
    assert len(got) == 20
    assert got[-1]["details"] is None
    assert got[-1]["generated_text"] == " x" * 20


async def test_an_empty_answer_is_one_last_frame(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("tgi",), script="empty") as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked()) as answer:
            got = await frames(answer)
    assert [frame["generated_text"] for frame in got] == [""]


async def test_a_backends_length_gets_a_last_frame_of_its_own(
    client: aiohttp.ClientSession,
) -> None:
    script = Fixed([Thought("Hm"), " one", End("length")])
    async with Sandbox(("tgi",), script=script) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked(details=True)) as answer:
            got = await frames(answer)
    assert [frame["generated_text"] for frame in got] == [None, None, "Hm one"]
    assert isinstance(got[-1]["details"], dict)
    assert got[-1]["details"]["finish_reason"] == "length"


async def test_the_prompt_is_repeated_only_in_the_whole_text(
    client: aiohttp.ClientSession,
) -> None:
    async with Sandbox(("tgi",), script=Fixed([" one"])) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked(return_full_text=True)) as answer:
            got = await frames(answer)
    assert got[-1]["generated_text"] == "Count one"


@pytest.mark.parametrize(
    ("version", "head", "indexed"),
    [("0.8.2", b"data:", False), ("1.4.0", b"data:", True), ("2.1.0", b"data: ", True)],
)
async def test_later_releases_frame_otherwise(
    client: aiohttp.ClientSession, version: str, head: bytes, indexed: bool
) -> None:
    async with (
        Sandbox(("tgi",), script=Fixed(WORDS), options={"tgi": {"version": version}}) as sandbox,
        client.post(sandbox.urls["tgi"] + "/generate_stream", json=asked()) as answer,
    ):
        got = await frames(answer, head)
    expected = [1, 2, 3, 4] if indexed else [None] * 4
    assert [frame.get("index") for frame in got] == expected


async def test_text_stands_raw_in_the_frames(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("tgi",), script=Fixed(["é\u2028\u0085\n"])) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked()) as answer:
            body = await answer.read()
    assert '"text":"é\u2028\u0085\\n"'.encode() in body


async def test_refusals_in_a_stream_are_frames_of_status_200(
    client: aiohttp.ClientSession,
) -> None:
    async with Sandbox(("tgi",), options={"tgi": {"max_concurrent": 1}}) as sandbox:
        url = sandbox.urls["tgi"] + "/generate_stream"
        async with client.post(url, json=asked(temperature=0)) as answer:
            assert answer.status == 200
            got = await frames(answer)
    assert got == [
        {
            "error": "Input validation error: `temperature` must be strictly positive",
            "error_type": "validation",
        }
    ]


class Waiting:
    """Says one piece, then waits for good."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        yield " one"
        await asyncio.Event().wait()


async def test_no_free_slot_is_overload_and_leaving_frees_it(
    client: aiohttp.ClientSession,
) -> None:
    async with Sandbox(
        ("tgi",), script=Waiting(), options={"tgi": {"max_concurrent": 1}}
    ) as sandbox:
        url = sandbox.urls["tgi"]
        first = await client.post(url + "/generate_stream", json=asked())
        assert b" one" in await first.content.readany()
        async with client.post(url + "/generate_stream", json=asked()) as answer:
            told = {"error": "Model is overloaded", "error_type": "overloaded"}
            assert await frames(answer) == [told]
        async with client.post(url + "/generate", json=asked()) as answer:
            assert (answer.status, await answer.json()) == (429, told)
        first.close()
        await until(lambda: sandbox.state("tgi")["open_streams"] == 0)
        runs = {"started": 1, "finished": 0, "cancelled": 1, "running": 0}
        assert sandbox.state("tgi")["runs"] == runs
        again = await client.post(url + "/generate_stream", json=asked())
        assert b" one" in await again.content.readany()
        again.close()


async def test_silence_is_broken_by_comments(client: aiohttp.ClientSession) -> None:
    async with (
        Sandbox(("tgi",), script=Waiting(), options={"tgi": {"keep_alive": 0.01}}) as sandbox,
        client.post(sandbox.urls["tgi"] + "/generate_stream", json=asked()) as answer,
    ):
        body = b""
        while b":\n\n:\n\n" not in body:
            body += await answer.content.readany()
    assert body.startswith(b'data:{"token"')


@pytest.mark.parametrize(
    ("script", "status", "told", "kind"),
    [
        (Failing(" a"), 424, "Request failed during generation: out of memory", "generation"),
        (Failing(status=503), 429, "Model is overloaded", "overloaded"),
        (
            Failing(" a", status=503),
            424,
            "Request failed during generation: out of memory",
            "generation",
        ),
    ],
)
async def test_a_failing_model_is_an_error_frame_or_a_status(
    client: aiohttp.ClientSession, script: Failing, status: int, told: str, kind: str
) -> None:
    async with Sandbox(("tgi",), script=script) as sandbox:
        url = sandbox.urls["tgi"]
        async with client.post(url + "/generate_stream", json=asked()) as answer:
            assert answer.status == 200
            assert (await frames(answer))[-1] == {"error": told, "error_type": kind}
        async with client.post(url + "/generate", json=asked()) as answer:
            assert answer.status == status
            assert await answer.json() == {"error": told, "error_type": kind}


async def test_whole_answers(client: aiohttp.ClientSession) -> None:
    async with Sandbox(("tgi",), script=Fixed(WORDS)) as sandbox:
        url = sandbox.urls["tgi"]
        async with client.post(url + "/generate", json=asked()) as answer:
            assert await answer.text() == '{"generated_text":" one two three"}'
            assert answer.headers["x-compute-type"] == "gpu+optimized"
        async with client.post(url + "/", json=asked()) as answer:
            assert await answer.text() == '[{"generated_text":" one two three"}]'
        async with client.post(url + "/", json={**asked(), "stream": True}) as answer:
            assert len(await frames(answer)) == 4
        async with client.post(url + "/generate", json=asked(details=True)) as answer:
            details = (await answer.json())["details"]
    assert details["generated_tokens"] == 4
    assert [one["text"] for one in details["tokens"]] == WORDS


async def test_info_and_health(client: aiohttp.ClientSession) -> None:
    options = {"tgi": {"model": "owner/name", "max_input_length": 10}}
    async with Sandbox(("tgi",), options=options) as sandbox:
        async with client.get(sandbox.urls["tgi"] + "/info") as answer:
            info = await answer.json()
        assert (info["model_id"], info["max_input_length"]) == ("owner/name", 10)
        async with client.get(sandbox.urls["tgi"] + "/health") as answer:
            assert (answer.status, await answer.read()) == (200, b"")


@pytest.mark.parametrize(
    ("body", "kind", "status", "told"),
    [
        (b'{"inputs":"a"}', "text/plain", 415, "Expected request with `Content-Type"),
        (b"{", "application/json", 400, "Failed to parse the request body as JSON"),
        (b"[1]", "application/json", 422, "invalid type: sequence"),
        (b"{}", "application/json", 422, "missing field `inputs` at line 1 column 2"),
        (b'{"inputs":1}', "application/json", 422, "inputs: invalid type: integer `1`"),
        (
            b'{"inputs":"a","parameters":{"max_new_tokens":"abc"}}',
            "application/json",
            422,
            'max_new_tokens: invalid type: string "abc", expected u32 at line 1 column 50',
        ),
        (
            b'{"inputs":"a",\n"parameters":{"truncate":-1}}',
            "application/json",
            422,
            "parameters.truncate: invalid value: integer `-1`, expected usize at line 2 column 27",
        ),
        (
            b'{"inputs":"a","parameters":{"details":null}}',
            "application/json",
            422,
            "parameters.details: invalid type: null, expected a boolean",
        ),
        (
            b'{"inputs":"a","parameters":{"top_p":true}}',
            "application/json",
            422,
            "parameters.top_p: invalid type: boolean `true`, expected f32",
        ),
        (
            b'{"inputs":"a","parameters":{"stop":[1]}}',
            "application/json",
            422,
            "parameters.stop: invalid type: sequence, expected a sequence",
        ),
        (b'{"inputs":"a","parameters":1.5}', "application/json", 422, "floating point `1.5`"),
        (b'{"inputs":"a","stream":{}}', "application/json", 422, "stream: invalid type: map"),
    ],
)
async def test_bodies_the_router_cannot_read_are_plain_text(
    client: aiohttp.ClientSession, body: bytes, kind: str, status: int, told: str
) -> None:
    async with Sandbox(("tgi",)) as sandbox:
        for route in ("/generate", "/generate_stream"):
            url = sandbox.urls["tgi"] + route
            async with client.post(url, data=body, headers={"Content-Type": kind}) as answer:
                assert answer.status == status
                assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
                assert told in await answer.text()


def test_null_and_unknown_parameters_pass() -> None:
    body = b'{"inputs":"a","x":1,"parameters":{"top_p":null,"y":[],"do_sample":true}}'
    assert parse_call(body, "application/json") == Call("a", Parameters(do_sample=True))


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (Parameters(best_of=3), "`best_of` must be > 0 and <= 2. Given: 3"),
        (Parameters(best_of=2), "you must use sampling when `best_of` is > 1"),
        (Parameters(repetition_penalty=0), "`repetition_penalty` must be strictly positive"),
        (Parameters(top_p=1), "`top_p` must be > 0.0 and < 1.0"),
        (Parameters(typical_p=0), "`typical_p` must be > 0.0 and < 1.0"),
        (Parameters(top_k=0), "`top_k` must be strictly positive"),
        (Parameters(max_new_tokens=0), "`max_new_tokens` must be strictly positive"),
        (Parameters(stop=("a",) * 5), "`stop` supports up to 4 stop sequences. Given: 5"),
        (Parameters(truncate=0), "less than 50. Given: 0"),
        (Parameters(max_new_tokens=90), "must be <= 100. Given: 60 `inputs` tokens and 90"),
        (Parameters(max_new_tokens=5), "`inputs` must have less than 50 tokens. Given: 60"),
    ],
)
def test_the_routers_validation(parameters: Parameters, told: str) -> None:
    limits = Limits(max_input_length=50, max_total_tokens=100)
    problem = invalid(Call("abcd" * 60, parameters), limits)
    assert problem is not None
    assert problem.startswith("Input validation error: ")
    assert told in problem


def test_truncate_shortens_what_counts() -> None:
    limits = Limits(max_input_length=50, max_total_tokens=100)
    parameters = Parameters(truncate=50, max_new_tokens=50, best_of=2, do_sample=True)
    assert invalid(Call("abcd" * 60, parameters), limits) is None
    assert invalid(Call("", Parameters()), limits) == (
        "Input validation error: `inputs` cannot be empty"
    )
