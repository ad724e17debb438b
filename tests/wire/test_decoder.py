"""The frame of the decoders: events first, then the failure, then nothing."""

from __future__ import annotations

from penstock.errors import ModelError, TruncatedError
from penstock.types import Event, Finished, Text
from penstock.wire.decoder import AnswerDecoder, bad_payload


class Letters(AnswerDecoder):
    """Each byte is a piece; ``.`` ends, ``!`` fails."""

    def _decode(self, data: bytes, events: list[Event]) -> None:
        for letter in data.decode():
            if letter == "!":
                raise ModelError("failed")
            if letter == ".":
                self.done = True
                events.append(Finished())
                return
            events.append(Text(letter))

    def _end(self, events: list[Event]) -> None:
        if self.whole:
            self.done = True
            events.append(Finished())


def test_events_before_a_failure_in_the_same_read_come_first() -> None:
    decoder = Letters()
    assert decoder.feed(b"ab!c") == [Text("a"), Text("b")]
    assert isinstance(decoder.failure, ModelError)
    assert decoder.feed(b"more") == []
    assert decoder.eof() == []
    assert isinstance(decoder.failure, ModelError)


def test_nothing_follows_the_end() -> None:
    decoder = Letters()
    assert decoder.feed(b"a.b!") == [Text("a"), Finished()]
    assert decoder.done
    assert decoder.feed(b"!") == []
    assert decoder.eof() == []
    assert decoder.failure is None


def test_an_end_without_its_mark_is_a_cut() -> None:
    decoder = Letters()
    decoder.feed(b"a")
    assert decoder.eof() == []
    assert isinstance(decoder.failure, TruncatedError)


def test_an_answer_known_to_be_whole_ends_with_the_body() -> None:
    decoder = Letters()
    decoder.whole = True
    assert decoder.eof() == [Finished()]
    assert decoder.failure is None


def test_a_failure_at_the_end_is_kept() -> None:
    class Fails(Letters):
        def _end(self, events: list[Event]) -> None:
            raise ModelError("late")

    decoder = Fails()
    decoder.eof()
    assert isinstance(decoder.failure, ModelError)


def test_bad_payloads_are_shown_shortly() -> None:
    error = bad_payload(ValueError("broken"), b"<html>" + b"x" * 500)
    assert "broken" in str(error)
    assert len(str(error)) < 250
    assert "RecursionError" in str(bad_payload(RecursionError("deep"), b"[[["))
