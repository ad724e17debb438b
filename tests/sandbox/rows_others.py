"""Rows of wire/replicate.md, with Cog, and the errors of OpenAI-compatible servers."""

from __future__ import annotations

from penstock.sandbox.fault_table import FAULTS
from tests.sandbox.fault_rows import Ending, Options, Row, by

_HALF = "one two"
_MODEL = "meta/meta-llama-3-70b-instruct"
_REQUESTS, _RULES = "test_replicate_requests.py", "test_replicate_rules.py"
_STREAMS = "test_replicate_streams.py"


def _row(
    where: str, fault: str = "", kind: str | None = None, *, sent: str = "", chat: str = "",
    ends: Ending = "open", partial: str = "", status: int = 200, options: Options | None = None,
    never: str = "", path: str = "", text: str | None = None, server: str = "replicate",
) -> Row:  # fmt: skip
    return Row(
        where=f"wire/replicate.md {where}", server=server, fault=fault, kind=kind, sent=sent,
        ends=ends, partial=partial, status=status, options=options or {}, never=never, path=path,
        text=text, chat=chat,
    )  # fmt: skip


def _create(where: str, fault: str, kind: str | None, status: int, sent: str = "") -> Row:
    chat = "replicate.create"
    return _row(
        where, fault, kind, status=status, sent=sent, chat=chat, ends="end", path="/predictions"
    )


def _get(where: str, fault: str, kind: str | None, sent: str, text: str | None = None) -> Row:
    return _row(where, fault, kind, sent=sent, chat="replicate.get", ends="end", text=text)


_QUICK: Options = {"second": 0.01}
REPLICATE = [
    _row("5.1: done", sent="event: done\nid: .*\ndata: {}"),
    _row("5.1: error, then done", "model-fails=2", "model", partial=_HALF,
         sent='event: error\nid: .*\ndata: {"detail":.*\n\nevent: done\n.*\n.*"error"'),
    _row("5.1: error, no done", "model-fails=2; stream=no-done", "model", partial=_HALF,
         sent="event: error", never="event: done"),
    _row("5.1: error in plain text", "model-fails=2; stream=plain-error", "model", partial=_HALF,
         sent="event: error\ndata: out of memory\n"),
    *by(
        "wire/replicate.md 5.1 and 5.3: canceled, logs, pings, the server behind it",
        f"{_RULES}::test_cancel_in_the_middle_of_a_stream",
        f"{_RULES}::test_logs",
        f"{_STREAMS}::test_silence_may_be_broken",
        f"{_STREAMS}::test_a_stream_stays_open_until_the_time_out",
        f"{_STREAMS}::test_a_stream_is_no_json",
        f"{_STREAMS}::test_a_stream_is_replayed_and_resumed",
        f"{_STREAMS}::test_text_as_nchan_frames_it",
    ),
    _row("5.2: CR LF", options={"stream": {"line_end": "crlf"}}, sent="\r\ndata: one\r\n"),
    _row("5.2: comments, also within events", "stream=comments", sent=":inside an event\n"),
    _row("5.2: retry lines", "stream=retry", sent="retry: 40\n\n(.*\n)*retry: 60\n"),
    _row("5.3: an unknown or expired channel", "stream=unknown-channel", ends="end",
         options=_QUICK, sent=": hi\n\n:408: 408 Request Timeout"),
    _row("5.3: a channel that may not be read", "stream=closed-channel", status=403, ends="end"),
    _row("5.4: cut between events", "break-after=3", path="/streams/", ends="cut"),
    _row("5.4: cut inside an event", "break-bytes=50", path="/streams/", ends="cut"),
    _row("5.4: reset", "reset-after=3", path="/streams/", ends="cut"),
    _row("5.4: an orderly end without done", "end-after=3", path="/streams/", ends="end"),
    _row("5.4: a status where the stream should be", "status=500", path="/streams/", status=500,
         ends="end"),
    _create("6: 401", "refusal=expired-key", "auth", 401, "Invalid or expired API token"),
    *by(
        "wire/replicate.md 6: 401 as recorded, 404, both 422",
        f"{_REQUESTS}::test_no_key_is_said_before_anything_else",
        f"{_REQUESTS}::test_what_is_not_there",
        f"{_REQUESTS}::test_an_input_that_does_not_fit",
        f"{_REQUESTS}::test_a_body_that_does_not_fit",
        f"{_REQUESTS}::test_a_version_that_is_none",
        "test_replicate.py::test_answers_like_the_recorded_server",
    ),
    Row(where="wire/replicate.md 6: 402", server="replicate", chat="replicate.create",
        options={"credit": False}, status=402, sent="Insufficient credit", kind="payment"),
    _create("6: 403", "refusal=forbidden", "forbidden", 403),
    Row(where="wire/replicate.md 6 and 10: 429 n times", server="replicate", status=429,
        chat="replicate.create", options={"throttled": 1}, sent="(?i)retry-after: 1",
        kind="rate_limited"),
    _create("6: 429, the wait in the body", "refusal=throttled-body", "rate_limited", 429,
            '"retry_after":2'),
    _create("6: 429, the wait in the detail", "refusal=throttled-detail", "rate_limited", 429,
            "resets in ~2s"),
    _create("6 and 10: 5xx, HTML", "refusal=page-502", "server", 502, "<center>cloudflare"),
    _create("6: 5xx, empty", "status-empty=500", "server", 500),
    _create("6: 413", "refusal=too-large", "too_large", 413),
    _create("4: failed in the answer to the create", "prediction=failed", "model", 201,
            '"status":"failed"'),
    _get("6: failed, with error", "model-fails=0", "model", '"error":"sandbox fault"'),
    _get("4: an error that is an empty text", "prediction=empty-error", None, '"error":""'),
    Row(where="wire/replicate.md 3: data removed", server="replicate", chat="replicate.get",
        fault="prediction=removed", options=_QUICK, kind="truncated",
        sent='"data_removed":true.*"output":null'),
    *by(
        "wire/replicate.md 4: aborted, data removed after an hour",
        f"{_RULES}::test_a_deadline_aborts_or_cancels",
        f"{_RULES}::test_data_is_removed_after_an_hour",
    ),
    _create("10: no id", "prediction=no-id", "protocol", 201, '\n{"status":"starting","urls":{}}$'),
    Row(where="wire/replicate.md 10: no urls.stream", server="replicate", chat="replicate.get",
        fault="prediction=no-stream", sent='"output":\\["one"', never='"stream":'),
    Row(where="wire/replicate.md 10: output absent", server="replicate", chat="replicate.get",
        fault="prediction=no-output", text="", sent='"status":"succeeded"',
        never='"output"', options={"outputs": {_MODEL: "text"}}),
    Row(where="wire/replicate.md 10: output null", server="replicate", chat="replicate.get",
        fault="prediction=null-output", text="",
        options={"outputs": {_MODEL: "text"}}, sent='"output":null'),
    Row(where="wire/replicate.md 10: output of one text", server="replicate", chat="replicate.get",
        options={"outputs": {_MODEL: "text"}}, sent='"output":"one two three four"'),
    *by(
        "wire/replicate.md 10: delays, cuts by options, lost ids, replay all, cancels counted",
        f"{_RULES}::test_states_over_time",
        f"{_STREAMS}::test_connections_may_be_lost",
        f"{_STREAMS}::test_ids_may_be_lost_and_places_ignored",
        f"{_STREAMS}::test_headers_that_reached_the_streams_are_named",
        f"{_REQUESTS}::test_a_refused_create_leaves_nothing",
    ),
]  # fmt: skip


