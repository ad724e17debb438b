"""The documented classes' frame: one call form for async, one for sync, over the same providers.

A documented class says only what is its own: names, defaults, flags, and how its parameters make a
``ChatRequest``. Everything that happens on the network is its provider's; there is no second
implementation. No call writes state of a class.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar

from penstock.errors import PenstockError
from penstock.keeper import Owner
from penstock.prompts import Media, parse_messages
from penstock.provider import EventStream, Provider, ProviderConfig, SessionConfig
from penstock.providers.checks import check_model
from penstock.providers.results import AsyncResult, SyncResult, WholeResult
from penstock.stream import AnswerStream
from penstock.transport import Session, shielded
from penstock.types import (
    ChatRequest,
    Conversation,
    Messages,
    Sampling,
    Timeouts,
)
from penstock.wire.request import base_url_of

ProviderFactory = Callable[[Session, ProviderConfig], Provider]

_UNSHOWN = ("cls", "kwargs")

_CLEANUP = 60.0
"""Seconds that undoing may take on the remote side after a call with a session of its own."""
_HOLD = 5.0
"""Seconds of it that the caller waits ..."""
_HOLD_LEAVING = 0.3
"""... and that a caller waits who is being cancelled; then it goes on without him."""


class _Params:
    """Class attribute ``params``: one readable line of what ``create_async_generator`` takes."""

    def __get__(self, instance: object, owner: type[AsyncGeneratorProvider]) -> str:
        shown = [_shown(parameter) for parameter in owner.get_parameters().values()]
        return f"penstock.providers.{owner.__name__} supports: ({', '.join(shown)})"


def _shown(parameter: inspect.Parameter) -> str:
    text = parameter.name
    if isinstance(parameter.annotation, str):
        text += f": {parameter.annotation}"
    if parameter.default is not inspect.Parameter.empty:
        default = parameter.default
        text += f" = {dict(default) if isinstance(default, MappingProxyType) else default!r}"
    return text


class AsyncGeneratorProvider:
    """Base of the documented classes.

    Attributes:
        provider_name: the provider behind the class, as in model names.
    """

    provider_name: ClassVar[str]
    label: ClassVar[str]
    url: ClassVar[str]
    login_url: ClassVar[str | None] = None
    working: ClassVar[bool] = False
    needs_auth: ClassVar[bool] = False
    use_nodriver: ClassVar[bool] = False
    supports_stream: ClassVar[bool] = True
    supports_system_message: ClassVar[bool] = False
    supports_message_history: ClassVar[bool] = False
    default_model: ClassVar[str] = ""
    models: ClassVar[list[str]] = []
    model_aliases: ClassVar[dict[str, str]] = {}
    params: ClassVar[_Params] = _Params()

    create_async_generator: ClassVar[Callable[..., AsyncResult]]

    @classmethod
    def create_completion(
        cls, model: str, messages: Messages, stream: bool = True, **kwargs: Any
    ) -> SyncResult:
        """The pieces of the answer as a plain iterator, from any thread, also inside a loop.

        Raises:
            TypeError: an unknown parameter. PenstockError: while iterating.
        """
        result = cls.create_async_generator(model, messages, **kwargs)  # opens nothing yet
        return SyncResult(result) if stream else WholeResult(result)

    @classmethod
    async def create_async(cls, model: str, messages: Messages, **kwargs: Any) -> str:
        """The whole text of the answer.

        Raises:
            TypeError: an unknown parameter. PenstockError: the answer failed.
        """
        kwargs.pop("stream", None)
        return await cls.create_async_generator(model, messages, **kwargs).whole()

    @classmethod
    def get_parameters(cls) -> dict[str, inspect.Parameter]:
        """Ordered name -> parameter of everything ``create_async_generator`` accepts."""
        signature = inspect.signature(cls.create_async_generator)
        return {
            name: parameter
            for name, parameter in signature.parameters.items()
            if name not in _UNSHOWN
        }

    @classmethod
    def get_dict(cls) -> dict[str, Any]:
        """Name, addresses and flags; JSON can hold it."""
        return {
            "name": cls.__name__,
            "url": cls.url,
            "label": cls.label,
            "login_url": cls.login_url,
            "working": cls.working,
            "needs_auth": cls.needs_auth,
            "use_nodriver": cls.use_nodriver,
            "supports_stream": cls.supports_stream,
            "supports_system_message": cls.supports_system_message,
            "supports_message_history": cls.supports_message_history,
            "default_model": cls.default_model,
            "models": list(cls.models),
            "model_aliases": dict(cls.model_aliases),
        }

    @classmethod
    def refuse_unknown(cls, kwargs: Mapping[str, object]) -> None:
        """Raise ``TypeError`` for parameters that do not exist, naming the nearest known one."""
        for name in kwargs:
            close = get_close_matches(name, cls.get_parameters(), n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{cls.__name__} has no parameter {name!r}{hint}")

    @classmethod
    def start(
        cls,
        factory: ProviderFactory,
        config: ProviderConfig,
        request: Callable[[], ChatRequest],
        *,
        session: Session | None,
        return_conversation: bool = False,
        model: str,
    ) -> AsyncResult:
        """The answer to ``request`` as the documented object; nothing is sent before iteration.

        Args:
            factory: makes the provider.
            request: makes the request; its errors are raised by the first item.
            session: the caller's own, or None for one that ends with the call.
        """
        used: AbstractAsyncContextManager[Session]
        owner: Owner
        if session is None:
            used = owner = _OwnSession(config.proxy)
        else:
            used, owner = nullcontext(session), session

        def opener() -> EventStream:
            return _opened(factory, config, request, used)

        stream = AnswerStream(opener, provider=config.name, model=model, owner=owner)
        return AsyncResult(stream, return_conversation=return_conversation)


class _OwnSession:
    """A session that is made when its one call begins, and ends with it."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy
        self._session: Session | None = None

    def clean(self, error: PenstockError) -> None:
        """As ``Session.clean``; before the call has begun there is nothing to take out."""
        if self._session is not None:
            self._session.clean(error)

    async def __aenter__(self) -> Session:
        self._session = Session(SessionConfig(proxy=self._proxy))
        return self._session

    async def __aexit__(self, *_: object) -> None:
        session, task = self._session, asyncio.current_task()
        if session is not None:
            leaving = task is not None and task.cancelling()
            wait = _HOLD_LEAVING if leaving else _HOLD
            await shielded(lambda: session.aclose(_CLEANUP), wait=wait)


