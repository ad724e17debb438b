"""The documented class ``H2o`` (framework.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from penstock.providers.framework import (
    AsyncGeneratorProvider,
    config_of,
    request_of,
)
from penstock.providers.h2o.conversation import H2oConversation
from penstock.providers.h2o.models import ALIASES, DEFAULT_MODEL, MODELS, URL
from penstock.providers.h2o.provider import create
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Messages, Timeouts


class H2o(AsyncGeneratorProvider):
    """gpt-gm.h2o.ai, a chat-ui of 2023. It is gone; one of one's own is named by ``base_url``."""

    provider_name = "h2o"
    label = "H2O"
    url = URL
    login_url = None
    working = False
    needs_auth = False
    use_nodriver = False
    supports_stream = True
    supports_system_message = False
    supports_message_history = True
    model: ClassVar[str] = DEFAULT_MODEL
    default_model = DEFAULT_MODEL
    models: ClassVar[list[str]] = list(MODELS)
    model_aliases: ClassVar[dict[str, str]] = dict(ALIASES)

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        proxy: str | None = None,
        *,
        temperature: float | None = 0.4,
        truncate: int | None = 2048,
        max_new_tokens: int | None = 1024,
        do_sample: bool | None = True,
        repetition_penalty: float | None = 1.2,
        return_full_text: bool | None = False,
        top_k: int | None = None,
        top_p: float | None = None,
        typical_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        watermark: bool | None = None,
        web_search_id: str = "",
        id: str | None = None,
        response_id: str | None = None,
        conversation: Conversation | None = None,
        return_conversation: bool = False,
        cookies: Mapping[str, str] | None = None,
        base_url: str | None = None,
        timeout: float | Timeouts | None = None,
        session: Session | None = None,
        **kwargs: Any,
    ) -> AsyncResult:
        """Ask; the answer is an async iterator of text that can be awaited, too.

        Args:
            model: a full id, or one of the short names ``falcon-40b``, ``falcon-7b``,
                ``llama-13b``; empty for the first.
            truncate: tokens of the prompt to keep, counted from its end.
            stop: texts that end the answer; they stay in it.
            id: UUID of the question, as the server stores it; likewise ``response_id``.
            conversation: a native conversation to continue.
            return_conversation: yields the conversation as the last item, and keeps it.
            cookies: a session of one's own; by default each call has a new one.
            base_url: the server's address, with an optional path prefix.

        Raises:
            TypeError: an unknown parameter. PenstockError: while iterating.
        """
        cls.refuse_unknown(kwargs)
        given: dict[str, Any] = {
            "temperature": temperature,
            "truncate": truncate,
            "max_new_tokens": max_new_tokens,
            "do_sample": do_sample,
            "repetition_penalty": repetition_penalty,
            "return_full_text": return_full_text,
            "top_k": top_k,
            "top_p": top_p,
            "typical_p": typical_p,
            "stop": stop,
            "seed": seed,
            "watermark": watermark,
            "web_search_id": web_search_id,
            "id": id,
            "response_id": response_id,
        }

        def request() -> ChatRequest:
            # By the server's own names, which its dialect checks in one place.
            kept = conversation or (H2oConversation() if return_conversation else None)
            return request_of(model, messages, extra=given, conversation=kept)

        config = config_of(
            cls.provider_name, base_url=base_url, timeout=timeout, proxy=proxy, cookies=cookies
        )
        return cls.start(
            create,
            config,
            request,
            session=session,
            return_conversation=return_conversation,
            model=model or cls.default_model,
        )
