"""The pure side: targets, inputs, streams, polls, stop strings, refusals, Cog."""

from __future__ import annotations

import json
from base64 import b64decode
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from penstock.errors import (
    BadRequestError,
    ModelNotFoundError,
    PenstockError,
    ProtocolError,
    ResponseStatusError,
    TruncatedError,
)
from penstock.providers.replicate.dialect.answers import PollReader, Resume, StreamDecoder
from penstock.providers.replicate.dialect.cog import (
    CogDecoder,
    cog_cancel,
    cog_error,
    cog_request,
    decode_cog,
)
from penstock.providers.replicate.dialect.errors import hosted_error
from penstock.providers.replicate.dialect.hosted import (
    DEFAULT_BASE,
    KEYLESS_BASE,
    Api,
    Metrics,
    Prediction,
    Urls,
    api_base,
    decode_models,
    decode_prediction,
)
from penstock.providers.replicate.dialect.inputs import plan_of, schema_inputs
from penstock.providers.replicate.dialect.stops import StopCut
from penstock.providers.replicate.dialect.targets import Target, target_of
from penstock.providers.replicate.dialect.transcript import Delivered, Transcript
from penstock.providers.replicate.models import (
    DEFAULT_MODEL,
    KNOWN,
    UNKNOWN,
    Field,
    ModelInputs,
    known_inputs,
)
from penstock.types import (
    ChatRequest,
    Event,
    Finished,
    ImagePart,
    Message,
    Sampling,
    Started,
    Text,
    TextPart,
    Waiting,
)
from tests.providers.replicate.upstream import CASES, KEY
from tests.wire.cuts import cuttings

HEX = "0a" * 32
STREAMS = sorted(
    path.stem
    for path in CASES.glob("*.json")
    if sum('"text/event-stream' in line for line in path.read_text().splitlines())
)


# -- helpers of this file ----------------------------------------------------------------------


def decode(*parts: bytes, stops: tuple[str, ...] = ()) -> tuple[list[Event], StreamDecoder]:
    decoder = StreamDecoder(Transcript(stops), Resume())
    found = [event for part in parts for event in decoder.feed(part)]
    return found, decoder


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Text)]


def failure(decoder: StreamDecoder | CogDecoder | PollReader) -> PenstockError:
    assert decoder.failure is not None
    return decoder.failure


def streams_of(name: str) -> tuple[dict[str, Any], list[bytes]]:
    case = json.loads((CASES / f"{name}.json").read_text())
    bodies = [
        b"".join(b64decode(chunk["b64"]) for chunk in exchange["response"]["chunks"])
        for exchange in case["exchanges"]
        if dict(exchange["response"]["headers"])["content-type"].startswith("text/event-stream")
    ]
    return case, bodies


def outcome(case: dict[str, Any], bodies: list[list[bytes]]) -> tuple[list[str], object, object]:
    transcript, resume = Transcript(), Resume()
    events: list[Event] = []
    failed: PenstockError | None = None
    for reads in bodies:
        decoder: StreamDecoder | CogDecoder = (
            CogDecoder(transcript)
            if case.get("dialect") == "cog"
            else StreamDecoder(transcript, resume)
        )
        for data in reads:
            events += decoder.feed(data)
        failed = decoder.failure
    ends = [event.finish_reason for event in events if isinstance(event, Finished)]
    return texts(events), ends, failed and (failed.kind, failed.detail)


# -- recorded streams --------------------------------------------------------------------------


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


# -- the event stream (section 5, rules 2 to 6 and 15) -----------------------------------------


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


# -- stop strings (rule 12) --------------------------------------------------------------------


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


# -- polls (section 4, rule 8) -----------------------------------------------------------------


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


# -- the prediction object ---------------------------------------------------------------------


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


# -- requests ----------------------------------------------------------------------------------

API = Api(base=DEFAULT_BASE, key=KEY)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("o/n", Target("/models/o/n/predictions", model="o/n")),
        (f"o/n:{HEX}", Target("/predictions", version=HEX, model="o/n")),
        (HEX, Target("/predictions", version=HEX)),
        ("deployments/o/n", Target("/deployments/o/n/predictions")),
    ],
)
def test_rule_17_the_spellings_of_a_model(model: str, target: Target) -> None:
    assert target_of(model) == target


