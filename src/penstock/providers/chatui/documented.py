"""The class ``ChatUI``: today's chat-ui in the documented classes' form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from penstock.prompts import Media
from penstock.providers.chatui.conversation import ChatUIConversation
from penstock.providers.chatui.provider import create
from penstock.providers.framework import (
    AsyncGeneratorProvider,
    ProviderModelMixin,
    config_of,
    request_of,
)
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Messages, Timeouts


class ChatUI(AsyncGeneratorProvider, ProviderModelMixin):
    """A chat-ui of one's own, named by ``base_url``. How it samples is its own configuration."""

    provider_name = "chatui"
    label = "chat-ui"
    url = "https://github.com/huggingface/chat-ui"
    login_url = None
    working = True
    needs_auth = False
    use_nodriver = False
    supports_stream = True
    supports_system_message = True
    supports_message_history = True
    open_models: ClassVar[bool] = True

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        proxy: str | None = None,
        *,
        conversation: Conversation | None = None,
        return_conversation: bool = False,
        media: Media = (),
        cookies: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        base_url: str | None = None,
        timeout: float | Timeouts | None = None,
        session: Session | None = None,
        **kwargs: Any,
    ) -> AsyncResult:
        """Ask; the answer is an async iterator of text that can be awaited, too.

        Args:
            model: an id of the server's list; empty for its first.
            conversation: a native conversation to continue.
            return_conversation: yields the conversation as the last item, and keeps it.
            media: images for the last user message, as (bytes, file name).
            cookies: the session of a login; by default each call has a new anonymous one.
            headers: sent with every request to the server.
            base_url: the server's address, with an optional path prefix. Needed.

        Raises:
            TypeError: an unknown parameter; sampling parameters are none of this server's.
            PenstockError: while iterating.
        """
        cls.refuse_unknown(kwargs)

        def request() -> ChatRequest:
            kept = conversation or (ChatUIConversation() if return_conversation else None)
            return request_of(model, messages, media=media, conversation=kept)

        config = config_of(
            cls.provider_name,
            base_url=base_url,
            timeout=timeout,
            proxy=proxy,
            cookies=cookies,
            headers=headers,
        )
        return cls.start(
            create,
            config,
            request,
            session=session,
            return_conversation=return_conversation,
            model=model,
        )
