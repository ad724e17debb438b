"""The cheapest question that proves a provider: the list of models, unless there is a better one.

Cog has no list and is asked for its health. Replicate's list goes on for hundreds of pages, so a
token is proved by the question whose it is (wire/replicate.md section 3), and one page follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.errors import OverloadedError, PenstockError, ProtocolError
from penstock.provider import ProviderConfig
from penstock.providers.checks import missing_key
from penstock.providers.common import Call
from penstock.types import Value
from penstock.wire.request import HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.client import Client
    from penstock.types import ModelInfo


class Proof(Value, frozen=True):
    """What a server said.

    Attributes:
        models: ids, as ``provider/model``.
        more: there are further ones, for which it was not asked.
    """

    models: tuple[str, ...]
    more: bool = False


async def prove(client: Client, name: str, config: ProviderConfig | None) -> Proof:
    """Ask one provider.

    Raises:
        PenstockError: it does not work.
    """
    provider = client.provider(name)
    if config is not None and "cog" in (name, config.dialect):
        await _ask_health(client, config)
    elif name == "replicate" and (config is None or config.options.get("needs_auth", True)):
        return await _ask_replicate(client, config or ProviderConfig(name=name))
    elif config is not None and config.models:  # those of the configuration are no proof
        provider = client.registry.make(client.session, config.with_(models=()))
    try:
        with client.session.discreet():
            listed = await provider.models()
    except Exception as error:
        failure = client.registry.blame(name, error)
        if failure is error:
            raise
        raise failure from error
    return Proof(_ids(name, listed))


def _ids(name: str, listed: Iterable[ModelInfo]) -> tuple[str, ...]:
    return tuple(f"{name}/{info.id}" for info in listed)


class _Health(msgspec.Struct):
    status: str


async def _ask_health(client: Client, config: ProviderConfig) -> None:
    """Ask a Cog server whether it is ready (wire/replicate.md, its part on Cog)."""
    url = f"{(config.base_url or '').rstrip('/')}/health-check"
    _, body = await Call(client.session, config).ask(HttpRequest(method="GET", url=url))
    try:
        status = msgspec.json.decode(body, type=_Health).status
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProtocolError(f"the answer of {url} is not a Cog server's") from None
    if status not in ("READY", "BUSY"):
        raise OverloadedError(f"the server is {status[:40]!r}, not ready")


async def _ask_replicate(client: Client, config: ProviderConfig) -> Proof:
    if not config.api_key:
        raise missing_key(config, client.registry.entries[config.name].key_env)
    from penstock.providers.replicate.dialect.errors import hosted_error
    from penstock.providers.replicate.dialect.hosted import DEFAULT_BASE, Api, api_base
    from penstock.providers.replicate.dialect.listed import decode_models

    def refused(status: int, headers: dict[str, str], body: bytes) -> PenstockError:
        secrets = (config.api_key or "",)
        return hosted_error(status, headers, body, provider=config.name, model="", secrets=secrets)

    api = Api(base=api_base(config.base_url or DEFAULT_BASE), key=config.api_key)
    call = Call(client.session, config)
    page = api.models()
    account = msgspec.structs.replace(page, url=f"{api.base}/account")
    with client.session.discreet():
        await call.fetch(account, refused)
        _, body = await call.fetch(page, refused)
        found, following = decode_models(body)
    return Proof(_ids(config.name, found), more=following is not None)
