"""The class ``Replicate`` in its documented form; the provider does the work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import msgspec

from penstock.errors import MissingAuthError
from penstock.prompts import Media
from penstock.providers.framework import (
    AsyncGeneratorProvider,
    ProviderModelMixin,
    config_of,
    request_of,
)
from penstock.providers.replicate.models import DEFAULT_MODEL
from penstock.providers.replicate.provider import create
from penstock.providers.results import AsyncResult
from penstock.transport import Session
from penstock.types import ChatRequest, Message, Messages, Timeouts

_NO_DATA: Mapping[str, Any] = MappingProxyType({})
_ACCEPT: Mapping[str, str] = MappingProxyType({"accept": "application/json"})


class Replicate(AsyncGeneratorProvider, ProviderModelMixin):
    """Models hosted by Replicate, or a Cog server of one's own (``dialect="cog"``).

    A subclass that sets ``needs_auth`` to False may be called without a key; such calls go to the
    keyless base, and no key goes there.
    """

    provider_name = "replicate"
    label = "Replicate"
    url = "https://replicate.com"
    login_url = "https://replicate.com/account/api-tokens"
    working = True
    needs_auth = True
    supports_system_message = True
    supports_message_history = True
    default_model = DEFAULT_MODEL
    models: ClassVar[list[str]] = [DEFAULT_MODEL]
    open_models: ClassVar[bool] = True

    @classmethod
    def create_async_generator(
        cls,
        model: str,
        messages: Messages,
        api_key: str | None = None,
        proxy: str | None = None,
        timeout: float | Timeouts | None = 180,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        stop: str | Sequence[str] | None = None,
        extra_data: Mapping[str, Any] = _NO_DATA,
        headers: Mapping[str, str] = _ACCEPT,
        *,
        base_url: str | None = None,
        session: Session | None = None,
        dialect: str | None = None,
        media: Media = (),
        **kwargs: Any,
    ) -> AsyncResult:
        """The answer as pieces of text; see ``penstock.providers.results``.

        Args:
            timeout: seconds of waiting for the first piece, or between two; a stream that is
                alive is never cut.
            system_prompt: goes before the system messages, to the place the model has for them.
            stop: the answer ends before the first of these strings.
            extra_data: raw inputs by the model's own names; they win.
            headers: sent to the API, never to the host of a stream.
            base_url: another server with the same API, or a Cog server.
            dialect: ``cog`` for a Cog server.

        Raises:
            TypeError: an unknown parameter. PenstockError: while iterating.
        """
        cls.refuse_unknown(kwargs)
        config = config_of(
            cls.provider_name,
            base_url=base_url,
            timeout=timeout,
            proxy=proxy,
            dialect=dialect,
            api_key=api_key,
            headers=headers,
            options=None if dialect == "cog" else {"needs_auth": cls.needs_auth},
        )
        sampling = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "stop": stop,
        }
        name = cls.get_model(model)

        def request() -> ChatRequest:
            if cls.needs_auth and not api_key and dialect != "cog":
                # The class reads no environment, so no variable is named (framework.md section 5).
                raise MissingAuthError(
                    f"api_key is missing; give the call api_key=, a token of {cls.login_url}",
                    provider=cls.provider_name,
                    param="api_key",
                )
            made = request_of(name, messages, media=media, sampling=sampling, extra=extra_data)
            if system_prompt is None:
                return made
            system = Message(role="system", content=system_prompt)
            return msgspec.structs.replace(made, messages=(system, *made.messages))

        return cls.start(create, config, request, session=session, model=name)
