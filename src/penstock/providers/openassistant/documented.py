"""The documented class ``OpenAssistant`` (framework.md section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from penstock.prompts import filter_none, get_cookies
from penstock.provider import Provider, ProviderConfig
from penstock.providers.framework import (
    AsyncGeneratorProvider,
    ProviderModelMixin,
    config_of,
    request_of,
)
from penstock.providers.openassistant.models import DEFAULT_MODEL, MODELS
from penstock.providers.openassistant.provider import OpenAssistantProvider
from penstock.providers.openassistant.slots import process_slot
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import ChatRequest, Conversation, Messages, Timeouts


class OpenAssistant(AsyncGeneratorProvider, ProviderModelMixin):
    """Open-Assistant: a self-hosted site or inference server, named by ``base_url``.

    The public site is closed. One account has one place in the server's queue, so calls with the
    same cookies wait for each other until a worker has taken their question.
    """

    provider_name = "openassistant"
    label = "Open-Assistant"
    url = "https://open-assistant.io/chat"
    login_url = None
    working = False
    needs_auth = True
    use_nodriver = False
    supports_stream = True
    supports_system_message = True
    supports_message_history = True
    model: ClassVar[str] = DEFAULT_MODEL
    default_model = DEFAULT_MODEL
    models: ClassVar[list[str]] = list(MODELS)
    model_aliases: ClassVar[dict[str, str]] = {}

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        proxy: str | None = None,
        cookies: Mapping[str, str] | None = None,
        *,
        top_k: int | None = 50,
        top_p: float | None = None,
        typical_p: float | None = None,
        temperature: float | None = 0.35,
        repetition_penalty: float | None = 1.1111111111111112,
        max_new_tokens: int | None = 1024,
        max_tokens: int | None = None,
        system_prompt: str | None = None,
        user_profile: str | None = None,
        user_response_instructions: str | None = None,
        plugins: Sequence[Mapping[str, Any]] | None = None,
        conversation: Conversation | None = None,
        return_conversation: bool = False,
        api_key: str | None = None,
        trusted_client: Mapping[str, str] | str | None = None,
        base_url: str | None = None,
        dialect: str | None = None,
        timeout: float | Timeouts | None = None,
        session: Session | None = None,
        **kwargs: Any,
    ) -> AsyncResult:
        """Ask; the answer is an async iterator of text that can be awaited, too.

        Args:
            cookies: name -> value; by default the site's in the cookie file or a browser.
            conversation: continues its chat with only the new user text.
            return_conversation: yields the ``Conversation`` after the text, and keeps the chat.
            trusted_client: the five fields of a trusted client of the inference server.

        Raises:
            TypeError: an unknown parameter. PenstockError: from the first item on; what the server
                told is also a ``RuntimeError``, and with a status a ``ClientResponseError``.
        """
        cls.refuse_unknown(kwargs)
        config = config_of(
            cls.provider_name,
            base_url=base_url,
            timeout=timeout,
            proxy=proxy,
            dialect=dialect,
            api_key=api_key,
            cookies=cookies,
            options=None if trusted_client is None else {"trusted_client": trusted_client},
        )

        sampling = filter_none(
            top_k=top_k,
            top_p=top_p,
            typical_p=typical_p,
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            max_tokens=max_new_tokens if max_tokens is None else max_tokens,
        )
        extra = filter_none(
            system_prompt=system_prompt,
            user_profile=user_profile,
            user_response_instructions=user_response_instructions,
            plugins=None if plugins is None else list(plugins),
        )

        def request() -> ChatRequest:
            chosen = cls.get_model(model, open_list=base_url is not None)
            kept = conversation or (Conversation(model=chosen) if return_conversation else None)
            return request_of(chosen, messages, sampling=sampling, conversation=kept, extra=extra)

        return cls.start(
            _in_process if session is None else _in_session,
            config,
            request,
            session=session,
            return_conversation=return_conversation,
            model=model or cls.default_model,
        )


def _in_session(session: Session, config: ProviderConfig) -> Provider:
    return OpenAssistantProvider(session, config, find_cookies=get_cookies)


def _in_process(session: Session, config: ProviderConfig) -> Provider:
    return OpenAssistantProvider(session, config, find_cookies=get_cookies, find_slot=process_slot)
