"""The class ``OpenAICompatible``: any OpenAI-compatible server in the documented classes' form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from penstock.prompts import Media
from penstock.providers.framework import (
    AsyncGeneratorProvider,
    ProviderModelMixin,
    config_of,
    request_of,
)
from penstock.providers.openai_compatible.provider import create
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import Messages, Timeouts


class OpenAICompatible(AsyncGeneratorProvider, ProviderModelMixin):
    """Any OpenAI-compatible server, by its ``base_url``."""

    provider_name = "openai_compatible"
    label = "OpenAI-compatible"
    url = "http://127.0.0.1:8000/v1"
    working = True
    supports_system_message = True
    supports_message_history = True
    open_models: ClassVar[bool] = True

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        proxy: str | None = None,
        api_key: str | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        *,
        base_url: str | None = None,
        timeout: float | Timeouts | None = None,
        session: Session | None = None,
        media: Media = (),
        extra_data: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> AsyncResult:
        """The answer as pieces of text; see ``penstock.providers.results``.

        Args:
            base_url: the server's address, as in ``http://host:8000/v1``.
            extra_data: raw members of the request's body.

        Raises:
            TypeError: an unknown parameter. PenstockError: while iterating.
        """
        cls.refuse_unknown(kwargs)
        config = config_of(
            cls.provider_name,
            base_url=base_url or cls.url,
            timeout=timeout,
            proxy=proxy,
            api_key=api_key,
        )
        sampling = {
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            "stop": stop,
            "seed": seed,
        }
        return cls.start(
            create,
            config,
            lambda: request_of(model, messages, media=media, sampling=sampling, extra=extra_data),
            session=session,
            model=model,
        )
