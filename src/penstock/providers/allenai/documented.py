"""The documented class ``AllenAI`` and its ``Conversation`` (framework.md section 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from penstock.prompts import Media
from penstock.providers.allenai.conversation import Conversation
from penstock.providers.allenai.exchange import dialect_key
from penstock.providers.allenai.models import (
    ALIASES,
    BASE_URL,
    DEFAULT_HOST,
    DEFAULT_MODEL,
    MODELS,
)
from penstock.providers.allenai.provider import create
from penstock.providers.framework import (
    AsyncGeneratorProvider,
    ProviderModelMixin,
    config_of,
    request_of,
)
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import ChatRequest, Messages, Timeouts

__all__ = ["AllenAI", "Conversation"]


class AllenAI(AsyncGeneratorProvider, ProviderModelMixin):
    """Ai2 Playground.

    The documented endpoint is gone from today's server; the same call then speaks the newer
    protocol, found out once for each ``base_url`` and remembered in ``session``.
    """

    provider_name = "allenai"
    label = "Ai2 Playground"
    url = "https://playground.allenai.org"
    login_url = None
    api_endpoint: ClassVar[str] = f"{BASE_URL}/v4/message/stream"
    working = True
    needs_auth = False
    use_nodriver = False
    supports_stream = True
    supports_system_message = False
    supports_message_history = True
    default_model = DEFAULT_MODEL
    models: ClassVar[list[str]] = list(MODELS)
    model_aliases: ClassVar[dict[str, str]] = dict(ALIASES)

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        proxy: str | None = None,
        host: str = "inferd",
        private: bool = True,
        top_p: float | None = None,
        temperature: float | None = None,
        conversation: Conversation | None = None,
        return_conversation: bool = False,
        *,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        media: Media = (),
        api_key: str | None = None,
        extra: Mapping[str, Any] | None = None,
        base_url: str | None = None,
        dialect: str | None = None,
        timeout: float | Timeouts | None = None,
        session: Session | None = None,
        **kwargs: Any,
    ) -> AsyncResult:
        """Ask; the answer is an async iterator of text that can be awaited, too.

        Args:
            host: where the model is; at its default, the host it is known to be on.
            conversation: continues its thread with only the new user text.
            return_conversation: yields the ``Conversation`` after the text, and keeps the thread.
            media: images for the last user message, as ``(bytes, file name)``.
            api_key: bearer token of a signed-in user.
            extra: further fields by the server's own names.
            dialect: ``message-stream``, ``threads`` or ``v5-chat``; None finds out.

        Raises:
            TypeError: an unknown parameter. PenstockError: from the first item on.
        """
        cls.refuse_unknown(kwargs)
        options: dict[str, Any] = {"private": private}
        if host != DEFAULT_HOST:
            options["host"] = host
        config = config_of(
            cls.provider_name,
            base_url=base_url,
            timeout=timeout,
            proxy=proxy,
            dialect=dialect,
            api_key=api_key,
            options=options,
        )
        spoken = dialect or (session and session.memory.get(dialect_key(BASE_URL)))
        open_list = base_url is not None or spoken != "message-stream"  # whose list this is

        def request() -> ChatRequest:
            chosen = cls.get_model(model, open_list=open_list)
            kept = conversation
            if kept is None and return_conversation:
                kept = Conversation(model=chosen)
            return request_of(
                chosen,
                messages,
                media=media,
                sampling={
                    "temperature": temperature,
                    "top_p": top_p,
                    "max_tokens": max_tokens,
                    "stop": stop,
                },
                conversation=kept,
                extra=extra,
            )

        return cls.start(
            create,
            config,
            request,
            session=session,
            return_conversation=return_conversation,
            model=model or cls.default_model,
        )