@pytest.mark.parametrize(
    "model", ["", "gpt", "o/n:latest", f"deployments/o/n:{HEX}", "a/b/c", f"{HEX}:{HEX}", HEX[1:]]
)
def test_other_spellings_are_no_models(model: str) -> None:
    with pytest.raises(ModelNotFoundError, match="owner/name"):
        target_of(model)


@pytest.mark.parametrize("model", ["../n", "o/..", "o/n?x", f"o/ n:{HEX}", "deployments/o/#"])
def test_ids_that_cannot_be_in_a_path_are_refused(model: str) -> None:
    with pytest.raises(BadRequestError):
        target_of(model)


def test_a_create_request() -> None:
    request = API.create(Target("/predictions", version=HEX), {"prompt": "x"}, None)
    assert (request.method, request.url) == ("POST", f"{DEFAULT_BASE}/predictions")
    assert json.loads(request.body) == {"input": {"prompt": "x"}, "stream": True, "version": HEX}
    assert dict(request.headers) == {
        "Accept": "application/json",
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
    }
    plain = API.create(Target("/predictions"), {}, 30)
    assert ("Prefer", "wait=30") in plain.headers
    assert "version" not in json.loads(plain.body)


def test_rule_1_the_callers_headers_win_and_are_not_changed() -> None:
    theirs = {"accept": "application/json", "authorization": "Token t"}
    api = Api(base=DEFAULT_BASE, key=KEY, headers=theirs)
    sent = api.create(Target("/predictions"), {}, None).headers
    assert sorted(name.lower() for name, _ in sent) == ["accept", "authorization", "content-type"]
    assert dict(sent)["authorization"] == "Token t"
    assert theirs == {"accept": "application/json", "authorization": "Token t"}
    assert KEY not in repr(api)


@pytest.mark.parametrize(
    ("urls", "url"),
    [
        (None, f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="https://api.replicate.com/v1/other/p"), "https://api.replicate.com/v1/other/p"),
        (Urls(get="https://evil.example/p"), f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="http://api.replicate.com/v1/p"), f"{DEFAULT_BASE}/predictions/p"),
        (Urls(get="https://api.replicate.com/\n"), f"{DEFAULT_BASE}/predictions/p"),
    ],
)
def test_the_token_follows_no_url_to_another_origin(urls: Urls | None, url: str) -> None:
    request = API.get(Prediction("p", urls=urls))
    assert request.url == url
    assert ("Authorization", f"Bearer {KEY}") in request.headers


def test_a_cancel_request() -> None:
    request = API.cancel(Prediction("p"))
    assert (request.method, request.url) == ("POST", f"{DEFAULT_BASE}/predictions/p/cancel")
    with pytest.raises(BadRequestError):
        API.cancel(Prediction("../x"))


def streamed(url: str | None) -> Prediction:
    return Prediction("p", urls=Urls(stream=url))


@pytest.mark.parametrize(
    "url",
    [
        "https://streaming.api.replicate.com/v1/predictions/p",
        "https://streaming-api.svc.us.c.replicate.net/v1/streams/x",
        "https://stream.replicate.com/v1/streams/x",
        "https://api.replicate.com/x",
        "https://own.example.org/x",
    ],
)
def test_rule_9_streams_carry_no_token(url: str) -> None:
    api = msgspec.structs.replace(API, hosts=("own.example.org",), headers={"x-own": "1"})
    request = api.stream(streamed(url), "1:0")
    assert request.url == url
    assert request.headers == (
        ("Accept", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("Last-Event-ID", "1:0"),
    )


@pytest.mark.parametrize(
    "url",
    [
        None,
        "https://replicate.com.example.org/x",
        "https://evilreplicate.com/x",
        "http://stream.replicate.com/x",
        "file:///etc/passwd",
        "https://u:p@stream.replicate.com/x",
    ],
)
def test_rule_9_streams_on_other_hosts_are_refused(url: str | None) -> None:
    with pytest.raises(ProtocolError):
        API.stream(streamed(url))


@pytest.mark.parametrize("last", ["", "a\r\nb", "\N{EURO SIGN}"])
def test_an_id_that_cannot_be_in_a_header_is_not_sent(last: str) -> None:
    request = API.stream(streamed("https://stream.replicate.com/x"), last)
    assert "Last-Event-ID" not in dict(request.headers)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://api.replicate.com/x", True),
        ("https://stream.replicate.com/x", True),
        ("https://replicate.com/x", True),
        ("https://a.b.replicate.net/x", True),
        ("https://replicate.net/x", False),
        ("https://own.example.org/x", False),
        ("http://stream.replicate.com/x", False),
    ],
)
def test_only_the_vendors_own_streams_may_be_shown_the_token(url: str, may: bool) -> None:
    assert API.may_have_key(url) is may
    assert not Api(base=DEFAULT_BASE).may_have_key(url)


