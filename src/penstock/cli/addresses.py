"""``--upstream NAME=URL`` and ``--base-url PROVIDER=URL``: addresses of servers, as settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import click

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_CHAT = "chat-completions"


def addresses(
    upstreams: Sequence[str], base_urls: Sequence[str], config_path: str | None
) -> dict[str, str]:
    """Dotted key of a setting -> URL.

    A slip in a name would otherwise make another provider than was meant, which answers nothing, or
    ask a server in a protocol that it does not speak.

    Args:
        upstreams: OpenAI-compatible servers under names of the user's own.
        base_urls: places of servers whose provider there is.
        config_path: the configuration file, for the names that it adds.

    Raises:
        UsageError: a pair is none, or its name is not what its option takes.
        ConfigError: the configuration is wrong.
    """
    from penstock.registry import Registry

    entries = Registry().entries
    made: dict[str, str] = {}
    for name, url in _pairs("--upstream", upstreams):
        if not _NAME.fullmatch(name):
            raise click.UsageError(
                f"--upstream: the name {name[:40]!r} may hold only letters, digits, - and _"
            )
        entry = entries.get(name)
        if entry is not None and _CHAT not in entry.dialects:
            raise click.UsageError(
                f"--upstream adds an OpenAI-compatible server, and {name} is a provider of another "
                f"kind; take another name, or say where its server is: --base-url {name}={url}"
            )
        made[f"providers.{name}.base_url"] = url
    for name, url in _pairs("--base-url", base_urls):
        if name not in entries and name not in _configured(config_path):
            close = get_close_matches(name, entries, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(
                f"--base-url: there is no provider {name[:40]!r}.{hint} "
                "--upstream NAME=URL adds an OpenAI-compatible server"
            )
        made[f"providers.{name}.base_url"] = url
    return made


def _pairs(option: str, pairs: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not (name and equals and url):
            raise click.UsageError(f"{option} takes NAME=URL, not {pair!r}")
        if name in seen:
            raise click.UsageError(f"{option} names {name} twice")
        seen.add(name)
        yield name, url


def _configured(config_path: str | None) -> frozenset[str]:
    """The providers that the configuration names."""
    from penstock.config import load
    from penstock.registry import Registry

    return frozenset(load(config_path, known=Registry().key_names).providers)
