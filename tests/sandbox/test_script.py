"""What the model says: built-in scripts, files, and a real model behind a backend."""

import asyncio
import json
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from penstock.sandbox import SCRIPTS, Sandbox, ScriptError, load_script
from penstock.sandbox.backend import Backend
from penstock.sandbox.script import (
    End,
    Fixed,
    Message,
    ModelFailure,
    Prompt,
    Said,
    Script,
    Thought,
    cut_tokens,
)
from penstock.sandbox.texts import CODE, LOREM, MULTILINGUAL
from tests.served import served

ASKED = Prompt(
    messages=(
        Message("system", "Be brief."),
        Message("user", "Zuerst:  zwei\n\tBlanks"),
        Message("assistant", "Ja"),
        Message("user", "Was ist\r\n das,  ein Donaudampfschiff?"),
    )
)


async def said(script: Script, prompt: Prompt = ASKED) -> list[Said]:
    """All that a script says."""
    return [one async for one in script.pieces(prompt)]


async def text(script: Script, prompt: Prompt = ASKED) -> str:
    """The visible text of a script, which has to be nothing but text."""
    pieces = await said(script, prompt)
    return "".join(piece for piece in pieces if isinstance(piece, str))


@pytest.mark.parametrize(
    "sample", [LOREM, CODE, MULTILINGUAL, "", " ", "a\r\n\u2028 b\x85", "\n\n "]
)
def test_tokens_joined_are_the_text(sample: str) -> None:
    assert "".join(cut_tokens(sample)) == sample


def test_words_bring_their_blank_and_indentation_stands_alone() -> None:
    assert cut_tokens("def f(x):\n    return x\n\n\t\tok") == [
        "def",
        " f(x):",
        "\n",
        "    ",
        "return",
        " x",
        "\n",
        "\n",
        "\t\t",
        "ok",
    ]


async def test_echo_says_the_last_question() -> None:
    assert await text(load_script("echo")) == "Was ist\r\n das,  ein Donaudampfschiff?"
    assert await text(load_script("echo"), Prompt(messages=())) == ""


@pytest.mark.parametrize("name", SCRIPTS)
async def test_built_in_scripts_say_the_same_each_time(name: str) -> None:
    assert await said(load_script(name)) == await said(load_script(name))


async def test_multilingual_holds_what_breaks_careless_readers() -> None:
    spoken = await text(load_script("multilingual"))
    assert "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" in spoken
    assert {"\u2028", "\u0085"} <= set(spoken)
    assert any(unicodedata.bidirectional(one) == "R" for one in spoken)
    assert any(unicodedata.combining(one) for one in spoken)
    assert len({unicodedata.name(one, " ").split()[0] for one in spoken if one.isalpha()}) >= 9


async def test_code_has_indentation_tabs_and_blank_lines_as_tokens() -> None:
    pieces = await said(load_script("code"))
    assert {"    ", "        ", "\t\t", "\n"} <= set(pieces)


async def test_blanks_and_huge_and_empty() -> None:
    blanks = await said(load_script("blanks"))
    assert sum(isinstance(one, str) and not one.strip() for one in blanks) > len(blanks) / 2
    huge = await said(load_script("huge"))
    assert len(huge) == 1
    assert len(str(huge[0])) >= 200_000
    assert await said(load_script("empty")) == []


async def test_a_list_in_a_file_is_what_is_said(tmp_path: Path) -> None:
    file = tmp_path / "said.json"
    file.write_text(json.dumps([{"reasoning": "Hm"}, "Ja", " é", {"finish": "length"}]))
    assert await said(load_script(str(file))) == [Thought("Hm"), "Ja", " é", End("length")]


async def test_a_file_can_choose_by_the_question(tmp_path: Path) -> None:
    file = tmp_path / "said.json"
    file.write_text(json.dumps({"^Was": ["Das"], "(?i)hallo": ["Tag"]}))
    script = load_script(str(file))
    assert await said(script) == ["Das"]
    assert await said(script, Prompt(messages=(Message("user", "HALLO"),))) == ["Tag"]
    assert await said(script, Prompt(messages=(Message("user", "Wer"),))) == ["Wer"]


