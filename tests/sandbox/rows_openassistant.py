"""Rows of wire/openassistant.md."""

from __future__ import annotations

from penstock.sandbox.script import End
from tests.sandbox.fault_rows import Ending, Options, Row, by

_QUICK: Options = {"tick": 0.02}
_REQUESTS, _STREAM = "test_openassistant_requests.py", "test_openassistant_stream.py"
_EVENTS = "/events"
_HALF = "one two"


def _row(
    where: str, fault: str = "", kind: str | None = None, *, sent: str = "", ends: Ending = "end",
    partial: str | None = "", status: int = 200, options: Options | None = None, never: str = "",
    path: str = "", left: bool = False, text: str | None = None,
    said: tuple[str | End, ...] | None = None, limit: float = 10.0,
) -> Row:  # fmt: skip
    return Row(
        where=f"wire/openassistant.md {where}", server="openassistant", fault=fault, kind=kind,
        sent=sent, ends=ends, partial=partial, status=status, never=never, path=path, left=left,
        options={**_QUICK, **(options or {})}, text=text, said=said, limit=limit,
    )  # fmt: skip


OPENASSISTANT = [
    *by(
        "wire/openassistant.md 2 and 3: sessions that are none, chat switched off",
        f"{_REQUESTS}::test_a_banned_user_is_nobody_and_that_is_known_before_all_else",
        f"{_REQUESTS}::test_what_is_not_there_or_not_yours",
        "test_openassistant.py::test_answers_like_the_recorded_server",
    ),
    *by(
        "wire/openassistant.md 5: refusals of posts",
        f"{_REQUESTS}::test_contents_of_prompter_messages",
        f"{_REQUESTS}::test_missing_and_wrong_fields_are_listed",
        f"{_REQUESTS}::test_limits_of_the_site",
        f"{_REQUESTS}::test_unknown_parents_of_assistant_messages_break_the_server",
        f"{_REQUESTS}::test_bodies_that_the_site_itself_refuses_come_before_the_session",
        f"{_REQUESTS}::test_refusals_of_the_inference_server",
        f"{_STREAM}::test_the_rate_limit_looks_like_a_breakdown_and_counts_bad_requests",
        f"{_STREAM}::test_the_rate_limit_ends_with_its_window",
    ),
    _row(
        "5: the queue is full",
        "",
        "overloaded",
        status=503,
        options={"queue_limit": 0},
        sent="currently busy",
        left=True,
    ),
    _row(
        "5: the website is not let in by the server",
        "status=401",
        "auth",
        status=401,
        path="assistant_message",
    ),
    *by(
        "wire/openassistant.md 5: one account, one queue slot; the orphan of a full queue",
        f"{_STREAM}::test_asking_again_cancels_what_waits_in_any_chat_but_drafts_of_one_parent",
        f"{_STREAM}::test_a_full_queue_leaves_an_orphan_that_is_never_served",
    ),
    _row("7: message", sent='"event_type": "message"'),
    _row(
        "7: error",
        "model-fails=2",
        "model",
        partial=_HALF,
        sent='"event_type": "error".*"aborted_by_worker"',
    ),
    _row(
        "6: an error text that is JSON",
        "model-fails=2; fails-as=generation",
        "model",
        partial=_HALF,
        sent=r'"error": "\{.*error_type.*generation',
    ),
    _row(
        "7: 200 and an empty body, complete",
        options={"patience": 0},
        never="data:",
    ),
    _row("7: clean end without a terminal event", "end-after=2", path=_EVENTS, never='"message"'),
    _row("7: connection reset", "reset-after=2", path=_EVENTS, ends="cut"),
    _row("7: connection closed", "break-after=2", path=_EVENTS, ends="cut"),
    _row("7: silence, connection open", "stall-after=2", path=_EVENTS, ends="open"),
    _row(
        "7: pings but no data for ever",
        "model-nul",
        "timeout",
        options={"tick": 0.005},
        ends="open",
        sent="ping",
        never='"message"',
        left=True,
        partial=None,
    ),
    _row(
        "7: pings for ever after some tokens",
        "comments-after=2; every=0.02",
        limit=1.5,
        ends="open",
        path=_EVENTS,
        sent="keep-alive",
    ),
    _row(
        "7: pending for ever, cancelled",
        "queued=cancelled",
        "cancelled",
        ends="open",
        sent='"pending"',
        never='"token"',
        left=True,
    ),
    _row(
        "7: pending for ever, no worker",
        "queued=never",
        "timeout",
        ends="open",
        sent='"queue_position": 1',
        never='"token"',
        left=True,
    ),
    _row(
        "7: pending for ever, no worker for the model",
        "",
        "timeout",
        ends="open",
        options={"unserved": ["OA_SFT_Llama_30B_6"]},
        sent='"pending"',
        left=True,
    ),
    _row(
        "7: older than 60 s",
        "queued=timeout",
        "timeout",
        sent='"error": "Timeout"',
    ),
    _row("4: timeout", "model-fails=0; fails-as=timeout", "timeout", sent='"state": "timeout"'),
    *by(
        "wire/openassistant.md 7: a stream cannot be reopened",
        f"{_STREAM}::test_two_readers_share_the_events_out",
        f"{_STREAM}::test_a_reader_that_left_the_website_goes_on_eating",
    ),
    _row(
        "8: worker lost after tokens",
        "model-fails=2; fails-as=worker-lost",
        "model",
        partial=_HALF,
        sent="Aborted due to worker error",
    ),
    _row(
        "8: worker lost before tokens, requeued",
        "queued=requeued",
        sent='"queue_position": 1.*(\n.*)+"message"',
    ),
    _row(
        "8: worker lost before tokens, its place with it",
        "queued=lost",
        "timeout",
        ends="open",
        sent='"queue_position": 0',
        never='"token"',
        left=True,
    ),
    *by(
        "wire/openassistant.md 8: refused values, deleted chats",
        f"{_STREAM}::test_values_that_the_model_server_refuses_end_in_a_timeout",
        f"{_STREAM}::test_deleting_a_chat_that_is_answered_stalls_its_stream_and_loses_the_worker",
        f"{_STREAM}::test_deleting_a_chat_that_waits_loses_the_worker_when_its_turn_comes",
    ),
    *by(
        "wire/openassistant.md 11: old ping event, pending each second",
        f"{_STREAM}::test_older_pings_are_events_whose_data_is_no_json",
        f"{_STREAM}::test_pending_events_stop_with_the_first_piece_however_long_the_gap",
    ),
    _row(
        "11: U+FFFD tokens",
        options={"tokens": "bytes"},
        said=("Hi ", "\U0001f642", "!"),
        sent=r"\\ufffd",
        text="Hi \U0001f642!",
    ),
    _row(
        "11: split surrogates",
        options={"tokens": "surrogates"},
        said=("Hi ", "\U0001f642", "!"),
        sent=r'"text": "\\ud83d"',
        text="Hi \U0001f642!",
    ),
    _row(
        "6: plugin_intermediate",
        "plugin",
        sent='"plugin_intermediate".*\r\n\r\ndata: {"event_type": "token", "text": ""}',
    ),
    _row("11: safety", "safety", never="safe_prompt"),
    _row(
        "11: DELETE fails",
        "status-empty=500",
        path="^/api/chat$",
        left=True,
        status=500,
        kind="server",
    ),
]