def _cog(where: str, fault: str = "", kind: str | None = None, *, sent: str = "",
         ends: Ending = "end", partial: str = "", status: int = 200,
         options: Options | None = None, path: str = "") -> Row:  # fmt: skip
    return _row(
        f"8: {where}",
        fault,
        kind,
        sent=sent,
        ends=ends,
        partial=partial,
        status=status,
        options=options,
        server="cog",
        path=path,
    )


COG = [
    _cog("failed", "model-fails=2", "model", sent='"status":"failed"', partial=_HALF),
    _cog("a stream that breaks", "break-after=3", "truncated", ends="cut", partial=_HALF,
         path="/predictions"),
    _cog("a stream that is reset", "reset-after=3", "truncated", ends="cut", partial=_HALF,
         path="/predictions"),
    _cog("an end without completed", "end-after=3", "truncated", partial=_HALF,
         path="/predictions"),
    _cog("error, its history was dropped", "dropped=3", "model", partial=_HALF,
         sent="event: error\n", path="/predictions"),
    _cog("setup not done", "", "overloaded", status=406, options={"setup": 60.0}),
    _cog("a page of a proxy", "status-html=502", "server", status=502, path="/predictions"),
    _cog("too busy", "status=409", "overloaded", status=409, path="/predictions"),
    *by(
        "wire/replicate.md 8: busy, cancel, 404, 406, 400, 422, dropped connections, respond-async",
        "test_cog.py::test_one_slot",
        "test_cog.py::test_the_slot_may_stay_taken_for_a_moment",
        "test_cog.py::test_cancel_takes_effect_at_the_next_piece",
        "test_cog.py::test_leaving_cancels_at_the_next_piece",
        "test_cog.py::test_a_second_put_joins",
        "test_cog.py::test_a_model_that_is_not_marked_for_streaming",
        "test_cog.py::test_bodies_that_cannot_be_read",
        "test_cog.py::test_what_does_not_fit",
        "test_cog.py::test_results_that_nobody_waits_for",
        "test_cog.py::test_setup",
        "test_cog.py::test_silence_is_broken_by_comments",
    ),
]  # fmt: skip

# What each code is to a client, beside its status.
_KINDS = {
    "invalid_api_key": "auth",
    "insufficient_quota": "payment",
    "billing_hard_limit_reached": "payment",
    "unsupported_country": "forbidden",
    "model_not_found": "unknown_model",
    "context_length_exceeded": "context_length",
    "content_policy_violation": "moderation",
    "invalid_value": "bad_request",
    "request_too_large": "too_large",
    "unprocessable": "bad_request",
    "rate_limit_exceeded": "rate_limited",
    "server_error": "server",
    "overloaded": "overloaded",
}
OPENAI = [
    *(
        Row(where=f"openai-surface.md: {code}", server="openai", fault=f"error={code}",
            status=int(told[:3]), sent=f'"code":"{code}"', kind=_KINDS[code])
        for code, told in FAULTS["error"].values.items()
    ),
    Row(where="openai-surface.md: an error event in the middle", server="openai",
        fault="model-fails=2", sent='data: {"error":', never="DONE", kind="server", partial=_HALF),
    Row(where="openai-surface.md: the host behind fails first", server="openai", status=503,
        fault="model-fails=0; model-status=503", kind="overloaded"),
    Row(where="openai-surface.md: no [DONE]", server="openai", fault="drop-last=3", path="/chat/",
        never="DONE", kind="truncated", partial="one two three four"),
    Row(where="openai-surface.md: an error object with status 200", server="openai",
        fault="error-200", path="/chat/", sent='"error"', kind="protocol"),
]  # fmt: skip
