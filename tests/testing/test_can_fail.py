"""The runner can fail: each expectation of a case that agrees, changed, makes it differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from penstock.testing import replay_case
from penstock.testing.replay.case import Case, Expected, ExpectedError
from tests.testing.recorded import cassette

Change = Callable[[Expected], Expected]


def changed(**fields: object) -> Change:
    return lambda expected: msgspec.structs.replace(expected, **fields)


def changed_error(**fields: object) -> Change:
    def change(expected: Expected) -> Expected:
        assert isinstance(expected.error, ExpectedError)
        error = msgspec.structs.replace(expected.error, **fields)
        return msgspec.structs.replace(expected, error=error)

    return change


def appended(expected: Expected) -> Expected:
    return msgspec.structs.replace(expected, text=f"{expected.text}x")


def truncated(expected: Expected) -> Expected:
    assert isinstance(expected.text, str)
    return msgspec.structs.replace(expected, text=expected.text[:-1])


def consistently_truncated(expected: Expected) -> Expected:
    pieces = tuple(piece for piece in expected.pieces or () if piece)[:-1]
    return msgspec.structs.replace(expected, text="".join(pieces), pieces=pieces)


def without_a_piece(expected: Expected) -> Expected:
    pieces = tuple(piece for piece in expected.pieces or () if piece)
    return msgspec.structs.replace(expected, pieces=pieces[1:])


def with_pieces_merged(expected: Expected) -> Expected:
    pieces = tuple(piece for piece in expected.pieces or () if piece)
    return msgspec.structs.replace(expected, pieces=("".join(pieces[:2]), *pieces[2:]))


def with_other_first_piece(expected: Expected) -> Expected:
    first, *rest = (piece for piece in expected.pieces or () if piece)
    return msgspec.structs.replace(expected, text=f"z{expected.text}", pieces=(f"z{first}", *rest))


def with_another_first_turn(expected: Expected) -> Expected:
    first, *rest = expected.turns
    return msgspec.structs.replace(expected, turns=(appended(first), *rest))


def with_another_last_turn(expected: Expected) -> Expected:
    *others, last = expected.turns
    return msgspec.structs.replace(expected, turns=(*others, appended(last)))


def without_error(expected: Expected) -> Expected:
    return msgspec.structs.replace(expected, error=None)


STREAMS = (
    "allenai-2025-first-turn-utf8",
    "allenai-2026-thinking-interleaved",
    "oa-unicode",
    "h2o-replacement-chars",
    "chatui-multilingual",
    "replicate-stream-multiline-data",
    "replicate-cog-stream-basic",
)
OF_STREAMS: tuple[Change, ...] = (
    appended,
    truncated,
    consistently_truncated,
    without_a_piece,
    with_pieces_merged,
    with_other_first_piece,
    changed(finish="length"),
    changed(finish="error"),
    changed(error=ExpectedError(kind="model", status=200)),
)

REFUSALS = (
    "allenai-2026-err-inappropriate",
    "oa-queue-full-503",
    "h2o-rate-limit-429",
    "chatui-upstream-401",
    "replicate-error-402-credit",
)
OF_REFUSALS: tuple[Change, ...] = (
    changed_error(kind="protocol"),
    changed_error(status=418),
    changed(finish="stop"),
    changed(text="x", pieces=("x",)),
    without_error,
)

OTHERS: tuple[tuple[str, Change], ...] = (
    ("allenai-2025-first-turn-ascii", changed(next_parent="msg_A1A1A1A1A1")),
    ("allenai-2025-crash-truncated", changed(next_parent="msg_A1A1A1A1A1")),
    ("allenai-2026-thinking-interleaved", changed(thinking="t1 t2")),
    ("allenai-2026-three-turns-parent", with_another_first_turn),
    ("allenai-2025-models-list", changed(next_parent="msg_A1A1A1A1A1")),
    ("allenai-2025-models-list", changed(finish="stop")),
    ("allenai-2025-models-list", changed(error=ExpectedError(kind="auth", status=401))),
    ("allenai-2026-three-turns-parent", with_another_last_turn),
    ("oa-followup-turn", with_another_last_turn),
    ("h2o-two-turns", with_another_first_turn),
    ("h2o-two-turns", with_another_last_turn),
    ("h2o-two-turns", changed(cleanup_delete=False)),
    ("h2o-modal-405", changed(cleanup_delete=True)),
    ("h2o-line-84k", changed(text_sha256="0" * 64)),
    ("h2o-line-84k", changed(text_chars=84_011)),
    ("h2o-line-84k", changed(piece_chars=(7, 84_000, 5))),
    ("h2o-line-84k", changed(text="x")),
    ("h2o-non-stream-json", consistently_truncated),
    ("chatui-blank-around", changed(final_text="\nCentered text. ")),
    ("chatui-first-turn", changed(stream_mismatch=True)),
    ("replicate-error-401-invalid-token", changed_error(message="something else")),
    ("replicate-error-401-invalid-token", changed_error(retry_after=3.0)),
    ("replicate-client-abort-cancel", changed(finish="stop")),
    ("replicate-stream-resume-last-event-id", changed(finish="cancelled")),
)


def all_changes() -> Iterator[tuple[str, Change]]:
    yield from ((name, change) for name in STREAMS for change in OF_STREAMS)
    yield from ((name, change) for name in REFUSALS for change in OF_REFUSALS)
    yield from OTHERS


@pytest.mark.parametrize(("name", "change"), list(all_changes()))
async def test_a_changed_expectation_fails(name: str, change: Change) -> None:
    case = cassette(name)
    result = await replay_case(msgspec.structs.replace(case, expected=change(case.expected)))
    assert result.verdict == "failed"
    assert result.differences
    assert all(line.startswith(f"{case.case}: ") for line in result.lines())


def with_answer(case: Case, index: int, old: bytes, new: bytes) -> Case:
    """``case`` with other bytes in one answer, which makes a faithful client say other things."""
    exchange = case.exchanges[index]
    chunks = tuple(
        msgspec.structs.replace(chunk, b64=chunk.b64.replace(old, new))
        for chunk in exchange.response.chunks
    )
    response = msgspec.structs.replace(exchange.response, chunks=chunks)
    exchanges = list(case.exchanges)
    exchanges[index] = msgspec.structs.replace(exchange, response=response)
    return msgspec.structs.replace(case, exchanges=tuple(exchanges))


async def test_a_last_event_id_that_is_not_sent_fails() -> None:
    case = with_answer(
        cassette("replicate-stream-resume-last-event-id"), 1, b"id: 1795221016:2", b"id: 1:2"
    )
    result = await replay_case(case)
    assert any("last-event-id should be '1795221016:2'" in line for line in result.differences)


async def test_another_parent_fails() -> None:
    case = cassette("chatui-two-turns")
    parent = b"3f25177a-1374-4313-b24e-6b63263bee64"
    changed_case = with_answer(case, 2, parent, b"00000000-0000-4000-8000-000000000000")
    result = await replay_case(changed_case)
    assert any("parent should be '3f25177a" in line for line in result.differences)