def test_rule_18_no_key_no_authorization() -> None:
    keyless = Api(base=api_base(KEYLESS_BASE))
    request = keyless.create(target_of("o/n"), {}, None)
    assert request.url == "https://replicate.com/api/models/o/n/predictions"
    assert "Authorization" not in dict(request.headers)
    assert keyless.with_key(request) == request
    shown = API.with_key(API.stream(streamed("https://stream.replicate.com/x")))
    assert dict(shown.headers)["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("base", "used"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/v1", "http://h:1/v1"),
        ("http://h:1/prefix", "http://h:1/prefix/v1"),
    ],
)
def test_the_base_of_a_server_of_ones_own(base: str, used: str) -> None:
    assert api_base(base) == used


def test_pages_of_models() -> None:
    assert API.models().url == f"{DEFAULT_BASE}/models"
    assert API.models("https://evil.example/v1/models?cursor=a%26b&x=1").url == (
        f"{DEFAULT_BASE}/models?cursor=a%26b"
    )
    with pytest.raises(ProtocolError):
        decode_models(b'{"results":[{"owner":"o"}]}')
    item = {"owner": "o", "name": "n", "description": None, "visibility": "public"}
    found, following = decode_models(json.dumps({"results": [item], "next": "x"}).encode())
    assert [(model.id, model.name, model.description) for model in found] == [("o/n", "n", "")]
    assert following == "x"


# -- refusals (section 6, rule 14) -------------------------------------------------------------


def refused(
    status: int, body: object, headers: dict[str, str] | None = None, *, creating: bool = True
) -> PenstockError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return hosted_error(
        status,
        headers or {},
        data,
        provider="replicate",
        model="o/n",
        creating=creating,
        secrets=(KEY,),
    )


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"title": "Unauthenticated", "detail": "no token"}, "auth", "no token"),
        (401, {"detail": "Invalid or expired API token."}, "auth", "Invalid or expired API token."),
        (402, {"title": "Insufficient credit", "detail": "no credit"}, "payment", "no credit"),
        (403, b"", "forbidden", None),
        (404, {"detail": "Not found."}, "unknown_model", "Not found."),
        (422, {"title": "Invalid version or not permitted", "detail": "v"}, "unknown_model", "v"),
        (422, {"title": "Input validation failed", "detail": "- a: b\n"}, "bad_request", "- a: b"),
        (
            422,
            {"detail": "- x", "invalid_fields": [{"field": "input.a", "description": "bad"}, 3]},
            "bad_request",
            "input.a: bad",
        ),
        (422, {"detail": "- x", "invalid_fields": []}, "bad_request", "- x"),
        (413, {"detail": "big"}, "too_large", "big"),
        (500, {"detail": 7}, "server", None),
        (502, b"<html><title>502 Bad Gateway</title></html>", "server", "502 Bad Gateway"),
        (503, b"", "server", None),
        (504, b"gateway", "server", "gateway"),
        (522, b"[]", "server", None),
        (429, b"no JSON", "rate_limited", "no JSON"),
    ],
)
def test_rule_14_refusals_by_their_kind(
    status: int, body: object, kind: str, words: str | None
) -> None:
    error = refused(status, body)
    assert (error.kind, error.status, error.detail) == (kind, status, words)
    assert isinstance(error, ResponseStatusError)
    assert error.retryable is (kind == "rate_limited")


