"""A minute of the soak: mixed answers with faults and callers who leave; nothing wrong, or left."""

from __future__ import annotations

import pytest

from benchmarks.soak.asking import heard_in, whole
from benchmarks.soak.questions import BREAKS_OFF, Heard, Question, question, wrong
from benchmarks.soak.run import Soak
from benchmarks.soak.verdict import table

ASKED = Question(model="h2o/x", surface="chat", stream=True, text="One two", leaves=None)
BROKEN = Question(model="h2o/x", surface="chat", stream=True, text="One" + BREAKS_OFF, leaves=None)


@pytest.mark.parametrize(
    ("asked", "heard", "told"),
    [
        (ASKED, Heard(text="One two", ended=True), None),
        (ASKED, Heard(text="One", error="broke"), None),
        (ASKED, Heard(text="One", left=True), None),
        (ASKED, Heard(text="One two "), "said what nobody said"),
        (ASKED, Heard(text="One", ended=True), "ended well with another text"),
        (ASKED, Heard(text="Two", error="broke"), "said what nobody said"),
        (ASKED, Heard(text="One two"), "just stopped"),
        (BROKEN, Heard(text=BROKEN.text, ended=True), "although the model broke off"),
        (BROKEN, Heard(text=BROKEN.text, error="broke"), None),
    ],
)
def test_a_wrong_answer_is_seen(asked: Question, heard: Heard, told: str | None) -> None:
    said = wrong(asked, heard)
    assert said is None if told is None else said is not None and told in said


def test_questions_follow_from_their_number() -> None:
    assert question(1, 7, "m") == question(1, 7, "m") != question(1, 8, "m")
    many = [question(1, number, "m") for number in range(1000)]
    assert {each.surface for each in many} == {"chat", "responses", "messages"}
    assert {each.stream for each in many} == {True, False}
    assert 50 < sum(each.leaves is not None for each in many) < 150
    assert 5 < sum(each.breaks_off for each in many) < 50


def test_each_surface_is_read_in_its_words() -> None:
    failed = {"type": "response.failed", "response": {"error": {"message": "no"}}}
    assert heard_in("responses", failed) == ("", False, "no")
    assert heard_in("messages", {"type": "message_stop"}) == ("", True, None)
    assert heard_in("chat", {"error": {"message": "no"}}) == ("", False, "no")
    assert heard_in("chat", {"choices": [{"delta": {"content": "a"}}]}) == ("a", False, None)
    message = {"content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}
    assert whole("messages", message) == ("a", True)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_minute_of_mixed_answers_leaves_nothing() -> None:
    seen = await Soak(seconds=45, streams=40, pace=0.02).run()
    assert seen.complaints() == [], table(seen)
    assert seen.ends["ended well"] > 5 * seen.ends["failed"] > 0
    assert seen.ends["left"] > 0
