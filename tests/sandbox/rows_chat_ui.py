"""Rows of wire/h2o.md: chat-ui of 2023, its router, and chat-ui of today."""

from __future__ import annotations

from penstock.sandbox.script import Said
from tests.sandbox.fault_rows import Ending, Options, Row, by

_HALF = "one two"
_RULES, _TODAY = "test_h2o_rules.py", "test_chatui_rules.py"


def _row(
    server: str, where: str, fault: str = "", kind: str | None = None, *, sent: str = "",
    ends: Ending = "end", partial: str | None = "", status: int = 200,
    options: Options | None = None,
    never: str = "", path: str = "", text: str | None = None,
    said: tuple[Said, ...] | None = None,
) -> Row:  # fmt: skip
    return Row(
        where=f"wire/h2o.md {where}", server=server, fault=fault, kind=kind, sent=sent, ends=ends,
        partial=partial, status=status, options=options or {}, never=never, path=path, text=text,
        said=said,
    )  # fmt: skip


def _in_stream(server: str) -> list[Row]:
    """Section 5 c and d, of the router by itself and behind chat-ui."""

    def row(
        what: str, fault: str, kind: str, *, sent: str = "", partial: str = "",
        ends: Ending = "end", never: str = "",
    ) -> Row:  # fmt: skip
        return _row(server, f"{what} ({server})", fault, kind, sent=sent, partial=partial,
                    ends=ends, never=never, path="^/conversation/.|generate_stream")  # fmt: skip

    return [
        row("5c: overloaded", "model-fails=0; fails-as=overloaded", "overloaded",
            sent='data:{"error":"Model is overloaded","error_type":"overloaded"}', never="token"),
        row("5c: validation", "model-fails=0; fails-as=validation", "bad_request",
            sent='"Input validation error: .*"error_type":"validation"', never="token"),
        row("5c: generation before tokens", "model-fails=0", "model",
            sent='"Request failed during generation: .*"generation"', never="token"),
        row("5c: generation", "model-fails=2; fails-as=generation", "model", partial=_HALF,
            sent='"Request failed during generation: .*"generation"'),
        row("5c: incomplete_generation", "model-fails=2; fails-as=incomplete", "truncated",
            partial=_HALF, sent='"error_type":"incomplete_generation"'),
        row("5d: upstream closes", "model-fails=2; fails-as=dropped", "truncated", partial=_HALF,
            ends="cut", never='generated_text":"'),
        row("5d: upstream dies inside a frame", "model-fails=2; fails-as=cut-frame", "truncated",
            partial=_HALF, ends="cut", sent="[^\n]\r?$", never='generated_text":"'),
        row("5d: the line is reset", "reset-after=2", "truncated", partial=_HALF, ends="cut"),
        row("5d: an end in order without a last frame", "drop-last=1", "truncated",
            partial="one two three four", never='generated_text":"'),
    ]  # fmt: skip


def _upstream(status: int, value: str, kind: str, sent: str) -> Row:
    where = f"5b: upstream answers {value}"
    return _row("h2o", where, f"upstream={value}", kind, status=status, sent=sent)


H2O = [
    _row("h2o", "5a: 401", "", "auth", status=401, options={"login": True}),
    *by(
        "wire/h2o.md 5a: 403, 404, 405, 413, 500",
        f"{_RULES}::test_early_refusals_set_no_cookie_and_take_the_askers_form",
        f"{_RULES}::test_form_posts_need_a_referer_of_the_own_origin",
        f"{_RULES}::test_bad_settings_are_500",
        f"{_RULES}::test_bodies_over_the_adapters_limit_are_413",
        f"{_RULES}::test_every_breach_of_the_schema_is_500",
        "test_h2o.py::test_answers_like_the_recorded_server",
    ),
    _row(
        "h2o",
        "5a: 404 in the middle",
        "status=404",
        "not_found",
        status=404,
        path="^/conversation/",
    ),
    _row(
        "h2o",
        "5a: 410",
        "",
        "unknown_model",
        status=410,
        options={"gone": ["h2oai/h2ogpt-gm-oasst1-en-2048-falcon-40b-v1"]},
    ),
    _row("h2o", "5a: 429", "status=429", "rate_limited", status=429, path="^/conversation/"),
    _upstream(401, "401", "auth", "Set-Cookie: hf-chat.*(\n.*)*token seems invalid"),
    _upstream(415, "415", "bad_request", "(?i)content-type: text/plain(.|\n)*Expected request"),
    _upstream(422, "422", "bad_request", "Failed to deserialize"),
    _upstream(502, "502", "server", "(?i)content-type: text/html(.|\n)*502 Bad Gateway"),
    _upstream(503, "503", "overloaded", "estimated_time"),
    _upstream(500, "refused", "server", "Internal Error"),
    *by(
        "wire/h2o.md 5b: statuses without a stream; types passed on",
        "test_tgi.py::test_a_failing_model_is_an_error_frame_or_a_status",
        "test_tgi.py::test_bodies_the_router_cannot_read_are_plain_text",
        f"{_RULES}::test_the_content_type_is_passed_on",
    ),
    *_in_stream("h2o"),
    *by("wire/h2o.md 5: after a failure", f"{_RULES}::test_a_failed_turn_leaves_no_trace"),
    *by(
        "wire/h2o.md 6: cancel and cleanup",
        f"{_RULES}::test_an_answer_is_stored_although_its_reader_left",
        f"{_RULES}::test_stop_generating_cuts_the_line_and_keeps_the_part",
        f"{_RULES}::test_deleting_does_not_end_the_stream",
    ),
    *by(
        "wire/h2o.md 7: the checklist",
        f"{_RULES}::test_the_cookie_comes_back_on_plain_http",
        f"{_RULES}::test_the_real_cookie_is_not_sent_back_over_http",
        f"{_RULES}::test_network_writes_can_cut_anywhere",
        "test_tgi.py::test_silence_is_broken_by_comments",
        "test_tgi.py::test_twenty_tokens_unless_asked",
    ),
]

