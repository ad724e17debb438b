"""The three protocols of the Playground, pure: requests as values, bytes to events.

``message-stream`` is the v4 of 2025, ``threads`` the v4 of 2026, ``v5-chat`` what the site's own
pages use since March 2026; the last is experimental (wire/allenai.md section 1).
"""

from __future__ import annotations

from penstock.errors import PenstockError, error_of
from penstock.providers.allenai.dialect.forms import check_grid
from penstock.providers.allenai.dialect.message_stream import MessageStreamDecoder
from penstock.providers.allenai.dialect.threads import ThreadsDecoder
from penstock.providers.allenai.dialect.v5_chat import V5ChatDecoder
from penstock.providers.allenai.models import BASE_URL, CAPABILITIES, IMAGE_MODEL, MODELS
from penstock.providers.checks import check_model, check_request
from penstock.types import ChatRequest, Notice

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


def candidates(forced: str | None, known: str | None, base: str) -> tuple[str, ...]:
    """The dialects to try, in order; a JSON 404 leads from one to the next, for it ran nothing.

    The vendor's server has spoken ``threads`` since November 2025. A server of somebody's own may
    be older, and one of summer 2025 has both paths, its ``/v4/threads`` still without an end
    mark; so there the old path is asked first (wire/allenai.md section 1).
    """
    if forced is not None:
        return (forced,)
    first = known or ("threads" if base == BASE_URL else "message-stream")
    return (first, "message-stream" if first == "threads" else "threads")


def check_for(
    dialect: str, request: ChatRequest, base: str, offered: tuple[str, ...], provider: str
) -> None:
    """Refuse what this dialect cannot honour, before anything is sent.

    The list of models is closed only where it was read from: the vendor's own ``message-stream``.

    Raises:
        BadRequestError: names the parameter. ModelNotFoundError: lists close matches.
    """
    check_request(request, CAPABILITIES[dialect], provider)
    if dialect == "message-stream":
        check_grid(request.sampling)
        if base == BASE_URL:
            check_model(request.model, offered or (*MODELS, IMAGE_MODEL), provider)


def nowhere(provider: str, model: str, base: str) -> PenstockError:
    """The error for a server that has neither of the chat paths of v4."""
    return error_of(
        "not_found",
        f"{base} has neither /v4/threads/ nor /v4/message/stream; check base_url, "
        'or try dialect="v5-chat"',
        provider=provider,
        model=model,
        status=404,
    )


def notices(dialect: str, request: ChatRequest) -> tuple[Notice, ...]:
    """What the server does otherwise than asked, without saying so (section 4.1)."""
    if dialect == "message-stream" or request.sampling.temperature != 0:
        return ()
    why = "this server takes 0 for the model's default; 0.01 is taken as it is"
    return (Notice.dropped("temperature", why),)