def test_rule_14_a_missing_model_is_named_and_a_missing_prediction_is_not() -> None:
    assert "Model not found: gone." in str(refused(404, {"detail": "gone."}))
    assert "Model not found." in str(refused(404, b""))
    assert refused(404, b"", creating=False).kind == "not_found"


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({"retry-after": "3"}, {"retry_after": 9, "detail": "resets in ~30s."}, 3),
        ({}, {"retry_after": 9, "detail": "resets in ~30s."}, 9),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {"retry_after": True, "detail": "soon"}, None),
        ({}, {"retry_after": -1}, None),
    ],
)
def test_rule_14_the_wait_of_a_429(
    headers: dict[str, str], body: dict[str, Any], wait: float | None
) -> None:
    assert refused(429, body, headers).retry_after == wait


def test_secrets_do_not_come_back_in_words() -> None:
    assert KEY not in str(refused(401, {"detail": f"bad token {KEY}"}))


# -- inputs (section 7, rules 11 to 13) --------------------------------------------------------


def planned(model: ModelInputs, *messages: Message, **more: Any) -> dict[str, Any]:
    request = ChatRequest(model="o/n", messages=messages or (Message("user", "hi"),), **more)
    return dict(plan_of(request, model).inputs)


def takes(**fields: Field) -> ModelInputs:
    return ModelInputs(fields)


PROMPT = Field("string")
CHAT = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
SYSTEM = Message("system", "be brief")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 5),
        ("max_new_tokens", 5),
        ("max_completion_tokens", 5),
        ("max_output_tokens", 5),
        ("max_length_tokens", 5),
    ],
)
def test_rule_11_the_limit_has_five_names(name: str, value: int) -> None:
    request = ChatRequest(
        model="o/n", messages=(Message("user", "hi"),), sampling=Sampling(max_tokens=5, top_k=1)
    )
    plan = plan_of(request, takes(prompt=PROMPT, **{name: Field("integer")}))
    assert plan.inputs == {"prompt": "hi", name: value}
    assert plan.limit == 5
    assert [(notice.code, "top_k" in notice.detail) for notice in plan.warnings] == [
        ("parameter_dropped", True)
    ]


def test_rule_11_raw_inputs_win() -> None:
    extra = {"max_new_tokens": 9, "prompt": "raw", "seed": 3}
    sent = planned(UNKNOWN, sampling=Sampling(seed=1), extra=extra)
    assert sent == {"prompt": "raw", "seed": 3, "max_new_tokens": 9}
    request = ChatRequest(model="o/n", messages=CHAT, extra={"max_tokens": "many"})
    assert plan_of(request, UNKNOWN).limit is None


def test_rule_11_zero_is_a_value() -> None:
    sent = planned(UNKNOWN, sampling=Sampling(temperature=0, max_tokens=0, seed=0))
    assert sent == {"prompt": "hi", "temperature": 0, "max_tokens": 0, "seed": 0}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (Field(low=1024), 10, "at least 1024"),
        (Field(high=10), 11, "at most 10"),
        (Field(low=1, high=10), 0, "within 1 to 10"),
        (Field(low=1, high=10), 10, None),
    ],
)
def test_ranges_are_checked_before_anything_is_sent(
    field: Field, value: int, words: str | None
) -> None:
    model = takes(prompt=PROMPT, max_tokens=field)
    if words is None:
        assert planned(model, sampling=Sampling(max_tokens=value))["max_tokens"] == value
        return
    with pytest.raises(BadRequestError, match=words) as failed:
        planned(model, sampling=Sampling(max_tokens=value))
    assert failed.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("stops", "sent"), [(("a,b", "c"), "c"), (("a,b",), None), (("c", "\n"), "c,\n"), ((), None)]
)
def test_rule_12_stop_strings_are_sent_where_they_can_be(
    stops: tuple[str, ...], sent: str | None
) -> None:
    sampling = Sampling(stop=stops)
    known = takes(prompt=PROMPT, stop_sequences=Field("string"))
    for model in (UNKNOWN, known):
        assert planned(model, sampling=sampling).get("stop_sequences") == sent
    request = ChatRequest(model="o/n", messages=CHAT, sampling=sampling)
    unknowing = plan_of(request, takes(prompt=PROMPT))
    assert "stop_sequences" not in unknowing.inputs
    assert (unknowing.stops, unknowing.warnings) == (stops, ())