@asynccontextmanager
async def _opened(
    factory: ProviderFactory,
    config: ProviderConfig,
    request: Callable[[], ChatRequest],
    session: AbstractAsyncContextManager[Session],
) -> AsyncIterator[AsyncIterator[Sequence[Any]]]:
    async with session as used, factory(used, config).stream(request()) as batches:
        yield batches


class ProviderModelMixin:
    """Model names of a documented class: defaults, aliases, and whether others pass."""

    provider_name: ClassVar[str]
    default_model: ClassVar[str] = ""
    models: ClassVar[list[str]] = []
    model_aliases: ClassVar[dict[str, str]] = {}
    open_models: ClassVar[bool] = False

    @classmethod
    def get_models(cls) -> list[str]:
        """The known ids, a list of the caller's own."""
        return list(cls.models)

    @classmethod
    def get_model(cls, model: str | None, *, open_list: bool | None = None) -> str:
        """The id for ``model``: empty gives the default, an alias its target.

        Args:
            open_list: unknown names pass; by default as the class says.

        Raises:
            ModelNotFoundError: unknown, and the list is closed.
        """
        if not model:
            return cls.default_model
        name = cls.model_aliases.get(model, model)
        if cls.open_models if open_list is None else open_list:
            return name
        check_model(name, (*cls.models, *cls.model_aliases), cls.provider_name)
        return name


def config_of(
    name: str,
    *,
    base_url: str | None,
    timeout: float | Timeouts | None,
    proxy: str | None,
    dialect: str | None = None,
    api_key: str | None = None,
    cookies: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ProviderConfig:
    """The parameters that all documented classes share, as a provider's configuration.

    Raises:
        BadRequestError: one of them is not what it should be; nothing was sent.
    """
    return ProviderConfig(
        name=name,
        base_url=None if base_url is None else base_url_of(base_url),
        api_key=api_key,
        cookies=dict(cookies or {}),
        headers=dict(headers or {}),
        proxy=proxy,
        dialect=dialect,
        timeouts=Timeouts.of(timeout),
        options=dict(options or {}),
    )


def request_of(
    model: str,
    messages: Messages,
    *,
    media: Media = (),
    sampling: Mapping[str, Any] | None = None,
    conversation: Conversation | None = None,
    extra: Mapping[str, Any] | None = None,
    stream: bool = True,
) -> ChatRequest:
    """A documented call's parameters as a request; None among ``sampling`` means: not given.

    Raises:
        BadRequestError: the messages are not messages.
    """
    given = {name: value for name, value in (sampling or {}).items() if value is not None}
    if "stop" in given:
        stop = given["stop"]
        given["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return ChatRequest(
        model=model,
        messages=parse_messages(messages, media),
        sampling=Sampling(**given),
        conversation=conversation,
        extra={name: value for name, value in (extra or {}).items() if value is not None},
        stream=stream,
    )
