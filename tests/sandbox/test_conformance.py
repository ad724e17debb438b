"""The judge itself: it must see each kind of difference."""

import base64
from collections.abc import Callable

import msgspec
import pytest

from penstock.sandbox import Sandbox
from penstock.sandbox.script import Fixed
from tests.sandbox.conformance import (
    Case,
    Chunk,
    Response,
    Rules,
    cases,
    differences,
    said,
    unknown,
)
from tests.sandbox.grammar import body_form, shape, stream_form

CASES = {case.case: case for case in cases("h2o")}
RULES = Rules(main="h2o", tags=("special", "finish_reason"))
SSE = "text/event-stream"
Change = Callable[[Response], Response]


def with_body(change: Callable[[bytes], bytes]) -> Change:
    def changed(response: Response) -> Response:
        body = change(response.body)
        chunk = Chunk(base64.b64encode(body).decode())
        return msgspec.structs.replace(response, chunks=[chunk])

    return changed


def changed(case: Case, number: int, change: Change) -> Case:
    """The case with one of its recorded answers changed."""
    exchanges = list(case.exchanges)
    old = exchanges[number]
    exchanges[number] = msgspec.structs.replace(old, response=change(old.response))
    return msgspec.structs.replace(case, exchanges=exchanges)


async def judged(case: Case) -> list[str]:
    async with Sandbox(("h2o",), script=Fixed(said(case))) as sandbox:
        return await differences(case, sandbox.urls, RULES)


@pytest.mark.parametrize(
    ("number", "change", "word"),
    [
        (0, lambda r: msgspec.structs.replace(r, status=201), "status 200, recorded 201"),
        (0, lambda r: msgspec.structs.replace(r, headers=[]), "content-type"),
        (3, lambda r: msgspec.structs.replace(r, headers=[]), "cookies set"),
        (2, lambda r: msgspec.structs.replace(r, closed="reset"), "ended clean, recorded reset"),
        (1, with_body(lambda b: b.replace(b"conversationId", b"id")), "form"),
        (1, with_body(lambda b: b.replace(b":", b": ")), "JSON written"),
        (1, with_body(lambda _: b"[]"), "form"),
        (2, with_body(lambda b: b.replace(b"data:", b"data: ")), "form"),
        (2, with_body(lambda b: b.replace(b"\n", b"\r\n")), "form"),
        (2, with_body(lambda b: b.replace(b'"special":true', b'"special":false')), "form"),
        (2, with_body(lambda b: b.removesuffix(b"\n")), "form"),
        (2, with_body(lambda b: b + b":\n\n"), "form"),
        (
            2,
            with_body(lambda b: b.replace(b'"details":null}', b'"details":null, "x":1}', 1)),
            "form",
        ),
    ],
)
async def test_a_changed_recording_is_a_difference(number: int, change: Change, word: str) -> None:
    case = CASES["h2o-first-turn"]
    assert await judged(case) == []
    found = await judged(changed(case, number, change))
    assert word in found[0]
    assert found[0].startswith(f"[{number}] ")


async def test_other_words_of_a_refusal_are_a_difference() -> None:
    case = CASES["h2o-modal-405"]
    assert await judged(case) == []
    found = await judged(changed(case, 0, with_body(lambda b: b.replace(b"first", b"again"))))
    assert "words" in found[0]


async def test_ids_of_the_sandbox_take_the_place_of_recorded_ones() -> None:
    case = CASES["h2o-two-turns"]
    async with Sandbox(("h2o",), script=Fixed([" Hi"])) as sandbox:
        assert await differences(case, sandbox.urls, RULES) == []
        state = sandbox.state("h2o")
    made = case.exchanges[1].response.body.decode()
    assert isinstance(state["conversations"], dict)
    assert len(state["conversations"]["deleted"]) == 1
    assert state["conversations"]["deleted"][0] not in made


async def test_an_answer_that_stops_short_of_a_left_recording_is_a_difference() -> None:
    case = CASES["h2o-cancel-then-delete"]
    async with Sandbox(("h2o",), script=Fixed([" one"])) as sandbox:
        found = await differences(case, sandbox.urls, RULES)
    assert any("ended clean, recorded client" in one for one in found)


def test_shapes_tell_kinds_and_order() -> None:
    assert shape({"a": 1, "b": [None, None, "x"]}) == "{a:number,b:[null,text]}"
    assert shape({"b": True, "a": {}}) == "{b:bool,a:{}}"
    assert shape({"a": '{"b": 1}'}) == "{a:text of {b:number}}"
    assert shape({"type": "x", "a": 1}, ("type",), ("a",)) == "{type=x,a:any}"


def test_frames_keep_their_framing_bytes() -> None:
    def kinds(body: bytes, floating: str = "") -> tuple[str, ...]:
        return stream_form(body, SSE, ("type",), (), floating).frames

    assert kinds(b"data:{}\n\n") != kinds(b"data: {}\n\n")
    assert kinds(b"data: {}\n\n") != kinds(b"data: {}\r\n\r\n")
    assert kinds(b"event: a\ndata: x\n\n") != kinds(b"event: b\ndata: x\n\n")
    assert kinds(b": hi\n\n") != kinds(b":hi\n\n")
    assert kinds(b"data: a\n\n") != kinds(b"data: a\n")
    assert kinds(b"id: 1\ndata: a\n\nid: 2\ndata: b\n\n") == ("id: *|data: text|",)


def test_floating_frames_leave_the_sequence() -> None:
    lines = b'{"type":"a"}\n{"type":"b"}\n{"type":"a"}\n'
    form = stream_form(lines, "application/jsonl", ("type",), (), "type=b")
    assert form.frames == ("{type=a}",)
    assert form.floating == {"{type=b}"}
    assert form.count == 2


def test_how_json_is_written_is_told_only_where_it_can_be() -> None:
    def styles(body: str) -> set[str]:
        return set(body_form(body.encode(), "application/json", (), ()).styles)

    assert styles('{"a":"b","c":1}') == {"compact", "compact ascii"}
    assert styles('{"a": "é", "c": 1}') == {"spaced"}
    assert styles('{"a":1e3}') == set()


def test_names_of_no_case_are_found() -> None:
    assert unknown(["h2o-first-turn", "h2o-nothing"], list(CASES.values())) == ["h2o-nothing"]
