"""Each common fault does on the wire what its name says, as a raw socket sees it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.faults import FAULTS, FaultError, Rule, load_scenario, parse_faults
from penstock.sandbox.script import Fixed
from tests.sandbox.raw import Seen, exchange

# Three pieces; the second holds characters of several bytes.
SCRIPT = Fixed(["one ", "два ", "three"])
GZIP = b"\x1f\x8b\x08"
JSON = "application/json"


def chat(fault: str = "", model: str = "sandbox-model", *, stream: bool = True) -> bytes:
    messages = [{"role": "user", "content": "Say it"}]
    body = json.dumps({"model": model, "messages": messages, "stream": stream})
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: sandbox", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"X-Sandbox-Fault: {fault}"] * bool(fault)
    return "\r\n".join([*lines, "", body]).encode()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(["openai"], script=SCRIPT) as running:
        yield running


async def plain(sandbox: Sandbox) -> Seen:
    seen = await exchange(sandbox.urls["openai"], chat())
    assert seen.status == 200
    assert seen.chunked[1]
    assert seen.frames[-1] == b"data: [DONE]"
    return seen


Check = Callable[[Seen, Seen], bool]

CASES: dict[str, Check] = {
    "status": lambda s, _: s.status == 503 and "error" in json.loads(s.rest),
    "status=418": lambda s, _: s.status == 418,
    "status-html": lambda s, _: s.status == 502 and s.rest.startswith(b"<!DOCTYPE"),
    "status-empty": lambda s, _: (
        (s.status, s.rest) == (500, b"") and "content-type" not in s.headers
    ),
    "retry-after": lambda s, _: (s.status, s.headers["retry-after"]) == (429, "1"),
    "status=503; retry-after=soon": lambda s, _: (
        (s.status, s.headers["retry-after"]) == (503, "soon")
    ),
    "retry-after-date": lambda s, _: s.headers["retry-after"].endswith("GMT"),
    "html": lambda s, _: s.status == 200 and s.headers["content-type"].startswith("text/html"),
    "error-200": lambda s, _: s.status == 200 and "error" in json.loads(s.rest),
    "empty": lambda s, _: (s.status, s.rest) == (200, b""),
    "json": lambda s, _: s.headers["content-type"] == JSON and fails(json.loads, s.rest),
    "json=depth": lambda s, _: s.rest.startswith(b"[[["),
    "redirect": lambda s, _: s.status == 302 and s.headers["location"].startswith("/_sandbox"),
    "redirect-host=307": lambda s, _: s.status == 307 and "elsewhere" in s.headers["location"],
    "redirect-loop": lambda s, _: s.headers["location"] == "/v1/chat/completions",
    "redirect-file": lambda s, _: s.headers["location"].startswith("file:"),
    "silence": lambda s, _: (s.data, s.ending) == (b"", "open"),
    "close": lambda s, _: (s.data, s.ending) == (b"", "end"),
    "reset": lambda s, _: (s.data, s.ending) == (b"", "reset"),
    "delay=5": lambda s, _: (s.data, s.ending) == (b"", "open"),
    "lost": lambda s, _: (s.data, s.ending) == (b"", "end"),
    "interim": lambda s, p: s.data.count(b"HTTP/1.1 103") == 3 and s.data.endswith(b"[DONE]\n\n"),
    "slow-headers=5": lambda s, _: (s.data, s.ending) == (b"H", "open"),
    "long-header": lambda s, _: len(s.headers["x-long"]) == 65536,
    "many-headers": lambda s, _: s.head.count(b"X-Many-") == 2000,
    "nul-header": lambda s, _: b"a\0b" in s.head,
    "no-colon": lambda s, _: b"\r\nno colon in this line" in s.head,
    "both-lengths": lambda s, _: s.headers.keys() >= {"content-length", "transfer-encoding"},
    "two-lengths": lambda s, _: s.head.count(b"Content-Length") == 2,
    "long-length": lambda s, _: int(s.headers["content-length"]) == len(s.rest) + 100,
    "short-length": lambda s, _: int(s.headers["content-length"]) == len(s.rest) - 5,
    "extra-answer": lambda s, _: s.data.count(b"HTTP/1.1 200") == 2,
    "until-close": lambda s, p: (
        not s.headers.keys() & {"content-length", "transfer-encoding"}
        and len(s.rest) == len(p.body)
    ),
    "until-close=9": lambda s, p: len(s.rest) == len(p.body) - 9,
    "bad-chunk": lambda s, _: s.rest.endswith(b"\r\nzz\r\n"),
    "chunk-overflow": lambda s, _: s.rest.endswith(b"f" * 18 + b"\r\n"),
    "chunk-cut": lambda s, p: (
        int(s.rest.split(b"\r\n")[0], 16) == len(p.body) and not s.rest.endswith(b"\r\n")
    ),
    "chunk-extension": lambda s, _: b";" + b"e" * 200_000 in s.rest,
    "trailers": lambda s, _: s.rest.count(b"X-Trailer-") == 20_000,
    "type": lambda s, _: s.headers["content-type"] == "text/plain",
    "charset": lambda s, _: s.headers["content-type"].endswith("charset=windows-1252"),
    "stall-after": lambda s, _: (s.status, s.body, s.ending) == (200, b"", "open"),
    "stall-after=2": lambda s, _: (len(s.frames), s.ending) == (2, "open"),
    "end-after": lambda s, _: (len(s.frames), s.chunked[1]) == (2, True),
    "break-after": lambda s, _: (len(s.frames), s.chunked[1], s.ending) == (2, False, "end"),
    "reset-after": lambda s, _: (len(s.frames), s.ending) == (2, "reset"),
    "stall-bytes": lambda s, _: (len(s.body), s.ending) == (20, "open"),
    "end-bytes": lambda s, _: (len(s.body), s.chunked[1]) == (20, True),
    "break-bytes=21": lambda s, _: (len(s.body), s.chunked[1], s.ending) == (21, False, "end"),
    "reset-bytes": lambda s, _: (len(s.body), s.ending) == (20, "reset"),
    "break-character": lambda s, _: s.body.endswith(b"\xd0") and not s.chunked[1],
    "reset-end": lambda s, p: (len(s.body), s.ending) == (len(p.body), "reset"),
    "comments-after=1; every=0.01": lambda s, _: s.frames[1:3] == [b": keep-alive"] * 2,
    "garbage-after": lambda s, p: (
        len(s.frames) == len(p.frames) + 1 and s.frames[1] == b'data: {"garbage":'
    ),
    "error-after": lambda s, _: b"sandbox fault" in s.frames[1],
    "bytes-after": lambda s, _: b"\xff\xfe" in s.frames[1],
    "huge-event": lambda s, _: len(s.frames[1]) > 2_097_152,
    "endless-line=3": lambda s, _: b"x" * (3 << 20) in s.body,
    "duplicate": lambda s, _: s.frames[0::2] == s.frames[1::2],
    "swap": lambda s, p: (
        len(s.frames) == len(p.frames) and without_ids(s.frames)[0] == without_ids(p.frames)[1]
    ),
    "drop-last": lambda s, p: len(s.frames) == len(p.frames) - 1 and s.chunked[1],
    "no-last-newline": lambda s, _: s.body.endswith(b"[DONE]"),
    "bom": lambda s, _: s.body.startswith(b"\xef\xbb\xbfdata"),
    "crlf": lambda s, _: s.body.endswith(b"[DONE]\r\n\r\n"),
    "cr": lambda s, _: s.body.endswith(b"[DONE]\r\r") and b"\n" not in s.body,
    "bytes-of": lambda s, p: s.rest.count(b"\r\n1\r\n") == len(p.body) - 1,
    "trickle=0": lambda s, p: s.rest.count(b"\r\n1\r\n") == len(p.body) - 1,
    "gzip": lambda s, p: len(gzip.decompress(s.body)) == len(p.body),
    "deflate": lambda s, p: len(zlib.decompress(s.body)) == len(p.body),
    "gzip-whole": lambda s, p: len(gzip.decompress(s.body)) == len(p.body),
    "gzip-cut": lambda s, _: (
        s.body.startswith(GZIP) and s.chunked[1] and fails(gzip.decompress, s.body)
    ),
    "gzip-corrupt": lambda s, _: s.body.startswith(GZIP) and fails(gzip.decompress, s.body),
    "gzip-members": lambda s, p: (
        len(gzip.decompress(s.body)) == len(p.body) and s.body.count(b"\x1f\x8b\x08") > 2
    ),
    "gzip-bomb=4": lambda s, _: len(gzip.decompress(s.body)) > 4 << 20 > len(s.body),
    "encoding=gzip, gzip": lambda s, p: (
        s.headers["content-encoding"] == "gzip, gzip" and len(s.body) == len(p.body)
    ),
    "model-fails": lambda s, _: s.body.count(b'"error"') == 1 and b"one" in s.body,
    "model-stalls": lambda s, _: b"one" in s.body and s.ending == "open",
    "model-delay=5": lambda s, _: b"one" not in s.body and s.ending == "open",
    "model-empty": lambda s, _: s.frames[-1] == b"data: [DONE]" and b"one" not in s.body,
    "model-nul": lambda s, _: b"\\u0000" in s.body,
    "model-finish": lambda s, _: b'"finish_reason":"length"' in s.body,
}


def fails(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except (EOFError, OSError, ValueError, zlib.error):
        return True
    return False


def holds(check: Check, seen: Seen, usual: Seen) -> bool:
    try:
        return check(seen, usual)
    except (EOFError, IndexError, KeyError, OSError, ValueError, zlib.error):
        return False


def without_ids(frames: list[bytes]) -> list[object]:
    """What the frames say apart from what differs from answer to answer."""
    return [json.loads(one[6:])["choices"] for one in frames if b"[DONE]" not in one]


@pytest.mark.parametrize("fault", CASES)
async def test_a_fault_is_seen_on_the_wire_and_only_once(sandbox: Sandbox, fault: str) -> None:
    usual = await plain(sandbox)
    seen = await exchange(sandbox.urls["openai"], chat(fault))
    assert holds(CASES[fault], seen, usual), f"{seen.ending}: {seen.data[:600]!r}"
    assert not holds(CASES[fault], usual, usual), "the check holds without the fault"
    await plain(sandbox)


def test_every_fault_is_among_the_cases() -> None:
    tried = {name for case in CASES for name in parse_faults(case)}
    common = {name for name, kind in FAULTS.items() if kind.stage != "protocol"}
    # Named failures of the model are in the tables of the protocols' lists.
    assert common - tried == {"cleanup", "fails-as", "model-status", "model-runs"}


async def test_a_model_name_asks_for_a_fault(sandbox: Sandbox) -> None:
    seen = await exchange(sandbox.urls["openai"], chat(model="sandbox-model+fault:stall-after=1"))
    assert (len(seen.frames), seen.ending) == (1, "open")
    assert b'"model":"sandbox-model"' in seen.body


async def test_a_test_asks_for_the_next_request(sandbox: Sandbox) -> None:
    sandbox.servers["openai"].faults.next("status=500", path="/chat/", times=2)
    statuses = [(await exchange(sandbox.urls["openai"], chat())).status for _ in range(3)]
    assert statuses == [500, 500, 200]


async def test_an_answer_in_one_piece_takes_faults_of_the_body(sandbox: Sandbox) -> None:
    seen = await exchange(sandbox.urls["openai"], chat("break-bytes=7", stream=False))
    assert (seen.status, len(seen.body), seen.chunked[1]) == (200, 7, False)


async def test_what_no_fault_is_called_is_told(sandbox: Sandbox) -> None:
    seen = await exchange(sandbox.urls["openai"], chat("stail-after=1"))
    assert seen.status == 400
    assert b"stail-after" in seen.rest


async def test_a_fault_of_another_server_is_told(sandbox: Sandbox) -> None:
    for fault in ("queued=never", "fails-as=grpc"):
        seen = await exchange(sandbox.urls["openai"], chat(fault))
        assert seen.status == 400
        with pytest.raises(FaultError):
            sandbox.servers["openai"].faults.next(fault)
    with pytest.raises(FaultError, match="openassistant"):
        Sandbox(["openai"], faults=[Rule(fault="queued", provider="openai")])


async def test_a_rule_for_all_servers_strikes_where_its_fault_is_known() -> None:
    rule = Rule(fault="error=overloaded")
    async with Sandbox(["openai", "tgi"], faults=[rule]) as sandbox:
        faults = sandbox.servers["tgi"].faults
        assert faults.choose("POST", "/generate") == {}
        assert faults.take_named("error") is None
        seen = await exchange(sandbox.urls["openai"], chat())
        assert seen.status == 503
        await plain(sandbox)


async def test_faults_of_the_model_strike_as_many_runs_as_they_are_told(sandbox: Sandbox) -> None:
    sandbox.servers["openai"].faults.next("model-fails=0; model-runs=2")
    statuses = [(await exchange(sandbox.urls["openai"], chat())).status for _ in range(3)]
    assert statuses == [500, 500, 200]


@pytest.mark.parametrize(
    "text", ["status=abc", "close=1", "no-such", "stall-after=-1", "queued=gladly"]
)
def test_faults_that_cannot_be_read(text: str) -> None:
    with pytest.raises(FaultError):
        parse_faults(text)


async def test_a_cleanup_fails(sandbox: Sandbox) -> None:
    faults = sandbox.servers["openai"].faults
    assert faults.choose("POST", "/x", "cleanup=404") == {"cleanup": "404"}
    assert faults.choose("POST", "/conversation/1") == {}
    assert faults.choose("POST", "/conversation/1/stop-generating") == {"status": 404}
    assert faults.choose("DELETE", "/conversation/1") == {}
    faults.choose("POST", "/x", "cleanup=silence")
    assert faults.choose("DELETE", "/conversation/1") == {"silence": True}


TOML = """
[[rules]]
provider = "openai"
path = "chat"
request = 2
fault = "status=503; retry-after=7"
"""


@pytest.mark.parametrize("name", ["scenario.toml", "scenario.json"])
async def test_a_scenario_counts_requests(tmp_path: Path, name: str) -> None:
    rule = Rule(provider="openai", path="chat", request=2, fault="status=503; retry-after=7")
    written = msgspec.json.encode({"rules": [rule]}).decode() if "json" in name else TOML
    (tmp_path / name).write_text(written)
    async with Sandbox(["openai"], faults=load_scenario(tmp_path / name)) as sandbox:
        seen = [await exchange(sandbox.urls["openai"], chat()) for _ in range(3)]
    assert [one.status for one in seen] == [200, 503, 200]
    assert seen[1].headers["retry-after"] == "7"


@pytest.mark.parametrize("text", ["rules = 1", "[[rules]]\nfault = 'no-such'", "[[rules"])
def test_a_scenario_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(FaultError, match=r"bad\.toml"):
        load_scenario(tmp_path / "bad.toml")
