"""Streams cut, marked, ended and filled in odd ways; rows 1 to 8 and 72 of faults.md."""

from __future__ import annotations

import pytest

from penstock.sandbox.byte_server import Hang, Send
from tests.faults.ground import (
    CHUNKED,
    DONE,
    LAST_CHUNK,
    STREAM,
    STREAMS,
    chunk,
    frame,
    saying,
    sends,
    site,
    whole,
)
from tests.places import MODELS

TEXT = "naïve 日本語 👩‍👩‍👧 ﬁn\u2028\u0085x"
ANSWER = frame(TEXT) + frame("", "stop") + DONE
BOM = b"\xef\xbb\xbf"
KIB = 1024


def bytewise(body: bytes) -> bytes:
    """Each byte is a chunk of its own."""
    return CHUNKED + b"".join(chunk(body[at : at + 1]) for at in range(len(body))) + LAST_CHUNK


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("fault", ["bytes-of=1", "bytes-of=1; crlf", "bytes-of=7; charset"])
async def test_rows_1_2_72_any_cut_any_line_end_any_label(name: str, fault: str) -> None:
    """For every back end; what the model says comes out as it is."""
    question = "naïve 日本語 👩‍👩‍👧 fin"
    async with site(name) as here:
        usual = await here.ask(question)
        here.server.faults.next(fault, times=0)
        outcome = await here.ask(question)
        assert (outcome.kind, outcome.text) == (None, usual.text)
        assert "日本語 👩‍👩‍👧" in outcome.text
        assert "\ufffd" not in outcome.text


@pytest.mark.parametrize("label", ["windows-1252", "utf-16", "nonsense"])
async def test_row_72_the_label_of_an_event_stream_means_nothing(label: str) -> None:
    head = STREAM.replace(b"event-stream", f"event-stream; charset={label}".encode())
    async with saying(sends(whole(ANSWER, head=head))) as here:
        assert (await here.ask()).text == TEXT


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"], ids=["crlf", "cr", "lf"])
@pytest.mark.parametrize("cut", [True, False], ids=["bytewise", "whole"])
async def test_row_2_line_ends(end: bytes, cut: bool) -> None:
    body = ANSWER.replace(b"\n", end)
    async with saying(sends(bytewise(body) if cut else whole(body))) as here:
        assert (await here.ask()).text == TEXT


@pytest.mark.parametrize("cut", [True, False], ids=["bytewise", "whole"])
async def test_row_3_one_mark_at_the_start_is_dropped(cut: bool) -> None:
    body = BOM + ANSWER
    async with saying(sends(bytewise(body) if cut else whole(body))) as here:
        assert (await here.ask()).text == TEXT


@pytest.mark.parametrize("name", MODELS)
async def test_row_3_for_every_back_end(name: str) -> None:
    async with site(name) as here:
        here.server.faults.next("bom", path=STREAMS[name])
        outcome = await here.ask("one two")
        assert (outcome.kind, outcome.text) == (None, "one two")


@pytest.mark.parametrize(
    ("body", "text", "kind"),
    [
        (ANSWER[:-1], TEXT, None),
        (ANSWER[:-2], TEXT, None),
        (frame(TEXT) + frame("lost", "stop")[:-1], TEXT, "truncated"),
        (frame(TEXT) + frame("lost")[:-2], TEXT, "truncated"),
        (frame(TEXT) + DONE[:-3], TEXT, "truncated"),
    ],
)
async def test_row_4_an_event_without_its_blank_line(
    body: bytes, text: str, kind: str | None
) -> None:
    """It does not count, but for the end mark: that is known by its words."""
    async with saying(sends(whole(body))) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == (kind, text)


@pytest.mark.parametrize("size", [64 * KIB, 200 * KIB, 600 * KIB, 1000 * KIB])
async def test_row_5_a_long_line_passes(size: int) -> None:
    """faults.md row 6 sets the bound of one library; ours is 1 MiB."""
    text = "é" * (size // 2)
    async with saying(sends(whole(frame(text) + frame("", "stop") + DONE))) as here:
        outcome = await here.ask()
        assert outcome.text == text


@pytest.mark.parametrize("size", [1100 * KIB, 2048 * KIB])
async def test_row_6_a_longer_one_is_refused_the_text_before_it_kept(size: int) -> None:
    body = chunk(frame("one")) + chunk(frame("x" * size))
    async with saying(sends(CHUNKED + body, Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("protocol", "one")
        assert not outcome.failure.retryable
        await here.server.quiet()


@pytest.mark.parametrize("name", MODELS)
async def test_row_6_for_every_back_end(name: str) -> None:
    async with site(name) as here:
        here.server.faults.next("huge-event=2000000", path=STREAMS[name])
        outcome = await here.ask("one two three")
        assert outcome.kind == "protocol"
        assert "one two three".startswith(outcome.text)


async def test_row_7_a_line_without_end_is_left() -> None:
    """By 64 MiB the connection is long gone."""
    endless = [Send(chunk(b"x" * 65536), times=1000)]
    async with saying(sends(CHUNKED + chunk(frame("one")), *endless, Hang())) as here:
        outcome = await here.ask()
        assert (outcome.kind, outcome.text) == ("protocol", "one")
        await here.server.quiet()
        assert here.server.connections[0].closed_by == "client"


async def test_row_8_a_long_line_in_small_pieces() -> None:
    """That its time is linear is shown by ``tests/properties/test_bounds.py``."""
    text = "x" * (900 * KIB)
    body = frame(text) + frame("", "stop") + DONE
    pieces = b"".join(chunk(body[at : at + KIB]) for at in range(0, len(body), KIB))
    async with saying(sends(CHUNKED + pieces + LAST_CHUNK)) as here:
        assert (await here.ask()).text == text
