"""Rows of wire/allenai.md."""

from __future__ import annotations

from penstock.sandbox.script import End
from penstock.sandbox.texts import HUGE
from tests.sandbox.fault_rows import Ending, Options, Row, by

_OLD: Options = {"dialect": "message-stream"}
_RULES, _REQUESTS = "test_allenai_rules.py", "test_allenai_requests.py"
_HALF = "one two"


def _old(
    what: str, fault: str = "", kind: str | None = None, *, sent: str = "", ends: Ending = "end",
    partial: str = _HALF, status: int = 200, options: Options | None = None, never: str = "",
) -> Row:  # fmt: skip
    return Row(
        where=f"wire/allenai.md 3.4: {what}", server="allenai", fault=fault, kind=kind, sent=sent,
        ends=ends, partial=partial, status=status, options={**_OLD, **(options or {})},
        never=never,
    )  # fmt: skip


def _new(
    what: str, fault: str = "", kind: str | None = None, *, sent: str = "", ends: Ending = "cut",
    partial: str = _HALF, status: int = 200, options: Options | None = None, never: str = "",
) -> Row:  # fmt: skip
    return Row(
        where=f"wire/allenai.md 4.4: {what}", server="allenai", chat="threads", fault=fault,
        kind=kind, sent=sent, ends=ends, partial=partial, status=status, options=options or {},
        never=never,
    )  # fmt: skip


