"""The lists the server gives: models (wire/allenai.md sections 3.8, 4.6) and own threads."""

from __future__ import annotations

import msgspec

from penstock.providers.allenai.models import ALIASES
from penstock.types import ModelInfo
from penstock.wire.decoder import JSON_ERRORS, bad_payload


class ListedModel(msgspec.Struct):
    """One entry of ``/v3/models`` or ``/v4/models/``; the former lacks the limits."""

    id: str
    host: str = ""
    name: str | None = None
    description: str | None = None
    accepts_files: bool = False
    require_file_to_prompt: str | None = None
    is_visible: bool = True
    can_call_tools: bool = False
    can_think: bool = False
    temperature_lower: float | None = None
    temperature_upper: float | None = None
    top_p_lower: float | None = None
    top_p_upper: float | None = None
    max_tokens_lower: float | None = None
    max_tokens_upper: float | None = None

    def info(self) -> ModelInfo:
        """What callers are told of it."""
        limits = {}
        for name in ("temperature", "top_p", "max_tokens"):
            lower, upper = getattr(self, f"{name}_lower"), getattr(self, f"{name}_upper")
            if lower is not None and upper is not None:
                limits[name] = (lower, upper)
        return ModelInfo(
            id=self.id,
            name=self.name or "",
            description=self.description or "",
            images=self.accepts_files,
            needs_image=self.require_file_to_prompt in ("first_message", "all_messages"),
            reasoning=self.can_think,
            tools=self.can_call_tools,
            limits=limits,
            aliases=tuple(short for short, meant in ALIASES.items() if meant == self.id),
        )


class _Root(msgspec.Struct):
    id: str


class _Threads(msgspec.Struct):
    threads: tuple[_Root, ...] = ()
    messages: tuple[_Root, ...] = ()


_MODELS = msgspec.json.Decoder(tuple[ListedModel, ...])
_THREADS = msgspec.json.Decoder(_Threads)


def models_of(body: bytes) -> tuple[ListedModel, ...]:
    """The models of a list answer, retired ones too.

    Raises:
        ProtocolError: it is no such list.
    """
    try:
        return _MODELS.decode(body)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None


def roots_of(body: bytes) -> tuple[str, ...]:
    """The roots of the threads in a list answer.

    Raises:
        ProtocolError: it is no such list.
    """
    try:
        found = _THREADS.decode(body)
    except JSON_ERRORS as error:
        raise bad_payload(error, body) from None
    return tuple(thread.id for thread in (*found.threads, *found.messages))
