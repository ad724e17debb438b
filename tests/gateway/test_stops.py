"""Stop texts are found and told, however the answer is cut into pieces."""

from __future__ import annotations

import pytest

from penstock.gateway.stops import StopCutter, StoppedAt, cut_reply
from penstock.types import Event, Finished, Reply, Text, ToolCall, Waiting


def cut(text: str, stops: tuple[str, ...], size: int) -> tuple[str, str | None]:
    """The text that gets through in pieces of ``size``, and the stop text that was found."""
    cutter = StopCutter(stops)
    pieces: list[Event] = [Text(text[at : at + size]) for at in range(0, len(text), size)]
    passed: list[Event] = []
    for event in [*pieces, Finished(finish_reason="length")]:
        if not cutter.cut:
            passed += cutter.feed([event])
    said = "".join(event.text for event in passed if isinstance(event, Text))
    end = passed[-1]
    assert isinstance(end, Finished)
    reason = end.finish_reason
    assert reason == ("stop" if cutter.cut else "length")
    return said, reason.text if isinstance(reason, StoppedAt) else None


@pytest.mark.parametrize(
    ("text", "stops", "left", "found"),
    [
        ("one two three", ("two",), "one ", "two"),
        ("one two three", ("three", "o th"), "one tw", "o th"),
        ("aaab", ("aab",), "a", "aab"),
        ("abababac", ("ababac",), "ab", "ababac"),
        ("one tw", ("two",), "one tw", None),
        ("", ("x",), "", None),
        ("x", ("x",), "", "x"),
        ("日本🦜語", ("🦜",), "日本", "🦜"),
        ("a\n\nb", ("\n\n",), "a", "\n\n"),
    ],
)
def test_stop_texts_are_found_however_the_text_is_cut(
    text: str, stops: tuple[str, ...], left: str, found: str | None
) -> None:
    for size in range(1, max(len(text), 1) + 1):
        assert cut(text, stops, size) == (left, found)
    reply = cut_reply(Reply(text=text, model="m", provider="p", finish_reason="length"), stops)
    assert reply.text == left
    assert reply.finish_reason == ("length" if found is None else "stop")


def test_what_is_held_back_comes_before_anything_else_that_is_said() -> None:
    passed = StopCutter(["stop"]).feed([Text("sto"), Waiting("running"), ToolCall(), Text("p")])
    assert passed == [Waiting("running"), Text("sto"), ToolCall(), Text("p")]