TGI = [
    *_in_stream("tgi"),
    *by(
        "wire/h2o.md 4 and 5c: refusals and framings of the router",
        "test_tgi.py::test_refusals_in_a_stream_are_frames_of_status_200",
        "test_tgi.py::test_no_free_slot_is_overload_and_leaving_frees_it",
        "test_tgi.py::test_later_releases_frame_otherwise",
    ),
]


def _twice(what: str, fault: str, kind: str, sent: str, partial: str = "") -> Row:
    where, fault = f"9: {what}", f"{fault}; model-runs=2"
    return _row("chatui", where, fault, kind, sent=sent, partial=partial, never='"finished"')


_NOTHING = '"status":"error","message":"No output'
CHATUI = [
    _row("chatui", "9: a silent second try", "model-fails=2",
         sent='(?s)"one.*" two.*"one.*" four.*"finalAnswer","text":"one two three four"'),
    _twice("the second try fails as well", "model-fails=2", "model", '"status":"error"',
           partial="one twoone two"),
    _twice("upstream drop", "model-fails=0; fails-as=terminated", "model",
           '"status":"error","message":"terminated"'),
    _twice("upstream 401", "model-fails=0; model-status=401", "auth", '"statusCode":401'),
    _twice("upstream 429", "model-fails=0; model-status=429", "rate_limited", '"statusCode":429'),
    _twice("upstream 500", "model-fails=0; model-status=500", "server", '"statusCode":500'),
    _row("chatui", "9: another finish reason", "model-finish=content_filter",
         sent='"status":"finished"', never="finalAnswer"),
    _row("chatui", "9: no token at all", "model-empty", "model", sent=_NOTHING),
    _row("chatui", "9: white space only", "", "model", said=(" ", "\n"), partial=" \n",
         sent=f'"finalAnswer","text":"".*\n.*{_NOTHING}'),
    _row("chatui", "9: text beside the finish reason", options={"text_with_finish": True},
         sent='"finalAnswer","text":"one two three four"'),
    _row("chatui", "9: a NUL of the model is lost", "model-nul", sent='"finalAnswer"'),
    _row("chatui", "9: the body ends without the last line", "drop-last=1", sent="finalAnswer",
         path="^/conversation/.",
         never='"finished"'),
    _row("chatui", "9: the line is lost", "break-bytes=400", "truncated", ends="cut",
         path="^/conversation/.", never='"finalAnswer"', partial=None),
    *by(
        "wire/h2o.md 9: refusals",
        f"{_TODAY}::test_a_foreign_origin_is_refused",
        f"{_TODAY}::test_conversations_belong_to_their_cookie",
        f"{_TODAY}::test_messages_a_minute_count_for_the_address_too",
        f"{_TODAY}::test_the_other_limits",
        f"{_TODAY}::test_login_sends_away_or_refuses",
        f"{_TODAY}::test_files_that_are_refused",
        f"{_TODAY}::test_forms_that_say_nothing",
        f"{_TODAY}::test_a_message_needs_a_parent_that_exists",
        "test_chatui.py::test_answers_like_the_recorded_server",
    ),
    _row("chatui", "9: 410", "", "unknown_model", status=410,
         options={"gone": ["h2oai/h2ogpt-4096-llama2-13b-chat"]}),
    _row("chatui", "9: 302 and 401 of a login", "", "auth", status=302, options={"login": True}),
    *by(
        "wire/h2o.md 9: stop, disconnect and reading again",
        f"{_TODAY}::test_stopping_ends_the_answer_in_order",
        f"{_TODAY}::test_an_answer_goes_on_when_its_reader_leaves_and_can_be_read_again",
        f"{_TODAY}::test_a_quiet_log_has_heartbeats",
    ),
]  # fmt: skip