def test_rule_13_the_system_text_goes_to_one_place() -> None:
    with_field = takes(prompt=PROMPT, system_prompt=Field("string"))
    assert planned(with_field, SYSTEM, *CHAT) == {
        "system_prompt": "be brief",
        "prompt": "User: a\nAssistant: b\nUser: c\nAssistant:",
    }
    folded = "System: be brief\nUser: a\nAssistant: b\nUser: c\nAssistant:"
    assert planned(takes(prompt=PROMPT), SYSTEM, *CHAT) == {"prompt": folded}
    assert planned(UNKNOWN, SYSTEM, *CHAT) == {"prompt": folded}
    assert planned(with_field, SYSTEM) == {"prompt": "be brief"}


def test_rule_13_a_list_of_messages_where_the_model_takes_one() -> None:
    listed = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    both = {"prompt": PROMPT, "system_prompt": Field("string")}
    model = takes(messages=Field("array"), **both)
    assert planned(model, SYSTEM, *CHAT) == {"messages": listed}
    as_text = planned(takes(messages=Field("string"), **both), SYSTEM, *CHAT)["messages"]
    assert json.loads(as_text) == listed
    assert planned(model, SYSTEM, CHAT[0]) == {"prompt": "a", "system_prompt": "be brief"}
    assert "messages" in planned(takes(messages=Field("array")), CHAT[0])


def test_a_model_that_takes_no_text_is_refused_unless_its_inputs_are_given() -> None:
    model = takes(audio=Field("string"))
    with pytest.raises(BadRequestError, match="neither a prompt nor messages"):
        planned(model)
    assert planned(model, extra={"audio": "https://x"})["audio"] == "https://x"


PICTURE = ImagePart(data=b"\x89PNG", media_type="image/png")
LINKED = ImagePart(url="https://example.org/a.png")


def test_rule_13_images_go_where_the_model_takes_them() -> None:
    one = Message("user", (TextPart("what?"), PICTURE))
    two = Message("user", (TextPart("what?"), PICTURE, LINKED))
    inline = "data:image/png;base64,iVBORw=="
    assert planned(takes(prompt=PROMPT, image=Field("string")), one)["image"] == inline
    several = takes(prompt=PROMPT, images=Field("array"), messages=Field("array"))
    assert planned(several, two) == {"prompt": "what?", "images": [inline, LINKED.url]}
    with pytest.raises(BadRequestError, match="one image only"):
        planned(takes(prompt=PROMPT, image=Field("string")), two)
    for model in (takes(prompt=PROMPT), UNKNOWN):
        with pytest.raises(BadRequestError, match="not known to take images"):
            planned(model, one)


def test_the_table_stands_in_for_the_schema() -> None:
    assert known_inputs(None) == UNKNOWN
    assert known_inputs("o/n") == UNKNOWN
    assert known_inputs(DEFAULT_MODEL).has("max_tokens")
    assert not known_inputs(DEFAULT_MODEL).has("max_new_tokens")
    assert known_inputs("openai/gpt-5-mini").has("max_completion_tokens")
    claude = known_inputs("anthropic/claude-4-sonnet")
    assert not claude.has("temperature")
    with pytest.raises(BadRequestError, match="within 1024 to 64000"):
        planned(claude, sampling=Sampling(max_tokens=100))
    assert all(inputs.has("prompt") for inputs in KNOWN.values())


def schema(properties: object, version: object = "v") -> bytes:
    parts = {"components": {"schemas": {"Input": {"properties": properties}}}}
    return json.dumps({"latest_version": {"id": version, "openapi_schema": parts}}).encode()


