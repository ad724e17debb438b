"""What is kept of a chat, what the model is told of it, and which turns a server holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import sync
from penstock.cli.thread import Thread
from penstock.cli.transcript import End, Transcript, Turn, messages_of, saved, shown
from penstock.types import Conversation

WHOLE = Turn("a", "m", "A")
STOPPED = Turn("b", "m", "B", "stopped")
FAILED = Turn("c", "m", "C", "failed", "no")
NOTHING = Turn("d", "m", "", "stopped")


def test_the_model_is_told_what_came_whole_or_was_stopped() -> None:
    assert messages_of([WHOLE, STOPPED, FAILED, NOTHING], "S", "e") == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "A"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "e"},
    ]


@pytest.mark.parametrize(
    ("there", "again", "stays"),
    [
        ("whole", "stopped", True),
        ("whole", "failed", True),
        ("whole", "whole", False),
        ("stopped", "failed", False),
        ("failed", "stopped", False),
        ("stopped", "whole", False),
    ],
)
def test_only_a_whole_answer_takes_the_place_of_a_whole_one(
    there: End, again: End, stays: bool
) -> None:
    transcript = Transcript()
    first, second = Turn("a", "m", "1", there), Turn("a", "m", "2", again)
    transcript.add(first)
    assert transcript.replace(second) is not stays
    assert transcript.turns == ((first,) if stays else (second,))


def test_all_that_was_asked_is_saved_with_its_end() -> None:
    written = saved([WHOLE, FAILED], None, "m")["messages"]
    assert written[1] == {"role": "assistant", "content": "A", "model": "m"}
    assert written[3] == {
        "role": "assistant",
        "content": "C",
        "model": "m",
        "end": "failed",
        "error": "no",
    }


def test_an_end_is_shown() -> None:
    assert shown(WHOLE) == "> a\nA\n"
    assert shown(STOPPED) == "> b\nB [stopped here]\n"
    assert shown(FAILED) == "> c\nC [failed: no]\n"


@pytest.fixture
def thread(workplace: Path) -> Iterator[Thread]:
    with sync.Client() as client:
        yield Thread(client)


MODEL = "allenai/tulu3-405b"


def went_well(thread: Thread, turns: list[Turn], answer: Turn) -> Conversation:
    """Play a turn after ``turns``, as a provider moves the conversation on."""
    conversation = thread.begin(MODEL, None, turns)
    assert conversation is not None
    conversation.id = conversation.id or "root"
    conversation.parent = f"after {answer.question}"
    conversation.messages += [{"role": "user"}, {"role": "assistant"}]
    thread.end(answer)
    return conversation


def test_a_conversation_goes_on_while_the_server_holds_the_chat(thread: Thread) -> None:
    first = went_well(thread, [], WHOLE)
    second = Turn("b", "m", "B")
    assert went_well(thread, [WHOLE], second) is first
    assert thread.begin(MODEL, None, [WHOLE, second]) is first
    assert thread.left == ["allenai: conversation root"]


def test_asking_again_goes_on_from_the_turn_before(thread: Thread) -> None:
    first = went_well(thread, [], WHOLE)
    went_well(thread, [WHOLE], Turn("b", "m", "B"))
    assert thread.begin(MODEL, None, [WHOLE]) is first
    assert (first.parent, len(first.messages)) == ("after a", 2)


def test_a_new_conversation_begins_where_the_first_turn_is_taken_back(thread: Thread) -> None:
    first = went_well(thread, [], WHOLE)
    again = thread.begin(MODEL, None, [])
    assert again is not None
    assert again is not first
    assert again.id is None


def test_a_failed_turn_leaves_the_conversation(thread: Thread) -> None:
    first = went_well(thread, [], WHOLE)
    assert thread.begin(MODEL, None, [WHOLE]) is first  # and the turn fails
    assert thread.begin(MODEL, None, [WHOLE, FAILED]) is first


@pytest.mark.parametrize(
    ("model", "system", "turns"),
    [
        ("allenai/OLMo-2-1124-13B-Instruct", None, [WHOLE]),
        (MODEL, "Be brief.", [WHOLE]),
        (MODEL, None, [WHOLE, STOPPED]),
    ],
)
def test_a_new_conversation_begins_where_the_server_holds_another_chat(
    thread: Thread, model: str, system: str | None, turns: list[Turn]
) -> None:
    first = went_well(thread, [], WHOLE)
    other = thread.begin(model, system, turns)
    assert other is not None
    assert other is not first


def test_where_there_are_no_conversations_there_is_none(thread: Thread) -> None:
    assert thread.begin("ollama/x", None, []) is None
    thread.end(WHOLE)
    assert thread.begin("ollama/x", None, [WHOLE]) is None
    assert thread.left == []


def test_a_server_may_have_none_after_all(thread: Thread) -> None:
    assert thread.begin(MODEL, None, []) is not None
    thread.refuse(MODEL)
    assert thread.begin(MODEL, None, []) is None
    assert thread.begin("allenai/other", None, []) is None
