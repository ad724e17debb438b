"""One answer on the screen: streamed or whole, and how it ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from penstock.cli.render import Screen
from penstock.cli.signals import Ended
from penstock.cli.transcript import End
from penstock.errors import PenstockError, StreamCancelledError
from penstock.types import Value

if TYPE_CHECKING:
    from penstock.client import CallParameters
    from penstock.sync import Client
    from penstock.types import Messages


class Answered(Value, frozen=True):
    """What became of a question.

    Attributes:
        text: the answer, as far as it came.
        error: why it failed.
        is_last: it was stopped because the program is told to end.
    """

    text: str
    end: End = "whole"
    error: PenstockError | None = None
    is_last: bool = False


def answer(
    client: Client,
    screen: Screen,
    model: str,
    messages: Messages,
    parameters: CallParameters,
    *,
    stream: bool = True,
) -> Answered:
    """Show one answer, piece by piece unless ``stream`` is False.

    An answer that the user stops, or whose reader has left, is left before this returns or raises:
    the remote side has been told to stop.
    """
    show = _streamed if stream else _at_once
    return show(client, screen, model, messages, parameters)


def _streamed(
    client: Client, screen: Screen, model: str, messages: Messages, parameters: CallParameters
) -> Answered:
    came = ""
    try:
        with client.stream(model, messages, **parameters) as stream:
            try:
                for event in stream:
                    screen.event(event)
            finally:
                came = stream.partial
    except KeyboardInterrupt as interrupt:
        return _stopped(screen, came, interrupt)
    except PenstockError as error:
        screen.failed(error)
        return Answered(came or error.partial, "failed", error)
    screen.end()
    return Answered(came)


def _at_once(
    client: Client, screen: Screen, model: str, messages: Messages, parameters: CallParameters
) -> Answered:
    try:
        reply = client.complete(model, messages, **parameters)
    except KeyboardInterrupt as interrupt:
        return _stopped(screen, "", interrupt)
    except PenstockError as error:
        screen.failed(error)
        return Answered(error.partial, "failed", error)
    screen.reply(reply)
    return Answered(reply.text)


def _stopped(screen: Screen, came: str, interrupt: KeyboardInterrupt) -> Answered:
    with suppress(BrokenPipeError):  # Ctrl-C reaches the reader of a pipe, too
        screen.failed(StreamCancelledError("stopped before its end", partial=came))
    return Answered(came, "stopped", is_last=isinstance(interrupt, Ended))