def test_a_schema_gives_names_types_and_ranges() -> None:
    body = schema(
        {
            "prompt": {"type": "string"},
            "top_k": {"type": "integer", "minimum": -1, "maximum": True},
            "mode": {"allOf": [{"$ref": "#/x"}], "type": ["a"]},
            "odd": 3,
        }
    )
    found = schema_inputs(body, None)
    assert found == takes(prompt=PROMPT, top_k=Field("integer", low=-1), mode=Field(), odd=Field())
    assert schema_inputs(body, "v") == found
    assert schema_inputs(body, HEX) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"latest_version":null}',
        b'{"latest_version":{"openapi_schema":{}}}',
        schema([]),
        schema({}),
    ],
)
def test_a_schema_that_is_none_is_not_used(body: bytes) -> None:
    assert schema_inputs(body, None) is None


# -- Cog (section 8) ---------------------------------------------------------------------------


def cog(*parts: bytes, stops: tuple[str, ...] = ()) -> tuple[list[Event], CogDecoder]:
    decoder = CogDecoder(Transcript(stops))
    return [event for part in parts for event in decoder.feed(part)], decoder


def frame(event: str, data: object) -> bytes:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


def test_cog_requests() -> None:
    request = cog_request("http://h:5000", {"prompt": "x"}, stream=True)
    assert request.url == "http://h:5000/predictions"
    assert json.loads(request.body) == {"input": {"prompt": "x"}}
    assert dict(request.headers)["Accept"] == "text/event-stream"
    plain = cog_request("http://h:5000", {}, stream=False)
    assert dict(plain.headers)["Accept"] == "application/json"
    assert cog_cancel("http://h:5000", "c1").url == "http://h:5000/predictions/c1/cancel"


def test_cog_streams_json_chunks() -> None:
    found, decoder = cog(
        frame("start", {"id": "c1", "status": "processing"}),
        frame("log", {"source": "stdout", "data": "x"}),
        frame("metric", {"name": "n"}),
        frame("output", {"chunk": "a\n", "index": 0}),
        frame("output", {"chunk": "", "index": 1}),
        frame("completed", {"id": "c1", "output": ["a\n", "", "b"], "status": "succeeded"}),
        frame("output", {"chunk": "late", "index": 9}),
    )
    assert found == [Started(id="c1"), Text("a\n"), Text("b"), Finished("stop")]
    assert decoder.done
    assert decoder.ended


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (frame("completed", {"status": "failed", "error": "boom", "output": ["a"]}), "model"),
        (frame("completed", {"status": "processing"}), "protocol"),
        (frame("completed", []), "protocol"),
        (frame("error", {"error": "history was dropped"}), "model"),
        (frame("output", {"chunk": {"not": "text"}}), "protocol"),
        (frame("start", {"id": 7}), "protocol"),
        (b"", "truncated"),
    ],
)
def test_cog_streams_that_fail_keep_their_text(last: bytes, kind: str) -> None:
    found, decoder = cog(frame("output", {"chunk": "a"}), last, stops=("ab",))
    found += decoder.eof()
    assert failure(decoder).kind == kind
    assert texts(found) == (["a"] if kind in ("model", "truncated") else [])


def test_cog_cancelled_and_stopped() -> None:
    found, decoder = cog(frame("completed", {"status": "canceled", "output": ["a"]}))
    assert found == [Text("a"), Finished("cancelled")]
    both = frame("output", {"chunk": "a EN"}) + frame("output", {"chunk": "D b"})
    found, decoder = cog(both + frame("output", {"chunk": "c"}), stops=("END",))
    assert found == [Text("a "), Finished("stop")]
    assert decoder.done
    assert not decoder.ended


def test_cog_refusals() -> None:
    for status, kind in ((409, "overloaded"), (503, "overloaded"), (422, "bad_request")):
        body = b'{"detail":[{"loc":["body","input","n"],"msg":"too big","type":"e"}]}'
        error = cog_error(status, {}, body, provider="cog", model="m")
        assert (error.kind, error.detail) == (kind, "input.n: too big")
    for answer in (b"{}", b"[]", b"<html>"):
        with pytest.raises(ProtocolError):
            decode_cog(answer)


def test_a_plain_answer_of_cog() -> None:
    body = (
        b'{"id":"c1","logs":"","metrics":{"predict_time":0.1},"output":["a"],"status":"succeeded"}'
    )
    answer = decode_cog(body)
    assert (answer.text, answer.terminal, answer.usage) == ("a", True, None)
