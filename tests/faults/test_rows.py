"""Which test proves which row of faults.md; no row is without one.

A row names tests of this folder or of another, as ``file::function`` or ``file::function[case]``,
where the file stands below ``tests/``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

GATEWAY = "gateway/test_faults.py"
FRAMING = "faults/test_framing.py::test_row"
BYTES = "faults/test_bytes.py"
ENCODINGS = "faults/test_encodings.py"
REDIRECTS = "faults/test_redirects.py"
PAYLOADS = "faults/test_payloads.py"
WAITS = "faults/test_waits.py"
CONNECTIONS = "faults/test_connections.py"
REFUSALS = "faults/test_refusals.py"
SESSION = "transport/test_session.py"
RESUMED = "providers/replicate/test_streams.py"
CLEANUP = "faults/test_cleanup.py"
ANY_CUT = f"{BYTES}::test_rows_1_2_72_any_cut_any_line_end_any_label"
ANY_STATUS = f"{REFUSALS}::test_rows_53_to_55_at_each_request_of_every_back_end"
ANY_STEP = "test_leaving.py::test_a_cancellation_at_any_step_leaves_nothing"

ROWS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("characters cut anywhere stay whole", (ANY_CUT,)),
    2: ("every line end, cut or not", (ANY_CUT, f"{BYTES}::test_row_2_line_ends")),
    3: (
        "a byte-order mark in front is dropped",
        (
            f"{BYTES}::test_row_3_one_mark_at_the_start_is_dropped",
            f"{BYTES}::test_row_3_for_every_back_end",
        ),
    ),
    4: (
        "an unfinished last event counts as end mark only",
        (f"{BYTES}::test_row_4_an_event_without_its_blank_line",),
    ),
    5: ("long lines up to the bound", (f"{BYTES}::test_row_5_a_long_line_passes",)),
    6: (
        "longer ones are refused, the text kept",
        (
            f"{BYTES}::test_row_6_a_longer_one_is_refused_the_text_before_it_kept",
            f"{BYTES}::test_row_6_for_every_back_end",
        ),
    ),
    7: ("a line without end", (f"{BYTES}::test_row_7_a_line_without_end_is_left",)),
    8: (
        "long lines in small reads take linear time",
        (
            f"{BYTES}::test_row_8_a_long_line_in_small_pieces",
            "properties/test_bounds.py::test_time_is_linear",
        ),
    ),
    9: (
        "compressed and flushed for each event",
        (f"{ENCODINGS}::test_row_9_a_flush_for_each_event_hands_each_out_at_once",),
    ),
    10: (
        "compressed and never flushed",
        (f"{ENCODINGS}::test_row_10_no_flush_before_the_end_is_whole_at_the_end",),
    ),
    11: ("encodings we do not know", (f"{ENCODINGS}::test_row_11_an_encoding_we_do_not_know",)),
    12: ("compressed and cut", (f"{ENCODINGS}::test_row_12_cut_short_is_not_whole",)),
    13: ("compressed and corrupt", (f"{ENCODINGS}::test_row_13_corrupt",)),
    14: ("several compressed members", (f"{ENCODINGS}::test_row_14_several_members",)),
    15: ("a decompression bomb", (f"{ENCODINGS}::test_row_15_a_bomb_is_left_early",)),
    16: (
        "cut between chunks",
        (
            f"{FRAMING}[16-cut-between-chunks]",
            f"{FRAMING}[16-cut-before-any-chunk]",
            f"{FRAMING}_16_what_came_before_the_cut_reaches_a_slow_consumer",
            f"{CONNECTIONS}::test_a_tls_answer_that_is_cut_without_goodbye_is_no_end",
        ),
    ),
    17: (
        "cut inside a chunk or an event",
        (
            f"{FRAMING}[17-cut-inside-a-chunk]",
            f"{FRAMING}[17-reset-inside-a-chunk]",
            f"{FRAMING}[17-cut-inside-an-event-at-an-orderly-end]",
        ),
    ),
    18: ("shorter than its length", (f"{FRAMING}[18-length-too-big]",)),
    19: (
        "longer than its length",
        (f"{FRAMING}_19_an_answer_that_goes_on_after_its_length",),
    ),
    20: (
        "a second answer that nobody asked for",
        (
            f"{FRAMING}_20_an_answer_nobody_asked_for_reaches_nobody",
            f"{FRAMING}_20_nor_one_that_comes_while_the_connection_is_idle",
            f"{SESSION}::test_a_second_answer_on_a_connection_never_reaches_the_next_caller",
        ),
    ),
    21: (
        "no length at all",
        (
            f"{FRAMING}[21-until-close-cut]",
            f"{FRAMING}[21-until-close-whole]",
            f"{FRAMING}[21-http-1.0-cut]",
        ),
    ),
    22: ("length and chunks at once", (f"{FRAMING}[22-length-and-chunks]",)),
    23: (
        "headers that are none",
        (
            f"{FRAMING}[23-two-lengths]",
            f"{FRAMING}[23-nul-in-a-header]",
            f"{FRAMING}[23-header-without-a-colon]",
        ),
    ),
    24: (
        "a chunk size that is none",
        (
            f"{FRAMING}[24-bad-chunk-size-in-the-same-read]",
            f"{FRAMING}[24-bad-chunk-size-in-a-later-read]",
        ),
    ),
    25: ("a chunk size that overflows", (f"{FRAMING}[25-chunk-size-overflow]",)),
    26: (
        "chunk extensions",
        (f"{FRAMING}[26-short-chunk-extension]", f"{FRAMING}[26-long-chunk-extension]"),
    ),
    27: (
        "trailers",
        (
            f"{FRAMING}[27-trailer]",
            f"{FRAMING}[27-many-trailers]",
            f"{FRAMING}[27-many-trailers-after-the-end-mark]",
        ),
    ),
    28: (
        "interim answers",
        (
            f"{FRAMING}[28-interim]",
            f"{FRAMING}[28-many-interim]",
            f"{FRAMING}_28_interim_answers_for_ever_are_inside_the_limit",
        ),
    ),
    29: (
        "redirects of a question",
        (
            f"{REDIRECTS}::test_row_29_a_question_is_never_sent_again_as_a_get",
            f"{REDIRECTS}::test_row_29_it_is_sent_again_whole_within_the_host",
        ),
    ),
    30: ("redirects elsewhere", (f"{REDIRECTS}::test_row_30_another_origin_is_not_asked",)),
    31: (
        "circles, and what is no place",
        (
            f"{REDIRECTS}::test_row_31_a_circle_has_an_end",
            f"{REDIRECTS}::test_row_31_what_is_no_place_on_the_web",
        ),
    ),
    32: ("a web page", (f"{PAYLOADS}::test_row_32_a_web_page_instead_of_an_answer",)),
    33: (
        "an error with a success status",
        (
            f"{PAYLOADS}::test_row_33_an_error_where_the_stream_should_be",
            f"{PAYLOADS}::test_row_33_an_error_in_the_middle",
            f"{PAYLOADS}::test_row_33_the_words_decide_the_kind",
        ),
    ),
    34: ("headers byte by byte", (f"{WAITS}::test_row[34-headers-byte-by-byte]",)),
    35: (
        "headers without measure",
        (f"{FRAMING}[35-long-header]", f"{FRAMING}[35-many-headers]"),
    ),
    36: (
        "silence",
        (f"{WAITS}::test_row[36-silence]", f"{WAITS}::test_row[36-silence-after-headers]"),
    ),
    37: (
        "silence in the middle",
        (
            f"{WAITS}::test_row[37-stall]",
            f"{WAITS}::test_row[37-stall-in-a-chunk]",
            f"{WAITS}::test_rows_37_38_for_every_back_end",
        ),
    ),
    38: (
        "signs of life without content",
        (
            f"{WAITS}::test_row[38-comments]",
            f"{WAITS}::test_row[38-comments-later]",
            f"{WAITS}::test_rows_37_38_for_every_back_end",
        ),
    ),
    39: (
        "a limit for all of it",
        (
            f"{WAITS}::test_row_39_a_total_limit_ends_a_lively_stream",
            f"{WAITS}::test_row_39_the_cleanup_has_limits_of_its_own",
        ),
    ),
    40: (
        "reset before the headers",
        (f"{FRAMING}[40-reset-before-headers]", f"{FRAMING}[40-reset-inside-headers]"),
    ),
    41: (
        "closed before the headers",
        (f"{FRAMING}[41-close-before-headers]", f"{FRAMING}[41-close-inside-headers]"),
    ),
    42: ("reset inside an event", (f"{FRAMING}[42-reset-inside-an-event]",)),
    43: (
        "broken after the end mark",
        (
            f"{FRAMING}[43-reset-after-the-end-mark]",
            f"{FRAMING}[43-close-after-the-finish-reason]",
        ),
    ),
    44: (
        "a kept connection that is gone, and a question",
        (
            f"{CONNECTIONS}::test_row_44_a_kept_connection_that_the_server_has_closed_is_not_used",
            f"{CONNECTIONS}::test_row_44_one_that_is_well_is_used_again",
            f"{CONNECTIONS}::test_row_44_nor_one_whose_end_has_only_reached_the_system",
            f"{CONNECTIONS}::test_row_44_one_that_breaks_on_the_question_is_told_and_not_asked_twice",
        ),
    ),
    45: (
        "the same, and a deletion",
        (f"{CONNECTIONS}::test_row_45_a_deletion_whose_answer_is_lost_is_asked_again",),
    ),
    46: ("unknown names", (f"{CONNECTIONS}::test_row_46_a_name_that_nobody_knows",)),
    47: (
        "nobody there",
        (
            f"{CONNECTIONS}::test_row_47_a_port_that_is_closed",
            f"{CONNECTIONS}::test_row_47_an_address_that_leads_nowhere",
            f"{CONNECTIONS}::test_row_47_a_server_that_does_not_accept",
        ),
    ),
    48: (
        "HTTP proxies that fail",
        (
            f"{CONNECTIONS}::test_rows_48_50_a_proxy_that_refuses_the_connection",
            f"{CONNECTIONS}::test_row_48_an_http_proxy_that_fails_on_connect",
        ),
    ),
    49: (
        "HTTP proxies that answer themselves",
        (f"{CONNECTIONS}::test_row_49_a_proxy_that_answers_to_plain_http_itself",),
    ),
    50: (
        "SOCKS proxies that fail",
        (
            f"{CONNECTIONS}::test_rows_48_50_a_proxy_that_refuses_the_connection",
            f"{CONNECTIONS}::test_row_50_a_socks_proxy_that_fails",
        ),
    ),
    51: (
        "certificates that do not hold",
        (f"{CONNECTIONS}::test_row_51_a_certificate_that_does_not_hold",),
    ),
    52: (
        "TLS that does not come about",
        (
            f"{CONNECTIONS}::test_row_52_a_server_that_never_shakes_hands",
            f"{CONNECTIONS}::test_row_52_a_plain_server_where_tls_is_expected",
        ),
    ),
    53: ("too many requests", (f"{REFUSALS}::test_rows_53_54_the_wait_asked_for", ANY_STATUS)),
    54: (
        "servers that are down",
        (
            f"{REFUSALS}::test_rows_53_54_the_wait_asked_for",
            f"{REFUSALS}::test_rows_54_55_a_status",
            ANY_STATUS,
        ),
    ),
    55: (
        "credentials that are refused",
        (
            f"{REFUSALS}::test_rows_54_55_a_status",
            f"{REFUSALS}::test_row_55_no_key_is_shown_although_the_server_repeats_it",
            ANY_STATUS,
        ),
    ),
    56: (
        "cancelled anywhere",
        (ANY_STEP, "test_leaving.py::test_a_first_call_leaves_nothing_either"),
    ),
    57: (
        "cancelled again",
        (ANY_STEP, f"{CLEANUP}::test_row_57_cancelled_again_at_every_turn_of_the_loop"),
    ),
    58: (
        "scopes of another library",
        (
            f"{CLEANUP}::test_row_58_a_scope_of_anyio_around_us",
            f"{CLEANUP}::test_row_58_a_scope_around_the_cleanup",
        ),
    ),
    59: (
        "limits around, siblings that fail",
        ("test_leaving.py::test_a_limit_around_and_a_sibling_that_fails_leave_nothing",),
    ),
    60: (
        "broken off, no reference kept",
        ("test_leaving.py::test_a_dropped_answer_is_left_by_the_collector",),
    ),
    61: (
        "broken off, a reference kept",
        ("test_loop_end.py::test_an_answer_that_is_kept_over_the_end_of_the_loop",),
    ),
    62: (
        "no scope around a piece in the caller's hands",
        (
            f"{WAITS}::test_row_62_a_slow_caller_breaks_no_limit",
            f"{WAITS}::test_row_62_a_limit_of_the_callers_own_stays_his",
        ),
    ),
    63: (
        "closed by another task",
        ("test_leaving.py::test_closing_while_another_task_reads_ends_that_reading",),
    ),
    64: ("two readers", (f"{WAITS}::test_row_64_two_readers_at_once",)),
    65: (
        "the end of the loop",
        ("test_loop_end.py::test_a_program_that_closes_nothing_ends_at_once_and_says_nothing",),
    ),
    66: (
        "a caller who does not read",
        (f"{WAITS}::test_row_66_a_caller_who_does_not_read_stops_the_server",),
    ),
    67: (
        "a caller of the gateway who reads slowly, or not at all",
        (
            f"{GATEWAY}::test_row_67_a_slow_reader_gets_every_byte",
            f"{GATEWAY}::test_row_67_a_caller_who_never_reads_stops_the_upstream",
        ),
    ),
    68: (
        "a caller of the gateway who leaves",
        (
            f"{GATEWAY}::test_row_68_a_caller_who_leaves",
            f"{GATEWAY}::test_row_68_every_choice_is_left",
            f"{GATEWAY}::test_row_68_a_caller_who_leaves_at_any_place_of_an_answer",
        ),
    ),
    69: (
        "cleanups that fail",
        (
            f"{CLEANUP}::test_row_69_a_deletion_that_fails_replaces_no_outcome",
            f"{CLEANUP}::test_row_69_a_stop_that_fails_lets_the_caller_go",
        ),
    ),
    70: (
        "a conversation opened in vain",
        (
            f"{CLEANUP}::test_row_70_a_conversation_whose_question_fails_is_deleted",
            f"{CLEANUP}::test_row_70_one_of_the_callers_own_stays_usable",
        ),
    ),
    71: (
        "JSON that is none",
        (
            f"{PAYLOADS}::test_row_71_json_that_is_none_is_one_kind_of_error",
            f"{PAYLOADS}::test_row_71_a_number_beyond_64_bits",
            f"{PAYLOADS}::test_row_71_members_named_twice",
            f"{PAYLOADS}::test_row_71_for_every_back_end",
            f"{PAYLOADS}::test_row_71_in_the_middle_of_a_stream",
        ),
    ),
    72: (
        "wrong labels of character sets",
        (ANY_CUT, f"{BYTES}::test_row_72_the_label_of_an_event_stream_means_nothing"),
    ),
    73: (
        "nothing said",
        (
            f"{PAYLOADS}::test_row_73_an_empty_answer_says_how_it_ended",
            f"{PAYLOADS}::test_row_73_nothing_at_all_is_no_empty_answer",
        ),
    ),
    74: (
        "nothing twice after a new connection",
        (
            f"{PAYLOADS}::test_row_74_a_stream_that_is_taken_up_again_repeats_nothing",
            f"{RESUMED}::test_events_that_came_before_are_skipped_after_a_reconnect",
        ),
    ),
}


def test_every_row_has_its_test() -> None:
    assert list(ROWS) == list(range(1, 75))
    assert [number for number, (what, tests) in ROWS.items() if not (what and tests)] == []


@pytest.mark.parametrize("number", ROWS)
def test_a_named_test_exists(number: int) -> None:
    for name in ROWS[number][1]:
        file, _, function = name.partition("::")
        function, bracket, case = function.partition("[")
        module = importlib.import_module(f"tests.{file.removesuffix('.py').replace('/', '.')}")
        found = getattr(module, function, None)
        assert callable(found), name
        if bracket:
            assert case.removesuffix("]") in set(cases(found)), name


def cases(function: Any) -> Iterator[str]:
    """The names of the cases of a test with one parametrization."""
    for mark in getattr(function, "pytestmark", ()):
        if mark.name == "parametrize":
            for value in mark.args[1]:
                yield value if isinstance(value, str) else str(getattr(value, "id", None))


def test_every_case_of_the_table_of_framing_is_named_by_a_row() -> None:
    from tests.faults.test_framing import CASES

    named = {name for _, tests in ROWS.values() for name in tests}
    assert [case for case in CASES if f"{FRAMING}[{case}]" not in named] == []
