"""The answer, pure: recorded streams, the event stream, stop strings, polls."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from penstock.errors import ProtocolError, TruncatedError
from penstock.providers.replicate.dialect.answers import PollReader, Resume, StreamDecoder
from penstock.providers.replicate.dialect.hosted import Metrics, Prediction, Urls, decode_prediction
from penstock.providers.replicate.dialect.stops import StopCut
from penstock.providers.replicate.dialect.transcript import Delivered, Transcript
from penstock.types import Event, Finished, Text, Waiting
from tests.providers.replicate.reads import STREAMS, decode, failure, outcome, streams_of, texts
from tests.wire.cuts import cuttings


@pytest.mark.parametrize("name", [name for name in STREAMS if "422" not in name])
def test_recorded_streams_however_they_are_cut(name: str) -> None:
    case, bodies = streams_of(name)
    if not bodies:
        pytest.skip("the case holds no stream")
    expected = case["expected"]
    for index, body in enumerate(bodies):
        for cut in cuttings(body):
            reads = [[other] for other in bodies]
            reads[index] = cut
            pieces, ends, failed = outcome(case, reads)
            assert pieces == [piece for piece in expected["pieces"] if piece] or "abort" in name
            if expected["error"] is not None:
                assert (ends, failed) == ([], ("model", expected["error"]["message"]))
            elif "abort" not in name:
                assert (ends, failed) == ([expected["finish"]], None)


# -- the event stream (section 5, rules 2 to 6 and 15) ---------------------------------------------


@pytest.mark.parametrize(
    ("wire", "token"),
    [
        (b"data: Hel\n", "Hel"),
        (b"data: \ndata: \n", "\n"),
        (b"data: \ndata: \ndata: \n", "\n\n"),
        (b"data:  \n", " "),
        (b"data: a\ndata: b\n", "a\nb"),
        (b"data: a\r\ndata: b\r\n", "a\nb"),
        (b"data:x\n", "x"),
        (b'data: {"a":1}\n', '{"a":1}'),
        ("data: a\u2028b\u0085c\x0b\x0c\x1c\n".encode(), "a\u2028b\u0085c\x0b\x0c\x1c"),
    ],
)
def test_rule_2_and_3_tokens_are_data_lines_joined_by_line_feeds(wire: bytes, token: str) -> None:
    found, _ = decode(b"event: output\nid: 1:0\n" + wire + b"\n")
    assert found == [Text(token)]


def test_rule_2_an_empty_token_is_nothing() -> None:
    found, decoder = decode(b"event: output\nid: 1:0\ndata: \n\nevent: output\ndata\n\n")
    assert found == []
    assert decoder.fresh


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"detail":"no memory"}', "no memory"),
        (b"plain words", "plain words"),
        (b'{"error":"x"}', '{"error":"x"}'),
        (b"", None),
    ],
)
def test_rule_4_an_error_event_is_a_failure(data: bytes, words: str | None) -> None:
    found, decoder = decode(b"event: output\ndata: a\n\nevent: error\ndata: " + data + b"\n\n")
    assert texts(found) == ["a"]
    assert failure(decoder).kind == "model"
    assert failure(decoder).detail == words
    assert decoder.ended
    assert decoder.feed(b"event: done\ndata: {}\n\n") == []


@pytest.mark.parametrize(
    ("data", "finish"),
    [
        (b"{}", "stop"),
        (b"", "stop"),
        (b"garbage", "stop"),
        (b'{"reason":""}', "stop"),
        (b'{"reason":"canceled"}', "cancelled"),
        (b'{"reason":"something new"}', "something new"),
    ],
)
def test_rule_5_done_says_how_it_ended(data: bytes, finish: str) -> None:
    found, decoder = decode(b"event: done\ndata: " + data + b"\n\nevent: output\ndata: late\n\n")
    assert found == [Finished(finish)]
    assert decoder.done
    assert decoder.ended


@pytest.mark.parametrize(("reason", "kind"), [("error", "model"), ("aborted", "timeout")])
def test_rule_5_a_bad_reason_is_a_failure(reason: str, kind: str) -> None:
    found, decoder = decode(b'event: done\ndata: {"reason":"%s"}\n\n' % reason.encode())
    assert found == []
    assert failure(decoder).kind == kind
    assert decoder.unexplained is (reason == "error")


def test_rule_6_an_end_without_done_is_truncated() -> None:
    found, decoder = decode(b"event: output\nid: 1:0\ndata: a\n\nevent: done\nid: 1:1\ndata: {}\n")
    assert texts(found) == ["a"]
    assert decoder.eof() == []
    assert isinstance(decoder.failure, TruncatedError)
    assert not decoder.ended


def test_rule_6_only_whole_events_count_for_the_last_id() -> None:
    resume = Resume()
    decoder = StreamDecoder(Transcript(), resume)
    decoder.feed(b"retry: 70\n\nid: 1:0\nevent: output\ndata: a\n\nid: 1:1\nevent: output\ndata: b")
    assert (resume.last_id, resume.retry) == ("1:0", 70)


def test_rule_6_events_that_came_are_skipped_only_after_a_reconnect() -> None:
    resume, transcript = Resume(), Transcript()
    twice = b"event: output\nid: 5\ndata: a\n\n" * 2
    first = StreamDecoder(transcript, resume)
    assert texts(first.feed(twice)) == ["a", "a"]
    again = StreamDecoder(transcript, resume)
    assert texts(again.feed(twice)) == []
    assert not again.fresh
    assert texts(again.feed(b"event: output\ndata: no id\n\n")) == ["no id"]
    assert again.fresh


def test_rule_15_the_type_ends_with_its_event_and_others_are_ignored() -> None:
    found, decoder = decode(
        b"\xef\xbb\xbf: hi\n\nevent:output\ndata:a\n\ndata: untyped\n\n",
        b":comment\nevent: ping\n\nevent: ping\ndata: x\n\nevent: logs\ndata: log\n\n",
        b"event: output\rdata: b\r\r",
    )
    assert texts(found) == ["a", "b"]
    assert decoder.failure is None


def test_utf_8_is_decoded_per_event_and_broken_bytes_are_replaced() -> None:
    found, _ = decode(b"event: output\ndata: \xff\xe2\x82\xac\n\n")
    assert texts(found) == ["\N{REPLACEMENT CHARACTER}\N{EURO SIGN}"]


def test_an_endless_event_is_refused() -> None:
    _, decoder = decode(b"event: output\n" + b"data: " + b"x" * (2 << 20))
    assert failure(decoder).kind == "protocol"


def test_ids_are_kept_in_little_memory() -> None:
    delivered = Delivered()
    for index in range(10_000):
        delivered.add(f"1795221015:{index}")
    for odd in ("1795221016:1", "x", "1795221015:007", "1795221016:" + "9" * 5000):
        assert odd not in delivered
        delivered.add(odd)
        assert odd in delivered
    assert "1795221015:9999" in delivered
    assert "1795221015:10000" not in delivered
    assert "1795221015" not in delivered
    assert Delivered(["a:0"]).__contains__("a:0")
    held = [getattr(delivered, name) for name in ("_runs", "_others")]
    assert sum(len(part) for part in held) < 10


# -- stop strings (rule 12) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stops", "text", "shown", "hit"),
    [
        (("END",), "one END two", "one ", True),
        (("END",), "one EN", "one EN", False),
        (("a,b", "c"), "x a,b c", "x ", True),
        (("bc", "abcd"), "abcd", "a", True),
        (("ab", "b"), "xab", "x", True),
        (("\n",), "\nno", "", True),
        (("aab",), "aaab", "a", True),
        (("\N{GRINNING FACE}!",), "ok \N{GRINNING FACE}? \N{GRINNING FACE}!",
         "ok \N{GRINNING FACE}? ", True),
    ],
)  # fmt: skip
def test_rule_12_stop_strings_cut_however_the_pieces_fall(
    stops: tuple[str, ...], text: str, shown: str, hit: bool
) -> None:
    for first in range(len(text) + 1):
        for second in range(first, len(text) + 1):
            cut = StopCut(stops)
            got = [cut.feed(text[a:b]) for a, b in pairwise((0, first, second, len(text)))]
            assert cut.hit is hit
            assert "".join(got) + cut.rest() == shown


def test_rule_12_a_stop_string_ends_the_stream_and_not_the_prediction() -> None:
    found, decoder = decode(
        b"event: output\ndata: a b\n\nevent: output\ndata: ye\n\nevent: output\ndata: c\n\n",
        stops=("b\nye", " bye"),
    )
    assert found == [Text("a"), Finished("stop")]
    assert decoder.done
    assert not decoder.ended


def test_rule_12_what_was_held_back_comes_before_the_end() -> None:
    for end in (b"event: done\ndata: {}\n\n", b"event: error\ndata: x\n\n"):
        found, _ = decode(b"event: output\ndata: a b\n\n" + end, stops=("bye",))
        assert texts(found) == ["a ", "b"]


def test_rule_12_a_polled_answer_ends_at_its_stop_string() -> None:
    reader = PollReader(Transcript(("\n",)))
    assert seen(reader, "processing", ["a\n", "b"]) == [Text("a"), Finished("stop")]
    assert reader.done
    assert not reader.ended


# -- polls (section 4, rule 8) ---------------------------------------------------------------------


def seen(reader: PollReader, status: str, output: object = None, **more: Any) -> list[Event]:
    return reader.see(Prediction(id="p", status=status, output=output, **more))


def test_rule_8_polls_bring_what_is_new() -> None:
    reader = PollReader(Transcript())
    assert seen(reader, "starting") == [Waiting("cold_start", detail="starting")]
    assert seen(reader, "processing") == [Waiting("running", detail="processing")]
    assert seen(reader, "processing", ["", "a", "b"]) == [Text("ab")]
    assert seen(reader, "processing", ["", "a", "b"]) == []
    assert seen(reader, "succeeded", ["", "a", "b", "\n", ""]) == [Text("\n"), Finished("stop")]
    assert reader.done
    assert reader.ended


@pytest.mark.parametrize(
    ("status", "output", "error", "kind", "shown"),
    [
        ("failed", ["a", "b"], "E005: bad", "model", "ab"),
        ("failed", None, None, "model", ""),
        ("failed", {"not": "text"}, "", "model", ""),
        ("aborted", None, None, "timeout", ""),
        ("processing", {"not": "text"}, None, "protocol", ""),
        ("succeeded", ["a", 1], None, "protocol", ""),
    ],
)
def test_rule_8_predictions_that_fail(
    status: str, output: object, error: object, kind: str, shown: str
) -> None:
    reader = PollReader(Transcript(("bye",)))
    assert "".join(texts(seen(reader, status, output, error=error))) == shown
    assert failure(reader).kind == kind
    assert not reader.done


def test_a_cancelled_prediction_may_have_lost_its_output() -> None:
    transcript = Transcript()
    transcript.take("a", [])
    reader = PollReader(transcript)
    assert seen(reader, "canceled") == [Finished("cancelled")]


def test_output_that_the_server_lost_is_no_whole_answer() -> None:
    assert seen(PollReader(Transcript()), "succeeded") == [Finished("stop")]
    removed = PollReader(Transcript())
    assert seen(removed, "succeeded", data_removed=True) == []
    assert isinstance(removed.failure, TruncatedError)
    transcript = Transcript()
    transcript.take("a", [])
    after_text = PollReader(transcript)
    assert seen(after_text, "succeeded") == []
    assert isinstance(after_text.failure, TruncatedError)


def test_output_continues_what_was_streamed_crlf_included() -> None:
    for output, rest in (("a\r\nb\r\nc", "\nc"), ("a\nb!", "!")):
        transcript = Transcript()
        transcript.take("a\nb", [])
        assert texts(seen(PollReader(transcript), "succeeded", output)) == [rest]
    transcript = Transcript()
    transcript.take("a\nb", [])
    other = PollReader(transcript)
    assert seen(other, "succeeded", "xyz") == []
    assert isinstance(other.failure, ProtocolError)


@pytest.mark.parametrize(
    ("asked", "counted", "finish"),
    [(7, 7, "length"), (8, 7, "stop"), (None, 7, "stop"), (7, None, "stop")],
)
def test_length_is_told_by_the_count_of_tokens(
    asked: int | None, counted: int | None, finish: str
) -> None:
    metrics = Metrics(input_token_count=3, output_token_count=counted)
    found = seen(PollReader(Transcript(), asked), "succeeded", "a", metrics=metrics)
    end = found[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == finish
    assert end.usage is not None
    assert end.usage.total_tokens == (None if counted is None else 10)


def test_metrics_of_other_models_are_no_usage() -> None:
    assert Prediction(metrics=Metrics()).usage is None
    assert Prediction().usage is None
    usage = Prediction(metrics=Metrics(output_token_count=2.0)).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (None, 2, None)


# -- the prediction object -------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"id":7}', b"{}", b'{"id":""}'])
def test_rule_16_what_is_no_prediction_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError) as failed:
        decode_prediction(body, 201)
    assert failed.value.status == 201


def test_unknown_and_missing_fields_of_a_prediction() -> None:
    body = b'{"web":{"x":1},"id":"a","status":"starting","urls":{"web":"w"},"error":""}'
    assert decode_prediction(body, 200) == Prediction("a", "starting", urls=Urls(), error="")
    assert not Prediction(urls=Urls()).streams_text
    assert not Prediction().streams_text
    assert not Prediction(urls=Urls(stream="https://stream.replicate.com/v1/files/x")).streams_text
    assert Prediction(urls=Urls(stream="https://stream.replicate.com/v1/streams/x")).streams_text
