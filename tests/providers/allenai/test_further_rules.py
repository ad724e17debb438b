"""Rules without a number, at the end of wire/allenai.md section 7."""

from __future__ import annotations

import pytest

from penstock.providers.allenai.dialect import decoder_of
from penstock.types import Finished, Text
from tests.providers.allenai.calls import MODEL, NEW, OLD, provider, question, serving, whole
from tests.providers.allenai.lines import (
    ROOT,
    chunk,
    line,
    message,
    old_object,
    opening,
    outcome,
    said,
    thread,
    typed,
)
from tests.sockets import Peer

OLD_ANSWER = old_object() + chunk("a") + old_object("a", final=True, finish="stop")
NEW_ANSWER = opening() + said("a") + typed("end")


@pytest.mark.parametrize("dialect", [OLD, NEW, "v5-chat"])
def test_a_line_is_read_when_its_end_has_come(dialect: str) -> None:
    """Further rule "whole lines": a part that could be read for itself waits all the same."""
    piece = chunk("a") if dialect == OLD else said("a")
    decoder = decoder_of(dialect, None, ())
    decoder.feed(old_object() if dialect == OLD else opening())
    assert decoder.feed(piece[:-1]) == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == [Text("a")]


@pytest.mark.parametrize("key", [None, "jwt"])
async def test_authorization_is_sent_only_with_a_token_of_the_callers(key: str | None) -> None:
    """Further rule "no Authorization": an invalid one fails where an anonymous call would pass."""

    async def reply(peer: Peer) -> None:
        head = await peer.request()
        await peer.answer(b"null" if head.startswith("DELETE") else NEW_ANSWER)

    async with (
        serving(reply) as server,
        provider(server.url, dialect=NEW, **({} if key is None else {"api_key": key})) as made,
    ):
        assert (await whole(made, question(model=MODEL[NEW]))).text == "a"
        heads = [head.lower() for head in server.heads]
    assert heads
    for head in heads:
        assert ("authorization: bearer jwt\r\n" in head) is (key is not None)
        assert ("authorization" in head) is (key is not None)
        assert ("x-anonymous-user-id" in head) is (key is None)


def test_a_line_is_what_its_keys_say_wherever_it_stands() -> None:
    """Further rule "keys, not position"."""
    listed = thread(message(ROOT, "user"), message(content="ab"))
    late = outcome(NEW, typed("start") + said("a") + listed + said("b") + listed + typed("end"))
    assert (late.text, late.failure) == ("ab", None)
    first = outcome(NEW, said("a") + typed("end"))
    assert (first.text, first.failure) == ("a", None)
    turned = line({"logprobs": [], "content": "a", "message": "msg_B2B2B2B2B2"})
    old = outcome(OLD, old_object() + turned + old_object("a", final=True, finish="length"))
    assert (old.text, old.failure) == ("a", None)
    assert isinstance(old.finished, Finished)
    assert old.finished.finish_reason == "length"
    twice = outcome(OLD, old_object() + OLD_ANSWER)
    assert (twice.text, twice.failure) == ("a", None)
