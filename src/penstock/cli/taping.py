"""``penstock chat --record``: what is said becomes cases for ``penstock replay``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.errors import ConfigError
from penstock.portal import portal
from penstock.provider import ProviderConfig

if TYPE_CHECKING:
    from penstock.config import Settings
    from penstock.registry import Registry
    from penstock.testing.record import Recorder

_ADDRESSES = {
    "allenai": ("penstock.providers.allenai.models", "BASE_URL"),
    "replicate": ("penstock.providers.replicate.dialect.hosted", "DEFAULT_BASE"),
}
"""Provider -> where its public address stands."""

Say = Callable[[str], None]


@contextmanager
def taped(
    settings: Settings, registry: Registry, provider: str, folder: Path, say: Say
) -> Iterator[dict[str, ProviderConfig]]:
    """The configuration by which a client talks to ``provider`` through a recorder.

    At the end it is told what was written.

    Raises:
        ConfigError: the provider cannot be recorded as it is configured.
        BadRequestError: its address is none.
    """
    from penstock.testing.record import Recorder

    config = _config(settings, registry, provider)
    recorder = Recorder(
        _address(config, registry),
        folder,
        provider=provider if provider in registry.entries else "openai_compatible",
        also=config.trusted_hosts,
        ca_bundle=settings.session.ca_bundle,
    )
    portal.acquire()
    try:
        portal.call(lambda: _begin(recorder))
        try:
            yield {provider: config.with_(base_url=recorder.url)}
        finally:
            portal.call(lambda: _end(recorder))
            _report(recorder, say)
    finally:
        portal.release()


def _config(settings: Settings, registry: Registry, provider: str) -> ProviderConfig:
    """The configuration with all that belongs to the server's own address."""
    config = settings.providers.get(provider) or ProviderConfig(name=provider)
    if config.proxy or settings.session.proxy:
        raise ConfigError("--record does not go through a proxy", provider=provider)
    entry, file = registry.entries.get(provider), settings.cookies_file
    if entry is not None and entry.site_session and file and not (config.cookies or config.api_key):
        from penstock.cookies import cookies_for

        host = urlsplit(config.base_url or "").hostname or ""
        config = config.with_(cookies=cookies_for(host, file))
    return config


def _address(config: ProviderConfig, registry: Registry) -> str:
    if config.base_url is not None:
        return config.base_url
    if config.name in _ADDRESSES:
        module, name = _ADDRESSES[config.name]
        return str(getattr(import_module(module), name))
    from penstock.providers.openai_compatible.vendors import VENDORS

    vendor = VENDORS.get(config.name)
    if vendor is not None and vendor.base_url is not None:
        return vendor.base_url
    raise ConfigError(
        f"--record needs the server's address: base_url in [providers.{config.name}]",
        provider=config.name,
        param="base_url",
    )


async def _begin(recorder: Recorder) -> None:
    await recorder.__aenter__()


async def _end(recorder: Recorder) -> None:
    await recorder.__aexit__(None, None, None)


def _report(recorder: Recorder, say: Say) -> None:
    for sentence in recorder.unanswered:
        say(f"not recorded: {sentence}")
    for case in recorder.cases:
        say(f"recorded: {case.path}")
        if case.result.verdict == "failed":
            say(f"it does not replay; `penstock replay {case.path}` says why")
    if not recorder.cases:
        say("nothing was recorded")
