"""Nothing secret in what the recorder writes: canaries, in every place a secret may stand."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from penstock import Client
from penstock.config import Settings
from penstock.sandbox import Sandbox
from penstock.testing.record import Recorder
from penstock.testing.record.redaction import Redactor, stand_in
from penstock.testing.record.texts import masked
from penstock.testing.replay import load_case
from penstock.testing.replay.case import Exchange, RecordedRequest, RecordedResponse
from tests.sockets import Peer, scripted
from tests.testing.recorded import case_of, exchange

CANARY = "c4nary-Zq81!x/ü-value"
LATER = "c4nary-told-later-55"


def made(*raw: dict[str, object]) -> list[Exchange]:
    return list(case_of("h2o", raw).exchanges)


def written(exchanges: list[Exchange]) -> str:
    """Everything a file of these exchanges would show, bodies decoded."""
    redactor = Redactor()
    for one in exchanges:
        redactor.learn(one)
    shown: list[str] = []
    for one in map(redactor.exchange, exchanges):
        request, response = one.request, one.response
        shown += [request.path, request.query or "", repr(request.headers), repr(response.headers)]
        shown += [part.decode("utf-8", "replace") for part in (request.content, response.content)]
        assert [len(c.b64) for c in response.chunks] == [
            len(c.b64) for c in exchanges[len(shown) // 6 - 1].response.chunks
        ]
    return "\n".join(shown)


MULTIPART = (
    '--b\r\nContent-Disposition: form-data; name="captchaToken"\r\n\r\n'
    f'{CANARY}\r\n--b\r\nContent-Disposition: form-data; name="content"\r\n\r\nhi\r\n--b--\r\n'
).encode()

PLACES: dict[str, dict[str, object]] = {
    "bearer": exchange("GET", "/", headers=[("Authorization", f"Bearer {CANARY}")]),
    "basic": exchange(
        "GET",
        "/",
        headers=[("authorization", f"Basic {base64.b64encode(CANARY.encode()).decode()}")],
        answer=CANARY.encode() if ":" in CANARY else b"",
    ),
    "api key": exchange("GET", "/", headers=[("X-Api-Key", CANARY)]),
    "cookie": exchange("GET", "/", headers=[("Cookie", f"theme=dark; session={CANARY}")]),
    "anonymous id": exchange("GET", "/", headers=[("X-Anonymous-User-ID", CANARY)]),
    "query": exchange("GET", "/", query=f"a=1&access_token={quote(CANARY, safe='')}"),
    "json": exchange("POST", "/", {"a": {"apiKey": CANARY}}),
    "nested json": exchange("POST", "/", {"data": json.dumps({"password": CANARY})}),
    "json with escapes": exchange("POST", "/", json.dumps({"client_secret": CANARY}).encode()),
    "form": exchange(
        "POST",
        "/",
        f"user=me&password={quote(CANARY, safe='')}".encode(),
        sent_as="application/x-www-form-urlencoded",
    ),
    "multipart": exchange("POST", "/", MULTIPART, sent_as="multipart/form-data; boundary=b"),
    "answer": exchange("GET", "/", answer={"refresh_token": "c4nary-Zq81x-value"}),
    "set-cookie": exchange("GET", "/")
    | {"response": {"status": 200, "headers": [("Set-Cookie", f"sid={CANARY}; Path=/")]}},
    "line of a stream": exchange(
        "GET", "/", answer=b'{"x":1}\n{"accessToken":"c4nary-Zq81x-value"}\n'
    ),
    "event of a stream": exchange(
        "GET", "/", answer=b'data: {"x":1}\n\ndata: {"sessionId":"c4nary-Zq81x-value"}\n\n'
    ),
    "address in an answer": exchange(
        "GET", "/", answer={"next": "https://files.example.org/a?signature=c4nary-Zq81x-value"}
    ),
    "address of a stream": exchange(
        "GET", "/", answer={"stream": "https://stream.example.org/v1/streams/c4nary-Zq81x-value"}
    ),
    "address with a password": exchange(
        "GET", "/", answer=b'"http://me:c4nary-Zq81x-value@example.org/"'
    ),
    "location": exchange("GET", "/")
    | {"response": {"status": 302, "headers": [("Location", "/in?token=c4nary-Zq81x-value")]}},
    "key by its shape": exchange("POST", "/", {"inputs": "use sk-c4naryc4naryc4nary"}),
    "token by its shape": exchange("POST", "/", {"inputs": "eyJc4nary0123.eyJc4nary.c4nary"}),
    "short one in its field": exchange("POST", "/", {"password": "c4nary"}),
    "short one in a form": exchange(
        "POST", "/", b"a=1&password=c4nary&b=2", sent_as="application/x-www-form-urlencoded"
    ),
    "short cookie": exchange("GET", "/", headers=[("Cookie", "pin=c4nary")]),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_written_wherever_it_stands(place: str) -> None:
    shown = written(made(PLACES[place]))
    assert "c4nary" not in shown
    assert base64.b64encode(CANARY.encode()).decode() not in shown


def test_a_secret_that_is_told_later_is_gone_from_what_came_before() -> None:
    before = exchange(
        "POST", "/", {"inputs": f"I know {LATER}"}, chunks=[b"c4nary-told", b"-later-55"]
    )
    after = exchange("GET", "/", headers=[("authorization", f"Bearer {LATER}")])
    assert "c4nary" not in written(made(before, after))


def test_one_secret_has_one_stand_in_and_two_have_two() -> None:
    redactor = Redactor()
    first, second, third = made(
        exchange("GET", "/", headers=[("cookie", "sid=aaaa-1111-aaaa")]),
        exchange("POST", "/", {"session": "aaaa-1111-aaaa"}),
        exchange("GET", "/", headers=[("cookie", "sid=bbbb-2222-bbbb")]),
    )
    for one in (first, second, third):
        redactor.learn(one)
    cookie = redactor.exchange(first).request.header("cookie")
    body = json.loads(redactor.exchange(second).request.content)
    assert cookie == f"sid={body['session']}"
    assert redactor.exchange(third).request.header("cookie") != cookie


def test_stand_ins_keep_length_and_outer_shape() -> None:
    assert stand_in("r8_" + "a" * 37, 2).startswith("r8_redacted2x")
    assert uuid.UUID(stand_in(str(uuid.uuid4()), 7)).version == 4
    for length in range(1, 40):
        assert len(stand_in("s" * length, 12)) == length


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"stream","token":"Unbrokenword4of2the3model"}',
        b'{"token":{"id":5,"text":"hello there"},"generated_text":null}',
        b'{"max_tokens":100,"usage":{"completion_tokens":12345678}}',
        b'{"theme":"dark","role":"assistant"}',
    ],
)
def test_what_only_looks_like_a_secret_stays(body: bytes) -> None:
    cookie = ("cookie", "role=assistant; theme=dark; n=100")
    (one,) = made(exchange("GET", "/", headers=[cookie], answer=body))
    redactor = Redactor()
    redactor.learn(one)
    assert redactor.exchange(one).response.content == body


def test_rate_limits_are_no_secrets() -> None:
    (one,) = made(
        exchange("GET", "/", headers=[("x-ratelimit-remaining-tokens", "149984-per-day")])
    )
    redactor = Redactor()
    redactor.learn(one)
    assert redactor.exchange(one).request.headers == one.request.headers


MASKED = [
    (b'{"inputs":"Hi \\u00e9 \\n\xe6\xb0\xb4"}', "", b'{"inputs":"xx \\u00e9 \\n\xe4\xb8\x80"}'),
    (b'{"output":["ab ","7"]}', "application/json", b'{"output":["xx ","0"]}'),
    (b'{"json":"{\\"content\\":\\"ab\\"}"}', "", b'{"json":"{\\"content\\":\\"xx\\"}"}'),
    (b"event: output\ndata: {ab}\n\n", "text/event-stream", b"event: output\ndata: {xx}\n\n"),
    (b"event: error\ndata: oh no\n\n", "text/event-stream", b"event: error\ndata: oh no\n\n"),
    (b"data: [DONE]\n\n", "text/event-stream", b"data: [DONE]\n\n"),
    (b"a=1&text=M%C3%A4h+7", "", b"a=1&text=x%78%78x+0"),
    (b'{"error":"kept","content":"masked"}', "", b'{"error":"kept","content":"xxxxxx"}'),
]


@pytest.mark.parametrize(("body", "content_type", "expected"), MASKED)
def test_texts_are_masked_in_place(body: bytes, content_type: str, expected: bytes) -> None:
    assert masked(body, content_type) == expected
    assert len(expected) == len(body)


def test_files_are_masked() -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="me.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\x00\r\n--b--\r\n"
    )
    assert b"PNG\r" not in masked(body, "multipart/form-data; boundary=b")
    assert masked(b'"data:image/png;base64,iVBORw0="', "") == b'"data:image/png;base64,AAAAAAA="'


# -- live ------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


async def test_live_recordings_hold_no_credential(sandbox: Sandbox, tmp_path: Path) -> None:
    """Keys and session cookies of the client, sessions the server gives, anonymous ids."""
    secrets: set[str] = set()

    async def ask(name: str, model: str) -> None:
        settings = {**sandbox.providers[name]}
        secrets.add(settings.setdefault("api_key", f"{name}-c4nary-key-0123"))
        if name in ("h2o", "chatui", "allenai", "cog"):
            del settings["api_key"]
        async with Recorder(settings["base_url"], tmp_path) as recording:
            settings["base_url"] = recording.url
            async with Client(config=Settings(), providers={name: settings}) as asking:
                conversation = None
                if name == "allenai":
                    conversation = asking.conversation(f"{name}/{model}")
                await asking.complete(f"{name}/{model}", "Hello", conversation=conversation)
                if conversation is not None:
                    secrets.add(getattr(conversation, "x_anonymous_user_id"))  # noqa: B009

    async with asyncio.TaskGroup() as group:
        for name, model in (
            ("allenai", "Olmo-3-7B-Instruct"),
            ("openassistant", "OA_SFT_Llama_30B_6"),
            ("h2o", "falcon-40b"),
            ("replicate", "meta/meta-llama-3-70b-instruct"),
            ("openai_compatible", "sandbox-model"),
            ("tgi", ""),
        ):
            group.create_task(ask(name, model))
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) >= 6
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        case = load_case(path)
        told = [e.request.content + e.response.content for e in case.exchanges]
        shown = path.read_text("utf-8") + b"".join(told).decode("utf-8", "replace")
        for secret in secrets:
            assert secret not in shown, path.name
        for one in case.exchanges:
            cookie = one.response.header("set-cookie").partition(";")[0].partition("=")[2]
            assert not cookie or cookie.startswith(("00000000-", "redacted", "x")), path.name


@asynccontextmanager
async def recorded(folder: Path) -> AsyncIterator[tuple[Recorder, list[str]]]:
    notes: list[str] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.answer(
            b'{"refresh_token":"c4nary-from-server-1"}', 200, "Content-Type: text/plain"
        )

    async with (
        scripted(handler) as server,
        Recorder(server.url, folder, note=notes.append) as recording,
    ):
        yield recording, notes


async def test_what_is_written_before_the_end_is_clean_as_well(tmp_path: Path) -> None:
    async with recorded(tmp_path) as (recording, notes):
        url = f"{recording.url}/c4nary-key-in-path-1/x?api_key=c4nary-key-in-path-1"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert b"c4nary" in await answer.read()
        async with asyncio.timeout(5):
            while not notes:  # told when the file is about to be written, in the same step
                await asyncio.sleep(0.005)
        (path,) = tmp_path.iterdir()
        case = load_case(path)
        assert b"c4nary" not in case.exchanges[0].response.content
        assert "c4nary" not in path.read_text("utf-8")
    assert "c4nary" not in "".join(notes)
    (found,) = recording.cases
    assert found.provider is None
    assert "no provider is recognised" in found.result.reason
    assert "c4nary" not in found.path.read_text("utf-8")


def test_values_of_the_format_are_left_alone() -> None:
    one = Exchange(RecordedRequest(method="GET", path="/"), RecordedResponse(status=200))
    redactor = Redactor()
    redactor.learn(one)
    told = redactor.exchange(one)
    assert (told.request.path, told.response.status, told.response.chunks) == ("/", 200, ())
