"""What an answer costs its key: a guess before it, what was counted after it."""

from __future__ import annotations

from penstock.gateway.exchange import Exchange
from penstock.gateway.surfaces.surface import Asked
from penstock.routing.limits import CHARACTERS_PER_TOKEN, tokens_of
from penstock.types import Usage


def take(exchange: Exchange, asked: Asked, now: float) -> float:
    """Take the answer from the limits of its key, and tell the caller what is left of them.

    Returns:
        The tokens that it may cost, for ``settle``.

    Raises:
        Refused: it is over a limit.
    """
    if exchange.caller is None:
        return 0.0
    tokens = tokens_of(asked.request) * asked.copies
    exchange.caller.take(now, tokens)
    exchange.further = (*exchange.further, *exchange.caller.headers(now))
    return tokens


def settle(exchange: Exchange, asked: Asked, taken: float) -> None:
    """The answer has ended, well or not: give its place back, and correct its tokens."""
    if exchange.caller is not None:
        exchange.caller.leave(used(exchange, asked) - taken)


def used(exchange: Exchange, asked: Asked) -> float:
    """The tokens of an answer that has ended; guessed where nobody counted them."""
    usage = exchange.usage or Usage()
    question: float | None = usage.prompt_tokens
    if question is None:
        question = sum(len(message.text) for message in asked.request.messages)
        question /= CHARACTERS_PER_TOKEN
    answer = usage.completion_tokens
    if answer is None:
        answered = exchange.characters / CHARACTERS_PER_TOKEN + exchange.pieces
        return question * asked.copies + answered
    return (question + answer) * asked.copies