async def test_plain_text_in_a_file_is_cut_in_tokens(tmp_path: Path) -> None:
    file = tmp_path / "said.txt"
    file.write_text("{not json} at all")
    assert await said(load_script(str(file))) == ["{not", " json}", " at", " all"]


@pytest.mark.parametrize(
    "content", ['{"(": ["a"]}', '["a", 1]', '[{"reason": "a"}]', '[{"finish": "a", "b": "c"}]', "{"]
)
def test_a_bad_json_file_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "said.json"
    file.write_text(content)
    with pytest.raises(ScriptError):
        load_script(str(file))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ScriptError, match="no script 'ecco' \\(built in: echo, lorem"):
        load_script("ecco")


@asynccontextmanager
async def upstream(body: bytes, status: int = 200) -> AsyncIterator[tuple[str, list[object]]]:
    """A server that answers every chat completion with these bytes, in small writes."""
    asked: list[object] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append({**await request.json(), "key": request.headers.get("Authorization")})
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for start in range(0, len(body), 7):
            await response.write(body[start : start + 7])
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with served(app) as url:
        yield url, asked


def chunk(**delta: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"


END = b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'


async def test_a_backend_speaks_for_the_script() -> None:
    body = chunk(reasoning_content="Hm") + b": beat\n\n" + chunk(content=" Grüße 👋") + END
    async with upstream(body) as (url, asked):
        prompt = Prompt(messages=ASKED.messages, max_tokens=5, stop=("x",))
        spoken = await said(Backend(url + "/v1", "m", "key"), prompt)
    assert spoken == [Thought("Hm"), " Grüße 👋", End("length")]
    assert asked == [
        {
            "model": "m",
            "messages": [{"role": one.role, "content": one.content} for one in ASKED.messages],
            "stream": True,
            "max_tokens": 5,
            "stop": ["x"],
            "key": "Bearer key",
        }
    ]


@pytest.mark.parametrize(
    ("body", "status", "message", "seen"),
    [
        (b'{"error":{"message":"too long"}}', 400, "too long", 400),
        (b"<html>bad gateway</html>", 502, "<html>bad gateway</html>", 502),
        (chunk(content="a"), 200, "backend broke off before", None),
        (b'data: {"error":{"message":"no memory"}}\n\n', 200, "no memory", None),
        (b"data: {oops\n\n", 200, "backend sent a bad chunk", None),
    ],
)
async def test_a_failing_backend_is_a_failing_model(
    body: bytes, status: int, message: str, seen: int | None
) -> None:
    async with upstream(body, status) as (url, _):
        with pytest.raises(ModelFailure, match=message) as caught:
            await said(Backend(url, "m"))
    assert caught.value.status == seen


async def test_a_backend_that_is_not_there_is_a_failing_model() -> None:
    async with upstream(b"") as (url, _):
        pass
    with pytest.raises(ModelFailure, match="backend not usable"):
        await said(Backend(url, "m"))


def test_what_has_pieces_is_a_script() -> None:
    script = Fixed(["a"])
    assert load_script(script) is script
    assert isinstance(Backend("http://127.0.0.1:1", "m"), Script)


async def test_one_sandbox_can_be_the_model_of_another() -> None:
    async with Sandbox(("openai",), script=Fixed(["Real", " answer"])) as model:
        backend = Backend(model.urls["openai"], "sandbox-model")
        async with (
            Sandbox(("tgi",), backend=backend) as sandbox,
            aiohttp.ClientSession() as session,
            session.post(sandbox.urls["tgi"] + "/generate", json={"inputs": "a"}) as answer,
        ):
            assert await answer.json() == {"generated_text": "Real answer"}


class Broken:
    """A script with a mistake of its author's."""

    async def pieces(self, prompt: Prompt) -> AsyncGenerator[Said, None]:
        yield "one"
        raise KeyError("mistake")


async def test_a_script_that_raises_fails_its_run_and_nothing_else() -> None:
    async with Sandbox(["openai"], script=Broken()) as sandbox, aiohttp.ClientSession() as session:
        body = {"model": "sandbox-model", "messages": [{"role": "user", "content": "x"}]}
        for _ in range(2):
            url = f"{sandbox.urls['openai']}/v1/chat/completions"
            async with session.post(url, json=body) as answer:
                assert answer.status == 500
                assert "the script failed: KeyError" in await answer.text()