ALLENAI = [
    _old("normal, InferD host", sent='"finish_reason": "stop"'),
    *by(
        "wire/allenai.md 3.4: normal, Modal host",
        f"{_RULES}::test_the_older_version_names_the_finish_reason_of_its_grpc_host_only",
    ),
    Row(
        where="wire/allenai.md 3.4: token limit",
        server="allenai",
        options=_OLD,
        said=("cut", End("length")),
        sent='"reason": "length"',
        text="cut",
    ),
    _old(
        "context overflow",
        "model-fails=0; fails-as=length",
        "context_length",
        sent='"reason": "length"',
        partial="",
    ),
    _old(
        "unclosed stream",
        "model-fails=2; fails-as=unclosed-stream",
        "model",
        sent='"reason": "unclosed stream".*\n.*"final": true',
    ),
    _old(
        "aborted",
        "model-fails=2; fails-as=aborted",
        "model",
        sent='"reason": "aborted".*\n.*"finish_reason": "aborted"',
    ),
    _old(
        "no first token within 5 s",
        "model-delay=30",
        "overloaded",
        partial="",
        options={"first_token": 0.1},
        sent='"reason": "model overloaded".*\n.*"final": true',
    ),
    _old(
        "no first token within 5 s, at once",
        "model-fails=0; fails-as=overloaded",
        "overloaded",
        partial="",
        sent='"reason": "model overloaded"',
    ),
    _old(
        "gRPC failure before tokens",
        "model-fails=0",
        "model",
        partial="",
        sent='"reason": "grpc inference failed".*\n.*"final": true',
    ),
    _old(
        "gRPC failure after tokens",
        "model-fails=2; fails-as=grpc",
        "model",
        sent='"reason": "grpc inference failed".*\n.*"content": "one two", .*"final": true',
    ),
    _old("finish value unknown to the server", "model-finish=eos", sent='"finish_reason": "eos"'),
    _old(
        "storing the result failed",
        "model-fails=2; fails-as=finalization",
        "model",
        ends="cut",
        sent='"reason": "finalization failure"',
        never='"final": true',
    ),
    _old(
        "any other exception",
        "model-fails=2; fails-as=crash",
        "truncated",
        ends="cut",
        never='"final": true|"error"',
    ),
    _old(
        "text with U+0000",
        "model-nul",
        "truncated",
        ends="cut",
        never='"final": true|"error"',
        partial="one two three four\0",
    ),
    *by(
        "wire/allenai.md 3.4: Modal failure, empty back-end stream",
        f"{_RULES}::test_an_empty_answer_of_the_modal_host_breaks_the_stream",
    ),
    _old(
        "proxy read timeout",
        "model-stalls=2",
        "truncated",
        ends="cut",
        never='"final": true',
        options={"first_token": 0.05, "read_timeout": 0.05},
    ),
    Row(
        where="wire/allenai.md 3.4: broken in the middle of a line",
        server="allenai",
        options=_OLD,
        fault="break-bytes=1100",
        path="/stream",
        ends="cut",
        kind="truncated",
    ),
    *by(
        "wire/allenai.md 3.4: after a broken stream or a client abort",
        f"{_RULES}::test_a_broken_turn_leaves_no_text_but_its_reply_can_be_continued",
        f"{_RULES}::test_a_reader_that_leaves_ends_the_answer",
    ),
    *by(
        "wire/allenai.md 3.5: checks of files",
        f"{_REQUESTS}::test_file_rules_of_the_older_version_look_at_the_bytes",
        f"{_REQUESTS}::test_files_belong_to_the_first_message",
        f"{_REQUESTS}::test_moderation_judges_texts_and_files",
    ),
    *by(
        "wire/allenai.md 3.7: refusals before the stream",
        f"{_REQUESTS}::test_options_of_the_older_version_have_fixed_limits",
        f"{_REQUESTS}::test_visibility_must_stay_that_of_the_thread",
        f"{_REQUESTS}::test_bad_json_is_refused",
        f"{_REQUESTS}::test_a_broken_form_is_refused",
        f"{_REQUESTS}::test_a_large_form_field_is_refused_and_a_large_json_value_is_not",
        f"{_REQUESTS}::test_a_body_over_the_proxy_limit_is_answered_by_the_proxy",
        f"{_REQUESTS}::test_unknown_paths_and_methods_have_standard_words",
        f"{_REQUESTS}::test_text_with_a_null_character_is_a_server_error",
        f"{_REQUESTS}::test_body_is_judged_before_credentials_only_in_the_older_version",
        f"{_RULES}::test_original_and_template_must_exist",
        f"{_RULES}::test_only_the_owner_deletes_and_only_whole_threads",
    ),
    *by(
        "wire/allenai.md 2: identities that are refused",
        f"{_REQUESTS}::test_a_bad_authorization_spoils_a_good_anonymous_id",
        f"{_REQUESTS}::test_anonymous_threads_are_private_and_expire",
    ),
    _old("banned address (section 1)", "status-html=403", "forbidden", status=403, partial=""),
    _old("application down (section 3.7)", "status-html=502", "server", status=502, partial=""),
    _old("application down (3.7), 504", "status-html=504", "server", status=504, partial=""),
    _new("normal", sent='"type": "end"', ends="end"),
    _new(
        "tool unknown or not enabled",
        "model-fails=2; fails-as=tool-unknown",
        "model",
        ends="end",
        sent='"errorCode": "toolCallError".*\n.*"content": "", .*\n.*"type": "end"',
    ),
    _new(
        "tool arguments not JSON",
        "model-fails=2; fails-as=tool-arguments",
        "model",
        sent='"reason": "Unknown error"',
        never='"type": "end"',
    ),
    _new(
        "back end error event, reset, early end",
        "model-fails=2",
        "model",
        sent='"error": "Unknown Error .*"reason": "Unknown error"',
        never='"type": "end"',
    ),
    _new(
        "back end HTTP error",
        "model-fails=2; model-status=503",
        "model",
        sent='status_code: 503.*"reason": "Model http error"',
    ),
    _new(
        "context overflow",
        "model-fails=0; fails-as=length",
        "context_length",
        partial="",
        sent='"reason": "length"',
    ),
    _new(
        "max tokens refused",
        "model-fails=0; fails-as=value",
        "model",
        partial="",
        sent='"reason": "value error"',
    ),
    _new(
        "model on a host no longer served",
        "",
        "model",
        partial="",
        options={"dead_hosts": ["ai2_model_hub"]},
        sent='Unsupported model host.*"reason": "Unknown error"',
    ),
    _new(
        "text that cannot be stored",
        "model-nul",
        "truncated",
        never='"error":|"end"',
        partial="one two three four\0",
    ),
    _new("any other exception", "model-fails=2; fails-as=crash", "truncated", never='"error":'),
    _new(
        "proxy read timeout",
        "model-stalls=2",
        "truncated",
        options={"read_timeout": 0.1},
        never='"error":|"end"',
    ),
    _new(
        "ten rounds of tools (section 4.2)",
        "model-fails=2; fails-as=tool-limit",
        "model",
        ends="end",
        sent='"reason": "tool error".*\n.*"type": "end"',
    ),
    *by(
        "wire/allenai.md 4.4: token limit and content filter are invisible, first token late",
        "test_allenai.py::test_answers_like_the_recorded_server",
        f"{_RULES}::test_a_pause_after_the_first_piece_is_no_overload",
    ),
    *by(
        "wire/allenai.md 4.4: an emoji cut in two",
        f"{_RULES}::test_half_characters_arrive_as_they_are",
    ),
    *by(
        "wire/allenai.md 4.3: a second follow-up on one parent",
        f"{_RULES}::test_a_second_follow_up_detaches_the_first_in_the_newer_version",
    ),
    *by(
        "wire/allenai.md 4.5: refusals before the stream",
        f"{_REQUESTS}::test_options_of_the_newer_version_are_refused_in_plain_words",
        f"{_REQUESTS}::test_moderation_judges_texts_and_files",
        f"{_REQUESTS}::test_the_newer_version_believes_the_declared_type",
        f"{_REQUESTS}::test_captcha_tokens_are_judged_where_that_is_switched_on",
        f"{_REQUESTS}::test_a_missing_slash_is_answered_by_a_redirect_to_this_very_server",
        f"{_RULES}::test_other_roles_break_the_newer_version",
        f"{_RULES}::test_original_and_template_must_exist",
    ),
    *by(
        "wire/allenai.md 5: errors of v5",
        "test_allenai_v5.py::test_failures_of_v5_are_typed_and_the_stream_still_ends",
        "test_allenai_v5.py::test_refusals_of_v5_are_problems",
        "test_allenai_v5.py::test_threads_of_v5_are_never_private_so_a_follow_up_may_not_say_so",
    ),
    *(
        Row(
            where=f"wire/allenai.md 5: {code} of v5",
            server="allenai",
            chat="v5",
            fault=f"model-fails=1; fails-as={name}",
            options={"v5": True},
            sent=f'"errorCode":"{code}".*\n.*finalThread.*\n.*"type":"end"',
        )
        for code, name in (("otherError", "crash"), ("toolCallError", "tool-arguments"))
    ),
    *by(
        "wire/allenai.md 8: first-token timeout",
        f"{_RULES}::test_a_model_that_says_nothing_in_time_is_overloaded_in_the_older_version",
    ),
    Row(
        where="wire/allenai.md 8: mid-line cut",
        server="allenai",
        chat="threads",
        fault="break-bytes=60",
        path="/v4/threads/",
        ends="cut",
        kind="truncated",
    ),
    Row(
        where="wire/allenai.md 8: 4 KiB splitting",
        server="allenai",
        chat="threads",
        fault="bytes-of=4096",
        said=(HUGE[:9000],),
        sent='"type": "end"',
        text=HUGE[:9000],
    ),
    *by(
        "wire/allenai.md 8: HTML errors",
        f"{_REQUESTS}::test_errors_are_pages_for_clients_that_prefer_them",
    ),
]
