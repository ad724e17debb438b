"""The three protocols of the Playground, pure: requests as values, bytes to events.

``message-stream`` is the v4 of 2025, ``threads`` the v4 of 2026, ``v5-chat`` what the site's own
pages use since March 2026; the last is experimental (wire/allenai.md section 1).
"""

from __future__ import annotations

from penstock.providers.allenai.dialect.message_stream import MessageStreamDecoder
from penstock.providers.allenai.dialect.threads import ThreadsDecoder
from penstock.providers.allenai.dialect.v5_chat import V5ChatDecoder

TurnDecoder = MessageStreamDecoder | ThreadsDecoder


def decoder_of(dialect: str, root: str | None = None, tools: tuple[str, ...] = ()) -> TurnDecoder:
    """The decoder for one answer.

    Args:
        root: the root of the thread that is continued.
        tools: names of the tools asked for.
    """
    match dialect:
        case "message-stream":
            return MessageStreamDecoder()
        case "threads":
            return ThreadsDecoder(root, tools)
        case _:
            return V5ChatDecoder(root, tools)
